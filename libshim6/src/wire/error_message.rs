//! Error messages (RFC 5533 section 5.14), and reading the packets that they and ICMPv6 errors quote.

use super::bytes::{be16, be32, tag};
use super::{EmitError, MAX_MESSAGE, PROTOCOL, fixed_len, ipv6, message_type};
use crate::addr::ContextTag;
use std::net::Ipv6Addr;

/// Most octets of a quoted packet (S6-N-16).
pub const MAX_QUOTE: usize = MAX_MESSAGE - 8;

/// Error message (S6-5.14-1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorMessage {
    /// 7 bits; see [`error_code`].
    pub code: u8,
    /// Octet offset inside the invoking packet, from its IPv6 header on (S6-N-16).
    pub pointer: u16,
    /// The invoking packet from its IPv6 header on, as far as it fits (zero padding included on receipt).
    pub packet: Vec<u8>,
}

/// Error Codes (S6-5.14-2).
pub mod error_code {
    /// Unknown message type.
    pub const UNKNOWN_TYPE: u8 = 0;
    /// Critical option not recognised.
    pub const CRITICAL_OPTION: u8 = 1;
    /// Locator verification method failed or is unknown.
    pub const VERIFICATION_METHOD: u8 = 2;
    /// Locator List generation out of sync.
    pub const GENERATION: u8 = 3;
    /// Wrong number of locators in a preferences option.
    pub const LOCATOR_COUNT: u8 = 4;
}

/// The packet that an Error message quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted<'a> {
    /// IPv6 source of the quoted packet.
    pub source: Ipv6Addr,
    /// IPv6 destination of the quoted packet.
    pub destination: Ipv6Addr,
    /// From its shim header on; may be cut.
    pub message: &'a [u8],
}

/// What a quoted packet of protocol 140 was, as far as needed to find its context (S6-N-45).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotedKind {
    /// I1, I2, I2bis: match our CT(local) and Initiator Nonce.
    Initiator {
        /// Message type.
        ty: u8,
        /// Initiator Context Tag.
        tag: ContextTag,
        /// Initiator Nonce.
        nonce: u32,
    },
    /// R1, R2, R1bis: nothing to match.
    Reply {
        /// Message type.
        ty: u8,
    },
    /// Types 64 to 67: match CT(peer).
    Tagged {
        /// Message type.
        ty: u8,
        /// Receiver Context Tag.
        tag: ContextTag,
        /// Request Nonce of Update Request and Acknowledgement.
        nonce: Option<u32>,
    },
    /// Payload extension header: match CT(peer).
    Payload {
        /// Receiver Context Tag.
        tag: ContextTag,
        /// Protocol behind the header.
        next_header: u8,
    },
    /// An Error message.
    Error,
}

impl ErrorMessage {
    /// The Error for a shim packet (from its shim header on) that came from `source` to `destination`, about its octet
    /// `offset`. The IPv6 header is rebuilt in front of it, with hop limit 64 as the real one is not known, and as if
    /// no other header had been there (S6-N-16, S6-E-8). The quote is cut so that the Error fits (S6-5.14-3).
    pub fn quoting(
        code: u8,
        source: Ipv6Addr,
        destination: Ipv6Addr,
        shim_message: &[u8],
        offset: usize,
    ) -> ErrorMessage {
        let header = ipv6::header(source, destination, PROTOCOL, shim_message.len(), 64);
        let mut packet = header.to_vec();
        packet.extend(&shim_message[..shim_message.len().min(MAX_QUOTE - ipv6::HEADER_LEN)]);
        packet.resize(packet.len().next_multiple_of(8), 0);
        let pointer = u16::try_from(ipv6::HEADER_LEN + offset).unwrap_or(u16::MAX);
        ErrorMessage { code: code & 0x7f, pointer, packet }
    }

    /// The quoted packet, if it is one of protocol 140; other headers in front of the shim header are stepped over.
    pub fn quoted(&self) -> Option<Quoted<'_>> {
        let (header, rest) = ipv6::Header::parse(&self.packet)?;
        // What is beyond is padding of the Error message.
        let mut rest = &rest[..rest.len().min(usize::from(header.payload_len))];
        let mut next_header = header.next_header;
        while next_header != PROTOCOL {
            let len = match next_header {
                ipv6::HOP_BY_HOP | ipv6::ROUTING | ipv6::DESTINATION_OPTIONS => {
                    (usize::from(*rest.get(1)?) + 1) * 8
                }
                _ => return None,
            };
            next_header = *rest.first()?;
            rest = rest.get(len..)?;
        }
        Some(Quoted { source: header.source, destination: header.destination, message: rest })
    }

    /// From a whole message of at least 16 octets.
    pub(super) fn parse(message: &[u8]) -> ErrorMessage {
        ErrorMessage { code: message[3] >> 1, pointer: be16(message, 6), packet: message[8..].to_vec() }
    }

    pub(super) fn check(&self) -> Result<(), EmitError> {
        if self.code > 0x7f || self.packet.is_empty() { Err(EmitError::ErrorMessage) } else { Ok(()) }
    }
}

/// Read the fixed part of a quoted shim packet (from its shim header on), which may be cut anywhere and whose checksum
/// can therefore not be verified. `None` if it is too short for that or of no known kind.
pub fn peek_quoted(data: &[u8]) -> Option<QuotedKind> {
    if data.len() < 8 {
        return None;
    }
    if data[2] & 0x80 != 0 {
        return (data[1] == 0).then(|| QuotedKind::Payload { tag: tag(data, 2), next_header: data[0] });
    }
    let ty = data[2];
    if data[3] & 1 != 0 || fixed_len(ty).is_none() {
        return None;
    }
    let tag = || (data.len() >= 12).then(|| tag(data, 6));
    let nonce = || (data.len() >= 16).then(|| be32(data, 12));
    Some(match ty {
        message_type::I1 | message_type::I2 | message_type::I2BIS => {
            QuotedKind::Initiator { ty, tag: tag()?, nonce: nonce()? }
        }
        message_type::R1 | message_type::R2 | message_type::R1BIS => QuotedKind::Reply { ty },
        message_type::UPDATE_REQUEST | message_type::UPDATE_ACK => {
            QuotedKind::Tagged { ty, tag: tag()?, nonce: Some(nonce()?) }
        }
        message_type::KEEPALIVE | message_type::PROBE => QuotedKind::Tagged { ty, tag: tag()?, nonce: None },
        _ => QuotedKind::Error,
    })
}
