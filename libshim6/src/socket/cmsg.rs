//! Ancillary data: reading what the kernel wrote into our buffer, and handing on to the application what it asked
//! for, cut off as the kernel would have.

use libc::{c_int, cmsghdr, in6_pktinfo};
use std::net::Ipv6Addr;

/// Octets of a `cmsghdr`.
pub const HEADER: usize = size_of::<cmsghdr>();
/// Octets that one IPV6_PKTINFO takes in a control buffer.
pub const PKTINFO_SPACE: usize = align(HEADER + size_of::<in6_pktinfo>());

/// Octets that IPV6_PKTINFO and IPV6_FLOWINFO take, which the shim may ask for.
pub const OUR_SPACE: usize = PKTINFO_SPACE + align(HEADER + size_of::<u32>());

/// Octets that the kernel may write before those two if the application asked for it: SO_TIMESTAMPNS, SO_TIMESTAMPING
/// with SOF_TIMESTAMPING_OPT_PKTINFO, SO_RXQ_OVFL, SO_RCVMARK, SO_RCVPRIORITY, UDP_GRO, IPV6_RECVHOPLIMIT, IPV6_RECVTCLASS.
pub const BEFORE_OURS: usize =
    align(HEADER + 16) + align(HEADER + 48) + align(HEADER + 16) + 6 * align(HEADER + 4);

const fn align(n: usize) -> usize {
    (n + size_of::<usize>() - 1) & !(size_of::<usize>() - 1)
}

/// One message of a control buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cmsg<'a> {
    /// Level.
    pub level: c_int,
    /// Type.
    pub kind: c_int,
    /// Contents.
    pub data: &'a [u8],
    /// Offset of the contents in the buffer.
    pub at: usize,
}

/// The messages in a control buffer; stops at the first that does not fit.
pub fn iter(buffer: &[u8]) -> impl Iterator<Item = Cmsg<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let header = buffer.get(at..at + HEADER)?;
        let (size, rest) = header.split_at(size_of::<usize>());
        let len = usize::from_ne_bytes(size.try_into().ok()?);
        let level = c_int::from_ne_bytes(rest[..4].try_into().ok()?);
        let kind = c_int::from_ne_bytes(rest[4..8].try_into().ok()?);
        let end = at.checked_add(len).filter(|_| len >= HEADER)?;
        let data = buffer.get(at + HEADER..end)?;
        let cmsg = Cmsg { level, kind, data, at: at + HEADER };
        at = at.checked_add(align(len))?;
        Some(cmsg)
    })
}

/// Is it an IPV6_PKTINFO as RFC 3542 has it?
pub fn is_pktinfo(cmsg: &Cmsg<'_>) -> bool {
    cmsg.level == libc::IPPROTO_IPV6 && cmsg.kind == libc::IPV6_PKTINFO
}

/// The address in an IPV6_PKTINFO, or in the form of RFC 2292.
pub fn pktinfo(cmsg: &Cmsg<'_>) -> Option<Ipv6Addr> {
    let old = cmsg.level == libc::IPPROTO_IPV6 && cmsg.kind == libc::IPV6_2292PKTINFO;
    if !is_pktinfo(cmsg) && !old {
        return None;
    }
    let octets: [u8; 16] = cmsg.data.get(..16)?.try_into().ok()?;
    (cmsg.data.len() >= size_of::<in6_pktinfo>()).then(|| octets.into())
}

/// Is it the flow information (IPV6_FLOWINFO of <linux/in6.h>)?
pub fn is_flowinfo(cmsg: &Cmsg<'_>) -> bool {
    cmsg.level == libc::IPPROTO_IPV6 && cmsg.kind == libc::IPV6_FLOWINFO
}

/// What received ancillary data tells of the way that a datagram came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Where it was sent to.
    pub destination: Option<Ipv6Addr>,
    /// Of the interface; 0: not told.
    pub ifindex: u32,
    /// Flow information in network byte order; 0: none, or not told.
    pub flowinfo: u32,
}

/// All that [`Told`] has, in one pass.
pub fn told(buffer: &[u8]) -> Told {
    let u32_at = |data: &[u8], at: usize| {
        data.get(at..at + 4).map_or(0, |o| u32::from_ne_bytes([o[0], o[1], o[2], o[3]]))
    };
    iter(buffer).fold(Told::default(), |mut told, c| {
        if is_flowinfo(&c) {
            told.flowinfo = u32_at(c.data, 0);
        } else if told.destination.is_none()
            && let Some(addr) = pktinfo(&c)
        {
            (told.destination, told.ifindex) = (Some(addr), u32_at(c.data, 16));
        }
        told
    })
}

/// A datagram came round by `lo`: show the interface that it came by, and not the flow label that it had there. The
/// kernel tells no flow information that is 0, so that message disappears then.
pub fn hide_detour(buffer: &mut [u8], ifindex: u32) {
    let found: Vec<(usize, bool)> =
        iter(buffer).filter(|c| is_flowinfo(c) || is_pktinfo(c)).map(|c| (c.at, is_flowinfo(&c))).collect();
    for (at, flow) in found {
        if flow {
            let Some(octets) = buffer.get_mut(at..at + 4) else { continue };
            octets[1] &= 0xf0;
            octets[2..].fill(0);
        } else if let Some(octets) = buffer.get_mut(at + 16..at + 20).filter(|_| ifindex != 0) {
            octets.copy_from_slice(&ifindex.to_ne_bytes());
        }
    }
}

/// Octets of a locator message: a header and a `sockaddr_in6`.
pub const LOCATOR: usize = HEADER + size_of::<libc::sockaddr_in6>();
/// The same with padding.
const LOCATOR_SPACE: usize = align(LOCATOR);

/// Add a message with one locator at `at`, whole or not at all; the octets used then. `None` stands for a locator that
/// is not known any more: all zero (API-CM-03, API-CM-08).
pub fn put_locator(
    to: &mut [u8],
    at: usize,
    level: c_int,
    kind: c_int,
    addr: Option<Ipv6Addr>,
) -> Option<usize> {
    let room = to.get_mut(at..).filter(|room| room.len() >= LOCATOR)?;
    room[..8].copy_from_slice(&LOCATOR.to_ne_bytes());
    room[8..12].copy_from_slice(&level.to_ne_bytes());
    room[12..16].copy_from_slice(&kind.to_ne_bytes());
    room[16..LOCATOR].fill(0);
    if let Some(addr) = addr {
        room[16..18].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
        room[24..40].copy_from_slice(&addr.octets());
    }
    Some(LOCATOR_SPACE.min(room.len()))
}

/// The destination address among received ancillary data.
pub fn destination(buffer: &[u8]) -> Option<Ipv6Addr> {
    iter(buffer).find_map(|c| pktinfo(&c))
}

/// Write `to` in place of `from` into every IPV6_PKTINFO.
pub fn replace_destination(buffer: &mut [u8], from: Ipv6Addr, to: Ipv6Addr) {
    let found: Vec<usize> = iter(buffer).filter(|c| pktinfo(c) == Some(from)).map(|c| c.at).collect();
    for at in found {
        buffer[at..at + 16].copy_from_slice(&to.octets());
    }
}

/// An IPV6_PKTINFO that names a source address, and an interface unless that is 0.
pub fn source(addr: Ipv6Addr, interface: u32) -> [u8; PKTINFO_SPACE] {
    let mut out = [0; PKTINFO_SPACE];
    let len = HEADER + size_of::<in6_pktinfo>();
    out[..8].copy_from_slice(&len.to_ne_bytes());
    out[8..12].copy_from_slice(&libc::IPPROTO_IPV6.to_ne_bytes());
    out[12..16].copy_from_slice(&libc::IPV6_PKTINFO.to_ne_bytes());
    out[HEADER..HEADER + 16].copy_from_slice(&addr.octets());
    out[HEADER + 16..HEADER + 20].copy_from_slice(&interface.to_ne_bytes());
    out
}

/// Copy the messages of `from` that `keep` wants to `to`, as the kernel's put_cmsg would have written them: the
/// last one cut off if need be. The octets used, and whether something was cut off (MSG_CTRUNC).
pub fn copy(from: &[u8], to: &mut [u8], keep: impl Fn(&Cmsg<'_>) -> bool) -> (usize, bool) {
    let mut at = 0;
    let mut cut = false;
    for cmsg in iter(from).filter(|c| keep(c)) {
        let room = to.len() - at;
        if room < HEADER {
            cut = true;
            continue;
        }
        let whole = HEADER + cmsg.data.len();
        cut |= whole > room;
        let len = whole.min(room);
        to[at..at + 8].copy_from_slice(&len.to_ne_bytes());
        to[at + 8..at + 12].copy_from_slice(&cmsg.level.to_ne_bytes());
        to[at + 12..at + 16].copy_from_slice(&cmsg.kind.to_ne_bytes());
        to[at + HEADER..at + len].copy_from_slice(&cmsg.data[..len - HEADER]);
        at += align(whole).min(room);
    }
    (at, cut)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(level: c_int, kind: c_int, data: &[u8]) -> Vec<u8> {
        let mut m = (HEADER + data.len()).to_ne_bytes().to_vec();
        m.extend(level.to_ne_bytes());
        m.extend(kind.to_ne_bytes());
        m.extend(data);
        m.resize(align(m.len()), 0);
        m
    }

    #[test]
    fn the_pktinfo_is_found_replaced_and_dropped() {
        let a: Ipv6Addr = "2001:db8::1".parse().unwrap();
        let b: Ipv6Addr = "2001:db8::2".parse().unwrap();
        let mut buffer = message(libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT, &64i32.to_ne_bytes());
        buffer.extend(source(a, 0));
        buffer.extend(message(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &1i32.to_ne_bytes()));
        assert_eq!(destination(&buffer), Some(a));
        replace_destination(&mut buffer, a, b);
        assert_eq!(destination(&buffer), Some(b));
        let mut out = [0xff; 100];
        let (n, cut) = copy(&buffer, &mut out, |c| !is_pktinfo(c));
        assert!(!cut);
        let kinds: Vec<_> = iter(&out[..n]).map(|c| c.kind).collect();
        assert_eq!(kinds, [libc::IPV6_HOPLIMIT, libc::IPV6_TCLASS]);
        // Room for the first message and a part of the second, then for the first alone, then for none.
        assert_eq!(copy(&buffer, &mut out[..44], |c| !is_pktinfo(c)), (44, false));
        assert_eq!(copy(&buffer, &mut out[..42], |c| !is_pktinfo(c)), (42, true));
        assert_eq!(copy(&buffer, &mut out[..24], |c| !is_pktinfo(c)), (24, true));
        assert_eq!(copy(&buffer, &mut out[..0], |c| !is_pktinfo(c)), (0, true));
        assert_eq!(copy(&source(a, 0), &mut [], |c| !is_pktinfo(c)), (0, false));
    }

    proptest! {
        #[test]
        fn no_buffer_makes_it_panic(octets in proptest::collection::vec(any::<u8>(), 0..200), room in 0usize..200) {
            let mut out = vec![0; room];
            let (n, _) = copy(&octets, &mut out, |_| true);
            prop_assert!(n <= room);
            let _ = destination(&octets);
        }
    }
}
