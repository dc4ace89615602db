//! Small stacks: a signal handler may run on one of its own (sigaltstack) of two pages, of which the kernel's record of the
//! interrupted code takes most.

use super::backend::without_signals;
use super::guard;
use crate::driver::kernel::kernel;
use libc::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

/// Octets that are enough for everything that the shim does in a thread of the program.
const ENOUGH: usize = 64 << 10;
/// Octets of the stack that is used otherwise.
const OTHER: usize = 256 << 10;

/// Run `f`, which may need more stack than a signal handler has: then on another one. `None`: there is none to be had, or
/// `f` panicked.
pub fn with_room<T>(f: impl FnOnce() -> T) -> Option<T> {
    if cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) && is_small() {
        on_another(f)
    } else {
        Some(f())
    }
}

/// Does the thread run on an alternate signal stack, and near its end? One system call.
fn is_small() -> bool {
    // SAFETY: all zero is a valid value of this plain structure.
    let mut stack: libc::stack_t = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is valid for writes of the size it stands for; a null pointer changes nothing.
    let r = unsafe { kernel!(libc::SYS_sigaltstack, ptr::null::<c_void>(), &raw mut stack) };
    let here = (&raw const stack) as usize;
    r == 0
        && stack.ss_flags & libc::SS_ONSTACK != 0
        && here.checked_sub(stack.ss_sp as usize).is_some_and(|left| left < ENOUGH)
}

/// All signals are blocked meanwhile: to the kernel the signal stack is free, and the next handler would run over this one.
fn on_another<T, F: FnOnce() -> T>(f: F) -> Option<T> {
    let (kind, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a fresh mapping, at an address of the kernel's choice.
    let at = unsafe { kernel!(libc::SYS_mmap, 0usize, OTHER, kind, flags, -1isize, 0usize) };
    if at == -1 {
        return None;
    }
    let mut work = Work { f: Some(f), result: None };
    // SAFETY: the mapping is this call's alone, and its end is aligned as a stack has to be; `run` expects a `Work` of
    // these types, which outlives the call.
    without_signals(|| unsafe {
        call_on(at as usize + OTHER, run::<T, F>, (&raw mut work).cast());
    });
    // SAFETY: nobody has an address in it any more.
    unsafe { kernel!(libc::SYS_munmap, at, OTHER) };
    work.result
}

struct Work<T, F> {
    f: Option<F>,
    result: Option<T>,
}

unsafe extern "C" fn run<T, F: FnOnce() -> T>(work: *mut c_void) {
    // SAFETY: what `on_another` handed over.
    let work = unsafe { &mut *work.cast::<Work<T, F>>() };
    if let Some(f) = work.f.take() {
        debug_assert!(guard::inside());
        // Nothing unwinds past the end of this stack.
        work.result = catch_unwind(AssertUnwindSafe(f)).map_err(std::mem::forget).ok();
    }
}

/// Call `f` on the stack that ends at `top`.
///
/// # Safety
/// There is enough of it, nobody else uses it, and no signal handler runs meanwhile. `f` takes the argument, and does not unwind.
#[cfg(target_arch = "x86_64")]
unsafe fn call_on(top: usize, f: unsafe extern "C" fn(*mut c_void), argument: *mut c_void) {
    // SAFETY: by the contract above; r12 survives the call by the convention of this processor.
    unsafe {
        std::arch::asm!(
            "mov r12, rsp",
            "mov rsp, {top}",
            "call {f}",
            "mov rsp, r12",
            top = in(reg) top, f = in(reg) f, in("rdi") argument,
            out("r12") _, clobber_abi("C"),
        );
    }
}

/// As above.
#[cfg(target_arch = "aarch64")]
unsafe fn call_on(top: usize, f: unsafe extern "C" fn(*mut c_void), argument: *mut c_void) {
    // SAFETY: by the contract above; x20 survives the call by the convention of this processor.
    unsafe {
        std::arch::asm!(
            "mov x20, sp",
            "mov sp, {top}",
            "blr {f}",
            "mov sp, x20",
            top = in(reg) top, f = in(reg) f, in("x0") argument,
            out("x20") _, clobber_abi("C"),
        );
    }
}

/// Never called: see [`with_room`].
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe fn call_on(_: usize, f: unsafe extern "C" fn(*mut c_void), argument: *mut c_void) {
    // SAFETY: by the contract of the others.
    unsafe { f(argument) }
}
