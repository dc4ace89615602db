//! Birth, binding, connecting, duplication and death of sockets.

use super::super::guard::{self, errno, set_errno, slow};
use super::super::state::{Mode, Socket, flag};
use super::super::table::{self, Pinned};
use super::super::{Bypass, Outcome, backend, detach, ports, real, registry, setup, sys};
use super::{engine, marking, unconnected};
use crate::addr::{UlidPair, is_servable};
use crate::driver::{reserve, serves_raw, udp};
use libc::{c_int, sockaddr, socklen_t};
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
        match served(domain, kind, protocol).filter(|_| !backend::in_sandbox()) {
            Some(protocol) => drop(track(fd, flag::ELIGIBLE, protocol)),
            None => drop(table::forget(fd)),
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

/// The protocol of a socket that the shim may serve: IPv6 UDP, or a raw socket (DESIGN section 4).
fn served(domain: c_int, kind: c_int, protocol: c_int) -> Option<u8> {
    match (domain, kind, protocol) {
        (libc::AF_INET6, libc::SOCK_DGRAM, 0 | libc::IPPROTO_UDP) => Some(udp::UDP),
        (libc::AF_INET6, libc::SOCK_RAW, _) => u8::try_from(protocol).ok().filter(|p| serves_raw(*p)),
        _ => None,
    }
}

/// Start to track `fd`. Without effect inside our own code.
fn track(fd: c_int, flags: u32, protocol: u8) -> Option<Pinned> {
    if reserve::is_short() {
        table::forget(fd);
        return None;
    }
    slow(|| {
        backend::watch_forks();
        let socket = Socket::create(flags);
        if protocol != udp::UDP {
            socket.set_raw(protocol);
        }
        table::install(fd, socket);
    })?;
    table::pin(fd)
}

/// A descriptor that came from elsewhere (inherited, received): track it if it is one that the shim may serve.
pub(super) fn adopt(fd: c_int) -> Option<Pinned> {
    let known = table::pin(fd);
    if backend::in_sandbox() {
        return known.filter(|socket| socket.mode() != Mode::Plain);
    }
    if known.is_some() {
        return known;
    }
    let option = |name| sys::int_option(fd, libc::SOL_SOCKET, name).ok();
    let found = || served(option(libc::SO_DOMAIN)?, option(libc::SO_TYPE)?, option(libc::SO_PROTOCOL)?);
    let on_device = || slow(|| sys::is_on_device(fd)) == Some(true);
    let protocol = slow(found)??;
    let socket = track(fd, if on_device() { flag::ON_DEVICE } else { flag::ELIGIBLE }, protocol)?;
    slow(|| marking::learn_options(&socket, fd));
    Some(socket)
}

/// At load time: sockets that an earlier program of this process left detached when it called exec. The kernel has
/// forgotten their peers; the filter that we attached has not.
pub fn recognise() {
    // Without /proc they stay sockets without peer.
    let Ok(open) = std::fs::read_dir("/proc/self/fd") else { return };
    let numbers = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<c_int>().ok());
    for fd in numbers.collect::<Vec<_>>() {
        let saved = errno();
        if sys::int_option(fd, libc::SOL_SOCKET, libc::SO_DOMAIN) == Ok(libc::AF_INET6)
            && sys::int_option(fd, libc::SOL_SOCKET, libc::SO_PROTOCOL) == Ok(libc::IPPROTO_UDP)
            && let Some((local, peer)) = detach::names_in_filter(fd)
            && let Some(name) =
                sys::local_name(fd).filter(|n| n.ip().is_unspecified() || n.ip().is_loopback())
            && let Some(socket) =
                track(fd, flag::ELIGIBLE | flag::TRIED | flag::OUR_FILTER | flag::NO_CELL, udp::UDP)
        {
            slow(|| detach::again(&socket, fd, local, peer, name.port()));
        }
        set_errno(saved);
    }
}

/// Any socket, for the sake of its SHIM options; `None` if `fd` is no socket (or we are inside our own code).
pub(in super::super) fn adopt_any(fd: c_int) -> Option<Pinned> {
    table::pin(fd).or_else(|| adopt(fd)).or_else(|| track(fd, 0, udp::UDP))
}

/// `bind(2)`. Makes the call itself.
///
/// # Safety
/// As the libc function.
pub unsafe fn bind(fd: c_int, addr: *const sockaddr, len: socklen_t) -> Outcome<c_int> {
    if sys::family(addr, len) != Some(libc::AF_INET6) {
        return Err(Bypass);
    }
    // SAFETY: readable, as the kernel says.
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
            super::registered();
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
    let Some(family) = sys::family(addr, len) else { return Err(Bypass) };
    if family != libc::AF_INET6 && table::peek(fd).is_none() {
        return Err(Bypass);
    }
    let Some(socket) = adopt(fd).filter(|s| s.has(flag::ELIGIBLE)) else { return Err(Bypass) };
    // SAFETY: readable, as the kernel says.
    let to = unsafe { sys::read_v6(addr, len) };
    if setup::reconnect(&socket, fd, to.as_ref()) {
        set_errno(libc::EALREADY);
        return Ok(-1);
    }
    let servable = to.filter(|to| is_servable(to.ip()) && (to.port() != 0 || socket.has(flag::RAW)));
    let our_source = servable.and_then(|to| slow(|| prepare(&socket, fd, &to))).unwrap_or(false);
    // SAFETY: as above.
    let mut r = unsafe { real::connect(fd, addr, len) };
    if r != 0 && our_source {
        let _ = slow(|| sys::disconnect(fd));
        // SAFETY: as above.
        r = unsafe { real::connect(fd, addr, len) };
    }
    if r == 0 {
        slow(|| match (family, to) {
            (libc::AF_UNSPEC, _) => disconnected(&socket, fd),
            (_, Some(to)) if is_servable(to.ip()) => connected(&socket, fd, to),
            _ => plain(&socket, fd),
        });
        if let Some(e) = setup::connected(&socket, fd) {
            set_errno(e);
            return Ok(-1);
        }
    }
    Ok(r)
}

/// Before the connect of an eligible socket: the engine, and a source with an identity. `true`: the socket has that one
/// now, and is connected elsewhere until it is connected to its peer.
fn prepare(socket: &Pinned, fd: c_int, to: &SocketAddrV6) -> bool {
    socket.set(flag::TRIED, true);
    let Some(engine) = backend::ensure().filter(|e| !e.backend.excludes(to.ip())) else {
        return false;
    };
    let open = |name: &SocketAddrV6| match socket.has(flag::RAW) {
        true => name.ip().is_unspecified(),
        false => name.port() == 0,
    };
    if !engine.prefer_identity_source || !sys::local_name(fd).is_some_and(|name| open(&name)) {
        return false;
    }
    let better = kernel_source(fd, to).and_then(|s| engine.backend.identity_source_for(s));
    match better {
        // Once connected, a raw socket hears nothing any more when it is disconnected.
        Some(source) if socket.has(flag::RAW) => {
            let bound = sys::bind(fd, &SocketAddrV6::new(source, 0, 0, 0)).is_ok();
            socket.set(flag::APP_BOUND, bound);
            false
        }
        Some(source) => ports::take_source(fd, source),
        None => false,
    }
}

/// After a successful connect to a servable peer.
pub(super) fn connected(socket: &Pinned, fd: c_int, to: SocketAddrV6) {
    detach::forget(socket, fd);
    let name = sys::local_name(fd);
    let local = name.map_or(Ipv6Addr::UNSPECIFIED, |n| *n.ip());
    {
        let mut inner = socket.inner();
        inner.local = local;
        let port = if socket.has(flag::RAW) { 0 } else { to.port() };
        inner.peer = Some(SocketAddrV6::new(*to.ip(), port, to.flowinfo(), to.scope_id()));
    }
    socket.cookie.store(sys::cookie(fd), Relaxed);
    registry::set_port(socket.record(), name.map_or(0, |n| n.port()));
    let served = if socket.has(flag::DONT_SHIM) {
        socket.leave_cell();
        socket.set(flag::NO_CELL, true);
        true
    } else {
        super::join(socket)
    };
    socket.set_mode(if served { Mode::Connected } else { Mode::Plain });
    socket.list_names();
    super::registered();
    super::flow_began(socket, UlidPair { local, peer: *to.ip() }, &to);
    super::look_at_ancillary_data(socket, fd);
}

/// After a connect to a peer that Shim6 does not serve.
fn plain(socket: &Pinned, fd: c_int) {
    detach::forget(socket, fd);
    socket.set_mode(Mode::Plain);
    socket.leave_cell();
    super::look_at_ancillary_data(socket, fd);
    socket.inner().peer = None;
    socket.list_names();
}

/// The application dissolved the association.
fn disconnected(socket: &Pinned, fd: c_int) {
    detach::forget(socket, fd);
    socket.leave_cell();
    let bound = socket.has(flag::APP_BOUND);
    {
        let mut inner = socket.inner();
        inner.peer = None;
        inner.local = match bound {
            true => sys::local_name(fd).map_or(Ipv6Addr::UNSPECIFIED, |n| *n.ip()),
            false => Ipv6Addr::UNSPECIFIED,
        };
    }
    socket.list_names();
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
    if socket.has(flag::RAW) {
        return true;
    }
    if socket.local_port.load(Relaxed) == 0 {
        if sys::local_name(fd).is_some_and(|n| n.port() == 0) {
            ports::bind_explicitly(fd, Ipv6Addr::UNSPECIFIED);
        }
        super::learn_port(socket, fd);
    }
    socket.local_port.load(Relaxed) != 0
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
