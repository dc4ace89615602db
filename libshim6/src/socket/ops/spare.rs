//! Memory that a call needs for a batch, kept from one call to the next, so that usually none allocates.

use std::ptr;
use std::sync::atomic::AtomicPtr;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Most messages of a batch whose memory is kept, about 72 KiB.
pub(super) const KEPT: usize = 128;

/// For some calls at a time; further ones, of other threads or of a signal handler, make their own.
pub(super) struct Spare<T>([AtomicPtr<T>; 4]);

impl<T: Default> Spare<T> {
    pub(super) const fn new() -> Self {
        Spare([const { AtomicPtr::new(ptr::null_mut()) }; 4])
    }

    /// That of an earlier call, with what it left there, or a new one.
    pub(super) fn take(&self) -> Box<T> {
        let taken = |slot: &AtomicPtr<T>| {
            let there = !slot.load(Relaxed).is_null();
            let p = if there { slot.swap(ptr::null_mut(), Acquire) } else { ptr::null_mut() };
            // SAFETY: made by `Box::into_raw` in `keep`, and taken out by nobody else.
            (!p.is_null()).then(|| unsafe { Box::from_raw(p) })
        };
        self.0.iter().find_map(taken).unwrap_or_default()
    }

    /// For a later call.
    pub(super) fn keep(&self, used: Box<T>) {
        let p = Box::into_raw(used);
        let put = |slot: &AtomicPtr<T>| slot.compare_exchange(ptr::null_mut(), p, Release, Relaxed).is_ok();
        if !self.0.iter().any(put) {
            // SAFETY: made above, and put nowhere.
            drop(unsafe { Box::from_raw(p) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_used_by_one_at_a_time() {
        static SPARE: Spare<Vec<u8>> = Spare::new();
        let mut a = SPARE.take();
        a.push(1);
        let b = SPARE.take();
        assert!(b.is_empty(), "`a` is in use");
        SPARE.keep(a);
        assert_eq!(*SPARE.take(), [1]);
        (0..9).for_each(|n| SPARE.keep(Box::new(vec![n])));
        let all: Vec<_> = (0..9).map(|_| SPARE.take().len()).collect();
        assert_eq!(all, [1, 1, 1, 1, 0, 0, 0, 0, 0]);
        drop(b);
    }
}
