//! Sending by the engine's raw socket, behind the payload extension header.

use super::super::guard::{self, set_errno};
use super::super::state::flag;
use super::super::table::Pinned;
use super::super::{cmsg, sys};
use super::room::{self, Room};
use super::way::{Out, Way, way};
use super::{engine, keep, marking, note_sent, zero_copy};
use crate::addr::UlidPair;
use crate::driver::build_udp;
use crate::driver::cell::{Cell, Forward};
use crate::driver::kernel::kernel;
use crate::driver::udp::Sum;
use libc::{c_int, iovec};
use std::io::IoSlice;
use std::net::SocketAddrV6;
use std::sync::atomic::Ordering::Relaxed;

/// Most octets of a UDP datagram over IPv6 (no jumbograms).
pub(super) const MAX_DATA: usize = 65_527;
/// Octets of an IPv6 header.
const IPV6: usize = 40;
/// Octets of the headers of an untagged UDP datagram.
pub(super) const IPV6_AND_UDP: usize = IPV6 + 8;
/// UDP_SEGMENT of <linux/udp.h>.
pub(super) const UDP_SEGMENT: c_int = 103;

/// By the engine's raw socket. The value that the application gets, `errno` set.
pub(super) unsafe fn rewritten(
    socket: &Pinned,
    fd: c_int,
    out: &Out<'_>,
    cell: &Cell,
    forward: &Forward,
    to: &SocketAddrV6,
) -> isize {
    let octets = out.octets();
    if out.iov.len() > 1 && out.iov.iter().any(|v| v.iov_len > isize::MAX as usize) {
        return fail(libc::EINVAL);
    }
    let local = cell.ulids().local;
    if !out.control.is_empty()
        && let Some(e) = guard::slow(|| marking::refused(fd, to, out.control, local)).flatten()
    {
        return fail(e);
    }
    let forward = &Forward { marking: marking::marking(socket, out.control), ..*forward };
    let segment = segment_size(socket, out.control);
    let largest = if socket.has(flag::RAW) { 0xffff } else { MAX_DATA };
    if (octets > largest && segment == 0) || octets > 0xffff {
        return fail(libc::EMSGSIZE);
    }
    // Of raw sockets the kernel does not ask that.
    if socket.has(flag::SHUT_WR) && !socket.has(flag::RAW) {
        return fail(libc::EPIPE);
    }
    if !is_readable(out) {
        return fail(libc::EFAULT);
    }
    let more = out.flags & libc::MSG_MORE != 0 || socket.has(flag::CORK);
    if more || socket.has(flag::GATHERED) {
        let whole = match gather(socket, out, more) {
            Ok(None) => {
                done_with_data(socket, fd, out, to);
                return octets as isize;
            }
            Ok(Some(whole)) => whole,
            Err(e) => return fail(e),
        };
        let iov = [iovec { iov_base: whole.as_ptr().cast_mut().cast(), iov_len: whole.len() }];
        let all = Out { iov: &iov, ..*out };
        // SAFETY: what was gathered is not given back, so this goes no deeper.
        let r = unsafe { rewritten(socket, fd, &all, cell, forward, to) };
        return if r < 0 { r } else { octets as isize };
    }
    let began = keep::begin(socket, cell);
    let mut packets = Vec::new();
    let built = guard::slow(|| {
        if !super::life::have_port(socket, fd) {
            return Err(libc::EAGAIN);
        }
        let parts = slices(out.iov);
        if socket.has(flag::RAW) {
            packets = vec![raw_packet(cell.ulids(), socket.protocol(), sys::checksum_offset(fd), &parts)?];
            return Ok(());
        }
        let port = socket.local_port.load(Relaxed) as u16;
        packets = datagrams(cell.ulids(), port, to.port(), &parts, segment).ok_or(libc::EMSGSIZE)?;
        Ok(())
    });
    match built {
        // The payload extension header is not the application's affair.
        Some(Ok(())) if packets.iter().any(|p| p.len() + IPV6 > forward.mtu as usize) => {
            if guard::slow(|| marking::forbids_fragments(socket, fd, out.control)).unwrap_or(false) {
                return fail(libc::EMSGSIZE);
            }
        }
        Some(Ok(())) => {}
        Some(Err(e)) => return fail(e),
        // After a panic nothing is sure: the datagram counts as lost.
        None => return octets as isize,
    }
    match send_whole(fd, cell, forward, socket.protocol(), &packets, out.flags) {
        Ok(()) => {
            done_with_data(socket, fd, out, to);
            note_sent(socket, cell, octets, Some(*to));
            if began.is_some() {
                guard::slow(|| keep::keep_packets(socket, cell, &packets, forward.marking, Some(*to), began));
            }
            octets as isize
        }
        Err(e) => fail(e),
    }
}

/// Does the data lie in memory that is there?
pub(super) fn is_readable(out: &Out<'_>) -> bool {
    out.iov.iter().all(|v| v.iov_len == 0 || sys::can_read(v.iov_base, v.iov_len))
}

fn done_with_data(socket: &Pinned, fd: c_int, out: &Out<'_>, to: &SocketAddrV6) {
    if out.flags & libc::MSG_ZEROCOPY != 0 {
        guard::slow(|| zero_copy::complete(fd, out, to, socket.has(flag::RAW)));
    }
}

/// Add the data to what MSG_MORE or UDP_CORK holds back; the whole datagram, once there is no more to come.
fn gather(socket: &Pinned, out: &Out<'_>, more: bool) -> Result<Option<Vec<u8>>, c_int> {
    guard::slow(|| {
        let mut inner = socket.inner();
        if inner.gathered.len() + out.octets() > MAX_DATA {
            // As in the kernel, which drops what it has.
            inner.gathered = Vec::new();
            socket.set(flag::GATHERED, false);
            return Err(libc::EMSGSIZE);
        }
        // SAFETY: the application's buffers, readable as the caller has seen.
        slices(out.iov).iter().for_each(|part| inner.gathered.extend_from_slice(part));
        socket.set(flag::GATHERED, more);
        Ok((!more).then(|| std::mem::take(&mut inner.gathered)))
    })
    .unwrap_or(Ok(None))
}

/// The application took UDP_CORK away: what was gathered goes out.
pub(super) fn uncork(socket: &Pinned, fd: c_int) {
    let out = Out { to: None, iov: &[], control: &[], flags: 0, any_file: false };
    if socket.has(flag::GATHERED)
        && let Way::Rewritten(cell, forward, to) = way(socket, fd, &out)
    {
        let saved = guard::errno();
        // SAFETY: no buffer of the application's is involved.
        unsafe { rewritten(socket, fd, &out, &cell, &forward, &to) };
        set_errno(saved);
    }
}

pub(super) fn fail(e: c_int) -> isize {
    set_errno(e);
    -1
}

/// The segment size in force: the one of this call, else the socket's.
pub(super) fn segment_size(socket: &Pinned, control: &[u8]) -> usize {
    cmsg::iter(control)
        .find(|c| c.level == libc::IPPROTO_UDP && c.kind == UDP_SEGMENT)
        .and_then(|c| Some(u16::from_ne_bytes(c.data.get(..2)?.try_into().ok()?)))
        .map_or(socket.segment.load(Relaxed) as usize, usize::from)
}

pub(super) fn slices(iov: &[iovec]) -> Vec<IoSlice<'_>> {
    iov.iter()
        .filter(|v| v.iov_len > 0 && !v.iov_base.is_null())
        // SAFETY: a non-empty buffer of the application, which it promises to be readable.
        .map(|v| IoSlice::new(unsafe { std::slice::from_raw_parts(v.iov_base.cast(), v.iov_len) }))
        .collect()
}

/// What a raw socket sends, with the checksum over the ULIDs at `sum_at` if the application asked for one there.
pub(super) fn raw_packet(
    ulids: UlidPair,
    protocol: u8,
    sum_at: Option<usize>,
    parts: &[IoSlice<'_>],
) -> Result<Vec<u8>, c_int> {
    let mut packet: Vec<u8> = parts.iter().flat_map(|p| p.iter().copied()).collect();
    if let Some(at) = sum_at {
        // As the kernel answers where the field lies outside.
        packet.get_mut(at..at + 2).ok_or(libc::EINVAL)?.fill(0);
        let mut sum = Sum::pseudo(ulids.local, ulids.peer, protocol, packet.len() as u32);
        sum.add(&packet);
        packet[at..at + 2].copy_from_slice(&(!sum.folded()).to_be_bytes());
    }
    Ok(packet)
}

/// The UDP datagrams that the data makes: one, or one per segment.
pub(super) fn datagrams(
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
pub(super) fn send_packets(
    fd: c_int,
    cell: &Cell,
    forward: &Forward,
    protocol: u8,
    packets: &[Vec<u8>],
    flags: c_int,
) -> Result<usize, c_int> {
    let once = || {
        let Some(engine) = engine() else { return Ok(packets.len()) };
        match packets {
            [one] => engine.backend.send_payload(cell, forward, protocol, one).map(|()| 1),
            many => {
                let many: Vec<&[u8]> = many.iter().map(Vec::as_slice).collect();
                engine.backend.send_payload_many(cell, forward, protocol, &many)
            }
        }
    };
    let mut room = Room::new(fd, flags);
    loop {
        let code = |e: std::io::Error| e.raw_os_error().unwrap_or(libc::EIO);
        match guard::slow(|| once().map_err(code)) {
            None => return Ok(packets.len()),
            Some(Err(libc::EAGAIN)) => room.wait()?,
            Some(result) => return result,
        }
    }
}

/// As [`send_packets`] for the packets of one datagram: of one that has begun the rest goes too, or is lost on the way.
fn send_whole(
    fd: c_int,
    cell: &Cell,
    forward: &Forward,
    protocol: u8,
    packets: &[Vec<u8>],
    flags: c_int,
) -> Result<(), c_int> {
    let mut sent = send_packets(fd, cell, forward, protocol, packets, flags)?;
    while sent < packets.len() && room::for_the_rest() {
        let rest = send_packets(fd, cell, forward, protocol, &packets[sent..], libc::MSG_DONTWAIT);
        sent += rest.unwrap_or(0);
    }
    Ok(())
}

/// Is it a blocking call on a blocking socket?
pub(in super::super) fn may_wait(fd: c_int, flags: c_int) -> bool {
    // SAFETY: F_GETFL takes no argument and touches no memory.
    let get = || unsafe { kernel!(libc::SYS_fcntl, fd, libc::F_GETFL) };
    flags & libc::MSG_DONTWAIT == 0
        && guard::slow(get).is_some_and(|f| f >= 0 && f as c_int & libc::O_NONBLOCK == 0)
}
