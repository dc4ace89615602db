//! The last few peers of an unconnected socket, to be read without its lock.
//!
//! An index into [`Peers`](super::peers::Peers): written under the socket's lock, read by anybody. A reader that meets a
//! writer finds nothing and asks under the lock.

use crate::driver::cell::Meter;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering::*, fence};

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

/// One peer; `version` is odd while a writer is at work.
#[derive(Debug)]
#[repr(align(64))]
struct Entry {
    version: AtomicU64,
    peer: [AtomicU64; 2],
    local: [AtomicU64; 2],
    port: AtomicU64,
    /// Null: nothing is known.
    meter: AtomicPtr<Meter>,
}

/// See the module.
#[derive(Debug)]
pub struct Recent {
    few: [Entry; FEW],
    /// In place of those, if not null; never freed.
    many: AtomicPtr<[Entry; MANY]>,
}

fn words(addr: &Ipv6Addr) -> [u64; 2] {
    let bits = addr.to_bits();
    [(bits >> 64) as u64, bits as u64]
}

fn addr([high, low]: [u64; 2]) -> Ipv6Addr {
    Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low))
}

impl Recent {
    /// Nothing.
    pub fn new() -> Self {
        Recent { few: std::array::from_fn(|_| Entry::new()), many: AtomicPtr::new(ptr::null_mut()) }
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
            let key = [old.peer[0].load(Relaxed), old.peer[1].load(Relaxed)];
            self.entry(key, old.port.load(Relaxed) as u16).write(|new| {
                for (to, from) in new.words().zip(old.words()) {
                    to.store(from.load(Relaxed), Relaxed);
                }
                new.meter.store(old.meter.load(Relaxed), Relaxed);
            });
            old.write(|e| e.meter.store(ptr::null_mut(), Relaxed));
        }
    }

    /// What is known about the peer at that address and port. Loads alone.
    #[inline]
    pub fn get(&self, peer: &SocketAddrV6) -> Option<Known> {
        let key = words(peer.ip());
        let e = self.entry(key, peer.port());
        let before = e.version.load(Acquire);
        let load = |w: &[AtomicU64; 2]| [w[0].load(Relaxed), w[1].load(Relaxed)];
        let (found, local) = (load(&e.peer), load(&e.local));
        let (port, meter) = (e.port.load(Relaxed), e.meter.load(Relaxed));
        fence(Acquire);
        let whole = before.is_multiple_of(2) && e.version.load(Relaxed) == before;
        if !whole || found != key || port as u16 != peer.port() {
            return None;
        }
        // SAFETY: meters are never freed.
        let meter = unsafe { meter.as_ref() }?;
        Some(Known { local: addr(local), heard: port & HEARD != 0, unbound: port & UNBOUND != 0, meter })
    }

    /// Under the socket's lock: remember a peer in place of another one.
    pub fn set(&self, peer: &SocketAddrV6, known: Known) {
        let key = words(peer.ip());
        if self.many.load(Relaxed).is_null() && self.entry(key, peer.port()).is_of_another(key, peer.port()) {
            self.grow();
        }
        let facts = u64::from(peer.port())
            | if known.heard { HEARD } else { 0 }
            | if known.unbound { UNBOUND } else { 0 };
        self.entry(key, peer.port()).write(|e| {
            for (word, value) in e.peer.iter().chain(&e.local).zip(key.into_iter().chain(words(&known.local)))
            {
                word.store(value, Relaxed);
            }
            e.port.store(facts, Relaxed);
            e.meter.store(ptr::from_ref(known.meter).cast_mut(), Relaxed);
        });
    }

    /// Under the socket's lock: forget the peer at that address and port.
    pub fn forget(&self, peer: &SocketAddrV6) {
        let key = words(peer.ip());
        let forget = |e: &Entry| {
            if e.is_of(key, peer.port()) {
                e.meter.store(ptr::null_mut(), Relaxed);
            }
        };
        self.entry(key, peer.port()).write(forget);
    }

    /// Under the socket's lock, or where nobody else is: forget all.
    pub fn clear(&self) {
        for e in self.entries() {
            e.write(|e| e.meter.store(ptr::null_mut(), Relaxed));
        }
    }
}

impl Entry {
    fn new() -> Entry {
        Entry {
            version: AtomicU64::new(0),
            peer: Default::default(),
            local: Default::default(),
            port: AtomicU64::new(0),
            meter: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// All but version and meter.
    fn words(&self) -> impl Iterator<Item = &AtomicU64> {
        self.peer.iter().chain(&self.local).chain([&self.port])
    }

    fn is_of(&self, peer: [u64; 2], port: u16) -> bool {
        self.peer.iter().zip(peer).all(|(w, k)| w.load(Relaxed) == k)
            && self.port.load(Relaxed) as u16 == port
    }

    fn is_of_another(&self, peer: [u64; 2], port: u16) -> bool {
        !self.meter.load(Relaxed).is_null() && !self.is_of(peer, port)
    }

    fn write(&self, change: impl FnOnce(&Entry)) {
        // A writer that a fork cut off has left it odd.
        let version = self.version.load(Relaxed) & !1;
        self.version.store(version + 1, Relaxed);
        fence(Release);
        change(self);
        self.version.store(version + 2, Release);
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
