//! REAP (RFC 5534) for one context: a pure state machine over events and times.
//!
//! In go the traffic of the context (payload, Keepalives, Probes), what is known of the locators, and the time; out
//! come [`Action`]s and the next timeout. No packet is parsed or built here and no clock read: the engine validates
//! what arrives (RE-KA-08 to RE-KA-11, RE-PR-22) and sends what the actions ask for.
//!
//! Times: an event may be told late with its true time in [`Env::now`], so deadlines count from there;
//! [`Reap::handle_timeout`] then gets the present and acts on every deadline that has passed.

mod alternative;
mod gaps;
mod machine;
mod pace;
mod reports;
mod schedule;
mod timers;

#[cfg(test)]
mod tests;

pub use alternative::{Parameters, Standby, TestOutcome};
pub use pace::Why;
pub use reports::{PairHealth, shed};

use crate::addr::LocatorPair;
use crate::config::ReapConfig;
use crate::event::FailureCause;
use crate::rng::Rng;
use crate::time::Time;
use crate::wire::{Probe, ProbeBlock, ReapState};
use alternative::Test;
use reports::Records;
use schedule::{Candidates, Schedule};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::net::Ipv6Addr;
use std::time::Duration;
use timers::{Timer, Timers};

/// Keepalive Timeout while the peer has announced none (RE-C-05).
pub const DEFAULT_KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(15);
/// How long records of Probes are of use after the return to Operational (RE-C-13).
const RECORDS_LIFETIME: Duration = Duration::from_secs(10);

/// So often the Probe Operational that ends an exploration goes again while nothing of the peer comes (RE-RP-19), and the
/// first answer to a peer that explores: that may not have come through because the pair works one way only.
const CONFIRMATIONS: u8 = 2;
const ANSWERS: u8 = 1;

/// What every event comes with.
pub struct Env<'a> {
    /// When the event happened; for [`Reap::handle_timeout`] the present.
    pub now: Time,
    /// Source of nonces and jitter.
    pub rng: &'a mut dyn Rng,
    /// Constants.
    pub config: &'a ReapConfig,
}

/// What the engine has to do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send a Keepalive.
    SendKeepalive {
        /// Where.
        pair: LocatorPair,
    },
    /// Send a Probe.
    SendProbe {
        /// Where.
        pair: LocatorPair,
        /// Sta.
        state: ReapState,
        /// Sent-probe blocks, 1 to 15; the first is this Probe.
        sent: Vec<ProbeBlock>,
        /// Received-probe blocks, 0 to 15.
        received: Vec<ProbeBlock>,
    },
    /// Payload goes to another pair from now on.
    PairChanged {
        /// Until now.
        old: LocatorPair,
        /// From now on.
        new: LocatorPair,
    },
    /// The node left Operational.
    ExplorationStarted {
        /// Why.
        cause: FailureCause,
        /// The current pair.
        pair: LocatorPair,
    },
    /// The node is Operational again.
    ExplorationEnded {
        /// When it had left Operational.
        started: Time,
        /// The current pair.
        pair: LocatorPair,
    },
    /// The peer reports a Probe of ours on this pair: its locator has passed return routability (RE-RP-12).
    Reachable {
        /// The pair.
        pair: LocatorPair,
    },
    /// A test of an alternative pair is over ([`Reap::start_test`]).
    TestEnded {
        /// The pair.
        pair: LocatorPair,
        /// How.
        outcome: TestOutcome,
    },
}

/// Counters of one context (RE-OP-05). Arrays are indexed by Sta.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReapCounters {
    /// Keepalives sent.
    pub keepalives_sent: u64,
    /// Keepalives received.
    pub keepalives_received: u64,
    /// Probes sent with Sta Operational, Exploring, InboundOk.
    pub probes_sent: [u64; 3],
    /// Probes received with Sta Operational, Exploring, InboundOk.
    pub probes_received: [u64; 3],
    /// Times that Operational was left.
    pub explorations: u64,
    /// Changes of the current pair.
    pub pair_changes: u64,
    /// Received-probe blocks that matched a Probe of ours.
    pub reports_matched: u64,
    /// Received-probe blocks that matched none.
    pub reports_unmatched: u64,
}

/// From leaving Operational to the return.
#[derive(Clone, Copy, Debug)]
struct Exploration {
    started: Time,
    cause: FailureCause,
    /// The pair in use when it started.
    left: LocatorPair,
    last_heard: Option<Time>,
    /// The packet that nothing came after, if the Send Timer started it.
    silent_since: Option<Time>,
    /// The current pair is known to be of no use, not only under suspicion: it is probed last.
    dead: bool,
}

/// A Probe that the peer waits for.
#[derive(Clone, Copy, Debug)]
struct Confirm {
    pair: LocatorPair,
    sent: Time,
    /// Copies that may follow.
    left: u8,
}

/// REAP of one context.
#[derive(Clone, Debug)]
pub struct Reap {
    state: ReapState,
    current: LocatorPair,
    candidates: Candidates,
    keepalive_timeout: Duration,
    timers: Timers,
    schedule: Schedule,
    records: Records,
    /// Present while not Operational.
    exploration: Option<Exploration>,
    /// The exploration that is over, while its reports may still choose a pair.
    over: Option<Exploration>,
    /// Why each [`Action::PairChanged`] came, in their order.
    whys: VecDeque<Why>,
    /// Last entry into Exploring.
    entered_exploring: Time,
    /// When the records of the last exploration lose their meaning; set in Operational.
    records_expire: Option<Time>,
    /// The last exploration ended without a report that matched: the choice of a pair is still open.
    unconfirmed: bool,
    /// The same when the exploration under way, or the last one, began.
    unconfirmed_before: bool,
    /// No pair could be probed; waits for an address event or the Max Probe Timeout (RE-PS-16).
    stalled: bool,
    paused: bool,
    /// Last test asked for by a hint (RE-FI-05).
    last_hint: Option<Time>,
    last_heard: Option<Time>,
    last_sent: Option<Time>,
    /// When the gap reached the Max Probe Timeout (RE-PS-18).
    plateau: Option<Time>,
    parameters: Parameters,
    /// Values of the present exploration or test.
    probing: ReapConfig,
    test: Option<Test>,
    /// The Probe that closed the last test.
    closing: Option<(Time, ProbeBlock)>,
    /// The answer that changed the state, while the peer may not have it.
    confirm: Option<Confirm>,
    /// A confirmed alternative.
    standby: Option<Standby>,
    alarms: pace::Alarms,
    gaps: gaps::Gaps,
    actions: VecDeque<Action>,
    counters: ReapCounters,
}

impl Reap {
    /// Operational on `initial`, no timer running (RE-FB-20); `initial` is the only candidate until
    /// [`Reap::set_candidates`].
    pub fn new(initial: LocatorPair) -> Reap {
        Reap {
            state: ReapState::Operational,
            current: initial,
            candidates: Candidates { pairs: vec![initial], ..Candidates::default() },
            keepalive_timeout: DEFAULT_KEEPALIVE_TIMEOUT,
            timers: Timers::default(),
            schedule: Schedule::default(),
            records: Records::default(),
            exploration: None,
            over: None,
            whys: VecDeque::new(),
            entered_exploring: Time::ZERO,
            records_expire: None,
            unconfirmed: false,
            unconfirmed_before: false,
            stalled: false,
            paused: false,
            last_hint: None,
            last_heard: None,
            last_sent: None,
            plateau: None,
            parameters: Parameters::default(),
            probing: ReapConfig::default(),
            test: None,
            closing: None,
            confirm: None,
            standby: None,
            alarms: pace::Alarms::default(),
            gaps: gaps::Gaps::default(),
            actions: VecDeque::new(),
            counters: ReapCounters::default(),
        }
    }

    /// The pairs that may be probed and used, best first (`engine::pairs::order`). If the current pair is no longer
    /// among them, or its peer locator is BROKEN now, exploration starts at once (RE-SM-40).
    pub fn set_candidates(&mut self, env: &mut Env, pairs: Vec<LocatorPair>) {
        self.set_candidates_with_broken(env, pairs, Vec::new());
    }

    /// As [`Reap::set_candidates`]; peer locators in `broken` are probed after all others (RE-PS-15).
    pub fn set_candidates_with_broken(
        &mut self,
        env: &mut Env,
        pairs: Vec<LocatorPair>,
        broken: Vec<Ipv6Addr>,
    ) {
        let good = |c: &Candidates, p: LocatorPair| c.contains(p) && !c.broken.contains(&p.peer);
        let was_good = good(&self.candidates, self.current);
        let before = self.current;
        self.candidates.pairs = pairs;
        self.candidates.broken = broken;
        self.records.retain(&self.candidates);
        if was_good && !good(&self.candidates, self.current) {
            self.explore(env, self.loss_cause());
            if let Some(e) = &mut self.exploration
                && self.current == before
            {
                e.dead = true;
            }
        }
        if self.stalled && self.state != ReapState::Operational {
            self.schedule.begin_slot();
            self.scheduled_probe(env);
        }
    }

    /// A payload packet of the context was sent, or a control message other than Keepalive and Probe (RE-FB-18).
    pub fn payload_sent(&mut self, env: &mut Env) {
        self.last_sent = self.last_sent.max(Some(env.now));
        if self.paused {
            return;
        }
        // Told late, it may be dated before what was heard since: the silence began after that.
        env.now = env.now.max(self.last_heard.unwrap_or(env.now));
        match self.state {
            // RE-SM-04
            ReapState::Operational => {
                self.start_send(env);
                self.stop_keepalive();
            }
            // RE-SM-05
            ReapState::Exploring => {}
            // RE-SM-06
            ReapState::InboundOk => self.start_send(env),
        }
    }

    /// A payload packet of the context was received, or a control message other than Keepalive and Probe (RE-FB-18).
    pub fn payload_received(&mut self, env: &mut Env) {
        self.heard(env.now);
        if self.paused {
            return;
        }
        match self.state {
            // RE-SM-01
            ReapState::Operational => {
                self.timers.stop(Timer::Send);
                self.gaps.heard(env.now);
                self.start_keepalive(env);
            }
            // RE-SM-02; told late, it may have come before the silence that started the exploration
            ReapState::Exploring if env.now <= self.entered_exploring => {}
            ReapState::Exploring => self.hear_while_exploring(env),
            // RE-SM-03
            ReapState::InboundOk => self.timers.stop(Timer::Send),
        }
    }

    /// A valid Keepalive was received.
    pub fn keepalive_received(&mut self, env: &mut Env) {
        self.heard(env.now);
        self.counters.keepalives_received += 1;
        if self.paused {
            return;
        }
        match self.state {
            // RE-SM-16, RE-SM-18
            ReapState::Operational | ReapState::InboundOk => {
                self.timers.stop(Timer::Send);
                self.gaps.heard(env.now);
            }
            // RE-SM-17
            ReapState::Exploring => self.hear_while_exploring(env),
        }
    }

    /// A valid Probe was received; `arrived_on` as we see it: `local` is the IPv6 destination, `peer` the source. One
    /// whose first block tells other addresses, or that has none, is ignored (RE-PR-24, RE-PR-09).
    pub fn probe_received(&mut self, env: &mut Env, probe: &Probe, arrived_on: LocatorPair) {
        let Some(first) = probe.sent.first() else { return };
        if first.source != arrived_on.peer || first.destination != arrived_on.local {
            return;
        }
        self.heard(env.now);
        self.counters.probes_received[probe.state as usize] += 1;
        if !self.paused {
            self.on_probe(env, probe, *first, arrived_on);
        }
    }

    /// The context became ESTABLISHED by a received R2: the responder may have armed its Send Timer, so a Keepalive
    /// has to follow (RE-FB-19).
    pub fn established_by_r2(&mut self, env: &mut Env) {
        self.heard(env.now);
        if self.state == ReapState::Operational && !self.paused {
            self.timers.stop(Timer::Send);
            self.gaps.interrupted();
            self.start_keepalive(env);
        }
    }

    /// The Send Timeout that the peer announced; 0 is ignored. Takes effect at the next start of the Keepalive Timer
    /// (RE-KT-08 to RE-KT-10).
    pub fn set_keepalive_timeout(&mut self, announced_by_peer: Duration) {
        if !announced_by_peer.is_zero() {
            self.keepalive_timeout = announced_by_peer;
        }
    }

    /// The kernel refused to send on `pair` (RE-PS-16). On the current pair in Operational it starts an exploration;
    /// a refused Probe is replaced at once by one on the next pair.
    pub fn send_refused(&mut self, env: &mut Env, pair: LocatorPair) {
        if self.state == ReapState::Operational {
            // With one pair only there is nothing to move to: the Send Timer decides.
            if pair == self.current && self.candidates.pairs.iter().any(|p| *p != pair) {
                self.enter_exploring(env, FailureCause::SendRefused);
            }
            return;
        }
        if !self.paused && self.schedule.refuse(pair) && self.schedule.last == Some(pair) {
            self.replace_refused(env);
        }
    }

    /// Start an exploration: the effect of a Send Timer expiry in Operational and InboundOk, none in Exploring
    /// (RE-SM-40, RE-FI-07).
    pub fn explore(&mut self, env: &mut Env, cause: FailureCause) {
        if self.state != ReapState::Exploring {
            self.enter_exploring(env, cause);
        }
    }

    /// An ICMPv6 error or a feedback hints at a failure: one test of the current pair, at most once per Send Timeout;
    /// payload stays where it is (RE-FI-05, RE-FI-06).
    pub fn hint(&mut self, env: &mut Env) {
        let timeout = self.send_timeout(env.now, env.config);
        let recent = self.last_hint.is_some_and(|t| env.now < t + timeout);
        if self.state == ReapState::Operational && !self.paused && !recent {
            self.last_hint = Some(env.now);
            self.enter_exploring(env, FailureCause::Hint);
        }
    }

    /// The context is I2BIS-SENT: timers pause, nothing is sent (RE-SM-38).
    pub fn pause(&mut self) {
        self.paused = true;
        self.end_test(TestOutcome::Aborted);
        self.timers.stop_all();
    }

    /// The context is ESTABLISHED again: goes on in the state it had, with the initial probe series (RE-SM-38).
    pub fn resume(&mut self, env: &mut Env) {
        if std::mem::take(&mut self.paused) && self.state != ReapState::Operational {
            self.schedule.restart_series();
            self.schedule.begin_slot();
            self.scheduled_probe(env);
        }
    }

    /// Act on every deadline that has passed.
    pub fn handle_timeout(&mut self, env: &mut Env) {
        self.prune(env.now);
        while let Some(timer) = self.timers.due(env.now) {
            self.expired(env, timer);
        }
    }

    /// When [`Reap::handle_timeout`] is wanted next.
    pub fn next_timeout(&self) -> Option<Time> {
        self.timers.next()
    }

    /// The Send Timer has run out by `now`: before [`Reap::handle_timeout`] acts on it, unread data of the peer has to
    /// be told by [`Reap::payload_received`] (RE-FB-23).
    pub fn send_timer_due(&self, now: Time) -> bool {
        self.timers.deadline(Timer::Send).is_some_and(|d| d <= now)
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The state.
    pub fn state(&self) -> ReapState {
        self.state
    }

    /// The current pair: where payload goes.
    pub fn current(&self) -> LocatorPair {
        self.current
    }

    /// When anything of the context was last received.
    pub fn last_heard(&self) -> Option<Time> {
        self.last_heard
    }

    /// Whether any timer runs that traffic has a bearing on.
    pub fn timers_running(&self) -> bool {
        self.timers.traffic()
    }

    /// Whether the Send Timer runs: the next payload sent starts nothing.
    pub fn send_timer_running(&self) -> bool {
        self.timers.running(Timer::Send)
    }

    /// Whether the Keepalive Timer runs: the next payload received starts nothing.
    pub fn keepalive_timer_running(&self) -> bool {
        self.timers.running(Timer::Keepalive)
    }

    /// Exploration has been at the Max Probe Timeout for one gap and no payload was sent since: the context may be
    /// removed before its idle time is over (RE-PS-18).
    pub fn given_up(&self, now: Time, config: &ReapConfig) -> bool {
        self.state != ReapState::Operational
            && self.plateau.is_some_and(|t| t + config.max_probe_timeout <= now && self.last_sent < Some(t))
    }

    /// The candidates whose peer locator is not BROKEN, best first.
    pub fn usable(&self) -> impl Iterator<Item = LocatorPair> + '_ {
        let c = &self.candidates;
        c.pairs.iter().copied().filter(|p| !c.broken.contains(&p.peer))
    }

    /// The same without the current pair, those first that share no end with it.
    pub fn alternatives(&self) -> Vec<LocatorPair> {
        #[cfg(test)]
        super::tests::work::count();
        let order = self.candidates.order(self.current, false);
        let good = |p: &LocatorPair| *p != self.current && !self.candidates.broken.contains(&p.peer);
        order.into_iter().filter(good).collect()
    }

    /// Is there any?
    pub fn has_alternative(&self) -> bool {
        self.usable().any(|p| p != self.current)
    }

    /// What is known of the candidate pairs.
    pub fn health(&self) -> &[PairHealth] {
        self.records.health()
    }

    /// Counters.
    pub fn counters(&self) -> ReapCounters {
        self.counters
    }
}
