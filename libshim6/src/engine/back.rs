//! Which pair is preferred to the one in use, and the return to pairs that failed.
//!
//! Preferred are, in this order, what the application wants, what the peer wants (RE-FI-12), and a pair that was in use
//! and is better by the order of the candidates, above all that of the ULIDs, which needs no extension header. Every switch
//! follows a test. A pair that failed has to pass all its tests for the time `return_after` first, and for twice as long
//! after each further failure, so that one that comes and goes is soon left alone.

use super::Io;
use super::context::Context;
use super::reap::TestOutcome;
use crate::addr::LocatorPair;
use crate::event::{FailureCause, SwitchCause};
use crate::time::Time;
use std::time::Duration;

/// A pair that failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left {
    pair: LocatorPair,
    at: Time,
    /// It was silence that told.
    silent: bool,
    /// Tests succeed since then.
    well_since: Option<Time>,
    /// Failures so far.
    times: u32,
}

/// Most that are remembered, for how long, and to how often the waiting time doubles.
const MAX_LEFT: usize = 16;
const REMEMBERED: Duration = Duration::from_secs(3600);
const MAX_TIMES: u32 = 6;
/// A waiting time has this many tests.
const TESTS: u32 = 5;
/// The first test of a pair that failed comes so soon after.
const FIRST_TEST: Duration = Duration::from_secs(1);

impl Left {
    /// How long it has to be well.
    fn hold(&self, return_after: Duration) -> Duration {
        super::context::backoff(return_after, self.times.saturating_sub(1).min(MAX_TIMES))
    }
}

impl Context {
    /// The pair in use was left.
    pub(super) fn note_left(&mut self, now: Time, pair: LocatorPair, cause: SwitchCause) {
        let SwitchCause::Failure(cause) = cause else { return };
        let silent = cause == FailureCause::SendTimeout;
        let known = self.tester.left.iter_mut().find(|l| l.pair == pair);
        if let Some(l) = known {
            *l = Left { at: now, silent, well_since: None, times: l.times + 1, ..*l };
            return;
        }
        if self.tester.left.len() >= MAX_LEFT {
            self.tester.left.remove(0);
        }
        self.tester.left.push(Left { pair, at: now, silent, well_since: None, times: 1 });
    }

    /// What failed long ago and has been well since counts as never failed.
    pub(super) fn forget_left(&mut self, now: Time) {
        let current = self.reap.current();
        self.tester.left.retain(|l| l.pair != current || now.since(l.at) < REMEMBERED);
    }

    fn left(&self, pair: LocatorPair) -> Option<&Left> {
        self.tester.left.iter().find(|l| l.pair == pair)
    }

    /// The pair that is preferred to the current one, if there is one. Asked after every packet that the engine handles:
    /// where nothing is preferred, no pair behind the current one is looked at.
    pub(super) fn wish(&self, io: &Io) -> Option<LocatorPair> {
        let current = self.reap.current();
        if self.settings.wishes() {
            // The candidates stand in this order
            let best = self.reap.usable().next()?;
            debug_assert!(self.reap.usable().all(|p| self.settings.wish(best) <= self.settings.wish(p)));
            return (self.settings.wish(best) < self.settings.wish(current)).then_some(best);
        }
        let rank = |p: &LocatorPair| self.peer.rank(&p.peer);
        let mut lowest = self.peer.lowest_rank();
        if rank(&current) > lowest || !self.reap.usable().any(|p| p == current) {
            let best = self.reap.usable().min_by_key(rank)?;
            if rank(&best) < rank(&current) {
                return Some(best);
            }
            lowest = rank(&best);
        }
        io.config.reap.return_after?;
        // In the order of the candidates
        let better = self.reap.usable().take_while(|p| *p != current);
        better.filter(|p| self.left(*p).is_some()).find(|p| rank(p) == lowest)
    }

    /// What nobody asked for is tested under traffic only: without, nothing is gained by it.
    pub(super) fn wish_waits(&self, wish: Option<LocatorPair>) -> bool {
        let own = !self.settings.wishes() && wish.is_some_and(|p| self.left(p).is_some());
        own && !self.tester.has_traffic()
    }

    /// From a test of a preferred pair that succeeded, or from the moment when it is preferred, to the next.
    pub(super) fn wish_delay(&self, wish: Option<LocatorPair>, io: &Io) -> Duration {
        let left = wish.and_then(|p| self.left(p));
        match (left, io.config.reap.return_after) {
            (Some(l), Some(after)) if l.well_since.is_some() => (l.hold(after) / TESTS).max(FIRST_TEST),
            (Some(_), Some(_)) => FIRST_TEST,
            _ => self.period(io),
        }
    }

    /// A test has ended; whether a switch to the pair is due if it is preferred.
    pub(super) fn note_test(&mut self, now: Time, io: &Io, pair: LocatorPair, outcome: TestOutcome) -> bool {
        let Some(l) = self.tester.left.iter_mut().find(|l| l.pair == pair) else { return true };
        match outcome {
            TestOutcome::Confirmed => {
                let since = *l.well_since.get_or_insert(now);
                let alarm = std::mem::take(&mut l.silent) && now.since(l.at) < super::standby::FALSE_ALARM;
                let after = io.config.reap.return_after;
                let ready = after.is_none_or(|after| now.since(since) >= l.hold(after));
                if alarm {
                    self.reap.false_alarm(now, pair);
                }
                ready
            }
            TestOutcome::Failed => {
                (l.well_since, l.silent) = (None, false);
                false
            }
            TestOutcome::Aborted => false,
        }
    }
}
