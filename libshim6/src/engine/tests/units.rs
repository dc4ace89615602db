//! Parts of the engine by themselves.

use super::*;
use crate::engine::limit::Limiter;
use crate::engine::locators::LocalSet;
use crate::engine::table::Tags;
use crate::engine::trigger::{Negative, Trigger};
use crate::engine::validator::{R1Input, R1bisInput, Refused, Validators};
use std::collections::BTreeSet;

fn input() -> R1Input {
    let (local, peer) = (addr("2001:db8::1"), addr("2001:db8::2"));
    R1Input {
        tag: ContextTag::new(1),
        ulids: UlidPair { local, peer },
        locators: LocatorPair { local, peer },
        fii: 0,
    }
}

#[test]
fn tags_cycle_through_the_whole_space() {
    // LS-G-02, LS-G-04
    // S6-7.1-1, S6-7.1-3, S6-7.1-5, S6-C-4, S6-4.1-1
    let mut tags = Tags::with_bits(&mut SeededRng::new(1), 7, 0);
    let mut live = BTreeSet::new();
    for _ in 0..128 {
        let tag = tags.allocate(|t| !live.contains(&t)).expect("a tag");
        assert!(tag.value() < 128);
        assert!(live.insert(tag));
    }
    assert_eq!(tags.allocate(|t| !live.contains(&t)), None);
    // One that is freed is found again
    let freed = *live.iter().nth(50).unwrap();
    live.remove(&freed);
    assert_eq!(tags.allocate(|t| !live.contains(&t)), Some(freed));
    // Not in order
    let mut tags = Tags::with_bits(&mut SeededRng::new(1), 7, 0);
    let first: Vec<u64> = (0..128).map(|_| tags.allocate(|_| true).unwrap().value()).collect();
    let steps = first.windows(2).filter(|p| p[1] == (p[0] + 1) % 128).count();
    assert!(steps < 10, "{steps}");
}

#[test]
fn tags_keep_their_prefix() {
    // LS-G-03, LS-P-02
    // S6-7.1-2, S6-7.1-4, DESIGN section 5
    let mut tags = Tags::new(&mut SeededRng::new(2), Some(0xabcd));
    let mut seen = BTreeSet::new();
    let mut ones = [0u32; 31];
    for _ in 0..1000 {
        let tag = tags.allocate(|_| true).unwrap().value();
        assert_eq!(tag >> 31, 0xabcd);
        assert!(seen.insert(tag));
        for (bit, n) in ones.iter_mut().enumerate() {
            *n += (tag >> bit & 1) as u32;
        }
    }
    assert!(ones.iter().all(|n| (400..600).contains(n)), "{ones:?}");
    let mut all = Tags::new(&mut SeededRng::new(2), None);
    assert!((0..100).any(|_| all.allocate(|_| true).unwrap().value() >> 46 == 1));
}

#[test]
fn validators_bind_every_input() {
    // S6-7.10.1-2, S6-7.17.1-1, S6-N-8, S6-N-41
    let mut rng = SeededRng::new(3);
    let mut v = Validators::new(&mut rng, secs(30));
    let now = Time(5_000_000_000);
    let other = addr("2001:db8::3");
    let i = input();
    let (nonce, good) = v.issue_r1(now, &mut rng, &i);
    assert!(good.len() >= 16);
    assert_eq!(v.check_r1(now, nonce, &i, &good), Ok(()));
    for changed in [
        R1Input { tag: ContextTag::new(2), ..i },
        R1Input { fii: 1, ..i },
        R1Input { ulids: UlidPair { local: other, ..i.ulids }, ..i },
        R1Input { ulids: UlidPair { peer: other, ..i.ulids }, ..i },
        R1Input { locators: LocatorPair { local: other, ..i.locators }, ..i },
        R1Input { locators: LocatorPair { peer: other, ..i.locators }, ..i },
        R1Input { ulids: UlidPair { local: i.ulids.peer, peer: i.ulids.local }, ..i },
    ] {
        assert_eq!(v.check_r1(now, nonce, &changed, &good), Err(Refused::Wrong), "{changed:?}");
    }
    let b = R1bisInput { packet_tag: i.tag, locators: i.locators };
    let (nonce, good) = v.issue_r1bis(now, &mut rng, &b);
    assert_eq!(v.check_r1bis(now, nonce, &b, &good), Ok(()));
    for changed in [
        R1bisInput { packet_tag: ContextTag::new(2), ..b },
        R1bisInput { locators: LocatorPair { local: other, ..b.locators }, ..b },
        R1bisInput { locators: LocatorPair { peer: other, ..b.locators }, ..b },
    ] {
        assert_eq!(v.check_r1bis(now, nonce, &changed, &good), Err(Refused::Wrong));
    }
}

#[test]
fn validators_age_and_outlive_a_change_of_the_secret() {
    // S6-7.10.1-1, S6-7.10.1-3, S6-7.10.1-5, S6-7.13-3, S6-7.20-3, S6-7.17.1-2, S6-16-6
    let mut rng = SeededRng::new(4);
    let mut v = Validators::new(&mut rng, secs(30));
    let i = input();
    for start in [1u64, 590_500, 599_999, 600_001, 3_000_000] {
        let at = Time::ZERO + ms(start);
        let (nonce, good) = v.issue_r1(at, &mut rng, &i);
        for age in [0, 1, 29_000, 30_000] {
            let now = at + ms(age);
            assert_eq!(v.check_r1(now, nonce, &i, &good), Ok(()), "issued at {start} ms, {age} ms old");
            // Somebody else gets one meanwhile, with the new secret
            v.issue_r1(now, &mut rng, &i);
        }
        assert_eq!(v.check_r1(at + ms(31_001), nonce, &i, &good), Err(Refused::Stale));
        assert_eq!(v.check_r1(at, nonce.wrapping_add(1), &i, &good), Err(Refused::Stale));
    }
}

#[test]
fn the_limiter_counts_by_source_and_in_total() {
    // S6-N-47
    let mut l = Limiter::new(10, 25);
    let now = Time(10_000_000_000);
    let (a, a2) = (addr("2001:db8:0:1::1"), addr("2001:db8:0:1::2"));
    let allowed = |l: &mut Limiter, t, a: &Ipv6Addr| (0..100).filter(|_| l.allow(t, a)).count();
    assert_eq!(allowed(&mut l, now, &a), 10);
    assert_eq!(allowed(&mut l, now, &a2), 0);
    assert_eq!(allowed(&mut l, now, &addr("2001:db8:0:2::1")), 10);
    assert_eq!(allowed(&mut l, now, &addr("2001:db8:0:3::1")), 5);
    assert_eq!(allowed(&mut l, now + ms(500), &a), 5);
    assert_eq!(allowed(&mut l, now + secs(100), &a), 10);
    // Many sources share what is left, and do not fill the memory
    let mut l = Limiter::new(1, 1_000_000);
    let n = (0..5000u128).filter(|i| l.allow(now, &Ipv6Addr::from((i + 7) << 64))).count();
    assert_eq!(n, 1025);
    let later = now + secs(5);
    assert!(l.allow(later, &Ipv6Addr::from(99_999u128 << 64)));
}

#[test]
fn tables_of_strangers_are_bounded() {
    // S6-N-20, DESIGN section 6
    let mut t = Trigger::new(Default::default());
    let mut n = Negative::default();
    let pair = |i: u128| UlidPair { local: addr("2001:db8::1"), peer: Ipv6Addr::from(i) };
    for i in 0..20_000 {
        assert!(!t.count(Time(i as u64), pair(i), 1, 1, None));
        n.failed(pair(i), Time(1000 + i as u64));
        n.no_support(Ipv6Addr::from(i), Time(1000 + i as u64));
    }
    assert_eq!(t.expire(Time(u64::MAX)).len(), 8192);
    let (pairs, peers) = n.expire(Time(u64::MAX));
    assert_eq!((pairs.len(), peers.len()), (8192, 8192));
    assert_eq!(n.next_timeout(), None);
}

#[test]
fn a_set_never_uses_a_generation_twice_in_a_row_and_keeps_its_order() {
    // S6-N-3, S6-5.15.2-5, S6-5.15.2-4, S6-2-4
    let all = hba(0xa, &[1, 2, 3], 1);
    let mut rng = SeededRng::new(5);
    let mut set = LocalSet::new(all[0].addr, &all[..2], None, &mut rng);
    let mut seen = BTreeSet::new();
    assert!(seen.insert(set.list().unwrap().generation));
    for i in 0..200 {
        let hosts = if i % 2 == 0 { &all[..] } else { &all[..2] };
        assert!(set.refresh(hosts, &mut rng).list);
        assert!(!set.refresh(hosts, &mut rng).any);
        let list = set.list().unwrap();
        assert!(seen.insert(list.generation));
        let expected: Vec<(u8, Ipv6Addr)> = hosts.iter().map(|l| (1, l.addr)).collect();
        assert_eq!(list.locators, expected);
    }
    // Without anything on the host, the ULID stays
    assert!(set.refresh(&[], &mut rng).list);
    assert_eq!(set.addresses(), [all[0].addr]);
}

#[test]
fn defaults_are_those_of_the_rfc() {
    // S6-14-1
    let c = Config::default().shim6;
    let s = |d: Duration| d.as_secs();
    assert_eq!((c.i1_retries_max, s(c.i1_timeout)), (4, 4));
    assert_eq!((s(c.no_r1_holddown_time), s(c.icmp_holddown_time)), (60, 600));
    assert_eq!((s(c.i2_timeout), c.i2_retries_max), (4, 2));
    assert_eq!((s(c.i2bis_timeout), c.i2bis_retries_max), (4, 2));
    assert_eq!(s(c.validator_min_lifetime), 30);
    assert_eq!((s(c.update_timeout), s(c.max_update_timeout)), (4, 120));
}
