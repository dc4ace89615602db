//! Tests of the codec. The octets of each message are in `libshim6/tests/golden`; here is what holds for all messages.

mod emit;
mod options;
mod properties;
mod quoting;
mod strategies;

use super::*;
use crate::addr::ContextTag;
use std::net::Ipv6Addr;

/// 2001:db8:`n`::1
fn net(n: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, n, 0, 0, 0, 0, 1)
}

/// Put the right checksum into a message.
fn seal(message: &mut [u8]) {
    let sum = checksum(message);
    message[4..6].copy_from_slice(&sum.to_be_bytes());
}

/// `message` with `options` (a multiple of 8 octets) behind it.
fn with_options(message: &[u8], options: &[u8]) -> Vec<u8> {
    let mut longer = [message, options].concat();
    longer[1] = (longer.len() / 8 - 1) as u8;
    seal(&mut longer);
    longer
}

/// An option as it stands on the wire.
fn tlv(ty: u16, critical: bool, contents: &[u8]) -> Vec<u8> {
    let mut option = (ty << 1 | u16::from(critical)).to_be_bytes().to_vec();
    option.extend((contents.len() as u16).to_be_bytes());
    option.extend(contents);
    option.resize(option.len().next_multiple_of(8), 0);
    option
}

fn control(data: &[u8]) -> Message {
    match parse(data) {
        Ok(Packet::Control(message)) => message,
        other => panic!("{other:?}"),
    }
}

const fn drop(reason: DropReason) -> ParseError {
    ParseError::Drop { reason }
}

/// One message of each type with nothing but what it must have.
fn smallest() -> Vec<Message> {
    let tag = ContextTag::new(0x1234_5678_9abc);
    let options = Options::default();
    let validated = Options { validator: Some(vec![7; 20]), ..Options::default() };
    let block = ProbeBlock { source: net(1), destination: net(2), nonce: 3, data: 0 };
    vec![
        Message::I1(I1 { initiator_tag: tag, initiator_nonce: 1, options: options.clone() }),
        Message::R1(R1 { initiator_nonce: 1, responder_nonce: 2, options: validated.clone() }),
        Message::I2(I2 {
            initiator_tag: tag,
            initiator_nonce: 1,
            responder_nonce: 2,
            options: validated.clone(),
        }),
        Message::R2(R2 { responder_tag: tag, initiator_nonce: 1, options: options.clone() }),
        Message::R1bis(R1bis { packet_tag: tag, responder_nonce: 2, options: validated.clone() }),
        Message::I2bis(I2bis {
            initiator_tag: tag,
            initiator_nonce: 1,
            responder_nonce: 2,
            packet_tag: ContextTag::new(5),
            options: validated,
        }),
        Message::UpdateRequest(UpdateRequest {
            receiver_tag: tag,
            request_nonce: 1,
            options: options.clone(),
        }),
        Message::UpdateAck(UpdateAck { receiver_tag: tag, request_nonce: 1, options: options.clone() }),
        Message::Keepalive(Keepalive { receiver_tag: tag, options: options.clone() }),
        Message::Probe(Probe {
            receiver_tag: tag,
            state: ReapState::Exploring,
            sent: vec![block],
            received: vec![],
            options,
        }),
        Message::Error(ErrorMessage { code: 1, pointer: 42, packet: vec![0x50; 48] }),
    ]
}

// S6-5.1-1, S6-5.14-2, S6-5.15-4, S6-5.15.3-3, S6-N-1, RE-C-12
#[test]
fn numbers() {
    assert_eq!((PROTOCOL, MAX_MESSAGE, PAYLOAD_HEADER_LEN), (140, 1280 - 40, 8));
    let types = smallest().iter().map(|m| (m.type_number(), m.name())).collect::<Vec<_>>();
    assert_eq!(
        types,
        [
            (1, "I1"),
            (2, "R1"),
            (3, "I2"),
            (4, "R2"),
            (5, "R1bis"),
            (6, "I2bis"),
            (64, "Update Request"),
            (65, "Update Acknowledgement"),
            (66, "Keepalive"),
            (67, "Probe"),
            (68, "Error"),
        ]
    );
    use option_type::*;
    let ours = [FLOW, PRECISE_TIMEOUT];
    let options = [VALIDATOR, LOCATOR_LIST, PREFERENCES, PDS, SIGNATURE, ULID_PAIR, FII, KEEPALIVE_TIMEOUT];
    assert_eq!([&options[..], &ours].concat(), [1, 2, 3, 4, 5, 6, 7, 10, 16385, 16386]);
    use error_code::*;
    assert_eq!(
        [UNKNOWN_TYPE, CRITICAL_OPTION, VERIFICATION_METHOD, GENERATION, LOCATOR_COUNT],
        [0, 1, 2, 3, 4]
    );
    assert_eq!((method::HBA, method::CGA), (1, 2));
    assert_eq!((preference_flag::BROKEN, preference_flag::TRANSIENT), (1, 2));
}

// S6-12.3-3, RE-KA-09
#[test]
fn addresses() {
    let good = net(1);
    let [multicast, unspecified] = [Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), Ipv6Addr::UNSPECIFIED];
    assert_eq!(check_addresses(good, net(2)), Ok(()));
    for bad in [multicast, unspecified] {
        assert_eq!(check_addresses(bad, good), Err(DropReason::BadAddress));
        assert_eq!(check_addresses(good, bad), Err(DropReason::BadAddress));
    }
}

// S6-12.3-4: a damaged message is not answered, whatever else is wrong with it.
#[test]
fn checksum_comes_before_answers() {
    let mut unknown = vec![59, 1, 100, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
    seal(&mut unknown);
    assert_eq!(parse(&unknown), Err(ParseError::UnknownType { ty: 100 }));
    unknown[15] ^= 1;
    assert_eq!(parse(&unknown), Err(drop(DropReason::Checksum)));

    let keepalive = smallest()[8].emit().unwrap();
    let mut critical = with_options(&keepalive, &tlv(9, true, &[]));
    assert!(matches!(parse(&critical), Err(ParseError::CriticalOption { ty: 9, offset: 16, .. })));
    critical[5] ^= 1;
    assert_eq!(parse(&critical), Err(drop(DropReason::Checksum)));
}

// S6-5.3-5: either form of zero is right in the checksum field.
#[test]
fn checksum_zero() {
    let mut message = smallest()[8].emit().unwrap();
    let sum = u16::from_be_bytes([message[4], message[5]]);
    // Reserved2 takes up the sum, so that the checksum becomes 0.
    message[12..14].copy_from_slice(&sum.to_be_bytes());
    seal(&mut message);
    assert_eq!(message[4..6], [0, 0]);
    control(&message);
    message[4..6].copy_from_slice(&[0xff, 0xff]);
    control(&message);
}

#[test]
fn names_and_lines() {
    let lines: Vec<_> = smallest().iter().map(Message::to_string).collect();
    assert_eq!(
        lines,
        [
            "I1 tag=0x123456789abc nonce=00000001",
            "R1 nonce=00000001 rnonce=00000002 validator=20B",
            "I2 tag=0x123456789abc nonce=00000001 rnonce=00000002 validator=20B",
            "R2 tag=0x123456789abc nonce=00000001",
            "R1bis packet-tag=0x123456789abc rnonce=00000002 validator=20B",
            "I2bis tag=0x123456789abc nonce=00000001 rnonce=00000002 packet-tag=0x000000000005 validator=20B",
            "Update Request tag=0x123456789abc nonce=00000001",
            "Update Acknowledgement tag=0x123456789abc nonce=00000001",
            "Keepalive tag=0x123456789abc",
            "Probe tag=0x123456789abc Exploring sent=[2001:db8:1::1->2001:db8:2::1 00000003] received=[]",
            "Error code=1 pointer=42 about 48 octets",
        ]
    );
    let tag = ContextTag::new(7);
    let payload = [&emit_payload_header(tag, 17)[..], &[0; 9]].concat();
    assert_eq!(describe(&payload), "payload tag=0x000000000007 next-header=17 9B");
    assert_eq!(describe(&payload[..7]), "dropped: truncated (7 octets)");
}

// The sum was made by hand.
#[test]
fn upper_layer_checksum() {
    // 2001:db8:1::1, 2001:db8:2::1: 2 * (2001 + 0db8 + 0001) + 1 + 2 = 5b77; length 9, protocol 17: 5b91
    // 0001 0002 0009 0000 and an odd octet, ab00: ab0c. 5b91 + ab0c = 1069d, 069e.
    let data = [0, 1, 0, 2, 0, 9, 0, 0, 0xab];
    let sum = ipv6::upper_checksum(net(1), net(2), ipv6::UDP, &data);
    assert_eq!(sum, !0x069e);
    let mut filled = data;
    filled[6..8].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(ipv6::upper_checksum(net(1), net(2), ipv6::UDP, &filled), 0);
    assert_ne!(ipv6::upper_checksum(net(1), net(3), ipv6::UDP, &filled), 0);
}
