//! How long a path that works leaves us without a sign of life: the gaps of its traffic.
//!
//! Traffic may come in bursts: the peer's program, its host, or a radio link hold packets and Keepalives back. A Send Timeout
//! below a second that is shorter than such gaps would take the path for dead at each. So the time from a packet of ours to
//! the next one of the peer is measured while the path works, and the timeout in force is longer than the longest of late.

use crate::time::Time;
use std::time::Duration;

/// The longest gap counts half after this time.
const HALF_LIFE: Duration = Duration::from_secs(30);
/// Nothing longer is a gap: beyond it no timeout is lengthened (`pace::CAREFUL_BELOW`).
const LONGEST: Duration = Duration::from_secs(1);

/// Of one context.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Gaps {
    longest: Duration,
    at: Time,
    /// The first packet that nothing of the peer has come after.
    since: Option<Time>,
    /// Of the last exploration by the Send Timer: from the packet that nothing came after to the first answer.
    suspected: Option<Duration>,
}

impl Gaps {
    /// Something was sent and nothing is waited for yet.
    pub(super) fn sent(&mut self, now: Time) {
        self.since.get_or_insert(now);
    }

    /// Something of the peer came.
    pub(super) fn heard(&mut self, now: Time) {
        if let Some(since) = self.since.take() {
            self.note(now, now.since(since));
        }
    }

    /// The path is under suspicion: whether this was a gap will be seen. When it began.
    pub(super) fn doubted(&mut self) -> Option<Time> {
        self.since.take()
    }

    /// The wait is over for another reason.
    pub(super) fn interrupted(&mut self) {
        self.since = None;
    }

    /// The exploration that followed is over; `began` is what [`Gaps::doubted`] told.
    pub(super) fn explored(&mut self, now: Time, began: Option<Time>) {
        self.suspected = began.map(|t| now.since(t));
    }

    /// There was nothing wrong with the path: it was a gap.
    pub(super) fn acquitted(&mut self, now: Time) {
        if let Some(gap) = self.suspected.take() {
            self.note(now, gap);
        }
    }

    fn note(&mut self, now: Time, gap: Duration) {
        if gap <= LONGEST && gap >= self.longest(now) {
            (self.longest, self.at) = (gap, now);
        }
    }

    fn longest(&self, now: Time) -> Duration {
        // Straight lines between the halvings: a power needs the mathematics library, which static programs would have to name.
        let age = now.since(self.at).as_secs_f64() / HALF_LIFE.as_secs_f64();
        let halvings = age.min(30.0) as u32;
        (self.longest / (1 << halvings)).mul_f64(1.0 - (age.min(30.0) - f64::from(halvings)) / 2.0)
    }

    /// No Send Timeout shorter than this: the longest gap, and a quarter of it.
    pub(super) fn floor(&self, now: Time) -> Duration {
        self.longest(now).mul_f64(1.25).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn at(n: u64) -> Time {
        Time(n * 1_000_000)
    }

    #[test]
    fn the_longest_gap_counts_and_fades() {
        let mut g = Gaps::default();
        assert_eq!(g.floor(at(5)), Duration::ZERO);
        g.sent(at(1000));
        g.sent(at(1030));
        g.heard(at(1040));
        g.heard(at(1500));
        assert_eq!(g.floor(at(1040)), ms(50));
        g.sent(at(1600));
        g.heard(at(1601));
        assert!(g.floor(at(1601)) > ms(49), "a shorter one changes nothing");
        assert_eq!(g.floor(at(31_040)), ms(25));
        g.sent(at(31_040));
        g.heard(at(31_120));
        assert_eq!(g.floor(at(31_120)), ms(100));
        g.sent(at(40_000));
        g.heard(at(42_000));
        assert!(g.floor(at(42_000)) < ms(100), "two seconds are no gap");
    }

    #[test]
    fn a_doubt_counts_once_the_path_is_acquitted() {
        let mut g = Gaps::default();
        g.sent(at(100));
        let began = g.doubted();
        g.heard(at(160));
        g.explored(at(180), began);
        assert_eq!(g.floor(at(180)), Duration::ZERO);
        g.acquitted(at(180));
        g.acquitted(at(190));
        assert_eq!(g.floor(at(180)), ms(100));
    }
}
