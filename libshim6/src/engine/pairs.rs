//! Which locator pairs a context may use, and how they rank (RFC 5534 section 4.3, RFC 6724).

use crate::addr::{LocatorPair, UlidPair, common_prefix_len, is_servable};
use crate::rng::Rng;
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::net::Ipv6Addr;

/// An address of ours in Ls(local).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalCandidate {
    /// The address.
    pub addr: Ipv6Addr,
    /// RE-AD-05.
    pub operational: bool,
    /// Its preferred lifetime is over.
    pub deprecated: bool,
}

/// An address of the peer in Ls(peer).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerCandidate {
    /// The address.
    pub addr: Ipv6Addr,
    /// HBA or CGA verification passed; only then it may be probed (RE-PS-14).
    pub verified: bool,
    /// The peer flagged it BROKEN.
    pub broken: bool,
    /// The peer flagged it TRANSIENT: less stable than others.
    pub transient: bool,
    /// As in DNS SRV, lower first (S6-5.15.3-5); all equal where the peer sent none.
    pub priority: u8,
    /// As in DNS SRV (S6-5.15.3-6); takes effect through [`draw_weights`].
    pub weight: u8,
}

/// The pairs that may be probed, best first. Left out are local addresses that are not operational, peer locators
/// that are not verified, and addresses that Shim6 does not serve (RE-PS-01, RE-PS-14, RE-AD-02). The rank: not
/// BROKEN, ends of one kind (unique-local or global, RFC 6724 rule 6), the peer's priority, not
/// TRANSIENT, the ULID pair, local
/// address not deprecated (rule 3), longest common prefix of the two ends (rule 9), then as given (RE-PS-02,
/// RE-PS-03, RE-PS-15).
pub fn order(ulids: UlidPair, local: &[LocalCandidate], peer: &[PeerCandidate]) -> Vec<LocatorPair> {
    let local = local.iter().filter(|l| l.operational && is_servable(&l.addr));
    let mut ranked = Vec::new();
    for l in local {
        for p in peer.iter().filter(|p| p.verified && is_servable(&p.addr)) {
            let pair = LocatorPair { local: l.addr, peer: p.addr };
            let rank = (
                p.broken,
                is_unique_local(&l.addr) != is_unique_local(&p.addr),
                p.priority,
                p.transient,
                pair != ulids.as_locators(),
                l.deprecated,
                Reverse(common_prefix_len(&l.addr, &p.addr)),
            );
            ranked.push((rank, pair));
        }
    }
    ranked.sort_by_key(|(rank, _)| *rank);
    let mut seen = BTreeSet::new();
    ranked.into_iter().map(|(_, pair)| pair).filter(|pair| seen.insert(*pair)).collect()
}

/// Spread equal priorities by weight, as DNS SRV does (RFC 2782): peers of one priority get distinct ranks, drawn with
/// a probability proportional to their weight. Where all weights of a priority are equal it is left as it is.
/// Call it once per received preferences option, so that the order stays stable between calls.
pub fn draw_weights(rng: &mut dyn Rng, peer: &mut [PeerCandidate]) {
    let mut out = Vec::with_capacity(peer.len());
    let mut priorities: Vec<u8> = peer.iter().map(|p| p.priority).collect();
    priorities.sort_unstable();
    priorities.dedup();
    for priority in priorities {
        let mut group: Vec<usize> = (0..peer.len()).filter(|i| peer[*i].priority == priority).collect();
        if group.iter().all(|i| peer[*i].weight == peer[group[0]].weight) {
            out.push(group);
            continue;
        }
        while !group.is_empty() {
            let total: usize = group.iter().map(|i| usize::from(peer[*i].weight)).sum();
            let mut at = if total == 0 { 0 } else { rng.below(total) };
            let pick = group
                .iter()
                .position(|i| {
                    let w = usize::from(peer[*i].weight);
                    let hit = at < w;
                    at = at.saturating_sub(w);
                    hit
                })
                .unwrap_or(0);
            out.push(vec![group.remove(pick)]);
        }
    }
    for (rank, group) in out.into_iter().enumerate() {
        for i in group {
            peer[i].priority = u8::try_from(rank).unwrap_or(u8::MAX);
        }
    }
}

fn is_unique_local(a: &Ipv6Addr) -> bool {
    a.segments()[0] & 0xfe00 == 0xfc00
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::SeededRng;

    fn a(s: &str) -> Ipv6Addr {
        s.parse().expect("an address")
    }

    fn local(s: &str) -> LocalCandidate {
        LocalCandidate { addr: a(s), operational: true, deprecated: false }
    }

    fn peer(s: &str) -> PeerCandidate {
        PeerCandidate { addr: a(s), verified: true, broken: false, transient: false, priority: 0, weight: 0 }
    }

    fn pair(l: &str, p: &str) -> LocatorPair {
        LocatorPair { local: a(l), peer: a(p) }
    }

    const ULIDS: UlidPair = UlidPair {
        local: Ipv6Addr::new(0x2001, 0xdb8, 0x10a, 0, 0, 0, 0, 1),
        peer: Ipv6Addr::new(0x2001, 0xdb8, 0x10b, 0, 0, 0, 0, 1),
    };

    fn three() -> (Vec<LocalCandidate>, Vec<PeerCandidate>) {
        (
            ["2001:db8:10a::1", "2001:db8:20a::1", "2001:db8:30a::1"].map(local).to_vec(),
            ["2001:db8:10b::1", "2001:db8:20b::1", "2001:db8:30b::1"].map(peer).to_vec(),
        )
    }

    // RE-PS-01, RE-PS-02, RE-PS-03
    #[test]
    fn the_ulid_pair_first_then_pairs_of_one_prefix() {
        let (l, p) = three();
        let order = order(ULIDS, &l, &p);
        assert_eq!(order.len(), 9);
        assert_eq!(order[0], pair("2001:db8:10a::1", "2001:db8:10b::1"));
        let mut next = order[1..3].to_vec();
        next.sort();
        let same = [pair("2001:db8:20a::1", "2001:db8:20b::1"), pair("2001:db8:30a::1", "2001:db8:30b::1")];
        assert_eq!(next, same);
    }

    // RE-AD-01, RE-AD-02, RE-AD-05, RE-PS-01, RE-PS-14
    #[test]
    fn unusable_ends_are_left_out() {
        let (mut l, mut p) = three();
        l[1].operational = false;
        p[2].verified = false;
        l.push(local("fe80::1"));
        l.push(local("fec0::1"));
        p.push(peer("ff02::1"));
        p.push(peer("::ffff:192.0.2.1"));
        p.push(p[0]);
        let order = order(ULIDS, &l, &p);
        assert_eq!(order.len(), 4, "{order:?}");
        assert!(order.iter().all(|q| q.local != l[1].addr && q.peer != p[2].addr));
    }

    // RE-PS-02, RE-PS-15, RE-AD-03 (by rank), S6-5.15.3-5
    #[test]
    fn broken_deprecated_and_priority() {
        let (mut l, mut p) = three();
        p[0].broken = true;
        let ranked = order(ULIDS, &l, &p);
        assert!(
            ranked[..6].iter().all(|q| q.peer != p[0].addr)
                && ranked[6..].iter().all(|q| q.peer == p[0].addr)
        );
        p[0].broken = false;
        p[0].transient = true;
        let ranked = order(ULIDS, &l, &p);
        assert!(ranked[6..].iter().all(|q| q.peer == p[0].addr), "the stable ones first");
        p[1].priority = 1;
        p[0].priority = 2;
        assert_eq!(order(ULIDS, &l, &p)[0].peer, p[2].addr);
        assert!(order(ULIDS, &l, &p)[6..].iter().all(|q| q.peer == p[0].addr));
        let (_, p) = three();
        l[2].deprecated = true;
        let ranked = order(ULIDS, &l, &p);
        assert_eq!(ranked[0], ULIDS.as_locators());
        assert!(ranked[6..].iter().all(|q| q.local == l[2].addr));
    }

    // RE-PS-01
    #[test]
    fn unique_local_and_global_do_not_mix_where_avoidable() {
        let l = [local("fd00:1::1"), local("2001:db8:1::1")];
        let p = [peer("2001:db8:2::1"), peer("fd00:2::1")];
        let ulids = UlidPair { local: l[1].addr, peer: p[0].addr };
        let order = order(ulids, &l, &p);
        assert_eq!(order[..2], [pair("2001:db8:1::1", "2001:db8:2::1"), pair("fd00:1::1", "fd00:2::1")]);
        assert_eq!(order.len(), 4);
    }

    // S6-5.15.3-6
    #[test]
    fn weights_divide_equal_priorities() {
        let mut rng = SeededRng::new(1);
        let mut first = [0; 3];
        for _ in 0..4000 {
            let (l, mut p) = three();
            p[0].weight = 10;
            p[1].weight = 30;
            p[2].priority = 9;
            draw_weights(&mut rng, &mut p);
            let best = order(ULIDS, &l, &p)[0].peer;
            first[p.iter().position(|c| c.addr == best).expect("one of them")] += 1;
        }
        assert!((900..1100).contains(&first[0]) && first[2] == 0, "{first:?}");
        let (_, mut p) = three();
        let before = p.clone();
        draw_weights(&mut rng, &mut p);
        assert_eq!(p, before, "equal weights leave the order to the addresses");
    }
}
