//! Sockets whose local ULID has left the host (DESIGN section 4).
//!
//! The kernel socket of such a socket is dissolved with `connect(AF_UNSPEC)`. It keeps its port and its poll and epoll
//! registrations and becomes a wildcard one, so that datagrams re-injected to `::1` reach it. From then on the socket
//! layer is what connects it: a packet filter (and, behind it, a look at each source) lets the peer alone through,
//! names come from our table, and datagrams are sent with source and destination named.

use super::guard;
use super::peers::Peer;
use super::state::{ForkLock, Mode, Socket, all, flag};
use super::table::{self, Pinned};
use super::{ops, ports, registry, sys};
use crate::driver::host::UlidLoss;
use crate::driver::kernel::kernel;
use libc::{c_int, sock_filter, sock_fprog};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicUsize, Ordering::*};

/// Most lost addresses remembered.
const MAX_LOST: usize = 256;

static LOST: ForkLock<Vec<Ipv6Addr>> = ForkLock::new(Vec::new());
static LOST_COUNT: AtomicUsize = AtomicUsize::new(0);
static DESCRIPTORS: ForkLock<()> = ForkLock::new(());

/// While this is held, no tracked descriptor is closed by a hook: the engine thread can work on one by its number.
pub fn descriptors_are_stable() -> MutexGuard<'static, ()> {
    DESCRIPTORS.lock()
}

/// Has this address left the host while it was a ULID?
pub fn is_lost(addr: &Ipv6Addr) -> bool {
    LOST_COUNT.load(Acquire) > 0 && LOST.lock().contains(addr)
}

/// All such addresses.
pub fn lost() -> Vec<Ipv6Addr> {
    if LOST_COUNT.load(Acquire) == 0 { Vec::new() } else { LOST.lock().clone() }
}

/// In a forked child.
///
/// # Safety
/// No other thread exists.
pub unsafe fn after_fork() {
    LOST_COUNT.store(0, Release);
    // SAFETY: by the contract above.
    unsafe {
        LOST.reset(Vec::new());
        DESCRIPTORS.reset(());
    }
}

fn note_lost(ulid: Ipv6Addr) {
    let mut lost = LOST.lock();
    if !lost.contains(&ulid) && lost.len() < MAX_LOST {
        lost.push(ulid);
    }
    LOST_COUNT.store(lost.len(), Release);
}

/// `ulid` has left the host: detach the sockets that are connected from it and have a context to go on with.
/// Engine thread.
pub fn ulid_lost(ulid: Ipv6Addr) -> UlidLoss {
    note_lost(ulid);
    let mut result = UlidLoss::Handled;
    for socket in all().filter_map(Pinned::new) {
        let local = socket.inner().local;
        if local != ulid && !(local.is_unspecified() && verifies_sums(&socket)) {
            continue;
        }
        let handled = match socket.mode() {
            Mode::Connected if !socket.cell().is_some_and(|cell| cell.is_associated()) => true,
            // A raw socket whose association is dissolved hears nothing any more.
            Mode::Connected => !socket.has(flag::APP_BOUND | flag::RAW) && detach(&socket),
            // Bound by the application, or it would not have the address.
            Mode::Unconnected => {
                let goes_on =
                    |p: &Peer| p.local == ulid && p.cell.as_ref().is_some_and(|c| c.is_associated());
                !socket.inner().peers.iter().any(|(_, p)| goes_on(p))
            }
            Mode::Plain | Mode::Detached => true,
        };
        if !handled {
            result = UlidLoss::NeedsAddress;
        }
    }
    result
}

/// Is it a raw socket whose checksums the kernel verifies over the addresses (IPV6_CHECKSUM)? What is re-injected to it
/// has to carry the ULIDs.
pub fn verifies_sums(socket: &Socket) -> bool {
    socket.has(flag::RAW) && {
        let _stable = descriptors_are_stable();
        let fd = table::descriptor(socket);
        fd.is_some_and(|fd| sys::checksum_offset(fd).is_some())
    }
}

/// It is back: sockets that were detached from it become the kernel's again. Engine thread.
pub fn ulid_back(ulid: Ipv6Addr) {
    {
        let mut lost = LOST.lock();
        lost.retain(|a| *a != ulid);
        LOST_COUNT.store(lost.len(), Release);
    }
    let detached = |s: &Pinned| s.mode() == Mode::Detached && s.inner().local == ulid;
    all().filter_map(Pinned::new).filter(detached).for_each(|socket| connect_again(&socket));
}

/// A descriptor of the socket, and its names. Under [`descriptors_are_stable`].
fn at_work(socket: &Pinned) -> Option<(c_int, Ipv6Addr, SocketAddrV6)> {
    let fd = table::descriptor(socket)?;
    if !socket.is_open() || sys::cookie(fd) != socket.cookie.load(Relaxed) {
        return None;
    }
    let inner = socket.inner();
    Some((fd, inner.local, inner.peer?))
}

/// Connect a detached socket from its ULID, if it can have it; else it stays as it is, which works too.
fn connect_again(socket: &Pinned) {
    let _stable = descriptors_are_stable();
    let Some((fd, local, peer)) = at_work(socket) else { return };
    let ours = ops::kernel_source(fd, &peer) != Some(local);
    if ours && !ports::take_source(fd, local) {
        return;
    }
    let connected = sys::connect(fd, &peer).is_ok();
    let port = socket.local_port.load(Relaxed) as u16;
    if sys::local_name(fd).is_some_and(|n| (*n.ip(), n.port()) == (local, port)) {
        socket.set_mode(Mode::Connected);
        remove_filter(socket, fd);
    } else if connected || ours {
        let _ = sys::disconnect(fd);
    }
}

fn detach(socket: &Pinned) -> bool {
    let _stable = descriptors_are_stable();
    let Some((fd, local, peer)) = at_work(socket) else { return true };
    if !has_filter(fd) && attach(fd, &local, &peer) {
        socket.set(flag::OUR_FILTER, true);
    }
    socket.set_mode(Mode::Detached);
    if sys::disconnect(fd).is_err() {
        socket.set_mode(Mode::Connected);
        remove_filter(socket, fd);
        return false;
    }
    let port = socket.local_port.load(Relaxed) as u16;
    if sys::local_name(fd).is_some_and(|n| n.port() == 0) {
        // A port that the kernel chose is free again: take it back. A connected socket may have shared its number with
        // others, hence the second try; what is re-injected goes to ::1.
        let _ = [Ipv6Addr::UNSPECIFIED, Ipv6Addr::LOCALHOST]
            .iter()
            .any(|addr| sys::bind(fd, &SocketAddrV6::new(*addr, port, 0, 0)).is_ok());
    }
    registry::set_port(socket.record(), port);
    true
}

/// The socket was detached by an earlier program of this process. The address may have come back since.
pub fn again(socket: &Pinned, fd: c_int, local: Ipv6Addr, peer: SocketAddrV6, port: u16) {
    {
        let mut inner = socket.inner();
        inner.local = local;
        inner.peer = Some(peer);
    }
    socket.list_names();
    socket.cookie.store(sys::cookie(fd), Relaxed);
    registry::set_port(socket.record(), port);
    socket.set_mode(Mode::Detached);
    match sys::has_address(&local) {
        true => connect_again(socket),
        false => note_lost(local),
    }
}

/// The application connected the socket anew or dissolved the association: it is the kernel's again.
pub fn forget(socket: &Pinned, fd: c_int) {
    remove_filter(socket, fd);
}

fn remove_filter(socket: &Pinned, fd: c_int) {
    if socket.has(flag::OUR_FILTER) {
        let _ = sys::set_int(fd, libc::SOL_SOCKET, libc::SO_DETACH_FILTER, 0);
        socket.set(flag::OUR_FILTER, false);
    }
}

/// Did a datagram on a detached socket come from somebody else than its peer?
pub fn is_foreign(socket: &Pinned, from: &Option<SocketAddrV6>) -> bool {
    let peer = socket.inner().peer;
    match (from, peer) {
        (Some(from), Some(peer)) => (from.ip(), from.port()) != (peer.ip(), peer.port()),
        // The kernel names every sender: this is the end of a socket that was shut down.
        (None, _) => false,
        (Some(_), None) => true,
    }
}

/// Has the application attached a filter of its own?
fn has_filter(fd: c_int) -> bool {
    let mut len: libc::socklen_t = 0;
    let none = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: with length 0 the kernel writes no more than the number of instructions.
    let r = unsafe {
        kernel!(libc::SYS_getsockopt, fd, libc::SOL_SOCKET, libc::SO_GET_FILTER, none, &raw mut len)
    };
    // An eBPF program is not shown: EACCES.
    let hidden = r != 0 && guard::errno() == libc::EACCES;
    hidden || len != 0
}

fn attach(fd: c_int, local: &Ipv6Addr, peer: &SocketAddrV6) -> bool {
    let mut program = filter(local, peer);
    let fprog = sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: `fprog` points to `len` instructions and outlives the call.
    let r = unsafe {
        kernel!(
            libc::SYS_setsockopt,
            fd,
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            &raw const fprog,
            size_of::<sock_fprog>(),
        )
    };
    r == 0
}

/// Local address and peer of a detached socket, if [`filter`] made the one that is attached.
pub fn names_in_filter(fd: c_int) -> Option<(Ipv6Addr, SocketAddrV6)> {
    const NONE: sock_filter = sock_filter { code: 0, jt: 0, jf: 0, k: 0 };
    let mut program = [NONE; LENGTH];
    let mut len = LENGTH as libc::socklen_t;
    // SAFETY: the kernel writes a program of this many instructions, or refuses where its own is longer.
    let r = unsafe {
        let at = program.as_mut_ptr();
        kernel!(libc::SYS_getsockopt, fd, libc::SOL_SOCKET, libc::SO_GET_FILTER, at, &raw mut len)
    };
    if r != 0 || len as usize != LENGTH {
        return None;
    }
    let address = |at: usize| {
        let word = |i: usize| program[at + 1 + 2 * i].k;
        Ipv6Addr::from_bits((0..4).fold(0, |bits, i| bits << 32 | u128::from(word(i))))
    };
    let port = u16::try_from(program[ADDRESS + 1].k).ok()?;
    let (local, peer) = (address(ADDRESS + 2), SocketAddrV6::new(address(0), port, 0, 0));
    let same = |(a, b): (&sock_filter, &sock_filter)| (a.code, a.jt, a.jf, a.k) == (b.code, b.jt, b.jf, b.k);
    filter(&local, &peer).iter().zip(&program).all(same).then_some((local, peer))
}

/// Instructions of one address test, its return excepted.
const ADDRESS: usize = 8;
/// Of the filter: source, port, and two destinations with a return each; the last instruction refuses.
const LENGTH: usize = ADDRESS + 2 + 2 * (ADDRESS + 1) + 1;

/// Classic BPF on a UDP socket, where offset 0 is the UDP header: source address and port are the peer's, the
/// destination is `local` or `::1`.
fn filter(local: &Ipv6Addr, peer: &SocketAddrV6) -> Vec<sock_filter> {
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let back = |k| sock_filter { code: RETURN, jt: 0, jf: 0, k };
    let refuse = LENGTH - 1;
    let mut program = Vec::with_capacity(LENGTH);
    address_is(&mut program, 8, peer.ip(), refuse);
    equals(&mut program, libc::BPF_H, 0, peer.port().into(), refuse);
    let second = program.len() + ADDRESS + 1;
    address_is(&mut program, 24, local, second);
    program.push(back(u32::MAX));
    address_is(&mut program, 24, &Ipv6Addr::LOCALHOST, refuse);
    program.push(back(u32::MAX));
    program.push(back(0));
    program
}

/// Go on if the address at this offset of the IPv6 header is `addr`, else at instruction `otherwise`.
fn address_is(program: &mut Vec<sock_filter>, offset: u32, addr: &Ipv6Addr, otherwise: usize) {
    for (i, word) in addr.octets().chunks_exact(4).enumerate() {
        let wanted = u32::from_be_bytes([word[0], word[1], word[2], word[3]]);
        let at = (libc::SKF_NET_OFF as u32).wrapping_add(offset + 4 * i as u32);
        equals(program, libc::BPF_W, at, wanted, otherwise);
    }
}

fn equals(program: &mut Vec<sock_filter>, size: u32, at: u32, wanted: u32, otherwise: usize) {
    let load = (libc::BPF_LD | libc::BPF_ABS | size) as u16;
    program.push(sock_filter { code: load, jt: 0, jf: 0, k: at });
    let jf = (otherwise - program.len() - 1) as u8;
    let equal = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    program.push(sock_filter { code: equal, jt: 0, jf, k: wanted });
}
