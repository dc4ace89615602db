//! Datagrams of the last moments before a failure was found, sent again on the new pair: on request only, because the peer's
//! program sees those twice that had arrived.
//!
//! Without a request only those are kept that the kernel refused to send, for want of a path: they go out, for the first time,
//! when another pair takes over.
//!
//! In come copies of what application threads hand to the kernel ([`Resend::keep`]), bounded by number, age and octets. Out
//! go, when a failure has moved the context to another pair, all that are not too old, once, a few per millisecond: as many
//! as fit the ring in one burst would overflow the receive buffer of the peer's program. Without the request nothing is copied,
//! and a datagram costs one load.

use super::cell::{CellKey, Forward, Marking, Meter, attention};
use super::clock;
use super::run::Runner;
use super::shared::Counters;
use crate::addr::ContextTag;
use crate::engine::ContextInfo;
use crate::event::SwitchCause;
use crate::time::Time;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// Most datagrams that may be asked for.
pub const MAX_DATAGRAMS: u32 = 1024;
/// Most octets of copies per cell, whatever was asked for.
const MAX_OCTETS: usize = 4 << 20;

/// Most datagrams that were refused, and how long each waits for another pair.
const MAX_REFUSED: usize = 64;
const REFUSED_AGE: Duration = Duration::from_secs(1);

/// So many go out again at a time, this far apart: a fraction of what the smallest usual receive buffer holds (212,992 octets, of
/// which a datagram of 1200 octets takes 2304), and the answers of the peer's program come on top.
const BURST: usize = 16;
const BETWEEN_BURSTS: Duration = Duration::from_millis(1);

/// What is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The latest datagrams, at most so many.
    pub datagrams: u32,
    /// None older than this.
    pub age: Duration,
}

/// The copies of a cell.
#[derive(Debug)]
pub struct Resend {
    /// Of the cell: [`attention::KEEP`] says that copies are kept.
    meter: &'static Meter,
    /// The configuration asks for it: for every socket.
    all: AtomicBool,
    /// Something was refused.
    waiting: AtomicBool,
    ring: Mutex<Ring>,
}

#[derive(Debug, Default)]
struct Ring {
    limits: Option<Limits>,
    kept: VecDeque<Kept>,
    octets: usize,
    /// When they were last taken out.
    taken: Time,
    refused: VecDeque<Kept>,
}

/// What a socket sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upper {
    /// The Next Header value of the packet.
    pub protocol: u8,
    /// What the socket wants of the packet around it.
    pub marking: Marking,
    /// From the upper-layer header on, with the checksum over the ULIDs.
    pub packet: Vec<u8>,
}

/// A copy.
#[derive(Debug)]
pub(crate) struct Kept {
    at: Time,
    pub(crate) upper: Upper,
}

impl Ring {
    fn trim(&mut self, now: Time) {
        let limits = self.limits.unwrap_or(Limits { datagrams: 0, age: Duration::ZERO });
        while let Some(first) = self.kept.front() {
            let fits = self.kept.len() <= limits.datagrams as usize && self.octets <= MAX_OCTETS;
            if fits && now.since(first.at) <= limits.age {
                break;
            }
            self.octets -= first.upper.packet.len();
            self.kept.pop_front();
        }
    }
}

impl Resend {
    pub(super) fn new(meter: &'static Meter) -> Self {
        Resend { meter, all: AtomicBool::new(false), waiting: AtomicBool::new(false), ring: Mutex::default() }
    }

    /// Keep copies from now on, or no more; `all`: of every socket.
    pub fn set(&self, limits: Option<Limits>, all: bool) {
        let mut ring = self.ring.lock();
        ring.limits = limits.filter(|l| l.datagrams > 0);
        self.meter.set(attention::KEEP, ring.limits.is_some());
        self.all.store(all && ring.limits.is_some(), Relaxed);
        if ring.limits.is_none() {
            (ring.kept, ring.octets) = (VecDeque::new(), 0);
        }
    }

    /// A socket asks for it.
    pub fn ask(&self, limits: Limits) {
        self.set(Some(limits), self.all.load(Relaxed));
    }

    /// What was asked for.
    pub fn limits(&self) -> Option<Limits> {
        self.ring.lock().limits
    }

    /// As for another cell, for a socket that moves from there.
    pub fn follow(&self, other: &Resend) {
        self.set(other.limits(), other.all.load(Relaxed));
    }

    /// Application thread: are copies kept of a socket that has (`asked`) or has not asked for it? One load where not.
    #[inline]
    pub fn keeps(&self, asked: bool) -> bool {
        self.meter.needs(attention::KEEP) && (asked || self.all.load(Relaxed))
    }

    /// Application thread: an upper-layer packet was sent, on the pair that was in use at `began`. It comes back where the
    /// copies were sent again since: then it has to go by the new pair at once.
    pub fn keep(&self, began: Time, now: Time, upper: Upper) -> Option<Upper> {
        let mut ring = self.ring.lock();
        if ring.taken >= began {
            return Some(upper);
        }
        ring.octets += upper.packet.len();
        ring.kept.push_back(Kept { at: began, upper });
        ring.trim(now);
        None
    }

    /// Application thread: the kernel refused an upper-layer packet, which waits for another pair. It comes back where
    /// that is in use already, as `has_moved` tells.
    pub fn refuse(&self, now: Time, upper: Upper, has_moved: impl FnOnce() -> bool) -> Option<Upper> {
        let mut ring = self.ring.lock();
        if has_moved() {
            return Some(upper);
        }
        if ring.refused.len() >= MAX_REFUSED {
            ring.refused.pop_front();
        }
        ring.refused.push_back(Kept { at: now, upper });
        self.waiting.store(true, Relaxed);
        None
    }

    /// Engine thread: those that were refused of late, oldest first. Each is taken once.
    pub(crate) fn take_refused(&self, now: Time) -> VecDeque<Kept> {
        if !self.waiting.swap(false, Relaxed) {
            return VecDeque::new();
        }
        let mut refused = std::mem::take(&mut self.ring.lock().refused);
        refused.retain(|k| now.since(k.at) <= REFUSED_AGE);
        refused
    }

    /// Engine thread: all that are to be sent again, oldest first. Each is taken once.
    fn take(&self, now: Time) -> VecDeque<Kept> {
        let mut ring = self.ring.lock();
        ring.trim(now);
        ring.taken = now;
        ring.octets = 0;
        std::mem::take(&mut ring.kept)
    }
}

/// A switch that may have lost something.
pub(super) struct Moved {
    number: u64,
    failed: bool,
    tag: Option<ContextTag>,
}

impl Moved {
    /// The latest of a context.
    pub(super) fn of(info: &ContextInfo) -> Option<Moved> {
        let last = info.switches.last()?;
        let failed = matches!(last.cause, SwitchCause::Failure(_));
        Some(Moved { number: info.counters.pair_changes, failed, tag: info.peer_tag })
    }
}

/// Copies of a cell on their way out again.
pub(super) struct Again {
    key: CellKey,
    tag: ContextTag,
    left: VecDeque<Kept>,
    sent: usize,
    of: usize,
    next: Time,
}

impl Again {
    /// When the next ones are due.
    pub(super) fn next(&self) -> Time {
        self.next
    }
}

impl Runner {
    /// The forwarding state of a cell is that of its context: after a switch, what could not be sent goes out; after one
    /// that a failure made, what was sent just before goes out again.
    pub(super) fn send_again(&mut self, now: Time, key: CellKey, moved: Option<Moved>) {
        let Some(Moved { number, failed, tag: Some(tag) }) = moved else { return };
        let Some(t) = self.tracked.get_mut(&key) else { return };
        if std::mem::replace(&mut t.applied.switches, number) == number {
            return;
        }
        let cell = t.cell.clone();
        let refused = cell.resend.take_refused(now);
        if !refused.is_empty() {
            let late = self.send_kept(now, key, tag, &refused);
            Counters::add(&self.shared.counters.payload_late, late as u64);
            let of = refused.len();
            tracing::info!(ulids = %key.ulids, fii = key.fii, %tag, sent = late, of,
                "datagrams sent that the kernel had refused");
        }
        if failed && cell.resend.keeps(true) {
            // Not `now`, which is older than the forwarding state: who began in between took the pair that failed.
            let left = cell.resend.take(clock::now());
            if !left.is_empty() {
                let of = left.len();
                self.again.push(Again { key, tag, left, sent: 0, of, next: now });
                self.continue_again(now);
            }
        }
    }

    /// Send the next ones of all that are due.
    pub(super) fn continue_again(&mut self, now: Time) {
        let mut all = std::mem::take(&mut self.again);
        for again in all.iter_mut().filter(|a| a.next <= now) {
            let some = again.left.drain(..again.left.len().min(BURST)).collect();
            again.sent += self.send_kept(now, again.key, again.tag, &some);
            again.next = now + BETWEEN_BURSTS;
        }
        all.retain(|a| !self.is_sent_again(a));
        self.again = all;
    }

    /// Send all that is left at once: the engine ends.
    pub(super) fn end_again(&mut self) {
        for mut again in std::mem::take(&mut self.again) {
            again.sent +=
                self.send_kept(clock::now(), again.key, again.tag, &std::mem::take(&mut again.left));
            self.is_sent_again(&again);
        }
    }

    fn is_sent_again(&self, again: &Again) -> bool {
        let Again { key, tag, sent, of, .. } = again;
        if again.left.is_empty() {
            Counters::add(&self.shared.counters.payload_resent, *sent as u64);
            tracing::info!(ulids = %key.ulids, fii = key.fii, %tag, sent, of, "datagrams sent again");
        }
        again.left.is_empty()
    }

    /// Send by the pair in use. How many went out: what does not fit the buffer is lost as it would have been.
    fn send_kept(&mut self, now: Time, key: CellKey, tag: ContextTag, kept: &VecDeque<Kept>) -> usize {
        let forward = self.tracked.get(&key).and_then(|t| t.cell.forward());
        let pair = forward.map_or(key.ulids.as_locators(), |f| f.locators);
        let (ifindex, mtu) = (self.ifindex(pair), self.mtu(now, pair));
        let by = Forward::new(pair, ifindex, tag, mtu);
        let sender = &self.shared.sender;
        let sent = |k: &&Kept| {
            let Upper { protocol, marking, packet } = &k.upper;
            sender.send_payload(&Forward { marking: *marking, ..by }, mtu, *protocol, packet).is_ok()
        };
        kept.iter().filter(sent).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time(ms * 1_000_000)
    }

    fn limits(datagrams: u32, ms: u64) -> Option<Limits> {
        Some(Limits { datagrams, age: Duration::from_millis(ms) })
    }

    fn upper(octet: u8, octets: usize) -> Upper {
        Upper { protocol: 17, marking: Marking::default(), packet: vec![octet; octets] }
    }

    fn keep(r: &Resend, ms: u64, octet: u8) -> Option<Upper> {
        r.keep(at(ms), at(ms), upper(octet, 100))
    }

    fn taken(r: &Resend, ms: u64) -> Vec<u8> {
        r.take(at(ms)).iter().map(|k| k.upper.packet[0]).collect()
    }

    #[test]
    fn number_and_age_bound_what_is_kept() {
        let r = Resend::new(Meter::take());
        assert!(!r.keeps(true) && !r.keeps(false));
        r.set(limits(3, 50), false);
        assert!(r.keeps(true) && !r.keeps(false));
        for i in 0..10 {
            assert_eq!(keep(&r, 100 + u64::from(i), i), None);
        }
        assert_eq!(taken(&r, 110), [7, 8, 9]);
        assert_eq!(taken(&r, 111), [], "once only");
        for i in 0..3 {
            keep(&r, 200 + 30 * u64::from(i), i);
        }
        assert_eq!(taken(&r, 290), [2]);
        r.set(limits(1000, 1000), true);
        assert!(r.keeps(false));
        for i in 0..100 {
            r.keep(at(300), at(300), upper(i, 60_000));
        }
        let octets: usize = r.take(at(300)).iter().map(|k| k.upper.packet.len()).sum();
        assert!((MAX_OCTETS - 60_000..=MAX_OCTETS).contains(&octets), "{octets}");
        keep(&r, 400, 1);
        r.set(None, true);
        assert!(!r.keeps(true) && r.limits().is_none());
        assert_eq!(taken(&r, 401), []);
    }

    #[test]
    fn what_was_refused_waits_for_another_pair_and_not_for_ever() {
        let r = Resend::new(Meter::take());
        let refuse = |ms, octet, moved| r.refuse(at(ms), upper(octet, 100), || moved);
        let taken = |ms| r.take_refused(at(ms)).iter().map(|k| k.upper.packet[0]).collect::<Vec<_>>();
        assert_eq!(refuse(10, 1, false), None);
        assert_eq!(refuse(900, 2, false), None);
        assert_eq!(taken(1500), [2]);
        assert!(taken(1500).is_empty(), "once only");
        assert_eq!(refuse(1500, 3, true), Some(upper(3, 100)));
        for i in 0..100 {
            assert_eq!(refuse(2000, i, false), None);
        }
        assert_eq!(taken(2000), (100 - MAX_REFUSED as u8..100).collect::<Vec<_>>());
    }

    #[test]
    fn what_crosses_the_switch_comes_back() {
        let (r, new) = (Resend::new(Meter::take()), Resend::new(Meter::take()));
        r.set(limits(8, 50), false);
        keep(&r, 10, 1);
        assert_eq!(taken(&r, 20), [1]);
        assert_eq!(keep(&r, 19, 2), Some(upper(2, 100)), "its pair was chosen before");
        assert_eq!(keep(&r, 21, 3), None);
        new.follow(&r);
        assert_eq!(new.limits(), r.limits());
    }
}
