//! `sendmmsg(2)`: runs of messages that go the same way are sent together.

use super::super::guard::{self, set_errno};
use super::super::state::{Mode, flag};
use super::super::table::{self, Pinned};
use super::super::{Bypass, Outcome, real, sys};
use super::named::{Control, header};
use super::rewritten::{IPV6_AND_UDP, is_readable, rewritten, segment_size, send_packets, slices};
use super::send::{MAX_BATCH, describe, not_sent};
use super::spare::{KEPT, Spare};
use super::way::{Out, Way, way};
use super::{activated, ancillary, keep, learn_port, marking, note_sent, quick};
use crate::driver::build_udp;
use crate::driver::cell::{Cell, Forward};
use libc::{c_int, c_uint, mmsghdr, sockaddr_in6};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::sync::atomic::Ordering::Relaxed;

/// `sendmmsg(2)`: runs of messages that go the same way are sent together.
///
/// # Safety
/// As the libc function.
#[inline]
pub unsafe fn sendmmsg(fd: c_int, msgs: *mut mmsghdr, n: c_uint, flags: c_int) -> Outcome<c_int> {
    let n = (n as usize).min(MAX_BATCH);
    if n == 0 || !sys::can_write(msgs, n * size_of::<mmsghdr>()) {
        return Err(Bypass);
    }
    // SAFETY: the application's arguments.
    if let Some(done) = unsafe { each(fd, msgs, n, flags) } {
        return done;
    }
    // SAFETY: the application passed `n` structures at `msgs`; the kernel takes no more than MAX_BATCH.
    let msgs = unsafe { std::slice::from_raw_parts_mut(msgs, n) };
    // SAFETY: as above.
    if let Some(done) = unsafe { quickly(fd, msgs, flags).or_else(|| quickly_to(fd, msgs, flags)) } {
        return Ok(done);
    }
    let socket = activated(fd).ok_or(Bypass)?;
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

/// Messages of which one has ancillary data of ours, or a socket whose first datagrams wait: one by one, up to the first
/// that fails (API-CM-26). `None`: neither.
unsafe fn each(fd: c_int, msgs: *mut mmsghdr, n: usize, flags: c_int) -> Option<Outcome<c_int>> {
    // SAFETY: the application passed `n` structures at `msgs`; the kernel takes no more than MAX_BATCH.
    let msgs = unsafe { std::slice::from_raw_parts_mut(msgs, n) };
    let waits = table::peek(fd).is_some_and(|s| {
        s.has(flag::WAITING) || (s.has(flag::NOT_DEFERRED) && s.mode() == Mode::Unconnected)
    });
    // SAFETY: the application's headers.
    if !waits && !msgs.iter().any(|m| unsafe { ancillary::has_any(&m.msg_hdr) }) {
        return None;
    }
    for (i, m) in msgs.iter_mut().enumerate() {
        // SAFETY: as above.
        let r = unsafe {
            match super::sendmsg(fd, &raw const m.msg_hdr, flags) {
                Ok(r) => r,
                Err(Bypass) => real::sendmsg(fd, &raw const m.msg_hdr, flags),
            }
        };
        if r < 0 {
            return Some(Ok(if i > 0 { i as c_int } else { -1 }));
        }
        m.msg_len = r as c_uint;
    }
    Some(Ok(msgs.len() as c_int))
}

/// The usual case ([`quick`]) of a socket without peer: all messages go to peers that are known. `None`: another case.
unsafe fn quickly_to(fd: c_int, msgs: &mut [mmsghdr], flags: c_int) -> Option<c_int> {
    let known = |m: &mmsghdr| {
        // SAFETY: the application's arguments.
        let out = unsafe { describe(&m.msg_hdr, flags) }?;
        let to = out.to??;
        let (name, meter) = quick::sends_to(fd, flags, &to, out.control)?;
        Some((to, name, meter))
    };
    let mut named = false;
    for m in msgs.iter() {
        named |= known(m)?.1.is_some();
    }
    let sent = if named {
        // SAFETY: as above.
        unsafe { named_batch(fd, msgs, flags, |_, m| known(m)?.1) }
    } else {
        // SAFETY: as above.
        unsafe { real::sendmmsg(fd, msgs.as_mut_ptr(), msgs.len() as c_uint, flags) }
    };
    if sent < 0 {
        // SAFETY: as above.
        return Some(unsafe { first_not_sent(fd, &mut msgs[0], flags, named) });
    }
    for m in &msgs[..sent as usize] {
        if let Some((to, _, meter)) = known(m) {
            quick::note_sent_to(fd, meter, &to, m.msg_len as usize);
        }
    }
    Some(sent)
}

/// The usual case ([`quick`]): no names. `None`: another case.
unsafe fn quickly(fd: c_int, msgs: &mut [mmsghdr], flags: c_int) -> Option<c_int> {
    let meter = quick::sends(fd, flags)?;
    if !msgs.iter().all(|m| m.msg_hdr.msg_name.is_null()) {
        return None;
    }
    // SAFETY: the application's arguments.
    let sent = unsafe { real::sendmmsg(fd, msgs.as_mut_ptr(), msgs.len() as c_uint, flags) };
    if sent < 0 {
        // SAFETY: as above.
        return Some(unsafe { first_not_sent(fd, &mut msgs[0], flags, false) });
    }
    let octets = msgs.iter().take(sent as usize).map(|m| m.msg_len as usize).sum();
    quick::note_sent(fd, meter, sent as u64, octets);
    Some(sent)
}

/// The kernel refused the first message in the usual case, `named` in the call. What the application gets.
#[cold]
unsafe fn first_not_sent(fd: c_int, m: &mut mmsghdr, flags: c_int, named: bool) -> c_int {
    // SAFETY: the application's arguments.
    let octets = unsafe { describe(&m.msg_hdr, flags) }.map_or(-1, |out| not_sent(fd, &out, named));
    if octets < 0 {
        return -1;
    }
    m.msg_len = octets as c_uint;
    1
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
        Way::Lost => {
            msgs[0].msg_len = first.map_or(0, |out| out.octets()) as c_uint;
            Ok(1)
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
    // What may be refused or sent in pieces goes by itself.
    let simple = |out: &Out<'_>| {
        segment_size(socket, out.control) == 0
            && out.octets() <= (forward.mtu as usize).saturating_sub(IPV6_AND_UDP)
            && marking::is_plain(out.control, cell.ulids().local)
            && is_readable(out)
    };
    for m in &msgs[1..] {
        // SAFETY: the application's arguments.
        let Some(out) = (unsafe { describe(&m.msg_hdr, flags) }).filter(simple) else { break };
        match way(socket, fd, &out) {
            Way::Rewritten(c, f, to) if c.key() == cell.key() && f == forward => targets.push(to),
            _ => break,
        }
    }
    // SAFETY: as above.
    let outs: Vec<Out<'_>> =
        msgs[..targets.len()].iter().filter_map(|m| unsafe { describe(&m.msg_hdr, flags) }).collect();
    let lens: Vec<usize> = outs.iter().map(Out::octets).collect();
    let gathers = flags & (libc::MSG_MORE | libc::MSG_ZEROCOPY) != 0
        || socket.has(flag::CORK | flag::GATHERED | flag::RAW);
    if outs.len() < 2 || !simple(&outs[0]) || socket.has(flag::SHUT_WR) || gathers {
        // SAFETY: as above.
        let r = unsafe { rewritten(socket, fd, &outs[0], cell, &forward, &targets[0]) };
        if r >= 0 {
            msgs[0].msg_len = r as c_uint;
        }
        return usize::from(r >= 0);
    }
    let began = keep::begin(socket, cell);
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
        Some(packets) => {
            let forward = Forward { marking: marking::marking(socket, &[]), ..forward };
            let sent = send_packets(fd, cell, &forward, socket.protocol(), &packets, flags);
            if began.is_some()
                && let Ok(n) = sent
            {
                guard::slow(|| keep::keep_packets(socket, cell, &packets[..n], Some(to), began));
            }
            sent
        }
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
            Way::Rewritten(..) | Way::Lost => break,
            other => ways.push(other),
        }
    }
    let n = ways.len();
    let began: Vec<_> = ways.iter().map(|w| w.cell().and_then(|cell| keep::begin(socket, cell))).collect();
    let sent = if ways.iter().any(|w| w.name().is_some()) {
        // SAFETY: as above.
        unsafe { named_batch(fd, &mut msgs[..n], flags, |i, _| ways[i].name()) }
    } else {
        // SAFETY: as above.
        unsafe { real::sendmmsg(fd, msgs.as_mut_ptr(), n as c_uint, flags) }
    };
    if sent <= 0 {
        let lost = ways[0].counts_as_lost();
        // SAFETY: as above.
        let out = if lost { unsafe { describe(&msgs[0].msg_hdr, flags) } } else { None };
        if let (Some(out), Some(cell)) = (&out, ways[0].cell()) {
            msgs[0].msg_len = out.octets() as c_uint;
            keep::refused(socket, fd, out, cell, ways[0].peer());
        }
        return Ok(usize::from(lost));
    }
    for ((way, m), began) in ways.iter().zip(&msgs[..sent as usize]).zip(began) {
        // SAFETY: the application's header, as the kernel has read it.
        let out = if began.is_some() { unsafe { describe(&m.msg_hdr, flags) } } else { None };
        let Some(cell) = way.cell() else { continue };
        if let Some(out) = out {
            keep::keep(socket, fd, &out, cell, way.peer(), began);
        }
        note_sent(socket, cell, m.msg_len as usize, way.peer());
    }
    if socket.local_port.load(Relaxed) == 0 {
        guard::slow(|| learn_port(socket, fd));
    }
    Ok(sent as usize)
}

/// Copies of headers, and what of them is ours.
#[derive(Default)]
struct Copies {
    headers: Vec<mmsghdr>,
    names: Vec<sockaddr_in6>,
    controls: Vec<Control>,
}

static SPARE: Spare<Copies> = Spare::new();

/// The kernel's sendmmsg, with the destination and source named that `name` tells of a message.
unsafe fn named_batch(
    fd: c_int,
    msgs: &mut [mmsghdr],
    flags: c_int,
    name: impl Fn(usize, &mmsghdr) -> Option<(SocketAddrV6, Ipv6Addr)>,
) -> c_int {
    let mut copies = SPARE.take();
    let Copies { headers, names, controls } = &mut *copies;
    headers.clear();
    names.clear();
    controls.clear();
    headers.extend_from_slice(msgs);
    names.reserve(msgs.len());
    controls.reserve(msgs.len());
    for (i, m) in headers.iter_mut().enumerate() {
        let Some((to, from)) = name(i, &msgs[i]) else { continue };
        // SAFETY: the application's arguments.
        let Some(out) = (unsafe { describe(&msgs[i].msg_hdr, flags) }) else { continue };
        names.push(sys::to_raw(&to));
        controls.push(Control::new(out.control, from, 0));
        // Both vectors have the room that they need, so these addresses stay.
        let (Some(name), Some(control)) = (names.last_mut(), controls.last_mut()) else { continue };
        m.msg_hdr = header(&raw mut *name, out.iov, control.octets());
    }
    // SAFETY: the headers point to the application's buffers and to the vectors above.
    let sent = unsafe { real::sendmmsg(fd, headers.as_mut_ptr(), headers.len() as c_uint, flags) };
    for (m, copy) in msgs.iter_mut().zip(headers.iter()).take(sent.max(0) as usize) {
        m.msg_len = copy.msg_len;
    }
    if msgs.len() <= KEPT {
        SPARE.keep(copies);
    }
    sent
}
