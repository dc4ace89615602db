//! Long outages, random loss and every combination of working directed pairs (conformance parts H and L).

use super::duo::{Duo, What};
use super::*;
use crate::rng::Rng as _;
use ReapState::{Exploring, InboundOk, Operational};

/// Times after `since` until both hosts have left Operational and returned; `None` if that does not happen by `end`.
fn recovered(d: &mut Duo, since: f64, end: f64, step: f64) -> Option<f64> {
    let mut t = since;
    while t < end {
        t += step;
        d.run(t);
        let both = d.states() == [Operational; 2];
        let heard = |h| d.entries(h, |w| *w == What::Heard).last().is_some_and(|l| *l > t - 4.0);
        if both && (0..2).all(|h| d.reap[1 - h].last_sent.is_none() || heard(h)) && t > since + 20.0 {
            return Some(t - since);
        }
    }
    None
}

// RE-EX-10, RE-PS-07, RE-PS-17, RE-AD-12
#[test]
fn run_9_a_total_outage_of_ten_minutes() {
    // LS-RP-10
    let mut d = Duo::new(2, 2, plain(), 1);
    d.app(0, 0.0, 1.0);
    d.app(1, 0.5, 1.0);
    d.path = Box::new(|t, _, l, p, _| t < 60.6 || (t > 660.6 && (l, p) == (1, 1)));
    d.run(1000.0);
    assert_eq!((d.states(), d.currents()), ([Operational; 2], [(1, 1); 2]));
    let start = d.entries(0, |w| matches!(w, What::Started(_)))[0];
    let at: Vec<f64> = d.probes(0, 0.0).iter().map(|p| p.0 - start).filter(|t| *t < 560.0).collect();
    let expected = [0.0, 0.5, 1.0, 1.5, 2.5, 4.5, 8.5, 16.5, 32.5, 64.5, 124.5, 184.5, 244.5, 304.5, 364.5];
    for (a, b) in at.iter().zip(expected) {
        assert!((a - b).abs() < 1e-6, "{at:?}");
    }
    // Four pairs are tried in turn at 60 s each, by both hosts.
    let ended = d.entries(0, |w| *w == What::Ended)[0];
    assert!(ended < 660.6 + 4.0 * 60.0, "{ended}");
    assert!(d.entries(0, |w| matches!(w, What::Pair(_))).is_empty());
}

// RE-EX-16
#[test]
fn run_15_an_hour_of_thirty_percent_loss() {
    let mut d = Duo::new(2, 2, ReapConfig::default(), 11);
    let mut rng = SeededRng::new(12);
    d.path = Box::new(move |t, _, _, _, _| t > 3600.0 || rng.f64(0.0, 1.0) > 0.3);
    d.app(0, 0.0, 1.0);
    d.app(1, 0.5, 1.0);
    d.run(3720.0);
    assert_eq!(d.states(), [Operational; 2]);
    let lost = d.log.len();
    d.run(4000.0);
    assert!(d.log[lost..].iter().all(|e| matches!(e.what, What::Heard | What::Payload { .. })));
}

// RE-PS-19, RE-EX-09, RE-AD-09, RE-RP-11
#[test]
fn all_matrices_of_two_by_two_locators_converge() {
    let pairs = [(1, 1), (1, 2), (2, 1), (2, 2)];
    for forth in 1..16u32 {
        for back in 1..16u32 {
            let mut d = Duo::new(2, 2, plain(), u64::from(forth * 16 + back));
            d.app(0, 0.0, 1.0);
            d.app(1, 0.5, 1.0);
            d.path = Box::new(move |t, host, l, p, _| {
                let at = pairs.iter().position(|x| *x == (l, p)).expect("one of four");
                t < 10.6 || [forth, back][host] >> at & 1 == 1
            });
            let took = recovered(&mut d, 10.6, 70.0, 1.0);
            assert!(took.is_some_and(|t| t <= 30.0), "{forth:04b} {back:04b}: {took:?} {:?}", d.states());
        }
    }
}

/// One working directed pair each way out of n x n; payload both ways or one way. How long it took.
fn single_pair(n: usize, seed: u64, jitter: bool, two_way: bool, end: f64) -> (Option<f64>, Duo) {
    let mut d = Duo::new(n, n, ReapConfig { jitter, ..plain() }, seed);
    let mut rng = SeededRng::new(seed.wrapping_mul(77));
    let works = [0, 1].map(|_| (1 + rng.below(n), 1 + rng.below(n)));
    d.app(0, 0.0, 1.0);
    if two_way {
        d.app(1, 0.5, 1.0);
    }
    d.path = Box::new(move |t, host, l, p, _| t < 10.6 || works[host] == (l, p));
    let took = recovered(&mut d, 10.6, end, 2.0);
    (took, d)
}

// RE-EX-17, RE-PS-04
#[test]
fn run_16_three_by_three_with_one_pair_each_way() {
    // LS-D-36
    for seed in 0..300 {
        let (took, d) = single_pair(3, seed, false, seed % 2 == 0, 200.0);
        assert!(took.is_some_and(|t| t <= 180.0), "seed {seed}: {took:?} {:?}", d.states());
        for host in 0..2 {
            // Scheduled Probes of one state: no pair twice among nine in a row. Answers go where a Probe came from,
            // so only runs without any are looked at.
            let walk: Vec<_> = d.probes(host, 10.6).into_iter().filter(|p| p.3 == Exploring).collect();
            for w in walk.chunks(9) {
                let mut seen: Vec<_> = w.iter().map(|p| (p.1, p.2)).collect();
                seen.sort_unstable();
                seen.dedup();
                assert_eq!(seen.len(), w.len(), "seed {seed} host {host}");
            }
        }
    }
}

// RE-EX-18, RE-SM-33, RE-SM-34, RE-CX-14
#[test]
fn run_16b_four_by_four_with_one_pair_each_way() {
    for seed in 0..80 {
        for jitter in [false, true] {
            let (took, d) = single_pair(4, 1000 + seed, jitter, seed % 2 == 0, 3610.0);
            assert!(took.is_some(), "seed {seed} jitter {jitter}: {:?}", d.states());
        }
    }
}

// RE-EX-21
#[test]
fn run_19_a_thousand_contexts_do_not_probe_in_step() {
    let mut slots = vec![0; 400];
    let mut total = 0;
    for seed in 0..1000 {
        let mut one = One::with(ReapConfig::default(), 2, 2);
        one.rng = SeededRng::new(seed);
        one.sent();
        for (at, a) in one.pass(30.0) {
            if matches!(a, Action::SendProbe { .. }) && (15.0..19.0).contains(&at) {
                slots[((at - 15.0) * 100.0) as usize] += 1;
                total += 1;
            }
        }
    }
    assert!(total > 3000);
    assert!(slots.iter().all(|n| *n * 20 <= total), "{slots:?}");
}

// With the constants of fast failover (Send Timeout 1 s, first gap 100 ms) and paths that join locators of one index
// only, in 3 x 3: silence of at most Send Timeout + 1 s, and 200 ms where our own locator vanishes.
#[test]
fn fast_failover_keeps_its_bounds() {
    for seed in 0..60 {
        let config = ReapConfig {
            send_timeout: Duration::from_secs(1),
            initial_probe_timeout: Duration::from_millis(100),
            ..ReapConfig::default()
        };
        for (name, bound, one_way, local) in [
            ("blackhole", 2.0, false, false),
            ("one way", 2.0, true, false),
            ("local loss", 0.2, false, true),
        ] {
            let mut d = Duo::new(3, 3, config.clone(), seed);
            d.delay = Duration::from_millis(1);
            for h in 0..2 {
                d.with(h, |r, _| r.set_keepalive_timeout(Duration::from_secs(1)));
                d.app(h, 0.01 * h as f64, 0.02);
            }
            let t0 = 5.0 + 0.001 * seed as f64;
            d.path = Box::new(move |t, host, l, p, _| {
                let dead = t > t0 && l == 1 && p == 1 && (host == 0 || !one_way);
                l == p && !dead
            });
            d.run(t0);
            if local {
                let rest = product(3, 3).into_iter().filter(|p| p.local != addr(0, 1)).collect();
                d.with(0, |r, e| r.set_candidates(e, rest));
            }
            d.run(12.0);
            for h in 0..2 {
                let heard = d.entries(h, |w| *w == What::Heard);
                let silence = heard.windows(2).map(|w| w[1] - w[0]).fold(0.0, f64::max);
                assert!(silence <= bound, "seed {seed} {name} host {h}: {silence}");
                assert!(heard.last().unwrap() > &11.9);
            }
            assert_eq!(d.states(), [Operational; 2]);
        }
    }
}

// A peer that is never reached stays unreached: InboundOk on one side and Exploring on the other alternate for ever,
// at a bounded rate (RE-PS-21, RE-RP-18).
#[test]
fn one_direction_only_is_no_path() {
    let mut d = Duo::new(2, 2, plain(), 1);
    d.app(0, 0.0, 1.0);
    d.app(1, 0.5, 1.0);
    d.path = Box::new(|t, host, _, _, _| t < 10.6 || host == 0);
    d.run(600.0);
    assert_eq!(d.states(), [Exploring, InboundOk]);
    assert!(d.reap.iter().all(|r| r.records.len().0 <= 20 && r.records.len().1 <= 15));
}

#[test]
fn forged_keepalives_cost_an_exploration_at_most() {
    // RE-FI-18
    let mut d = Duo::new(2, 2, plain(), 9);
    d.app(0, 0.0, 1.0);
    d.app(1, 0.0, 1.0);
    for i in 0..300 {
        d.run(f64::from(i) * 0.1);
        if i == 100 {
            d.with(0, |r, e| r.explore(e, FailureCause::Feedback));
        }
        d.with(0, |r, e| r.keepalive_received(e));
    }
    d.run(40.0);
    assert_eq!(d.states(), [ReapState::Operational; 2]);
    assert_eq!(d.currents(), [(1, 1), (1, 1)]);
    assert_eq!([0, 1].map(|h| d.reap[h].counters().explorations), [1, 1]);
}
