//! Traffic of ULID pairs without a context: when to set one up (LS-H-01 to LS-H-06), and with whom not to try again
//! soon (negative caching, S6-N-20).

use super::io::{PairTraffic, Wake};
use crate::addr::{FlowId, UlidPair};
use crate::config::TriggerConfig;
use crate::time::Time;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv6Addr;

/// ULID pairs without context that are counted; beyond it the oldest is forgotten.
const MAX_PAIRS: usize = 8192;
/// Entries of each negative cache; beyond it the one that ends first is forgotten.
const MAX_NEGATIVE: usize = 8192;

#[derive(Clone, Copy, Debug)]
struct Traffic {
    first: Time,
    bytes: u64,
    packets: u64,
    /// The age threshold is passed, so the next datagram fires.
    aged: bool,
    flow: Option<FlowId>,
    /// Distinguishes this entry from an earlier one of the same pair in `order`.
    serial: u64,
}

/// Traffic counters of pairs without context.
#[derive(Debug)]
pub(super) struct Trigger {
    config: TriggerConfig,
    pairs: BTreeMap<UlidPair, Traffic>,
    order: VecDeque<(UlidPair, u64)>,
    ages: BTreeSet<(Time, UlidPair)>,
    serial: u64,
}

impl Trigger {
    pub(super) fn new(config: TriggerConfig) -> Trigger {
        Trigger { config, pairs: BTreeMap::new(), order: VecDeque::new(), ages: BTreeSet::new(), serial: 0 }
    }

    /// No context is ever set up by itself (LS-H-06).
    pub(super) fn off(&self) -> bool {
        let TriggerConfig { bytes, age, packets } = &self.config;
        bytes.is_none() && age.is_none() && packets.is_none()
    }

    /// Count `packets` datagrams with `bytes` octets. `true`: the pair should get a context.
    pub(super) fn count(
        &mut self,
        now: Time,
        ulids: UlidPair,
        packets: u64,
        bytes: u64,
        flow: Option<FlowId>,
    ) -> bool {
        if self.off() || packets == 0 {
            return false;
        }
        if !self.pairs.contains_key(&ulids) {
            self.insert(now, ulids);
        }
        let Some(t) = self.pairs.get_mut(&ulids) else { return false };
        t.bytes = t.bytes.saturating_add(bytes);
        t.packets = t.packets.saturating_add(packets);
        t.flow = flow.or(t.flow);
        let old = self.config.age.is_some_and(|age| t.aged || now.since(t.first) >= age);
        old || self.config.bytes.is_some_and(|n| t.bytes >= n)
            || self.config.packets.is_some_and(|n| t.packets >= n)
    }

    /// What was counted.
    pub(super) fn seen(&self, now: Time, ulids: UlidPair) -> Option<PairTraffic> {
        let t = self.pairs.get(&ulids)?;
        Some(PairTraffic { packets: t.packets, bytes: t.bytes, age: now.since(t.first) })
    }

    fn insert(&mut self, now: Time, ulids: UlidPair) {
        while self.pairs.len() >= MAX_PAIRS {
            let Some((pair, serial)) = self.order.pop_front() else { break };
            if self.pairs.get(&pair).is_some_and(|t| t.serial == serial) {
                self.forget(pair);
            }
        }
        self.serial += 1;
        let serial = self.serial;
        self.pairs
            .insert(ulids, Traffic { first: now, bytes: 0, packets: 0, aged: false, flow: None, serial });
        self.order.push_back((ulids, serial));
        if self.order.len() > 2 * MAX_PAIRS {
            let pairs = &self.pairs;
            self.order.retain(|(pair, serial)| pairs.get(pair).is_some_and(|t| t.serial == *serial));
        }
        if let Some(age) = self.config.age {
            self.ages.insert((now + age, ulids));
        }
    }

    /// The pair has a context now, or its counting starts anew.
    pub(super) fn forget(&mut self, ulids: UlidPair) {
        if let Some(t) = self.pairs.remove(&ulids)
            && let Some(age) = self.config.age
        {
            self.ages.remove(&(t.first + age, ulids));
        }
    }

    /// The flow that was seen last on the pair.
    pub(super) fn flow(&self, ulids: UlidPair) -> Option<FlowId> {
        self.pairs.get(&ulids).and_then(|t| t.flow)
    }

    /// What is left until the trigger fires; `eager`: it fires with the next datagram.
    pub(super) fn wake(&self, ulids: UlidPair, eager: bool) -> Wake {
        if self.off() {
            return Wake::default();
        }
        let Some(t) = self.pairs.get(&ulids).filter(|_| !eager) else {
            // The first datagram starts the age
            return Wake { on_sent: true, on_received: true, ..Wake::default() };
        };
        let left = |limit: Option<u64>, have: u64| limit.map(|n| n.saturating_sub(have).max(1));
        Wake {
            on_sent: t.aged,
            on_received: t.aged,
            after_bytes: left(self.config.bytes, t.bytes),
            after_packets: left(self.config.packets, t.packets),
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Time> {
        self.ages.first().map(|(t, _)| *t)
    }

    /// Pairs that came of age: their next datagram fires (LS-H-04).
    pub(super) fn expire(&mut self, now: Time) -> Vec<UlidPair> {
        let mut out = Vec::new();
        while let Some(&(t, ulids)) = self.ages.first() {
            if t > now {
                break;
            }
            self.ages.pop_first();
            if let Some(t) = self.pairs.get_mut(&ulids) {
                t.aged = true;
                out.push(ulids);
            }
        }
        out
    }

    /// Pairs that are counted.
    pub(super) fn pairs(&self) -> impl Iterator<Item = UlidPair> {
        self.pairs.keys().copied()
    }
}

/// The states E-FAILED and NO-SUPPORT: no context, only the memory not to try again before a time.
#[derive(Debug, Default)]
pub(super) struct Negative {
    failed: Expiring<UlidPair>,
    no_support: Expiring<Ipv6Addr>,
}

impl Negative {
    /// E-FAILED of the ULID pair until then.
    pub(super) fn failed(&mut self, ulids: UlidPair, until: Time) {
        self.failed.insert(ulids, until);
    }

    /// NO-SUPPORT of the peer until then.
    pub(super) fn no_support(&mut self, peer: Ipv6Addr, until: Time) {
        self.no_support.insert(peer, until);
    }

    /// Whether an attempt with the pair is forbidden now.
    pub(super) fn blocks(&self, now: Time, ulids: UlidPair) -> bool {
        self.failed.contains(now, &ulids) || self.no_support.contains(now, &ulids.peer)
    }

    /// As [`Negative::blocks`] for entries that no timeout has removed yet.
    pub(super) fn holds(&self, ulids: UlidPair) -> bool {
        self.failed.until.contains_key(&ulids) || self.no_support.until.contains_key(&ulids.peer)
    }

    /// The peer showed that it does Shim6 (S6-B-73, S6-B-76).
    pub(super) fn clear(&mut self, ulids: UlidPair) {
        self.failed.remove(&ulids);
        self.no_support.remove(&ulids.peer);
    }

    pub(super) fn next_timeout(&self) -> Option<Time> {
        let first = |s: Option<Time>| s.unwrap_or(Time(u64::MAX));
        let t = first(self.failed.next()).min(first(self.no_support.next()));
        (t != Time(u64::MAX)).then_some(t)
    }

    /// Drop what ended; returns pairs and peers that may be tried again.
    pub(super) fn expire(&mut self, now: Time) -> (Vec<UlidPair>, Vec<Ipv6Addr>) {
        (self.failed.expire(now), self.no_support.expire(now))
    }
}

#[derive(Debug)]
struct Expiring<K> {
    until: BTreeMap<K, Time>,
    order: BTreeSet<(Time, K)>,
}

impl<K> Default for Expiring<K> {
    fn default() -> Self {
        Expiring { until: BTreeMap::new(), order: BTreeSet::new() }
    }
}

impl<K: Ord + Copy> Expiring<K> {
    fn insert(&mut self, key: K, until: Time) {
        self.remove(&key);
        if self.until.len() >= MAX_NEGATIVE
            && let Some((_, first)) = self.order.pop_first()
        {
            self.until.remove(&first);
        }
        self.until.insert(key, until);
        self.order.insert((until, key));
    }

    fn remove(&mut self, key: &K) {
        if let Some(t) = self.until.remove(key) {
            self.order.remove(&(t, *key));
        }
    }

    fn contains(&self, now: Time, key: &K) -> bool {
        self.until.get(key).is_some_and(|t| now < *t)
    }

    fn next(&self) -> Option<Time> {
        self.order.first().map(|(t, _)| *t)
    }

    fn expire(&mut self, now: Time) -> Vec<K> {
        let mut out = Vec::new();
        while let Some(&(t, key)) = self.order.first() {
            if t > now {
                break;
            }
            self.order.pop_first();
            self.until.remove(&key);
            out.push(key);
        }
        out
    }
}
