//! Programs under the shim with `shim6.suppress_header`: after a failure their datagrams go by other addresses without the
//! payload extension header, and the programs see the addresses that they know.

#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

mod common;

use common::{Bench, ms, pause};
use shim6_lab::programs::{PORT, Program, Running, python, wait_for_port};
use shim6_lab::topology::{Blackhole, Side};
use shim6_lab::{in_lab, now_ns, wait_for};

/// Echo, with a line for each new pair of addresses that it is told, and for what UDP_GRO hands over in one piece.
const SERVER: &str = "
import socket, struct, sys
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
s.setsockopt(socket.IPPROTO_UDP, 104, 1)
s.bind(('::', int(sys.argv[1])))
seen, octets = set(), 0
while True:
    data, control, _, peer = s.recvmsg(65536, 1024)
    to, size = None, len(data)
    for level, kind, value in control:
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
            to = socket.inet_ntop(socket.AF_INET6, value[:16])
        if (level, kind) == (socket.IPPROTO_UDP, 104):
            size = struct.unpack('i', value[:4])[0]
    if (peer, to) not in seen:
        seen.add((peer, to))
        print('peer', peer[0], peer[1], to, flush=True)
    octets += len(data)
    if data[:4] == b'bulk':
        print('bulk', len(data), size, flush=True)
    for at in range(0, len(data), size):
        s.sendto(data[at:at + size], peer)
";

/// Sends a number every 5 ms, connected or not, and tells from where answers come; where the size is 64, a bulk of 10
/// segments every second.
const CLIENT: &str = "
import select, socket, struct, sys, time
address, port, connected = sys.argv[1], int(sys.argv[2]), sys.argv[3] == 'connected'
size = int(sys.argv[4])
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
if connected:
    s.connect((address, port))
seen, number, heard, bulk = set(), 0, 0, 0
while True:
    number += 1
    data = struct.pack('!Q', number) + bytes(size - 8)
    if connected:
        s.send(data)
    else:
        s.sendto(data, (address, port))
    print('S', number, time.monotonic_ns(), flush=True)
    if size == 64 and number % 200 == 0:
        s.setsockopt(socket.IPPROTO_UDP, 103, 1000)
        s.sendto((b'bulk' + bytes(996)) * 10, (address, port))
        s.setsockopt(socket.IPPROTO_UDP, 103, 0)
    end = time.monotonic() + 0.005
    while (left := end - time.monotonic()) > 0:
        if select.select([s], [], [], left)[0]:
            data, peer = s.recvfrom(65536)
            if peer not in seen:
                seen.add(peer)
                names = (s.getsockname()[0], s.getpeername()[0]) if connected else ()
                print('answer from', *peer[:2], *names, flush=True)
            if data[:4] == b'bulk':
                assert len(data) == 1000
                bulk += 1
                print('echoed', bulk, flush=True)
            else:
                print('R', struct.unpack_from('!Q', data)[0], time.monotonic_ns(), flush=True)
";

fn words(bench: &Bench, source: &str, side: Side, how: &str, size: usize) -> Vec<String> {
    let port = PORT.to_string();
    let address = bench.topology.server.addresses[0].to_string();
    match side {
        Side::Server => [python(), "-c", source, &port].map(str::to_owned).to_vec(),
        Side::Client => {
            [python(), "-c", source, &address, &port, how, &size.to_string()].map(str::to_owned).to_vec()
        }
    }
}

/// Two hosts whose programs may suppress headers.
fn bench(paths: usize) -> Bench {
    let mut bench = Bench::new(paths);
    bench.shim.options.extend(["--set", "shim6.suppress_header=true"].map(str::to_owned));
    bench
}

fn start(bench: &Bench, how: &str, size: usize) -> (Running, Running) {
    let server =
        bench.start(Side::Server, "server", &words(bench, SERVER, Side::Server, "", 0), Some(&bench.shim));
    assert!(wait_for_port(&bench.topology.server, PORT));
    let program = words(bench, CLIENT, Side::Client, how, size);
    let client = bench.start(Side::Client, "client", &program, Some(&bench.shim));
    bench.wait_for_context();
    assert!(client.wait_received(50, ms(5000)));
    (server, client)
}

fn said(bench: &Bench, name: &str, word: &str) -> Vec<String> {
    let text = std::fs::read_to_string(bench.file(name).with_extension("trace")).unwrap_or_default();
    text.lines().filter(|line| line.starts_with(word)).map(str::to_owned).collect()
}

/// Packets of protocol 140 in the next second, or until more than 100 echoes have come, and the echoes that a client gets
/// meanwhile.
fn second(bench: &Bench, client: &Running) -> (u64, usize) {
    let before = bench.topology.counters().unwrap().shim6;
    let from = now_ns();
    pause(1000);
    let heard = || client.trace().received.iter().filter(|(_, at)| *at >= from).count();
    wait_for(ms(5000), || heard() > 100);
    let heard = heard();
    (bench.topology.counters().unwrap().shim6 - before, heard)
}

fn resumes(client: &Running, struck: u64) {
    let back = wait_for(ms(5000), || client.trace().heard(struck + 100_000_000, u64::MAX));
    assert!(back, "nothing heard");
}

/// Path `n` fails, and the next one carries all, without headers.
fn fails_over(bench: &Bench, client: &Running, n: usize) {
    bench.topology.blackhole(n, Blackhole::Both).unwrap();
    resumes(client, now_ns());
    pause(1500);
    let (there, back) = bench.pairs_in_use();
    assert!(there.is_some_and(|p| p.0 != n && p.1 != n) && there != Some((1, 1)), "{there:?}");
    assert!(back.is_some_and(|p| p.0 != n && p.1 != n) && back != Some((1, 1)), "{back:?}");
    let (shim6, heard) = second(bench, client);
    assert!(heard > 100, "{heard} echoes");
    assert!(shim6 < 20, "{shim6} packets of protocol 140 beside {heard} echoes");
}

/// What the programs were told of addresses is what it was before.
fn same_names(bench: &Bench) {
    let (client, server) = (bench.topology.client.addresses[0], bench.topology.server.addresses[0]);
    let told = said(bench, "server", "peer");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].starts_with(&format!("peer {client} ")) && told[0].ends_with(&format!(" {server}")),
        "{told:?}"
    );
    let told = said(bench, "client", "answer from");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with(&format!("answer from {server} {PORT}")), "{told:?}");
}

#[test]
fn a_client_and_a_server_leave_the_header_out() {
    // LS-S-14, LS-S-15, LS-S-22, LS-S-25
    in_lab!();
    let bench = bench(3);
    let (_server, client) = start(&bench, "unconnected", 64);
    fails_over(&bench, &client, 1);
    // The second failure, from one rehomed pair to another.
    fails_over(&bench, &client, 2);
    same_names(&bench);
    // UDP_SEGMENT and UDP_GRO: what left in one piece arrives in one piece, and comes back in segments.
    let bulk = || said(&bench, "server", "bulk").len();
    let (before, echoed) = (bulk(), said(&bench, "client", "echoed").len());
    assert!(
        wait_for(ms(6000), || bulk() >= before + 2 && said(&bench, "client", "echoed").len() >= echoed + 10)
    );
    assert!(said(&bench, "server", "bulk").iter().any(|l| l == "bulk 10000 1000"));
}

#[test]
fn datagrams_that_fill_the_path_are_not_fragmented() {
    // LS-S-14, LS-S-15, LS-S-26: 1452 octets fill a packet of 1500
    in_lab!();
    let bench = bench(2);
    let (_server, client) = start(&bench, "unconnected", 1452);
    fails_over(&bench, &client, 1);
    same_names(&bench);
}

#[test]
fn a_second_context_brings_the_header_back() {
    // LS-S-08, LS-S-19
    in_lab!();
    let bench = bench(2);
    let (_server, client) = start(&bench, "unconnected", 64);
    fails_over(&bench, &client, 1);
    bench.topology.restore(1).unwrap();
    let other = Program::Python.client(bench.topology.server.addresses[0]).unwrap();
    let other = bench.start(Side::Client, "other", &other, Some(&bench.shim));
    let known = || bench.log("other").contains("context established");
    assert!(wait_for(ms(10_000), known), "{}", bench.log("other"));
    pause(500);
    bench.topology.blackhole(1, Blackhole::Both).unwrap();
    resumes(&other, now_ns());
    pause(500);
    let (shim6, heard) = second(&bench, &client);
    assert!(heard > 100, "{heard} echoes");
    assert!(shim6 > 200, "{shim6} packets of protocol 140 beside {heard} echoes");
    assert!(second(&bench, &other).1 > 100);
}

#[test]
fn a_connected_socket_keeps_the_header() {
    // LS-S-08, LS-S-22: the kernel would not give it what comes from another address
    in_lab!();
    let bench = bench(2);
    let (_server, client) = start(&bench, "connected", 64);
    bench.topology.blackhole(1, Blackhole::Both).unwrap();
    resumes(&client, now_ns());
    pause(500);
    let (shim6, heard) = second(&bench, &client);
    assert!(heard > 100 && shim6 > 200, "{shim6} packets of protocol 140 beside {heard} echoes");
    same_names(&bench);
}
