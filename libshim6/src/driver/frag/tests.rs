use super::*;
use proptest::prelude::*;

fn ulids(n: u8) -> UlidPair {
    UlidPair { local: [n; 16].into(), peer: [0x20; 16].into() }
}

fn bytes((header, part): &Fragment<'_>) -> Vec<u8> {
    [&header[..], part].concat()
}

fn raw(protocol: u8, offset: usize, more: bool, id: u8, part: &[u8]) -> Vec<u8> {
    let f = (offset as u16 | u16::from(more)).to_be_bytes();
    [&[protocol, 0, f[0], f[1], 0, 0, 0, id], part].concat()
}

#[test]
fn what_fits_is_not_fragmented() {
    let packet = vec![0; 1500 - 48];
    assert!(split(1500, 17, 1, &packet).is_none());
    let packet = vec![0; 1500 - 47];
    assert_eq!(split(1500, 17, 1, &packet).unwrap().len(), 2);
}

// S6-E-4: layout of the Fragment header behind the shim header, RFC 8200 section 4.5.
#[test]
fn fragments_as_laid_out_in_the_rfc() {
    let packet: Vec<u8> = (0..3000u32).map(|i| i as u8).collect();
    let f = split(1300, 17, 0x0102_0304, &packet).unwrap();
    // 1300 - 40 - 8 - 8 = 1244, rounded down to 1240 = 0x4d8.
    assert_eq!(f.iter().map(|p| p.1.len()).collect::<Vec<_>>(), [1240, 1240, 520]);
    assert_eq!(f[0].0, [17, 0, 0x00, 0x01, 1, 2, 3, 4]);
    assert_eq!(f[1].0, [17, 0, 0x04, 0xd9, 1, 2, 3, 4]);
    assert_eq!(f[2].0, [17, 0, 0x09, 0xb0, 1, 2, 3, 4]);
}

proptest! {
    // S6-E-5: in and out of order, with duplicates, several packets at once, whatever the path MTU.
    #[test]
    fn fragments_come_together_in_any_order(
        packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 1300..9000), 1..4),
        mtu in 1280usize..3000, seed: u64, duplicates in 0usize..5,
    ) {
        let mut all = Vec::new();
        for (i, p) in packets.iter().enumerate() {
            let Some(f) = split(mtu, 17, 7, p) else { continue };
            prop_assert!(f.iter().all(|x| 40 + 8 + 8 + x.1.len() <= mtu));
            all.extend(f.iter().map(|x| (i, bytes(x))));
        }
        let mut rng = crate::rng::SeededRng::new(seed);
        use crate::rng::Rng;
        let mut order: Vec<usize> = (0..all.len()).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, rng.below(i + 1));
        }
        let mut r = Reassembly::default();
        let mut done = vec![0; packets.len()];
        for (k, n) in order.iter().enumerate() {
            // Duplicates of the current fragment, before the packet is whole.
            let (i, data) = &all[*n];
            match r.handle(Time(k as u64), ulids(*i as u8), data) {
                Outcome::Complete(protocol, whole) => {
                    prop_assert_eq!(protocol, 17);
                    prop_assert_eq!(&whole, &packets[*i]);
                    done[*i] += 1;
                }
                Outcome::Waiting => {
                    for _ in 0..duplicates {
                        prop_assert_eq!(r.handle(Time(k as u64), ulids(*i as u8), data), Outcome::Waiting);
                    }
                }
                Outcome::Dropped => prop_assert!(false),
            }
        }
        for (i, p) in packets.iter().enumerate() {
            prop_assert_eq!(done[i], usize::from(split(mtu, 17, 7, p).is_some()));
        }
        prop_assert_eq!(r.cost, 0);
    }

    // No input may panic or break the bounds.
    #[test]
    fn garbage_stays_within_bounds(input in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..300)) {
        let mut r = Reassembly::default();
        for (i, mut d) in input.into_iter().enumerate() {
            if let Some(x) = d.get_mut(7) { *x &= 1 }
            if let Some(x) = d.get_mut(2) { *x = 0 }
            for x in d.iter_mut().take(7).skip(4) { *x = 0 }
            r.handle(Time(i as u64), ulids(0), &d);
            let cost: usize = r.packets.values().map(Partial::cost).sum();
            prop_assert_eq!(r.cost, cost);
        }
        r.expire(Time(u64::MAX));
        prop_assert_eq!((r.cost, r.packets.len()), (0, 0));
    }
}

// S6-E-5: overlapping fragments drop the whole packet, and what comes later of it.
#[test]
fn overlap_poisons_the_packet() {
    let now = Time(1);
    let cases: [&[Vec<u8>]; 4] = [
        &[raw(17, 0, true, 1, &[1; 16]), raw(17, 8, true, 1, &[2; 16])],
        &[raw(17, 8, true, 1, &[1; 16]), raw(17, 0, true, 1, &[2; 16])],
        // Two different ends.
        &[raw(17, 8, false, 1, &[1; 16]), raw(17, 24, true, 1, &[2; 16])],
        // The last one ends before another.
        &[raw(17, 16, true, 1, &[1; 16]), raw(17, 8, false, 1, &[2; 8])],
    ];
    for case in cases {
        let mut r = Reassembly::default();
        assert_eq!(r.handle(now, ulids(1), &case[0]), Outcome::Waiting);
        assert_eq!(r.handle(now, ulids(1), &case[1]), Outcome::Dropped);
        for rest in [raw(17, 0, true, 1, &[1; 8]), raw(17, 8, false, 1, &[1; 8])] {
            assert_eq!(r.handle(now, ulids(1), &rest), Outcome::Dropped);
        }
        assert_eq!(r.cost, 0);
        // The number is free again when its time is over.
        let later = now + TIMEOUT;
        assert_eq!(r.handle(later, ulids(1), &raw(17, 0, true, 1, &[1; 8])), Outcome::Waiting);
        assert!(matches!(
            r.handle(later, ulids(1), &raw(17, 8, false, 1, &[1; 1])),
            Outcome::Complete(17, _)
        ));
    }
}

#[test]
fn bad_fragments_are_dropped_and_atomic_ones_pass() {
    let mut r = Reassembly::default();
    for bad in [
        &raw(17, 0, true, 1, &[0; 7])[..],
        &raw(17, 65528, false, 1, &[0; 8]),
        &raw(17, 8, false, 1, &[]),
        &[17; 7],
    ] {
        assert_eq!(r.handle(Time(1), ulids(1), bad), Outcome::Dropped);
    }
    assert_eq!(
        r.handle(Time(1), ulids(1), &raw(58, 0, false, 1, b"x")),
        Outcome::Complete(58, b"x".to_vec())
    );
    assert!(r.packets.is_empty());
}

// S6-E-5: timeout and memory bound.
#[test]
fn fragments_wait_a_minute_and_in_bounded_memory() {
    let mut r = Reassembly::default();
    assert_eq!(r.handle(Time(5), ulids(1), &raw(17, 0, true, 1, &[0; 8])), Outcome::Waiting);
    assert_eq!(r.next_expiry(), Some(Time(5) + TIMEOUT));
    assert_eq!(r.expire(Time(4) + TIMEOUT), 0);
    assert_eq!(r.expire(Time(5) + TIMEOUT), 1);
    assert_eq!((r.next_expiry(), r.cost), (None, 0));
    for i in 0..20_000u64 {
        let mut f = raw(17, 0, true, 0, &[0; 4096]);
        f[4..8].copy_from_slice(&(i as u32).to_be_bytes());
        assert_eq!(r.handle(Time(i), ulids(1), &f), Outcome::Waiting);
        assert!(r.cost <= MAX_OCTETS && r.packets.len() <= MAX_PACKETS);
    }
    // The newest ones are still there.
    let mut f = raw(17, 4096, false, 0, &[0; 8]);
    f[4..8].copy_from_slice(&19_999u32.to_be_bytes());
    assert!(matches!(r.handle(Time(20_000), ulids(1), &f), Outcome::Complete(..)));
}
