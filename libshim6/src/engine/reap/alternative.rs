//! Tests of an alternative pair while the current one works, and what is done with their outcome (RE-FI-13, API-HOT-08 to
//! API-HOT-14).
//!
//! For the peer the node is in InboundOk: its Probes say so, and carry no reports. For the node itself the rules and
//! timers of Operational go on, so that a test delays neither Keepalives nor the discovery of a failure. Its Probes are
//! kept apart from those of explorations, so that no report about them ever moves payload.

use super::reports::pair_of;
use super::timers::Timer;
use super::{Action, Env, Reap};
use crate::addr::LocatorPair;
use crate::config::ReapConfig;
use crate::event::{Evidence, SwitchCause};
use crate::time::Time;
use crate::wire::{ProbeBlock, ReapState};
use std::time::Duration;

/// What an application changed for a context; `None` is the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    /// Send Timeout.
    pub send_timeout: Option<Duration>,
    /// Number of Initial Probes.
    pub initial_probes: Option<u32>,
    /// Initial Probe Timeout.
    pub initial_probe_timeout: Option<Duration>,
    /// Between Keepalives; at most half of the Keepalive Timeout counts.
    pub keepalive_interval: Option<Duration>,
    /// Send no Keepalives (API-TMO-10).
    pub no_keepalives: bool,
    /// Bound the Send Timeout by what the path can do ([`Reap::send_timeout`]).
    pub careful: bool,
}

impl Parameters {
    /// The configuration with these values in it.
    pub(super) fn over(&self, config: &ReapConfig) -> ReapConfig {
        ReapConfig {
            send_timeout: self.send_timeout.unwrap_or(config.send_timeout),
            initial_probes: self.initial_probes.unwrap_or(config.initial_probes),
            initial_probe_timeout: self.initial_probe_timeout.unwrap_or(config.initial_probe_timeout),
            ..config.clone()
        }
    }
}

/// An alternative that was confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standby {
    /// The pair.
    pub pair: LocatorPair,
    /// When its test began.
    pub confirmed: Time,
    /// It counts until then (API-HOT-11).
    pub until: Time,
}

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TestOutcome {
    /// The peer reported one of its Probes.
    Confirmed,
    /// The whole initial series stayed unanswered.
    Failed,
    /// The current pair failed meanwhile, or the pair may not be probed any more.
    Aborted,
}

/// A running test.
#[derive(Clone, Debug)]
pub(super) struct Test {
    pair: LocatorPair,
    sent: Vec<(Time, ProbeBlock)>,
    /// The last Probe, on the current pair, is out.
    last: bool,
}

/// Gap between the Probes of a test.
fn gap(config: &ReapConfig, env: &mut Env) -> Duration {
    let gap = config.initial_probe_timeout.max(Duration::from_millis(1));
    if env.config.jitter { gap.mul_f64(env.rng.f64(0.8, 1.2)) } else { gap }
}

impl Reap {
    /// Values of this context from now on; those of probing from the next exploration or test on (API-PE-20).
    pub fn set_parameters(&mut self, parameters: Parameters) {
        self.parameters = parameters;
    }

    /// A test is under way.
    pub fn testing(&self) -> Option<LocatorPair> {
        self.test.as_ref().map(|t| t.pair)
    }

    /// Test `pair` while the current one works: the initial series of Probes, until the peer reports one of them. Ends
    /// with [`Action::TestEnded`]; payload stays where it is. `false`: not in Operational, or a test runs already.
    pub fn start_test(&mut self, env: &mut Env, pair: LocatorPair) -> bool {
        if self.state != ReapState::Operational || self.paused || self.test.is_some() {
            return false;
        }
        self.probing = self.probing_values(env.config);
        self.test = Some(Test { pair, sent: Vec::new(), last: false });
        self.test_slot(env);
        true
    }

    /// End a test without result.
    pub fn abort_test(&mut self) {
        self.end_test(TestOutcome::Aborted);
    }

    /// Payload goes to `pair` from now on, by decision of this node: it was tested, or an application pinned it. Only in
    /// Operational; elsewhere the exploration decides.
    pub fn switch_to(&mut self, pair: LocatorPair) {
        if self.state == ReapState::Operational && self.move_to(pair) {
            self.explain(SwitchCause::Preferred, Evidence::Test);
        }
    }

    /// The same in any state: an application pinned it.
    pub fn pin_to(&mut self, pair: LocatorPair) {
        if self.move_to(pair) {
            self.explain(SwitchCause::Pinned, Evidence::Choice);
        }
        if let Some(e) = &mut self.exploration {
            e.dead = false;
        }
    }

    /// Pairs that are no candidates, because an application wants others, but by which the peer's Probes may be answered:
    /// otherwise a peer whose pinned locator has vanished could never tell so.
    pub fn set_answerable(&mut self, pairs: Vec<LocatorPair>) {
        self.candidates.answers = pairs;
    }

    /// The pair that replaces the current one at once when that fails (API-HOT-10).
    pub fn set_standby(&mut self, standby: Option<Standby>) {
        self.standby = standby;
    }

    /// Positive feedback on outbound traffic (RE-FI-09).
    pub fn stop_send_timer(&mut self) {
        self.timers.stop(Timer::Send);
        self.gaps.interrupted();
    }

    /// `true` if that is another pair.
    pub(super) fn move_to(&mut self, new: LocatorPair) -> bool {
        let old = std::mem::replace(&mut self.current, new);
        if new != old {
            self.counters.pair_changes += 1;
            self.actions.push_back(Action::PairChanged { old, new });
        }
        new != old
    }

    /// Take the standby pair, if one is confirmed; whether it was.
    pub(super) fn take_standby(&mut self, now: Time) -> bool {
        let good = |p: &LocatorPair| {
            *p != self.current && self.candidates.contains(*p) && !self.candidates.broken.contains(&p.peer)
        };
        match self.standby.take() {
            Some(s) if now <= s.until && good(&s.pair) => {
                if self.move_to(s.pair) {
                    self.explain_failure(Evidence::Standby(s.confirmed));
                }
                true
            }
            _ => false,
        }
    }

    pub(super) fn end_test(&mut self, outcome: TestOutcome) {
        self.timers.stop(Timer::Test);
        if let Some(test) = self.test.take() {
            if outcome == TestOutcome::Confirmed {
                self.actions.push_back(Action::Reachable { pair: test.pair });
            }
            self.actions.push_back(Action::TestEnded { pair: test.pair, outcome });
        }
    }

    /// The next Probe of a test: the initial series, then one on the current pair, whose answer or silence ends it.
    pub(super) fn test_slot(&mut self, env: &mut Env) {
        let Some(test) = &mut self.test else { return };
        let series = self.probing.initial_probes.max(1) as usize;
        let pair = match (test.sent.len() < series, test.last) {
            (true, _) => test.pair,
            (false, false) => {
                test.last = true;
                self.current
            }
            (false, true) => return self.end_test(TestOutcome::Failed),
        };
        let last = test.last;
        let own = self.test_probe(env, pair);
        if let Some(test) = &mut self.test {
            test.sent.push((env.now, own));
        }
        if last {
            self.start_send(env);
        }
        let gap = gap(&self.probing, env);
        self.timers.restart(Timer::Test, env.now + gap);
    }

    fn test_probe(&mut self, env: &mut Env, pair: LocatorPair) -> ProbeBlock {
        let own = ProbeBlock { source: pair.local, destination: pair.peer, nonce: env.rng.u32(), data: 0 };
        let state = ReapState::InboundOk;
        self.counters.probes_sent[state as usize] += 1;
        self.actions.push_back(Action::SendProbe { pair, state, sent: vec![own], received: Vec::new() });
        own
    }

    /// The peer answered a test; its rules made it end its Keepalives and wait for something of ours. Where we wait for
    /// something too, only an answer on the current pair can tell that this works: it is probed.
    pub(super) fn close_test(&mut self, env: &mut Env) {
        if self.timers.running(Timer::Send) {
            self.closing = Some((env.now, self.test_probe(env, self.current)));
        } else {
            self.start_keepalive(env);
        }
    }

    /// Reports about the Probes of a test: how many there are, and whether they are about the alternative pair. Such an
    /// answer is no sign that the current pair works.
    pub(super) fn test_reports(&mut self, now: Time, reports: &[ProbeBlock]) -> (usize, bool) {
        let reported = |s: &ProbeBlock| {
            let of = |b: &ProbeBlock| (b.nonce, b.source, b.destination);
            reports.iter().any(|r| of(r) == of(s))
        };
        let closed = self.closing.take_if(|c| reported(&c.1));
        let sent = self.test.iter().flat_map(|t| &t.sent);
        let hits: Vec<_> = sent.filter(|s| reported(&s.1)).copied().collect();
        // The answer is to the latest; it also tells of those whose own answer was lost
        if let Some((at, block)) = hits.iter().copied().chain(closed).max_by_key(|s| s.0) {
            self.records.note_answer(now, pair_of(&block), now.since(at), &self.candidates);
        }
        let Some(test) = &self.test else { return (usize::from(closed.is_some()), false) };
        let (n, alternative) = (hits.len(), hits.iter().any(|s| pair_of(&s.1) == test.pair));
        if alternative {
            self.end_test(TestOutcome::Confirmed);
        } else if n > 0 {
            self.end_test(TestOutcome::Failed);
        }
        (n, alternative)
    }
}
