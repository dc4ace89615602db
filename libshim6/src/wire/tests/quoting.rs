//! Error messages and quoted packets.

use super::*;

fn round_trip(error: ErrorMessage) -> ErrorMessage {
    match control(&Message::Error(error).emit().unwrap()) {
        Message::Error(error) => error,
        other => panic!("{other}"),
    }
}

// S6-5.14-4, S6-12.3-5, S6-N-16, S6-E-8
#[test]
fn the_quote_comes_back() {
    for message in smallest() {
        let shim = message.emit().unwrap();
        let error = ErrorMessage::quoting(3, net(1), net(2), &shim, 2);
        assert_eq!((error.code, error.pointer), (3, 42));
        let error = round_trip(error);
        let quoted = error.quoted().unwrap();
        assert_eq!(quoted, Quoted { source: net(1), destination: net(2), message: &shim });
        assert_eq!(control(quoted.message), message);
        // The IPv6 header: version 6, the length of the shim packet, next header 140.
        assert_eq!(error.packet[..7], [0x60, 0, 0, 0, (shim.len() >> 8) as u8, shim.len() as u8, 140]);
    }
}

// S6-N-16: a quote whose length is no multiple of 8 is padded; the padding is told from the packet.
#[test]
fn padding_is_not_quoted() {
    let payload = [&emit_payload_header(ContextTag::new(5), 17)[..], b"123"].concat();
    let error = round_trip(ErrorMessage::quoting(1, net(1), net(2), &payload, 0));
    assert_eq!(error.packet.len(), 56);
    assert_eq!(error.quoted().unwrap().message, payload);
}

// S6-5.14-3, S6-N-16
#[test]
fn the_quote_is_cut_to_the_minimum_mtu() {
    for len in [1184, 1192, 1193, 1240, 1460, 70000] {
        let shim = vec![0xab; len];
        let error = ErrorMessage::quoting(0, net(1), net(2), &shim, 0);
        let data = Message::Error(error.clone()).emit().unwrap();
        let expected = 8 + 40 + len.min(MAX_QUOTE - 40);
        assert_eq!(data.len(), expected.next_multiple_of(8).min(MAX_MESSAGE), "{len}");
        assert_eq!(error.quoted().unwrap().message, &shim[..len.min(1192)], "{len}");
    }
}

// A peer may quote the headers that stood in front of the shim header.
#[test]
fn headers_before_the_shim_header_are_stepped_over() {
    let shim = smallest()[8].emit().unwrap();
    let hop_by_hop = [60, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let destination = [140, 0, 1, 4, 0, 0, 0, 0];
    let rest = [&hop_by_hop[..], &destination, &shim].concat();
    let packet = [&ipv6::header(net(1), net(2), 0, rest.len(), 3)[..], &rest].concat();
    let error = ErrorMessage { code: 0, pointer: 0, packet: packet.clone() };
    assert_eq!(error.quoted().unwrap().message, shim);
    // Cut anywhere before the shim header: nothing to go by.
    for len in 0..64 {
        let error = ErrorMessage { code: 0, pointer: 0, packet: packet[..len].to_vec() };
        assert_eq!(error.quoted(), None, "{len}");
    }
    // Another protocol, another version.
    let mut other = packet.clone();
    other[6] = 58;
    assert_eq!(ErrorMessage { code: 0, pointer: 0, packet: other }.quoted(), None);
    let mut other = packet;
    other[0] = 0x45;
    assert_eq!(ErrorMessage { code: 0, pointer: 0, packet: other }.quoted(), None);
}

// S6-N-45: what can be known of a cut message, and from how many octets on.
#[test]
fn peeking() {
    let tag = ContextTag::new(0x1234_5678_9abc);
    for message in smallest() {
        let data = message.emit().unwrap();
        let ty = message.type_number();
        let (kind, needs) = match ty {
            1 | 3 | 6 => (QuotedKind::Initiator { ty, tag, nonce: 1 }, 16),
            2 | 4 | 5 => (QuotedKind::Reply { ty }, 8),
            64 | 65 => (QuotedKind::Tagged { ty, tag, nonce: Some(1) }, 16),
            66 | 67 => (QuotedKind::Tagged { ty, tag, nonce: None }, 12),
            _ => (QuotedKind::Error, 8),
        };
        for len in 0..data.len() {
            assert_eq!(peek_quoted(&data[..len]), (len >= needs).then_some(kind), "{message} cut to {len}");
        }
    }
    let payload = emit_payload_header(tag, 44);
    assert_eq!(peek_quoted(&payload), Some(QuotedKind::Payload { tag, next_header: 44 }));
    // Payload with a length, S = 1, unknown type.
    assert_eq!(peek_quoted(&[17, 1, 0x80, 0, 0, 0, 0, 1]), None);
    assert_eq!(peek_quoted(&[59, 0, 2, 1, 0, 0, 0, 0]), None);
    assert_eq!(peek_quoted(&[59, 0, 99, 0, 0, 0, 0, 0]), None);
}

#[test]
fn errors_in_one_line() {
    let keepalive = smallest()[8].emit().unwrap();
    let error = Message::Error(ErrorMessage::quoting(1, net(1), net(2), &keepalive, 16));
    assert_eq!(
        error.to_string(),
        "Error code=1 pointer=56 about 2001:db8:1::1->2001:db8:2::1 Keepalive tag=0x123456789abc"
    );
}
