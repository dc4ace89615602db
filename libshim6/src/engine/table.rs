//! The context table and its indices (RFC 5533 sections 4.1, 7.1 and 12.4), and the allocation of context tags.

use super::context::Context;
use crate::addr::{ContextTag, Fii, UlidPair};
use crate::crypto::mac;
use crate::rng::Rng;
use crate::time::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;

/// Names a context; never used twice.
pub(super) type Id = u64;

/// What of a context is in the indices, so that they can follow it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Indexed {
    nonce: Option<u32>,
    peer_tag: Option<ContextTag>,
    deadline: Option<Time>,
    /// Octets of the peer's PDS.
    pds: usize,
}

/// All contexts. Ordered maps throughout, so that a run with the same input repeats exactly.
#[derive(Debug, Default)]
pub(super) struct Table {
    contexts: BTreeMap<Id, (Context, Indexed)>,
    last: Id,
    by_key: BTreeMap<(UlidPair, Fii), Id>,
    by_tag: BTreeMap<ContextTag, Id>,
    by_nonce: BTreeSet<(u32, Id)>,
    by_peer_tag: BTreeSet<(ContextTag, Id)>,
    by_peer: BTreeSet<(Ipv6Addr, Id)>,
    deadlines: BTreeSet<(Time, Id)>,
    pds_octets: usize,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.contexts.len()
    }

    /// Take in a context; its key and tag must be free.
    pub(super) fn insert(&mut self, context: Context) -> Id {
        self.last += 1;
        let id = self.last;
        self.by_key.insert((context.ulids, context.fii), id);
        self.by_tag.insert(context.local_tag, id);
        self.by_peer.insert((context.ulids.peer, id));
        self.contexts.insert(id, (context, Indexed::default()));
        self.reindex(id);
        id
    }

    pub(super) fn remove(&mut self, id: Id) -> Option<Context> {
        let (context, old) = self.contexts.remove(&id)?;
        self.by_key.remove(&(context.ulids, context.fii));
        self.by_tag.remove(&context.local_tag);
        self.by_peer.remove(&(context.ulids.peer, id));
        self.unindex(id, old);
        Some(context)
    }

    fn unindex(&mut self, id: Id, old: Indexed) {
        self.pds_octets -= old.pds;
        if let Some(nonce) = old.nonce {
            self.by_nonce.remove(&(nonce, id));
        }
        if let Some(tag) = old.peer_tag {
            self.by_peer_tag.remove(&(tag, id));
        }
        if let Some(t) = old.deadline {
            self.deadlines.remove(&(t, id));
        }
    }

    /// Follow a context that was changed.
    pub(super) fn reindex(&mut self, id: Id) {
        let Some((context, old)) = self.contexts.get_mut(&id) else { return };
        let now = Indexed {
            nonce: context.exchange.as_ref().map(|e| e.nonce),
            peer_tag: context.peer_tag,
            deadline: context.next_timeout(),
            pds: context.peer.pds().map_or(0, |p| p.as_bytes().len()),
        };
        let old = std::mem::replace(old, now);
        if old == now {
            return;
        }
        self.unindex(id, old);
        self.pds_octets += now.pds;
        if let Some(nonce) = now.nonce {
            self.by_nonce.insert((nonce, id));
        }
        if let Some(tag) = now.peer_tag {
            self.by_peer_tag.insert((tag, id));
        }
        if let Some(t) = now.deadline {
            self.deadlines.insert((t, id));
        }
    }

    pub(super) fn get(&self, id: Id) -> Option<&Context> {
        self.contexts.get(&id).map(|(c, _)| c)
    }

    pub(super) fn get_mut(&mut self, id: Id) -> Option<&mut Context> {
        self.contexts.get_mut(&id).map(|(c, _)| c)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Id, &Context)> {
        self.contexts.iter().map(|(id, (c, _))| (*id, c))
    }

    pub(super) fn ids(&self) -> Vec<Id> {
        self.contexts.keys().copied().collect()
    }

    /// Octets of all peers' PDSs that are stored (HC-USE-19).
    pub(super) fn pds_octets(&self) -> usize {
        self.pds_octets
    }

    /// S6-12.4-1, S6-12.4-7.
    pub(super) fn by_key(&self, ulids: UlidPair, fii: Fii) -> Option<Id> {
        self.by_key.get(&(ulids, fii)).copied()
    }

    /// All instances of a ULID pair, the default context first.
    pub(super) fn instances(&self, ulids: UlidPair) -> impl Iterator<Item = Id> + '_ {
        self.by_key.range((ulids, 0)..=(ulids, Fii::MAX)).map(|(_, id)| *id)
    }

    /// S6-12.4-4, S6-12.4-5, S6-12.4-8.
    pub(super) fn by_tag(&self, tag: ContextTag) -> Option<Id> {
        self.by_tag.get(&tag).copied()
    }

    /// Contexts whose running exchange has this Initiator Nonce.
    pub(super) fn by_nonce(&self, nonce: u32) -> impl Iterator<Item = Id> + '_ {
        self.by_nonce.range((nonce, 0)..=(nonce, Id::MAX)).map(|(_, id)| *id)
    }

    /// Contexts with this CT(peer).
    pub(super) fn by_peer_tag(&self, tag: ContextTag) -> impl Iterator<Item = Id> + '_ {
        self.by_peer_tag.range((tag, 0)..=(tag, Id::MAX)).map(|(_, id)| *id)
    }

    /// Is the address ULID(local) of a context?
    pub(super) fn has_local(&self, addr: Ipv6Addr) -> bool {
        let from = UlidPair { local: addr, peer: Ipv6Addr::UNSPECIFIED };
        self.by_key.range((from, 0)..).next().is_some_and(|((ulids, _), _)| ulids.local == addr)
    }

    /// Is the address ULID(peer) of a context?
    pub(super) fn has_peer(&self, addr: Ipv6Addr) -> bool {
        self.by_peer.range((addr, 0)..=(addr, Id::MAX)).next().is_some()
    }

    pub(super) fn next_timeout(&self) -> Option<Time> {
        self.deadlines.first().map(|(t, _)| *t)
    }

    /// Contexts with something due.
    pub(super) fn due(&self, now: Time) -> Vec<Id> {
        self.deadlines.range(..=(now, Id::MAX)).map(|(_, id)| *id).collect()
    }
}

/// Chooses context tags: a fixed prefix for the engine and, behind it, a keyed permutation of a counter, which looks
/// random, is not guessed from other tags, and repeats only when all were used (S6-7.1-1 to S6-7.1-5).
#[derive(Debug)]
pub(super) struct Tags {
    key: [u8; 32],
    counter: u64,
    bits: u32,
    prefix: u64,
}

impl Tags {
    /// 31 free bits behind a prefix, or all 47.
    pub(super) fn new(rng: &mut dyn Rng, prefix: Option<u16>) -> Tags {
        match prefix {
            Some(p) => Tags::with_bits(rng, 31, u64::from(p) << 31),
            None => Tags::with_bits(rng, 47, 0),
        }
    }

    /// The free bits, and the others as they stand in the tag. Fewer than 30 only in tests (S6-7.1-2, S6-C-4).
    pub(super) fn with_bits(rng: &mut dyn Rng, bits: u32, prefix: u64) -> Tags {
        let mut key = [0; 32];
        rng.fill(&mut key);
        let counter = rng.u64() & ((1 << bits) - 1);
        Tags { key, counter, bits, prefix }
    }

    /// A tag for which `free` says yes; `None` if there is none (after a bounded search).
    pub(super) fn allocate(&mut self, free: impl Fn(ContextTag) -> bool) -> Option<ContextTag> {
        let space = 1u64 << self.bits;
        for _ in 0..space.min(4096) {
            let tag = ContextTag::new(self.prefix | self.permute(self.counter));
            self.counter = (self.counter + 1) % space;
            if free(tag) {
                return Some(tag);
            }
        }
        None
    }

    /// Four Feistel rounds over an even number of bits, walked until the result is in range.
    fn permute(&self, value: u64) -> u64 {
        let half = self.bits.div_ceil(2);
        let mask = (1u64 << half) - 1;
        let mut value = value;
        loop {
            let (mut left, mut right) = (value >> half, value & mask);
            for round in 0..4u8 {
                let f = mac(&self.key, round, &[&right.to_be_bytes()]);
                let f = f[..8].iter().fold(0u64, |n, b| (n << 8) | u64::from(*b));
                (left, right) = (right, (left ^ f) & mask);
            }
            value = (left << half) | right;
            if value < 1 << self.bits {
                return value;
            }
        }
    }
}
