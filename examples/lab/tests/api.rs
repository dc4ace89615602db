//! The sockets API on sockets that have a context: C programs under the preload library, a host for each end, and the
//! router's counters, which show each locator on the wire.

#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

mod common;

use common::{Bench, ms};
use shim6_lab::in_lab;
use shim6_lab::programs::{PORT, Running, wait_for_port};
use shim6_lab::topology::{Blackhole, PathPair, Side};

/// Two hosts with three paths, and the server.
fn bench() -> (Bench, Running) {
    let bench = Bench::new(3);
    let words = [bench.c_test("api_packets"), "serve".to_owned(), PORT.to_string()];
    let mut server = bench.start(Side::Server, "server", &words, Some(&bench.shim));
    assert!(wait_for_port(&bench.topology.server, PORT), "{}", server.complaints());
    (bench, server)
}

/// Run a test of a program at the client; what the router counted meanwhile, per pair to the server.
fn run(bench: &Bench, program: &str, test: &str) -> Vec<(PathPair, u64)> {
    let before = bench.topology.counters().unwrap();
    let server = bench.topology.server.addresses[0].to_string();
    let words = [bench.c_test(program), server, PORT.to_string(), test.to_owned()];
    let mut client = bench.start(Side::Client, test, &words, Some(&bench.shim));
    let status = client.wait(ms(70_000)).unwrap();
    let said = std::fs::read_to_string(bench.file(test).with_extension("trace")).unwrap_or_default();
    assert!(
        status.success() && said == format!("ok {test}\n"),
        "{test}: {status} {said} {}",
        client.complaints()
    );
    let now = bench.topology.counters().unwrap();
    now.to_server.iter().zip(&before.to_server).map(|(n, b)| (n.0, n.1 - b.1)).collect()
}

// API-GEN-01, API-GEN-09, API-RQ-12
#[test]
fn options_and_errors_with_a_context() {
    in_lab!();
    let (bench, _server) = bench();
    for test in [
        "switches",
        "timers",
        "lists",
        "checks",
        "bad_messages",
        "leaving",
        "not_blocking",
        "not_deferred",
        "unconnected",
    ] {
        run(&bench, "api_options", test);
    }
}

// API-ERR-05, API-PTX-10, API-PPF-10
#[test]
fn a_locator_that_cannot_be_reached_is_refused() {
    in_lab!();
    let (bench, _server) = bench();
    bench.topology.blackhole(3, Blackhole::Both).unwrap();
    run(&bench, "api_options", "unreachable");
}

// API-LTX-08, API-PTX-14, API-PTX-15, API-LLP-06, API-PPF-06, API-CM-13, API-CM-21, API-CM-37, API-FK-04, API-FK-19
#[test]
fn locators_are_on_the_wire() {
    in_lab!();
    let (bench, _server) = bench();
    for (test, pairs) in [
        ("local_send", &[(2, 1)][..]),
        ("peer_send", &[(1, 2)]),
        ("both_send", &[(2, 2)]),
        ("local_pref", &[(3, 1)]),
        ("peer_pref", &[(1, 3)]),
        ("messages", &[(3, 3), (1, 1), (3, 2)]),
        ("two_sockets", &[(2, 3), (1, 1)]),
    ] {
        let counted = run(&bench, "api_packets", test);
        for (pair, packets) in &counted {
            // 100 datagrams by each; besides that control messages only, and those pass by other pairs too.
            let range = if pairs.contains(pair) { 100..190 } else { 0..90 };
            assert!(range.contains(packets), "{test}: {pair:?} carried {packets}: {counted:?}");
        }
    }
}

// API-CM-04, API-CM-05, API-CM-06, API-CM-10, API-CM-11
#[test]
fn received_locators_are_told() {
    in_lab!();
    let (bench, _server) = bench();
    run(&bench, "api_packets", "received_plain");
    run(&bench, "api_packets", "received_tagged");
}
