//! What the tool shows of running engines, and what it makes them do.

#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

mod common;

use common::{Bench, ms};
use serde_json::Value;
use shim6_lab::in_lab;
use shim6_lab::programs::Program;
use shim6_lab::topology::{Blackhole, Side};
use shim6_lab::wait_for;
use std::fs::File;
use std::process::{Command, Output};

/// `shim6 ARGUMENTS` on one side.
fn tool(bench: &Bench, side: Side, arguments: &[&str]) -> Output {
    let mut command = Command::new(&bench.shim.tool);
    command.args(arguments);
    bench.topology.host(side).namespace.run(move || command.output()).unwrap()
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// The only process with an engine on a side, as `shim6 status --json` has it.
fn status(bench: &Bench, side: Side) -> Value {
    let output = tool(bench, side, &["status", "--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let all: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(all.as_array().map(Vec::len), Some(1), "{all}");
    all[0].clone()
}

fn contexts(status: &Value) -> &Vec<Value> {
    status["status"]["contexts"].as_array().unwrap()
}

#[test]
fn a_failure_as_the_tool_shows_it() {
    // LS-H-35, LS-H-36, RE-OP-01
    in_lab!();
    let bench = Bench::new(2);
    let _server = bench.serve(Program::Epoll, "", Some(&bench.shim));
    let _client = bench.ask(Program::Python, "", Some(&bench.shim));
    bench.wait_for_context();

    let (client, server) = (status(&bench, Side::Client), status(&bench, Side::Server));
    assert_eq!((contexts(&client).len(), contexts(&server).len()), (1, 1));
    let (here, there) = (&contexts(&client)[0], &contexts(&server)[0]);
    let topology = &bench.topology;
    let address = |side, n: usize| Value::from(topology.host(side).addresses[n].to_string());
    assert_eq!((&here["state"], &here["reap"]), (&"ESTABLISHED".into(), &"Operational".into()));
    assert_eq!(here["local_tag"], there["peer_tag"]);
    assert_eq!(here["local_locator"], address(Side::Client, 0));
    assert_eq!(here["peer"].as_array().unwrap().len(), 2, "{here}");
    // Either side may have been the one to begin.
    let begun =
        |status: &Value, name: &str| status["status"]["counters"][name].as_u64().is_some_and(|n| n >= 1);
    assert!(begun(&client, "sent.I1") || begun(&client, "received.I1"), "{client}");
    assert!(begun(&server, "sent.I1") || begun(&server, "received.I1"), "{server}");
    let locators = client["status"]["locators"].as_array().unwrap();
    assert!(
        locators.iter().any(|l| l["addr"] == address(Side::Client, 1) && l["identity"] == "HBA"),
        "{client}"
    );

    let pid = client["pid"].to_string();
    let for_people = text(&tool(&bench, Side::Client, &["status"]).stdout);
    let line = for_people.lines().find(|line| line.trim_start().starts_with(&pid)).expect(&for_people);
    assert!(line.contains("python3") && line.contains("ESTABLISHED"), "{line}");
    let details = text(&tool(&bench, Side::Client, &["status", &pid]).stdout);
    assert!(details.contains(&topology.server.addresses[1].to_string()), "{details}");

    let events = bench.file("events");
    let mut watch = Command::new(&bench.shim.tool);
    watch.args(["watch", "--json"]).stdout(File::create(&events).unwrap());
    let _watch = topology.client.namespace.spawn(watch).unwrap();
    // It is connected as soon as it looks.
    shim6_lab::wait_for(ms(2000), || false);
    topology.blackhole(1, Blackhole::Both).unwrap();
    let seen = || -> Vec<Value> {
        let lines = std::fs::read_to_string(&events).unwrap();
        lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    };
    let find =
        |name: &str| seen().into_iter().map(|e| e["notice"]["event"][name].clone()).find(|e| !e.is_null());
    assert!(wait_for(ms(10_000), || find("pair_changed").is_some()), "{:?}", seen());
    let changed = find("pair_changed").unwrap();
    assert_eq!(changed["new"]["peer"], address(Side::Server, 1), "{changed}");
    let started = find("exploration_started").unwrap();
    assert!(["send_timeout", "peer_explores"].contains(&started["cause"].as_str().unwrap()), "{started}");
    let after = status(&bench, Side::Client);
    assert_eq!(contexts(&after)[0]["peer_locator"], address(Side::Server, 1));
    assert_eq!(contexts(&after)[0]["counters"]["pair_changes"], 1);
}

#[test]
fn commands_to_a_running_engine() {
    // LS-H-35, LS-H-37
    in_lab!();
    let bench = Bench::new(2);
    let _server = bench.serve(Program::Epoll, "", Some(&bench.shim));
    let _client = bench.ask(Program::Python, "", Some(&bench.shim));
    bench.wait_for_context();
    let client = status(&bench, Side::Client);
    let pid = client["pid"].to_string();

    let output = tool(&bench, Side::Client, &["control", &pid, "send-timeout", "3s"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("below"), "a warning");
    assert_eq!(contexts(&status(&bench, Side::Client))[0]["send_timeout_ms"], 3000);
    let told = || contexts(&status(&bench, Side::Server))[0]["keepalive_timeout_ms"] == 3000;
    assert!(wait_for(ms(5000), told), "the peer is told by an Update Request");
    for wrong in ["0", "65536", "soon"] {
        let output = tool(&bench, Side::Client, &["control", &pid, "send-timeout", wrong]);
        assert_eq!(output.status.code(), Some(2), "{wrong}");
    }
    let output = tool(&bench, Side::Client, &["control", &pid, "send-timeout", "65535"]);
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output.stderr));

    let context = &contexts(&client)[0];
    let ulid = |end: &str| context["ulids"][end].as_str().unwrap().to_owned();
    let discard = ["control", &pid, "discard", &ulid("local"), &ulid("peer")];
    let output = tool(&bench, Side::Client, &discard);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let renewed =
        || contexts(&status(&bench, Side::Client)).iter().all(|c| c["local_tag"] != context["local_tag"]);
    assert!(renewed());
    let output = tool(&bench, Side::Client, &["control", &pid, "discard", "2001:db8::1", "2001:db8::2"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("no such context"), "{}", text(&output.stderr));
    let output = tool(&bench, Side::Client, &["status", "1"]);
    assert!(text(&output.stderr).contains("shim6 run"), "{}", text(&output.stderr));
}
