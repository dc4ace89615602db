//! The fd table: a flat two-level array of atomics, descriptor -> [`Socket`].
//!
//! Chunks are allocated at the first tracked descriptor in their range and never freed.

use super::guard;
use super::refs::{self, FD, PIN, Record};
use super::state::Socket;
use libc::c_int;
use std::ops::Deref;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering::*};

const CHUNK: usize = 1024;
const CHUNKS: usize = 1024;

type Chunk = [AtomicPtr<Socket>; CHUNK];

static TABLE: [AtomicPtr<Chunk>; CHUNKS] = [const { AtomicPtr::new(ptr::null_mut()) }; CHUNKS];
/// The process whose descriptors the table describes; a vfork child runs in our memory with a table of its own.
static OWNER: AtomicU32 = AtomicU32::new(0);

#[inline(always)]
fn slot(fd: c_int) -> Option<&'static AtomicPtr<Socket>> {
    let i = fd as usize;
    // A negative descriptor becomes a huge index.
    let chunk = TABLE.get(i / CHUNK)?.load(Acquire);
    // SAFETY: a chunk, once published, lives for ever.
    unsafe { chunk.as_ref() }.map(|c| &c[i % CHUNK])
}

/// The socket behind `fd`, if tracked. It may be closed at any moment: only its atomics mean something.
#[inline(always)]
pub fn peek(fd: c_int) -> Option<&'static Socket> {
    // SAFETY: sockets live in a type-stable pool and are never freed.
    unsafe { slot(fd)?.load(Acquire).as_ref() }
}

/// The socket behind `fd`, kept from being recycled while the result lives.
#[inline]
pub fn pin(fd: c_int) -> Option<Pinned> {
    refs::pin(slot(fd)?).map(Pinned)
}

/// A socket that is not recycled before this is dropped.
#[derive(Debug)]
pub struct Pinned(&'static Socket);

impl Pinned {
    /// Pin `socket`, unless its last descriptor is closed.
    #[inline]
    pub fn new(socket: &'static Socket) -> Option<Pinned> {
        socket.acquire(PIN).then_some(Pinned(socket))
    }

    /// The record itself, which lives for ever, though not always for the same socket.
    pub fn record(&self) -> &'static Socket {
        self.0
    }
}

impl Deref for Pinned {
    type Target = Socket;
    #[inline]
    fn deref(&self) -> &Socket {
        self.0
    }
}

impl Drop for Pinned {
    #[inline]
    fn drop(&mut self) {
        self.0.release(PIN);
    }
}

/// Track a new socket at `fd`; what was there before is forgotten. The socket brings one descriptor reference.
/// Inside `guard::slow` only.
pub fn install(fd: c_int, socket: &'static Socket) {
    debug_assert!(guard::inside());
    own();
    let Some(cell) = usize::try_from(fd).ok().and_then(|i| TABLE.get(i / CHUNK)) else {
        socket.release(FD);
        return;
    };
    if cell.load(Acquire).is_null() {
        let fresh = Box::into_raw(Box::new([const { AtomicPtr::new(ptr::null_mut()) }; CHUNK]));
        if cell.compare_exchange(ptr::null_mut(), fresh, AcqRel, Acquire).is_err() {
            // SAFETY: `fresh` came from `Box::into_raw` and nobody else has seen it.
            drop(unsafe { Box::from_raw(fresh) });
        }
    }
    let Some(slot) = slot(fd) else { return };
    socket.descriptor.store(fd, Relaxed);
    refs::replace(slot, ptr::from_ref(socket).cast_mut());
}

/// Forget what is tracked at `fd`: it is about to be closed, or has become something else. `true` if it was tracked.
pub fn forget(fd: c_int) -> bool {
    slot(fd).is_some_and(|slot| refs::replace(slot, ptr::null_mut()))
}

/// `new` is now a duplicate of `old`.
pub fn duplicate(old: c_int, new: c_int) {
    match pin(old) {
        Some(pinned) if old != new && pinned.acquire(FD) => {
            let socket = pinned.0;
            if guard::slow(|| install(new, socket)).is_none() {
                // A signal handler inside our own code: the duplicate stays unknown, which means plain.
                socket.release(FD);
                forget(new);
            }
        }
        Some(_) => {}
        None => {
            forget(new);
        }
    }
}

/// The descriptors that refer to `socket`, lowest first.
pub fn descriptors(socket: &Socket) -> impl Iterator<Item = c_int> {
    tracked().filter(move |fd| slot(*fd).is_some_and(|s| ptr::eq(s.load(Acquire), socket)))
}

/// One of them, mostly without a search.
pub fn descriptor(socket: &Socket) -> Option<c_int> {
    let last = socket.descriptor.load(Relaxed);
    if refers(last, socket) { Some(last) } else { descriptors(socket).next() }
}

/// Does `fd` refer to `socket`?
pub fn refers(fd: c_int, socket: &Socket) -> bool {
    slot(fd).is_some_and(|s| ptr::eq(s.load(Acquire), socket))
}

/// All tracked descriptors, lowest first.
pub fn tracked() -> impl Iterator<Item = c_int> {
    TABLE.iter().enumerate().filter(|(_, c)| !c.load(Acquire).is_null()).flat_map(|(i, _)| {
        let first = i * CHUNK;
        (first..first + CHUNK).map(|fd| fd as c_int).filter(|fd| peek(*fd).is_some())
    })
}

/// The table describes the calling process from now on.
pub fn own() {
    if OWNER.load(Relaxed) == 0 {
        OWNER.store(super::sys::pid(), Relaxed);
    }
}

/// As [`own`], in a forked child.
pub fn own_again() {
    if super::backend::in_sandbox() {
        return;
    }
    OWNER.store(super::sys::pid(), Relaxed);
}

/// Does the table describe the calling process? Not so in a vfork child, which runs in our memory but closes its own
/// descriptors. One system call; asked where a tracked descriptor is closed or replaced, but not behind a filter of the
/// program's, which may forbid it.
pub fn is_ours() -> bool {
    super::backend::in_sandbox() || OWNER.load(Relaxed) == super::sys::pid()
}
