//! The border that no exported function can avoid: whose engine serves the call, and how a panic ends.
//!
//! In: a closure that is told whether this copy of the shim does the work. Out: its value, or -1 with EIO where it
//! panicked.
//!
//! One process, one engine. A program may be linked with `libshim6.so` (or use the crate) and be preloaded as well, or
//! have two copies of the library in it. Then the first in the lookup order of the process does the work: the preload
//! library if there is one, else the `libshim6.so` whose `shim6_*` names the process finds. Every other copy makes no
//! engine and tracks no descriptor; its functions call the libc names (which are hooks) or the `shim6_*` names instead.

use crate::socket::guard::set_errno;
use crate::socket::leave;
use crate::socket::real::{self, Lookup};
use libc::c_int;
use std::ffi::{c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, Ordering::*};

const UNKNOWN: u8 = 0;
const OURS: u8 = 1;
const THEIRS: u8 = 2;

static SERVED: AtomicU8 = AtomicU8::new(UNKNOWN);

/// Does this copy do the work?
#[inline]
pub(super) fn ours() -> bool {
    let ours = match SERVED.load(Acquire) {
        UNKNOWN => decide(),
        served => served == OURS,
    };
    if ours {
        leave::note_thread();
    }
    ours
}

/// Look at the process, once. Two threads that do so at the same time find the same.
#[cold]
fn decide() -> bool {
    let first = real::process_symbol(c"shim6_socket");
    let own = super::functions::shim6_socket as *const () as *const c_void;
    let how = if !real::process_symbol(c"shim6_preloaded").is_null() {
        Lookup::Hooks
    } else if !first.is_null() && first != own {
        Lookup::OtherCopy
    } else {
        Lookup::NextOrLinked
    };
    real::look_up(how);
    let ours = how == Lookup::NextOrLinked;
    SERVED.store(if ours { OURS } else { THEIRS }, Release);
    ours
}

/// What a function answers when it fails.
pub(super) trait Answer {
    /// -1 or null.
    const FAILED: Self;
}

impl Answer for *const c_char {
    const FAILED: Self = std::ptr::null();
}

impl Answer for c_int {
    const FAILED: Self = -1;
}

/// For functions that do not wait. A panic ends here.
pub(super) fn short<T: Answer>(f: impl FnOnce(bool) -> T) -> T {
    catch_unwind(AssertUnwindSafe(|| f(ours()))).unwrap_or_else(|panic| {
        // Dropping a payload may panic again; it is a few octets, once.
        std::mem::forget(panic);
        set_errno(libc::EIO);
        T::FAILED
    })
}

/// For functions that may wait, where a thread may be cancelled: that unwinds through these frames, and nothing in Rust
/// can catch a panic and let that pass. What may panic runs in `socket::guard::slow`, which catches; past that, a panic
/// ends the process at the `extern "C"` function and does not reach the program's frames either.
#[inline]
pub(super) fn waiting<T>(f: impl FnOnce(bool) -> T) -> T {
    f(ours())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::guard::errno;

    #[test]
    fn a_panic_is_an_error() {
        assert_eq!(short(|_| 7), 7);
        assert_eq!(short::<c_int>(|_| std::panic::resume_unwind(Box::new(()))), -1);
        assert_eq!(errno(), libc::EIO);
    }
}
