//! Where nothing fails, Shim6 keeps still; and a peer without it is served as ever.

use shim6::config::Config;
use shim6::engine::ContextState;
use shim6::sim::{Flow, HostSpec, Link, Pattern, Support, World, hba_locators};
use std::time::Duration;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn at_once() -> Config {
    let mut c = Config::default();
    c.trigger.bytes = Some(0);
    c
}

fn two(seed: u64, config: &Config, support: Support, lazy: bool) -> World {
    let mut w = World::new(seed);
    for h in 0..2u16 {
        let spec = HostSpec::new(config.clone(), hba_locators(h + 1, 2, seed * 2 + u64::from(h)));
        let support = if h == 1 { support } else { Support::Shim6 };
        w.add_host(HostSpec { support, lazy, ..spec });
    }
    w
}

fn flow(w: &mut World, pattern: Pattern, interval: Duration) -> usize {
    let addrs = [w.addr(0, 0), w.addr(1, 0)];
    let start = w.now;
    w.add_flow(Flow { hosts: [0, 1], addrs, pattern, interval, bytes: 700, start, stop: None })
}

// RE-EX-02, RE-FB-14, S6-11-3, RE-AD-10
#[test]
fn healthy_two_way_traffic_makes_no_packet() {
    for seed in 0..20 {
        for pattern in [Pattern::TwoWay, Pattern::Request] {
            let mut w = two(seed, &at_once(), Support::Shim6, seed % 2 == 0);
            let f = flow(&mut w, pattern, ms(200));
            w.run(ms(5000));
            assert!(w.crosswise(f), "seed {seed}");
            let since = w.now;
            w.run(ms(600_000));
            assert_eq!(w.sent_since(since), 0, "seed {seed} {pattern:?}: {:?}", w.log.last());
            // Each datagram arrived, none went behind an extension header.
            let on_the_way = 1;
            assert!(w.traffic(f, 1).received + on_the_way >= w.traffic(f, 0).sent);
            assert_eq!(w.engine(1).expect("an engine").counters().payload_received, 0);
        }
    }
}

// RE-EX-01, RE-EX-19, RE-FB-13, RE-FB-15
#[test]
fn an_idle_context_is_silent_and_goes() {
    for seed in 0..20 {
        let mut w = two(seed, &at_once(), Support::Shim6, seed % 2 == 0);
        let f = flow(&mut w, Pattern::Idle, ms(1000));
        let ulids = w.ulids(f, 0);
        w.with_engine(0, |e, now| e.establish(now, ulids, None));
        w.run(ms(60_000));
        assert!(w.crosswise(f), "seed {seed}");
        assert!(w.log.iter().all(|s| s.ty() != 67), "seed {seed}: no Probe");
        let since = w.now;
        w.run(ms(3_600_000));
        assert_eq!(w.sent_since(since), 0, "seed {seed}");
        // S6-9-2: open sockets keep it.
        assert!(w.crosswise(f), "seed {seed}");
        w.close(f);
        w.run(ms(1_500_000));
        assert_eq!(w.sent_since(since), 0, "seed {seed}");
        assert!(w.is_empty(), "seed {seed}");
    }
}

// RE-EX-03
#[test]
fn one_way_traffic_makes_keepalives_only() {
    for seed in 0..20 {
        let mut w = two(seed, &at_once(), Support::Shim6, seed % 2 == 0);
        let f = flow(&mut w, Pattern::OneWay, ms(1000));
        w.run(ms(20_000));
        assert!(w.crosswise(f), "seed {seed}");
        let from = w.log.len();
        w.run(ms(120_000));
        let at: Vec<_> = w.log[from..].iter().map(|s| (s.host, s.ty(), s.at)).collect();
        assert!(at.iter().all(|(host, ty, _)| (*host, *ty) == (1, 66)), "seed {seed}: {at:?}");
        assert!(at.len() >= 12 && at.windows(2).all(|p| p[1].2.since(p[0].2) <= ms(8500)), "seed {seed}");
        w.close(f);
        w.run(ms(17_000));
        let since = w.now;
        w.run(ms(100_000));
        assert_eq!(w.sent_since(since), 0, "seed {seed}");
    }
}

// S6-15-4, S6-7.8-5: a peer without Shim6 sees a few I1 and nothing else, and all payload arrives.
#[test]
fn a_peer_without_shim6_is_served_as_ever() {
    for seed in 0..20 {
        for support in [Support::Silent, Support::Icmp] {
            let mut w = two(seed, &at_once(), support, seed % 2 == 0);
            let f = flow(&mut w, Pattern::Request, ms(200));
            w.run(ms(300_000));
            assert!(w.log.iter().all(|s| s.host == 0 && s.ty() == 1), "seed {seed}: I1 only");
            let i1 = w.log.len();
            // ICMP_HOLDDOWN_TIME is 10 min; NO_R1_HOLDDOWN_TIME 1 min after five I1 over two minutes.
            let most = if support == Support::Icmp { 1 } else { 12 };
            assert!((1..=most).contains(&i1), "seed {seed} {support:?}: {i1}");
            assert!(w.context(f, 0).is_none_or(|c| c.state != ContextState::Established));
            let (there, back) = (w.traffic(f, 1), w.traffic(f, 0));
            assert!(there.received + 1 >= back.sent && back.received + 1 >= there.sent);
            assert!(there.silence <= ms(201), "seed {seed}");
        }
    }
}

// LS-H-02: below the trigger there is no context.
#[test]
fn short_exchanges_make_no_context() {
    // LS-D-01
    for lazy in [false, true] {
        let mut w = two(1, &Config::default(), Support::Shim6, lazy);
        let f = flow(&mut w, Pattern::Request, ms(5000));
        w.run(ms(4000));
        assert!(w.log.is_empty());
        // The third datagram passes 2048 octets
        w.run(ms(4000));
        assert!(w.crosswise(f), "lazy {lazy}");
        w.net.usual = Link::UP;
    }
}
