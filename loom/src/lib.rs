//! A model of the descriptor table: threads that use a number while others close it, duplicate it, and get the same
//! number for another socket. Loom runs each test in the orders that the memory model allows.
#![cfg(all(loom, test))]

#[path = "../../libshim6/src/socket/refs.rs"]
mod refs;

use loom::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::*};
use loom::thread;
use refs::{FD, PIN, Record, Refs};
use std::ptr;

/// Every order in which no more than three times a thread is interrupted before it has to wait.
fn model(f: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(f);
}

/// Stands for a socket's record: what it is about is the generation.
struct Socket {
    refs: Refs,
    generation: AtomicUsize,
}

impl Record for Socket {
    fn refs(&self) -> &Refs {
        &self.refs
    }

    fn release(&'static self, what: u64) {
        if self.refs.release(what) {
            // Cleared for another socket; `state::sweep` hears of it by a list, with the same order.
            self.generation.fetch_add(1, AcqRel);
        }
    }
}

fn socket() -> &'static Socket {
    let s = Box::leak(Box::new(Socket { refs: Refs::new(), generation: AtomicUsize::new(0) }));
    s.refs.begin();
    s
}

fn slot(socket: Option<&'static Socket>) -> &'static AtomicPtr<Socket> {
    Box::leak(Box::new(AtomicPtr::new(pointer(socket))))
}

fn pointer(socket: Option<&'static Socket>) -> *mut Socket {
    socket.map_or(ptr::null_mut(), |s| ptr::from_ref(s).cast_mut())
}

/// What a hook does: the socket must stay the same while it is pinned.
fn hook(slot: &AtomicPtr<Socket>) -> Option<usize> {
    let s = refs::pin(slot)?;
    let before = s.generation.load(Relaxed);
    assert!(s.refs.pins() >= 1);
    thread::yield_now();
    assert_eq!(s.generation.load(Relaxed), before, "recycled while pinned");
    s.release(PIN);
    Some(before)
}

#[test]
fn a_number_that_comes_back_at_once_as_the_same_record() {
    model(|| {
        let s = socket();
        let number = slot(Some(s));
        let users: Vec<_> = (0..2).map(|_| thread::spawn(move || hook(number))).collect();
        assert!(refs::replace(number, ptr::null_mut()));
        // The record is free once nobody is at work on it.
        if s.generation.load(Acquire) == 1 {
            s.refs.begin();
            assert!(!refs::replace(number, pointer(Some(s))));
        }
        users.into_iter().for_each(|u| assert!(u.join().unwrap().is_none_or(|generation| generation <= 1)));
        let open = s.refs.is_open();
        assert_eq!(open, !number.load(Acquire).is_null());
        assert_eq!(s.refs.pins(), 0);
        assert_eq!(s.generation.load(Acquire), 1, "freed once");
    });
}

#[test]
fn all_duplicates_are_closed_at_once() {
    model(|| {
        let s = socket();
        assert!(s.refs.acquire(FD));
        let numbers = [slot(Some(s)), slot(Some(s))];
        let user = thread::spawn(move || hook(numbers[0]));
        let closer = thread::spawn(move || refs::replace(numbers[1], ptr::null_mut()));
        assert!(refs::replace(numbers[0], ptr::null_mut()));
        assert!(closer.join().unwrap());
        assert!(user.join().unwrap().is_none_or(|generation| generation == 0));
        assert!(!s.refs.is_open() && s.refs.pins() == 0);
        assert_eq!(s.generation.load(Acquire), 1, "freed once");
        assert_eq!(hook(numbers[0]), None);
    });
}

#[test]
fn a_duplicate_is_made_while_the_original_is_closed() {
    model(|| {
        let s = socket();
        let (old, new) = (slot(Some(s)), slot(None));
        let duplicates = thread::spawn(move || {
            let Some(s) = refs::pin(old) else { return false };
            let made = s.refs.acquire(FD);
            if made {
                refs::replace(new, pointer(Some(s)));
            }
            s.release(PIN);
            made
        });
        let closes = thread::spawn(move || refs::replace(old, ptr::null_mut()));
        let made = duplicates.join().unwrap();
        assert!(closes.join().unwrap());
        assert_eq!(s.refs.is_open(), made);
        assert_eq!(s.generation.load(Acquire), usize::from(!made));
        assert_eq!(hook(new), made.then_some(0));
    });
}

#[test]
fn two_threads_close_one_number() {
    model(|| {
        let s = socket();
        let number = slot(Some(s));
        let other = thread::spawn(move || refs::replace(number, ptr::null_mut()));
        let here = refs::replace(number, ptr::null_mut());
        assert!(here ^ other.join().unwrap(), "one of them");
        assert_eq!(s.generation.load(Acquire), 1);
    });
}
