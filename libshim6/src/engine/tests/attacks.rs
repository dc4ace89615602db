//! Strangers, forgers and garbage (RFC 5533 section 16, DESIGN section 6).

use super::matrix::{offer, world_in};
use super::*;
use crate::engine::Dropped;
use crate::wire::{DropReason, I1, I2, I2bis, Options, UlidPairOption};
use proptest::prelude::*;

/// What an attacker must not change.
fn snapshot(w: &World) -> (Vec<ContextInfo>, usize) {
    (w.hosts[0].engine.contexts().collect(), w.hosts[0].delivered.len())
}

#[test]
fn a_validator_is_good_for_one_exchange_only() {
    // LS-D-25
    // S6-7.10.1-2, S6-7.13-4, S6-7.13-6, S6-7.20-4, S6-7.20-6, S6-7.10.1-4, S6-N-7, S6-5.15.1-1, S6-B-4
    let (w, fake) = world_in(None);
    let i2 = fake.i2(&w);
    let (a, b) = (w.hosts[0].a(0), w.hosts[1].a(0));
    let (a2, b2) = (w.hosts[0].a(1), w.hosts[1].a(1));
    let bis = fake.i2bis(&w);
    let r1bis_validator = bis.options.validator.clone();
    type Change = Box<dyn Fn(&mut I2)>;
    let changes: Vec<(&str, Change)> = vec![
        ("tag", Box::new(|m| m.initiator_tag = ContextTag::new(m.initiator_tag.value() ^ 1))),
        ("responder nonce", Box::new(|m| m.responder_nonce = m.responder_nonce.wrapping_sub(1))),
        ("future nonce", Box::new(|m| m.responder_nonce = m.responder_nonce.wrapping_add(1))),
        ("octet", Box::new(|m| m.options.validator.as_mut().unwrap()[3] ^= 1)),
        ("shorter", Box::new(|m| m.options.validator.as_mut().unwrap().truncate(19))),
        ("empty", Box::new(|m| m.options.validator = Some(vec![]))),
        ("FII", Box::new(|m| m.options.fii = Some(1))),
        (
            "peer ULID",
            Box::new(move |m| m.options.ulid_pair = Some(UlidPairOption { sender: b2, receiver: a })),
        ),
        (
            "our ULID",
            Box::new(move |m| m.options.ulid_pair = Some(UlidPairOption { sender: b, receiver: a2 })),
        ),
        ("of an R1bis", Box::new(move |m| m.options.validator = r1bis_validator.clone())),
    ];
    for (what, change) in changes {
        let (mut w, _) = world_in(None);
        let mut m = i2.clone();
        change(&mut m);
        w.log.clear();
        w.inject(b, a, &Message::I2(m));
        assert_eq!((w.hosts[0].engine.contexts().count(), w.log.len()), (0, 0), "{what}");
        let c = w.hosts[0].engine.counters();
        assert_eq!(c.dropped(Dropped::BadValidator) + c.dropped(Dropped::StaleNonce), 1, "{what}");
    }
    // Other locators, with the ULIDs told
    let ulid_pair = Some(UlidPairOption { sender: b, receiver: a });
    for (from, to) in [(b2, a), (b, a2)] {
        let (mut w, _) = world_in(None);
        let m = I2 { options: Options { ulid_pair, ..i2.options.clone() }, ..i2.clone() };
        w.inject(from, to, &Message::I2(m));
        assert_eq!(w.hosts[0].engine.contexts().count(), 0);
        let m = I2bis { options: Options { ulid_pair, ..bis.options.clone() }, ..bis.clone() };
        w.inject(from, to, &Message::I2bis(m));
        assert_eq!(w.hosts[0].engine.contexts().count(), 0);
    }
    for (what, m) in [
        ("packet tag", I2bis { packet_tag: ContextTag::new(1), ..bis.clone() }),
        ("nonce", I2bis { responder_nonce: bis.responder_nonce ^ 1, ..bis.clone() }),
        ("of an R1", I2bis { options: i2.options.clone(), ..bis.clone() }),
    ] {
        let (mut w, _) = world_in(None);
        w.inject(b, a, &Message::I2bis(m));
        assert_eq!(w.hosts[0].engine.contexts().count(), 0, "{what}");
    }
    // Not bound: the Initiator Nonce (S6-7.11-4), an explicit FII 0 (S6-N-8), an explicit ULID pair that is the addresses
    let (mut w, _) = world_in(None);
    let options = Options { fii: Some(0), ulid_pair, ..i2.options.clone() };
    w.inject(b, a, &Message::I2(I2 { initiator_nonce: 42, options, ..i2 }));
    assert_eq!(w.state(0), Some(ContextState::Established));
}

#[test]
fn nobody_claims_the_ulid_of_another() {
    // LS-I2-17
    // S6-N-21, S6-16-2, S6-7.13-9, HC-USE-20
    let hosts = vec![hba(0xa, &[1, 2], 1), hba(0xb, &[1, 2], 2), hba(0xc, &[1, 2], 3)];
    let mut w = World::new(&exact(), 91, hosts);
    let (a, victim, attacker) = (w.hosts[0].a(0), w.hosts[1].a(0), w.hosts[2].a(0));
    let ulid_pair = Some(UlidPairOption { sender: victim, receiver: a });
    let tag = ContextTag::new(random());
    let i1 = |options| Message::I1(I1 { initiator_tag: tag, initiator_nonce: 1, options });
    let key = Options { ulid_pair, ..Options::default() };
    let attack = |w: &mut World, list: Options| {
        w.inject(attacker, a, &i1(key.clone()));
        let Message::R1(r1) = w.last(2).message() else { panic!() };
        let options = Options { validator: r1.options.validator, ulid_pair, ..list };
        let responder_nonce = r1.responder_nonce;
        let before = w.log.len();
        let i2 = I2 { initiator_tag: tag, initiator_nonce: 1, responder_nonce, options };
        w.inject(attacker, a, &Message::I2(i2));
        w.log[before..].iter().map(Sent::ty).collect::<Vec<_>>()
    };
    // Without list; with the victim's (which does not hold the attacker); with its own (whose PDS is not the victim's)
    let (plain, theirs, own) = (Options::default(), offer(&w, 1), offer(&w, 2));
    assert_eq!(attack(&mut w, plain), []);
    assert_eq!(attack(&mut w, theirs.clone()), []);
    assert_eq!(attack(&mut w, own), []);
    // With the victim's PDS and a list with the attacker in it
    let mut mixed = theirs.clone();
    mixed.locators.as_mut().unwrap().locators.push((1, attacker));
    assert_eq!(attack(&mut w, mixed), [68]);
    let mut signed = theirs;
    signed.locators.as_mut().unwrap().locators.push((2, attacker));
    signed.signature = Some(vec![7; 128]);
    assert_eq!(attack(&mut w, signed), [68]);
    assert_eq!(w.hosts[0].engine.contexts().count(), 0);
    let c = w.hosts[0].engine.counters();
    assert_eq!((c.dropped(Dropped::BadSource), c.dropped(Dropped::BadPds)), (2, 1));
    assert_eq!(c.dropped(Dropped::BadLocators), 2);
}

#[test]
fn a_bad_list_leaves_a_context_as_it_was() {
    // LS-R2-07
    // S6-N-51, S6-7.2-5, S6-7.2-6, S6-7.13-11, S6-7.20-12, S6-7.16-3, S6-7.16-4, S6-B-14, S6-B-25, S6-B-39, S6-16-2
    for state in [ContextState::I1Sent, ContextState::I2Sent, ContextState::I2bisSent] {
        let (mut w, fake) = world_in(Some(state));
        let before = snapshot(&w);
        let own = w.log.iter().rev().find(|s| s.host == 0 && matches!(s.ty(), 1 | 3 | 6)).unwrap();
        let initiator_nonce = match own.message() {
            Message::I1(m) => m.initiator_nonce,
            Message::I2(m) => m.initiator_nonce,
            Message::I2bis(m) => m.initiator_nonce,
            _ => panic!(),
        };
        let (a, b) = (w.hosts[0].a(0), w.hosts[1].a(0));
        for bad in 0..3 {
            let mut options = offer(&w, 1);
            let list = &mut options.locators.as_mut().unwrap().locators;
            match bad {
                0 => list[1].0 = 77,
                1 => list[1].1 = addr("2001:db8:bad::1"),
                _ => options.pds = offer(&w, 0).pds,
            }
            let validator = fake.i2(&w).options.validator;
            let i2 = I2 { options: Options { validator, ..options.clone() }, ..fake.i2(&w) };
            let validator = fake.i2bis(&w).options.validator;
            let i2bis = I2bis { options: Options { validator, ..options.clone() }, ..fake.i2bis(&w) };
            let r2 = wire::R2 { responder_tag: fake.tag, initiator_nonce, options };
            for m in [Message::I2(i2), Message::I2bis(i2bis), Message::R2(r2)] {
                let n = w.log.len();
                w.inject(b, a, &m);
                let sent: Vec<u8> = w.log[n..].iter().map(Sent::ty).collect();
                let expected: &[u8] = if bad == 2 { &[] } else { &[68] };
                assert_eq!(sent, expected, "{m:?}");
                assert_eq!(snapshot(&w), before);
            }
        }
    }
}

#[test]
fn an_attacker_evicts_nobody() {
    // S6-7.15-8, S6-N-28
    let hosts = vec![hba(0xa, &[1, 2], 1), hba(0xb, &[1, 2], 2), hba(0xc, &[1, 2], 3)];
    let mut w = World::new(&exact(), 92, hosts);
    w.establish(0, 1);
    w.run(ms(100));
    let victim = w.info(0).unwrap();
    let (a, attacker) = (w.hosts[0].a(0), w.hosts[2].a(0));
    let tag = victim.peer_tag.unwrap();
    w.inject(
        attacker,
        a,
        &Message::I1(I1 { initiator_tag: tag, initiator_nonce: 1, options: Options::default() }),
    );
    let Message::R1(r1) = w.last(2).message() else { panic!() };
    let mut options = offer(&w, 2);
    options.locators.as_mut().unwrap().locators.push((1, w.hosts[1].a(0)));
    options.validator = r1.options.validator;
    let responder_nonce = r1.responder_nonce;
    let mut i2 = I2 { initiator_tag: tag, initiator_nonce: 1, responder_nonce, options };
    w.inject(attacker, a, &Message::I2(i2.clone()));
    assert_eq!(w.hosts[0].engine.contexts().count(), 1);
    // With its own list it gets a context, and the victim keeps its own
    i2.options.locators.as_mut().unwrap().locators.pop();
    w.inject(attacker, a, &Message::I2(i2));
    assert_eq!(w.hosts[0].engine.contexts().count(), 2);
    assert_eq!(w.info(0).unwrap(), victim);
}

#[test]
fn floods_are_answered_at_a_bounded_rate_and_store_nothing() {
    // S6-N-47, S6-E-12, S6-7.10-1, S6-7.17-3, S6-16-5
    let mut w = World::pair(2, 93);
    let a = w.hosts[0].a(0);
    let options = Options::default;
    let flood = |w: &mut World, source: &dyn Fn(u32) -> Ipv6Addr| {
        w.log.clear();
        for i in 0..30_000u32 {
            let tag = ContextTag::new(u64::from(i) << 7);
            let m = match i % 3 {
                0 => Message::I1(I1 { initiator_tag: tag, initiator_nonce: i, options: options() }),
                1 => Message::Keepalive(wire::Keepalive { receiver_tag: tag, options: options() }),
                _ => Message::UpdateAck(wire::UpdateAck {
                    receiver_tag: tag,
                    request_nonce: i,
                    options: options(),
                }),
            };
            w.inject(source(i), a, &m);
            w.now = w.now + Duration::from_micros(33);
        }
        w.intercept();
        w.log.len()
    };
    let one = w.hosts[1].a(0);
    // One second from one /64: its first second's worth and another
    assert!((150..=201).contains(&flood(&mut w, &|_| one)));
    let many = |i: u32| Ipv6Addr::from((0x2001_0db8_1234_0000u128 + u128::from(i)) << 64 | 1);
    assert!((1000..=2001).contains(&flood(&mut w, &many)));
    assert_eq!(w.hosts[0].engine.contexts().count(), 0);
    assert!(w.hosts[0].engine.counters().dropped(Dropped::RateLimited) > 50_000);
}

#[test]
fn common_checks_come_before_any_answer() {
    // LS-ER-01, LS-CX-11
    // S6-12.3-1, S6-12.3-2, S6-12.3-3, S6-12.3-4, S6-12.3-5, S6-12.3-6, S6-5.3-4, S6-5.14-5, S6-5.15-9, S6-N-4,
    // S6-N-14, S6-N-15, S6-N-33, S6-5.14-8
    let (mut w, _) = world_in(None);
    let (a, b) = (w.hosts[0].a(0), w.hosts[1].a(0));
    let i1 = Message::I1(I1 {
        initiator_tag: ContextTag::new(9),
        initiator_nonce: 1,
        options: Options::default(),
    });
    let good = i1.emit().unwrap();
    let answered = |w: &mut World, from, to, data: &[u8]| {
        let n = w.log.len();
        w.deliver(from, to, data);
        w.log[n..].iter().map(Sent::ty).collect::<Vec<_>>()
    };
    assert_eq!(answered(&mut w, b, a, &good), [2]);
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        // A flipped P bit makes it payload, of bad length
        assert_eq!(answered(&mut w, b, a, &bad), [], "bit {bit}");
    }
    assert_eq!(answered(&mut w, b, a, &good[..8]), []);
    for from in ["ff02::1", "::"] {
        assert_eq!(answered(&mut w, addr(from), a, &good), []);
    }
    let mut trailing = good.clone();
    trailing.extend([1, 2, 3]);
    assert_eq!(answered(&mut w, b, a, &trailing), [2]);
    // Unknown types: Error 0 at octet 2 of the shim header, and nothing else
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut m = good.clone();
        change(&mut m);
        let c = wire::checksum(&m);
        m[4..6].copy_from_slice(&c.to_be_bytes());
        m
    };
    for ty in [0, 7, 59, 63, 69, 100, 127] {
        let m = with(&|m| m[2] = ty);
        assert_eq!(answered(&mut w, b, a, &m), [68], "type {ty}");
        let error = w.last(68);
        assert_eq!((error.pair.local, error.pair.peer), (a, b));
        let Message::Error(e) = error.message() else { panic!() };
        assert_eq!((e.code, e.pointer), (0, 42));
        let q = e.quoted().unwrap();
        assert_eq!((q.source, q.destination, q.message), (b, a, &m[..]));
        // S6-5.14-6: an Error is answered by nothing
        assert_eq!(answered(&mut w, a, b, &error.data), []);
    }
    // S = 1; other Next Header
    assert_eq!(answered(&mut w, b, a, &with(&|m| m[3] |= 1)), []);
    assert_eq!(answered(&mut w, b, a, &with(&|m| m[0] = 17)), [2]);
    // Options: unknown and critical, unknown and not, known but not listed and critical
    let with_option = |ty: u16| {
        with(&|m| {
            m.extend(ty.to_be_bytes());
            m.extend([0, 4, 0, 0, 0, 0]);
            m[1] += 1;
        })
    };
    assert_eq!(answered(&mut w, b, a, &with_option(9 << 1)), [2]);
    for ty in [9, 4000, 32000, 10] {
        let m = with_option(ty << 1 | 1);
        assert_eq!(answered(&mut w, b, a, &m), [68], "option {ty}");
        let Message::Error(e) = w.last(68).message() else { panic!() };
        assert_eq!((e.code, e.pointer), (1, 40 + 16));
    }
    let c = w.hosts[0].engine.counters();
    assert_eq!((c.dropped(Dropped::UnknownType), c.dropped(Dropped::CriticalOption)), (7, 4));
    assert_eq!(c.dropped(Dropped::Malformed(DropReason::NotShim6)), 1 + 1);
    assert_eq!(w.hosts[0].engine.contexts().count(), 0);
}

#[test]
fn error_messages_change_nothing() {
    // S6-N-14, S6-17-3, S6-5.14-8, S6-16-4
    let (mut w, _) = world_in(Some(ContextState::Established));
    let (a, b) = (w.hosts[0].a(0), w.hosts[1].a(0));
    let before = snapshot(&w);
    let own: Vec<Vec<u8>> = w.log.iter().filter(|s| s.host == 0).map(|s| s.data.clone()).collect();
    w.log.clear();
    for code in 0..=127 {
        for data in own.iter().chain([&vec![0; 16], &vec![0xff; 64]]) {
            let e = wire::ErrorMessage::quoting(code, a, b, data, 3);
            w.inject(b, a, &Message::Error(e));
        }
    }
    assert_eq!((snapshot(&w), w.log.len()), (before, 0));
}

#[test]
fn a_peer_with_a_stranger_in_the_path_learns_no_tag() {
    // S6-N-24, S6-B-12: an I1 with a forged ULID Pair option in I1-SENT
    let (mut w, _) = world_in(Some(ContextState::I1Sent));
    let (a, b) = (w.hosts[0].a(0), w.hosts[1].a(0));
    let options =
        Options { ulid_pair: Some(UlidPairOption { sender: b, receiver: a }), ..Options::default() };
    let i1 = I1 { initiator_tag: ContextTag::new(1), initiator_nonce: 1, options };
    w.log.clear();
    w.inject(addr("2001:db8:bad::1"), a, &Message::I1(i1));
    assert_eq!(w.types(0), [2]);
}

#[test]
fn payload_is_found_by_its_tag_alone_unless_strict() {
    // S6-12.2-1, S6-N-38, S6-12.1-3
    for strict in [false, true] {
        let mut config = exact();
        config.shim6.strict_payload_locators = strict;
        let mut w = World::new(&config, 94, vec![hba(0xa, &[1, 2], 1), hba(0xb, &[1, 2], 2)]);
        w.establish(0, 1);
        w.run(ms(100));
        let (a, tag) = (w.hosts[0].a(0), w.info(0).unwrap().local_tag);
        let mut packet = wire::emit_payload_header(tag, 58).to_vec();
        packet.extend(b"data");
        w.deliver(w.hosts[1].a(1), w.hosts[0].a(1), &packet);
        w.deliver(addr("2001:db8:bad::1"), a, &packet);
        let expected = Delivered { ulids: w.ulids(0, 1), next_header: 58, data: b"data".to_vec() };
        assert_eq!(w.hosts[0].delivered[0], expected);
        assert_eq!(w.hosts[0].delivered.len(), if strict { 1 } else { 2 });
        packet[1] = 1;
        w.deliver(w.hosts[1].a(0), a, &packet);
        let dropped = Dropped::Malformed(DropReason::BadPayloadHeader);
        assert_eq!(w.hosts[0].engine.counters().dropped(dropped), 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Octets of any kind, in every state, from the peer's address: no panic, and nothing changes by garbage.
    #[test]
    fn garbage_is_harmless(octets in proptest::collection::vec(any::<u8>(), 0..200), state in 0usize..5) {
        // S6-16-4, S6-16-5, DESIGN section 6
        let states = [
            None,
            Some(ContextState::I1Sent),
            Some(ContextState::I2Sent),
            Some(ContextState::I2bisSent),
            Some(ContextState::Established),
        ];
        let (mut w, _) = world_in(states[state]);
        let before = snapshot(&w);
        let (a, b) = (w.hosts[0].a(0), w.hosts[1].a(0));
        w.deliver(b, a, &octets);
        // The same with length and checksum put right
        let mut m = octets.clone();
        m.resize(m.len().next_multiple_of(8).max(8), 0);
        m[1] = (m.len() / 8 - 1) as u8;
        m[2] &= 0x7f;
        let c = wire::checksum(&m);
        m[4..6].copy_from_slice(&c.to_be_bytes());
        w.deliver(b, a, &m);
        prop_assert_eq!(snapshot(&w), before);
        w.run(secs(1));
    }

    /// Real messages with one octet changed and the checksum put right: no panic, never a second context, and the real
    /// exchange still converges.
    #[test]
    fn damaged_messages_are_harmless(at in 0usize..400, octet in any::<u8>(), which in 0usize..8) {
        // S6-16-3, S6-7.4-5
        let mut w = World::pair(2, 95);
        w.establish(0, 1);
        let mut n = 0;
        for _ in 0..50 {
            for sent in w.intercept() {
                if n == which && sent.data[2] < 0x80 {
                    let mut m = sent.data.clone();
                    let i = at % m.len();
                    m[i] = octet;
                    let len = (usize::from(m[1]) + 1) * 8;
                    if len <= m.len() {
                        let c = wire::checksum(&m[..len]);
                        m[4..6].copy_from_slice(&c.to_be_bytes());
                    }
                    w.deliver(sent.pair.local, sent.pair.peer, &m);
                }
                n += 1;
                w.forward(&sent);
            }
        }
        w.run(secs(200));
        for host in &w.hosts {
            prop_assert!(host.engine.contexts().filter(|c| c.fii == 0).count() <= 1);
        }
    }
}
