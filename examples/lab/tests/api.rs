//! The sockets API on sockets that have a context: C programs under the preload library, a host for each end, and
//! what passes the router between them, which shows each locator on the wire.

#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

mod common;

use common::{Bench, ms};
use shim6_lab::namespace::Process;
use shim6_lab::programs::{PORT, Running, wait_for_port};
use shim6_lab::topology::{Blackhole, PathPair, Side};
use shim6_lab::{in_lab, wait_for};
use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::process::{Command, Stdio};

/// Two hosts with three paths, and the server.
fn bench() -> (Bench, Running) {
    bench_with("")
}

/// The same, and the server is run by another command.
fn bench_with(runner: &str) -> (Bench, Running) {
    let mut bench = Bench::new(3);
    // Nothing fails here but what a test breaks: a machine that is slow for a while must not pass for a dead path
    let words = "--send-timeout 5s --probe-timeout 1s --trigger now --log-level shim6=debug";
    bench.shim.options = words.split(' ').map(str::to_owned).collect();
    let program = [bench.c_test("api_packets"), "serve".to_owned(), PORT.to_string()];
    let words: Vec<_> = runner.split_whitespace().map(str::to_owned).chain(program).collect();
    let mut server = bench.start(Side::Server, "server", &words, Some(&bench.shim));
    assert!(wait_for_port(&bench.topology.server, PORT), "{}", server.complaints());
    (bench, server)
}

/// Start a test of a program at the client.
fn start(bench: &Bench, program: &str, test: &str) -> Running {
    let server = bench.topology.server.addresses[0].to_string();
    let words = [bench.c_test(program), server, PORT.to_string(), test.to_owned()];
    bench.start(Side::Client, test, &words, Some(&bench.shim))
}

/// It ends, and says that it went well.
fn ends_well(bench: &Bench, mut client: Running, test: &str) {
    let status = client.wait(ms(70_000)).unwrap();
    let said = std::fs::read_to_string(bench.file(test).with_extension("trace")).unwrap_or_default();
    assert!(
        status.success() && said == format!("ok {test}\n"),
        "{test}: {status} {said} {}",
        client.complaints()
    );
}

fn run(bench: &Bench, program: &str, test: &str) {
    ends_well(bench, start(bench, program, test), test);
}

// API-GEN-01, API-GEN-09, API-RQ-12
#[test]
fn options_and_errors_with_a_context() {
    in_lab!();
    let (bench, _server) = bench();
    for test in [
        "switches",
        "timers",
        "lists",
        "checks",
        "bad_messages",
        "leaving",
        "not_blocking",
        "raw_not_blocking",
        "at_the_same_time",
        "not_deferred",
        "unconnected",
    ] {
        run(&bench, "api_options", test);
    }
}

// API-ERR-05, API-PTX-10, API-PPF-10
#[test]
fn a_locator_that_cannot_be_reached_is_refused() {
    in_lab!();
    let (bench, _server) = bench();
    bench.topology.blackhole(3, Blackhole::Both).unwrap();
    run(&bench, "api_options", "unreachable");
}

// API-CX-31, API-LLL-14
#[test]
fn an_address_outside_the_set_is_refused() {
    in_lab!();
    let (bench, _server) = bench();
    bench.topology.client.namespace.ip("addr add 2001:db8:77::1/128 dev p1 nodad").unwrap();
    run(&bench, "api_options", "outside");
}

/// A datagram of the client's test program as the router passed it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    pair: PathPair,
    /// Behind the payload extension header.
    tagged: bool,
    /// UDP port that it came from.
    port: u16,
}

/// What the router passes on from its start on.
struct Capture<'a> {
    bench: &'a Bench,
    file: std::path::PathBuf,
    _process: Process,
}

impl<'a> Capture<'a> {
    fn new(bench: &'a Bench) -> Self {
        let file = bench.file("capture.pcap");
        let mut python = Command::new("python3");
        python.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peer/capture.py")).arg(&file);
        python.stdout(Stdio::null());
        let process = bench.topology.core().spawn(python).unwrap();
        let begun = || std::fs::metadata(&file).is_ok_and(|m| m.len() >= FILE_HEADER as u64);
        assert!(wait_for(ms(20_000), begun), "no capture");
        Capture { bench, file, _process: process }
    }

    /// The datagrams of 100 octets to the server's port so far.
    fn datagrams(&self) -> Vec<Seen> {
        let octets = std::fs::read(&self.file).unwrap();
        let (mut at, mut seen) = (FILE_HEADER, Vec::new());
        while let Some(record) = octets.get(at..at + 16) {
            let len = u32::from_ne_bytes(record[8..12].try_into().unwrap()) as usize;
            let Some(packet) = octets.get(at + 16..at + 16 + len) else { break };
            seen.extend(self.datagram(packet));
            at += 16 + len;
        }
        seen
    }

    fn datagram(&self, packet: &[u8]) -> Option<Seen> {
        let topology = &self.bench.topology;
        let address = |at: usize| Ipv6Addr::from(<[u8; 16]>::try_from(&packet[at..at + 16]).unwrap());
        let number = |all: &[Ipv6Addr], a| Some(all.iter().position(|x| *x == a)? + 1);
        let pair = (
            number(&topology.client.addresses, address(8))?,
            number(&topology.server.addresses, address(24))?,
        );
        let (tagged, udp) = match (packet[6], &packet[40..]) {
            (17, udp) => (false, udp),
            // RFC 5533 section 5.1: Next Header UDP, length 0, and the P bit
            (140, [17, 0, third, _, _, _, _, _, udp @ ..]) if third & 0x80 != 0 => (true, udp),
            _ => return None,
        };
        let word = |at: usize| u16::from_be_bytes([udp[at], udp[at + 1]]);
        // Each passes by twice: as it comes, and with one hop less as it goes
        let ours = word(2) == PORT && word(4) == 108 && packet[7] == 63;
        // The checksum is over the ULIDs (API-EX-12); without header the interface may be left to complete it
        if ours && tagged {
            assert_eq!(checksum(topology.client.addresses[0], topology.server.addresses[0], udp), 0xffff);
        }
        ours.then_some(Seen { pair, tagged, port: word(0) })
    }
}

/// Of a pcap file.
const FILE_HEADER: usize = 24;

/// The sum over the pseudo header and a UDP datagram; all ones where it is right.
fn checksum(source: Ipv6Addr, destination: Ipv6Addr, udp: &[u8]) -> u16 {
    let len = (udp.len() as u32).to_be_bytes();
    let all = [&source.octets()[..], &destination.octets(), &len, &[0, 0, 0, 17], udp].concat();
    let words = all.chunks(2).map(|w| u32::from(w[0]) << 8 | w.get(1).map_or(0, |b| u32::from(*b)));
    let sum: u32 = words.sum();
    let sum = (sum >> 16) + (sum & 0xffff);
    ((sum >> 16) + (sum & 0xffff)) as u16
}

// API-LTX-08, API-PTX-14, API-PTX-15, API-LLP-06, API-PPF-06, API-CM-13, API-CM-21, API-CM-37, API-FK-04, API-FK-19,
// API-EX-05, API-EX-08, API-EX-09, API-EX-12
#[test]
fn locators_are_on_the_wire() {
    in_lab!();
    let (bench, _server) = bench();
    let capture = Capture::new(&bench);
    let mut before = 0;
    for (test, wanted) in [
        ("local_send", &[((2, 1), 100)][..]),
        ("peer_send", &[((1, 2), 100)]),
        ("both_send", &[((2, 2), 100)]),
        // One datagram before the switch at least, and those that a preference does not move yet
        ("local_pref", &[((1, 1), 1), ((3, 1), 100)]),
        ("peer_pref", &[((1, 1), 1), ((1, 3), 100)]),
        // By the messages of single datagrams and of batches; between them, and by a message against a pin, as the ULIDs say
        ("messages", &[((3, 3), 100), ((1, 1), 110), ((3, 2), 100)]),
        // At the same time, in turns; one more by the first when the other is closed
        ("two_sockets", &[((2, 3), 100), ((1, 1), 101)]),
        ("named_source", &[((3, 1), 100)]),
        ("locator_as_ulid", &[((1, 2), 100)]),
    ] {
        run(&bench, "api_packets", test);
        let total: usize = wanted.iter().map(|w| w.1).sum();
        assert!(wait_for(ms(20_000), || capture.datagrams().len() >= before + total), "{test}: lost");
        let seen = capture.datagrams().split_off(before);
        before += seen.len();
        let mut counted: Vec<_> = wanted.iter().map(|w| (w.0, 0)).collect();
        for datagram in &seen {
            let count = counted.iter_mut().find(|c| c.0 == datagram.pair);
            count.unwrap_or_else(|| panic!("{test}: {datagram:?}")).1 += 1;
            let tagged = datagram.pair != (1, 1) && test != "locator_as_ulid";
            assert_eq!(datagram.tagged, tagged, "{test}: {datagram:?}");
        }
        assert_eq!(counted, wanted, "{test}");
        if test == "two_sockets" {
            let ports =
                |pair| seen.iter().filter(|d| d.pair == pair).map(|d| d.port).collect::<BTreeSet<_>>();
            assert!(ports((2, 3)).len() == 1 && ports((1, 1)).len() == 1 && ports((2, 3)) != ports((1, 1)));
            let turns = seen.windows(2).filter(|two| two[0].pair != two[1].pair).count();
            assert_eq!(turns, 200, "in turns");
        }
    }
}

/// The answer to the first datagram comes from the address that the datagram went to, although the server's engine goes on
/// late after each message: applications know of a context before the peer does.
#[test]
fn a_context_serves_from_the_first_datagram_on() {
    in_lab!();
    let (bench, _server) =
        bench_with("strace -f -qq -o /dev/null -e trace=sendmsg -e inject=sendmsg:delay_exit=200000");
    run(&bench, "api_packets", "locator_as_ulid");
}

// API-FK-22: what one process pins is nothing to the other, with which it has the ULIDs in common.
#[test]
fn processes_do_not_share_contexts() {
    in_lab!();
    let (bench, _server) = bench();
    let capture = Capture::new(&bench);
    let clients =
        ["local_send", "peer_send", "both_send"].map(|test| (test, start(&bench, "api_packets", test)));
    for (test, client) in clients {
        ends_well(&bench, client, test);
    }
    assert!(wait_for(ms(20_000), || capture.datagrams().len() >= 300), "lost");
    let seen = capture.datagrams();
    for pair in [(2, 1), (1, 2), (2, 2)] {
        let of: Vec<_> = seen.iter().filter(|d| d.pair == pair).collect();
        assert!(of.len() == 100 && of.iter().all(|d| d.port == of[0].port), "{pair:?}: {seen:?}");
    }
    assert_eq!(seen.len(), 300);
}

// API-CM-04, API-CM-05, API-CM-06, API-CM-10, API-CM-11
#[test]
fn received_locators_are_told() {
    in_lab!();
    let (bench, _server) = bench();
    run(&bench, "api_packets", "received_plain");
    run(&bench, "api_packets", "received_tagged");
}
