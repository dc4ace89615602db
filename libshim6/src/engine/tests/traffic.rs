//! Traffic: the trigger, REAP in the engine, idleness, delivery.

use super::*;
use crate::config::TriggerConfig;
use crate::engine::{IcmpKind, Wake};
use crate::event::{DiscardReason, FailureCause};
use crate::wire::ReapState;

fn with_trigger(trigger: TriggerConfig) -> World {
    let config = Config { trigger, ..exact() };
    World::new(&config, 71, vec![hba(0xa, &[1, 2], 1), hba(0xb, &[1, 2], 2)])
}

const OFF: TriggerConfig = TriggerConfig { bytes: None, age: None, packets: None };

#[test]
fn two_kilobytes_over_both_directions_trigger() {
    // LS-CX-10
    // LS-H-01, LS-H-02, S6-4-1, S6-4-2, S6-11-1
    let mut w = World::pair(2, 72);
    let (there, back) = (w.ulids(0, 1), w.ulids(1, 0));
    assert_eq!(w.hosts[0].engine.wake(there), Wake { on_sent: true, on_received: true, ..Wake::default() });
    w.traffic(0, 1, 10, 100);
    assert_eq!(w.hosts[0].engine.wake(there), Wake { after_bytes: Some(1048), ..Wake::default() });
    w.traffic(1, 0, 10, 100);
    assert_eq!(w.log.len(), 0);
    assert_eq!(w.hosts[1].engine.wake(back).after_bytes, Some(48));
    let now = w.now;
    w.hosts[1].engine.payload(now, back, Direction::Sent, 1, 48, None);
    w.run(ms(100));
    assert_eq!(w.types(1)[0], 1);
    assert_eq!(w.count(1), 1);
    w.assert_converged();
}

#[test]
fn a_flow_of_a_minute_triggers_at_its_next_datagram() {
    // LS-H-03, LS-H-04
    let mut w = World::pair(2, 73);
    let there = w.ulids(0, 1);
    w.traffic(0, 1, 1, 10);
    w.run(secs(59));
    w.traffic(0, 1, 1, 10);
    assert_eq!(w.hosts[0].engine.wake(there), Wake { after_bytes: Some(2028), ..Wake::default() });
    w.run(secs(600));
    assert_eq!(w.log.len(), 0);
    let wake = w.hosts[0].engine.wake(there);
    assert!(wake.on_sent && wake.on_received);
    w.traffic(0, 1, 1, 10);
    assert_eq!(w.count(1), 2);
}

#[test]
fn thresholds_can_be_set_and_switched_off() {
    // LS-H-05, LS-H-06, S6-2-5
    let mut w = with_trigger(TriggerConfig { bytes: Some(0), ..OFF });
    w.traffic(0, 1, 1, 1);
    assert_eq!(w.state(0), Some(ContextState::I1Sent));
    let mut w = with_trigger(TriggerConfig { age: Some(secs(0)), ..OFF });
    w.traffic(0, 1, 1, 1);
    assert_eq!(w.state(0), Some(ContextState::I1Sent));
    let mut w = with_trigger(TriggerConfig { packets: Some(50), ..OFF });
    w.traffic(0, 1, 49, 10_000);
    assert_eq!(w.state(0), None);
    let there = w.ulids(0, 1);
    assert_eq!(w.hosts[0].engine.wake(there), Wake { after_packets: Some(1), ..Wake::default() });
    w.traffic(0, 1, 1, 1);
    assert_eq!(w.state(0), Some(ContextState::I1Sent));
    let mut w = with_trigger(OFF);
    w.traffic(0, 1, 1_000_000, 1000);
    w.run(secs(600));
    w.traffic(0, 1, 1_000_000, 1000);
    assert_eq!((w.log.len(), w.hosts[0].engine.wake(there)), (0, Wake::default()));
    // It still answers
    w.establish(1, 0);
    w.run(ms(100));
    w.assert_converged();
}

#[test]
fn a_heuristic_replaces_the_thresholds() {
    // LS-H-07
    let run = |heuristic: Option<fn(PairTraffic) -> Option<bool>>| {
        let mut w = World::pair(2, 79);
        w.hosts[0].set(|p| p.heuristic = heuristic);
        let mut at = Vec::new();
        for n in 1..=10 {
            w.traffic_lost(0, 1, 1, 300);
            w.run(secs(1));
            if w.info(0).is_some() {
                at.push(n);
            }
        }
        at.first().copied()
    };
    // 2 KB are reached with the seventh datagram
    assert_eq!(run(None), Some(7));
    assert_eq!(run(Some(|_| None)), Some(7));
    assert_eq!(run(Some(|seen| Some(seen.packets >= 3))), Some(3));
    assert_eq!(run(Some(|seen| Some(seen.age >= secs(4)))), Some(5));
    assert_eq!(run(Some(|seen| Some(seen.bytes >= 2700))), Some(9));
    assert_eq!(run(Some(|_| Some(false))), None);
}

#[test]
fn traffic_that_no_context_can_serve_wakes_nobody() {
    // LS-H-01
    let mut w = World::pair(2, 80);
    let there = w.ulids(0, 1);
    // An address that the kernel has, but that is no locator, as those of `lo`
    w.hosts[0].engine.set_local_locators(w.now, vec![]);
    w.traffic_lost(0, 1, 100, 1000);
    assert_eq!((w.log.len(), w.hosts[0].engine.wake(there)), (0, Wake::default()));
    let locators = w.hosts[0].addrs.clone();
    w.hosts[0].engine.set_local_locators(w.now, locators);
    assert_eq!(w.hosts[0].engine.poll_changed(), Some(there), "there is something to wait for again");
    assert_eq!(w.hosts[0].engine.wake(there).after_bytes, Some(1));
    w.traffic(0, 1, 1, 1);
    assert_eq!(w.count(1), 1);

    let mut config = exact();
    config.shim6.max_contexts = 0;
    let mut w = World::new(&config, 81, vec![hba(0xa, &[1, 2], 1), hba(0xb, &[1, 2], 2)]);
    let there = w.ulids(0, 1);
    w.traffic_lost(0, 1, 100, 1000);
    assert_eq!((w.log.len(), w.hosts[0].engine.wake(there)), (0, Wake::default()));
}

#[test]
fn after_the_hold_down_the_next_datagram_tries_again() {
    // S6-7.8-4, S6-B-71, S6-B-72
    let mut w = with_trigger(TriggerConfig { bytes: Some(100), ..OFF });
    let there = w.ulids(0, 1);
    w.pass = Box::new(|_| false);
    w.traffic_lost(0, 1, 1, 200);
    w.run(secs(125));
    assert_eq!((w.count(1), w.info(0)), (5, None));
    assert_eq!(w.hosts[0].engine.wake(there), Wake::default());
    w.traffic_lost(0, 1, 1, 200);
    w.run(secs(60));
    assert_eq!(w.count(1), 5);
    assert_eq!(w.hosts[0].engine.wake(there).after_bytes, Some(1));
    w.traffic_lost(0, 1, 1, 1);
    assert_eq!(w.count(1), 6);
}

#[test]
fn an_idle_context_is_silent_and_goes_after_ten_minutes() {
    // LS-D-39
    // LS-CX-09
    // LS-H-15, LS-H-16, S6-9-4, S6-9-5, S6-9-6, RE-FB-13, S6-B-68, S6-12.1-1
    let mut w = World::connected(2, 74);
    w.run(secs(400));
    w.log.clear();
    // Plain traffic keeps it
    w.traffic(0, 1, 1, 1);
    w.traffic(1, 0, 1, 1);
    w.run(secs(599));
    assert!(w.state(0).is_some() && w.state(1).is_some());
    w.run(secs(2));
    assert_eq!((w.info(0), w.info(1)), (None, None));
    assert!(w.hosts[0].kinds().contains(&EventKind::Discarded { reason: DiscardReason::Idle }));
    w.log.clear();
    w.run(secs(3600));
    assert_eq!(w.log.len(), 0);
    assert_eq!(w.hosts[0].engine.poll_timeout(), None);
}

#[test]
fn a_context_that_a_socket_uses_stays() {
    // LS-G-11
    // S6-9-2, S6-9-3, LS-H-17
    let mut w = World::connected(2, 75);
    w.hosts[0].set(|p| p.in_use = true);
    w.run(secs(7200));
    assert_eq!(w.state(0), Some(ContextState::Established));
    assert_eq!(w.info(1), None);
    w.hosts[0].set(|p| p.in_use = false);
    w.run(secs(601));
    assert_eq!(w.info(0), None);
}

#[test]
fn the_idle_time_is_at_least_five_minutes() {
    // S6-9-4, LS-H-16
    let mut config = exact();
    config.shim6.idle_timeout = secs(1);
    let mut w = World::new(&config, 76, vec![hba(0xa, &[1, 2], 1), hba(0xb, &[1, 2], 2)]);
    w.establish(0, 1);
    w.run(secs(299));
    assert!(w.state(0).is_some());
    w.run(secs(3));
    assert_eq!(w.info(0), None);
}

#[test]
fn an_invalid_ulid_and_a_command_discard() {
    // LS-CX-13
    // S6-1-4, S6-B-69, S6-9-1
    let mut w = World::connected(2, 77);
    let (now, ulid) = (w.now, w.hosts[0].a(0));
    w.hosts[0].engine.ulid_invalidated(now, ulid);
    w.flush();
    assert_eq!(w.info(0), None);
    assert_eq!(w.hosts[0].kinds().last(), Some(&EventKind::Discarded { reason: DiscardReason::UlidInvalid }));
    let mut w = World::connected(2, 78);
    let (now, ulids) = (w.now, w.ulids(0, 1));
    w.hosts[0].engine.discard(now, ulids);
    w.flush();
    assert_eq!(w.info(0), None);
    w.log.clear();
    w.pass = Box::new(|_| false);
    w.run(secs(100));
    assert!(w.log.iter().all(|s| s.host == 1));
}

/// Both ends send a datagram each 100 ms while time passes; those between the ULIDs are lost if `pass` says so.
fn conversation(w: &mut World, rounds: usize, each: Duration) {
    for _ in 0..rounds {
        for from in [0, 1] {
            let ctx = w.info(from).unwrap();
            if ctx.current == ctx.ulids.as_locators() {
                let sent = Sent { at: w.now, host: from, pair: ctx.current, data: vec![0; 8] };
                let (there, back) = (w.ulids(from, 1 - from), w.ulids(1 - from, from));
                let now = w.now;
                w.hosts[from].engine.payload(now, there, Direction::Sent, 1, 100, None);
                if (w.pass)(&sent) {
                    w.hosts[1 - from].engine.payload(now, back, Direction::Received, 1, 100, None);
                }
            } else {
                w.send_tagged(from, b"datagram");
            }
        }
        w.run(each);
    }
}

#[test]
fn a_dead_path_is_left_and_payload_arrives_by_another() {
    // LS-D-34
    // LS-RP-04, LS-H-08
    // S6-1-1, S6-11-3, S6-11-4, S6-5.2-2, S6-5.2-3, S6-12.2-1, S6-12.2-3, S6-12.2-7, S6-7.2-3, S6-15-1, S6-2-1, RE-FB-16
    let mut w = World::connected(2, 79);
    conversation(&mut w, 20, ms(100));
    assert!(w.log.iter().all(|s| s.ty() < 64));
    let dead = [w.hosts[0].a(0), w.hosts[1].a(0)];
    let start = w.now;
    w.pass = Box::new(move |s| !dead.contains(&s.pair.local) && !dead.contains(&s.pair.peer));
    conversation(&mut w, 200, ms(100));
    for i in [0, 1] {
        let info = w.info(i).unwrap();
        assert_eq!(info.reap, ReapState::Operational);
        assert!(!dead.contains(&info.current.local) && !dead.contains(&info.current.peer));
        assert!(info.peer.iter().any(|l| l.addr == info.current.peer && l.probed && l.verified));
        let h = &w.hosts[i];
        let changed = h.events.iter().find(|e| matches!(e.kind, EventKind::PairChanged { .. })).unwrap();
        let silence = changed.at.since(start);
        assert!(silence < secs(17), "{silence:?}");
        assert!(
            h.delivered.iter().any(|d| d.data == b"datagram" && d.ulids == info.ulids && d.next_header == 17)
        );
        assert!(h.kinds().iter().any(|k| matches!(k, EventKind::ExplorationEnded { .. })));
    }
    // Quiet again (RE-FB-14)
    let n = w.log.len();
    conversation(&mut w, 100, ms(100));
    assert_eq!(w.log.len(), n);
}

#[test]
fn a_refused_send_moves_at_once() {
    // RE-PS-16 and issue 2: local link down within 200 ms
    let mut w = World::connected(2, 80);
    conversation(&mut w, 5, ms(100));
    let (now, ulids) = (w.now, w.ulids(0, 1));
    let dead = [w.hosts[0].a(0), w.hosts[1].a(0)];
    w.pass = Box::new(move |s| !dead.contains(&s.pair.local) && !dead.contains(&s.pair.peer));
    w.hosts[0].engine.send_refused(now, ulids, ulids.as_locators());
    w.run(ms(190));
    assert_ne!(w.info(0).unwrap().current, ulids.as_locators());
    let cause = w.hosts[0].kinds().into_iter().find_map(|k| match k {
        EventKind::ExplorationStarted { cause, .. } => Some(cause),
        _ => None,
    });
    assert_eq!(cause, Some(FailureCause::SendRefused));
}

#[test]
fn a_slow_reader_is_no_dead_path() {
    // RE-FB-23
    let mut w = World::connected(2, 81);
    w.run(secs(60));
    w.hosts[0].set(|p| p.unread = true);
    w.log.clear();
    w.traffic_lost(0, 1, 1, 10);
    w.run(secs(40));
    assert_eq!(w.hosts[0].engine.counters().explorations, 0);
    // And the peer gets its Keepalives
    assert!(w.log.iter().any(|s| s.host == 0 && s.ty() == 66));
    w.hosts[0].set(|p| p.unread = false);
    w.run(secs(60));
    w.traffic_lost(0, 1, 1, 10);
    w.pass = Box::new(|_| false);
    w.run(secs(20));
    assert_eq!(w.hosts[0].engine.counters().explorations, 1);
}

#[test]
fn wake_follows_reap() {
    // LS-H-12, S6-11-5
    let mut w = World::connected(2, 82);
    let there = w.ulids(0, 1);
    w.run(secs(60));
    let both = Wake { on_sent: true, on_received: true, ..Wake::default() };
    assert_eq!(w.hosts[0].engine.wake(there), both);
    w.traffic_lost(0, 1, 1, 10);
    assert_eq!(w.hosts[0].engine.wake(there), Wake::default());
    // Traffic has to be told in time for a Keepalive
    let now = w.now;
    assert!(w.hosts[0].engine.poll_timeout().unwrap() <= now + secs(5));
    w.pass = Box::new(|_| false);
    w.run(secs(20));
    assert_eq!(w.info(0).unwrap().reap, ReapState::Exploring);
    assert_eq!(w.hosts[0].engine.wake(there), Wake { on_received: true, ..Wake::default() });
}

#[test]
fn late_news_of_traffic_counts_from_its_true_time() {
    // RE-C-04, RE-FB-06, RE-FB-16
    let mut w = World::connected(2, 83);
    w.run(secs(60));
    w.pass = Box::new(|_| false);
    let (sent_at, there) = (w.now, w.ulids(0, 1));
    w.run(secs(3));
    w.hosts[0].engine.payload(sent_at, there, Direction::Sent, 1, 10, None);
    w.run(secs(20));
    let probe = w.log.iter().find(|s| s.ty() == 67).unwrap();
    assert_eq!(probe.at.since(sent_at), secs(15));
}

#[test]
fn icmp_errors_are_hints_about_the_current_pair() {
    // RE-FI-02
    // LS-RP-07, LS-RP-13, LS-CX-04
    // RE-FI-03, RE-FI-04, RE-FI-05, RE-FI-06, S6-8-8, S6-8-12, S6-N-45, S6-N-49
    let mut w = World::connected(2, 84);
    w.run(secs(60));
    let info = w.info(0).unwrap();
    let pair = info.current;
    let quote = |tag| wire::emit_payload_header(tag, 17).to_vec();
    let probes = |w: &World| w.log.iter().filter(|s| s.host == 0 && s.ty() == 67).count();
    let icmp = |w: &mut World, kind, pair, quoted: &[u8]| {
        let now = w.now;
        w.hosts[0].engine.handle_icmp(now, kind, pair, quoted);
        w.flush();
    };
    let other = LocatorPair { local: w.hosts[0].a(1), ..pair };
    icmp(&mut w, IcmpKind::Unreachable, pair, &quote(info.local_tag));
    icmp(&mut w, IcmpKind::Unreachable, other, &quote(info.peer_tag.unwrap()));
    icmp(&mut w, IcmpKind::PacketTooBig(1280), pair, &quote(info.peer_tag.unwrap()));
    icmp(&mut w, IcmpKind::Other, pair, &quote(info.peer_tag.unwrap()));
    icmp(&mut w, IcmpKind::Unreachable, pair, &[1, 2, 3]);
    assert_eq!(probes(&w), 0);
    for _ in 0..10 {
        icmp(&mut w, IcmpKind::Unreachable, pair, &quote(info.peer_tag.unwrap()));
        w.run(ms(200));
    }
    // RE-FI-01: one test, and the pair stays
    assert_eq!(w.hosts[0].engine.counters().explorations, 1);
    assert_eq!(w.info(0).unwrap().current, pair);
    assert_eq!(w.info(0).unwrap().reap, ReapState::Operational);
}

#[test]
fn one_context_serves_all_flows_of_a_pair() {
    // LS-H-09, LS-H-10
    // S6-1-5, S6-2-2
    let mut w = World::connected(2, 85);
    let there = w.ulids(0, 1);
    for port in 0..50 {
        let flow = FlowId { protocol: 17, local_port: port, peer_port: 9 };
        let now = w.now;
        w.hosts[0].engine.payload(now, there, Direction::Sent, 100, 100_000, Some(flow));
        w.hosts[0].engine.establish(now, there, Some(flow));
    }
    assert_eq!(w.hosts[0].engine.contexts().count(), 1);
    assert_eq!(w.count(1), 1);
}

#[test]
fn a_fork_is_served_beside_the_default_context() {
    // S6-4.2-2, S6-12.4-7, S6-N-39, S6-12.1-1
    let mut w = World::connected(2, 86);
    let (a, b) = (w.hosts[0].a(0), w.hosts[1].a(0));
    // Another process of host 1 forks: played by hand
    let tag = ContextTag::new(random());
    let fork = wire::Options { fii: Some(7), ..Default::default() };
    let i1 = wire::I1 { initiator_tag: tag, initiator_nonce: 1, options: fork.clone() };
    w.inject(b, a, &Message::I1(i1));
    let Message::R1(r1) = w.last(2).message() else { panic!() };
    let options = wire::Options { validator: r1.options.validator, ..fork };
    let responder_nonce = r1.responder_nonce;
    let i2 = wire::I2 { initiator_tag: tag, initiator_nonce: 1, responder_nonce, options };
    w.inject(b, a, &Message::I2(i2));
    let contexts: Vec<ContextInfo> = w.hosts[0].engine.contexts().collect();
    assert_eq!(contexts.iter().map(|c| c.fii).collect::<Vec<_>>(), [0, 7]);
    assert_ne!(contexts[0].local_tag, contexts[1].local_tag);
    // What we send goes by the default context; its tagged payload is told apart by the tag
    assert_eq!(w.info(0).unwrap().fii, 0);
    let mut packet = wire::emit_payload_header(contexts[1].local_tag, 17).to_vec();
    packet.extend(b"x");
    let d = Datagram { source: b, destination: a, data: &packet };
    let now = w.now;
    assert_eq!(w.hosts[0].engine.handle_datagram(now, &d).map(|d| d.fii), Some(7));
    // Received plain traffic is news for both: each keeps its peer process content (RE-FB-07)
    w.run(secs(60));
    w.log.clear();
    w.pass = Box::new(|_| false);
    let ulids = w.ulids(0, 1);
    let now = w.now;
    w.hosts[0].engine.payload(now, ulids, Direction::Received, 1, 1, None);
    w.run(secs(6));
    assert_eq!(w.types(0), [66, 66]);
}
