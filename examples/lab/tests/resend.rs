//! Datagrams of the last moments before a failure was found, sent again on the new path where that was asked for.

#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

mod common;

use common::{Bench, ms, pause};
use shim6_lab::now_ns;
use shim6_lab::programs::{PORT, Program, python, wait_for_port};
use shim6_lab::topology::{Blackhole, Side};
use shim6_lab::{in_lab, wait_for};
use std::collections::HashMap;

/// Path 1 is swallowed under a flow of 100 datagrams per second and their echoes: how many were never answered, how many
/// came twice, and what both logs say.
fn swallowed(options: &str) -> (usize, usize, String) {
    let mut bench = Bench::new(2);
    let words = format!("--send-timeout 400ms --trigger now --log-level shim6=info {options}");
    bench.shim.options = words.split_whitespace().map(str::to_owned).collect();
    let _server = bench.serve(Program::Epoll, "", Some(&bench.shim));
    let mut client = bench.ask(Program::Epoll, "--interval-ms 10", Some(&bench.shim));
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
    let (lost, twice, log) = swallowed("--resend 200 --set reap.resend_age=20s");
    assert_eq!(lost, 0, "{log}");
    assert!(twice > 0, "what had arrived arrives again: the ring reaches further back than the failure");
    assert_eq!(log.matches("datagrams sent again").count(), 2, "{log}");
    let (lost, twice, log) = swallowed("");
    assert!(lost > 10 && twice == 0, "{lost} lost, {twice} twice: {log}");
    assert!(!log.contains("sent again"), "{log}");
    // No more than the bound
    let (some, _, log) = swallowed("--resend 10");
    assert!(some > 5, "{some} of {lost}: {log}");
    assert!(log.contains("sent=10 of=10"), "{log}");
}

const SEES: &str = "
import socket, struct, sys
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
s.bind(('::', int(sys.argv[1])))
while True:
    data, told, _, peer = s.recvmsg(100, 200)
    of = {kind: struct.unpack('i', value[:4])[0] for _, kind, value in told}
    print(data.decode(), of[socket.IPV6_HOPLIMIT], of[socket.IPV6_TCLASS], flush=True)
    s.sendto(data, peer)
";
const MARKS: &str = "
import itertools, socket, sys, time
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, 0xb8)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 33)
s.connect((sys.argv[1], int(sys.argv[2])))
s.setblocking(False)
for n in itertools.count():
    s.send(b'%d' % n)
    time.sleep(0.01)
    try:
        while True:
            s.recv(100)
    except OSError:
        pass
";

// What is sent again looks as it did at first.
#[test]
fn copies_have_the_traffic_class_and_the_hop_limit_of_their_socket() {
    in_lab!();
    let mut bench = Bench::new(2);
    let words = "--send-timeout 400ms --trigger now --log-level shim6=info --resend 200";
    bench.shim.options = words.split_whitespace().map(str::to_owned).collect();
    let port = PORT.to_string();
    let server = [python(), "-c", SEES, &port].map(str::to_owned);
    let _server = bench.start(Side::Server, "server", &server, Some(&bench.shim));
    assert!(wait_for_port(&bench.topology.server, PORT));
    let to = bench.topology.server.addresses[0].to_string();
    let client = [python(), "-c", MARKS, &to, &port].map(str::to_owned);
    let _client = bench.start(Side::Client, "client", &client, Some(&bench.shim));
    bench.wait_for_context();
    pause(500);
    bench.topology.blackhole(1, Blackhole::Both).unwrap();
    assert!(wait_for(ms(15_000), || bench.log("client").contains("datagrams sent again")));
    pause(500);
    let seen = std::fs::read_to_string(bench.file("server.trace")).unwrap();
    let other = seen.lines().find(|line| !line.ends_with(" 32 184"));
    assert!(other.is_none() && seen.lines().count() > 100, "{other:?}");
}
