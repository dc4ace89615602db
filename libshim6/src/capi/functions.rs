//! `shim6_` and the POSIX name, with the POSIX signature: the socket calls for programs that link the library.
//!
//! In: the arguments of the libc function. Out: its value and `errno`. Each is one call of a macro that puts
//! `super::guard` around what the preload library's hook of that name does; a test of `shim6-preload` sees to it.

#![allow(clippy::missing_safety_doc)]

use super::guard;
use crate::ask_or_call;
use crate::socket::{ops, real};
use libc::{
    c_int, c_uint, c_void, iovec, mmsghdr, msghdr, nfds_t, off_t, pollfd, size_t, sockaddr, socklen_t,
    ssize_t, timespec,
};

/// An operation that may bypass.
macro_rules! asked {
    ($border:ident, $op:ident($($arg:ident),*)) => {
        // SAFETY: the arguments are the application's, for this very function.
        guard::$border(|ours| unsafe { if ours { ask_or_call!($op($($arg),*)) } else { real::$op($($arg),*) } })
    };
}

/// An operation that makes the plain call itself.
macro_rules! done {
    ($border:ident, $op:ident($($arg:ident),*)) => {
        // SAFETY: the arguments are the application's, for this very function.
        guard::$border(|ours| unsafe { if ours { ops::$op($($arg),*) } else { real::$op($($arg),*) } })
    };
}

/// A call that the shim has nothing to do with.
macro_rules! plain {
    ($border:ident, $op:ident($($arg:ident),*)) => {
        // SAFETY: the arguments are the application's, for this very function.
        guard::$border(|_| unsafe { real::$op($($arg),*) })
    };
}

/// `socket(2)`. The descriptor is the kernel's own: `poll`, `select` and `epoll` take it as any other.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim6_socket(domain: c_int, ty: c_int, protocol: c_int) -> c_int {
    done!(short, socket(domain, ty, protocol))
}

/// `socketpair(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim6_socketpair(
    domain: c_int,
    ty: c_int,
    protocol: c_int,
    sv: *mut c_int,
) -> c_int {
    done!(short, socketpair(domain, ty, protocol, sv))
}

/// `bind(2)`: the address is a ULID.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim6_bind(fd: c_int, addr: *const sockaddr, len: socklen_t) -> c_int {
    asked!(short, bind(fd, addr, len))
}

/// `connect(2)`: the address is a ULID of the peer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim6_connect(fd: c_int, addr: *const sockaddr, len: socklen_t) -> c_int {
    asked!(waiting, connect(fd, addr, len))
}

/// `shutdown(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim6_shutdown(fd: c_int, how: c_int) -> c_int {
    asked!(short, shutdown(fd, how))
}

/// `close(2)`. What came from `shim6_socket` is closed by this, or the shim takes the next descriptor of that number for
/// it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim6_close(fd: c_int) -> c_int {
    done!(waiting, close(fd))
}

/// `getsockname(2)`: the local ULID, whatever locators are in use.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim6_getsockname(fd: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> c_int {
    asked!(short, getsockname(fd, addr, len))
}

/// `getpeername(2)`: the peer's ULID, whatever locators are in use.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim6_getpeername(fd: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> c_int {
    asked!(short, getpeername(fd, addr, len))
}

/// `getsockopt(2)`, with SOL_SHIM.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim6_getsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    asked!(short, getsockopt(fd, level, name, value, len))
}

/// `setsockopt(2)`, with SOL_SHIM.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim6_setsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    len: socklen_t,
) -> c_int {
    asked!(waiting, setsockopt(fd, level, name, value, len))
}

/// `send(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim6_send(fd: c_int, buf: *const c_void, len: size_t, flags: c_int) -> ssize_t {
    asked!(waiting, send(fd, buf, len, flags))
}

/// `sendto(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim6_sendto(
    fd: c_int,
    buf: *const c_void,
    len: size_t,
    flags: c_int,
    addr: *const sockaddr,
    alen: socklen_t,
) -> ssize_t {
    asked!(waiting, sendto(fd, buf, len, flags, addr, alen))
}

/// `sendmsg(2)`, with SHIM_LOC_LOCAL_SEND, SHIM_LOC_PEER_SEND and SHIM_FEEDBACK.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim6_sendmsg(fd: c_int, msg: *const msghdr, flags: c_int) -> ssize_t {
    asked!(waiting, sendmsg(fd, msg, flags))
}

/// `sendmmsg(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim6_sendmmsg(fd: c_int, msgs: *mut mmsghdr, n: c_uint, flags: c_int) -> c_int {
    asked!(waiting, sendmmsg(fd, msgs, n, flags))
}

/// `write(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim6_write(fd: c_int, buf: *const c_void, len: size_t) -> ssize_t {
    asked!(waiting, write(fd, buf, len))
}

/// `writev(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim6_writev(fd: c_int, iov: *const iovec, n: c_int) -> ssize_t {
    asked!(waiting, writev(fd, iov, n))
}

/// `recv(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim6_recv(fd: c_int, buf: *mut c_void, len: size_t, flags: c_int) -> ssize_t {
    asked!(waiting, recv(fd, buf, len, flags))
}

/// `recvfrom(2)`: the address is the peer's ULID.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim6_recvfrom(
    fd: c_int,
    buf: *mut c_void,
    len: size_t,
    flags: c_int,
    addr: *mut sockaddr,
    alen: *mut socklen_t,
) -> ssize_t {
    asked!(waiting, recvfrom(fd, buf, len, flags, addr, alen))
}

/// `recvmsg(2)`, with SHIM_LOC_LOCAL_RECV and SHIM_LOC_PEER_RECV.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim6_recvmsg(fd: c_int, msg: *mut msghdr, flags: c_int) -> ssize_t {
    asked!(waiting, recvmsg(fd, msg, flags))
}

/// `recvmmsg(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim6_recvmmsg(
    fd: c_int,
    msgs: *mut mmsghdr,
    n: c_uint,
    flags: c_int,
    timeout: *mut timespec,
) -> c_int {
    asked!(waiting, recvmmsg(fd, msgs, n, flags, timeout))
}

/// `read(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim6_read(fd: c_int, buf: *mut c_void, len: size_t) -> ssize_t {
    asked!(waiting, read(fd, buf, len))
}

/// `readv(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim6_readv(fd: c_int, iov: *const iovec, n: c_int) -> ssize_t {
    asked!(waiting, readv(fd, iov, n))
}

/// `preadv2(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim6_preadv2(
    fd: c_int,
    iov: *const iovec,
    n: c_int,
    offset: off_t,
    flags: c_int,
) -> ssize_t {
    asked!(waiting, preadv2(fd, iov, n, offset, flags))
}

/// `pwritev2(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim6_pwritev2(
    fd: c_int,
    iov: *const iovec,
    n: c_int,
    offset: off_t,
    flags: c_int,
) -> ssize_t {
    asked!(waiting, pwritev2(fd, iov, n, offset, flags))
}

/// `sendfile(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim6_sendfile(
    fd: c_int,
    from: c_int,
    offset: *mut off_t,
    count: size_t,
) -> ssize_t {
    asked!(waiting, sendfile(fd, from, offset, count))
}

/// `splice(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim6_splice(
    from: c_int,
    from_offset: *mut off_t,
    fd: c_int,
    offset: *mut off_t,
    len: size_t,
    flags: c_uint,
) -> ssize_t {
    asked!(waiting, splice(from, from_offset, fd, offset, len, flags))
}

/// `dup(2)`: the copy shares options and context.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim6_dup(fd: c_int) -> c_int {
    done!(short, dup(fd))
}

/// `dup2(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim6_dup2(old: c_int, new_fd: c_int) -> c_int {
    done!(short, dup2(old, new_fd))
}

/// `dup3(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim6_dup3(old: c_int, new_fd: c_int, flags: c_int) -> c_int {
    done!(short, dup3(old, new_fd, flags))
}

/// `fcntl(2)`; variadic in C, where the third argument travels like a pointer on all Linux ABIs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim6_fcntl(fd: c_int, cmd: c_int, arg: *mut c_void) -> c_int {
    done!(waiting, fcntl(fd, cmd, arg))
}

/// `poll(2)`, for completeness: it is the plain function, as are `select` and `epoll_wait`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim6_poll(fds: *mut pollfd, n: nfds_t, timeout: c_int) -> c_int {
    plain!(waiting, poll(fds, n, timeout))
}
