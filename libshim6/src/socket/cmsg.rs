//! Ancillary data: reading what the kernel wrote into our buffer, and handing on to the application what it asked
//! for, cut off as the kernel would have.

use libc::{c_int, cmsghdr, in6_pktinfo};
use std::net::Ipv6Addr;

/// Octets of a `cmsghdr`.
pub const HEADER: usize = size_of::<cmsghdr>();
/// Octets that one IPV6_PKTINFO takes in a control buffer.
pub const PKTINFO_SPACE: usize = align(HEADER + size_of::<in6_pktinfo>());

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

/// An IPV6_PKTINFO that names a source address and no interface.
pub fn source(addr: Ipv6Addr) -> [u8; PKTINFO_SPACE] {
    let mut out = [0; PKTINFO_SPACE];
    let len = HEADER + size_of::<in6_pktinfo>();
    out[..8].copy_from_slice(&len.to_ne_bytes());
    out[8..12].copy_from_slice(&libc::IPPROTO_IPV6.to_ne_bytes());
    out[12..16].copy_from_slice(&libc::IPV6_PKTINFO.to_ne_bytes());
    out[HEADER..HEADER + 16].copy_from_slice(&addr.octets());
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
        buffer.extend(source(a));
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
        assert_eq!(copy(&source(a), &mut [], |c| !is_pktinfo(c)), (0, false));
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
