//! Header suppression between whole hosts: who leaves the header out, that nothing goes astray, and how it comes back.

use shim6::config::{Config, Suppress};
use shim6::engine::Bare;
use shim6::event::{Event, EventKind};
use shim6::sim::{Flow, HostSpec, Link, Pattern, World, hba_locators};
use std::time::Duration;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn config(suppress: Suppress) -> Config {
    let mut c = Config::default();
    c.reap.send_timeout = ms(1000);
    c.reap.initial_probe_timeout = ms(100);
    c.trigger.bytes = Some(0);
    c.shim6.suppress_header = suppress;
    c
}

/// Two hosts with two locators each, paths between those of one index, and a flow between the first ones.
fn world(seed: u64, modes: [Suppress; 2], pattern: Pattern, one_port: bool) -> World {
    let mut w = World::new(seed);
    w.net.usual = Link::DOWN;
    for (h, mode) in modes.into_iter().enumerate() {
        let locators = hba_locators(h as u16 + 1, 2, seed * 2 + h as u64);
        let lazy = seed.is_multiple_of(2);
        w.add_host(HostSpec { lazy, one_port, ..HostSpec::new(config(mode), locators) });
    }
    for i in 0..2 {
        w.set_path((0, i), (1, i), Link { jitter: ms(2), delay: ms(2), ..Link::UP });
    }
    add_flow(&mut w, [0, 0], pattern);
    w.run(ms(3000));
    assert!(w.crosswise(0), "seed {seed}");
    w
}

fn add_flow(w: &mut World, at: [usize; 2], pattern: Pattern) -> usize {
    let addrs = [w.addr(0, at[0]), w.addr(1, at[1])];
    let (interval, start) = (ms(20), w.now);
    w.add_flow(Flow { hosts: [0, 1], addrs, pattern, interval, bytes: 100, start, stop: None })
}

/// Path `i` fails, or is back.
fn set(w: &mut World, i: usize, up: bool) {
    w.set_path((0, i), (1, i), Link { up, jitter: ms(2), delay: ms(2), ..Link::UP });
}

fn bare(w: &World) -> [Bare; 2] {
    [0, 1].map(|side| w.context(0, side).expect("a context").bare)
}

/// How often the hosts took a path for dead.
fn explored(w: &World) -> usize {
    let started = |e: &&Event| matches!(e.kind, EventKind::ExplorationStarted { .. });
    [0, 1].iter().map(|h| w.events(*h).iter().filter(started).count()).sum()
}

/// Datagrams of flow `flow` that each side gets in the next second.
fn heard(w: &mut World, flow: usize) -> [u64; 2] {
    let before = [0, 1].map(|side| w.traffic(flow, side).received);
    w.run(ms(1000));
    [0, 1].map(|side| w.traffic(flow, side).received - before[side])
}

// LS-S-01, LS-S-14, LS-S-15, LS-S-21: bare both ways after a switch, REAP stays content, and the next failure is survived
// as well. Every datagram is checked for the ULIDs that its receiver makes of it.
#[test]
fn a_switch_without_headers_and_back() {
    for seed in 0..60 {
        let pattern = [Pattern::TwoWay, Pattern::Request][seed as usize % 2];
        let mut w = world(seed, [Suppress::WhenClear; 2], pattern, false);
        assert_eq!((bare(&w), w.bare), ([Bare::KnownFlows; 2], 0), "seed {seed}: nothing to leave out yet");
        set(&mut w, 0, false);
        w.run(ms(4000));
        let before = w.bare;
        assert!(heard(&mut w, 0).iter().all(|n| *n > 40), "seed {seed}");
        assert!(w.bare - before > 90, "seed {seed}");
        let before = explored(&w);
        w.run(ms(60_000));
        assert_eq!(explored(&w), before, "seed {seed}: bare datagrams count as heard");
        set(&mut w, 0, true);
        set(&mut w, 1, false);
        w.run(ms(4000));
        let before = w.bare;
        assert!(heard(&mut w, 0).iter().all(|n| *n > 40), "seed {seed}");
        assert_eq!(w.bare, before, "seed {seed}: between the ULIDs again");
        w.close(0);
        w.run(ms(2_000_000));
        assert!(w.is_empty(), "seed {seed}: LS-S-21, idle contexts end");
    }
}

// LS-S-09, LS-S-10: a peer that is told nothing, or tells nothing, sends and gets headers.
#[test]
fn one_host_alone_suppresses_nothing() {
    for (seed, modes) in
        [[Suppress::WhenClear, Suppress::Off], [Suppress::Off, Suppress::Always]].into_iter().enumerate()
    {
        let mut w = world(seed as u64, modes, Pattern::TwoWay, false);
        set(&mut w, 0, false);
        w.run(ms(4000));
        assert!(heard(&mut w, 0).iter().all(|n| *n > 40));
        assert_eq!((bare(&w), w.bare), ([Bare::No; 2], 0));
    }
}

// LS-S-16, LS-S-17, LS-S-18: once the locators are ULIDs of a session with other ports, the ports tell them apart.
#[test]
fn a_session_on_the_locators_with_other_ports_leaves_transport_demultiplexing() {
    for seed in 0..40 {
        let mut w = world(seed, [Suppress::WhenClear; 2], Pattern::TwoWay, false);
        let two = add_flow(&mut w, [1, 1], Pattern::TwoWay);
        w.run(ms(3000));
        assert_eq!(bare(&w), [Bare::KnownFlows; 2], "seed {seed}");
        set(&mut w, 0, false);
        w.run(ms(4000));
        let before = w.bare;
        assert!(heard(&mut w, 0).iter().all(|n| *n > 40), "seed {seed}");
        assert!(w.bare - before > 90, "seed {seed}");
        assert!(heard(&mut w, two).iter().all(|n| *n > 40), "seed {seed}");
    }
}

// LS-S-08, LS-S-18, LS-S-19: the same ports on the same locators, before the switch or after it.
#[test]
fn a_session_with_the_same_ports_brings_the_header_back() {
    for seed in 0..40 {
        let mut w = world(seed, [Suppress::WhenClear; 2], Pattern::TwoWay, true);
        let late = seed.is_multiple_of(2);
        if late {
            set(&mut w, 0, false);
            w.run(ms(4000));
            assert!(w.bare > 0, "seed {seed}");
        }
        // Until the peer knows, it takes them for the other session's; the driver holds them back so long
        w.may_misread = true;
        let two = add_flow(&mut w, [1, 1], Pattern::TwoWay);
        w.run(ms(500));
        assert_eq!(bare(&w), [Bare::No; 2], "seed {seed}");
        w.run(ms(2500));
        (w.may_misread, w.misread) = (false, 0);
        set(&mut w, 0, false);
        w.run(ms(4000));
        let before = w.bare;
        for flow in [0, two] {
            assert!(heard(&mut w, flow).iter().all(|n| *n > 40), "seed {seed} flow {flow}");
        }
        assert_eq!(w.bare, before, "seed {seed}");
    }
}
