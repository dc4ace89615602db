//! Memory that is set aside for the time when the process gets no more, as limits (`setrlimit`) have it: Rust ends a process
//! that cannot have what it asks for, and alone the program would have gone on.

use super::kernel::kernel;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};

/// Octets, untouched until then: for the end of an engine, and for the sockets that are left.
pub const OCTETS: usize = 4 << 20;

static AT: AtomicUsize = AtomicUsize::new(0);
static SHORT: AtomicBool = AtomicBool::new(false);

/// An engine starts.
pub fn set_aside() {
    let (kind, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    if AT.load(Acquire) != 0 {
        return;
    }
    // SAFETY: a fresh mapping, at an address of the kernel's choice.
    let at = unsafe {
        kernel!(libc::SYS_mmap, 0usize, OCTETS, kind, flags | libc::MAP_NORESERVE, -1isize, 0usize)
    };
    if at != -1 && AT.compare_exchange(0, at as usize, AcqRel, Relaxed).is_err() {
        // SAFETY: made above, and known to nobody else.
        unsafe { kernel!(libc::SYS_munmap, at, OCTETS) };
    }
}

/// The address of what was set aside, if anything was; once there, it stays.
pub fn at() -> Option<usize> {
    Some(AT.load(Acquire)).filter(|at| *at != 0)
}

/// There was no memory.
pub(crate) fn note_short() {
    SHORT.store(true, Relaxed);
}

/// Has there been no memory once? Then the shim does nothing more.
pub fn is_short() -> bool {
    SHORT.load(Relaxed)
}
