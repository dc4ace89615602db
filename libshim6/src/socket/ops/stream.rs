//! Calls that move data between a socket and something else without handing it to the program: `sendfile` and `splice`,
//! and the vectored calls with flags. While locators equal ULIDs they are the kernel's; afterwards what they take from
//! the other side goes out as one datagram, as the kernel makes it one.

use super::super::guard::slow;
use super::super::table::{self, Pinned};
use super::super::{Bypass, Outcome, real, sys};
use super::send::{self, transmit};
use super::way::{Out, Way, way};
use super::{active, recv};
use crate::driver::kernel::kernel;
use libc::{c_int, c_long, c_uint, c_void, iovec, off_t, size_t};

/// Data that one call takes, as much as the pipe inside the kernel's call holds.
const CHUNK: usize = 65_536;

/// `pwritev2(2)`; `pwritev64v2` is the same function.
///
/// # Safety
/// As the libc function.
#[inline]
pub unsafe fn pwritev2(
    fd: c_int,
    iov: *const iovec,
    n: c_int,
    offset: off_t,
    flags: c_int,
) -> Outcome<isize> {
    if offset != -1 || table::peek(fd).is_none() {
        return Err(Bypass);
    }
    // SAFETY: the application's arguments.
    unsafe { send::vectored(fd, iov, n, message_flags(flags), || real::pwritev2(fd, iov, n, offset, flags)) }
}

/// `preadv2(2)`; `preadv64v2` is the same function.
///
/// # Safety
/// As the libc function.
#[inline]
pub unsafe fn preadv2(fd: c_int, iov: *const iovec, n: c_int, offset: off_t, flags: c_int) -> Outcome<isize> {
    if offset != -1 {
        return Err(Bypass);
    }
    // SAFETY: the application's arguments.
    unsafe { recv::vectored(fd, iov, n, message_flags(flags), || real::preadv2(fd, iov, n, offset, flags)) }
}

/// What RWF_NOWAIT is to a socket.
fn message_flags(flags: c_int) -> c_int {
    if flags & libc::RWF_NOWAIT != 0 { libc::MSG_DONTWAIT } else { 0 }
}

/// `sendfile(2)`; `sendfile64` is the same function.
///
/// # Safety
/// As the libc function.
pub unsafe fn sendfile(fd: c_int, from: c_int, offset: *mut off_t, count: size_t) -> Outcome<isize> {
    let socket = active(fd).ok_or(Bypass)?;
    // SAFETY: the application's arguments.
    let call = || unsafe { real::sendfile(fd, from, offset, count) };
    if !is_ours(&socket, fd) {
        // SAFETY: no buffer is read but by the kernel.
        return unsafe { counted(&socket, fd, &call) };
    }
    if !offset.is_null() && !sys::can_write(offset, size_of::<off_t>()) {
        return Err(Bypass);
    }
    // The kernel takes nothing from a pipe by this call.
    if sys::is_pipe(from) {
        return Err(Bypass);
    }
    let take = |buffer: &mut [u8]| {
        // SAFETY: `buffer` is writable for its length; `offset` was looked at above.
        unsafe {
            match offset.is_null() {
                true => kernel!(libc::SYS_read, from, buffer.as_mut_ptr(), buffer.len()),
                false => kernel!(libc::SYS_pread64, from, buffer.as_mut_ptr(), buffer.len(), *offset),
            }
        }
    };
    let sent = carried(&socket, fd, count, 0, take);
    if let Ok(n) = sent
        && n > 0
        && !offset.is_null()
    {
        // SAFETY: as above.
        unsafe { *offset += n as off_t };
    }
    sent
}

/// `splice(2)`.
///
/// # Safety
/// As the libc function.
pub unsafe fn splice(
    from: c_int,
    from_offset: *mut off_t,
    fd: c_int,
    offset: *mut off_t,
    len: size_t,
    flags: c_uint,
) -> Outcome<isize> {
    // SAFETY: the application's arguments.
    let call = || unsafe { real::splice(from, from_offset, fd, offset, len, flags) };
    if table::peek(from).is_some() {
        // From a socket to a pipe.
        return recv::passed_on(from, call);
    }
    let socket = active(fd).ok_or(Bypass)?;
    if !from_offset.is_null() || !offset.is_null() {
        return Err(Bypass);
    }
    if !is_ours(&socket, fd) {
        // SAFETY: no buffer is read but by the kernel.
        return unsafe { counted(&socket, fd, &call) };
    }
    if sys::is_empty_pipe(from).ok_or(Bypass)? && flags & libc::SPLICE_F_NONBLOCK != 0 {
        return super::fail(libc::EAGAIN).map(|r| r as isize);
    }
    let take = |buffer: &mut [u8]| {
        // SAFETY: `buffer` is writable for its length.
        unsafe { kernel!(libc::SYS_read, from, buffer.as_mut_ptr(), buffer.len()) }
    };
    let more = if flags & libc::SPLICE_F_MORE != 0 { libc::MSG_MORE } else { 0 };
    carried(&socket, fd, len, more, take)
}

const NOTHING: Out<'static> = Out { to: None, iov: &[], control: &[], flags: 0, any_file: true };

/// Does the next datagram leave by other means than the kernel's socket?
fn is_ours(socket: &Pinned, fd: c_int) -> bool {
    matches!(way(socket, fd, &NOTHING), Way::Rewritten(..) | Way::Named(..) | Way::Bare(..))
}

/// The kernel's call, counted as a datagram.
unsafe fn counted(socket: &Pinned, fd: c_int, call: &dyn Fn() -> isize) -> Outcome<isize> {
    // SAFETY: `NOTHING` has no buffers.
    unsafe { transmit(socket, fd, &NOTHING, call) }
}

/// Take up to `count` octets and send them as one datagram.
fn carried(
    socket: &Pinned,
    fd: c_int,
    count: usize,
    flags: c_int,
    take: impl FnOnce(&mut [u8]) -> c_long,
) -> Outcome<isize> {
    // Not inside `slow`: to wait for the pipe is the application's wish, and a point of cancellation.
    let Some(mut buffer) = slow(|| vec![0u8; count.min(CHUNK)]) else { return Err(Bypass) };
    let got = take(&mut buffer);
    if got <= 0 {
        return Ok(got as isize);
    }
    let iov = [iovec { iov_base: buffer.as_mut_ptr().cast::<c_void>(), iov_len: got as usize }];
    let out = Out { iov: &iov, flags, ..NOTHING };
    // The locators may have become the ULIDs again meanwhile; what was taken cannot be given back.
    // SAFETY: `iov` is the local buffer.
    let plain = || unsafe { real::send(fd, iov[0].iov_base, iov[0].iov_len, flags) };
    // SAFETY: as above.
    let sent = unsafe { transmit(socket, fd, &out, &plain) }.or_else(|Bypass| Ok(plain()));
    slow(|| drop(buffer));
    sent
}
