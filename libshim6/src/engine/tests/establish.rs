//! I1, R1, I2, R2 on a network that loses nothing or everything (RFC 5533 sections 7.3, 7.7 to 7.16).

use super::*;
use crate::engine::{Dropped, IcmpKind};
use crate::event::EventKind;
use crate::wire::DropReason;

#[test]
fn four_messages_establish_a_context() {
    // LS-D-11, LS-D-13
    // S6-7.3-1, S6-7.3-2, S6-7.7-1, S6-7.7-3, S6-7.13-7, S6-B-1, S6-B-3, S6-B-10, S6-B-24, S6-1-2, S6-13-1
    let mut w = World::pair(2, 1);
    assert_eq!(w.info(0), None);
    w.establish(0, 1);
    assert_eq!(w.state(0), Some(ContextState::I1Sent));
    w.run(ms(20));
    // S6-7.10-1: an R1 leaves nothing behind
    assert_eq!(w.state(0), Some(ContextState::I2Sent));
    assert_eq!(w.hosts[1].engine.contexts().count(), 0);
    w.run(ms(1000));
    assert_eq!(w.types(0)[..2], [1, 3]);
    assert_eq!(w.types(1)[..2], [2, 4]);
    w.assert_converged();
    for i in [0, 1] {
        let info = w.info(i).unwrap();
        assert_eq!(info.current, info.ulids.as_locators());
        assert_eq!(info.local.len(), 2);
        assert!(info.peer.iter().all(|l| l.verified && l.hba));
        assert!(w.hosts[i].kinds().iter().any(|k| matches!(k, EventKind::Established { .. })));
    }
}

#[test]
fn messages_agree_on_addresses_nonces_and_options() {
    // LS-D-26
    // S6-5.4-1, S6-7.10-2, S6-7.11-6, S6-7.14-4, S6-N-19, S6-N-23, S6-5.6-2, S6-5.6-5, S6-N-6, S6-5.15.2-3
    let mut w = World::pair(2, 2);
    w.establish(0, 1);
    w.run(ms(100));
    let (i1, r1, i2, r2) = (w.last(1), w.last(2), w.last(3), w.last(4));
    assert_eq!(i1.pair, w.ulids(0, 1).as_locators());
    assert_eq!(i2.pair, i1.pair);
    for r in [&r1, &r2] {
        assert_eq!((r.pair.local, r.pair.peer), (i1.pair.peer, i1.pair.local));
    }
    let (Message::I1(i1), Message::R1(r1), Message::I2(i2), Message::R2(r2)) =
        (i1.message(), r1.message(), i2.message(), r2.message())
    else {
        panic!("types")
    };
    assert_eq!(i1.options, Default::default());
    assert_eq!(r1.initiator_nonce, i1.initiator_nonce);
    assert_eq!((i2.initiator_tag, i2.initiator_nonce), (i1.initiator_tag, i1.initiator_nonce));
    assert_eq!(i2.responder_nonce, r1.responder_nonce);
    assert_eq!(i2.options.validator, r1.options.validator);
    assert_eq!(r2.initiator_nonce, i1.initiator_nonce);
    for (host, options) in [(0, &i2.options), (1, &r2.options)] {
        let list = options.locators.as_ref().unwrap();
        let addrs: Vec<(u8, Ipv6Addr)> = w.hosts[host].addrs.iter().map(|l| (1, l.addr)).collect();
        assert_eq!(list.locators, addrs);
        assert!(options.pds.is_some());
        // RE-KT-04: 15 s is not announced
        assert_eq!((&options.preferences, options.keepalive_timeout), (&None, None));
    }
}

#[test]
fn a_host_with_one_plain_address_takes_part() {
    // LS-D-20
    // S6-3-3, S6-N-37, LS-H-26, HC-USE-06
    let mut w = World::new(&exact(), 3, vec![vec![plain("2001:db8:a::1", 1)], hba(0xb, &[1, 2], 9)]);
    w.establish(0, 1);
    w.run(ms(100));
    w.assert_converged();
    let Message::I2(i2) = w.last(3).message() else { panic!() };
    assert_eq!((i2.options.locators, i2.options.pds), (None, None));
    assert_eq!(w.info(1).unwrap().peer.len(), 1);
    assert_eq!(w.info(0).unwrap().peer.len(), 2);
}

#[test]
fn i1_is_sent_five_times_and_then_held_down() {
    // LS-D-17
    // S6-7.8-1, S6-7.8-2, S6-7.8-3, S6-7.8-4, S6-7.8-7, S6-B-18, S6-B-19, S6-B-71, S6-B-72, S6-4-3, S6-14-1
    let mut w = World::pair(2, 4);
    w.pass = Box::new(|_| false);
    let start = w.now;
    w.establish(0, 1);
    w.run(secs(123));
    assert_eq!(w.state(0), Some(ContextState::I1Sent));
    w.run(secs(2));
    assert_eq!(w.info(0), None);
    let at: Vec<u64> = w.log.iter().map(|s| s.at.since(start).as_secs()).collect();
    assert_eq!(at, [0, 4, 12, 28, 60]);
    assert!(w.log.iter().all(|s| s.data == w.log[0].data && s.ty() == 1));
    assert_eq!(w.hosts[0].kinds(), [EventKind::EstablishFailed { no_support: false }]);
    w.run(secs(58));
    w.establish(0, 1);
    assert_eq!(w.log.len(), 5);
    w.run(secs(2));
    w.establish(0, 1);
    assert_eq!(w.log.len(), 6);
    // A new attempt has a new nonce (S6-7.7-4)
    assert_ne!(w.log[5].data, w.log[0].data);
}

#[test]
fn gaps_between_i1_are_randomised_after_doubling() {
    // S6-7.8-2, S6-14-2
    for seed in 0..40 {
        let mut w = World::new(&Config::default(), seed, vec![hba(0xa, &[1], 1), hba(0xb, &[1], 2)]);
        w.pass = Box::new(|_| false);
        w.establish(0, 1);
        w.run(secs(200));
        let gaps: Vec<f64> = w.log.windows(2).map(|p| p[1].at.since(p[0].at).as_secs_f64()).collect();
        assert_eq!(gaps.len(), 4, "seed {seed}");
        for (gap, base) in gaps.iter().zip([4.0, 8.0, 16.0, 32.0]) {
            assert!((base * 0.5..=base * 1.5).contains(gap), "seed {seed}: {gap} for {base}");
        }
    }
}

#[test]
fn i2_is_sent_three_times_then_i1_again_but_not_for_ever() {
    // LS-I2-11, LS-I2-12
    // S6-7.12-1, S6-7.12-2, S6-B-32, S6-B-33, S6-N-18, S6-N-19
    let mut w = World::pair(2, 5);
    w.pass = Box::new(|s| matches!(s.ty(), 1 | 2));
    w.establish(0, 1);
    w.run(secs(600));
    assert_eq!(w.info(0), None);
    let types = w.types(0);
    assert_eq!(types[..8], [1, 3, 3, 3, 1, 3, 3, 3]);
    assert_eq!(types.iter().filter(|t| **t == 1).count(), 5);
    assert_eq!(types.iter().filter(|t| **t == 3).count(), 15);
    let gap = |i: usize, j: usize| {
        let own: Vec<&Sent> = w.log.iter().filter(|s| s.host == 0 && s.ty() == 3).collect();
        own[j].at.since(own[i].at).as_secs()
    };
    assert_eq!((gap(0, 1), gap(1, 2)), (4, 8));
    assert!(w.hosts[0].kinds().contains(&EventKind::EstablishFailed { no_support: false }));
}

#[test]
fn a_peer_without_shim6_is_remembered_for_ten_minutes() {
    // LS-D-16, LS-D-17
    // S6-7.8-5, S6-7.8-6, S6-B-20, S6-B-74, S6-B-75, S6-N-13, S6-N-20, S6-8-11
    let mut w = World::pair(2, 6);
    w.pass = Box::new(|_| false);
    w.establish(0, 1);
    let i1 = w.last(1);
    let icmp = |w: &mut World, kind, pair, quoted: &[u8]| {
        let now = w.now;
        w.hosts[0].engine.handle_icmp(now, kind, pair, quoted);
        w.flush();
    };
    // Another nonce, another tag, another pair, another error, too little: not believed
    let mut other = i1.data.clone();
    other[15] ^= 1;
    icmp(&mut w, IcmpKind::UnrecognizedNextHeader, i1.pair, &other);
    let mut other = i1.data.clone();
    other[11] ^= 1;
    icmp(&mut w, IcmpKind::UnrecognizedNextHeader, i1.pair, &other);
    let pair = LocatorPair { local: w.hosts[0].a(1), ..i1.pair };
    icmp(&mut w, IcmpKind::UnrecognizedNextHeader, pair, &i1.data);
    icmp(&mut w, IcmpKind::Unreachable, i1.pair, &i1.data);
    icmp(&mut w, IcmpKind::UnrecognizedNextHeader, i1.pair, &i1.data[..15]);
    assert_eq!(w.state(0), Some(ContextState::I1Sent));
    icmp(&mut w, IcmpKind::UnrecognizedNextHeader, i1.pair, &i1.data);
    assert_eq!(w.info(0), None);
    assert_eq!(w.hosts[0].kinds(), [EventKind::EstablishFailed { no_support: true }]);
    // The key is the peer: another local ULID does not help
    let second = UlidPair { local: w.hosts[0].a(1), peer: w.hosts[1].a(0) };
    w.run(secs(599));
    let now = w.now;
    w.hosts[0].engine.establish(now, second, None);
    w.establish(0, 1);
    assert_eq!(w.log.len(), 1);
    w.run(secs(2));
    w.establish(0, 1);
    assert_eq!(w.log.len(), 2);
    // S6-N-13: about an I2 it means nothing
    w.pass = Box::new(|s| s.ty() != 4);
    w.run(secs(5));
    assert_eq!(w.state(0), Some(ContextState::I2Sent));
    let i2 = w.last(3);
    icmp(&mut w, IcmpKind::UnrecognizedNextHeader, i2.pair, &i2.data);
    assert_eq!(w.state(0), Some(ContextState::I2Sent));
}

#[test]
fn e_failed_and_no_support_do_not_hinder_the_peer() {
    // S6-B-73, S6-B-76
    for no_support in [false, true] {
        let mut w = World::pair(2, 7);
        w.pass = Box::new(|_| false);
        w.establish(0, 1);
        if no_support {
            let i1 = w.last(1);
            let now = w.now;
            w.hosts[0].engine.handle_icmp(now, IcmpKind::UnrecognizedNextHeader, i1.pair, &i1.data);
        } else {
            w.run(secs(125));
        }
        assert_eq!(w.info(0), None);
        w.pass = Box::new(|_| true);
        w.establish(1, 0);
        w.run(ms(100));
        w.assert_converged();
        // The entry is gone with it
        let (now, ulids) = (w.now, w.ulids(0, 1));
        w.hosts[0].engine.discard(now, ulids);
        w.establish(0, 1);
        assert_eq!(w.state(0), Some(ContextState::I1Sent), "no_support {no_support}");
    }
}

#[test]
fn validators_age() {
    // LS-I2-14
    // S6-7.13-3, S6-7.12-3, S6-16-3
    for (delay, accepted) in [(29, true), (32, false)] {
        let mut w = World::pair(2, 8);
        w.establish(0, 1);
        w.run(ms(10));
        let r1 = w.intercept().pop().unwrap();
        w.forward(&r1);
        let i2 = w.intercept().pop().unwrap();
        assert_eq!(i2.ty(), 3);
        w.pass = Box::new(|_| false);
        w.run(secs(delay));
        w.forward(&i2);
        assert_eq!(w.state(1).is_some(), accepted, "after {delay} s");
        let dropped = w.hosts[1].engine.counters().dropped(Dropped::StaleNonce);
        assert_eq!(dropped, u64::from(!accepted));
        // The initiator copes
        w.pass = Box::new(|_| true);
        w.run(secs(60));
        w.assert_converged();
    }
}

#[test]
fn an_r1_needs_nonce_pair_and_validator() {
    // S6-B-11, S6-B-30, S6-B-59, S6-B-6, S6-5.5-3, S6-7.11-2, S6-N-10, S6-N-35
    let mut w = World::pair(2, 9);
    w.establish(0, 1);
    w.run(ms(10));
    let r1 = w.intercept().pop().unwrap();
    let Message::R1(m) = r1.message() else { panic!() };
    let (from, to) = (r1.pair.local, r1.pair.peer);
    w.inject(from, to, &Message::R1(wire::R1 { initiator_nonce: m.initiator_nonce ^ 1, ..m.clone() }));
    let other = w.hosts[1].a(1);
    w.inject(other, to, &Message::R1(m.clone()));
    let here = w.hosts[0].a(1);
    w.inject(from, here, &Message::R1(m.clone()));
    w.inject(from, to, &Message::R1(wire::R1 { options: Default::default(), ..m.clone() }));
    assert_eq!(w.state(0), Some(ContextState::I1Sent));
    let c = w.hosts[0].engine.counters();
    assert_eq!(c.dropped(Dropped::NoMatch), 3);
    assert_eq!(c.dropped(Dropped::Malformed(DropReason::MissingOption)), 1);
    w.forward(&r1);
    assert_eq!(w.state(0), Some(ContextState::I2Sent));
    // In I2-SENT and ESTABLISHED it is ignored
    let sent = w.log.len();
    w.forward(&r1);
    assert_eq!((w.state(0), w.log.len()), (Some(ContextState::I2Sent), sent));
    w.run(ms(100));
    let sent = w.log.len();
    w.forward(&r1);
    assert_eq!((w.state(0), w.log.len()), (Some(ContextState::Established), sent));
}

#[test]
fn any_validator_is_copied() {
    // S6-5.6-2, S6-5.15.1-2, S6-5.15.1-3, S6-7.10.1-2
    for len in [0, 1, 7, 20, 64, 700] {
        let mut w = World::pair(20, 10);
        w.establish(0, 1);
        w.run(ms(10));
        let r1 = w.intercept().pop().unwrap();
        let Message::R1(mut m) = r1.message() else { panic!() };
        let validator: Vec<u8> = (0..len).map(|i| i as u8).collect();
        m.options.validator = Some(validator.clone());
        w.inject(r1.pair.local, r1.pair.peer, &Message::R1(m));
        let Message::I2(i2) = w.last(3).message() else { panic!() };
        assert_eq!(i2.options.validator, Some(validator));
        // S6-5.1-2, S6-5.1-3: what does not fit is left out, the ULID never
        assert!(w.last(3).data.len() <= 1240);
        let list = i2.options.locators.unwrap();
        assert_eq!(list.locators[0].1, w.hosts[0].a(0));
        assert_eq!(list.locators.len() == 20, len < 100, "{} locators beside {len}", list.locators.len());
    }
}

#[test]
fn a_list_without_room_in_the_i2_follows_in_an_update() {
    // S6-5.1-2, S6-5.1-3, S6-5.10-4, S6-7.2-4
    for (locators, len) in [(20, 700), (2, 1150)] {
        let mut w = World::pair(locators, 10);
        w.establish(0, 1);
        w.run(ms(10));
        let r1 = w.intercept().pop().unwrap();
        let Message::R1(mut m) = r1.message() else { panic!() };
        let (nonce, validator) = (m.initiator_nonce, vec![7; len]);
        m.options.validator = Some(validator);
        w.inject(r1.pair.local, r1.pair.peer, &Message::R1(m));
        let Message::I2(i2) = w.last(3).message() else { panic!() };
        let told = i2.options.locators.map_or(1, |l| l.locators.len());
        let all = usize::from(locators);
        assert!(told < all, "{told} of {locators} locators");
        w.intercept();
        let tag = crate::addr::ContextTag::new(77);
        let r2 = wire::R2 { responder_tag: tag, initiator_nonce: nonce, options: wire::Options::default() };
        w.inject(r1.pair.local, r1.pair.peer, &Message::R2(r2));
        assert_eq!(w.state(0), Some(ContextState::Established));
        let Message::UpdateRequest(u) = w.last(64).message() else { panic!() };
        assert_eq!(u.options.locators.unwrap().locators.len(), all);
        assert_eq!(u.options.pds.is_some(), told == 1, "the PDS goes with the first list");
        assert!(w.last(64).data.len() <= 1240);
    }
}

#[test]
fn the_flow_option_finds_the_process() {
    // LS-P-04
    // S6-N-48, S6-E-7
    let mut w = World::pair(2, 11);
    let flow = FlowId { protocol: 17, local_port: 1000, peer_port: 2000 };
    w.hosts[1].set(|p| p.serves = false);
    let (now, ulids) = (w.now, w.ulids(0, 1));
    w.hosts[0].engine.establish(now, ulids, Some(flow));
    w.run(ms(100));
    assert_eq!(w.count(2), 0);
    assert_eq!(w.hosts[1].engine.counters().dropped(Dropped::NotServed), 1);
    let asked = w.hosts[1].policy.lock().unwrap().asked_flow;
    assert_eq!(asked, Some(FlowId { protocol: 17, local_port: 2000, peer_port: 1000 }));
    w.hosts[1].set(|p| p.serves = true);
    w.run(secs(5));
    w.assert_converged();
}

#[test]
fn the_keepalive_timeout_is_announced_when_unusual() {
    // RE-KT-06, RE-CX-11
    // LS-KP-07, LS-KT-01, LS-KT-02, LS-F-10, LS-CX-02
    // RE-KT-03, RE-KT-05, RE-KT-07, RE-KT-11
    let mut config = exact();
    config.reap.send_timeout = ms(1500);
    let mut w = World::new(&config, 12, vec![hba(0xa, &[1, 2], 1), hba(0xb, &[1, 2], 2)]);
    w.establish(0, 1);
    w.run(ms(100));
    let (Message::I2(i2), Message::R2(r2)) = (w.last(3).message(), w.last(4).message()) else { panic!() };
    assert_eq!((i2.options.keepalive_timeout, r2.options.keepalive_timeout), (Some(2), Some(2)));
    let now = w.now;
    w.hosts[0].engine.set_send_timeout(now, secs(15));
    w.run(ms(100));
    let Message::UpdateRequest(u) = w.last(64).message() else { panic!() };
    let both =
        wire::Options { keepalive_timeout: Some(15), precise_timeout: Some(15_000), ..Default::default() };
    assert_eq!(u.options, both);
    assert_eq!(w.count(65), 1);
}

#[test]
fn a_forked_context_has_its_own_key() {
    // S6-4.2-3, LS-I1-03, LS-I2-07
    // S6-4.2-1, S6-5.4-3, S6-5.6-4, S6-7.7-2, S6-2-2, S6-N-8, S6-N-39
    let mut w = World::pair(2, 13);
    w.hosts[0].set(|p| p.owns_default = false);
    w.establish(0, 1);
    w.run(ms(100));
    let a = w.info(0).unwrap();
    assert_ne!(a.fii, 0);
    assert_eq!(w.info(1).unwrap().fii, a.fii);
    let (Message::I1(i1), Message::I2(i2)) = (w.last(1).message(), w.last(3).message()) else { panic!() };
    assert_eq!((i1.options.fii, i2.options.fii), (Some(a.fii), Some(a.fii)));
    // An I1 of the default context, FII 0 explicit: another key
    let tag = ContextTag::new(random());
    let (from, to) = (w.hosts[0].a(0), w.hosts[1].a(0));
    let options = wire::Options { fii: Some(0), ..Default::default() };
    w.inject(from, to, &Message::I1(wire::I1 { initiator_tag: tag, initiator_nonce: 5, options }));
    assert_eq!(w.count(2), 2);
    assert_eq!(w.hosts[1].engine.contexts().count(), 1);
}

#[test]
fn the_table_has_a_cap() {
    // S6-7.1-5 and DESIGN section 6
    let mut config = exact();
    config.shim6.max_contexts = 1;
    let hosts = vec![hba(0xa, &[1, 2], 1), hba(0xb, &[1, 2], 2)];
    let mut w = World::new(&config, 14, hosts);
    w.establish(0, 1);
    w.run(ms(100));
    w.assert_converged();
    let second = UlidPair { local: w.hosts[0].a(1), peer: w.hosts[1].a(0) };
    let now = w.now;
    w.hosts[0].engine.establish(now, second, None);
    assert_eq!(w.hosts[0].engine.contexts().count(), 1);
    assert_eq!(w.hosts[0].engine.counters().dropped(Dropped::Full), 1);
}

#[test]
fn unservable_ulids_get_no_context() {
    // S6-1-3, S6-N-40
    let mut w = World::pair(1, 15);
    let own = w.hosts[0].a(0);
    for peer in ["ff02::1", "fe80::1", "::1", "::ffff:1.2.3.4", "::"] {
        let now = w.now;
        w.hosts[0].engine.establish(now, UlidPair { local: own, peer: addr(peer) }, None);
    }
    let now = w.now;
    w.hosts[0].engine.establish(now, UlidPair { local: own, peer: own }, None);
    let nobody = UlidPair { local: addr("2001:db8:ffff::1"), peer: w.hosts[1].a(0) };
    w.hosts[0].engine.establish(now, nobody, None);
    assert_eq!(w.hosts[0].engine.contexts().count(), 0);
    assert_eq!(w.hosts[0].engine.poll_transmit(), None);
}
