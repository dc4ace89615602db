//! Copies of what was just sent, for contexts that were asked to send it again after a failure (`driver::resend`).

use super::super::guard::{self, set_errno};
use super::super::state::flag;
use super::super::table::Pinned;
use super::super::{backend, sys};
use super::rewritten::{datagrams, is_readable, raw_packet, segment_size, slices};
use super::way::Out;
use super::{engine, learn_port, marking, of_flow};
use crate::driver::cell::{Cell, Forward, Marking};
use crate::driver::resend::Upper;
use crate::driver::udp::UDP;
use crate::time::Time;
use libc::c_int;
use std::net::SocketAddrV6;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Before a datagram is sent: the time, if a copy is to be kept. One load otherwise.
#[inline]
pub(super) fn begin(socket: &Pinned, cell: &Cell) -> Option<Time> {
    cell.resend.keeps(socket.has(flag::RESEND)).then(backend::now)
}

/// Keep a copy of a datagram that was sent by the pair in use at `began`, `to` that address or the socket's peer.
pub(super) fn keep(
    socket: &Pinned,
    fd: c_int,
    out: &Out<'_>,
    cell: &Cell,
    to: Option<SocketAddrV6>,
    began: Option<Time>,
) {
    if began.is_some() {
        let marking = marking::marking(socket, out.control);
        copy(socket, fd, out, cell, to, |packets| keep_packets(socket, cell, packets, marking, to, began));
    }
}

/// The kernel refused a datagram for want of a path: it goes by the pair that takes over, if one does soon.
#[cold]
pub(super) fn refused(socket: &Pinned, fd: c_int, out: &Out<'_>, cell: &Cell, to: Option<SocketAddrV6>) {
    let marking = marking::marking(socket, out.control);
    copy(socket, fd, out, cell, to, |packets| {
        let own = instance(socket, cell, to);
        let cell = own.as_deref().unwrap_or(cell);
        for packet in packets {
            let moved = || cell.forward().is_some();
            let upper = Upper { protocol: protocol(socket), marking, packet: packet.clone() };
            send_late(cell, cell.resend.refuse(backend::now(), upper, moved));
        }
    });
}

/// Have `with` the upper-layer packets of a datagram, if it is one, and lies in memory that is there. Keeps `errno`.
fn copy(
    socket: &Pinned,
    fd: c_int,
    out: &Out<'_>,
    cell: &Cell,
    to: Option<SocketAddrV6>,
    with: impl FnOnce(&[Vec<u8>]),
) {
    let saved = guard::errno();
    // What MSG_MORE gathers in the kernel is no datagram yet.
    let more = out.flags & libc::MSG_MORE != 0 || socket.has(flag::CORK);
    if !more && is_readable(out) {
        guard::slow(|| packets(socket, fd, out, cell, to).map(|packets| with(&packets)));
    }
    set_errno(saved);
}

/// The cell of the instance that serves the flow, if it is not `cell` itself.
fn instance(socket: &Pinned, cell: &Cell, to: Option<SocketAddrV6>) -> Option<Arc<Cell>> {
    if cell.is_divided() { of_flow(socket, cell, to) } else { None }
}

fn protocol(socket: &Pinned) -> u8 {
    if socket.has(flag::RAW) { socket.protocol() } else { UDP }
}

/// A packet that was on its way to the kernel, or refused by it, while another pair took over.
fn send_late(cell: &Cell, late: Option<Upper>) {
    if let (Some(upper), Some(forward), Some(engine)) = (late, cell.forward(), engine()) {
        let forward = Forward { marking: upper.marking, ..forward };
        let _ = engine.backend.send_payload(cell, &forward, upper.protocol, &upper.packet);
    }
}

fn packets(
    socket: &Pinned,
    fd: c_int,
    out: &Out<'_>,
    cell: &Cell,
    to: Option<SocketAddrV6>,
) -> Option<Vec<Vec<u8>>> {
    let parts = slices(out.iov);
    if socket.has(flag::RAW) {
        let sum = sys::checksum_offset(fd);
        return raw_packet(cell.ulids(), socket.protocol(), sum, &parts).ok().map(|p| vec![p]);
    }
    let to = to.or_else(|| socket.inner().peer)?;
    if socket.local_port.load(Relaxed) == 0 {
        learn_port(socket, fd);
    }
    let port = socket.local_port.load(Relaxed) as u16;
    let segment = segment_size(socket, out.control);
    (port != 0).then(|| datagrams(cell.ulids(), port, to.port(), &parts, segment)).flatten()
}

/// The same for upper-layer packets. Inside `guard::slow` only.
pub(super) fn keep_packets(
    socket: &Pinned,
    cell: &Cell,
    packets: &[Vec<u8>],
    marking: Marking,
    to: Option<SocketAddrV6>,
    began: Option<Time>,
) {
    let Some(began) = began else { return };
    let own = instance(socket, cell, to);
    let cell = own.as_deref().unwrap_or(cell);
    for packet in packets {
        let upper = Upper { protocol: protocol(socket), marking, packet: packet.clone() };
        // What comes back went by a pair that was given up meanwhile.
        send_late(cell, cell.resend.keep(began, backend::now(), upper));
    }
}
