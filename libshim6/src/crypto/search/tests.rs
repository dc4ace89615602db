//! A search that is divided finds what an undivided one finds.

use super::*;
use crate::crypto::{
    CgaSeed, HbaSeed, HbaSet, SigningKey, addresses_of, after_collision, generate_cga, sec_of, verify_cga,
};
use crate::rng::SeededRng;
use proptest::prelude::*;
use std::ops::ControlFlow;

const PREFIXES: [[u8; 8]; 2] = [[0x20, 1, 0xd, 0xb8, 0, 0xa, 0, 0], [0x20, 1, 0xd, 0xb8, 0, 0xb, 0, 0]];

fn go_on(_: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

#[test]
fn parts_find_the_same() {
    // HC-GEN-06, HC-GEN-07, HC-HBA-07
    let seed = HbaSeed::random(&mut SeededRng::new(1));
    let search = Search::for_set(&PREFIXES, 1, None, &seed.extended_modifier).unwrap();
    assert_eq!(search.expected(), 1 << 16);
    let whole = HbaSet::generate_from(&PREFIXES, 1, None, &seed, &mut go_on).unwrap();
    let mut from = 0;
    let found = loop {
        match search.find(&seed.modifier, from, 1000) {
            Some(n) => break n,
            None => from += 1000,
        }
    };
    assert_eq!(found + 1, whole.tried());
    let modifier = modifier_at(&seed.modifier, found);
    assert_eq!(modifier, whole.modifier());
    // With the modifier that was found the generation is over at once
    let seed = HbaSeed { modifier, ..seed };
    let made = HbaSet::generate_from(&PREFIXES, 1, None, &seed, &mut go_on).unwrap();
    assert_eq!((made.tried(), made.members()), (1, whole.members()));
    assert!(search.fits(&modifier) && !search.fits(&modifier_at(&modifier, 1)));
    assert_eq!(Search::for_set(&[], 1, None, &[0; 48]), Err(GenerateError::NoPrefix));
    assert_eq!(Search::for_cga(3, &[]), Err(GenerateError::Sec(3)));
}

#[test]
fn addresses_from_parameters() {
    // HC-GEN-11, HC-GEN-14, HC-HBA-11, HC-HBA-12, HC-HBA-14
    let key = SigningKey::generate(1024, &mut SeededRng::new(3)).unwrap();
    let mut rng = SeededRng::new(4);
    for sec in [0, 1] {
        for key in [None, Some(key.public_der())] {
            let seed = HbaSeed::random(&mut rng);
            let mut set = HbaSet::generate_from(&PREFIXES, sec, key, &seed, &mut go_on).unwrap();
            // One PDS gives the whole set
            for (_, pds) in set.members() {
                assert_eq!(addresses_of(pds, Some(sec)).as_deref(), Ok(set.members()));
            }
            if sec == 1 {
                assert_eq!(addresses_of(&set.members()[1].1, None).as_deref(), Ok(set.members()));
            }
            assert_eq!(addresses_of(&set.members()[0].1, Some(2)), Err(GenerateError::Work(2)));
            // Collisions
            for count in 1..=3 {
                let next: Result<Vec<_>, _> =
                    set.members().iter().map(|(a, p)| after_collision(a, p)).collect();
                let same = set.regenerate_after_collision();
                if count == 3 {
                    assert_eq!(
                        (next, same),
                        (Err(GenerateError::TooManyCollisions), Err(GenerateError::TooManyCollisions))
                    );
                } else {
                    assert_eq!(next.as_deref(), Ok(set.members()));
                }
            }
        }
    }
    let seed = CgaSeed::random(&mut rng);
    let (addr, pds) = generate_cga(PREFIXES[0], 1, key.public_der(), &seed, &mut go_on).unwrap();
    assert_eq!(addresses_of(&pds, None), Ok(vec![(addr, pds.clone())]));
    assert_eq!(addresses_of(&pds, Some(3)), Err(GenerateError::Sec(3)));
    let (next, next_pds) = after_collision(&addr, &pds).unwrap();
    assert_eq!((next_pds.collision_count(), sec_of(&next), verify_cga(&next, &next_pds)), (1, 1, Ok(())));
    assert_eq!(next_pds.modifier(), pds.modifier());
}

proptest! {
    #[test]
    fn any_division(start: [u8; 16], bits in 0u32..12, part in 1u64..3000) {
        let search = Search::for_cga(0, &[0x30, 0]).unwrap().with_difficulty(bits);
        let first = (0..).find(|n| search.fits(&modifier_at(&start, *n))).unwrap();
        let mut from = 0;
        while search.find(&start, from, part).is_none() {
            from += part;
        }
        prop_assert_eq!(search.find(&start, from, part), Some(first));
        // The difficulty is that of the zero bits
        let hash = hash2(&modifier_at(&start, first), &[0x30, 0]);
        prop_assert_eq!(u16::from_be_bytes([hash[0], hash[1]]) >> (16 - bits.max(1)) >> u32::from(bits == 0), 0);
    }
}
