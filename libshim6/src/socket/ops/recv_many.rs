//! `recvmmsg(2)`: as much as possible with the application's own headers, else with copies of them, whose memory is kept from
//! one call to the next.

use super::super::guard::{self, slow};
use super::super::state::{Mode, flag};
use super::super::table::Pinned;
use super::super::{Bypass, Outcome, detach, peek, real, sys};
use super::lend::{Came, Lent, NAME, Scratch, Shown, came, give_back, is_refused, move_up};
use super::names::hides_path_errors;
use super::recv::{heard, not_received, received};
use super::send::MAX_BATCH;
use super::spare::{KEPT, Spare};
use super::{active, is_path_error, quick};
use libc::{c_int, c_uint, mmsghdr, sockaddr_in6, timespec};

/// `recvmmsg(2)`.
///
/// # Safety
/// As the libc function.
#[inline]
pub unsafe fn recvmmsg(
    fd: c_int,
    msgs: *mut mmsghdr,
    n: c_uint,
    flags: c_int,
    timeout: *mut timespec,
) -> Outcome<c_int> {
    let n = (n as usize).min(MAX_BATCH);
    if n == 0 || !sys::can_write(msgs, n * size_of::<mmsghdr>()) {
        return Err(Bypass);
    }
    if let Some(meter) = quick::receives(fd, flags, flag::LOOKED_AT) {
        // SAFETY: the application's arguments.
        let r = unsafe { real::recvmmsg(fd, msgs, n as c_uint, flags, timeout) };
        if r > 0 {
            // SAFETY: the kernel has filled `r` structures.
            let filled = unsafe { std::slice::from_raw_parts(msgs, r as usize) };
            let octets = filled.iter().map(|m| m.msg_len as usize).sum();
            quick::note_received(fd, meter, r as u64, octets);
        }
        if r >= 0 || !quick::hides_error(fd) {
            return Ok(r);
        }
    }
    let socket = active(fd).ok_or(Bypass)?;
    // SAFETY: the application passed `n` structures.
    let msgs = unsafe { std::slice::from_raw_parts_mut(msgs, n) };
    if socket.mode() == Mode::Connected && !socket.has(flag::LOOKED_AT) {
        loop {
            // SAFETY: the application's arguments.
            let r = unsafe { real::recvmmsg(fd, msgs.as_mut_ptr(), n as c_uint, flags, timeout) };
            if r < 0 && is_path_error(guard::errno()) && hides_path_errors(&socket) {
                continue;
            }
            for m in &msgs[..r.max(0) as usize] {
                received(&socket, m.msg_len as isize, flags);
            }
            return Ok(r);
        }
    }
    if msgs.iter().any(|m| is_refused(&m.msg_hdr)) {
        return Err(Bypass);
    }
    peek::note_flags(flags);
    // SAFETY: the kernel is not going to refuse these.
    if let Some(result) = unsafe { bound(&socket, fd, msgs, flags, timeout) } {
        return result;
    }
    let mut copies = SPARE.take();
    // SAFETY: as above.
    let result = unsafe { copied(&socket, fd, msgs, flags, timeout, &mut copies) };
    if n <= KEPT {
        SPARE.keep(copies);
    }
    result
}

/// `recvmmsg` on a socket that is bound to an address, with room for each source: the application's headers are all that it
/// takes. `None`: another case, or an error of the path that the application must not see, and nothing was received.
///
/// # Safety
/// As `recvmmsg`.
unsafe fn bound(
    socket: &Pinned,
    fd: c_int,
    msgs: &mut [mmsghdr],
    flags: c_int,
    timeout: *mut timespec,
) -> Option<Outcome<c_int>> {
    let roomy = |m: &mmsghdr| !m.msg_hdr.msg_name.is_null() && m.msg_hdr.msg_namelen as usize >= NAME;
    if !socket.is(Mode::Unconnected, flag::DONT_SHIM | flag::RAW | flag::LOOKED_AT)
        || flags & libc::MSG_ERRQUEUE != 0
        || !msgs.iter().all(roomy)
    {
        return None;
    }
    // SAFETY: by the contract above.
    let r = unsafe { real::recvmmsg(fd, msgs.as_mut_ptr(), msgs.len() as c_uint, flags, timeout) };
    if r < 0 {
        return (!quick::hides_error(fd)).then(|| not_received(fd, r));
    }
    for m in &mut msgs[..r as usize] {
        let (name, written) = (m.msg_hdr.msg_name, m.msg_hdr.msg_namelen);
        // SAFETY: the kernel wrote a name there.
        let came = Came { from: unsafe { sys::read_v6(name.cast(), written) }, to: None, by: (0, 0) };
        if let Some(from) = heard(socket, fd, &came, m.msg_len as usize, flags).from {
            // SAFETY: there is room for it, as was looked at above.
            unsafe { name.cast::<sockaddr_in6>().write_unaligned(sys::to_raw(&from)) };
        }
    }
    Some(Ok(r))
}

/// By copies of the headers.
///
/// # Safety
/// As `recvmmsg`.
unsafe fn copied(
    socket: &Pinned,
    fd: c_int,
    msgs: &mut [mmsghdr],
    flags: c_int,
    timeout: *mut timespec,
    copies: &mut Copies,
) -> Outcome<c_int> {
    loop {
        let lent = Lent::new(socket);
        let own = copies.of(lent, msgs);
        // SAFETY: the application's buffers, or ours where they were lent.
        let r = unsafe { real::recvmmsg(fd, own.as_mut_ptr(), own.len() as c_uint, flags, timeout) };
        if r < 0 {
            if is_path_error(guard::errno()) && hides_path_errors(socket) {
                continue;
            }
            return not_received(fd, r);
        }
        let mut kept = 0;
        for (i, own) in own[..r as usize].iter().enumerate() {
            // SAFETY: the kernel has filled `r` structures.
            let came = unsafe { came(&own.msg_hdr) };
            let errors = flags & libc::MSG_ERRQUEUE != 0;
            if !errors
                && socket.mode() == Mode::Detached
                && slow(|| detach::is_foreign(socket, &came.from)).unwrap_or(false)
            {
                continue;
            }
            let octets = own.msg_len as usize;
            let shown = if errors { Shown::default() } else { heard(socket, fd, &came, octets, flags) };
            let lent = lent.of(&msgs[i].msg_hdr);
            if kept == i {
                // SAFETY: `own` is as the kernel left it.
                unsafe { give_back(&mut msgs[i].msg_hdr, &own.msg_hdr, &lent, &shown) };
                msgs[i].msg_len = own.msg_len;
            } else {
                // SAFETY: as above; the message moves up into the place of a foreign one.
                unsafe { move_up(&mut msgs[kept], own, &lent, &shown) };
            }
            kept += 1;
        }
        if kept > 0 || r == 0 {
            return Ok(kept as c_int);
        }
    }
}

static SPARE: Spare<Copies> = Spare::new();

/// Copies of headers, and room for what is received into neither of the application's buffers.
#[derive(Default)]
struct Copies {
    headers: Vec<mmsghdr>,
    scratch: Vec<Scratch>,
}

impl Copies {
    /// Copies of `msgs` that point to memory of ours where they have to.
    fn of(&mut self, lent: Lent, msgs: &[mmsghdr]) -> &mut [mmsghdr] {
        if self.scratch.len() < msgs.len() {
            self.scratch.resize_with(msgs.len(), Scratch::new);
        }
        self.headers.clear();
        self.headers.extend_from_slice(msgs);
        for ((app, own), scratch) in msgs.iter().zip(&mut self.headers).zip(&mut self.scratch) {
            lent.lend(&app.msg_hdr, &mut own.msg_hdr, scratch);
        }
        &mut self.headers
    }
}
