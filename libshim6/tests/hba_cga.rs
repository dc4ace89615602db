//! Vectors for HBA and CGA that `vectors/make.py` computed from the RFCs, knowing nothing of this code: whole sets and CGAs, verdicts
//! on broken and foreign parameters, signatures.

use serde_json::Value;
use shim6::crypto::{
    CgaSeed, HbaSeed, HbaSet, Pds, SignatureError, VerifyError, addresses_of, generate_cga, verify_cga,
    verify_hba, verify_signature,
};
use std::net::Ipv6Addr;
use std::ops::ControlFlow;
use std::sync::OnceLock;

fn vectors() -> &'static Value {
    static VECTORS: OnceLock<Value> = OnceLock::new();
    VECTORS.get_or_init(|| serde_json::from_str(include_str!("vectors/hba-cga.json")).expect("vectors"))
}

fn list(of: &'static str) -> &'static [Value] {
    let list = vectors()[of].as_array().expect("a list");
    assert!(list.len() > 9, "{of}");
    list
}

fn octets(v: &Value) -> Vec<u8> {
    let digits = v.as_str().expect("hex").as_bytes();
    digits.chunks(2).map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap()).collect()
}

fn array<const N: usize>(v: &Value) -> [u8; N] {
    octets(v).try_into().expect("the length")
}

fn address(v: &Value) -> Ipv6Addr {
    v["address"].as_str().unwrap().parse().unwrap()
}

fn number(v: &Value) -> u8 {
    v.as_u64().unwrap().try_into().unwrap()
}

#[test]
fn sets_and_addresses() {
    // HC-GEN-01, HC-GEN-11, HC-HBA-01, HC-HBA-12, HC-MPE-02, LS-F-05, LS-F-06, HC-VER-08
    let mut seen = [[0; 2]; 3];
    for v in list("sets") {
        let (name, hba, sec) = (v["name"].as_str().unwrap(), v["kind"] == "hba", number(&v["sec"]));
        let prefixes: Vec<[u8; 8]> = v["prefixes"].as_array().unwrap().iter().map(array).collect();
        let (modifier, count) = (array(&v["modifier"]), number(&v["count"]));
        let key = v["key"].as_str().map(|_| octets(&v["key"]));
        let go_on = &mut |_| ControlFlow::Continue(());
        let members = if hba {
            let seed = HbaSeed { modifier, extended_modifier: array(&v["extended"]), collision_count: count };
            let set = HbaSet::generate_from(&prefixes, sec, key.as_deref(), &seed, go_on).unwrap();
            assert_eq!(Some(set.tried()), v["tried"].as_u64(), "{name}");
            set.members().to_vec()
        } else {
            let seed = CgaSeed { modifier, collision_count: count };
            vec![generate_cga(prefixes[0], sec, &key.unwrap(), &seed, go_on).unwrap()]
        };
        let expected = v["members"].as_array().unwrap();
        assert_eq!(members.len(), expected.len(), "{name}");
        for ((addr, pds), expected) in members.iter().zip(expected) {
            assert_eq!(*addr, address(expected), "{name}");
            assert_eq!(pds.as_bytes(), octets(&expected["pds"]), "{name}");
            assert_eq!(verify_cga(addr, pds), Ok(()), "{name}");
            for (other, _) in &members {
                assert_eq!(verify_hba(other, pds).is_ok(), hba, "{name}");
            }
            // One member gives the others
            assert_eq!(addresses_of(pds, Some(sec)).as_deref(), Ok(&members[..]), "{name}");
        }
        seen[usize::from(sec)][usize::from(hba)] += 1;
    }
    // Of Sec 2 there is a CGA only
    assert!(seen.as_flattened().iter().filter(|n| **n > 0).count() >= 5, "{seen:?}");
}

#[test]
fn verdicts_on_any_octets() {
    // HC-PDS-06, HC-PDS-08, HC-PDS-10, HC-MPE-03, HC-MPE-05, HC-VER-01, HC-VER-09
    let mut seen = [[0; 2]; 2];
    for v in list("verdicts") {
        let (addr, octets) = (address(v), octets(&v["pds"]));
        let parsed = Pds::parse(&octets);
        let cga = parsed.as_ref().is_ok_and(|p| verify_cga(&addr, p).is_ok());
        let hba = parsed.as_ref().is_ok_and(|p| verify_hba(&addr, p).is_ok());
        assert_eq!((Some(cga), Some(hba)), (v["cga"].as_bool(), v["hba"].as_bool()), "{v} {parsed:?}");
        seen[usize::from(cga)][usize::from(hba)] += 1;
    }
    assert!(seen.as_flattened().iter().all(|n| *n > 5), "{seen:?}");
}

#[test]
fn signatures() {
    // HC-SIG-01, HC-SIG-02, HC-SIG-03, HC-SIG-04, HC-SIG-05, HC-SIG-06, S6-7.2-10, S6-3-2, LS-F-05
    for v in list("signatures") {
        let (ulid, pds) = (address(v), Pds::parse(&octets(&v["pds"])).unwrap());
        let generation = v["generation"].as_u64().unwrap() as u32;
        let locators: Vec<Ipv6Addr> =
            v["locators"].as_array().unwrap().iter().map(|a| a.as_str().unwrap().parse().unwrap()).collect();
        let signature = octets(&v["signature"]);
        let check = |ulid: &Ipv6Addr, generation, locators: &[Ipv6Addr], signature: &[u8]| {
            verify_signature(ulid, &pds, generation, locators, signature)
        };
        assert_eq!(check(&ulid, generation, &locators, &signature), Ok(()), "{}", v["name"]);
        let bad = Err(SignatureError::Signature);
        // A bit of each: the generation, each locator, the signature
        assert_eq!(check(&ulid, generation ^ 1, &locators, &signature), bad);
        for i in 0..locators.len() {
            let mut other = locators.clone();
            other[i] = (u128::from(other[i]) ^ 1 << (8 * i)).into();
            assert_eq!(check(&ulid, generation, &other, &signature), bad);
        }
        let mut other = signature.clone();
        other[0] ^= 1;
        assert_eq!(check(&ulid, generation, &locators, &other), bad);
        // A ULID that the parameters do not make, though it is signed
        let foreign = (u128::from(ulid) ^ 1).into();
        let refused = check(&foreign, generation, &locators, &signature);
        assert_eq!(refused, Err(SignatureError::Ulid(VerifyError::Hash1)));
    }
}
