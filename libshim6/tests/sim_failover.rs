//! Whole hosts in the simulator lose paths: how long the applications see nothing.

use shim6::config::Config;
use shim6::engine::ContextState;
use shim6::event::{EventKind, FailureCause};
use shim6::sim::{Flow, HostSpec, Link, Pattern, World, hba_locators};
use shim6::time::Time;
use shim6::wire::ReapState;
use std::time::Duration;

const SEND_TIMEOUT: Duration = Duration::from_secs(1);

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Fast failover, and a context at the first datagram.
fn config() -> Config {
    let mut c = Config::default();
    c.reap.send_timeout = SEND_TIMEOUT;
    c.reap.initial_probe_timeout = ms(100);
    c.trigger.bytes = Some(0);
    c
}

/// Two hosts with `n` locators each; only locators of one index have a path. One flow, ESTABLISHED when it returns.
fn world(seed: u64, n: usize, pattern: Pattern, lazy: bool) -> World {
    let mut w = World::new(seed);
    w.net.usual = Link::DOWN;
    for h in 0..2u16 {
        let locators = hba_locators(h + 1, n, seed * 2 + u64::from(h));
        w.add_host(HostSpec { lazy, ..HostSpec::new(config(), locators) });
    }
    for i in 0..n {
        w.set_path((0, i), (1, i), Link { jitter: ms(2), delay: ms(2), ..Link::UP });
    }
    let addrs = [w.addr(0, 0), w.addr(1, 0)];
    w.add_flow(Flow {
        hosts: [0, 1],
        addrs,
        pattern,
        interval: ms(20),
        bytes: 100,
        start: w.now + ms(seed % 20),
        stop: None,
    });
    w.run(ms(3000 + seed * 77 % 1000));
    assert!(w.crosswise(0), "seed {seed}");
    w.reset_silence(0);
    w
}

fn silence(w: &World) -> Duration {
    w.traffic(0, 0).silence.max(w.traffic(0, 1).silence)
}

/// Payload flows to all sides that expect some, and both are Operational.
fn assert_well(w: &World, seed: u64) {
    for side in 0..2 {
        let expected = side == 1 || w.traffic(0, 0).received > 0;
        let last = w.traffic(0, side).last.unwrap_or(Time::ZERO);
        assert!(!expected || w.now.since(last) < ms(100), "seed {seed} side {side}: nothing arrives");
        let c = w.context(0, side).expect("a context");
        assert_eq!((c.state, c.reap), (ContextState::Established, ReapState::Operational), "seed {seed}");
    }
    assert!(w.crosswise(0), "seed {seed}");
}

/// Every failure with every pattern, for a few seeds; `lazy` as the driver does it.
fn each(f: impl Fn(u64, usize, Pattern, bool)) {
    for seed in 0..24 {
        for pattern in [Pattern::TwoWay, Pattern::Request, Pattern::OneWay] {
            f(seed, 2 + seed as usize % 2, pattern, seed % 4 > 0);
        }
    }
}

/// Index of the current locator of a side, and of its peer; 2 for all after the second.
fn current(w: &World, side: usize) -> (usize, usize) {
    let c = w.context(0, side).expect("a context").current;
    let of = |host, a| (0..2).find(|i| w.addr(host, *i) == a).unwrap_or(2);
    (of(side, c.local), of(1 - side, c.peer))
}

// RE-OP-04, RE-SM-10, RE-FB-16, RE-RP-15, S6-11-4
#[test]
fn a_blackhole_is_survived() {
    each(|seed, n, pattern, lazy| {
        let mut w = world(seed, n, pattern, lazy);
        w.set_path((0, 0), (1, 0), Link::DOWN);
        w.run(ms(6000));
        assert!(silence(&w) <= SEND_TIMEOUT + ms(1000), "seed {seed} {pattern:?}: {:?}", silence(&w));
        assert_well(&w, seed);
        assert_ne!(current(&w, 0).0, 0, "seed {seed}");
    });
}

// RE-EX-06, RE-RP-17
#[test]
fn a_blackhole_in_one_direction_is_survived() {
    each(|seed, n, pattern, lazy| {
        for dead in 0..2 {
            let mut w = world(seed, n, pattern, lazy);
            w.set_direction((dead, 0), (1 - dead, 0), Link::DOWN);
            w.run(ms(6000));
            // Where payload goes one way only, the receiver sends Keepalives for another Keepalive Timeout after the
            // last packet (RE-FB-08), and the sender takes these for life.
            let keepalives =
                if pattern == Pattern::OneWay && dead == 0 { SEND_TIMEOUT } else { Duration::ZERO };
            let bound = SEND_TIMEOUT + ms(1000) + keepalives;
            assert!(silence(&w) <= bound, "seed {seed} {pattern:?} {dead}: {:?}", silence(&w));
            assert_well(&w, seed);
        }
    });
}

// RE-SM-40, RE-AD-13, RE-AD-14, RE-EX-13
#[test]
fn the_loss_of_our_own_locator_is_survived_at_once() {
    each(|seed, n, pattern, lazy| {
        let mut w = world(seed, n, pattern, lazy);
        w.set_present(0, |i| i != 0);
        w.run(ms(6000));
        assert!(silence(&w) <= ms(200), "seed {seed} {pattern:?}: {:?}", silence(&w));
        assert_well(&w, seed);
        let started = w.events(0).iter().filter_map(|e| match e.kind {
            EventKind::ExplorationStarted { cause, .. } => Some(cause),
            _ => None,
        });
        assert_eq!(started.collect::<Vec<_>>(), [FailureCause::LocalLocatorLost], "seed {seed}");
        // The peer is told.
        let peer = w.context(0, 1).expect("a context").peer;
        let known = peer.iter().find(|l| l.addr == w.addr(0, 0)).map(|l| l.broken);
        assert_ne!(known, Some(false), "seed {seed}");
    });
}

// RE-EX-07
#[test]
fn the_loss_of_the_peers_locator_is_survived() {
    each(|seed, n, pattern, lazy| {
        let mut w = world(seed, n, pattern, lazy);
        w.set_present(1, |i| i != 0);
        w.run(ms(6000));
        assert!(silence(&w) <= SEND_TIMEOUT + ms(1000), "seed {seed} {pattern:?}: {:?}", silence(&w));
        assert_well(&w, seed);
    });
}

// RE-EX-20, RE-RP-15, S6-11.1-5
#[test]
fn the_first_path_returns_and_the_second_fails() {
    each(|seed, n, pattern, lazy| {
        let mut w = world(seed, n, pattern, lazy);
        w.set_path((0, 0), (1, 0), Link::DOWN);
        w.run(ms(5000));
        assert_ne!(current(&w, 0).0, 0, "seed {seed}");
        w.set_path((0, 0), (1, 0), Link::UP);
        w.run(ms(3000));
        w.reset_silence(0);
        for i in 1..n {
            w.set_path((0, i), (1, i), Link::DOWN);
        }
        w.run(ms(6000));
        assert!(silence(&w) <= SEND_TIMEOUT + ms(1000), "seed {seed} {pattern:?}: {:?}", silence(&w));
        assert_well(&w, seed);
        assert_eq!((current(&w, 0), current(&w, 1)), ((0, 0), (0, 0)), "seed {seed}");
    });
}

// RE-PS-20: the local link flaps, each time another one is gone.
#[test]
fn a_flapping_link_is_survived() {
    each(|seed, n, pattern, lazy| {
        let mut w = world(seed, n, pattern, lazy);
        for round in 0..4 {
            let gone = round % 2;
            w.set_present(0, move |i| i != gone);
            w.run(ms(1500));
        }
        w.set_present(0, |_| true);
        w.run(ms(3000));
        assert!(silence(&w) <= SEND_TIMEOUT + ms(1000), "seed {seed} {pattern:?}: {:?}", silence(&w));
        assert_well(&w, seed);
    });
}

// RE-PS-16: all addresses of a host are gone for a while.
#[test]
fn all_locators_gone_and_back() {
    each(|seed, n, pattern, lazy| {
        let mut w = world(seed, n, pattern, lazy);
        w.set_present(0, |_| false);
        w.run(ms(4000));
        w.set_present(0, |_| true);
        w.run(ms(8000));
        assert_well(&w, seed);
    });
}

// RE-EX-14: the process at one side restarts and loses its context.
#[test]
fn a_restarted_peer_is_found_again() {
    each(|seed, n, pattern, lazy| {
        let mut w = world(seed, n, pattern, lazy);
        w.set_path((0, 0), (1, 0), Link::DOWN);
        w.run(ms(4000));
        w.restart(1);
        w.run(ms(20_000));
        assert_well(&w, seed);
    });
}

// S6-7.15-7 (checked by `World`): several hosts and flows, all failing together.
#[test]
fn many_hosts_lose_the_same_path() {
    let seed = 5;
    let mut w = World::new(seed);
    for h in 0..6u16 {
        w.add_host(HostSpec::new(config(), hba_locators(h + 1, 3, seed + u64::from(h))));
    }
    let mut flows = Vec::new();
    for a in 0..6 {
        for b in a + 1..6 {
            let addrs = [w.addr(a, 0), w.addr(b, 0)];
            let pattern = if (a + b) % 2 == 0 { Pattern::TwoWay } else { Pattern::Request };
            flows.push(w.add_flow(Flow {
                hosts: [a, b],
                addrs,
                pattern,
                interval: ms(50),
                bytes: 100,
                start: w.now,
                stop: None,
            }));
        }
    }
    w.run(ms(3000));
    assert!(flows.iter().all(|f| w.crosswise(*f)));
    for a in 0..6 {
        for b in 0..6 {
            if a != b {
                w.set_direction((a, 0), (b, 0), Link::DOWN);
            }
        }
    }
    flows.iter().for_each(|f| w.reset_silence(*f));
    w.run(ms(8000));
    for f in flows {
        for side in 0..2 {
            let t = w.traffic(f, side);
            assert!(t.silence <= SEND_TIMEOUT + ms(1000), "flow {f}: {:?}", t.silence);
            assert!(w.now.since(t.last.expect("traffic")) < ms(200), "flow {f}");
        }
    }
}
