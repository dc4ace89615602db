//! Copies of what was just sent, for contexts that were asked to send it again after a failure (`driver::resend`).

use super::super::guard::{self, set_errno};
use super::super::state::flag;
use super::super::table::Pinned;
use super::super::{backend, sys};
use super::rewritten::{datagrams, raw_packet, segment_size, slices};
use super::way::Out;
use super::{engine, learn_port, of_flow};
use crate::driver::cell::Cell;
use crate::driver::udp::UDP;
use crate::time::Time;
use libc::c_int;
use std::net::SocketAddrV6;
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
    let Some(began) = began else { return };
    let saved = guard::errno();
    // What MSG_MORE gathers in the kernel is no datagram yet.
    let more = out.flags & libc::MSG_MORE != 0 || socket.has(flag::CORK);
    if !more && out.iov.iter().all(|v| v.iov_len == 0 || sys::can_read(v.iov_base, v.iov_len)) {
        guard::slow(|| {
            if let Some(packets) = packets(socket, fd, out, cell, to) {
                keep_packets(socket, cell, &packets, to, Some(began));
            }
        });
    }
    set_errno(saved);
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
    to: Option<SocketAddrV6>,
    began: Option<Time>,
) {
    let Some(began) = began else { return };
    let instance = if cell.is_divided() { of_flow(socket, cell, to) } else { None };
    let cell = instance.as_deref().unwrap_or(cell);
    let protocol = if socket.has(flag::RAW) { socket.protocol() } else { UDP };
    for packet in packets {
        let late = cell.resend.keep(began, backend::now(), protocol, packet.clone());
        // It went by a pair that was given up meanwhile.
        if let (Some(packet), Some(forward), Some(engine)) = (late, cell.forward(), engine()) {
            let _ = engine.backend.send_payload(cell, &forward, protocol, &packet);
        }
    }
}
