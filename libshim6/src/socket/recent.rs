//! The last few peers of an unconnected socket, to be read without its lock.
//!
//! An index into [`Peers`](super::peers::Peers): written under the socket's lock, read by anybody. A reader that meets a
//! writer finds nothing and asks under the lock.

use super::detours::Detours;
use super::words::{Words, join, meter, of_meter, split};
use crate::driver::cell::Meter;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering::*};

/// Peers that a socket has room for, and how many once two of them were after the same place.
const FEW: usize = 4;
const MANY: usize = 64;
/// In the word of the port.
const HEARD: u64 = 1 << 16;
const UNBOUND: u64 = 1 << 17;

/// What is known about a peer.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Our address of the pair.
    pub local: Ipv6Addr,
    /// Something came from the peer to `local`.
    pub heard: bool,
    /// The socket is bound to no address, so that the kernel chooses the source where the call does not.
    pub unbound: bool,
    /// Of the pair's cell.
    pub meter: &'static Meter,
}

/// One peer: its address, our address, port and facts, and the meter; no meter: nothing is known.
#[derive(Debug)]
#[repr(align(64))]
struct Entry(Words<6>);

/// See the module.
#[derive(Debug)]
pub struct Recent {
    few: [Entry; FEW],
    /// In place of those, if not null; never freed.
    many: AtomicPtr<[Entry; MANY]>,
    /// Those that are reached on other locators without extension header.
    pub detours: Detours,
}

impl Recent {
    /// Nothing.
    pub fn new() -> Self {
        Recent {
            few: std::array::from_fn(|_| Entry::new()),
            many: AtomicPtr::new(ptr::null_mut()),
            detours: Detours::new(),
        }
    }

    #[inline]
    fn entries(&self) -> &[Entry] {
        // SAFETY: null, or what `grow` has made, which lives for ever.
        match unsafe { self.many.load(Acquire).as_ref() } {
            None => &self.few,
            Some(many) => many,
        }
    }

    #[inline]
    fn entry(&self, peer: [u64; 2], port: u16) -> &Entry {
        let entries = self.entries();
        // Both numbers of entries are powers of two
        &entries[(peer[0] ^ peer[1] ^ u64::from(port)) as usize & (entries.len() - 1)]
    }

    /// Under the socket's lock: make room for more.
    #[cold]
    fn grow(&self) {
        // Never on the stack, which may be a few pages.
        let many: Box<[Entry]> = (0..MANY).map(|_| Entry::new()).collect();
        self.many.store(Box::leak(many).as_mut_ptr().cast(), Release);
        for old in &self.few {
            let words = old.0.under_lock();
            self.entry([words[0], words[1]], words[4] as u16).0.write(words);
            old.0.write([0; 6]);
        }
    }

    /// What is known about the peer at that address and port. Loads alone.
    #[inline]
    pub fn get(&self, peer: &SocketAddrV6) -> Option<Known> {
        let key = split(peer.ip());
        let [a, b, c, d, facts, m] = self.entry(key, peer.port()).0.read()?;
        if [a, b] != key || facts as u16 != peer.port() {
            return None;
        }
        let (heard, unbound) = (facts & HEARD != 0, facts & UNBOUND != 0);
        Some(Known { local: join([c, d]), heard, unbound, meter: meter(m)? })
    }

    /// Under the socket's lock: remember a peer in place of another one.
    pub fn set(&self, peer: &SocketAddrV6, known: Known) {
        let key = split(peer.ip());
        if self.many.load(Relaxed).is_null() && self.entry(key, peer.port()).is_of_another(key, peer.port()) {
            self.grow();
        }
        let facts = u64::from(peer.port())
            | if known.heard { HEARD } else { 0 }
            | if known.unbound { UNBOUND } else { 0 };
        let [c, d] = split(&known.local);
        self.entry(key, peer.port()).0.write([key[0], key[1], c, d, facts, of_meter(known.meter)]);
    }

    /// Under the socket's lock: forget the peer at that address and port.
    pub fn forget(&self, peer: &SocketAddrV6) {
        let key = split(peer.ip());
        let entry = self.entry(key, peer.port());
        if entry.is_of(key, peer.port()) {
            entry.0.write([0; 6]);
        }
    }

    /// Under the socket's lock, or where nobody else is: forget all.
    pub fn clear(&self) {
        self.entries().iter().for_each(|e| e.0.write([0; 6]));
        self.detours.clear();
    }
}

impl Entry {
    fn new() -> Entry {
        Entry(Words::new())
    }

    fn is_of(&self, peer: [u64; 2], port: u16) -> bool {
        let words = self.0.under_lock();
        words[..2] == peer && words[4] as u16 == port
    }

    fn is_of_another(&self, peer: [u64; 2], port: u16) -> bool {
        self.0.under_lock()[5] != 0 && !self.is_of(peer, port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::UlidPair;
    use crate::driver::cell::Cell;

    fn peer(i: u16) -> SocketAddrV6 {
        SocketAddrV6::new(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, i), i, 0, 0)
    }

    #[test]
    fn an_entry_is_read_whole_or_not_at_all() {
        let cell = Cell::new(UlidPair { local: *peer(1).ip(), peer: *peer(2).ip() });
        let recent = Recent::new();
        let known =
            |i| Known { local: *peer(i).ip(), heard: i % 2 == 0, unbound: i % 3 == 0, meter: cell.meter() };
        assert!(recent.get(&peer(4)).is_none());
        std::thread::scope(|s| {
            s.spawn(|| {
                for i in (0..60_000u16).map(|i| i % 600) {
                    recent.set(&peer(i), known(i));
                    if i % 7 == 0 {
                        recent.forget(&peer(i));
                    }
                }
            });
            for i in (0..60_000u16).map(|i| i % 600) {
                if let Some(found) = recent.get(&peer(i)) {
                    assert_eq!(
                        (found.local, found.heard, found.unbound),
                        (*peer(i).ip(), i % 2 == 0, i % 3 == 0)
                    );
                }
            }
        });
        recent.set(&peer(8), known(8));
        assert!(recent.get(&peer(8)).is_some_and(|k| k.heard && ptr::eq(k.meter, cell.meter())));
        recent.forget(&peer(12));
        assert!(recent.get(&peer(8)).is_some(), "another one");
        recent.forget(&peer(8));
        assert!(recent.get(&peer(8)).is_none());
        recent.set(&peer(8), known(8));
        recent.clear();
        assert!(recent.get(&peer(8)).is_none());
    }

    #[test]
    fn many_peers_are_remembered_and_few_take_no_room() {
        let cell = Cell::new(UlidPair { local: *peer(1).ip(), peer: *peer(2).ip() });
        let recent = Recent::new();
        let known = |i| Known { local: *peer(i).ip(), heard: true, unbound: i % 3 == 0, meter: cell.meter() };
        let at = |port| SocketAddrV6::new(*peer(1).ip(), port, 0, 0);
        for port in 0..4 {
            recent.set(&at(port), known(port));
            recent.set(&at(port), known(port + 1));
        }
        assert!(recent.many.load(SeqCst).is_null());
        (4..MANY as u16).for_each(|port| recent.set(&at(port), known(port + 1)));
        for port in 0..MANY as u16 {
            assert_eq!(
                recent.get(&at(port)).map(|k| (k.local, k.unbound)),
                Some((*peer(port + 1).ip(), (port + 1) % 3 == 0))
            );
        }
        recent.set(&at(64), known(7));
        assert!(recent.get(&at(0)).is_none() && recent.get(&at(1)).is_some(), "one had to make room");
        recent.clear();
        assert!((0..=64).all(|port| recent.get(&at(port)).is_none()));
    }
}
