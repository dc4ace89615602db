//! Receiving: the plain call on a connected socket; on an unconnected one a recvmsg that also asks to which of our
//! addresses a datagram came, and hides that from the application.

use super::super::guard::{self, slow};
use super::super::peers::Peer;
use super::super::state::{Mode, flag};
use super::super::table::{self, Pinned};
use super::super::{Bypass, Outcome, backend, detach, peek, real, sys};
use super::bare;
use super::lend::{Came, Lent, Scratch, Shown, came, give_back, is_refused};
use super::names::hides_path_errors;
use super::send::MAX_BATCH;
use super::{active, engine, is_path_error, learn_port, note_received, own_cell, quick, unconnected};
use crate::addr::{LocatorPair, UlidPair, is_servable};
use crate::driver::cell::{Cell, epoch};
use crate::driver::kernel::kernel;
use crate::engine::LocatorInfo;
use libc::{c_int, c_void, iovec, msghdr, sockaddr, socklen_t};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::ptr;
use std::sync::atomic::Ordering::Relaxed;

/// A connected socket received `r` octets, or failed. `None`: an error of the path that the application must not
/// see; receive again.
#[inline]
pub(super) fn received(socket: &Pinned, r: isize, flags: c_int) -> Option<isize> {
    if r >= 0 {
        if flags & (libc::MSG_PEEK | libc::MSG_ERRQUEUE) == 0
            && !socket.has(flag::DONT_SHIM)
            && let Some(cell) = own_cell(socket)
        {
            note_received(socket, cell, r as usize, None);
        }
    } else if is_path_error(guard::errno()) && hides_path_errors(socket) {
        return None;
    }
    Some(r)
}

#[inline]
fn connected(socket: &Pinned, flags: c_int, mut call: impl FnMut() -> isize) -> Outcome<isize> {
    loop {
        if let Some(r) = received(socket, call(), flags) {
            return Ok(r);
        }
    }
}

/// As [`connected`], in the usual case ([`quick`]). `None`: another case, or an error of the path that is hidden.
#[inline(always)]
fn quickly(fd: c_int, flags: c_int, without: u32, call: impl FnOnce() -> isize) -> Option<isize> {
    let meter = quick::receives(fd, flags, without)?;
    quick::received(fd, meter, call())
}

/// `recv(2)`.
///
/// # Safety
/// As the libc function.
#[inline(always)]
pub unsafe fn recv(fd: c_int, buf: *mut c_void, len: usize, flags: c_int) -> Outcome<isize> {
    // SAFETY: the application's arguments.
    unsafe { into(fd, (buf, len), flags, NOWHERE, || real::recv(fd, buf, len, flags)) }
}

/// `read(2)`.
///
/// # Safety
/// As the libc function.
#[inline(always)]
pub unsafe fn read(fd: c_int, buf: *mut c_void, len: usize) -> Outcome<isize> {
    if len == 0 {
        // The kernel takes no datagram then.
        return Err(Bypass);
    }
    // SAFETY: the application's arguments.
    unsafe { into(fd, (buf, len), 0, NOWHERE, || real::read(fd, buf, len)) }
}

/// `recvfrom(2)`.
///
/// # Safety
/// As the libc function.
#[inline(always)]
pub unsafe fn recvfrom(
    fd: c_int,
    buf: *mut c_void,
    len: usize,
    flags: c_int,
    addr: *mut sockaddr,
    alen: *mut socklen_t,
) -> Outcome<isize> {
    // SAFETY: the application's arguments.
    unsafe { into(fd, (buf, len), flags, (addr, alen), || real::recvfrom(fd, buf, len, flags, addr, alen)) }
}

/// Where an application wants the source of a datagram, and its length.
type Place = (*mut sockaddr, *mut socklen_t);
const NOWHERE: Place = (ptr::null_mut(), ptr::null_mut());

/// Receive into a plain buffer; `plain` is the application's call.
#[inline(always)]
unsafe fn into(
    fd: c_int,
    buffer: (*mut c_void, usize),
    flags: c_int,
    source: Place,
    plain: impl Fn() -> isize,
) -> Outcome<isize> {
    match quickly(fd, flags, 0, &plain) {
        Some(r) => Ok(r),
        // SAFETY: the application's arguments.
        None => unsafe { slowly(fd, buffer, flags, source, &plain) },
    }
}

#[inline(never)]
unsafe fn slowly(
    fd: c_int,
    (buf, len): (*mut c_void, usize),
    flags: c_int,
    (addr, alen): Place,
    plain: &dyn Fn() -> isize,
) -> Outcome<isize> {
    // SAFETY: the application's arguments.
    if let Some(result) = unsafe { unconnected::receive(fd, buf, len, flags, addr, alen) } {
        return result;
    }
    let socket = active(fd).ok_or(Bypass)?;
    if socket.mode() == Mode::Connected {
        return connected(&socket, flags, plain);
    }
    // SAFETY: as above.
    unsafe { plain_buffer(&socket, fd, buf, len, flags, addr, alen) }
}

/// `readv(2)`.
///
/// # Safety
/// As the libc function.
#[inline]
pub unsafe fn readv(fd: c_int, iov: *const iovec, n: c_int) -> Outcome<isize> {
    // SAFETY: the application's arguments.
    unsafe { vectored(fd, iov, n, 0, || real::readv(fd, iov, n)) }
}

/// `readv` and its like; `call` is the application's own.
#[inline]
pub(super) unsafe fn vectored(
    fd: c_int,
    iov: *const iovec,
    n: c_int,
    flags: c_int,
    mut call: impl FnMut() -> isize,
) -> Outcome<isize> {
    if n <= 0 || n as usize > MAX_BATCH || !sys::can_read(iov, n as usize * size_of::<iovec>()) {
        return Err(Bypass);
    }
    // SAFETY: the application passed `n` structures.
    let parts = unsafe { std::slice::from_raw_parts(iov, n as usize) };
    if parts.iter().all(|v| v.iov_len == 0) {
        return Err(Bypass);
    }
    if let Some(r) = quickly(fd, 0, 0, &mut call) {
        return Ok(r);
    }
    let socket = active(fd).ok_or(Bypass)?;
    if socket.mode() == Mode::Connected {
        return connected(&socket, 0, call);
    }
    let mut msg = message(iov.cast_mut(), n as usize);
    // SAFETY: as above.
    unsafe { receive(&socket, fd, &mut msg, flags) }
}

/// A call by which the kernel hands what it received to something else than the application.
pub(super) fn passed_on(fd: c_int, call: impl FnMut() -> isize) -> Outcome<isize> {
    let socket = active(fd).filter(|socket| socket.mode() == Mode::Connected).ok_or(Bypass)?;
    connected(&socket, 0, call)
}

/// `recvmsg(2)`.
///
/// # Safety
/// As the libc function.
#[inline]
pub unsafe fn recvmsg(fd: c_int, msg: *mut msghdr, flags: c_int) -> Outcome<isize> {
    // SAFETY: the application's arguments.
    if let Some(r) = quickly(fd, flags, flag::LOOKED_AT, || unsafe { real::recvmsg(fd, msg, flags) }) {
        return Ok(r);
    }
    let socket = active(fd).ok_or(Bypass)?;
    if socket.mode() == Mode::Connected && !socket.has(flag::LOOKED_AT) {
        // SAFETY: as above.
        return connected(&socket, flags, || unsafe { real::recvmsg(fd, msg, flags) });
    }
    // SAFETY: as above.
    match sys::can_write(msg, size_of::<msghdr>()) {
        // SAFETY: as above.
        true => unsafe { receive(&socket, fd, &mut *msg, flags) },
        false => Err(Bypass),
    }
}

fn message(iov: *mut iovec, n: usize) -> msghdr {
    // SAFETY: all zero is a valid value of this plain structure.
    let mut msg: msghdr = unsafe { std::mem::zeroed() };
    msg.msg_iov = iov;
    msg.msg_iovlen = n as _;
    msg
}

unsafe fn plain_buffer(
    socket: &Pinned,
    fd: c_int,
    buf: *mut c_void,
    len: usize,
    flags: c_int,
    addr: *mut sockaddr,
    alen: *mut socklen_t,
) -> Outcome<isize> {
    let mut iov = iovec { iov_base: buf, iov_len: len };
    let mut msg = message(&raw mut iov, 1);
    if !addr.is_null() {
        if !sys::can_write(alen, size_of::<socklen_t>()) {
            return Err(Bypass);
        }
        msg.msg_name = addr.cast();
        // SAFETY: the application's argument.
        msg.msg_namelen = unsafe { *alen };
    }
    // SAFETY: the application's buffers and a local one.
    let r = unsafe { receive(socket, fd, &mut msg, flags) }?;
    if r >= 0 && !addr.is_null() {
        // SAFETY: not null, as checked above.
        unsafe { *alen = msg.msg_namelen };
    }
    Ok(r)
}

/// One datagram on an unconnected or detached socket.
unsafe fn receive(socket: &Pinned, fd: c_int, app: &mut msghdr, flags: c_int) -> Outcome<isize> {
    if is_refused(app) {
        return Err(Bypass);
    }
    peek::note_flags(flags);
    loop {
        let mut scratch = Scratch::new();
        let mut own = *app;
        let lent = Lent::new(socket).of(app);
        lent.lend(app, &mut own, &mut scratch);
        // SAFETY: the application's buffers, or ours where they were lent.
        let r = unsafe { real::recvmsg(fd, &raw mut own, flags) };
        if r < 0 {
            if is_path_error(guard::errno()) && hides_path_errors(socket) {
                continue;
            }
            return not_received(fd, r);
        }
        if flags & libc::MSG_ERRQUEUE != 0 {
            // SAFETY: `own` is as the kernel left it.
            unsafe { give_back(app, &own, &lent, &Shown::default()) };
            return Ok(r);
        }
        // SAFETY: as above.
        let came = unsafe { came(&own) };
        if socket.mode() == Mode::Detached && slow(|| detach::is_foreign(socket, &came.from)).unwrap_or(false)
        {
            if flags & libc::MSG_PEEK != 0 {
                discard(fd);
            }
            continue;
        }
        let shown = heard(socket, fd, &came, r as usize, flags);
        // SAFETY: as above.
        unsafe { give_back(app, &own, &lent, &shown) };
        return Ok(r);
    }
}

/// The kernel gave nothing, for the reason in `errno`. `Err`: the number has become something else behind our back.
pub(super) fn not_received<T>(fd: c_int, r: T) -> Outcome<T> {
    if guard::errno() == libc::ENOTSOCK {
        table::forget(fd);
        return Err(Bypass);
    }
    Ok(r)
}

/// Take a datagram that the application must not see off the queue.
fn discard(fd: c_int) {
    let mut b = [0u8; 1];
    // SAFETY: `b` is writable for its length.
    slow(|| unsafe {
        kernel!(
            libc::SYS_recvfrom,
            fd,
            b.as_mut_ptr(),
            b.len(),
            libc::MSG_DONTWAIT,
            ptr::null_mut::<c_void>(),
            ptr::null_mut::<c_void>(),
        )
    });
}

/// The peer's ULID in place of the locator that a datagram came from.
pub(super) fn ulid_of(came: &Came, ulids: UlidPair) -> Option<SocketAddrV6> {
    let from = came.from?;
    Some(SocketAddrV6::new(ulids.peer, from.port(), from.flowinfo(), from.scope_id()))
}

/// Count a datagram and remember by which pair its sender talks to us. What the application is to see of it: in place of
/// locators, or of `::1`, to which it was re-injected, the ULIDs.
pub(super) fn heard(socket: &Pinned, fd: c_int, came: &Came, octets: usize, flags: c_int) -> Shown {
    if let Some(on) = quick::heard_from(socket, fd, came, octets, flags) {
        let shown =
            on.map(|ulids| Shown { from: ulid_of(came, ulids), to: Some(ulids.local), ..Shown::default() });
        return shown.unwrap_or_default();
    }
    let epoch = epoch::now();
    let told = socket.has(flag::LOCAL_RECV | flag::PEER_RECV);
    let mut shown = Shown { locators: told.then_some(None), ..Shown::default() };
    let Some(from) = came.from.filter(|a| is_servable(a.ip())) else { return shown };
    if socket.local_port.load(Relaxed) == 0 {
        slow(|| learn_port(socket, fd));
    }
    let count = flags & libc::MSG_PEEK == 0 && !socket.has(flag::DONT_SHIM);
    if socket.mode() != Mode::Unconnected {
        let Some(local) = slow(|| socket.inner().local) else { return shown };
        let cell = if socket.has(flag::DONT_SHIM) { socket.cell() } else { own_cell(socket) };
        if let Some(cell) = cell.filter(|_| count) {
            note_received(socket, cell, octets, Some(from));
        }
        shown.to = (came.told.destination == Some(Ipv6Addr::LOCALHOST)).then_some(local);
        let ulids = UlidPair { local, peer: *from.ip() };
        slow(|| locators(socket, &mut shown, came, ulids, ulids.as_locators(), cell));
        return shown;
    }
    slow(|| {
        let mut from = from;
        let bound = socket.inner().local;
        let loopback = came.told.destination == Some(Ipv6Addr::LOCALHOST);
        let to = match came.told.destination {
            Some(_) if loopback => lost_ulid(socket, &from)?,
            Some(to) => to,
            None if !bound.is_unspecified() => bound,
            None => return None,
        };
        let untagged = LocatorPair { local: to, peer: *from.ip() };
        let owner = if loopback || socket.has(flag::RAW) { None } else { bare::owner(socket, &from, to) };
        let to = owner.as_ref().map_or(to, |ulids| ulids.local);
        if let Some(ulids) = &owner {
            from.set_ip(ulids.peer);
        }
        let known = socket.peer(&from).filter(|p| p.local == to && p.heard);
        let peer = match known {
            Some(peer) => peer,
            None => {
                let pair = UlidPair { local: to, peer: *from.ip() };
                let cell = backend::ensure().filter(|_| is_servable(&to)).and_then(|e| e.backend.cell(pair));
                let peer = Peer { local: to, cell, heard: true, setup_until: None };
                // What was only looked at may be for a child, which begins the flow.
                if flags & libc::MSG_PEEK == 0 {
                    super::take_after_parent(socket, &from, &peer);
                    socket.set_peer(&from, peer.clone());
                    super::flow_began(socket, pair, &from);
                }
                peer
            }
        };
        if count && let Some(cell) = &peer.cell {
            note_received(socket, cell, octets, Some(from));
            if let (Some(ulids), Some(at)) = (owner, came.from) {
                socket.remember_incoming(epoch, &at, untagged.local, ulids, cell);
            }
        }
        shown.from = owner.is_some().then_some(from);
        shown.to = (loopback || owner.is_some()).then_some(to);
        let ulids = UlidPair { local: to, peer: *from.ip() };
        locators(socket, &mut shown, came, ulids, untagged, peer.cell.as_deref());
        Some(())
    });
    shown
}

/// By which locators and interface the datagram really came (API-CM-04, API-CM-05, API-EX-06); `untagged` if it had no
/// extension header. Inside `guard::slow` only.
fn locators(
    socket: &Pinned,
    shown: &mut Shown,
    came: &Came,
    ulids: UlidPair,
    untagged: LocatorPair,
    cell: Option<&Cell>,
) {
    if !socket.has(flag::OUR_FLOWINFO | flag::APP_FLOWINFO) {
        return;
    }
    let arrival = engine().and_then(|e| e.backend.arrival(came.told.flowinfo, came.told.ifindex));
    let arrival = arrival.filter(|a| a.ulids == ulids);
    if let Some(arrival) = arrival {
        let owner = |l: &&LocatorInfo| l.addr == arrival.locators.local;
        let ifindex = cell.and_then(|c| c.view().available.iter().find(owner).map(|l| l.ifindex));
        shown.detour = Some(ifindex.unwrap_or(0));
    }
    let served = !socket.has(flag::DONT_SHIM) && cell.is_some_and(Cell::is_associated);
    let plain = served.then_some(untagged);
    shown.locators = shown.locators.map(|_| arrival.map(|a| a.locators).or(plain));
}

/// To which of our addresses a re-injected datagram from `from` was sent that came to `::1`, because the address has
/// left the host. `None`: it was sent to `::1` by this host itself.
fn lost_ulid(socket: &Pinned, from: &SocketAddrV6) -> Option<Ipv6Addr> {
    let known = socket.inner().peers.get(from).map(|p| p.local);
    if known.is_some_and(|local| detach::is_lost(&local)) {
        return known;
    }
    let engine = backend::ensure()?;
    detach::lost().into_iter().find(|local| {
        let cell = engine.backend.cell(UlidPair { local: *local, peer: *from.ip() });
        cell.is_some_and(|cell| cell.is_associated())
    })
}
