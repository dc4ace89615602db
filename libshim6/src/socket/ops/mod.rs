//! The socket calls, one function per libc name, with the arguments of the libc function.
//!
//! `Err(Bypass)`: make the plain call with the same arguments. `Ok`: done, `errno` is set where the value is -1.
//! Functions whose plain call must not be made twice (`connect`, `close`, ...) make it themselves.

mod ancillary;
mod bare;
mod batch;
mod close;
mod hand;
mod keep;
mod lend;
mod life;
mod mapping;
mod marking;
mod named;
mod names;
mod quick;
mod recv;
mod recv_many;
mod rewritten;
mod room;
mod send;
mod spare;
mod stream;
mod unconnected;
mod way;
mod zero_copy;

pub use batch::sendmmsg;
pub use close::{close, close_range, closefrom, dup, dup2, dup3, fclose, fcntl};
pub use hand::{hand_back, take_over};
pub use life::recognise;
pub(super) use life::{adopt_any, kernel_source};
pub use life::{bind, connect, shutdown, socket, socketpair};
pub use mapping::{mprotect, mremap, munmap, shmdt};
pub(super) use names::fail;
pub use names::{getpeername, getsockname, getsockopt, setsockopt};
pub use recv::{read, readv, recv, recvfrom, recvmsg};
pub use recv_many::recvmmsg;
pub(super) use rewritten::may_wait;
pub use send::{send, sendmsg, sendto, write, writev};
pub use stream::{preadv2, pwritev2, sendfile, splice};
pub(super) use way::resolve;

use super::backend::{self, Running};
use super::guard::{self, errno};
use super::peers::Peer;
use super::state::{Mode, flag};
use super::table::{self, Pinned};
use super::{inherit, registry, sys};
use crate::addr::{FlowId, LocatorPair, UlidPair, is_servable};
use crate::driver::cell::Cell;
use crate::engine::Settings;
use libc::c_int;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::sync::Arc;
use std::sync::atomic::Ordering::*;

/// Is `fd` in the table? Where it is not, sending and receiving are the kernel's alone. Two atomic loads.
#[inline(always)]
pub fn is_known(fd: c_int) -> bool {
    table::peek(fd).is_some()
}

/// The socket behind `fd` if the shim takes calls on it. One or two atomic loads where it does not.
#[inline]
fn active(fd: c_int) -> Option<Pinned> {
    let socket = table::peek(fd)?;
    if socket.mode() == Mode::Plain {
        // A raw socket hears from its first moment on, and need never be bound.
        return if socket.has(flag::RAW) { activated(fd) } else { None };
    }
    table::pin(fd)
}

/// As [`active`], but a socket that has not been used yet starts to be one of the shim's.
#[inline]
fn activated(fd: c_int) -> Option<Pinned> {
    let socket = table::peek(fd)?;
    let never = || !socket.has(flag::ELIGIBLE) || socket.has(flag::TRIED) || backend::in_sandbox();
    if socket.mode() == Mode::Plain && never() {
        return None;
    }
    let socket = table::pin(fd)?;
    if socket.mode() == Mode::Plain {
        guard::slow(|| {
            activate(&socket, fd);
            registered();
        });
    }
    (socket.mode() != Mode::Plain).then_some(socket)
}

/// First use of an eligible socket without peer: start the engine and ask the kernel for destination addresses.
fn activate(socket: &Pinned, fd: c_int) {
    socket.set(flag::TRIED, true);
    if backend::ensure().is_some() {
        unconnected(socket, fd);
    }
}

/// A socket has its mode and its port: an engine that was started for it may begin.
fn registered() {
    if let Some(running) = backend::current() {
        running.backend.socket_registered();
    }
}

/// The socket has no peer (any more).
fn unconnected(socket: &Pinned, fd: c_int) {
    socket.cookie.store(sys::cookie(fd), Relaxed);
    socket.set_mode(Mode::Unconnected);
    look_at_ancillary_data(socket, fd);
}

/// Have the kernel tell what the shim wants to know of each datagram: the destination of what comes to a socket without
/// peer and without an address of its own, and by which locators and interface tagged payload came, where the application
/// asks for such things.
pub(super) fn look_at_ancillary_data(socket: &Pinned, fd: c_int) {
    let locators = socket.has(flag::LOCAL_RECV | flag::PEER_RECV);
    let served = socket.mode() != Mode::Plain;
    // What comes to a UDP socket that is bound to an address came to that one; raw sockets get multicast too.
    let anywhere = socket.mode() == Mode::Unconnected
        && (socket.has(flag::RAW) || socket.inner().local.is_unspecified());
    for (name, ours, apps, wanted) in [
        (libc::IPV6_RECVPKTINFO, flag::OUR_PKTINFO, flag::APP_PKTINFO, anywhere || locators),
        (
            libc::IPV6_FLOWINFO,
            flag::OUR_FLOWINFO,
            flag::APP_FLOWINFO,
            locators || socket.has(flag::APP_PKTINFO),
        ),
    ] {
        let wanted = wanted && served;
        if wanted && !socket.has(ours) {
            let set = sys::set_int(fd, libc::IPPROTO_IPV6, name, 1).is_ok();
            socket.set(ours, set);
        } else if !wanted && socket.has(ours) {
            if !socket.has(apps) {
                let _ = sys::set_int(fd, libc::IPPROTO_IPV6, name, 0);
            }
            socket.set(ours, false);
        }
    }
}

/// Learn the local port, once.
fn learn_port(socket: &Pinned, fd: c_int) {
    if socket.local_port.load(Relaxed) == 0
        && let Some(name) = sys::local_name(fd)
    {
        registry::set_port(socket.record(), name.port());
    }
}

/// Is it an error of the path, which REAP can repair (DESIGN section 4)?
fn is_path_error(e: c_int) -> bool {
    matches!(e, libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ENETDOWN | libc::EADDRNOTAVAIL)
}

/// Has the pair a context with more than one locator pair? Inside `guard::slow` only.
fn has_other_pairs(cell: &Cell) -> bool {
    let view = cell.view();
    view.associated && view.local.len().max(view.peer.len()) > 1
}

/// The cell of a pair, if both ends may be ULIDs and an engine runs. Inside `guard::slow` only.
fn cell_of(local: Ipv6Addr, peer: Ipv6Addr) -> Option<Arc<Cell>> {
    if !is_servable(&local) || !is_servable(&peer) {
        return None;
    }
    backend::ensure()?.backend.cell(UlidPair { local, peer })
}

/// The cell of a connected or detached socket; asked for anew in a forked child.
#[inline]
fn own_cell(socket: &Pinned) -> Option<&Cell> {
    match socket.cell() {
        Some(cell) => Some(cell),
        None if socket.has(flag::NO_CELL) => {
            guard::slow(|| {
                join(socket);
            });
            socket.cell()
        }
        None => None,
    }
}

/// Let a connected socket send by the cell of its ULID pair; `false`: there is none. A socket that has a context of
/// its own for the pair keeps it. Inside `guard::slow` only.
fn join(socket: &Pinned) -> bool {
    socket.set(flag::NO_CELL, false);
    socket.forget_peers();
    let (ulids, inherited) = {
        let mut inner = socket.inner();
        (inner.ulids(), inner.inherited.take())
    };
    let old = socket.cell();
    if old.is_some_and(|cell| Some(cell.ulids()) == ulids) {
        return true;
    }
    socket.leave_cell();
    let Some((cell, engine)) =
        ulids.and_then(|ulids| cell_of(ulids.local, ulids.peer)).zip(backend::current())
    else {
        return false;
    };
    if let Some((ulids, forward)) = inherited
        && ulids == cell.ulids()
    {
        cell.inherit(forward);
    }
    // What another socket has set for itself is not for this one (API-FK-08).
    let other = cell.users() > 0 && *cell.settings() != Settings::default();
    let fork =
        if other { engine.backend.fork(&cell, Settings::default(), flow_of(socket, None)) } else { None };
    socket.set_cell(Some(fork.unwrap_or_else(|| {
        engine.backend.attach(&cell);
        cell
    })));
    true
}

/// In a forked child: until its engine has a context, payload to a peer that the parent had heard goes where the parent's
/// went. Not to others: the parent's context may have been one with a program that is gone.
fn take_after_parent(socket: &Pinned, addr: &SocketAddrV6, peer: &Peer) {
    if let Some(cell) = &peer.cell
        && inherit::local_of(socket, addr) == Some(peer.local)
        && let Some(forward) = inherit::forward(cell.ulids())
    {
        cell.inherit(forward);
    }
}

/// The cell of a connected socket for the sake of its options, joined if need be. Inside `guard::slow` only.
pub(super) fn cell_for_options(socket: &Pinned) -> Option<Arc<Cell>> {
    if socket.has(flag::DONT_SHIM) {
        return None;
    }
    if socket.cell().is_none() && socket.has(flag::NO_CELL) {
        join(socket);
    }
    socket.cell_arc()
}

fn engine() -> Option<&'static Running> {
    backend::current()
}

/// Count a datagram sent; wakes the engine if the cell asks for it.
#[inline]
fn note_sent(socket: &Pinned, cell: &Cell, octets: usize, peer: Option<SocketAddrV6>) {
    if cell.is_divided()
        && let Some(own) = of_flow(socket, cell, peer)
    {
        return note_sent(socket, &own, octets, peer);
    }
    if cell.note_sent(octets, backend::now) {
        wake(socket, cell, peer);
    }
}

/// Count a datagram received.
#[inline]
fn note_received(socket: &Pinned, cell: &Cell, octets: usize, peer: Option<SocketAddrV6>) {
    if cell.is_divided()
        && let Some(own) = of_flow(socket, cell, peer)
    {
        return note_received(socket, &own, octets, peer);
    }
    if cell.note_received(octets, backend::now) {
        wake(socket, cell, peer);
    }
}

/// The flow of a socket to `peer`, else to its own one. Inside `guard::slow` only.
pub(super) fn flow_of(socket: &Pinned, peer: Option<SocketAddrV6>) -> Option<FlowId> {
    let peer = peer.or_else(|| socket.inner().peer)?;
    Some(socket.flow(peer.port()))
}

/// A flow of the socket begins. Inside `guard::slow` only.
fn flow_began(socket: &Pinned, ulids: UlidPair, peer: &SocketAddrV6) {
    if let Some(engine) = engine().filter(|e| e.backend.suppresses())
        && let Some(flow) = flow_of(socket, Some(*peer))
    {
        let connected = socket.mode() == Mode::Connected;
        engine.backend.flow_began(ulids, flow, connected, meets(socket, ulids, peer));
    }
}

/// Are these the locators and ports of another flow of the socket that may go without extension header, so that the peer
/// would take this one for it?
fn meets(socket: &Pinned, ulids: UlidPair, peer: &SocketAddrV6) -> bool {
    let on = |cell: &Arc<Cell>| cell.view().takes(cell.ulids(), ulids.as_locators());
    let inner = socket.inner();
    let mut others = inner.peers.iter().filter(|(addr, _)| addr.port() == peer.port());
    others.any(|(_, p)| p.cell.as_ref().is_some_and(on))
}

/// The cell of the instance that serves the flow to `peer`, if it is not `cell` itself.
#[cold]
fn of_flow(socket: &Pinned, cell: &Cell, peer: Option<SocketAddrV6>) -> Option<Arc<Cell>> {
    slow_or_inside(|| cell.of_flow(flow_of(socket, peer)?)).flatten()
}

#[cold]
fn wake(socket: &Pinned, cell: &Cell, peer: Option<SocketAddrV6>) {
    slow_or_inside(|| {
        let flow = flow_of(socket, peer);
        if let Some(engine) = engine() {
            engine.backend.wake(cell, flow);
        }
    });
}

/// `guard::slow`, which keeps errno and catches panics, unless we are inside of it already.
fn slow_or_inside<T>(work: impl FnOnce() -> T) -> Option<T> {
    if guard::inside() { Some(work()) } else { guard::slow(work) }
}

/// Tell the engine that the kernel refused to send on `pair`. `true`: the context has other pairs, so the
/// datagram counts as lost on the way. `errno` is the kernel's answer.
#[cold]
fn refused(cell: &Cell, pair: LocatorPair) -> bool {
    is_path_error(errno())
        && guard::slow(|| {
            let other = has_other_pairs(cell);
            if let Some(engine) = engine().filter(|_| other) {
                engine.backend.send_refused(cell, pair);
            }
            other
        })
        .unwrap_or(false)
}
