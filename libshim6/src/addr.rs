//! The identifiers of the protocol: ULID pairs, locator pairs, context tags, forked instances, flows.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::Ipv6Addr;

/// The address pair that upper layers see; it never changes while locators do (RFC 5533 section 2.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UlidPair {
    /// Our ULID.
    pub local: Ipv6Addr,
    /// The peer's ULID.
    pub peer: Ipv6Addr,
}

/// The address pair that is on the wire, as seen by the sender: source `local`, destination `peer`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LocatorPair {
    /// Our locator.
    pub local: Ipv6Addr,
    /// The peer's locator.
    pub peer: Ipv6Addr,
}

impl UlidPair {
    /// The locator pair that equals the ULIDs: no payload extension header on it.
    pub fn as_locators(self) -> LocatorPair {
        LocatorPair { local: self.local, peer: self.peer }
    }
}

impl fmt::Debug for UlidPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}, {}>", self.local, self.peer)
    }
}

impl fmt::Display for UlidPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl fmt::Debug for LocatorPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} -> {})", self.local, self.peer)
    }
}

impl fmt::Display for LocatorPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A 47-bit context tag, chosen by the host that will receive it (RFC 5533 section 4.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContextTag(u64);

impl ContextTag {
    /// The largest tag.
    pub const MAX: u64 = (1 << 47) - 1;

    /// A tag from the low 47 bits of `value`; higher bits are cut off (S6-4.1-1).
    pub fn new(value: u64) -> Self {
        ContextTag(value & Self::MAX)
    }

    /// The tag as a number below 2^47.
    pub fn value(self) -> u64 {
        self.0
    }
}

impl fmt::Debug for ContextTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#014x}", self.0)
    }
}

impl fmt::Display for ContextTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Forked Instance Identifier; 0 is the default context of a ULID pair (RFC 5533 section 4.2).
pub type Fii = u32;

/// What identifies a flow inside a ULID pair. Ports are 0 for protocols without ports.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FlowId {
    /// IPv6 next header, 17 for UDP.
    pub protocol: u8,
    /// Our port.
    pub local_port: u16,
    /// The peer's port.
    pub peer_port: u16,
}

/// Whether Shim6 may serve `a` as ULID or locator: global or unique-local unicast, so no loopback, link-local,
/// site-local, v4-mapped, multicast or unspecified address (S6-N-40, RE-AD-02).
pub fn is_servable(a: &Ipv6Addr) -> bool {
    let s = a.segments();
    !(a.is_unspecified()
        || a.is_loopback()
        || a.is_multicast()
        || (s[0] & 0xffc0) == 0xfe80
        || (s[0] & 0xffc0) == 0xfec0
        || a.to_ipv4_mapped().is_some()
        // ::a.b.c.d, deprecated
        || s[..6] == [0; 6])
}

/// Some leading bits of IPv6 addresses: `2001:db8:a::/48`, or a whole address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ipv6Prefix {
    addr: Ipv6Addr,
    len: u8,
}

impl Ipv6Prefix {
    /// The first `len` bits of `addr`; `None` if there are not so many, or if a later one is set.
    pub fn new(addr: Ipv6Addr, len: u8) -> Option<Ipv6Prefix> {
        let rest = u128::MAX.checked_shr(len.into()).unwrap_or(0);
        (len <= 128 && u128::from(addr) & rest == 0).then_some(Ipv6Prefix { addr, len })
    }

    /// Number of bits.
    #[allow(clippy::len_without_is_empty)] // Bits, not elements.
    pub fn len(self) -> u8 {
        self.len
    }

    /// Does `addr` begin with it?
    pub fn contains(self, addr: &Ipv6Addr) -> bool {
        common_prefix_len(&self.addr, addr) >= u32::from(self.len)
    }
}

impl std::str::FromStr for Ipv6Prefix {
    type Err = ();

    /// `ADDRESS/LENGTH`, or an address alone.
    fn from_str(text: &str) -> Result<Ipv6Prefix, ()> {
        let (addr, len) = match text.split_once('/') {
            Some((addr, len)) if len.bytes().all(|b| b.is_ascii_digit()) => {
                (addr, len.parse().map_err(drop)?)
            }
            Some(_) => return Err(()),
            None => (text, 128),
        };
        Ipv6Prefix::new(addr.parse().map_err(drop)?, len).ok_or(())
    }
}

impl fmt::Display for Ipv6Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.len)
    }
}

impl fmt::Debug for Ipv6Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Number of leading bits that two addresses have in common (RFC 6724 section 2.2, without the 64-bit bound).
pub fn common_prefix_len(a: &Ipv6Addr, b: &Ipv6Addr) -> u32 {
    (u128::from(*a) ^ u128::from(*b)).leading_zeros()
}
