//! Programs under the shim outlive failures. The demo measures the same with tight limits on a quiet machine; the limits here
//! leave room for tests that run at the same time.

#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

mod common;

use common::{Bench, ms, pause, with};
use shim6_lab::in_lab;
use shim6_lab::now_ns;
use shim6_lab::programs::{PORT, Program, Running, Shim, python, wait_for_port};
use shim6_lab::scenario::{Failure, InUse, Outcome, Scenario};
use shim6_lab::topology::{Blackhole, Side};
use std::time::Duration;

/// What a test allows on top of the limit of the demo.
const SLACK: Duration = Duration::from_millis(1000);

fn scenario(failure: Failure, program: Program, paths: usize) -> Outcome {
    let scratch = tempfile::tempdir().unwrap();
    let send_timeout = Duration::from_secs(1);
    let scenario = Scenario { failure, program, paths, shim: Some(Shim::quick().unwrap()), send_timeout };
    let outcome = scenario.run(scratch.path(), "run").unwrap();
    let limit = failure.limit(send_timeout) + SLACK;
    if !outcome.recovered || outcome.silence > limit {
        for side in ["client", "server"] {
            let log = std::fs::read_to_string(scratch.path().join(format!("run/run-{side}.log")));
            eprintln!("{side}:\n{}", log.unwrap_or_default());
        }
        panic!("{failure:?}, {program:?}, limit {limit:?}: {outcome:?}");
    }
    assert_eq!(outcome.before, InUse { to_server: Some((1, 1)), to_client: Some((1, 1)) }, "{outcome:?}");
    outcome
}

fn avoids_path_1(outcome: &Outcome) {
    for pair in [outcome.after.to_server, outcome.after.to_client] {
        assert!(pair.is_some_and(|(a, b)| a != 1 && b != 1), "{outcome:?}");
    }
}

#[test]
fn a_blackhole_in_both_directions() {
    // LS-F-07, S6-1-1, RE-OP-04, LS-P-10
    in_lab!();
    avoids_path_1(&scenario(Failure::BlackholeBoth, Program::Epoll, 3));
}

#[test]
fn a_blackhole_towards_the_server() {
    in_lab!();
    let outcome = scenario(Failure::BlackholeToServer, Program::Python, 3);
    assert!(outcome.after.to_server.is_some_and(|(a, b)| a != 1 && b != 1), "{outcome:?}");
}

#[test]
fn a_blackhole_towards_the_client() {
    in_lab!();
    let outcome = scenario(Failure::BlackholeToClient, Program::Epoll, 2);
    assert!(outcome.after.to_client.is_some_and(|(a, b)| a != 1 && b != 1), "{outcome:?}");
}

#[test]
fn a_local_link_that_goes_down() {
    // RE-EX-13, LS-RP-01, LS-RP-03, RE-AD-04, RE-AD-07: with these bounds, only who is told of it is fast enough
    in_lab!();
    let outcome = scenario(Failure::LocalLinkDown, Program::Python, 3);
    assert!(outcome.after.to_server.is_some_and(|(a, _)| a != 1), "{outcome:?}");
    assert!(outcome.after.to_client.is_some_and(|(a, _)| a != 1), "{outcome:?}");
}

#[test]
fn a_link_that_goes_down_at_the_peer() {
    in_lab!();
    let outcome = scenario(Failure::PeerLinkDown, Program::Socat, 2);
    assert!(outcome.after.to_server.is_some_and(|(_, b)| b != 1), "{outcome:?}");
}

#[test]
fn a_path_that_comes_back_and_then_the_other_one_fails() {
    in_lab!();
    let outcome = scenario(Failure::BackThenOther, Program::Epoll, 2);
    assert_eq!(outcome.after, InUse { to_server: Some((1, 1)), to_client: Some((1, 1)) }, "{outcome:?}");
}

/// The longest silence since the failure at `struck`, once something is heard again. What is heard within the first tenth of
/// a second may have been under way before.
fn resumes(client: &Running, struck: u64, limit: Duration) -> Duration {
    let back = shim6_lab::wait_for(limit, || client.trace().heard(struck + 100_000_000, u64::MAX));
    assert!(back, "nothing heard within {limit:?}");
    client.trace().longest_silence(struck, now_ns())
}

#[test]
fn one_way_traffic_to_a_program_that_makes_no_call_and_never_answers() {
    // RE-EX-22, LS-H-14: Keepalives come from the engine's thread
    in_lab!();
    let bench = Bench::new(2);
    let server = bench.serve(Program::Python, "--mute", Some(&bench.shim));
    let _client = bench.ask(Program::Python, "", Some(&bench.shim));
    bench.wait_for_context();
    pause(4000);
    assert_eq!(
        bench.pairs_in_use().0,
        Some((1, 1)),
        "without Keepalives the client takes path 1 for dead in a second"
    );
    assert!(!bench.log("client").contains("exploring"), "{}", bench.log("client"));
    bench.topology.blackhole(1, Blackhole::Both).unwrap();
    let struck = now_ns();
    assert!(resumes(&server, struck, ms(4000)) < ms(3500));
    assert_eq!(bench.pairs_in_use().0, Some((2, 2)));
}

#[test]
fn a_reader_that_naps_is_no_dead_path() {
    // RE-FB-23
    in_lab!();
    let bench = Bench::new(2);
    let server = bench.serve(Program::Python, "--nap 2.5", Some(&bench.shim));
    // In a nap the queue overflows: nothing is put into it then that could wake anybody
    let client = bench.ask(Program::Python, "--interval-ms 4", Some(&bench.shim));
    bench.wait_for_context();
    pause(6000);
    assert!(server.trace().longest_silence(server.trace().received[0].1, now_ns()) > ms(2000), "it does nap");
    for side in ["client", "server"] {
        assert!(!bench.log(side).contains("exploring"), "{side}: {}", bench.log(side));
    }
    drop(client);
}

#[test]
fn a_server_that_answers_from_a_forked_child() {
    in_lab!();
    let bench = Bench::new(2);
    let _server = bench.serve(Program::Python, "--fork", Some(&bench.shim));
    let client = bench.ask(Program::Epoll, "", Some(&bench.shim));
    assert!(client.wait_received(100, ms(5000)), "the child answers");
    bench.wait_for_context();
    bench.topology.blackhole(1, Blackhole::Both).unwrap();
    let struck = now_ns();
    assert!(resumes(&client, struck, ms(4000)) < ms(3500));
}

#[test]
fn a_server_that_is_killed_and_starts_again_while_traffic_is_on_another_path() {
    // S6-7.5-5, LS-P-11
    in_lab!();
    let bench = Bench::new(2);
    let server = bench.serve(Program::Epoll, "", Some(&bench.shim));
    let client = bench.ask(Program::Epoll, "", Some(&bench.shim));
    bench.wait_for_context();
    bench.topology.blackhole(1, Blackhole::Both).unwrap();
    let struck = now_ns();
    resumes(&client, struck, ms(4000));
    // Dropped, it gets SIGKILL; nothing is said to the peer.
    drop(server);
    pause(200);
    let again = now_ns();
    let _server = bench.serve(Program::Epoll, "", Some(&bench.shim));
    assert!(resumes(&client, again, ms(8000)) < ms(7000));
    assert_eq!(bench.pairs_in_use(), (Some((2, 2)), Some((2, 2))), "path 1 is dead still");
}

#[test]
fn a_client_that_binds_the_address_whose_link_goes_down() {
    // LS-H-24
    in_lab!();
    let bench = Bench::new(2);
    let _server = bench.serve(Program::Python, "", Some(&bench.shim));
    let source = bench.topology.client.addresses[1];
    let client = bench.ask(Program::Python, &format!("--bind {source}"), Some(&bench.shim));
    bench.wait_for_context();
    assert_eq!(bench.pairs_in_use().0, Some((2, 1)), "the program chose its ULID");
    bench.topology.link_down(Side::Client, 2).unwrap();
    let struck = now_ns();
    assert!(resumes(&client, struck, ms(3000)) < ms(1200));
    assert_eq!(bench.pairs_in_use().0.map(|pair| pair.0), Some(1));
}

#[test]
fn datagrams_as_large_as_the_path_and_larger() {
    // S6-E-4, S6-E-5, S6-N-42, S6-11.1-6: 1452 octets fill a packet of 1500, so the extension header makes fragments
    in_lab!();
    for size in [1452, 4000] {
        let bench = Bench::new(2);
        let _server = bench.serve(Program::Python, "", Some(&bench.shim));
        let client = bench.ask(Program::Python, &format!("--size {size}"), Some(&bench.shim));
        bench.wait_for_context();
        bench.topology.blackhole(1, Blackhole::Both).unwrap();
        let struck = now_ns();
        assert!(resumes(&client, struck, ms(4000)) < ms(3500), "{size} octets");
        let from = now_ns();
        pause(500);
        let heard = client.trace().received.iter().filter(|(_, at)| *at >= from).count();
        assert!(heard > 60, "{size} octets: {heard} echoes in 500 ms");
    }
}

#[test]
fn after_a_failure_payload_is_shim6_and_before_it_is_not() {
    // RE-OP-03, S6-1-2
    in_lab!();
    let bench = Bench::new(2);
    let _server = bench.serve(Program::Epoll, "", Some(&bench.shim));
    let client = bench.ask(Program::Epoll, "", Some(&bench.shim));
    bench.wait_for_context();
    let shim6_packets = |after_ms| {
        let before = bench.topology.counters().unwrap().shim6;
        pause(after_ms);
        bench.topology.counters().unwrap().shim6 - before
    };
    assert!(shim6_packets(1000) < 10, "a healthy path with traffic both ways needs no control messages");
    bench.topology.blackhole(1, Blackhole::Both).unwrap();
    assert!(resumes(&client, now_ns(), ms(4000)) > ms(500));
    assert!(shim6_packets(1000) > 200);
}

#[test]
fn a_program_on_another_port_is_not_disturbed() {
    // LS-P-13: a program without the shim beside one with it, over the same addresses
    in_lab!();
    let bench = Bench::new(2);
    let _server = bench.serve(Program::Epoll, "", Some(&bench.shim));
    let _client = bench.ask(Program::Epoll, "", Some(&bench.shim));
    bench.wait_for_context();
    let mut alone = Program::Python.server().unwrap();
    *alone.iter_mut().find(|word| **word == PORT.to_string()).unwrap() = "5006".to_owned();
    let _other = bench.start(Side::Server, "other-server", &alone, None);
    assert!(wait_for_port(&bench.topology.server, 5006));
    let mut program = Program::Python.client(bench.topology.server.addresses[0]).unwrap();
    *program.iter_mut().find(|word| **word == PORT.to_string()).unwrap() = "5006".to_owned();
    let mut other = bench.start(Side::Client, "other", &with(program, "--count 200 --seconds 10"), None);
    assert!(other.wait(ms(30_000)).unwrap().success());
    assert_eq!(other.trace().errors, []);
}

/// Renew the set of the server; its new addresses.
fn renew(bench: &Bench) -> Vec<std::net::Ipv6Addr> {
    let host = &bench.topology.server;
    let directory = std::fs::read_dir(host.identities.as_ref().unwrap()).unwrap();
    let file =
        directory.map(|e| e.unwrap().path()).find(|p| p.extension().is_some_and(|e| e == "pem")).unwrap();
    let mut command = std::process::Command::new(&bench.shim.tool);
    command.args(["address", "renew"]).arg(file);
    let told = host.namespace.output(command, "").unwrap();
    let put = told.lines().filter_map(|line| line.split_once(" put on p"));
    put.map(|(addr, _)| addr.parse().unwrap()).collect()
}

#[test]
fn sessions_of_a_renewed_set_and_of_the_one_before_survive() {
    // HC-HBA-17
    in_lab!();
    let mut bench = Bench::new(2);
    let _server = bench.serve(Program::Python, "", Some(&bench.shim));
    let old = bench.ask(Program::Python, "", Some(&bench.shim));
    bench.wait_for_context();
    let new = renew(&bench);
    assert_eq!(new.len(), 2);
    bench.topology.server.addresses = new;
    let client = Program::Python.client(bench.topology.server.addresses[0]).unwrap();
    let young = bench.start(Side::Client, "young", &client, Some(&bench.shim));
    let has_context = || bench.log("young").contains("context established");
    assert!(shim6_lab::wait_for(ms(10_000), has_context), "{}", bench.log("young"));
    pause(300);
    bench.topology.blackhole(1, Blackhole::Both).unwrap();
    let struck = now_ns() + 300_000_000;
    for (name, program) in [("old", &old), ("young", &young)] {
        assert!(shim6_lab::wait_for(ms(15_000), || program.trace().heard(struck, u64::MAX)), "{name}");
    }
}

#[test]
fn a_session_begins_although_the_link_of_its_address_is_dead() {
    // LS-D-02, LS-D-04, S6-5.15.6-1
    in_lab!();
    let mut bench = Bench::new(2);
    let dead = ["iifname", "oifname"].map(|way| format!("add rule ip6 lab path1 {way} \"a1\" drop\n"));
    bench.topology.core().nft(&dead.concat()).unwrap();
    let _server = bench.serve(Program::Python, "", Some(&bench.shim));
    let words = |bench: &Bench| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/programs/aside.py");
        let to = bench.topology.server.addresses[0].to_string();
        [python(), script, "waiting", &to, &PORT.to_string()].map(str::to_owned)
    };
    // Nothing is known of the peer: the ULIDs alone are tried
    let mut stuck = bench.start(Side::Client, "stuck", &words(&bench), Some(&bench.shim));
    pause(8000);
    assert!(stuck.trace().received.is_empty() && !bench.log("stuck").contains("context established"));
    stuck.stop().unwrap();
    bench.shim.options.extend(["--set", "shim6.peers=2001:db8::/32=capable"].map(str::to_owned));
    let program = bench.start(Side::Client, "client", &words(&bench), Some(&bench.shim));
    assert!(program.wait_received(20, ms(20_000)), "{}", bench.log("client"));
    bench.wait_for_context();
    let (to_server, to_client) = bench.pairs_in_use();
    assert!(
        [to_server, to_client].iter().flatten().all(|(client, _)| *client == 2),
        "{to_server:?} {to_client:?}"
    );
}
