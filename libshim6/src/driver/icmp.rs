//! ICMPv6 errors that come to this host, and those that the local stack is told of (RFC 5533 section 8).
//!
//! They are read from a raw ICMPv6 socket that lets only error messages through: it has the whole message, the kernel
//! has verified its checksum, and no error about one destination can show up at a send to another, as it would in the
//! error queue of a shared socket. Traffic other than ICMPv6 errors does not touch it.

use super::inject::Header;
use super::sys::{self, OwnFd};
use super::udp::Sum;
use libc::{c_int, c_void};
use std::collections::VecDeque;
use std::io;
use std::net::Ipv6Addr;

/// ICMPV6_FILTER, which the libc crate lacks.
const FILTER: c_int = 1;
/// An error message fits the minimum MTU (RFC 4443 section 2.4 c); some senders do not keep to it.
const LARGEST: usize = 9216;
/// Errors told to the local stack that are remembered.
const TOLD: usize = 32;

/// The socket, with its buffer.
pub struct IcmpSocket {
    fd: OwnFd,
    buffer: Box<[u8; LARGEST]>,
    told: VecDeque<Vec<u8>>,
}

impl IcmpSocket {
    /// Open it. EPERM without CAP_NET_RAW.
    pub fn open() -> io::Result<IcmpSocket> {
        let fd = sys::socket(libc::AF_INET6, libc::SOCK_RAW, libc::IPPROTO_ICMPV6)?;
        // struct icmp6_filter: a set bit blocks its type.
        let mut blocked = [u32::MAX; 8];
        blocked[0] = !0b1_1110; // 1 to 4: Destination Unreachable to Parameter Problem
        sys::set_option(fd.raw(), libc::IPPROTO_ICMPV6, FILTER, &blocked)?;
        Ok(IcmpSocket { fd, buffer: Box::new([0; LARGEST]), told: VecDeque::new() })
    }

    /// For epoll.
    pub fn raw(&self) -> c_int {
        self.fd.raw()
    }

    /// The next error, from the Type octet on, with its source; those that we told the stack ourselves are left out.
    pub fn receive(&mut self) -> Option<(Ipv6Addr, &[u8])> {
        let (source, n) = loop {
            let (source, n) = self.read()?;
            match self.told.iter().position(|t| t[..] == self.buffer[..n]) {
                Some(at) => drop(self.told.remove(at)),
                None => break (source, n),
            }
        };
        Some((source, &self.buffer[..n]))
    }

    fn read(&mut self) -> Option<(Ipv6Addr, usize)> {
        let mut name = sys::sockaddr(Ipv6Addr::UNSPECIFIED, 0);
        let mut iov = libc::iovec { iov_base: self.buffer.as_mut_ptr().cast::<c_void>(), iov_len: LARGEST };
        // SAFETY: an all-zero `msghdr` is valid.
        let mut m: libc::msghdr = unsafe { std::mem::zeroed() };
        m.msg_name = (&raw mut name).cast();
        m.msg_namelen = size_of_val(&name) as _;
        m.msg_iov = &raw mut iov;
        m.msg_iovlen = 1;
        // SAFETY: the message points to `name` and to the buffer, which outlive the call.
        let n = unsafe { sys::recvmsg(self.fd.raw(), &mut m, libc::MSG_DONTWAIT) }.ok()?;
        Some((name.sin6_addr.s6_addr.into(), n))
    }

    /// The local stack is about to be told of `message`, which will come by here too.
    pub fn note_told(&mut self, message: Vec<u8>) {
        if self.told.len() >= TOLD {
            self.told.pop_front();
        }
        self.told.push_back(message);
    }
}

/// Port Unreachable (RFC 4443 section 3.1) about a packet with this header and data, its checksum 0; no longer than every
/// path takes.
pub fn port_unreachable(quoted: &Header, data: &[u8]) -> Vec<u8> {
    const LARGEST_QUOTE: usize = 1280 - 40 - 8 - 40;
    let mut message = vec![1, 4, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(&quoted.octets(data.len()));
    message.extend_from_slice(&data[..data.len().min(LARGEST_QUOTE)]);
    message
}

/// Complete a mapped error: its header on `lo`, and its checksum.
pub fn complete(source: Ipv6Addr, destination: Ipv6Addr, message: &mut [u8]) -> Header {
    let protocol = libc::IPPROTO_ICMPV6 as u8;
    if let Some(field) = message.get_mut(2..4) {
        field.fill(0);
    }
    let mut sum = Sum::pseudo(source, destination, protocol, message.len() as u32);
    sum.add(message);
    if let Some(field) = message.get_mut(2..4) {
        field.copy_from_slice(&(!sum.folded()).to_be_bytes());
    }
    Header { source, destination, protocol, hop_limit: 64, traffic_class: 0, flow_label: 0 }
}
