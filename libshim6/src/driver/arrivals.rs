//! Which pair re-injected packets came by: their flow label is an index into this table, because it survives into the
//! IPV6_FLOWINFO cmsg (DESIGN section 4).

use super::options::Arrival;
use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Entries; the oldest makes room. A datagram waits in a socket for a much shorter time than it takes to come round.
const MAX: usize = 1 << 16;

/// The table, read by application threads.
#[derive(Debug, Default)]
pub struct Arrivals {
    /// Entry `i` has the flow label `i + 1`.
    entries: RwLock<Vec<Arrival>>,
    lo: AtomicU32,
}

impl Arrivals {
    /// The entry of a flow label (its low 20 bits count) on a packet that came by this interface.
    pub fn get(&self, label: u32, ifindex: u32) -> Option<Arrival> {
        if ifindex != self.lo.load(Relaxed) {
            return None;
        }
        let at = ((label & 0xf_ffff) as usize).checked_sub(1)?;
        self.entries.read().get(at).copied()
    }

    /// Index of `lo`; nothing is found before it is known.
    pub fn set_lo(&self, ifindex: u32) {
        self.lo.store(ifindex, Relaxed);
    }
}

/// The engine thread's side.
#[derive(Debug, Default)]
pub struct Labels {
    known: HashMap<Arrival, u32>,
    next: usize,
    last: Option<(Arrival, u32)>,
}

impl Labels {
    /// The flow label for a packet.
    pub fn of(&mut self, table: &Arrivals, arrival: Arrival) -> u32 {
        if let Some((_, label)) = self.last.filter(|(a, _)| *a == arrival) {
            return label;
        }
        let label = match self.known.get(&arrival) {
            Some(label) => *label,
            None => self.add(table, arrival),
        };
        self.last = Some((arrival, label));
        label
    }

    fn add(&mut self, table: &Arrivals, arrival: Arrival) -> u32 {
        let mut entries = table.entries.write();
        let at = self.next;
        self.next = (at + 1) % MAX;
        if at < entries.len() {
            self.known.remove(&entries[at]);
            entries[at] = arrival;
        } else {
            entries.push(arrival);
        }
        let label = at as u32 + 1;
        self.known.insert(arrival, label);
        label
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::{LocatorPair, UlidPair};

    fn arrival(n: u32) -> Arrival {
        let a = |x: u32| std::net::Ipv6Addr::from(u128::from(x) | 1 << 120);
        Arrival {
            ulids: UlidPair { local: a(1), peer: a(2) },
            fii: 0,
            locators: LocatorPair { local: a(n), peer: a(n + 1) },
        }
    }

    // API-CM-04: bounded, and the label leads back to the pair.
    #[test]
    fn labels_lead_back_to_pairs() {
        let (table, mut labels) = (Arrivals::default(), Labels::default());
        table.set_lo(1);
        let first = labels.of(&table, arrival(7));
        assert_eq!(labels.of(&table, arrival(7)), first);
        assert_ne!(labels.of(&table, arrival(8)), first);
        assert_eq!(table.get(first, 1), Some(arrival(7)));
        assert_eq!(table.get(first | 0xfff0_0000, 1), Some(arrival(7)), "traffic class in front");
        assert_eq!(table.get(first, 2), None, "a flow label of the peer's");
        assert_eq!((table.get(0, 1), table.get(9, 1)), (None, None));
        for n in 0..MAX as u32 + 2 {
            let label = labels.of(&table, arrival(n + 100));
            assert!((1..=MAX as u32).contains(&label));
            assert_eq!(table.get(label, 1), Some(arrival(n + 100)));
        }
        assert_eq!(labels.known.len(), MAX);
    }
}
