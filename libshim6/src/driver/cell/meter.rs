//! The part of a [`Cell`](super::Cell) that is touched per datagram.
//!
//! Meters are never freed, only used again by a later cell, so that a socket call may look at one without keeping its
//! cell alive. The worst that a late look can do is to count a datagram for another cell.

use crate::time::Time;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering::*};

/// Reasons why a datagram needs more than being counted.
pub mod attention {
    /// Locators other than the ULIDs are in use, or datagrams are held back.
    pub const DETOUR: u32 = 1;
    /// Some flows have instances of their own.
    pub const DIVIDED: u32 = 1 << 1;
    /// The engine wants to be woken by the next datagram sent.
    pub const ON_SENT: u32 = 1 << 2;
    /// The same for the next one received.
    pub const ON_RECEIVED: u32 = 1 << 3;
    /// The engine wants to be woken after so many octets or datagrams.
    pub const VOLUME: u32 = 1 << 4;
    /// The engine wants to know the time of the next datagram sent.
    pub const TIME_SENT: u32 = 1 << 5;
    /// A context serves the pair.
    pub const ASSOCIATED: u32 = 1 << 6;
    /// Copies are kept of what is sent ([`Resend`](super::super::resend::Resend)).
    pub const KEEP: u32 = 1 << 7;
    /// Sending is more than a plain call that is counted.
    pub const BEFORE_SENDING: u32 = DETOUR | DIVIDED | KEEP;
    /// What sending has to look at afterwards.
    pub const SENDING: u32 = ON_SENT | VOLUME | TIME_SENT;
    /// What receiving has to look at afterwards.
    pub const RECEIVING: u32 = DIVIDED | ON_RECEIVED | VOLUME;
}

/// Counters of one cell. Sender and receiver write to lines of their own.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Meter {
    attention: AtomicU32,
    pub(super) sent: AtomicU64,
    pub(super) first_unanswered_sent: AtomicU64,
    pub(super) received: Line<AtomicU64>,
    pub(super) first_unreplied_received: AtomicU64,
    next_free: AtomicPtr<Meter>,
}

/// Begins a cache line.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Line<T>(pub(super) T);

static FREE: AtomicPtr<Meter> = AtomicPtr::new(ptr::null_mut());

impl Meter {
    /// All zero, and without anything to look at.
    pub(in super::super) fn take() -> &'static Meter {
        // The list is taken as a whole, so that nobody meets a meter that came back in between. In a forked child it may
        // be lost, with the few meters on it.
        // SAFETY: meters are never freed.
        let Some(meter) = (unsafe { FREE.swap(ptr::null_mut(), AcqRel).as_ref::<'static>() }) else {
            return Box::leak(Box::new(Meter::new()));
        };
        let rest = meter.next_free.swap(ptr::null_mut(), AcqRel);
        // SAFETY: as above.
        let links = std::iter::successors(unsafe { rest.as_ref() }, |m| unsafe {
            m.next_free.load(Acquire).as_ref()
        });
        if let Some(last) = links.last() {
            splice(rest, last);
        }
        meter
    }

    fn new() -> Self {
        Meter {
            attention: AtomicU32::new(0),
            sent: AtomicU64::new(0),
            first_unanswered_sent: AtomicU64::new(0),
            received: Line(AtomicU64::new(0)),
            first_unreplied_received: AtomicU64::new(0),
            next_free: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// The cell is gone.
    pub(super) fn give_back(&'static self) {
        self.attention.store(0, SeqCst);
        let counters =
            [&self.sent, &self.first_unanswered_sent, &self.received.0, &self.first_unreplied_received];
        counters.into_iter().for_each(|counter| counter.store(0, SeqCst));
        splice(ptr::from_ref(self).cast_mut(), self);
    }

    /// Application thread: is any of `bits` set? One load.
    #[inline(always)]
    pub fn needs(&self, bits: u32) -> bool {
        self.attention.load(Relaxed) & bits != 0
    }

    pub(in super::super) fn set(&self, bits: u32, on: bool) {
        if on {
            self.attention.fetch_or(bits, SeqCst);
        } else {
            self.attention.fetch_and(!bits, SeqCst);
        }
    }

    /// Read and clear; the usual case, a clear one, costs a load.
    pub(super) fn take_bit(&self, bit: u32) -> bool {
        self.needs(bit) && self.attention.fetch_and(!bit, SeqCst) & bit != 0
    }

    /// Application thread: datagrams were sent. `now` is called only where a time is needed. `true`: more is to be done
    /// ([`Cell::attend_sent`](super::Cell::attend_sent)).
    #[inline(always)]
    #[must_use]
    pub fn note_sent(&self, datagrams: u64, now: impl FnOnce() -> Time) -> bool {
        if self.first_unanswered_sent.load(Relaxed) == 0 {
            self.first_unanswered_sent.store(now().0.max(1), Relaxed);
        }
        if self.first_unreplied_received.load(Relaxed) != 0 {
            self.first_unreplied_received.store(0, Relaxed);
        }
        // Counted first, then looked: either the engine, which asks first and then samples, sees the count, or we see that
        // it asks.
        self.sent.fetch_add(datagrams, SeqCst);
        self.needs(attention::SENDING)
    }

    /// Application thread: datagrams were received; as [`Meter::note_sent`].
    #[inline(always)]
    #[must_use]
    pub fn note_received(&self, datagrams: u64, now: impl FnOnce() -> Time) -> bool {
        if self.first_unreplied_received.load(Relaxed) == 0 {
            self.first_unreplied_received.store(now().0.max(1), Relaxed);
        }
        if self.first_unanswered_sent.load(Relaxed) != 0 {
            self.first_unanswered_sent.store(0, Relaxed);
        }
        self.received.0.fetch_add(datagrams, SeqCst);
        self.needs(attention::RECEIVING)
    }
}

/// Put a chain of meters before the free ones.
fn splice(first: *mut Meter, last: &Meter) {
    let mut head = FREE.load(Acquire);
    loop {
        last.next_free.store(head, Release);
        match FREE.compare_exchange_weak(head, first, AcqRel, Acquire) {
            Ok(_) => return,
            Err(now) => head = now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meters_are_used_again_and_by_one_cell_only() {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                std::thread::spawn(|| {
                    for _ in 0..2000 {
                        let (a, b) = (Meter::take(), Meter::take());
                        assert_eq!((a.sent.load(SeqCst), b.sent.load(SeqCst)), (0, 0));
                        assert!(!a.note_sent(1, || Time(1)) && !b.note_sent(1, || Time(1)));
                        assert_eq!((a.sent.load(SeqCst), b.sent.load(SeqCst)), (1, 1));
                        a.give_back();
                        b.give_back();
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|t| t.join().unwrap());
        let mut free = 0;
        // SAFETY: meters are never freed.
        let mut next = unsafe { FREE.load(Acquire).as_ref() };
        while let Some(meter) = next {
            free += 1;
            // SAFETY: as above.
            next = unsafe { meter.next_free.load(Acquire).as_ref() };
        }
        assert!(free < 4000, "{free}");
    }
}
