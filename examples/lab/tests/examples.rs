//! The programs of `examples/`, each across two hosts, with a failure or a switch.

#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

mod common;

use common::{Bench, pause};
use shim6_lab::programs::{PORT, Running, Shim, wait_for_port};
use shim6_lab::topology::{Blackhole, Side};
use shim6_lab::{in_lab, wait_for};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const TRY: Duration = Duration::from_secs(20);

/// A file of this build.
fn built(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let found = own.ancestors().skip(1).take(2).map(|d| d.join(name)).find(|p| p.exists());
    found.unwrap_or_else(|| panic!("no {name}: cargo build --workspace --lib --bins --examples"))
}

/// Compile an example, or a program of `c-tests`.
fn compile(bench: &Bench, source: &str, link: bool, options: &[&str]) -> PathBuf {
    let program = bench.file(&format!("program-{link}"));
    let root = Path::new(ROOT);
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-Wall", "-Wextra", "-Werror", "-pthread"]).args(options);
    cc.arg("-I").arg(root.join("include")).arg("-o").arg(&program).arg(root.join(source));
    if link {
        let profile = built("libshim6.so.0").parent().unwrap().display().to_string();
        cc.arg(format!("-L{profile}")).arg("-lshim6").arg(format!("-Wl,-rpath,{profile}"));
    }
    let out = cc.output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    program
}

/// Start a program: under the preload library, or one that has the shim in it and is told by the environment what
/// `shim6 run` would pass on.
fn start(bench: &Bench, side: Side, program: &Path, arguments: &str, preload: Option<&Shim>) -> Running {
    let name = if side == Side::Server { "server" } else { "client" };
    let mut words: Vec<String> = Vec::new();
    if preload.is_none() {
        let identities = bench.topology.host(side).identities.as_ref().unwrap();
        let set = [
            format!("identities={}", identities.display()),
            format!("log_file={}", bench.file(name).with_extension("log").display()),
            "log_filter=shim6=debug;trigger.bytes=0;reap.send_timeout=1s;reap.initial_probe_timeout=100ms"
                .into(),
        ];
        words.extend(["env".to_owned(), format!("SHIM6_SET={}", set.join(";"))]);
    }
    words.push(program.display().to_string());
    words.extend(arguments.split_whitespace().map(str::to_owned));
    bench.start(side, name, &words, preload)
}

/// Both ends run; what the client says goes to the file `client.trace`.
fn both(bench: &Bench, program: &Path, preload: Option<&Shim>) -> (Running, Running) {
    let server = start(bench, Side::Server, program, &PORT.to_string(), preload);
    assert!(wait_for_port(&bench.topology.server, PORT));
    let address = bench.topology.server.addresses[0];
    let client = start(bench, Side::Client, program, &format!("{address} {PORT} 50"), preload);
    bench.wait_for_context();
    (server, client)
}

fn said(bench: &Bench) -> String {
    std::fs::read_to_string(bench.file("client.trace")).unwrap_or_default()
}

fn echoes(bench: &Bench) -> usize {
    said(bench).matches("echo of").count()
}

/// Path 1 fails; the program goes on by path 2 and says so.
fn survives(bench: &Bench) {
    assert!(wait_for(TRY, || echoes(bench) > 10), "{}", said(bench));
    assert_eq!(bench.pairs_in_use(), (Some((1, 1)), Some((1, 1))));
    bench.topology.blackhole(1, Blackhole::Both).unwrap();
    pause(1000);
    let before = echoes(bench);
    assert!(wait_for(TRY, || echoes(bench) > before + 20), "{}", said(bench));
    assert_eq!(bench.pairs_in_use(), (Some((2, 2)), Some((2, 2))));
    let now = format!("{} -> {}", bench.topology.client.addresses[1], bench.topology.server.addresses[1]);
    assert!(said(bench).lines().last().is_some_and(|l| l.ends_with(&now)), "{}", said(bench));
}

#[test]
fn a_program_that_switches_locators_while_it_talks() {
    // API-LTX-06, API-PTX-06
    in_lab!();
    let bench = Bench::new(2);
    let program = compile(&bench, "examples/switch.c", false, &[]);
    let _running = both(&bench, &program, Some(&bench.shim));
    let pairs = || bench.pairs_in_use().0;
    assert!(wait_for(TRY, || pairs() == Some((2, 2))), "{}", said(&bench));
    assert!(wait_for(TRY, || pairs() == Some((1, 1))), "{}", said(&bench));
    assert!(said(&bench).contains("moved to "));
}

#[test]
fn a_c_program_that_is_linked() {
    in_lab!();
    let bench = Bench::new(2);
    let program = compile(&bench, "examples/linked.c", true, &[]);
    let _running = both(&bench, &program, None);
    survives(&bench);
}

#[test]
fn a_rust_program() {
    in_lab!();
    let bench = Bench::new(2);
    let (_server, mut client) = both(&bench, &built("examples/multihomed"), None);
    survives(&bench);
    let told = client.complaints();
    assert!(told.contains("switch 1: Failure(") && told.ends_with(", Report"), "{told}");
}

/// The examples of the draft with a context, under the preload library and linked.
#[test]
fn the_examples_of_the_draft() {
    // API-ASSOC-04, API-HOT-05, API-HOT-06, API-PE-06, API-LLP-05, API-LLP-06, API-PPF-05, API-PPF-06, API-LRX-05, API-LRX-06,
    // API-PRX-05, API-PRX-06, API-LTX-05, API-LTX-12, API-PTX-05, API-PTX-13, API-LLL-05, API-LLR-05, API-TMO-05,
    // API-TMO-06, API-DEF-07, API-CM-01, API-CM-02, API-CM-03, API-CM-04, API-CM-05, API-CM-16, API-FB-01, API-FB-08,
    // API-ST-08, API-CX-30
    in_lab!();
    for preload in [true, false] {
        let bench = Bench::new(2);
        let shim = preload.then_some(&bench.shim);
        let server = compile(&bench, "examples/switch.c", false, &[]);
        let _server = start(&bench, Side::Server, &server, &PORT.to_string(), Some(&bench.shim));
        assert!(wait_for_port(&bench.topology.server, PORT));
        let options: &[&str] = if preload { &[] } else { &["-DSHIM6_POSIX_NAMES"] };
        let program = bench.file("draft");
        std::fs::rename(compile(&bench, "c-tests/draft_examples.c", !preload, options), &program).unwrap();
        let address = bench.topology.server.addresses[0];
        let mut client = start(&bench, Side::Client, &program, &format!("{address} {PORT}"), shim);
        let status = client.wait(Duration::from_secs(40)).unwrap();
        assert!(status.success(), "preload {preload}: {}{}", said(&bench), client.complaints());
        assert_eq!(said(&bench), "ok examples of the draft, with context\n");
    }
}
