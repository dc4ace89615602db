//! The sans-IO protocol core: packets, traffic, addresses and the time go in; transmits, events, payload to deliver
//! and the next timeout come out. No system call, clock, thread or own randomness (DESIGN section 3).
//!
//! The run-loop contract: call any `handle_*`/`set_*`/`payload` method with a time that never goes backwards (for
//! `payload`: never for the same ULID pair), then drain [`Engine::poll_transmit`], [`Engine::poll_event`] and
//! [`Engine::poll_changed`], then sleep until [`Engine::poll_timeout`] or input. Before [`Engine::handle_timeout`], tell
//! by [`Engine::payload`] what traffic was seen since.
//!
//! | file | what |
//! | --- | --- |
//! | `table`, `context` | the contexts, their indices, their tags |
//! | `establish`, `recover` | I1, R1, I2, R2; R1bis, I2bis, and a tag used twice |
//! | `locators`, `verify`, `update` | Ls(local), Ls(peer), HBA and CGA verification, Update Request |
//! | `settings`, `fork` | what applications set, contexts of one socket |
//! | `standby`, `back` | tests of alternative pairs, and the return to preferred ones |
//! | `suppress` | header suppression: flags, and the flows that must stay told apart |
//! | `dispatch` | which context a packet or an ICMPv6 error belongs to, Error messages |
//! | `validator`, `limit` | what makes strangers harmless |
//! | `trigger`, `contact` | when a ULID pair gets a context, when it is not tried again, what is known of the peer before |
//! | `icmp` | ICMPv6 errors, mapped back for the application |
//! | [`reap`], [`pairs`] | reachability of locator pairs |

mod back;
mod contact;
mod context;
mod counters;
mod dispatch;
mod establish;
mod fork;
mod icmp;
mod io;
mod limit;
mod locators;
pub mod pairs;
pub mod reap;
mod recover;
mod settings;
mod standby;
mod suppress;
mod table;
mod trigger;
mod update;
mod validator;
mod verify;

#[cfg(test)]
mod tests;

pub use counters::{Counters, Dropped};
pub use icmp::IcmpError;
pub use io::{
    ContextInfo, ContextState, Datagram, Deliver, Direction, HostPolicy, IcmpDelivery, IcmpKind,
    LocalLocator, LocatorInfo, PairTraffic, Transmit, Wake,
};
pub use reap::ReapCounters;
pub use settings::{ContextTimers, Feedback, LocatorError, LocatorPreference, PathExplore, Settings, Setup};
pub use suppress::Bare;

use crate::addr::{Fii, FlowId, LocatorPair, UlidPair};
use crate::config::Config;
use crate::event::{DiscardReason, Event, EventKind};
use crate::rng::Rng;
use crate::time::Time;
use crate::wire::{ErrorMessage, Message};
use contact::Former;
use limit::Limiter;
use reap::Env;
use std::collections::{BTreeSet, VecDeque};
use std::net::Ipv6Addr;
use std::time::Duration;
use suppress::Flows;
use table::{Id, Table, Tags};
use trigger::{Negative, Trigger};
use validator::Validators;

/// Idle contexts are kept at least this long (S6-9-4).
const MIN_IDLE: Duration = Duration::from_secs(300);
/// ICMPv6 errors that wait to be taken, and how many per second a source prefix and all together may bring.
const MAX_ICMP: usize = 64;
const ICMP_RATES: (u32, u32) = (50, 200);

/// The protocol engine of one process.
pub struct Engine {
    io: Io,
    local: Vec<LocalLocator>,
    table: Table,
    trigger: Trigger,
    negative: Negative,
    former: Former,
    validators: Validators,
    tags: Tags,
    flows: Flows,
}

/// What every part of the engine needs: the way out, randomness, the host, the configuration.
struct Io {
    config: Config,
    rng: Box<dyn Rng>,
    host: Box<dyn HostPolicy>,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
    changed: BTreeSet<UlidPair>,
    counters: Counters,
    limiter: Limiter,
    icmp: VecDeque<IcmpDelivery>,
    icmp_limiter: Limiter,
    /// The present, for replies that are limited by rate.
    now: Time,
}

impl Io {
    fn env(&mut self, now: Time) -> Env<'_> {
        Env { now, rng: self.rng.as_mut(), config: &self.config.reap }
    }

    fn send(&mut self, locators: LocatorPair, message: &Message) {
        match message.emit() {
            Ok(data) => {
                Counters::bump(&mut self.counters.sent, message.type_number());
                tracing::trace!(pair = %locators, "sent {message}");
                self.transmits.push_back(Transmit { locators, data });
            }
            Err(e) => tracing::error!(error = ?e, message = message.name(), "a message could not be built"),
        }
    }

    /// Answer `d` with an Error about its octet `offset`, if the rate allows it (S6-N-47).
    fn send_error(&mut self, d: &Datagram<'_>, code: u8, offset: usize) {
        if !self.limiter.allow(self.now, &d.source) {
            self.counters.drop(Dropped::RateLimited);
            return;
        }
        Counters::bump(&mut self.counters.errors_sent, code);
        let error = ErrorMessage::quoting(code, d.source, d.destination, d.data, offset);
        self.send(d.back(), &Message::Error(error));
    }

    fn event(&mut self, at: Time, ulids: UlidPair, fii: Fii, kind: EventKind) {
        self.events.push_back(Event { at, ulids, fii, kind });
    }

    /// A retransmission timeout with its random factor of 0.5 to 1.5 (S6-14-2).
    fn randomised(&mut self, base: Duration) -> Duration {
        if self.config.reap.jitter { base.mul_f64(self.rng.f64(0.5, 1.5)) } else { base }
    }
}

impl Engine {
    /// A new engine without contexts. `tag_prefix` gives the top 16 of the 47 bits of its context tags; `None` leaves
    /// all to chance (one engine per host: tests).
    pub fn new(
        config: Config,
        rng: Box<dyn Rng>,
        host: Box<dyn HostPolicy>,
        tag_prefix: Option<u16>,
    ) -> Engine {
        let mut rng = rng;
        let shim6 = &config.shim6;
        Engine {
            local: Vec::new(),
            table: Table::default(),
            trigger: Trigger::new(config.trigger.clone()),
            negative: Negative::default(),
            former: Former::default(),
            flows: Flows::default(),
            validators: Validators::new(rng.as_mut(), shim6.validator_min_lifetime),
            tags: Tags::new(rng.as_mut(), tag_prefix),
            io: Io {
                limiter: Limiter::new(shim6.reply_rate_per_source, shim6.reply_rate_total),
                icmp: VecDeque::new(),
                icmp_limiter: Limiter::new(ICMP_RATES.0, ICMP_RATES.1),
                rng,
                host,
                transmits: VecDeque::new(),
                events: VecDeque::new(),
                changed: BTreeSet::new(),
                counters: Counters::default(),
                now: Time::ZERO,
                config,
            },
        }
    }

    /// All addresses of the host that may be locators. Differences to the last call start explorations (a current
    /// locator is gone or not operational) and Update Requests. A ULID that is missing stays the identifier of its
    /// contexts (LS-H-33); see [`Engine::ulid_invalidated`].
    pub fn set_local_locators(&mut self, now: Time, locators: Vec<LocalLocator>) {
        self.io.now = now;
        let mut locators = locators;
        locators.retain(|l| crate::addr::is_servable(&l.addr));
        self.local = locators;
        for id in self.table.ids() {
            if let Some(ctx) = self.table.get_mut(id)
                && ctx.established()
            {
                ctx.refresh_local(now, &mut self.io, &self.local);
            }
            self.settle(now, id);
        }
        self.review_all(now);
        self.io.changed.extend(self.trigger.pairs());
    }

    /// The valid lifetime of a local ULID ran out: its contexts are discarded (S6-1-4).
    pub fn ulid_invalidated(&mut self, now: Time, ulid: Ipv6Addr) {
        self.io.now = now;
        for id in self.table.ids() {
            if self.table.get(id).is_some_and(|c| c.ulids.local == ulid) {
                self.remove(now, id, DiscardReason::UlidInvalid);
            }
        }
    }

    /// Traffic of a ULID pair: `packets` datagrams with `bytes` octets in one direction, the first of them at `now`. Feeds
    /// trigger, REAP and idleness (S6-11-5, S6-12.1-1, LS-H-01). With 0 packets it does nothing.
    pub fn payload(
        &mut self,
        now: Time,
        ulids: UlidPair,
        dir: Direction,
        packets: u64,
        bytes: u64,
        flow: Option<FlowId>,
    ) {
        self.payload_of(now, ulids, 0, dir, packets, bytes, flow);
    }

    /// Set up a context now, whatever the trigger says. Does nothing if there is one, if an attempt failed a short while
    /// ago (S6-B-1), or if the ULIDs cannot be served.
    pub fn establish(&mut self, now: Time, ulids: UlidPair, flow: Option<FlowId>) {
        self.io.now = now;
        self.initiate(now, ulids, flow, true);
    }

    /// The kernel refused to send on `pair`: local evidence that it does not work (RE-PS-16).
    pub fn send_refused(&mut self, now: Time, ulids: UlidPair, pair: LocatorPair) {
        self.io.now = now;
        for id in self.table.instances(ulids).collect::<Vec<_>>() {
            if let Some(ctx) = self.table.get_mut(id)
                && ctx.established()
            {
                ctx.reap.send_refused(&mut self.io.env(now), pair);
            }
            self.settle(now, id);
        }
    }

    /// An ICMPv6 error of the kind [`IcmpKind::Unreachable`] about an untagged packet between the ULIDs, or feedback of an
    /// application: a hint to test the path (RE-FI-03, RE-FI-05).
    pub fn hint(&mut self, now: Time, ulids: UlidPair) {
        self.io.now = now;
        for id in self.table.instances(ulids).collect::<Vec<_>>() {
            if let Some(ctx) = self.table.get_mut(id)
                && ctx.established()
                && ctx.current() == ulids.as_locators()
            {
                ctx.reap.hint(&mut self.io.env(now));
            }
            self.settle(now, id);
        }
    }

    /// Discard the contexts of a ULID pair without telling the peer (S6-9-1).
    pub fn discard(&mut self, now: Time, ulids: UlidPair) {
        self.io.now = now;
        for id in self.table.instances(ulids).collect::<Vec<_>>() {
            self.remove(now, id, DiscardReason::Command);
        }
    }

    /// Act on everything that is due.
    pub fn handle_timeout(&mut self, now: Time) {
        self.io.now = now;
        for ulids in self.trigger.expire(now) {
            self.io.changed.insert(ulids);
        }
        let (pairs, peers) = self.negative.expire(now);
        self.io.changed.extend(pairs);
        for peer in peers {
            self.io.changed.extend(self.trigger.pairs().filter(|ulids| ulids.peer == peer));
        }
        for id in self.table.due(now) {
            self.context_timeout(now, id);
        }
    }

    fn context_timeout(&mut self, now: Time, id: Id) {
        let Some(ctx) = self.table.get_mut(id) else { return };
        if ctx.exchange.as_ref().is_some_and(|e| e.deadline <= now) {
            self.exchange_timeout(now, id);
        } else {
            ctx.copy_timeout(now, &mut self.io);
        }
        if self.table.get(id).is_some_and(|c| c.held_until.is_some_and(|t| t <= now)) {
            self.release_held(now, id);
        }
        let Some(ctx) = self.table.get_mut(id) else { return };
        if ctx.established() {
            if ctx.update.as_ref().is_some_and(|u| u.deadline <= now) {
                ctx.send_update(now, &mut self.io);
            }
            // A slow reader is no dead path, and its peer needs Keepalives all the same (RE-FB-23)
            let look = ctx.reap.send_timer_due(now)
                || (ctx.sample_at.is_some_and(|t| t <= now) && !ctx.reap.keepalive_timer_running());
            if look && self.io.host.has_unread(ctx.ulids) {
                ctx.last_use = ctx.last_use.max(now);
                ctx.reap.payload_received(&mut self.io.env(now));
            }
            if ctx.peer.forget_unreachable(now) {
                self.io.changed.insert(ctx.ulids);
            }
            if ctx.reap.next_timeout().is_some_and(|t| t <= now) {
                ctx.reap.handle_timeout(&mut self.io.env(now));
            }
        }
        if ctx.active() && ctx.idle_check <= now {
            let limit = self.io.config.shim6.idle_timeout.max(MIN_IDLE);
            if now < ctx.last_use + limit {
                ctx.idle_check = ctx.last_use + limit;
            } else if ctx.in_use(&self.io) {
                // S6-9-2, LS-H-17: asked again after as long
                ctx.idle_check = now + limit;
            } else {
                self.remove(now, id, DiscardReason::Idle);
                return;
            }
        }
        self.settle(now, id);
    }

    /// The contexts whose timers run out by `now`: what passed on their pairs has to be told before
    /// [`Engine::handle_timeout`] acts on them.
    pub fn due(&self, now: Time) -> impl Iterator<Item = (UlidPair, Fii)> {
        self.table.due(now).into_iter().filter_map(|id| self.table.get(id)).map(|c| (c.ulids, c.fii))
    }

    /// When [`Engine::handle_timeout`] is wanted next.
    pub fn poll_timeout(&self) -> Option<Time> {
        [self.table.next_timeout(), self.trigger.next_timeout(), self.negative.next_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// The next message to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.io.transmits.pop_front()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.io.events.pop_front()
    }

    /// The next ULID pair for which [`Engine::context`] or [`Engine::wake`] may say something else now.
    pub fn poll_changed(&mut self) -> Option<UlidPair> {
        self.io.changed.pop_first()
    }

    /// When application threads have to wake the engine for traffic on this pair.
    pub fn wake(&self, ulids: UlidPair) -> Wake {
        self.wake_of(ulids, 0)
    }

    /// The context by which payload of this pair is sent.
    pub fn context(&self, ulids: UlidPair) -> Option<ContextInfo> {
        self.context_of(ulids, 0)
    }

    /// All contexts, oldest first.
    pub fn contexts(&self) -> impl Iterator<Item = ContextInfo> {
        self.table.iter().map(|(_, ctx)| ctx.info(&self.io, &self.local))
    }

    /// What was counted since the start.
    pub fn counters(&self) -> &Counters {
        &self.io.counters
    }

    /// A datagram left by the pair that is in use since the last switch: the first, or a later one (then nothing follows).
    pub fn first_sent(&mut self, at: Time, ulids: UlidPair, fii: Fii) {
        let id = self.serving_instance(ulids, fii);
        if let Some(ctx) = id.and_then(|id| self.table.get_mut(id)) {
            ctx.first_sent(at, &mut self.io);
        }
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.io.config
    }

    /// After any change of a context: do what REAP wants, plan its next timeout, follow it in the indices.
    fn settle(&mut self, now: Time, id: Id) {
        let Some(ctx) = self.table.get_mut(id) else { return };
        let wake = (ctx.reap.timers_running(), ctx.reap.state(), ctx.state);
        ctx.run_reap(now, &mut self.io);
        ctx.run_tests(now, &mut self.io);
        ctx.plan_sample(now, &self.io);
        if wake != ctx.told_wake {
            ctx.told_wake = wake;
            self.io.changed.insert(ctx.ulids);
        }
        self.table.reindex(id);
    }

    /// The state IDLE: nothing is left of the context, all its timers are gone (S6-9-6, RE-SM-39).
    fn remove(&mut self, now: Time, id: Id, reason: DiscardReason) {
        self.release_held(now, id);
        if let Some(mut ctx) = self.table.remove(id) {
            self.io.changed.insert(ctx.ulids);
            if ctx.was_established {
                self.former.remember(now, &ctx);
            }
            ctx.state = ContextState::I1Sent;
            ctx.tell_pair(now, &mut self.io);
            self.io.event(now, ctx.ulids, ctx.fii, EventKind::Discarded { reason });
        }
    }
}

impl Datagram<'_> {
    /// The pair that an answer goes over (S6-N-23), which is also the pair as we see it.
    fn back(&self) -> LocatorPair {
        LocatorPair { local: self.destination, peer: self.source }
    }
}
