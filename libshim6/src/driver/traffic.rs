//! From the counters of a cell to what the engine is told: which direction, since when, how much (S6-E-11).

use super::cell::{Cell, Sample};
use super::follow::Applied;
use crate::addr::FlowId;
use crate::engine::Direction;
use crate::time::Time;
use std::os::fd::RawFd;
use std::sync::Arc;

/// A cell as the engine thread follows it.
#[derive(Debug)]
pub struct Tracked {
    /// The cell.
    pub cell: Arc<Cell>,
    /// A flow of the pair, once one is known.
    pub flow: Option<FlowId>,
    /// Descriptors with a readiness watch for it.
    pub watched: Vec<RawFd>,
    /// Settings that the engine has.
    pub applied: Applied,
    /// What was reported so far, and when.
    seen: Sample,
    at: Time,
}

/// One call of `Engine::payload`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Direction.
    pub direction: Direction,
    /// When the first of these datagrams passed.
    pub at: Time,
    /// Datagrams.
    pub packets: u64,
    /// Octets.
    pub bytes: u64,
}

impl Tracked {
    /// Follow a cell.
    pub fn new(cell: Arc<Cell>, now: Time) -> Self {
        Tracked {
            cell,
            flow: None,
            watched: Vec::new(),
            applied: Applied::default(),
            seen: Sample::default(),
            at: now,
        }
    }

    /// What has passed since the last call, in order.
    pub fn sample(&mut self, now: Time) -> impl Iterator<Item = Report> + use<> {
        let new = self.cell.sample();
        let reports = reports(&self.seen, self.at, &new, now);
        (self.seen, self.at) = (new, now);
        reports.into_iter().flatten()
    }

    /// When it was looked at last.
    pub fn sampled(&self) -> Time {
        self.at
    }

    /// Count a datagram that the engine thread itself received for the cell and the engine knows of.
    pub fn note_delivered(&mut self, bytes: usize, now: Time) {
        let _ = self.cell.note_received(bytes, || now);
        self.seen.received += 1;
        self.seen.bytes += bytes as u64;
    }
}

/// The last datagram of a cell decides: either something was sent that nothing came after, or the reverse, and the
/// cell tells since when. Everything of the other direction came before. Times lie between the last sample and now:
/// an older mark belongs to datagrams that were reported already.
fn reports(seen: &Sample, last: Time, new: &Sample, now: Time) -> [Option<Report>; 2] {
    let sent = new.sent.wrapping_sub(seen.sent);
    let received = new.received.wrapping_sub(seen.received);
    let mut bytes = new.bytes.wrapping_sub(seen.bytes);
    let (unanswered, unreplied) = (new.first_unanswered_sent, new.first_unreplied_received);
    // Both or none: two threads were between the two stores. Of both, the later one is the last.
    let sent_last = unanswered > unreplied;
    let mark = if sent_last { unanswered } else { unreplied };
    let at = if mark == Time::ZERO { now } else { mark.max(last).min(now) };
    let mut report = |direction, packets| {
        (packets > 0).then(|| Report { direction, at, packets, bytes: std::mem::take(&mut bytes) })
    };
    if sent_last {
        [report(Direction::Received, received), report(Direction::Sent, sent)]
    } else {
        [report(Direction::Sent, sent), report(Direction::Received, received)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::UlidPair;
    use proptest::prelude::*;

    fn tracked() -> Tracked {
        let ulids = UlidPair { local: [1; 16].into(), peer: [2; 16].into() };
        Tracked::new(Arc::new(Cell::new(ulids)), Time(1))
    }

    fn at(t: &mut Tracked, now: u64) -> Vec<(Direction, u64, u64, u64)> {
        t.sample(Time(now)).map(|r| (r.direction, r.at.0, r.packets, r.bytes)).collect()
    }

    fn send(t: &Tracked, now: u64) {
        let _ = t.cell.note_sent(10, || Time(now));
    }

    fn receive(t: &Tracked, now: u64) {
        let _ = t.cell.note_received(1, || Time(now));
    }

    use Direction::{Received, Sent};

    // S6-E-11: the first datagram without answer dates the Send Timer, also when it is told late.
    #[test]
    fn the_first_unanswered_datagram_gives_the_time() {
        let mut t = tracked();
        assert_eq!(at(&mut t, 5), []);
        send(&t, 10);
        send(&t, 20);
        assert_eq!(at(&mut t, 30), [(Sent, 10, 2, 20)]);
        receive(&t, 40);
        send(&t, 50);
        send(&t, 60);
        assert_eq!(at(&mut t, 70), [(Received, 50, 1, 21), (Sent, 50, 2, 0)]);
        receive(&t, 80);
        receive(&t, 90);
        assert_eq!(at(&mut t, 100), [(Received, 80, 2, 2)]);
        assert_eq!(at(&mut t, 110), []);
    }

    #[test]
    fn an_old_mark_does_not_date_new_datagrams() {
        let mut t = tracked();
        send(&t, 10);
        assert_eq!(at(&mut t, 20), [(Sent, 10, 1, 10)]);
        // A Keepalive stops the Send Timer here, unseen by the cell.
        send(&t, 90);
        assert_eq!(at(&mut t, 100), [(Sent, 20, 1, 10)], "not before the last sample");
    }

    #[test]
    fn what_the_engine_delivered_itself_is_not_told_again() {
        let mut t = tracked();
        t.note_delivered(100, Time(10));
        assert_eq!(at(&mut t, 20), []);
        receive(&t, 30); // the application reads it
        send(&t, 40);
        assert_eq!(at(&mut t, 50), [(Received, 40, 1, 11), (Sent, 40, 1, 0)]);
    }

    proptest! {
        // Nothing is lost, nothing told twice, and the last report is the direction of the last datagram.
        #[test]
        fn sums_and_order_hold(steps in prop::collection::vec(0u8..3, 0..200)) {
            let mut t = tracked();
            let (mut sent, mut received, mut told) = (0, 0, (0, 0));
            let (mut last, mut floor) = (None, Time(1));
            for (i, step) in steps.iter().enumerate() {
                let now = 10 + i as u64;
                match step {
                    0 => { send(&t, now); sent += 1; last = Some(Sent); }
                    1 => { receive(&t, now); received += 1; last = Some(Received); }
                    _ => {
                        let reports: Vec<_> = t.sample(Time(now)).collect();
                        for r in &reports {
                            prop_assert!(r.at >= floor && r.at <= Time(now));
                            match r.direction { Sent => told.0 += r.packets, Received => told.1 += r.packets }
                        }
                        if let Some(r) = reports.last() { prop_assert_eq!(Some(r.direction), last); }
                        floor = Time(now);
                        prop_assert_eq!(told, (sent, received));
                    }
                }
            }
        }
    }
}
