//! Structures and numbers of the sockets API: draft-ietf-shim6-multihome-shim-api-08 and RFC 6316 (DESIGN section 7).
//!
//! Both variants always have explicit names; the header chooses which one the short names stand for (API-ABI-04).

#![allow(non_camel_case_types)]

use crate::engine::LocatorInfo;
use libc::in6_addr;
use std::ffi::c_int;

/// Level of the options with the structures of the draft.
pub const SOL_SHIM_D08: c_int = 0x5533;
/// Level of the options with the structures of RFC 6316.
pub const SOL_SHIM_R6316: c_int = 0x6316;

/// Is the socket associated with a context? (get)
pub const SHIM_ASSOCIATED: c_int = 1;
/// Keep the shim away from this socket. (get, set)
pub const SHIM_DONTSHIM: c_int = 2;
/// Hot standby. (get, set)
pub const SHIM_HOT_STANDBY: c_int = 3;
/// Preferred local locator. (get, set)
pub const SHIM_LOC_LOCAL_PREF: c_int = 4;
/// Preferred peer locator. (get, set)
pub const SHIM_LOC_PEER_PREF: c_int = 5;
/// Tell the local locator of received datagrams. (get, set, cmsg)
pub const SHIM_LOC_LOCAL_RECV: c_int = 6;
/// Tell the peer's locator of received datagrams. (get, set, cmsg)
pub const SHIM_LOC_PEER_RECV: c_int = 7;
/// Local locator to send from. (get, set, cmsg)
pub const SHIM_LOC_LOCAL_SEND: c_int = 8;
/// Peer's locator to send to. (get, set, cmsg)
pub const SHIM_LOC_PEER_SEND: c_int = 9;
/// All local locators of the context. (get, set)
pub const SHIM_LOCLIST_LOCAL: c_int = 10;
/// All locators of the peer. (get, set)
pub const SHIM_LOCLIST_PEER: c_int = 11;
/// Timeout that the application expects. (get, set)
pub const SHIM_APP_TIMEOUT: c_int = 12;
/// Parameters of path exploration. (get, set)
pub const SHIM_PATHEXPLORE: c_int = 13;
/// Set contexts up later, not before the first datagram. (get, set)
pub const SHIM_DEFERRED_CONTEXT_SETUP: c_int = 14;
/// The same under the name of the option tables.
pub const SHIM_CONTEXT_DEFERRED_SETUP: c_int = 14;
/// Feedback of the application. (cmsg only)
pub const SHIM_FEEDBACK: c_int = 15;
/// Interface to send by. (cmsg only)
pub const SHIM_IF_SEND: c_int = 16;

/// Most locators in a list.
pub const SHIM_MAX_LOCATORS: usize = 32;

/// The locator is none of this host's, or cannot be verified for the ULID.
pub const EINVALIDLOCATOR: c_int = 5501;
/// The spelling of the draft, section 5.6.
pub const EINVALLOCATOR: c_int = 5501;
/// No reachability test of the locator has succeeded yet.
pub const EUNVERIFIEDLOCATOR: c_int = 5502;
/// The reachability test of the locator failed.
pub const EUNREACHABLELOCATOR: c_int = 5503;
/// More locators than fit.
pub const ETOOMANYLOCATORS: c_int = 5504;

/// `lc_flags`: bound to the ULID by HBA.
pub const SHIM_LOC_HBA: u8 = 0x01;
/// `lc_flags`: bound to the ULID by CGA.
pub const SHIM_LOC_CGA: u8 = 0x02;

const AF_INET6: u8 = 10;

/// A locator in the form of the draft, section 7.1.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct shim_locator_d08 {
    /// AF_INET6.
    pub lc_family: u8,
    /// Interface index of a local locator; output only.
    pub lc_ifidx: u8,
    /// SHIM_LOC_HBA, SHIM_LOC_CGA; output only.
    pub lc_flags: u8,
    /// Larger is better.
    pub lc_preference: u8,
    /// The address; IPv4 as IPv4-mapped IPv6.
    pub lc_addr: [u8; 16],
}

/// Path exploration parameters in the form of the draft, section 7.2.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct shim_pathexplore_d08 {
    /// Number of initial probes.
    pub pe_probenum: u8,
    /// Seconds.
    pub pe_keepaliveto: u8,
    /// Milliseconds between initial probes.
    pub pe_initprobeto: u16,
    /// Zero.
    pub pe_reserved: u32,
}

/// A locator in the form of RFC 6316, section 8.1.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct shim_locator_r6316 {
    /// AF_INET6.
    pub lc_family: u8,
    /// 0, or IPPROTO_UDP behind a NAT (not with Shim6).
    pub lc_proto: u8,
    /// Port for that case.
    pub lc_port: u16,
    /// Lower is better.
    pub lc_prio: u16,
    /// Larger is better among equal priorities.
    pub lc_weight: u16,
    /// Interface index of a local locator; output only.
    pub lc_ifidx: u32,
    /// The address in network order.
    pub lc_addr: in6_addr,
    /// SHIM_LOC_HBA, SHIM_LOC_CGA; output only.
    pub lc_flags: u16,
}

/// Path exploration parameters in the form of RFC 6316, section 8.2.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct shim_pathexplore_r6316 {
    /// Number of initial probes.
    pub pe_probenum: u16,
    /// Seconds.
    pub pe_keepaliveto: u16,
    /// Seconds between Keepalives.
    pub pe_keepaliveint: u16,
    /// Milliseconds between initial probes.
    pub pe_initprobeto: u16,
    /// Zero.
    pub pe_reserved: u32,
}

/// Feedback of the application, the same in both (draft section 7.3, RFC 6316 section 8.3).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct shim_feedback {
    /// 0 outbound, 1 inbound.
    pub fb_direction: u8,
    /// 0 none, 1 unable to connect, 2 unsatisfactory, 3 satisfactory.
    pub fb_indicator: u8,
    /// Ignored.
    pub fb_reserved: u16,
}

fn flags(l: &LocatorInfo) -> u8 {
    (u8::from(l.hba) * SHIM_LOC_HBA) | (u8::from(l.cga) * SHIM_LOC_CGA)
}

impl shim_locator_d08 {
    /// As the draft shows a locator of ours (`local`) or of the peer.
    pub fn new(l: &LocatorInfo, local: bool) -> Self {
        shim_locator_d08 {
            lc_family: AF_INET6,
            lc_ifidx: if local { u8::try_from(l.ifindex).unwrap_or(0) } else { 0 },
            lc_flags: flags(l),
            // API-ABI-06
            lc_preference: 255 - u8::try_from(l.preference.priority).unwrap_or(255),
            lc_addr: l.addr.octets(),
        }
    }

    /// The memory of the structure.
    pub fn octets(&self) -> [u8; size_of::<Self>()] {
        let mut out = [0; size_of::<Self>()];
        out[..4].copy_from_slice(&[self.lc_family, self.lc_ifidx, self.lc_flags, self.lc_preference]);
        out[4..].copy_from_slice(&self.lc_addr);
        out
    }
}

impl shim_locator_r6316 {
    /// As RFC 6316 shows a locator of ours (`local`) or of the peer.
    pub fn new(l: &LocatorInfo, local: bool) -> Self {
        shim_locator_r6316 {
            lc_family: AF_INET6,
            lc_proto: 0,
            lc_port: 0,
            lc_prio: l.preference.priority,
            lc_weight: l.preference.weight,
            lc_ifidx: if local { l.ifindex } else { 0 },
            lc_addr: in6_addr { s6_addr: l.addr.octets() },
            lc_flags: flags(l).into(),
        }
    }

    /// The memory of the structure, its tail padding zero.
    pub fn octets(&self) -> [u8; size_of::<Self>()] {
        let mut out = [0; size_of::<Self>()];
        out[..2].copy_from_slice(&[self.lc_family, self.lc_proto]);
        out[2..4].copy_from_slice(&self.lc_port.to_ne_bytes());
        out[4..6].copy_from_slice(&self.lc_prio.to_ne_bytes());
        out[6..8].copy_from_slice(&self.lc_weight.to_ne_bytes());
        out[8..12].copy_from_slice(&self.lc_ifidx.to_ne_bytes());
        out[12..28].copy_from_slice(&self.lc_addr.s6_addr);
        out[28..30].copy_from_slice(&self.lc_flags.to_ne_bytes());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::LocatorPreference;
    use std::mem::{align_of, offset_of};

    // API-ST-01, API-ABI-09, API-ABI-10
    #[test]
    fn layouts_are_those_of_the_documents() {
        type D = shim_locator_d08;
        assert_eq!((size_of::<D>(), align_of::<D>(), offset_of!(D, lc_addr)), (20, 1, 4));
        type R = shim_locator_r6316;
        assert_eq!((size_of::<R>(), align_of::<R>()), (32, 4));
        let offsets = [offset_of!(R, lc_port), offset_of!(R, lc_prio), offset_of!(R, lc_weight)];
        assert_eq!(offsets, [2, 4, 6]);
        let offsets = [offset_of!(R, lc_ifidx), offset_of!(R, lc_addr), offset_of!(R, lc_flags)];
        assert_eq!(offsets, [8, 12, 28]);
        assert_eq!((size_of::<shim_pathexplore_d08>(), align_of::<shim_pathexplore_d08>()), (8, 4));
        assert_eq!((size_of::<shim_pathexplore_r6316>(), align_of::<shim_pathexplore_r6316>()), (12, 4));
        assert_eq!((size_of::<shim_feedback>(), align_of::<shim_feedback>()), (4, 2));
        assert_eq!(SHIM_MAX_LOCATORS, 32);
        assert_eq!(EINVALLOCATOR, EINVALIDLOCATOR);
    }

    // API-ST-02, API-ST-04, API-ST-05, API-ST-14
    #[test]
    fn locators_read_as_the_documents_say() {
        let mut l = LocatorInfo {
            addr: "2001:db8::1".parse().unwrap(),
            ifindex: 300,
            hba: true,
            cga: false,
            ..LocatorInfo::new("2001:db8::1".parse().unwrap())
        };
        let d = shim_locator_d08::new(&l, true).octets();
        // API-ABI-07
        assert_eq!(d[..4], [10, 0, 1, 127]);
        assert_eq!(d[4..], l.addr.octets());
        let r = shim_locator_r6316::new(&l, true).octets();
        assert_eq!((r[0], u32::from_ne_bytes(r[8..12].try_into().unwrap())), (10, 300));
        assert_eq!(u16::from_ne_bytes(r[28..30].try_into().unwrap()), 1);
        assert_eq!(r[30..], [0, 0]);
        l.cga = true;
        l.ifindex = 7;
        assert_eq!(shim_locator_d08::new(&l, true).octets()[..3], [10, 7, 3]);
        assert_eq!(shim_locator_d08::new(&l, false).lc_ifidx, 0);
        assert_eq!(shim_locator_r6316::new(&l, false).lc_ifidx, 0);
    }

    // API-ABI-06
    #[test]
    fn preferences_read_in_both_forms() {
        let mut l = LocatorInfo::new("2001:db8::1".parse().unwrap());
        for (priority, weight, preference) in
            [(0, 9, 255), (1, 0, 254), (255, 0, 0), (256, 1, 0), (65_535, 2, 0)]
        {
            l.preference = LocatorPreference { priority, weight };
            assert_eq!(shim_locator_d08::new(&l, true).lc_preference, preference);
            let r = shim_locator_r6316::new(&l, true);
            assert_eq!((r.lc_prio, r.lc_weight), (priority, weight));
        }
    }
}
