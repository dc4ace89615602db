//! Datagrams that came on other locators than their ULIDs without payload extension header (LS-S-14, LS-S-15, LS-S-25).

use super::super::backend;
use super::super::peers::Peer;
use super::super::table::Pinned;
use crate::addr::{LocatorPair, UlidPair};
use crate::driver::cell::Cell;
use crate::engine::Bare;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::sync::Arc;

/// The ULIDs of a datagram that came from `from` to our address `to` on a socket without peer; `None`: the addresses are
/// its ULIDs. A session between just these addresses comes first. Inside `guard::slow` only.
pub(super) fn owner(socket: &Pinned, from: &SocketAddrV6, to: Ipv6Addr) -> Option<UlidPair> {
    let engine = backend::current().filter(|e| e.backend.suppresses())?;
    let locators = LocatorPair { local: to, peer: *from.ip() };
    {
        let mut inner = socket.inner();
        if inner.peers.get(from).is_some_and(|p| p.local == to && p.heard) {
            return None;
        }
        if let Some(cell) = inner.aliases.get(from).filter(|p| p.local == to).and_then(|p| p.cell.as_ref())
            && cell.view().takes(cell.ulids(), locators)
        {
            return Some(cell.ulids());
        }
    }
    let mut found = engine.backend.bare(locators);
    found.retain(|cell| knows(socket, cell, from.port()));
    // Two that fit: in doubt it is what it looks like.
    let [cell] = found.try_into().ok()?;
    let ulids = cell.ulids();
    socket.inner().aliases.set(from, Peer { local: to, cell: Some(cell), heard: true, setup_until: None });
    Some(ulids)
}

/// May the context own a datagram from that port of the peer: was the flow heard on the ULIDs, or have these been left and
/// the peer sends no headers?
fn knows(socket: &Pinned, cell: &Arc<Cell>, port: u16) -> bool {
    let ulids = cell.ulids();
    let heard = || {
        let mut inner = socket.inner();
        let known = inner.peers.get(&SocketAddrV6::new(ulids.peer, port, 0, 0));
        known.is_some_and(|p| p.local == ulids.local && p.heard)
    };
    match cell.view().takes_bare {
        Bare::No => false,
        Bare::KnownFlows => heard(),
        Bare::All => heard() || cell.forward().is_some(),
    }
}
