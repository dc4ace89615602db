//! Contexts that were forked for one socket each, beside the one that the sockets of a ULID pair share (RFC 5533
//! sections 4.2, 7.7; RFC 6316 section 11.1; conformance part G of the API table).
//!
//! A fork is `exclusive`: nothing but the socket that asked for it sends by it. While it has no context of its own
//! (not yet, or not any more), traffic told for it counts for the shared one, by which it goes.

use super::context::{Context, Exchange};
use super::io::{ContextInfo, ContextState, Direction, Wake};
use super::settings::{Feedback, Settings, Setup};
use super::table::Id;
use super::{Engine, reap::Env};
use crate::addr::{ContextTag, Fii, FlowId, UlidPair};
use crate::event::{DiscardReason, FailureCause};
use crate::time::Time;
use crate::wire::ReapState;
use std::net::Ipv6Addr;
use std::sync::Arc;

impl Engine {
    /// The context that the sockets of a pair share: the default one, else the instance with the lowest FII that is no
    /// fork of one socket (API-FK-16).
    pub(super) fn shared_instance(&self, ulids: UlidPair) -> Option<Id> {
        self.table.instances(ulids).find(|id| self.table.get(*id).is_some_and(|c| !c.exclusive))
    }

    /// The context that serves a cell: its fork once that is up, else the shared one.
    pub(super) fn serving_instance(&self, ulids: UlidPair, fii: Fii) -> Option<Id> {
        self.own_instance(ulids, fii).or_else(|| self.shared_instance(ulids))
    }

    fn own_instance(&self, ulids: UlidPair, fii: Fii) -> Option<Id> {
        let id = self.table.by_key(ulids, fii).filter(|_| fii != 0)?;
        self.table.get(id).filter(|c| c.active()).map(|_| id)
    }

    /// Flows of a pair that instances of the peer's making serve beside the shared context: another process of its host,
    /// or a socket with a context of its own (DESIGN section 5, LS-P-05).
    pub fn instance_flows(&self, ulids: UlidPair) -> Vec<(Fii, FlowId)> {
        let shared = self.shared_instance(ulids);
        let others = self.table.instances(ulids).filter(|id| Some(*id) != shared);
        let others = others.filter_map(|id| self.table.get(id)).filter(|c| !c.exclusive && c.active());
        others.flat_map(|c| c.flows.iter().map(|flow| (c.fii, *flow))).collect()
    }

    /// Tagged payload of a flow came by an instance: answers go by it too (Appendix A of draft-ietf-shim6-multihome-shim-api).
    pub fn flow_heard(&mut self, ulids: UlidPair, fii: Fii, flow: FlowId) {
        let mut ids = self.table.instances(ulids);
        if ids.next().is_none() || ids.next().is_none() {
            return;
        }
        drop(ids);
        let shared = self.shared_instance(ulids);
        let mut moved = false;
        for id in self.table.instances(ulids).collect::<Vec<_>>() {
            let Some(ctx) = self.table.get_mut(id).filter(|c| !c.exclusive) else { continue };
            moved |= match ctx.fii == fii && Some(id) != shared {
                true => ctx.add_flow(flow),
                false => ctx.flows.iter().position(|f| *f == flow).map(|at| ctx.flows.remove(at)).is_some(),
            };
        }
        if moved {
            self.io.changed.insert(ulids);
        }
    }

    /// Begin a context for one socket of a pair whose shared context is ESTABLISHED, with these settings (API-FK-03,
    /// API-FK-04). The handshake runs over the current pair of the shared context. `false`: there is none, `fii` is
    /// taken or 0, or the table is full.
    pub fn fork(
        &mut self,
        now: Time,
        ulids: UlidPair,
        fii: Fii,
        settings: Arc<Settings>,
        flow: Option<FlowId>,
    ) -> bool {
        self.io.now = now;
        let shared = self.shared_instance(ulids).and_then(|id| self.table.get(id));
        let Some(pair) = shared.filter(|c| c.established()).map(Context::current) else { return false };
        if fii == 0 || self.table.by_key(ulids, fii).is_some() {
            return false;
        }
        let Some(id) = self.create(now, ulids, fii, None) else { return false };
        let Some(ctx) = self.table.get_mut(id) else { return false };
        ctx.exclusive = true;
        ctx.flow = flow;
        ctx.exchange = Some(Exchange::new(self.io.rng.u32(), pair, now));
        self.configure(now, ulids, fii, settings);
        if let Some(ctx) = self.table.get_mut(id) {
            ctx.send_i1(now, &mut self.io);
        }
        self.settle(now, id);
        true
    }

    /// The socket of a fork is gone, and with it the context; the peer learns it when it uses it next (API-FK-13,
    /// API-FK-15).
    pub fn release_fork(&mut self, now: Time, ulids: UlidPair, fii: Fii) {
        self.io.now = now;
        if let Some(id) = self.table.by_key(ulids, fii)
            && self.table.get(id).is_some_and(|c| c.exclusive)
        {
            self.remove(now, id, DiscardReason::Command);
        }
    }

    /// Reachability that the shared context has shown counts for a new fork too: it is the same peer.
    pub(super) fn inherit(&mut self, id: Id) {
        let Some(ctx) = self.table.get(id).filter(|c| c.exclusive) else { return };
        let shared = self.shared_instance(ctx.ulids).and_then(|id| self.table.get(id));
        let probed: Vec<Ipv6Addr> = shared.map(|c| c.peer.probed().collect()).unwrap_or_default();
        if let Some(ctx) = self.table.get_mut(id) {
            probed.iter().for_each(|addr| ctx.peer.mark_probed(addr));
        }
    }

    /// As [`Engine::payload`] for the cell of an instance; 0 is the shared one. A fork is told of the traffic of its
    /// socket only.
    #[allow(clippy::too_many_arguments)]
    pub fn payload_of(
        &mut self,
        now: Time,
        ulids: UlidPair,
        fii: Fii,
        dir: Direction,
        packets: u64,
        bytes: u64,
        flow: Option<FlowId>,
    ) {
        self.io.now = self.io.now.max(now);
        if packets == 0 {
            return;
        }
        if let Some(flow) = flow {
            self.note_flow(self.io.now, ulids, flow);
        }
        let shared = |id: &Id| self.table.get(*id).is_some_and(|c| !c.exclusive);
        let ids: Vec<Id> = match self.own_instance(ulids, fii) {
            Some(id) => vec![id],
            // What is received fits any instance, what is sent goes by the first (S6-4.2-2)
            None if dir == Direction::Sent => self.shared_instance(ulids).into_iter().collect(),
            None => self.table.instances(ulids).filter(shared).filter(|id| !self.has_flows(*id)).collect(),
        };
        for id in &ids {
            let Some(ctx) = self.table.get_mut(*id) else { continue };
            ctx.last_use = ctx.last_use.max(now);
            ctx.flow = ctx.flow.or(flow);
            ctx.note_traffic(now, packets);
            if ctx.established() {
                let mut env = self.io.env(now);
                match dir {
                    Direction::Sent => ctx.reap.payload_sent(&mut env),
                    Direction::Received => ctx.reap.payload_received(&mut env),
                }
            }
            self.settle(now, *id);
        }
        if ids.is_empty() {
            let due = self.trigger.count(now, ulids, packets, bytes, flow)
                || (self.is_capable(&ulids.peer) && !self.trigger.off());
            let seen = self.trigger.seen(now, ulids);
            if seen.and_then(|seen| self.io.host.wants_context(ulids, seen)).unwrap_or(due) {
                self.initiate(now, ulids, flow, false);
            }
            self.io.changed.insert(ulids);
        }
    }

    /// Is it an instance that is told of the traffic of its flows only?
    fn has_flows(&self, id: Id) -> bool {
        let Some(ctx) = self.table.get(id) else { return false };
        !ctx.flows.is_empty() && ctx.active() && self.shared_instance(ctx.ulids) != Some(id)
    }

    /// The context that serves the cell of an instance; its `fii` tells whether it is the cell's own.
    pub fn context_of(&self, ulids: UlidPair, fii: Fii) -> Option<ContextInfo> {
        let ctx = self.serving_instance(ulids, fii).and_then(|id| self.table.get(id))?;
        Some(ctx.info(&self.io, &self.local))
    }

    /// CT(local) of a context, for the log.
    pub(crate) fn tag_of(&self, ulids: UlidPair, fii: Fii) -> Option<ContextTag> {
        self.table.by_key(ulids, fii).and_then(|id| self.table.get(id)).map(|ctx| ctx.local_tag)
    }

    /// As [`Engine::wake`] for the cell of an instance.
    pub fn wake_of(&self, ulids: UlidPair, fii: Fii) -> Wake {
        let Some(ctx) = self.serving_instance(ulids, fii).and_then(|id| self.table.get(id)) else {
            // Bounded by poll_timeout and set_local_locators, which bring poll_changed
            let never = !self.may_begin(ulids, false) || self.negative.holds(ulids);
            let eager = self.is_capable(&ulids.peer);
            return if never { Wake::default() } else { self.trigger.wake(ulids, eager) };
        };
        if !ctx.established() {
            return Wake::default();
        }
        let both = !ctx.reap.timers_running();
        Wake {
            on_sent: both,
            on_received: both || ctx.reap.state() == ReapState::Exploring,
            ..Wake::default()
        }
    }

    /// How far the setup of an instance is. A fork that failed is not remembered: [`Setup::None`].
    pub fn setup_of(&self, ulids: UlidPair, fii: Fii) -> Setup {
        let id = if fii == 0 { self.shared_instance(ulids) } else { self.table.by_key(ulids, fii) };
        match id.and_then(|id| self.table.get(id)) {
            Some(c) if c.active() => Setup::Up,
            Some(_) => Setup::Running,
            None if fii == 0 && (self.negative.holds(ulids) || self.forbids(&ulids.peer)) => Setup::Failed,
            None => Setup::None,
        }
    }

    /// Give up the setup of a pair's shared context, if it never was ESTABLISHED (API-DONT-04).
    pub fn abandon_setup(&mut self, now: Time, ulids: UlidPair) {
        self.io.now = now;
        self.trigger.forget(ulids);
        if let Some(id) = self.shared_instance(ulids)
            && self.table.get(id).is_some_and(|c| {
                matches!(c.state, ContextState::I1Sent | ContextState::I2Sent) && !c.was_established
            })
        {
            self.remove(now, id, DiscardReason::Command);
        }
    }

    /// Feedback of an application on the current pair of the context that serves it (RE-FI-07 to RE-FI-10).
    pub fn feedback(&mut self, now: Time, ulids: UlidPair, fii: Fii, feedback: Feedback) {
        self.with_established(now, ulids, fii, |ctx, env| match feedback {
            Feedback::Unable => ctx.reap.explore(env, FailureCause::Feedback),
            Feedback::Unsatisfactory => ctx.reap.hint(env),
            Feedback::SatisfactoryOutbound => ctx.reap.stop_send_timer(),
            Feedback::SatisfactoryInbound => {}
        });
    }

    /// Do something with the ESTABLISHED context that serves a cell.
    pub(super) fn with_established(
        &mut self,
        now: Time,
        ulids: UlidPair,
        fii: Fii,
        f: impl FnOnce(&mut Context, &mut Env<'_>),
    ) {
        self.io.now = now;
        let Some(id) = self.serving_instance(ulids, fii) else { return };
        if let Some(ctx) = self.table.get_mut(id)
            && ctx.established()
        {
            f(ctx, &mut self.io.env(now));
        }
        self.settle(now, id);
    }
}
