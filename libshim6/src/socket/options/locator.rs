//! `struct shim_locator` in both forms, and the errors about locators.

use super::Abi;
use crate::capi::types::*;
use crate::engine::{LocatorError, LocatorInfo, LocatorPreference};
use libc::c_int;
use std::net::Ipv6Addr;

/// A locator as an application gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Given {
    /// All octets are zero: none.
    None,
    /// One that Shim6 might have.
    Ipv6(Ipv6Addr, LocatorPreference),
    /// One that Shim6 cannot have: IPv4 in either form, or behind a NAT (API-ST-07, API-ST-08, API-ST-10).
    Never(Ipv6Addr),
}

/// Understand one structure of this ABI.
///
/// # Errors
/// EINVAL: the family is none (API-ST-09).
pub(super) fn decode(abi: Abi, octets: &[u8]) -> Result<Given, c_int> {
    if octets.iter().all(|o| *o == 0) {
        return Ok(Given::None);
    }
    let at = if abi == Abi::D08 { 4 } else { 12 };
    let u16_at = |i: usize| octets.get(i..i + 2).map_or(0, |o| u16::from_ne_bytes([o[0], o[1]]));
    let addr: [u8; 16] = octets.get(at..at + 16).and_then(|o| o.try_into().ok()).ok_or(libc::EINVAL)?;
    let addr = Ipv6Addr::from(addr);
    let (nat, preference) = match abi {
        Abi::D08 => {
            let preference = octets.get(3).copied().unwrap_or(0);
            (false, LocatorPreference { priority: 255 - u16::from(preference), weight: 0 })
        }
        Abi::R6316 => {
            let nat = octets.get(1) != Some(&0) || u16_at(2) != 0;
            (nat, LocatorPreference { priority: u16_at(4), weight: u16_at(6) })
        }
    };
    match octets.first().map(|family| c_int::from(*family)) {
        Some(libc::AF_INET6) if !nat => Ok(Given::Ipv6(addr, preference)),
        Some(libc::AF_INET6) => Ok(Given::Never(addr)),
        Some(libc::AF_INET) => Ok(Given::Never(mapped(addr))),
        _ => Err(libc::EINVAL),
    }
}

/// An AF_INET locator in its one form (API-ST-06, API-ST-07).
fn mapped(addr: Ipv6Addr) -> Ipv6Addr {
    let o = addr.octets();
    match addr.to_ipv4_mapped() {
        Some(_) => addr,
        None => std::net::Ipv4Addr::new(o[0], o[1], o[2], o[3]).to_ipv6_mapped(),
    }
}

/// As the structure of this ABI, all padding zero (API-ST-14). `local`: it is one of ours.
pub(super) fn encode(abi: Abi, local: bool, l: &LocatorInfo, out: &mut Vec<u8>) {
    match abi {
        Abi::D08 => out.extend_from_slice(&shim_locator_d08::new(l, local).octets()),
        Abi::R6316 => out.extend_from_slice(&shim_locator_r6316::new(l, local).octets()),
    }
}

/// The errno of a locator error: the draft has one for all (API-ERR-09).
pub(in super::super) fn code(abi: Abi, e: LocatorError) -> c_int {
    match (abi, e) {
        (Abi::D08, _) | (Abi::R6316, LocatorError::Invalid) => EINVALIDLOCATOR,
        (Abi::R6316, LocatorError::Unreachable) => EUNREACHABLELOCATOR,
        (Abi::R6316, LocatorError::Unverified) => EUNVERIFIEDLOCATOR,
    }
}
