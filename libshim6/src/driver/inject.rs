//! Re-injection: what came as tagged payload is handed to the kernel as a packet between the ULIDs that arrives on
//! `lo`, so that the application's own socket receives it (DESIGN section 4).
//!
//! The first choice is a packet socket on `lo` with virtio-net headers: the frame says that its checksum is still to
//! be completed, so the kernel does not sum the data again and accepts it at `::1` too, and consecutive datagrams of
//! one flow and length go as one frame (kernel 6.2 and later). Where packet sockets are not available, a raw socket
//! that takes whole IPv6 packets does it one by one.

use super::udp::{self, Sum};
use super::{filter, frag, sys};
use crate::driver::kernel::kernel;
use std::io;
use std::net::Ipv6Addr;

/// struct virtio_net_hdr.
const VIRTIO: usize = 10;
const ETHERNET: usize = 14;
const IPV6: usize = 40;
/// Where the upper-layer packet starts in a frame.
const UPPER: usize = VIRTIO + ETHERNET + IPV6;
/// Most datagrams in a frame (UDP_MAX_SEGMENTS of older kernels), most octets behind the IPv6 header, most frames per call.
const MAX_SEGMENTS: usize = 64;
const MAX_PAYLOAD: usize = 65535;
const MAX_FRAMES: usize = 64;
/// What the kernel makes of the MTU of `lo`: larger packets go in IPv6 fragments.
const MAX_WHOLE: usize = 65536 - IPV6;

/// Addresses and header fields of a re-injected packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The peer's ULID.
    pub source: Ipv6Addr,
    /// The local ULID, or `::1` for a socket that was detached from a vanished one.
    pub destination: Ipv6Addr,
    /// Protocol of the packet.
    pub protocol: u8,
    /// As it arrived.
    pub hop_limit: u8,
    /// As it arrived, ECN included.
    pub traffic_class: u8,
    /// 20 bits; tells the receiving side by which pair it came (`arrivals`).
    pub flow_label: u32,
}

impl Header {
    /// The IPv6 header of a packet with `len` octets behind it.
    pub fn octets(&self, len: usize) -> [u8; 40] {
        let mut ip = [0; 40];
        let (class, label) = (u32::from(self.traffic_class), self.flow_label & 0xf_ffff);
        ip[..4].copy_from_slice(&(6 << 28 | class << 20 | label).to_be_bytes());
        ip[4..6].copy_from_slice(&(len as u16).to_be_bytes());
        ip[6] = self.protocol;
        ip[7] = self.hop_limit;
        ip[8..24].copy_from_slice(&self.source.octets());
        ip[24..40].copy_from_slice(&self.destination.octets());
        ip
    }
}

/// How packets get to the kernel.
#[derive(Debug)]
enum Way {
    /// Packet socket on `lo` (interface index); `gso`: several datagrams per frame.
    Packet { fd: sys::OwnFd, lo: i32, gso: bool },
    /// IPPROTO_RAW with IPV6_HDRINCL.
    Raw { fd: sys::OwnFd },
}

#[derive(Debug)]
struct Frame {
    header: Header,
    /// Virtio-net, Ethernet and IPv6 headers, then the upper-layer packet.
    octets: Vec<u8>,
    /// UDP: octets of data of each datagram but the last, which may be shorter.
    segment: usize,
    segments: usize,
    /// May another datagram be appended?
    open: bool,
}

/// The injector with what it has not handed over yet.
#[derive(Debug)]
pub struct Injector {
    way: Way,
    frames: Vec<Frame>,
    spare: Vec<Vec<u8>>,
    fragment_id: u32,
    /// Packets handed to the kernel.
    pub injected: u64,
    /// Packets that the kernel did not take.
    pub failed: u64,
}

impl Injector {
    /// Open the better way that is available.
    pub fn open() -> io::Result<Injector> {
        match Self::packet() {
            Ok(way) => Ok(Self::with(way)),
            Err(e) => {
                tracing::debug!(error = %e, "no packet socket on lo; re-injecting one packet at a time");
                Ok(Self::with(Self::raw()?))
            }
        }
    }

    fn with(way: Way) -> Injector {
        Injector { way, frames: Vec::new(), spare: Vec::new(), fragment_id: 0, injected: 0, failed: 0 }
    }

    fn packet() -> io::Result<Way> {
        // Protocol 0: receives nothing.
        let fd = sys::socket(libc::AF_PACKET, libc::SOCK_RAW, 0)?;
        sys::set_option(fd.raw(), libc::SOL_PACKET, libc::PACKET_VNET_HDR, &1i32)?;
        let lo = loopback_index(fd.raw())?;
        let address = link_address(lo, 0);
        sys::bind(fd.raw(), &address, size_of::<libc::sockaddr_ll>())?;
        Ok(Way::Packet { fd, lo, gso: true })
    }

    fn raw() -> io::Result<Way> {
        let fd = sys::socket(libc::AF_INET6, libc::SOCK_RAW, libc::IPPROTO_RAW)?;
        sys::attach_filter(fd.raw(), &filter::drop_all())?;
        sys::set_option(fd.raw(), libc::IPPROTO_IPV6, libc::IPV6_HDRINCL, &1i32)?;
        Ok(Way::Raw { fd })
    }

    /// Queue a packet; `packet` starts with the upper-layer header. A UDP datagram must have been checked
    /// ([`udp::check`]). [`Injector::flush`] hands it over.
    pub fn push(&mut self, header: Header, packet: &[u8]) {
        if packet.len() > MAX_PAYLOAD {
            self.failed += 1;
            return;
        }
        let gso = matches!(self.way, Way::Packet { gso: true, .. });
        let udp = header.protocol == udp::UDP && packet.len() >= udp::HEADER;
        if udp
            && gso
            && let Some(last) = self.frames.last_mut()
            && last.append(header, packet)
        {
            return;
        }
        if self.frames.len() >= MAX_FRAMES {
            self.flush();
        }
        if packet.len() > MAX_WHOLE {
            return self.push_fragments(header, packet);
        }
        let mut octets = self.spare.pop().unwrap_or_default();
        octets.clear();
        octets.resize(UPPER, 0);
        octets.extend_from_slice(packet);
        let segment = if udp { packet.len() - udp::HEADER } else { 0 };
        self.frames.push(Frame { header, octets, segment, segments: 1, open: udp && segment > 0 });
    }

    /// As ordinary IPv6 fragments, with the checksum complete since no card is asked to complete it.
    fn push_fragments(&mut self, header: Header, packet: &[u8]) {
        let mut whole = packet.to_vec();
        if header.protocol == udp::UDP {
            complete_checksum(header, &mut whole);
        }
        self.fragment_id = self.fragment_id.wrapping_add(1);
        let Some(pieces) = frag::split(MAX_WHOLE, header.protocol, self.fragment_id, &whole) else { return };
        for (fragment, part) in pieces {
            self.push(Header { protocol: frag::FRAGMENT, ..header }, &[&fragment, part].concat());
        }
    }

    /// Hand over everything that is queued.
    pub fn flush(&mut self) {
        if self.frames.is_empty() {
            return;
        }
        let mut frames = std::mem::take(&mut self.frames);
        match self.way {
            Way::Packet { .. } => self.flush_frames(&mut frames),
            Way::Raw { .. } => self.flush_packets(&mut frames),
        }
        self.spare.extend(frames.drain(..).map(|f| f.octets));
        self.spare.truncate(MAX_FRAMES);
        self.frames = frames;
    }

    fn flush_frames(&mut self, frames: &mut [Frame]) {
        for f in frames.iter_mut() {
            f.finish();
        }
        let Way::Packet { fd, lo, gso } = &mut self.way else { return };
        let to = link_address(*lo, libc::ETH_P_IPV6 as u16);
        let mut iov: Vec<_> = frames
            .iter_mut()
            .map(|f| libc::iovec { iov_base: f.octets.as_mut_ptr().cast(), iov_len: f.octets.len() })
            .collect();
        let mut at = 0;
        while at < frames.len() {
            let mut messages: Vec<_> = iov[at..]
                .iter_mut()
                .map(|v| {
                    // SAFETY: an all-zero `mmsghdr` is valid.
                    let mut m: libc::mmsghdr = unsafe { std::mem::zeroed() };
                    m.msg_hdr.msg_name = (&raw const to).cast_mut().cast();
                    m.msg_hdr.msg_namelen = size_of::<libc::sockaddr_ll>() as _;
                    m.msg_hdr.msg_iov = v;
                    m.msg_hdr.msg_iovlen = 1;
                    m
                })
                .collect();
            // SAFETY: the messages point to `to` and, by `iov`, to the frames, which outlive the call.
            match unsafe { sys::sendmmsg(fd.raw(), &mut messages, libc::MSG_DONTWAIT) } {
                Ok(n) => {
                    self.injected += frames[at..at + n].iter().map(|f| f.segments as u64).sum::<u64>();
                    at += n;
                }
                Err(e) if e.raw_os_error() == Some(libc::EAGAIN) => {
                    // The buffer drains as fast as the local stack takes it. A stack that does not is the receiver's
                    // full queue, which drops as ever.
                    if !sys::poll(fd.raw(), libc::POLLOUT, 20).unwrap_or(false) {
                        self.failed += frames[at..].iter().map(|f| f.segments as u64).sum::<u64>();
                        return;
                    }
                }
                Err(e) if frames[at].segments > 1 && e.raw_os_error() == Some(libc::EINVAL) => {
                    // A kernel before 6.2 does not know this kind of frame.
                    *gso = false;
                    let singles = frames[at..].iter().flat_map(Frame::split).collect::<Vec<_>>();
                    for (header, packet) in singles {
                        self.push(header, &packet);
                    }
                    return self.flush();
                }
                Err(e) => {
                    tracing::debug!(error = %e, "re-injection refused");
                    self.failed += frames[at].segments as u64;
                    at += 1;
                }
            }
        }
    }

    fn flush_packets(&mut self, frames: &mut [Frame]) {
        for f in frames.iter_mut() {
            f.finish();
            if f.header.protocol == udp::UDP {
                complete_checksum(f.header, &mut f.octets[UPPER..]);
            }
            let Way::Raw { fd } = &self.way else { return };
            let to = sys::sockaddr(f.header.destination, 0);
            let packet = &mut f.octets[VIRTIO + ETHERNET..];
            let mut iov = libc::iovec { iov_base: packet.as_mut_ptr().cast(), iov_len: packet.len() };
            // SAFETY: an all-zero `msghdr` is valid.
            let mut m: libc::msghdr = unsafe { std::mem::zeroed() };
            m.msg_name = (&raw const to).cast_mut().cast();
            m.msg_namelen = size_of::<libc::sockaddr_in6>() as _;
            m.msg_iov = &raw mut iov;
            m.msg_iovlen = 1;
            // SAFETY: the message points to `to` and to the packet, which outlive the call.
            match unsafe { sys::sendmsg(fd.raw(), &m, 0) } {
                Ok(_) => self.injected += 1,
                Err(e) => {
                    tracing::debug!(error = %e, "re-injection refused");
                    self.failed += 1;
                }
            }
        }
    }
}

impl Frame {
    /// Append a datagram if it continues this frame.
    fn append(&mut self, header: Header, packet: &[u8]) -> bool {
        let data = packet.len() - udp::HEADER;
        let fits = self.open
            && self.header == header
            && self.octets[UPPER..UPPER + 4] == packet[..4] // ports
            && (1..=self.segment).contains(&data)
            && self.segments < MAX_SEGMENTS
            && self.octets.len() - UPPER + data <= MAX_PAYLOAD;
        if fits {
            self.octets.extend_from_slice(&packet[udp::HEADER..]);
            self.segments += 1;
            self.open = data == self.segment;
        }
        fits
    }

    /// Write all headers, now that the length is known.
    fn finish(&mut self) {
        let h = self.header;
        let len = self.octets.len() - UPPER;
        let udp = h.protocol == udp::UDP && len >= udp::HEADER;
        let mut virtio = [0; VIRTIO];
        if udp {
            // flags NEEDS_CSUM, then in host order: hdr_len, gso_size, csum_start, csum_offset.
            virtio[0] = 1;
            let field = |v: &mut [u8; VIRTIO], at: usize, n: usize| {
                v[at..at + 2].copy_from_slice(&(n as u16).to_ne_bytes());
            };
            field(&mut virtio, 6, ETHERNET + IPV6);
            field(&mut virtio, 8, 6);
            if self.segments > 1 {
                virtio[1] = 5; // VIRTIO_NET_HDR_GSO_UDP_L4
                field(&mut virtio, 2, ETHERNET + IPV6 + udp::HEADER);
                field(&mut virtio, 4, self.segment);
            }
            let sum = Sum::pseudo(h.source, h.destination, udp::UDP, len as u32).folded();
            self.octets[UPPER + 4..UPPER + 6].copy_from_slice(&(len as u16).to_be_bytes());
            self.octets[UPPER + 6..UPPER + 8].copy_from_slice(&sum.to_be_bytes());
        }
        self.octets[..VIRTIO].copy_from_slice(&virtio);
        let ethernet = &mut self.octets[VIRTIO..VIRTIO + ETHERNET];
        ethernet[12..].copy_from_slice(&(libc::ETH_P_IPV6 as u16).to_be_bytes());
        let ip = &mut self.octets[VIRTIO + ETHERNET..UPPER];
        ip.copy_from_slice(&h.octets(len));
    }

    /// The datagrams of this frame one by one.
    fn split(&self) -> Vec<(Header, Vec<u8>)> {
        let upper = &self.octets[UPPER..];
        if self.segments == 1 {
            return vec![(self.header, upper.to_vec())];
        }
        let (head, data) = upper.split_at(udp::HEADER);
        data.chunks(self.segment).map(|d| (self.header, [head, d].concat())).collect()
    }
}

/// Length and checksum of a UDP datagram for the addresses that it is re-injected with.
fn complete_checksum(h: Header, datagram: &mut [u8]) {
    if datagram.len() < udp::HEADER {
        return;
    }
    let len = datagram.len() as u32;
    datagram[4..6].copy_from_slice(&(len as u16).to_be_bytes());
    datagram[6..8].fill(0);
    let mut sum = Sum::pseudo(h.source, h.destination, udp::UDP, len);
    sum.add(datagram);
    datagram[6..8].copy_from_slice(&sum.udp().to_be_bytes());
}

fn link_address(index: i32, protocol: u16) -> libc::sockaddr_ll {
    // SAFETY: an all-zero `sockaddr_ll` is valid.
    let mut a: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    a.sll_family = libc::AF_PACKET as u16;
    a.sll_protocol = protocol.to_be();
    a.sll_ifindex = index;
    a
}

/// Index of `lo`, where re-injected packets arrive.
pub fn loopback() -> io::Result<u32> {
    let fd = sys::socket(libc::AF_INET6, libc::SOCK_DGRAM, 0)?;
    loopback_index(fd.raw()).map(|i| i as u32)
}

fn loopback_index(fd: i32) -> io::Result<i32> {
    // SAFETY: an all-zero `ifreq` is valid.
    let mut r: libc::ifreq = unsafe { std::mem::zeroed() };
    r.ifr_name[0] = b'l' as libc::c_char;
    r.ifr_name[1] = b'o' as libc::c_char;
    // SAFETY: SIOCGIFINDEX reads and writes one `struct ifreq`.
    sys::check(unsafe { kernel!(libc::SYS_ioctl, fd, libc::SIOCGIFINDEX, &raw mut r) })?;
    // SAFETY: this request fills this member.
    Ok(unsafe { r.ifr_ifru.ifru_ifindex })
}

#[cfg(test)]
mod tests;
