//! What applications set for a context by the sockets API, and what follows from it (RFC 6316 section 6; conformance
//! part D of the API table).

use super::context::Context;
use super::io::LocalLocator;
use super::locators::MAX_OFFERED;
use super::reap::Parameters;
use super::update::News;
use super::{Engine, Io};
use crate::addr::{Fii, LocatorPair, UlidPair};
use crate::config::ReapConfig;
use crate::time::Time;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

/// Preference of a locator in the form that both ABIs convert to and from (API-ABI-06).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LocatorPreference {
    /// Lower is better.
    pub priority: u16,
    /// Larger is better, among equal priorities.
    pub weight: u16,
}

impl Default for LocatorPreference {
    /// API-ABI-07.
    fn default() -> Self {
        LocatorPreference { priority: 128, weight: 0 }
    }
}

impl LocatorPreference {
    /// Ascending from the best.
    fn rank(self) -> (u16, Reverse<u16>) {
        (self.priority, Reverse(self.weight))
    }
}

/// SHIM_PATHEXPLORE; `None` stands for the default of the engine (API-PE-08).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PathExplore {
    /// Probes sent at the initial gap, before back-off begins.
    pub initial_probes: Option<u32>,
    /// Gap between initial Probes.
    pub initial_probe_timeout: Option<Duration>,
    /// Send Timeout of the context (`pe_keepaliveto`, API-PE-12).
    pub send_timeout: Option<Duration>,
    /// How often Keepalives are sent while they are wanted (`pe_keepaliveint`); at most half the peer's timeout.
    pub keepalive_interval: Option<Duration>,
}

/// Everything that an application may set for a context. `Default` leaves all to the engine.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Settings {
    /// SHIM_APP_TIMEOUT: Send Timeout of the context; beats `path_explore.send_timeout` (API-TMO-15, RE-C-14).
    pub app_timeout: Option<Duration>,
    /// `app_timeout` was set by the draft's ABI: where it exceeds the Send Timeout of the configuration, no Keepalives
    /// are sent on the context (API-TMO-10, API-TMO-11).
    pub app_timeout_by_draft: bool,
    /// SHIM_PATHEXPLORE.
    pub path_explore: PathExplore,
    /// SHIM_LOC_LOCAL_PREF; locators not named have the default. A wish that steers our sending only (API-LLP-15).
    pub local_preferences: BTreeMap<Ipv6Addr, LocatorPreference>,
    /// SHIM_LOC_PEER_PREF, and the preferences of SHIM_LOCLIST_PEER. Beat what the peer sent (API-PPF-13).
    pub peer_preferences: BTreeMap<Ipv6Addr, LocatorPreference>,
    /// SHIM_LOC_LOCAL_SEND: the source of all payload, as long as it is in Ls(local) and accepted by the peer
    /// (API-LTX-10, API-LTX-13). Dropped when the locator leaves Ls(local).
    pub pinned_local: Option<Ipv6Addr>,
    /// SHIM_LOC_PEER_SEND: the destination of all payload. Dropped when the locator leaves Ls(peer).
    pub pinned_peer: Option<Ipv6Addr>,
    /// SHIM_LOCLIST_LOCAL: what is offered to the peer, in this order, with the preferences that it is told. The ULID is
    /// added at the end if it is not there (API-LLL-19).
    pub local_list: Option<Vec<(Ipv6Addr, LocatorPreference)>>,
    /// SHIM_LOCLIST_PEER: the peer's locators that may be used. Dropped when the peer sends a new list (API-LLR-13).
    pub peer_list: Option<Vec<Ipv6Addr>>,
}

/// The timers in force on a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContextTimers {
    /// Send Timeout.
    pub send_timeout: Duration,
    /// Keepalive Timeout that the peer announced, or the default.
    pub keepalive_timeout: Duration,
    /// Interval of Keepalives; a third of the timeout if none was set.
    pub keepalive_interval: Duration,
    /// Number of Initial Probes.
    pub initial_probes: u32,
    /// Initial Probe Timeout.
    pub initial_probe_timeout: Duration,
}

impl Default for ContextTimers {
    fn default() -> Self {
        let c = ReapConfig::default();
        ContextTimers {
            send_timeout: c.send_timeout,
            keepalive_timeout: super::reap::DEFAULT_KEEPALIVE_TIMEOUT,
            keepalive_interval: super::reap::DEFAULT_KEEPALIVE_TIMEOUT / 3,
            initial_probes: c.initial_probes,
            initial_probe_timeout: c.initial_probe_timeout,
        }
    }
}

/// Why a locator that an application gave cannot be used. Where several apply, the first in this order (API-PTX-16).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LocatorError {
    /// EINVALIDLOCATOR: not on this host or not coverable by the ULID's identity; not in Ls(peer).
    Invalid,
    /// EUNREACHABLELOCATOR: the last reachability test failed.
    Unreachable,
    /// EUNVERIFIEDLOCATOR: no reachability test has succeeded yet.
    Unverified,
}

impl std::fmt::Display for LocatorError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            LocatorError::Invalid => "not a locator of this context",
            LocatorError::Unreachable => "the last reachability test of the locator failed",
            LocatorError::Unverified => "no reachability test of the locator has succeeded yet",
        })
    }
}

impl std::error::Error for LocatorError {}

/// SHIM_FEEDBACK: what an application says about the path (RE-FI-07 to RE-FI-10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Feedback {
    /// Indicator 1, unable to connect: as an expiry of the Send Timer.
    Unable,
    /// Indicator 2, unsatisfactory: one explicit test, at most once per Send Timeout.
    Unsatisfactory,
    /// Indicator 3, satisfactory, outbound: stops a running Send Timer.
    SatisfactoryOutbound,
    /// Indicator 3, inbound: nothing follows.
    SatisfactoryInbound,
}

/// How far the setup of a context is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Setup {
    /// Not begun.
    #[default]
    None,
    /// Under way.
    Running,
    /// There is a context.
    Up,
    /// It failed a short while ago, or the peer does no Shim6: not tried again before its hold-down ends.
    Failed,
}

impl Settings {
    /// The Send Timeout: SHIM_APP_TIMEOUT over SHIM_PATHEXPLORE over the configuration (RE-C-14).
    pub fn send_timeout(&self, config: &ReapConfig) -> Duration {
        let set = |d: Option<Duration>| d.filter(|d| !d.is_zero());
        set(self.app_timeout).or(set(self.path_explore.send_timeout)).unwrap_or(config.send_timeout)
    }

    /// Whether Keepalives are held back (API-TMO-10).
    pub fn suppresses_keepalives(&self, config: &ReapConfig) -> bool {
        self.app_timeout_by_draft && self.app_timeout.is_some_and(|t| t > config.send_timeout)
    }

    /// How much the application wants a pair, ascending from the best (API-LLP-14).
    pub(super) fn wish(&self, pair: LocatorPair) -> impl Ord + use<> {
        let of = |m: &BTreeMap<Ipv6Addr, LocatorPreference>, a| m.get(&a).copied().unwrap_or_default().rank();
        (of(&self.local_preferences, pair.local), of(&self.peer_preferences, pair.peer))
    }

    /// Whether the application prefers some pair.
    pub(super) fn wishes(&self) -> bool {
        !self.local_preferences.is_empty() || !self.peer_preferences.is_empty()
    }

    /// Whether the pins and the list of the peer's locators admit a pair.
    pub(super) fn admits(&self, pair: LocatorPair) -> bool {
        self.pinned_local.is_none_or(|a| a == pair.local)
            && self.pinned_peer.is_none_or(|a| a == pair.peer)
            && self.peer_list.as_ref().is_none_or(|l| l.contains(&pair.peer))
    }
}

impl Context {
    /// The Send Timeout in whole seconds, rounded up, for the Keepalive Timeout option.
    pub(super) fn timeout_seconds(&self, io: &Io) -> u16 {
        let t = self.settings.send_timeout(&io.config.reap);
        let seconds = t.as_secs() + u64::from(t.subsec_nanos() > 0);
        u16::try_from(seconds).unwrap_or(u16::MAX).max(1)
    }

    /// The Send Timeout in milliseconds, for the option that is ours.
    pub(super) fn timeout_ms(&self, io: &Io) -> u32 {
        let t = self.settings.send_timeout(&io.config.reap);
        u32::try_from(t.as_millis()).unwrap_or(u32::MAX).max(1)
    }

    /// What of the Send Timeout the peer can know: whole seconds, if it knows no milliseconds.
    fn honoured(&self, io: &Io) -> Duration {
        let wanted = self.settings.send_timeout(&io.config.reap);
        if self.precise { wanted } else { wanted.max(Duration::from_secs(self.timeout_seconds(io).into())) }
    }

    /// The timers in force.
    pub(super) fn timers(&self, io: &Io) -> ContextTimers {
        let (config, explore) = (&io.config.reap, &self.settings.path_explore);
        let set = explore.keepalive_interval.map(|t| t.min(self.keepalive_timeout / 2));
        ContextTimers {
            send_timeout: self.settings.send_timeout(config),
            keepalive_timeout: self.keepalive_timeout,
            keepalive_interval: set.unwrap_or(self.keepalive_timeout / 3),
            initial_probes: explore.initial_probes.unwrap_or(config.initial_probes),
            initial_probe_timeout: explore.initial_probe_timeout.unwrap_or(config.initial_probe_timeout),
        }
    }

    /// Give REAP its values.
    pub(super) fn tune(&mut self, io: &Io) {
        let explore = self.settings.path_explore;
        self.reap.set_parameters(Parameters {
            // A peer that could not know is never taken for dead before it had to send its Keepalives
            send_timeout: Some(self.honoured(io)),
            initial_probes: explore.initial_probes,
            initial_probe_timeout: explore.initial_probe_timeout,
            keepalive_interval: explore.keepalive_interval,
            no_keepalives: self.settings.suppresses_keepalives(&io.config.reap),
            careful: true,
        });
    }

    /// The same, after a change of the settings: the peer is told of another Send Timeout (RE-KT-03, RE-KT-07).
    pub(super) fn set_timers(&mut self, now: Time, io: &mut Io) {
        self.tune(io);
        let (known, new) = (self.announced, self.timeout_ms(io));
        let same = if self.precise { known == new } else { known.div_ceil(1000) == new.div_ceil(1000) };
        if self.established() && !same {
            self.announced = new;
            self.request_update(now, io, News { keepalive: true, ..News::default() }, false);
        }
    }

    /// Take over what applications set.
    fn configure(&mut self, now: Time, io: &mut Io, host: &[LocalLocator], settings: Arc<Settings>) {
        let old = std::mem::replace(&mut self.settings, settings);
        self.complete_list(host);
        self.set_timers(now, io);
        if old.local_list != self.settings.local_list {
            self.local.choose(self.settings.local_list.clone());
            if self.established() {
                self.refresh_local(now, io, host);
            } else {
                self.local.refresh(host, io.rng.as_mut());
            }
        }
        let wishes = |s: &Settings| (s.local_preferences.clone(), s.peer_preferences.clone());
        if wishes(&old) != wishes(&self.settings) {
            self.tester.wish_now(now);
        }
        self.update_candidates(now, io);
        let pinned = |s: &Settings| s.pinned_local.is_some() || s.pinned_peer.is_some();
        if pinned(&old) && !pinned(&self.settings) {
            self.leave_pinned();
        }
        io.changed.insert(self.ulids);
    }

    /// The pins are gone: back to the pair that was in use before them, unless REAP has chosen since (API-LTX-06).
    fn leave_pinned(&mut self) {
        let Some(before) = self.pair_before_pins() else { return };
        if self.reap.usable().any(|p| p == before) {
            self.reap.pin_to(before);
        }
    }

    /// A locator that the application wants to send from is added to its list (API-LLP-11, API-LTX-10).
    fn complete_list(&mut self, host: &[LocalLocator]) {
        let s = &self.settings;
        let Some(list) = &s.local_list else { return };
        let available = self.local.available(host);
        let missing = |a: &Ipv6Addr| {
            !list.iter().any(|(l, _)| l == a)
                && *a != self.ulids.local
                && available.iter().any(|l| l.addr == *a)
        };
        let wanted: Vec<Ipv6Addr> =
            s.pinned_local.iter().chain(s.local_preferences.keys()).copied().filter(missing).collect();
        if !wanted.is_empty() {
            let settings = Arc::make_mut(&mut self.settings);
            let list = settings.local_list.get_or_insert_default();
            for a in wanted {
                if list.len() < MAX_OFFERED && !list.iter().any(|(l, _)| *l == a) {
                    list.push((a, LocatorPreference::default()));
                }
            }
        }
    }

    /// The peer sent a new list: what the application made of the old one is over (API-LLR-13).
    pub(super) fn list_replaced(&mut self) {
        if self.settings.peer_list.is_some() {
            Arc::make_mut(&mut self.settings).peer_list = None;
        }
    }

    /// All pairs that may be probed, whatever applications want of them.
    pub(super) fn all_pairs(&self) -> Vec<LocatorPair> {
        super::pairs::order(self.ulids, &self.local.candidates(), &self.peer.candidates())
    }

    /// Tell REAP which pairs there are now, and move to the pinned ones.
    pub(super) fn update_candidates(&mut self, now: Time, io: &mut Io) {
        self.drop_pins();
        let all = self.all_pairs();
        let peer = self.peer.candidates();
        let broken: Vec<Ipv6Addr> = peer.iter().filter(|p| p.broken).map(|p| p.addr).collect();
        // A pin waits for the peer to accept its locator (API-LTX-10)
        let mut settings = Settings::clone(&self.settings);
        settings.pinned_local = settings.pinned_local.filter(|a| self.local.is_accepted(a));
        if !self.active() {
            // The handshake goes by the pair of the shared context; no payload goes by this one yet (API-FK-10)
            (settings.pinned_local, settings.pinned_peer, settings.peer_list) = (None, None, None);
        }
        let gone = self.reap.testing().is_some_and(|p| !all.contains(&p));
        let (mut pairs, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|p| settings.admits(*p));
        if settings.wishes() {
            pairs.sort_by_key(|p| (broken.contains(&p.peer), settings.wish(*p)));
        }
        let current = self.reap.current();
        let pinned = settings.pinned_local.is_some() || settings.pinned_peer.is_some();
        if pinned && !settings.admits(current) && self.active() {
            // From the next packet on (API-LTX-08, API-PTX-14); never to where nothing was confirmed (RE-RP-14)
            let best = pairs
                .iter()
                .filter(|p| self.peer.is_usable(&p.peer))
                .min_by_key(|p| (p.peer != current.peer, p.local != current.local));
            if let Some(pair) = best {
                self.reap.pin_to(*pair);
            }
        }
        if gone {
            self.reap.abort_test();
        }
        self.reap.set_answerable(others);
        self.reap.set_candidates_with_broken(&mut io.env(now), pairs, broken);
    }

    /// Pins whose locator is gone are gone too (API-LTX-14).
    fn drop_pins(&mut self) {
        let s = &self.settings;
        let local = s.pinned_local.is_some_and(|a| !self.local.has(&a));
        let peer = s.pinned_peer.is_some_and(|a| !self.peer.lists(&a));
        // Before the first list of the peer nothing can be said of its locators
        let peer = peer && self.was_established;
        if local || peer {
            let s = Arc::make_mut(&mut self.settings);
            s.pinned_local = s.pinned_local.filter(|_| !local);
            s.pinned_peer = s.pinned_peer.filter(|_| !peer);
        }
    }
}

impl Engine {
    /// What applications set for the context of a cell (`fii` 0: the shared one) from now on; it replaces all that was
    /// set before. Values must have been checked; what cannot be kept up is dropped, and missing in
    /// [`super::ContextInfo::settings`] then. Without context nothing happens.
    pub fn configure(&mut self, now: Time, ulids: UlidPair, fii: Fii, settings: Arc<Settings>) {
        self.io.now = now;
        let id = if fii == 0 { self.shared_instance(ulids) } else { self.table.by_key(ulids, fii) };
        let Some(id) = id else { return };
        if let Some(ctx) = self.table.get_mut(id) {
            ctx.configure(now, &mut self.io, &self.local, settings);
        }
        self.settle(now, id);
    }

    /// Keep an alternative pair confirmed (SHIM_HOT_STANDBY), or stop it.
    pub fn set_hot_standby(&mut self, now: Time, ulids: UlidPair, fii: Fii, on: bool) {
        self.with_established(now, ulids, fii, |ctx, env| {
            ctx.set_hot_standby(env.now, on || env.config.hot_standby);
        });
    }

    /// Test the way to a locator of the peer (API-PTX-12). No effect for one that is not in Ls(peer).
    pub fn probe_peer(&mut self, now: Time, ulids: UlidPair, fii: Fii, addr: Ipv6Addr) {
        self.with_established(now, ulids, fii, |ctx, _| ctx.ask(addr));
    }
}
