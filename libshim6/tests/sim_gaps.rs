//! Send Timeouts below a second where the traffic has gaps of its own, and hosts whose addresses are exchanged in one moment.

use shim6::config::Config;
use shim6::event::{EventKind, FailureCause};
use shim6::sim::{Flow, HostSpec, Link, Pattern, World, hba_locators};
use shim6::time::Time;
use std::time::Duration;

const SEEDS: u64 = 5;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn good() -> Link {
    Link { delay: Duration::from_micros(300), ..Link::UP }
}

/// Two hosts with as many paths, each between locators of one index; a Send Timeout of 30 ms; a flow of 200 datagrams per
/// second both ways.
fn world(seed: u64, paths: usize) -> World {
    let mut config = Config::default();
    config.reap.send_timeout = ms(30);
    config.reap.initial_probe_timeout = ms(10);
    config.trigger.bytes = Some(0);
    let mut w = World::new(seed);
    w.trace = std::env::var_os("SIM_TRACE").is_some();
    w.net.usual = Link::DOWN;
    for h in 0..2u16 {
        let locators = hba_locators(h + 1, paths, seed * 2 + u64::from(h));
        w.add_host(HostSpec { lazy: true, ..HostSpec::new(config.clone(), locators) });
    }
    all(&mut w, paths, good());
    let addrs = [w.addr(0, 0), w.addr(1, 0)];
    let (pattern, interval) = (Pattern::TwoWay, ms(5));
    let start = w.now + Duration::from_micros(seed * 137 % 5000);
    w.add_flow(Flow { hosts: [0, 1], addrs, pattern, interval, bytes: 100, start, stop: None });
    w.run(ms(3000));
    assert!(w.crosswise(0), "seed {seed}");
    w
}

fn all(w: &mut World, paths: usize, link: Link) {
    (0..paths).for_each(|i| w.set_path((0, i), (1, i), link));
}

/// Nothing comes through for `gap`, every `period`, so many times.
fn bursts(w: &mut World, gap: Duration, period: Duration, times: usize) {
    for _ in 0..times {
        all(w, 2, Link::DOWN);
        w.run(gap);
        all(w, 2, good());
        w.run(period - gap);
    }
}

/// Paths that the Send Timer took for dead since then.
fn alarms(w: &World, host: usize, since: Time) -> usize {
    let is =
        |k: &EventKind| matches!(k, EventKind::ExplorationStarted { cause: FailureCause::SendTimeout, .. });
    w.events(host).iter().filter(|e| e.at >= since && is(&e.kind)).count()
}

/// From the moment when the path in use dies to the alarm of either host.
fn found_after(w: &mut World) -> Duration {
    let current = w.context(0, 0).expect("a context").current;
    let used = if current.local == w.addr(0, 0) { 0 } else { 1 };
    let struck = w.now;
    w.set_path((0, used), (1, used), Link::DOWN);
    w.run(ms(1500));
    let found = |h: usize| {
        let started = |k: &EventKind| matches!(k, EventKind::ExplorationStarted { .. });
        w.events(h).iter().find(|e| e.at >= struck && started(&e.kind)).map(|e| e.at)
    };
    (0..2).filter_map(found).min().expect("it is found").since(struck)
}

// RE-C-15, RE-FI-02: gaps of 70 ms every 700 ms, for a minute, and a Send Timeout of 30 ms
#[test]
fn gaps_that_come_again_are_no_failures() {
    let mut first = Vec::new();
    for seed in 0..SEEDS {
        let mut w = world(seed, 2);
        let began = w.now;
        bursts(&mut w, ms(70), ms(700), 12);
        first.push(alarms(&w, 0, began) + alarms(&w, 1, began));
        let learned = w.now;
        bursts(&mut w, ms(70), ms(700), 90);
        for host in 0..2 {
            assert_eq!(alarms(&w, host, learned), 0, "seed {seed}: host {host}");
        }
        // It is still a Send Timeout: what is longer than the gaps is found
        let found = found_after(&mut w);
        assert!(found < ms(250), "seed {seed}: {found:?}");
    }
    // Both hosts together
    assert!(first.iter().all(|n| (1..=16).contains(n)), "{first:?}");
}

// RE-C-15: the goal holds where the traffic is steady, also some minutes after it had gaps
#[test]
fn steady_traffic_is_found_dead_within_the_timeout() {
    for seed in 0..SEEDS {
        let mut w = world(seed, 2);
        let found = found_after(&mut w);
        assert!(found <= ms(40), "seed {seed}: {found:?}");
        let mut w = world(seed, 2);
        bursts(&mut w, ms(70), ms(700), 20);
        w.run(ms(240_000));
        let found = found_after(&mut w);
        assert!(found <= ms(40), "seed {seed}: {found:?} after the gaps");
    }
}

// RE-C-15: one short failure is no habit of the traffic
#[test]
fn a_single_silence_does_not_slow_the_next_alarm_much() {
    for seed in 0..SEEDS {
        let mut w = world(seed, 2);
        bursts(&mut w, ms(400), ms(700), 1);
        w.run(ms(5000));
        let found = found_after(&mut w);
        assert!(found <= ms(75), "seed {seed}: {found:?}");
    }
}

// RE-EX-23, RE-SM-40, S6-12.4-5: a link goes down and another comes up within one notification; the peer does not know the new
// locator any more, and there is none that it knows
#[test]
fn all_addresses_are_exchanged_at_once_again_and_again() {
    for seed in 0..SEEDS {
        let mut w = world(seed, 2);
        for round in 0..12 {
            let gone = round % 2;
            w.set_present(0, move |i| i != gone);
            w.run(ms(1500));
            let current = w.context(0, 0).expect("a context").current;
            assert_eq!(current.local, w.addr(0, 1 - gone), "seed {seed}, round {round}");
            for side in 0..2 {
                let last = w.traffic(0, side).last.expect("traffic");
                assert!(w.now.since(last) < ms(50), "seed {seed}, round {round}: side {side} hears nothing");
            }
        }
    }
}
