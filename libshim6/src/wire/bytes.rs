//! Reading fields in network order. All functions need the octets to be there: the callers check lengths first.

use crate::addr::ContextTag;
use std::net::Ipv6Addr;

pub(super) fn be16(data: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([data[at], data[at + 1]])
}

pub(super) fn be32(data: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([data[at], data[at + 1], data[at + 2], data[at + 3]])
}

/// The low 47 bits of six octets; the bit above is P or reserved.
pub(super) fn tag(data: &[u8], at: usize) -> ContextTag {
    ContextTag::new(u64::from(be16(data, at)) << 32 | u64::from(be32(data, at + 2)))
}

pub(super) fn address(data: &[u8], at: usize) -> Ipv6Addr {
    let mut octets = [0; 16];
    octets.copy_from_slice(&data[at..at + 16]);
    Ipv6Addr::from(octets)
}

/// Six octets whose top bit is 0.
pub(super) fn tag_octets(tag: ContextTag) -> [u8; 6] {
    let [_, _, octets @ ..] = tag.value().to_be_bytes();
    octets
}
