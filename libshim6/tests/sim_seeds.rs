//! Random worlds, thousands of seeds: loss, duplicates, reordering, one-way failures, lost addresses, restarts. Contexts
//! converge, REAP finds a working pair whenever there is one in each direction, and in the end all is quiet.
//!
//! `SHIM6_SIM_SEEDS=n` sets how many seeds are run, `SHIM6_SIM_SEED=n` runs one alone and prints what happens.

use shim6::config::Config;
use shim6::engine::ContextState;
use shim6::rng::{Rng, SeededRng};
use shim6::sim::{Flow, HostSpec, Link, Pattern, World, hba_locators};
use shim6::wire::ReapState;
use std::time::Duration;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Run `f` for the seeds wanted, and tell which one failed.
fn seeds(usual: u64, f: impl Fn(u64) + std::panic::RefUnwindSafe) {
    let range = match number("SHIM6_SIM_SEED") {
        Some(one) => one..one + 1,
        None => 0..number("SHIM6_SIM_SEEDS").unwrap_or(usual),
    };
    for seed in range {
        if let Err(e) = std::panic::catch_unwind(|| f(seed)) {
            eprintln!("failed with SHIM6_SIM_SEED={seed}");
            std::panic::resume_unwind(e);
        }
    }
}

/// Quick or standard timers; a context at the first datagram or by the usual heuristic.
fn config(rng: &mut SeededRng) -> Config {
    let mut c = Config::default();
    if rng.below(3) > 0 {
        c.reap.send_timeout = ms(500 + rng.below(3000) as u64);
        c.reap.initial_probe_timeout = ms(100);
        c.reap.max_probe_timeout = ms(5000);
    }
    c.trigger.bytes = [Some(0), Some(2048)][rng.below(2)];
    c
}

struct Setup {
    w: World,
    n: [usize; 2],
    pattern: Pattern,
    /// Many rounds through the pairs at the longest gap, as every Probe may be lost.
    patience: Duration,
}

fn setup(seed: u64, rng: &mut SeededRng, lossy: bool) -> Setup {
    let mut w = World::new(seed);
    w.trace = number("SHIM6_SIM_SEED").is_some();
    let n = [2 + rng.below(2), 2 + rng.below(2)];
    let c = config(rng);
    let slow = c.reap.max_probe_timeout > ms(10_000);
    for (h, n) in n.into_iter().enumerate() {
        let locators = hba_locators(h as u16 + 1, n, seed * 2 + h as u64);
        let lazy = rng.below(2) == 0;
        w.add_host(HostSpec { lazy, ..HostSpec::new(c.clone(), locators) });
    }
    w.net.usual = Link {
        up: true,
        loss: if lossy { rng.f64(0.0, 0.3) } else { 0.0 },
        duplicate: if lossy { rng.f64(0.0, 0.2) } else { 0.0 },
        delay: ms(1 + rng.below(80) as u64),
        jitter: ms(rng.below(60) as u64),
    };
    let pattern = [Pattern::TwoWay, Pattern::Request, Pattern::OneWay][rng.below(3)];
    let addrs = [w.addr(0, 0), w.addr(1, 0)];
    w.add_flow(Flow {
        hosts: [0, 1],
        addrs,
        pattern,
        interval: ms(100 + rng.below(400) as u64),
        bytes: 600,
        start: w.now + ms(rng.below(1000) as u64),
        stop: None,
    });
    Setup { w, n, pattern, patience: if slow { ms(7_200_000) } else { ms(900_000) } }
}

/// Run until `ok` holds at the end of 5 s of traffic to all sides that expect some; how long that took.
fn settle(s: &mut Setup, limit: Option<Duration>) -> Option<Duration> {
    let limit = limit.unwrap_or(s.patience);
    let start = s.w.now;
    while s.w.now.since(start) < limit {
        let before = [0, 1].map(|side| s.w.traffic(0, side).received);
        s.w.run(ms(5000));
        let heard = |side: usize| s.w.traffic(0, side).received > before[side];
        let well = |side| {
            s.w.context(0, side)
                .is_some_and(|c| c.state == ContextState::Established && c.reap == ReapState::Operational)
        };
        let flows = heard(1) && (s.pattern == Pattern::OneWay || heard(0));
        if flows && well(0) && well(1) && s.w.crosswise(0) {
            return Some(s.w.now.since(start));
        }
    }
    None
}

/// Traffic ends, sockets close: first silence, then nothing is left.
fn assert_quiet_end(w: &mut World, seed: u64) {
    w.close(0);
    // Keepalives and a Probe or Update Request that waits for its next turn (MAX_UPDATE_TIMEOUT times 1.5).
    w.run(ms(240_000));
    let since = w.now;
    w.run(ms(1_500_000));
    assert_eq!(w.sent_since(since), 0, "seed {seed}: {:?}", w.log.last());
    assert!(w.is_empty(), "seed {seed}: something is left");
}

// RE-PS-19, RE-EX-09, RE-EX-17, RE-AD-09, S6-7.4-5, S6-9-6: any faults of directed pairs, as long as one pair works in
// each direction.
#[test]
fn a_working_pair_is_found_whenever_there_is_one() {
    seeds(1000, |seed| {
        let mut rng = SeededRng::new(seed);
        let lossy = rng.below(2) == 0;
        let mut s = setup(seed, &mut rng, lossy);
        // 60 s are the default trigger by age; establishment may have to be repeated after the hold-down.
        assert!(settle(&mut s, Some(ms(400_000))).is_some(), "seed {seed}: no context");
        for round in 0..2 {
            let usual = s.w.net.usual;
            for host in 0..2 {
                let (n, m) = (s.n[host], s.n[1 - host]);
                let works = (rng.below(n), rng.below(m));
                for i in 0..n {
                    for j in 0..m {
                        let up = (i, j) == works || rng.below(4) == 0;
                        s.w.set_direction((host, i), (1 - host, j), Link { up, ..usual });
                    }
                }
            }
            let took = settle(&mut s, None);
            assert!(took.is_some(), "seed {seed} round {round}: {:?}", [0, 1].map(|i| s.w.context(0, i)));
        }
        let calm = Link { loss: 0.0, duplicate: 0.0, ..s.w.net.usual };
        for i in 0..s.n[0] {
            for j in 0..s.n[1] {
                s.w.set_path((0, i), (1, j), calm);
            }
        }
        assert!(settle(&mut s, None).is_some(), "seed {seed}: all paths are good again");
        assert_quiet_end(&mut s.w, seed);
    });
}

// S6-7.4-5, S6-7.5-1, RE-EX-14: addresses come and go, processes restart, everything is lossy; then it stops.
#[test]
fn contexts_converge_after_any_trouble() {
    seeds(1000, |seed| {
        let mut rng = SeededRng::new(seed ^ 0xfeed);
        let mut s = setup(seed, &mut rng, true);
        s.w.run(ms(10_000));
        for _ in 0..8 {
            let host = rng.below(2);
            match rng.below(5) {
                0 => s.w.restart(host),
                1 | 2 => {
                    // The ULID included, and sometimes all
                    let gone = rng.below(s.n[host]);
                    let all = rng.below(6) == 0;
                    s.w.set_present(host, move |i| i != gone && !all);
                }
                3 => {
                    let up = rng.below(2) == 0;
                    let link = Link { up, ..s.w.net.usual };
                    let (i, j) = (rng.below(s.n[host]), rng.below(s.n[1 - host]));
                    s.w.set_direction((host, i), (1 - host, j), link);
                }
                _ => s.w.set_present(host, |_| true),
            }
            s.w.run(ms(rng.below(20_000) as u64));
        }
        let calm = Link { loss: 0.0, duplicate: 0.0, ..s.w.net.usual };
        for i in 0..s.n[0] {
            for j in 0..s.n[1] {
                s.w.set_path((0, i), (1, j), calm);
            }
        }
        s.w.net.usual = calm;
        s.w.set_present(0, |_| true);
        s.w.set_present(1, |_| true);
        let took = settle(&mut s, None);
        assert!(took.is_some(), "seed {seed}: {:?}", [0, 1].map(|i| s.w.context(0, i)));
        assert_quiet_end(&mut s.w, seed);
    });
}

// S6-7.4-1, S6-7.4-4, S6-7.4-5: both sides start at once, over bad links.
#[test]
fn crossing_establishments_converge() {
    seeds(1000, |seed| {
        let mut rng = SeededRng::new(seed ^ 0xc055);
        let mut w = World::new(seed);
        w.trace = number("SHIM6_SIM_SEED").is_some();
        let mut c = Config::default();
        c.trigger.bytes = Some(0);
        for h in 0..2u16 {
            w.add_host(HostSpec::new(c.clone(), hba_locators(h + 1, 2, seed * 2 + u64::from(h))));
        }
        w.net.usual = Link {
            up: true,
            loss: rng.f64(0.0, 0.4),
            duplicate: rng.f64(0.0, 0.3),
            delay: ms(20),
            jitter: ms(rng.below(200) as u64),
        };
        let addrs = [w.addr(0, 0), w.addr(1, 0)];
        let (start, interval) = (w.now, ms(500));
        w.add_flow(Flow {
            hosts: [0, 1],
            addrs,
            pattern: Pattern::TwoWay,
            interval,
            bytes: 10,
            start,
            stop: None,
        });
        for h in 0..2 {
            let ulids = w.ulids(0, h);
            w.with_engine(h, |e, now| e.establish(now, ulids, None));
        }
        let mut tries = 0;
        while !w.crosswise(0) {
            w.run(ms(5000));
            tries += 1;
            assert!(tries < 100, "seed {seed}: {:?}", [0, 1].map(|i| w.context(0, i)));
        }
        w.net.usual = Link { loss: 0.0, duplicate: 0.0, ..w.net.usual };
        w.run(ms(60_000));
        assert!(w.crosswise(0), "seed {seed}");
        assert_quiet_end(&mut w, seed);
    });
}
