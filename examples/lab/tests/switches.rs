//! What a program is told of the switches of its sockets, and the options of ours that go with that.

#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

mod common;

use common::{Bench, ms, pause};
use shim6_lab::programs::{PORT, wait_for_port};
use shim6_lab::topology::Side;
use shim6_lab::{in_lab, wait_for};

// LS-RP-09, RE-RP-16, RE-OP-02
#[test]
fn a_program_is_told_why_and_when_its_path_changed() {
    in_lab!();
    let bench = Bench::new(2);
    let words = [bench.c_test("api_packets"), "serve".to_owned(), PORT.to_string()];
    let mut server = bench.start(Side::Server, "server", &words, Some(&bench.shim));
    assert!(wait_for_port(&bench.topology.server, PORT), "{}", server.complaints());
    let run = |test: &str| {
        let peer = bench.topology.server.addresses[0].to_string();
        let words = [bench.c_test("api_extensions"), peer, PORT.to_string(), test.to_owned()];
        bench.start(Side::Client, test, &words, Some(&bench.shim))
    };
    let said =
        |test: &str| std::fs::read_to_string(bench.file(test).with_extension("trace")).unwrap_or_default();
    for test in ["timeouts", "resending"] {
        let mut client = run(test);
        assert!(client.wait(ms(30_000)).unwrap().success(), "{}", client.complaints());
    }
    let mut client = run("told");
    assert!(wait_for(ms(20_000), || said("told").contains("ready")), "{}", client.complaints());
    bench.topology.link_down(Side::Client, 1).unwrap();
    assert!(client.wait(ms(40_000)).unwrap().success(), "{}", client.complaints());
    pause(100);
    let log = bench.log("told");
    let tagged = |what: &str| {
        let line = log.lines().find(|l| l.contains(what)).unwrap_or_default();
        assert!(line.contains(" tag=") && line.contains("ulids="), "{what}: {line}");
        line.split(" tag=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default().to_owned()
    };
    let tags = ["taken for dead", "moves to another", "first datagram by the new pair"].map(tagged);
    let established = log.lines().find(|l| l.contains("context established")).unwrap_or_default();
    assert!(tags.iter().all(|tag| established.contains(&format!("local_tag={tag}"))), "{tags:?} {log}");
    let line = log.lines().find(|l| l.contains("first datagram")).unwrap_or_default();
    for field in ["old=", "new=", "cause=", "evidence=", "silence_ms=", "first_packet_us="] {
        assert!(line.contains(field), "{field}: {line}");
    }
}
