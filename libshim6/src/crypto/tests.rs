//! The vectors of `docs/requirements/hba-cga.md` part I, and the rules around them.

use super::generate::generate_cga_unchecked;
use super::signature::check_key;
use super::verify::{hash1, hash2};
use super::*;
use crate::rng::{Rng, SeededRng};
use proptest::prelude::*;
use std::net::Ipv6Addr;
use std::ops::ControlFlow;

const KEY_I1: &str =
    "305c300d06092a864886f70d0101010500034b003048024100c2c2f137305454f10bd9cea3684 4b530e9211a4b262b16
    467cb7dfba1f595c0194f275be5a4d386f2c3c238250 8773c7867f9b3b9e63a09c7bc48f7a54ebefaf0203010001";
const KEY_I4: &str = "30819f300d06092a864886f70d010101050003818d0030818902818100c490f9
    51bc22cc19eb9b8f27dd8589eb1f1ea7e29cbbb1c4d5211c347609dfbf0d03f2f71be07e0eeeeaaeb8dc49f74a1c6cc2
    72c62c7023f8e3e8ca5ca070b514e24c9cbf091482c339d3fdf038a4e2f14c04ceb9931a60b16d4e8fc3ee484737b259
    74827ea6e652593281dcf6e1349452e4f17b20caff89f9ba68554e16d1020 3010001";
const SIGNATURE_I4: &str = "198abae62576 2781a687804cb02eb3786b7c8fa990460b173c38bd52df18d35e
    24d4c220bc70348746a3c88bd87dedd2b26546299351 02ced1e62b9b694e1ef30eac01da2990697750cbe50630998bcf
    32597a7c53e31eb54483b6110501d44fda319473a2d82c3ecc84bbe92ea2da8b46ae28f637a5b829d014d22c4725464f";

fn hex(s: &str) -> Vec<u8> {
    let digits: Vec<u8> = s.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    assert_eq!(digits.len() % 2, 0);
    digits.chunks(2).map(|d| d[0] << 4 | d[1]).collect()
}

fn addr(s: &str) -> Ipv6Addr {
    s.parse().unwrap()
}

fn prefix(s: &str) -> [u8; 8] {
    addr(s).octets()[..8].try_into().unwrap()
}

fn prefixes(names: &[&str]) -> Vec<[u8; 8]> {
    names.iter().map(|n| prefix(&format!("2001:db8:{n}::"))).collect()
}

fn go_on(_: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// I.1 with another Collision Count.
fn i1(count: u8) -> (Ipv6Addr, Pds) {
    let modifier = hex("89a8a8b2e858d8b8f2633f44d2d4ce9a").try_into().unwrap();
    let seed = CgaSeed { modifier, collision_count: count };
    generate_cga_unchecked(prefix("fe80::"), 1, &hex(KEY_I1), &seed, &mut go_on).unwrap()
}

fn seed_i2(count: u8) -> HbaSeed {
    let mut extended_modifier: [u8; 48] = std::array::from_fn(|i| i as u8);
    extended_modifier[0] = 0x80;
    HbaSeed { modifier: std::array::from_fn(|i| i as u8), extended_modifier, collision_count: count }
}

fn i2(sec: u8, count: u8) -> HbaSet {
    HbaSet::generate_from(&prefixes(&["a", "b", "c"]), sec, None, &seed_i2(count), &mut go_on).unwrap()
}

fn i3(sec: u8, names: &[&str]) -> HbaSet {
    let seed = HbaSeed {
        modifier: hex("89a8a8b2e858d8b8f2633f44d2d4ce9a").try_into().unwrap(),
        extended_modifier: [0; 48],
        collision_count: 0,
    };
    HbaSet::generate_from(&prefixes(names), sec, Some(&hex(KEY_I1)), &seed, &mut go_on).unwrap()
}

fn i4() -> (Ipv6Addr, Pds) {
    let modifier = hex("0123456789abcdeffedcba9876543210").try_into().unwrap();
    let seed = CgaSeed { modifier, collision_count: 0 };
    generate_cga(prefix("2001:db8:a::"), 1, &hex(KEY_I4), &seed, &mut go_on).unwrap()
}

/// `addr` with other Sec, u and g bits.
fn with_bits(addr: &Ipv6Addr, sec: u8, ug: u8) -> Ipv6Addr {
    let mut o = addr.octets();
    o[8] = o[8] & 0x1c | sec << 5 | ug;
    o.into()
}

#[test]
fn vector_i1() {
    // HC-TV-01, HC-GEN-01, HC-GEN-02, HC-GEN-06, HC-GEN-08, HC-GEN-09, HC-GEN-10, HC-GEN-12, HC-PDS-01
    let key = hex(KEY_I1);
    assert_eq!(
        hash2(&hex("89a8a8b2e858d8b8f2633f44d2d4ce9a"), &key)[..],
        hex("436b9a70dbfddbf1926e6e6629c0")
    );
    assert_eq!(
        hash2(&hex("89a8a8b2e858d8b8f2633f44d2d4ce9b"), &key)[..],
        hex("000001ca680b83888d0912dffcce")
    );
    let (a, pds) = i1(0);
    assert_eq!(a, addr("fe80::3c4a:5bf6:ffb4:ca6c"));
    assert_eq!(
        pds.as_bytes(),
        [&hex("89a8a8b2e858d8b8f2633f44d2d4ce9b fe80000000000000 00")[..], &key].concat()
    );
    assert_eq!(hash1(&pds.modifier(), prefix("fe80::"), 0, &key)[..], hex("fd4a5bf6ffb4ca6c"));
    assert_eq!(pds.key_der(), key);
    assert_eq!(pds.collision_count(), 0);

    // HC-GEN-11: the count changes, the modifier stays
    assert_eq!(i1(1).0, addr("fe80::3883:fd4b:a771:6030"));
    assert_eq!(i1(2).0, addr("fe80::2c92:30cd:6374:398a"));
    assert_eq!(i1(2).1.modifier(), pds.modifier());
    let seed = CgaSeed { modifier: pds.modifier(), collision_count: 3 };
    let third = generate_cga_unchecked(prefix("fe80::"), 1, &key, &seed, &mut go_on);
    assert_eq!(third.unwrap_err(), GenerateError::TooManyCollisions);
}

#[test]
fn verification_of_i1() {
    // HC-TV-02, HC-VER-01, HC-VER-13
    let (a, pds) = i1(0);
    assert_eq!(verify_cga(&a, &pds), Ok(()));
    for bit in 0..8 * pds.as_bytes().len() {
        let mut bytes = pds.as_bytes().to_vec();
        bytes[bit / 8] ^= 0x80 >> (bit % 8);
        let Ok(changed) = Pds::parse(&bytes) else { continue };
        let expect = match bit / 8 {
            16..24 => VerifyError::Prefix,
            24 if bytes[24] > 2 => VerifyError::CollisionCount(bytes[24]),
            _ => VerifyError::Hash1,
        };
        assert_eq!(verify_cga(&a, &changed), Err(expect), "bit {bit}");
    }
}

#[test]
fn sec_and_ug_bits_of_i1() {
    // HC-TV-03, HC-VER-02, HC-VER-03, HC-VER-04, HC-VER-07, HC-GEN-03, HC-SEC-01, HC-CX-02, HC-CX-10
    let (a, pds) = i1(0);
    let mut good = 0;
    for sec in 0..8 {
        for ug in 0..4 {
            let b = with_bits(&a, sec, ug);
            assert_eq!(sec_of(&b), sec);
            match verify_cga(&b, &pds) {
                Ok(()) => good += 1,
                Err(e) if sec == 2 => assert_eq!(e, VerifyError::Hash2),
                Err(e) => assert_eq!(e, VerifyError::Sec(sec)),
            }
        }
    }
    assert_eq!(good, 8);
    for s in ["fe80::1c4a:5bf6:ffb4:ca6c", "fe80::3f4a:5bf6:ffb4:ca6c"] {
        assert_eq!(verify_cga(&addr(s), &pds), Ok(()));
    }
    assert_eq!(verify_cga(&addr("fe80::5c4a:5bf6:ffb4:ca6c"), &pds), Err(VerifyError::Hash2));
    // HC-VER-05: whatever Hash2 is, Sec 0 verifies
    let seed = CgaSeed { modifier: [7; 16], collision_count: 0 };
    let (weak, pds) = generate_cga_unchecked(prefix("fe80::"), 0, &hex(KEY_I1), &seed, &mut go_on).unwrap();
    assert_ne!(hash2(&pds.modifier(), pds.key_der())[..2], [0, 0]);
    assert_eq!(verify_cga(&weak, &pds), Ok(()));
    assert_eq!(verify_cga(&with_bits(&weak, 1, 0), &pds), Err(VerifyError::Hash2));
}

#[test]
fn vector_i2() {
    // HC-TV-04, HC-HBA-01, HC-HBA-02, HC-HBA-04, HC-HBA-05, HC-HBA-06, HC-HBA-07, HC-HBA-08, HC-HBA-09, HC-HBA-10,
    // HC-HBA-11, HC-MPE-01, HC-MPE-02, HC-PDS-07, HC-CX-07
    let table = [
        (0, 0, ["a:0:f2:1888:adea:3d7d", "b:0:1057:6062:a5f8:6761", "c:0:49d:ae8e:9930:6de0"]),
        (0, 1, ["a:0:892:8f43:5c79:42fa", "b:0:ccc:c7fa:8df8:dcb2", "c:0:c14:63f9:9721:4997"]),
        (1, 0, ["a:0:2c80:f425:fd62:ffe0", "b:0:20bd:7f0:1774:79ab", "c:0:2448:6be6:bd3d:3acb"]),
    ];
    for (sec, count, expect) in table {
        let set = i2(sec, count);
        let expect = expect.map(|s| addr(&format!("2001:db8:{s}")));
        assert!(set.addresses().eq(expect), "Sec {sec} count {count}: {:?}", set.members());
        for (a, _) in set.members() {
            for (b, pds) in set.members() {
                assert_eq!(verify_hba(a, pds), Ok(()));
                // HC-VER-10, HC-VER-11
                let cga = if a == b { Ok(()) } else { Err(VerifyError::Prefix) };
                assert_eq!(verify_cga(a, pds), cga);
            }
        }
    }
    let set = i2(1, 0);
    assert_eq!(set.modifier()[..], hex("000102030405060708090a0b0c0d6b99"));
    assert_eq!(set.tried(), 23947);
    let (_, pds) = &set.members()[1];
    assert_eq!(pds.as_bytes().len(), 135);
    assert_eq!(
        pds.key_der(),
        hex("304c300d06092a864886f70d0101010500033b0030380231008001020304050607 08090a0b0c0d0e0f10111213141516
            1718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f0203010001")
    );
    assert_eq!(pds.extensions(), hex("0012001c0000000020010db8000a000020010db8000b000020010db8000c0000"));
    assert_eq!(hash2(&set.modifier(), &pds.as_bytes()[25..])[..], hex("000017609434011516c2c550878f"));
    assert_eq!(i2(0, 0).modifier()[..], hex("000102030405060708090a0b0c0d0e0f"));
    assert!(!pds.has_public_key());
    // HC-HBA-14
    for (_, other) in set.members() {
        assert_eq!(other.as_bytes()[..16], pds.as_bytes()[..16]);
        assert_eq!(other.as_bytes()[24..], pds.as_bytes()[24..]);
    }
    // HC-HBA-05: the top bit is forced
    let seed = HbaSeed { extended_modifier: std::array::from_fn(|i| i as u8), ..seed_i2(0) };
    let forced = HbaSet::generate_from(&prefixes(&["a", "b", "c"]), 0, None, &seed, &mut go_on).unwrap();
    assert_eq!(forced.members(), i2(0, 0).members());
}

#[test]
fn collisions() {
    // HC-TV-05, HC-HBA-11, HC-HBA-12
    let mut set = i2(0, 0);
    let first = set.members()[0].0;
    set.regenerate_after_collision().unwrap();
    assert_eq!(set.members(), i2(0, 1).members());
    for (_, pds) in set.members() {
        assert_eq!(pds.collision_count(), 1);
        assert_eq!(verify_hba(&first, pds), Err(VerifyError::Hash1));
    }
    set.regenerate_after_collision().unwrap();
    assert_eq!(set.members()[2].1.collision_count(), 2);
    let before = set.clone();
    assert_eq!(set.regenerate_after_collision(), Err(GenerateError::TooManyCollisions));
    assert_eq!(set, before);
}

#[test]
fn vector_i3() {
    // HC-TV-06, HC-TV-07, HC-HBA-03, HC-MPE-04
    let sec0 = ["2001:db8:a:0:c3e:1edb:c21f:65f1", "2001:db8:b:0:4c5:ae17:ec8d:b0ab"];
    let sec1 = ["2001:db8:a:0:30a2:ed99:f6ae:62d1", "2001:db8:b:0:34eb:7e60:5e5c:2c3c"];
    for (sec, expect) in [(0, sec0), (1, sec1)] {
        let set = i3(sec, &["a", "b"]);
        assert!(set.addresses().eq(expect.map(addr)), "{:?}", set.members());
        let [(a, own), (_, other)] = set.members() else { panic!() };
        assert_eq!(verify_cga(a, own), Ok(()));
        assert_eq!(verify_hba(a, other), Ok(()));
        assert!(own.has_public_key());
        assert_eq!(own.as_bytes().len(), 143);
        assert_eq!(own.extensions(), hex("001200148000000020010db8000a000020010db8000b0000"));
    }
    let set = i3(1, &["a", "b"]);
    assert_eq!(set.modifier()[..], hex("89a8a8b2e858d8b8f2633f44d2d658a8"));
    assert_eq!(set.tried(), 100_879);
    assert_eq!(i3(0, &["b", "a"]).members()[1].0, addr("2001:db8:a:0:478:617b:9618:a042"));
}

#[test]
fn vector_i4() {
    // HC-TV-08, HC-TV-09, HC-SIG-01, HC-SIG-02, HC-SIG-03, HC-SIG-04, HC-SIG-05, HC-SIG-06, HC-SIG-12, HC-KEY-05,
    // HC-CX-04, HC-CX-09, S6-N-46, S6-5.15.5-1
    let (ulid, pds) = i4();
    assert_eq!(ulid, addr("2001:db8:a:0:2c3e:9156:2d95:1b0c"));
    assert_eq!(pds.modifier()[..], hex("0123456789abcdeffedcba987654fe77"));
    assert_eq!(pds.as_bytes().len(), 187);
    let locators = [addr("2001:db8:b::1"), addr("2001:db8:c::1")];
    let octets = signed_octets(0x0102_0304, &locators);
    let sha1 = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, &octets);
    assert_eq!(sha1.as_ref(), hex("0e5dc2b775ab91e51ac68d03664f0f46b4ee5010"));

    let good = hex(SIGNATURE_I4);
    let check = |generation, locators: &[Ipv6Addr], signature: &[u8]| {
        verify_signature(&ulid, &pds, generation, locators, signature)
    };
    assert_eq!(check(0x0102_0304, &locators, &good), Ok(()));
    let bad = Err(SignatureError::Signature);
    assert_eq!(check(0x0102_0305, &locators, &good), bad);
    assert_eq!(check(0x0102_0304, &[locators[1], locators[0]], &good), bad);
    assert_eq!(check(0x0102_0304, &[locators[0], locators[1], addr("2001:db8:d::1")], &good), bad);
    assert_eq!(check(0x0102_0304, &locators, &good[..127]), bad);
    assert_eq!(check(0x0102_0304, &locators, &[&good[..], &[0]].concat()), bad);
    let mut tag = octets.clone();
    tag[0] ^= 1;
    let key = ring::signature::UnparsedPublicKey::new(
        &ring::signature::RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
        check_key(pds.key_der()).unwrap(),
    );
    assert!(key.verify(&octets, &good).is_ok());
    assert!(key.verify(&tag, &good).is_err());
    // HC-SIG-05
    let other = verify_signature(&locators[0], &pds, 0x0102_0304, &locators, &good);
    assert_eq!(other, Err(SignatureError::Ulid(VerifyError::Prefix)));
    // HC-VER-12
    let e = verify_hba(&locators[0], &pds).unwrap_err();
    assert_eq!(e, VerifyError::MethodInconsistent(NoMultiPrefix::Absent));
    assert!(e.is_method_inconsistent());
}

#[test]
fn keys_that_may_not_sign() {
    // HC-KEY-01, HC-KEY-02, HC-KEY-03, HC-KEY-04, HC-CX-03
    let set = i3(0, &["a", "b"]);
    let [(a, own), (b, _)] = set.members() else { panic!() };
    let e = verify_signature(a, own, 1, &[*b], &[0; 64]);
    assert_eq!(e, Err(SignatureError::KeyBits(512)));
    let mut rng = SeededRng::new(1);
    let refused = HbaSet::generate(&prefixes(&["a"]), 0, Some(&hex(KEY_I1)), &mut rng);
    assert_eq!(refused, Err(GenerateError::Key(SignatureError::KeyBits(512))));
    // HC-SIG-10, HC-SIG-09
    let set = i2(0, 0);
    let (a, pds) = &set.members()[0];
    assert_eq!(verify_signature(a, pds, 1, &[], &[0; 48]), Err(SignatureError::NoKey));

    // HC-KEY-07
    let with_exponent = |last: u8| {
        let mut key = hex(KEY_I4);
        *key.last_mut().unwrap() = last;
        check_key(&key).map(|_| ())
    };
    assert_eq!(with_exponent(1), Ok(()));
    assert_eq!(with_exponent(2), Err(SignatureError::Exponent));
    let mut one = hex(KEY_I4);
    let end = one.len();
    one.splice(end - 5.., [0x02, 0x01, 0x01]);
    for (at, less) in [(2, 2), (20, 2), (24, 2)] {
        one[at] -= less;
    }
    assert_eq!(check_key(&one), Err(SignatureError::Exponent));
    // HC-VER-17: an elliptic-curve key, good for HBA, not for signatures
    let ec = hex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")
        .into_iter()
        .chain([9; 64])
        .collect::<Vec<_>>();
    let set = HbaSet::generate_from(&prefixes(&["a", "b"]), 0, Some(&ec), &seed_i2(0), &mut go_on).unwrap();
    let [(a, own), (b, other)] = set.members() else { panic!() };
    assert_eq!((verify_hba(a, other), verify_hba(b, own)), (Ok(()), Ok(())));
    assert_eq!(verify_signature(a, own, 1, &[*b], &[0; 64]), Err(SignatureError::NotRsa));
}

#[test]
fn pds_refused() {
    // HC-PDS-10
    let (_, pds) = i1(0);
    let good = pds.as_bytes();
    for n in 0..good.len() {
        assert_eq!(Pds::parse(&good[..n]).unwrap_err(), PdsError::TooShort(n));
    }
    let with_key = |key: &[u8]| Pds::parse(&[&good[..25], key].concat());
    assert_eq!(with_key(&[0x31, 0]).unwrap_err(), PdsError::NotASequence);
    assert_eq!(with_key(&[0x30, 0x80, 0, 0]).unwrap_err(), PdsError::KeyLength);
    assert_eq!(with_key(&[&[0x30, 0x81, 0x7f][..], &[0; 127]].concat()).unwrap_err(), PdsError::KeyLength);
    assert_eq!(with_key(&[&[0x30, 0x82, 0, 0xff][..], &[0; 255]].concat()).unwrap_err(), PdsError::KeyLength);
    assert_eq!(with_key(&[0x30, 0x83, 0, 1, 0]).unwrap_err(), PdsError::KeyLength);
    assert!(with_key(&[&[0x30, 0x82, 0x04, 0xbb][..], &[0; 1211]].concat()).is_ok());
    let long = with_key(&[&[0x30, 0x82, 0x04, 0xbc][..], &[0; 1212]].concat());
    assert_eq!(long.unwrap_err(), PdsError::TooLong(1241));
    // HC-PDS-04, HC-PDS-05
    for key in [&[0x30, 0][..], &[&[0x30, 0x81, 0x80][..], &[1; 128]].concat()] {
        let tail = hex("fffd 0001 aa");
        let pds = Pds::parse(&[&good[..25], key, &tail].concat()).unwrap();
        assert_eq!((pds.key_der(), pds.extensions()), (key, &tail[..]));
    }
}

/// The PDS of I.2 (Sec 0, prefix a) with other extensions, and the address that goes with it.
fn with_extensions(ext: &str) -> (Ipv6Addr, Pds) {
    let set = i2(0, 0);
    let (_, pds) = &set.members()[0];
    let base = &pds.as_bytes()[..pds.as_bytes().len() - pds.extensions().len()];
    let bytes = [base, &hex(ext)].concat();
    let mut a = [0; 16];
    a[..8].copy_from_slice(&pds.subnet_prefix());
    a[8..].copy_from_slice(&hash1(&pds.modifier(), pds.subnet_prefix(), 0, &bytes[25..]));
    a[8] &= 0x1c;
    (a.into(), Pds::parse(&bytes).unwrap())
}

#[test]
fn extensions() {
    const SET: &str = "0012 0014 00000000 20010db8000a0000 20010db8000b0000";
    // HC-PDS-06, HC-PDS-09, HC-MPE-03: hashed, not understood
    for ext in [
        format!("fffd 0003 010203 {SET}"),
        format!("{SET} fffe 0000"),
        "0012 0014 7fffffff 20010db8000a0000 20010db8000b0000".into(),
    ] {
        let (a, pds) = with_extensions(&ext);
        assert_eq!((verify_cga(&a, &pds), verify_hba(&a, &pds)), (Ok(()), Ok(())), "{ext}");
        assert!(!pds.has_public_key());
        let mut changed = pds.as_bytes().to_vec();
        for i in changed.len() - pds.extensions().len()..changed.len() {
            changed[i] ^= 1;
            if let Ok(p) = Pds::parse(&changed) {
                assert!(verify_hba(&a, &p).is_err(), "octet {i}");
            }
            changed[i] ^= 1;
        }
    }
    // HC-PDS-08, HC-MPE-05: no HBA, still a CGA
    for (ext, why) in [
        ("", NoMultiPrefix::Absent),
        ("fffd 0001 00", NoMultiPrefix::Absent),
        ("0012 0004 00000000", NoMultiPrefix::BadLength),
        ("0012 0000", NoMultiPrefix::BadLength),
        ("0012 0010 00000000 20010db8000a0000 20010db8", NoMultiPrefix::BadLength),
        (&format!("{SET}{SET}"), NoMultiPrefix::Duplicate),
        (&format!("{SET} 00"), NoMultiPrefix::MalformedExtensions),
        (&format!("{SET} 0000 01"), NoMultiPrefix::MalformedExtensions),
        (&format!("{SET} 0000 0001"), NoMultiPrefix::MalformedExtensions),
        ("0012 0015 00000000 20010db8000a0000 20010db8000b0000", NoMultiPrefix::MalformedExtensions),
    ] {
        let (a, pds) = with_extensions(ext);
        assert_eq!(pds.multi_prefix(), None, "{ext}");
        assert_eq!(verify_hba(&a, &pds), Err(VerifyError::MethodInconsistent(why)), "{ext}");
        assert_eq!(verify_cga(&a, &pds), Ok(()), "{ext}");
        assert_eq!(pds.has_public_key(), !ext.contains("0012"), "{ext}");
    }
}

#[test]
fn raw_key_field_verifies() {
    // HC-VER-15, HC-VER-16, HC-CX-08: 384 bits straight in the BIT STRING, as LinShim6 writes them
    let key = [&hex("3042 300d06092a864886f70d0101010500 0331 00")[..], &[0x5a; 48]].concat();
    let set = i2(0, 0);
    let (_, own) = &set.members()[0];
    let bytes = [&own.as_bytes()[..25], &key, own.extensions()].concat();
    let pds = Pds::parse(&bytes).unwrap();
    for p in ["a", "b", "c"] {
        let p = prefix(&format!("2001:db8:{p}::"));
        let mut a = [0; 16];
        a[..8].copy_from_slice(&p);
        a[8..].copy_from_slice(&hash1(&pds.modifier(), p, 0, &bytes[25..]));
        a[8] &= 0x1c;
        assert_eq!(verify_hba(&a.into(), &pds), Ok(()));
    }
}

#[test]
fn generator_refuses() {
    // HC-MPE-06, HC-GEN-17, HC-HBA-15
    let mut rng = SeededRng::new(2);
    let mut make = |p: &[[u8; 8]], sec| HbaSet::generate(p, sec, None, &mut rng).map(|s| s.members().len());
    let many: Vec<[u8; 8]> = (0..33u64).map(|i| (0x2001_0db8 << 32 | i).to_be_bytes()).collect();
    assert_eq!(make(&[], 0), Err(GenerateError::NoPrefix));
    assert_eq!(make(&many[..32], 0), Ok(32));
    assert_eq!(make(&many, 0), Err(GenerateError::TooManyPrefixes(33)));
    assert_eq!(make(&[many[1], many[2], many[1]], 0), Err(GenerateError::DuplicatePrefix(many[1])));
    for sec in 3..8 {
        assert_eq!(make(&many[..1], sec), Err(GenerateError::Sec(sec)));
    }
    // HC-MPE-07
    assert_eq!(make(&[prefix("fd00:1:2:3::"), many[0]], 0), Ok(2));
}

#[test]
fn search_wraps_and_cancels() {
    // HC-GEN-07
    let seed = HbaSeed { modifier: [0xff; 16], ..seed_i2(0) };
    let set = HbaSet::generate_from(&prefixes(&["a", "b"]), 1, None, &seed, &mut go_on).unwrap();
    assert!(u128::from_be_bytes(set.modifier()) < 1 << 32);
    assert_eq!(u128::from_be_bytes(set.modifier()) + 2, u128::from(set.tried()));
    // HC-GEN-16
    let mut calls = Vec::new();
    let cancelled = HbaSet::generate_from(&prefixes(&["a"]), 2, None, &seed_i2(0), &mut |n| {
        calls.push(n);
        if calls.len() == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!(cancelled, Err(GenerateError::Cancelled));
    assert_eq!(calls, [1 << 16, 2 << 16]);
}

#[test]
fn random_sets_verify() {
    // HC-TV-10, HC-GEN-05, HC-GEN-13, HC-GEN-15, HC-GEN-18, HC-HBA-10, HC-HBA-16
    let mut rng = SeededRng::new(3);
    let key = hex(KEY_I4);
    for round in 0..1000 {
        let n = 1 + rng.below(8);
        let p: Vec<[u8; 8]> = (0..n).map(|_| rng.u64().to_be_bytes()).collect();
        let key_der = (round % 2 == 0).then_some(&key[..]);
        let set = HbaSet::generate(&p, 0, key_der, &mut rng).unwrap();
        for (i, (a, own)) in set.members().iter().enumerate() {
            assert_eq!(a.octets()[..8], p[i]);
            assert_eq!(a.octets()[8] & 0xe3, 0);
            assert_eq!(verify_cga(a, own), Ok(()));
            assert_eq!(Pds::parse(own.as_bytes()).as_ref(), Ok(own));
            for (b, other) in set.members() {
                assert_eq!(verify_hba(a, other), Ok(()));
                assert!(a == b || a.octets()[8..] != b.octets()[8..]);
            }
        }
        let again = HbaSet::generate(&p, 0, key_der, &mut rng).unwrap();
        assert!(again.addresses().zip(set.addresses()).all(|(x, y)| x != y));
    }
}

#[test]
fn mac_separates_domains_and_fields() {
    // S6-N-41
    let key = [7; 32];
    let base = mac(&key, 1, &[b"ab", b"c"]);
    assert_eq!(base, mac(&key, 1, &[b"ab", b"c"]));
    for other in [
        mac(&key, 2, &[b"ab", b"c"]),
        mac(&key, 1, &[b"a", b"bc"]),
        mac(&key, 1, &[b"abc"]),
        mac(&key, 1, &[b"ab", b"c", b""]),
        mac(&[8; 32], 1, &[b"ab", b"c"]),
    ] {
        assert_ne!(base, other);
    }
    // HMAC-SHA-256 of the domain octet alone, checked with Python's hmac module
    assert_eq!(mac(&[0; 32], 0, &[])[..], hex("6620b31f2924b8c01547745f41825d322336f83e"));
    assert!(ct_eq(b"", b"") && ct_eq(b"xyz", b"xyz"));
    assert!(!ct_eq(b"xyz", b"xyy") && !ct_eq(b"xyz", b"xy") && !ct_eq(b"xyz", b"ayz"));
}

proptest! {
    // HC-TV-10: no octets make the parser or a verifier panic
    #[test]
    fn pds_fuzz(bytes in proptest::collection::vec(any::<u8>(), 0..400), a in any::<u128>()) {
        if let Ok(pds) = Pds::parse(&bytes) {
            prop_assert_eq!(pds.as_bytes(), &bytes[..]);
            let _ = verify_cga(&a.into(), &pds);
            let _ = verify_hba(&a.into(), &pds);
            let _ = verify_signature(&a.into(), &pds, 0, &[a.into()], &bytes);
        }
    }

    // HC-PDS-11, HC-TV-10: from a good PDS with changed octets
    #[test]
    fn pds_mutation(changes in proptest::collection::vec((0usize..187, any::<u8>()), 1..6), cut in 0usize..200) {
        let set = i2(0, 0);
        let (a, pds) = &set.members()[0];
        let mut bytes = pds.as_bytes().to_vec();
        for (at, value) in changes {
            if let Some(b) = bytes.get_mut(at) { *b = value; }
        }
        bytes.truncate(cut);
        if let Ok(p) = Pds::parse(&bytes) {
            prop_assert_eq!(p.as_bytes(), &bytes[..]);
            if bytes[..16] != pds.as_bytes()[..16] || bytes[24..] != pds.as_bytes()[24..] {
                prop_assert!(verify_hba(a, &p).is_err());
            }
        }
    }
}
