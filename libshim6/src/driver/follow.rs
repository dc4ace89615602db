//! Cells and contexts brought in line with each other: what sockets see, where they send, what they set.

use super::cell::{CellKey, ContextView, ForkState};
use super::resend::Moved;
use super::run::Runner;
use super::shared::Shared;
use crate::addr::UlidPair;
use crate::engine::{ContextInfo, ContextState, Settings, Setup};
use crate::time::Time;
use std::sync::Arc;

/// What the engine was given of a cell's settings.
#[derive(Debug, Default)]
pub struct Applied {
    /// The settings, and CT(local) of the context that has them.
    settings: Option<(Arc<Settings>, u64)>,
    hot: bool,
    /// Switches of the context that were acted upon.
    pub(super) switches: u64,
    fork: ForkState,
}

impl Runner {
    /// Bring a cell up to date with its context, and set when its threads wake us.
    pub(super) fn refresh(&mut self, now: Time, key: CellKey) {
        let ulids = key.ulids;
        if !self.tracked.contains_key(&key) {
            // A context that the peer started for a pair without traffic so far.
            let info = self.engine.context_of(ulids, key.fii);
            if info.is_none() {
                self.defaults.release(ulids);
                self.unread.forget(ulids);
            }
            if key.fii != 0 || info.is_none() || self.shared.cell(ulids).is_none() || !self.track(now, key) {
                return;
            }
        }
        self.apply(now, key);
        let info = self.engine.context_of(ulids, key.fii);
        if info.is_none() && key.fii == 0 {
            self.defaults.release(ulids);
            self.unread.forget(ulids);
        }
        let associated = info.as_ref().is_some_and(associated);
        if key.fii == 0 {
            self.divide(now, ulids);
        }
        let forward = info.as_ref().filter(|_| associated).and_then(|i| self.forward(now, i));
        let moved = info.as_ref().filter(|_| associated).and_then(Moved::of);
        let wake = self.engine.wake_of(ulids, key.fii);
        let setup = self.engine.setup_of(ulids, 0);
        let Some(t) = self.tracked.get(&key) else { return };
        let given = t.applied.settings.as_ref().filter(|_| associated && t.applied.fork != ForkState::Failed);
        t.cell.change_settings(|current| {
            // Set anew since they were read: a pin among them directs datagrams already (API-LTX-08), and this forward does
            // not know it. The change has woken us once more.
            if given.is_none_or(|(settings, _)| Arc::ptr_eq(settings, current)) {
                t.cell.set_forward_of(associated, forward);
            }
        });
        self.send_again(now, key, moved);
        let Some(t) = self.tracked.get_mut(&key) else { return };
        let view = ContextView { associated, setup, fork: t.applied.fork, ..view(info) };
        let old = t.cell.view();
        let news = *old != view;
        if news {
            t.cell.set_view(view);
        }
        t.cell.set_wake(wake);
        if news && self.shared.suppress && key.fii == 0 {
            self.follow_bare(ulids, &old);
        }
        let Some(t) = self.tracked.get_mut(&key) else { return };
        let epoll = self.shared.epoll.raw();
        if associated && wake.on_received {
            let fds = self.host.descriptors(ulids);
            self.shared.watches.arm(epoll, ulids, &fds);
            t.watched = fds;
        } else if !t.watched.is_empty() {
            let fds = std::mem::take(&mut t.watched);
            self.shared.watches.disarm(epoll, ulids, &fds);
        }
        // Whatever passed before the conditions were set has woken nobody.
        if wake != Default::default() {
            self.sample(now, key);
        }
    }

    /// Give each instance that the peer made for some of its flows a cell, by which these flows go (LS-P-05).
    fn divide(&mut self, now: Time, ulids: UlidPair) {
        let Some(cell) = self.tracked.get(&CellKey { ulids, fii: 0 }).map(|t| t.cell.clone()) else { return };
        let flows = self.engine.instance_flows(ulids);
        if flows == cell.routes() {
            return;
        }
        let mut routes = Vec::new();
        for (fii, flow) in flows {
            let key = CellKey { ulids, fii };
            if let Some(cell) = self.shared.instance(key).filter(|c| c.is_instance() && self.track(now, key))
            {
                routes.push((flow, cell));
            }
        }
        let keep: Vec<_> = routes.iter().map(|(_, cell)| cell.key()).collect();
        cell.set_routes(routes);
        for key in self.keys(ulids) {
            let over = self.tracked.get(&key).is_some_and(|t| t.cell.is_instance()) && !keep.contains(&key);
            if over {
                self.sample(now, key);
                self.forget(key);
            }
        }
    }

    /// Give the engine what the sockets of a cell have set, and the cell what the engine made of it.
    fn apply(&mut self, now: Time, key: CellKey) {
        let CellKey { ulids, fii } = key;
        let Some(t) = self.tracked.get_mut(&key) else { return };
        if t.cell.is_fork() {
            let own = self.engine.setup_of(ulids, fii);
            match (t.applied.fork, own) {
                (ForkState::Failed, _) => return,
                (_, Setup::Up) => t.applied.fork = ForkState::Up,
                (_, Setup::Running) => t.applied.fork = ForkState::Pending,
                (ForkState::Shared, _) => {
                    t.applied.fork = ForkState::Pending;
                    let settings = t.cell.settings();
                    if !self.engine.fork(now, ulids, fii, settings, t.flow) {
                        return fail(t, key);
                    }
                }
                // Given up by the handshake, or lost
                (_, Setup::None | Setup::Failed) => return fail(t, key),
            }
        }
        let Some(info) = self.engine.context_of(ulids, fii) else {
            t.applied.settings = None;
            t.applied.hot = false;
            return;
        };
        if t.applied.fork == ForkState::Pending {
            // What is set meanwhile goes to the context under way.
            let wanted = t.cell.settings();
            let tag = 0;
            if t.applied.settings.as_ref().is_none_or(|(s, _)| !Arc::ptr_eq(s, &wanted)) {
                t.applied.settings = Some((wanted.clone(), tag));
                self.engine.configure(now, ulids, fii, wanted);
            }
            return;
        }
        if !associated(&info) {
            return;
        }
        let tag = info.local_tag.value();
        let same_context = t.applied.settings.as_ref().is_some_and(|(_, t)| *t == tag);
        if !same_context {
            t.applied.hot = false;
        }
        // What the engine dropped is dropped from the cell too, unless that was set anew meanwhile.
        if let Some((given, _)) = t.applied.settings.as_ref().filter(|_| same_context)
            && **given != *info.settings
        {
            let kept = info.settings.clone();
            let taken = t.cell.change_settings(|s| {
                let untouched = Arc::ptr_eq(s, given);
                if untouched {
                    *s = kept.clone();
                }
                untouched
            });
            if taken {
                tracing::info!(ulids = %key.ulids, fii = key.fii, "settings whose locators are gone are dropped");
                t.applied.settings = Some((kept, tag));
            }
        }
        let wanted = t.cell.settings();
        let given = t.applied.settings.as_ref().filter(|_| same_context);
        if given.is_none_or(|(s, _)| !Arc::ptr_eq(s, &wanted)) {
            t.applied.settings = Some((wanted.clone(), tag));
            warn_of_timeout(key, &wanted);
            if *wanted != *info.settings {
                self.engine.configure(now, ulids, fii, wanted);
            }
        }
        let Some(t) = self.tracked.get_mut(&key) else { return };
        let hot = t.cell.is_hot_standby();
        if hot != t.applied.hot {
            t.applied.hot = hot;
            self.engine.set_hot_standby(now, ulids, fii, hot);
        }
    }

    /// The socket of a fork is gone.
    pub(super) fn release(&mut self, now: Time, key: CellKey) {
        if key.fii == 0 {
            return;
        }
        self.sample(now, key);
        self.engine.release_fork(now, key.ulids, key.fii);
        self.forget(key);
    }

    /// Drop the cells that neither a socket nor a context uses.
    pub(super) fn sweep(&mut self, now: Time) {
        let all: Vec<_> = self.shared.cells.lock().keys().copied().collect();
        for key in all {
            self.forget_if_unused(now, key);
        }
    }

    pub(super) fn forget_if_unused(&mut self, now: Time, key: CellKey) {
        if self.tracked.get(&key).is_some_and(|t| t.cell.is_instance()) {
            return;
        }
        if key.fii != 0 {
            // API-FK-14
            if !fork_in_use(&self.shared, key) {
                self.release(now, key);
            }
            return;
        }
        if self.engine.context_of(key.ulids, 0).is_some() || self.host.in_use(key.ulids) {
            return;
        }
        // One count is the map's, one ours; a socket that holds a third may still use it.
        let ours = usize::from(self.tracked.contains_key(&key));
        let unused = |cell: &Arc<_>| Arc::strong_count(cell) == 1 + ours;
        if self.shared.cells.lock().get(&key).is_some_and(unused) {
            self.forget(key);
        }
    }

    fn forget(&mut self, key: CellKey) {
        self.shared.cells.lock().remove(&key);
        if let Some(t) = self.tracked.remove(&key) {
            if self.shared.suppress {
                self.shared.bare.set(&t.cell, &[]);
            }
            self.shared.watches.disarm(self.shared.epoll.raw(), key.ulids, &t.watched);
        }
    }
}

/// Does a socket hold the cell of a fork?
pub fn fork_in_use(shared: &Shared, key: CellKey) -> bool {
    shared.cells.lock().get(&key).is_some_and(|cell| cell.users() > 0)
}

/// A Send Timeout beyond what RFC 5534 section 7 recommends is the application's business, but worth a line (API-PE-16,
/// API-TMO-14).
fn warn_of_timeout(key: CellKey, settings: &Settings) {
    let timeout = settings.app_timeout.or(settings.path_explore.send_timeout);
    if let Some(t) = timeout.filter(|t| !(10..=100).contains(&t.as_secs())) {
        tracing::warn!(ulids = %key.ulids, fii = key.fii, "an application set a Send Timeout of {t:?}");
    }
}

fn fail(t: &mut super::traffic::Tracked, key: CellKey) {
    tracing::warn!(ulids = %key.ulids, fii = key.fii, "no context for a socket's own settings: they are discarded");
    t.applied.fork = ForkState::Failed;
    t.cell.change_settings(|s| *s = Arc::default());
}

fn view(info: Option<ContextInfo>) -> ContextView {
    info.map_or_else(ContextView::default, |i| ContextView {
        fii: i.fii,
        current: Some(i.current),
        peer_tag: i.peer_tag,
        local: i.local,
        peer: i.peer,
        available: i.available,
        timers: i.timers,
        standby: i.standby,
        takes_bare: i.takes_bare,
        switches: i.switches,
        switched: i.counters.pair_changes,
        ..ContextView::default()
    })
}

fn associated(info: &ContextInfo) -> bool {
    matches!(info.state, ContextState::Established | ContextState::I2bisSent)
}
