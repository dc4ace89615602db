//! Closing and duplicating descriptors. The engine's own ones stay open whatever a close loop says.

use super::super::guard::{self, errno, set_errno, slow};
use super::super::{Bypass, detach, real, state, table};
use super::engine;
use crate::driver::is_own_fd;
use libc::{c_int, c_uint, c_void};

/// Before a descriptor is closed or replaced. `Err`: it is the engine's own and must stay.
pub(super) fn before_close(fd: c_int) -> Result<(), Bypass> {
    if table::peek(fd).is_some() {
        if table::is_ours() {
            let forgotten = slow(|| {
                // The engine thread works on descriptors by number under this lock.
                let _stable = detach::descriptors_are_stable();
                if let Some(engine) = engine() {
                    engine.backend.socket_closing(fd);
                }
                table::forget(fd)
            });
            match forgotten {
                // A context that the socket had for itself ends with it (API-FK-13).
                Some(_) => drop(slow(state::sweep)),
                None => drop(table::forget(fd)),
            }
        }
        return Ok(());
    }
    match is_own_fd(fd) && !guard::inside() && table::is_ours() {
        true => Err(Bypass),
        false => Ok(()),
    }
}

fn bad_descriptor() -> c_int {
    set_errno(libc::EBADF);
    -1
}

/// `close(2)`. Makes the call itself.
///
/// # Safety
/// As the libc function.
#[inline]
pub unsafe fn close(fd: c_int) -> c_int {
    if before_close(fd).is_err() {
        return bad_descriptor();
    }
    // SAFETY: the application's argument.
    unsafe { real::close(fd) }
}

/// `fclose(3)`. Makes the call itself.
///
/// # Safety
/// As the libc function.
pub unsafe fn fclose(file: *mut libc::FILE) -> c_int {
    if !file.is_null() {
        let saved = errno();
        // SAFETY: the application's argument; -1 for a stream without descriptor.
        let fd = unsafe { libc::fileno(file) };
        set_errno(saved);
        if fd >= 0 && table::peek(fd).is_some() && table::is_ours() {
            table::forget(fd);
        }
    }
    // SAFETY: the application's argument.
    unsafe { real::fclose(file) }
}

/// `close_range(2)`, which steps over the engine's own descriptors. Makes the call itself.
///
/// # Safety
/// As the libc function.
pub unsafe fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
    /// CLOSE_RANGE_CLOEXEC of <linux/close_range.h>.
    const CLOEXEC: c_int = 4;
    if flags & CLOEXEC != 0 || first > last || !table::is_ours() {
        // SAFETY: plain integers.
        return unsafe { real::close_range(first, last, flags) };
    }
    let inside = |fd: c_int| fd as c_uint >= first && fd as c_uint <= last;
    for fd in table::tracked().filter(|fd| inside(*fd)) {
        let _ = before_close(fd);
    }
    let mut own = own_descriptors();
    own.retain(|fd| inside(*fd));
    let mut from = first;
    let mut result = 0;
    for fd in own.iter().map(|fd| *fd as c_uint) {
        if fd > from {
            // SAFETY: plain integers.
            result = unsafe { real::close_range(from, fd - 1, flags) };
        }
        from = fd + 1;
    }
    match from <= last && result == 0 {
        // SAFETY: plain integers.
        true => unsafe { real::close_range(from, last, flags) },
        false => result,
    }
}

/// `closefrom(3)`, by way of [`close_range`]. Makes the call itself.
///
/// # Safety
/// As the libc function.
pub unsafe fn closefrom(low: c_int) {
    let saved = errno();
    // SAFETY: plain integers.
    if unsafe { close_range(low.max(0) as c_uint, c_uint::MAX, 0) } != 0 {
        // A kernel without close_range.
        // SAFETY: a plain integer.
        unsafe { real::closefrom(low) };
    }
    set_errno(saved);
}

/// The engine's descriptors in ascending order.
fn own_descriptors() -> Vec<c_int> {
    // They lie not above 4096 (`driver::sys`).
    (0..=4096).filter(|fd| is_own_fd(*fd)).collect()
}

/// `dup(2)`. Makes the call itself.
///
/// # Safety
/// As the libc function.
#[inline]
pub unsafe fn dup(fd: c_int) -> c_int {
    // SAFETY: the application's argument.
    let new = unsafe { real::dup(fd) };
    duplicated(fd, new);
    new
}

fn duplicated(old: c_int, new: c_int) {
    // Most duplicates are of untracked descriptors into untracked numbers.
    if new >= 0 && (table::peek(old).is_some() || table::peek(new).is_some()) && table::is_ours() {
        table::duplicate(old, new);
    }
}

/// `dup2(2)`. Makes the call itself.
///
/// # Safety
/// As the libc function.
#[inline]
pub unsafe fn dup2(old: c_int, new: c_int) -> c_int {
    if table::peek(new).is_none() && before_close(new).is_err() {
        return bad_descriptor();
    }
    // SAFETY: the application's arguments.
    let r = unsafe { real::dup2(old, new) };
    duplicated(old, r);
    r
}

/// `dup3(2)`. Makes the call itself.
///
/// # Safety
/// As the libc function.
#[inline]
pub unsafe fn dup3(old: c_int, new: c_int, flags: c_int) -> c_int {
    if table::peek(new).is_none() && before_close(new).is_err() {
        return bad_descriptor();
    }
    // SAFETY: the application's arguments.
    let r = unsafe { real::dup3(old, new, flags) };
    duplicated(old, r);
    r
}

/// `fcntl(2)`. Makes the call itself.
///
/// # Safety
/// As the libc function.
#[inline]
pub unsafe fn fcntl(fd: c_int, cmd: c_int, arg: *mut c_void) -> c_int {
    // SAFETY: the application's arguments.
    let r = unsafe { real::fcntl(fd, cmd, arg) };
    if cmd == libc::F_DUPFD || cmd == libc::F_DUPFD_CLOEXEC {
        duplicated(fd, r);
    }
    r
}
