//! Records of Probes sent and received, and what a peer's reports say about ours (conformance part I).

use super::schedule::Candidates;
use crate::addr::LocatorPair;
use crate::time::Time;
use crate::wire::{ProbeBlock, ReapState};
use std::collections::BTreeSet;
use std::time::Duration;

/// The counters of a Probe have four bits (RE-PR-19).
pub(super) const MAX_BLOCKS: usize = 15;
/// Octets of one block.
const BLOCK: usize = 40;

/// A Probe that we sent since we last left Operational.
#[derive(Clone, Debug)]
struct Sent {
    block: ProbeBlock,
    /// The peer has told that it arrived.
    reported: bool,
}

/// What is known of a pair, each direction apart (RE-AD-08).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairHealth {
    /// The pair as we see it.
    pub pair: LocatorPair,
    /// When the peer last reported a Probe of ours on it (RE-RP-12).
    pub outbound: Option<Time>,
    /// When a Probe of the peer last arrived on it (RE-RP-13).
    pub inbound: Option<Time>,
    /// From the Probe of a test on it to the peer's report, whatever pair that came by; smoothed.
    pub rtt: Option<Duration>,
}

/// The records of one context; bounded by the number of candidate pairs (RE-RP-18).
#[derive(Clone, Debug, Default)]
pub(super) struct Records {
    /// Oldest first.
    sent: Vec<Sent>,
    /// First blocks of Probes received in the reporting window (RE-PR-16), oldest first.
    received: Vec<ProbeBlock>,
    health: Vec<PairHealth>,
}

impl Records {
    /// The node leaves Operational (RE-C-13, RE-RP-10).
    pub(super) fn clear(&mut self) {
        self.sent = Vec::new();
        self.received = Vec::new();
    }

    /// The node enters Exploring: a new reporting window (RE-PR-16, RE-SM-32).
    pub(super) fn clear_received(&mut self) {
        self.received.clear();
    }

    /// A Probe of the peer arrived on `pair`; a copy of one already recorded is not recorded again (RE-PR-25).
    pub(super) fn record_received(
        &mut self,
        now: Time,
        block: ProbeBlock,
        pair: LocatorPair,
        c: &Candidates,
    ) {
        if !self.received.contains(&block) {
            if self.received.len() == MAX_BLOCKS {
                self.received.remove(0);
            }
            self.received.push(block);
        }
        self.health_of(pair, c).inbound = Some(now);
    }

    /// A Probe of ours goes out. Kept are the latest 15, and of every pair the latest (RE-RP-18).
    pub(super) fn record_sent(&mut self, block: ProbeBlock) {
        self.sent.push(Sent { block, reported: false });
        if self.sent.len() > MAX_BLOCKS {
            let recent = self.sent.len() - MAX_BLOCKS;
            let doomed = (0..recent).find(|i| {
                let b = self.sent[*i].block;
                self.sent[i + 1..].iter().any(|l| pair_of(&l.block) == pair_of(&b))
            });
            if let Some(i) = doomed {
                self.sent.remove(i);
            }
        }
    }

    /// Forget pairs that are no candidates any more, so that the records stay bounded.
    pub(super) fn retain(&mut self, c: &Candidates) {
        let surplus = self.sent.len().saturating_sub(MAX_BLOCKS);
        if self.health.is_empty() && surplus == 0 {
            return;
        }
        let pairs: BTreeSet<LocatorPair> = c.pairs.iter().copied().collect();
        self.health.retain(|h| pairs.contains(&h.pair));
        let mut i = 0;
        self.sent.retain(|s| {
            i += 1;
            i > surplus || pairs.contains(&pair_of(&s.block))
        });
    }

    /// Mark what the peer reports. Returns the pairs of matching reports (source, destination and nonce equal one of
    /// ours, RE-RP-02), latest sent first, and of these the ones not reported before.
    pub(super) fn matching(
        &mut self,
        now: Time,
        reports: &[ProbeBlock],
        c: &Candidates,
    ) -> (Vec<LocatorPair>, Vec<LocatorPair>) {
        let (mut all, mut new) = (Vec::new(), Vec::new());
        for s in self.sent.iter_mut().rev() {
            if !reports.iter().any(|r| same_probe(r, &s.block)) {
                continue;
            }
            let pair = pair_of(&s.block);
            if !all.contains(&pair) {
                all.push(pair);
            }
            if !s.reported && !new.contains(&pair) {
                new.push(pair);
            }
            s.reported = true;
        }
        for pair in &all {
            self.health_of(*pair, c).outbound = Some(now);
        }
        (all, new)
    }

    /// The blocks of a Probe: `own` first, then up to 14 earlier ones that the peer has not reported, latest first,
    /// and the received ones (RE-PR-04, RE-PR-17, RE-PR-19).
    pub(super) fn blocks(&self, state: ReapState, own: ProbeBlock) -> (Vec<ProbeBlock>, Vec<ProbeBlock>) {
        let earlier = self.sent.iter().rev().filter(|s| !s.reported && s.block != own).map(|s| s.block);
        let mut sent: Vec<_> = std::iter::once(own).chain(earlier).take(MAX_BLOCKS).collect();
        let mut received = self.received.clone();
        shed(state, &mut sent, &mut received, 0);
        (sent, received)
    }

    /// How many of `reports` are of Probes of ours.
    pub(super) fn count_matching(&self, reports: &[ProbeBlock]) -> usize {
        reports.iter().filter(|r| self.sent.iter().any(|s| same_probe(r, &s.block))).count()
    }

    /// The Probe of a test on `pair` was answered after `rtt`.
    pub(super) fn note_answer(&mut self, now: Time, pair: LocatorPair, rtt: Duration, c: &Candidates) {
        if c.contains(pair) {
            let health = self.health_of(pair, c);
            health.outbound = Some(now);
            health.measured(rtt);
        }
    }

    /// The round-trip time of `pair` has to be measured anew.
    pub(super) fn forget_rtt(&mut self, pair: LocatorPair) {
        self.health.iter_mut().filter(|h| h.pair == pair).for_each(|h| h.rtt = None);
    }

    pub(super) fn health(&self) -> &[PairHealth] {
        &self.health
    }

    fn health_of(&mut self, pair: LocatorPair, c: &Candidates) -> &mut PairHealth {
        let at = match self.health.iter().position(|h| h.pair == pair) {
            Some(at) => at,
            None => {
                // A verified peer probes from candidates only; the cap is against one that does not.
                if self.health.len() > c.pairs.len() + MAX_BLOCKS {
                    self.health.remove(0);
                }
                self.health.push(PairHealth { pair, outbound: None, inbound: None, rtt: None });
                self.health.len() - 1
            }
        };
        &mut self.health[at]
    }
}

/// RE-RP-02; Data is ours to choose and the peer's to copy, so it proves nothing more.
fn same_probe(report: &ProbeBlock, ours: &ProbeBlock) -> bool {
    report.nonce == ours.nonce && report.source == ours.source && report.destination == ours.destination
}

/// The pair of one of our own blocks.
pub(super) fn pair_of(ours: &ProbeBlock) -> LocatorPair {
    LocatorPair { local: ours.source, peer: ours.destination }
}

/// Shed blocks so that the packet with `headers` octets in front of the Shim6 header stays within 1280 octets:
/// repeated sent blocks first, oldest first, then the oldest received ones; never block 1, nor in InboundOk the last
/// received one (RE-PR-20, RE-PR-21). `sent` is latest first, `received` oldest first.
pub fn shed(state: ReapState, sent: &mut Vec<ProbeBlock>, received: &mut Vec<ProbeBlock>, headers: usize) {
    let room = (1224usize.saturating_sub(headers)) / BLOCK;
    sent.truncate(MAX_BLOCKS.min(room.saturating_sub(received.len())).max(1));
    let keep = usize::from(state == ReapState::InboundOk);
    let most = MAX_BLOCKS.min(room.saturating_sub(sent.len())).max(keep);
    received.drain(..received.len().saturating_sub(most));
}

#[cfg(test)]
impl Records {
    /// Records of sent and of received Probes.
    pub(super) fn len(&self) -> (usize, usize) {
        (self.sent.len(), self.received.len())
    }

    pub(super) fn sent_blocks(&self) -> Vec<ProbeBlock> {
        self.sent.iter().map(|s| s.block).collect()
    }
}
