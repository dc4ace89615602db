//! Tests of alternative pairs of a context while the current one works: for hot standby, for pairs that an application
//! prefers, and for locators of the peer that it asks about (RE-FI-12 to RE-FI-14, API-HOT-08 to API-HOT-14, API-PTX-12).

use super::Io;
use super::context::Context;
use super::reap::TestOutcome;
use crate::addr::LocatorPair;
use crate::time::Time;
use crate::wire::ReapState;
use std::collections::VecDeque;
use std::net::Ipv6Addr;
use std::time::Duration;

/// Between the starts of two tests of a context (RE-FI-14).
const SPACING: Duration = Duration::from_secs(1);
/// Longest time between two tests of a preferred pair that does not work.
const MAX_RETRY: Duration = Duration::from_secs(60);
/// How long a failed test counts (API-ERR-11).
const UNREACHABLE: Duration = Duration::from_secs(60);
/// Locators asked about that wait for their test.
const MAX_ASKED: usize = 32;

/// What is tested, and when.
#[derive(Debug, Default)]
pub(super) struct Tester {
    hot: bool,
    /// Locators of the peer that an application asked about.
    asked: VecDeque<Ipv6Addr>,
    started: Option<Time>,
    /// The confirmed alternative, and when its test began.
    standby: Option<(LocatorPair, Time)>,
    standby_due: Option<Time>,
    /// Alternatives that failed since one was confirmed last.
    failed: Vec<LocatorPair>,
    wish_due: Option<Time>,
    wish_fails: u32,
    next: Option<Time>,
}

impl Tester {
    /// When [`Context::run_tests`] has something to do.
    pub(super) fn next_timeout(&self) -> Option<Time> {
        self.next
    }

    /// The confirmed alternative.
    pub(super) fn standby(&self) -> Option<LocatorPair> {
        self.standby.map(|(pair, _)| pair)
    }

    /// The application's wishes changed: they are looked at anew.
    pub(super) fn wish_now(&mut self, now: Time) {
        (self.wish_due, self.wish_fails) = (Some(now), 0);
    }
}

impl Context {
    /// Hot standby on or off.
    pub(super) fn set_hot_standby(&mut self, now: Time, on: bool) {
        if self.tester.hot != on {
            self.tester.hot = on;
            self.tester.standby_due = on.then_some(now);
            self.tester.standby = None;
            self.tester.failed.clear();
            self.reap.set_standby(None);
        }
    }

    /// Test the way to a locator of the peer, soon.
    pub(super) fn ask(&mut self, addr: Ipv6Addr) {
        let tester = &mut self.tester;
        let known = tester.asked.contains(&addr) || self.reap.testing().is_some_and(|p| p.peer == addr);
        if self.peer.lists(&addr) && !known && tester.asked.len() < MAX_ASKED {
            tester.asked.push_back(addr);
        }
    }

    /// Standby tests begin at least this often (API-HOT-09).
    fn period(&self, io: &Io) -> Duration {
        self.settings.send_timeout(&io.config.reap).max(SPACING)
    }

    /// Start a test if one is due, and plan the next. Called after every event of the context.
    pub(super) fn run_tests(&mut self, now: Time, io: &mut Io) {
        self.tester.next = None;
        if !self.established()
            || self.reap.state() != ReapState::Operational
            || self.reap.testing().is_some()
            || !(self.tester.hot || self.settings.wishes() || !self.tester.asked.is_empty())
        {
            return;
        }
        let wish = self.wish();
        if wish.is_none() {
            (self.tester.wish_due, self.tester.wish_fails) = (None, 0);
        } else if self.tester.wish_due.is_none() {
            self.tester.wish_due = Some(now + self.period(io));
        }
        let alternative = if self.tester.hot { self.alternative() } else { None };
        let free = self.tester.started.map_or(now, |t| t + SPACING).max(now);
        let at = |due: Option<Time>, wanted: bool| due.filter(|_| wanted).map(|t| t.max(free));
        let times = [
            at(Some(now), !self.tester.asked.is_empty()),
            at(self.tester.wish_due, wish.is_some()),
            at(self.tester.standby_due, alternative.is_some()),
        ];
        let due = |i: usize| times[i].is_some_and(|t| t <= now);
        let pair = if due(0) {
            self.tester.asked.pop_front().and_then(|addr| self.way_to(addr))
        } else if due(1) {
            wish
        } else if due(2) {
            self.tester.standby_due = Some(now + self.period(io));
            alternative
        } else {
            self.tester.next = times.into_iter().flatten().min();
            return;
        };
        let started = pair.is_some_and(|pair| self.reap.start_test(&mut io.env(now), pair));
        if started {
            self.tester.started = Some(now);
            self.run_reap(now, io);
        } else {
            self.tester.next = Some(now + Duration::from_millis(1));
        }
    }

    /// The pair that the application prefers to the current one, if there is one.
    fn wish(&self) -> Option<LocatorPair> {
        if !self.settings.wishes() {
            return None;
        }
        let current = self.reap.current();
        let best = self.reap.usable().min_by_key(|p| self.settings.wish(*p))?;
        (self.settings.wish(best) < self.settings.wish(current)).then_some(best)
    }

    /// The pair that hot standby should confirm: of those that share no end with the current one, then the others, the
    /// best that did not fail.
    fn alternative(&mut self) -> Option<LocatorPair> {
        let all: Vec<_> = self.reap.alternatives();
        if all.iter().all(|p| self.tester.failed.contains(p)) {
            self.tester.failed.clear();
        }
        all.into_iter().find(|p| !self.tester.failed.contains(p))
    }

    /// A pair for a locator of the peer, from our present locator if that can be.
    fn way_to(&self, addr: Ipv6Addr) -> Option<LocatorPair> {
        let current = self.reap.current();
        let all = self.all_pairs();
        let to = |p: &&LocatorPair| p.peer == addr;
        all.iter().filter(to).find(|p| p.local == current.local).or_else(|| all.iter().find(to)).copied()
    }

    /// What a test brought.
    pub(super) fn test_ended(&mut self, now: Time, io: &mut Io, pair: LocatorPair, outcome: TestOutcome) {
        let began = self.tester.started.unwrap_or(now);
        let period = self.period(io);
        let wish = self.wish() == Some(pair);
        match outcome {
            TestOutcome::Confirmed => {
                if self.tester.hot && pair != self.reap.current() {
                    self.tester.failed.clear();
                    self.tester.standby = Some((pair, began));
                    // API-HOT-11
                    self.reap.set_standby(Some((pair, began + period * 2)));
                }
                if wish {
                    self.reap.switch_to(pair);
                }
            }
            TestOutcome::Failed => {
                if pair.peer != self.reap.current().peer && pair.peer != self.ulids.peer {
                    self.peer.mark_unreachable(&pair.peer, now + UNREACHABLE);
                }
                if self.tester.hot {
                    self.tester.failed.push(pair);
                    if self.tester.standby() == Some(pair) {
                        self.tester.standby = None;
                        self.reap.set_standby(None);
                    }
                    let left = self.reap.alternatives().iter().any(|p| !self.tester.failed.contains(p));
                    if self.tester.standby.is_none() && left {
                        self.tester.standby_due = Some(now);
                    }
                }
                if wish {
                    let wait = super::context::backoff(period, self.tester.wish_fails.min(6));
                    self.tester.wish_fails += 1;
                    self.tester.wish_due = Some(now + wait.min(MAX_RETRY.max(period)));
                }
            }
            TestOutcome::Aborted => {}
        }
    }

    /// The current pair is another one: what stood by may be in use now.
    pub(super) fn pair_changed(&mut self, now: Time) {
        if self.tester.hot {
            self.tester.standby = self.tester.standby.filter(|(p, _)| *p != self.reap.current());
            self.tester.standby_due = Some(now);
            self.tester.failed.clear();
        }
    }
}
