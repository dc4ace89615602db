//! Raw IPv6 sockets under the shim outlive failures, like UDP sockets (DESIGN section 4).

#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

mod common;

use common::{Bench, ms, pause};
use shim6_lab::programs::{Running, python};
use shim6_lab::topology::{Blackhole, Side};
use shim6_lab::{in_lab, now_ns, wait_for};
use std::time::Duration;

/// For experiments (RFC 3692).
const PROTOCOL: u16 = 253;

fn words(arguments: &str) -> Vec<String> {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/programs/raw.py");
    [python(), program].into_iter().chain(arguments.split(' ')).map(str::to_owned).collect()
}

/// Client and server, once datagrams pass and a context is there. `checksum`: where the kernel puts one.
fn echo(bench: &Bench, checksum: i32, client: &str) -> (Running, Running) {
    let server = words(&format!("server {PROTOCOL} {checksum}"));
    let mut server = bench.start(Side::Server, "server", &server, Some(&bench.shim));
    let open = || {
        bench.topology.server.namespace.run(|| {
            let sockets = std::fs::read_to_string("/proc/thread-self/net/raw6").unwrap_or_default();
            sockets.contains(&format!(":{PROTOCOL:04X} "))
        })
    };
    assert!(wait_for(ms(10_000), open), "{}", server.complaints());
    let address = bench.topology.server.addresses[0];
    let client = words(&format!("client {PROTOCOL} {checksum} {address} {client}"));
    let mut client = bench.start(Side::Client, "client", &client, Some(&bench.shim));
    assert!(wait_for(ms(10_000), || client.trace().heard(0, u64::MAX)), "{}", client.complaints());
    bench.wait_for_context();
    (server, client)
}

/// Echoes come again within `limit`, by other paths than the first, and whole.
fn goes_on(bench: &Bench, client: &Running, struck: u64, limit: Duration) {
    let later = struck + 300_000_000;
    let back = wait_for(limit, || client.trace().heard(later, u64::MAX));
    assert!(back, "nothing heard within {limit:?}\n{}", bench.log("client"));
    pause(500);
    let (there, back) = bench.pairs_in_use();
    assert!(there != Some((1, 1)) && back != Some((1, 1)), "{there:?} {back:?}");
    let silence = client.trace().longest_silence(now_ns() - 400_000_000, now_ns());
    assert!(silence < ms(350), "{silence:?}");
    for side in ["client", "server"] {
        let text = std::fs::read_to_string(bench.file(side).with_extension("trace")).unwrap();
        let wrong: Vec<_> = text.lines().filter(|line| line.starts_with(['W', 'E'])).collect();
        assert!(wrong.is_empty(), "{side}: {wrong:?}");
    }
}

#[test]
fn a_connected_raw_socket_outlives_a_blackhole() {
    in_lab!();
    let bench = Bench::new(2);
    let (_server, client) = echo(&bench, -1, "connected");
    bench.topology.blackhole(1, Blackhole::Both).unwrap();
    goes_on(&bench, &client, now_ns(), ms(8000));
}

#[test]
fn an_unconnected_raw_socket_with_checksums_outlives_a_blackhole() {
    in_lab!();
    let bench = Bench::new(2);
    let (_server, client) = echo(&bench, 8, "unconnected");
    bench.topology.blackhole(1, Blackhole::Both).unwrap();
    goes_on(&bench, &client, now_ns(), ms(8000));
}

#[test]
fn raw_sockets_outlive_the_loss_of_their_address() {
    in_lab!();
    for (checksum, client) in [(-1, "connected"), (8, "unconnected"), (-1, "unconnected")] {
        let bench = Bench::new(2);
        let (_server, client) = echo(&bench, checksum, client);
        bench.topology.link_down(Side::Client, 1).unwrap();
        goes_on(&bench, &client, now_ns(), ms(8000));
    }
}
