//! Which locator pairs a context may use, and how they rank (RFC 5534 section 4.3, RFC 6724).

use crate::addr::{LocatorPair, UlidPair, common_prefix_len, is_servable};
use crate::rng::Rng;
use std::cmp::Reverse;
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
    /// As in DNS SRV, lower first (S6-5.15.3-5); all equal where the peer sent none.
    pub priority: u8,
    /// As in DNS SRV (S6-5.15.3-6); takes effect through [`draw_weights`].
    pub weight: u8,
}

/// The pairs that may be probed, best first. Left out are local addresses that are not operational, peer locators
/// that are not verified, and addresses that Shim6 does not serve (RE-PS-01, RE-PS-14, RE-AD-02). The rank: not
/// BROKEN, ends of one kind (unique-local or global, RFC 6724 rule 6), the peer's priority, the ULID pair, local
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
                pair != ulids.as_locators(),
                l.deprecated,
                Reverse(common_prefix_len(&l.addr, &p.addr)),
            );
            ranked.push((rank, pair));
        }
    }
    ranked.sort_by_key(|(rank, _)| *rank);
    let mut pairs: Vec<LocatorPair> = Vec::with_capacity(ranked.len());
    for (_, pair) in ranked {
        if !pairs.contains(&pair) {
            pairs.push(pair);
        }
    }
    pairs
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
