//! Programs for which the shim has little or nothing to do, and which must not notice that it is there.

#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

mod common;

use common::{Bench, ms, pause};
use shim6_lab::programs::{PORT, Program, Running, Shim, python};
use shim6_lab::topology::{Blackhole, Side};
use shim6_lab::{in_lab, now_ns, wait_for};

fn words(mode: &str, arguments: &[String]) -> Vec<String> {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/programs/aside.py");
    [python(), program, mode].into_iter().map(str::to_owned).chain(arguments.iter().cloned()).collect()
}

/// A client of the server.
fn client(bench: &Bench, mode: &str) -> Running {
    let to = [bench.topology.server.addresses[0].to_string(), PORT.to_string()];
    bench.start(Side::Client, "client", &words(mode, &to), Some(&bench.shim))
}

/// The names that a program told of.
fn names(bench: &Bench, name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(bench.file(name).with_extension("trace")).unwrap();
    let told = text.lines().filter_map(|line| line.strip_prefix("N "));
    told.map(|line| line.split(' ').next().unwrap_or_default().to_owned()).collect()
}

/// Packets to the server by other pairs than the first.
fn elsewhere(bench: &Bench) -> u64 {
    let counters = bench.topology.counters().unwrap();
    counters.to_server.iter().filter(|(pair, _)| *pair != (1, 1)).map(|(_, n)| n).sum()
}

/// Nothing of the program is rewritten when its path fails; it is heard again when the path is back.
#[track_caller]
fn assert_not_helped(bench: &Bench, program: &Running) {
    bench.topology.blackhole(1, Blackhole::Both).unwrap();
    let struck = now_ns() + 300_000_000;
    pause(4000);
    assert!(!program.trace().heard(struck, u64::MAX) && elsewhere(bench) == 0);
    bench.topology.restore(1).unwrap();
    let back = now_ns();
    assert!(wait_for(ms(10_000), || program.trace().heard(back, u64::MAX)));
}

#[test]
fn a_socket_goes_on_after_exec_without_the_shim() {
    // LS-P-12
    in_lab!();
    let bench = Bench::new(2);
    let _server = bench.serve(Program::Python, "", Some(&bench.shim));
    let mut client = client(&bench, "exec");
    let status = client.wait(ms(30_000)).unwrap();
    assert!(status.success(), "{status} {}", client.complaints());
    bench.wait_for_context();
    let own = [&bench.topology.client, &bench.topology.server].map(|h| h.addresses[0].to_string());
    assert_eq!(names(&bench, "client"), [&own[..], &own[..]].concat());
    let received: Vec<u64> = client.trace().received.iter().map(|(number, _)| *number).collect();
    // All from then on
    assert!(received.ends_with(&(1000..1030).collect::<Vec<_>>()), "{received:?}");
}

#[test]
fn a_socket_that_opted_out_has_no_context() {
    // S6-4.3-1
    in_lab!();
    let bench = Bench::new(2);
    let _server = bench.serve(Program::Python, "", Some(&bench.shim));
    let out = client(&bench, "optout");
    assert!(out.wait_received(50, ms(20_000)));
    pause(1000);
    assert!(!bench.log("client").contains("context established"), "{}", bench.log("client"));
    assert_not_helped(&bench, &out);
    // The same without the option
    let bench = Bench::new(2);
    let _server = bench.serve(Program::Python, "", Some(&bench.shim));
    let plain = client(&bench, "plain");
    bench.wait_for_context();
    bench.topology.blackhole(1, Blackhole::Both).unwrap();
    let struck = now_ns() + 300_000_000;
    assert!(wait_for(ms(15_000), || plain.trace().heard(struck, u64::MAX)) && elsewhere(&bench) > 0);
}

#[test]
fn an_excluded_destination_is_left_to_the_kernel() {
    // LS-G-13
    in_lab!();
    let mut bench = Bench::new(2);
    let _server = bench.serve(Program::Python, "", Some(&bench.shim));
    let server = bench.topology.server.addresses[0];
    bench.shim.options.extend(["--set".into(), format!("shim6.exclude=2001:db8:77::/48,{server}")]);
    let out = client(&bench, "plain");
    assert!(out.wait_received(50, ms(20_000)));
    // The server asks for a context, and gets no answer
    pause(2000);
    assert!(!bench.log("server").contains("context established"), "{}", bench.log("server"));
    assert!(!bench.log("client").contains("context established"), "{}", bench.log("client"));
    assert_not_helped(&bench, &out);
    // Another address of the same host is no such destination
    bench.topology.server.addresses.remove(0);
    let _other = client(&bench, "plain");
    bench.wait_for_context();
}

#[test]
fn the_system_chooses_the_source() {
    // LS-H-25
    in_lab!();
    let bench = Bench::new(3);
    let (from, to) = (&bench.topology.client, &bench.topology.server);
    let there: Vec<String> = to.addresses.iter().map(|a| a.to_string()).collect();
    // A path of its own for each destination: rule 5 of RFC 6724 gives each another source
    for (n, address) in (1..).zip(&there) {
        from.namespace.ip(&format!("route add {address}/128 via fe80::1 dev p{n}")).unwrap();
    }
    let chosen = |name: &str, shim: Option<&Shim>| {
        let mut program = bench.start(Side::Client, name, &words("source", &there), shim);
        let status = program.wait(ms(20_000)).unwrap();
        assert!(status.success(), "{status} {}", program.complaints());
        names(&bench, name)
    };
    let alone = chosen("alone", None);
    assert_eq!(alone, from.addresses.iter().map(|a| a.to_string()).collect::<Vec<_>>());
    assert_eq!(chosen("shimmed", Some(&bench.shim)), alone);
}

#[test]
fn a_source_that_the_shim_chose_ends_with_the_association() {
    in_lab!();
    let bench = Bench::new(2);
    let (from, to) = (&bench.topology.client, &bench.topology.server);
    // The kernel takes the longest match with the destination (rule 8 of RFC 6724), an address without identity.
    let near = format!("{:x}", to.addresses[0].segments()[2]);
    from.namespace.ip(&format!("addr add 2001:db8:{near}:1::1/128 dev p1 nodad")).unwrap();
    let seen = |name: &str, shim: Option<&Shim>| {
        let mut program =
            bench.start(Side::Client, name, &words("dissolve", &[to.addresses[0].to_string()]), shim);
        let status = program.wait(ms(20_000)).unwrap();
        assert!(status.success(), "{status} {}", program.complaints());
        names(&bench, name)
    };
    let alone = seen("alone", None);
    assert_eq!(alone, [&format!("2001:db8:{near}:1::1"), "::#0", "::1", "::1"]);
    let shimmed = seen("shimmed", Some(&bench.shim));
    assert_eq!(shimmed[0], from.addresses[0].to_string());
    assert_eq!(shimmed[1..], alone[1..]);
}
