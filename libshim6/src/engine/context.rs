//! One context (RFC 5533 section 6.1) and the messages that it sends of itself.

use super::Io;
use super::io::{ContextInfo, ContextState, IcmpDelivery, LocalLocator};
use super::locators::{LocalSet, PeerSet};
use super::reap::{Action, DEFAULT_KEEPALIVE_TIMEOUT, Reap};
use super::settings::Settings;
use super::standby::Tester;
use super::suppress::{Bare, Flags};
use super::update::Update;
use crate::addr::{ContextTag, Fii, FlowId, LocatorPair, UlidPair};
use crate::event::{EventKind, Switch, SwitchCause};
use crate::time::Time;
use crate::wire::{self, Keepalive, MAX_MESSAGE, Message, Options, Probe, ReapState, UlidPairOption};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Most copies of I1, I2 or I2bis that received packets cause: one per this time (S6-N-25).
const POKE_INTERVAL: Duration = Duration::from_millis(500);
/// Switches that are remembered.
const MAX_SWITCHES: usize = 16;
/// Shortest time between two looks at the traffic of a context.
const MIN_SAMPLE: Duration = Duration::from_millis(3);

/// Flows of the peer that a context remembers as its own.
const MAX_FLOWS: usize = 64;

/// What an R1 or R1bis brought and the I2 or I2bis gives back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) nonce: u32,
    pub(super) validator: Vec<u8>,
}

/// A running exchange: present in I1-SENT, I2-SENT and I2BIS-SENT.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    /// Initiator Nonce, one for the whole attempt (S6-N-19).
    pub(super) nonce: u32,
    /// The pair that it runs over; replies have to come over it (S6-N-10).
    pub(super) pair: LocatorPair,
    /// I1 sent in this attempt, over all fallbacks (S6-N-18).
    pub(super) i1_sent: u32,
    /// I2 or I2bis sent in this state, triggered copies not counted.
    pub(super) sent: u32,
    pub(super) deadline: Time,
    pub(super) reply: Option<Reply>,
    /// Of the R1bis.
    pub(super) packet_tag: ContextTag,
    /// Pairs that I1 goes over in turn; none: `pair` alone.
    pub(super) pairs: Vec<LocatorPair>,
    /// Last I1, I2 or I2bis.
    emitted: Option<Time>,
    /// When a copy goes out that a received packet asked for.
    copy_at: Option<Time>,
}

impl Exchange {
    pub(super) fn new(nonce: u32, pair: LocatorPair, now: Time) -> Exchange {
        Exchange {
            nonce,
            pair,
            i1_sent: 0,
            sent: 0,
            deadline: now,
            reply: None,
            packet_tag: ContextTag::new(0),
            pairs: Vec::new(),
            emitted: None,
            copy_at: None,
        }
    }

    /// A message of the exchange goes out.
    fn note_emitted(&mut self, now: Time) {
        (self.emitted, self.copy_at) = (Some(now), None);
    }

    /// When something is to be sent.
    fn next_timeout(&self) -> Time {
        self.copy_at.map_or(self.deadline, |t| t.min(self.deadline))
    }

    /// I1 of one round, over all pairs; never 0.
    pub(super) fn turns(&self) -> u32 {
        u32::try_from(self.pairs.len()).unwrap_or(u32::MAX).max(1)
    }

    /// Whether a reply may come over `pair`: R1 over each that an I1 may have gone over, R2 over that of the I2.
    pub(super) fn runs_over(&self, state: ContextState, pair: LocatorPair) -> bool {
        pair == self.pair || (state == ContextState::I1Sent && self.pairs.contains(&pair))
    }
}

/// An I2 or I2bis that was acted on; a copy of it is answered without changing anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) tag: ContextTag,
    pub(super) initiator_nonce: u32,
    pub(super) responder_nonce: u32,
    pub(super) generation: Option<u32>,
}

/// A context. Its absence is the state IDLE.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) ulids: UlidPair,
    pub(super) fii: Fii,
    pub(super) state: ContextState,
    pub(super) local_tag: ContextTag,
    pub(super) peer_tag: Option<ContextTag>,
    pub(super) local: LocalSet,
    pub(super) peer: PeerSet,
    pub(super) reap: Reap,
    pub(super) exchange: Option<Exchange>,
    pub(super) update: Option<Update>,
    /// Nonces of the latest Update Requests acted on, newest last (S6-N-29).
    pub(super) requests: VecDeque<u32>,
    /// The latest I2 and I2bis acted on, newest last.
    pub(super) claims: VecDeque<Claim>,
    /// Sent in I1, I2 and I2bis as Flow option.
    pub(super) flow: Option<FlowId>,
    /// Flows that the peer has shown to belong to it: by the Flow option, by tagged payload.
    pub(super) flows: Vec<FlowId>,
    /// Keepalive Timeout that the peer announced.
    pub(super) keepalive_timeout: Duration,
    pub(super) last_use: Time,
    /// When idleness is looked at next.
    pub(super) idle_check: Time,
    /// When the driver should tell of traffic at the latest, while REAP timers run.
    pub(super) sample_at: Option<Time>,
    /// Was ESTABLISHED before.
    pub(super) was_established: bool,
    /// ICMPv6 errors that wait for the outcome of an exploration, and how long (S6-N-49).
    pub(super) held: Vec<IcmpDelivery>,
    pub(super) held_until: Option<Time>,
    /// Where payload went when the driver was told last.
    pub(super) told: LocatorPair,
    /// What [`super::Engine::wake`] depended on when the driver was told last.
    pub(super) told_wake: (bool, ReapState, ContextState),
    /// Who can do without the payload extension header.
    pub(super) flags: Flags,
    /// Forked for one socket.
    pub(super) exclusive: bool,
    /// What applications set.
    pub(super) settings: Arc<Settings>,
    /// Send Timeout that the peer knows of, in milliseconds (RE-KT-06).
    pub(super) announced: u32,
    /// The peer knows timeouts in milliseconds.
    pub(super) precise: bool,
    /// Tests of alternative pairs.
    pub(super) tester: Tester,
    /// The latest switches, newest last.
    switches: VecDeque<Switch>,
}

impl Context {
    /// A context with its exchange not begun, or without one.
    pub(super) fn new(
        ulids: UlidPair,
        fii: Fii,
        local_tag: ContextTag,
        local: LocalSet,
        now: Time,
    ) -> Context {
        Context {
            ulids,
            fii,
            state: ContextState::I1Sent,
            local_tag,
            peer_tag: None,
            local,
            peer: PeerSet::new(ulids.peer),
            // S6-1-2
            reap: Reap::new(ulids.as_locators()),
            exchange: None,
            update: None,
            requests: VecDeque::new(),
            claims: VecDeque::new(),
            flow: None,
            flows: Vec::new(),
            keepalive_timeout: DEFAULT_KEEPALIVE_TIMEOUT,
            last_use: now,
            idle_check: now,
            sample_at: None,
            was_established: false,
            held: Vec::new(),
            held_until: None,
            told: ulids.as_locators(),
            told_wake: (false, ReapState::Operational, ContextState::I1Sent),
            flags: Flags::default(),
            exclusive: false,
            settings: Arc::default(),
            announced: DEFAULT_KEEPALIVE_TIMEOUT.as_millis() as u32,
            precise: false,
            tester: Tester::default(),
            switches: VecDeque::new(),
        }
    }

    /// The peer's flow, as we see it; `false`: known already. The oldest makes room.
    pub(super) fn add_flow(&mut self, flow: FlowId) -> bool {
        if self.flows.contains(&flow) {
            return false;
        }
        if self.flows.len() >= MAX_FLOWS {
            self.flows.remove(0);
        }
        self.flows.push(flow);
        true
    }

    /// The Keepalive Timeout of the peer: in milliseconds if it tells that, else in seconds (RE-KT-08, RE-KT-09). A peer
    /// that says something in milliseconds also sends its Keepalives by them.
    pub(super) fn announce(&mut self, options: &Options) {
        let seconds = options.keepalive_timeout.map(|s| Duration::from_secs(u64::from(s)));
        let precise = options.precise_timeout.map(|ms| Duration::from_millis(u64::from(ms)));
        self.precise |= precise.is_some();
        if let Some(timeout) = precise.filter(|t| !t.is_zero()).or(seconds).filter(|t| !t.is_zero()) {
            self.keepalive_timeout = timeout;
            self.reap.set_keepalive_timeout(timeout);
        }
    }

    /// ESTABLISHED or I2BIS-SENT: payload is sent by the context (S6-11-2).
    pub(super) fn active(&self) -> bool {
        matches!(self.state, ContextState::Established | ContextState::I2bisSent)
    }

    pub(super) fn established(&self) -> bool {
        self.state == ContextState::Established
    }

    /// Where payload goes: Lp(local), Lp(peer) when active, else unmodified.
    pub(super) fn current(&self) -> LocatorPair {
        if self.active() { self.reap.current() } else { self.ulids.as_locators() }
    }

    pub(super) fn next_timeout(&self) -> Option<Time> {
        let running = |t: Option<Time>| t.filter(|_| self.established());
        [
            self.exchange.as_ref().map(Exchange::next_timeout),
            running(self.update.as_ref().map(|u| u.deadline)),
            running(self.reap.next_timeout()),
            running(self.sample_at),
            running(self.tester.next_timeout()),
            running(self.peer.next_timeout()),
            self.active().then_some(self.idle_check),
            self.held_until,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// ULID Pair and FII options as `pair` asks for them (S6-5.4-2, S6-5.4-3).
    fn key_options(&self, pair: LocatorPair) -> Options {
        let option = UlidPairOption { sender: self.ulids.local, receiver: self.ulids.peer };
        Options {
            ulid_pair: (pair != self.ulids.as_locators()).then_some(option),
            fii: (self.fii != 0).then_some(self.fii),
            flow: self.flow,
            ..Options::default()
        }
    }

    /// Add what we offer: list with PDS and preferences, Keepalive Timeout (S6-N-6, RE-KT-03).
    fn offer(&self, io: &Io, options: &mut Options) {
        if let (Some(list), Some(pds)) = (self.local.list(), self.local.pds()) {
            options.locators = Some(list);
            options.pds = Some(pds);
            options.signature = self.local.signature();
            options.preferences = self.local.any_broken().then(|| self.local.preferences());
        }
        options.keepalive_timeout = Some(self.timeout_seconds(io)).filter(|s| *s != 15);
        options.capabilities = self.flags.own;
        options.precise_timeout = Some(self.timeout_ms(io));
    }

    /// Make the message fit by offering less (S6-5.1-3), and sign what is offered then.
    pub(super) fn fitting(&mut self, io: &mut Io, build: impl Fn(&Context, &Io) -> Message) -> Message {
        let mut message = build(self, io);
        let lists = |m: &Message| m.options().is_some_and(|o| o.locators.is_some());
        while message.encoded_len() > MAX_MESSAGE && lists(&message) {
            let n = self.local.addresses().len();
            let current = self.reap.current().local;
            self.local.trim(n.saturating_sub(1), &current, io.rng.as_mut());
            if self.local.addresses().len() == n {
                break;
            }
            message = build(self, io);
        }
        if message.options().is_some_and(|o| o.signature.is_some()) {
            self.local.sign(io.rng.as_mut());
            message = build(self, io);
        }
        if lists(&message) {
            self.local.mark_listed();
        }
        message
    }

    fn send_fitting(&mut self, io: &mut Io, pair: LocatorPair, build: impl Fn(&Context, &Io) -> Message) {
        let message = self.fitting(io, build);
        self.announced = self.timeout_ms(io);
        io.send(pair, &message);
    }

    /// Send I1 and wait for an answer (S6-7.8-2).
    pub(super) fn send_i1(&mut self, now: Time, io: &mut Io) {
        let Some(exchange) = &mut self.exchange else { return };
        let turns = exchange.turns();
        let (round, turn) = (exchange.i1_sent / turns, exchange.i1_sent % turns);
        if let Some(pair) = exchange.pairs.get(turn as usize) {
            exchange.pair = *pair;
        }
        exchange.i1_sent += 1;
        exchange.reply = None;
        let base = match turn + 1 == turns {
            true => backoff(io.config.shim6.i1_timeout, round),
            // Not the same again, but over another pair
            false => io.config.reap.initial_probe_timeout.min(io.config.shim6.i1_timeout),
        };
        exchange.deadline = now + io.randomised(base);
        self.state = ContextState::I1Sent;
        self.emit_i1(now, io);
    }

    fn emit_i1(&mut self, now: Time, io: &mut Io) {
        let Some(exchange) = &mut self.exchange else { return };
        exchange.note_emitted(now);
        let (pair, nonce) = (exchange.pair, exchange.nonce);
        let options = self.key_options(pair);
        io.send(
            pair,
            &Message::I1(wire::I1 { initiator_tag: self.local_tag, initiator_nonce: nonce, options }),
        );
    }

    /// Send I2 or I2bis by the state; `counted`: not one that a received packet caused.
    pub(super) fn send_i2(&mut self, now: Time, io: &mut Io, counted: bool) {
        let bis = self.state == ContextState::I2bisSent;
        let Some(exchange) = &mut self.exchange else { return };
        if counted {
            exchange.sent += 1;
            let timers = &io.config.shim6;
            let first = if bis { timers.i2bis_timeout } else { timers.i2_timeout };
            let base = backoff(first, exchange.sent - 1);
            exchange.deadline = now + io.randomised(base);
        }
        exchange.note_emitted(now);
        let exchange = exchange.clone();
        let Some(reply) = exchange.reply else { return };
        let pair = exchange.pair;
        self.send_fitting(io, pair, |ctx, io| {
            let mut options = ctx.key_options(pair);
            ctx.offer(io, &mut options);
            options.validator = Some(reply.validator.clone());
            let (initiator_tag, initiator_nonce) = (ctx.local_tag, exchange.nonce);
            let responder_nonce = reply.nonce;
            if bis {
                let packet_tag = exchange.packet_tag;
                Message::I2bis(wire::I2bis {
                    initiator_tag,
                    initiator_nonce,
                    responder_nonce,
                    packet_tag,
                    options,
                })
            } else {
                Message::I2(wire::I2 { initiator_tag, initiator_nonce, responder_nonce, options })
            }
        });
    }

    /// A packet came that shows that the peer is ESTABLISHED while we wait for R2 (S6-N-25), or its own I1 while we wait for
    /// R1: ours may be lost, and nothing is to be gained by waiting for the end of a back-off of many seconds. Ours may as
    /// well be on its way, where both began at once, so what was sent just now goes again only if no answer comes.
    pub(super) fn poke(&mut self, now: Time, io: &mut Io) {
        let Some(exchange) = &mut self.exchange else { return };
        match exchange.emitted {
            Some(t) if now.since(t) < POKE_INTERVAL => {
                exchange.copy_at.get_or_insert(t + POKE_INTERVAL);
            }
            _ => self.send_copy(now, io),
        }
    }

    /// Send the copy that is due.
    pub(super) fn copy_timeout(&mut self, now: Time, io: &mut Io) {
        if self.exchange.as_ref().is_some_and(|e| e.copy_at.is_some_and(|t| t <= now)) {
            self.send_copy(now, io);
        }
    }

    /// I1, I2 or I2bis once more; it counts as no retransmission (S6-N-25).
    fn send_copy(&mut self, now: Time, io: &mut Io) {
        match self.state {
            ContextState::I1Sent => self.emit_i1(now, io),
            _ => self.send_i2(now, io, false),
        }
    }

    /// Send R2 over `pair` in answer to a message with this nonce. Counts as traffic once ESTABLISHED (RE-FB-18).
    pub(super) fn send_r2(&mut self, now: Time, io: &mut Io, pair: LocatorPair, nonce: u32) {
        self.send_fitting(io, pair, |ctx, io| {
            let mut options = Options::default();
            ctx.offer(io, &mut options);
            Message::R2(wire::R2 { responder_tag: ctx.local_tag, initiator_nonce: nonce, options })
        });
        if self.established() {
            self.reap.payload_sent(&mut io.env(now));
        }
    }

    /// The peer lost the context and set it up anew, by an exchange on `pair`. An exchange is no probe, so it shows a pair
    /// that may carry payload already, or needs no probe (RE-RP-14).
    pub(super) fn peer_began_anew(&mut self, now: Time, io: &mut Io, pair: LocatorPair) {
        if pair == self.ulids.as_locators() || pair == self.reap.current() {
            self.reap.peer_began_anew(&mut io.env(now), pair);
        }
    }

    /// Do what REAP asks for, and report it.
    pub(super) fn run_reap(&mut self, now: Time, io: &mut Io) {
        while let Some(action) = self.reap.poll_action() {
            let (ulids, fii) = (self.ulids, self.fii);
            match action {
                Action::SendKeepalive { pair } => {
                    let Some(receiver_tag) = self.peer_tag else { continue };
                    let options = Options::default();
                    io.send(pair, &Message::Keepalive(Keepalive { receiver_tag, options }));
                }
                Action::SendProbe { pair, state, sent, received } => {
                    let Some(receiver_tag) = self.peer_tag else { continue };
                    let options = Options::default();
                    io.send(pair, &Message::Probe(Probe { receiver_tag, state, sent, received, options }));
                }
                Action::PairChanged { old, new } => {
                    io.counters.pair_changes += 1;
                    self.note_switch(now, old, new);
                    self.pair_changed(now);
                    // An Update that went into the dead path goes out again at once
                    if let Some(update) = &mut self.update {
                        update.deadline = now;
                    }
                }
                Action::ExplorationStarted { cause, pair } => {
                    io.counters.explorations += 1;
                    let last_heard = self.reap.last_heard();
                    io.event(now, ulids, fii, EventKind::ExplorationStarted { cause, pair, last_heard });
                }
                Action::ExplorationEnded { started, pair } => {
                    // S6-8-3: the shim has acted
                    self.held.clear();
                    self.held_until = None;
                    io.event(now, ulids, fii, EventKind::ExplorationEnded { pair, started });
                }
                Action::Reachable { pair } => self.peer.mark_probed(&pair.peer),
                Action::TestEnded { pair, outcome } => self.test_ended(now, io, pair, outcome),
            }
            io.changed.insert(ulids);
        }
        self.tell_pair(now, io);
    }

    /// Remember a switch and why it came.
    fn note_switch(&mut self, now: Time, old: LocatorPair, new: LocatorPair) {
        let Some(why) = self.reap.take_why() else { return };
        self.note_left(now, old, why.cause);
        if self.switches.len() >= MAX_SWITCHES {
            self.switches.pop_front();
        }
        self.switches.push_back(Switch {
            old,
            new,
            cause: why.cause,
            evidence: why.evidence,
            last_heard: why.last_heard,
            detected: why.detected.unwrap_or(now),
            at: now,
            first_packet: None,
        });
    }

    /// What was in use before applications pinned the present pair.
    pub(super) fn pair_before_pins(&self) -> Option<LocatorPair> {
        self.switches.iter().rev().take_while(|s| s.cause == SwitchCause::Pinned).last().map(|s| s.old)
    }

    /// A datagram left by the present pair.
    pub(super) fn first_sent(&mut self, at: Time, io: &mut Io) {
        if let Some(last) = self.switches.back_mut()
            && last.first_packet.is_none()
            && at >= last.at
        {
            last.first_packet = Some(at);
            let switch = *last;
            io.event(at, self.ulids, self.fii, EventKind::Switched(switch));
            io.changed.insert(self.ulids);
        }
    }

    /// Report where payload goes now, if that changed.
    pub(super) fn tell_pair(&mut self, now: Time, io: &mut Io) {
        let new = self.current();
        let old = std::mem::replace(&mut self.told, new);
        if old != new {
            io.event(now, self.ulids, self.fii, EventKind::PairChanged { old, new });
            io.changed.insert(self.ulids);
        }
    }

    /// When traffic has to be told of so that no timer is missed: Keepalives are due a third of the peer's timeout after
    /// a packet, and our Send Timer must be known to run before it expires.
    pub(super) fn plan_sample(&mut self, now: Time, io: &Io) {
        if !self.established() || !self.reap.timers_running() {
            self.sample_at = None;
        } else if self.sample_at.is_none_or(|t| t <= now) {
            let period = (self.keepalive_timeout / 3).min(self.settings.send_timeout(&io.config.reap) / 2);
            self.sample_at = Some(now + period.max(MIN_SAMPLE));
        }
    }

    /// Does a socket use it (S6-9-2, API-FK-12)?
    pub(super) fn in_use(&self, io: &Io) -> bool {
        if self.exclusive { io.host.fork_in_use(self.ulids, self.fii) } else { io.host.in_use(self.ulids) }
    }

    pub(super) fn info(&self, io: &Io, host: &[LocalLocator]) -> ContextInfo {
        ContextInfo {
            ulids: self.ulids,
            fii: self.fii,
            state: self.state,
            local_tag: self.local_tag,
            peer_tag: self.peer_tag,
            current: self.current(),
            reap: self.reap.state(),
            local: self.local.info(&self.settings),
            peer: self.peer.info(&self.settings),
            available: self.local.available(host),
            timers: self.timers(io),
            standby: self.tester.standby(),
            switches: self.switches.iter().copied().collect(),
            settings: self.settings.clone(),
            bare: if self.active() { self.flags.leaves() } else { Bare::No },
            takes_bare: if self.active() { self.flags.takes() } else { Bare::No },
            last_heard: self.reap.last_heard(),
            counters: self.reap.counters(),
        }
    }
}

/// `first` doubled `times` times.
pub(super) fn backoff(first: Duration, times: u32) -> Duration {
    first.saturating_mul(1u32.checked_shl(times).unwrap_or(u32::MAX))
}
