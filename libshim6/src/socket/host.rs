//! What the engine thread asks of the sockets.

use super::state::{Mode, Socket, all, flag};
use super::table::{self, Pinned};
use super::{detach, guard, registry, sys};
use crate::addr::{FlowId, UlidPair};
use crate::driver::host::{DeliverTo, SocketHost, UlidLoss};
use libc::c_int;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::RawFd;

/// The sockets of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sockets;

/// Is a socket with this peer or without one the right one for the flow?
fn matches(socket: &Socket, ulids: UlidPair, flow: FlowId) -> bool {
    let inner = socket.inner();
    let peer_port = |port| if socket.has(flag::RAW) { 0 } else { port };
    match socket.mode() {
        Mode::Plain => false,
        Mode::Connected | Mode::Detached => {
            let peer = inner.peer.map(|p| (*p.ip(), peer_port(p.port())));
            inner.local == ulids.local && peer == Some((ulids.peer, flow.peer_port))
        }
        Mode::Unconnected => inner.local.is_unspecified() || inner.local == ulids.local,
    }
}

/// Does the socket use the pair: connected over it, or unconnected with traffic on it?
fn uses(socket: &Socket, ulids: UlidPair) -> bool {
    let inner = socket.inner();
    match socket.mode() {
        Mode::Plain => false,
        Mode::Connected | Mode::Detached => {
            inner.local == ulids.local && inner.peer.is_some_and(|p| *p.ip() == ulids.peer)
        }
        Mode::Unconnected => inner.peers.iter().any(|(a, p)| *a.ip() == ulids.peer && p.local == ulids.local),
    }
}

fn users(ulids: UlidPair) -> impl Iterator<Item = Pinned> {
    all().filter_map(Pinned::new).filter(move |s| uses(s, ulids))
}

impl SocketHost for Sockets {
    fn on_engine_thread(&self) {
        guard::mark_own_thread();
    }

    fn serves(&self, ulids: UlidPair, flow: Option<FlowId>) -> bool {
        let wants = |s: &Pinned| !s.has(flag::DONT_SHIM);
        match flow {
            Some(flow) => registry::of_flow(flow).iter().any(|s| wants(s) && matches(s, ulids, flow)),
            None => users(ulids).any(|s| wants(&s)),
        }
    }

    fn deliver_to(&self, ulids: UlidPair, flow: FlowId) -> Option<DeliverTo> {
        let sockets = registry::of_flow(flow);
        let mut fitting = sockets.iter().filter(|s| matches(s, ulids, flow));
        // As in the kernel, a socket that has the peer comes before one that has none.
        let mut best = fitting.next()?;
        if best.mode() == Mode::Unconnected {
            best = fitting.find(|s| s.mode() != Mode::Unconnected).unwrap_or(best);
        }
        let wildcard = match best.mode() {
            Mode::Detached => true,
            Mode::Unconnected => best.inner().local.is_unspecified() && !detach::verifies_sums(best),
            Mode::Plain | Mode::Connected => false,
        };
        Some(if wildcard && detach::is_lost(&ulids.local) { DeliverTo::Loopback } else { DeliverTo::Ulid })
    }

    fn has_unread(&self, ulids: UlidPair) -> bool {
        users(ulids).any(|socket| {
            let _stable = detach::descriptors_are_stable();
            let Some(fd) = table::descriptors(&socket).next() else { return false };
            sys::readable(fd)
                && (socket.mode() != Mode::Unconnected
                    || next_source(fd).is_some_and(|a| *a.ip() == ulids.peer))
        })
    }

    fn in_use(&self, ulids: UlidPair) -> bool {
        users(ulids).next().is_some()
    }

    fn descriptors(&self, ulids: UlidPair) -> Vec<RawFd> {
        users(ulids).filter_map(|socket| table::descriptors(&socket).next()).collect()
    }

    fn local_ulid_lost(&self, ulid: Ipv6Addr) -> UlidLoss {
        // A test sees to it that a crash of the engine leaves the program alone.
        #[cfg(debug_assertions)]
        assert!(std::env::var_os("SHIM6_FAULT").is_none_or(|f| f != "address-lost"), "as SHIM6_FAULT asks");
        detach::ulid_lost(ulid)
    }

    fn local_ulid_back(&self, ulid: Ipv6Addr) {
        detach::ulid_back(ulid);
    }
}

/// Who sent the datagram that is first in the queue? Takes nothing off it.
fn next_source(fd: c_int) -> Option<SocketAddrV6> {
    let mut name = sys::to_raw(&SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, 0));
    let mut len = size_of_val(&name) as libc::socklen_t;
    let mut octet = [0u8; 1];
    // SAFETY: all three buffers are writable for the sizes that stand for them.
    let r = unsafe {
        libc::syscall(
            libc::SYS_recvfrom,
            fd,
            octet.as_mut_ptr(),
            octet.len(),
            libc::MSG_PEEK | libc::MSG_DONTWAIT,
            &raw mut name,
            &raw mut len,
        )
    };
    (r >= 0 && len as usize == size_of_val(&name)).then(|| sys::from_raw(&name))
}
