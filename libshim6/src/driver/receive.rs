//! The receiving raw socket of protocol 140: packets from the shim header on with their metadata.
//!
//! It has IPV6_RECVERR, because the kernel takes a Packet Too Big about packets of a raw protocol for true only where
//! some raw socket of the protocol wants to hear of errors. What they say is read elsewhere (`icmp`); here they are
//! thrown away.

use super::{filter, sys};
use crate::wire::PROTOCOL;
use libc::{c_int, c_void};
use std::io;
use std::net::Ipv6Addr;

/// Packets per `recvmmsg`.
pub const BATCH: usize = 32;
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

/// The socket with its buffers.
pub struct ReceiveSocket {
    fd: sys::OwnFd,
    packets: Vec<u8>,
    controls: Vec<Control>,
    names: Vec<libc::sockaddr_in6>,
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
        Ok(ReceiveSocket {
            fd,
            // Zeroed octets come from the kernel untouched, so that only what packets fill is ever memory.
            packets: vec![0; PACKET * BATCH],
            controls: vec![Control([0; CONTROL]); BATCH],
            names: vec![sys::sockaddr(Ipv6Addr::UNSPECIFIED, 0); BATCH],
            lengths: [(0, 0, 0); BATCH],
        })
    }

    /// For epoll.
    pub fn raw(&self) -> c_int {
        self.fd.raw()
    }

    /// Let the kernel drop payload packets whose tags have these prefixes.
    pub fn set_foreign(&self, prefixes: &[u16]) -> io::Result<()> {
        sys::attach_filter(self.raw(), &filter::payload_filter(prefixes))
    }

    /// Read one batch; how many packets came.
    pub fn receive(&mut self, flags: c_int) -> usize {
        let mut iov: [libc::iovec; BATCH] = std::array::from_fn(|i| libc::iovec {
            iov_base: self.packets[i * PACKET..].as_mut_ptr().cast::<c_void>(),
            iov_len: PACKET,
        });
        let mut messages: [libc::mmsghdr; BATCH] = std::array::from_fn(|i| {
            // SAFETY: an all-zero `mmsghdr` is valid.
            let mut m: libc::mmsghdr = unsafe { std::mem::zeroed() };
            m.msg_hdr.msg_name = (&raw mut self.names[i]).cast();
            m.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in6>() as _;
            m.msg_hdr.msg_iov = &raw mut iov[i];
            m.msg_hdr.msg_iovlen = 1;
            m.msg_hdr.msg_control = (&raw mut self.controls[i]).cast();
            m.msg_hdr.msg_controllen = CONTROL as _;
            m
        });
        let flags = flags | libc::MSG_DONTWAIT;
        // SAFETY: the messages point to buffers of `self` and to `iov`, of the lengths given.
        let got = unsafe { sys::recvmmsg(self.raw(), &mut messages, flags) }.unwrap_or(0);
        for (i, m) in messages[..got].iter().enumerate() {
            let data = (m.msg_len as usize).min(PACKET);
            let control = m.msg_hdr.msg_controllen.min(CONTROL);
            self.lengths[i] = (data, control, m.msg_hdr.msg_flags);
        }
        got
    }

    /// Throw away up to `n` entries of the error queue.
    pub fn discard_errors(&self, n: usize) {
        for _ in 0..n {
            // SAFETY: an all-zero `msghdr` is valid: it has no buffers.
            let mut m: libc::msghdr = unsafe { std::mem::zeroed() };
            // SAFETY: the message points to nothing.
            if unsafe { sys::recvmsg(self.raw(), &mut m, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT) }.is_err() {
                break;
            }
        }
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
        let data = &self.packets[i * PACKET..][..len];
        Some(Received { source: self.name(i), destination, hop_limit, traffic_class, data })
    }

    fn name(&self, i: usize) -> Ipv6Addr {
        Ipv6Addr::from(self.names[i].sin6_addr.s6_addr)
    }
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
