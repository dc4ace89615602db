//! The usual case at the cost of a few loads: a datagram of a known pair while locators equal ULIDs. The kernel's socket
//! carries it, and the cell's meter counts it. Nothing is pinned, because only what is never freed is looked at: records
//! and meters. A close in another thread can make one datagram count for another cell, no more.

use super::super::guard::{self, errno};
use super::super::state::{Mode, Socket, flag};
use super::super::{backend, cmsg, table};
use super::lend::Came;
use super::names::hides_path_errors;
use super::way::NOT_OURS;
use super::{active, is_path_error, wake};
use crate::addr::UlidPair;
use crate::driver::cell::{Cell, Meter, attention};
use libc::c_int;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::sync::atomic::Ordering::Relaxed;

/// The meter for what is sent by `fd`, if the plain call is all that it takes.
#[inline(always)]
pub(super) fn sends(fd: c_int, flags: c_int) -> Option<&'static Meter> {
    let meter = table::peek(fd)?.connected_meter(flag::SENDING)?;
    (flags & NOT_OURS == 0 && !meter.needs(attention::BEFORE_SENDING)).then_some(meter)
}

/// Destination and source to be named in a call.
pub(super) type Name = (SocketAddrV6, Ipv6Addr);

/// What an unconnected socket does with a datagram that has this ancillary data: the names to give in the call, where it
/// needs some, and the meter.
#[inline(always)]
pub(super) fn sends_to(
    fd: c_int,
    flags: c_int,
    to: &SocketAddrV6,
    control: &[u8],
) -> Option<(Option<Name>, &'static Meter)> {
    let socket = table::peek(fd)?;
    if !socket.is(Mode::Unconnected, flag::SENDING | flag::RAW)
        || flags & NOT_OURS != 0
        || socket.local_port.load(Relaxed) == 0
    {
        return None;
    }
    let known = socket.recent.get(to)?;
    if known.meter.needs(attention::BEFORE_SENDING) {
        return (control.is_empty() && !known.meter.needs(attention::DIVIDED | attention::KEEP))
            .then(|| without_header(socket, to))?;
    }
    // The peer talks to this address of ours: answer from it, though the kernel might choose another one.
    let name_it = known.heard && known.unbound && known.meter.needs(attention::ASSOCIATED);
    let named = if control.is_empty() { None } else { cmsg::destination(control) };
    match named {
        None if name_it => control.is_empty().then_some((Some((*to, known.local)), known.meter)),
        // That of another pair is looked at more closely.
        Some(named) if named != known.local => None,
        _ => Some((None, known.meter)),
    }
}

/// The same by other locators, where the datagram is known to go without extension header.
fn without_header(socket: &Socket, to: &SocketAddrV6) -> Option<(Option<Name>, &'static Meter)> {
    let (locators, meter) = socket.recent.detours.outgoing(to)?;
    Some((Some((SocketAddrV6::new(locators.peer, to.port(), 0, 0), locators.local)), meter))
}

/// The kernel's number of `lo`, by which payload with the extension header is injected, in every network namespace.
const LOOPBACK: u32 = 1;

/// An unconnected socket received a datagram: count it, if it is one of a known peer to the address as before. Its ULIDs,
/// if it came on other locators. `None`: another case.
#[inline(always)]
pub(super) fn heard_from(
    socket: &Socket,
    fd: c_int,
    came: &Came,
    octets: usize,
    flags: c_int,
) -> Option<Option<UlidPair>> {
    if !socket.is(Mode::Unconnected, flag::DONT_SHIM | flag::LOCAL_RECV | flag::PEER_RECV)
        || flags & (libc::MSG_PEEK | libc::MSG_ERRQUEUE) != 0
        || (socket.has(flag::TOLD) && came.told.ifindex <= LOOPBACK)
    {
        return None;
    }
    let mut from = came.from?;
    let (ulids, meter) = match socket.recent.get(&from) {
        Some(known) => {
            let here = match came.told.destination {
                Some(to) => to == known.local,
                None => !known.unbound,
            };
            if !known.heard || !here {
                return None;
            }
            (None, known.meter)
        }
        None if socket.has(flag::TOLD | flag::RAW) => return None,
        None => {
            let (ulids, meter) = socket.recent.detours.incoming(&from, came.told.destination?)?;
            from.set_ip(ulids.peer);
            (Some(ulids), meter)
        }
    };
    if meter.needs(attention::DIVIDED) {
        return None;
    }
    if meter.note_received(1, backend::now) {
        attend_received_from(fd, &from, octets);
    }
    Some(ulids)
}

#[cold]
fn attend_sent_to(fd: c_int, to: &SocketAddrV6, octets: usize) {
    attend_named(fd, to, |cell| cell.attend_sent(octets, backend::now));
}

#[cold]
fn attend_received_from(fd: c_int, from: &SocketAddrV6, octets: usize) {
    attend_named(fd, from, |cell| cell.attend_received(octets));
}

fn attend_named(fd: c_int, peer: &SocketAddrV6, attend: impl FnOnce(&Cell) -> bool) {
    let Some(socket) = active(fd) else { return };
    let cell = guard::slow(|| socket.peer(peer)?.cell).flatten();
    if let Some(cell) = cell
        && attend(&cell)
    {
        wake(&socket, &cell, Some(*peer));
    }
}

/// The kernel took a datagram of an unconnected socket.
#[inline(always)]
pub(super) fn note_sent_to(fd: c_int, meter: &Meter, to: &SocketAddrV6, octets: usize) {
    if meter.note_sent(1, backend::now) {
        attend_sent_to(fd, to, octets);
    }
}

/// The kernel took this many datagrams, with that many octets together.
#[inline(always)]
pub(super) fn note_sent(fd: c_int, meter: &Meter, datagrams: u64, octets: usize) {
    if meter.note_sent(datagrams, backend::now) {
        attend_sent(fd, octets);
    }
}

#[cold]
fn attend_sent(fd: c_int, octets: usize) {
    if let Some(socket) = active(fd)
        && let Some(cell) = socket.cell()
        && cell.attend_sent(octets, backend::now)
    {
        wake(&socket, cell, None);
    }
}

/// The meter for what is received by `fd`, if the plain call is all that it takes; not if one of the flags `without` is set.
#[inline(always)]
pub(super) fn receives(fd: c_int, flags: c_int, without: u32) -> Option<&'static Meter> {
    let meter = table::peek(fd)?.connected_meter(flag::DONT_SHIM | without)?;
    let counts = flags & (libc::MSG_PEEK | libc::MSG_ERRQUEUE) == 0;
    (counts && !meter.needs(attention::DIVIDED)).then_some(meter)
}

/// The plain call was made and returned `r`. `None`: an error of the path that the application must not see; receive again.
#[inline(always)]
pub(super) fn received(fd: c_int, meter: &Meter, r: isize) -> Option<isize> {
    if r < 0 {
        return (!hides_error(fd)).then_some(r);
    }
    note_received(fd, meter, 1, r as usize);
    Some(r)
}

/// The kernel gave this many datagrams, with that many octets together.
#[inline(always)]
pub(super) fn note_received(fd: c_int, meter: &Meter, datagrams: u64, octets: usize) {
    if meter.note_received(datagrams, backend::now) {
        attend_received(fd, octets);
    }
}

/// Is `errno` an error of the path that the application must not see?
#[inline(always)]
pub(super) fn hides_error(fd: c_int) -> bool {
    #[cold]
    fn hides(fd: c_int) -> bool {
        active(fd).is_some_and(|socket| hides_path_errors(&socket))
    }
    is_path_error(errno()) && hides(fd)
}

#[cold]
fn attend_received(fd: c_int, octets: usize) {
    if let Some(socket) = active(fd)
        && let Some(cell) = socket.cell()
        && cell.attend_received(octets)
    {
        wake(&socket, cell, None);
    }
}
