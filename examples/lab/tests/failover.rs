//! How long programs see nothing when a path fails, with real clocks: a datagram every millisecond and its echo. The bounds
//! hold on a busy machine; what was measured is printed (`cargo test --test failover -- --nocapture`).

#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

mod common;

use common::{Bench, ms, pause};
use shim6_lab::in_lab;
use shim6_lab::now_ns;
use shim6_lab::programs::Program;
use shim6_lab::topology::{Blackhole, Side};
use std::time::Duration;

#[derive(Clone, Copy, Debug)]
enum Failure {
    Blackhole,
    LinkHere,
    LinkThere,
}

/// The longest silence at either side with these options of `shim6 run`.
fn silence(options: &str, failure: Failure) -> Duration {
    let mut bench = Bench::new(2);
    let words = format!("{options} --trigger now --log-level shim6=info");
    bench.shim.options = words.split_whitespace().map(str::to_owned).collect();
    let server = bench.serve(Program::Epoll, "", Some(&bench.shim));
    let client = bench.ask(Program::Epoll, "--interval-ms 1", Some(&bench.shim));
    bench.wait_for_context();
    // A standby pair is confirmed, and round-trip times are known
    pause(1200);
    let struck = now_ns();
    match failure {
        Failure::Blackhole => bench.topology.blackhole(1, Blackhole::Both),
        Failure::LinkHere => bench.topology.link_down(Side::Client, 1),
        Failure::LinkThere => bench.topology.link_down(Side::Server, 1),
    }
    .unwrap();
    pause(1500);
    let end = now_ns();
    let sides = [client.trace(), server.trace()].map(|t| t.longest_silence(struck, end));
    println!("{options:40} {failure:?}: client {:?}, server {:?}", sides[0], sides[1]);
    for name in ["client", "server"] {
        let log = bench.log(name);
        println!(
            "{name}: {}",
            log.lines().filter(|l| l.contains("first datagram")).collect::<Vec<_>>().join("\n")
        );
    }
    assert_eq!(bench.pairs_in_use(), (Some((2, 2)), Some((2, 2))), "{failure:?}");
    sides.into_iter().max().expect("two")
}

fn within(options: &str, limits: [u64; 3]) {
    in_lab!();
    let failures = [Failure::Blackhole, Failure::LinkHere, Failure::LinkThere];
    for (failure, limit) in failures.into_iter().zip(limits) {
        let seen = silence(options, failure);
        assert!(seen < ms(limit), "{options} {failure:?}: {seen:?}");
    }
}

// API-HOT-10, RE-SM-40
#[test]
fn hot_standby_with_a_send_timeout_of_30_ms() {
    within("--send-timeout 30ms --hot-standby", [700, 500, 500]);
}

#[test]
fn a_send_timeout_of_100_ms() {
    within("--send-timeout 100ms", [1200, 500, 500]);
}

// RE-FB-23, RE-KT-03: below a second, a peer that naps, one that answers late and an idle stretch are no failures
#[test]
fn a_quiet_program_is_no_dead_path_below_a_second() {
    in_lab!();
    let mut bench = Bench::new(2);
    let words = "--send-timeout 300ms --trigger now --log-level shim6=info";
    bench.shim.options = words.split_whitespace().map(str::to_owned).collect();
    let server = bench.serve(Program::Python, "--nap 1.2", Some(&bench.shim));
    let client = bench.ask(Program::Python, "--interval-ms 20", Some(&bench.shim));
    bench.wait_for_context();
    pause(4000);
    assert!(server.trace().longest_silence(server.trace().received[0].1, now_ns()) > ms(1000), "it does nap");
    for side in ["client", "server"] {
        let log = bench.log(side);
        assert!(log.matches("exploring").count() <= 1, "{side}: {log}");
        assert!(!log.contains("moves"), "{side}: {log}");
    }
    drop(client);
}
