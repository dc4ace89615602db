//! Datagrams of the last moments before a failure was found, sent again on the new path where that was asked for.

#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

mod common;

use common::{Bench, pause};
use shim6_lab::in_lab;
use shim6_lab::now_ns;
use shim6_lab::programs::Program;
use shim6_lab::topology::Blackhole;
use std::collections::HashMap;

/// Path 1 is swallowed under a flow of 200 datagrams per second and their echoes: how many were never answered, how many
/// came twice, and what both logs say.
fn swallowed(options: &str) -> (usize, usize, String) {
    let mut bench = Bench::new(2);
    let words = format!("--send-timeout 400ms --trigger now --log-level shim6=info {options}");
    bench.shim.options = words.split_whitespace().map(str::to_owned).collect();
    let _server = bench.serve(Program::Epoll, "", Some(&bench.shim));
    let mut client = bench.ask(Program::Epoll, "--interval-ms 5", Some(&bench.shim));
    bench.wait_for_context();
    pause(1000);
    bench.topology.blackhole(1, Blackhole::Both).unwrap();
    pause(3500);
    assert_eq!(bench.pairs_in_use(), (Some((2, 2)), Some((2, 2))));
    let until = now_ns() - 1_000_000_000;
    client.stop().unwrap();
    let trace = client.trace();
    let mut copies: HashMap<u64, usize> = HashMap::new();
    trace.received.iter().for_each(|(number, _)| *copies.entry(*number).or_default() += 1);
    let twice = copies.values().filter(|n| **n > 1).count();
    (trace.lost(until), twice, bench.log("client") + &bench.log("server"))
}

// RE-OP-07: what is lost is lost, unless it was asked to be sent again
#[test]
fn nothing_is_lost_that_was_sent_before_the_failure_was_found() {
    in_lab!();
    let (lost, twice, log) = swallowed("--resend 1024 --set reap.resend_age=20s");
    assert_eq!(lost, 0, "{log}");
    assert!(twice > 0, "what had arrived arrives again: the ring reaches further back than the failure");
    assert_eq!(log.matches("datagrams sent again").count(), 2, "{log}");
    let (lost, twice, log) = swallowed("");
    assert!(lost > 20 && twice == 0, "{lost} lost, {twice} twice: {log}");
    assert!(!log.contains("sent again"), "{log}");
    // No more than the bound
    let (some, _, log) = swallowed("--resend 10");
    assert!(some > 5 && some < lost + 60, "{some} of {lost}: {log}");
    assert!(log.contains("sent=10 of=10"), "{log}");
}
