//! Codec, lookup, data path and handshake of the protocol core, without network: `cargo bench -p shim6`.
//!
//! `SHIM6_BENCH_ONCE=NAME:N` runs one operation N times and nothing else, for `scripts/instructions`, which counts what that
//! costs; `SHIM6_BENCH_ONCE=list` names the operations.

use criterion::Criterion;
use shim6::addr::{ContextTag, UlidPair};
use shim6::config::Config;
use shim6::driver::build_udp_into;
use shim6::driver::cell::Cell;
use shim6::engine::Datagram;
use shim6::sim::{Flow, HostSpec, Pattern, World, hba_locators};
use shim6::time::Time;
use shim6::wire::{self, emit_payload_header};
use std::hint::black_box;
use std::io::IoSlice;
use std::net::Ipv6Addr;
use std::time::Duration;

type Operation = (String, Box<dyn FnMut()>);

fn at_once() -> Config {
    let mut config = Config::default();
    config.trigger.bytes = Some(0);
    config
}

/// Host 0 with contexts to `peers` others, each with `locators` addresses.
fn world(peers: usize, locators: usize) -> World {
    let mut w = World::new(1);
    for h in 0..=peers as u16 {
        w.add_host(HostSpec::new(at_once(), hba_locators(h + 1, locators, u64::from(h))));
    }
    let start = w.now;
    for h in 1..=peers {
        let addrs = [w.addr(0, 0), w.addr(h, 0)];
        let interval = Duration::from_millis(500);
        let pattern = Pattern::TwoWay;
        w.add_flow(Flow { hosts: [0, h], addrs, pattern, interval, bytes: 700, start, stop: None });
    }
    w.run(Duration::from_millis(1800));
    w
}

fn codec(operations: &mut Vec<Operation>) {
    for (ty, name) in [(1, "I1"), (2, "R1"), (3, "I2"), (4, "R2")] {
        let w = world(1, 2);
        let Some(sent) = w.log.iter().find(|sent| sent.ty() == ty) else {
            panic!("the handshake has no {name}");
        };
        let (data, message) = (sent.data.clone(), sent.message().expect("well-formed"));
        operations.push((format!("parse {name}"), Box::new(move || drop(black_box(wire::parse(&data))))));
        operations.push((format!("emit {name}"), Box::new(move || drop(black_box(message.emit())))));
    }
}

fn lookup(operations: &mut Vec<Operation>) {
    for peers in [1, 10, 100] {
        let mut w = world(peers, 2);
        let info = w.context(peers - 1, 0).expect("a context of the last flow");
        let ulids = info.ulids;
        let mut data = emit_payload_header(info.local_tag, 17).to_vec();
        data.extend_from_slice(&[0; 64]);
        let (source, destination) = (ulids.peer, ulids.local);
        operations.push((
            format!("tagged payload to its context, {peers} contexts"),
            Box::new(move || {
                let packet = Datagram { source, destination, data: &data };
                w.with_engine(0, |engine, now| {
                    black_box(engine.handle_datagram(now, &packet).is_some());
                });
            }),
        ));
    }
}

fn data_path(operations: &mut Vec<Operation>) {
    let address = |n| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n);
    let ulids = UlidPair { local: address(1), peer: address(2) };
    for size in [64, 1200] {
        let (data, mut packet) = (vec![7u8; size], Vec::new());
        operations.push((
            format!("build UDP behind the header, {size} octets"),
            Box::new(move || {
                black_box(emit_payload_header(ContextTag::new(5), 17));
                black_box(build_udp_into(&mut packet, ulids, 1, 2, &[IoSlice::new(&data)]));
            }),
        ));
    }
    let cell = Cell::new(ulids);
    operations.push((
        "count a datagram sent".into(),
        Box::new(move || {
            black_box(cell.forward().is_some());
            black_box(cell.note_sent(64, || Time(1)));
        }),
    ));
}

fn handshake(operations: &mut Vec<Operation>) {
    for locators in [2, 8] {
        operations.push((
            format!("two hosts with {locators} locators set up a context"),
            Box::new(move || {
                let w = world(1, locators);
                assert!(w.crosswise(0));
            }),
        ));
    }
}

fn operations() -> Vec<Operation> {
    let mut operations = Vec::new();
    codec(&mut operations);
    lookup(&mut operations);
    data_path(&mut operations);
    handshake(&mut operations);
    operations
}

fn main() {
    match std::env::var("SHIM6_BENCH_ONCE").ok().as_deref() {
        None => {
            let mut criterion = Criterion::default().configure_from_args();
            for (name, mut operation) in operations() {
                criterion.bench_function(&name, |b| b.iter(&mut operation));
            }
            criterion.final_summary();
        }
        Some("list") => operations().iter().for_each(|(name, _)| println!("{name}")),
        Some(wanted) => {
            let (name, times) = wanted.rsplit_once(':').expect("NAME:N");
            let times: usize = times.parse().expect("a number");
            let mut all = operations();
            let (_, operation) = all.iter_mut().find(|(n, _)| n == name).expect("an operation");
            (0..times).for_each(|_| operation());
        }
    }
}
