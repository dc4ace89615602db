//! What holds for every message, and for octets that are none.

use super::strategies::message;
use super::*;
use proptest::prelude::*;

/// Bits of the fixed part that are reserved, as a mask (S6-5.3-7; RFC 5534 sections 5.1 and 5.2).
fn reserved(message: &Message) -> Vec<(usize, u8)> {
    let ty = message.type_number();
    let mut bits = Vec::new();
    if ty != message_type::ERROR {
        bits.push((3, 0xfe));
    }
    if ty != message_type::R1 && ty != message_type::ERROR {
        // R
        bits.push((6, 0x80));
    }
    let all = |octets: std::ops::Range<usize>| octets.map(|at| (at, 0xff));
    match ty {
        message_type::R1 => bits.extend(all(6..8)),
        message_type::I2 => bits.extend(all(20..24)),
        message_type::I2BIS => {
            bits.extend(all(20..26));
            bits.push((26, 0x80));
        }
        message_type::KEEPALIVE => bits.extend(all(12..16)),
        message_type::PROBE => bits.extend([(13, 0x3f), (14, 0xff), (15, 0xff)]),
        _ => {}
    }
    bits
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    // S6-5.15-2, S6-5.3-1, S6-5.1-2
    #[test]
    fn round_trip(message in message()) {
        let encoded = message.emit().unwrap();
        prop_assert_eq!(encoded.len(), message.encoded_len());
        prop_assert_eq!(encoded.len() % 8, 0);
        prop_assert!(encoded.len() <= MAX_MESSAGE);
        prop_assert_eq!((encoded[0], encoded[2] & 0x80, encoded[3] & 1), (59, 0, 0));
        prop_assert_eq!(parse(&encoded), Ok(Packet::Control(message.clone())));
        prop_assert_eq!(describe(&encoded), message.to_string());
    }

    // S6-5.3-6, S6-N-33
    #[test]
    fn what_follows_is_ignored(message in message(), trailer: Vec<u8>, next_header: u8) {
        let mut data = message.emit().unwrap();
        data[0] = next_header;
        seal(&mut data);
        data.extend(trailer);
        prop_assert_eq!(parse(&data), Ok(Packet::Control(message)));
    }

    // S6-5.3-7, S6-5.9-1, RE-KA-03, RE-PR-06
    #[test]
    fn reserved_bits(message in message(), noise: [u8; 32]) {
        let encoded = message.emit().unwrap();
        let mut flipped = encoded.clone();
        for (at, mask) in reserved(&message) {
            prop_assert_eq!(encoded[at] & mask, 0, "sent in octet {}", at);
            flipped[at] |= noise[at] & mask;
        }
        seal(&mut flipped);
        prop_assert_eq!(parse(&flipped), Ok(Packet::Control(message)));
    }

    // Not those of Hdr Ext Len: over other octets, one checksum in 65536 is right. S6-12.3-1, RE-KA-09
    #[test]
    fn every_flipped_bit_is_noticed(message in message()) {
        let mut data = message.emit().unwrap();
        for bit in (0..8).chain(16..data.len() * 8) {
            data[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(matches!(parse(&data), Err(ParseError::Drop { .. })), "bit {}", bit);
            data[bit / 8] ^= 1 << (bit % 8);
        }
    }

    // S6-12.3-2
    #[test]
    fn every_truncation_is_noticed(message in message()) {
        let data = message.emit().unwrap();
        for len in 0..data.len() {
            prop_assert_eq!(parse(&data[..len]), Err(drop(DropReason::Truncated)));
        }
    }

    // Shortened with its Hdr Ext Len, so that only the contents can tell. S6-5.15-10, RE-PR-10, RE-KA-12
    #[test]
    fn every_shortening_is_harmless(message in message()) {
        let whole = message.emit().unwrap();
        let minimum = fixed_len(message.type_number()).unwrap().max(16);
        for len in (8..whole.len()).step_by(8) {
            let mut data = whole[..len].to_vec();
            data[1] = (len / 8 - 1) as u8;
            seal(&mut data);
            match parse(&data) {
                // An option less, or a shorter quote; what is left is what was there.
                Ok(Packet::Control(shorter)) => {
                    prop_assert!(len >= minimum);
                    prop_assert_eq!(&shorter.emit_unchecked()[8..], &data[8..]);
                }
                Ok(payload) => prop_assert!(false, "{:?}", payload),
                Err(error) => prop_assert!(matches!(error, ParseError::Drop { .. }), "{}", error),
            }
            if len < minimum {
                prop_assert_eq!(parse(&data), Err(drop(DropReason::TooShort)));
            }
        }
    }

    // S6-5.15-11
    #[test]
    fn options_in_any_order(message in message(), keys: [u32; 16]) {
        let data = message.emit().unwrap();
        let at = match &message {
            Message::Error(_) => data.len(),
            Message::Probe(_) => data.len(),
            other => fixed_len(other.type_number()).unwrap(),
        };
        let (fixed, mut rest) = data.split_at(at);
        let mut options = Vec::new();
        while !rest.is_empty() {
            let length = usize::from(u16::from_be_bytes([rest[2], rest[3]]));
            let (option, left) = rest.split_at(option_len(length));
            options.push((keys[options.len()], option));
            rest = left;
        }
        options.sort();
        let options: Vec<u8> = options.iter().flat_map(|(_, option)| option.iter().copied()).collect();
        let shuffled = with_options(fixed, &options);
        prop_assert_eq!(parse(&shuffled), Ok(Packet::Control(message)));
    }

    // S6-5.2-1, S6-5.2-4, S6-5.1-1
    #[test]
    fn payload(tag: u64, next_header: u8, data: Vec<u8>) {
        let tag = ContextTag::new(tag);
        let header = emit_payload_header(tag, next_header);
        prop_assert_eq!((header[1], header[2] & 0x80), (0, 0x80));
        let packet = [&header[..], &data].concat();
        prop_assert_eq!(parse(&packet), Ok(Packet::Payload { tag, next_header, data: &data }));
    }

    #[test]
    fn garbage_is_harmless(data: Vec<u8>) {
        let _ = parse(&data);
        let _ = describe(&data);
        let _ = peek_quoted(&data);
        let _ = ipv6::Header::parse(&data);
        let _ = ipv6::FragmentHeader::parse(&data);
        let error = ErrorMessage { code: 0, pointer: 0, packet: data };
        let _ = error.quoted();
    }

    // Garbage that gets past length, S bit and checksum, mostly of known types and with plausible options. What is
    // accepted says the same when it is sent again. S6-5.15-10, S6-N-34
    #[test]
    fn sealed_garbage_is_harmless(
        ty in prop_oneof![1..=6_u8, 64..=68_u8, 0..128_u8],
        code in any::<u8>(),
        fixed in prop::array::uniform32(any::<u8>()),
        options in prop::collection::vec((0..12_u16, any::<bool>(), any::<Vec<u8>>(), 0..20_u8), 0..6),
    ) {
        let mut data = fixed[..fixed_len(ty).unwrap_or(16)].to_vec();
        data[0..4].copy_from_slice(&[59, 0, ty, code & 0xfe]);
        for (ty, critical, contents, damage) in options {
            let mut option = tlv(ty, critical, &contents);
            if damage == 0 {
                option[3] ^= 8;
            }
            data.extend(option);
        }
        data.truncate(256 * 8);
        data[1] = (data.len() / 8 - 1) as u8;
        seal(&mut data);
        if let Ok(Packet::Control(message)) = parse(&data) {
            let again = message.emit_unchecked();
            let malformed = message.options().and_then(|o| o.preferences.as_ref()).is_some_and(|p| {
                p.elements.as_ref().is_none_or(Vec::is_empty)
            });
            if !malformed {
                prop_assert_eq!(parse(&again), Ok(Packet::Control(message)));
            }
        }
    }

    #[test]
    fn fragment_header(next_header: u8, units in 0..8192_u16, more: bool, identification: u32) {
        let header = ipv6::FragmentHeader { next_header, offset: units * 8, more, identification };
        let data = [&header.emit()[..], b"rest"].concat();
        prop_assert_eq!(ipv6::FragmentHeader::parse(&data), Some((header, &b"rest"[..])));
    }
}
