//! One control message gets lost, on top of whatever else happens: at the set-up of a context, and when a path fails. The
//! session must not pay for it with a back-off.

use shim6::config::Config;
use shim6::sim::{Flow, HostSpec, Link, Pattern, World, hba_locators};
use std::time::Duration;

const SEND_TIMEOUT: Duration = Duration::from_secs(1);

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Two hosts with two locators each, and their flow; a context at the first datagram. `strict`: only locators of one index
/// have a path; else all pairs work.
fn world(seed: u64, strict: bool, pattern: Pattern) -> World {
    let mut w = World::new(seed);
    let mut c = Config::default();
    c.reap.send_timeout = SEND_TIMEOUT;
    c.reap.initial_probe_timeout = ms(100);
    c.trigger.bytes = Some(0);
    for h in 0..2u16 {
        let locators = hba_locators(h + 1, 2, seed * 2 + u64::from(h));
        w.add_host(HostSpec { lazy: !seed.is_multiple_of(4), ..HostSpec::new(c.clone(), locators) });
    }
    for i in 0..2 {
        for j in 0..2 {
            let link = Link { jitter: ms(2), delay: ms(2), ..Link::UP };
            w.set_path((0, i), (1, j), if i == j || !strict { link } else { Link::DOWN });
        }
    }
    let addrs = [w.addr(0, 0), w.addr(1, 0)];
    let start = w.now + ms(seed % 20);
    w.add_flow(Flow { hosts: [0, 1], addrs, pattern, interval: ms(5), bytes: 100, start, stop: None });
    w
}

// S6-B-12, S6-B-26, S6-N-25: where both sides begin, the loss of any message costs half a second, not the I1 or I2 timer.
#[test]
fn a_loss_at_the_set_up() {
    for seed in 0..80 {
        for lost in 0..4 {
            let mut w = world(seed, false, Pattern::Request);
            w.lose_after = Some(lost);
            w.run(ms(1000));
            let both_began = (0..2).all(|h| w.log.iter().any(|s| s.host == h && s.ty() == 1));
            assert!(!both_began || w.crosswise(0), "seed {seed}, message {lost}");
        }
    }
}

/// Path 1 swallows what goes from `side` to the other one.
fn blackhole(w: &mut World, side: usize) {
    for (i, j) in [(0, 0), (0, 1), (1, 0)] {
        w.set_direction((side, i), (1 - side, j), Link::DOWN);
    }
}

// RE-RP-19, RE-OP-04: neither the answer to a Probe nor the Probe that ends an exploration is waited for in vain until all
// other pairs have been walked through.
#[test]
fn a_loss_after_a_failure() {
    for (seed, pattern) in (0..16).zip([Pattern::TwoWay, Pattern::Request].into_iter().cycle()) {
        for dead in [&[0][..], &[1], &[0, 1]] {
            for lost in 0..8 {
                let mut w = world(seed, seed % 3 == 0, pattern);
                w.run(ms(3000 + seed * 77 % 1000));
                assert!(w.crosswise(0), "seed {seed}");
                w.reset_silence(0);
                dead.iter().for_each(|side| blackhole(&mut w, *side));
                w.lose_after = Some(lost);
                w.run(ms(3500));
                let silence = w.traffic(0, 0).silence.max(w.traffic(0, 1).silence);
                // The Send Timeout with its jitter, a Probe Timeout until the good pair is tried, and one for the loss
                assert!(silence <= ms(1400), "seed {seed} {pattern:?} {dead:?}, message {lost}: {silence:?}");
            }
        }
    }
}
