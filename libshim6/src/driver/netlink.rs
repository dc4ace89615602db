//! Addresses and links of this host over rtnetlink: lists, changes as they happen, and assigning addresses.
//!
//! Enters: what the kernel tells. Leaves: [`Address`], [`Link`], [`LocalAddress`], [`Change`]. Everything happens in the
//! network namespace of the thread that calls; every socket is close-on-exec.

mod monitor;
mod parse;
mod request;
#[cfg(test)]
mod tests;

pub use monitor::{Change, Changes, LocalAddress, Monitor, RemovalCause};
pub use request::{AddOptions, add_address, del_address, list_addresses, list_links, on_link_prefixes};

use std::net::Ipv6Addr;
use std::time::Duration;

/// An IPv6 address on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub addr: Ipv6Addr,
    /// Its prefix length.
    pub prefix_len: u8,
    /// Index of its interface.
    pub ifindex: u32,
    /// What the kernel says about it.
    pub flags: AddressFlags,
    /// What is left of its valid lifetime; `None`: forever.
    pub valid_lft: Option<Duration>,
    /// What is left of its preferred lifetime; `None`: forever.
    pub preferred_lft: Option<Duration>,
    /// Its scope.
    pub scope: Scope,
}

/// Scope of an address as the kernel has it (`ifa_scope`); unique-local addresses count as global.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Global or unique-local.
    Global,
    /// Site-local, deprecated.
    Site,
    /// Link-local.
    Link,
    /// Of this host: loopback.
    Host,
    /// Another value.
    Other(u8),
}

/// The `IFA_F_*` flags of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct AddressFlags(pub u32);

impl AddressFlags {
    /// Duplicate address detection is not over (RFC 4862).
    pub fn tentative(self) -> bool {
        self.0 & libc::IFA_F_TENTATIVE != 0
    }
    /// Usable although duplicate address detection is not over (RFC 4429).
    pub fn optimistic(self) -> bool {
        self.0 & libc::IFA_F_OPTIMISTIC != 0
    }
    /// Somebody else on the link has it.
    pub fn dadfailed(self) -> bool {
        self.0 & libc::IFA_F_DADFAILED != 0
    }
    /// Its preferred lifetime is over.
    pub fn deprecated(self) -> bool {
        self.0 & libc::IFA_F_DEPRECATED != 0
    }
    /// A privacy address (RFC 8981).
    pub fn temporary(self) -> bool {
        self.0 & libc::IFA_F_TEMPORARY != 0
    }
    /// Not made from a router advertisement or another finite lifetime.
    pub fn permanent(self) -> bool {
        self.0 & libc::IFA_F_PERMANENT != 0
    }
    /// May be a source address now (RE-AD-01, RE-AD-03).
    pub fn usable(self) -> bool {
        !self.dadfailed() && (!self.tentative() || self.optimistic())
    }
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub ifindex: u32,
    /// Its name.
    pub name: String,
    /// Its MTU.
    pub mtu: u32,
    /// Set up by the administrator (`IFF_UP`).
    pub up: bool,
    /// Has carrier and is operational (`IFF_RUNNING` and `IFF_LOWER_UP`).
    pub running: bool,
    /// Is `lo` or another loopback.
    pub loopback: bool,
}

impl Link {
    /// Packets can go out by it (RE-AD-05, RE-AD-07).
    pub fn operational(&self) -> bool {
        self.up && self.running
    }
}

/// A /64 that hosts of a link get addresses from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnLinkPrefix {
    /// The 64 bits.
    pub prefix: [u8; 8],
    /// The interface.
    pub ifindex: u32,
}
