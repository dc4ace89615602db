//! The peers of an unconnected socket: by which ULID pair each was last heard or sent to.

use super::backend;
use crate::addr::UlidPair;
use crate::driver::cell::Cell;
use crate::time::Time;
use std::collections::HashMap;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::sync::Arc;

/// Most peers that one socket remembers; the oldest makes room for a new one.
pub const MAX_PEERS: usize = 4096;

type Key = (Ipv6Addr, u16);

/// What is known about a peer.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Our address of the pair.
    pub local: Ipv6Addr,
    /// The pair's cell; `None` if the engine has none to give.
    pub cell: Option<Arc<Cell>>,
    /// Something came from the peer to `local`; otherwise `local` is what the kernel would choose.
    pub heard: bool,
    /// A datagram waits for the context until then at most; `None`: none has waited yet (API-DEF-13).
    pub setup_until: Option<Time>,
}

#[derive(Debug, Default)]
struct Index {
    places: HashMap<Key, usize>,
    /// How many peers each pair has.
    pairs: HashMap<UlidPair, u32>,
}

/// What became of the other entries when one was set.
#[derive(Debug, Default, PartialEq)]
pub struct Change {
    /// It had to make room.
    pub dropped: Option<SocketAddrV6>,
    /// The first peer of this pair came.
    pub began: Option<UlidPair>,
    /// The last one of this pair went.
    pub ended: Option<UlidPair>,
}

/// A bounded map with a shortcut for the peer of the last datagram.
#[derive(Debug)]
pub struct Peers {
    // `None` until the first peer: a forked child makes an empty one without drawing hash keys.
    index: Option<Index>,
    entries: Vec<(Key, Peer)>,
    last: usize,
    victim: usize,
}

impl Peers {
    /// An empty map; allocates nothing.
    pub const fn new() -> Self {
        Peers { index: None, entries: Vec::new(), last: 0, victim: 0 }
    }

    /// The peer at that address and port.
    pub fn get(&mut self, peer: &SocketAddrV6) -> Option<&Peer> {
        let key = (*peer.ip(), peer.port());
        if self.entries.get(self.last).is_none_or(|e| e.0 != key) {
            self.last = *self.index.as_ref()?.places.get(&key)?;
        }
        self.entries.get(self.last).map(|e| &e.1)
    }

    /// Remember a peer, in place of what was known about it.
    pub fn set(&mut self, peer: &SocketAddrV6, entry: Peer) -> Change {
        let key = (*peer.ip(), peer.port());
        let index = self.index.get_or_insert_with(Index::default);
        attach(&entry);
        let mut change = Change { began: index.count(key, &entry), ..Change::default() };
        if let Some(&i) = index.places.get(&key) {
            change.ended = index.discount(key, &self.entries[i].1);
            detach(&self.entries[i].1);
            self.entries[i].1 = entry;
            self.last = i;
            return change;
        }
        if self.entries.len() < MAX_PEERS {
            self.last = self.entries.len();
            self.entries.push((key, entry));
        } else {
            self.last = self.victim;
            self.victim = (self.victim + 1) % MAX_PEERS;
            let (oldest, old) = &self.entries[self.last];
            index.places.remove(oldest);
            change.ended = index.discount(*oldest, old);
            change.dropped = Some(SocketAddrV6::new(oldest.0, oldest.1, 0, 0));
            detach(old);
            self.entries[self.last] = (key, entry);
        }
        index.places.insert(key, self.last);
        change
    }

    /// Is there a peer on this pair?
    pub fn has(&self, ulids: UlidPair) -> bool {
        self.index.as_ref().is_some_and(|index| index.pairs.contains_key(&ulids))
    }

    /// The pairs of all peers, each once.
    pub fn pairs(&self) -> impl Iterator<Item = UlidPair> {
        self.index.iter().flat_map(|index| index.pairs.keys().copied())
    }

    /// Note how long a datagram to a known peer may wait for its context.
    pub fn wait_until(&mut self, peer: &SocketAddrV6, until: Time) {
        if self.get(peer).is_some()
            && let Some(entry) = self.entries.get_mut(self.last)
        {
            entry.1.setup_until = Some(until);
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (SocketAddrV6, &Peer)> {
        self.entries.iter().map(|((ip, port), peer)| (SocketAddrV6::new(*ip, *port, 0, 0), peer))
    }

    /// Forget all of them.
    pub fn clear(&mut self) {
        *self = Peers::new();
    }
}

impl Index {
    /// The pair, if this is its first peer.
    fn count(&mut self, (peer, _): Key, entry: &Peer) -> Option<UlidPair> {
        let ulids = UlidPair { local: entry.local, peer };
        let n = self.pairs.entry(ulids).or_default();
        *n += 1;
        (*n == 1).then_some(ulids)
    }

    /// The pair, if this was its last peer.
    fn discount(&mut self, (peer, _): Key, entry: &Peer) -> Option<UlidPair> {
        let ulids = UlidPair { local: entry.local, peer };
        let n = self.pairs.get_mut(&ulids)?;
        *n -= 1;
        let gone = *n == 0;
        if gone {
            self.pairs.remove(&ulids);
        }
        gone.then_some(ulids)
    }
}

/// An unconnected socket is one of those that share the contexts of its peers (API-FK-01).
fn attach(peer: &Peer) {
    if let (Some(cell), Some(running)) = (&peer.cell, backend::current()) {
        running.backend.attach(cell);
    }
}

fn detach(peer: &Peer) {
    if let (Some(cell), Some(running)) = (&peer.cell, backend::current()) {
        running.backend.detach(cell);
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.entries.iter().for_each(|(_, peer)| detach(peer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(i: usize) -> SocketAddrV6 {
        SocketAddrV6::new(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, (i >> 16) as u16, i as u16), 7, 0, 0)
    }

    #[test]
    fn the_map_is_bounded_and_drops_the_oldest() {
        let mut peers = Peers::new();
        let entry = |i| Peer { local: *address(i).ip(), cell: None, heard: false, setup_until: None };
        for i in 0..MAX_PEERS + 10 {
            let oldest = i.checked_sub(MAX_PEERS);
            let pair = |i, local| UlidPair { local: *address(local).ip(), peer: *address(i).ip() };
            let change = Change {
                dropped: oldest.map(address),
                began: Some(pair(i, i)),
                ended: oldest.map(|old| pair(old, old + 1)),
            };
            assert_eq!(peers.set(&address(i), entry(i)), change);
            assert!(peers.has(pair(i, i)));
            let change = Change { dropped: None, began: Some(pair(i, i + 1)), ended: Some(pair(i, i)) };
            assert_eq!(peers.set(&address(i), entry(i + 1)), change);
            assert!(!peers.has(pair(i, i)));
            assert_eq!(peers.set(&address(i), entry(i + 1)), Change::default());
            let other = SocketAddrV6::new(*address(i).ip(), 8, 0, 0);
            if i == 5 {
                assert_eq!(peers.set(&other, entry(i + 1)).began, None, "a second peer of the pair");
                peers.clear();
                assert!(!peers.has(pair(i, i + 1)));
                for i in 0..=i {
                    peers.set(&address(i), entry(i + 1));
                }
            }
        }
        assert_eq!(peers.pairs().count(), MAX_PEERS);
        assert_eq!(peers.iter().count(), MAX_PEERS);
        for i in 0..10 {
            assert!(peers.get(&address(i)).is_none(), "{i}");
        }
        for i in 10..MAX_PEERS + 10 {
            assert_eq!(peers.get(&address(i)).unwrap().local, *address(i + 1).ip());
        }
    }
}
