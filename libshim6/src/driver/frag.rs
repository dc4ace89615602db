//! Fragmentation and reassembly behind the payload extension header (S6-E-4, S6-E-5, S6-N-42; RFC 8200 section 4.5).

use crate::addr::UlidPair;
use crate::time::Time;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// IPv6 next header of Fragment.
pub const FRAGMENT: u8 = 44;
/// Octets of the Fragment header.
pub const HEADER: usize = 8;
/// Octets of the IPv6 header.
const IPV6: usize = 40;

/// One fragment: its header, and its part of the packet.
pub type Fragment<'a> = ([u8; HEADER], &'a [u8]);

/// Cut `packet` (from the upper-layer header on) so that each piece fits a path MTU behind an IPv6 header, the
/// payload extension header and the Fragment header. `None` if it fits whole, without Fragment header.
pub fn split(mtu: usize, protocol: u8, id: u32, packet: &[u8]) -> Option<Vec<Fragment<'_>>> {
    let shim = crate::wire::PAYLOAD_HEADER_LEN;
    if IPV6 + shim + packet.len() <= mtu {
        return None;
    }
    // IPv6 paths carry 1280 octets at least (RFC 8200 section 5).
    let room = (mtu.max(1280) - IPV6 - shim - HEADER) & !7;
    let last = packet.len().div_ceil(room).max(1) - 1;
    let piece = |(i, part)| {
        let offset = (i * room) as u16;
        let field = offset | u16::from(i < last);
        let (f, n) = (field.to_be_bytes(), id.to_be_bytes());
        ([protocol, 0, f[0], f[1], n[0], n[1], n[2], n[3]], part)
    };
    Some(packet.chunks(room).enumerate().map(piece).collect())
}

/// How long fragments wait for the rest (RFC 8200 section 4.5).
const TIMEOUT: Duration = Duration::from_secs(60);
/// Most octets that wait, over all packets, and most packets that wait.
const MAX_OCTETS: usize = 4 << 20;
const MAX_PACKETS: usize = 256;
/// What a fragment costs beyond its octets, so that many tiny ones cannot pass the bound.
const OVERHEAD: usize = 64;

/// What became of a fragment.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was the last missing one: the protocol and the whole packet.
    Complete(u8, Vec<u8>),
    /// Others are missing.
    Waiting,
    /// It is no valid fragment, or overlaps another, which drops the whole packet (RFC 5722).
    Dropped,
}

#[derive(Debug)]
struct Partial {
    /// Octets by offset; no two overlap. Empty and `poisoned` after an overlap.
    parts: BTreeMap<usize, Vec<u8>>,
    octets: usize,
    /// Length of the whole, once the last fragment has come.
    total: Option<usize>,
    /// Next Header of the first fragment; that of the others does not count.
    protocol: Option<u8>,
    poisoned: bool,
    until: Time,
}

/// Packets that are being reassembled. Fragments may come over different locators: the ULIDs identify them.
#[derive(Debug, Default)]
pub struct Reassembly {
    packets: HashMap<(UlidPair, u32), Partial>,
    cost: usize,
}

impl Reassembly {
    /// Take what followed a payload extension header with Next Header 44.
    pub fn handle(&mut self, now: Time, ulids: UlidPair, data: &[u8]) -> Outcome {
        self.expire(now);
        let Some((header, part)) = data.split_first_chunk::<HEADER>() else { return Outcome::Dropped };
        let field = u16::from_be_bytes([header[2], header[3]]);
        let (offset, more) = (usize::from(field & !7), field & 1 != 0);
        let id = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        let end = offset + part.len();
        if part.is_empty() || (more && !part.len().is_multiple_of(8)) || end > 65535 {
            return Outcome::Dropped;
        }
        if offset == 0 && !more {
            // An atomic fragment stands alone, whatever else has its number (RFC 6946).
            return Outcome::Complete(header[0], part.to_vec());
        }
        let key = (ulids, id);
        let packet = self.packets.entry(key).or_insert_with(|| Partial {
            parts: BTreeMap::new(),
            octets: 0,
            total: None,
            protocol: None,
            poisoned: false,
            until: now + TIMEOUT,
        });
        if packet.poisoned {
            return Outcome::Dropped;
        }
        if packet.parts.get(&offset).is_some_and(|p| p == part) && more != (packet.total == Some(end)) {
            return Outcome::Waiting; // an exact duplicate
        }
        let before = packet.parts.range(..end).next_back().map(|(at, p)| at + p.len());
        let past = packet.parts.last_key_value().map_or(0, |(at, p)| at + p.len());
        let misfit = match packet.total {
            Some(total) => end > total || (!more && end != total),
            None => !more && past > end,
        };
        if before.is_some_and(|b| b > offset) || misfit {
            self.cost -= packet.cost();
            *packet = Partial { poisoned: true, parts: BTreeMap::new(), octets: 0, ..*packet };
            return Outcome::Dropped;
        }
        if !more {
            packet.total = Some(end);
        }
        if offset == 0 {
            packet.protocol = Some(header[0]);
        }
        packet.parts.insert(offset, part.to_vec());
        packet.octets += part.len();
        self.cost += part.len() + OVERHEAD;
        if packet.total == Some(packet.octets)
            && let Some(protocol) = packet.protocol
        {
            self.cost -= packet.cost();
            let whole: Vec<u8> = std::mem::take(&mut packet.parts).into_values().flatten().collect();
            self.packets.remove(&key);
            return Outcome::Complete(protocol, whole);
        }
        self.shrink(key);
        Outcome::Waiting
    }

    /// Forget packets whose time is over; how many were.
    pub fn expire(&mut self, now: Time) -> usize {
        if self.packets.is_empty() {
            return 0;
        }
        let before = self.packets.len();
        let cost = &mut self.cost;
        self.packets.retain(|_, p| {
            let keep = p.until > now;
            if !keep {
                *cost -= p.cost();
            }
            keep
        });
        before - self.packets.len()
    }

    /// When [`Reassembly::expire`] has something to do next.
    pub fn next_expiry(&self) -> Option<Time> {
        self.packets.values().map(|p| p.until).min()
    }

    /// Keep to the bounds: the oldest go first, `key` last.
    fn shrink(&mut self, key: (UlidPair, u32)) {
        while self.cost > MAX_OCTETS || self.packets.len() > MAX_PACKETS {
            let oldest = self.packets.iter().map(|(k, p)| (*k == key, p.until, *k)).min();
            let Some((_, _, oldest)) = oldest else { return };
            if let Some(p) = self.packets.remove(&oldest) {
                self.cost -= p.cost();
            }
        }
    }
}

impl Partial {
    fn cost(&self) -> usize {
        self.octets + self.parts.len() * OVERHEAD
    }
}

#[cfg(test)]
mod tests;
