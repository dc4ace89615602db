//! The lab itself, without any shim: every path works, and failures fail what they should and nothing else.

#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

use shim6_lab::in_lab;
use shim6_lab::namespace::Namespace;
use shim6_lab::programs::Program;
use shim6_lab::scenario::{Failure, Scenario};
use shim6_lab::topology::{Addressing, Blackhole, Host, Side, Topology};
use std::net::{Ipv6Addr, SocketAddrV6, UdpSocket};
use std::process::Command;
use std::time::Duration;

fn plain(paths: usize) -> (tempfile::TempDir, Topology) {
    let scratch = tempfile::tempdir().unwrap();
    let topology = Topology::new(paths, &Addressing::Plain, scratch.path()).unwrap();
    (scratch, topology)
}

fn bound(host: &Host, address: Ipv6Addr) -> UdpSocket {
    let socket = host.namespace.run(move || UdpSocket::bind(SocketAddrV6::new(address, 0, 0, 0)));
    let socket = socket.unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    socket
}

/// Whether a datagram gets from an address of one host to an address of the other.
fn passes(from: &Host, source: Ipv6Addr, to: &Host, destination: Ipv6Addr) -> bool {
    let receiver = bound(to, destination);
    let sender = bound(from, source);
    sender.send_to(b"hello", receiver.local_addr().unwrap()).is_ok()
        && receiver.recv_from(&mut [0; 8]).is_ok()
}

/// The locator pairs that work, per direction, as "a1b2".
fn working(topology: &Topology) -> (Vec<String>, Vec<String>) {
    let (client, server) = (&topology.client, &topology.server);
    let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
    for a in topology.paths() {
        for b in topology.paths() {
            let (from, to) = (client.addresses[a - 1], server.addresses[b - 1]);
            if passes(client, from, server, to) {
                to_server.push(format!("a{a}b{b}"));
            }
            if passes(server, to, client, from) {
                to_client.push(format!("a{a}b{b}"));
            }
        }
    }
    (to_server, to_client)
}

fn pairs(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn every_locator_pair_works_and_blackholes_swallow_what_they_say() {
    in_lab!();
    let (_scratch, topology) = plain(2);
    let all = pairs("a1b1 a1b2 a2b1 a2b2");
    assert_eq!(working(&topology), (all.clone(), all.clone()));
    topology.blackhole(1, Blackhole::Both).unwrap();
    assert_eq!(working(&topology), (pairs("a2b2"), pairs("a2b2")));
    topology.blackhole(1, Blackhole::ToServer).unwrap();
    assert_eq!(working(&topology), (pairs("a2b2"), all.clone()));
    topology.blackhole(1, Blackhole::ToClient).unwrap();
    assert_eq!(working(&topology), (all.clone(), pairs("a2b2")));
    topology.restore(1).unwrap();
    topology.blackhole(2, Blackhole::Both).unwrap();
    assert_eq!(working(&topology), (pairs("a1b1"), pairs("a1b1")));
    topology.restore(2).unwrap();
    assert_eq!(working(&topology), (all.clone(), all));
}

#[test]
fn three_paths_are_three() {
    in_lab!();
    let (_scratch, topology) = plain(3);
    topology.blackhole(1, Blackhole::Both).unwrap();
    topology.blackhole(3, Blackhole::ToServer).unwrap();
    assert_eq!(working(&topology), (pairs("a2b2"), pairs("a2b2 a2b3 a3b2 a3b3")));
}

#[test]
fn a_provider_drops_a_source_that_is_not_its_own() {
    in_lab!();
    let (_scratch, topology) = plain(2);
    let (client, server) = (&topology.client, &topology.server);
    let (source, destination) = (client.addresses[0], server.addresses[0]);
    assert!(passes(client, source, server, destination));
    client.namespace.ip(&format!("rule add from {source}/128 priority 10 table 102")).unwrap();
    assert!(!passes(client, source, server, destination), "went out of p2 with the address of p1");
}

#[test]
fn a_link_that_is_down_takes_its_address_along_and_is_no_carrier_loss_for_the_peer() {
    in_lab!();
    let (_scratch, topology) = plain(2);
    for side in [Side::Client, Side::Server] {
        let (here, there) = match side {
            Side::Client => (&topology.client, &topology.server),
            Side::Server => (&topology.server, &topology.client),
        };
        topology.link_down(side, 1).unwrap();
        let gone = here.addresses[0];
        assert!(here.namespace.run(move || UdpSocket::bind((gone, 0))).is_err(), "the address is gone");
        assert!(passes(here, here.addresses[1], there, there.addresses[1]));
        let carrier = there.namespace.output(command("ip", "link show p1"), "").unwrap();
        assert!(carrier.contains("LOWER_UP"), "{carrier}");
        topology.link_up(side, 1).unwrap();
        assert!(passes(here, here.addresses[0], there, there.addresses[0]), "{side:?} is back");
        assert!(passes(there, there.addresses[0], here, here.addresses[0]), "{side:?} is back");
    }
}

#[test]
fn the_router_counts_per_pair_and_direction() {
    in_lab!();
    let (_scratch, topology) = plain(2);
    let before = topology.counters().unwrap();
    assert_eq!(topology.counters().unwrap().busiest_since(&before), (None, None));
    let (client, server) = (&topology.client, &topology.server);
    assert!(passes(client, client.addresses[1], server, server.addresses[0]));
    assert!(passes(server, server.addresses[1], client, client.addresses[0]));
    assert!(passes(server, server.addresses[1], client, client.addresses[0]));
    assert!(passes(server, server.addresses[1], client, client.addresses[1]));
    let after = topology.counters().unwrap();
    assert_eq!(after.busiest_since(&before), (Some((2, 1)), Some((1, 2))));
}

#[test]
fn programs_alone_do_not_survive() {
    in_lab!();
    let scratch = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for (failure, program) in [
            (Failure::BlackholeToServer, Program::Epoll),
            (Failure::LocalLinkDown, Program::Python),
            (Failure::BackThenOther, Program::Socat),
        ] {
            let scratch = scratch.path();
            scope.spawn(move || {
                let scenario =
                    Scenario { failure, program, paths: 2, shim: None, send_timeout: Duration::from_secs(1) };
                let outcome = scenario.run(scratch, &format!("{failure:?}")).unwrap();
                assert!(!outcome.survived && outcome.lost > 100, "{failure:?}: {outcome:?}");
                // In the last case path 1 comes back, and with it what uses nothing else.
                assert_eq!(outcome.recovered, failure == Failure::BackThenOther, "{failure:?}: {outcome:?}");
                assert_eq!(outcome.before.to_string(), "a1 b1", "{failure:?}: {outcome:?}");
            });
        }
    });
}

#[test]
fn programs_end_with_their_namespace() {
    in_lab!();
    let namespace = Namespace::new().unwrap();
    let mut process = namespace.spawn(command("sleep", "100")).unwrap();
    assert!(process.is_running());
    drop(namespace);
    assert!(
        shim6_lab::wait_for(Duration::from_secs(2), || !process.is_running()),
        "the thread's end is its end"
    );
}

fn command(program: &str, arguments: &str) -> Command {
    let mut command = Command::new(program);
    command.args(arguments.split(' '));
    command
}
