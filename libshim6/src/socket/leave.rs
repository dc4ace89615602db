//! A program whose main thread calls `pthread_exit` ends when its last thread does. The engine's thread is one more
//! for libc, so somebody else has to see that the program's own are gone.

// The watcher is no part of the engine.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use super::{backend, guard, table};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::time::Duration;

/// The main thread has left, and the process goes on.
static MAIN_LEFT: AtomicBool = AtomicBool::new(false);
static WATCHED: AtomicBool = AtomicBool::new(false);

/// The calling thread is about to end by `pthread_exit`.
pub fn thread_exits() {
    // SAFETY: no memory involved.
    let tid = unsafe { libc::syscall(libc::SYS_gettid) };
    if tid == libc::c_long::from(std::process::id() as i32) {
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
}

/// Wait in a thread of our own for the end of the program's.
fn watch() {
    if WATCHED.swap(true, SeqCst) {
        return;
    }
    let wait = || {
        guard::mark_own_thread();
        while programs_threads().is_none_or(|n| n > 0) {
            std::thread::sleep(Duration::from_millis(20));
        }
        // As libc does it when the last thread ends.
        // SAFETY: no other thread of the program exists.
        unsafe { libc::exit(0) }
    };
    // Where no thread can be made the program waits for somebody to end it.
    let _ = backend::without_signals(|| std::thread::Builder::new().name(backend::THREAD.into()).spawn(wait));
}

/// How many threads of the program live; `None` where `/proc` does not tell.
fn programs_threads() -> Option<usize> {
    let mut count = 0;
    for task in fs::read_dir("/proc/self/task").ok()? {
        let stat = fs::read_to_string(task.ok()?.path().join("stat")).unwrap_or_default();
        // PID (NAME) STATE ...
        let Some((front, back)) = stat.rsplit_once(')') else { continue };
        let ours = front.split_once('(').is_some_and(|(_, name)| name == backend::THREAD);
        let gone = matches!(back.split_whitespace().next(), Some("Z" | "X") | None);
        count += usize::from(!ours && !gone);
    }
    Some(count)
}
