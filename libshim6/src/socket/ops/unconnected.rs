//! Receiving into a plain buffer on a socket without peer, of whose datagrams the application asks nothing but the source:
//! one recvfrom where the socket is bound to an address, else one recvmsg that brings the destination too; for a known peer
//! nothing pinned and nothing locked.

use super::super::state::{Mode, flag};
use super::super::{Outcome, cmsg, real, sys, table};
use super::lend::{Came, NAME};
use super::recv::{heard, not_received, ulid_of};
use super::{named, quick};
use libc::{c_int, c_void, iovec, sockaddr, sockaddr_in6, socklen_t};
use std::mem::MaybeUninit;
use std::ptr;

/// Words for ancillary data: ours, and what the application may have asked for although it does not look.
const CONTROL: usize = (cmsg::BEFORE_OURS + cmsg::OUR_SPACE) / size_of::<u64>();

/// `recv`, `read` and `recvfrom` (`addr` not null). `None`: another case, and nothing was received.
///
/// # Safety
/// As `recvfrom`.
#[inline]
pub(super) unsafe fn receive(
    fd: c_int,
    buf: *mut c_void,
    len: usize,
    flags: c_int,
    addr: *mut sockaddr,
    alen: *mut socklen_t,
) -> Option<Outcome<isize>> {
    let socket = table::peek(fd)?;
    if !socket.is(Mode::Unconnected, flag::DONT_SHIM | flag::RAW | flag::TOLD)
        || flags & (libc::MSG_PEEK | libc::MSG_ERRQUEUE) != 0
    {
        return None;
    }
    let room = match addr.is_null() {
        true => 0,
        // SAFETY: the application's argument, which is there.
        false => unsafe { room_for_name(addr, alen) }?,
    };
    let mut name = MaybeUninit::<sockaddr_in6>::uninit();
    let mut control = [const { MaybeUninit::<u64>::uninit() }; CONTROL];
    let space = ((&raw mut control).cast::<c_void>(), size_of_val(&control));
    let (r, written, controls) = if socket.has(flag::OUR_PKTINFO) {
        let iov = [iovec { iov_base: buf, iov_len: len }];
        let mut msg = named::header(name.as_mut_ptr(), &iov, space);
        // SAFETY: the application's buffer, and locals.
        let r = unsafe { real::recvmsg(fd, &raw mut msg, flags) };
        (r, msg.msg_namelen, msg.msg_controllen as usize)
    } else {
        let mut written = NAME as socklen_t;
        // SAFETY: as above.
        let r = unsafe { real::recvfrom(fd, buf, len, flags, name.as_mut_ptr().cast(), &raw mut written) };
        (r, written, 0)
    };
    if r < 0 {
        return Some(not_received(fd, r));
    }
    // SAFETY: the kernel has written as many octets as it says.
    let (from, control) = unsafe {
        let control = std::slice::from_raw_parts(space.0.cast::<u8>(), controls.min(space.1));
        let whole = written as usize >= NAME;
        (whole.then(|| sys::v6_of(name.assume_init_ref())).flatten(), control)
    };
    let came = Came { from, told: cmsg::told(control) };
    let shown = match quick::heard_from(socket, fd, &came, r as usize, flags) {
        Some(ulids) => ulids.and_then(|ulids| ulid_of(&came, ulids)),
        None => table::pin(fd).and_then(|socket| heard(&socket, fd, &came, r as usize, flags).from),
    };
    if let Some(from) = shown {
        name.write(sys::to_raw(&from));
    }
    if !addr.is_null() {
        // SAFETY: both are there, as was looked at above, and the kernel wrote the name.
        unsafe {
            ptr::copy_nonoverlapping(
                name.as_ptr().cast::<u8>(),
                addr.cast::<u8>(),
                (written as usize).min(room),
            );
            *alen = written;
        }
    }
    Some(Ok(r))
}

/// How much of a name the application has room for. `None`: the kernel is going to refuse that.
unsafe fn room_for_name(addr: *mut sockaddr, alen: *mut socklen_t) -> Option<usize> {
    if !sys::can_write(alen, size_of::<socklen_t>()) {
        return None;
    }
    // SAFETY: there and aligned, as was just looked at.
    let room = usize::try_from(unsafe { *alen } as c_int).ok()?.min(NAME);
    (room == 0 || sys::can_write(addr.cast::<u8>(), room)).then_some(room)
}
