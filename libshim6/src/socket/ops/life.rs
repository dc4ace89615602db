//! Birth, binding, connecting, duplication and death of sockets.

use super::super::guard::{self, errno, set_errno, slow};
use super::super::state::{Mode, Socket, flag};
use super::super::table::{self, Pinned};
use super::super::{Bypass, Outcome, backend, detach, ports, real, registry, sys};
use super::{cell_of, engine, unconnected};
use crate::addr::is_servable;
use crate::driver::is_own_fd;
use libc::{c_int, c_uint, c_void, sockaddr, socklen_t};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::sync::atomic::Ordering::*;

/// `socket(2)`. Makes the call itself.
///
/// # Safety
/// As the libc function.
pub unsafe fn socket(domain: c_int, ty: c_int, protocol: c_int) -> c_int {
    // SAFETY: plain integers.
    let fd = unsafe { real::socket(domain, ty, protocol) };
    if fd >= 0 && !guard::inside() {
        let kind = ty & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC);
        let udp = protocol == 0 || protocol == libc::IPPROTO_UDP;
        if domain == libc::AF_INET6 && kind == libc::SOCK_DGRAM && udp {
            track(fd, flag::ELIGIBLE);
        } else {
            table::forget(fd);
        }
    }
    fd
}

/// `socketpair(2)`: only forgets what these numbers were. Makes the call itself.
///
/// # Safety
/// As the libc function.
pub unsafe fn socketpair(domain: c_int, ty: c_int, protocol: c_int, sv: *mut c_int) -> c_int {
    // SAFETY: the application's arguments.
    let r = unsafe { real::socketpair(domain, ty, protocol, sv) };
    if r == 0 {
        // SAFETY: the kernel has written both.
        unsafe {
            table::forget(*sv);
            table::forget(*sv.add(1));
        }
    }
    r
}

/// Start to track `fd`. Without effect inside our own code.
fn track(fd: c_int, flags: u32) -> Option<Pinned> {
    slow(|| {
        backend::watch_forks();
        table::install(fd, Socket::create(flags));
    })?;
    table::pin(fd)
}

/// A descriptor that came from elsewhere (inherited, received): track it if it is an IPv6 UDP socket.
fn adopt(fd: c_int) -> Option<Pinned> {
    if let Some(socket) = table::pin(fd) {
        return Some(socket);
    }
    let option = |name| sys::int_option(fd, libc::SOL_SOCKET, name).ok();
    let eligible = slow(|| {
        option(libc::SO_DOMAIN) == Some(libc::AF_INET6)
            && option(libc::SO_TYPE) == Some(libc::SOCK_DGRAM)
            && option(libc::SO_PROTOCOL) == Some(libc::IPPROTO_UDP)
    })?;
    if eligible { track(fd, flag::ELIGIBLE) } else { None }
}

/// Any socket, for the sake of its SHIM options; `None` if `fd` is no socket (or we are inside our own code).
pub(in super::super) fn adopt_any(fd: c_int) -> Option<Pinned> {
    adopt(fd).or_else(|| track(fd, 0))
}

/// `bind(2)`. Makes the call itself.
///
/// # Safety
/// As the libc function.
pub unsafe fn bind(fd: c_int, addr: *const sockaddr, len: socklen_t) -> Outcome<c_int> {
    // SAFETY: the application's arguments.
    let Some(to) = (unsafe { sys::read_v6(addr, len) }) else { return Err(Bypass) };
    let Some(socket) = adopt(fd).filter(|s| s.has(flag::ELIGIBLE)) else { return Err(Bypass) };
    // SAFETY: as above.
    let r = unsafe { real::bind(fd, addr, len) };
    if r == 0 && (to.ip().is_unspecified() || is_servable(to.ip())) {
        slow(|| {
            if !to.ip().is_unspecified() {
                socket.inner().local = *to.ip();
                socket.set(flag::APP_BOUND, true);
            }
            super::activate(&socket, fd);
            super::learn_port(&socket, fd);
        });
    } else if r == 0 {
        // An address that Shim6 does not serve.
        socket.set(flag::TRIED, true);
        socket.set_mode(Mode::Plain);
    }
    Ok(r)
}

/// `connect(2)`. Makes the call itself.
///
/// # Safety
/// As the libc function.
pub unsafe fn connect(fd: c_int, addr: *const sockaddr, len: socklen_t) -> Outcome<c_int> {
    // SAFETY: the application's arguments.
    let family = match addr.is_null() || (len as usize) < size_of::<libc::sa_family_t>() {
        true => return Err(Bypass),
        false => c_int::from(unsafe { (*addr).sa_family }),
    };
    if family != libc::AF_INET6 && table::peek(fd).is_none() {
        return Err(Bypass);
    }
    let Some(socket) = adopt(fd).filter(|s| s.has(flag::ELIGIBLE)) else { return Err(Bypass) };
    // SAFETY: as above.
    let to = unsafe { sys::read_v6(addr, len) };
    if let Some(to) = to.filter(|to| is_servable(to.ip()) && to.port() != 0) {
        slow(|| prepare(&socket, fd, &to));
    }
    // SAFETY: as above.
    let r = unsafe { real::connect(fd, addr, len) };
    if socket.has(flag::OUR_PREFERENCE) {
        slow(|| ports::drop_preference(fd));
        socket.set(flag::OUR_PREFERENCE, false);
    }
    if r == 0 {
        slow(|| match (family, to) {
            (libc::AF_UNSPEC, _) => disconnected(&socket, fd),
            (_, Some(to)) if is_servable(to.ip()) => connected(&socket, fd, to),
            _ => plain(&socket, fd),
        });
    }
    Ok(r)
}

/// Before the connect of an eligible socket: the engine, and a port that outlives a disconnect.
fn prepare(socket: &Pinned, fd: c_int, to: &SocketAddrV6) {
    socket.set(flag::TRIED, true);
    let Some(engine) = backend::ensure() else { return };
    if sys::local_name(fd).is_none_or(|name| name.port() != 0) {
        return;
    }
    let better = match engine.prefer_identity_source {
        true => kernel_source(fd, to).and_then(|s| engine.backend.identity_source_for(s)),
        false => None,
    };
    if let Some(source) = better {
        if ports::prefer(fd, to, source) {
            socket.set(flag::OUR_PREFERENCE, true);
            return;
        }
        if ports::bind_explicitly(fd, source) {
            return;
        }
    }
    ports::bind_explicitly(fd, Ipv6Addr::UNSPECIFIED);
}

/// After a successful connect to a servable peer.
fn connected(socket: &Pinned, fd: c_int, to: SocketAddrV6) {
    detach::forget(socket, fd);
    let name = sys::local_name(fd);
    let local = name.map_or(Ipv6Addr::UNSPECIFIED, |n| *n.ip());
    {
        let mut inner = socket.inner();
        inner.local = local;
        inner.peer = Some(to);
    }
    socket.cookie.store(sys::cookie(fd), Relaxed);
    registry::set_port(socket.record(), name.map_or(0, |n| n.port()));
    let cell = cell_of(local, *to.ip());
    let served = cell.is_some();
    socket.set(flag::NO_CELL, false);
    socket.set_cell(cell);
    hide_nothing(socket, fd);
    socket.set_mode(if served { Mode::Connected } else { Mode::Plain });
}

/// Switch off the destination addresses that we asked for; a connected socket's are known.
fn hide_nothing(socket: &Pinned, fd: c_int) {
    if socket.has(flag::OUR_PKTINFO) {
        if !socket.has(flag::APP_PKTINFO) {
            let _ = sys::set_int(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 0);
        }
        socket.set(flag::OUR_PKTINFO, false);
    }
}

/// After a connect to a peer that Shim6 does not serve.
fn plain(socket: &Pinned, fd: c_int) {
    detach::forget(socket, fd);
    socket.set_mode(Mode::Plain);
    socket.set_cell(None);
    hide_nothing(socket, fd);
    socket.inner().peer = None;
}

/// The application dissolved the association.
fn disconnected(socket: &Pinned, fd: c_int) {
    detach::forget(socket, fd);
    socket.set_cell(None);
    let bound = socket.has(flag::APP_BOUND);
    {
        let mut inner = socket.inner();
        inner.peer = None;
        inner.local = match bound {
            true => sys::local_name(fd).map_or(Ipv6Addr::UNSPECIFIED, |n| *n.ip()),
            false => Ipv6Addr::UNSPECIFIED,
        };
    }
    registry::set_port(socket.record(), sys::local_name(fd).map_or(0, |n| n.port()));
    match engine() {
        Some(_) => unconnected(socket, fd),
        None => socket.set_mode(Mode::Plain),
    }
}

/// The source that the kernel would choose for a datagram to `to`, found with a scratch socket that has the routing
/// options of `fd`. Inside `guard::slow` only.
pub(in super::super) fn kernel_source(fd: c_int, to: &SocketAddrV6) -> Option<Ipv6Addr> {
    let scratch =
        sys::socket(libc::AF_INET6, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, libc::IPPROTO_UDP).ok()?;
    for (level, name) in
        [(libc::SOL_SOCKET, libc::SO_MARK), (libc::IPPROTO_IPV6, libc::IPV6_ADDR_PREFERENCES)]
    {
        if let Ok(value) = sys::int_option(fd, level, name)
            && (value != 0 || level == libc::IPPROTO_IPV6)
        {
            let _ = sys::set_int(scratch, level, name, value);
        }
    }
    let mut device = [0u8; 16];
    if let Ok(len) = sys::get_option(fd, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, &mut device)
        && len > 0
    {
        let _ = sys::set_option(scratch, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, &device[..len.min(16)]);
    }
    let source = sys::connect(scratch, to).ok().and_then(|()| sys::local_name(scratch));
    sys::close(scratch);
    source.map(|s| *s.ip())
}

/// Has the socket a local port, if need be a fresh one? Inside `guard::slow` only.
pub(super) fn have_port(socket: &Pinned, fd: c_int) -> bool {
    if socket.local_port.load(Relaxed) == 0 {
        if sys::local_name(fd).is_some_and(|n| n.port() == 0) {
            ports::bind_explicitly(fd, Ipv6Addr::UNSPECIFIED);
        }
        super::learn_port(socket, fd);
    }
    socket.local_port.load(Relaxed) != 0
}

/// Before a descriptor is closed or replaced. `Err`: it is the engine's own and must stay.
fn before_close(fd: c_int) -> Result<(), Bypass> {
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
            if forgotten.is_none() {
                table::forget(fd);
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
    // SAFETY (all): plain integers.
    if flags & CLOEXEC != 0 || first > last || !table::is_ours() {
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
            result = unsafe { real::close_range(from, fd - 1, flags) };
        }
        from = fd + 1;
    }
    match from <= last && result == 0 {
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

/// `shutdown(2)`. Makes the call itself.
///
/// # Safety
/// As the libc function.
pub unsafe fn shutdown(fd: c_int, how: c_int) -> Outcome<c_int> {
    let Some(socket) = table::pin(fd) else { return Err(Bypass) };
    // SAFETY: plain integers.
    let r = unsafe { real::shutdown(fd, how) };
    // The kernel shuts an unconnected UDP socket down although it answers ENOTCONN.
    if r == 0 || errno() == libc::ENOTCONN {
        if how == libc::SHUT_WR || how == libc::SHUT_RDWR {
            socket.set(flag::SHUT_WR, true);
        }
        if r != 0 && socket.mode() == Mode::Detached {
            return Ok(0);
        }
    }
    Ok(r)
}
