//! Where the shim cannot work, or has nothing to do, a program runs as without it.

#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

mod common;

use common::{Bench, ms, pause, with};
use shim6_lab::in_lab;
use shim6_lab::programs::{Program, Shim};
use shim6_lab::topology::Side;
use std::collections::BTreeMap;

/// 400 datagrams there and back, and none lost.
fn undisturbed(bench: &Bench, client_shim: Option<&Shim>, server_shim: Option<&Shim>, program: Program) {
    let _server = bench.serve(program, "", server_shim);
    let mut client = bench.ask(program, "--count 400 --seconds 10", client_shim);
    assert!(client.wait(ms(12_000)).unwrap().success(), "{}", client.complaints());
    let trace = client.trace();
    assert_eq!((trace.lost(u64::MAX), trace.errors), (0, Vec::new()), "{}", bench.log("client"));
}

#[test]
fn a_server_without_the_shim() {
    // S6-15-4, S6-7.8-5, LS-D-03
    in_lab!();
    let bench = Bench::new(2);
    undisturbed(&bench, Some(&bench.shim), None, Program::Python);
    assert!(bench.log("client").contains("peer does not speak Shim6"), "{}", bench.log("client"));
    // One I1, and no other for ten minutes: the server's kernel has told that it knows no protocol 140.
    assert_eq!(bench.topology.counters().unwrap().shim6, 1);
}

#[test]
fn a_client_without_the_shim() {
    in_lab!();
    let bench = Bench::new(2);
    undisturbed(&bench, None, Some(&bench.shim), Program::Epoll);
}

#[test]
fn no_cap_net_raw() {
    // LS-H-40
    in_lab!();
    let bench = Bench::new(2);
    let words =
        ["setpriv", "--bounding-set", "-net_raw", "--inh-caps", "-all", "--ambient-caps", "-all", "--"];
    let wrap = |host, name: &str, program: Vec<String>| {
        let mut all: Vec<String> = words.map(str::to_owned).to_vec();
        all.extend(bench.shim.wrap(host, &bench.file(name).with_extension("log"), &program));
        all
    };
    let server = wrap(&bench.topology.server, "server", Program::Python.server().unwrap());
    let mut server = bench.start(Side::Server, "server", &server, None);
    assert!(shim6_lab::programs::wait_for_port(&bench.topology.server, shim6_lab::programs::PORT));
    let client = with(Program::Python.client(bench.topology.server.addresses[0]).unwrap(), "--count 200");
    let client = wrap(&bench.topology.client, "client", client);
    let mut client = bench.start(Side::Client, "client", &client, None);
    assert!(client.wait(ms(10_000)).unwrap().success(), "{}", client.complaints());
    assert_eq!(client.trace().lost(u64::MAX), 0);
    assert_eq!(bench.topology.counters().unwrap().shim6, 0);
    assert!(client.complaints().contains("CAP_NET_RAW"), "{}", client.complaints());
    for name in ["client", "server"] {
        let told = bench.log(name).lines().filter(|line| line.contains("CAP_NET_RAW")).count();
        assert_eq!(told, 1, "one line in the log says why: {}", bench.log(name));
    }
    drop(server.stop());
}

#[test]
fn a_program_without_sockets_has_no_engine() {
    // LS-P-07
    in_lab!();
    let bench = Bench::new(2);
    let script = "\
import os
fds = ['/proc/self/fd/' + n for n in os.listdir('/proc/self/fd')]
sockets = [f for f in fds if os.path.lexists(f) and 'socket' in os.readlink(f)]
print(len(os.listdir('/proc/self/task')), sockets, 'shim6' in open('/proc/self/maps').read())
";
    let program = ["/usr/bin/python3", "-c", script].map(str::to_owned);
    let mut running = bench.start(Side::Client, "idle", &program, Some(&bench.shim));
    assert!(running.wait(ms(5000)).unwrap().success(), "{}", running.complaints());
    assert_eq!(std::fs::read_to_string(bench.file("idle").with_extension("trace")).unwrap(), "1 [] True\n");
}

/// System calls of the program by name, as `strace -c` counts them.
fn system_calls(
    bench: &Bench,
    name: &str,
    program: Vec<String>,
    shim: Option<&Shim>,
) -> BTreeMap<String, i64> {
    let table = bench.file(name).with_extension("strace");
    let program = match shim {
        Some(shim) => shim.wrap(&bench.topology.client, &bench.file(name).with_extension("log"), &program),
        None => program,
    };
    let mut traced = ["strace", "-f", "-c", "-o", &table.to_string_lossy()].map(str::to_owned).to_vec();
    traced.extend(program);
    let mut running = bench.start(Side::Client, name, &traced, None);
    assert!(running.wait(ms(30_000)).unwrap().success(), "{}", running.complaints());
    let table = std::fs::read_to_string(table).unwrap();
    let calls: BTreeMap<_, _> = table
        .lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            // % time, seconds, usecs/call, calls, errors (may be empty), name
            words[0..words.len().min(1)].first()?.parse::<f64>().ok()?;
            Some(((*words.last()?).to_owned(), words.get(3)?.parse().ok()?))
        })
        .collect();
    assert!(calls.len() > 5, "{table}");
    calls
}

#[test]
fn a_healthy_path_costs_no_system_call_per_datagram() {
    in_lab!();
    for program in [Program::Epoll, Program::Python] {
        let bench = Bench::new(2);
        let _server = bench.serve(program, "--quiet", Some(&bench.shim));
        let count = |name: &str, datagrams: i64, shim: Option<&Shim>| {
            let client = program.client(bench.topology.server.addresses[0]).unwrap();
            let options = format!("--quiet --ping-pong --seconds 25 --count {datagrams}");
            system_calls(&bench, name, with(client, &options), shim)
        };
        let (few, many) = (200, 1200);
        let grows = |name: &str, shim: Option<&Shim>| {
            let (small, large) =
                (count(&format!("{name}-few"), few, shim), count(&format!("{name}-many"), many, shim));
            large
                .into_iter()
                .map(|(call, n)| (call.clone(), n - small.get(&call).unwrap_or(&0)))
                .collect::<BTreeMap<_, _>>()
        };
        let alone = grows("alone", None);
        let shimmed = grows("shimmed", Some(&bench.shim));
        pause(100);
        assert!(bench.log("shimmed-many").contains("context established"), "{}", bench.log("shimmed-many"));
        for (call, grown) in &shimmed {
            let extra = grown - alone.get(call).copied().unwrap_or(0);
            // Timers of the engine fire now and then; a call per datagram would be 1000.
            assert!(
                extra < 100,
                "{program:?}: {extra} more {call} for 1000 datagrams\n{alone:?}\n{shimmed:?}"
            );
        }
    }
}
