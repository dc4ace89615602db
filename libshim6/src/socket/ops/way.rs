//! Which way a datagram goes: the plain call, the kernel's socket with addresses named, or other locators.

use super::super::peers::Peer;
use super::super::state::{Mode, flag};
use super::super::table::{self, Pinned};
use super::super::{backend, cmsg, guard, inherit, sys};
use super::named::source_is_gone;
use super::{cell_of, own_cell, refused};
use crate::addr::{UlidPair, is_servable};
use crate::driver::cell::{Cell, Forward, epoch};
use crate::engine::Bare;
use libc::{c_int, iovec};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// MSG_PROBE of <linux/socket.h>: the kernel looks at a datagram and at its path, but sends nothing.
pub(super) const MSG_PROBE: c_int = 0x10;
/// Flags under which the kernel does something else than send this datagram now. UDP does not look at MSG_OOB, which raw
/// sockets refuse.
pub(super) const NOT_OURS: c_int = MSG_PROBE;

/// A datagram as the application gave it.
#[derive(Clone, Copy)]
pub(super) struct Out<'a> {
    /// `None`: none given. `Some(None)`: one that is no IPv6 address.
    pub(super) to: Option<Option<SocketAddrV6>>,
    pub(super) iov: &'a [iovec],
    pub(super) control: &'a [u8],
    pub(super) flags: c_int,
    /// The call works on files too, so that the number may have become one behind our back.
    pub(super) any_file: bool,
}

impl Out<'_> {
    pub(super) fn octets(&self) -> usize {
        // The kernel refuses sums that no `usize` holds.
        self.iov.iter().fold(0, |sum, v| v.iov_len.saturating_add(sum))
    }
}

/// What the shim makes of a datagram.
pub(super) enum Way<'a> {
    /// Nothing; it is the kernel's alone.
    Plain,
    /// The plain call, and it counts for the cell.
    Healthy(CellRef<'a>, Option<SocketAddrV6>),
    /// The kernel's socket, but with this source (and destination) named in the call.
    Named(CellRef<'a>, SocketAddrV6, Ipv6Addr),
    /// By other locators.
    Rewritten(CellRef<'a>, Forward, SocketAddrV6),
    /// Nowhere: it counts as lost on the way.
    Lost,
    /// By other locators, but by the kernel's socket and without extension header: the destination on the wire.
    Bare(CellRef<'a>, Forward, SocketAddrV6),
}

impl Way<'_> {
    /// Destination and source that the kernel's socket is told, where they are not its own.
    pub(super) fn name(&self) -> Option<(SocketAddrV6, Ipv6Addr)> {
        match self {
            Way::Named(_, to, from) => Some((*to, *from)),
            Way::Bare(_, forward, to) => Some((*to, forward.locators.local)),
            _ => None,
        }
    }

    /// The cell that counts it.
    pub(super) fn cell(&self) -> Option<&Cell> {
        match self {
            Way::Plain | Way::Lost => None,
            Way::Healthy(cell, _) | Way::Named(cell, ..) | Way::Rewritten(cell, ..) | Way::Bare(cell, ..) => {
                Some(cell)
            }
        }
    }

    /// Where it goes, if the call names that: ULID and port, or where it goes bare, locator and port.
    pub(super) fn peer(&self) -> Option<SocketAddrV6> {
        match self {
            Way::Plain | Way::Lost => None,
            Way::Healthy(_, peer) => *peer,
            Way::Named(_, to, _) | Way::Rewritten(_, _, to) | Way::Bare(_, _, to) => Some(*to),
        }
    }

    /// The kernel's socket refused it, as `errno` says: is it lost for want of a path, which REAP can repair?
    pub(super) fn counts_as_lost(&self) -> bool {
        match self {
            Way::Plain | Way::Lost | Way::Rewritten(..) => false,
            Way::Healthy(cell, _) => refused(cell, cell.ulids().as_locators()),
            Way::Named(cell, ..) => source_is_gone(cell, cell.ulids().as_locators()),
            Way::Bare(cell, forward, _) => source_is_gone(cell, forward.locators),
        }
    }
}

/// By other locators: behind the extension header, unless the peer can do without. `known`: the peer knows the flow.
fn rehomed<'a>(
    socket: &Pinned,
    cell: CellRef<'a>,
    forward: Forward,
    to: SocketAddrV6,
    known: bool,
) -> Way<'a> {
    let bare = match forward.bare {
        Bare::No => false,
        Bare::KnownFlows => known,
        Bare::All => true,
    };
    // What was gathered for the engine's socket goes by it; protocols without ports are never bare (LS-S-20).
    if bare && !socket.has(flag::GATHERED | flag::RAW) {
        return Way::Bare(cell, forward, SocketAddrV6::new(forward.locators.peer, to.port(), 0, 0));
    }
    Way::Rewritten(cell, forward, to)
}

pub(super) enum CellRef<'a> {
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

pub(super) fn way<'a>(socket: &'a Pinned, fd: c_int, out: &Out<'_>) -> Way<'a> {
    match way_of_pair(socket, fd, out) {
        // From another address than the session's: the kernel's alone, as it would be without the shim.
        Way::Rewritten(cell, ..) if source(out.control).is_some_and(|a| a != cell.ulids().local) => {
            Way::Plain
        }
        way => way,
    }
}

fn way_of_pair<'a>(socket: &'a Pinned, fd: c_int, out: &Out<'_>) -> Way<'a> {
    if out.flags & NOT_OURS != 0 || out.to == Some(None) {
        return Way::Plain;
    }
    if socket.has(flag::RAW) && out.flags & libc::MSG_OOB != 0 {
        return Way::Plain;
    }
    // The kernel refuses port 0.
    if !socket.has(flag::RAW) && out.to.flatten().is_some_and(|to| to.port() == 0) {
        return Way::Plain;
    }
    let unported;
    let mut out = out;
    if socket.has(flag::RAW)
        && let Some(Some(to)) = out.to
    {
        // In place of a port stands nothing, or the protocol.
        if to.port() != 0 && to.port() != socket.protocol().into() {
            return Way::Plain;
        }
        unported =
            Out { to: Some(Some(SocketAddrV6::new(*to.ip(), 0, to.flowinfo(), to.scope_id()))), ..*out };
        out = &unported;
    }
    let mode = socket.mode();
    if out.to.is_none() && mode != Mode::Unconnected {
        if mode == Mode::Connected && socket.has(flag::DONT_SHIM) {
            return Way::Plain;
        }
        let Some(cell) = own_cell(socket) else { return Way::Plain };
        if mode == Mode::Connected && !cell.is_rewritten() {
            return Way::Healthy(CellRef::Own(cell), None);
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
pub(super) fn to_own_peer<'a>(socket: &'a Pinned, cell: &'a Cell) -> Option<Way<'a>> {
    let (local, peer) = {
        let inner = socket.inner();
        (inner.local, inner.peer?)
    };
    let cell = match cell.is_divided().then(|| super::of_flow(socket, cell, Some(peer))).flatten() {
        Some(own) => CellRef::Peer(own),
        None => CellRef::Own(cell),
    };
    let forward = cell.forward().filter(|_| !socket.has(flag::DONT_SHIM));
    Some(match forward {
        _ if cell.is_held() => Way::Lost,
        Some(forward) => rehomed(socket, cell, forward, peer, false),
        None if socket.mode() == Mode::Detached => Way::Named(cell, peer, local),
        None => Way::Healthy(cell, None),
    })
}

/// To an address given in the call.
pub(super) fn to_named_peer<'a>(socket: &'a Pinned, fd: c_int, out: &Out<'_>) -> Option<Way<'a>> {
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
            let cell = serving(socket, cell_of(local, *to.ip())?, &to);
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
    let epoch = epoch::now();
    let (cell, local, heard) = resolve(socket, fd, &to, asked)?;
    if cell.is_held() {
        return Some(Way::Lost);
    }
    let cell = serving(socket, cell, &to);
    if let Some(forward) = cell.forward() {
        let way = rehomed(socket, CellRef::Peer(cell), forward, to, heard);
        if let Way::Bare(cell, ..) = &way
            && socket.mode() == Mode::Unconnected
            && asked.is_none()
        {
            socket.remember_outgoing(epoch, &to, forward.locators, cell);
        }
        return Some(way);
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

/// The cell that serves the flow to `to`: `cell`, or that of an instance.
pub(super) fn serving(socket: &Pinned, cell: Arc<Cell>, to: &SocketAddrV6) -> Arc<Cell> {
    match cell.is_divided() {
        true => super::of_flow(socket, &cell, Some(*to)).unwrap_or(cell),
        false => cell,
    }
}

pub(super) fn has_source(control: &[u8]) -> bool {
    cmsg::iter(control).any(|c| cmsg::pktinfo(&c).is_some())
}

/// The source address that the application names itself.
pub(super) fn source(control: &[u8]) -> Option<Ipv6Addr> {
    cmsg::iter(control).find_map(|c| cmsg::pktinfo(&c)).filter(|a| !a.is_unspecified())
}

/// The ULID pair by which `to` is talked to: as heard from it, or as the kernel would choose.
pub(in super::super) fn resolve(
    socket: &Pinned,
    fd: c_int,
    to: &SocketAddrV6,
    asked: Option<Ipv6Addr>,
) -> Option<(Arc<Cell>, Ipv6Addr, bool)> {
    let engine = backend::ensure()?;
    if !is_servable(to.ip()) {
        return None;
    }
    if let Some(peer) = socket.peer(to).filter(|peer| asked.is_none_or(|a| a == peer.local)) {
        return Some((peer.cell?, peer.local, peer.heard));
    }
    let bound = socket.inner().local;
    // In a child the parent may have heard the peer.
    let heard = inherit::local_of(socket, to).filter(|local| asked.is_none_or(|asked| asked == *local));
    let local = match (asked.or(heard), bound.is_unspecified()) {
        (Some(local), _) => local,
        (None, false) => bound,
        (None, true) => super::life::kernel_source(fd, to)?,
    };
    let cell =
        if is_servable(&local) { engine.backend.cell(UlidPair { local, peer: *to.ip() }) } else { None };
    let entry = Peer { local, cell: cell.clone(), heard: heard.is_some(), setup_until: None };
    super::take_after_parent(socket, to, &entry);
    socket.set_peer(to, entry);
    super::flow_began(socket, UlidPair { local, peer: *to.ip() }, to);
    Some((cell?, local, heard.is_some()))
}
