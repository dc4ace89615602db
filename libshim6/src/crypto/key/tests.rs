//! Key pairs and the signatures they make, checked with another implementation (`ring`).

use super::*;
use crate::crypto::{
    CgaSeed, GenerateError, HbaSet, SignatureError, VerifyError, generate_cga, verify_cga, verify_hba,
    verify_signature,
};
use crate::rng::SeededRng;
use std::ops::ControlFlow;

const PREFIX: [u8; 8] = [0x20, 1, 0xd, 0xb8, 0, 0xa, 0, 0];

fn key(bits: usize, seed: u64) -> SigningKey {
    SigningKey::generate(bits, &mut SeededRng::new(seed)).unwrap()
}

fn locators(n: u16) -> Vec<Ipv6Addr> {
    (1..=n).map(|i| Ipv6Addr::new(0x2001, 0xdb8, 0xb, i, 0, 0, 0, 1)).collect()
}

#[test]
fn signatures_verify() {
    // HC-SIG-01, HC-SIG-02, HC-SIG-03, HC-SIG-04, HC-SIG-05, HC-SIG-06, HC-SIG-13, HC-SIG-14, HC-KEY-05, HC-PDS-03,
    // S6-5.15.5-1, S6-5.15.5-2, S6-5.15.5-3, S6-N-46
    for (bits, spki) in [(1024, 162), (1536, 226), (2048, 294), (3072, 422), (4096, 550)] {
        let key = key(bits, 1);
        assert_eq!((key.bits(), key.public_der().len()), (bits, spki));
        let seed = CgaSeed::random(&mut SeededRng::new(2));
        let go_on = &mut |_| ControlFlow::Continue(());
        let (ulid, pds) = generate_cga(PREFIX, 0, key.public_der(), &seed, go_on).unwrap();
        assert_eq!(verify_cga(&ulid, &pds), Ok(()));
        let locators = locators(3);
        let signature = key.sign(0x0102_0304, &locators, &mut SeededRng::new(3)).unwrap();
        assert_eq!(signature.len(), bits / 8);
        // The blinding leaves no trace
        assert_eq!(key.sign(0x0102_0304, &locators, &mut SeededRng::new(4)).unwrap(), signature);
        let check = |generation, locators: &[Ipv6Addr], signature: &[u8]| {
            verify_signature(&ulid, &pds, generation, locators, signature)
        };
        assert_eq!(check(0x0102_0304, &locators, &signature), Ok(()));
        let bad = Err(SignatureError::Signature);
        assert_eq!(check(0x0102_0305, &locators, &signature), bad);
        assert_eq!(check(0x0102_0304, &[locators[1], locators[0], locators[2]], &signature), bad);
        assert_eq!(check(0x0102_0304, &locators[..2], &signature), bad);
        assert_eq!(check(0x0102_0304, &locators, &signature[1..]), bad);
        let mut changed = signature.clone();
        changed[bits / 16] ^= 1;
        assert_eq!(check(0x0102_0304, &locators, &changed), bad);
        // Of another key
        let other = self::key(1024, 9).sign(0x0102_0304, &locators, &mut SeededRng::new(3)).unwrap();
        assert_eq!(check(0x0102_0304, &locators, &other), bad);
        // Under a foreign ULID
        let foreign = verify_signature(&locators[0], &pds, 0x0102_0304, &locators, &signature);
        assert_eq!(foreign, Err(SignatureError::Ulid(VerifyError::Prefix)));
    }
}

#[test]
fn a_set_with_a_key_proves_both_ways() {
    // HC-HBA-03, HC-MPE-02, HC-VER-10, HC-VER-11, HC-SIG-05
    let key = key(1024, 5);
    let prefixes = [PREFIX, [0x20, 1, 0xd, 0xb8, 0, 0xb, 0, 0]];
    let set = HbaSet::generate(&prefixes, 0, Some(key.public_der()), &mut SeededRng::new(6)).unwrap();
    let [(a, own), (b, _)] = set.members() else { panic!() };
    assert!(own.multi_prefix().unwrap().p_flag);
    assert_eq!((verify_cga(a, own), verify_hba(b, own)), (Ok(()), Ok(())));
    assert_eq!(own.as_bytes().len(), 195 + 16);
    let list = locators(1);
    let signature = key.sign(7, &list, &mut SeededRng::new(8)).unwrap();
    assert_eq!(verify_signature(a, own, 7, &list, &signature), Ok(()));
}

#[test]
fn lengths() {
    // HC-KEY-01, HC-KEY-05, HC-KEY-06, HC-SEC-05
    let mut rng = SeededRng::new(1);
    for bits in [0, 512, 1016, 1023, 1025, 4104, 8192, usize::MAX] {
        assert_eq!(SigningKey::generate(bits, &mut rng), Err(KeyError::Bits(bits)));
    }
    assert_eq!(DEFAULT_KEY_BITS, 2048);
    // A short key from a file
    let short = "30820153020100300d06092a864886f70d01010105000482013d308201390201000241";
    assert_eq!(SigningKey::from_der(short.as_bytes()), Err(KeyError::Malformed));
    let seed = CgaSeed::random(&mut rng);
    let mut short = key(1024, 1).public_der().to_vec();
    short.truncate(80);
    let refused = generate_cga(PREFIX, 0, &short, &seed, &mut |_| ControlFlow::Continue(()));
    assert!(matches!(refused, Err(GenerateError::Key(_))), "{refused:?}");
}

#[test]
fn keys_from_der() {
    let key = key(1024, 7);
    let pem = key.to_pem().unwrap();
    assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----\n") && pem.ends_with("-----END PRIVATE KEY-----\n"));
    let der = ::pem::parse(pem.as_bytes()).unwrap().into_contents();
    assert_eq!(SigningKey::from_der(&der).as_ref(), Ok(&key));
    // PKCS#1: what is inside of the PKCS#8 form, behind 26 octets
    assert_eq!(SigningKey::from_der(&der[26..]).as_ref(), Ok(&key));
    // Numbers that do not fit each other, and cut-off octets; the last three are computed anew
    for at in (60..430).step_by(37) {
        let mut changed = der.clone();
        changed[at] ^= 4;
        assert_ne!(SigningKey::from_der(&changed).as_ref(), Ok(&key), "octet {at}");
        assert_eq!(SigningKey::from_der(&der[..at]), Err(KeyError::Malformed));
    }
}

#[test]
fn nothing_shows_the_key() {
    // HC-SIG-15
    assert_eq!(format!("{:?}", key(1024, 7)), "SigningKey { bits: 1024, .. }");
}
