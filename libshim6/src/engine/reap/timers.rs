//! The timer table of one REAP instance.

use crate::time::Time;

/// The timers of RFC 5534 section 6 and the Keepalive Interval tick that goes with the Keepalive Timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// Send Timer: something was sent and nothing heard since.
    Send,
    /// Keepalive Timer: something was heard and nothing sent since.
    Keepalive,
    /// Next Keepalive while the Keepalive Timer runs.
    Interval,
    /// Next scheduled Probe.
    Retransmit,
    /// Next Probe of a test.
    Test,
    /// The Probe that ended an exploration goes again.
    Confirm,
}

const ALL: [Timer; 6] =
    [Timer::Send, Timer::Keepalive, Timer::Interval, Timer::Retransmit, Timer::Test, Timer::Confirm];

/// Deadlines; START, RESTART and STOP as the tables of RFC 5534 section 6 use the words.
#[derive(Clone, Debug, Default)]
pub(super) struct Timers([Option<Time>; 6]);

impl Timers {
    /// START: no effect on a running timer.
    pub(super) fn start(&mut self, timer: Timer, deadline: Time) {
        self.0[timer as usize].get_or_insert(deadline);
    }

    /// RESTART: set whether or not it runs.
    pub(super) fn restart(&mut self, timer: Timer, deadline: Time) {
        self.0[timer as usize] = Some(deadline);
    }

    pub(super) fn stop(&mut self, timer: Timer) {
        self.0[timer as usize] = None;
    }

    pub(super) fn stop_all(&mut self) {
        self.0 = [None; 6];
    }

    pub(super) fn deadline(&self, timer: Timer) -> Option<Time> {
        self.0[timer as usize]
    }

    pub(super) fn running(&self, timer: Timer) -> bool {
        self.deadline(timer).is_some()
    }

    /// The earliest deadline.
    pub(super) fn next(&self) -> Option<Time> {
        self.0.iter().flatten().min().copied()
    }

    /// Does one run that traffic has a bearing on?
    pub(super) fn traffic(&self) -> bool {
        ALL.into_iter().any(|t| t != Timer::Test && self.running(t))
    }

    /// The timer with the earliest deadline not after `now`; on a tie the first in the order of the enum, so that a
    /// coinciding expiry of the Keepalive Timer comes before its tick (RE-FB-09).
    pub(super) fn due(&self, now: Time) -> Option<Timer> {
        ALL.into_iter()
            .filter_map(|t| self.deadline(t).filter(|d| *d <= now).map(|d| (d, t)))
            .min_by_key(|(d, t)| (*d, *t as usize))
            .map(|(_, t)| t)
    }
}
