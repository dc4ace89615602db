//! A host that lost its state (RFC 5533 sections 7.5, 7.17 to 7.20), and tags used twice (section 7.15, appendix C).

use super::matrix::offer;
use super::*;
use crate::engine::Dropped;
use crate::engine::IcmpKind;
use crate::event::DiscardReason;
use crate::wire::{I1, I2, Options, R2};

#[test]
fn payload_for_a_lost_context_rebuilds_it() {
    // LS-D-40
    // LS-F-02, LS-BIS-03
    // S6-7.5-1, S6-7.5-2, S6-7.5-5, S6-7.17-4, S6-7.20-7, S6-7.20-8, S6-B-5, S6-B-7, S6-B-38, LS-H-18
    let mut w = World::connected(2, 41);
    let before = w.info(0).unwrap();
    w.restart(1, 99);
    w.send_tagged(0, b"lost");
    w.run(ms(15));
    // S6-7.17-3: nothing is stored, and the payload is not delivered (S6-12.2-2)
    assert_eq!(w.hosts[1].engine.contexts().count(), 0);
    w.run(ms(200));
    w.assert_converged();
    let after = w.info(0).unwrap();
    assert_eq!(after.local_tag, before.local_tag);
    assert_ne!(after.peer_tag, before.peer_tag);
    w.send_tagged(0, b"there");
    w.send_tagged(1, b"back");
    w.run(ms(50));
    let data = |i: usize| w.hosts[i].delivered.iter().map(|d| (d.ulids, d.data.clone())).collect::<Vec<_>>();
    assert_eq!(data(1), [(w.ulids(1, 0), b"there".to_vec())]);
    assert_eq!(data(0), [(w.ulids(0, 1), b"back".to_vec())]);
}

#[test]
fn the_side_without_state_may_begin() {
    // S6-7.5-3, S6-B-54, S6-B-56, S6-C-1
    let mut w = World::connected(2, 42);
    let before = w.info(0).unwrap();
    w.restart(1, 98);
    w.establish(1, 0);
    w.run(ms(25));
    // R1, and the context untouched until the I2
    assert_eq!(w.info(0).unwrap(), before);
    w.run(ms(200));
    w.assert_converged();
    assert_eq!(w.info(0).unwrap().local_tag, before.local_tag);
    assert!(w.hosts[0].engine.counters().recovered > 0);
}

#[test]
fn recovery_and_establishment_cross() {
    // S6-7.5-4
    for delay in [0, 5, 12, 18, 25, 33] {
        let mut w = World::connected(2, 43);
        w.restart(1, 97);
        w.send_tagged(0, b"lost");
        w.run(ms(delay));
        w.establish(1, 0);
        w.run(secs(60));
        w.assert_converged();
    }
}

/// The program of the peer has ended while the last packets for it were under way, and another one begins: no path has
/// failed, and payload stays on the pair by which the new one was heard.
#[test]
fn a_peer_that_begins_anew_ends_the_doubts_about_its_path() {
    for delay in [0, 20, 60, 150, 700] {
        let mut w = World::connected(2, 48);
        w.run(secs(1));
        let (info, pair) = (w.info(0).unwrap(), w.ulids(0, 1).as_locators());
        let gone = std::rc::Rc::new(std::cell::Cell::new(true));
        let is_gone = gone.clone();
        w.pass = Box::new(move |s| s.host == 1 || !is_gone.get());
        let quote = wire::emit_payload_header(info.peer_tag.unwrap(), 17);
        w.hosts[0].engine.handle_icmp(w.now, IcmpKind::Unreachable, pair, &quote);
        w.flush();
        w.run(ms(delay));
        assert_eq!(w.hosts[0].engine.counters().explorations, 1);
        w.restart(1, 89);
        gone.set(false);
        w.establish(1, 0);
        w.run(secs(20));
        w.assert_converged();
        assert_ne!(w.info(0).unwrap().peer_tag, info.peer_tag);
        for host in &w.hosts {
            assert!(!host.events.iter().any(|e| matches!(e.kind, EventKind::PairChanged { .. })), "{delay}");
        }
        assert_eq!(w.info(0).unwrap().current, pair);
    }
}

#[test]
fn recovery_survives_the_loss_of_any_message() {
    // S6-7.19-1, S6-B-46, S6-7.14-3
    for lost in 0..8 {
        let mut w = World::connected(2, 44);
        w.restart(1, 96);
        let mut n = 0;
        w.pass = Box::new(move |_| {
            n += 1;
            n != lost + 1
        });
        // The application goes on
        for _ in 0..40 {
            w.send_tagged(0, b"payload");
            w.run(secs(1));
        }
        w.run(secs(20));
        w.assert_converged();
    }
}

#[test]
fn recovery_begins_by_a_probe_when_the_ulid_path_is_dead() {
    // S6-N-9, S6-N-10, S6-5.9-3, RE-PR-23, RE-SM-38, S6-N-21
    let mut w = World::connected(2, 45);
    w.restart(1, 95);
    let dead = [w.hosts[0].a(0), w.hosts[1].a(0)];
    w.pass = Box::new(move |s| !dead.contains(&s.pair.local) && !dead.contains(&s.pair.peer));
    w.traffic_lost(0, 1, 1, 100);
    w.run(secs(60));
    w.assert_converged();
    let i2bis = w.last(6);
    assert_eq!(i2bis.pair, LocatorPair { local: w.hosts[0].a(1), peer: w.hosts[1].a(1) });
    let Message::I2bis(m) = i2bis.message() else { panic!() };
    let ulids = w.ulids(0, 1);
    assert_eq!(m.options.ulid_pair, Some(wire::UlidPairOption { sender: ulids.local, receiver: ulids.peer }));
    assert_eq!(w.info(0).unwrap().current, i2bis.pair);
}

#[test]
fn an_i1_over_other_locators_names_the_ulids() {
    // LS-U-05, LS-I1-04, LS-I2-06, LS-G-01
    // S6-5.4-2, S6-5.6-3, S6-7.11-3, S6-5.15.6-1, S6-5.15.6-2, S6-5.15.6-4, S6-7.19-2
    let mut w = World::connected(2, 46);
    let ulids = w.ulids(0, 1);
    w.restart(1, 94);
    let dead = [w.hosts[0].a(0), w.hosts[1].a(0)];
    // R2 is lost, so that the I2bis falls back to I1
    let end = w.now + secs(60);
    w.pass = Box::new(move |s| {
        let silent = s.host == 1 && !matches!(s.ty(), 2 | 5) && s.at < end;
        !silent && !dead.contains(&s.pair.local) && !dead.contains(&s.pair.peer)
    });
    w.traffic_lost(0, 1, 1, 100);
    w.run(secs(300));
    let i1 = w.last(1);
    let Message::I1(m) = i1.message() else { panic!() };
    assert_ne!(i1.pair, ulids.as_locators());
    let option = Some(wire::UlidPairOption { sender: ulids.local, receiver: ulids.peer });
    assert_eq!(m.options.ulid_pair, option);
    w.assert_converged();
}

#[test]
fn tags_of_other_engines_are_left_to_them() {
    // LS-P-01, LS-P-03
    // S6-N-48, S6-E-7
    let mut w = World::connected(2, 47);
    w.restart(1, 93);
    w.hosts[1].set(|p| p.foreign = true);
    w.send_tagged(0, b"x");
    w.run(ms(100));
    assert_eq!(w.count(5), 0);
    assert_eq!(w.hosts[1].engine.counters().dropped(Dropped::ForeignTag), 1);
}

#[test]
fn replayed_recovery_messages_change_nothing() {
    // S6-16-8, S6-16-3, S6-B-45
    let mut w = World::connected(2, 48);
    w.restart(1, 92);
    w.send_tagged(0, b"x");
    w.run(ms(200));
    let (r1bis, i2bis) = (w.last(5), w.last(6));
    let (a, b) = (w.info(0), w.info(1));
    w.forward(&r1bis);
    w.forward(&i2bis);
    w.run(secs(40));
    w.forward(&r1bis);
    w.forward(&i2bis);
    assert_eq!((w.info(0), w.info(1)), (a, b));
}

#[test]
fn a_forged_r1bis_costs_a_recovery_only() {
    // S6-16-7
    let mut w = World::connected(2, 49);
    let peer_tag = w.info(0).unwrap().peer_tag.unwrap();
    let (a, b) = (w.hosts[0].a(0), w.hosts[1].a(0));
    let options = Options { validator: Some(vec![0; 20]), ..Options::default() };
    w.inject(b, a, &Message::R1bis(wire::R1bis { packet_tag: peer_tag, responder_nonce: 1, options }));
    assert_eq!(w.state(0), Some(ContextState::I2bisSent));
    w.run(secs(120));
    w.assert_converged();
}

/// A second context of host 0 with the same host, by its other address, and with the tag of the first.
fn second_context(w: &mut World, by_i2: bool, tag: ContextTag) -> UlidPair {
    let (a, second) = (w.hosts[0].a(0), w.hosts[1].a(1));
    let ulids = UlidPair { local: a, peer: second };
    let mut options = offer(w, 1);
    options.pds = w.hosts[1].addrs[0].identity.as_ref().unwrap().pds_for(&second).map(<[u8]>::to_vec);
    if by_i2 {
        w.inject(
            second,
            a,
            &Message::I1(I1 { initiator_tag: tag, initiator_nonce: 1, options: Options::default() }),
        );
        let Message::R1(r1) = w.last(2).message() else { panic!() };
        options.validator = r1.options.validator;
        let responder_nonce = r1.responder_nonce;
        let i2 = I2 { initiator_tag: tag, initiator_nonce: 1, responder_nonce, options };
        w.inject(second, a, &Message::I2(i2));
    } else {
        let now = w.now;
        w.hosts[0].engine.establish(now, ulids, None);
        w.intercept();
        let Message::I1(i1) = w.last(1).message() else { panic!() };
        let r2 = R2 { responder_tag: tag, initiator_nonce: i1.initiator_nonce, options };
        w.inject(second, a, &Message::R2(r2));
    }
    assert_eq!(w.hosts[0].engine.context(ulids).map(|c| c.peer_tag), Some(Some(tag)));
    ulids
}

#[test]
fn a_tag_used_twice_ends_the_old_context() {
    // LS-R2-04, LS-R2-08, LS-G-09, LS-F-08
    // S6-7.6-2, S6-7.6-3, S6-7.6-5, S6-7.14-1, S6-7.15-1, S6-7.15-2, S6-7.15-3, S6-7.15-4, S6-7.15-5, S6-7.15-6,
    // S6-7.15-7, S6-7.16-5, S6-B-70, S6-C-2, S6-N-28
    for by_i2 in [true, false] {
        for wanted in [false, true] {
            let mut w = World::connected(2, 50);
            w.hosts[0].set(|p| p.in_use = wanted);
            let old = w.info(0).unwrap();
            w.log.clear();
            w.pass = Box::new(|_| false);
            second_context(&mut w, by_i2, old.peer_tag.unwrap());
            let kinds = w.hosts[0].kinds();
            let discarded = kinds.contains(&EventKind::Discarded { reason: DiscardReason::Confusion });
            assert_eq!(discarded, !wanted);
            if wanted {
                let now = w.info(0).unwrap();
                assert_eq!((now.state, now.peer_tag), (ContextState::I1Sent, None));
            } else {
                assert_eq!(w.info(0), None);
            }
        }
    }
}

#[test]
fn no_confusion_without_a_common_tag_or_locator() {
    // S6-7.15-2, S6-7.15-3, S6-7.6-4
    let mut w = World::connected(2, 51);
    let old = w.info(0).unwrap();
    let other = ContextTag::new(old.peer_tag.unwrap().value() ^ 1);
    second_context(&mut w, true, other);
    assert_eq!(w.hosts[0].engine.contexts().count(), 2);

    // The same tag from another host
    let config = exact();
    let hosts = vec![hba(0xa, &[1, 2], 1), hba(0xb, &[1, 2], 2), hba(0xc, &[1, 2], 3)];
    let mut w = World::new(&config, 52, hosts);
    w.establish(0, 1);
    w.run(ms(100));
    let tag = w.info(0).unwrap().peer_tag.unwrap();
    let ulids = w.ulids(0, 2);
    w.establish(0, 2);
    w.intercept();
    let Message::I1(i1) = w.last(1).message() else { panic!() };
    let r2 = R2 { responder_tag: tag, initiator_nonce: i1.initiator_nonce, options: offer(&w, 2) };
    w.inject(ulids.peer, ulids.local, &Message::R2(r2));
    assert_eq!(w.hosts[0].engine.contexts().filter(|c| c.peer_tag == Some(tag)).count(), 2);
    assert_eq!(w.hosts[0].engine.counters().confused, 0);
}

#[test]
fn a_restarted_context_is_rebuilt_by_i1() {
    // LS-G-10
    // S6-7.15-6, S6-7.6-3
    let mut w = World::connected(2, 53);
    w.hosts[0].set(|p| p.in_use = true);
    let tag = w.info(0).unwrap().peer_tag.unwrap();
    // The real peer lost its state and has it again under another tag
    w.restart(1, 90);
    second_context(&mut w, true, tag);
    w.run(ms(200));
    let (a, b) = (w.info(0).unwrap(), w.info(1).unwrap());
    assert_eq!((a.state, b.state), (ContextState::Established, ContextState::Established));
    assert_eq!((a.peer_tag, b.peer_tag), (Some(b.local_tag), Some(a.local_tag)));
}

#[test]
fn a_new_context_never_takes_the_tag_that_was_lost() {
    // S6-7.20-7
    for seed in 0..4 {
        let (mut w, fake) = super::matrix::world_in(None);
        let mut engine_tags = Vec::new();
        for i in 0..4 {
            let i2bis = fake.i2bis(&w);
            let (a, b) = (w.hosts[0].a(0), w.hosts[1].a(0));
            w.inject(b, a, &Message::I2bis(wire::I2bis { initiator_nonce: seed * 10 + i, ..i2bis.clone() }));
            let info = w.info(0).unwrap();
            assert_ne!(info.local_tag, i2bis.packet_tag);
            engine_tags.push(info.local_tag);
            let (now, ulids) = (w.now, w.ulids(0, 1));
            w.hosts[0].engine.discard(now, ulids);
        }
        engine_tags.sort();
        engine_tags.dedup();
        assert_eq!(engine_tags.len(), 4);
    }
}
