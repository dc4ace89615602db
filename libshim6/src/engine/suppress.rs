//! Leaving out the payload extension header (draft-van-beijnum-shim6-suppress-header-00; requirements LS-S-*): what the
//! hosts tell each other, and when the header is needed all the same. Off unless `shim6.suppress_header` says otherwise.
//!
//! A datagram without the header on locators that are not its ULIDs is called bare here. Both hosts announce flags in I2,
//! I2bis and R2. What spoke for a flag may cease to be true (a second session with the same ports, a locator that becomes
//! an ULID, a second context, a socket that would not get bare datagrams): the flag is taken back by an Update Request and
//! never announced again by that context.

use super::Engine;
use super::context::Context;
use super::table::Id;
use super::update::News;
use crate::addr::{FlowId, LocatorPair, UlidPair};
use crate::config::Suppress;
use crate::time::Time;
use crate::wire::capability::{ALWAYS, EQUIVALENT, KNOWN, TRANSPORT};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;

/// Flows that are told apart; with more, ports prove nothing any more.
const MAX_FLOWS: usize = 65_536;

/// Which rewritten datagrams of a context go, or may come, without payload extension header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub enum Bare {
    /// None.
    #[default]
    No,
    /// UDP of flows that both hosts have seen between the ULIDs (LS-S-14, LS-S-17).
    KnownFlows,
    /// All UDP (LS-S-06).
    All,
}

/// The flags of a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Flags {
    /// Ours as the peer should know them; `None`: the option is not sent, and the peer's counts for nothing.
    pub(super) own: Option<u8>,
    /// All that we ever announced: the peer may go on with it for a while.
    pub(super) announced: u8,
    /// Taken back.
    pub(super) lost: u8,
    /// The peer's; 0 without option (LS-S-09).
    pub(super) peer: u8,
}

impl Flags {
    /// What may leave without header.
    pub(super) fn leaves(&self) -> Bare {
        match self.own {
            None => Bare::No,
            Some(_) if self.peer & ALWAYS != 0 => Bare::All,
            Some(own) => shared(own & self.peer),
        }
    }

    /// What may come without header.
    pub(super) fn takes(&self) -> Bare {
        if self.announced & ALWAYS != 0 { Bare::All } else { shared(self.announced & self.peer) }
    }
}

/// LS-S-07. A flow that the peer has not seen could as well be a session that begins on these addresses, so equivalent
/// locators do not make flows clear that ports do not.
fn shared(common: u8) -> Bare {
    if common & (EQUIVALENT | TRANSPORT) != 0 { Bare::KnownFlows } else { Bare::No }
}

/// The flows of this process, as far as it was told of them.
#[derive(Debug, Default)]
pub(super) struct Flows {
    pairs: BTreeMap<UlidPair, BTreeSet<Ports>>,
    ports: BTreeMap<Ports, BTreeSet<UlidPair>>,
    /// Peers of all pairs.
    peers: BTreeSet<Ipv6Addr>,
    count: usize,
    overflow: bool,
}

type Ports = (u8, u16, u16);

/// The one protocol whose datagrams may be bare here.
const UDP: u8 = 17;

fn ports(flow: FlowId) -> Ports {
    (flow.protocol, flow.local_port, flow.peer_port)
}

impl Flows {
    /// `true`: it was not known.
    fn insert(&mut self, ulids: UlidPair, flow: FlowId) -> bool {
        if self.overflow || self.pairs.get(&ulids).is_some_and(|p| p.contains(&ports(flow))) {
            return false;
        }
        if self.count >= MAX_FLOWS {
            self.overflow = true;
            return true;
        }
        self.count += 1;
        self.pairs.entry(ulids).or_default().insert(ports(flow));
        self.peers.insert(ulids.peer);
        self.ports.entry(ports(flow)).or_default().insert(ulids);
        true
    }

    /// Is another flow of the pair known on our port?
    fn has_port(&self, ulids: UlidPair, flow: FlowId) -> bool {
        let (protocol, port) = (flow.protocol, flow.local_port);
        let range = (protocol, port, 0)..=(protocol, port, u16::MAX);
        self.pairs.get(&ulids).is_some_and(|p| p.range(range).next().is_some())
    }

    /// Is the address one end of a pair with flows?
    fn has_local(&self, addr: Ipv6Addr) -> bool {
        let from = UlidPair { local: addr, peer: Ipv6Addr::UNSPECIFIED };
        self.pairs.range(from..).next().is_some_and(|(u, _)| u.local == addr)
    }

    fn has_peer(&self, addr: Ipv6Addr) -> bool {
        self.peers.contains(&addr)
    }

    fn has(&self, ulids: UlidPair, flow: FlowId) -> bool {
        self.pairs.get(&ulids).is_some_and(|p| p.contains(&ports(flow)))
    }
}

impl Context {
    /// Could datagrams of this other pair be on the locators of this context?
    fn meets(&self, other: &UlidPair) -> bool {
        *other != self.ulids && self.local.contains(&other.local) && self.peer.contains(&other.peer)
    }

    /// Is a locator of this context an ULID of this other pair?
    fn lends_to(&self, other: &UlidPair) -> bool {
        #[cfg(test)]
        super::tests::work::count();
        (other.local != self.ulids.local && self.local.contains(&other.local))
            || (other.peer != self.ulids.peer && self.peer.contains(&other.peer))
    }
}

impl Engine {
    fn suppresses(&self) -> bool {
        self.io.config.shim6.suppress_header != Suppress::Off
    }

    /// A flow of this host, from its first datagram on (LS-S-18). Without `shim6.suppress_header` nothing happens.
    pub fn note_flow(&mut self, now: Time, ulids: UlidPair, flow: FlowId) {
        if !self.suppresses() || flow.local_port == 0 {
            return;
        }
        let new_pair = !self.flows.pairs.contains_key(&ulids);
        let new_port = !self.flows.has_port(ulids, flow);
        if !self.flows.insert(ulids, flow) {
            return;
        }
        let mut ids: BTreeSet<Id> = BTreeSet::new();
        if self.flows.overflow {
            ids.extend(self.table.ids());
        }
        // LS-S-19
        if let Some(pairs) = self.flows.ports.get(&ports(flow)).filter(|pairs| pairs.len() > 1) {
            ids.extend(pairs.iter().flat_map(|u| self.table.instances(*u)));
        }
        // LS-S-16
        if new_pair {
            ids.extend(self.table.iter().filter(|(_, c)| c.lends_to(&ulids)).map(|(id, _)| id));
        }
        // Perhaps a socket that was not there when the flags were announced
        if new_port {
            ids.extend(self.table.instances(ulids));
        }
        for id in ids {
            self.review_flags(now, id);
        }
    }

    /// The flags that can be announced for a context now.
    fn possible_flags(&self, ctx: &Context) -> u8 {
        #[cfg(test)]
        super::tests::work::count();
        let always = match self.io.config.shim6.suppress_header {
            Suppress::Off => return 0,
            Suppress::WhenClear => 0,
            Suppress::Always => ALWAYS,
        };
        // A second context of the pair could be on the same locators with the same ports
        let alone = ctx.fii == 0 && !ctx.exclusive && self.table.instances(ctx.ulids).nth(1).is_none();
        if !alone || !self.io.host.takes_bare(ctx.ulids, ctx.flow) {
            return always;
        }
        let mut flags = always;
        if self.is_one_to_one(ctx) {
            flags |= EQUIVALENT;
        }
        if !self.is_contested(ctx) {
            flags |= TRANSPORT;
        }
        flags
    }

    /// Does each locator of the context stand for its ULID alone (LS-S-12, LS-S-13, LS-S-16)?
    fn is_one_to_one(&self, ctx: &Context) -> bool {
        let lent_here = |a| a != ctx.ulids.local && (self.flows.has_local(a) || self.table.has_local(a));
        let lent_there = |a| a != ctx.ulids.peer && (self.flows.has_peer(a) || self.table.has_peer(a));
        !self.flows.overflow && !ctx.local.all().any(lent_here) && !ctx.peer.all().any(lent_there)
    }

    /// Has another session of these two hosts the ports of one of the context (LS-S-18, LS-S-19)?
    fn is_contested(&self, ctx: &Context) -> bool {
        let own = self.flows.pairs.get(&ctx.ulids).into_iter().flatten();
        let mut others = own.filter_map(|p| self.flows.ports.get(p)).flatten();
        self.flows.overflow || others.any(|u| ctx.meets(u))
    }

    /// Before I2, I2bis or R2: what to announce (LS-S-01).
    pub(super) fn set_flags(&mut self, id: Id) {
        if !self.suppresses() {
            return;
        }
        let Some(ctx) = self.table.get(id) else { return };
        let flags = self.possible_flags(ctx) & !ctx.flags.lost;
        if let Some(ctx) = self.table.get_mut(id) {
            ctx.flags.own = Some(flags);
            ctx.flags.announced |= flags;
        }
    }

    /// Take back what cannot be kept up: the header is on at once, and the peer is told (LS-S-08).
    pub(super) fn review_flags(&mut self, now: Time, id: Id) {
        let Some(ctx) = self.table.get(id) else { return };
        let Some(old) = ctx.flags.own.filter(|f| f & (EQUIVALENT | TRANSPORT) != 0) else { return };
        let gone = old & !self.possible_flags(ctx);
        if gone == 0 {
            return;
        }
        let Some(ctx) = self.table.get_mut(id) else { return };
        ctx.flags.own = Some(old & !gone);
        ctx.flags.lost |= gone;
        self.io.changed.insert(ctx.ulids);
        tracing::debug!(ulids = %ctx.ulids, flags = gone, "header suppression taken back");
        if ctx.established() {
            let news = News { flags: true, ..News::default() };
            ctx.request_update(now, &mut self.io, news, false);
        }
        self.settle(now, id);
    }

    /// The same for all contexts of a pair, after one was added or its sockets changed.
    pub fn review_pair(&mut self, now: Time, ulids: UlidPair) {
        if self.suppresses() {
            for id in self.table.instances(ulids).collect::<Vec<_>>() {
                self.review_flags(now, id);
            }
        }
    }

    /// The same for all contexts, after locators changed.
    pub(super) fn review_all(&mut self, now: Time) {
        if self.suppresses() {
            for id in self.table.ids() {
                self.review_flags(now, id);
            }
        }
    }

    /// What the peer announced. `complete`: in I2, I2bis or R2, where no option means no flags.
    pub(super) fn peer_flags(&mut self, id: Id, option: Option<u8>, complete: bool) {
        let Some(ctx) = self.table.get_mut(id) else { return };
        if let Some(flags) = option.or(complete.then_some(0)) {
            // LS-S-05
            ctx.flags.peer = flags & KNOWN;
            self.io.changed.insert(ctx.ulids);
        }
    }

    /// The pair that a bare datagram of a flow belongs to which came by `locators`, as we see both; `None`: it is what
    /// it looks like, or that is not clear (LS-S-14, LS-S-15, LS-S-25).
    pub fn bare_owner(&self, locators: LocatorPair, flow: FlowId) -> Option<UlidPair> {
        let ulids = UlidPair { local: locators.local, peer: locators.peer };
        // LS-S-20, LS-S-23
        if flow.protocol != UDP || self.flows.has(ulids, flow) {
            return None;
        }
        let fits = |c: &&Context| {
            c.active()
                && c.meets(&ulids)
                && match c.flags.takes() {
                    Bare::No => false,
                    Bare::KnownFlows => self.flows.has(c.ulids, flow),
                    Bare::All => self.flows.has(c.ulids, flow) || c.current() != c.ulids.as_locators(),
                }
        };
        let mut found = self.table.iter().map(|(_, c)| c).filter(fits);
        let first = found.next()?;
        found.next().is_none().then_some(first.ulids)
    }

    /// Does a peer not know yet that these locators carry no bare datagrams any more? Until it does, it would take those of
    /// another session on them for bare ones.
    pub fn retracting(&self, locators: LocatorPair) -> bool {
        let pair = UlidPair { local: locators.local, peer: locators.peer };
        let told = |c: &Context| c.update.as_ref().is_none_or(|u| !u.tells_flags());
        self.table.iter().any(|(_, c)| c.active() && c.meets(&pair) && !told(c))
    }
}
