//! Names and options: the kernel's own answers, except where the shim changed something that the application must
//! not see, and the SHIM levels.

use super::super::guard::{set_errno, slow};
use super::super::state::{Mode, flag};
use super::super::table::{self, Pinned};
use super::super::{Bypass, Outcome, options, real, setup, sys};
use super::{has_other_pairs, is_path_error, marking, own_cell};
use libc::{c_int, c_void, sockaddr, socklen_t};
use std::net::SocketAddrV6;
use std::sync::atomic::Ordering::Relaxed;

/// `getsockname(2)`.
///
/// # Safety
/// As the libc function.
#[inline]
pub unsafe fn getsockname(fd: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> Outcome<c_int> {
    // SAFETY: the application's arguments.
    unsafe { detached_name(fd, addr, len, real::getsockname, |local, _| local) }
}

/// `getpeername(2)`.
///
/// # Safety
/// As the libc function.
#[inline]
pub unsafe fn getpeername(fd: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> Outcome<c_int> {
    // The kernel socket has no peer, so its own name serves to check the pointers.
    // SAFETY: the application's arguments.
    unsafe { detached_name(fd, addr, len, real::getsockname, |_, peer| peer) }
}

/// The names of a detached socket are ours to tell (API-EX-01, API-EX-02).
unsafe fn detached_name(
    fd: c_int,
    addr: *mut sockaddr,
    len: *mut socklen_t,
    call: unsafe fn(c_int, *mut sockaddr, *mut socklen_t) -> c_int,
    choose: impl FnOnce(SocketAddrV6, SocketAddrV6) -> SocketAddrV6,
) -> Outcome<c_int> {
    if table::peek(fd).is_none_or(|s| s.mode() != Mode::Detached) {
        return Err(Bypass);
    }
    let socket = table::pin(fd).ok_or(Bypass)?;
    let names = slow(|| {
        let inner = socket.inner();
        let port = socket.local_port.load(Relaxed) as u16;
        Some((SocketAddrV6::new(inner.local, port, 0, 0), inner.peer?))
    });
    let (local, peer) = names.flatten().ok_or(Bypass)?;
    // SAFETY: the kernel checks the pointers and answers EFAULT, EINVAL or EBADF.
    unsafe {
        let room = if sys::can_read(len, size_of::<socklen_t>()) { len.read_unaligned() } else { 0 };
        if call(fd, addr, len) != 0 {
            return Ok(-1);
        }
        let name = sys::to_raw(&choose(local, peer));
        let n = (room as usize).min(size_of_val(&name));
        std::ptr::copy_nonoverlapping((&raw const name).cast::<u8>(), addr.cast::<u8>(), n);
    }
    Ok(0)
}

/// `getsockopt(2)`.
///
/// # Safety
/// As the libc function.
#[inline]
pub unsafe fn getsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> Outcome<c_int> {
    if options::is_level(level) {
        // SAFETY: the application's arguments.
        return unsafe { options::get(fd, level, name, value, len) };
    }
    let asked = asked_too(level, name);
    let error = level == libc::SOL_SOCKET && name == libc::SO_ERROR;
    let buffer = level == libc::SOL_SOCKET && name == libc::SO_SNDBUF;
    if !(asked.is_some() || error || buffer) {
        return Err(Bypass);
    }
    let socket = table::peek(fd).and_then(|_| table::pin(fd)).ok_or(Bypass)?;
    let buffer = match buffer {
        true => Some(setup::send_buffer(&socket).filter(|_| socket.has(flag::WAITING)).ok_or(Bypass)?),
        false => None,
    };
    if asked.is_some_and(|(_, ours)| !socket.has(ours)) {
        return Err(Bypass);
    }
    // SAFETY: the application's arguments; after success the kernel has written `*len` octets at `value`.
    unsafe {
        let r = real::getsockopt(fd, level, name, value, len);
        if r == 0 {
            let n = (*len as usize).min(size_of::<c_int>());
            let mut octets = [0u8; size_of::<c_int>()];
            std::ptr::copy_nonoverlapping(value.cast::<u8>(), octets.as_mut_ptr(), n);
            let told = match (asked, buffer) {
                (Some((apps, _)), _) => c_int::from(socket.has(apps)),
                (None, Some(buffer)) => buffer,
                (None, None) => error_to_tell(&socket, c_int::from_ne_bytes(octets)),
            };
            std::ptr::copy_nonoverlapping(told.to_ne_bytes().as_ptr(), value.cast::<u8>(), n);
        }
        Ok(r)
    }
}

/// What the shim may ask of the kernel too: the flags for the application's wish and for ours.
fn asked_too(level: c_int, name: c_int) -> Option<(u32, u32)> {
    match (level, name) {
        (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO) => Some((flag::APP_PKTINFO, flag::OUR_PKTINFO)),
        (libc::IPPROTO_IPV6, libc::IPV6_FLOWINFO) => Some((flag::APP_FLOWINFO, flag::OUR_FLOWINFO)),
        _ => None,
    }
}

/// A pending error of the path is REAP's business while the context has other pairs.
fn error_to_tell(socket: &Pinned, pending: c_int) -> c_int {
    if is_path_error(pending) && hides_path_errors(socket) { 0 } else { pending }
}

/// Has the socket a context that can leave a broken path?
pub(super) fn hides_path_errors(socket: &Pinned) -> bool {
    let serves = matches!(socket.mode(), Mode::Connected | Mode::Detached) && !socket.has(flag::DONT_SHIM);
    serves && own_cell(socket).is_some_and(|cell| slow(|| has_other_pairs(cell)).unwrap_or(false))
}

/// `setsockopt(2)`.
///
/// # Safety
/// As the libc function.
#[inline]
pub unsafe fn setsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    len: socklen_t,
) -> Outcome<c_int> {
    if options::is_level(level) {
        // SAFETY: the application's arguments.
        return unsafe { options::set(fd, level, name, value, len) };
    }
    let asked_too = asked_too(level, name);
    let segment = level == libc::IPPROTO_UDP && name == super::rewritten::UDP_SEGMENT;
    let cork = level == libc::IPPROTO_UDP && name == libc::UDP_CORK;
    let buffer = level == libc::SOL_SOCKET && matches!(name, libc::SO_SNDBUF | libc::SO_SNDBUFFORCE);
    let whole = name == libc::IPV6_HDRINCL && matches!(level, libc::IPPROTO_IPV6 | libc::IPPROTO_RAW);
    let device = level == libc::SOL_SOCKET && matches!(name, libc::SO_BINDTODEVICE | libc::SO_BINDTOIFINDEX);
    let marks = marking::is_option(level, name);
    if !(asked_too.is_some() || segment || cork || buffer || whole || device || marks) {
        return Err(Bypass);
    }
    let socket = table::peek(fd).and_then(|_| table::pin(fd)).ok_or(Bypass)?;
    if device && socket.has(flag::ELIGIBLE | flag::ON_DEVICE) {
        // SAFETY: the application's arguments.
        let r = unsafe { real::setsockopt(fd, level, name, value, len) };
        if r == 0 {
            super::hand::device_changed(socket, fd);
        }
        return Ok(r);
    }
    if !socket.has(flag::ELIGIBLE) {
        return Err(Bypass);
    }
    if (buffer || cork) && socket.has(flag::WAITING) {
        slow(|| setup::end(socket.record(), fd));
    }
    if buffer {
        return Err(Bypass);
    }
    // SAFETY: the application's arguments; after success the kernel has read an int at `value`.
    unsafe {
        let r = real::setsockopt(fd, level, name, value, len);
        if r == 0 {
            let asked = value.cast::<c_int>().read_unaligned();
            match asked_too {
                None if whole => {
                    // The application makes the IPv6 header itself.
                    if socket.has(flag::RAW) && asked != 0 {
                        socket.set(flag::ELIGIBLE, false);
                        socket.set_mode(Mode::Plain);
                    }
                }
                Some((apps, ours)) => {
                    socket.set(apps, asked != 0);
                    if asked == 0 && socket.has(ours) {
                        slow(|| sys::set_int(fd, level, name, 1).is_ok());
                    }
                    slow(|| super::look_at_ancillary_data(&socket, fd));
                }
                None if cork => {
                    socket.set(flag::CORK, asked != 0);
                    if asked == 0 {
                        super::rewritten::uncork(&socket, fd);
                    }
                }
                None if marks => marking::option_was_set(&socket, level, name, asked),
                None => socket.segment.store(asked.clamp(0, 0xffff) as u32, Relaxed),
            }
        }
        Ok(r)
    }
}

/// -1 with this `errno`.
pub(in super::super) fn fail(e: c_int) -> Outcome<c_int> {
    set_errno(e);
    Ok(-1)
}
