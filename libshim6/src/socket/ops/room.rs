//! Waiting for room in the send buffer of the engine's raw socket, as the program's own socket would have it wait.

use super::super::guard::{errno, slow};
use super::super::{backend, real, sys};
use super::{engine, rewritten::may_wait};
use crate::time::Time;
use libc::{c_int, c_void};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::RawFd;
use std::time::Duration;

/// A call that is not to block waits so long in milliseconds: its own socket polls as writable all the time, so that
/// programs would come back at once, over and over.
const MOMENT: i32 = 1;
/// For the rest of a datagram of which a part has gone.
const REST: i32 = 20;
/// Octets of an IPv6 header, less than which the engine's socket takes none.
const HEADER: usize = 40;

/// How long one call may wait.
pub(super) struct Room {
    fd: c_int,
    patience: Patience,
}

#[derive(Clone, Copy)]
enum Patience {
    Unknown {
        flags: c_int,
    },
    /// It has waited for a moment.
    None,
    Until(Time),
    Forever,
}

impl Room {
    /// For a call on the program's socket `fd` with these flags.
    pub(super) fn new(fd: c_int, flags: c_int) -> Room {
        Room { fd, patience: Patience::Unknown { flags } }
    }

    /// There was no room: wait for some. Outside of `guard::slow`, and a thread may be cancelled here.
    ///
    /// # Errors
    ///
    /// EAGAIN where the call may not wait, or not any longer (SO_SNDTIMEO). EINTR where a signal handler ran that has no
    /// SA_RESTART; with SO_SNDTIMEO any handler, as in the kernel.
    pub(super) fn wait(&mut self) -> Result<(), c_int> {
        let Some(ours) = slow(|| engine().and_then(|e| e.backend.payload_fd())).flatten() else {
            return Ok(());
        };
        if let Patience::Unknown { flags } = self.patience {
            self.patience = patience(self.fd, flags);
            if matches!(self.patience, Patience::None) && has_room(ours, MOMENT) {
                return Ok(());
            }
        }
        match self.patience {
            Patience::Forever => wait_forever(ours),
            Patience::Until(end) => {
                let left = end.since(slow(backend::now).unwrap_or(end));
                let ms = left.as_nanos().div_ceil(1_000_000);
                match poll(ours, i32::try_from(ms).unwrap_or(i32::MAX)) {
                    0 => Err(libc::EAGAIN),
                    n if n < 0 => Err(errno()),
                    _ => Ok(()),
                }
            }
            Patience::None | Patience::Unknown { .. } => {
                slow(|| tell_writable(self.fd));
                Err(libc::EAGAIN)
            }
        }
    }
}

/// A part of a datagram has gone: is there room for more of it soon?
pub(super) fn for_the_rest() -> bool {
    slow(|| engine().and_then(|e| e.backend.payload_fd())).flatten().is_some_and(|ours| has_room(ours, REST))
}

fn patience(fd: c_int, flags: c_int) -> Patience {
    if !may_wait(fd, flags) {
        return Patience::None;
    }
    let mut limit = libc::timeval { tv_sec: 0, tv_usec: 0 };
    slow(|| sys::get_option(fd, libc::SOL_SOCKET, libc::SO_SNDTIMEO, &mut limit));
    let seconds = Duration::from_secs(u64::try_from(limit.tv_sec).unwrap_or(0));
    let limit = seconds + Duration::from_micros(u64::try_from(limit.tv_usec).unwrap_or(0));
    match slow(backend::now) {
        Some(now) if !limit.is_zero() => Patience::Until(now + limit),
        _ => Patience::Forever,
    }
}

fn has_room(fd: RawFd, ms: i32) -> bool {
    slow(|| poll(fd, ms)).is_some_and(|n| n > 0)
}

fn poll(fd: RawFd, ms: i32) -> c_int {
    let mut p = libc::pollfd { fd, events: libc::POLLOUT, revents: 0 };
    // SAFETY: `p` outlives the call.
    unsafe { real::poll(&raw mut p, 1, ms) }
}

/// The kernel waits for room before it looks at the data. What cannot be read is not sent, so this ends as a blocking
/// send ends: with room, or with EINTR unless the handler has SA_RESTART, which no other call could tell.
fn wait_forever(fd: RawFd) -> Result<(), c_int> {
    let mut name = sys::to_raw(&SocketAddrV6::new(Ipv6Addr::LOCALHOST, 0, 0, 0));
    let nowhere = std::ptr::without_provenance_mut::<c_void>(1);
    let mut iov = libc::iovec { iov_base: nowhere, iov_len: HEADER };
    // SAFETY: all zero is a valid value of this plain structure.
    let mut msg: libc::msghdr = unsafe { std::mem::zeroed() };
    (msg.msg_name, msg.msg_namelen) = ((&raw mut name).cast(), size_of_val(&name) as _);
    (msg.msg_iov, msg.msg_iovlen) = (&raw mut iov, 1);
    // SAFETY: the header points to locals; the kernel finds that nothing can be read at the data's address.
    let r = unsafe { real::sendmsg(fd, &raw const msg, libc::MSG_NOSIGNAL) };
    match errno() {
        libc::EINTR if r < 0 => Err(libc::EINTR),
        libc::EFAULT => Ok(()),
        // Without a route to `::1`, say.
        _ => match poll(fd, -1) {
            n if n < 0 => Err(errno()),
            _ => Ok(()),
        },
    }
}

/// Who watches for an edge (EPOLLET) gets one, as nothing ever filled the program's own socket: the kernel wakes those
/// who wait for room when it takes a buffer size, here the one that the socket has.
fn tell_writable(fd: c_int) {
    let (level, name) = (libc::SOL_SOCKET, libc::SO_SNDBUF);
    if let Ok(size) = sys::int_option(fd, level, name)
        // Without CAP_NET_ADMIN the size may not exceed a limit, which it hardly does.
        && sys::set_int(fd, level, libc::SO_SNDBUFFORCE, size / 2).is_err()
    {
        let _ = sys::set_int(fd, level, name, size / 2);
    }
}
