//! What structures mean, whoever the caller is.

use super::Abi;
use super::locator::{Given, code, decode};
use crate::capi::types::*;
use crate::engine::{LocatorError, LocatorPreference};
use std::net::Ipv6Addr;

fn addr(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

/// A structure with this family, preference octets and address.
fn draft(family: u8, preference: u8, addr: [u8; 16]) -> Vec<u8> {
    [&[family, 7, 0xff, preference], &addr[..]].concat()
}

fn rfc(family: u8, nat: (u8, u16), (prio, weight): (u16, u16), addr: [u8; 16]) -> Vec<u8> {
    let mut out = vec![family, nat.0];
    for n in [nat.1, prio, weight] {
        out.extend(n.to_ne_bytes());
    }
    out.extend(7u32.to_ne_bytes());
    out.extend(addr);
    out.extend([0xff, 0xff, 0xee, 0xee]);
    out
}

// API-ABI-06, API-ST-11, API-CX-19
#[test]
fn preferences_of_both_forms_are_one_thing() {
    let a = addr("2001:db8::1");
    let preference = |priority, weight| LocatorPreference { priority, weight };
    for (given, priority) in [(255, 0), (127, 128), (0, 255)] {
        assert_eq!(
            decode(Abi::D08, &draft(10, given, a.octets())),
            Ok(Given::Ipv6(a, preference(priority, 0)))
        );
    }
    let octets = rfc(10, (0, 0), (300, 65_535), a.octets());
    assert_eq!(decode(Abi::R6316, &octets), Ok(Given::Ipv6(a, preference(300, 65_535))));
}

// API-ST-06, API-ST-07, API-ST-08, API-ST-09, API-ST-10, API-CX-03, API-EX-13, API-RQ-13
#[test]
fn ipv4_and_nat_are_understood_and_never_fit() {
    let mapped = addr("::ffff:192.0.2.1");
    let mut raw = [0; 16];
    raw[..4].copy_from_slice(&[192, 0, 2, 1]);
    for octets in [mapped.octets(), raw] {
        assert_eq!(decode(Abi::D08, &draft(2, 1, octets)), Ok(Given::Never(mapped)));
        assert_eq!(decode(Abi::R6316, &rfc(2, (0, 0), (1, 1), octets)), Ok(Given::Never(mapped)));
    }
    let a = addr("2001:db8::1");
    for nat in [(17, 0), (0, 4500), (17, 4500)] {
        assert_eq!(decode(Abi::R6316, &rfc(10, nat, (1, 1), a.octets())), Ok(Given::Never(a)));
    }
    for family in [1, 3, 255] {
        assert_eq!(decode(Abi::D08, &draft(family, 1, a.octets())), Err(libc::EINVAL));
        assert_eq!(decode(Abi::R6316, &rfc(family, (0, 0), (1, 1), a.octets())), Err(libc::EINVAL));
    }
    assert_eq!(decode(Abi::D08, &draft(0, 1, a.octets())), Err(libc::EINVAL));
    assert_eq!(
        (decode(Abi::D08, &[0; 20]), decode(Abi::R6316, &[0; 32])),
        (Ok(Given::None), Ok(Given::None))
    );
}

// API-ERR-01, API-ERR-02, API-ERR-09
#[test]
fn the_draft_has_one_error_for_all() {
    use LocatorError::{Invalid, Unreachable, Unverified};
    let rfc = [Invalid, Unreachable, Unverified].map(|e| code(Abi::R6316, e));
    assert_eq!(rfc, [EINVALIDLOCATOR, EUNREACHABLELOCATOR, EUNVERIFIEDLOCATOR]);
    assert!([Invalid, Unreachable, Unverified].iter().all(|e| code(Abi::D08, *e) == EINVALIDLOCATOR));
}
