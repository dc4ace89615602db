//! What the shim needs of IPv6 itself (RFC 8200): the header, the Fragment header, and the upper-layer checksum.

use super::bytes::{address, be16, be32};
use super::header::{fold, sum};
use std::net::Ipv6Addr;

/// Octets of the IPv6 header.
pub const HEADER_LEN: usize = 40;
/// Next header: Hop-by-Hop Options.
pub const HOP_BY_HOP: u8 = 0;
/// Next header: UDP.
pub const UDP: u8 = 17;
/// Next header: Routing.
pub const ROUTING: u8 = 43;
/// Next header: Fragment.
pub const FRAGMENT: u8 = 44;
/// Next header: none.
pub const NO_NEXT_HEADER: u8 = 59;
/// Next header: Destination Options.
pub const DESTINATION_OPTIONS: u8 = 60;

/// The fields of an IPv6 header that the shim looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Octets behind the header.
    pub payload_len: u16,
    /// Next Header.
    pub next_header: u8,
    /// Source.
    pub source: Ipv6Addr,
    /// Destination.
    pub destination: Ipv6Addr,
}

impl Header {
    /// The header in front of `packet`, and what follows it (as far as it is there). `None` if it is too short or of
    /// another version.
    pub fn parse(packet: &[u8]) -> Option<(Header, &[u8])> {
        if packet.len() < HEADER_LEN || packet[0] >> 4 != 6 {
            return None;
        }
        let header = Header {
            payload_len: be16(packet, 4),
            next_header: packet[6],
            source: address(packet, 8),
            destination: address(packet, 24),
        };
        Some((header, &packet[HEADER_LEN..]))
    }
}

/// An IPv6 header with traffic class and flow label 0. A `payload_len` above 65535 is told as 65535.
pub fn header(
    source: Ipv6Addr,
    destination: Ipv6Addr,
    next_header: u8,
    payload_len: usize,
    hop_limit: u8,
) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[0] = 0x60;
    header[4..6].copy_from_slice(&u16::try_from(payload_len).unwrap_or(u16::MAX).to_be_bytes());
    header[6] = next_header;
    header[7] = hop_limit;
    header[8..24].copy_from_slice(&source.octets());
    header[24..].copy_from_slice(&destination.octets());
    header
}

/// Internet checksum of `data` behind the IPv6 pseudo-header (RFC 8200 section 8.1). With the checksum field of `data`
/// zero, it is the value to put there (for UDP, 0xffff instead of 0); with the field filled, it is 0 if all is right.
pub fn upper_checksum(source: Ipv6Addr, destination: Ipv6Addr, protocol: u8, data: &[u8]) -> u16 {
    let length = data.len() as u64;
    !fold(
        sum(&source.octets())
            + sum(&destination.octets())
            + (length & 0xffff)
            + (length >> 16)
            + u64::from(protocol)
            + sum(data),
    )
}

/// Fragment header (RFC 8200 section 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentHeader {
    /// Protocol of the fragmentable part.
    pub next_header: u8,
    /// Fragment Offset in octets, a multiple of 8 up to 65528.
    pub offset: u16,
    /// M: more fragments follow.
    pub more: bool,
    /// Identification.
    pub identification: u32,
}

impl FragmentHeader {
    /// Octets of the header.
    pub const LEN: usize = 8;

    /// The header in front of `data`, and what follows it. `None` if it is too short. Reserved fields are ignored.
    pub fn parse(data: &[u8]) -> Option<(FragmentHeader, &[u8])> {
        if data.len() < Self::LEN {
            return None;
        }
        let word = be16(data, 2);
        let header = FragmentHeader {
            next_header: data[0],
            offset: word & 0xfff8,
            more: word & 1 != 0,
            identification: be32(data, 4),
        };
        Some((header, &data[Self::LEN..]))
    }

    /// The header on the wire; the low three bits of `offset` are cut off.
    pub fn emit(&self) -> [u8; Self::LEN] {
        let [high, low] = ((self.offset & 0xfff8) | u16::from(self.more)).to_be_bytes();
        let [a, b, c, d] = self.identification.to_be_bytes();
        [self.next_header, 0, high, low, a, b, c, d]
    }
}
