//! Timers and counting (conformance parts A, F): what starts, stops and ticks when.

use super::*;

// RE-FB-20, RE-FB-13
#[test]
fn a_new_context_is_operational_and_idle() {
    let mut one = One::new(2, 2);
    assert_eq!(one.reap.state(), ReapState::Operational);
    assert!(!one.reap.timers_running());
    assert!(one.pass(3600.0).is_empty());
}

// RE-C-04, RE-C-05, RE-C-01, RE-C-02, RE-C-03, RE-CX-07
#[test]
fn defaults_are_those_of_the_rfc() {
    let c = ReapConfig::default();
    assert_eq!(c.send_timeout, Duration::from_secs(15));
    assert_eq!(c.initial_probe_timeout, Duration::from_millis(500));
    assert_eq!(c.initial_probes, 4);
    assert_eq!(c.max_probe_timeout, Duration::from_secs(60));
    assert!(c.jitter);
    let mut one = One::new(1, 1);
    one.received();
    assert_eq!(one.reap.timers.deadline(Timer::Keepalive), Some(one.now + Duration::from_secs(15)));
}

// RE-FB-05, RE-FB-07, RE-FB-08, RE-FB-09, RE-FB-11, RE-FB-12, RE-FB-15, RE-C-06, RE-C-10, RE-KA-13, RE-CX-01
#[test]
fn keepalives_at_5_10_and_15_seconds_then_silence() {
    let mut one = One::new(1, 1);
    one.received();
    // More payload neither restarts nor ends it.
    let mut seen = Vec::new();
    for i in 0..14 {
        seen.extend(keepalives(&one.pass(1.0)).into_iter().map(|t| t + f64::from(i)));
        one.received();
    }
    assert_eq!(seen, [5.0, 10.0]);
    let rest = one.pass(100.0);
    assert_eq!(keepalives(&rest), [1.0]);
    assert!(rest.iter().all(|(_, a)| *a == Action::SendKeepalive { pair: pair(1, 1) }));
    assert!(!one.reap.timers_running());
}

// RE-FB-09 for a timeout that three does not divide, RE-KT-08
#[test]
fn a_tick_that_meets_the_expiry_is_one_keepalive() {
    let mut one = One::new(1, 1);
    one.run(|r, _| r.set_keepalive_timeout(Duration::from_secs(1)));
    one.received();
    let at = keepalives(&one.pass(10.0));
    assert_eq!(at.len(), 3, "{at:?}");
    assert_eq!(at[2], 1.0);
}

// RE-FB-10
#[test]
fn own_payload_ends_the_keepalives() {
    // LS-RP-08, LS-CX-01
    let mut one = One::new(1, 1);
    one.received();
    assert_eq!(keepalives(&one.pass(6.0)), [5.0]);
    one.sent();
    one.run(|r, e| r.keepalive_received(e));
    assert!(one.pass(100.0).is_empty());
}

// RE-FB-02
#[test]
fn keepalives_start_neither_timer() {
    let mut one = One::new(1, 1);
    one.run(|r, e| r.keepalive_received(e));
    assert!(!one.reap.timers_running());
    one.received();
    one.pass(6.0);
    assert!(!one.on(Timer::Send));
}

// RE-FB-06, RE-FB-16, RE-FB-17, RE-PS-09
#[test]
fn failure_is_declared_send_timeout_after_the_first_unanswered_packet() {
    let mut one = One::new(2, 2);
    for _ in 0..14 {
        one.sent();
        assert!(one.pass(1.0).is_empty());
    }
    one.sent();
    let log = one.pass(1.2);
    assert_eq!(log[0].0, 1.0);
    let started = Action::ExplorationStarted { cause: FailureCause::SendTimeout, pair: pair(1, 1) };
    assert_eq!(log[0].1, started);
    assert!(matches!(&log[1].1, Action::SendProbe { pair: p, .. } if *p == pair(1, 1)));
    assert_eq!(one.reap.state(), ReapState::Exploring);
}

// RE-FB-14
#[test]
fn two_way_traffic_makes_no_packet() {
    let mut one = One::with(ReapConfig::default(), 2, 2);
    for _ in 0..300 {
        one.sent();
        assert!(one.pass(2.0).is_empty());
        one.received();
        assert!(one.pass(2.0).is_empty());
    }
}

// RE-FB-23: unread data is told when the Send Timer has run out, and prevents the exploration.
#[test]
fn unread_data_counts_as_heard() {
    let mut one = One::new(2, 2);
    one.sent();
    assert!(!one.reap.send_timer_due(one.now + Duration::from_millis(14_999)));
    one.now = one.now + Duration::from_secs(15);
    assert!(one.reap.send_timer_due(one.now));
    one.received();
    assert!(!one.reap.send_timer_due(one.now));
    assert!(one.timeout().is_empty());
    assert_eq!(one.reap.state(), ReapState::Operational);
}

// RE-FB-19, RE-SM-36
#[test]
fn an_r2_starts_the_keepalive_timer() {
    let mut one = One::new(1, 1);
    // Sending the I2 counts as payload.
    one.sent();
    one.run(|r, e| r.established_by_r2(e));
    assert_eq!(keepalives(&one.pass(100.0)), [5.0, 10.0, 15.0]);
}

// RE-KT-08, RE-KT-09, RE-KT-10, RE-KT-11, RE-EX-15 (the interval)
#[test]
fn an_announced_timeout_counts_from_the_next_start() {
    let mut one = One::new(1, 1);
    one.received();
    one.run(|r, _| r.set_keepalive_timeout(Duration::from_secs(60)));
    one.run(|r, _| r.set_keepalive_timeout(Duration::ZERO));
    assert_eq!(one.reap.timers.deadline(Timer::Keepalive), Some(one.now + Duration::from_secs(15)));
    one.pass(15.0);
    one.received();
    assert_eq!(keepalives(&one.pass(100.0)), [20.0, 40.0, 60.0]);
    one.sent();
    assert_eq!(one.reap.timers.deadline(Timer::Send), Some(one.now + Duration::from_secs(15)));
}

// RE-C-06, RE-C-09, RE-C-10
#[test]
fn jitter_keeps_to_its_bounds() {
    let mut lengths = Vec::new();
    for seed in 0..200 {
        let mut one = One::with(ReapConfig::default(), 2, 2);
        one.rng = SeededRng::new(seed);
        one.sent();
        let send = one.reap.timers.deadline(Timer::Send).unwrap() - one.now;
        assert!(send >= Duration::from_secs(15) && send <= Duration::from_millis(16_500));
        one.received();
        let tick = one.reap.timers.deadline(Timer::Interval).unwrap() - one.now;
        assert!(tick >= Duration::from_secs(5) && tick <= Duration::from_millis(7500));
        one.run(|r, e| r.explore(e, FailureCause::SendTimeout));
        let mut last = 0.0;
        for (at, a) in one.pass(600.0) {
            assert!(matches!(a, Action::SendProbe { .. }));
            let gap = at - last;
            assert!((0.4 - 1e-9..=60.0 + 1e-9).contains(&gap), "{gap}");
            if at < 1.0 {
                assert!(gap <= 0.6);
            }
            last = at;
        }
        lengths.push((send, tick));
    }
    lengths.sort();
    lengths.dedup();
    assert!(lengths.len() > 190, "two contexts do not fire in lock-step");
}

// Events are told late: deadlines count from the true time, and all that have passed are acted on, once each.
#[test]
fn late_calls_act_on_what_has_passed() {
    let mut one = One::new(2, 2);
    one.config.send_timeout = Duration::from_millis(300);
    one.sent();
    one.now = one.now + Duration::from_millis(500);
    let actions = one.timeout();
    assert_eq!(probes(&actions).len(), 1);
    assert_eq!(one.reap.next_timeout(), Some(one.now + Duration::from_millis(500)));
    // Payload from before the exploration, told only now, is no sign of life.
    one.now = Time(one.now.0 - 100_000_000);
    assert!(one.received().is_empty());
    assert_eq!(one.reap.state(), ReapState::Exploring);

    let mut one = One::new(1, 1);
    one.received();
    one.now = one.now + Duration::from_secs(40);
    assert_eq!(one.timeout(), [Action::SendKeepalive { pair: pair(1, 1) }]);
    assert!(!one.reap.timers_running());
}

// RE-SM-32, RE-SM-39 (a machine that is dropped has no timer elsewhere), RE-C-13
#[test]
fn records_go_ten_seconds_after_the_return() {
    let mut one = One::new(2, 2);
    let first = probes(&one.bring_to(ReapState::Exploring))[0].2[0];
    one.get(ReapState::InboundOk, pair(1, 1), 1, vec![first]);
    one.pass(9.0);
    // The first Probe, the answer and its copies
    assert_eq!(one.reap.records.len(), (4, 1));
    // Still a match: the answer reports what the peer saw.
    let again = one.get(ReapState::InboundOk, pair(1, 1), 2, vec![first]);
    assert_eq!(probes(&again)[0].3.len(), 2);
    one.run(|r, e| r.keepalive_received(e));
    one.pass(1.1);
    one.get(ReapState::Operational, pair(1, 1), 3, vec![]);
    assert_eq!(one.reap.records.len(), (0, 1));
}
