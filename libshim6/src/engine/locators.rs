//! Ls(local) and Ls(peer) of a context (RFC 5533 section 6.1).

use super::io::{LocalLocator, LocatorInfo};
use super::pairs::{LocalCandidate, PeerCandidate, draw_weights};
use super::settings::{LocatorPreference, Settings};
use crate::crypto::Pds;
use crate::identity::{Identity, IdentityKind};
use crate::rng::Rng;
use crate::time::Time;
use crate::wire::{LocatorList, LocatorPreferences, Preference, method, preference_flag};
use std::net::Ipv6Addr;
use std::sync::Arc;

/// Most locators that we offer: SHIM_MAX_LOCATORS, and what fits an I2bis with all its options (S6-5.1-2, S6-5.1-4).
pub(super) const MAX_OFFERED: usize = 32;
/// Generations that are remembered so as not to be used twice (S6-N-3).
const MAX_USED: usize = 256;

/// One of our locators that the peer knows, or is being told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offered {
    pub(super) addr: Ipv6Addr,
    pub(super) ifindex: u32,
    /// The host has the address. `false` only for a ULID that vanished (LS-H-33).
    pub(super) present: bool,
    pub(super) operational: bool,
    pub(super) deprecated: bool,
    /// What the application has the peer told.
    pub(super) preference: LocatorPreference,
}

impl Offered {
    fn flags(&self) -> u8 {
        if self.present && self.operational { 0 } else { preference_flag::BROKEN }
    }
}

/// What a new look at the host's addresses changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Change {
    /// Members came or went: the peer needs a new list.
    pub(super) list: bool,
    /// BROKEN flags changed.
    pub(super) flags: bool,
    /// Anything that the choice of pairs depends on.
    pub(super) any: bool,
}

/// Ls(local).
#[derive(Debug)]
pub(super) struct LocalSet {
    ulid: Ipv6Addr,
    identity: Option<Arc<Identity>>,
    /// Group of the interface that has the ULID, or had it last (LS-G-14).
    group: u32,
    /// In the order of the list; holds the ULID always (S6-2-4).
    offered: Vec<Offered>,
    /// The peer got a list from us, so it needs to hear of changes.
    listed: bool,
    generation: u32,
    used: Vec<u32>,
    /// What the peer accepted: only these may be sources (S6-7.2-4). The ULID always is.
    accepted: Vec<Ipv6Addr>,
    /// The peer has our PDS (S6-5.10-4).
    pds_known: bool,
    max: usize,
    /// Over the list of this generation.
    signature: Option<(u32, Vec<u8>)>,
    /// The application's list (SHIM_LOCLIST_LOCAL).
    chosen: Option<Vec<(Ipv6Addr, LocatorPreference)>>,
}

impl LocalSet {
    /// `sibling` is that of another context with the ULID: it knows what a ULID that vanished from the host was (LS-H-33).
    pub(super) fn new(
        ulid: Ipv6Addr,
        host: &[LocalLocator],
        sibling: Option<&LocalSet>,
        rng: &mut dyn Rng,
    ) -> LocalSet {
        let (identity, group) = match (host.iter().find(|l| l.addr == ulid), sibling) {
            (Some(own), _) => (own.identity.clone(), own.group),
            (None, Some(sibling)) => (sibling.identity.clone(), sibling.group),
            (None, None) => (None, 0),
        };
        let mut set = LocalSet {
            ulid,
            identity,
            group,
            offered: vec![Offered {
                addr: ulid,
                ifindex: 0,
                present: false,
                operational: false,
                deprecated: false,
                preference: LocatorPreference::default(),
            }],
            listed: false,
            generation: 0,
            used: Vec::new(),
            accepted: vec![ulid],
            pds_known: false,
            max: MAX_OFFERED,
            signature: None,
            chosen: None,
        };
        set.refresh(host, rng);
        if set.generation == 0 {
            set.renew(rng);
        }
        set
    }

    /// Compare with the addresses that the host has now. Members of the list keep their places.
    pub(super) fn refresh(&mut self, host: &[LocalLocator], rng: &mut dyn Rng) -> Change {
        if let Some(own) = host.iter().find(|l| l.addr == self.ulid) {
            self.group = own.group;
        }
        let wanted = self.wanted(host);
        let mut next: Vec<Offered> = Vec::with_capacity(wanted.len());
        for old in &self.offered {
            match wanted.iter().find(|w| w.addr == old.addr) {
                Some(now) => next.push(*now),
                None if old.addr == self.ulid => {
                    next.push(Offered { present: false, operational: false, ..*old });
                }
                None => {}
            }
        }
        for now in wanted {
            if next.len() < self.max && !next.iter().any(|o| o.addr == now.addr) {
                next.push(now);
            }
        }
        self.arrange(&mut next);
        let members = |v: &[Offered]| v.iter().map(|o| o.addr).collect::<Vec<_>>();
        let flags = |v: &[Offered]| v.iter().map(|o| (o.flags(), o.preference)).collect::<Vec<_>>();
        let change = Change {
            list: members(&next) != members(&self.offered),
            flags: flags(&next) != flags(&self.offered),
            any: next != self.offered,
        };
        self.offered = next;
        if change.list {
            self.renew(rng);
        }
        change
    }

    /// What the application chose to offer; `None`: all that can be offered. [`LocalSet::refresh`] acts on it.
    pub(super) fn choose(&mut self, list: Option<Vec<(Ipv6Addr, LocatorPreference)>>) {
        self.chosen = list;
    }

    /// Of `next` what the application chose, in its order, and the ULID (S6-2-4, API-LLL-19).
    fn arrange(&self, next: &mut Vec<Offered>) {
        let Some(chosen) = &self.chosen else {
            return next.iter_mut().for_each(|o| o.preference = LocatorPreference::default());
        };
        let place = |a: &Ipv6Addr| chosen.iter().position(|(c, _)| c == a);
        next.retain(|o| o.addr == self.ulid || place(&o.addr).is_some());
        next.sort_by_key(|o| place(&o.addr).unwrap_or(usize::MAX));
        for o in next {
            let worst = LocatorPreference { priority: u16::MAX, weight: 0 };
            o.preference = place(&o.addr).map_or(worst, |i| chosen[i].1);
        }
    }

    /// All that could be offered with our ULID.
    pub(super) fn available(&self, host: &[LocalLocator]) -> Vec<LocatorInfo> {
        let all = if self.can_list() { self.wanted(host) } else { Vec::new() };
        let ulid = self.offered.iter().find(|o| o.addr == self.ulid && o.present).copied();
        let none = all.iter().all(|o| o.addr != self.ulid);
        all.into_iter().chain(ulid.filter(|_| none)).map(|o| self.info_of(&o)).collect()
    }

    /// On the host and in the list in force: may be pinned.
    pub(super) fn has(&self, addr: &Ipv6Addr) -> bool {
        self.offered.iter().any(|o| o.addr == *addr && o.present)
    }

    /// The peer knows it.
    pub(super) fn is_accepted(&self, addr: &Ipv6Addr) -> bool {
        self.accepted.contains(addr)
    }

    /// Locators that may be offered with our ULID (DESIGN section 8), as far as present: plain: itself; HBA: its set; with a
    /// key that can sign: all (LS-H-26, LS-H-27, LS-H-29, LS-H-30).
    fn wanted(&self, host: &[LocalLocator]) -> Vec<Offered> {
        let members = |l: &&LocalLocator| {
            let proven = |i: &Arc<Identity>| i.can_sign() || i.contains(&l.addr);
            l.addr == self.ulid || (l.group == self.group && self.identity.as_ref().is_some_and(proven))
        };
        let mut out: Vec<Offered> = host
            .iter()
            .filter(members)
            .map(|l| Offered {
                addr: l.addr,
                ifindex: l.ifindex,
                present: true,
                operational: l.operational,
                deprecated: l.deprecated,
                preference: LocatorPreference::default(),
            })
            .collect();
        // The most stable first, as the end is what gets cut off (S6-N-6, HC-USE-17)
        let foreign = |o: &Offered| self.identity.as_ref().is_some_and(|i| !i.contains(&o.addr));
        out.sort_by_key(|o| (o.addr != self.ulid, !o.operational, o.deprecated, foreign(o)));
        out.dedup_by_key(|o| o.addr);
        out
    }

    /// A new list gets a new random generation, never one that was used before (S6-N-3).
    fn renew(&mut self, rng: &mut dyn Rng) {
        loop {
            let generation = rng.u32();
            if !self.used.contains(&generation) {
                return self.use_generation(generation);
            }
        }
    }

    fn use_generation(&mut self, generation: u32) {
        self.generation = generation;
        if self.used.len() >= MAX_USED {
            self.used.remove(0);
        }
        self.used.push(self.generation);
    }

    /// Offer at most `max` locators, because a message with more would be too long (S6-5.1-3). The least preferred goes
    /// first, the ULID and `current` never do (HC-USE-17).
    pub(super) fn trim(&mut self, max: usize, current: &Ipv6Addr, rng: &mut dyn Rng) {
        self.max = self.max.min(max.max(1));
        let before = self.offered.len();
        while self.offered.len() > self.max {
            let spare = self.offered.iter().rposition(|o| o.addr != self.ulid && o.addr != *current);
            let Some(i) = spare else { break };
            self.offered.remove(i);
        }
        if self.offered.len() != before {
            self.renew(rng);
        }
    }

    /// The exchange whose messages had no room is over: the next refresh offers all again, which an Update Request tells.
    pub(super) fn untrim(&mut self) {
        self.max = MAX_OFFERED;
    }

    /// By which method the peer can verify a locator of ours (HC-USE-12, HC-USE-14).
    fn method_of(identity: &Identity, addr: &Ipv6Addr) -> u8 {
        let hba = identity.kind() != IdentityKind::Cga && identity.contains(addr);
        if hba { method::HBA } else { method::CGA }
    }

    /// The Locator List option, if we have something to list: a host with one locator has not (S6-N-6, S6-N-37).
    pub(super) fn list(&self) -> Option<LocatorList> {
        let identity = self.identity.as_ref().filter(|_| self.can_list())?;
        if self.offered.len() < 2 && !self.listed {
            return None;
        }
        let element = |o: &Offered| (Self::method_of(identity, &o.addr), o.addr);
        Some(LocatorList {
            generation: self.generation,
            locators: self.offered.iter().map(element).collect(),
            methods_offset: 0,
        })
    }

    /// Locators of the list that need a signature, in its order (HC-SIG-02).
    fn to_sign(&self) -> Vec<Ipv6Addr> {
        let list = self.list().map(|l| l.locators).unwrap_or_default();
        list.into_iter().filter(|(by, _)| *by == method::CGA).map(|(_, addr)| addr).collect()
    }

    /// The CGA Signature option that goes with the list, if it needs one (HC-SIG-07, HC-SIG-08). Before [`LocalSet::sign`]
    /// it has the right length only.
    pub(super) fn signature(&self) -> Option<Vec<u8>> {
        if self.to_sign().is_empty() {
            return None;
        }
        match &self.signature {
            Some((generation, signature)) if *generation == self.generation => Some(signature.clone()),
            _ => self.identity.as_ref().map(|i| vec![0; i.signature_len()]),
        }
    }

    /// Sign the list as it is now, unless that is done (HC-USE-13).
    pub(super) fn sign(&mut self, rng: &mut dyn Rng) {
        let signed = self.to_sign();
        let Some(identity) = self.identity.clone().filter(|_| !signed.is_empty()) else { return };
        if self.signature.as_ref().is_some_and(|(generation, _)| *generation == self.generation) {
            return;
        }
        // Other peers got the same list: no need to compute again. It stays a number that is new here (S6-N-3)
        if let Some(generation) = identity.recent_generation(&signed)
            && !self.used.contains(&generation)
        {
            self.use_generation(generation);
        }
        self.signature = identity.sign(self.generation, &signed, rng).map(|s| (self.generation, s));
        if self.signature.is_none() {
            // A key that does not work is none
            self.identity = None;
        }
    }

    /// The application's preferences differ, so they are told too (API-LLL-16).
    fn ranked(&self) -> bool {
        self.offered.iter().any(|o| o.preference != self.offered[0].preference)
    }

    /// The Locator Preferences option for the list in force: flags, and the application's preferences if it has any.
    pub(super) fn preferences(&self) -> LocatorPreferences {
        let ranked = self.ranked();
        // API-ABI-08
        let octet = |n: u16| ranked.then(|| u8::try_from(n).unwrap_or(u8::MAX));
        let element = |o: &Offered| Preference {
            flags: o.flags(),
            priority: octet(o.preference.priority),
            weight: octet(o.preference.weight),
        };
        LocatorPreferences {
            generation: self.generation,
            elements: Some(self.offered.iter().map(element).collect()),
            offset: 0,
        }
    }

    /// Whether there is anything to tell in preferences, so that they go with the list.
    pub(super) fn any_broken(&self) -> bool {
        self.offered.iter().any(|o| o.flags() != 0) || self.ranked()
    }

    /// The PDS of our ULID.
    pub(super) fn pds(&self) -> Option<Vec<u8>> {
        self.identity.as_ref()?.pds_for(&self.ulid).map(<[u8]>::to_vec)
    }

    pub(super) fn pds_known(&self) -> bool {
        self.pds_known
    }

    /// Error 2 to an Update Request: the peer may have lost our PDS.
    pub(super) fn forget_pds_known(&mut self) {
        self.pds_known = false;
    }

    /// The peer got a list from us at some time.
    pub(super) fn listed(&self) -> bool {
        self.listed
    }

    /// The list goes out now.
    pub(super) fn mark_listed(&mut self) {
        self.listed = true;
    }

    /// Whether a list can ever be sent.
    pub(super) fn can_list(&self) -> bool {
        self.identity.as_ref().is_some_and(|i| i.kind() != IdentityKind::Cga || i.can_sign())
    }

    /// The peer accepted these of our locators (R2, completed I2 or I2bis, Update Acknowledgement).
    pub(super) fn accept(&mut self, addrs: Vec<Ipv6Addr>, with_pds: bool) {
        self.accepted = addrs;
        if !self.accepted.contains(&self.ulid) {
            self.accepted.push(self.ulid);
        }
        self.pds_known |= with_pds;
    }

    /// Addresses of the list in force.
    pub(super) fn addresses(&self) -> Vec<Ipv6Addr> {
        self.offered.iter().map(|o| o.addr).collect()
    }

    /// Whether the peer may address us there: offered, or accepted and not yet replaced.
    pub(super) fn contains(&self, addr: &Ipv6Addr) -> bool {
        self.accepted.contains(addr) || self.offered.iter().any(|o| o.addr == *addr)
    }

    /// All that [`LocalSet::contains`] says yes to; some twice.
    pub(super) fn all(&self) -> impl Iterator<Item = Ipv6Addr> {
        self.accepted.iter().copied().chain(self.offered.iter().map(|o| o.addr))
    }

    /// Sources for probes and payload: on the host and accepted by the peer.
    pub(super) fn candidates(&self) -> Vec<LocalCandidate> {
        self.offered
            .iter()
            .filter(|o| o.present && self.accepted.contains(&o.addr))
            .map(|o| LocalCandidate { addr: o.addr, operational: o.operational, deprecated: o.deprecated })
            .collect()
    }

    /// On the host and in the list, but unknown to the peer.
    pub(super) fn newcomers(&self) -> Vec<Ipv6Addr> {
        let new = |o: &&Offered| o.present && o.operational && !self.accepted.contains(&o.addr);
        self.offered.iter().filter(new).map(|o| o.addr).collect()
    }

    /// As the API shows it, with the application's preferences.
    pub(super) fn info(&self, settings: &Settings) -> Vec<LocatorInfo> {
        let info = |o: &Offered| {
            let own = settings.local_preferences.get(&o.addr).copied();
            LocatorInfo { preference: own.unwrap_or(o.preference), ..self.info_of(o) }
        };
        self.offered.iter().map(info).collect()
    }

    fn info_of(&self, o: &Offered) -> LocatorInfo {
        let kind = self.identity.as_ref().map(|i| i.kind());
        LocatorInfo {
            ifindex: o.ifindex,
            hba: self.identity.as_ref().is_some_and(|i| i.kind() != IdentityKind::Cga && i.contains(&o.addr)),
            cga: matches!(kind, Some(IdentityKind::Cga | IdentityKind::CgaHba)),
            verified: true,
            probed: true,
            broken: o.flags() != 0,
            accepted: self.accepted.contains(&o.addr),
            preference: o.preference,
            ..LocatorInfo::new(o.addr)
        }
    }
}

/// One locator of the peer. Only verified ones get here (S6-N-51).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PeerLocator {
    pub(super) addr: Ipv6Addr,
    /// 0 for a ULID without list.
    pub(super) method: u8,
    /// Return routability was shown by a Probe (S6-6-2).
    pub(super) probed: bool,
    /// The configuration leaves this destination to the kernel: nothing is sent there (LS-G-13).
    barred: bool,
    /// The last test failed; forgotten then (API-ERR-11).
    unreachable_until: Option<Time>,
    pub(super) preference: Preference,
    /// Priority after the draw by weight.
    rank: u8,
}

/// See [`PeerSet::rank`].
pub(super) type Rank = (u8, bool);

impl PeerLocator {
    fn wanted(&self) -> Rank {
        (self.rank, self.preference.flags & preference_flag::TRANSIENT != 0)
    }
}

/// Ls(peer).
#[derive(Clone, Debug)]
pub(super) struct PeerSet {
    ulid: Ipv6Addr,
    locators: Vec<PeerLocator>,
    /// Generation of the last verified list.
    generation: Option<u32>,
    pds: Option<Pds>,
}

impl PeerSet {
    /// {ULID(peer)}, as before any list (S6-N-22).
    pub(super) fn new(ulid: Ipv6Addr) -> PeerSet {
        let only = PeerLocator {
            addr: ulid,
            method: 0,
            probed: false,
            barred: false,
            unreachable_until: None,
            preference: Preference::default(),
            rank: 0,
        };
        PeerSet { ulid, locators: vec![only], generation: None, pds: None }
    }

    /// The whole new list replaces the old one; what is known of reachability stays (S6-5.10-2, S6-6-2).
    pub(super) fn replace(
        &mut self,
        generation: u32,
        list: &[(u8, Ipv6Addr)],
        barred: impl Fn(&Ipv6Addr) -> bool,
    ) {
        let known = |a: &Ipv6Addr| self.locators.iter().find(|l| l.addr == *a);
        let next = list
            .iter()
            .map(|(method, addr)| PeerLocator {
                addr: *addr,
                method: *method,
                probed: known(addr).is_some_and(|l| l.probed),
                barred: barred(addr),
                unreachable_until: known(addr).and_then(|l| l.unreachable_until),
                preference: Preference::default(),
                rank: 0,
            })
            .collect();
        self.locators = next;
        self.generation = Some(generation);
    }

    /// Preferences for the list in force; the caller has checked their number. Weights are drawn once, here, so that the
    /// order stays the same until the next preferences (S6-5.15.3-6).
    pub(super) fn prefer(&mut self, elements: &[Preference], rng: &mut dyn Rng) {
        for (locator, element) in self.locators.iter_mut().zip(elements) {
            locator.preference = *element;
            locator.rank = element.priority.unwrap_or(0);
        }
        let candidate = |l: &PeerLocator| PeerCandidate {
            addr: l.addr,
            verified: true,
            broken: false,
            transient: false,
            priority: l.rank,
            weight: l.preference.weight.unwrap_or(0),
        };
        let mut drawn: Vec<PeerCandidate> = self.locators.iter().map(candidate).collect();
        draw_weights(rng, &mut drawn);
        for (locator, drawn) in self.locators.iter_mut().zip(drawn) {
            locator.rank = drawn.priority;
        }
    }

    pub(super) fn set_pds(&mut self, pds: Pds) {
        self.pds = Some(pds);
    }

    pub(super) fn pds(&self) -> Option<&Pds> {
        self.pds.as_ref()
    }

    pub(super) fn generation(&self) -> Option<u32> {
        self.generation
    }

    pub(super) fn len(&self) -> usize {
        self.locators.len()
    }

    /// A locator that was verified with the PDS that is kept, by the same method (HC-VER-14).
    pub(super) fn verified(&self, method: u8, addr: &Ipv6Addr) -> bool {
        self.locators.iter().any(|l| l.addr == *addr && l.method == method)
    }

    /// Whether packets of the peer may come from there; the ULID is always its own (S6-N-24).
    pub(super) fn contains(&self, addr: &Ipv6Addr) -> bool {
        *addr == self.ulid || self.locators.iter().any(|l| l.addr == *addr)
    }

    /// All that [`PeerSet::contains`] says yes to; some twice.
    pub(super) fn all(&self) -> impl Iterator<Item = Ipv6Addr> {
        std::iter::once(self.ulid).chain(self.locators.iter().map(|l| l.addr))
    }

    /// Whether two sets have a locator in common (S6-7.15-2, S6-7.15-8).
    pub(super) fn overlaps(&self, other: &PeerSet) -> bool {
        self.contains(&other.ulid) || other.locators.iter().any(|l| self.contains(&l.addr))
    }

    pub(super) fn mark_probed(&mut self, addr: &Ipv6Addr) {
        for locator in self.locators.iter_mut().filter(|l| l.addr == *addr) {
            locator.probed = true;
            locator.unreachable_until = None;
        }
    }

    /// A test of the way there failed.
    pub(super) fn mark_unreachable(&mut self, addr: &Ipv6Addr, until: Time) {
        for locator in self.locators.iter_mut().filter(|l| l.addr == *addr) {
            locator.unreachable_until = Some(until);
        }
    }

    /// What was found unreachable a while ago is merely unverified from now on.
    pub(super) fn forget_unreachable(&mut self, now: Time) -> bool {
        let mut any = false;
        for locator in self.locators.iter_mut().filter(|l| l.unreachable_until.is_some_and(|t| t <= now)) {
            locator.unreachable_until = None;
            locator.probed = false;
            any = true;
        }
        any
    }

    /// When [`PeerSet::forget_unreachable`] has something to do.
    pub(super) fn next_timeout(&self) -> Option<Time> {
        self.locators.iter().filter_map(|l| l.unreachable_until).min()
    }

    /// Locators whose reachability was shown.
    pub(super) fn probed(&self) -> impl Iterator<Item = Ipv6Addr> {
        self.locators.iter().filter(|l| l.probed).map(|l| l.addr)
    }

    /// May payload go there at once: listed, and reachability was shown or is not needed?
    pub(super) fn is_usable(&self, addr: &Ipv6Addr) -> bool {
        self.locators.iter().any(|l| l.addr == *addr && !l.barred && (l.probed || l.addr == self.ulid))
    }

    /// In the list in force, and a destination?
    pub(super) fn lists(&self, addr: &Ipv6Addr) -> bool {
        self.locators.iter().any(|l| l.addr == *addr && !l.barred)
    }

    /// How much the peer wants to be sent to there, lower is better: its priority, and whether it is TRANSIENT. A locator that
    /// is no destination comes last.
    pub(super) fn rank(&self, addr: &Ipv6Addr) -> Rank {
        #[cfg(test)]
        super::tests::work::count();
        let of = self.locators.iter().find(|l| l.addr == *addr && !l.barred);
        of.map_or((u8::MAX, true), PeerLocator::wanted)
    }

    /// The lowest [`PeerSet::rank`] of all.
    pub(super) fn lowest_rank(&self) -> Rank {
        let destinations = self.locators.iter().filter(|l| !l.barred);
        destinations.map(PeerLocator::wanted).min().unwrap_or((u8::MAX, true))
    }

    /// Destinations; a ULID that its own list leaves out is none (S6-N-36). Of duplicates the first counts.
    pub(super) fn candidates(&self) -> Vec<PeerCandidate> {
        let mut out: Vec<PeerCandidate> = Vec::with_capacity(self.locators.len());
        for l in self.locators.iter().filter(|l| !l.barred) {
            if !out.iter().any(|c| c.addr == l.addr) {
                out.push(PeerCandidate {
                    addr: l.addr,
                    verified: true,
                    broken: l.preference.flags & preference_flag::BROKEN != 0,
                    transient: l.preference.flags & preference_flag::TRANSIENT != 0,
                    priority: l.rank,
                    weight: l.preference.weight.unwrap_or(0),
                });
            }
        }
        out
    }

    /// As the API shows it, with the application's preferences before those of the peer.
    pub(super) fn info(&self, settings: &Settings) -> Vec<LocatorInfo> {
        let multi_prefix = self.pds.as_ref().is_some_and(|p| p.multi_prefix().is_some());
        let key = self.pds.as_ref().is_some_and(Pds::has_public_key);
        let sent = |p: &Preference| {
            let default = LocatorPreference::default();
            LocatorPreference {
                priority: p.priority.map_or(default.priority, u16::from),
                weight: p.weight.map_or(default.weight, u16::from),
            }
        };
        self.locators
            .iter()
            .map(|l| LocatorInfo {
                hba: l.method == method::HBA && multi_prefix,
                cga: l.method == method::CGA || (l.method == method::HBA && key),
                verified: true,
                probed: l.probed,
                broken: l.barred || l.preference.flags & preference_flag::BROKEN != 0,
                unreachable: l.unreachable_until.is_some(),
                accepted: true,
                preference: settings.peer_preferences.get(&l.addr).copied().unwrap_or(sent(&l.preference)),
                ..LocatorInfo::new(l.addr)
            })
            .collect()
    }
}
