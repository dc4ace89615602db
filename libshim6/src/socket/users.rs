//! ULID pair -> sockets that use it, for the engine thread, which asks at every timer of a context: what it costs must not
//! grow with the sockets of other pairs.

use super::state::{ForkLock, Mode, Socket, all};
use super::table::Pinned;
use crate::addr::UlidPair;
use std::collections::BTreeSet;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// Pairs, and the addresses of records. The lock of a record may be held while this one is taken, never the other way round.
static LISTED: ForkLock<BTreeSet<(UlidPair, usize)>> = ForkLock::new(BTreeSet::new());
/// After a fork: the list has to be made again from the records.
static STALE: AtomicBool = AtomicBool::new(false);

/// `socket` may use the pair from now on. Inside `guard::slow` only.
pub fn add(socket: &Socket, ulids: UlidPair) {
    LISTED.lock().insert((ulids, ptr::from_ref(socket).expose_provenance()));
}

/// It does so no more.
pub fn remove(socket: &Socket, ulids: UlidPair) {
    LISTED.lock().remove(&(ulids, ptr::from_ref(socket).addr()));
}

/// The open sockets that use the pair: connected over it, or unconnected with traffic on it.
pub fn of(ulids: UlidPair) -> impl Iterator<Item = Pinned> {
    if STALE.swap(false, SeqCst) {
        all().for_each(Socket::list_names);
    }
    let listed: Vec<usize> =
        LISTED.lock().range((ulids, 0)..=(ulids, usize::MAX)).map(|(_, address)| *address).collect();
    // SAFETY: records are never freed.
    let record = |address| unsafe { ptr::with_exposed_provenance::<Socket>(address).as_ref() };
    listed.into_iter().filter_map(record).filter_map(Pinned::new).filter(move |s| uses(s, ulids))
}

fn uses(socket: &Socket, ulids: UlidPair) -> bool {
    let inner = socket.inner();
    match socket.mode() {
        Mode::Plain => false,
        Mode::Connected | Mode::Detached => inner.ulids() == Some(ulids),
        Mode::Unconnected => inner.peers.has(ulids),
    }
}

/// In a forked child.
///
/// # Safety
/// No other thread exists.
pub unsafe fn after_fork() {
    // SAFETY: by the contract above.
    unsafe { LISTED.reset(BTreeSet::new()) };
    STALE.store(true, SeqCst);
}
