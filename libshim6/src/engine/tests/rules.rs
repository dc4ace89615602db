//! Single rules of RFC 5533 that no other topic holds.

use super::matrix::{Fake, offer, world_in};
use super::*;
use crate::engine::Dropped;
use crate::wire::{
    I1, I2, I2bis, LocatorPreferences, Options, Preference, R1, R1bis, R2, UlidPairOption, UpdateRequest,
};

/// A real message of each type, with who sent it and over which pair.
fn one_of_each() -> Vec<Sent> {
    let mut w = World::connected(2, 400);
    w.run(secs(60));
    // Probes and Keepalives
    w.pass = Box::new(|s| s.ty() == 67);
    w.traffic(0, 1, 1, 10);
    w.run(secs(30));
    w.traffic_lost(0, 1, 1, 10);
    w.run(secs(30));
    w.pass = Box::new(|_| true);
    let now = w.now;
    w.hosts[0].engine.set_send_timeout(now, secs(20));
    w.run(secs(30));
    w.restart(1, 4);
    w.send_tagged(0, b"payload");
    w.run(secs(1));
    let types = [1, 2, 3, 4, 5, 6, 64, 65, 66, 67];
    types.map(|ty| w.last(ty)).to_vec()
}

fn with(message: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut m = message.to_vec();
    change(&mut m);
    let c = wire::checksum(&m);
    m[4..6].copy_from_slice(&c.to_be_bytes());
    m
}

fn answers(w: &mut World, from: Ipv6Addr, to: Ipv6Addr, data: &[u8]) -> Vec<u8> {
    let n = w.log.len();
    w.deliver(from, to, data);
    w.log[n..].iter().map(Sent::ty).collect()
}

#[test]
fn reserved_fields_are_ignored() {
    // LS-I1-01, LS-I1-02, LS-R1-01, LS-R1-02, LS-I2-01, LS-I2-02, LS-I2-03, LS-R2-01, LS-R2-02, LS-UP-01, LS-UP-02,
    // LS-KP-02, LS-KP-03, LS-KP-09
    for sent in one_of_each() {
        let reserved: &[(usize, u8)] = match sent.ty() {
            1 | 4 | 5 | 64 | 65 => &[(3, 0xfe), (6, 0x80)],
            2 => &[(3, 0xfe), (6, 0xff), (7, 0xff)],
            3 => &[(3, 0xfe), (6, 0x80), (20, 0xff), (21, 0xff), (22, 0xff), (23, 0xff)],
            6 => &[(3, 0xfe), (6, 0x80), (20, 0xff), (23, 0xff), (25, 0xff), (26, 0x80)],
            66 => &[(3, 0xfe), (6, 0x80), (12, 0xff), (13, 0xff), (14, 0xff), (15, 0xff)],
            67 => &[(3, 0xfe), (6, 0x80), (13, 0x3f), (14, 0xff), (15, 0xff)],
            other => panic!("{other}"),
        };
        for (at, mask) in reserved {
            let m = with(&sent.data, |m| m[*at] |= mask);
            assert_ne!(m, sent.data);
            let Ok(Packet::Control(got)) = wire::parse(&m) else { panic!("type {} octet {at}", sent.ty()) };
            assert_eq!(got, sent.message(), "type {} octet {at}", sent.ty());
        }
    }
}

#[test]
fn messages_that_are_too_short_or_damaged_are_dropped_silently() {
    // S6-7.9-1, S6-7.11-1, S6-7.13-1, S6-7.16-1, S6-7.20-1, S6-10.4-1, S6-10.5-1, LS-A-01, LS-A-02, LS-A-03, LS-I1-05,
    // LS-R1-04, LS-I2-13, LS-R2-05, LS-UP-03, LS-KP-01
    for sent in one_of_each() {
        let least = match sent.ty() {
            3 => 2,
            6 => 3,
            _ => 1,
        };
        let states = [None, Some(ContextState::I1Sent), Some(ContextState::I2Sent)];
        for state in
            states.into_iter().chain([Some(ContextState::I2bisSent), Some(ContextState::Established)])
        {
            let (mut w, _) = world_in(state);
            let (a, b) = (w.hosts[0].a(0), w.hosts[1].a(0));
            let before = w.info(0);
            // Hdr Ext Len below the fixed part, with a good checksum over what is left
            for words in 0..least {
                let short = with(&sent.data[..8 * (words + 1)], |m| m[1] = words as u8);
                assert_eq!(answers(&mut w, b, a, &short), [], "type {} of {words}", sent.ty());
            }
            // Past the end of the packet; wrong checksum; wrong addresses
            let long = with(&sent.data, |m| m[1] += 1);
            assert_eq!(answers(&mut w, b, a, &long), []);
            let mut wrong = sent.data.clone();
            wrong[4] ^= 1;
            assert_eq!(answers(&mut w, b, a, &wrong), []);
            for from in ["::", "ff02::1"] {
                assert_eq!(answers(&mut w, addr(from), a, &sent.data), []);
            }
            assert_eq!(w.info(0), before);
            let dropped: u64 = w.hosts[0].engine.counters().dropped.values().sum();
            assert!(dropped >= least as u64 + 4, "counted");
        }
    }
}

#[test]
fn nothing_behind_a_critical_option_is_processed() {
    // S6-5.15-8, LS-OP-04, LS-OP-05
    let mut w = World::connected(2, 401);
    let (a, b) = (w.hosts[0].a(0), w.hosts[1].a(0));
    let before = w.info(0).expect("a context");
    let mut options = offer(&w, 1);
    options.locators.as_mut().expect("a list").locators.truncate(1);
    let request = UpdateRequest { receiver_tag: before.local_tag, request_nonce: 1, options };
    let good = Message::UpdateRequest(request).emit().expect("a message");
    let at = good.len();
    let bad = with(&good, |m| {
        m.extend((4000u16 << 1 | 1).to_be_bytes());
        m.extend([0, 4, 0, 0, 0, 0]);
        m[1] += 1;
    });
    assert_eq!(answers(&mut w, b, a, &bad), [68]);
    let Message::Error(e) = w.last(68).message() else { panic!() };
    assert_eq!((e.code, usize::from(e.pointer)), (1, 40 + at), "the first octet of the option type");
    assert_eq!(w.info(0).expect("a context").peer, before.peer);
    assert_eq!(answers(&mut w, b, a, &good), [65]);
    assert_ne!(w.info(0).expect("a context").peer, before.peer);
}

#[test]
fn undefined_types_are_errors_and_undefined_options_are_not() {
    // LS-KP-04
    // S6-17-1, S6-17-2
    let mut w = World::connected(2, 402);
    let (a, b) = (w.hosts[0].a(0), w.hosts[1].a(0));
    let keepalive = wire::Keepalive {
        receiver_tag: w.info(0).expect("a context").local_tag,
        options: Options::default(),
    };
    let good = Message::Keepalive(keepalive).emit().expect("a message");
    for ty in [0].into_iter().chain(7..64).chain(69..128) {
        w.run(secs(1));
        let m = with(&good, |m| m[2] = ty);
        assert_eq!(answers(&mut w, b, a, &m), [68], "type {ty}");
    }
    for ty in [0u16, 8, 9, 11, 100, 16383, 16384, 20000, 32767] {
        let m = with(&good, |m| {
            m.extend((ty << 1).to_be_bytes());
            m.extend([0, 4, 1, 2, 3, 4]);
            m[1] += 1;
        });
        let before = w.hosts[0].engine.counters().received(66);
        assert_eq!(answers(&mut w, b, a, &m), [], "option {ty}");
        assert_eq!(w.hosts[0].engine.counters().received(66), before + 1);
    }
}

#[test]
fn ulids_and_instance_come_from_the_options() {
    // S6-7.9-2, S6-7.13-2, S6-7.20-2, S6-12.4-1, S6-4.2-3, S6-6-4,
    // HC-USE-18
    for (fii, bis) in [(0u32, false), (1, false), (0xffff_fffe, true), (77, true)] {
        let mut w = World::pair(2, 403);
        let (a, b) = (w.hosts[0].a(0), w.hosts[1].a(0));
        // Over the second locators of both hosts
        let (to, from) = (w.hosts[0].a(1), w.hosts[1].a(1));
        let tag = ContextTag::new(random());
        let options = Options {
            ulid_pair: Some(UlidPairOption { sender: b, receiver: a }),
            fii: (fii != 0).then_some(fii),
            ..offer(&w, 1)
        };
        let key = Options { locators: None, pds: None, ..options.clone() };
        if bis {
            let packet_tag = ContextTag::new(9);
            let k = wire::Keepalive { receiver_tag: packet_tag, options: Options::default() };
            w.inject(from, to, &Message::Keepalive(k));
            let Message::R1bis(r) = w.last(5).message() else { panic!() };
            let options = Options { validator: r.options.validator, ..options };
            let (initiator_nonce, responder_nonce) = (1, r.responder_nonce);
            let m = I2bis { initiator_tag: tag, initiator_nonce, responder_nonce, packet_tag, options };
            w.inject(from, to, &Message::I2bis(m));
        } else {
            let m = I1 { initiator_tag: tag, initiator_nonce: 1, options: key };
            w.inject(from, to, &Message::I1(m));
            // IDLE costs no memory
            assert_eq!(w.hosts[0].engine.contexts().count(), 0);
            let Message::R1(r) = w.last(2).message() else { panic!() };
            let options = Options { validator: r.options.validator, ..options };
            let (initiator_nonce, responder_nonce) = (1, r.responder_nonce);
            let m = I2 { initiator_tag: tag, initiator_nonce, responder_nonce, options };
            // The validator covers ULIDs and instance: without the options it is another key
            let bare =
                I2 { options: Options { ulid_pair: None, fii: None, ..m.options.clone() }, ..m.clone() };
            w.inject(from, to, &Message::I2(bare));
            assert_eq!(w.hosts[0].engine.contexts().count(), 0);
            w.inject(from, to, &Message::I2(m));
        }
        let contexts: Vec<_> = w.hosts[0].engine.contexts().collect();
        assert_eq!(contexts.len(), 1, "fii {fii}");
        assert_eq!((contexts[0].ulids, contexts[0].fii), (w.ulids(0, 1), fii));
        let r2 = w.last(4);
        assert_eq!((r2.pair.local, r2.pair.peer), (to, from), "S6-N-23");
    }
}

#[test]
fn a_receiver_ulid_that_is_not_ours_is_not_served() {
    // S6-5.15.6-3
    let mut w = World::pair(2, 404);
    let (a, b) = (w.hosts[0].a(0), w.hosts[1].a(0));
    for receiver in [addr("2001:db8:bad::1"), b] {
        let options =
            Options { ulid_pair: Some(UlidPairOption { sender: b, receiver }), ..Options::default() };
        let m = Message::I1(I1 { initiator_tag: ContextTag::new(4), initiator_nonce: 1, options });
        assert_eq!(answers(&mut w, b, a, &m.emit_unchecked()), []);
    }
    assert_eq!(w.hosts[0].engine.counters().dropped(Dropped::BadUlid), 2);
}

#[test]
fn an_established_context_checks_where_an_i1_comes_from() {
    // S6-7.9-3, LS-I1-06
    let mut w = World::connected(2, 405);
    let (a, b) = (w.hosts[0].a(0), w.hosts[1].a(0));
    let initiator_tag = w.info(0).and_then(|c| c.peer_tag).expect("a tag");
    let options =
        Options { ulid_pair: Some(UlidPairOption { sender: b, receiver: a }), ..Options::default() };
    let i1 = Message::I1(I1 { initiator_tag, initiator_nonce: 1, options }).emit_unchecked();
    let listed = w.hosts[1].a(1);
    assert_eq!(answers(&mut w, listed, a, &i1), [4]);
    assert_eq!(answers(&mut w, addr("2001:db8:bad::1"), a, &i1), [2]);
}

#[test]
fn exchanges_carry_the_list_with_what_verifies_it() {
    // S6-7.11-5, S6-7.14-2, S6-7.18-6, S6-7.18-5, S6-5.15.4-1, HC-USE-02, HC-USE-05, LS-I2-08, LS-I2-09, LS-R2-03, LS-I2-04,
    // LS-I2-05, LS-R1-03, LS-G-08, LS-BIS-03
    let mut w = World::pair(3, 406);
    w.hosts[0].set(|p| p.owns_default = false);
    w.establish(0, 1);
    w.run(ms(200));
    w.restart(1, 4);
    w.send_tagged(0, b"payload");
    w.run(ms(200));
    assert_eq!(w.state(0), Some(ContextState::Established));
    let (Message::I2(i2), Message::R2(r2), Message::I2bis(bis), Message::R1(r1)) =
        (w.last(3).message(), w.last(4).message(), w.last(6).message(), w.last(2).message())
    else {
        panic!()
    };
    assert_eq!(i2.options.validator, r1.options.validator);
    assert!(i2.options.validator.is_some());
    assert!(bis.options.fii.is_some_and(|f| f != 0));
    for (options, host) in [(&i2.options, 0), (&r2.options, 1), (&bis.options, 0)] {
        let list: Vec<_> = options.locators.as_ref().expect("a list").locators.clone();
        let all: Vec<_> = w.hosts[host].addrs.iter().map(|l| (1, l.addr)).collect();
        assert_eq!(list, all);
        let identity = w.hosts[host].addrs[0].identity.clone().expect("an identity");
        let pds = options.pds.as_deref().expect("a PDS");
        assert_eq!(Some(pds), identity.pds_for(&all[0].1), "unmodified");
        let pds = crate::crypto::Pds::parse(pds).expect("a PDS");
        assert_eq!(pds.multi_prefix().map(|m| m.prefixes.len()), Some(3));
    }
}

#[test]
fn preferences_go_along_when_locators_differ() {
    // S6-5.6-7, S6-10-1, S6-10.1-2, S6-10.1-4, LS-F-03
    let mut w = World::pair(3, 407);
    let mut addrs = w.hosts[0].addrs.clone();
    addrs[1].operational = false;
    w.set_addrs(0, addrs.clone());
    w.establish(0, 1);
    w.run(ms(200));
    let Message::I2(i2) = w.last(3).message() else { panic!() };
    let (list, p) = (i2.options.locators.expect("a list"), i2.options.preferences.expect("preferences"));
    assert_eq!(p.generation, list.generation);
    let broken = |p: &LocatorPreferences| -> Vec<bool> {
        p.elements.as_ref().expect("elements").iter().map(|e| e.flags & 1 != 0).collect()
    };
    let of = |list: &wire::LocatorList, a: Ipv6Addr| list.locators.iter().position(|l| l.1 == a);
    assert_eq!(broken(&p).iter().position(|b| *b), of(&list, addrs[1].addr));
    assert_eq!(broken(&p).iter().filter(|b| **b).count(), 1);
    assert_eq!(w.info(1).expect("a context").peer.iter().filter(|l| l.broken).count(), 1);
    // It works again: preferences alone, for the same generation
    addrs[1].operational = true;
    w.set_addrs(0, addrs.clone());
    w.run(ms(200));
    let Message::UpdateRequest(u) = w.last(64).message() else { panic!() };
    assert!(u.options.locators.is_none());
    assert_eq!(u.options.preferences.map(|p| p.generation), Some(list.generation));
    assert!(w.info(1).expect("a context").peer.iter().all(|l| !l.broken));
    // One goes, another breaks: both in one request, for the new generation
    addrs.remove(2);
    addrs[1].operational = false;
    w.set_addrs(0, addrs);
    w.run(ms(200));
    let Message::UpdateRequest(u) = w.last(64).message() else { panic!() };
    let generation = u.options.locators.map(|l| l.generation).expect("a list");
    assert_ne!(generation, list.generation);
    assert_eq!(u.options.preferences.map(|p| p.generation), Some(generation));
    assert_eq!(w.info(1).expect("a context").peer.len(), 2);
}

#[test]
fn only_hba_and_cga_are_methods() {
    // S6-5.15.2-6, HC-USE-01, HC-USE-11, S6-7.2-9, LS-OP-08, LS-OP-09
    for method in [0u8, 1, 3, 100, 200, 201, 254, 255] {
        let (mut w, fake) = world_in(None);
        let (a, b) = (w.hosts[0].a(0), w.hosts[1].a(0));
        let mut i2 = fake.i2(&w);
        i2.options.locators.as_mut().expect("a list").locators[1].0 = method;
        let data = Message::I2(i2).emit_unchecked();
        let good = method == 1;
        assert_eq!(answers(&mut w, b, a, &data), [if good { 4 } else { 68 }], "method {method}");
        assert_eq!(w.info(0).is_some(), good);
    }
    // HBA for an address that the set does not hold: another prefix, another interface identifier
    for other in ["2001:db8:c:1::1", "2001:db8:b:1::1"] {
        let (mut w, fake) = world_in(None);
        let (a, b) = (w.hosts[0].a(0), w.hosts[1].a(0));
        let mut i2 = fake.i2(&w);
        i2.options.locators.as_mut().expect("a list").locators[1].1 = addr(other);
        assert_eq!(answers(&mut w, b, a, &Message::I2(i2).emit_unchecked()), [68]);
        let Message::Error(e) = w.last(68).message() else { panic!() };
        assert_eq!(e.code, 2);
        assert_eq!(w.info(0), None);
    }
}

#[test]
fn a_new_peer_is_verified_before_anything_is_kept() {
    // S6-7.13-8, S6-7.20-5, S6-7.20-9, S6-7.2-2, S6-7.2-11, HC-USE-07, HC-USE-08, LS-G-05, LS-G-06, LS-I2-16, S6-N-50
    for bis in [false, true] {
        for foreign in [false, true] {
            let (mut w, fake) = world_in(None);
            let (a, b) = (w.hosts[0].a(0), w.hosts[1].a(0));
            let spoil = |o: &mut Options, w: &World| {
                if foreign {
                    o.pds = offer(w, 0).pds;
                } else {
                    o.locators.as_mut().expect("a list").locators.push((1, addr("2001:db8:bad::1")));
                }
            };
            let data = if bis {
                let mut m = fake.i2bis(&w);
                spoil(&mut m.options, &w);
                Message::I2bis(m).emit_unchecked()
            } else {
                let mut m = fake.i2(&w);
                spoil(&mut m.options, &w);
                Message::I2(m).emit_unchecked()
            };
            assert_eq!(answers(&mut w, b, a, &data), if foreign { vec![] } else { vec![68] });
            assert_eq!(w.hosts[0].engine.contexts().count(), 0);
        }
    }
}

#[test]
fn verified_and_reachable_are_two_things() {
    // S6-6-2, HC-USE-15, HC-USE-21, LS-G-07, S6-6-1
    let mut w = World::connected(2, 408);
    let second = |w: &World| *w.info(0).expect("a context").peer.get(1).expect("a second locator");
    assert!(second(&w).verified && second(&w).hba && !second(&w).probed);
    assert_eq!(w.info(0).map(|c| c.current), Some(w.ulids(0, 1).as_locators()));
    let (a0, b0) = (w.hosts[0].a(0), w.hosts[1].a(0));
    w.pass =
        Box::new(move |s| s.pair.local != a0 && s.pair.peer != a0 && s.pair.local != b0 && s.pair.peer != b0);
    w.traffic_lost(0, 1, 1, 10);
    w.run(secs(40));
    assert!(second(&w).probed);
    let probe = w.log.iter().position(|s| s.host == 0 && s.ty() == 67 && s.pair.peer == w.hosts[1].a(1));
    assert!(probe.is_some(), "a probe went there before any payload");
    assert_eq!(w.info(0).map(|c| c.current.peer), Some(w.hosts[1].a(1)));
}

#[test]
fn replies_need_the_nonce_and_the_pair() {
    // LS-D-24
    // S6-7.16-2, S6-12.4-2, S6-12.4-3, LS-R1-05, LS-R1-06, LS-R2-06, LS-CX-05
    let r1 = |w: &World, n| R1 {
        initiator_nonce: n,
        responder_nonce: 3,
        options: Options { validator: Some(vec![1; 20]), ..offer(w, 1) },
    };
    let r2 =
        |w: &World, n| R2 { responder_tag: ContextTag::new(7), initiator_nonce: n, options: offer(w, 1) };
    for state in [ContextState::I1Sent, ContextState::I2Sent, ContextState::I2bisSent] {
        let (mut w, _) = world_in(Some(state));
        let (a, b, b1) = (w.hosts[0].a(0), w.hosts[1].a(0), w.hosts[1].a(1));
        let own = w.log.iter().rev().find(|s| s.host == 0 && matches!(s.ty(), 1 | 3 | 6)).expect("a message");
        let n = match own.message() {
            Message::I1(m) => m.initiator_nonce,
            Message::I2(m) => m.initiator_nonce,
            Message::I2bis(m) => m.initiator_nonce,
            other => panic!("{other:?}"),
        };
        let before = w.info(0);
        for (from, n) in [(b1, n), (addr("2001:db8:bad::1"), n), (b, n ^ 1)] {
            let (one, two) = (Message::R1(r1(&w, n)), Message::R2(r2(&w, n)));
            assert_eq!(answers(&mut w, from, a, &one.emit_unchecked()), []);
            assert_eq!(answers(&mut w, from, a, &two.emit_unchecked()), []);
        }
        assert_eq!(w.info(0), before, "{state:?}");
        let two = Message::R2(r2(&w, n));
        w.inject(b, a, &two);
        assert_eq!(w.state(0), Some(ContextState::Established), "{state:?}");
    }
    // R1bis: CT(peer), over a pair of the context
    let mut w = World::connected(2, 409);
    let (a, b) = (w.hosts[0].a(0), w.hosts[1].a(0));
    let tag = w.info(0).and_then(|c| c.peer_tag).expect("a tag");
    let r1bis = |packet_tag| {
        let options = Options { validator: Some(vec![1; 20]), ..Options::default() };
        Message::R1bis(R1bis { packet_tag, responder_nonce: 3, options }).emit_unchecked()
    };
    assert_eq!(answers(&mut w, addr("2001:db8:bad::1"), a, &r1bis(tag)), []);
    assert_eq!(answers(&mut w, b, a, &r1bis(ContextTag::new(tag.value() ^ 1))), []);
    assert_eq!(answers(&mut w, b, a, &r1bis(tag)), [6]);
}

#[test]
fn tagged_payload_is_taken_at_any_time_and_whatever_it_carries() {
    // S6-12-2, S6-12.2-5, S6-12.4-4, S6-4.1-2, LS-H-11
    let mut w = World::connected(2, 410);
    let (a, b) = (w.hosts[0].a(0), w.hosts[1].a(0));
    let info = w.info(0).expect("a context");
    assert_eq!(info.current, info.ulids.as_locators());
    for next_header in [17u8, 44, 60, 50, 51, 253] {
        let mut packet = wire::emit_payload_header(info.local_tag, next_header).to_vec();
        packet.extend([next_header; 20]);
        assert_eq!(answers(&mut w, b, a, &packet), []);
        let got = w.hosts[0].delivered.pop().expect("delivered");
        assert_eq!((got.ulids, got.next_header, got.data), (info.ulids, next_header, vec![next_header; 20]));
    }
    // Two contexts, one pair of addresses on the wire: the tag decides
    let hosts = vec![hba(0xa, &[1, 2], 1), hba(0xb, &[1, 2], 2), hba(0xc, &[1, 2], 3)];
    let mut w = World::new(&exact(), 411, hosts);
    w.establish(1, 0);
    w.establish(2, 0);
    w.run(ms(200));
    let contexts: Vec<_> = w.hosts[0].engine.contexts().collect();
    assert_eq!(contexts.len(), 2);
    let (a, b) = (w.hosts[0].a(0), w.hosts[1].a(0));
    for c in contexts {
        let mut packet = wire::emit_payload_header(c.local_tag, 17).to_vec();
        packet.extend(b"data");
        w.deliver(b, a, &packet);
        assert_eq!(w.hosts[0].delivered.pop().map(|d| d.ulids), Some(c.ulids));
    }
}

#[test]
fn payload_is_changed_only_by_a_context_that_is_up() {
    // S6-11-2, S6-6-3, S6-N-26, S6-N-22, LS-H-08
    for state in [ContextState::I1Sent, ContextState::I2Sent] {
        let (w, _) = world_in(Some(state));
        let info = w.info(0).expect("a context");
        assert_eq!(info.current, info.ulids.as_locators(), "{state:?}");
        let peer: Vec<_> = info.peer.iter().map(|l| l.addr).collect();
        assert_eq!(peer, [info.ulids.peer], "Ls(peer) before a list");
        assert_eq!(info.peer_tag, None);
    }
    // In I2BIS-SENT payload goes on by the pair that is in use
    let mut w = World::connected(2, 412);
    let (a0, b0) = (w.hosts[0].a(0), w.hosts[1].a(0));
    w.pass =
        Box::new(move |s| s.pair.local != a0 && s.pair.peer != a0 && s.pair.local != b0 && s.pair.peer != b0);
    w.traffic_lost(0, 1, 1, 10);
    w.run(secs(40));
    let before = w.info(0).expect("a context");
    assert_ne!(before.current, before.ulids.as_locators());
    w.restart(1, 5);
    w.send_tagged(0, b"x");
    w.run(ms(20));
    let during = w.info(0).expect("a context");
    assert_eq!(during.state, ContextState::I2bisSent);
    assert_eq!((during.current, during.peer_tag), (before.current, before.peer_tag));
}

#[test]
fn one_locator_at_the_peer_is_enough() {
    // S6-3-4, S6-2-3, LS-H-23
    let peer = vec![plain("2001:db8:b::1", 1)];
    let mut ours = hba(0xa, &[1, 2], 1);
    ours.push(plain("2001:db8:a:9::9", 3));
    let mut w = World::new(&exact(), 413, vec![ours, peer]);
    w.establish(0, 1);
    w.run(secs(1));
    let a0 = w.hosts[0].a(0);
    w.pass = Box::new(move |s| s.pair.local != a0 && s.pair.peer != a0);
    w.traffic_lost(0, 1, 1, 10);
    w.run(secs(40));
    let info = w.info(0).expect("a context");
    assert_eq!(info.current, LocatorPair { local: w.hosts[0].a(1), peer: w.hosts[1].a(0) });
    // Another ULID of the same host has another set
    let (local, peer) = (w.hosts[0].a(2), w.hosts[1].a(0));
    let (now, other) = (w.now, UlidPair { local, peer });
    w.pass = Box::new(|_| true);
    w.hosts[0].engine.establish(now, other, None);
    w.run(secs(1));
    let info = w.hosts[0].engine.context(other).expect("a second context");
    assert_eq!(info.local.iter().map(|l| l.addr).collect::<Vec<_>>(), [local]);
}

#[test]
fn a_list_that_is_too_long_is_cut_at_its_end() {
    // S6-5.1-4, HC-USE-17
    let host = hba(0xa, &[1, 2, 3, 4, 5], 1);
    let mut rng = SeededRng::new(1);
    let mut set = crate::engine::locators::LocalSet::new(host[0].addr, &host, None, &mut rng);
    let generation = set.list().expect("a list").generation;
    set.trim(3, &host[4].addr, &mut rng);
    let list = set.list().expect("a list");
    assert_ne!(list.generation, generation);
    assert_eq!(list.locators.len(), 3);
    assert_eq!(list.locators[0].1, host[0].addr, "never the ULID");
    assert_eq!(list.locators[2].1, host[4].addr, "nor the current one");
    set.trim(0, &host[0].addr, &mut rng);
    assert_eq!(set.addresses(), [host[0].addr]);
}

#[test]
fn debugging_errors_by_configuration() {
    // S6-5.14-7
    let mut config = exact();
    for debug in [false, true] {
        config.shim6.debug_errors = debug;
        let mut w = World::new(&config, 415, vec![hba(0xa, &[1, 2], 1), hba(0xb, &[1, 2], 2)]);
        let fake = Fake::new(&mut w);
        let (a, b) = (w.hosts[0].a(0), w.hosts[1].a(0));
        let code = |w: &mut World, data: &[u8]| {
            let n = w.log.len();
            w.deliver(b, a, data);
            w.log[n..]
                .iter()
                .map(|s| match s.message() {
                    Message::Error(e) => e.code,
                    other => panic!("{other:?}"),
                })
                .collect::<Vec<_>>()
        };
        let if_debug = |c: u8| if debug { vec![c] } else { vec![] };
        let i2 = fake.i2(&w);
        let mut wrong = Message::I2(i2.clone()).emit_unchecked();
        wrong[4] ^= 1;
        assert_eq!(code(&mut w, &wrong), if_debug(120));
        let stale = I2 { responder_nonce: i2.responder_nonce ^ 0x8000_0000, ..i2.clone() };
        assert_eq!(code(&mut w, &Message::I2(stale).emit_unchecked()), if_debug(124));
        let pds = Options { pds: offer(&w, 0).pds, ..i2.options.clone() };
        assert_eq!(code(&mut w, &Message::I2(I2 { options: pds, ..i2 }).emit_unchecked()), if_debug(125));
        let r2 = R2 { responder_tag: fake.tag, initiator_nonce: 1, options: Options::default() };
        assert_eq!(code(&mut w, &Message::R2(r2).emit_unchecked()), if_debug(122));
        // An Error is never answered, nor is payload
        let error = wire::ErrorMessage::quoting(1, a, b, &[0; 16], 8);
        assert_eq!(code(&mut w, &Message::Error(error).emit_unchecked()), []);
        assert_eq!(code(&mut w, &[17, 9, 0x80, 0, 0, 0, 0, 0]), []);
    }
}

#[test]
fn memory_for_parameters_of_peers_is_capped() {
    // HC-USE-19
    let mut config = exact();
    let size = hba(0xb, &[1, 2], 2)[0]
        .identity
        .as_ref()
        .and_then(|i| i.pds_for(&hba(0xb, &[1, 2], 2)[0].addr).map(<[u8]>::len));
    config.shim6.max_pds_memory = size.expect("a PDS") * 2 + 1;
    let hosts = (0..4).map(|i| hba(0xa + i, &[1, 2], u64::from(i) + 1)).collect();
    let mut w = World::new(&config, 416, hosts);
    let locators = |w: &World, i: usize| w.hosts[0].engine.context(w.ulids(0, i)).map(|c| c.peer.len());
    for i in 1..4 {
        w.establish(i, 0);
        w.run(ms(200));
    }
    assert_eq!([1, 2, 3].map(|i| locators(&w, i)), [Some(2), Some(2), Some(1)]);
    assert_eq!(w.hosts[0].engine.counters().dropped(Dropped::PdsFull), 1);
    // A context that goes makes room for the next
    let (now, first) = (w.now, w.ulids(0, 1));
    w.hosts[0].engine.discard(now, first);
    let (now, third) = (w.now, w.ulids(0, 3));
    w.hosts[0].engine.discard(now, third);
    w.hosts[3].engine.discard(now, UlidPair { local: third.peer, peer: third.local });
    w.establish(3, 0);
    w.run(ms(200));
    assert_eq!(locators(&w, 3), Some(2));
}

#[test]
fn transient_locators_come_after_stable_ones() {
    // S6-5.15.3-3, LS-F-03
    let mut w = World::connected(3, 417);
    let (a, b) = (w.hosts[0].a(0), w.hosts[1].a(0));
    let flags = [0, 2, 0];
    let element = |f: &u8| Preference { flags: *f, priority: Some(0), weight: Some(0) };
    let preferences =
        LocatorPreferences { generation: 77, elements: Some(flags.iter().map(element).collect()), offset: 0 };
    let options = Options { preferences: Some(preferences), ..offer(&w, 1) };
    let receiver_tag = w.info(0).expect("a context").local_tag;
    w.inject(b, a, &Message::UpdateRequest(UpdateRequest { receiver_tag, request_nonce: 1, options }));
    w.pass = Box::new(|_| false);
    w.log.clear();
    w.traffic_lost(0, 1, 1, 10);
    w.run(secs(30));
    let order: Vec<Ipv6Addr> = w.log.iter().filter(|s| s.ty() == 67).map(|s| s.pair.peer).collect();
    let first = |i: usize| order.iter().position(|p| *p == w.hosts[1].a(i));
    assert!(first(2) < first(1) && first(2).is_some(), "{order:?}");
}

#[test]
fn strangers_are_answered_by_one_engine() {
    // S6-N-48
    let mut w = World::pair(2, 418);
    let (a, b) = (w.hosts[0].a(0), w.hosts[1].a(0));
    let packet = [&wire::emit_payload_header(ContextTag::new(5), 17)[..], b"data"].concat();
    for (serves, first, answer) in
        [(false, false, vec![]), (true, false, vec![5]), (false, true, vec![5]), (true, true, vec![5])]
    {
        w.hosts[0].set(|p| (p.serves, p.first) = (serves, first));
        assert_eq!(answers(&mut w, b, a, &packet), answer, "{serves} {first}");
    }
}

#[test]
fn a_tag_that_went_to_a_third_host_is_found_out() {
    // S6-C-3, LS-F-08
    let hosts = vec![hba(0xa, &[1, 2], 1), hba(0xb, &[1, 2], 2), hba(0xc, &[1, 2], 3)];
    let mut w = World::new(&exact(), 420, hosts);
    w.establish(0, 1);
    w.run(ms(200));
    let (there, third) = (w.ulids(0, 1), w.ulids(2, 1));
    let tag = w.info(0).and_then(|c| c.peer_tag).expect("a tag");
    // Host 1 starts anew with the same randomness, so that its first context, with host 2, gets the same tag
    w.restart(1, 420_001);
    w.hosts[2].engine.establish(w.now, third, None);
    w.run(ms(200));
    let other = w.info_of(2, third).expect("a context");
    assert_eq!(other.peer_tag, Some(tag));
    // Payload reaches the wrong context, whose ULIDs its checksum does not fit
    let packet = [&wire::emit_payload_header(tag, 17)[..], b"data"].concat();
    w.deliver(there.local, there.peer, &packet);
    assert_eq!(w.hosts[1].delivered.pop().map(|d| d.ulids.peer), Some(third.local));
    // Nothing comes back, so REAP probes, is answered by R1bis as the addresses do not fit, and the context is rebuilt
    w.traffic_lost(0, 1, 1, 10);
    w.run(secs(30));
    let new = w.info(0).expect("a context");
    assert_eq!(new.state, ContextState::Established);
    assert_ne!(new.peer_tag, Some(tag));
    assert!(w.count(5) > 0 && w.count(6) > 0);
    assert_eq!(w.hosts[1].engine.contexts().count(), 2);
    assert_eq!(w.info_of(2, third), Some(other));
}

#[test]
fn the_reserved_octets_of_the_ulid_pair_option_are_ignored() {
    // LS-OP-07
    let (mut w, _) = world_in(None);
    let (a, b, from) = (w.hosts[0].a(0), w.hosts[1].a(0), w.hosts[1].a(1));
    let options =
        Options { ulid_pair: Some(UlidPairOption { sender: b, receiver: a }), ..Options::default() };
    let i1 =
        Message::I1(I1 { initiator_tag: ContextTag::new(4), initiator_nonce: 1, options }).emit_unchecked();
    let m = with(&i1, |m| m[20..24].fill(0xff));
    assert_eq!(wire::parse(&m), wire::parse(&i1));
    assert_eq!(answers(&mut w, from, a, &m), [2]);
}

#[test]
fn keepalives_are_plain_control_messages() {
    // RE-KA-04, RE-KA-05, RE-KA-07, RE-KA-14, RE-CX-08
    let mut w = World::connected(2, 421);
    w.run(secs(60));
    let (a0, b0) = (w.hosts[0].a(0), w.hosts[1].a(0));
    w.pass =
        Box::new(move |s| s.pair.local != a0 && s.pair.peer != a0 && s.pair.local != b0 && s.pair.peer != b0);
    w.traffic_lost(0, 1, 1, 10);
    w.run(secs(60));
    w.log.clear();
    w.send_tagged(0, b"one way");
    w.run(secs(6));
    let keepalive = w.last(66);
    let (mine, theirs) = (w.info(1).expect("a context"), w.info(0).expect("a context"));
    assert_eq!(keepalive.host, 1);
    assert_ne!(keepalive.pair, mine.ulids.as_locators());
    assert_eq!(keepalive.pair, mine.current);
    assert_eq!(keepalive.data.len(), 16, "no payload extension header, no nonce");
    assert_eq!(keepalive.data[12..16], [0; 4]);
    assert_eq!(keepalive.message().receiver_tag(), Some(theirs.local_tag));
    // With a critical option it is no sign of life: the Send Timer runs out all the same
    let bad = with(&keepalive.data, |m| {
        m.extend((4000u16 << 1 | 1).to_be_bytes());
        m.extend([0, 4, 0, 0, 0, 0]);
        m[1] += 1;
    });
    w.pass = Box::new(|s| s.ty() != 66);
    w.run(secs(60));
    let before = w.hosts[0].engine.counters().explorations;
    w.send_tagged(0, b"one way");
    w.run(secs(10));
    let (from, to) = (keepalive.pair.local, keepalive.pair.peer);
    assert_eq!(answers(&mut w, from, to, &bad), [68]);
    w.run(secs(6));
    assert_eq!(w.hosts[0].engine.counters().explorations, before + 1);
}

#[test]
fn reap_begins_when_the_context_is_established() {
    // RE-FB-22
    let mut w = World::pair(2, 422);
    w.pass = Box::new(|_| false);
    w.establish(0, 1);
    for _ in 0..30 {
        w.traffic_lost(0, 1, 10, 1000);
        w.run(secs(1));
    }
    assert!(w.types(0).iter().all(|ty| *ty == 1), "{:?}", w.types(0));
}

#[test]
fn other_control_messages_count_as_payload() {
    // RE-FB-01, RE-FB-18
    let mut w = World::connected(2, 423);
    w.run(secs(60));
    w.log.clear();
    // An Update Request sent starts the Send Timer; lost, with its copies, it makes REAP explore
    w.pass = Box::new(|s| s.ty() > 65);
    let now = w.now;
    w.hosts[0].engine.set_send_timeout(now, secs(15));
    w.hosts[0].engine.set_send_timeout(now, secs(16));
    w.run(secs(17));
    assert_eq!(w.hosts[0].engine.counters().explorations, 1);
    // One received starts the Keepalive Timer
    let mut w = World::connected(2, 424);
    w.run(secs(60));
    let (a, b) = (w.hosts[0].a(0), w.hosts[1].a(0));
    let receiver_tag = w.info(0).expect("a context").local_tag;
    let ack = wire::UpdateAck { receiver_tag, request_nonce: 1, options: Options::default() };
    w.log.clear();
    w.inject(b, a, &Message::UpdateAck(ack));
    w.run(secs(6));
    assert_eq!(w.types(0), [66]);
}
