//! Probe schedule, pair order, blocks and reports (conformance parts C, H, I).

use super::*;
use ReapState::{Exploring, InboundOk, Operational};

fn pairs_of(log: &[(f64, Action)]) -> Vec<LocatorPair> {
    log.iter().flat_map(|(_, a)| probes(std::slice::from_ref(a))).map(|p| p.0).collect()
}

// RE-PS-07, RE-PS-06, RE-PS-08, RE-C-01, RE-C-02, RE-C-03, RE-C-11, RE-CX-06, RE-CX-09, RE-PS-17, RE-PS-21
#[test]
fn the_schedule_of_an_unanswered_exploration() {
    // LS-RP-11, RE-CX-15, LS-H-38
    let mut one = One::new(2, 2);
    one.bring_to(Exploring);
    let at: Vec<f64> = one.pass(400.0).iter().map(|(t, _)| *t).collect();
    assert_eq!(at, [0.5, 1.0, 1.5, 2.5, 4.5, 8.5, 16.5, 32.5, 64.5, 124.5, 184.5, 244.5, 304.5, 364.5]);
    assert_eq!(one.reap.state(), Exploring);
}

#[test]
fn sub_second_constants_work() {
    let mut one = One::new(3, 3);
    one.config.send_timeout = Duration::from_millis(250);
    one.config.initial_probe_timeout = Duration::from_millis(100);
    one.sent();
    let at: Vec<f64> = one.pass(1.0).iter().map(|(t, _)| (t * 1000.0).round()).collect();
    assert_eq!(at, [250.0, 250.0, 350.0, 450.0, 550.0, 750.0]);
}

// RE-PS-04, RE-PS-05, RE-PS-09, RE-PS-10
#[test]
fn the_order_of_pairs() {
    // LS-CX-08, LS-H-38
    let mut one = One::new(3, 3);
    let mut walk: Vec<_> = probes(&one.bring_to(Exploring)).iter().map(|p| p.0).collect();
    walk.extend(pairs_of(&one.pass(1000.0)).into_iter().take(17));
    let first: Vec<_> = walk[..9].to_vec();
    let expected = [(1, 1), (2, 2), (3, 3), (2, 3), (3, 2), (1, 2), (1, 3), (2, 1), (3, 1)];
    assert_eq!(first, expected.map(|(i, j)| pair(i, j)));
    assert_eq!(walk[9..18], first[..]);
}

// RE-SM-40, RE-AD-13: the local locator is gone; the best of the rest is probed in the same instant.
#[test]
fn local_loss_explores_at_once() {
    for (running, remaining, cause) in [
        (true, product(3, 3).into_iter().filter(|p| p.local != addr(0, 1)).collect::<Vec<_>>(), false),
        (false, product(3, 3).into_iter().filter(|p| p.peer != addr(1, 1)).collect(), true),
    ] {
        let mut one = One::new(3, 3);
        if running {
            one.sent()
        } else {
            one.received()
        };
        let actions = one.run(|r, e| r.set_candidates(e, remaining.clone()));
        let cause = if cause { FailureCause::PeerLocatorLost } else { FailureCause::LocalLocatorLost };
        assert_eq!(actions[0], Action::ExplorationStarted { cause, pair: pair(1, 1) });
        assert_eq!(probes(&actions)[0].0, pair(2, 2));
        assert!(!one.on(Timer::Send) && !one.on(Timer::Keepalive));
        let mut walk = vec![pair(2, 2)];
        walk.extend(pairs_of(&one.pass(10.0)).into_iter().take(5));
        walk.sort();
        let mut all = remaining;
        all.sort();
        assert_eq!(walk, all, "all that remain, and each once");
    }
}

// RE-PS-15, RE-SM-40: BROKEN is probed last; a current locator that becomes BROKEN is left.
#[test]
fn broken_locators_come_last() {
    let mut one = One::new(2, 2);
    let actions = one.run(|r, e| r.set_candidates_with_broken(e, product(2, 2), vec![addr(1, 1)]));
    let started = Action::ExplorationStarted { cause: FailureCause::PeerLocatorLost, pair: pair(1, 1) };
    assert_eq!(actions[0], started);
    let mut walk: Vec<_> = probes(&actions).iter().map(|p| p.0).collect();
    walk.extend(pairs_of(&one.pass(2.0)));
    assert_eq!(walk, [(2, 2), (1, 2), (2, 1), (1, 1)].map(|(i, j)| pair(i, j)));
}

// RE-PS-20: no restart of the series; what is gone is not probed, what is new comes in its place.
#[test]
fn locators_come_and_go_during_exploration() {
    let mut one = One::new(2, 2);
    one.bring_to(Exploring);
    assert_eq!(pairs_of(&one.pass(0.5)), [pair(2, 2)]);
    let due = one.reap.next_timeout();
    let changed = one.run(|r, e| {
        r.set_candidates(e, product(3, 2).into_iter().filter(|p| p.local != addr(0, 2)).collect())
    });
    assert!(changed.is_empty());
    assert_eq!(one.reap.next_timeout(), due);
    assert_eq!(pairs_of(&one.pass(3.9)), [pair(3, 2), pair(1, 2), pair(3, 1)]);
}

// RE-SM-33, RE-SM-34: a change between Exploring and InboundOk restarts the gap, and each walk goes on where it was.
#[test]
fn two_walks_and_a_fresh_series_after_each_change() {
    let mut one = One::new(3, 3);
    let order = one.reap.candidates.order(pair(1, 1), false);
    let mut exploring: Vec<_> = probes(&one.bring_to(Exploring)).iter().map(|p| p.0).collect();
    exploring.extend(pairs_of(&one.pass(8.5)));
    assert_eq!(exploring, order[..7]);
    // Heard: InboundOk starts at the beginning of its own walk, at the initial gap.
    let mut inbound: Vec<_> = probes(&one.run(|r, e| r.keepalive_received(e))).iter().map(|p| p.0).collect();
    assert_eq!(one.reap.state(), InboundOk);
    inbound.extend(pairs_of(&one.pass(1.6)));
    assert_eq!(inbound, order[..4]);
    // Silence: the Send Timer brings it back to Exploring, which goes on with its eighth pair.
    let log = one.pass(13.4);
    assert_eq!(one.reap.state(), Exploring);
    let (back, tail): (Vec<_>, Vec<_>) =
        log.into_iter().partition(|(_, a)| matches!(a, Action::SendProbe { state: InboundOk, .. }));
    inbound.extend(pairs_of(&back));
    assert_eq!(pairs_of(&tail), order[7..8]);
    assert_eq!(one.reap.next_timeout(), Some(one.now + Duration::from_millis(500)));
    // And again InboundOk, which goes on behind its last.
    let n = inbound.len();
    inbound.extend(probes(&one.run(|r, e| r.keepalive_received(e))).iter().map(|p| p.0));
    assert_eq!(inbound[n], order[n]);
    // Back to the start only through Operational.
    one.get(Operational, pair(1, 1), 1, vec![]);
    assert_eq!(probes(&one.bring_to(Exploring))[0].0, order[0]);
}

// RE-PS-11, RE-SM-35, RE-RP-06
#[test]
fn an_answer_goes_back_where_the_probe_came_from() {
    let mut one = One::new(2, 2);
    let p = probes(&one.get(Exploring, pair(2, 1), 7, vec![]));
    assert_eq!((p[0].0, p[0].1), (pair(2, 1), InboundOk));
    assert_eq!(one.reap.next_timeout(), Some(one.now + Duration::from_millis(500)));
    // And once more, as nothing comes
    assert_eq!(pairs_of(&one.pass(2.0)), [(1, 1), (2, 1), (2, 2), (1, 2)].map(|(i, j)| pair(i, j)));
    assert_eq!(one.reap.current(), pair(1, 1));
}

// RE-RP-19
#[test]
fn an_answer_goes_again_while_the_peer_is_silent() {
    let mut one = One::new(2, 2);
    one.get(Exploring, pair(2, 1), 7, vec![]);
    one.pass(0.1);
    one.run(|r, e| r.keepalive_received(e));
    assert_eq!(pairs_of(&one.pass(2.0)), [(1, 1), (2, 2), (1, 2)].map(|(i, j)| pair(i, j)));
    for heard in [false, true] {
        let mut one = One::new(2, 2);
        let sent = probes(&one.bring_to(Exploring))[0].2[0];
        one.pass(0.1);
        let answer = one.get(InboundOk, pair(1, 1), 1, vec![sent]);
        assert_eq!(probes(&answer).len(), 1);
        one.pass(0.1);
        if heard {
            one.received();
        }
        let again = one.pass(3.0);
        let copy = |a: &Action| matches!(a, Action::SendProbe { state: Operational, received, .. } if received.len() == 1);
        let copies = again.iter().filter(|(_, a)| copy(a)).count();
        assert_eq!(copies, if heard { 0 } else { 2 });
    }
}

// RE-PS-12, RE-PS-13, RE-FI-19: answers do not delay, count in or advance the schedule; one Probe per packet.
#[test]
fn frequent_probes_of_the_peer_do_not_starve_the_walk() {
    let mut one = One::new(2, 2);
    one.get(Exploring, pair(1, 1), 0, vec![]);
    let mut walk = Vec::new();
    for n in 1..200u32 {
        walk.extend(one.pass(0.02));
        let reaction = one.get(Exploring, pair(1, 1), n, vec![]);
        assert_eq!(probes(&reaction).len(), 1);
        assert_eq!(probes(&reaction)[0].0, pair(1, 1));
    }
    let at: Vec<f64> = walk.iter().map(|(t, _)| *t).collect();
    assert_eq!(at.len(), 4);
    assert_eq!(pairs_of(&walk), [pair(2, 2), pair(1, 2), pair(2, 1), pair(1, 1)]);
}

// RE-PS-14, RE-AD-02
#[test]
fn an_answer_never_goes_to_a_locator_that_is_no_candidate() {
    let mut one = One::new(2, 1);
    let p = probes(&one.get(Exploring, pair(1, 2), 7, vec![]));
    assert_eq!(p[0].0, pair(1, 1));
    let p = probes(&one.get(Exploring, pair(1, 2), 8, vec![]));
    assert_eq!(p[0].0, pair(1, 1));
}

// RE-PS-16
#[test]
fn a_refused_probe_is_replaced_in_the_same_slot() {
    let mut one = One::new(2, 2);
    one.bring_to(Exploring);
    let due = one.reap.next_timeout();
    let p = probes(&one.run(|r, e| r.send_refused(e, pair(1, 1))));
    assert_eq!(p[0].0, pair(2, 2));
    assert!(one.run(|r, e| r.send_refused(e, pair(1, 1))).is_empty(), "told twice");
    assert_eq!(one.reap.next_timeout(), due);
    assert_eq!(pairs_of(&one.pass(0.5)), [pair(1, 2)]);
    // All refuse: the Max Probe Timeout, or an address event.
    let mut last = pair(1, 2);
    for _ in 0..3 {
        last = probes(&one.run(|r, e| r.send_refused(e, last)))[0].0;
    }
    assert!(one.run(|r, e| r.send_refused(e, last)).is_empty());
    assert_eq!(one.reap.next_timeout(), Some(one.now + Duration::from_secs(60)));
    assert_eq!(probes(&one.run(|r, e| r.set_candidates(e, product(2, 2)))).len(), 1);
}

// RE-PS-16
#[test]
fn a_refused_payload_packet_starts_an_exploration_elsewhere() {
    let mut one = One::new(2, 2);
    assert!(one.run(|r, e| r.send_refused(e, pair(2, 2))).is_empty());
    let actions = one.run(|r, e| r.send_refused(e, pair(1, 1)));
    assert!(matches!(actions[0], Action::ExplorationStarted { cause: FailureCause::SendRefused, .. }));
    assert_eq!(probes(&actions)[0].0, pair(2, 2));
    let mut single = One::new(1, 1);
    assert!(single.run(|r, e| r.send_refused(e, pair(1, 1))).is_empty());
}

// RE-PS-16, RE-PS-20: without any pair the machine waits for an address.
#[test]
fn all_locators_gone_and_back() {
    let mut one = One::new(1, 2);
    let actions = one.run(|r, e| r.set_candidates(e, vec![]));
    assert_eq!(actions.len(), 1);
    assert!(one.pass(1000.0).is_empty());
    let p = probes(&one.run(|r, e| r.set_candidates(e, product(1, 2))));
    assert_eq!(p[0].0, pair(1, 2), "the lost pair comes last, its loss is older than the other's");
}

// RE-PR-04, RE-PR-07, RE-PR-15, RE-PR-17, RE-PR-19, RE-RP-01, RE-RP-18
#[test]
fn blocks_of_sent_probes() {
    // LS-KP-05, LS-KP-08
    let mut one = One::new(4, 5);
    let mut seen = probes(&one.bring_to(Exploring));
    for (_, a) in one.pass(3000.0) {
        seen.extend(probes(&[a]));
    }
    assert!(seen.len() > 40);
    let mut nonces: Vec<u32> = Vec::new();
    for (n, (p, sta, sent, received)) in seen.iter().enumerate() {
        assert_eq!(*sta, Exploring);
        assert_eq!((sent[0].source, sent[0].destination, sent[0].data), (p.local, p.peer, 0));
        assert_eq!(sent.len(), (n + 1).min(15));
        // Behind the first the most recent others, none twice.
        let others: Vec<u32> = sent[1..].iter().map(|b| b.nonce).collect();
        let mut expected: Vec<u32> = nonces.iter().rev().take(14).copied().collect();
        expected.truncate(others.len());
        assert_eq!(others, expected);
        assert!(received.is_empty());
        nonces.push(sent[0].nonce);
    }
    nonces.sort_unstable();
    nonces.dedup();
    assert_eq!(nonces.len(), seen.len());
    assert!(one.reap.records.len().0 <= 15 + 20);
}

// RE-PR-17: what the peer has reported is not repeated.
#[test]
fn reported_probes_are_not_repeated() {
    let mut one = One::new(2, 2);
    let a = probes(&one.bring_to(Exploring))[0].2[0];
    let b = probes(&[one.pass(0.5).remove(0).1])[0].2[0];
    let answer = probes(&one.get(Exploring, pair(2, 2), 4, vec![b]));
    assert!(answer[0].2.contains(&a) && !answer[0].2.contains(&b));
}

// RE-PR-11, RE-PR-13, RE-PR-14, RE-PR-18, RE-PR-25
#[test]
fn received_blocks_are_copies_once_each() {
    let mut one = One::new(2, 2);
    let first = probe(Exploring, pair(1, 1), 7, vec![]).sent[0];
    let second = probe(Exploring, pair(2, 1), 8, vec![]).sent[0];
    one.get(Exploring, pair(1, 1), 7, vec![]);
    let copy = probes(&one.get(Exploring, pair(1, 1), 7, vec![]));
    assert_eq!((copy.len(), copy[0].3.clone()), (1, vec![first]));
    let more = probes(&one.get(Exploring, pair(2, 1), 8, vec![]));
    assert_eq!(more[0].3, [first, second]);
    assert_eq!(first.data, 7 ^ 0x5a5a);
    let answer = probes(&one.get(InboundOk, pair(1, 1), 9, vec![]));
    assert_eq!((answer[0].1, answer[0].3.len()), (Operational, 3));
}

// RE-PR-19
#[test]
fn the_fifteen_latest_received_are_reported() {
    let mut one = One::new(2, 2);
    for n in 0..40 {
        let p = probes(&one.get(Exploring, pair(1, 1), n, vec![]));
        let nonces: Vec<u32> = p[0].3.iter().map(|b| b.nonce).collect();
        assert_eq!(nonces, Vec::from_iter((n + 1).saturating_sub(15)..=n));
    }
}

// RE-PR-12, RE-CX-04
#[test]
fn inbound_ok_by_payload_reports_nothing() {
    let mut one = One::new(2, 2);
    one.bring_to(Exploring);
    assert!(one.received().is_empty(), "from before the failure, told at the same instant");
    one.now = one.now + Duration::from_millis(1);
    let p = probes(&one.received());
    assert_eq!((p[0].1, p[0].3.len()), (InboundOk, 0));
}

// RE-PR-16, RE-CX-05, RE-SM-32
#[test]
fn the_reporting_window() {
    let mut one = One::new(2, 2);
    let first = probe(Exploring, pair(1, 1), 7, vec![]).sent[0];
    // The departure from Operational opens it ...
    assert_eq!(probes(&one.get(Exploring, pair(1, 1), 7, vec![]))[0].3, [first]);
    // ... and so does the entry into Exploring.
    let log = one.pass(15.1);
    assert_eq!(one.reap.state(), Exploring);
    let exploring: Vec<_> = log.iter().flat_map(|(_, a)| probes(std::slice::from_ref(a))).collect();
    assert!(exploring.last().unwrap().3.is_empty());
}

// RE-PR-20, RE-PR-21, RE-PR-19
#[test]
fn shedding_blocks() {
    let block = |n| ProbeBlock { source: addr(0, 1), destination: addr(1, 1), nonce: n, data: 0 };
    for (headers, state, sent, received, want) in [
        (0, InboundOk, 15, 15, (15, 15)),
        (24, InboundOk, 15, 15, (15, 15)),
        (25, InboundOk, 15, 15, (14, 15)),
        (600, InboundOk, 15, 15, (1, 14)),
        (600, InboundOk, 3, 2, (3, 2)),
        (1160, InboundOk, 15, 15, (1, 1)),
        (1160, Exploring, 15, 15, (1, 0)),
        (5000, InboundOk, 15, 15, (1, 1)),
    ] {
        let mut s: Vec<_> = (0..sent).map(block).collect();
        let mut r: Vec<_> = (100..100 + received).map(block).collect();
        shed(state, &mut s, &mut r, headers);
        assert_eq!((s.len(), r.len()), want, "{headers}");
        assert_eq!(s[0].nonce, 0);
        assert!(r.is_empty() || r.last().unwrap().nonce == 99 + received, "the latest stay");
    }
}

// RE-PR-09, RE-PR-24
#[test]
fn probes_that_do_not_describe_themselves_change_nothing() {
    let mut one = One::new(2, 2);
    let mut p = probe(Exploring, pair(1, 1), 7, vec![]);
    assert!(one.run(|r, e| r.probe_received(e, &p, pair(2, 1))).is_empty());
    p.sent.clear();
    assert!(one.run(|r, e| r.probe_received(e, &p, pair(1, 1))).is_empty());
    assert_eq!((one.reap.state(), one.reap.last_heard()), (Operational, None));
}

/// Blocks of the Probes that an exploration sends on each pair.
fn explored(one: &mut One) -> Vec<ProbeBlock> {
    let mut all = probes(&one.bring_to(Exploring));
    all.extend(one.pass(1.6).iter().flat_map(|(_, a)| probes(std::slice::from_ref(a))));
    all.into_iter().map(|p| p.2[0]).collect()
}

// RE-RP-06, RE-RP-07, RE-RP-08, RE-RP-12, RE-RP-13, RE-RP-16, RE-CX-03
#[test]
fn the_choice_among_reports() {
    for sta in [InboundOk, Operational] {
        for (reported, chosen) in [(vec![0, 1, 2], 0), (vec![1], 1), (vec![2, 1], 1), (vec![3, 2], 2)] {
            let mut one = One::new(2, 2);
            let sent = explored(&mut one);
            let order = one.reap.candidates.order(pair(1, 1), false);
            let reports = reported.iter().map(|i| sent[*i]).collect();
            let actions = one.get(sta, pair(2, 1), 5, reports);
            assert_eq!(one.reap.current(), order[chosen], "{sta:?} {reported:?}");
            let changed = Action::PairChanged { old: pair(1, 1), new: order[chosen] };
            assert_eq!(actions.contains(&changed), chosen != 0);
            for i in &reported {
                assert!(actions.contains(&Action::Reachable { pair: order[*i] }));
                assert!(one.reap.health().iter().any(|h| h.pair == order[*i] && h.outbound == Some(one.now)));
            }
            let inbound = one.reap.health().iter().find(|h| h.inbound.is_some()).unwrap();
            assert_eq!(inbound.pair, pair(2, 1));
            // RE-AD-08
            assert_eq!(inbound.outbound.is_some(), reported.iter().any(|i| order[*i] == pair(2, 1)));
        }
    }
}

// RE-RP-02, RE-RP-03, RE-RP-04, RE-RP-05, RE-FI-17: forged or stale reports move nothing, the transition stays.
#[test]
fn reports_that_match_nothing() {
    let mut one = One::new(2, 2);
    let sent = explored(&mut one);
    let mut wrong = [sent[1]; 3];
    wrong[0].nonce ^= 1;
    wrong[1].destination = addr(1, 1);
    wrong[2].source = addr(0, 1);
    let actions = one.get(InboundOk, pair(2, 2), 5, wrong.to_vec());
    assert_eq!((one.reap.state(), one.reap.current()), (Operational, pair(1, 1)));
    assert!(!actions.iter().any(|a| matches!(a, Action::Reachable { .. } | Action::PairChanged { .. })));
    assert_eq!(one.reap.counters().reports_unmatched, 3);
    assert_eq!(probes(&actions)[0].0, pair(1, 1));
}

// RE-RP-10, RE-EX-20
#[test]
fn reports_of_an_earlier_exploration_do_not_count() {
    let mut one = One::new(2, 2);
    let old = explored(&mut one);
    one.get(InboundOk, pair(2, 2), 5, vec![old[1]]);
    assert_eq!(one.reap.current(), pair(2, 2));
    one.bring_to(Exploring);
    let actions = one.get(InboundOk, pair(1, 1), 6, old);
    assert_eq!(one.reap.current(), pair(2, 2));
    assert!(!actions.iter().any(|a| matches!(a, Action::Reachable { .. })));
}

// RE-RP-09
#[test]
fn reports_count_in_operational_too() {
    let mut one = One::new(2, 2);
    let sent = explored(&mut one);
    one.get(InboundOk, pair(1, 1), 5, vec![]);
    assert_eq!(one.reap.current(), pair(1, 1));
    one.get(InboundOk, pair(1, 1), 6, vec![sent[2]]);
    assert_eq!(one.reap.current(), pair(1, 2));
}

// An extension of RE-RP-08: a Probe InboundOk without reports ended the exploration first; reports that follow still
// choose, once.
#[test]
fn a_choice_left_open_is_made_by_the_next_reports() {
    let mut one = One::new(2, 2);
    let sent = explored(&mut one);
    one.get(InboundOk, pair(2, 2), 5, vec![]);
    assert_eq!((one.reap.state(), one.reap.current()), (Operational, pair(1, 1)));
    one.get(Operational, pair(2, 2), 6, vec![sent[1]]);
    assert_eq!(one.reap.current(), pair(2, 2));
    one.get(Operational, pair(2, 2), 7, vec![sent[2]]);
    assert_eq!(one.reap.current(), pair(2, 2));
}

// RE-RP-11
#[test]
fn probe_operational_takes_a_pair_that_works() {
    for (arrived, reported, on) in [
        (pair(2, 2), vec![1usize, 2], pair(2, 2)),
        (pair(2, 1), vec![1], pair(2, 2)),
        (pair(2, 2), vec![], pair(1, 1)),
    ] {
        let mut one = One::new(2, 2);
        let sent = explored(&mut one);
        let p = probes(&one.get(InboundOk, arrived, 5, reported.iter().map(|i| sent[*i]).collect()));
        assert_eq!((p[0].0, p[0].1), (on, Operational));
    }
}

// RE-FI-05, RE-FI-06
#[test]
fn a_hint_tests_the_current_pair_once_per_send_timeout() {
    let mut one = One::new(2, 2);
    let actions = one.run(|r, e| r.hint(e));
    let p = probes(&actions);
    assert_eq!(p[0].0, pair(1, 1));
    one.now = one.now + Duration::from_millis(20);
    one.get(InboundOk, pair(1, 1), 5, vec![p[0].2[0]]);
    assert_eq!((one.reap.state(), one.reap.current()), (Operational, pair(1, 1)));
    assert!(one.run(|r, e| r.hint(e)).is_empty());
    one.run(|r, e| r.keepalive_received(e));
    one.now = one.now + Duration::from_secs(15);
    one.run(|r, e| r.keepalive_received(e));
    assert!(!one.run(|r, e| r.hint(e)).is_empty());
}

// The answer brought the node back to Operational on a pair that is gone: with payload to send it leaves it at once.
#[test]
fn a_lost_pair_is_not_waited_for() {
    let mut one = One::new(2, 2);
    one.run(|r, e| {
        r.set_candidates(e, product(2, 2).into_iter().filter(|p| p.local != addr(0, 1)).collect())
    });
    one.get(Operational, pair(2, 2), 5, vec![]);
    assert_eq!((one.reap.state(), one.reap.current()), (Operational, pair(1, 1)));
    one.sent();
    let log = one.pass(0.0);
    assert!(matches!(log[0].1, Action::ExplorationStarted { cause: FailureCause::LocalLocatorLost, .. }));
}

// RE-PS-18
#[test]
fn a_context_without_hope_or_traffic_has_given_up() {
    let mut one = One::new(2, 2);
    one.sent();
    one.pass(100.0);
    assert!(!one.reap.given_up(one.now, &one.config));
    one.pass(200.0);
    assert!(one.reap.given_up(one.now, &one.config));
    one.sent();
    assert!(!one.reap.given_up(one.now, &one.config));
}

// RE-OP-05
#[test]
fn counters() {
    let mut one = One::new(2, 2);
    one.received();
    one.pass(20.0);
    let sent = explored(&mut one);
    one.get(InboundOk, pair(2, 2), 5, vec![sent[1], sent[1]]);
    one.run(|r, e| r.keepalive_received(e));
    let c = one.reap.counters();
    assert_eq!((c.keepalives_sent, c.keepalives_received), (3, 1));
    assert_eq!((c.probes_sent, c.probes_received), ([1, 4, 0], [0, 0, 1]));
    assert_eq!((c.explorations, c.pair_changes, c.reports_matched, c.reports_unmatched), (1, 1, 2, 0));
}
