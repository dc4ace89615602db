//! When the next Probe goes out and to which pair (RFC 5534 section 4.3, conformance part H).

use super::Env;
use crate::addr::LocatorPair;
use crate::config::ReapConfig;
use crate::wire::ReapState;
use std::collections::{HashMap, HashSet};
use std::net::Ipv6Addr;
use std::time::Duration;

/// The shortest gap, so that a misconfigured 0 does not spin.
const MIN_GAP: Duration = Duration::from_millis(1);

/// Which pairs may be probed, and how they rank.
#[derive(Clone, Debug, Default)]
pub(super) struct Candidates {
    /// Best first.
    pub(super) pairs: Vec<LocatorPair>,
    /// Peer locators that the peer flagged BROKEN: after all others (RE-PS-15).
    pub(super) broken: Vec<Ipv6Addr>,
    /// A pair about which there was a hint: after all unbroken ones (RE-FI-05).
    pub(super) demoted: Option<LocatorPair>,
    /// Pairs that payload must not use, because an application chose others, but answers to Probes may.
    pub(super) answers: Vec<LocatorPair>,
}

impl Candidates {
    pub(super) fn contains(&self, pair: LocatorPair) -> bool {
        self.pairs.contains(&pair)
    }

    /// May a Probe of the peer be answered there?
    pub(super) fn answerable(&self, pair: LocatorPair) -> bool {
        self.contains(pair) || self.answers.contains(&pair)
    }

    /// Rank of a pair for the choice among several that work; lower is better, `None` if it may not be used.
    pub(super) fn rank(&self, pair: LocatorPair) -> Option<(bool, bool, usize)> {
        let at = self.pairs.iter().position(|p| *p == pair)?;
        Some((self.broken.contains(&pair.peer), self.demoted == Some(pair), at))
    }

    /// The order of probing: the current pair unless it is `dead`, pairs that share neither end with it, pairs that
    /// share one, and the dead pair; pairs to BROKEN locators behind all others (RE-PS-09, RE-PS-10, RE-PS-15).
    pub(super) fn order(&self, current: LocatorPair, dead: bool) -> Vec<LocatorPair> {
        let mut order = self.pairs.clone();
        order.sort_by_key(|p| self.class(*p, current, dead));
        order
    }

    fn class(&self, p: LocatorPair, current: LocatorPair, dead: bool) -> (bool, u8) {
        let class = if p == current {
            if dead { 3 } else { 0 }
        } else if p.local != current.local && p.peer != current.peer {
            1
        } else {
            2
        };
        // The pair under suspicion is still the first to be tested.
        (self.broken.contains(&p.peer) && class != 0, class)
    }
}

/// The back-off and the two walks through the candidates, one for Exploring and one for InboundOk (RE-SM-34).
#[derive(Clone, Debug, Default)]
pub(super) struct Schedule {
    /// Scheduled Probes since the series was started.
    series: u32,
    /// Pairs tried in the present round, per state. A set in place of a position: locators may come and go.
    tried: [Vec<LocatorPair>; 2],
    /// Pairs that the kernel refused since the last slot (RE-PS-16).
    refused: Vec<LocatorPair>,
    /// The pair of the last scheduled Probe.
    pub(super) last: Option<LocatorPair>,
}

impl Schedule {
    /// Both walks from the start: the node leaves Operational.
    pub(super) fn reset(&mut self) {
        *self = Schedule::default();
    }

    /// New series, positions kept: a change between Exploring and InboundOk (RE-SM-33, RE-SM-34).
    pub(super) fn restart_series(&mut self) {
        self.series = 0;
    }

    /// A new slot begins: what was refused may be tried again.
    pub(super) fn begin_slot(&mut self) {
        self.refused.clear();
    }

    /// Note a refusal; `false` if the pair was noted already in this slot.
    pub(super) fn refuse(&mut self, pair: LocatorPair) -> bool {
        let new = !self.refused.contains(&pair);
        if new {
            self.refused.push(pair);
        }
        new
    }

    /// A Probe in `state` on `pair` counts as a step of the walk.
    pub(super) fn note(&mut self, state: ReapState, pair: LocatorPair) {
        self.series = self.series.saturating_add(1);
        self.mark(state, pair);
    }

    fn mark(&mut self, state: ReapState, pair: LocatorPair) {
        let tried = &mut self.tried[walk(state)];
        if !tried.contains(&pair) {
            tried.push(pair);
        }
        self.last = Some(pair);
    }

    /// A refused Probe is replaced by one on `pair` in the same slot.
    pub(super) fn note_replacement(&mut self, state: ReapState, pair: LocatorPair) {
        self.mark(state, pair);
    }

    /// The next pair of the walk: all before any twice, then from the start again (RE-PS-04). Of pairs of one class
    /// ([`Candidates::order`]), first those that worked of late, then those whose ends had the fewest Probes in vain: one
    /// dead address takes all its pairs along. `None` if there is no pair, or all were refused in this slot.
    pub(super) fn next(
        &mut self,
        state: ReapState,
        candidates: &Candidates,
        (current, dead): (LocatorPair, bool),
        recent: impl Fn(LocatorPair) -> bool,
    ) -> Option<LocatorPair> {
        let usable = |p: &LocatorPair| !self.refused.contains(p);
        let tried: HashSet<LocatorPair> = self.tried[walk(state)].iter().copied().collect();
        let mut vain: HashMap<Ipv6Addr, u32> = HashMap::new();
        for p in self.tried.iter().flatten() {
            *vain.entry(p.local).or_default() += 1;
            *vain.entry(p.peer).or_default() += 1;
        }
        let count = |a: &Ipv6Addr| vain.get(a).copied().unwrap_or(0);
        let key = |p: &LocatorPair| {
            let class = candidates.class(*p, current, dead);
            // Those that share an end with the current pair do so with a suspect anyway
            let vain = if class.1 == 1 { count(&p.local) + count(&p.peer) } else { 0 };
            (class, !recent(*p), vain)
        };
        let all = || candidates.pairs.iter().copied().filter(usable);
        // The first of equal ones: they stand in the order of preference
        if let Some(p) = all().filter(|p| !tried.contains(p)).min_by_key(key) {
            return Some(p);
        }
        let first = all().min_by_key(|p| candidates.class(*p, current, dead))?;
        self.tried[walk(state)].clear();
        Some(first)
    }

    /// Gap after the Probe just noted (RE-PS-07, RE-C-10, RE-C-11).
    pub(super) fn gap(&self, env: &mut Env, c: &ReapConfig) -> Duration {
        let doublings = (self.series + 1).saturating_sub(c.initial_probes.max(1)).min(32);
        let plain = c
            .initial_probe_timeout
            .max(MIN_GAP)
            .saturating_mul(1u32.checked_shl(doublings).unwrap_or(u32::MAX));
        let gap = plain.min(c.max_probe_timeout);
        let gap = if c.jitter { gap.mul_f64(env.rng.f64(0.8, 1.2)) } else { gap };
        gap.min(c.max_probe_timeout).max(MIN_GAP)
    }

    /// The gap has reached the Max Probe Timeout (RE-PS-18).
    pub(super) fn at_plateau(&self, config: &ReapConfig) -> bool {
        let doublings = (self.series + 1).saturating_sub(config.initial_probes.max(1)).min(31);
        config.initial_probe_timeout.max(MIN_GAP).saturating_mul(1 << doublings) >= config.max_probe_timeout
    }
}

fn walk(state: ReapState) -> usize {
    usize::from(state == ReapState::InboundOk)
}
