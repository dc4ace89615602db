//! What the engine thread asks of the socket layer.

use crate::addr::{FlowId, UlidPair};
use std::net::Ipv6Addr;
use std::os::fd::RawFd;

/// How a re-injected packet reaches the application's kernel socket (DESIGN section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliverTo {
    /// Addressed to the local ULID.
    Ulid,
    /// The local ULID is gone from the host: addressed to `::1`, which the detached (wildcard) socket takes.
    Loopback,
}

/// What a socket that held a vanished local ULID needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UlidLoss {
    /// Nothing: no socket holds it, or all are detached from it now.
    Handled,
    /// A socket was bound to it by the application: put it on `lo` if CAP_NET_ADMIN allows it.
    NeedsAddress,
}

/// The socket layer as the engine thread sees it. Called from that thread only; must not block on the network.
pub trait SocketHost: Send + Sync {
    /// Called once, first thing in the engine thread: calls of this thread are never those of the application.
    fn on_engine_thread(&self) {}
    /// May a shim socket of this process belong to this ULID pair (and flow, if the peer told it)?
    fn serves(&self, ulids: UlidPair, flow: Option<FlowId>) -> bool;
    /// Which shim socket takes this packet; `None`: none, so it must not be re-injected (DESIGN section 6).
    fn deliver_to(&self, ulids: UlidPair, flow: FlowId) -> Option<DeliverTo>;
    /// Has any socket of the host this UDP port? In doubt, yes.
    fn port_is_open(&self, _port: u16) -> bool {
        true
    }
    /// Does a shim socket hold unread data of the peer (RE-FB-23)?
    fn has_unread(&self, ulids: UlidPair) -> bool;
    /// Does an open shim socket use the pair (connected, or unconnected with traffic on it)?
    fn in_use(&self, ulids: UlidPair) -> bool;
    /// Descriptors of the shim sockets that use the pair, for readiness watches.
    fn descriptors(&self, ulids: UlidPair) -> Vec<RawFd>;
    /// Would datagrams without extension header, on other locators than the ULIDs, reach the sockets of the pair (and flow)
    /// (LS-S-22)? In doubt not.
    fn takes_bare(&self, _ulids: UlidPair, _flow: Option<FlowId>) -> bool {
        false
    }
    /// A local address vanished from the host: detach the sockets whose local ULID it is.
    fn local_ulid_lost(&self, ulid: Ipv6Addr) -> UlidLoss;
    /// It came back.
    fn local_ulid_back(&self, ulid: Ipv6Addr);
}
