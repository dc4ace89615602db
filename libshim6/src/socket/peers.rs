//! The peers of an unconnected socket: by which ULID pair each was last heard or sent to.

use super::backend;
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

/// A bounded map with a shortcut for the peer of the last datagram.
#[derive(Debug)]
pub struct Peers {
    // `None` until the first peer: a forked child makes an empty one without drawing hash keys.
    index: Option<HashMap<Key, usize>>,
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
            self.last = *self.index.as_ref()?.get(&key)?;
        }
        self.entries.get(self.last).map(|e| &e.1)
    }

    /// Remember a peer, in place of what was known about it. Which one had to make room, if any.
    pub fn set(&mut self, peer: &SocketAddrV6, entry: Peer) -> Option<SocketAddrV6> {
        let key = (*peer.ip(), peer.port());
        let index = self.index.get_or_insert_with(HashMap::new);
        attach(&entry);
        if let Some(&i) = index.get(&key) {
            detach(&self.entries[i].1);
            self.entries[i].1 = entry;
            self.last = i;
            return None;
        }
        let mut dropped = None;
        if self.entries.len() < MAX_PEERS {
            self.last = self.entries.len();
            self.entries.push((key, entry));
        } else {
            self.last = self.victim;
            self.victim = (self.victim + 1) % MAX_PEERS;
            let oldest = self.entries[self.last].0;
            index.remove(&oldest);
            dropped = Some(SocketAddrV6::new(oldest.0, oldest.1, 0, 0));
            detach(&self.entries[self.last].1);
            self.entries[self.last] = (key, entry);
        }
        index.insert(key, self.last);
        dropped
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
            let oldest = i.checked_sub(MAX_PEERS).map(address);
            assert_eq!(
                peers.set(&address(i), entry(i)).map(|a| (*a.ip(), a.port())),
                oldest.map(|a| (*a.ip(), a.port()))
            );
            assert!(peers.set(&address(i), entry(i + 1)).is_none());
        }
        assert_eq!(peers.iter().count(), MAX_PEERS);
        for i in 0..10 {
            assert!(peers.get(&address(i)).is_none(), "{i}");
        }
        for i in 10..MAX_PEERS + 10 {
            assert_eq!(peers.get(&address(i)).unwrap().local, *address(i + 1).ip());
        }
    }
}
