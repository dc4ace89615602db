//! Sending by the kernel's socket with source and destination named in the call.

use super::super::{cmsg, guard, real, sys};
use super::refused;
use super::way::Out;
use crate::addr::LocatorPair;
use crate::driver::cell::Cell;
use libc::{c_int, c_void, iovec, msghdr, sockaddr_in6, socklen_t};
use std::net::{Ipv6Addr, SocketAddrV6};

/// After a failed send on `pair`, whose source we named: EINVAL means that the host does not have the address now.
pub(super) fn source_is_gone(cell: &Cell, pair: LocatorPair) -> bool {
    if guard::errno() == libc::EINVAL {
        guard::set_errno(libc::ENETUNREACH);
    }
    refused(cell, pair)
}

/// The kernel's sendmsg with source and destination named, and the interface unless that is 0.
pub(super) unsafe fn named(
    fd: c_int,
    out: &Out<'_>,
    to: &SocketAddrV6,
    from: Ipv6Addr,
    interface: u32,
) -> isize {
    let mut name = sys::to_raw(to);
    let mut control = Control::new(out.control, from, interface);
    let msg = header(&raw mut name, out.iov, control.octets());
    // SAFETY: `msg` points to locals and to the application's buffers.
    unsafe { real::sendmsg(fd, &raw const msg, out.flags) }
}

/// The application's ancillary data and our IPV6_PKTINFO, aligned as the kernel wants it.
pub(super) enum Control {
    Small([u64; cmsg::PKTINFO_SPACE / 8]),
    Large(Vec<u64>, usize),
}

impl Control {
    pub(super) fn new(app: &[u8], from: Ipv6Addr, interface: u32) -> Control {
        let ours = cmsg::source(from, interface);
        let named = |c: &cmsg::Cmsg<'_>| cmsg::pktinfo(c).is_some_and(|a| !a.is_unspecified() && a != from);
        if app.is_empty() {
            let mut small = [0; cmsg::PKTINFO_SPACE / 8];
            for (word, octets) in small.iter_mut().zip(ours.chunks_exact(8)) {
                *word = u64::from_ne_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|i| octets[i]));
            }
            return Control::Small(small);
        }
        let padded = app.len().next_multiple_of(8);
        let mut all = app.to_vec();
        all.resize(padded, 0);
        if cmsg::iter(app).any(|c| named(&c)) {
            // The source that the application sees is not the one on the wire.
            let (used, _) = cmsg::copy(app, &mut all, |c| !named(c));
            all.truncate(used.next_multiple_of(8));
        }
        all.extend_from_slice(&ours);
        let words = all.chunks_exact(8).map(|o| u64::from_ne_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|i| o[i])));
        Control::Large(words.collect(), all.len())
    }

    pub(super) fn octets(&mut self) -> (*mut c_void, usize) {
        match self {
            Control::Small(words) => (words.as_mut_ptr().cast(), cmsg::PKTINFO_SPACE),
            Control::Large(words, len) => (words.as_mut_ptr().cast(), *len),
        }
    }
}

pub(super) fn header(name: *mut sockaddr_in6, iov: &[iovec], control: (*mut c_void, usize)) -> msghdr {
    // SAFETY: all zero is a valid value of this plain structure.
    let mut msg: msghdr = unsafe { std::mem::zeroed() };
    msg.msg_name = name.cast();
    msg.msg_namelen = size_of::<sockaddr_in6>() as socklen_t;
    msg.msg_iov = iov.as_ptr().cast_mut();
    msg.msg_iovlen = iov.len() as _;
    (msg.msg_control, msg.msg_controllen) = (control.0, control.1 as _);
    msg
}
