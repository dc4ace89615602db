//! Tests of alternative pairs while the current one works, standby, and the values of one context.

use super::duo::{Duo, What, index};
use super::*;
use std::cell::Cell;
use std::rc::Rc;

fn standby(until: Time) -> Option<Standby> {
    Some(Standby { pair: pair(3, 3), confirmed: secs(99.0), until })
}

fn start(d: &mut Duo, host: usize, on: LocatorPair) {
    d.with(host, |r, e| assert!(r.start_test(e, on)));
}

/// A pair of machines on which nothing but locators of one index reach each other, and a switch for each index.
fn duo(n: usize) -> (Duo, Rc<Cell<[bool; 4]>>) {
    let mut d = Duo::new(n, n, plain(), 3);
    let up = Rc::new(Cell::new([true; 4]));
    let path = up.clone();
    d.path = Box::new(move |_, _, l, p, _| l == p && path.get()[l]);
    (d, up)
}

#[test]
fn a_test_confirms_a_pair_and_moves_nothing() {
    // RE-FI-13, API-HOT-14
    let (mut d, _) = duo(2);
    d.app(0, 0.0, 0.02);
    d.app(1, 0.0, 0.02);
    d.run(5.0);
    start(&mut d, 0, pair(2, 2));
    let (at, local, peer, state, _) = d.probes(0, 5.0)[0];
    assert_eq!((at, local, peer, state), (5.0, 2, 2, ReapState::InboundOk));
    d.run(60.0);
    // The answer goes by the peer's current pair and says Operational
    let answers = d.probes(1, 5.0);
    assert_eq!(answers.len(), 1);
    assert_eq!((answers[0].1, answers[0].2, answers[0].3), (1, 1, ReapState::Operational));
    assert_eq!(d.nonces(0, (2, 2))[0].1, [0u32; 0], "Precvd is 0");
    assert_eq!(d.currents(), [(1, 1), (1, 1)]);
    assert_eq!(d.reap[0].testing(), None);
    assert_eq!(d.reap[0].counters().reports_unmatched, 0);
    assert!(!d.log.iter().any(|e| matches!(e.what, What::Started(_) | What::Pair(_))));
}

#[test]
fn a_test_without_answer_ends_on_the_current_pair() {
    // RE-FI-13, API-ERR-11
    let (mut d, up) = duo(2);
    up.set([true, true, false, true]);
    d.app(0, 0.0, 0.02);
    d.app(1, 0.0, 0.02);
    d.run(5.0);
    start(&mut d, 0, pair(2, 2));
    d.run(60.0);
    let probes: Vec<_> = d.probes(0, 5.0).iter().map(|p| (p.0, p.1)).collect();
    assert_eq!(probes, [(5.0, 2), (5.5, 2), (6.0, 2), (6.5, 2), (7.0, 1)]);
    assert_eq!((d.currents(), d.reap[0].counters().explorations), ([(1, 1), (1, 1)], 0));
}

#[test]
fn tests_do_not_hide_a_dead_pair() {
    // API-HOT-08, RE-FB-01: one-way traffic into a hole, while tests of another pair are answered
    let (mut d, _) = duo(2);
    let hole = Rc::new(Cell::new(false));
    let path = hole.clone();
    d.path = Box::new(move |_, host, l, p, _| l == p && !(path.get() && host == 0 && l == 1));
    d.app(0, 0.0, 0.02);
    d.run(20.0);
    hole.set(true);
    let mut tests = 0;
    for s in 20..40 {
        if d.states()[0] == ReapState::Operational && d.currents()[0] == (1, 1) {
            start(&mut d, 0, pair(2, 2));
            tests += 1;
        }
        d.run(f64::from(s) + 1.0);
    }
    let started = d.entries(0, |w| matches!(w, What::Started(FailureCause::SendTimeout)));
    assert!(tests > 10 && started.len() == 1 && started[0] < 36.0, "{tests} {started:?}");
    assert_eq!(d.currents()[0], (2, 2));
}

#[test]
fn a_test_of_a_quiet_flow_starts_no_exploration() {
    // RE-SM-39, API-HOT-14: a datagram now and then, one way, and a test after each
    let (mut d, _) = duo(2);
    d.app(0, 0.0, 40.0);
    d.run(0.2);
    for s in 0..10 {
        start(&mut d, 0, pair(2, 2));
        d.run(f64::from(s) * 20.0 + 20.0);
    }
    assert_eq!([0, 1].map(|h| d.reap[h].counters().explorations), [0, 0]);
    assert_eq!(d.currents(), [(1, 1), (1, 1)]);
}

#[test]
fn a_fresh_standby_replaces_the_current_pair_at_once() {
    // API-HOT-10, API-HOT-11
    for fresh in [true, false] {
        let mut one = One::new(3, 3);
        let until = if fresh { secs(130.0) } else { secs(110.0) };
        one.run(|r, _| r.set_standby(standby(until)));
        one.sent();
        let seen = one.pass(15.0);
        let at_15 = |a: &Action| seen.iter().any(|(t, b)| *t == 15.0 && a == b);
        let moved = at_15(&Action::PairChanged { old: pair(1, 1), new: pair(3, 3) });
        assert_eq!(moved, fresh);
        assert_eq!(one.reap.current(), if fresh { pair(3, 3) } else { pair(1, 1) });
        assert_eq!(one.reap.state(), ReapState::Exploring);
        let first = probes(&seen.into_iter().map(|(_, a)| a).collect::<Vec<_>>())[0].0;
        assert_eq!(first, one.reap.current(), "the new current pair is probed first");
    }
    // RE-FI-05: a hint moves nothing
    let mut one = One::new(3, 3);
    one.run(|r, _| r.set_standby(standby(secs(130.0))));
    one.run(|r, e| r.hint(e));
    assert_eq!(one.reap.current(), pair(1, 1));
    // A locator that is lost, or refused
    let mut one = One::new(3, 3);
    one.run(|r, _| r.set_standby(standby(secs(130.0))));
    one.run(|r, e| r.send_refused(e, pair(1, 1)));
    assert_eq!(one.reap.current(), pair(3, 3));
}

#[test]
fn an_exploration_ends_a_test() {
    // RE-FI-14
    let mut one = One::new(3, 3);
    let seen = one.run(|r, e| assert!(r.start_test(e, pair(2, 2)) && !r.start_test(e, pair(3, 3))));
    assert_eq!(probes(&seen)[0].0, pair(2, 2));
    let seen = one.run(|r, e| r.explore(e, FailureCause::Feedback));
    assert!(seen.contains(&Action::TestEnded { pair: pair(2, 2), outcome: TestOutcome::Aborted }));
    one.run(|r, e| assert!(!r.start_test(e, pair(2, 2))));
    // A late report of a test moves nothing either
    let block = ProbeBlock { source: pair(2, 2).local, destination: pair(2, 2).peer, nonce: 1, data: 0 };
    one.get(ReapState::Operational, pair(1, 1), 9, vec![block]);
    assert_eq!((one.reap.current(), index(one.reap.current().local)), (pair(1, 1), 1));
}

#[test]
fn a_context_has_values_of_its_own() {
    // API-PE-10, API-PE-11, API-PE-12, API-PE-14, API-PE-20, RE-C-14
    let mut one = One::new(2, 2);
    let own = Parameters {
        send_timeout: Some(Duration::from_secs(3)),
        initial_probes: Some(2),
        initial_probe_timeout: Some(Duration::from_millis(100)),
        keepalive_interval: Some(Duration::from_secs(2)),
        no_keepalives: false,
        careful: false,
    };
    one.run(|r, _| r.set_parameters(own));
    one.received();
    assert_eq!(keepalives(&one.pass(9.0)), [2.0, 4.0, 6.0, 8.0]);
    one.sent();
    let seen = one.pass(4.0);
    let at: Vec<f64> =
        seen.iter().filter(|(_, a)| matches!(a, Action::SendProbe { .. })).map(|(t, _)| *t).collect();
    assert_eq!(at[..4], [3.0, 3.1, 3.3, 3.7], "{at:?}");
    // A change takes effect at the next exploration
    one.run(|r, _| r.set_parameters(Parameters { initial_probes: Some(9), ..own }));
    let more = one.pass(3.0);
    assert!(more.iter().filter(|(_, a)| matches!(a, Action::SendProbe { .. })).count() < 4);
}

#[test]
fn keepalives_can_be_suppressed() {
    // API-TMO-10
    let mut one = One::new(2, 2);
    one.run(|r, _| r.set_parameters(Parameters { no_keepalives: true, ..Parameters::default() }));
    one.received();
    assert!(keepalives(&one.pass(40.0)).is_empty());
}
