//! The send-only raw socket of protocol 140, for control messages and for tagged payload from any thread.
//!
//! It receives nothing (filter) and has no error queue, so that an ICMPv6 error about one destination never shows up
//! as the error of a send to another; errors come in by [`super::receive`].

use super::{filter, frag, sys};
use crate::addr::{ContextTag, LocatorPair};
use crate::wire::{PAYLOAD_HEADER_LEN, PROTOCOL};
use libc::c_int;
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Most messages in one `sendmmsg`.
const BATCH: usize = 64;
/// What the socket asks for as buffer; the kernel grants up to its own limit.
const SEND_BUFFER: c_int = 4 << 20;

/// The socket.
#[derive(Debug)]
pub struct SendSocket {
    fd: sys::OwnFd,
    next_fragment_id: AtomicU32,
}

/// One IPV6_PKTINFO message, aligned as the kernel wants it.
#[repr(C)]
#[derive(Clone, Copy)]
struct PktInfo {
    header: libc::cmsghdr,
    info: libc::in6_pktinfo,
}

impl PktInfo {
    fn new(pair: LocatorPair, ifindex: u32) -> Self {
        // SAFETY: an all-zero value is a valid `cmsghdr` and `in6_pktinfo`, and there may be padding.
        let mut p: PktInfo = unsafe { std::mem::zeroed() };
        p.header.cmsg_len = (size_of::<libc::cmsghdr>() + size_of::<libc::in6_pktinfo>()) as _;
        p.header.cmsg_level = libc::IPPROTO_IPV6;
        p.header.cmsg_type = libc::IPV6_PKTINFO;
        p.info.ipi6_addr.s6_addr = pair.local.octets();
        p.info.ipi6_ifindex = ifindex;
        p
    }
}

/// The payload extension header (S6-5.2-1).
pub fn payload_header(next_header: u8, tag: ContextTag) -> [u8; PAYLOAD_HEADER_LEN] {
    let mut h = (tag.value() | 1 << 47).to_be_bytes();
    h[0] = next_header;
    h[1] = 0;
    h
}

impl SendSocket {
    /// Open it. EPERM without CAP_NET_RAW.
    pub fn open(first_fragment_id: u32) -> io::Result<SendSocket> {
        let fd = sys::socket(libc::AF_INET6, libc::SOCK_RAW, PROTOCOL.into())?;
        let s = SendSocket { fd, next_fragment_id: AtomicU32::new(first_fragment_id) };
        sys::attach_filter(s.raw(), &filter::drop_all())?;
        let (off, ipv6) = (-1 as c_int, libc::IPPROTO_IPV6);
        // The engine's checksums stay as they are: Shim6 has no pseudo-header (S6-E-1).
        sys::set_option(s.raw(), ipv6, libc::IPV6_CHECKSUM, &off)?;
        // Never fragment in the kernel, which would put the Fragment header first (S6-E-4): EMSGSIZE instead.
        sys::set_option(s.raw(), ipv6, libc::IPV6_MTU_DISCOVER, &libc::IPV6_PMTUDISC_DO)?;
        sys::set_option(s.raw(), ipv6, libc::IPV6_DONTFRAG, &(1 as c_int))?;
        sys::set_option(s.raw(), libc::SOL_SOCKET, libc::SO_SNDBUF, &SEND_BUFFER)?;
        Ok(s)
    }

    fn raw(&self) -> c_int {
        self.fd.raw()
    }

    /// Wait until there is room in the send buffer; `false` on timeout.
    pub fn wait_writable(&self, timeout_ms: i32) -> io::Result<bool> {
        sys::poll(self.raw(), libc::POLLOUT, timeout_ms)
    }

    /// Send one packet made of `parts`, from the shim header on, from `pair.local` (S6-E-3).
    pub fn send(&self, pair: LocatorPair, ifindex: u32, parts: &[IoSlice<'_>]) -> io::Result<()> {
        let result = self.send_by(pair, ifindex, parts);
        match &result {
            // The interface that owns the address (a dummy, say) need not be the one that routes it.
            Err(e) if ifindex != 0 && no_route(e) => self.send_by(pair, 0, parts).or(result),
            _ => result,
        }
    }

    fn send_by(&self, pair: LocatorPair, ifindex: u32, parts: &[IoSlice<'_>]) -> io::Result<()> {
        let to = sys::sockaddr(pair.peer, 0);
        let control = PktInfo::new(pair, ifindex);
        let msg = message(&to, &control, parts);
        // SAFETY: `msg` points to `to`, `control` and `parts`, which outlive the call.
        unsafe { sys::sendmsg(self.raw(), &msg, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) }.map(drop)
    }

    /// Send `packet` (from the upper-layer header on) behind the payload extension header, in fragments if it exceeds
    /// `mtu`. EMSGSIZE: the kernel knows a smaller path MTU by now.
    pub fn send_payload(
        &self,
        pair: LocatorPair,
        ifindex: u32,
        tag: ContextTag,
        mtu: u32,
        protocol: u8,
        packet: &[u8],
    ) -> io::Result<()> {
        let mtu = mtu as usize;
        if PAYLOAD_HEADER_LEN + 40 + packet.len() <= mtu {
            let header = payload_header(protocol, tag);
            return self.send(pair, ifindex, &[IoSlice::new(&header), IoSlice::new(packet)]);
        }
        let id = self.next_fragment_id.fetch_add(1, Relaxed);
        let header = payload_header(frag::FRAGMENT, tag);
        for (fragment, part) in frag::split(mtu, protocol, id, packet).unwrap_or_default() {
            let parts = [IoSlice::new(&header), IoSlice::new(&fragment), IoSlice::new(part)];
            self.send(pair, ifindex, &parts)?;
        }
        Ok(())
    }

    /// Send several packets that all fit the path MTU by as few system calls as possible; how many went out before
    /// the first error, the error if none did.
    pub fn send_many(
        &self,
        pair: LocatorPair,
        ifindex: u32,
        tag: ContextTag,
        protocol: u8,
        packets: &[&[u8]],
    ) -> io::Result<usize> {
        let header = payload_header(protocol, tag);
        let to = sys::sockaddr(pair.peer, 0);
        let control = PktInfo::new(pair, ifindex);
        let mut sent = 0;
        for batch in packets.chunks(BATCH) {
            let parts: Vec<_> = batch.iter().map(|p| [IoSlice::new(&header), IoSlice::new(p)]).collect();
            let mut messages: Vec<_> = parts
                .iter()
                .map(|p| libc::mmsghdr { msg_hdr: message(&to, &control, p), msg_len: 0 })
                .collect();
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            // SAFETY: the messages point to `to`, `control` and `parts`, which outlive the call.
            match unsafe { sys::sendmmsg(self.raw(), &mut messages, flags) } {
                Ok(n) => {
                    sent += n;
                    if n < batch.len() {
                        return Ok(sent);
                    }
                }
                Err(e) if sent == 0 => return Err(e),
                Err(_) => return Ok(sent),
            }
        }
        Ok(sent)
    }
}

fn message(to: &libc::sockaddr_in6, control: &PktInfo, parts: &[IoSlice<'_>]) -> libc::msghdr {
    // SAFETY: an all-zero `msghdr` is valid; some targets have padding in it.
    let mut m: libc::msghdr = unsafe { std::mem::zeroed() };
    m.msg_name = (&raw const *to).cast_mut().cast();
    m.msg_namelen = size_of::<libc::sockaddr_in6>() as _;
    m.msg_iov = parts.as_ptr().cast_mut().cast(); // `IoSlice` has the layout of `iovec`
    m.msg_iovlen = parts.len() as _;
    m.msg_control = (&raw const *control).cast_mut().cast();
    m.msg_controllen = size_of::<PktInfo>() as _;
    m
}

fn no_route(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::ENETUNREACH | libc::EHOSTUNREACH))
}

/// Does this error say that the pair cannot be used now (a failure signal for REAP), rather than something about the
/// packet or the buffer?
pub fn is_refusal(e: &io::Error) -> bool {
    matches!(
        e.raw_os_error(),
        Some(
            libc::ENETUNREACH
                | libc::EHOSTUNREACH
                | libc::ENETDOWN
                | libc::EADDRNOTAVAIL
                | libc::EINVAL
                | libc::ENODEV
                | libc::ENXIO
                | libc::EACCES
                | libc::EPERM
        )
    )
}

/// The path MTU of a pair as the kernel knows it: of the interface, or smaller after a Packet Too Big.
pub fn path_mtu(pair: LocatorPair) -> io::Result<u32> {
    let probe = sys::socket(libc::AF_INET6, libc::SOCK_DGRAM, 0)?;
    let len = size_of::<libc::sockaddr_in6>();
    sys::bind(probe.raw(), &sys::sockaddr(pair.local, 0), len)?;
    sys::connect(probe.raw(), &sys::sockaddr(pair.peer, 9), len)?;
    let mtu: c_int = sys::option(probe.raw(), libc::IPPROTO_IPV6, libc::IPV6_MTU)?;
    Ok(u32::try_from(mtu).unwrap_or(MIN_MTU).max(MIN_MTU))
}

/// What every IPv6 path carries.
pub const MIN_MTU: u32 = 1280;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::filter::payload_prefix;
    use proptest::prelude::*;

    // S6-5.2-1: layout of the payload extension header.
    #[test]
    fn header_laid_out_by_hand() {
        let h = payload_header(17, ContextTag::new(0x1234_5678_9abc));
        assert_eq!(h, [17, 0, 0x92, 0x34, 0x56, 0x78, 0x9a, 0xbc]);
    }

    proptest! {
        #[test]
        fn the_prefix_of_a_header_is_the_top_of_its_tag(tag in 0..=ContextTag::MAX) {
            let h = payload_header(44, ContextTag::new(tag));
            prop_assert_eq!(payload_prefix(&h), Some((tag >> 31) as u16));
        }
    }
}
