//! The state x event table of RFC 5534 section 6 (conformance part G), cell by cell.

use super::*;
use ReapState::{Exploring, InboundOk, Operational};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Ev {
    PayloadReceived,
    PayloadSent,
    KeepaliveTimer,
    SendTimer,
    Retransmit,
    KeepaliveReceived,
    Probe(ReapState),
}

/// What happens to a timer.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fx {
    Keep,
    Start,
    Restart,
    Stop,
}

/// A cell: event, state, effect on the Send Timer, on the Keepalive Timer, Probe sent, Keepalive sent, next state.
type Cell = (&'static str, Ev, ReapState, Fx, Fx, Option<ReapState>, bool, ReapState);

const TABLE: [Cell; 27] = {
    use Ev::*;
    use Fx::*;
    [
        ("RE-SM-01", PayloadReceived, Operational, Stop, Start, None, false, Operational),
        ("RE-SM-02", PayloadReceived, Exploring, Start, Keep, Some(InboundOk), false, InboundOk),
        ("RE-SM-03", PayloadReceived, InboundOk, Stop, Keep, None, false, InboundOk),
        ("RE-SM-04", PayloadSent, Operational, Start, Stop, None, false, Operational),
        ("RE-SM-05", PayloadSent, Exploring, Keep, Keep, None, false, Exploring),
        ("RE-SM-06", PayloadSent, InboundOk, Start, Keep, None, false, InboundOk),
        ("RE-SM-07", KeepaliveTimer, Operational, Keep, Stop, None, true, Operational),
        ("RE-SM-08", KeepaliveTimer, Exploring, Keep, Keep, None, false, Exploring),
        ("RE-SM-09", KeepaliveTimer, InboundOk, Keep, Keep, None, false, InboundOk),
        ("RE-SM-10", SendTimer, Operational, Stop, Stop, Some(Exploring), false, Exploring),
        ("RE-SM-11", SendTimer, Exploring, Keep, Keep, None, false, Exploring),
        ("RE-SM-12", SendTimer, InboundOk, Stop, Stop, Some(Exploring), false, Exploring),
        ("RE-SM-13", Retransmit, Operational, Keep, Keep, None, false, Operational),
        ("RE-SM-14", Retransmit, Exploring, Keep, Keep, Some(Exploring), false, Exploring),
        ("RE-SM-15", Retransmit, InboundOk, Start, Keep, Some(InboundOk), false, InboundOk),
        ("RE-SM-16", KeepaliveReceived, Operational, Stop, Keep, None, false, Operational),
        ("RE-SM-17", KeepaliveReceived, Exploring, Start, Keep, Some(InboundOk), false, InboundOk),
        ("RE-SM-18", KeepaliveReceived, InboundOk, Stop, Keep, None, false, InboundOk),
        ("RE-SM-19", Probe(Exploring), Operational, Restart, Stop, Some(InboundOk), false, InboundOk),
        ("RE-SM-20", Probe(Exploring), Exploring, Start, Keep, Some(InboundOk), false, InboundOk),
        ("RE-SM-21", Probe(Exploring), InboundOk, Restart, Keep, Some(InboundOk), false, InboundOk),
        ("RE-SM-22", Probe(InboundOk), Operational, Restart, Stop, Some(Operational), false, Operational),
        ("RE-SM-23", Probe(InboundOk), Exploring, Restart, Stop, Some(Operational), false, Operational),
        ("RE-SM-24", Probe(InboundOk), InboundOk, Restart, Stop, Some(Operational), false, Operational),
        ("RE-SM-25", Probe(Operational), Operational, Stop, Start, None, false, Operational),
        ("RE-SM-26", Probe(Operational), Exploring, Stop, Start, None, false, Operational),
        ("RE-SM-27", Probe(Operational), InboundOk, Stop, Start, None, false, Operational),
    ]
};

/// Which of the two timers runs before the event.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Runs {
    Nothing,
    Send,
    Keepalive,
}

fn check(cell: Cell, runs: Runs) {
    let (id, event, state, send, keepalive, probe_sent, keepalive_sent, next) = cell;
    let what = format!("{id} {event:?} in {state:?}, running: {runs:?}");
    let mut one = One::new(2, 2);
    // Timers of the earlier life of the context: every way into another state has to stop them.
    if state != Operational {
        one.received();
        one.bring_to(state);
    }
    if state == InboundOk && runs == Runs::Nothing {
        one.received();
    }
    if state == Operational {
        match runs {
            Runs::Nothing => {}
            Runs::Send => drop(one.sent()),
            Runs::Keepalive => drop(one.received()),
        }
    }
    assert_eq!(one.reap.state(), state, "{what}");
    assert_eq!(one.on(Timer::Send), runs == Runs::Send, "{what}");
    assert_eq!(one.on(Timer::Keepalive), runs == Runs::Keepalive, "{what}");
    let before = [Timer::Send, Timer::Keepalive].map(|t| one.reap.timers.deadline(t));
    let retransmit = one.reap.timers.deadline(Timer::Retransmit);
    one.now = one.now + Duration::from_millis(200);
    // Of the timers only the one in question expires: earlier ones are set aside.
    let only = |one: &mut One, timer: Timer| {
        let kept = [Timer::Send, Timer::Keepalive, Timer::Interval, Timer::Retransmit]
            .map(|t| (t, one.reap.timers.deadline(t)));
        one.now = one.reap.timers.deadline(timer).unwrap_or(one.now + Duration::from_secs(3600));
        for (t, d) in kept {
            if t != timer && d.is_some_and(|d| d <= one.now) {
                one.reap.timers.stop(t);
            }
        }
        let actions = one.run(|r, e| {
            if let Some(t) = r.timers.due(e.now) {
                r.expired(e, t);
            }
        });
        for (t, d) in kept {
            let stopped = next == Exploring && state != Exploring && t != Timer::Retransmit;
            let interval = t == Timer::Interval && timer == Timer::Keepalive;
            if t != timer && !stopped && !interval && !one.reap.timers.running(t) {
                d.into_iter().for_each(|d| one.reap.timers.restart(t, d));
            }
        }
        actions
    };
    let actions = match event {
        Ev::PayloadReceived => one.received(),
        Ev::PayloadSent => one.sent(),
        Ev::KeepaliveTimer => only(&mut one, Timer::Keepalive),
        Ev::SendTimer => only(&mut one, Timer::Send),
        Ev::Retransmit => only(&mut one, Timer::Retransmit),
        Ev::KeepaliveReceived => one.run(|r, e| r.keepalive_received(e)),
        Ev::Probe(s) => one.get(s, pair(1, 1), 99, Vec::new()),
    };
    assert_eq!(one.reap.state(), next, "{what}");
    let stas: Vec<_> = probes(&actions).iter().map(|p| p.1).collect();
    assert_eq!(stas, Vec::from_iter(probe_sent), "{what}: Probes");
    let kept_alive =
        actions.iter().any(|a| matches!(a, Action::SendKeepalive { pair: p } if *p == pair(1, 1)));
    assert_eq!(kept_alive, keepalive_sent, "{what}: Keepalives");
    let expect = |fx, before: Option<Time>, full: Duration| match fx {
        Fx::Keep => before,
        Fx::Start => before.or(Some(one.now + full)),
        Fx::Restart => Some(one.now + full),
        Fx::Stop => None,
    };
    let full = Duration::from_secs(15);
    assert_eq!(one.reap.timers.deadline(Timer::Send), expect(send, before[0], full), "{what}: Send Timer");
    let now = one.reap.timers.deadline(Timer::Keepalive);
    assert_eq!(now, expect(keepalive, before[1], full), "{what}: Keepalive Timer");
    if next == Operational {
        // RE-SM-29
        assert!(!one.on(Timer::Retransmit), "{what}");
    } else if next != state || event == Ev::Retransmit {
        let gap = Duration::from_millis(500);
        assert_eq!(one.reap.timers.deadline(Timer::Retransmit), Some(one.now + gap), "{what}: schedule");
    } else {
        // RE-PS-12
        assert_eq!(one.reap.timers.deadline(Timer::Retransmit), retransmit, "{what}: schedule");
    }
}

// RE-SM-01, RE-SM-02, RE-SM-03, RE-SM-04, RE-SM-05, RE-SM-06, RE-SM-07, RE-SM-08, RE-SM-09, RE-SM-10, RE-SM-11,
// RE-SM-12, RE-SM-13, RE-SM-14, RE-SM-15, RE-SM-16, RE-SM-17, RE-SM-18, RE-SM-19, RE-SM-20, RE-SM-21, RE-SM-22,
// RE-SM-23, RE-SM-24, RE-SM-25, RE-SM-26, RE-SM-27, RE-SM-29, RE-FB-03, RE-FB-04, RE-FB-05, RE-FB-06, RE-FB-10
#[test]
fn every_cell_of_the_state_table() {
    // RE-SM-31
    // LS-RP-12
    for cell in TABLE {
        let possible: &[Runs] = match cell.2 {
            Operational => &[Runs::Nothing, Runs::Send, Runs::Keepalive],
            Exploring => &[Runs::Nothing],
            InboundOk => &[Runs::Nothing, Runs::Send],
        };
        for runs in possible {
            // An expiry needs its timer, where the state has that timer at all.
            let impossible = match (cell.1, cell.2) {
                (Ev::KeepaliveTimer, Operational) => *runs != Runs::Keepalive,
                (Ev::SendTimer, Operational | InboundOk) => *runs != Runs::Send,
                _ => false,
            };
            if !impossible {
                check(cell, *runs);
            }
        }
    }
}

// RE-SM-28, RE-CX-02: no Probe answers a Probe Operational, in any state and with or without reports.
#[test]
fn probe_operational_ends_the_exchange() {
    for state in [Operational, Exploring, InboundOk] {
        for with_report in [false, true] {
            let mut one = One::new(2, 2);
            one.bring_to(state);
            let own: Vec<_> = if with_report { one.reap.records.sent_blocks() } else { Vec::new() };
            let actions = one.get(Operational, pair(1, 1), 5, own);
            assert!(probes(&actions).is_empty());
            assert_eq!(one.reap.state(), Operational);
        }
    }
}

// RE-KA-08, RE-SM-38: while the context is I2BIS-SENT nothing runs and nothing is sent; then the state goes on with
// the initial series.
#[test]
fn a_paused_machine_is_silent_and_resumes_where_it_was() {
    for state in [Operational, Exploring, InboundOk] {
        let mut one = One::new(2, 2);
        one.bring_to(state);
        one.pass(0.2);
        one.run(|r, _| r.pause());
        assert!(!one.reap.timers_running());
        assert!(one.sent().is_empty() && one.received().is_empty());
        assert!(one.run(|r, e| r.keepalive_received(e)).is_empty());
        assert!(one.get(Exploring, pair(1, 1), 1, vec![]).is_empty());
        assert!(one.pass(100.0).is_empty());
        assert_eq!(one.reap.state(), state);
        let actions = one.run(|r, e| r.resume(e));
        assert_eq!(one.reap.state(), state);
        if state == Operational {
            assert!(actions.is_empty() && !one.reap.timers_running());
        } else {
            assert_eq!(probes(&actions).len(), 1);
            assert_eq!(one.reap.next_timeout(), Some(one.now + Duration::from_millis(500)));
        }
    }
}
