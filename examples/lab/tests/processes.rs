//! Several programs of one host with the same addresses.

#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

mod common;

use common::{Bench, ms, pause};
use shim6_lab::in_lab;
use shim6_lab::programs::{Program, Running};
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
