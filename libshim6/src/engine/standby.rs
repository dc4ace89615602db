//! Tests of pairs of a context while the current one works: for hot standby, for pairs that are preferred to the current
//! one, for locators of the peer that an application asks about, and for the round-trip time that a Send Timeout below a
//! second needs (RE-FI-12 to RE-FI-14, API-HOT-08 to API-HOT-14, API-PTX-12). What is preferred: `back`.

use super::Io;
use super::back::Left;
use super::context::Context;
use super::reap::{Standby, TestOutcome};
use crate::addr::LocatorPair;
use crate::time::Time;
use crate::wire::ReapState;
use std::collections::VecDeque;
use std::net::Ipv6Addr;
use std::time::Duration;

/// Between the starts of two tests of a context (RE-FI-14), unless this many packets have passed since: a test takes two
/// packets, two more where the current pair has to be asked too, and both hosts make tests.
const SPACING: Duration = Duration::from_secs(1);
const PACKETS: u64 = 800;
/// No tests of the standby pair closer than this.
const MIN_PERIOD: Duration = Duration::from_millis(100);
/// Standby tests of a context without traffic get rarer, up to this time between them.
const MAX_IDLE: Duration = Duration::from_secs(15);
/// A pair that answers so soon after it was taken for dead was no dead pair.
pub(super) const FALSE_ALARM: Duration = Duration::from_secs(3);
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
    /// Packets of the flow, and how many there had been when the last test began.
    packets: u64,
    packets_then: u64,
    /// Standby tests since the last packet, doubling the time to the next.
    idle: u32,
    /// Pairs that failed, and how they do since.
    pub(super) left: Vec<Left>,
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

    /// Packets have passed since the last test began.
    pub(super) fn has_traffic(&self) -> bool {
        self.packets != self.packets_then
    }

    /// Packets of the flow passed; whether they are the first for a while.
    pub(super) fn traffic(&mut self, packets: u64) -> bool {
        self.packets = self.packets.saturating_add(packets);
        std::mem::take(&mut self.idle) > 1
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

    /// Standby tests begin this often while there is traffic, as far as the budget allows it (API-HOT-09): every Send
    /// Timeout unless a time was set, not before the answer to the last can be there, and not more often than once a second
    /// where that is not needed.
    fn wanted_period(&self, io: &Io) -> Duration {
        let config = &io.config.reap;
        let rtt = self.reap.rtt().unwrap_or_default();
        config
            .standby_interval
            .unwrap_or_else(|| self.settings.send_timeout(config).max(MIN_PERIOD))
            .max(rtt * 4)
    }

    /// The longest time between two standby tests under traffic.
    pub(super) fn period(&self, io: &Io) -> Duration {
        self.wanted_period(io).max(SPACING)
    }

    /// When the next standby test is wanted after one that begins now.
    fn next_standby(&mut self, now: Time, io: &Io) -> Time {
        let idle = !self.tester.has_traffic();
        self.tester.idle = if idle { (self.tester.idle + 1).min(16) } else { 0 };
        if self.tester.idle == 0 {
            return now + self.wanted_period(io);
        }
        let period = self.period(io);
        now + super::context::backoff(period, self.tester.idle).min(MAX_IDLE.max(period))
    }

    /// Traffic of the flow. After a quiet stretch the standby pair is old: it is tested at once.
    pub(super) fn note_traffic(&mut self, now: Time, packets: u64) {
        if self.tester.traffic(packets) && self.tester.hot {
            self.tester.standby_due = Some(now);
        }
    }

    /// When a test may begin again.
    fn free(&self, now: Time) -> Time {
        let spent = self.tester.packets - self.tester.packets_then;
        match self.tester.started {
            Some(t) if spent < PACKETS => (t + SPACING).max(now),
            _ => now,
        }
    }

    /// Start a test if one is due, and plan the next. Called after every event of the context.
    pub(super) fn run_tests(&mut self, now: Time, io: &mut Io) {
        self.tester.next = None;
        if !self.established() || self.reap.state() != ReapState::Operational || self.reap.testing().is_some()
        {
            return;
        }
        self.forget_left(now);
        let rtt = self.reap.wants_rtt(&io.config.reap);
        let wish = self.wish(io);
        if !(self.tester.hot || rtt || wish.is_some() || !self.tester.asked.is_empty()) {
            (self.tester.wish_due, self.tester.wish_fails) = (None, 0);
            return;
        }
        if wish.is_none() {
            (self.tester.wish_due, self.tester.wish_fails) = (None, 0);
        } else if self.tester.wish_due.is_none() {
            self.tester.wish_due = Some(now + self.wish_delay(wish, io));
        }
        let alternative = self.tester.hot && self.reap.has_alternative();
        let free = self.free(now);
        // A test that fails goes on for a while; one for the round-trip time needs traffic that could be lost
        let current = self.reap.current();
        // A current pair that the peer has withdrawn is used until there is another one, but not tested (RE-PS-14)
        let rtt = rtt && self.tester.has_traffic() && self.reap.usable().any(|p| p == current);
        let wish_waits = self.wish_waits(wish);
        let at = |due: Option<Time>, wanted: bool| due.filter(|_| wanted).map(|t| t.max(free));
        let times = [
            at(Some(now), !self.tester.asked.is_empty()),
            at(Some(now), rtt),
            at(self.tester.wish_due, wish.is_some() && !wish_waits),
            at(self.tester.standby_due, alternative),
        ];
        let due = |i: usize| times[i].is_some_and(|t| t <= now);
        let pair = if due(0) {
            self.tester.asked.pop_front().and_then(|addr| self.way_to(addr))
        } else if due(1) {
            Some(self.reap.current())
        } else if due(2) {
            wish
        } else if due(3) {
            self.tester.standby_due = Some(self.next_standby(now, io));
            self.alternative()
        } else {
            self.tester.next = times.into_iter().flatten().min();
            return;
        };
        let started = pair.is_some_and(|pair| self.reap.start_test(&mut io.env(now), pair));
        if started {
            self.tester.started = Some(now);
            self.tester.packets_then = self.tester.packets;
            self.run_reap(now, io);
        } else {
            self.tester.next = Some(now + Duration::from_millis(1));
        }
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
        let wish = self.wish(io) == Some(pair);
        let ready = self.note_test(now, io, pair, outcome);
        match outcome {
            TestOutcome::Confirmed => {
                if self.tester.hot && pair != self.reap.current() {
                    self.tester.failed.clear();
                    self.tester.standby = Some((pair, began));
                    // API-HOT-11
                    let next = self.tester.standby_due.map_or(period, |t| t.since(began)).max(period);
                    let until = began + next * 2;
                    self.reap.set_standby(Some(Standby { pair, confirmed: began, until }));
                }
                if wish && ready {
                    self.reap.switch_to(pair);
                } else if wish {
                    self.tester.wish_fails = 0;
                    self.tester.wish_due = Some(now + self.wish_delay(Some(pair), io));
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
                    if !left {
                        self.tester.failed.clear();
                    } else if self.tester.standby.is_none() {
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
        (self.tester.wish_due, self.tester.wish_fails) = (None, 0);
        if self.tester.hot {
            self.tester.standby = self.tester.standby.filter(|(p, _)| *p != self.reap.current());
            self.tester.standby_due = Some(now);
            self.tester.failed.clear();
        }
    }
}
