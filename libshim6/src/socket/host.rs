//! What the engine thread asks of the sockets.

use super::state::{Mode, Socket, flag};
use super::table::{self, Pinned};
use super::{detach, guard, peek, registry, sys, users};
use crate::addr::{FlowId, UlidPair};
use crate::driver::host::{DeliverTo, SocketHost, UlidLoss};
use std::collections::HashMap;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::RawFd;
use std::sync::atomic::Ordering::Relaxed;

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

impl SocketHost for Sockets {
    fn on_engine_thread(&self) {
        guard::mark_own_thread();
    }

    fn serves(&self, ulids: UlidPair, flow: Option<FlowId>) -> bool {
        let wants = |s: &Pinned| !s.has(flag::DONT_SHIM);
        match flow {
            Some(flow) => registry::of_flow(flow).iter().any(|s| wants(s) && matches(s, ulids, flow)),
            None => users::of(ulids).any(|s| wants(&s)),
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

    fn port_is_open(&self, port: u16) -> bool {
        let Ports(all) = Ports::read();
        all.is_empty() || all.contains_key(&port)
    }

    fn has_unread(&self, ulids: UlidPair) -> bool {
        users::of(ulids).any(|socket| {
            let _stable = detach::descriptors_are_stable();
            let Some(fd) = table::descriptor(&socket) else { return false };
            sys::readable(fd)
                && (socket.mode() != Mode::Unconnected || peek::any_source(fd, |a| is_of(&socket, ulids, a)))
        })
    }

    fn in_use(&self, ulids: UlidPair) -> bool {
        users::of(ulids).next().is_some()
    }

    fn descriptors(&self, ulids: UlidPair) -> Vec<RawFd> {
        users::of(ulids).filter_map(|socket| table::descriptor(&socket)).collect()
    }

    fn takes_bare(&self, ulids: UlidPair, flow: Option<FlowId>) -> bool {
        let mut sockets: Vec<Pinned> = users::of(ulids).collect();
        if let Some(flow) = flow {
            let more = registry::of_flow(flow).into_iter().filter(|s| matches(s, ulids, flow));
            sockets.extend(more);
        }
        // Raw sockets get nothing bare, and send nothing bare (LS-S-20).
        sockets.retain(|s| !s.has(flag::DONT_SHIM | flag::RAW));
        let ports = Ports::read();
        !sockets.is_empty() && sockets.iter().all(|s| takes_bare(s, &ports))
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

/// Does a datagram from there belong to the pair?
fn is_of(socket: &Socket, ulids: UlidPair, from: &SocketAddrV6) -> bool {
    let mut inner = socket.inner();
    *from.ip() == ulids.peer
        || inner.aliases.get(from).and_then(|p| p.cell.as_ref()).is_some_and(|c| c.ulids() == ulids)
}

/// The kernel's UDP sockets by local port.
struct Ports(HashMap<u16, Vec<String>>);

impl Ports {
    fn read() -> Ports {
        let mut ports: HashMap<u16, Vec<String>> = HashMap::new();
        let table = std::fs::read_to_string("/proc/thread-self/net/udp6").unwrap_or_default();
        for line in table.lines().skip(1) {
            let mut words = line.split_whitespace();
            let port = words.nth(1).and_then(|local| local.rsplit_once(':'));
            let port = port.and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
            if let (Some(port), Some(inode)) = (port, words.nth(7)) {
                ports.entry(port).or_default().push(inode.to_owned());
            }
        }
        Ports(ports)
    }

    /// Is one socket alone on the port, so that nothing can come to another one instead?
    fn is_alone(&self, port: u16) -> bool {
        self.0.get(&port).is_some_and(|inodes| inodes.len() == 1)
    }
}

/// Would a socket get datagrams from any address to any address of the host? A connected one does not, nor does it after
/// connect(AF_UNSPEC), where the kernel goes on to compare sources with the old peer.
fn takes_bare(socket: &Pinned, ports: &Ports) -> bool {
    socket.mode() == Mode::Unconnected
        && socket.inner().local.is_unspecified()
        && local_port(socket).is_some_and(|port| ports.is_alone(port))
}

/// The local port; asked of the kernel while the thread that sent the first datagram has yet to learn it.
fn local_port(socket: &Pinned) -> Option<u16> {
    match socket.local_port.load(Relaxed) as u16 {
        0 => {
            let _stable = detach::descriptors_are_stable();
            let name = table::descriptor(socket).and_then(sys::local_name);
            name.map(|n| n.port()).filter(|port| *port != 0)
        }
        port => Some(port),
    }
}
