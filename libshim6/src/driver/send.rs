//! The send-only raw sockets: one of protocol 140 for control messages, and one that takes whole IPv6 packets for tagged
//! payload from any thread.
//!
//! They receive nothing and have no error queue, so that an ICMPv6 error about one destination never shows up as the
//! error of a send to another; errors come in by [`super::receive`]. The one for payload is of IPPROTO_RAW with
//! IPV6_HDRINCL: the kernel neither gathers nor numbers what it sends, and has no socket to look at for what comes in,
//! which together costs less than a UDP socket.

use super::cell::{Forward, Marking};
use super::{filter, frag, icmp, sys};
use crate::addr::{ContextTag, LocatorPair};
use crate::wire::{PAYLOAD_HEADER_LEN, PROTOCOL};
use libc::c_int;
use std::io::{self, IoSlice};
use std::net::Ipv6Addr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Most messages in one `sendmmsg`.
const BATCH: usize = 64;
/// MSG_PROBE of <linux/socket.h>: the kernel looks at everything, but sends nothing.
pub const MSG_PROBE: c_int = 0x10;
/// What the socket asks for as buffer; the kernel grants up to its own limit.
const SEND_BUFFER: c_int = 4 << 20;

/// The socket.
#[derive(Debug)]
pub struct SendSocket {
    fd: sys::OwnFd,
    payload: sys::OwnFd,
    hop_limit: u8,
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

/// What goes along with a packet to the kernel.
#[repr(C)]
#[derive(Clone, Copy)]
struct Control {
    pktinfo: PktInfo,
    /// SO_MARK, SO_PRIORITY; the first `more`.
    ints: [IntMessage; 2],
    more: usize,
}

/// One message of a C int.
#[repr(C)]
#[derive(Clone, Copy)]
struct IntMessage {
    header: libc::cmsghdr,
    value: c_int,
}

impl Control {
    fn new(pair: LocatorPair, ifindex: u32, marking: &Marking) -> Self {
        // SAFETY: as above.
        let ints: [IntMessage; 2] = unsafe { std::mem::zeroed() };
        let mut c = Control { pktinfo: PktInfo::new(pair, ifindex), ints, more: 0 };
        for (name, value) in [(libc::SO_MARK, marking.mark), (libc::SO_PRIORITY, marking.priority)] {
            if value != 0 {
                let m = &mut c.ints[c.more];
                m.header.cmsg_len = (size_of::<libc::cmsghdr>() + size_of::<c_int>()) as _;
                (m.header.cmsg_level, m.header.cmsg_type, m.value) = (libc::SOL_SOCKET, name, value as c_int);
                c.more += 1;
            }
        }
        c
    }

    fn octets(&self) -> usize {
        size_of::<PktInfo>() + self.more * size_of::<IntMessage>()
    }
}

/// Octets of the IPv6 header.
const IPV6: usize = 40;
/// IPv6 header and payload extension header.
type Headers = [u8; IPV6 + PAYLOAD_HEADER_LEN];

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
        sys::attach_filter(fd.raw(), &filter::drop_all())?;
        // The kernel gives a copy of each packet to each raw socket that might want it, filter or not. A socket at ::1
        // gets none. Every packet names its source, so nothing else hangs on this, nor on whether it works.
        let here = sys::sockaddr(Ipv6Addr::LOCALHOST, 0);
        let _ = sys::bind(fd.raw(), &here, size_of::<libc::sockaddr_in6>());
        let payload = sys::socket(libc::AF_INET6, libc::SOCK_RAW, libc::IPPROTO_RAW)?;
        // For those who wait for room; what is sent never blocks.
        sys::let_block(payload.raw())?;
        sys::attach_filter(payload.raw(), &filter::drop_all())?;
        sys::set_option(payload.raw(), libc::IPPROTO_IPV6, libc::IPV6_HDRINCL, &(1 as c_int))?;
        sys::set_option(payload.raw(), libc::SOL_SOCKET, libc::SO_SNDBUF, &SEND_BUFFER)?;
        let hops: c_int = sys::option(payload.raw(), libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS)?;
        let s = SendSocket {
            fd,
            payload,
            hop_limit: u8::try_from(hops).unwrap_or(64).max(1),
            next_fragment_id: AtomicU32::new(first_fragment_id),
        };
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

    /// The socket of payload.
    pub fn payload_fd(&self) -> c_int {
        self.payload.raw()
    }

    /// Send one packet made of `parts`, from the shim header on, from `pair.local` (S6-E-3).
    pub fn send(&self, pair: LocatorPair, ifindex: u32, parts: &[IoSlice<'_>]) -> io::Result<()> {
        send(self.raw(), pair, ifindex, &Marking::default(), parts)
    }

    /// Send an ICMPv6 message, completed here.
    pub fn send_icmp(&self, pair: LocatorPair, mut message: Vec<u8>) -> io::Result<()> {
        let header = icmp::complete(pair.local, pair.peer, &mut message).octets(message.len());
        let parts = [IoSlice::new(&header), IoSlice::new(&message)];
        send(self.payload.raw(), pair, 0, &Marking::default(), &parts)
    }

    /// IPv6 header and payload extension header of a packet with `octets` behind them. The flow label, which routers use
    /// to choose among equal paths, is that of the context.
    fn headers(&self, f: &Forward, next_header: u8, octets: usize) -> Headers {
        let mut h = [0; IPV6 + PAYLOAD_HEADER_LEN];
        let label = (f.peer_tag.value() & 0xf_ffff) as u32;
        let class = u32::from(f.marking.traffic_class);
        let len = u16::try_from(octets + PAYLOAD_HEADER_LEN).unwrap_or(u16::MAX);
        h[..4].copy_from_slice(&(6 << 28 | class << 20 | label).to_be_bytes());
        h[4..6].copy_from_slice(&len.to_be_bytes());
        h[6] = PROTOCOL;
        h[7] = f.marking.hop_limit.unwrap_or(self.hop_limit);
        h[8..24].copy_from_slice(&f.locators.local.octets());
        h[24..40].copy_from_slice(&f.locators.peer.octets());
        h[40..].copy_from_slice(&payload_header(next_header, f.peer_tag));
        h
    }

    /// Send `packet` (from the upper-layer header on) behind the payload extension header, in fragments if it exceeds
    /// `mtu`. EMSGSIZE: the kernel knows a smaller path MTU by now.
    pub fn send_payload(&self, f: &Forward, mtu: u32, protocol: u8, packet: &[u8]) -> io::Result<()> {
        let (mtu, pair, ifindex) = (mtu as usize, f.locators, f.ifindex);
        let socket = self.payload.raw();
        if PAYLOAD_HEADER_LEN + IPV6 + packet.len() <= mtu {
            let headers = self.headers(f, protocol, packet.len());
            return send(socket, pair, ifindex, &f.marking, &[IoSlice::new(&headers), IoSlice::new(packet)]);
        }
        let id = self.next_fragment_id.fetch_add(1, Relaxed);
        for (fragment, part) in frag::split(mtu, protocol, id, packet).unwrap_or_default() {
            let headers = self.headers(f, frag::FRAGMENT, fragment.len() + part.len());
            let parts = [IoSlice::new(&headers), IoSlice::new(&fragment), IoSlice::new(part)];
            send(socket, pair, ifindex, &f.marking, &parts)?;
        }
        Ok(())
    }

    /// Send several packets that all fit the path MTU by as few system calls as possible; how many went out before
    /// the first error, the error if none did.
    pub fn send_many(&self, f: &Forward, protocol: u8, packets: &[&[u8]]) -> io::Result<usize> {
        let to = sys::sockaddr(f.locators.peer, 0);
        let control = Control::new(f.locators, f.ifindex, &f.marking);
        let mut sent = 0;
        for batch in packets.chunks(BATCH) {
            let headers: Vec<Headers> = batch.iter().map(|p| self.headers(f, protocol, p.len())).collect();
            let parts: Vec<_> =
                headers.iter().zip(batch).map(|(h, p)| [IoSlice::new(h), IoSlice::new(p)]).collect();
            let mut messages: Vec<_> = parts
                .iter()
                .map(|p| libc::mmsghdr { msg_hdr: message(&to, &control, p), msg_len: 0 })
                .collect();
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            // SAFETY: the messages point to `to`, `control` and `parts`, which outlive the call.
            match unsafe { sys::sendmmsg(self.payload.raw(), &mut messages, flags) } {
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

/// Send one packet by a raw socket from `pair.local`.
fn send(
    fd: c_int,
    pair: LocatorPair,
    ifindex: u32,
    marking: &Marking,
    parts: &[IoSlice<'_>],
) -> io::Result<()> {
    let result = send_by(fd, pair, ifindex, marking, parts, 0);
    match &result {
        // The interface that owns the address (a dummy, say) need not be the one that routes it.
        Err(e) if ifindex != 0 && no_route(e) => send_by(fd, pair, 0, marking, parts, 0).or(result),
        // An older kernel, or the program has given its capabilities away.
        Err(e) if marking.mark | marking.priority != 0 && is_refusal(e) => {
            let less = [
                *marking,
                Marking { priority: 0, ..*marking },
                Marking { mark: 0, ..*marking },
                Marking { mark: 0, priority: 0, ..*marking },
            ];
            let takes = |m: &&Marking| send_by(fd, pair, ifindex, m, parts, MSG_PROBE).is_ok();
            match less.iter().find(takes) {
                Some(taken) if taken != marking => send_by(fd, pair, ifindex, taken, parts, 0),
                _ => result,
            }
        }
        _ => result,
    }
}

fn send_by(
    fd: c_int,
    pair: LocatorPair,
    ifindex: u32,
    marking: &Marking,
    parts: &[IoSlice<'_>],
    flags: c_int,
) -> io::Result<()> {
    let to = sys::sockaddr(pair.peer, 0);
    let control = Control::new(pair, ifindex, marking);
    let msg = message(&to, &control, parts);
    // SAFETY: `msg` points to `to`, `control` and `parts`, which outlive the call.
    unsafe { sys::sendmsg(fd, &msg, flags | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) }.map(drop)
}

fn message(to: &libc::sockaddr_in6, control: &Control, parts: &[IoSlice<'_>]) -> libc::msghdr {
    // SAFETY: an all-zero `msghdr` is valid; some targets have padding in it.
    let mut m: libc::msghdr = unsafe { std::mem::zeroed() };
    m.msg_name = (&raw const *to).cast_mut().cast();
    m.msg_namelen = size_of::<libc::sockaddr_in6>() as _;
    m.msg_iov = parts.as_ptr().cast_mut().cast(); // `IoSlice` has the layout of `iovec`
    m.msg_iovlen = parts.len() as _;
    m.msg_control = (&raw const *control).cast_mut().cast();
    m.msg_controllen = control.octets() as _;
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
