//! No octets that a peer sends as CGA parameters, and none that a parameter file has, make the library panic; and what does
//! not hash to an address is none of its set.

#![no_main]

use libfuzzer_sys::fuzz_target;
use shim6::crypto::{Pds, addresses_of, after_collision, rsa_bits, verify_cga, verify_hba, verify_signature};
use shim6::identity::{from_text, parameters, private_key};
use std::net::Ipv6Addr;

fuzz_target!(|data: &[u8]| {
    let _ = from_text(data);
    let _ = parameters(data);
    let _ = private_key(data);

    // An address, a signature of a length that the next octet tells, and the parameters
    let Some((addr, rest)) = data.split_first_chunk::<16>() else { return };
    let addr = Ipv6Addr::from(*addr);
    let Some((len, rest)) = rest.split_first() else { return };
    let Some((signature, octets)) = rest.split_at_checked(usize::from(*len)) else { return };
    let Ok(pds) = Pds::parse(octets) else { return };
    assert_eq!(pds.as_bytes(), octets);
    assert_eq!(25 + pds.key_der().len() + pds.extensions().len(), octets.len());
    let _ = rsa_bits(pds.key_der());
    let _ = verify_signature(&addr, &pds, 1, &[addr], signature);
    if verify_hba(&addr, &pds).is_ok() {
        assert!(pds.multi_prefix().is_some());
    }
    // What is made of them verifies, as a CGA and, if it is a set, each with the parameters of each other
    let Ok(made) = addresses_of(&pds, None) else { return };
    for (addr, own) in &made {
        assert_eq!(verify_cga(addr, own), Ok(()));
        assert!(own.multi_prefix().is_none() || verify_hba(addr, &pds).is_ok());
        if let Ok((next, own)) = after_collision(addr, own) {
            assert_eq!(verify_cga(&next, &own), Ok(()));
        }
    }
});
