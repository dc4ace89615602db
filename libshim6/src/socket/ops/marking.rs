//! What an application says about the packet of a datagram, by options of the socket and by ancillary data, where the
//! kernel's socket does not carry the datagram: which fields of the header it wants, and what the kernel refuses.

// The width of some fields differs between C libraries.
#![allow(clippy::unnecessary_cast)]

use super::super::guard::errno;
use super::super::state::{Socket, flag};
use super::super::{cmsg, options, sys};
use super::rewritten::UDP_SEGMENT;
use super::way::MSG_PROBE;
use crate::driver::cell::Marking;
use crate::driver::kernel::kernel;
use libc::{c_int, msghdr, socklen_t};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::sync::atomic::Ordering::Relaxed;

/// In `Socket::marking`: the traffic class in the lowest octet, the hop limit in the next one, and this if there is one.
const HAS_HOP_LIMIT: u32 = 1 << 16;

/// Is it an option that [`option_was_set`] wants to hear of?
pub(super) fn is_option(level: c_int, name: c_int) -> bool {
    match level {
        libc::IPPROTO_IPV6 => matches!(name, libc::IPV6_TCLASS | libc::IPV6_UNICAST_HOPS),
        libc::SOL_SOCKET => matches!(name, libc::SO_MARK | libc::SO_PRIORITY),
        _ => false,
    }
}

/// The kernel took this value of [`is_option`]; -1 stands for the default of IPv6 options.
pub(super) fn option_was_set(socket: &Socket, level: c_int, name: c_int, value: c_int) {
    match (level, name) {
        (libc::SOL_SOCKET, libc::SO_MARK) => return socket.mark.store(value as u32, Relaxed),
        (libc::SOL_SOCKET, _) => return socket.priority.store(value as u32, Relaxed),
        _ => {}
    }
    let octet = u8::try_from(value).ok();
    let change = |old: u32| match name {
        libc::IPV6_TCLASS => old & !0xff | u32::from(octet.unwrap_or(0)),
        _ => old & 0xff | octet.map_or(0, |hops| HAS_HOP_LIMIT | u32::from(hops) << 8),
    };
    let _ = socket.marking.fetch_update(Relaxed, Relaxed, |old| Some(change(old)));
}

/// A socket that came from elsewhere: ask for the options that the shim has not seen being set.
pub(super) fn learn_options(socket: &Socket, fd: c_int) {
    let (ipv6, any) = (libc::IPPROTO_IPV6, libc::SOL_SOCKET);
    for (level, name) in [
        (ipv6, libc::IPV6_TCLASS),
        (ipv6, libc::IPV6_UNICAST_HOPS),
        (any, libc::SO_MARK),
        (any, libc::SO_PRIORITY),
    ] {
        if let Ok(value) = sys::int_option(fd, level, name) {
            option_was_set(socket, level, name, value);
        }
    }
    if let Ok(size) = sys::int_option(fd, libc::IPPROTO_UDP, UDP_SEGMENT) {
        socket.segment.store(size.clamp(0, 0xffff) as u32, Relaxed);
    }
}

/// What the socket's options and a datagram's ancillary data want in the header.
pub(super) fn marking(socket: &Socket, control: &[u8]) -> Marking {
    let set = socket.marking.load(Relaxed);
    let hop_limit = (set & HAS_HOP_LIMIT != 0).then_some((set >> 8) as u8);
    let mut marking = Marking {
        traffic_class: set as u8,
        hop_limit,
        mark: socket.mark.load(Relaxed),
        priority: socket.priority.load(Relaxed),
    };
    for c in cmsg::iter(control) {
        let Some(value) = int(c.data) else { continue };
        // -1 is what the socket has.
        let octet = u8::try_from(value).ok();
        match (c.level, c.kind) {
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                marking.traffic_class = octet.unwrap_or(marking.traffic_class);
            }
            (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => marking.hop_limit = octet.or(marking.hop_limit),
            (libc::SOL_SOCKET, libc::SO_MARK) => marking.mark = value as u32,
            (libc::SOL_SOCKET, libc::SO_PRIORITY) => marking.priority = value as u32,
            _ => {}
        }
    }
    marking
}

/// Does ancillary data name nothing but the source that the datagram has anyhow?
pub(super) fn is_plain(control: &[u8], local: Ipv6Addr) -> bool {
    cmsg::iter(control).all(|c| names_source(&c, local))
}

/// Programs send back the whole IPV6_PKTINFO that they got; its interface says nothing about other locators.
fn names_source(c: &cmsg::Cmsg<'_>, local: Ipv6Addr) -> bool {
    cmsg::pktinfo(c).is_some_and(|a| a == local || a.is_unspecified())
}

/// The error with which the kernel refuses this ancillary data; `None`: it does not. `to`: see `msg_name`. The kernel is
/// asked where there is more than what the shim itself knows the rules of. Inside `guard::slow` only.
pub(super) fn refused(fd: c_int, to: &SocketAddrV6, control: &[u8], local: Ipv6Addr) -> Option<c_int> {
    let octet =
        |c: &cmsg::Cmsg<'_>| int(c.data).is_some_and(|v| (-1..=0xff).contains(&v)) && c.data.len() == 4;
    let known = |c: &cmsg::Cmsg<'_>| match (c.level, c.kind) {
        (libc::IPPROTO_IPV6, libc::IPV6_TCLASS | libc::IPV6_HOPLIMIT) => octet(c),
        (libc::IPPROTO_UDP, UDP_SEGMENT) => c.data.len() == 2,
        (level, _) => options::is_level(level) || names_source(c, local),
    };
    if cmsg::iter(control).all(|c| known(&c)) {
        return None;
    }
    // The source may be one that has left the host.
    let mut rest = vec![0u64; control.len().div_ceil(8)];
    // SAFETY: every octet of a vector of integers may be written.
    let octets = unsafe { std::slice::from_raw_parts_mut(rest.as_mut_ptr().cast::<u8>(), rest.len() * 8) };
    let (used, _) = cmsg::copy(control, octets, |c| !names_source(c, local));
    let mut name = sys::to_raw(to);
    // SAFETY: all zero is a valid value of this plain structure.
    let mut msg: msghdr = unsafe { std::mem::zeroed() };
    msg.msg_name = (&raw mut name).cast();
    msg.msg_namelen = size_of_val(&name) as socklen_t;
    (msg.msg_control, msg.msg_controllen) = (rest.as_mut_ptr().cast(), used as _);
    let flags = MSG_PROBE | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the header points to locals.
    let r = unsafe { kernel!(libc::SYS_sendmsg, fd, &raw const msg, flags) };
    // Others are about the path, which is not the one that the datagram takes.
    let about_data = matches!(errno(), libc::EINVAL | libc::ENODEV | libc::EPERM | libc::EOPNOTSUPP);
    (r < 0 && about_data).then(errno)
}

/// Has the application forbidden to send what exceeds the path MTU in fragments?
pub(super) fn forbids_fragments(socket: &Socket, fd: c_int, control: &[u8]) -> bool {
    let option = |name| sys::int_option(fd, libc::IPPROTO_IPV6, name).unwrap_or(0);
    let asked = cmsg::iter(control)
        .find(|c| c.level == libc::IPPROTO_IPV6 && c.kind == libc::IPV6_DONTFRAG)
        .and_then(|c| int(c.data))
        .unwrap_or_else(|| option(libc::IPV6_DONTFRAG));
    let strict = libc::IPV6_PMTUDISC_DO..=libc::IPV6_PMTUDISC_INTERFACE;
    // IPV6_DONTFRAG means nothing to raw sockets of the protocols that are served.
    (asked != 0 && !socket.has(flag::RAW)) || strict.contains(&option(libc::IPV6_MTU_DISCOVER))
}

fn int(data: &[u8]) -> Option<c_int> {
    Some(c_int::from_ne_bytes(*data.first_chunk()?))
}
