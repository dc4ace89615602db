//! The meeting point of application threads and the engine thread: one [`Cell`] per ULID pair of the process, and one
//! more for each context that was forked for a socket, and for each that the peer made for some of its flows.
//!
//! Application threads count traffic into atomics and read the forwarding state; the engine thread samples the
//! counters when its timers need them. On a healthy path neither side makes a system call for a datagram.

pub mod epoch;
mod meter;

pub use meter::{Meter, attention};

use super::resend::Resend;
use crate::addr::{ContextTag, Fii, FlowId, LocatorPair, UlidPair};
use crate::engine::{Bare, ContextTimers, LocatorError, LocatorInfo, Settings, Setup, Wake};
use crate::event::Switch;
use crate::time::Time;
use parking_lot::{Condvar, Mutex, RwLock};
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// Most pairs whose path MTU a cell keeps for [`Cell::forward_on`].
const MAX_KEPT: usize = 64;

/// Names a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CellKey {
    /// ULIDs.
    pub ulids: UlidPair,
    /// 0 for the cell that all sockets share, else the instance that was forked for one, or that the peer made.
    pub fii: Fii,
}

/// Where payload of a ULID pair goes once its locators are not its ULIDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Source and destination on the wire.
    pub locators: LocatorPair,
    /// Interface that owns the source.
    pub ifindex: u32,
    /// CT(peer), for the payload extension header.
    pub peer_tag: ContextTag,
    /// Path MTU of the pair: a packet (IPv6 header included) above it is fragmented behind the shim header.
    pub mtu: u32,
    /// Which payload goes without extension header, by the application's own socket.
    pub bare: Bare,
    /// What the application wants in the IPv6 header; of a cell's forward none, as that is not of one socket.
    pub marking: Marking,
}

impl Forward {
    /// With extension header, and nothing that an application wants.
    pub fn new(locators: LocatorPair, ifindex: u32, peer_tag: ContextTag, mtu: u32) -> Forward {
        Forward { locators, ifindex, peer_tag, mtu, bare: Bare::No, marking: Marking::default() }
    }
}

/// Fields of the IPv6 header that an application may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Marking {
    /// Traffic class (IPV6_TCLASS).
    pub traffic_class: u8,
    /// Hop limit (IPV6_UNICAST_HOPS, IPV6_HOPLIMIT); `None`: that of the host.
    pub hop_limit: Option<u8>,
}

/// How far a forked context is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ForkState {
    /// The cell is the shared one.
    #[default]
    Shared,
    /// Being established; until then the shared context serves the socket (API-FK-10).
    Pending,
    /// Its own context serves the socket.
    Up,
    /// It could not be established: the shared context serves the socket, the settings are discarded (API-FK-11).
    Failed,
}

/// The context as sockets see it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContextView {
    /// A context in ESTABLISHED or I2BIS-SENT serves the pair (SHIM_ASSOCIATED).
    pub associated: bool,
    /// How far its setup is.
    pub setup: Setup,
    /// Instance of the context that serves the cell now.
    pub fii: Fii,
    /// Whether that is a fork.
    pub fork: ForkState,
    /// Lp(local), Lp(peer).
    pub current: Option<LocatorPair>,
    /// CT(peer).
    pub peer_tag: Option<ContextTag>,
    /// Ls(local), in list order.
    pub local: Vec<LocatorInfo>,
    /// Ls(peer), in list order; `preference`, `probed`, `unreachable`, `broken` as they are now.
    pub peer: Vec<LocatorInfo>,
    /// All addresses of this host that may be offered with the ULID, in Ls(local) or not.
    pub available: Vec<LocatorInfo>,
    /// The timers in force (SHIM_PATHEXPLORE get, API-PE-05).
    pub timers: ContextTimers,
    /// The alternative pair that hot standby has confirmed.
    pub standby: Option<LocatorPair>,
    /// Which payload may come without extension header, on other locators than the ULIDs.
    pub takes_bare: Bare,
    /// The latest switches of the pair with their causes and times, newest last; 16 at most.
    pub switches: Vec<Switch>,
    /// All switches of the context so far.
    pub switched: u64,
}

impl ContextView {
    /// May a datagram on these locators, as we see them, be one of the context's without extension header (LS-S-25)?
    pub fn takes(&self, ulids: UlidPair, locators: LocatorPair) -> bool {
        self.takes_bare != Bare::No
            && self.associated
            && locators != ulids.as_locators()
            && self.local.iter().any(|l| l.addr == locators.local)
            && self.peer.iter().any(|l| l.addr == locators.peer && l.verified)
    }

    /// May the application name this locator of ours (API-LLP-10, API-LTX-09, API-LLL-13, API-LLL-14)?
    ///
    /// # Errors
    ///
    /// [`LocatorError::Invalid`]: not on this host, or not coverable by the ULID's identity.
    pub fn check_local(&self, addr: Ipv6Addr) -> Result<(), LocatorError> {
        self.available.iter().any(|l| l.addr == addr).then_some(()).ok_or(LocatorError::Invalid)
    }

    /// Is this locator of the peer listed, verified and not known to be unreachable: enough for SHIM_LOC_PEER_PREF
    /// (API-PPF-08 to API-PPF-12)?
    ///
    /// # Errors
    ///
    /// `Invalid`, `Unreachable`.
    pub fn check_peer_listed(&self, addr: Ipv6Addr) -> Result<(), LocatorError> {
        match self.peer.iter().find(|l| l.addr == addr) {
            Some(l) if !l.verified => Err(LocatorError::Invalid),
            Some(l) if l.unreachable => Err(LocatorError::Unreachable),
            Some(_) => Ok(()),
            None => Err(LocatorError::Invalid),
        }
    }

    /// The same, and reachability has been confirmed: enough to send payload there (API-PTX-08 to API-PTX-13,
    /// API-LLR-08, API-LLR-09). The peer's ULID needs no confirmation.
    ///
    /// # Errors
    ///
    /// `Invalid`, `Unreachable`, `Unverified`; for the last one [`Handle::probe_peer`](super::Handle::probe_peer) starts
    /// the test.
    pub fn check_peer(&self, ulids: UlidPair, addr: Ipv6Addr) -> Result<(), LocatorError> {
        if addr == ulids.peer && self.peer.iter().any(|l| l.addr == addr) {
            return Ok(());
        }
        self.check_peer_listed(addr)?;
        let probed = self.peer.iter().any(|l| l.addr == addr && l.probed);
        probed.then_some(()).ok_or(LocatorError::Unverified)
    }
}

/// Traffic as the engine samples it. Times are 0 for "none".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Sample {
    /// Datagrams sent since the cell was made.
    pub sent: u64,
    /// Datagrams received.
    pub received: u64,
    /// Octets, both directions, as far as the engine asked for them ([`Wake::after_bytes`]).
    pub bytes: u64,
    /// When the first datagram left that nothing has been received after.
    pub first_unanswered_sent: Time,
    /// When the first datagram came that nothing has been sent after.
    pub first_unreplied_received: Time,
}

/// One ULID pair.
#[derive(Debug)]
pub struct Cell {
    ulids: UlidPair,
    fii: Fii,
    /// Of an instance that the peer made, beside the one that the sockets of the pair share.
    instance: bool,
    meter: &'static Meter,
    /// `forward` is that of the parent's context.
    inherited: AtomicBool,
    held: AtomicBool,
    routes: RwLock<Vec<(FlowId, Arc<Cell>)>>,
    forward: RwLock<Option<Forward>>,
    view: RwLock<Arc<ContextView>>,
    bytes: AtomicU64,
    /// When the first datagram left since the pair changed; 0 if none has, or if the engine knows.
    first_by_pair: AtomicU64,
    wake_at_bytes: AtomicU64,
    wake_at_packets: AtomicU64,
    settings: Mutex<Arc<Settings>>,
    users: AtomicU32,
    hot: AtomicU32,
    /// Requests for a setup, and how many of them the engine has taken up.
    asked: AtomicU32,
    answered: AtomicU32,
    changed: (Mutex<()>, Condvar),
    mtus: Mutex<Vec<(LocatorPair, u32)>>,
    /// Where payload went before the first pin.
    unpinned: Mutex<Option<Option<Forward>>>,
    /// Copies of what was sent of late, where they were asked for.
    pub(crate) resend: Resend,
}

impl Cell {
    /// A cell without context: traffic passes untouched.
    pub fn new(ulids: UlidPair) -> Self {
        Cell::with_fii(ulids, 0)
    }

    /// The cell of a fork.
    pub(super) fn with_fii(ulids: UlidPair, fii: Fii) -> Self {
        let meter = Meter::take();
        // Octets are counted until the engine has told that it need not know them.
        meter.set(attention::ON_SENT | attention::ON_RECEIVED | attention::VOLUME, true);
        Cell {
            ulids,
            fii,
            instance: false,
            meter,
            inherited: AtomicBool::new(false),
            held: AtomicBool::new(false),
            routes: RwLock::default(),
            forward: RwLock::new(None),
            view: RwLock::new(Arc::default()),
            bytes: AtomicU64::new(0),
            first_by_pair: AtomicU64::new(0),
            wake_at_bytes: AtomicU64::new(u64::MAX),
            wake_at_packets: AtomicU64::new(u64::MAX),
            settings: Mutex::default(),
            users: AtomicU32::new(0),
            hot: AtomicU32::new(0),
            asked: AtomicU32::new(0),
            answered: AtomicU32::new(0),
            changed: Default::default(),
            mtus: Mutex::default(),
            unpinned: Mutex::default(),
            resend: Resend::new(meter),
        }
    }

    /// The cell of an instance that the peer made.
    pub(super) fn of_instance(ulids: UlidPair, fii: Fii) -> Self {
        let mut cell = Cell::with_fii(ulids, fii);
        cell.instance = true;
        cell
    }

    /// The pair.
    pub fn ulids(&self) -> UlidPair {
        self.ulids
    }

    /// Was the cell made for one socket with settings of its own?
    pub fn is_fork(&self) -> bool {
        self.fii != 0 && !self.instance
    }

    /// Is it the cell of an instance that the peer made?
    pub(super) fn is_instance(&self) -> bool {
        self.instance
    }

    /// Its name.
    pub fn key(&self) -> CellKey {
        CellKey { ulids: self.ulids, fii: self.fii }
    }

    /// What applications have set, from the moment on that they set it: the engine follows a little later, and drops
    /// what cannot be kept up (a pinned locator that vanished, a list that the peer replaced).
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.lock().clone()
    }

    /// Change the settings under their lock; what `change` returns.
    pub(super) fn change_settings<T>(&self, change: impl FnOnce(&mut Arc<Settings>) -> T) -> T {
        change(&mut self.settings.lock())
    }

    /// Sockets that use the cell ([`Handle::attach`](super::Handle::attach)).
    pub fn users(&self) -> u32 {
        self.users.load(SeqCst)
    }

    pub(super) fn users_mut(&self) -> &AtomicU32 {
        &self.users
    }

    /// Does a socket want hot standby?
    pub fn is_hot_standby(&self) -> bool {
        self.hot.load(SeqCst) > 0
    }

    pub(super) fn hot_mut(&self) -> &AtomicU32 {
        &self.hot
    }

    pub(super) fn ask_setup(&self) {
        self.asked.fetch_add(1, SeqCst);
    }

    /// Engine thread: requests so far; [`Cell::answer_setup`] once the view tells what became of them.
    pub(super) fn asked_setup(&self) -> u32 {
        self.asked.load(SeqCst)
    }

    /// Engine thread: see [`Cell::asked_setup`].
    pub(super) fn answer_setup(&self, asked: u32) {
        self.answered.store(asked, SeqCst);
        self.notify();
    }

    fn notify(&self) {
        drop(self.changed.0.lock());
        self.changed.1.notify_all();
    }

    /// Application thread: how far the setup is, counting one that was just asked for.
    pub fn setup(&self) -> Setup {
        let pending = self.asked.load(SeqCst) != self.answered.load(SeqCst);
        match self.view().setup {
            Setup::None | Setup::Failed if pending => Setup::Running,
            setup => setup,
        }
    }

    /// Application thread: wait until no setup is under way, at most for `limit`. The one call here that waits
    /// (API-GEN-20, API-DEF-11).
    pub fn wait_setup(&self, limit: Duration) -> Setup {
        let end = Instant::now() + limit;
        let mut guard = self.changed.0.lock();
        loop {
            let setup = self.setup();
            if setup != Setup::Running || self.changed.1.wait_until(&mut guard, end).timed_out() {
                return setup;
            }
        }
    }

    /// Application thread: wait until the engine has taken up what was asked for, at most for `limit`: a setup that is
    /// not tried now has failed then.
    pub fn wait_answer(&self, limit: Duration) -> Setup {
        let end = Instant::now() + limit;
        let mut guard = self.changed.0.lock();
        while self.asked.load(SeqCst) != self.answered.load(SeqCst) {
            if self.changed.1.wait_until(&mut guard, end).timed_out() {
                break;
            }
        }
        self.setup()
    }

    /// Where a datagram goes whose locators the application chose itself (cmsgs SHIM_LOC_*_SEND); an end that is `None` is
    /// that of the current pair (API-CM-21). `Ok(None)`: the pair equals the ULIDs, so it goes without Shim6 header
    /// (API-CM-37). `mtu` tells the path MTU of a pair that was not used before.
    ///
    /// # Errors
    ///
    /// As [`ContextView::check_local`] and [`ContextView::check_peer`]; `Invalid` without context, and for a locator of
    /// ours that the peer does not know yet.
    pub fn forward_on(
        &self,
        local: Option<Ipv6Addr>,
        peer: Option<Ipv6Addr>,
        mtu: impl FnOnce(LocatorPair) -> u32,
    ) -> Result<Option<Forward>, LocatorError> {
        let view = self.view();
        let (Some(current), Some(peer_tag), true) = (view.current, view.peer_tag, view.associated) else {
            return Err(LocatorError::Invalid);
        };
        let pair = LocatorPair { local: local.unwrap_or(current.local), peer: peer.unwrap_or(current.peer) };
        let source = view.available.iter().find(|l| l.addr == pair.local);
        let known = view.local.iter().any(|l| l.addr == pair.local && l.accepted);
        if local.is_some() && (source.is_none() || !known) {
            return Err(LocatorError::Invalid);
        }
        if peer.is_some() {
            view.check_peer(self.ulids, pair.peer)?;
        }
        if pair == self.ulids.as_locators() {
            return Ok(None);
        }
        let ifindex = source.map_or(0, |l| l.ifindex);
        let mut mtus = self.mtus.lock();
        let kept = mtus.iter().find(|(p, _)| *p == pair).map(|(_, mtu)| *mtu);
        let mtu = kept.unwrap_or_else(|| {
            let mtu = mtu(pair);
            if mtus.len() >= MAX_KEPT {
                mtus.clear();
            }
            mtus.push((pair, mtu));
            mtu
        });
        Ok(Some(Forward::new(pair, ifindex, peer_tag, mtu)))
    }

    /// Engine thread: what was learned of a path MTU; `None` forgets all.
    pub(super) fn keep_mtu(&self, known: Option<(LocatorPair, u32)>) {
        let mut mtus = self.mtus.lock();
        match known {
            Some((pair, mtu)) => mtus.iter_mut().filter(|(p, _)| *p == pair).for_each(|m| m.1 = mtu),
            None => mtus.clear(),
        }
    }

    /// What is touched per datagram.
    #[inline]
    pub fn meter(&self) -> &'static Meter {
        self.meter
    }

    /// Application thread: a datagram of `bytes` octets was sent. `now` is called only where a time is needed.
    /// Returns `true` if the engine has to be woken.
    #[inline]
    #[must_use]
    pub fn note_sent(&self, bytes: usize, now: impl Fn() -> Time) -> bool {
        self.meter.note_sent(1, &now) && self.attend_sent(bytes, now)
    }

    /// Application thread: a datagram of `bytes` octets was received. As [`Cell::note_sent`].
    #[inline]
    #[must_use]
    pub fn note_received(&self, bytes: usize, now: impl Fn() -> Time) -> bool {
        self.meter.note_received(1, &now) && self.attend_received(bytes)
    }

    /// Application thread: what [`Meter::note_sent`] asks for. Returns `true` if the engine has to be woken.
    #[must_use]
    pub fn attend_sent(&self, bytes: usize, now: impl FnOnce() -> Time) -> bool {
        let wake = self.meter.take_bit(attention::ON_SENT);
        let first = self.meter.take_bit(attention::TIME_SENT);
        // For the engine the silence begins with the datagram that wakes it
        if wake || first {
            let now = now().0.max(1);
            self.meter.first_unanswered_sent.store(now, Relaxed);
            if first {
                self.first_by_pair.store(now, Relaxed);
            }
        }
        self.attend_volume(bytes) | wake
    }

    /// Application thread: what [`Meter::note_received`] asks for. Returns `true` if the engine has to be woken.
    #[must_use]
    pub fn attend_received(&self, bytes: usize) -> bool {
        self.attend_volume(bytes) | self.meter.take_bit(attention::ON_RECEIVED)
    }

    fn attend_volume(&self, bytes: usize) -> bool {
        if !self.meter.needs(attention::VOLUME) {
            return false;
        }
        let total = self.bytes.fetch_add(bytes as u64, Relaxed) + bytes as u64;
        let enough =
            total >= self.wake_at_bytes.load(Relaxed) || self.packets() >= self.wake_at_packets.load(Relaxed);
        enough && self.meter.take_bit(attention::VOLUME)
    }

    fn packets(&self) -> u64 {
        self.meter.sent.load(SeqCst) + self.meter.received.0.load(SeqCst)
    }

    /// Application thread: `None` while locators equal ULIDs, the usual case, at the cost of one load.
    pub fn forward(&self) -> Option<Forward> {
        if !self.is_rewritten() {
            return None;
        }
        *self.forward.read()
    }

    /// Application thread: are locators other than the ULIDs in use, or may they be for some flows? One load.
    #[inline]
    pub fn is_rewritten(&self) -> bool {
        self.meter.needs(attention::DETOUR | attention::DIVIDED)
    }

    /// Application thread: do flows of the pair have instances of their own, so that [`Cell::of_flow`] has to be asked?
    /// One load.
    #[inline]
    pub fn is_divided(&self) -> bool {
        self.meter.needs(attention::DIVIDED)
    }

    /// Application thread: the cell of the instance that serves a flow; `None`: this one does.
    pub fn of_flow(&self, flow: FlowId) -> Option<Arc<Cell>> {
        if !self.is_divided() {
            return None;
        }
        self.routes.read().iter().find(|(f, _)| *f == flow).map(|(_, cell)| cell.clone())
    }

    /// Application thread: does a context serve the pair? One load.
    #[inline]
    pub fn is_associated(&self) -> bool {
        self.meter.needs(attention::ASSOCIATED)
    }

    /// Application thread: the context as it is now.
    pub fn view(&self) -> Arc<ContextView> {
        self.view.read().clone()
    }

    /// Engine thread: traffic so far.
    pub fn sample(&self) -> Sample {
        Sample {
            sent: self.meter.sent.load(SeqCst),
            received: self.meter.received.0.load(SeqCst),
            bytes: self.bytes.load(SeqCst),
            first_unanswered_sent: Time(self.meter.first_unanswered_sent.load(SeqCst)),
            first_unreplied_received: Time(self.meter.first_unreplied_received.load(SeqCst)),
        }
    }

    /// In a forked child, which has no other thread: where the parent's payload went. `None` also where its engine was
    /// about to change that.
    pub fn forward_after_fork(&self) -> Option<Forward> {
        if self.is_rewritten() { *self.forward.try_read()? } else { None }
    }

    /// Until the engine of this process has a context of its own, payload goes where the parent's went, in the parent's
    /// context: the peer takes it, and its answers come to the sockets that both processes hold.
    pub fn inherit(&self, forward: Forward) {
        if !self.is_associated() {
            self.inherited.store(true, SeqCst);
            self.set_forward(Some(Forward { bare: Bare::No, ..forward }));
        }
    }

    /// Engine thread: where payload goes by the context, if there is one.
    pub(super) fn set_forward_of(&self, context: bool, forward: Option<Forward>) {
        if context {
            self.inherited.store(false, SeqCst);
        }
        if !self.inherited.load(SeqCst) && self.forward() != forward {
            self.set_forward(forward);
        }
    }

    /// Engine thread: payload of the pair goes there from now on; `None`: locators equal ULIDs.
    pub fn set_forward(&self, forward: Option<Forward>) {
        *self.forward.write() = forward;
        self.look_closer();
        self.first_by_pair.store(0, SeqCst);
        self.meter.set(attention::TIME_SENT, true);
    }

    /// Application thread: a pin directs payload there from the next datagram on (API-LTX-08), before the engine hears of it.
    /// `first`: there was none until now, and payload went there.
    pub fn pin(&self, forward: Option<Forward>, first: Option<Option<Forward>>) {
        let mut before = self.unpinned.lock();
        *before = first.or(*before);
        self.set_forward(forward);
    }

    /// Application thread: the last pin is gone, so payload goes as before the first (API-LTX-06). If that context or pair
    /// is no more, the engine says otherwise in a moment.
    pub fn unpin(&self) {
        let before = self.unpinned.lock().take();
        let valid = |f: &Forward| self.view().peer_tag == Some(f.peer_tag);
        if let Some(before) = before.filter(|f| f.as_ref().is_none_or(valid)) {
            self.set_forward(before);
        }
    }

    fn look_closer(&self) {
        self.meter.set(attention::DETOUR, self.is_held() || self.forward.read().is_some());
        epoch::advance();
    }

    /// Application thread: are datagrams of the pair to be dropped as if lost on the way, because the peer would take them
    /// for those of another session (LS-S-08)? A short time, and only where a session begins on locators that carry
    /// datagrams without extension header.
    pub fn is_held(&self) -> bool {
        self.held.load(SeqCst)
    }

    /// See [`Cell::is_held`].
    pub(super) fn hold(&self, held: bool) {
        self.held.store(held, SeqCst);
        self.look_closer();
    }

    /// Engine thread: a control message answered what was sent so far, and the engine was told of that.
    pub(super) fn note_answered(&self) {
        self.meter.first_unanswered_sent.store(0, Relaxed);
    }

    /// Engine thread: when the first datagram left since the pair changed, once it has; told once.
    pub(super) fn take_first_by_pair(&self) -> Option<Time> {
        match self.first_by_pair.swap(0, Relaxed) {
            0 => None,
            at => Some(Time(at)),
        }
    }

    /// Engine thread: the flows that other instances serve.
    pub(super) fn set_routes(&self, routes: Vec<(FlowId, Arc<Cell>)>) {
        let divided = !routes.is_empty();
        *self.routes.write() = routes;
        self.meter.set(attention::DIVIDED, divided);
    }

    /// Engine thread: the instances of [`Cell::set_routes`].
    pub(super) fn routes(&self) -> Vec<(Fii, FlowId)> {
        self.routes.read().iter().map(|(flow, cell)| (cell.fii, *flow)).collect()
    }

    /// Engine thread: what sockets see from now on.
    pub fn set_view(&self, view: ContextView) {
        self.meter.set(attention::ASSOCIATED, view.associated);
        let old = std::mem::replace(&mut *self.view.write(), Arc::new(view));
        if old.takes_bare != Bare::No || self.view().takes_bare != Bare::No {
            epoch::advance();
        }
        self.notify();
    }

    /// Engine thread: when it wants to be woken. Sample after this call, so that nothing falls between the two.
    pub fn set_wake(&self, wake: Wake) {
        let at = |left: Option<u64>, now: u64| left.map_or(u64::MAX, |n| now.saturating_add(n));
        self.wake_at_bytes.store(at(wake.after_bytes, self.bytes.load(SeqCst)), SeqCst);
        self.wake_at_packets.store(at(wake.after_packets, self.packets()), SeqCst);
        self.meter.set(attention::VOLUME, wake.after_bytes.is_some() || wake.after_packets.is_some());
        self.meter.set(attention::ON_SENT, wake.on_sent);
        self.meter.set(attention::ON_RECEIVED, wake.on_received);
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        epoch::advance();
        self.meter.give_back();
    }
}

#[cfg(test)]
mod tests;
