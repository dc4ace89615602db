//! The state machine of RFC 5533 appendix B: every state against every event.

use super::*;
use crate::wire::{ErrorMessage, I1, I2, I2bis, Options, ProbeBlock, R1, R1bis, R2, ReapState};
use std::fmt::Write;

/// A peer that the test plays: host 1's addresses, hand-made messages.
pub(super) struct Fake {
    pub(super) tag: ContextTag,
    pub(super) nonce: u32,
    r1: R1,
    r1bis: R1bis,
}

/// What a host of the world would offer.
pub(super) fn offer(w: &World, host: usize) -> Options {
    let addrs = &w.hosts[host].addrs;
    let identity = addrs[0].identity.as_ref().expect("an identity");
    Options {
        locators: Some(wire::LocatorList {
            generation: 77,
            locators: addrs.iter().map(|l| (1, l.addr)).collect(),
            methods_offset: 0,
        }),
        pds: identity.pds_for(&addrs[0].addr).map(<[u8]>::to_vec),
        ..Options::default()
    }
}

impl Fake {
    /// Collect validators from host 0 for a peer with host 1's first address.
    pub(super) fn new(w: &mut World) -> Fake {
        let (tag, nonce) = (ContextTag::new(random()), 0x0102_0304);
        let (a, b) = (w.hosts[0].a(0), w.hosts[1].a(0));
        w.inject(
            b,
            a,
            &Message::I1(I1 { initiator_tag: tag, initiator_nonce: nonce, options: Options::default() }),
        );
        let Message::R1(r1) = w.last(2).message() else { panic!("R1") };
        let unknown = ContextTag::new(random() >> 1);
        let options = Options::default();
        w.inject(b, a, &Message::Keepalive(wire::Keepalive { receiver_tag: unknown, options }));
        let Message::R1bis(r1bis) = w.last(5).message() else { panic!("R1bis") };
        w.intercept();
        Fake { tag, nonce, r1, r1bis }
    }

    pub(super) fn i2(&self, w: &World) -> I2 {
        let options = Options { validator: self.r1.options.validator.clone(), ..offer(w, 1) };
        I2 {
            initiator_tag: self.tag,
            initiator_nonce: self.nonce,
            responder_nonce: self.r1.responder_nonce,
            options,
        }
    }

    pub(super) fn i2bis(&self, w: &World) -> I2bis {
        let options = Options { validator: self.r1bis.options.validator.clone(), ..offer(w, 1) };
        I2bis {
            initiator_tag: self.tag,
            initiator_nonce: self.nonce,
            responder_nonce: self.r1bis.responder_nonce,
            packet_tag: self.r1bis.packet_tag,
            options,
        }
    }
}

/// Host 0 in the state; `None` is IDLE. The peer's validators were issued before.
pub(super) fn world_in(state: Option<ContextState>) -> (World, Fake) {
    let mut w = World::pair(2, 21);
    let fake = Fake::new(&mut w);
    let Some(state) = state else { return (w, fake) };
    w.establish(0, 1);
    if state != ContextState::I1Sent {
        w.run(ms(20));
    }
    if matches!(state, ContextState::Established | ContextState::I2bisSent) {
        w.run(ms(30));
    }
    if state == ContextState::I2bisSent {
        w.restart(1, 4711);
        w.send_tagged(0, b"payload");
        w.run(ms(20));
    }
    w.intercept();
    // Past the time in which received packets cause no further I2 (S6-N-25)
    w.now = w.now + ms(600);
    assert_eq!(w.state(0), Some(state));
    (w, fake)
}

fn name(state: Option<ContextState>) -> &'static str {
    match state {
        None => "IDLE",
        Some(ContextState::I1Sent) => "I1-SENT",
        Some(ContextState::I2Sent) => "I2-SENT",
        Some(ContextState::I2bisSent) => "I2BIS-SENT",
        Some(ContextState::Established) => "ESTABLISHED",
    }
}

const STATES: [Option<ContextState>; 5] = [
    None,
    Some(ContextState::I1Sent),
    Some(ContextState::I2Sent),
    Some(ContextState::I2bisSent),
    Some(ContextState::Established),
];

const EVENTS: [&str; 22] = [
    "trigger",
    "I1",
    "I1 other tag",
    "I1 foreign locator",
    "I2",
    "I2 bad",
    "I2bis",
    "I2bis bad",
    "R1",
    "R1 bad",
    "R2",
    "R2 bad",
    "R1bis",
    "R1bis bad",
    "payload",
    "Update Request",
    "Update Ack",
    "Keepalive",
    "Probe",
    "payload, unknown tag",
    "Probe, foreign locator",
    "Error",
];

/// Nonce of host 0's running (or last) exchange.
fn nonce(w: &World) -> u32 {
    let own = w.log.iter().rev().filter(|s| s.host == 0);
    own.map(Sent::message)
        .find_map(|m| match m {
            Message::I1(m) => Some(m.initiator_nonce),
            Message::I2(m) => Some(m.initiator_nonce),
            Message::I2bis(m) => Some(m.initiator_nonce),
            _ => None,
        })
        .unwrap_or(99)
}

fn happen(w: &mut World, fake: &Fake, event: &str) {
    let (a, b) = (w.hosts[0].a(0), w.hosts[1].a(0));
    let info = w.info(0);
    let local_tag = info.as_ref().map_or(ContextTag::new(5), |c| c.local_tag);
    let peer_tag = info.as_ref().and_then(|c| c.peer_tag).unwrap_or(ContextTag::new(6));
    let wrong = ContextTag::new(local_tag.value() ^ 1);
    let stranger = addr("2001:db8:bad::1");
    let options = Options::default;
    let i1 = |initiator_tag, options| Message::I1(I1 { initiator_tag, initiator_nonce: 9, options });
    let probe = |receiver_tag, source| {
        let block = ProbeBlock { source, destination: a, nonce: 1, data: 0 };
        Message::Probe(wire::Probe {
            receiver_tag,
            state: ReapState::Exploring,
            sent: vec![block],
            received: vec![],
            options: Options::default(),
        })
    };
    let payload = |tag| {
        let mut packet = wire::emit_payload_header(tag, 17).to_vec();
        packet.extend(b"data");
        packet
    };
    let r2 = |n: u32, w: &World| {
        Message::R2(R2 { responder_tag: ContextTag::new(0x77), initiator_nonce: n, options: offer(w, 1) })
    };
    let n = nonce(w);
    match event {
        "trigger" => w.establish(0, 1),
        "I1" => w.inject(b, a, &i1(peer_tag, options())),
        "I1 other tag" => w.inject(b, a, &i1(wrong, options())),
        "I1 foreign locator" => {
            let ulid_pair = Some(wire::UlidPairOption { sender: b, receiver: a });
            w.inject(stranger, a, &i1(peer_tag, Options { ulid_pair, ..options() }));
        }
        "I2" => w.inject(b, a, &Message::I2(fake.i2(w))),
        "I2 bad" => {
            let i2 = fake.i2(w);
            w.inject(b, a, &Message::I2(I2 { initiator_tag: wrong, ..i2 }));
        }
        "I2bis" => w.inject(b, a, &Message::I2bis(fake.i2bis(w))),
        "I2bis bad" => {
            let i2bis = fake.i2bis(w);
            w.inject(b, a, &Message::I2bis(I2bis { packet_tag: wrong, ..i2bis }));
        }
        "R1" | "R1 bad" => {
            let initiator_nonce = if event == "R1" { n } else { n ^ 1 };
            let options = Options { validator: Some(vec![1; 20]), ..options() };
            w.inject(b, a, &Message::R1(R1 { initiator_nonce, responder_nonce: 3, options }));
        }
        "R2" => w.inject(b, a, &r2(n, w)),
        "R2 bad" => w.inject(b, a, &r2(n ^ 1, w)),
        "R1bis" | "R1bis bad" => {
            let packet_tag = if event == "R1bis" { peer_tag } else { wrong };
            let options = Options { validator: Some(vec![1; 20]), ..options() };
            w.inject(b, a, &Message::R1bis(R1bis { packet_tag, responder_nonce: 3, options }));
        }
        "payload" => w.deliver(b, a, &payload(local_tag)),
        "payload, unknown tag" => w.deliver(b, a, &payload(wrong)),
        "Update Request" => w.inject(
            b,
            a,
            &Message::UpdateRequest(wire::UpdateRequest {
                receiver_tag: local_tag,
                request_nonce: 8,
                options: options(),
            }),
        ),
        "Update Ack" => w.inject(
            b,
            a,
            &Message::UpdateAck(wire::UpdateAck {
                receiver_tag: local_tag,
                request_nonce: 8,
                options: options(),
            }),
        ),
        "Keepalive" => w.inject(
            b,
            a,
            &Message::Keepalive(wire::Keepalive { receiver_tag: local_tag, options: options() }),
        ),
        "Probe" => w.inject(b, a, &probe(local_tag, b)),
        "Probe, foreign locator" => w.inject(stranger, a, &probe(local_tag, stranger)),
        "Error" => {
            let last =
                w.log.iter().rev().find(|s| s.host == 0).map(|s| s.data.clone()).unwrap_or(vec![0; 16]);
            w.inject(b, a, &Message::Error(ErrorMessage::quoting(1, a, b, &last, 8)));
        }
        other => panic!("{other}"),
    }
}

/// What host 0 delivers and sends (by type) in answer to an event, and its state after.
fn cell(state: Option<ContextState>, event: &str) -> String {
    let (mut w, fake) = world_in(state);
    w.log.retain(|s| matches!(s.ty(), 1 | 3 | 6));
    let before = w.log.len();
    happen(&mut w, &fake, event);
    let delivered = (!w.hosts[0].delivered.is_empty()).then_some("deliver");
    let sent = w.log[before..].iter().filter(|s| s.host == 0).map(|s| match s.ty() {
        1 => "I1",
        2 => "R1",
        3 => "I2",
        4 => "R2",
        5 => "R1bis",
        6 => "I2bis",
        65 => "Update Acknowledgement",
        67 => "Probe",
        other => panic!("unexpected message type {other}"),
    });
    let mut out = delivered.into_iter().chain(sent).collect::<Vec<_>>().join(", ");
    let next = name(w.state(0));
    if next != name(state) {
        out = format!("{out} → {next}").trim().to_owned();
    }
    if out.is_empty() { "–".to_owned() } else { out }
}

/// As it stands in docs/state-machine.md.
fn table() -> String {
    let mut out = format!("| event | {} |\n{}|\n", STATES.map(name).join(" | "), "| --- ".repeat(6));
    for event in EVENTS {
        writeln!(out, "| {event} | {} |", STATES.map(|state| cell(state, event)).join(" | ")).unwrap();
    }
    out
}

/// The table that everybody reads.
const DOCUMENT: &str = include_str!("../../../../docs/state-machine.md");

#[test]
fn every_state_against_every_event() {
    // LS-U-01, LS-BIS-01, LS-BIS-02, LS-PL-02, LS-PL-03, LS-UP-04, LS-I2-15, LS-I2-18, S6-12.4-4, RE-PR-22
    // S6-B-1, S6-B-2, S6-B-3, S6-B-4, S6-B-5, S6-B-6, S6-B-7, S6-B-8, S6-B-9, S6-B-10, S6-B-11, S6-B-12, S6-B-13,
    // S6-B-14, S6-B-15, S6-B-16, S6-B-17, S6-B-21, S6-B-22, S6-B-23, S6-B-24, S6-B-25, S6-B-26, S6-B-27, S6-B-28,
    // S6-B-29, S6-B-30, S6-B-31, S6-B-34, S6-B-35, S6-B-36,
    // S6-B-37, S6-B-38, S6-B-39, S6-B-40, S6-B-41, S6-B-42, S6-B-43, S6-B-44, S6-B-45, S6-B-48, S6-B-49, S6-B-50,
    // S6-B-51, S6-B-53, S6-B-54, S6-B-55, S6-B-56, S6-B-57, S6-B-58, S6-B-59, S6-B-60, S6-B-61, S6-B-62, S6-B-63,
    // S6-B-64, S6-B-65, S6-B-66, S6-B-67, S6-5.3-3, S6-7.17-1,
    // S6-7.17-2, S6-12.4-8, S6-N-11, S6-N-12, S6-N-14, S6-N-17, S6-N-24, S6-N-27
    let (_, rest) = DOCUMENT.split_once("<!-- table -->\n").expect("the start of the table");
    let (documented, _) = rest.split_once("<!-- end -->").expect("the end of the table");
    let table = table();
    for (got, expected) in table.lines().zip(documented.lines()) {
        assert_eq!(got, expected, "the whole table is now\n{table}");
    }
    assert_eq!(table, documented);
}

#[test]
fn an_i1_changes_nothing() {
    // S6-7.9-4, S6-B-12, S6-B-26, S6-B-40, S6-B-54, S6-B-55, S6-7.5-3, S6-7.6-4
    for state in STATES.into_iter().flatten() {
        for event in ["I1", "I1 other tag", "I1 foreign locator"] {
            let (mut w, fake) = world_in(Some(state));
            let before = w.info(0);
            happen(&mut w, &fake, event);
            assert_eq!(w.info(0), before, "{event} in {}", name(Some(state)));
        }
    }
}

#[test]
fn a_valid_i2_sets_tag_and_locators() {
    // S6-7.13-10, S6-7.20-10, S6-7.20-11, S6-B-15, S6-B-17, S6-B-27, S6-B-29, S6-B-41, S6-B-42, S6-B-56, S6-B-58
    for state in STATES.into_iter().flatten() {
        for event in ["I2", "I2bis"] {
            let (mut w, fake) = world_in(Some(state));
            let before = w.info(0).unwrap();
            happen(&mut w, &fake, event);
            let after = w.info(0).unwrap();
            assert_eq!(after.peer_tag, Some(fake.tag), "{event} in {}", name(Some(state)));
            assert_eq!(after.local_tag, before.local_tag);
            let addrs: Vec<Ipv6Addr> = after.peer.iter().map(|l| l.addr).collect();
            assert_eq!(addrs, [w.hosts[1].a(0), w.hosts[1].a(1)]);
            let Message::R2(r2) = w.last(4).message() else { panic!() };
            assert_eq!((r2.responder_tag, r2.initiator_nonce), (before.local_tag, fake.nonce));
        }
    }
}

#[test]
fn recovery_messages_keep_the_tags_that_they_must() {
    // S6-7.18-3, S6-7.18-4, S6-7.18-7, S6-5.9-2, S6-5.8-1, S6-B-61, S6-N-9
    let (w, _) = world_in(Some(ContextState::I2bisSent));
    let (r1bis, i2bis) = (w.last(5), w.last(6));
    assert_eq!((i2bis.pair.local, i2bis.pair.peer), (r1bis.pair.peer, r1bis.pair.local));
    let (Message::R1bis(r1bis), Message::I2bis(i2bis)) = (r1bis.message(), i2bis.message()) else { panic!() };
    let info = w.info(0).unwrap();
    assert_eq!(info.peer_tag, Some(r1bis.packet_tag));
    assert_eq!(i2bis.packet_tag, r1bis.packet_tag);
    assert_eq!(i2bis.initiator_tag, info.local_tag);
    assert_eq!(i2bis.responder_nonce, r1bis.responder_nonce);
    assert_eq!(i2bis.options.validator, r1bis.options.validator);
    assert!(i2bis.options.locators.is_some() && i2bis.options.pds.is_some());
}

#[test]
fn i2bis_is_sent_three_times_then_i1() {
    // LS-BIS-04
    // S6-7.19-1, S6-7.19-2, S6-B-46, S6-B-47, S6-N-18, S6-N-32, S6-B-52
    let (mut w, _) = world_in(Some(ContextState::I2bisSent));
    let local_tag = w.info(0).unwrap().local_tag;
    w.pass = Box::new(|_| false);
    w.log.clear();
    w.run(secs(29));
    assert_eq!(w.types(0), [6, 6, 1]);
    let info = w.info(0).unwrap();
    assert_eq!((info.state, info.peer_tag, info.local_tag), (ContextState::I1Sent, None, local_tag));
    w.run(secs(200));
    assert_eq!(w.types(0), [6, 6, 1, 1, 1, 1, 1]);
    assert_eq!(w.info(0), None);
    assert!(w.hosts[0].kinds().contains(&EventKind::EstablishFailed { no_support: false }));
}

#[test]
fn a_burst_causes_one_i2bis_and_few_copies() {
    // S6-N-17, S6-N-25, S6-B-45
    let (mut w, _) = world_in(Some(ContextState::I2bisSent));
    w.pass = Box::new(|_| false);
    w.log.clear();
    let (a, b) = (w.hosts[0].a(0), w.hosts[1].a(0));
    let tag = w.info(0).unwrap().local_tag;
    let mut packet = wire::emit_payload_header(tag, 17).to_vec();
    packet.extend(b"x");
    for _ in 0..1000 {
        w.deliver(b, a, &packet);
        w.now = w.now + ms(1);
    }
    assert_eq!(w.hosts[0].delivered.len(), 1000);
    assert!((1..=3).contains(&w.count(6)), "{} copies", w.count(6));
}
