//! Mapping of ICMPv6 errors, octet by octet, and what is delivered when.

use super::*;
use crate::addr::ContextTag;
use crate::engine::tests::{World, addr, exact, hba, ms, plain, secs};
use crate::wire::emit_payload_header;
use proptest::prelude::*;
use std::time::Duration;

fn ulids() -> UlidPair {
    UlidPair { local: addr("2001:db8:a::1"), peer: addr("2001:db8:b::1") }
}

fn router() -> Ipv6Addr {
    addr("2001:db8:ffff::1")
}

fn locators() -> LocatorPair {
    LocatorPair { local: addr("2001:db8:a:2::1"), peer: addr("2001:db8:b:2::1") }
}

/// An IPv6 packet between `pair`: chain of extension headers as given, then `upper`.
fn ipv6(pair: LocatorPair, next: u8, rest: &[u8]) -> Vec<u8> {
    let mut p = vec![0x6a, 0xbc, 0xde, 0xf0];
    p.extend((rest.len() as u16).to_be_bytes());
    p.extend([next, 61]);
    p.extend(pair.local.octets());
    p.extend(pair.peer.octets());
    p.extend(rest);
    p
}

fn udp(data: usize) -> Vec<u8> {
    let mut u = vec![0x1b, 0x58, 0x00, 0x35, 0, 0, 0x12, 0x34];
    u.extend((0..data).map(|i| i as u8));
    u[4..6].copy_from_slice(&((8 + data) as u16).to_be_bytes());
    u
}

fn tag() -> ContextTag {
    ContextTag::new(0x1234_5678_9abc)
}

/// The same datagram with the shim header, and as the application would have sent it.
fn tagged_and_plain(upper: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut behind = emit_payload_header(tag(), 17).to_vec();
    behind.extend(upper);
    (ipv6(locators(), PROTOCOL, &behind), ipv6(ulids().as_locators(), 17, upper))
}

fn error(ty: u8, code: u8, info: u32, quoted: &[u8]) -> Vec<u8> {
    let mut m = vec![ty, code, 0xaa, 0xbb];
    m.extend(info.to_be_bytes());
    m.extend(quoted);
    m
}

fn mapped(message: &[u8]) -> Option<(FlowId, Vec<u8>)> {
    IcmpError::parse(router(), message)?.map_back(ulids())
}

// S6-8-6, S6-8-10, LS-F-09: ULIDs in, header out, Next Header and length as of the packet that the application sent;
// every octet is that of an error about that packet.
#[test]
fn the_quoted_packet_is_the_one_that_the_application_sent() {
    for n in [0, 1, 100, 1100] {
        let (tagged, plain) = tagged_and_plain(&udp(n));
        for (ty, code) in [(1, 0), (1, 4), (3, 0), (3, 1)] {
            let (flow, got) = mapped(&error(ty, code, 0, &tagged)).expect("mapped");
            let mut want = error(ty, code, 0, &plain);
            want[2..4].fill(0);
            assert_eq!(got, want);
            assert_eq!(flow, FlowId { protocol: 17, local_port: 7000, peer_port: 53 });
        }
    }
}

// S6-8-6, S6-4.6-1: the octet that is restored is that of the header before the shim header, wherever that is.
#[test]
fn headers_before_and_behind_are_kept() {
    let upper = udp(20);
    let options = [0, 0, 1, 4, 0, 0, 0, 0];
    let with = |next: u8| [&[next, 0][..], &options[2..]].concat();
    let shim = |next| emit_payload_header(tag(), next).to_vec();
    let tagged = ipv6(locators(), HOP_BY_HOP, &[with(PROTOCOL), shim(60), with(17), upper.clone()].concat());
    let plain = ipv6(ulids().as_locators(), HOP_BY_HOP, &[with(60), with(17), upper.clone()].concat());
    let (flow, got) = mapped(&error(1, 4, 0, &tagged)).expect("mapped");
    assert_eq!(got[8..], plain);
    assert_eq!(flow.local_port, 7000);
    // A first fragment behind the shim header has the ports, a later one has not.
    for (offset, found) in [(1u16, true), (8 | 1, false)] {
        let mut fragment = vec![17, 0];
        fragment.extend(offset.to_be_bytes());
        fragment.extend([0, 0, 0, 9]);
        let tagged = ipv6(locators(), PROTOCOL, &[shim(FRAGMENT), fragment, upper.clone()].concat());
        assert_eq!(mapped(&error(1, 4, 0, &tagged)).is_some(), found);
    }
    // A protocol without ports.
    let tagged = ipv6(locators(), PROTOCOL, &[shim(253), vec![1, 2, 3]].concat());
    let (flow, _) = mapped(&error(1, 4, 0, &tagged)).expect("mapped");
    assert_eq!(flow, FlowId { protocol: 253, local_port: 0, peer_port: 0 });
}

// S6-8-6: truncated quotes.
#[test]
fn a_quote_that_ends_too_early_is_not_mapped() {
    let (tagged, plain) = tagged_and_plain(&udp(20));
    for n in 0..tagged.len() {
        let got = mapped(&error(1, 4, 0, &tagged[..n]));
        // IPv6 and shim header, and both ports
        assert_eq!(got.is_some(), n >= 40 + 8 + 4, "{n}");
        if let Some((_, m)) = got {
            assert_eq!(m[8..], plain[..n - 8], "{n}");
        }
    }
}

// S6-8-7: RFC 4884 extensions stay, the length attribute fits the shorter quote, which is padded to 128 octets.
#[test]
fn extensions_survive() {
    let extension = [0x20, 0, 0xab, 0xcd, 0, 8, 1, 1, 0, 1, 2, 3];
    for (n, words, padding) in [(72, 16, 8), (80, 16, 0), (1000, 131, 0)] {
        let (tagged, plain) = tagged_and_plain(&udp(n));
        assert_eq!(tagged.len() % 8, 0);
        let mut m = error(1, 3, u32::from((tagged.len() / 8) as u8) << 24, &tagged);
        m.extend(extension);
        let (_, got) = mapped(&m).expect("mapped");
        let mut want = error(1, 3, words << 24, &plain);
        want[2..4].fill(0);
        want.extend(vec![0; padding]);
        want.extend(extension);
        assert_eq!(got, want, "{n}");
    }
    // A length attribute beyond the message is none.
    let (tagged, plain) = tagged_and_plain(&udp(72));
    let (_, got) = mapped(&error(1, 3, 255 << 24, &tagged)).expect("mapped");
    assert_eq!(got[8..], plain);
}

// S6-8-9, S6-N-43: 8 octets less, but never below 1272.
#[test]
fn packet_too_big_leaves_room_for_the_header() {
    let (tagged, _) = tagged_and_plain(&udp(100));
    for (reported, told) in
        [(1500, 1492), (1281, 1273), (1280, 1272), (1279, 1272), (0, 1272), (u32::MAX, u32::MAX - 8)]
    {
        let m = error(2, 0, reported, &tagged);
        assert_eq!(IcmpError::parse(router(), &m).map(|e| e.kind), Some(IcmpKind::PacketTooBig(reported)));
        let (_, got) = mapped(&m).expect("mapped");
        assert_eq!(got[4..8], told.to_be_bytes());
    }
}

// S6-8-3, S6-8-4: which parameter is Shim6's; the pointer to others moves with them (S6-8-6).
#[test]
fn parameter_problems_are_told_apart() {
    let (tagged, _) = tagged_and_plain(&udp(100));
    let kind = |code, pointer| {
        IcmpError::parse(router(), &error(4, code, pointer, &tagged)).map(|e| e.kind).expect("an error")
    };
    assert_eq!(kind(1, 6), IcmpKind::UnrecognizedNextHeader, "the octet that says 140");
    assert_eq!(kind(0, 6), IcmpKind::Other);
    for pointer in 40..48 {
        assert_eq!(kind(0, pointer), IcmpKind::UnrecognizedNextHeader);
    }
    for pointer in [4, 7, 39, 48, 52, u32::MAX] {
        assert_eq!(kind(0, pointer), IcmpKind::Other);
    }
    for (pointer, told) in [(4, 4), (39, 39), (48u32, 40u32), (60, 52)] {
        let (_, got) = mapped(&error(4, 0, pointer, &tagged)).expect("mapped");
        assert_eq!(got[4..8], told.to_be_bytes());
    }
}

// S6-8-3, S6-8-4
#[test]
fn kinds_by_type_and_code() {
    let (tagged, _) = tagged_and_plain(&udp(4));
    let kind = |ty, code| IcmpError::parse(router(), &error(ty, code, 0, &tagged)).map(|e| e.kind);
    for (ty, code) in [(1, 0), (1, 1), (1, 2), (1, 3), (1, 5), (1, 6), (3, 0), (3, 1)] {
        assert_eq!(kind(ty, code), Some(IcmpKind::Unreachable), "{ty}/{code}");
    }
    assert_eq!(kind(1, 4), Some(IcmpKind::Other));
    for ty in [0, 5, 100, 128, 135] {
        assert_eq!(kind(ty, 0), None, "no error of RFC 4443");
    }
}

proptest! {
    // Bad input never panics, whatever is quoted.
    #[test]
    fn garbage_is_survived(message in prop::collection::vec(any::<u8>(), 0..400), ty in 1u8..5, nh in any::<u8>()) {
        let mut m = message;
        if m.len() > 15 {
            (m[0], m[8], m[14]) = (ty, 0x60, if nh < 128 { 140 } else { nh });
        }
        mapped(&m);
    }
}

/// An error about a payload packet of host 0's context, quoting what it would send now.
fn about_payload(w: &World, ty: u8, code: u8) -> Vec<u8> {
    let info = w.info(0).expect("a context");
    let mut behind = emit_payload_header(info.peer_tag.expect("a tag"), 17).to_vec();
    behind.extend(udp(8));
    error(ty, code, if ty == 2 { 1400 } else { 0 }, &ipv6(info.current, PROTOCOL, &behind))
}

fn tell(w: &mut World, message: &[u8]) {
    let now = w.now;
    let e = IcmpError::parse(router(), message).expect("an error");
    w.hosts[0].engine.handle_icmp_error(now, &e);
    w.flush();
}

/// Types and codes of what host 0 delivers.
fn delivered(w: &mut World) -> Vec<(u8, u8)> {
    let ulids = w.ulids(0, 1);
    std::iter::from_fn(|| w.hosts[0].engine.poll_icmp())
        .map(|d| {
            assert_eq!((d.ulids, d.source), (ulids, router()));
            assert_eq!(d.message[16..32], ulids.local.octets());
            (d.message[0], d.message[1])
        })
        .collect()
}

const FIRST_GROUP: [(u8, u8); 8] = [(1, 0), (1, 1), (1, 2), (1, 3), (1, 5), (1, 6), (3, 0), (3, 1)];
const ALWAYS: [(u8, u8); 3] = [(2, 0), (1, 4), (4, 0)];

// S6-8-1, S6-8-3, S6-8-4, S6-8-8, S6-N-49: what the shim mends by finding a working pair is not passed up; the others are,
// at once.
#[test]
fn acted_on_errors_are_not_passed_up() {
    for (ty, code) in FIRST_GROUP {
        let mut w = World::connected(2, 300);
        w.run(secs(60));
        let message = about_payload(&w, ty, code);
        tell(&mut w, &message);
        assert_eq!(w.hosts[0].engine.counters().explorations, 1, "{ty}/{code}");
        assert_eq!(delivered(&mut w), []);
        w.run(secs(60));
        assert_eq!(delivered(&mut w), [], "{ty}/{code}: a pair works");
    }
    for (ty, code) in ALWAYS {
        let mut w = World::connected(2, 301);
        let message = about_payload(&w, ty, code);
        tell(&mut w, &message);
        assert_eq!(delivered(&mut w), [(ty, code)]);
        assert_eq!(w.hosts[0].engine.counters().explorations, 0);
    }
}

// S6-8-1, S6-N-49: no pair works, so the application hears of it after all, once the Send Timeout is over.
#[test]
fn held_errors_are_passed_up_when_nothing_helps() {
    let mut w = World::connected(2, 302);
    w.run(secs(60));
    w.pass = Box::new(|_| false);
    let message = about_payload(&w, 1, 0);
    for _ in 0..10 {
        tell(&mut w, &message);
    }
    w.run(secs(14));
    assert_eq!(delivered(&mut w), []);
    w.run(secs(2));
    assert_eq!(delivered(&mut w), vec![(1, 0); MAX_HELD]);
    // A context that is discarded meanwhile takes no error along.
    let mut w = World::connected(2, 303);
    w.run(secs(60));
    w.pass = Box::new(|_| false);
    let message = about_payload(&w, 3, 0);
    tell(&mut w, &message);
    let (now, ulids) = (w.now, w.ulids(0, 1));
    w.hosts[0].engine.discard(now, ulids);
    assert_eq!(delivered(&mut w), [(3, 0)]);
}

// S6-8-1, S6-N-49: without another pair the shim cannot act.
#[test]
fn without_alternative_every_error_is_passed_up() {
    for (ty, code) in FIRST_GROUP.into_iter().chain(ALWAYS) {
        let mut w =
            World::new(&exact(), 304, vec![vec![plain("2001:db8:1::1", 1)], vec![plain("2001:db8:2::1", 1)]]);
        w.establish(0, 1);
        w.run(ms(200));
        let message = about_payload(&w, ty, code);
        tell(&mut w, &message);
        assert_eq!(delivered(&mut w), [(ty, code)]);
    }
}

// S6-8-2: the option that passes up everything, also what is acted on.
#[test]
fn all_errors_are_passed_up_by_configuration() {
    let mut config = exact();
    config.shim6.deliver_all_icmp = true;
    let mut w = World::new(&config, 305, vec![hba(0xa, &[1, 2], 1), hba(0xb, &[1, 2], 2)]);
    w.establish(0, 1);
    w.run(secs(60));
    let message = about_payload(&w, 1, 0);
    tell(&mut w, &message);
    assert_eq!(delivered(&mut w), [(1, 0)]);
    assert_eq!(w.hosts[0].engine.counters().explorations, 1);
}

// S6-8-8, S6-8-11, S6-8-12, S6-12.4-6: CT(peer) and both locators of the context, or nothing; control messages never.
#[test]
fn only_payload_of_a_context_is_passed_up() {
    let mut w = World::connected(2, 306);
    let info = w.info(0).expect("a context");
    let peer_tag = info.peer_tag.expect("a tag");
    let elsewhere = LocatorPair { peer: addr("2001:db8:bad::1"), ..info.current };
    for (pair, tag) in [
        (info.current, info.local_tag),
        (info.current, ContextTag::new(peer_tag.value() ^ 1)),
        (elsewhere, peer_tag),
        (LocatorPair { local: info.current.peer, peer: info.current.local }, peer_tag),
    ] {
        let behind = [&emit_payload_header(tag, 17)[..], &udp(8)].concat();
        tell(&mut w, &error(1, 4, 0, &ipv6(pair, PROTOCOL, &behind)));
        assert_eq!(delivered(&mut w), []);
    }
    for sent in w.log.clone().iter().filter(|s| s.host == 0) {
        for (ty, code) in FIRST_GROUP.into_iter().chain(ALWAYS) {
            tell(&mut w, &error(ty, code, 0, &ipv6(sent.pair, PROTOCOL, &sent.data)));
        }
    }
    assert_eq!(delivered(&mut w), []);
    let message = about_payload(&w, 1, 4);
    tell(&mut w, &message);
    assert_eq!(delivered(&mut w), [(1, 4)]);
}

// S6-8-5, RE-FI-03, RE-FI-04: about an untagged packet the kernel tells the application itself; here it is a hint.
#[test]
fn errors_about_untagged_packets_are_hints_only() {
    let mut w = World::connected(2, 307);
    w.run(secs(60));
    let pair = w.ulids(0, 1).as_locators();
    let stranger = LocatorPair { peer: addr("2001:db8:bad::1"), ..pair };
    tell(&mut w, &error(1, 0, 0, &ipv6(stranger, 17, &udp(8))));
    tell(&mut w, &error(1, 4, 0, &ipv6(pair, 17, &udp(8))));
    tell(&mut w, &error(2, 0, 1400, &ipv6(pair, 17, &udp(8))));
    assert_eq!(w.hosts[0].engine.counters().explorations, 0);
    tell(&mut w, &error(1, 0, 0, &ipv6(pair, 17, &udp(8))));
    assert_eq!(w.hosts[0].engine.counters().explorations, 1);
    w.run(secs(60));
    assert_eq!(delivered(&mut w), []);
    assert_eq!(w.info(0).map(|i| i.current), Some(pair), "no proof of failure");
}

// A flood of forged errors reaches no application faster than the limit.
#[test]
fn deliveries_are_limited() {
    let mut w = World::connected(2, 308);
    let message = about_payload(&w, 1, 4);
    let mut n = 0;
    for _ in 0..1000 {
        tell(&mut w, &message);
        n += delivered(&mut w).len();
    }
    assert_eq!(n, 50);
    w.run(Duration::from_secs(1));
    tell(&mut w, &message);
    assert_eq!(delivered(&mut w).len(), 1);
}
