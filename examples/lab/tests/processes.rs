//! Several programs of one host with the same addresses.

#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

mod common;

use common::{Bench, ms, pause};
use shim6_lab::in_lab;
use shim6_lab::programs::{PORT, Program, Running, python, wait_for_port};
use shim6_lab::topology::{Blackhole, Side};

fn silent(running: &Running, struck: u64) -> std::time::Duration {
    assert!(
        shim6_lab::wait_for(ms(4000), || running.trace().heard(struck + 100_000_000, u64::MAX)),
        "nothing heard"
    );
    running.trace().longest_silence(struck, shim6_lab::now_ns())
}

#[test]
fn two_clients_of_one_host_with_the_same_addresses() {
    // LS-P-05, S6-E-7, S6-7.7-2
    in_lab!();
    let bench = Bench::new(2);
    let _server = bench.serve(Program::Epoll, "", Some(&bench.shim));
    let one = bench.ask(Program::Epoll, "", Some(&bench.shim));
    bench.wait_for_context();
    let program = Program::Python.client(bench.topology.server.addresses[0]).unwrap();
    let two = bench.start(Side::Client, "second", &program, Some(&bench.shim));
    assert!(two.wait_received(100, ms(5000)));
    pause(1000);
    bench.topology.blackhole(1, Blackhole::Both).unwrap();
    let struck = shim6_lab::now_ns();
    assert!(silent(&one, struck) < ms(3500));
    assert!(silent(&two, struck) < ms(3500));
}

/// A command line with another port.
fn on_port(program: Vec<String>, port: u16) -> Vec<String> {
    let old = PORT.to_string();
    program.into_iter().map(|word| if word == old { port.to_string() } else { word }).collect()
}

#[test]
fn two_pairs_of_programs_over_the_same_addresses() {
    // LS-P-01, LS-P-04, S6-N-48
    in_lab!();
    let bench = Bench::new(2);
    let _server = bench.serve(Program::Epoll, "", Some(&bench.shim));
    let program = on_port(Program::Python.server().unwrap(), 5006);
    let _other_server = bench.start(Side::Server, "other-server", &program, Some(&bench.shim));
    assert!(wait_for_port(&bench.topology.server, 5006));
    let one = bench.ask(Program::Epoll, "", Some(&bench.shim));
    bench.wait_for_context();
    let program = on_port(Program::Python.client(bench.topology.server.addresses[0]).unwrap(), 5006);
    let two = bench.start(Side::Client, "other", &program, Some(&bench.shim));
    assert!(two.wait_received(100, ms(5000)));
    pause(1000);
    bench.topology.blackhole(1, Blackhole::Both).unwrap();
    let struck = shim6_lab::now_ns();
    assert!(silent(&one, struck) < ms(3500));
    assert!(silent(&two, struck) < ms(3500));
}

/// The children have no context yet when they answer: they take over where the parent's payload went.
#[test]
fn children_of_a_server_answer_by_the_path_that_works() {
    // API-GEN-16
    in_lab!();
    let bench = Bench::new(2);
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/programs/forking.py");
    let program = [python(), program, &PORT.to_string()].map(str::to_owned);
    // A child that lives for a second does not begin a context by itself.
    let mut shim = bench.shim.clone();
    shim.options.retain(|word| word != "--trigger" && word != "now");
    let _server = bench.start(Side::Server, "server", &program, Some(&shim));
    assert!(wait_for_port(&bench.topology.server, PORT));
    let client = bench.ask(Program::Python, "--interval-ms 100", Some(&bench.shim));
    bench.wait_for_context();
    bench.topology.blackhole(1, Blackhole::Both).unwrap();
    silent(&client, shim6_lab::now_ns());
    // What counts is what comes from then on: new children, each with its first answers.
    pause(2000);
    let later = shim6_lab::now_ns();
    pause(3000);
    let trace = client.trace();
    let silence = trace.longest_silence(later, shim6_lab::now_ns());
    assert!(silence < ms(1500), "{silence:?}\n{}", bench.log("server"));
}
