//! How short a Send Timeout can be on the path in use: a slow path is no dead path.
//!
//! A Send Timeout below a second says what an application wants, not what the path can do. The answer to a packet takes a
//! round trip, and where the peer's program is silent, a Keepalive Interval more. So the timeout in force is never shorter
//! than the measured round-trip time allows, nor than the gaps of the traffic (`gaps`), and it grows for a while where a path
//! that was taken for dead turned out to work.

use super::Reap;
use super::reports::PairHealth;
use crate::addr::LocatorPair;
use crate::config::ReapConfig;
use crate::event::{Evidence, FailureCause, SwitchCause};
use crate::time::Time;
use std::time::Duration;

/// Below this nothing is believed without a measured round-trip time, and no false alarm lengthens a timeout beyond it.
const CAREFUL_BELOW: Duration = Duration::from_secs(1);
/// The Keepalive that shows life leaves up to half a Send Timeout after the packet; the rest has to hold a round trip,
/// with room for one that takes half as long again.
const ROUND_TRIPS: u32 = 3;
/// For the clocks and schedulers of both hosts.
const SLACK: Duration = Duration::from_millis(3);
/// A false alarm counts for so long.
const ALARM_MEMORY: Duration = Duration::from_secs(60);
/// Most doublings.
const MAX_ALARMS: u32 = 5;
/// No gap between Probes is lengthened beyond this by a slow path.
const LONGEST_GAP: Duration = Duration::from_millis(500);

/// Why the current pair changed, as far as REAP knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Why {
    /// Why.
    pub cause: SwitchCause,
    /// What shows that the new pair works.
    pub evidence: Evidence,
    /// When the old one was found out, if it failed.
    pub detected: Option<Time>,
    /// When the peer was last heard before that.
    pub last_heard: Option<Time>,
}

/// False alarms of late.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Alarms {
    count: u32,
    last: Option<Time>,
}

impl Alarms {
    fn note(&mut self, now: Time) {
        self.count = self.at(now).saturating_add(1).min(MAX_ALARMS);
        self.last = Some(now);
    }

    /// How many count; one fewer after each [`ALARM_MEMORY`].
    fn at(&self, now: Time) -> u32 {
        let Some(last) = self.last else { return 0 };
        let over = now.since(last).as_nanos() / ALARM_MEMORY.as_nanos();
        self.count.saturating_sub(u32::try_from(over).unwrap_or(u32::MAX))
    }
}

impl PairHealth {
    /// A Probe on the pair was reported after so long. A longer time counts at once, a shorter one by and by.
    pub(super) fn measured(&mut self, rtt: Duration) {
        let old = self.rtt.unwrap_or(rtt);
        self.rtt = Some(rtt.max((old * 7 + rtt) / 8));
    }
}

impl Reap {
    fn own_rtt(&self) -> Option<Duration> {
        self.health().iter().find(|h| h.pair == self.current).and_then(|h| h.rtt)
    }

    /// The round-trip time of the current pair, by tests; if it has none yet, the longest of the others.
    pub fn rtt(&self) -> Option<Duration> {
        self.own_rtt().or_else(|| self.health().iter().filter_map(|h| h.rtt).max())
    }

    /// Does the Send Timeout wait for a round-trip time, so that it can be as short as is wanted?
    pub fn wants_rtt(&self, config: &ReapConfig) -> bool {
        let p = &self.parameters;
        p.careful && p.over(config).send_timeout < CAREFUL_BELOW && self.own_rtt().is_none()
    }

    /// The Send Timeout in force now, without jitter.
    pub fn send_timeout(&self, now: Time, config: &ReapConfig) -> Duration {
        let wanted = self.parameters.over(config).send_timeout.max(Duration::from_millis(1));
        if !self.parameters.careful {
            return wanted;
        }
        let short = wanted < CAREFUL_BELOW;
        let after_alarms = wanted.saturating_mul(1 << self.alarms.at(now)).min(CAREFUL_BELOW);
        let for_gaps = if short { self.gaps.floor(now) } else { Duration::ZERO };
        let for_path = match self.rtt() {
            Some(rtt) => rtt * ROUND_TRIPS + SLACK,
            None if short => CAREFUL_BELOW,
            None => Duration::ZERO,
        };
        wanted.max(after_alarms).max(for_gaps).max(for_path)
    }

    /// Why the pair changed: one for each [`Action::PairChanged`](super::Action::PairChanged), in their order.
    pub fn take_why(&mut self) -> Option<Why> {
        self.whys.pop_front()
    }

    pub(super) fn explain(&mut self, cause: SwitchCause, evidence: Evidence) {
        self.whys.push_back(Why { cause, evidence, detected: None, last_heard: self.last_heard });
    }

    /// The pair changed because of the exploration under way, or of the last one, or of what the peer found out itself.
    pub(super) fn explain_failure(&mut self, evidence: Evidence) {
        let e = self.exploration.or(self.over);
        self.whys.push_back(Why {
            cause: SwitchCause::Failure(e.map_or(FailureCause::PeerExplores, |e| e.cause)),
            evidence,
            detected: e.map(|e| e.started),
            last_heard: e.map_or(self.last_heard, |e| e.last_heard),
        });
    }

    /// The pair that the Send Timer took for dead works after all.
    pub fn false_alarm(&mut self, now: Time, pair: LocatorPair) {
        self.alarms.note(now);
        // A single silence may have been a short failure; where they come again they are the traffic's own
        if self.alarms.at(now) > 1 {
            self.gaps.acquitted(now);
        }
        self.records.forget_rtt(pair);
    }

    /// Values for an exploration or a test: no faster than answers can come.
    pub(super) fn probing_values(&self, config: &ReapConfig) -> ReapConfig {
        let mut values = self.parameters.over(config);
        if let Some(rtt) = self.rtt().filter(|_| self.parameters.careful) {
            let gap = (rtt + rtt / 2).min(LONGEST_GAP).min(values.max_probe_timeout);
            values.initial_probe_timeout = values.initial_probe_timeout.max(gap);
        }
        values
    }
}
