//! UDP over ULIDs: building datagrams for tagged payload, and checking received ones.

use crate::addr::UlidPair;
use std::io::IoSlice;
use std::net::Ipv6Addr;

/// IPv6 next header of UDP.
pub const UDP: u8 = 17;
/// Octets of the UDP header.
pub const HEADER: usize = 8;

/// The Internet checksum's sum, in 16-bit words, carried on over pieces of any length.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    total: u64,
    odd: bool,
}

impl Sum {
    /// The pseudo-header of RFC 8200 section 8.1.
    pub fn pseudo(source: Ipv6Addr, destination: Ipv6Addr, protocol: u8, len: u32) -> Sum {
        let mut sum = Sum::default();
        sum.add(&source.octets());
        sum.add(&destination.octets());
        sum.add(&len.to_be_bytes());
        sum.add(&[0, 0, 0, protocol]);
        sum
    }

    /// Add octets.
    pub fn add(&mut self, mut data: &[u8]) {
        if self.odd
            && let [first, rest @ ..] = data
        {
            self.total += u64::from(*first);
            self.odd = false;
            data = rest;
        }
        // In the machine's own order, with one swap at the end (RFC 1071 section 2): the compiler makes vectors of it.
        let mut words = data.chunks_exact(4);
        let mut native = 0;
        for w in &mut words {
            native += u64::from(u32::from_ne_bytes([w[0], w[1], w[2], w[3]]));
        }
        self.total += u64::from(u16::from_be(fold(native)));
        let mut pairs = words.remainder().chunks_exact(2);
        for p in &mut pairs {
            self.total += u64::from(u16::from_be_bytes([p[0], p[1]]));
        }
        if let [last] = pairs.remainder() {
            self.total += u64::from(*last) << 8;
            self.odd = true;
        }
    }

    /// Folded to 16 bits, not complemented.
    pub fn folded(self) -> u16 {
        fold(self.total)
    }

    /// The checksum for UDP: complemented, 0 sent as 0xffff (RFC 8200 section 8.1).
    pub fn udp(self) -> u16 {
        match !self.folded() {
            0 => 0xffff,
            c => c,
        }
    }
}

fn fold(mut t: u64) -> u16 {
    while t >> 16 != 0 {
        t = (t & 0xffff) + (t >> 16);
    }
    t as u16
}

/// A UDP datagram from `ulids.local` to `ulids.peer`, header included, its checksum over the ULIDs, whatever the
/// locators will be (S6-11.1-2).
///
/// `data` beyond 65527 octets does not fit a datagram: `None`.
pub fn build_udp(
    ulids: UlidPair,
    source_port: u16,
    destination_port: u16,
    data: &[IoSlice<'_>],
) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    build_udp_into(&mut out, ulids, source_port, destination_port, data).then_some(out)
}

/// As [`build_udp`], into the caller's buffer, which is cleared before. `false` if the data does not fit.
pub fn build_udp_into(
    out: &mut Vec<u8>,
    ulids: UlidPair,
    source_port: u16,
    destination_port: u16,
    data: &[IoSlice<'_>],
) -> bool {
    out.clear();
    let Ok(len) = u16::try_from(HEADER + data.iter().map(|d| d.len()).sum::<usize>()) else { return false };
    out.reserve(usize::from(len));
    out.extend_from_slice(&source_port.to_be_bytes());
    out.extend_from_slice(&destination_port.to_be_bytes());
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(&[0, 0]);
    for d in data {
        out.extend_from_slice(d);
    }
    let mut sum = Sum::pseudo(ulids.local, ulids.peer, UDP, len.into());
    sum.add(out);
    out[6..8].copy_from_slice(&sum.udp().to_be_bytes());
    true
}

/// A received UDP datagram that is whole and whose checksum over the ULIDs verifies (S6-12.2-6, S6-E-6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Udp<'a> {
    /// The peer's port.
    pub source_port: u16,
    /// Our port.
    pub destination_port: u16,
    /// The datagram from its header on, without what follows its own length.
    pub datagram: &'a [u8],
}

/// Check a datagram that the peer sent to us. `None`: length or checksum is wrong, or the checksum is missing.
pub fn check(ulids: UlidPair, packet: &[u8]) -> Option<Udp<'_>> {
    let word = |i: usize| Some(u16::from_be_bytes([*packet.get(i)?, *packet.get(i + 1)?]));
    let (source_port, destination_port, len, checksum) = (word(0)?, word(2)?, word(4)?, word(6)?);
    let datagram = packet.get(..usize::from(len))?;
    if datagram.len() < HEADER || checksum == 0 {
        return None;
    }
    let mut sum = Sum::pseudo(ulids.peer, ulids.local, UDP, len.into());
    sum.add(datagram);
    (sum.folded() == 0xffff).then_some(Udp { source_port, destination_port, datagram })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pair(local: &str, peer: &str) -> UlidPair {
        UlidPair { local: local.parse().unwrap(), peer: peer.parse().unwrap() }
    }

    fn swapped(p: UlidPair) -> UlidPair {
        UlidPair { local: p.peer, peer: p.local }
    }

    // S6-11.1-2: the checksum is over the ULIDs. The words were added by hand:
    // 2001+0db8+1 + 2001+0db8+2 + length 000c + protocol 0011 + ports 1234+5678 + length 000c
    // + 6162+6364 ("abcd") = 18910, folded 8911, complement 76ee.
    #[test]
    fn a_datagram_laid_out_by_hand() {
        let got = build_udp(pair("2001:db8::1", "2001:db8::2"), 0x1234, 0x5678, &[IoSlice::new(b"abcd")]);
        let want = [0x12, 0x34, 0x56, 0x78, 0, 12, 0x76, 0xee, b'a', b'b', b'c', b'd'];
        assert_eq!(got.as_deref(), Some(&want[..]));
    }

    #[test]
    fn a_zero_checksum_is_sent_as_ones_and_refused_on_receipt() {
        let p = pair("2001:db8::1", "2001:db8::2");
        let first = build_udp(p, 1, 2, &[IoSlice::new(&[0, 0])]).unwrap();
        // Data equal to the checksum of the datagram without it makes the sum all ones.
        let d = build_udp(p, 1, 2, &[IoSlice::new(&first[6..8])]).unwrap();
        assert_eq!(d[6..8], [0xff, 0xff]);
        assert!(check(swapped(p), &d).is_some());
        let mut none = d.clone();
        none[6..8].fill(0);
        assert_eq!(check(swapped(p), &none), None);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let p = pair("2001:db8::1", "2001:db8::2");
        assert!(build_udp(p, 1, 2, &[IoSlice::new(&vec![0; 65528])]).is_none());
        assert_eq!(build_udp(p, 1, 2, &[IoSlice::new(&vec![0; 65527])]).unwrap().len(), 65535);
    }

    proptest! {
        // S6-E-6: what was built verifies on the other side; a changed octet or other ULIDs do not.
        #[test]
        fn built_datagrams_verify_and_changed_ones_do_not(
            a: u128, b: u128, sp: u16, dp: u16, pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..5),
            at: prop::sample::Index, flip in 1u8..,
        ) {
            let p = UlidPair { local: a.into(), peer: b.into() };
            let slices: Vec<_> = pieces.iter().map(|p| IoSlice::new(p)).collect();
            let mut d = build_udp(p, sp, dp, &slices).unwrap();
            d.push(0x55); // beyond the datagram's own length: ignored
            let got = check(swapped(p), &d).unwrap();
            prop_assert_eq!((got.source_port, got.destination_port, got.datagram), (sp, dp, &d[..d.len() - 1]));
            prop_assert_eq!(&got.datagram[8..], &pieces.concat()[..]);
            let other = UlidPair { local: p.peer, peer: (a ^ 1).into() };
            prop_assert_eq!(check(other, &d), None);
            let mut i = at.index(d.len() - 1);
            if i == 4 || i == 5 {
                i = 0; // another length is another datagram, which may verify by chance
            }
            d[i] ^= flip;
            prop_assert_eq!(check(swapped(p), &d), None);
        }
    }
}
