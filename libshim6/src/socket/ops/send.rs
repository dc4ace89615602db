//! Sending one datagram: the plain call while locators equal ULIDs.

// The width of some fields differs between C libraries.
#![allow(clippy::unnecessary_cast)]

use super::super::state::flag;
use super::super::table::Pinned;
use super::super::{Bypass, Outcome, guard, real, setup, sys, table};
use super::named::named;
use super::rewritten::{fail, rewritten};
use super::way::{CellRef, Out, Way, way};
use super::{activated, active, ancillary, keep, learn_port, note_sent, quick};
use libc::{c_int, c_void, iovec, msghdr, sockaddr, socklen_t};
use std::net::SocketAddrV6;
use std::sync::atomic::Ordering::Relaxed;

/// Messages that one sendmmsg hands to the kernel (UIO_MAXIOV).
pub(super) const MAX_BATCH: usize = 1024;

/// Decide on one datagram and send it. `plain` is the application's own call.
pub(super) unsafe fn transmit(
    socket: &Pinned,
    fd: c_int,
    out: &Out<'_>,
    plain: &dyn Fn() -> isize,
) -> Outcome<isize> {
    if socket.has(flag::NOT_DEFERRED | flag::WAITING)
        && let Some(e) = setup::before_send(socket, fd, out.to.flatten(), out.flags)
    {
        return Ok(fail(e));
    }
    let way = way(socket, fd, out);
    let cell = match &way {
        Way::Lost => return Ok(out.octets() as isize),
        Way::Rewritten(cell, forward, to) => {
            // SAFETY: the application's buffers, as it passed them.
            return Ok(unsafe { rewritten(socket, fd, out, cell, forward, to) });
        }
        other => other.cell().ok_or(Bypass)?,
    };
    let began = keep::begin(socket, cell);
    let r = match way.name() {
        // SAFETY: as above.
        Some((to, source)) => unsafe { named(fd, out, &to, source, 0) },
        None => plain(),
    };
    let lost = r < 0 && way.counts_as_lost();
    if r < 0 && !lost {
        return Ok(r);
    }
    let peer = way.peer();
    if !lost {
        note_sent(socket, cell, r as usize, peer);
        if peer.is_some() && socket.local_port.load(Relaxed) == 0 {
            guard::slow(|| learn_port(socket, fd));
        }
    }
    match began {
        None if lost => keep::refused(socket, fd, out, cell, peer),
        _ => keep::keep(socket, fd, out, cell, peer, began),
    }
    Ok(if lost { out.octets() as isize } else { r })
}

/// The usual case ([`quick`]). `None`: another one.
///
/// # Safety
/// `out` is as the application passed it.
#[inline(always)]
unsafe fn quickly(fd: c_int, out: &Out<'_>, plain: impl FnOnce() -> isize) -> Option<isize> {
    let Some(to) = out.to else {
        let meter = quick::sends(fd, out.flags)?;
        let r = plain();
        if r < 0 {
            return Some(not_sent(fd, out, false));
        }
        quick::note_sent(fd, meter, 1, r as usize);
        return Some(r);
    };
    let to = to?;
    let (name, meter) = quick::sends_to(fd, out.flags, &to, out.control)?;
    let r = match name {
        // SAFETY: by the contract above.
        Some((to, source)) => unsafe { named(fd, out, &to, source, 0) },
        None => plain(),
    };
    if r < 0 {
        return Some(not_sent(fd, out, name.is_some()));
    }
    quick::note_sent_to(fd, meter, &to, r as usize);
    Some(r)
}

/// The kernel refused a datagram in the usual case; `named`: with names given in the call. What the application gets.
#[cold]
pub(super) fn not_sent(fd: c_int, out: &Out<'_>, named: bool) -> isize {
    let Some(socket) = active(fd) else { return -1 };
    let way = match out.to.flatten() {
        None => socket.cell().map(|cell| Way::Healthy(CellRef::Own(cell), None)),
        Some(to) => guard::slow(|| socket.peer(&to)?.cell).flatten().map(|cell| {
            let source = cell.ulids().local;
            match (named, cell.forward()) {
                (true, Some(forward)) => {
                    let there = SocketAddrV6::new(forward.locators.peer, to.port(), 0, 0);
                    Way::Bare(CellRef::Peer(cell), forward, there)
                }
                (true, None) => Way::Named(CellRef::Peer(cell), to, source),
                (false, _) => Way::Healthy(CellRef::Peer(cell), Some(to)),
            }
        }),
    };
    let lost = way.filter(Way::counts_as_lost);
    let Some((cell, peer)) = lost.as_ref().and_then(|way| Some((way.cell()?, way.peer()))) else { return -1 };
    keep::refused(&socket, fd, out, cell, peer);
    out.octets() as isize
}

/// Send a datagram: in the usual case by the plain call alone, else as [`transmit`] decides.
///
/// # Safety
/// `out` is as the application passed it.
#[inline(always)]
pub(super) unsafe fn dispatch(fd: c_int, out: &Out<'_>, plain: impl Fn() -> isize) -> Outcome<isize> {
    // SAFETY: by the contract above.
    match unsafe { quickly(fd, out, &plain) } {
        Some(r) => Ok(r),
        // SAFETY: as above.
        None => unsafe { slowly(fd, out, &plain) },
    }
}

#[inline(never)]
unsafe fn slowly(fd: c_int, out: &Out<'_>, plain: &dyn Fn() -> isize) -> Outcome<isize> {
    // To name a destination is a first use.
    let socket = if out.to.is_none() { active(fd) } else { activated(fd) }.ok_or(Bypass)?;
    // SAFETY: by the contract of `dispatch`.
    unsafe { transmit(&socket, fd, out, plain) }
}

/// `send(2)`.
///
/// # Safety
/// As the libc function.
#[inline(always)]
pub unsafe fn send(fd: c_int, buf: *const c_void, len: usize, flags: c_int) -> Outcome<isize> {
    let iov = [iovec { iov_base: buf.cast_mut(), iov_len: len }];
    let out = Out { to: None, iov: &iov, control: &[], flags, any_file: false };
    // SAFETY: the application's arguments.
    unsafe { dispatch(fd, &out, || real::send(fd, buf, len, flags)) }
}

/// `write(2)`.
///
/// # Safety
/// As the libc function.
#[inline(always)]
pub unsafe fn write(fd: c_int, buf: *const c_void, len: usize) -> Outcome<isize> {
    let iov = [iovec { iov_base: buf.cast_mut(), iov_len: len }];
    let out = Out { to: None, iov: &iov, control: &[], flags: 0, any_file: true };
    // SAFETY: the application's arguments.
    unsafe { dispatch(fd, &out, || real::write(fd, buf, len)) }
}

/// `writev(2)`.
///
/// # Safety
/// As the libc function.
#[inline]
pub unsafe fn writev(fd: c_int, iov: *const iovec, n: c_int) -> Outcome<isize> {
    // SAFETY: the application's arguments.
    unsafe { vectored(fd, iov, n, 0, || real::writev(fd, iov, n)) }
}

/// `writev` and its like.
#[inline]
pub(super) unsafe fn vectored(
    fd: c_int,
    iov: *const iovec,
    n: c_int,
    flags: c_int,
    plain: impl Fn() -> isize,
) -> Outcome<isize> {
    // SAFETY: the application's arguments; a negative number becomes a huge one.
    let Some(parts) = (unsafe { vectors(iov, n as usize) }) else { return Err(Bypass) };
    let out = Out { to: None, iov: parts, control: &[], flags, any_file: true };
    if out.octets() == 0 {
        // The kernel sends nothing then.
        return Err(Bypass);
    }
    // SAFETY: as above.
    unsafe { dispatch(fd, &out, plain) }
}

/// `sendto(2)`.
///
/// # Safety
/// As the libc function.
#[inline(always)]
pub unsafe fn sendto(
    fd: c_int,
    buf: *const c_void,
    len: usize,
    flags: c_int,
    addr: *const sockaddr,
    alen: socklen_t,
) -> Outcome<isize> {
    let iov = [iovec { iov_base: buf.cast_mut(), iov_len: len }];
    // SAFETY: the application's arguments.
    unsafe {
        let to = (!addr.is_null()).then(|| sys::read_v6(addr, alen));
        let out = Out { to, iov: &iov, control: &[], flags, any_file: false };
        dispatch(fd, &out, || real::sendto(fd, buf, len, flags, addr, alen))
    }
}

/// `sendmsg(2)`.
///
/// # Safety
/// As the libc function.
#[inline]
pub unsafe fn sendmsg(fd: c_int, msg: *const msghdr, flags: c_int) -> Outcome<isize> {
    if !sys::can_read(msg, size_of::<msghdr>()) {
        return Err(Bypass);
    }
    // SAFETY: the application's arguments.
    let app = unsafe { &*msg };
    // SAFETY: as above.
    if unsafe { ancillary::has_any(app) } {
        // Sockets that the shim does not serve have an answer to it too.
        // SAFETY: as above.
        return unsafe { ancillary::sendmsg(fd, app, flags) };
    }
    if table::peek(fd).is_none() {
        return Err(Bypass);
    }
    // SAFETY: as above.
    unsafe {
        let out = describe(app, flags).ok_or(Bypass)?;
        dispatch(fd, &out, || real::sendmsg(fd, msg, flags))
    }
}

/// An application's message header as [`Out`]; `None` if the kernel is going to refuse it.
pub(super) unsafe fn describe(app: &msghdr, flags: c_int) -> Option<Out<'_>> {
    // SAFETY: the pointers and lengths in `app` belong together.
    unsafe {
        let to = (!app.msg_name.is_null()).then(|| sys::read_v6(app.msg_name.cast(), app.msg_namelen));
        let iov = vectors(app.msg_iov, app.msg_iovlen as usize)?;
        let control = match app.msg_control.is_null() {
            true if app.msg_controllen == 0 => &[][..],
            true => return None,
            false => {
                let len = app.msg_controllen as usize;
                if len > 1 << 20 || len > 0 && !sys::can_read(app.msg_control, len) {
                    return None;
                }
                std::slice::from_raw_parts(app.msg_control.cast(), len)
            }
        };
        Some(Out { to, iov, control, flags, any_file: false })
    }
}

pub(super) unsafe fn vectors<'a>(iov: *const iovec, n: usize) -> Option<&'a [iovec]> {
    match n {
        0 => Some(&[]),
        _ if n > MAX_BATCH || !sys::can_read(iov, n * size_of::<iovec>()) => None,
        // SAFETY: the application passed `n` structures at `iov`.
        _ => Some(unsafe { std::slice::from_raw_parts(iov, n) }),
    }
}
