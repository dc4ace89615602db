//! Protocol runs: Appendix A of RFC 5534 and conformance part L, jitter off, 50 ms one way.

use super::duo::{Duo, What};
use super::*;
use ReapState::{Exploring, InboundOk, Operational};

fn duo(n: usize, m: usize) -> Duo {
    Duo::new(n, m, plain(), 1)
}

const NEAR: f64 = 1e-6;

// RE-EX-01, RE-EX-19, RE-FB-13, RE-FB-19, RE-SM-36
#[test]
fn run_1_no_traffic() {
    let mut d = duo(2, 2);
    // The end of an establishment: A sent I2, B answered R2.
    d.with(0, |r, e| r.payload_sent(e));
    d.with(1, |r, e| r.payload_received(e));
    d.with(1, |r, e| r.payload_sent(e));
    d.with(0, |r, e| r.established_by_r2(e));
    d.run(700.0);
    assert!(d.log.iter().all(|e| e.at < 60.0));
    assert!(d.probes(0, 0.0).is_empty() && d.probes(1, 0.0).is_empty());
    assert_eq!(d.entries(0, |w| *w == What::Keepalive), [5.0, 10.0, 15.0]);
}

// RE-EX-02, RE-FB-14
#[test]
fn run_2_two_way_traffic() {
    let mut d = duo(2, 2);
    d.app(0, 0.1, 1.0);
    d.app(1, 0.7, 1.0);
    d.run(600.0);
    assert_eq!(d.control(), 0);
}

// RE-EX-03, RE-FB-07, RE-FB-11, RE-FB-12, RE-FB-15
#[test]
fn run_3_one_way_traffic() {
    for jitter in [false, true] {
        let mut d = Duo::new(2, 2, ReapConfig { jitter, ..plain() }, 3);
        d.app(0, 0.0, 1.0);
        d.run(60.0);
        d.app(0, 0.0, 0.0);
        d.run(600.0);
        let at = d.entries(1, |w| *w == What::Keepalive);
        assert!(at.windows(2).all(|w| w[1] - w[0] <= 8.5), "{at:?}");
        assert!(at[0] <= 7.6 && *at.last().unwrap() <= 75.1, "{at:?}");
        assert_eq!(d.control(), at.len());
        assert!(d.entries(0, |w| matches!(w, What::Started(_))).is_empty());
    }
}

/// A has one address, B has two; all by way of B1 breaks at 60.25 s. Who sent last notices first: it is the first whose
/// packet stays without an answer.
fn break_b1(first: usize) -> Duo {
    let mut d = duo(1, 2);
    d.app(first, 0.0, 1.0);
    d.app(1 - first, 0.8, 1.0);
    d.path = Box::new(move |t, host, l, p, _| t < 60.25 || (if host == 1 { l } else { p }) != 1);
    d.run(100.0);
    d
}

// RE-EX-04, RE-EX-05, RE-SM-19, RE-SM-24, RE-SM-27, RE-CX-03, RE-RP-14
#[test]
fn run_4_all_paths_by_one_address_of_the_peer_break() {
    let d = break_b1(1);
    assert_eq!(d.states(), [Operational; 2]);
    assert_eq!(d.currents(), [(1, 2), (2, 1)]);
    // B's packet at 60 s is its first unanswered one.
    let started = d.entries(1, |w| *w == What::Started(FailureCause::SendTimeout));
    assert_eq!(started.len(), 1);
    assert!((started[0] - 75.0).abs() < NEAR, "{started:?}");
    let b = d.probes(1, 60.0);
    assert_eq!((b[0].1, b[0].2, b[0].3, b[0].4), (1, 1, Exploring, true));
    assert_eq!((b[1].1, b[1].2, b[1].3, b[1].4), (2, 1, Exploring, false));
    assert_eq!((b[2].1, b[2].2, b[2].3), (2, 1, Operational));
    let a = d.probes(0, 60.0);
    assert_eq!((a[0].1, a[0].2, a[0].3), (1, 2, InboundOk));
    let (q, own) = (d.nonces(1, (2, 1)), d.nonces(0, (1, 2)));
    assert_eq!(own[0].1, [q[0].0]);
    assert_eq!(q[1].1, [own[0].0]);
    // Payload both ways within 0.5 s and three trips.
    for host in 0..2 {
        let ended = d.entries(host, |w| *w == What::Ended);
        assert!(ended.len() == 1 && ended[0] - started[0] <= 0.65 + NEAR, "{ended:?}");
    }
    // RE-EX-05 through payload itself: one packet per second each way.
    assert!(d.entries(0, |w| *w == What::Heard).iter().any(|t| *t > 75.0 && *t < 76.7));
}

// RE-EX-07
#[test]
fn run_6_the_mirror_of_run_4() {
    let d = break_b1(0);
    assert_eq!(d.states(), [Operational; 2]);
    assert_eq!(d.currents(), [(1, 2), (2, 1)]);
}

// RE-EX-08, RE-SM-41
#[test]
fn run_7_both_notice_at_once() {
    let mut d = duo(1, 2);
    d.app(0, 0.0, 1.0);
    d.app(1, 0.0, 1.0);
    d.path = Box::new(move |t, host, l, p, _| t < 60.5 || (if host == 1 { l } else { p }) != 1);
    d.run(200.0);
    assert_eq!((d.states(), d.currents()), ([Operational; 2], [(1, 2), (2, 1)]));
    let like = break_b1(1);
    for host in 0..2 {
        for sta in [Operational, Exploring, InboundOk] {
            let count = |d: &Duo| d.probes(host, 60.0).iter().filter(|p| p.3 == sta).count();
            assert!(count(&d) <= count(&like) + 2, "{host} {sta:?}");
        }
    }
}

// RE-SM-41
#[test]
fn both_explore_on_a_working_path() {
    let mut d = duo(2, 2);
    for h in 0..2 {
        d.with(h, |r, e| r.explore(e, FailureCause::SendTimeout));
    }
    d.run(0.15);
    assert_eq!((d.states(), d.currents()), ([Operational; 2], [(1, 1); 2]));
    let sent = d.log.iter().filter(|e| matches!(e.what, What::Probe { .. })).count();
    d.run(300.0);
    assert_eq!(d.log.iter().filter(|e| matches!(e.what, What::Probe { .. })).count(), sent);
    assert!(!d.reap[0].timers_running() && !d.reap[1].timers_running());
}

// RE-EX-06, RE-RP-07, RE-RP-08, RE-RP-17, RE-SM-30, RE-AD-11
#[test]
fn run_5_one_direction_breaks() {
    let mut d = duo(2, 2);
    d.app(0, 0.5, 1.0);
    d.app(1, 0.0, 1.0);
    d.path = Box::new(|t, host, l, p, _| t < 60.2 || host == 1 || (l, p) != (1, 1));
    d.run(110.0);
    assert_eq!(d.states(), [Operational; 2]);
    assert_eq!(d.currents(), [(2, 2), (1, 1)]);
    let b = d.probes(1, 60.0);
    assert_eq!((b[0].1, b[0].2, b[0].3, b[0].4), (1, 1, Exploring, false));
    assert_eq!((b[1].1, b[1].2, b[1].3, b[1].4), (2, 2, Exploring, false));
    let a = d.probes(0, 60.0);
    assert_eq!((a[0].1, a[0].2, a[0].3, a[0].4), (1, 1, InboundOk, true));
    let p = d.nonces(1, (1, 1))[0].0;
    let r = d.nonces(1, (2, 2))[0].0;
    let answers = d.nonces(0, (2, 2));
    assert_eq!(d.nonces(0, (1, 1))[0].1, [p]);
    assert!(answers.iter().any(|(_, reported)| *reported == [p, r]));
    // RE-SM-28: what answers is Probe InboundOk only; A's payload went on by the old pair in between.
    let payload_pairs: Vec<_> = d
        .log
        .iter()
        .filter_map(|e| match e.what {
            What::Payload { pair } if e.host == 0 => Some((e.at, pair)),
            _ => None,
        })
        .collect();
    let changed = d.entries(0, |w| matches!(w, What::Pair(_)))[0];
    assert!(payload_pairs.iter().all(|(t, p)| (*p == pair(1, 1)) == (*t < changed)));
    assert!(payload_pairs.iter().any(|(t, _)| *t > 75.5 && *t < changed) || changed < 76.0);
}

// RE-EX-12, RE-FI-06
#[test]
fn run_11_an_outage_that_ends_in_time() {
    // Payload from A only, so that B does not explore itself; the outage lasts from 60.25 s until `end`.
    let outage = |end: f64| {
        let mut d = duo(2, 2);
        d.app(0, 0.0, 1.0);
        d.path = Box::new(move |t, _, _, _, _| !(60.25..end).contains(&t));
        d.run(200.0);
        let started = d.entries(0, |w| matches!(w, What::Started(_)));
        (started, d)
    };
    let started = outage(1000.0).0[0];
    let (at, d) = outage(started - 0.001);
    assert_eq!(at, [started]);
    assert_eq!((d.states(), d.currents()), ([Operational; 2], [(1, 1); 2]));
    assert!(d.entries(0, |w| matches!(w, What::Pair(_))).is_empty());
    assert!((d.entries(0, |w| *w == What::Ended)[0] - started - 0.1).abs() < NEAR);
    // Ends later: the first pair that answers is taken, although the old one works too.
    let (_, d) = outage(started + 0.2);
    assert_eq!((d.states(), d.currents()), ([Operational; 2], [(2, 2); 2]));
}

// RE-EX-15, RE-KT-11
#[test]
fn run_14_a_peer_with_a_long_send_timeout() {
    let mut d = Duo::new(2, 2, ReapConfig::default(), 5);
    d.config[0].send_timeout = Duration::from_secs(60);
    d.with(1, |r, _| r.set_keepalive_timeout(Duration::from_secs(60)));
    d.app(0, 0.0, 1.0);
    d.run(600.0);
    let at = d.entries(1, |w| *w == What::Keepalive);
    assert!(at.len() > 15 && at.windows(2).all(|w| w[1] - w[0] <= 31.1), "{at:?}");
    assert_eq!(d.control(), at.len());
    d.with(1, |r, e| r.payload_sent(e));
    let send = d.reap[1].timers.deadline(Timer::Send).unwrap() - d.now;
    assert!(send >= Duration::from_secs(15) && send <= Duration::from_millis(16_500));
}

// RE-EX-11, RE-SM-37
#[test]
fn run_10_probe_operational_is_lost() {
    for lost in [1, 2, 3, 10] {
        let mut d = duo(2, 2);
        d.app(0, 0.0, 1.0);
        d.app(1, 0.5, 1.0);
        let mut left = lost;
        let last = std::rc::Rc::new(std::cell::Cell::new(0.0));
        let noted = last.clone();
        d.path = Box::new(move |t, _, l, p, sta| {
            let dead = t >= 60.6 && (l, p) == (1, 1);
            if sta == Some(Operational) && left > 0 {
                left -= 1;
                noted.set(t);
                return false;
            }
            !dead
        });
        d.run(200.0);
        assert_eq!(d.states(), [Operational; 2], "{lost}");
        let ended = [0, 1].map(|h| *d.entries(h, |w| *w == What::Ended).last().unwrap());
        assert!(ended.iter().all(|t| *t <= last.get() + 20.0), "{lost}: {ended:?} {}", last.get());
        if lost <= 3 {
            let explorations = [0, 1].map(|h| d.entries(h, |w| matches!(w, What::Started(_))).len());
            assert_eq!(explorations, [1, 1], "{lost}");
        }
    }
}

// RE-EX-20
#[test]
fn run_18_a_second_failure() {
    let mut d = duo(3, 3);
    d.app(0, 0.0, 1.0);
    d.app(1, 0.5, 1.0);
    d.path = Box::new(|t, _, l, p, _| match t {
        t if t < 60.6 => true,
        t if t < 100.6 => (l, p) == (2, 2),
        _ => (l, p) == (3, 3),
    });
    d.run(100.5);
    assert_eq!((d.states(), d.currents()), ([Operational; 2], [(2, 2); 2]));
    d.run(150.0);
    assert_eq!((d.states(), d.currents()), ([Operational; 2], [(3, 3); 2]));
    for h in 0..2 {
        assert_eq!(d.entries(h, |w| matches!(w, What::Pair(_))).len(), 2);
    }
}
