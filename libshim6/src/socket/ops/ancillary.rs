//! Datagrams with ancillary data at a SHIM level: locators of their own, feedback, an interface (API-CM, API-FB).
//!
//! Everything in the message is checked before anything takes effect (API-CM-25). Nothing here ever forks a context, nor
//! changes what the next datagram does.

// The width of some fields differs between C libraries.
#![allow(clippy::unnecessary_cast)]

use super::super::guard::slow;
use super::super::options::{Abi, abi, code};
use super::super::state::{Mode, flag};
use super::super::table::{self, Pinned};
use super::super::{Bypass, Outcome, cmsg, options, real, setup, sys};
use super::named::named;
use super::rewritten::{fail, rewritten};
use super::send::{describe, transmit};
use super::way::{Out, resolve, serving, source};
use super::{activated, cell_for_options, engine, note_sent, refused};
use crate::addr::is_servable;
use crate::capi::types::*;
use crate::driver::cell::{Cell, Forward};
use crate::engine::{Feedback, LocatorError};
use libc::{c_int, msghdr};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::sync::Arc;

/// Most octets of ancillary data that are looked at.
const MAX_CONTROL: usize = 1 << 20;

/// Has the message ancillary data at a SHIM level? One comparison where it has none at all.
///
/// # Safety
/// `app` is the application's header.
#[inline]
pub(super) unsafe fn has_any(app: &msghdr) -> bool {
    // SAFETY: by the contract above.
    !app.msg_control.is_null() && app.msg_controllen as usize >= cmsg::HEADER && unsafe { look(app) }
}

#[cold]
unsafe fn look(app: &msghdr) -> bool {
    let len = app.msg_controllen as usize;
    if len > MAX_CONTROL || !sys::can_read(app.msg_control, len) {
        return false;
    }
    // SAFETY: readable, as the kernel says.
    let control = unsafe { std::slice::from_raw_parts(app.msg_control.cast::<u8>(), len) };
    cmsg::iter(control).any(|c| options::is_level(c.level))
}

/// What a message asks for; the ABI decides which errors its locators cause.
#[derive(Default)]
struct Wanted {
    local: Option<(Abi, [u8; 2], Ipv6Addr)>,
    peer: Option<(Abi, [u8; 2], Ipv6Addr)>,
    feedback: Option<[u8; 4]>,
    interface: Option<u32>,
}

/// Read all of it. EINVAL: see API-CM-22.
fn wanted(control: &[u8]) -> Result<Wanted, c_int> {
    let mut wanted = Wanted::default();
    for c in cmsg::iter(control) {
        let Some(abi) = abi(c.level) else { continue };
        let once = match c.kind {
            SHIM_LOC_LOCAL_SEND => wanted.local.replace(address(abi, c.data)?).is_none(),
            SHIM_LOC_PEER_SEND => wanted.peer.replace(address(abi, c.data)?).is_none(),
            SHIM_FEEDBACK => {
                let feedback = c.data.try_into().map_err(|_| libc::EINVAL)?;
                wanted.feedback.replace(feedback).is_none()
            }
            SHIM_IF_SEND if abi == Abi::D08 => {
                let index = c.data.try_into().map_err(|_| libc::EINVAL)?;
                wanted.interface.replace(u32::from_ne_bytes(index)).is_none()
            }
            _ => false,
        };
        if !once {
            return Err(libc::EINVAL);
        }
    }
    Ok(wanted)
}

/// The family and the address of a `sockaddr_in6`, or the family of a `sockaddr_in`.
fn address(abi: Abi, data: &[u8]) -> Result<(Abi, [u8; 2], Ipv6Addr), c_int> {
    let family = data.first_chunk::<2>().copied().ok_or(libc::EINVAL)?;
    let ipv4 = c_int::from(u16::from_ne_bytes(family)) == libc::AF_INET;
    let fits = data.len() == size_of::<libc::sockaddr_in6>()
        || (ipv4 && data.len() == size_of::<libc::sockaddr_in>());
    if !fits {
        return Err(libc::EINVAL);
    }
    let octets: [u8; 16] = data.get(8..24).and_then(|o| o.try_into().ok()).unwrap_or_default();
    Ok((abi, family, octets.into()))
}

/// The families, once it is known that there is a context.
fn check_family(given: Option<(Abi, [u8; 2], Ipv6Addr)>) -> Result<Option<(Abi, Ipv6Addr)>, c_int> {
    match given.map(|(abi, family, addr)| (c_int::from(u16::from_ne_bytes(family)), abi, addr)) {
        None => Ok(None),
        Some((libc::AF_INET6, abi, addr)) => Ok(Some((abi, addr))),
        // API-CM-23
        Some((libc::AF_INET, ..)) => Err(EINVALIDLOCATOR),
        Some(_) => Err(libc::EINVAL),
    }
}

/// `sendmsg(2)` with such data.
///
/// # Safety
/// As the libc function; [`has_any`] said so.
pub(super) unsafe fn sendmsg(fd: c_int, app: &msghdr, flags: c_int) -> Outcome<isize> {
    // SAFETY: the application's arguments.
    let out = unsafe { describe(app, flags) }.ok_or(Bypass)?;
    let Ok(kind) = sys::int_option(fd, libc::SOL_SOCKET, libc::SO_TYPE) else {
        // No socket: the kernel says so.
        return Err(Bypass);
    };
    if kind == libc::SOCK_STREAM || kind == libc::SOCK_SEQPACKET {
        // API-CM-28
        return Ok(fail(libc::EOPNOTSUPP));
    }
    let wanted = match slow(|| wanted(out.control)) {
        Some(Ok(wanted)) => wanted,
        Some(Err(e)) => return Ok(fail(e)),
        None => return Err(Bypass),
    };
    let socket = match out.to {
        None => table::pin(fd),
        Some(_) => activated(fd),
    };
    let Some((socket, (cell, to, ulid))) =
        socket.and_then(|s| slow(|| context(&s, fd, &out)).flatten().map(|c| (s, c)))
    else {
        return Ok(fail(libc::ENOENT));
    };
    let checked = slow(|| check(&cell, &wanted)).ok_or(Bypass)?;
    let (feedback, forward) = match checked {
        Ok(checked) => checked,
        Err(e) => return Ok(fail(e)),
    };
    if socket.has(flag::WAITING)
        && let Some(e) = setup::before_send(&socket, fd, None, flags)
    {
        return Ok(fail(e));
    }
    if let Some(feedback) = feedback {
        slow(|| engine().map(|e| e.backend.feedback(&cell, feedback)));
    }
    if wanted.feedback.is_some() && out.iov.is_empty() {
        // API-FB-08
        return Ok(0);
    }
    // SAFETY: the application's arguments.
    unsafe {
        match forward {
            None => transmit(&socket, fd, &out, &|| real::sendmsg(fd, app, flags)),
            Some(Some(forward)) => Ok(rewritten(&socket, fd, &out, &cell, &forward, &to)),
            Some(None) => {
                let interface = wanted.interface.unwrap_or(0);
                Ok(between_ulids(&socket, fd, &out, &cell, (to, ulid, interface), || {
                    real::sendmsg(fd, app, flags)
                }))
            }
        }
    }
}

/// By the kernel's socket, although the context uses other locators now, or by the interface that was asked for.
unsafe fn between_ulids(
    socket: &Pinned,
    fd: c_int,
    out: &Out<'_>,
    cell: &Cell,
    (to, ulid, interface): (SocketAddrV6, Ipv6Addr, u32),
    plain: impl FnOnce() -> isize,
) -> isize {
    let r = match socket.mode() != Mode::Connected || interface != 0 {
        // SAFETY: the application's buffers.
        true => unsafe { named(fd, out, &to, ulid, interface) },
        false => plain(),
    };
    if r >= 0 {
        note_sent(socket, cell, r as usize, Some(to));
    } else if refused(cell, cell.ulids().as_locators()) {
        return out.octets() as isize;
    }
    r
}

/// The context of the datagram: its cell, the peer, and our ULID. `None`: there is none (API-CM-15, API-CM-31, API-FB-04).
/// Inside `guard::slow` only.
fn context(socket: &Pinned, fd: c_int, out: &Out<'_>) -> Option<(Arc<Cell>, SocketAddrV6, Ipv6Addr)> {
    if socket.has(flag::DONT_SHIM) || socket.mode() == Mode::Plain {
        return None;
    }
    let (local, peer) = {
        let inner = socket.inner();
        (inner.local, inner.peer)
    };
    // In place of a port, a raw socket may be given its protocol.
    let unported = |to: SocketAddrV6| match socket.has(flag::RAW) {
        true => SocketAddrV6::new(*to.ip(), 0, to.flowinfo(), to.scope_id()),
        false => to,
    };
    let own = |to: SocketAddrV6| peer.is_some_and(|p| p.ip() == to.ip() && p.port() == to.port());
    let (cell, to, local) = match out.to.map(|to| to.map(unported)) {
        None if socket.mode() != Mode::Unconnected => (cell_for_options(socket)?, peer?, local),
        Some(Some(to)) if socket.mode() != Mode::Unconnected && own(to) => {
            (cell_for_options(socket)?, to, local)
        }
        Some(Some(to)) if is_servable(to.ip()) => {
            let (cell, local, _) = resolve(socket, fd, &to, source(out.control))?;
            (cell, to, local)
        }
        _ => return None,
    };
    let cell = serving(socket, cell, &to);
    cell.is_associated().then_some((cell, to, local))
}

type Checked = (Option<Feedback>, Option<Option<Forward>>);

/// Check values and locators; what is to be done. Inside `guard::slow` only.
fn check(cell: &Cell, wanted: &Wanted) -> Result<Checked, c_int> {
    let (local, peer) = (check_family(wanted.local), check_family(wanted.peer));
    // A value that is none comes before one that does not fit.
    if local == Err(libc::EINVAL) || peer == Err(libc::EINVAL) {
        return Err(libc::EINVAL);
    }
    let feedback = wanted.feedback.map_or(Ok(None), feedback)?;
    let (local, peer) = (local?, peer?);
    if wanted.interface.is_some_and(|index| !sys::has_interface(index)) {
        return Err(libc::ENXIO);
    }
    if local.is_none() && peer.is_none() && wanted.interface.is_none() {
        return Ok((feedback, None));
    }
    let view = cell.view();
    // The errors in their order, each as its own ABI has it (API-PTX-16).
    let errors = [
        local.and_then(|(abi, addr)| Some((view.check_local(addr).err()?, abi))),
        peer.and_then(|(abi, addr)| Some((view.check_peer(cell.ulids(), addr).err()?, abi))),
    ];
    let worst = errors.into_iter().flatten().min_by_key(|(e, _)| *e);
    if let (Some((LocatorError::Unverified, _)), Some((_, addr)), Some(engine)) = (worst, peer, engine()) {
        // API-CM-19
        engine.backend.probe_peer(cell, addr);
    }
    if let Some((e, abi)) = worst {
        return Err(code(abi, e));
    }
    let engine = engine().ok_or(libc::ENOENT)?;
    let abi = local.or(peer).map_or(Abi::D08, |(abi, _)| abi);
    let forward = match (local, peer) {
        (None, None) => Ok(cell.forward()),
        _ => engine.backend.forward_for(cell, local.map(|l| l.1), peer.map(|p| p.1)),
    };
    let mut forward = forward.map_err(|e| code(abi, e))?;
    if let (Some(forward), Some(index)) = (&mut forward, wanted.interface) {
        forward.ifindex = index;
    }
    Ok((feedback, Some(forward)))
}

/// Direction and indicator; the rest is reserved (API-FB-03, API-FB-05, API-FB-06, API-FB-07).
fn feedback([direction, indicator, ..]: [u8; 4]) -> Result<Option<Feedback>, c_int> {
    match (direction, indicator) {
        (2.., _) | (_, 4..) => Err(libc::EINVAL),
        (_, 0) => Ok(None),
        (_, 1) => Ok(Some(Feedback::Unable)),
        (_, 2) => Ok(Some(Feedback::Unsatisfactory)),
        (0, 3) => Ok(Some(Feedback::SatisfactoryOutbound)),
        (1, 3) => Ok(Some(Feedback::SatisfactoryInbound)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // RE-FI-10, API-FB-05
    #[test]
    fn indicators() {
        for direction in [0, 1] {
            let satisfied =
                [Feedback::SatisfactoryOutbound, Feedback::SatisfactoryInbound][usize::from(direction)];
            let expected =
                [None, Some(Feedback::Unable), Some(Feedback::Unsatisfactory), Some(satisfied)].map(Ok);
            for (indicator, expected) in (0..).zip(expected) {
                assert_eq!(feedback([direction, indicator, 0xff, 0xff]), expected);
            }
            assert_eq!(feedback([direction, 4, 0, 0]), Err(libc::EINVAL));
        }
        assert_eq!(feedback([2, 1, 0, 0]), Err(libc::EINVAL));
    }
}
