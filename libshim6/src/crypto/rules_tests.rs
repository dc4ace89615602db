//! What verification costs, what Sec and the hash function depend on, and which keys are good enough: rules of RFC 3972,
//! RFC 4982 and RFC 5535 that no vector shows by itself.

use super::generate::generate_cga_unchecked;
use super::verify::{HASHES, hash1, hash2};
use super::*;
use crate::rng::{Rng, SeededRng};
use ring::digest::{SHA256, digest};
use std::net::Ipv6Addr;
use std::ops::ControlFlow;

const PREFIX: [u8; 8] = [0x20, 1, 0xd, 0xb8, 0, 0xa, 0, 0];
const OTHER: [u8; 8] = [0x20, 1, 0xd, 0xb8, 0, 0xb, 0, 0];
/// Parameters with 32 zero bits in Hash2, which took 332103568 hashes to find (`tests/vectors/make.py`), and their CGA.
const SEC_TWO: (&str, &str) = (
    "2001:db8:a:0:508b:2a7d:53e9:30d5",
    "00000000000000000000000013cb7f8f20010db8000a00000030819f300d06092a864886f70d010101050003818d0030\
    818902818100c2b0cda7a5b3dd9e8fb75972dd7d8ba420b4fb1e4fa3c5b1b02ea24812baf9fa30b60955d23090516748\
    95232a7365a619d5994e1d4e170c895c24254452efcec14d8d7063f9502bb779f9448f7882ebfe7173df6b700ede1e22\
    9200a2ac9c6513ca4fdfb675139a0e44493e95140077f718d83a4411c6241116d045f10078450203010001",
);
/// Those octets of an address that verification compares: all of the interface identifier but Sec, u and g.
const MASK: u64 = 0x1cff_ffff_ffff_ffff;

fn go_on(_: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn key(seed: u64) -> SigningKey {
    SigningKey::generate(1024, &mut SeededRng::new(seed)).unwrap()
}

/// An RSA public key with a modulus of `bits` bits and exponent 65537. Nobody has the private key.
fn rsa_spki(bits: usize) -> Vec<u8> {
    fn element(tag: u8, contents: &[u8]) -> Vec<u8> {
        let n = contents.len();
        let mut out = match n {
            0..=0x7f => vec![tag, n as u8],
            0x80..=0xff => vec![tag, 0x81, n as u8],
            _ => vec![tag, 0x82, (n >> 8) as u8, n as u8],
        };
        out.extend_from_slice(contents);
        out
    }
    let mut modulus = vec![0x5b; bits.div_ceil(8)];
    modulus[0] = 1 << ((bits - 1) % 8);
    if modulus[0] & 0x80 != 0 {
        modulus.insert(0, 0);
    }
    let numbers = [element(2, &modulus), element(2, &[1, 0, 1])].concat();
    let string = [&[0][..], &element(0x30, &numbers)].concat();
    // The AlgorithmIdentifier of RFC 3279 section 2.3.1
    let algorithm = [0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 1, 5, 0];
    element(0x30, &[&algorithm[..], &element(3, &string)].concat())
}

/// The address of `pds` with this Sec, from nothing but a hash function: `hash` over the parameters.
fn by_hand(pds: &Pds, sec: u8, hash: &[u8]) -> Ipv6Addr {
    let mut octets = [0; 16];
    octets[..8].copy_from_slice(&pds.subnet_prefix());
    octets[8..].copy_from_slice(&hash[..8]);
    octets[8] = octets[8] & 0x1c | sec << 5;
    octets.into()
}

fn sha1_of(octets: &[u8]) -> Vec<u8> {
    digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, octets).as_ref().to_vec()
}

/// Parameters with nine zero octets for Subnet Prefix and Collision Count: what Hash2 covers.
fn zeroed(pds: &Pds) -> Vec<u8> {
    let mut octets = pds.as_bytes().to_vec();
    octets[16..25].fill(0);
    octets
}

/// How many hashes a verification took, and what it said.
fn counted<T>(verify: impl FnOnce() -> T) -> (u64, T) {
    let before = HASHES.get();
    let said = verify();
    (HASHES.get() - before, said)
}

#[test]
fn a_collision_count_above_two_costs_no_hash() {
    // HC-PDS-02
    let key = rsa_spki(1024);
    let (addr, pds) =
        generate_cga(PREFIX, 0, &key, &CgaSeed::random(&mut SeededRng::new(1)), &mut go_on).unwrap();
    let set = HbaSet::generate(&[PREFIX, OTHER], 0, None, &mut SeededRng::new(2)).unwrap();
    for count in 3..=255 {
        for (pds, hba) in [(&pds, false), (&set.members()[0].1, true)] {
            let mut octets = pds.as_bytes().to_vec();
            octets[24] = count;
            let changed = Pds::parse(&octets).unwrap();
            // The address that these parameters would give, so that nothing else can be wrong with it
            let made = by_hand(&changed, 0, &sha1_of(&octets));
            assert_ne!(made, addr);
            let verify = || if hba { verify_hba(&made, &changed) } else { verify_cga(&made, &changed) };
            assert_eq!(counted(verify), (0, Err(VerifyError::CollisionCount(count))));
        }
    }
    for count in 0..=2 {
        let mut octets = pds.as_bytes().to_vec();
        octets[24] = count;
        let made = by_hand(&pds, 0, &sha1_of(&octets));
        assert_eq!(verify_cga(&made, &Pds::parse(&octets).unwrap()), Ok(()));
    }
}

#[test]
fn an_address_is_a_cga_by_mask_and_zero_bits() {
    // HC-GEN-04
    let set = HbaSet::generate(&[PREFIX, OTHER], 1, None, &mut SeededRng::new(3)).unwrap();
    let (addr, pds) = &set.members()[0];
    let id = u64::from_be_bytes(addr.octets()[8..].try_into().unwrap());
    for bit in 0..64 {
        let changed = id ^ (1 << bit);
        let mut octets = addr.octets();
        octets[8..].copy_from_slice(&changed.to_be_bytes());
        let said = verify_cga(&octets.into(), pds);
        if MASK & (1 << bit) != 0 {
            assert_eq!(said, Err(VerifyError::Hash1), "bit {bit}");
        } else if bit < 61 {
            assert_eq!(said, Ok(()), "u and g");
        } else {
            // Sec 0, 3 and 5
            let sec = (changed >> 61) as u8;
            assert_eq!(said, if sec == 0 { Ok(()) } else { Err(VerifyError::Sec(sec)) });
        }
    }
    // As many zero bits as Sec says, or more: with one less it is none
    let mut rng = SeededRng::new(4);
    let mut seen = [0u32; 2];
    while seen.contains(&0) {
        let mut modifier = [0; 16];
        rng.fill(&mut modifier);
        let search = Search::for_set(&[PREFIX], 0, None, &[7; 48]).unwrap().with_difficulty(15);
        let modifier = modifier_at(&modifier, search.find(&modifier, 0, u64::MAX).unwrap());
        let seed = HbaSeed { modifier, extended_modifier: [7; 48], collision_count: 0 };
        let made = HbaSet::generate_from(&[PREFIX], 0, None, &seed, &mut go_on).unwrap();
        let (_, pds) = &made.members()[0];
        let hash = sha1_of(&zeroed(pds));
        let enough = hash[..2] == [0, 0];
        assert!(enough || hash[..2] == [0, 1]);
        let sec1 = by_hand(pds, 1, &sha1_of(pds.as_bytes()));
        assert_eq!(verify_cga(&sec1, pds), if enough { Ok(()) } else { Err(VerifyError::Hash2) });
        seen[usize::from(enough)] += 1;
    }
}

#[test]
fn verification_costs_two_hashes_at_most() {
    // HC-VER-06
    let set = |sec| HbaSet::generate(&[PREFIX, OTHER], sec, None, &mut SeededRng::new(5)).unwrap();
    for (sec, hashes) in [(0, 1), (1, 2)] {
        let set = set(sec);
        for (addr, _) in set.members() {
            let (_, pds) = &set.members()[0];
            assert_eq!(counted(|| verify_hba(addr, pds)), (hashes, Ok(())), "Sec {sec}");
        }
        let (addr, pds) = &set.members()[1];
        assert_eq!(counted(|| verify_cga(addr, pds)), (hashes, Ok(())), "Sec {sec}");
        // Nothing is made up for by trying again
        let foreign = self::set_of(6);
        assert!(counted(|| verify_cga(addr, &foreign.members()[1].1)).0 <= 2);
    }
    let (addr, pds) = sec_two();
    assert_eq!(counted(|| verify_cga(&addr, &pds)), (2, Ok(())));
}

fn sec_two() -> (Ipv6Addr, Pds) {
    let digits = SEC_TWO.1.as_bytes().chunks(2);
    let octets: Vec<u8> =
        digits.map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap()).collect();
    (SEC_TWO.0.parse().unwrap(), Pds::parse(&octets).unwrap())
}

fn set_of(seed: u64) -> HbaSet {
    HbaSet::generate(&[PREFIX, OTHER], 0, None, &mut SeededRng::new(seed)).unwrap()
}

#[test]
fn hba_is_cga_with_another_prefix() {
    // HC-VER-09
    for seed in 0..20 {
        let set = set_of(seed);
        let (addr, own) = &set.members()[1];
        let (_, pds) = &set.members()[0];
        // A copy of the parameters with the prefix of the address
        let mut copy = pds.as_bytes().to_vec();
        copy[16..24].copy_from_slice(&OTHER);
        assert_eq!(copy, own.as_bytes());
        assert_eq!(verify_cga(addr, &Pds::parse(&copy).unwrap()), Ok(()));
        assert_eq!(verify_hba(addr, pds), Ok(()));
        assert_eq!(verify_cga(addr, pds), Err(VerifyError::Prefix));
        // A prefix that is not in the extension: refused, although the copy would be a CGA
        copy[16..24].copy_from_slice(&[0x20, 1, 0xd, 0xb8, 0, 0xc, 0, 0]);
        let outside = Pds::parse(&copy).unwrap();
        let addr = by_hand(&outside, 0, &sha1_of(&copy));
        assert_eq!(verify_cga(&addr, &outside), Ok(()));
        assert_eq!(verify_hba(&addr, &outside), Err(VerifyError::Prefix));
    }
}

#[test]
fn sec_is_read_from_the_address_alone() {
    // HC-SEC-02, HC-SEC-04, HC-VER-08
    let set = HbaSet::generate(&[PREFIX], 1, None, &mut SeededRng::new(8)).unwrap();
    let (_, strong) = &set.members()[0];
    let weak = set_of(8);
    let (_, weak) = &weak.members()[0];
    // Whatever an extension of the parameters says
    for claim in 0..8u8 {
        for (pds, fit) in [(strong, 1), (weak, 0)] {
            let claimed = [pds.as_bytes(), &[0xff, 0xfd, 0, 1, claim << 5]].concat();
            let claimed = Pds::parse(&claimed).unwrap();
            // The extension is hashed too, so the work in the parameters is gone: Sec 0 is left
            for sec in 0..8 {
                let addr = by_hand(&claimed, sec, &sha1_of(claimed.as_bytes()));
                let expect = match sec {
                    0 => Ok(()),
                    1 | 2 => Err(VerifyError::Hash2),
                    _ => Err(VerifyError::Sec(sec)),
                };
                assert_eq!(verify_cga(&addr, &claimed), expect, "extension {claim}, Sec {sec}");
                // One meaning per value: the same parameters, judged by the bits of the address
                let addr = by_hand(pds, sec, &sha1_of(pds.as_bytes()));
                let good = sec <= fit;
                assert_eq!(verify_cga(&addr, pds).is_ok(), good, "Sec {sec}");
                assert_eq!(verify_hba(&addr, pds).is_ok(), good, "Sec {sec}");
            }
        }
    }
    let (addr, pds) = sec_two();
    for sec in 0..=2 {
        let addr = by_hand(&pds, sec, &sha1_of(pds.as_bytes()));
        assert_eq!(verify_cga(&addr, &pds), Ok(()), "Sec {sec}");
    }
    assert_eq!(sec_of(&addr), 2);
}

#[test]
fn generation_follows_sec() {
    // HC-SEC-03
    let key = rsa_spki(1024);
    for sec in 0..=1 {
        let seed = HbaSeed::random(&mut SeededRng::new(9));
        let made = HbaSet::generate_from(&[PREFIX, OTHER], sec, None, &seed, &mut go_on).unwrap();
        let cga_seed = CgaSeed::random(&mut SeededRng::new(10));
        let cga = generate_cga(PREFIX, sec, &key, &cga_seed, &mut go_on).unwrap();
        for (addr, pds) in made.members().iter().chain([&cga]) {
            assert_eq!(*addr, by_hand(pds, sec, &sha1_of(pds.as_bytes())));
            if sec == 1 {
                assert_eq!(sha1_of(&zeroed(pds))[..2], [0, 0]);
            }
        }
        // With Sec 0 there is nothing to search for
        assert_eq!(made.tried() == 0, sec == 0);
        assert_eq!(made.modifier() == seed.modifier, sec == 0);
        assert_eq!(cga.1.modifier() == cga_seed.modifier, sec == 0);
    }
    for sec in 3..8 {
        let seed = CgaSeed::random(&mut SeededRng::new(11));
        assert_eq!(generate_cga(PREFIX, sec, &key, &seed, &mut go_on), Err(GenerateError::Sec(sec)));
    }
}

#[test]
fn sha_1_and_no_other_hash() {
    // HC-SEC-07
    let key = key(12);
    let seed = CgaSeed::random(&mut SeededRng::new(13));
    let (addr, pds) = generate_cga(PREFIX, 0, key.public_der(), &seed, &mut go_on).unwrap();
    assert_eq!(addr, by_hand(&pds, 0, &sha1_of(pds.as_bytes())));
    assert_eq!(hash1(&pds.modifier(), PREFIX, 0, pds.key_der())[..], sha1_of(pds.as_bytes())[..8]);
    assert_eq!(hash2(&pds.modifier(), pds.key_der())[..], sha1_of(&zeroed(&pds))[..14]);
    let stronger = by_hand(&pds, 0, digest(&SHA256, pds.as_bytes()).as_ref());
    assert_eq!(verify_cga(&stronger, &pds), Err(VerifyError::Hash1));
    // The signature: a good one of the same key over the same octets, but with SHA-256
    let locators = [addr, "2001:db8:c::1".parse().unwrap()];
    let good = key.sign(1, &locators, &mut SeededRng::new(14)).unwrap();
    assert_eq!(verify_signature(&addr, &pds, 1, &locators, &good), Ok(()));
    let pem = key.to_pem().unwrap();
    let der = ::pem::parse(pem.as_bytes()).unwrap().into_contents();
    let octets = signed_octets(1, &locators);
    let info = [
        0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
        0x04, 0x20,
    ];
    let private = <rsa::RsaPrivateKey as rsa::pkcs8::DecodePrivateKey>::from_pkcs8_der(&der).unwrap();
    let scheme = rsa::Pkcs1v15Sign { hash_len: Some(32), prefix: Box::new(info) };
    let other = private.sign(scheme, digest(&SHA256, &octets).as_ref()).unwrap();
    assert_eq!(other.len(), good.len());
    let refused = verify_signature(&addr, &pds, 1, &locators, &other);
    assert_eq!(refused, Err(SignatureError::Signature));
}

#[test]
fn a_new_key_is_a_new_address() {
    // HC-KEY-08: the remedy for a key that became too short; nothing revokes the old one
    let (old, new) = (key(15), key(16));
    let seed = CgaSeed::random(&mut SeededRng::new(17));
    let make = |key: &SigningKey| generate_cga(PREFIX, 0, key.public_der(), &seed, &mut go_on).unwrap();
    let ((old_addr, old_pds), (new_addr, new_pds)) = (make(&old), make(&new));
    assert_ne!(old_addr, new_addr);
    assert_eq!((verify_cga(&old_addr, &old_pds), verify_cga(&new_addr, &new_pds)), (Ok(()), Ok(())));
    assert_eq!(verify_cga(&old_addr, &new_pds), Err(VerifyError::Hash1));
    // The new key does not speak for the old address, and the old one does still
    let locators = [new_addr];
    let mut rng = SeededRng::new(18);
    let signed = new.sign(1, &locators, &mut rng).unwrap();
    assert!(verify_signature(&old_addr, &old_pds, 1, &locators, &signed).is_err());
    let signed = old.sign(1, &locators, &mut rng).unwrap();
    assert_eq!(verify_signature(&old_addr, &old_pds, 1, &locators, &signed), Ok(()));
}

#[test]
fn keys_below_1024_bits() {
    // S6-16-1, LS-G-12, LS-CX-03, HC-KEY-01, HC-KEY-03
    let seed = CgaSeed::random(&mut SeededRng::new(19));
    for bits in [384, 512, 768, 1016, 1023] {
        let spki = rsa_spki(bits);
        assert_eq!(rsa_bits(&spki), Some(bits));
        let short = Err(SignatureError::KeyBits(bits));
        let made = generate_cga(PREFIX, 0, &spki, &seed, &mut go_on);
        assert_eq!(made, Err(GenerateError::Key(SignatureError::KeyBits(bits))));
        let made = HbaSet::generate(&[PREFIX], 0, Some(&spki), &mut SeededRng::new(20));
        assert_eq!(made, Err(GenerateError::Key(SignatureError::KeyBits(bits))));
        // In the parameters of a peer: as a CGA
        let (addr, pds) = generate_cga_unchecked(PREFIX, 0, &spki, &seed, &mut go_on).unwrap();
        assert_eq!(verify_signature(&addr, &pds, 1, &[addr], &vec![1; bits / 8]), short);
        // ... and as an HBA set, with whose hashes the key has nothing to do (RFC 5535 section 6)
        let seed = HbaSeed::random(&mut SeededRng::new(21));
        let set = HbaSet::generate_from(&[PREFIX, OTHER], 0, Some(&spki), &seed, &mut go_on).unwrap();
        let [(a, own), (b, other)] = set.members() else { panic!() };
        assert_eq!((verify_hba(a, other), verify_hba(b, own)), (Ok(()), Ok(())));
        assert_eq!(verify_signature(a, own, 1, &[*b], &vec![1; bits / 8]), short);
    }
    for bits in [1024, 1025, 4096] {
        assert!(generate_cga(PREFIX, 0, &rsa_spki(bits), &seed, &mut go_on).is_ok(), "{bits}");
    }
}

#[test]
fn one_encoding_of_public_keys() {
    // HC-CX-11, HC-PDS-03: RFC 3280 and RFC 5280 mean the same octets, in a CGA and in a set
    let key = key(22);
    let spki = key.public_der();
    let algorithm = &[0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 1, 5, 0][..];
    assert_eq!(spki[..3], [0x30, 0x81, 0x9f]);
    assert_eq!(&spki[3..18], algorithm);
    assert_eq!(rsa_spki(1024)[..29], spki[..29], "up to the modulus");
    let seed = CgaSeed::random(&mut SeededRng::new(23));
    let (_, cga) = generate_cga(PREFIX, 0, spki, &seed, &mut go_on).unwrap();
    let set = HbaSet::generate(&[PREFIX, OTHER], 0, Some(spki), &mut SeededRng::new(24)).unwrap();
    assert_eq!((cga.key_der(), set.members()[0].1.key_der()), (spki, spki));
}
