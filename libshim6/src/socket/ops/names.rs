//! Names and options: the kernel's own answers, except where the shim changed something that the application must
//! not see, and the SHIM levels.

use super::super::guard::{set_errno, slow};
use super::super::state::{Mode, flag};
use super::super::table::{self, Pinned};
use super::super::{Bypass, Outcome, real, shimopt, sys};
use super::{has_other_pairs, is_path_error, own_cell};
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
    if shimopt::is_level(level) {
        // SAFETY: the application's arguments.
        return unsafe { shimopt::get(fd, level, name, value, len) };
    }
    let hidden = level == libc::IPPROTO_IPV6 && name == libc::IPV6_RECVPKTINFO;
    let error = level == libc::SOL_SOCKET && name == libc::SO_ERROR;
    if !(hidden || error) {
        return Err(Bypass);
    }
    let socket = table::peek(fd).and_then(|_| table::pin(fd)).ok_or(Bypass)?;
    if hidden && !socket.has(flag::OUR_PKTINFO) {
        return Err(Bypass);
    }
    // SAFETY: the application's arguments; after success the kernel has written `*len` octets at `value`.
    unsafe {
        let r = real::getsockopt(fd, level, name, value, len);
        if r == 0 {
            let n = (*len as usize).min(size_of::<c_int>());
            let mut octets = [0u8; size_of::<c_int>()];
            std::ptr::copy_nonoverlapping(value.cast::<u8>(), octets.as_mut_ptr(), n);
            let told = match hidden {
                true => c_int::from(socket.has(flag::APP_PKTINFO)),
                false => error_to_tell(&socket, c_int::from_ne_bytes(octets)),
            };
            std::ptr::copy_nonoverlapping(told.to_ne_bytes().as_ptr(), value.cast::<u8>(), n);
        }
        Ok(r)
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
    if shimopt::is_level(level) {
        // SAFETY: the application's arguments.
        return unsafe { shimopt::set(fd, level, name, value, len) };
    }
    let pktinfo = level == libc::IPPROTO_IPV6 && name == libc::IPV6_RECVPKTINFO;
    let segment = level == libc::IPPROTO_UDP && name == super::rewritten::UDP_SEGMENT;
    let cork = level == libc::IPPROTO_UDP && name == libc::UDP_CORK;
    let whole = name == libc::IPV6_HDRINCL && matches!(level, libc::IPPROTO_IPV6 | libc::IPPROTO_RAW);
    if !(pktinfo || segment || cork || whole) {
        return Err(Bypass);
    }
    let socket = table::peek(fd).and_then(|_| table::pin(fd)).ok_or(Bypass)?;
    if !socket.has(flag::ELIGIBLE) {
        return Err(Bypass);
    }
    // SAFETY: the application's arguments; after success the kernel has read an int at `value`.
    unsafe {
        let r = real::setsockopt(fd, level, name, value, len);
        if r == 0 {
            let asked = value.cast::<c_int>().read_unaligned();
            match pktinfo {
                false if whole => {
                    // The application makes the IPv6 header itself.
                    if socket.has(flag::RAW) && asked != 0 {
                        socket.set(flag::ELIGIBLE, false);
                        socket.set_mode(Mode::Plain);
                    }
                }
                true => {
                    socket.set(flag::APP_PKTINFO, asked != 0);
                    if asked == 0 && socket.has(flag::OUR_PKTINFO) {
                        slow(|| sys::set_int(fd, level, name, 1).is_ok());
                    }
                }
                false if cork => {
                    socket.set(flag::CORK, asked != 0);
                    if asked == 0 {
                        super::rewritten::uncork(&socket, fd);
                    }
                }
                false => socket.segment.store(asked.clamp(0, 0xffff) as u32, Relaxed),
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
