//! The transitions of RFC 5534 section 6, with the rules of conformance parts G to I.

use super::reports::pair_of;
use super::{ANSWERS, Action, CONFIRMATIONS, Confirm, Env, Exploration, RECORDS_LIFETIME, Reap, TestOutcome};
use crate::addr::LocatorPair;
use crate::event::{Evidence, FailureCause, SwitchCause};
use crate::time::Time;
use crate::wire::{Probe, ProbeBlock, ReapState};
use std::time::Duration;

use super::timers::Timer;

/// Ticks closer than this to the expiry of the Keepalive Timer coincide with it (RE-FB-09).
const COINCIDENCE: Duration = Duration::from_millis(1);

/// So long a success speaks for a pair.
const RECENT: Duration = Duration::from_secs(60);

impl Reap {
    pub(super) fn heard(&mut self, now: Time) {
        self.last_heard = self.last_heard.max(Some(now));
    }

    /// Drop the records of an exploration that is long over (RE-C-13).
    pub(super) fn prune(&mut self, now: Time) {
        if self.records_expire.is_some_and(|t| t <= now) {
            self.records_expire = None;
            self.unconfirmed = false;
            self.over = None;
            self.records.clear();
        }
    }

    /// Length of the Send Timer: never below the value announced (RE-C-10). In Operational on a pair that is no candidate
    /// any more no answer can come, so none is waited for.
    fn send_deadline(&mut self, env: &mut Env) -> Time {
        let gone = !self.candidates.contains(self.current) && !self.candidates.pairs.is_empty();
        if gone && self.state == ReapState::Operational {
            // Reports that are under way may still name another one
            let again = self.unconfirmed && self.unconfirmed_before;
            return env.now + if again { self.probing.initial_probe_timeout } else { Duration::ZERO };
        }
        let t = self.send_timeout(env.now, env.config);
        env.now + if env.config.jitter { t.mul_f64(env.rng.f64(1.0, 1.1)) } else { t }
    }

    pub(super) fn start_send(&mut self, env: &mut Env) {
        if !self.timers.running(Timer::Send) {
            self.restart_send(env);
            if self.state == ReapState::Operational {
                self.gaps.sent(env.now);
            }
        }
    }

    fn restart_send(&mut self, env: &mut Env) {
        let deadline = self.send_deadline(env);
        self.timers.restart(Timer::Send, deadline);
    }

    pub(super) fn start_keepalive(&mut self, env: &mut Env) {
        if !self.timers.running(Timer::Keepalive) {
            self.timers.start(Timer::Keepalive, env.now + self.keepalive_timeout);
            let tick = env.now + self.keepalive_interval(env);
            self.timers.restart(Timer::Interval, tick);
        }
    }

    pub(super) fn stop_keepalive(&mut self) {
        self.timers.stop(Timer::Keepalive);
        self.timers.stop(Timer::Interval);
    }

    /// One third to one half of the Keepalive Timeout (RE-C-06, RE-C-10).
    fn keepalive_interval(&self, env: &mut Env) -> Duration {
        let t = self.keepalive_timeout;
        if let Some(set) = self.parameters.keepalive_interval {
            return set.clamp(Duration::from_millis(1), (t / 2).max(Duration::from_millis(1)));
        }
        if env.config.jitter { t.mul_f64(env.rng.f64(1.0 / 3.0, 0.5)) } else { t / 3 }
    }

    pub(super) fn expired(&mut self, env: &mut Env, timer: Timer) {
        match timer {
            // RE-SM-10, RE-SM-12
            Timer::Send => {
                let known_dead = !self.candidates.contains(self.current);
                let cause = if known_dead { self.loss_cause() } else { FailureCause::SendTimeout };
                self.enter_exploring(env, cause);
            }
            // RE-SM-07, RE-FB-08
            Timer::Keepalive => {
                self.stop_keepalive();
                self.send_keepalive();
            }
            // RE-FB-07
            Timer::Interval => {
                let was = self.timers.deadline(Timer::Interval).unwrap_or(env.now);
                self.timers.stop(Timer::Interval);
                let end = self.timers.deadline(Timer::Keepalive).unwrap_or(env.now);
                if end > env.now {
                    self.send_keepalive();
                    let interval = self.keepalive_interval(env);
                    let next = if was + interval > env.now { was + interval } else { env.now + interval };
                    if next + COINCIDENCE < end {
                        self.timers.start(Timer::Interval, next);
                    }
                }
            }
            // RE-SM-14, RE-SM-15
            Timer::Retransmit => {
                self.schedule.begin_slot();
                self.scheduled_probe(env);
            }
            Timer::Test => self.test_slot(env),
            Timer::Confirm => self.confirm_again(env),
        }
    }

    fn send_keepalive(&mut self) {
        if self.parameters.no_keepalives {
            return;
        }
        self.counters.keepalives_sent += 1;
        self.actions.push_back(Action::SendKeepalive { pair: self.current });
    }

    /// Why a current pair that is no good candidate was lost.
    pub(super) fn loss_cause(&self) -> FailureCause {
        if self.candidates.pairs.iter().any(|p| p.local == self.current.local) {
            FailureCause::PeerLocatorLost
        } else {
            FailureCause::LocalLocatorLost
        }
    }

    /// The node leaves Operational: old records and positions mean nothing any more (RE-C-13, RE-SM-34).
    fn leave_operational(&mut self, env: &mut Env, cause: FailureCause) {
        self.end_test(TestOutcome::Aborted);
        self.probing = self.probing_values(env.config);
        self.unconfirmed_before = self.unconfirmed;
        if !self.unconfirmed {
            self.records.clear();
        }
        self.records_expire = None;
        self.schedule.reset();
        self.stalled = false;
        self.candidates.demoted = (cause == FailureCause::Hint).then_some(self.current);
        let dead = match cause {
            FailureCause::LocalLocatorLost | FailureCause::PeerLocatorLost | FailureCause::SendRefused => {
                true
            }
            FailureCause::SendTimeout
            | FailureCause::PeerExplores
            | FailureCause::Hint
            | FailureCause::Feedback => false,
        };
        let silent_since = self.gaps.doubted().filter(|_| cause == FailureCause::SendTimeout);
        self.exploration = Some(Exploration {
            started: env.now,
            silent_since,
            cause,
            left: self.current,
            last_heard: self.last_heard,
            dead,
        });
        self.over = None;
        self.counters.explorations += 1;
        self.actions.push_back(Action::ExplorationStarted { cause, pair: self.current });
        // A hint is to be tested, not believed (RE-FI-05)
        if cause != FailureCause::Hint
            && self.take_standby(env.now)
            && let Some(e) = &mut self.exploration
        {
            e.dead = false;
        }
    }

    /// From Operational or InboundOk to Exploring, with its first Probe.
    pub(super) fn enter_exploring(&mut self, env: &mut Env, cause: FailureCause) {
        if self.state == ReapState::Operational {
            self.leave_operational(env, cause);
        }
        self.state = ReapState::Exploring;
        self.stop_confirming();
        self.entered_exploring = env.now;
        self.records.clear_received();
        self.timers.stop(Timer::Send);
        self.stop_keepalive();
        self.restart_series();
        self.scheduled_probe(env);
    }

    fn restart_series(&mut self) {
        self.schedule.restart_series();
        self.schedule.begin_slot();
        self.plateau = None;
    }

    /// Payload or a Keepalive while Exploring: InboundOk, with its first Probe on the next pair of that walk.
    pub(super) fn hear_while_exploring(&mut self, env: &mut Env) {
        self.state = ReapState::InboundOk;
        self.restart_series();
        self.scheduled_probe(env);
    }

    pub(super) fn on_probe(
        &mut self,
        env: &mut Env,
        probe: &Probe,
        first: ProbeBlock,
        arrived_on: LocatorPair,
    ) {
        self.prune(env.now);
        let (tests, alternative) = self.test_reports(env.now, &probe.received);
        let reported = self.take_reports(env.now, &probe.received, tests);
        match probe.state {
            ReapState::Exploring => {
                let changed = self.state != ReapState::InboundOk;
                if self.state == ReapState::Operational {
                    self.leave_operational(env, FailureCause::PeerExplores);
                }
                self.records.record_received(env.now, first, arrived_on, &self.candidates);
                self.stop_keepalive();
                self.restart_send(env);
                if changed {
                    self.state = ReapState::InboundOk;
                    self.restart_series();
                    self.scheduled_probe_on(env, Some(arrived_on));
                    self.confirm_later(Confirm { pair: arrived_on, sent: env.now, left: ANSWERS }, env.now);
                } else {
                    self.reactive_probe(env, [arrived_on, self.current]);
                }
            }
            ReapState::InboundOk => {
                // A test of another pair by the peer, which does not prolong the wait for an answer on ours (RE-SM-22): with
                // tests more frequent than the Send Timeout, no failure would ever be found
                let test = self.state == ReapState::Operational
                    && probe.received.is_empty()
                    && arrived_on != self.current;
                self.records.record_received(env.now, first, arrived_on, &self.candidates);
                self.choose(&reported);
                self.stop_keepalive();
                let awaited = self.state != ReapState::Operational;
                let ended = self.become_operational(env.now, &reported);
                if test {
                    self.start_send(env);
                } else {
                    self.gaps.interrupted();
                    self.restart_send(env);
                }
                // RE-RP-11
                let answered = if reported.contains(&arrived_on) {
                    self.send_probe(env, arrived_on);
                    Some(arrived_on)
                } else {
                    self.reactive_probe(env, [self.current, arrived_on])
                };
                if let Some(pair) = answered.filter(|_| awaited) {
                    self.confirm_later(Confirm { pair, sent: env.now, left: CONFIRMATIONS }, env.now);
                }
                self.actions.extend(ended);
            }
            // The answer to a test: the Send Timer goes on, or a dead current pair would never be found out
            ReapState::Operational if alternative && self.state == ReapState::Operational => {
                self.records.record_received(env.now, first, arrived_on, &self.candidates);
                self.close_test(env);
            }
            ReapState::Operational => {
                self.records.record_received(env.now, first, arrived_on, &self.candidates);
                if self.state != ReapState::Operational || self.unconfirmed {
                    self.choose(&reported);
                }
                self.timers.stop(Timer::Send);
                self.gaps.interrupted();
                let ended = self.become_operational(env.now, &reported);
                self.start_keepalive(env);
                self.actions.extend(ended);
            }
        }
    }

    /// The pairs that the peer's reports show to work and that may still be used, latest probed first.
    fn take_reports(&mut self, now: Time, reports: &[ProbeBlock], tests: usize) -> Vec<LocatorPair> {
        let matched = self.records.count_matching(reports) + tests;
        self.counters.reports_matched += matched as u64;
        self.counters.reports_unmatched += reports.len().saturating_sub(matched) as u64;
        let (mut all, new) = self.records.matching(now, reports, &self.candidates);
        all.retain(|p| self.candidates.contains(*p));
        for pair in new {
            self.actions.push_back(Action::Reachable { pair });
        }
        all
    }

    /// The choice among pairs that work (RE-RP-07): the current one, else the best candidate.
    fn choose(&mut self, reported: &[LocatorPair]) {
        let dead = self.exploration.is_some_and(|e| e.dead);
        if reported.contains(&self.current) && !dead {
            return;
        }
        let best =
            reported.iter().copied().min_by_key(|p| (dead && *p == self.current, self.candidates.rank(*p)));
        if let Some(new) = best.filter(|p| *p != self.current) {
            let old = std::mem::replace(&mut self.current, new);
            self.counters.pair_changes += 1;
            self.actions.push_back(Action::PairChanged { old, new });
            self.explain_failure(Evidence::Report);
        }
    }

    /// To Operational, from wherever (RE-SM-29). Returns what is left to be told.
    ///
    /// A Probe InboundOk without reports (the peer heard payload, not a Probe) may end the exploration before the
    /// reports arrive, with the current pair neither confirmed nor refuted. Reports that come then still choose, or
    /// the node would stay on a dead pair for another Send Timeout (an extension of RE-RP-08).
    fn become_operational(&mut self, now: Time, reported: &[LocatorPair]) -> Option<Action> {
        self.unconfirmed = reported.is_empty() && (self.unconfirmed || self.exploration.is_some());
        self.state = ReapState::Operational;
        self.timers.stop(Timer::Retransmit);
        self.stalled = false;
        self.plateau = None;
        if self.candidates.demoted == Some(self.current) {
            self.candidates.demoted = None;
        }
        let e = self.exploration.take()?;
        self.over = Some(e);
        self.gaps.explored(now, e.silent_since);
        let unchanged = e.left == self.current && reported.contains(&e.left);
        if e.cause == FailureCause::SendTimeout && unchanged {
            self.false_alarm(now, e.left);
        }
        self.records_expire = Some(now + RECORDS_LIFETIME);
        Some(Action::ExplorationEnded { started: e.started, pair: self.current })
    }

    /// The peer has lost the context and set it up anew. The exchange came by `pair` in both directions, and the peer sends
    /// by it: so does this node, if it may, and an exploration under way is over, of which the peer knows nothing.
    pub fn peer_began_anew(&mut self, env: &mut Env, pair: LocatorPair) {
        if !self.candidates.contains(pair) || self.candidates.broken.contains(&pair.peer) {
            return;
        }
        self.end_test(TestOutcome::Aborted);
        self.timers.stop_all();
        self.gaps.interrupted();
        if self.move_to(pair) {
            self.explain(SwitchCause::Preferred, Evidence::Test);
        }
        let ended = self.become_operational(env.now, &[pair]);
        self.actions.extend(ended);
    }

    /// The next Probe of the schedule.
    pub(super) fn scheduled_probe(&mut self, env: &mut Env) {
        self.scheduled_probe_on(env, None);
    }

    /// The same, to a given pair if that may be probed (RE-PS-11).
    fn scheduled_probe_on(&mut self, env: &mut Env, wanted: Option<LocatorPair>) {
        if self.paused {
            return;
        }
        if self.state == ReapState::InboundOk {
            self.start_send(env);
        }
        let pair = match wanted.filter(|p| self.candidates.answerable(*p)) {
            Some(pair) => pair,
            None => match self.next_pair(env.now) {
                Some(pair) => pair,
                None => return self.stall(env),
            },
        };
        self.stalled = false;
        self.schedule.note(self.state, pair);
        let gap = self.schedule.gap(env, &self.probing);
        self.timers.restart(Timer::Retransmit, env.now + gap);
        if self.schedule.at_plateau(&self.probing) {
            self.plateau.get_or_insert(env.now);
        }
        self.send_probe(env, pair);
    }

    fn next_pair(&mut self, now: Time) -> Option<LocatorPair> {
        let dead = self.exploration.is_some_and(|e| e.dead);
        let health = self.records.health();
        let recent = |p: LocatorPair| {
            let h = health.iter().find(|h| h.pair == p).and_then(|h| h.outbound.max(h.inbound));
            h.is_some_and(|t| now.since(t) < RECENT)
        };
        self.schedule.next(self.state, &self.candidates, (self.current, dead), recent)
    }

    /// No pair can be probed: wait for an address event, or for the kernel to change its mind.
    fn stall(&mut self, env: &mut Env) {
        self.stalled = true;
        if self.candidates.pairs.is_empty() {
            self.timers.stop(Timer::Retransmit);
        } else {
            self.timers.restart(Timer::Retransmit, env.now + env.config.max_probe_timeout);
        }
    }

    /// The last Probe was refused: the next pair takes its slot (RE-PS-16).
    pub(super) fn replace_refused(&mut self, env: &mut Env) {
        match self.next_pair(env.now) {
            Some(pair) => {
                self.schedule.note_replacement(self.state, pair);
                self.send_probe(env, pair);
            }
            None => self.stall(env),
        }
    }

    /// An answer outside schedule and order (RE-PS-12), on the first of the wanted pairs that may be probed (RE-PS-14).
    /// Which it was.
    fn reactive_probe(&mut self, env: &mut Env, wanted: [LocatorPair; 2]) -> Option<LocatorPair> {
        let back = wanted.into_iter().find(|p| self.candidates.answerable(*p));
        let pair = back.or_else(|| self.candidates.pairs.first().copied())?;
        self.send_probe(env, pair);
        Some(pair)
    }

    fn confirm_later(&mut self, confirm: Confirm, now: Time) {
        self.confirm = Some(confirm);
        self.timers.restart(Timer::Confirm, now + self.probing.initial_probe_timeout);
    }

    /// The answer that changed our state may be lost. The peer knows no better then than to walk through all other pairs
    /// before it comes back to this one; and after our Probe Operational we ask for nothing more. So while the peer is
    /// silent the answer goes again (RE-RP-19).
    fn confirm_again(&mut self, env: &mut Env) {
        self.timers.stop(Timer::Confirm);
        let silent = |c: &Confirm| self.last_heard.is_none_or(|t| t <= c.sent);
        let Some(c) = self.confirm.take().filter(silent) else { return };
        if self.candidates.answerable(c.pair) {
            self.send_probe(env, c.pair);
            if c.left > 1 {
                self.confirm_later(Confirm { left: c.left - 1, ..c }, env.now);
            }
        }
    }

    fn stop_confirming(&mut self) {
        self.confirm = None;
        self.timers.stop(Timer::Confirm);
    }

    /// A Probe in the present state, with a fresh nonce (RE-RP-01).
    fn send_probe(&mut self, env: &mut Env, pair: LocatorPair) {
        let own = ProbeBlock { source: pair.local, destination: pair.peer, nonce: env.rng.u32(), data: 0 };
        debug_assert_eq!(pair_of(&own), pair);
        self.records.record_sent(own);
        let (sent, received) = self.records.blocks(self.state, own);
        self.counters.probes_sent[self.state as usize] += 1;
        self.actions.push_back(Action::SendProbe { pair, state: self.state, sent, received });
    }
}
