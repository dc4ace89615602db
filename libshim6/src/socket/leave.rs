//! A program whose main thread calls `pthread_exit` ends when its last thread does. The engine's thread is one more
//! for libc, so somebody else has to see that the program's own are gone.

// The watcher is no part of the engine.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use super::{backend, guard, table};
use crate::driver::kernel::kernel;
use std::cell::Cell;
use std::ffi::c_void;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::time::Duration;

/// The main thread has left, and the process goes on.
static MAIN_LEFT: AtomicBool = AtomicBool::new(false);
static WATCHED: AtomicBool = AtomicBool::new(false);
/// The main thread has used the shim, so its end is noticed.
static MAIN_NOTED: AtomicBool = AtomicBool::new(false);
/// The key whose destructor is [`thread_ended`], plus one; 0: not made yet.
static KEY: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static NOTED: Cell<bool> = const { Cell::new(false) };
}

/// Have the end of the calling thread noticed. A program that is linked calls the `pthread_exit` of the C library, not a
/// hook; but that calls the destructors of thread-specific data, which `exit` does not.
#[inline]
pub fn note_thread() {
    if !NOTED.replace(true) {
        set_key();
    }
}

#[cold]
fn set_key() {
    if is_main() {
        MAIN_NOTED.store(true, SeqCst);
    }
    let mut known = KEY.load(SeqCst);
    if known == 0 {
        let mut key: libc::pthread_key_t = 0;
        // SAFETY: `key` outlives the call; the destructor takes any value.
        if unsafe { libc::pthread_key_create(&raw mut key, Some(thread_ended)) } != 0 {
            return;
        }
        known = u64::from(key) + 1;
        if let Err(first) = KEY.compare_exchange(0, known, SeqCst, SeqCst) {
            // SAFETY: made above, and known to nobody else.
            unsafe { libc::pthread_key_delete(key) };
            known = first;
        }
    }
    // SAFETY: a key that is never deleted; the destructor does not look at the value.
    unsafe { libc::pthread_setspecific((known - 1) as libc::pthread_key_t, (&raw const KEY).cast()) };
}

/// A thread that has used the shim ends. If it is not the main one, and that one never comes here, nobody tells of its
/// end: it has left already, or somebody has to look now and then.
unsafe extern "C" fn thread_ended(_: *mut c_void) {
    if is_main() {
        thread_exits();
    } else if backend::current().is_some() && !MAIN_NOTED.load(SeqCst) {
        guard::slow(watch);
    }
}

fn is_main() -> bool {
    // SAFETY: no memory involved.
    let tid = unsafe { kernel!(libc::SYS_gettid) };
    tid == libc::c_long::from(std::process::id() as i32)
}

/// The calling thread is about to end by `pthread_exit`.
pub fn thread_exits() {
    if is_main() {
        MAIN_LEFT.store(true, SeqCst);
        if backend::current().is_some() {
            guard::slow(watch);
        }
    }
}

/// The process is about to end by `exit`, and its own handlers have run: end the engine's thread, which gives back what
/// the C library has allocated for it. A thread that is busy for long is left to itself.
pub fn program_exits() {
    const LIMIT: Duration = Duration::from_millis(500);
    if table::is_ours()
        && let Some(engine) = backend::current()
    {
        guard::slow(|| engine.backend.end(LIMIT));
    }
}

/// The engine has been started. Inside `guard::slow` only.
pub(super) fn engine_started() {
    if MAIN_LEFT.load(SeqCst) {
        watch();
    }
}

/// In a forked child, whose main thread is the one that forked.
pub(super) fn after_fork() {
    MAIN_LEFT.store(false, SeqCst);
    WATCHED.store(false, SeqCst);
    MAIN_NOTED.store(NOTED.get(), SeqCst);
}

/// Wait in a thread of our own for the end of the program's.
fn watch() {
    if WATCHED.swap(true, SeqCst) {
        return;
    }
    let wait = || {
        guard::mark_own_thread();
        loop {
            let ended = main_has_ended();
            if ended && programs_threads() == Some(0) {
                break;
            }
            let step = if ended || MAIN_LEFT.load(SeqCst) { 20 } else { 500 };
            std::thread::sleep(Duration::from_millis(step));
        }
        // As libc does it when the last thread ends.
        // SAFETY: no other thread of the program exists.
        unsafe { libc::exit(0) }
    };
    // Where no thread can be made the program waits for somebody to end it.
    let _ = backend::without_signals(|| std::thread::Builder::new().name(backend::THREAD.into()).spawn(wait));
}

/// Is the main thread one that has left, and waits for the others?
fn main_has_ended() -> bool {
    let stat = fs::read_to_string(format!("/proc/self/task/{}/stat", std::process::id()));
    stat.is_ok_and(|stat| task(&stat).is_some_and(|(_, gone)| gone))
}

/// How many threads of the program live; `None` where `/proc` does not tell.
fn programs_threads() -> Option<usize> {
    let mut count = 0;
    for entry in fs::read_dir("/proc/self/task").ok()? {
        let stat = fs::read_to_string(entry.ok()?.path().join("stat")).unwrap_or_default();
        let Some((name, gone)) = task(&stat) else { continue };
        count += usize::from(name != backend::THREAD && !gone);
    }
    Some(count)
}

/// What a `stat` file says, "PID (NAME) STATE ...": the name, and whether the thread has ended.
fn task(stat: &str) -> Option<(&str, bool)> {
    let (front, back) = stat.rsplit_once(')')?;
    let (_, name) = front.split_once('(')?;
    Some((name, matches!(back.split_whitespace().next(), Some("Z" | "X") | None)))
}
