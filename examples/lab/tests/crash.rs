//! What becomes of a program whose engine crashes.

#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

mod common;

use common::{Bench, ms, pause};
use shim6_lab::programs::Program;
use shim6_lab::topology::Side;
use shim6_lab::{in_lab, now_ns, wait_for};

/// In debug builds the engine panics at the loss of an address if this says so.
const FAULT: &str = "SHIM6_FAULT=address-lost";

#[test]
fn a_crash_of_the_engine_leaves_the_program_on_kernel_sockets() {
    in_lab!();
    let bench = Bench::new(2);
    let _server = bench.serve(Program::Epoll, "", Some(&bench.shim));
    let mut client = ["env", FAULT].map(str::to_owned).to_vec();
    client.extend(Program::Python.client(bench.topology.server.addresses[0]).unwrap());
    let mut client = bench.start(Side::Client, "client", &client, Some(&bench.shim));
    bench.wait_for_context();
    let host = &bench.topology.client.namespace;
    host.ip("addr add 2001:db8:dead::1/64 dev p1 nodad").unwrap();
    pause(300);
    host.ip("addr del 2001:db8:dead::1/64 dev p1").unwrap();
    assert!(
        wait_for(ms(5000), || bench.log("client").contains("the engine crashed")),
        "{}",
        bench.log("client")
    );
    assert!(bench.log("client").contains("as SHIM6_FAULT asks"), "{}", bench.log("client"));
    let crashed = now_ns();
    pause(2500);
    assert!(client.is_running());
    assert!(client.trace().longest_silence(crashed, now_ns()) < ms(1000), "echoes go on between the ULIDs");
    assert_eq!(client.trace().errors, Vec::new());
    assert!(
        !client.complaints().contains("panicked"),
        "nothing on the program's own standard error: {}",
        client.complaints()
    );
}
