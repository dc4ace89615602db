//! A few words that one thread at a time writes, under a lock of its own, and that any thread reads whole or not at all.

use crate::driver::cell::Meter;
use std::net::Ipv6Addr;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering::*, fence};

/// `version` is odd while a writer is at work.
#[derive(Debug)]
pub struct Words<const N: usize> {
    version: AtomicU64,
    words: [AtomicU64; N],
}

impl<const N: usize> Words<N> {
    /// All zero.
    pub fn new() -> Self {
        Words { version: AtomicU64::new(0), words: std::array::from_fn(|_| AtomicU64::new(0)) }
    }

    /// Loads alone. `None`: a writer is at work.
    #[inline(always)]
    pub fn read(&self) -> Option<[u64; N]> {
        let before = self.version.load(Acquire);
        let words = self.under_lock();
        fence(Acquire);
        (before.is_multiple_of(2) && self.version.load(Relaxed) == before).then_some(words)
    }

    /// Where nobody writes.
    #[inline(always)]
    pub fn under_lock(&self) -> [u64; N] {
        std::array::from_fn(|i| self.words[i].load(Relaxed))
    }

    /// Under the lock.
    pub fn write(&self, words: [u64; N]) {
        // A writer that a fork cut off has left it odd.
        let version = self.version.load(Relaxed) & !1;
        self.version.store(version + 1, Relaxed);
        fence(Release);
        for (word, value) in self.words.iter().zip(words) {
            word.store(value, Relaxed);
        }
        self.version.store(version + 2, Release);
    }
}

/// An address in two words.
#[inline(always)]
pub fn split(addr: &Ipv6Addr) -> [u64; 2] {
    let bits = addr.to_bits();
    [(bits >> 64) as u64, bits as u64]
}

/// See [`split`].
#[inline(always)]
pub fn join([high, low]: [u64; 2]) -> Ipv6Addr {
    Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low))
}

/// A meter in a word.
pub fn of_meter(meter: &'static Meter) -> u64 {
    ptr::from_ref(meter).expose_provenance() as u64
}

/// See [`of_meter`]; 0 is none.
#[inline(always)]
pub fn meter(word: u64) -> Option<&'static Meter> {
    // SAFETY: null or a meter, by the only writers of such words, and meters are never freed.
    unsafe { ptr::with_exposed_provenance::<Meter>(word as usize).as_ref() }
}
