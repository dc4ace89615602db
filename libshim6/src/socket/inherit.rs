//! What a forked child takes over of its parent's engine, besides the names of its sockets: where payload goes that does
//! not go by the ULIDs. It holds until the child's engine has contexts of its own.
//!
//! The forking thread makes a copy before the fork, under the locks that this takes; the child only reads it.

use super::state::{self, Mode, Socket};
use super::table::Pinned;
use super::{backend, guard};
use crate::addr::UlidPair;
use crate::driver::cell::Forward;
use std::cell::Cell;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering::*};

/// A copy for one child.
#[derive(Debug, Default)]
struct Copy {
    /// ULID pairs whose payload went elsewhere.
    forwards: Vec<(UlidPair, Forward)>,
    /// Those of them that a cell of the child has taken: a later one begins anew.
    taken: Vec<AtomicBool>,
    /// Peers on these pairs of sockets without peer, and to which of our addresses they talk.
    peers: Vec<(usize, u64, SocketAddrV6, Ipv6Addr)>,
}

thread_local! {
    // Of the thread that forks; `const` and without destructor.
    static COPY: Cell<*mut Copy> = const { Cell::new(ptr::null_mut()) };
}

/// In a child: what it has of its parent.
static INHERITED: AtomicPtr<Copy> = AtomicPtr::new(ptr::null_mut());

fn inherited() -> Option<&'static Copy> {
    // SAFETY: never freed where it is set.
    unsafe { INHERITED.load(Acquire).as_ref() }
}

/// The calling thread is about to fork, and nothing of the shim's is in its hands.
pub fn before_fork() {
    let Some(copy) = guard::quietly(copy).flatten() else { return };
    COPY.set(Box::into_raw(Box::new(copy)));
}

fn copy() -> Option<Copy> {
    let mut forwards = backend::current()?.backend.rewritten();
    if let Some(earlier) = inherited() {
        let new = |pair: &UlidPair| !forwards.iter().any(|(p, _)| p == pair);
        let left = earlier.forwards.iter().zip(&earlier.taken).filter(|(_, taken)| !taken.load(Relaxed));
        let more: Vec<_> = left.map(|(f, _)| *f).filter(|(pair, _)| new(pair)).collect();
        forwards.extend(more);
    }
    if forwards.is_empty() {
        return None;
    }
    let mut peers = inherited().map_or(Vec::new(), |earlier| earlier.peers.clone());
    for socket in state::all().filter_map(Pinned::new).filter(|s| s.mode() == Mode::Unconnected) {
        let (key, cookie) = key(&socket);
        let inner = socket.inner();
        let known = inner.peers.iter().filter(|(_, p)| p.heard);
        let elsewhere = known.filter(|(_, p)| p.cell.as_ref().is_some_and(|c| c.is_rewritten()));
        peers.extend(elsewhere.map(|(addr, p)| (key, cookie, addr, p.local)));
    }
    let taken = forwards.iter().map(|_| AtomicBool::new(false)).collect();
    Some(Copy { forwards, taken, peers })
}

fn key(socket: &Socket) -> (usize, u64) {
    (ptr::from_ref(socket) as usize, socket.cookie.load(Relaxed))
}

/// The fork is done, and this is the parent.
pub fn after_fork() {
    let copy = COPY.replace(ptr::null_mut());
    if !copy.is_null() {
        // SAFETY: from `Box::into_raw`, and nobody else has it.
        drop(unsafe { Box::from_raw(copy) });
    }
}

/// The fork is done, and this is the child. Allocates nothing.
pub fn after_fork_in_child() {
    let copy = COPY.replace(ptr::null_mut());
    if !copy.is_null() {
        INHERITED.store(copy, Release);
    }
}

/// Where the parent's payload between these ULIDs went; told once.
pub fn forward(ulids: UlidPair) -> Option<Forward> {
    let copy = inherited()?;
    let at = copy.forwards.iter().position(|(pair, _)| *pair == ulids)?;
    (!copy.taken.get(at)?.swap(true, Relaxed)).then_some(copy.forwards.get(at)?.1)
}

/// To which of our addresses `peer` talked at this socket in the parent, the last that is known.
pub fn local_of(socket: &Socket, peer: &SocketAddrV6) -> Option<Ipv6Addr> {
    let (key, cookie) = key(socket);
    let same = |addr: &SocketAddrV6| (addr.ip(), addr.port()) == (peer.ip(), peer.port());
    let found =
        inherited()?.peers.iter().rev().find(|(k, c, addr, _)| (*k, *c) == (key, cookie) && same(addr));
    found.map(|(.., local)| *local)
}
