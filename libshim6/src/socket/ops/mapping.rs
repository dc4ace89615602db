//! Mapped memory that changes: what is known of it has to be asked anew ([`super::super::memory`]).

use super::super::{memory, real};
use libc::{c_int, c_void};

/// `munmap(2)`. Makes the call itself.
///
/// # Safety
/// As the libc function.
#[inline]
pub unsafe fn munmap(addr: *mut c_void, len: usize) -> c_int {
    // SAFETY: the application's arguments.
    let r = unsafe { real::munmap(addr, len) };
    memory::forget(addr as usize, len);
    r
}

/// `mprotect(2)`. Makes the call itself.
///
/// # Safety
/// As the libc function.
#[inline]
pub unsafe fn mprotect(addr: *mut c_void, len: usize, protection: c_int) -> c_int {
    // SAFETY: the application's arguments.
    let r = unsafe { real::mprotect(addr, len, protection) };
    memory::forget(addr as usize, len);
    r
}

/// `mremap(2)`. Makes the call itself.
///
/// # Safety
/// As the libc function.
#[inline]
pub unsafe fn mremap(
    addr: *mut c_void,
    old: usize,
    new: usize,
    flags: c_int,
    place: *mut c_void,
) -> *mut c_void {
    // SAFETY: the application's arguments.
    let r = unsafe { real::mremap(addr, old, new, flags, place) };
    memory::forget(addr as usize, old);
    if flags & libc::MREMAP_FIXED != 0 {
        memory::forget(place as usize, new);
    }
    r
}

/// `shmdt(2)`. Makes the call itself.
///
/// # Safety
/// As the libc function.
pub unsafe fn shmdt(addr: *const c_void) -> c_int {
    // SAFETY: the application's argument.
    let r = unsafe { real::shmdt(addr) };
    // How long the segment was is gone with it.
    memory::forget(addr as usize, usize::MAX);
    r
}
