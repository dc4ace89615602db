//! What is known of peers before there is a context with them: by configuration, and from contexts that are gone. It says
//! whether an I1 is sent at all, whether it goes with the first datagram, and over which pairs besides that of the ULIDs
//! (functional decomposition sections 2 and 3.1; RFC 5533 section 13).

use super::Engine;
use super::context::Context;
use crate::addr::{LocatorPair, UlidPair};
use crate::config::Capability;
use crate::time::Time;
use std::collections::VecDeque;
use std::net::Ipv6Addr;
use std::time::Duration;

/// How long the locators of a peer are remembered after its context (LS-D-15).
const KEPT: Duration = Duration::from_secs(600);
/// Peers that are remembered; beyond it the oldest is forgotten.
const MAX_PEERS: usize = 1024;
/// Most pairs that an attempt tries in turn.
const MAX_PAIRS: usize = 16;

/// Peers that had a context a while ago.
#[derive(Debug, Default)]
pub(super) struct Former {
    peers: VecDeque<(Time, Ipv6Addr, Vec<Ipv6Addr>)>,
}

impl Former {
    /// The context is gone; its peer and the locators that were verified are not forgotten at once.
    pub(super) fn remember(&mut self, now: Time, ctx: &Context) {
        let peer = ctx.ulids.peer;
        self.peers.retain(|(until, p, _)| now < *until && *p != peer);
        if self.peers.len() >= MAX_PEERS {
            self.peers.pop_front();
        }
        let locators = ctx.peer.candidates().into_iter().map(|c| c.addr).filter(|a| *a != peer);
        self.peers.push_back((now + KEPT, peer, locators.take(MAX_PAIRS).collect()));
    }

    /// What locators it had besides its ULID, if it is remembered.
    fn locators(&self, now: Time, peer: &Ipv6Addr) -> Option<&[Ipv6Addr]> {
        let found = self.peers.iter().find(|(until, p, _)| now < *until && p == peer)?;
        Some(&found.2)
    }
}

impl Engine {
    /// Does the configuration say that no I1 is to be sent to the peer (LS-D-05, LS-G-13)?
    pub(super) fn forbids(&self, peer: &Ipv6Addr) -> bool {
        let config = &self.io.config.shim6;
        config.excludes(peer) || config.capability(peer) == Capability::Incapable
    }

    /// Does the configuration say that the peer does Shim6 (LS-D-05)?
    pub(super) fn is_capable(&self, peer: &Ipv6Addr) -> bool {
        self.io.config.shim6.capability(peer) == Capability::Capable
    }

    /// Is it known that the peer does Shim6, by configuration or by a former context?
    pub(super) fn is_known(&self, now: Time, peer: &Ipv6Addr) -> bool {
        self.is_capable(peer) || self.former.locators(now, peer).is_some()
    }

    /// The pairs that an attempt tries: that of the ULIDs, and behind it, for a peer that is known to do Shim6, those of
    /// other locators, which the ULID Pair option makes possible (LS-D-02, LS-D-04).
    pub(super) fn pairs_to_try(&self, now: Time, ctx: &Context) -> Vec<LocatorPair> {
        let UlidPair { local: own, peer: ulid } = ctx.ulids;
        let former = self.former.locators(now, &ulid).unwrap_or_default();
        let up = self.local.iter().any(|l| l.addr == own && l.operational);
        let locals: Vec<Ipv6Addr> = up.then_some(own).into_iter().chain(ctx.local.newcomers()).collect();
        let peers = std::iter::once(ulid).chain(former.iter().copied());
        let peers = peers.filter(|a| !self.io.config.shim6.excludes(a));
        let pairs =
            peers.flat_map(|peer| locals.iter().map(move |local| LocatorPair { local: *local, peer }));
        pairs.take(MAX_PAIRS).collect()
    }
}
