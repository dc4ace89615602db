//! The receiving raw socket of protocol 140: packets from the shim header on with their metadata, and the ICMPv6
//! errors about packets of this protocol from any process of the host.

use super::{filter, sys};
use crate::addr::LocatorPair;
use crate::engine::IcmpKind;
use crate::wire::PROTOCOL;
use libc::{c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::net::Ipv6Addr;

/// Packets per `recvmmsg`.
const BATCH: usize = 32;
/// The largest IPv6 payload; buffers are touched by the kernel only as far as packets fill them.
const PACKET: usize = 65536;
const CONTROL: usize = 256;
const RECEIVE_BUFFER: c_int = 8 << 20;

/// A received packet.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// IPv6 source.
    pub source: Ipv6Addr,
    /// IPv6 destination, from the socket's metadata (S6-E-2).
    pub destination: Ipv6Addr,
    /// Hop Limit as it arrived.
    pub hop_limit: u8,
    /// Traffic Class as it arrived.
    pub traffic_class: u8,
    /// From the shim header on.
    pub data: &'a [u8],
}

/// An ICMPv6 error about a packet of protocol 140 from this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError<'a> {
    /// What it says.
    pub kind: IcmpKind,
    /// The invoking packet's source and destination; the source is taken from the destination of the error.
    pub locators: LocatorPair,
    /// The invoking packet from its shim header on, as far as it was quoted.
    pub quoted: &'a [u8],
}

/// The socket with its buffers.
pub struct ReceiveSocket {
    fd: sys::OwnFd,
    packets: Box<[[u8; PACKET]; BATCH]>,
    controls: Box<[Control; BATCH]>,
    names: Box<[MaybeUninit<libc::sockaddr_in6>; BATCH]>,
    lengths: [(usize, usize, c_int); BATCH],
}

/// Control data, aligned for `cmsghdr`.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL]);

impl ReceiveSocket {
    /// Open it. EPERM without CAP_NET_RAW.
    pub fn open() -> io::Result<ReceiveSocket> {
        let fd = sys::socket(libc::AF_INET6, libc::SOCK_RAW, PROTOCOL.into())?;
        let (on, off, ipv6) = (1 as c_int, -1 as c_int, libc::IPPROTO_IPV6);
        sys::attach_filter(fd.raw(), &filter::payload_filter(&[]))?;
        sys::set_option(fd.raw(), ipv6, libc::IPV6_CHECKSUM, &off)?;
        for option in
            [libc::IPV6_RECVPKTINFO, libc::IPV6_RECVERR, libc::IPV6_RECVHOPLIMIT, libc::IPV6_RECVTCLASS]
        {
            sys::set_option(fd.raw(), ipv6, option, &on)?;
        }
        sys::set_option(fd.raw(), libc::SOL_SOCKET, libc::SO_RCVBUF, &RECEIVE_BUFFER)?;
        // Zeroed pages come from the kernel untouched; a value on the stack would be 2 MB.
        // SAFETY: all-zero octets are valid values of these types.
        let (packets, controls, names) = unsafe {
            (
                Box::new_zeroed().assume_init(),
                Box::new_zeroed().assume_init(),
                Box::new_zeroed().assume_init(),
            )
        };
        Ok(ReceiveSocket { fd, packets, controls, names, lengths: [(0, 0, 0); BATCH] })
    }

    /// For epoll.
    pub fn raw(&self) -> c_int {
        self.fd.raw()
    }

    /// Let the kernel drop payload packets whose tags have these prefixes.
    pub fn set_foreign(&self, prefixes: &[u16]) -> io::Result<()> {
        sys::attach_filter(self.raw(), &filter::payload_filter(prefixes))
    }

    /// Read one batch; how many packets came. 0: none is waiting, or only an error was.
    pub fn receive(&mut self, flags: c_int) -> usize {
        let mut iov: [libc::iovec; BATCH] = std::array::from_fn(|i| libc::iovec {
            iov_base: (&raw mut self.packets[i]).cast::<c_void>(),
            iov_len: PACKET,
        });
        let mut messages: [libc::mmsghdr; BATCH] = std::array::from_fn(|i| {
            // SAFETY: an all-zero `mmsghdr` is valid.
            let mut m: libc::mmsghdr = unsafe { std::mem::zeroed() };
            m.msg_hdr.msg_name = self.names[i].as_mut_ptr().cast();
            m.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in6>() as _;
            m.msg_hdr.msg_iov = &raw mut iov[i];
            m.msg_hdr.msg_iovlen = 1;
            m.msg_hdr.msg_control = (&raw mut self.controls[i]).cast();
            m.msg_hdr.msg_controllen = CONTROL as _;
            m
        });
        let flags = flags | libc::MSG_DONTWAIT;
        let got = if flags & libc::MSG_ERRQUEUE == 0 {
            // SAFETY: the messages point to buffers of `self` and to `iov`, of the lengths given.
            unsafe { sys::recvmmsg(self.raw(), &mut messages, flags) }.unwrap_or(0)
        } else {
            // SAFETY: as above, for the first message.
            match unsafe { sys::recvmsg(self.raw(), &mut messages[0].msg_hdr, flags) } {
                Ok(n) => {
                    messages[0].msg_len = n as u32;
                    1
                }
                Err(_) => 0,
            }
        };
        for (i, m) in messages[..got].iter().enumerate() {
            let data = (m.msg_len as usize).min(PACKET);
            let control = (m.msg_hdr.msg_controllen as usize).min(CONTROL);
            self.lengths[i] = (data, control, m.msg_hdr.msg_flags);
        }
        got
    }

    /// Packet `i` of the last batch; `None` if it was cut off or lacks its metadata.
    pub fn packet(&self, i: usize) -> Option<Received<'_>> {
        let (len, control, flags) = *self.lengths.get(i)?;
        if flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0 {
            return None;
        }
        let mut destination = None;
        let (mut hop_limit, mut traffic_class) = (64, 0);
        for (level, ty, value) in ControlMessages(&self.controls[i].0[..control]) {
            match (level, ty) {
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    destination = Some(Ipv6Addr::from(*value.first_chunk::<16>()?));
                }
                (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => hop_limit = int(value)? as u8,
                (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => traffic_class = int(value)? as u8,
                _ => {}
            }
        }
        let destination = destination?;
        let data = &self.packets[i][..len];
        Some(Received { source: self.name(i), destination, hop_limit, traffic_class, data })
    }

    /// Take one ICMPv6 error off the error queue (S6-E-9). `None`: the queue is empty. `Some(None)`: nothing of use.
    pub fn error(&mut self) -> Option<Option<IcmpError<'_>>> {
        if self.receive(libc::MSG_ERRQUEUE) == 0 {
            return None;
        }
        Some(self.parse_error())
    }

    fn parse_error(&self) -> Option<IcmpError<'_>> {
        let (len, control, _) = self.lengths[0];
        let (mut kind, mut local) = (None, None);
        for (level, ty, value) in ControlMessages(&self.controls[0].0[..control]) {
            match (level, ty) {
                (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) => kind = icmp_kind(value),
                // The error's destination is the invoking packet's source.
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => local = value.first_chunk::<16>().copied(),
                _ => {}
            }
        }
        let locators = LocatorPair { local: local?.into(), peer: self.name(0) };
        Some(IcmpError { kind: kind?, locators, quoted: &self.packets[0][..len] })
    }

    fn name(&self, i: usize) -> Ipv6Addr {
        // SAFETY: the boxes were zeroed, and the kernel writes addresses of this family only.
        Ipv6Addr::from(unsafe { self.names[i].assume_init_ref() }.sin6_addr.s6_addr)
    }
}

/// `struct sock_extended_err`: errno, origin, type, code, pad, info, data. `None`: not from ICMPv6.
fn icmp_kind(e: &[u8]) -> Option<IcmpKind> {
    const ICMP6: u8 = 3; // SO_EE_ORIGIN_ICMP6
    let (origin, ty, code) = (*e.get(4)?, *e.get(5)?, *e.get(6)?);
    let info = u32::from_ne_bytes(e.get(8..12)?.try_into().ok()?);
    Some(match (origin, ty, code) {
        (ICMP6, 1, 0..=3 | 5 | 6) | (ICMP6, 3, _) => IcmpKind::Unreachable,
        (ICMP6, 2, _) => IcmpKind::PacketTooBig(info),
        (ICMP6, 4, 1) => IcmpKind::UnrecognizedNextHeader,
        (ICMP6, ..) => IcmpKind::Other,
        _ => return None,
    })
}

fn int(value: &[u8]) -> Option<c_int> {
    value.first_chunk().map(|b| c_int::from_ne_bytes(*b))
}

/// (level, type, data) of each control message.
struct ControlMessages<'a>(&'a [u8]);

impl<'a> Iterator for ControlMessages<'a> {
    type Item = (c_int, c_int, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        const HEADER: usize = size_of::<libc::cmsghdr>();
        let word = size_of::<usize>();
        let len = usize::from_ne_bytes(self.0.get(..word)?.try_into().ok()?);
        let level = int(self.0.get(word..)?)?;
        let ty = int(self.0.get(word + 4..)?)?;
        let value = self.0.get(HEADER..len)?;
        self.0 = self.0.get(len.next_multiple_of(word)..).unwrap_or_default();
        Some((level, ty, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // S6-E-9: the kinds of ICMPv6 errors (types and codes of RFC 4443).
    #[test]
    fn icmp_errors_are_told_apart() {
        let kind = |origin, ty, code, info: u32| {
            let mut e = vec![0, 0, 0, 0, origin, ty, code, 0];
            e.extend_from_slice(&info.to_ne_bytes());
            e.extend_from_slice(&[0; 4 + 28]);
            icmp_kind(&e)
        };
        for code in [0, 1, 2, 3, 5, 6] {
            assert_eq!(kind(3, 1, code, 0), Some(IcmpKind::Unreachable));
        }
        assert_eq!(kind(3, 1, 4, 0), Some(IcmpKind::Other), "port unreachable");
        assert_eq!(kind(3, 2, 0, 1400), Some(IcmpKind::PacketTooBig(1400)));
        assert_eq!(kind(3, 3, 0, 0), Some(IcmpKind::Unreachable));
        assert_eq!(kind(3, 4, 1, 6), Some(IcmpKind::UnrecognizedNextHeader));
        assert_eq!(kind(3, 4, 0, 40), Some(IcmpKind::Other));
        assert_eq!(kind(1, 1, 0, 0), None, "local origin");
        assert_eq!(icmp_kind(&[0; 11]), None);
    }

    #[test]
    fn cut_control_messages_end_the_walk() {
        let mut c = Vec::new();
        for (level, ty, v) in [(41, 50, &[1u8; 20][..]), (41, 67, &[2; 4])] {
            c.extend_from_slice(&(16 + v.len()).to_ne_bytes());
            c.extend_from_slice(&i32::to_ne_bytes(level));
            c.extend_from_slice(&i32::to_ne_bytes(ty));
            c.extend_from_slice(v);
            c.resize(c.len().next_multiple_of(8), 0);
        }
        assert_eq!(ControlMessages(&c).collect::<Vec<_>>(), [(41, 50, &[1u8; 20][..]), (41, 67, &[2; 4])]);
        for n in 0..60 {
            assert!(ControlMessages(&c[..n]).count() <= 1 + usize::from(n >= 60), "{n}");
        }
        assert_eq!(ControlMessages(&[0; 64]).count(), 0, "a length of 0 does not loop");
    }
}
