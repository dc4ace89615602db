//! The headers (RFC 5533 sections 5.1 to 5.3), the checksum, and the way from octets to a message and back.
//!
//! ```text
//!     0        1        2          3             4        6
//!    +--------+--------+----------+-------------+--------+------------
//!    | Next   | Hdr    |P| Type   | type        |Checksum| depends on
//!    | Header | ExtLen |1   7     | specific 7|S|   16   | Type         control message: P = 0
//!    +--------+--------+----------+-------------+--------+------------
//!    | Next   |   0    |P| Receiver Context Tag            |
//!    | Header |        |1|       47                        |              payload: P = 1
//!    +--------+--------+----------------------------------+
//! ```

use super::bytes::{be16, be32, tag, tag_octets};
use super::message::{self, message_type};
use super::*;
use crate::addr::ContextTag;
use std::net::Ipv6Addr;

/// A packet of protocol 140, as [`parse`] tells the two kinds apart (S6-N-2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// P = 0.
    Control(Message),
    /// P = 1.
    Payload {
        /// CT(local) of the receiver.
        tag: ContextTag,
        /// Protocol of `data`.
        next_header: u8,
        /// What follows the header.
        data: &'a [u8],
    },
}

/// One's complement sum of 16-bit words, not folded; a last odd octet counts as if a zero octet followed.
pub(super) fn sum(data: &[u8]) -> u64 {
    let words = data.chunks_exact(2);
    let odd = words.remainder().first().map_or(0, |&octet| u64::from(octet) << 8);
    words.map(|word| u64::from(be16(word, 0))).sum::<u64>() + odd
}

pub(super) fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The checksum of a whole control message of at least 6 octets: what its field (octets 4 and 5, taken as zero here)
/// has to hold. No pseudo-header (S6-5.3-5).
pub fn checksum(message: &[u8]) -> u16 {
    !fold(sum(&message[..4]) + sum(&message[6..]))
}

/// IPv6 source and destination of a control message must be neither multicast nor unspecified (S6-12.3-3).
pub fn check_addresses(source: Ipv6Addr, destination: Ipv6Addr) -> Result<(), DropReason> {
    let bad = |a: &Ipv6Addr| a.is_multicast() || a.is_unspecified();
    if bad(&source) || bad(&destination) { Err(DropReason::BadAddress) } else { Ok(()) }
}

/// The payload extension header (S6-5.2-1).
pub fn emit_payload_header(tag: ContextTag, next_header: u8) -> [u8; PAYLOAD_HEADER_LEN] {
    let [a, b, c, d, e, f] = tag_octets(tag);
    [next_header, 0, 0x80 | a, b, c, d, e, f]
}

/// Read a packet of protocol 140. `data` starts at the shim header and ends with the IPv6 packet.
///
/// Checks in this order, so that nothing is answered which a router may have damaged (S6-12.3-4): length, S bit,
/// checksum; then message type, fixed part, options. Octets behind the length that the header tells are ignored, as is
/// Next Header (S6-N-33). The addresses are left to [`check_addresses`].
pub fn parse(data: &[u8]) -> Result<Packet<'_>, ParseError> {
    if data.len() < 8 {
        return Err(ParseError::drop(DropReason::Truncated));
    }
    if data[2] & 0x80 != 0 {
        if data[1] != 0 {
            return Err(ParseError::drop(DropReason::BadPayloadHeader));
        }
        let (header, rest) = data.split_at(PAYLOAD_HEADER_LEN);
        return Ok(Packet::Payload { tag: tag(header, 2), next_header: header[0], data: rest });
    }
    let len = (usize::from(data[1]) + 1) * 8;
    let message = data.get(..len).ok_or(ParseError::drop(DropReason::Truncated))?;
    if message[3] & 1 != 0 {
        return Err(ParseError::drop(DropReason::NotShim6));
    }
    if fold(sum(message)) != 0xffff {
        return Err(ParseError::drop(DropReason::Checksum));
    }
    parse_control(message).map(Packet::Control)
}

/// `message` is cut to its length and verified.
fn parse_control(m: &[u8]) -> Result<Message, ParseError> {
    let ty = m[2];
    let fixed = message::fixed_len(ty).ok_or(ParseError::UnknownType { ty })?;
    // An Error has a fixed part of 8 octets, yet at least 16 in all (S6-N-16).
    if m.len() < fixed.max(16) {
        return Err(ParseError::drop(DropReason::TooShort));
    }
    let options = |start: usize| Options::parse(m, start, ty);
    Ok(match ty {
        message_type::I1 => Message::I1(I1 {
            initiator_tag: tag(m, 6),
            initiator_nonce: be32(m, 12),
            options: options(fixed)?,
        }),
        message_type::R1 => Message::R1(R1 {
            initiator_nonce: be32(m, 8),
            responder_nonce: be32(m, 12),
            options: options(fixed)?,
        }),
        message_type::I2 => Message::I2(I2 {
            initiator_tag: tag(m, 6),
            initiator_nonce: be32(m, 12),
            responder_nonce: be32(m, 16),
            options: options(fixed)?,
        }),
        message_type::R2 => Message::R2(R2 {
            responder_tag: tag(m, 6),
            initiator_nonce: be32(m, 12),
            options: options(fixed)?,
        }),
        message_type::R1BIS => Message::R1bis(R1bis {
            packet_tag: tag(m, 6),
            responder_nonce: be32(m, 12),
            options: options(fixed)?,
        }),
        message_type::I2BIS => Message::I2bis(I2bis {
            initiator_tag: tag(m, 6),
            initiator_nonce: be32(m, 12),
            responder_nonce: be32(m, 16),
            packet_tag: tag(m, 26),
            options: options(fixed)?,
        }),
        message_type::UPDATE_REQUEST => Message::UpdateRequest(UpdateRequest {
            receiver_tag: tag(m, 6),
            request_nonce: be32(m, 12),
            options: options(fixed)?,
        }),
        message_type::UPDATE_ACK => Message::UpdateAck(UpdateAck {
            receiver_tag: tag(m, 6),
            request_nonce: be32(m, 12),
            options: options(fixed)?,
        }),
        message_type::KEEPALIVE => {
            Message::Keepalive(Keepalive { receiver_tag: tag(m, 6), options: options(fixed)? })
        }
        message_type::PROBE => {
            let (mut probe, end) = Probe::parse(m, tag(m, 6)).map_err(ParseError::drop)?;
            probe.options = options(end)?;
            Message::Probe(probe)
        }
        message_type::ERROR => Message::Error(ErrorMessage::parse(m)),
        _ => return Err(ParseError::UnknownType { ty }),
    })
}

impl Message {
    /// The message on the wire, checksum included; at most [`MAX_MESSAGE`] octets.
    ///
    /// # Errors
    /// What must never be sent, see [`EmitError`].
    pub fn emit(&self) -> Result<Vec<u8>, EmitError> {
        if let Some(options) = self.options() {
            options.check(self.type_number())?;
        }
        match self {
            Message::Probe(m) => m.check()?,
            Message::Error(m) => m.check()?,
            _ => {}
        }
        let len = self.encoded_len();
        if len > MAX_MESSAGE {
            return Err(EmitError::TooLong { len });
        }
        Ok(self.emit_unchecked())
    }

    /// Octets on the wire.
    pub fn encoded_len(&self) -> usize {
        let fixed = message::fixed_len(self.type_number()).unwrap_or(16);
        let behind = match self {
            Message::Probe(m) => PROBE_BLOCK_LEN * (m.sent.len() + m.received.len()),
            Message::Error(m) => m.packet.len().next_multiple_of(8),
            _ => 0,
        };
        fixed + behind + self.options().map_or(0, Options::encoded_len)
    }

    /// As [`emit`](Self::emit), but without any check: for tests that play a peer which breaks the rules. What does not
    /// fit into a counter or behind a header of 8 bits is cut off.
    pub fn emit_unchecked(&self) -> Vec<u8> {
        let mut out = vec![ipv6::NO_NEXT_HEADER, 0, self.type_number(), 0, 0, 0];
        self.emit_fixed(&mut out);
        if let Some(options) = self.options() {
            options.emit(&mut out);
        }
        out.truncate(256 * 8);
        out[1] = (out.len() / 8 - 1) as u8;
        let checksum = checksum(&out);
        out[4..6].copy_from_slice(&checksum.to_be_bytes());
        out
    }

    /// What follows the Checksum field, up to the options.
    fn emit_fixed(&self, out: &mut Vec<u8>) {
        match self {
            Message::I1(m) => {
                out.extend(tag_octets(m.initiator_tag));
                out.extend(m.initiator_nonce.to_be_bytes());
            }
            Message::R1(m) => {
                out.extend([0; 2]);
                out.extend(m.initiator_nonce.to_be_bytes());
                out.extend(m.responder_nonce.to_be_bytes());
            }
            Message::I2(m) => {
                out.extend(tag_octets(m.initiator_tag));
                out.extend(m.initiator_nonce.to_be_bytes());
                out.extend(m.responder_nonce.to_be_bytes());
                out.extend([0; 4]);
            }
            Message::R2(m) => {
                out.extend(tag_octets(m.responder_tag));
                out.extend(m.initiator_nonce.to_be_bytes());
            }
            Message::R1bis(m) => {
                out.extend(tag_octets(m.packet_tag));
                out.extend(m.responder_nonce.to_be_bytes());
            }
            Message::I2bis(m) => {
                out.extend(tag_octets(m.initiator_tag));
                out.extend(m.initiator_nonce.to_be_bytes());
                out.extend(m.responder_nonce.to_be_bytes());
                out.extend([0; 6]);
                out.extend(tag_octets(m.packet_tag));
            }
            Message::UpdateRequest(m) => {
                out.extend(tag_octets(m.receiver_tag));
                out.extend(m.request_nonce.to_be_bytes());
            }
            Message::UpdateAck(m) => {
                out.extend(tag_octets(m.receiver_tag));
                out.extend(m.request_nonce.to_be_bytes());
            }
            Message::Keepalive(m) => {
                out.extend(tag_octets(m.receiver_tag));
                out.extend([0; 4]);
            }
            Message::Probe(m) => {
                out.extend(tag_octets(m.receiver_tag));
                m.emit(out);
            }
            Message::Error(m) => {
                out[3] = m.code << 1;
                out.extend(m.pointer.to_be_bytes());
                out.extend(&m.packet);
                out.resize(out.len().next_multiple_of(8), 0);
            }
        }
    }
}
