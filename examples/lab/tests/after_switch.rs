//! What a program can do with a socket, done after its path has failed and another one is in use.

#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

mod common;

use common::{Bench, ms, pause};
use shim6_lab::programs::{PORT, python, wait_for_port};
use shim6_lab::topology::{Blackhole, Side};
use shim6_lab::{in_lab, wait_for};
use std::process::Command;

const ECHO: &str = "
import select, socket, struct, sys
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
other = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
other.bind(('::', int(sys.argv[1]) + 1))
s.bind(('::', int(sys.argv[1])))
while True:
    if other:
        ready, _, _ = select.select([s, other], [], [])
        if other in ready:
            data, peer = other.recvfrom(100)
            other.sendto(data, peer)
            if data == b'close':
                other.close()
                other = None
            continue
    data, told, _, peer = s.recvmsg(65536, 200)
    if data in (b'told', b'untold'):
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, data == b'told')
    if data == b'header':
        of = {kind: struct.unpack('i', value[:4])[0] for _, kind, value in told}
        data = b'%d hops, class %d' % (of[socket.IPV6_HOPLIMIT], of[socket.IPV6_TCLASS])
    s.sendmsg([data], [m for m in told if m[1] == socket.IPV6_PKTINFO], 0, peer)
";

/// Run the program over a failure of path 1, or over none.
fn over(fail: Option<&dyn Fn(&Bench)>) {
    over_with(&[], fail);
}

/// The same, with these options for the shim.
fn over_with(options: &[&str], fail: Option<&dyn Fn(&Bench)>) {
    let mut bench = Bench::new(2);
    bench.shim.options.extend(options.iter().map(|word| (*word).to_owned()));
    let program = bench.file("after_switch");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/programs/after_switch.c");
    let built = Command::new("cc")
        .args(["-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-o"])
        .args([program.as_os_str(), source.as_ref()])
        .status();
    assert!(built.unwrap().success());
    let server = [python(), "-c", ECHO, &PORT.to_string()].map(str::to_owned);
    let _server = bench.start(Side::Server, "server", &server, Some(&bench.shim));
    assert!(wait_for_port(&bench.topology.server, PORT));
    let go = bench.file("go");
    let words = [
        program.to_string_lossy().into_owned(),
        bench.topology.server.addresses[0].to_string(),
        PORT.to_string(),
        go.to_string_lossy().into_owned(),
    ];
    let mut client = bench.start(Side::Client, "client", &words, Some(&bench.shim));
    let said = || std::fs::read_to_string(bench.file("client.trace")).unwrap_or_default();
    assert!(wait_for(ms(10_000), || said().contains("ready")), "{}", said());
    bench.wait_for_context();
    if let Some(fail) = fail {
        fail(&bench);
        // Send Timeout, probes, and some more.
        pause(3000);
        let (there, back) = bench.pairs_in_use();
        assert!(there != Some((1, 1)) && back != Some((1, 1)), "{there:?} {back:?}");
    }
    std::fs::write(&go, "").unwrap();
    let status = client.wait(ms(40_000));
    let said = said();
    // A child forked after the switch goes on in its parent's context until it has one of its own.
    assert!(said.contains("child heard"), "{said}");
    // A program that takes over a socket whose ULID has left the host finds the kernel's socket, which has no peer.
    let ulid_left = bench.topology.client.namespace.run(|| {
        !std::fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap_or_default().contains(" p1\n")
    });
    assert!(ulid_left || said.contains("exec sent"), "{said}");
    assert!(
        status.unwrap().success() && said.contains("done, 0 failures"),
        "{said}\n{}",
        client.complaints()
    );
}

#[test]
fn families_on_a_healthy_path() {
    in_lab!();
    over(None);
}

#[test]
fn families_after_a_blackhole() {
    // S6-8-4: of a closed port the program hears
    in_lab!();
    over(Some(&|bench| bench.topology.blackhole(1, Blackhole::Both).unwrap()));
}

#[test]
fn families_after_the_clients_link_went_down() {
    in_lab!();
    over(Some(&|bench| bench.topology.link_down(Side::Client, 1).unwrap()));
}

#[test]
fn families_after_the_servers_link_went_down() {
    in_lab!();
    over(Some(&|bench| bench.topology.link_down(Side::Server, 1).unwrap()));
}

#[test]
fn families_after_a_blackhole_without_headers() {
    // LS-S-22
    in_lab!();
    let options = ["--set", "shim6.suppress_header=true"];
    over_with(&options, Some(&|bench| bench.topology.blackhole(1, Blackhole::Both).unwrap()));
}
