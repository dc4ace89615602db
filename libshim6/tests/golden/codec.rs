//! Our encoder gives exactly the hand-laid octets, our decoder exactly the fields behind them.

use super::vectors::{Vector, damaged, messages};
use shim6::addr::{ContextTag, FlowId};
use shim6::wire::*;
use std::net::Ipv6Addr;

fn tag_x() -> ContextTag {
    ContextTag::new(0x1234_5678_9abc)
}

fn tag_y() -> ContextTag {
    ContextTag::new(0x7fff_ffff_ffff)
}

fn a(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

/// 2001:db8:`n`::1
fn net(n: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, n, 0, 0, 0, 0, 1)
}

fn block(source: u16, destination: u16, nonce: u32, data: u32) -> ProbeBlock {
    ProbeBlock { source: net(source), destination: net(destination), nonce, data }
}

fn list(generation: u32, locators: &[(u8, u16)]) -> Option<LocatorList> {
    let locators = locators.iter().map(|&(method, n)| (method, net(n))).collect();
    Some(LocatorList { generation, locators, methods_offset: 0 })
}

fn preferences(generation: u32, elements: &[(u8, Option<u8>, Option<u8>)]) -> Option<LocatorPreferences> {
    let element = |&(flags, priority, weight): &_| Preference { flags, priority, weight };
    Some(LocatorPreferences { generation, elements: Some(elements.iter().map(element).collect()), offset: 0 })
}

/// The SubjectPublicKeyInfo of the vectors, whose modulus starts with `first`.
fn public_key(first: u8) -> Vec<u8> {
    let mut key = vec![0x30, 0x4c, 0x30, 0x0d, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0];
    key.extend([3, 0x3b, 0, 0x30, 0x38, 2, 0x31, 0, first]);
    key.extend(1..0x30);
    key.extend([2, 3, 1, 0, 1]);
    key
}

fn i2_pds() -> Vec<u8> {
    let mut pds: Vec<u8> = (0x10..0x20).collect();
    pds.extend(&net(0xa).octets()[..8]);
    pds.push(0);
    pds.extend(public_key(0xc0));
    pds.extend([0, 0x12, 0, 28, 0x80, 0, 0, 0]);
    for n in [0xa, 0xd, 0xe] {
        pds.extend(&net(n).octets()[..8]);
    }
    pds
}

fn r2_pds() -> Vec<u8> {
    let mut pds: Vec<u8> = (0..16).map(|i: u8| 0xff - 0x11 * i).collect();
    pds.extend(&net(0xb).octets()[..8]);
    pds.push(1);
    pds.extend(public_key(0xd0));
    pds
}

fn i2bis_pds() -> Vec<u8> {
    let mut pds: Vec<u8> = (0x10..0x20).collect();
    pds.extend(&net(0xa).octets()[..8]);
    pds.extend([2, 0x30, 6, 0x30, 2, 6, 0, 3, 0]);
    pds
}

fn update(nonce: u32, generation: u32, count: u16) -> Message {
    let locators: Vec<_> = (1..=count).map(|n| (method::HBA, n)).collect();
    let options = Options { locators: list(generation, &locators), ..Options::default() };
    Message::UpdateRequest(UpdateRequest { receiver_tag: tag_y(), request_nonce: nonce, options })
}

/// An Error about a packet whose shim header starts `about`.
fn error(code: u8, pointer: u16, source: u16, destination: u16, about: &[u8]) -> Message {
    let error = ErrorMessage::quoting(code, net(source), net(destination), about, usize::from(pointer) - 40);
    Message::Error(error)
}

pub fn expected(vector: &Vector) -> Message {
    let r1_validator = Some((0xf0..=0xff).chain(0xe0..=0xe1).collect::<Vec<u8>>());
    let r1bis_validator = Some((0xc0..=0xd3).collect::<Vec<u8>>());
    let none = Options::default();
    let ulid_pair = Some(UlidPairOption { sender: a("2001:db8:a::1"), receiver: a("2001:db8:b::1") });
    let flow = Some(FlowId { protocol: 17, local_port: 49152, peer_port: 40000 });
    let quoted = vector.data.get(48..).unwrap_or_default();
    match vector.name.as_str() {
        "i1" => Message::I1(I1 { initiator_tag: tag_x(), initiator_nonce: 0x0102_0304, options: none }),
        "i1-options" => Message::I1(I1 {
            initiator_tag: tag_x(),
            initiator_nonce: 0x0102_0304,
            options: Options { ulid_pair, fii: Some(0xdead_0007), flow, ..none },
        }),
        "r1" => Message::R1(R1 {
            initiator_nonce: 0x0102_0304,
            responder_nonce: 0xa1a2_a3a4,
            options: Options { validator: r1_validator, ..none },
        }),
        "i2" => Message::I2(I2 {
            initiator_tag: tag_x(),
            initiator_nonce: 0x0102_0304,
            responder_nonce: 0xa1a2_a3a4,
            options: Options { validator: r1_validator, ..none },
        }),
        "i2-options" => Message::I2(I2 {
            initiator_tag: tag_x(),
            initiator_nonce: 0x0102_0304,
            responder_nonce: 0xa1a2_a3a4,
            options: Options {
                validator: r1_validator,
                locators: list(0x5eed_0001, &[(1, 0xa), (1, 0xd), (2, 0xe)]),
                preferences: preferences(0x5eed_0001, &[(0, None, None), (1, None, None), (2, None, None)]),
                pds: Some(i2_pds()),
                signature: Some((0x51..=0x64).collect()),
                ulid_pair,
                fii: Some(0xdead_0007),
                keepalive_timeout: Some(15),
                capabilities: None,
                flow,
                precise_timeout: Some(2500),
            },
        }),
        "r2" => Message::R2(R2 { responder_tag: tag_y(), initiator_nonce: 0x0102_0304, options: none }),
        "r2-options" => Message::R2(R2 {
            responder_tag: tag_y(),
            initiator_nonce: 0x0102_0304,
            options: Options {
                locators: list(42, &[(2, 0xb)]),
                preferences: preferences(42, &[(2, Some(5), None)]),
                pds: Some(r2_pds()),
                signature: Some((0x71..=0x85).collect()),
                keepalive_timeout: Some(300),
                ..none
            },
        }),
        "r1bis" => Message::R1bis(R1bis {
            packet_tag: tag_y(),
            responder_nonce: 0xb1b2_b3b4,
            options: Options { validator: r1bis_validator, ..none },
        }),
        "i2bis" => Message::I2bis(I2bis {
            initiator_tag: tag_x(),
            initiator_nonce: 0x1112_1314,
            responder_nonce: 0xb1b2_b3b4,
            packet_tag: tag_y(),
            options: Options {
                validator: r1bis_validator,
                locators: list(0x5eed_0002, &[(1, 0xa), (1, 0xd)]),
                pds: Some(i2bis_pds()),
                fii: Some(1),
                ..none
            },
        }),
        "update-request" => Message::UpdateRequest(UpdateRequest {
            receiver_tag: tag_y(),
            request_nonce: 0x2122_2324,
            options: Options {
                locators: list(0x5eed_0003, &[(1, 0xa), (1, 0xe)]),
                preferences: preferences(0x5eed_0003, &[(1, Some(10), Some(20)), (0, Some(1), Some(255))]),
                keepalive_timeout: Some(10),
                ..none
            },
        }),
        "update-request-7" => update(0x3132_3334, 0x5eed_0007, 7),
        "update-request-8" => update(0x4142_4344, 0x5eed_0008, 8),
        "update-request-9" => update(0x5152_5354, 0x5eed_0009, 9),
        "update-ack" => {
            Message::UpdateAck(UpdateAck { receiver_tag: tag_x(), request_nonce: 0x2122_2324, options: none })
        }
        "keepalive" | "receive-reserved-ones" => {
            Message::Keepalive(Keepalive { receiver_tag: tag_x(), options: none })
        }
        "probe-g1" => Message::Probe(Probe {
            receiver_tag: tag_x(),
            state: ReapState::Exploring,
            sent: vec![block(0xb, 0xa, 0x1122_3344, 0)],
            received: vec![],
            options: none,
        }),
        "probe-g2" => Message::Probe(Probe {
            receiver_tag: tag_y(),
            state: ReapState::InboundOk,
            sent: vec![block(0xa, 0xc, 0xa1a2_a3a4, 0)],
            received: vec![block(0xc, 0xa, 0x5566_7788, 0xdead_beef)],
            options: none,
        }),
        "probe-g3" => Message::Probe(Probe {
            receiver_tag: tag_x(),
            state: ReapState::Operational,
            sent: vec![block(0xc, 0xa, 0x0bad_cafe, 0)],
            received: vec![block(0xa, 0xc, 0xa1a2_a3a4, 0)],
            options: none,
        }),
        "error-unknown-type" => error(0, 42, 0xb, 0xa, quoted),
        "error-critical-option" => error(1, 56, 0xb, 0xa, quoted),
        "error-verification-method" => error(2, 65, 0xa, 0xb, quoted),
        "error-generation" => error(3, 60, 0xa, 0xb, quoted),
        "error-locator-count" => error(4, 58, 0xa, 0xb, quoted),
        "receive-next-header" => {
            Message::UpdateAck(UpdateAck { receiver_tag: tag_x(), request_nonce: 0x2122_2324, options: none })
        }
        other => panic!("no message for vector {other}"),
    }
}

// S6-5.1-1, S6-5.3-1, S6-5.3-2, S6-5.3-5, S6-5.4-1, S6-5.5-1, S6-5.6-1, S6-5.7-1, S6-5.8-1, S6-5.9-1, S6-5.10-1,
// S6-5.11-1, S6-5.12-1, S6-5.12-2, S6-5.14-1, S6-5.15-2, S6-5.15-6, S6-5.15.2-1, S6-5.15.3-1, S6-5.15.7-1, S6-N-1,
// S6-N-5, S6-N-16, RE-KA-01, RE-KA-02, RE-PR-01, RE-PR-02, RE-PR-03, RE-PR-05, RE-KT-01, RE-C-12
#[test]
fn encodes_to_the_hand_laid_octets() {
    // RE-CX-12
    // LS-OP-02, LS-KT-04
    let mut types = Vec::new();
    for vector in
        messages().iter().filter(|v| !v.name.starts_with("payload") && !v.name.starts_with("receive"))
    {
        let message = expected(vector);
        let encoded = message.emit().unwrap_or_else(|e| panic!("{}: {e}", vector.name));
        assert_eq!(hex(&encoded), hex(&vector.data), "{}", vector.name);
        assert_eq!(message.encoded_len(), vector.data.len(), "{}", vector.name);
        types.push(message.type_number());
    }
    types.dedup();
    assert_eq!(types, [1, 2, 3, 4, 5, 6, 64, 65, 66, 67, 68]);
}

// S6-5.1-1, S6-5.3-2, S6-5.3-7, S6-5.9-1, S6-5.15-3, S6-5.15-7, S6-5.15.3-4, S6-5.15.6-2, S6-N-33, RE-PR-01,
// RE-KA-03, RE-KA-06
#[test]
fn decodes_the_hand_laid_octets() {
    for vector in messages().iter().filter(|v| !v.name.starts_with("payload")) {
        assert_eq!(parse(&vector.data), Ok(Packet::Control(expected(vector))), "{}", vector.name);
        assert_eq!(check_addresses(vector.source, vector.destination), Ok(()));
    }
}

// S6-7.2-7, S6-5.14-4: where the Pointers of Error 2 to 4 come from.
#[test]
fn decoder_tells_offsets() {
    let vectors = messages();
    let find = |name: &str| &vectors.iter().find(|v| v.name == name).unwrap().data[..];
    let Ok(Packet::Control(Message::I2(i2))) = parse(find("i2-options")) else { panic!() };
    // 24 fixed, 24 validator; then Type, Length, Generation, Num Locators.
    assert_eq!(i2.options.locators.unwrap().methods_offset, 24 + 24 + 9);
    assert_eq!(i2.options.preferences.unwrap().offset, 24 + 24 + 64);
}

// S6-5.2-1, S6-5.2-4, S6-12-1, S6-N-2
#[test]
fn payload_header() {
    let vectors = messages();
    let find = |name: &str| &vectors.iter().find(|v| v.name == name).unwrap().data[..];
    for (name, tag, next_header) in [
        ("payload-udp", tag_y(), ipv6::UDP),
        ("payload-fragment-1", tag_x(), ipv6::FRAGMENT),
        ("payload-fragment-2", tag_x(), ipv6::FRAGMENT),
    ] {
        let data = find(name);
        assert_eq!(emit_payload_header(tag, next_header), data[..8], "{name}");
        assert_eq!(parse(data), Ok(Packet::Payload { tag, next_header, data: &data[8..] }), "{name}");
    }

    // The checksum of UDP is over the ULIDs, of the reassembled datagram.
    assert_eq!(ipv6::upper_checksum(net(0xa), net(0xb), ipv6::UDP, &find("payload-udp")[8..]), 0);
    let (first, data) = ipv6::FragmentHeader::parse(&find("payload-fragment-1")[8..]).unwrap();
    assert_eq!(
        first,
        ipv6::FragmentHeader { next_header: ipv6::UDP, offset: 0, more: true, identification: 5 }
    );
    assert_eq!(first.emit(), find("payload-fragment-1")[8..16]);
    let (second, rest) = ipv6::FragmentHeader::parse(&find("payload-fragment-2")[8..]).unwrap();
    assert_eq!(
        second,
        ipv6::FragmentHeader { next_header: ipv6::UDP, offset: 16, more: false, identification: 5 }
    );
    assert_eq!(second.emit(), find("payload-fragment-2")[8..16]);
    assert_eq!(ipv6::upper_checksum(net(0xb), net(0xa), ipv6::UDP, &[data, rest].concat()), 0);
}

// S6-5.2-5, S6-5.3-4, S6-5.15-9, S6-5.15-10, S6-5.15.2-2, S6-5.5-3, S6-12.3-1, S6-12.3-2, S6-12.3-5, S6-12.3-6,
// S6-N-4, S6-N-15, S6-N-33, S6-N-34, S6-N-35, S6-N-38, RE-KA-12, RE-PR-08, RE-PR-09, RE-PR-10
#[test]
fn refuses_damaged_packets() {
    use DropReason::*;
    for vector in damaged() {
        let drop = |reason| ParseError::Drop { reason };
        let expected = match vector.name.as_str() {
            "checksum" => drop(Checksum),
            "truncated" | "seven-octets" => drop(Truncated),
            "too-short" => drop(TooShort),
            "hip" => drop(NotShim6),
            "unknown-type" => ParseError::UnknownType { ty: 100 },
            "missing-validator" => drop(MissingOption),
            "critical-unknown" => {
                ParseError::CriticalOption { ty: 9, offset: 16, message: message_type::KEEPALIVE }
            }
            "critical-not-listed" => {
                ParseError::CriticalOption { ty: 7, offset: 16, message: message_type::R2 }
            }
            "probe-state" | "probe-no-sent" | "probe-count" => drop(BadProbe),
            "payload-header-length" => drop(BadPayloadHeader),
            "option-overrun"
            | "locator-list-length"
            | "locator-list-empty"
            | "fii-length"
            | "ulid-pair-length"
            | "preferences-length"
            | "duplicate" => drop(BadOption),
            other => panic!("nothing expected of {other}"),
        };
        assert_eq!(parse(&vector.data), Err(expected), "{}", vector.name);
    }
}

fn hex(data: &[u8]) -> String {
    data.chunks(4).map(|word| word.iter().map(|o| format!("{o:02x}")).collect::<String>() + "\n").collect()
}
