//! The counts of a record, and the slots that lead to it: what lets one thread close a descriptor, and the number come
//! back as something else, while others are at work on it.
//!
//! Stands alone, so that the model in `loom/` can try it in every order.

#[cfg(loom)]
use loom::sync::atomic::{AtomicPtr, AtomicU64, Ordering::*};
use std::ptr;
#[cfg(not(loom))]
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering::*};

/// One descriptor, in [`Refs::acquire`].
pub const FD: u64 = 1 << 32;
/// One thread at work on the record.
pub const PIN: u64 = 1;

/// Descriptors in the upper half, threads in the lower.
#[derive(Debug)]
pub struct Refs(AtomicU64);

impl Refs {
    /// None.
    pub fn new() -> Self {
        Refs(AtomicU64::new(0))
    }

    /// One descriptor, for a record that nobody refers to.
    pub fn begin(&self) {
        self.0.store(FD, Release);
    }

    /// Add a reference unless no descriptor is left.
    #[inline]
    pub fn acquire(&self, what: u64) -> bool {
        let mut refs = self.0.load(Relaxed);
        while refs >= FD {
            match self.0.compare_exchange_weak(refs, refs + what, SeqCst, Relaxed) {
                Ok(_) => return true,
                Err(now) => refs = now,
            }
        }
        false
    }

    /// Give a reference back; `true`: it was the last one.
    #[inline]
    pub fn release(&self, what: u64) -> bool {
        self.0.fetch_sub(what, SeqCst) == what
    }

    /// Is a descriptor left?
    pub fn is_open(&self) -> bool {
        self.0.load(SeqCst) >= FD
    }

    /// Threads at work on it.
    pub fn pins(&self) -> u64 {
        self.0.load(SeqCst) % FD
    }

    /// In a forked child: the threads of the parent do not exist.
    #[cfg_attr(loom, allow(dead_code))]
    pub fn forget_pins(&self) {
        self.0.fetch_and(!(FD - 1), SeqCst);
    }
}

/// A record that is never freed, only used again.
pub trait Record: 'static {
    /// Its counts.
    fn refs(&self) -> &Refs;
    /// Give a reference back, and see to the record if that was the last one.
    fn release(&'static self, what: u64);
}

/// The record behind a slot with a [`PIN`]. Until that is given back it is not used for another socket.
#[inline]
pub fn pin<T: Record>(slot: &AtomicPtr<T>) -> Option<&'static T> {
    loop {
        // SAFETY: records are never freed.
        let record = unsafe { slot.load(Acquire).as_ref::<'static>() }?;
        if record.refs().acquire(PIN) {
            if ptr::eq(slot.load(Acquire), record) {
                return Some(record);
            }
            record.release(PIN);
        } else if ptr::eq(slot.load(Acquire), record) {
            // Closed, and the closing thread has not cleared the slot yet.
            return None;
        }
    }
}

/// Put another record into a slot (or none, by null); the slot owns a descriptor reference. Was there one before?
pub fn replace<T: Record>(slot: &AtomicPtr<T>, new: *mut T) -> bool {
    // SAFETY: as in `pin`.
    let old = unsafe { slot.swap(new, AcqRel).as_ref::<'static>() };
    if let Some(old) = old {
        old.release(FD);
    }
    old.is_some()
}
