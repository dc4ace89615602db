//! Sending: the plain call while locators equal ULIDs, the payload extension header by the engine's raw socket when
//! they do not.

use super::super::guard::{self, set_errno};
use super::super::state::{Mode, flag};
use super::super::table::Pinned;
use super::super::{Bypass, Outcome, backend, cmsg, real, sys, table};
use super::{activated, active, cell_of, engine, is_path_error, learn_port, note_sent, own_cell, refused};
use crate::addr::UlidPair;
use crate::driver::build_udp;
use crate::driver::cell::{Cell, Forward};
use libc::{c_int, c_uint, c_void, iovec, mmsghdr, msghdr, sockaddr, sockaddr_in6, socklen_t};
use std::io::IoSlice;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Most octets of a UDP datagram over IPv6 (no jumbograms).
const MAX_DATA: usize = 65_527;
/// Flags under which the kernel does something else than send this datagram now.
const NOT_OURS: c_int = libc::MSG_MORE | libc::MSG_OOB | libc::MSG_ERRQUEUE | libc::MSG_FASTOPEN;
/// Messages that one sendmmsg hands to the kernel (UIO_MAXIOV).
const MAX_BATCH: usize = 1024;
/// UDP_SEGMENT of <linux/udp.h>.
pub const UDP_SEGMENT: c_int = 103;

/// A datagram as the application gave it.
#[derive(Clone, Copy)]
struct Out<'a> {
    /// `None`: none given. `Some(None)`: one that is no IPv6 address.
    to: Option<Option<SocketAddrV6>>,
    iov: &'a [iovec],
    control: &'a [u8],
    flags: c_int,
    /// The call works on files too, so that the number may have become one behind our back.
    any_file: bool,
}

impl Out<'_> {
    fn octets(&self) -> usize {
        self.iov.iter().map(|v| v.iov_len).sum()
    }
}

/// What the shim makes of a datagram.
enum Way<'a> {
    /// Nothing; it is the kernel's alone.
    Plain,
    /// The plain call, and it counts for the cell.
    Healthy(CellRef<'a>, Option<SocketAddrV6>),
    /// The kernel's socket, but with this source (and destination) named in the call.
    Named(CellRef<'a>, SocketAddrV6, Ipv6Addr),
    /// By other locators.
    Rewritten(CellRef<'a>, Forward, SocketAddrV6),
}

enum CellRef<'a> {
    Own(&'a Cell),
    Peer(Arc<Cell>),
}

impl std::ops::Deref for CellRef<'_> {
    type Target = Cell;
    fn deref(&self) -> &Cell {
        match self {
            CellRef::Own(cell) => cell,
            CellRef::Peer(cell) => cell,
        }
    }
}

fn way<'a>(socket: &'a Pinned, fd: c_int, out: &Out<'_>) -> Way<'a> {
    if out.flags & NOT_OURS != 0 || out.to == Some(None) {
        return Way::Plain;
    }
    let mode = socket.mode();
    if out.to.is_none() && mode != Mode::Unconnected {
        let Some(cell) = own_cell(socket) else { return Way::Plain };
        if mode == Mode::Connected {
            if socket.has(flag::DONT_SHIM) {
                return Way::Plain;
            }
            if !cell.is_rewritten() {
                return Way::Healthy(CellRef::Own(cell), None);
            }
        }
        let cookie = socket.cookie.load(Relaxed);
        if out.any_file && guard::slow(|| sys::cookie(fd)).is_some_and(|now| now != cookie) {
            table::forget(fd);
            return Way::Plain;
        }
        return guard::slow(|| to_own_peer(socket, cell)).flatten().unwrap_or(Way::Plain);
    }
    guard::slow(|| to_named_peer(socket, fd, out)).flatten().unwrap_or(Way::Plain)
}

/// To the peer of a connected (and rehomed) or detached socket.
fn to_own_peer<'a>(socket: &'a Pinned, cell: &'a Cell) -> Option<Way<'a>> {
    let (local, peer) = {
        let inner = socket.inner();
        (inner.local, inner.peer?)
    };
    let forward = cell.forward().filter(|_| !socket.has(flag::DONT_SHIM));
    Some(match forward {
        Some(forward) => Way::Rewritten(CellRef::Own(cell), forward, peer),
        None if socket.mode() == Mode::Detached => Way::Named(CellRef::Own(cell), peer, local),
        None => Way::Healthy(CellRef::Own(cell), None),
    })
}

/// To an address given in the call.
fn to_named_peer<'a>(socket: &'a Pinned, fd: c_int, out: &Out<'_>) -> Option<Way<'a>> {
    let to = out.to.flatten()?;
    if socket.mode() != Mode::Unconnected {
        let inner = socket.inner();
        let (local, peer) = (inner.local, inner.peer);
        drop(inner);
        if peer.is_some_and(|p| p.ip() == to.ip() && p.port() == to.port()) {
            return to_own_peer(socket, own_cell(socket)?);
        }
        if socket.mode() == Mode::Detached && !has_source(out.control) {
            // Its kernel socket has lost the source that the application sees.
            let cell = cell_of(local, *to.ip())?;
            return Some(match cell.forward().filter(|_| !socket.has(flag::DONT_SHIM)) {
                Some(forward) => Way::Rewritten(CellRef::Peer(cell), forward, to),
                None => Way::Named(CellRef::Peer(cell), to, local),
            });
        }
    }
    if socket.has(flag::DONT_SHIM) {
        return None;
    }
    let asked = source(out.control);
    let (cell, local, heard) = resolve(socket, fd, &to, asked)?;
    if let Some(forward) = cell.forward() {
        return Some(Way::Rewritten(CellRef::Peer(cell), forward, to));
    }
    // The peer talks to this address of ours: answer from it, though the kernel might choose another one.
    let name_it =
        heard && !has_source(out.control) && cell.is_associated() && socket.mode() == Mode::Unconnected;
    let bound = !socket.inner().local.is_unspecified();
    Some(match name_it && !bound {
        true => Way::Named(CellRef::Peer(cell), to, local),
        false => Way::Healthy(CellRef::Peer(cell), Some(to)),
    })
}

fn has_source(control: &[u8]) -> bool {
    cmsg::iter(control).any(|c| cmsg::pktinfo(&c).is_some())
}

/// The source address that the application names itself.
fn source(control: &[u8]) -> Option<Ipv6Addr> {
    cmsg::iter(control).find_map(|c| cmsg::pktinfo(&c)).filter(|a| !a.is_unspecified())
}

/// The ULID pair by which `to` is talked to: as heard from it, or as the kernel would choose.
fn resolve(
    socket: &Pinned,
    fd: c_int,
    to: &SocketAddrV6,
    asked: Option<Ipv6Addr>,
) -> Option<(Arc<Cell>, Ipv6Addr, bool)> {
    let engine = backend::ensure()?;
    if !crate::addr::is_servable(to.ip()) {
        return None;
    }
    let bound = {
        let mut inner = socket.inner();
        if let Some(peer) = inner.peers.get(to)
            && asked.is_none_or(|a| a == peer.local)
        {
            let cell = peer.cell.clone()?;
            return Some((cell, peer.local, peer.heard));
        }
        inner.local
    };
    let local = match (asked, bound.is_unspecified()) {
        (Some(asked), _) => asked,
        (None, false) => bound,
        (None, true) => super::life::kernel_source(fd, to)?,
    };
    let cell = if crate::addr::is_servable(&local) {
        engine.backend.cell(UlidPair { local, peer: *to.ip() })
    } else {
        None
    };
    let entry = super::super::peers::Peer { local, cell: cell.clone(), heard: false };
    socket.inner().peers.set(to, entry);
    Some((cell?, local, false))
}

/// Decide on one datagram and send it. `plain` is the application's own call.
unsafe fn transmit(
    socket: &Pinned,
    fd: c_int,
    out: &Out<'_>,
    plain: impl FnOnce() -> isize,
) -> Outcome<isize> {
    match way(socket, fd, out) {
        Way::Plain => Err(Bypass),
        Way::Healthy(cell, peer) => {
            let r = plain();
            if r >= 0 {
                note_sent(socket, &cell, r as usize, peer);
                if peer.is_some() && socket.local_port.load(Relaxed) == 0 {
                    guard::slow(|| learn_port(socket, fd));
                }
            } else if refused(&cell) {
                return Ok(out.octets() as isize);
            }
            Ok(r)
        }
        Way::Named(cell, to, source) => {
            // SAFETY: the application's buffers, as it passed them.
            let r = unsafe { named(fd, out, &to, source) };
            if r >= 0 {
                note_sent(socket, &cell, r as usize, Some(to));
            } else if source_is_gone(&cell) {
                return Ok(out.octets() as isize);
            }
            Ok(r)
        }
        // SAFETY: as above.
        Way::Rewritten(cell, forward, to) => Ok(unsafe { rewritten(socket, fd, out, &cell, &forward, &to) }),
    }
}

/// After a failed send from a source that we named: EINVAL means that the host does not have the address now.
fn source_is_gone(cell: &Cell) -> bool {
    if guard::errno() == libc::EINVAL {
        set_errno(libc::ENETUNREACH);
    }
    refused(cell)
}

/// The kernel's sendmsg with source and destination named.
unsafe fn named(fd: c_int, out: &Out<'_>, to: &SocketAddrV6, from: Ipv6Addr) -> isize {
    let mut name = sys::to_raw(to);
    let mut control = Control::new(out.control, from);
    let msg = header(&raw mut name, out.iov, control.octets());
    // SAFETY: `msg` points to locals and to the application's buffers.
    unsafe { real::sendmsg(fd, &raw const msg, out.flags) }
}

/// The application's ancillary data and our IPV6_PKTINFO, aligned as the kernel wants it.
enum Control {
    Small([u64; cmsg::PKTINFO_SPACE / 8]),
    Large(Vec<u64>, usize),
}

impl Control {
    fn new(app: &[u8], from: Ipv6Addr) -> Control {
        let ours = cmsg::source(from);
        if app.is_empty() {
            let mut small = [0; cmsg::PKTINFO_SPACE / 8];
            for (word, octets) in small.iter_mut().zip(ours.chunks_exact(8)) {
                *word = u64::from_ne_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|i| octets[i]));
            }
            return Control::Small(small);
        }
        let padded = app.len().next_multiple_of(8);
        let mut all = app.to_vec();
        all.resize(padded, 0);
        all.extend_from_slice(&ours);
        let words = all.chunks_exact(8).map(|o| u64::from_ne_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|i| o[i])));
        Control::Large(words.collect(), all.len())
    }

    fn octets(&mut self) -> (*mut c_void, usize) {
        match self {
            Control::Small(words) => (words.as_mut_ptr().cast(), cmsg::PKTINFO_SPACE),
            Control::Large(words, len) => (words.as_mut_ptr().cast(), *len),
        }
    }
}

fn header(name: *mut sockaddr_in6, iov: &[iovec], control: (*mut c_void, usize)) -> msghdr {
    // SAFETY: all zero is a valid value of this plain structure.
    let mut msg: msghdr = unsafe { std::mem::zeroed() };
    msg.msg_name = name.cast();
    msg.msg_namelen = size_of::<sockaddr_in6>() as socklen_t;
    msg.msg_iov = iov.as_ptr().cast_mut();
    msg.msg_iovlen = iov.len() as _;
    (msg.msg_control, msg.msg_controllen) = (control.0, control.1 as _);
    msg
}

/// By the engine's raw socket. The value that the application gets, `errno` set.
unsafe fn rewritten(
    socket: &Pinned,
    fd: c_int,
    out: &Out<'_>,
    cell: &Cell,
    forward: &Forward,
    to: &SocketAddrV6,
) -> isize {
    let octets = out.octets();
    let segment = segment_size(socket, out.control);
    if (octets > MAX_DATA && segment == 0) || octets > 0xffff {
        return fail(libc::EMSGSIZE);
    }
    if socket.has(flag::SHUT_WR) {
        return fail(libc::EPIPE);
    }
    let mut packets = Vec::new();
    let built = guard::slow(|| {
        if !super::life::have_port(socket, fd) {
            return Err(libc::EAGAIN);
        }
        let port = socket.local_port.load(Relaxed) as u16;
        let parts = slices(out.iov);
        packets = datagrams(cell.ulids(), port, to.port(), &parts, segment).ok_or(libc::EMSGSIZE)?;
        Ok(())
    });
    match built {
        Some(Ok(())) => {}
        Some(Err(e)) => return fail(e),
        // After a panic nothing is sure: the datagram counts as lost.
        None => return octets as isize,
    }
    match send_packets(fd, cell, forward, &packets, out.flags) {
        Ok(_) => {
            note_sent(socket, cell, octets, Some(*to));
            octets as isize
        }
        Err(e) => fail(e),
    }
}

fn fail(e: c_int) -> isize {
    set_errno(e);
    -1
}

/// The segment size in force: the one of this call, else the socket's.
fn segment_size(socket: &Pinned, control: &[u8]) -> usize {
    cmsg::iter(control)
        .find(|c| c.level == libc::IPPROTO_UDP && c.kind == UDP_SEGMENT)
        .and_then(|c| Some(u16::from_ne_bytes(c.data.get(..2)?.try_into().ok()?)))
        .map_or(socket.segment.load(Relaxed) as usize, usize::from)
}

fn slices(iov: &[iovec]) -> Vec<IoSlice<'_>> {
    iov.iter()
        .filter(|v| v.iov_len > 0 && !v.iov_base.is_null())
        // SAFETY: a non-empty buffer of the application, which it promises to be readable.
        .map(|v| IoSlice::new(unsafe { std::slice::from_raw_parts(v.iov_base.cast(), v.iov_len) }))
        .collect()
}

/// The UDP datagrams that the data makes: one, or one per segment.
fn datagrams(
    ulids: UlidPair,
    from: u16,
    to: u16,
    parts: &[IoSlice<'_>],
    segment: usize,
) -> Option<Vec<Vec<u8>>> {
    let octets: usize = parts.iter().map(|p| p.len()).sum();
    if segment == 0 || octets <= segment {
        return Some(vec![build_udp(ulids, from, to, parts)?]);
    }
    let whole = parts.iter().flat_map(|p| p.iter().copied()).collect::<Vec<u8>>();
    whole.chunks(segment).map(|data| build_udp(ulids, from, to, &[IoSlice::new(data)])).collect()
}

/// Hand packets to the engine's raw socket; how many it took. Where its buffer is full, a blocking socket waits for
/// room as the kernel's own would.
fn send_packets(
    fd: c_int,
    cell: &Cell,
    forward: &Forward,
    packets: &[Vec<u8>],
    flags: c_int,
) -> Result<usize, c_int> {
    let udp = libc::IPPROTO_UDP as u8;
    let once = || {
        let Some(engine) = engine() else { return Ok(packets.len()) };
        match packets {
            [one] => engine.backend.send_payload(cell, forward, udp, one).map(|()| 1),
            many => {
                let many: Vec<&[u8]> = many.iter().map(Vec::as_slice).collect();
                engine.backend.send_payload_many(cell, forward, udp, &many)
            }
        }
    };
    loop {
        let code = |e: std::io::Error| e.raw_os_error().unwrap_or(libc::EIO);
        match guard::slow(|| once().map_err(code)) {
            None => return Ok(packets.len()),
            Some(Ok(sent)) => return Ok(sent),
            Some(Err(libc::EAGAIN)) if may_wait(fd, flags) => {
                // In steps, so that a cancellation or the end of the engine is seen.
                let wait = || engine().map_or(Ok(true), |e| e.backend.wait_writable(100).map_err(code));
                if let Some(Err(e)) = guard::slow(wait) {
                    return Err(e);
                }
            }
            Some(Err(e)) => return Err(e),
        }
    }
}

/// Is it a blocking call on a blocking socket?
fn may_wait(fd: c_int, flags: c_int) -> bool {
    // SAFETY: F_GETFL takes no argument and touches no memory.
    let get = || unsafe { libc::syscall(libc::SYS_fcntl, fd, libc::F_GETFL) };
    flags & libc::MSG_DONTWAIT == 0
        && guard::slow(get).is_some_and(|f| f >= 0 && f as c_int & libc::O_NONBLOCK == 0)
}

/// `send(2)`.
///
/// # Safety
/// As the libc function.
#[inline]
pub unsafe fn send(fd: c_int, buf: *const c_void, len: usize, flags: c_int) -> Outcome<isize> {
    let socket = active(fd).ok_or(Bypass)?;
    let iov = [iovec { iov_base: buf.cast_mut(), iov_len: len }];
    let out = Out { to: None, iov: &iov, control: &[], flags, any_file: false };
    // SAFETY: the application's arguments.
    unsafe { transmit(&socket, fd, &out, || real::send(fd, buf, len, flags)) }
}

/// `write(2)`.
///
/// # Safety
/// As the libc function.
#[inline]
pub unsafe fn write(fd: c_int, buf: *const c_void, len: usize) -> Outcome<isize> {
    let socket = active(fd).ok_or(Bypass)?;
    let iov = [iovec { iov_base: buf.cast_mut(), iov_len: len }];
    let out = Out { to: None, iov: &iov, control: &[], flags: 0, any_file: true };
    // SAFETY: the application's arguments.
    unsafe { transmit(&socket, fd, &out, || real::write(fd, buf, len)) }
}

/// `writev(2)`.
///
/// # Safety
/// As the libc function.
#[inline]
pub unsafe fn writev(fd: c_int, iov: *const iovec, n: c_int) -> Outcome<isize> {
    let socket = active(fd).ok_or(Bypass)?;
    let Some(parts) = (unsafe { vectors(iov, n as usize) }) else { return Err(Bypass) };
    let out = Out { to: None, iov: parts, control: &[], flags: 0, any_file: true };
    if out.octets() == 0 {
        // The kernel sends nothing then.
        return Err(Bypass);
    }
    // SAFETY: the application's arguments.
    unsafe { transmit(&socket, fd, &out, || real::writev(fd, iov, n)) }
}

/// `sendto(2)`.
///
/// # Safety
/// As the libc function.
#[inline]
pub unsafe fn sendto(
    fd: c_int,
    buf: *const c_void,
    len: usize,
    flags: c_int,
    addr: *const sockaddr,
    alen: socklen_t,
) -> Outcome<isize> {
    let socket = if addr.is_null() { active(fd) } else { activated(fd) }.ok_or(Bypass)?;
    let iov = [iovec { iov_base: buf.cast_mut(), iov_len: len }];
    // SAFETY: the application's arguments.
    unsafe {
        let to = (!addr.is_null()).then(|| sys::read_v6(addr, alen));
        let out = Out { to, iov: &iov, control: &[], flags, any_file: false };
        transmit(&socket, fd, &out, || real::sendto(fd, buf, len, flags, addr, alen))
    }
}

/// `sendmsg(2)`.
///
/// # Safety
/// As the libc function.
#[inline]
pub unsafe fn sendmsg(fd: c_int, msg: *const msghdr, flags: c_int) -> Outcome<isize> {
    // SAFETY: the application's arguments.
    let Some(app) = (unsafe { msg.as_ref() }) else { return Err(Bypass) };
    let socket = if app.msg_name.is_null() { active(fd) } else { activated(fd) }.ok_or(Bypass)?;
    // SAFETY: as above.
    unsafe {
        let out = describe(app, flags).ok_or(Bypass)?;
        transmit(&socket, fd, &out, || real::sendmsg(fd, msg, flags))
    }
}

/// An application's message header as [`Out`]; `None` if the kernel is going to refuse it.
unsafe fn describe(app: &msghdr, flags: c_int) -> Option<Out<'_>> {
    // SAFETY: the pointers and lengths in `app` belong together.
    unsafe {
        let to = (!app.msg_name.is_null()).then(|| sys::read_v6(app.msg_name.cast(), app.msg_namelen));
        let iov = vectors(app.msg_iov, app.msg_iovlen as usize)?;
        let control = match app.msg_control.is_null() {
            true => &[][..],
            false if app.msg_controllen as usize > 1 << 20 => return None,
            false => std::slice::from_raw_parts(app.msg_control.cast(), app.msg_controllen as usize),
        };
        Some(Out { to, iov, control, flags, any_file: false })
    }
}

unsafe fn vectors<'a>(iov: *const iovec, n: usize) -> Option<&'a [iovec]> {
    match n {
        0 => Some(&[]),
        _ if iov.is_null() || n > MAX_BATCH => None,
        // SAFETY: the application passed `n` structures at `iov`.
        _ => Some(unsafe { std::slice::from_raw_parts(iov, n) }),
    }
}

/// `sendmmsg(2)`: runs of messages that go the same way are sent together.
///
/// # Safety
/// As the libc function.
#[inline]
pub unsafe fn sendmmsg(fd: c_int, msgs: *mut mmsghdr, n: c_uint, flags: c_int) -> Outcome<c_int> {
    let socket = activated(fd).ok_or(Bypass)?;
    if msgs.is_null() || n == 0 {
        return Err(Bypass);
    }
    // SAFETY: the application passed `n` structures at `msgs`; the kernel takes no more than MAX_BATCH.
    let msgs = unsafe { std::slice::from_raw_parts_mut(msgs, (n as usize).min(MAX_BATCH)) };
    if let Some(done) = unsafe { healthy_batch(&socket, fd, msgs, flags) } {
        return Ok(done);
    }
    let mut done = 0;
    while done < msgs.len() {
        // SAFETY: the application's arguments.
        let r = unsafe { run(&socket, fd, &mut msgs[done..], flags) };
        match r {
            Ok(sent) if sent > 0 => done += sent,
            // An error after the first message is reported with the next call, as the kernel does.
            _ if done > 0 => break,
            Ok(_) => return Ok(-1),
            Err(Bypass) => return Err(Bypass),
        }
    }
    Ok(done as c_int)
}

/// The usual case, without allocation: a healthy connected socket and no names. `None`: another case, or the kernel
/// refused in a way that the application must not see.
unsafe fn healthy_batch(socket: &Pinned, fd: c_int, msgs: &mut [mmsghdr], flags: c_int) -> Option<c_int> {
    let usual = socket.mode() == Mode::Connected
        && !socket.has(flag::DONT_SHIM)
        && flags & NOT_OURS == 0
        && msgs.iter().all(|m| m.msg_hdr.msg_name.is_null());
    let cell = own_cell(socket).filter(|cell| usual && !cell.is_rewritten())?;
    // SAFETY: the application's arguments.
    let sent = unsafe { real::sendmmsg(fd, msgs.as_mut_ptr(), msgs.len() as c_uint, flags) };
    if sent < 0 && is_path_error(guard::errno()) {
        return None;
    }
    for m in msgs.iter().take(sent.max(0) as usize) {
        note_sent(socket, cell, m.msg_len as usize, None);
    }
    Some(sent)
}

/// Send the first messages of `msgs`, as many as go one way. The number sent; 0: `errno` says why none was.
unsafe fn run(socket: &Pinned, fd: c_int, msgs: &mut [mmsghdr], flags: c_int) -> Outcome<usize> {
    // SAFETY: the application's arguments.
    let first = unsafe { describe(&msgs[0].msg_hdr, flags) };
    let chosen = first.as_ref().map_or(Way::Plain, |out| way(socket, fd, out));
    match chosen {
        Way::Rewritten(cell, forward, to) => {
            // SAFETY: as above.
            Ok(unsafe { train(socket, fd, msgs, flags, (&cell, forward, to)) })
        }
        first_way => {
            // SAFETY: as above.
            unsafe { batch(socket, fd, msgs, flags, first_way) }
        }
    }
}

/// The longest run of messages of one rehomed pair, in one go.
unsafe fn train(
    socket: &Pinned,
    fd: c_int,
    msgs: &mut [mmsghdr],
    flags: c_int,
    (cell, forward, to): (&Cell, Forward, SocketAddrV6),
) -> usize {
    let mut targets = vec![to];
    let simple = |out: &Out<'_>| segment_size(socket, out.control) == 0 && out.octets() <= MAX_DATA;
    for m in &msgs[1..] {
        // SAFETY: the application's arguments.
        let Some(out) = (unsafe { describe(&m.msg_hdr, flags) }).filter(simple) else { break };
        match way(socket, fd, &out) {
            Way::Rewritten(c, f, to) if c.ulids() == cell.ulids() && f == forward => targets.push(to),
            _ => break,
        }
    }
    // SAFETY: as above.
    let outs: Vec<Out<'_>> =
        msgs[..targets.len()].iter().filter_map(|m| unsafe { describe(&m.msg_hdr, flags) }).collect();
    let lens: Vec<usize> = outs.iter().map(Out::octets).collect();
    if outs.len() < 2 || !simple(&outs[0]) || socket.has(flag::SHUT_WR) {
        // SAFETY: as above.
        let r = unsafe { rewritten(socket, fd, &outs[0], cell, &forward, &targets[0]) };
        if r >= 0 {
            msgs[0].msg_len = r as c_uint;
        }
        return usize::from(r >= 0);
    }
    let packets = guard::slow(|| {
        if !super::life::have_port(socket, fd) {
            return None;
        }
        let port = socket.local_port.load(Relaxed) as u16;
        let one =
            |(out, to): (&Out<'_>, &SocketAddrV6)| build_udp(cell.ulids(), port, to.port(), &slices(out.iov));
        outs.iter().zip(&targets).map(one).collect::<Option<Vec<_>>>()
    });
    let sent = match packets.flatten() {
        Some(packets) => send_packets(fd, cell, &forward, &packets, flags),
        None => Err(libc::EAGAIN),
    };
    match sent {
        Ok(sent) => {
            for ((m, octets), to) in msgs.iter_mut().zip(lens).zip(&targets).take(sent) {
                m.msg_len = octets as c_uint;
                note_sent(socket, cell, octets, Some(*to));
            }
            sent
        }
        Err(e) => {
            set_errno(e);
            0
        }
    }
}

/// The longest run of messages for the kernel's socket, in one call; our source is named where it has to be.
unsafe fn batch(
    socket: &Pinned,
    fd: c_int,
    msgs: &mut [mmsghdr],
    flags: c_int,
    first: Way<'_>,
) -> Outcome<usize> {
    let mut ways = vec![first];
    for m in &msgs[1..] {
        // SAFETY: the application's arguments.
        match unsafe { describe(&m.msg_hdr, flags) }.map_or(Way::Plain, |out| way(socket, fd, &out)) {
            Way::Rewritten(..) => break,
            other => ways.push(other),
        }
    }
    let n = ways.len();
    let sent = if ways.iter().any(|w| matches!(w, Way::Named(..))) {
        // SAFETY: as above.
        unsafe { named_batch(fd, &mut msgs[..n], flags, &ways) }
    } else {
        // SAFETY: as above.
        unsafe { real::sendmmsg(fd, msgs.as_mut_ptr(), n as c_uint, flags) }
    };
    if sent <= 0 {
        let lost = match &ways[0] {
            Way::Healthy(cell, _) => refused(cell),
            Way::Named(cell, ..) => source_is_gone(cell),
            _ => false,
        };
        if lost {
            // SAFETY: as above.
            msgs[0].msg_len =
                unsafe { describe(&msgs[0].msg_hdr, flags) }.map_or(0, |o| o.octets()) as c_uint;
        }
        return Ok(usize::from(lost));
    }
    for (way, m) in ways.iter().zip(&msgs[..sent as usize]) {
        match way {
            Way::Healthy(cell, peer) => note_sent(socket, cell, m.msg_len as usize, *peer),
            Way::Named(cell, to, _) => note_sent(socket, cell, m.msg_len as usize, Some(*to)),
            _ => {}
        }
    }
    if socket.local_port.load(Relaxed) == 0 {
        guard::slow(|| learn_port(socket, fd));
    }
    Ok(sent as usize)
}

unsafe fn named_batch(fd: c_int, msgs: &mut [mmsghdr], flags: c_int, ways: &[Way<'_>]) -> c_int {
    let mut copies: Vec<mmsghdr> = msgs.to_vec();
    let mut names: Vec<sockaddr_in6> = Vec::with_capacity(msgs.len());
    let mut controls: Vec<Control> = Vec::with_capacity(msgs.len());
    for (m, way) in copies.iter_mut().zip(ways) {
        let Way::Named(_, to, from) = way else { continue };
        // SAFETY: the application's arguments.
        let Some(out) = (unsafe { describe(&m.msg_hdr, flags) }) else { continue };
        let control = Control::new(out.control, *from);
        let iov = out.iov;
        names.push(sys::to_raw(to));
        controls.push(control);
        // Both vectors have their full capacity, so these addresses stay.
        let (Some(name), Some(control)) = (names.last_mut(), controls.last_mut()) else { continue };
        let octets = control.octets();
        m.msg_hdr = header(&raw mut *name, iov, octets);
    }
    // SAFETY: the headers point to the application's buffers and to the vectors above.
    let sent = unsafe { real::sendmmsg(fd, copies.as_mut_ptr(), copies.len() as c_uint, flags) };
    for (m, copy) in msgs.iter_mut().zip(&copies).take(sent.max(0) as usize) {
        m.msg_len = copy.msg_len;
    }
    sent
}
