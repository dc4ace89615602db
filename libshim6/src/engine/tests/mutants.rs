//! Messages of real exchanges with fields changed at random, in every phase of a context. Nothing panics, each packet is
//! counted once by what became of it, what cannot be read changes nothing, and the two hosts find each other again.

use super::*;
use crate::engine::{Counters, Dropped};
use crate::wire::{ErrorMessage, ParseError, check_addresses, checksum, message_type as ty};

/// Give control messages a right checksum.
fn seal(data: &mut [u8]) {
    let len = data.get(1).map_or(0, |n| (usize::from(*n) + 1) * 8);
    if let Some(message) = data.get_mut(..len)
        && len > 0
        && message[2] & 0x80 == 0
    {
        let sum = checksum(message);
        message[4..6].copy_from_slice(&sum.to_be_bytes());
    }
}

/// One change of a field, or of the length.
fn change(rng: &mut SeededRng, data: &mut Vec<u8>) {
    let at = rng.below(data.len());
    match rng.below(10) {
        0..=2 => data[at] ^= 1 << rng.below(8),
        3 => data[at] = rng.u32() as u8,
        4 => {
            // A whole field: all zeros, all ones, or anything
            let end = (at + [2, 4, 6, 8, 16][rng.below(5)]).min(data.len());
            let with = [0, 0xff, rng.u32() as u8][rng.below(3)];
            data[at..end].fill(with);
        }
        5 => {
            let words = data.len() / 4;
            let (a, b) = (4 * rng.below(words), 4 * rng.below(words));
            (0..4).for_each(|i| data.swap(a + i, b + i));
        }
        6 => data.truncate(at),
        7 => {
            // Shorter or longer by 8 octets, and the header says so
            let longer = rng.below(2) == 0;
            let len = if longer { data.len() + 8 } else { data.len().saturating_sub(8).max(8) };
            data.resize(len, 0);
            data[1] = (len / 8 - 1) as u8;
        }
        8 => {
            // An option that nobody knows, critical or not
            let (kind, critical) = (1000 + rng.below(2000) as u16, rng.below(2) as u16);
            data.extend((kind << 1 | critical).to_be_bytes());
            data.extend([0, 4, 1, 2, 3, 4]);
            data[1] = (data.len() / 8).wrapping_sub(1) as u8;
        }
        _ => data[2] = rng.u32() as u8,
    }
}

fn mutant(rng: &mut SeededRng, original: &[u8]) -> Vec<u8> {
    let mut data = original.to_vec();
    for _ in 0..1 + rng.below(3) {
        if data.len() > 4 {
            change(rng, &mut data);
        }
    }
    if rng.below(5) > 0 {
        seal(&mut data);
    }
    data
}

fn total<K>(counts: &std::collections::BTreeMap<K, u64>) -> u64 {
    counts.values().sum()
}

fn drops(c: &Counters) -> u64 {
    c.dropped.values().sum()
}

/// Deliver it, and check what was counted and answered.
fn strike(w: &mut World, source: Ipv6Addr, destination: Ipv6Addr, data: &[u8]) {
    let Some(host) = w.hosts.iter().position(|h| h.addrs.iter().any(|a| a.addr == destination)) else {
        return;
    };
    let before = w.hosts[host].engine.counters().clone();
    let contexts: Vec<ContextInfo> = w.hosts[host].engine.contexts().collect();
    let logged = w.log.len();
    w.deliver(source, destination, data);
    let after = w.hosts[host].engine.counters().clone();
    let one = |why| after.dropped(why) - before.dropped(why);
    let received = total(&after.received) - total(&before.received);
    let dropped = drops(&after) - drops(&before);
    let payload = after.payload_received - before.payload_received;
    let unchanged = || w.hosts[host].engine.contexts().eq(contexts.iter().cloned());
    // An Error with this code that points there, unless there were too many
    let error = |code: u8, offset: usize| {
        let limited = one(Dropped::RateLimited) == 1;
        let sent: Vec<&Sent> = w.log[logged..].iter().filter(|s| s.host == host).collect();
        if limited {
            assert!(sent.is_empty(), "{sent:?}");
            return;
        }
        let [sent] = sent[..] else { panic!("{} answers to {data:02x?}", sent.len()) };
        let Message::Error(e) = sent.message() else { panic!("{sent:?}") };
        assert_eq!((e.code, usize::from(e.pointer)), (code, 40 + offset));
        assert_eq!(sent.pair, LocatorPair { local: destination, peer: source });
        let quoted = e.quoted().expect("the packet");
        assert_eq!((quoted.source, quoted.destination), (source, destination));
        assert_eq!(quoted.message[..data.len().min(1000)], data[..data.len().min(1000)]);
    };
    let tag = format!("{source} -> {destination}: {data:02x?}");
    if let Err(reason) = check_addresses(source, destination) {
        assert_eq!((one(Dropped::Malformed(reason)), dropped, received, payload), (1, 1, 0, 0), "{tag}");
        return;
    }
    match wire::parse(data) {
        Ok(Packet::Payload { .. }) => {
            assert_eq!(received, 0, "{tag}");
            assert_eq!(payload == 1, dropped == 0, "{tag}");
        }
        Ok(Packet::Control(m)) => {
            let ty = m.type_number();
            assert_eq!((received, after.received(ty) - before.received(ty), payload), (1, 1, 0), "{tag}");
        }
        Err(ParseError::Drop { reason }) => {
            assert_eq!((one(Dropped::Malformed(reason)), dropped, received, payload), (1, 1, 0, 0), "{tag}");
            assert_eq!(w.log.len(), logged, "an answer to {tag}");
            assert!(unchanged(), "{tag}");
        }
        Err(ParseError::UnknownType { .. }) => {
            assert_eq!((one(Dropped::UnknownType), received, payload), (1, 0, 0), "{tag}");
            error(0, 2);
            assert!(unchanged(), "{tag}");
        }
        Err(ParseError::CriticalOption { offset, message, .. }) => {
            assert_eq!((one(Dropped::CriticalOption), received, payload), (1, 0, 0), "{tag}");
            if message != ty::ERROR {
                error(1, offset);
            }
            assert!(unchanged(), "{tag}");
        }
    }
    // Whoever wrote it: an address that proved nothing gets stateless answers only
    let known = |a: &Ipv6Addr| w.hosts.iter().any(|h| h.addrs.iter().any(|l| l.addr == *a));
    for s in &w.log[logged..] {
        if !known(&s.pair.peer) {
            assert!([ty::R1, ty::R1BIS, ty::ERROR].contains(&s.ty()), "{s:?}");
        }
    }
}

/// Mutants of a message, from where it came and from elsewhere.
fn mutants(w: &mut World, rng: &mut SeededRng, of: &Sent, count: usize) {
    let others = [addr("2001:db8:bad::1"), addr("ff02::1"), w.hosts[0].a(1), w.hosts[1].a(1)];
    for _ in 0..count {
        let data = mutant(rng, &of.data);
        let source = if rng.below(4) == 0 { others[rng.below(4)] } else { of.pair.local };
        let to = if rng.below(8) == 0 { w.hosts[1 - of.host].a(1) } else { of.pair.peer };
        strike(w, source, to, &data);
    }
}

/// With traffic both ways the hosts have a working context, whatever was done to them.
fn recovers(w: &mut World, seed: u64) {
    w.pass = Box::new(|_| true);
    for _ in 0..400 {
        for host in 0..2 {
            match w.info(host) {
                Some(c) if c.state == ContextState::Established && c.peer_tag.is_some() => {
                    w.send_tagged(host, b"payload")
                }
                _ => w.establish(host, 1 - host),
            }
        }
        w.run(secs(2));
    }
    let tags = |host| w.info(host).map(|c| (c.state, Some(c.local_tag), c.peer_tag, c.reap));
    let (a, b) = (tags(0).expect("a context"), tags(1).expect("a context"));
    assert_eq!((a.0, b.0), (ContextState::Established, ContextState::Established), "seed {seed}");
    assert_eq!((a.1, a.2), (b.2, b.1), "seed {seed}");
    let delivered = w.hosts[0].delivered.len();
    w.send_tagged(1, b"the last");
    w.run(secs(1));
    assert_eq!(w.hosts[0].delivered.len(), delivered + 1, "seed {seed}");
}

#[test]
fn mutants_of_the_exchanges() {
    // S6-12.3-1, S6-12.3-5, S6-12.3-6, S6-5.14-3, S6-5.15-9, S6-N-14, S6-N-15, S6-N-16
    for seed in 0..10 {
        let mut rng = SeededRng::new(seed);
        let mut w = World::pair(2, 500 + seed);
        if seed % 3 == 0 {
            // A recovery: R1bis, I2bis, R2
            w = World::connected(2, 500 + seed);
            w.restart(1, 900 + seed);
            w.send_tagged(0, b"lost");
        } else {
            w.establish(0, 1);
        }
        // Each message of the exchange is held back while its mutants arrive
        for _ in 0..5 {
            for sent in w.intercept() {
                mutants(&mut w, &mut rng, &sent, 40);
                w.now = w.now + ms(10);
                w.forward(&sent);
            }
        }
        recovers(&mut w, seed);
    }
}

#[test]
fn mutants_at_a_context() {
    // S6-12.3-1, S6-12.4-5, RE-PR-08, RE-PR-09, RE-PR-10, S6-N-51
    for seed in 0..6 {
        let mut rng = SeededRng::new(1000 + seed);
        let mut w = World::new(&exact(), 600 + seed, vec![hba(0xa, &[1, 2, 3], 5), hba(0xb, &[1, 2], 6)]);
        let all = w.hosts[0].addrs.clone();
        w.set_addrs(0, all[..2].to_vec());
        w.establish(0, 1);
        w.run(ms(100));
        // Some of everything: Update and its acknowledgement, Keepalives, Probes of all states, an Error, payload
        w.set_addrs(0, all);
        w.run(ms(100));
        let dead = w.ulids(0, 1);
        w.traffic(1, 0, 1, 100);
        w.run(secs(6));
        w.pass = Box::new(move |s| s.pair.local != dead.local && s.pair.peer != dead.local);
        w.traffic_lost(0, 1, 1, 100);
        w.run(secs(30));
        w.pass = Box::new(|_| true);
        let first = w.log[0].clone();
        let quoting = ErrorMessage::quoting(2, first.pair.peer, first.pair.local, &first.data, 8);
        let (a, b) = (w.hosts[0].a(0), w.hosts[1].a(0));
        let pair = LocatorPair { local: b, peer: a };
        let data = Message::Error(quoting).emit().unwrap();
        let mut samples = vec![Sent { at: w.now, host: 1, pair, data }];
        let tag = w.info(0).unwrap().peer_tag.unwrap();
        let data = [&wire::emit_payload_header(tag, 17)[..], b"some payload"].concat();
        samples.push(Sent { at: w.now, host: 0, pair: w.info(0).unwrap().current, data });
        for kind in [1, 2, 3, 4, 64, 65, 66, 67] {
            let of_kind: Vec<&Sent> = w.log.iter().filter(|s| s.ty() == kind).collect();
            assert!(!of_kind.is_empty(), "no message of type {kind}");
            samples.extend(of_kind.into_iter().rev().take(3).cloned());
        }
        for round in 0..400 {
            let sent = samples[rng.below(samples.len())].clone();
            mutants(&mut w, &mut rng, &sent, 1);
            if round % 20 == 0 {
                w.run(ms(200));
            }
        }
        recovers(&mut w, seed);
    }
}
