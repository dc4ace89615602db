//! Where locks, allocation and calls into the driver are allowed, and how panics end.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

thread_local! {
    // `const` and without destructor: no lazy initialisation, no registration at thread exit.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
    static BEFORE_FORK: Cell<bool> = const { Cell::new(false) };
}

const PTHREAD_CANCEL_DISABLE: libc::c_int = 1;

unsafe extern "C" {
    fn pthread_setcancelstate(state: libc::c_int, old: *mut libc::c_int) -> libc::c_int;
}

/// Is this thread inside [`slow`] (or the engine's own)? Then a hook was reached from our own code, or from a signal
/// handler that interrupted it, and must not come in again.
#[inline]
pub fn inside() -> bool {
    INSIDE.get()
}

/// The calling thread belongs to the shim: its calls never become shim sockets.
pub fn mark_own_thread() {
    INSIDE.set(true);
}

/// `errno` of this thread.
#[inline]
pub fn errno() -> libc::c_int {
    // SAFETY: errno is thread-local and always readable.
    unsafe { *libc::__errno_location() }
}

/// Set `errno` of this thread.
#[inline]
pub fn set_errno(value: libc::c_int) {
    // SAFETY: errno is thread-local and always writable.
    unsafe { *libc::__errno_location() = value }
}

/// Run `f`, a short piece of code that a hook called by a signal handler must not enter again.
#[inline]
pub fn masked<T>(f: impl FnOnce() -> T) -> T {
    let before = INSIDE.replace(true);
    let result = f();
    INSIDE.set(before);
    result
}

/// As [`slow`], in a thread that [`mask_fork`] has masked: `None` if it was inside before, or if `f` panicked.
pub(super) fn quietly<T>(f: impl FnOnce() -> T) -> Option<T> {
    if was_inside_before_fork() {
        return None;
    }
    let saved = errno();
    let result = catch_unwind(AssertUnwindSafe(f));
    set_errno(saved);
    result.map_err(std::mem::forget).ok()
}

/// The thread is about to fork: until [`unmask_fork`] its hooks bypass the shim, whose locks are in other hands.
pub(super) fn mask_fork() {
    BEFORE_FORK.set(INSIDE.replace(true));
}

/// The fork is done, in the parent or the child.
pub(super) fn unmask_fork() {
    INSIDE.set(BEFORE_FORK.get());
}

/// Had the thread that is forking been inside the shim already?
pub fn was_inside_before_fork() -> bool {
    BEFORE_FORK.get()
}

static PANICS_ARE_OURS: AtomicBool = AtomicBool::new(false);

/// This copy of the standard library serves the shim alone (in the preload library): what a panic has to say goes to the
/// log, not to the program's standard error, whose number may be something else by now.
pub fn own_panics() {
    PANICS_ARE_OURS.store(true, SeqCst);
}

/// After [`own_panics`], once: see there. Inside [`slow`].
pub(super) fn redirect_panics() {
    if PANICS_ARE_OURS.swap(false, SeqCst) {
        set_hook(Box::new(|info| tracing::error!("{}", info.to_string().replace('\n', " "))));
    }
}

/// Run `f`, which may lock, allocate and call the driver. `None` if this thread is inside already, or if `f`
/// panicked. `errno` is kept; the thread is not cancelled within.
pub fn slow<T>(f: impl FnOnce() -> T) -> Option<T> {
    if INSIDE.replace(true) {
        return None;
    }
    let saved = errno();
    let mut cancel = 0;
    // SAFETY: `cancel` outlives the call.
    unsafe { pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &raw mut cancel) };
    let result = catch_unwind(AssertUnwindSafe(f));
    let mut ignored = 0;
    // SAFETY: as above.
    unsafe { pthread_setcancelstate(cancel, &raw mut ignored) };
    set_errno(saved);
    INSIDE.set(false);
    match result {
        Ok(value) => Some(value),
        Err(panic) => {
            // Dropping a payload may panic again; it is a few octets, once.
            std::mem::forget(panic);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_keeps_errno_refuses_nesting_and_catches_panics() {
        set_errno(7);
        assert_eq!(
            slow(|| {
                set_errno(9);
                assert!(inside());
                slow(|| 1)
            }),
            Some(None)
        );
        assert_eq!(errno(), 7);
        assert!(!inside());
        assert_eq!(slow(|| -> i32 { std::panic::resume_unwind(Box::new(())) }), None);
        assert!(!inside());
        assert_eq!(slow(|| 2), Some(2));
    }
}
