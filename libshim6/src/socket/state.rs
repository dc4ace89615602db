//! What the shim knows about one socket, and the type-stable pool in which these records live.

use super::peers::{Peer, Peers};
use super::recent::{Known, Recent};
use super::refs::{PIN, Record, Refs};
use super::setup::Waiting;
use super::{backend, guard, registry, users};
use crate::addr::{FlowId, LocatorPair, UlidPair};
use crate::driver::cell::{Cell, Forward, Meter};
use crate::driver::udp::UDP;
use std::cell::UnsafeCell;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Ordering::*};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Which calls the shim takes on a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Mode {
    /// None: not eligible, or the engine does not run.
    Plain = 0,
    /// Connected to a servable peer: the kernel socket does the work while locators equal ULIDs.
    Connected = 1,
    /// Without peer: each datagram has its ULID pair.
    Unconnected = 2,
    /// Connected for the application, but the local ULID has left the host: the kernel socket is a wildcard one.
    Detached = 3,
}

const MODE: u32 = 3;

/// Facts about a socket that are read on hot paths; the lowest two bits of the word are the [`Mode`].
pub mod flag {
    /// IPv6 UDP, or a raw IPv6 socket of a protocol that the shim serves.
    pub const ELIGIBLE: u32 = 1 << 2;
    /// A raw socket: datagrams without ports ([`super::Socket::protocol`]).
    pub const RAW: u32 = 1 << 20;
    /// SHIM_DONTSHIM is 1.
    pub const DONT_SHIM: u32 = 1 << 3;
    /// The application asked for IPV6_RECVPKTINFO.
    pub const APP_PKTINFO: u32 = 1 << 4;
    /// IPV6_RECVPKTINFO is on in the kernel because we set it.
    pub const OUR_PKTINFO: u32 = 1 << 5;
    /// shutdown(SHUT_WR) was called.
    pub const SHUT_WR: u32 = 1 << 6;
    /// The application bound the socket to one address.
    pub const APP_BOUND: u32 = 1 << 7;
    /// The cell has to be asked for again (after a fork).
    pub const NO_CELL: u32 = 1 << 8;
    /// The engine was asked for once on behalf of this socket.
    pub const TRIED: u32 = 1 << 10;
    /// The application set UDP_CORK.
    pub const CORK: u32 = 1 << 12;
    /// Data is gathered for a datagram that goes by other locators ([`super::Inner::gathered`]).
    pub const GATHERED: u32 = 1 << 13;
    /// Our packet filter is attached (detached sockets).
    pub const OUR_FILTER: u32 = 1 << 9;
    /// SHIM_DEFERRED_CONTEXT_SETUP is 0.
    pub const NOT_DEFERRED: u32 = 1 << 19;
    /// Bound to an interface (SO_BINDTODEVICE): nothing that is re-injected by `lo` would reach it, so the shim steps
    /// aside. It would be [`ELIGIBLE`] otherwise.
    pub const ON_DEVICE: u32 = 1 << 14;
    /// SHIM_HOT_STANDBY is 1, and the cell counts it.
    pub const HOT: u32 = 1 << 21;
    /// A non-blocking connect waits for its context ([`super::super::setup`]).
    pub const WAITING: u32 = 1 << 22;
    /// IPV6_FLOWINFO is on in the kernel because we set it.
    pub const OUR_FLOWINFO: u32 = 1 << 23;
    /// The application asked for IPV6_FLOWINFO.
    pub const APP_FLOWINFO: u32 = 1 << 24;
    /// SHIM_LOC_LOCAL_RECV is 1, by the level of the draft.
    pub const LOCAL_RECV_D08: u32 = 1 << 25;
    /// The same by that of RFC 6316.
    pub const LOCAL_RECV_R6316: u32 = 1 << 26;
    /// SHIM_LOC_PEER_RECV is 1, by the level of the draft.
    pub const PEER_RECV_D08: u32 = 1 << 27;
    /// The same by that of RFC 6316.
    pub const PEER_RECV_R6316: u32 = 1 << 28;
    /// Copies of what it sends are kept (SHIM_RESEND).
    pub const RESEND: u32 = 1 << 29;
    /// SHIM_LOC_LOCAL_RECV is 1.
    pub const LOCAL_RECV: u32 = LOCAL_RECV_D08 | LOCAL_RECV_R6316;
    /// SHIM_LOC_PEER_RECV is 1.
    pub const PEER_RECV: u32 = PEER_RECV_D08 | PEER_RECV_R6316;
    /// With one of these, sending from a connected socket takes more than counting on a healthy path.
    pub const SENDING: u32 = DONT_SHIM | GATHERED | NOT_DEFERRED | WAITING;
    /// The application wants to be told something of each datagram that the shim knows better than the kernel.
    pub const TOLD: u32 = LOCAL_RECV | PEER_RECV | OUR_FLOWINFO | APP_FLOWINFO;
    /// Received ancillary data is looked at, on a connected socket too.
    pub const LOOKED_AT: u32 = TOLD | OUR_PKTINFO;
}

/// The record of one socket; all duplicates of a descriptor share it.
#[derive(Debug)]
pub struct Socket {
    refs: Refs,
    flags: AtomicU32,
    cell: AtomicPtr<Cell>,
    /// That of the cell.
    meter: AtomicPtr<Meter>,
    /// The one that came last ([`super::table::descriptor`]).
    pub descriptor: AtomicI32,
    /// 0 until known. The kernel gives a raw socket the number of its protocol.
    pub local_port: AtomicU32,
    /// Next header of what a raw socket sends; 0 for UDP.
    raw_protocol: AtomicU32,
    /// Segment size set by the application with UDP_SEGMENT; 0: none.
    pub segment: AtomicU32,
    /// Traffic class and hop limit set by the application (`ops::marking`).
    pub marking: AtomicU32,
    /// The kernel's name for the socket; a descriptor that shows another one was replaced behind our back.
    pub cookie: AtomicU64,
    /// Of `Inner::peers`.
    pub recent: Recent,
    inner: ForkLock<Inner>,
    /// In the list of all records; set once.
    next: AtomicPtr<Socket>,
    next_dead: AtomicPtr<Socket>,
}

/// The part under the lock.
#[derive(Debug)]
pub struct Inner {
    /// The local ULID of a connected socket, the address that the application bound, or `::`.
    pub local: Ipv6Addr,
    /// The peer of a connected socket.
    pub peer: Option<SocketAddrV6>,
    /// Where the parent's payload went when it forked us.
    pub inherited: Option<(UlidPair, Forward)>,
    /// The pair under which [`users`] lists a connected one.
    listed: Option<UlidPair>,
    /// The peers of an unconnected one.
    pub peers: Peers,
    /// Where datagrams without extension header come from, each with the cell of its ULIDs; `local` is our locator.
    pub aliases: Peers,
    /// The cells that [`Socket::cell`] pointed to and that a thread may still look at.
    retired: Vec<Arc<Cell>>,
    /// What a connect that waits for its context has changed ([`super::setup`]).
    pub waiting: Option<Waiting>,
    /// What MSG_MORE and UDP_CORK hold back, where the kernel cannot do it for us.
    pub gathered: Vec<u8>,
}

impl Inner {
    fn new() -> Self {
        Inner {
            local: Ipv6Addr::UNSPECIFIED,
            peer: None,
            inherited: None,
            listed: None,
            peers: Peers::new(),
            aliases: Peers::new(),
            retired: Vec::new(),
            waiting: None,
            gathered: Vec::new(),
        }
    }

    /// The ULID pair of a connected socket.
    pub fn ulids(&self) -> Option<UlidPair> {
        self.peer.map(|peer| UlidPair { local: self.local, peer: *peer.ip() })
    }
}

/// A mutex that a forked child can take over without knowing who held it.
#[derive(Debug)]
pub struct ForkLock<T>(UnsafeCell<Mutex<T>>);

// SAFETY: all access but `reset` goes through the mutex; `reset` runs where the process has one thread.
unsafe impl<T: Send> Sync for ForkLock<T> {}

impl<T> ForkLock<T> {
    /// An unlocked one.
    pub const fn new(value: T) -> Self {
        ForkLock(UnsafeCell::new(Mutex::new(value)))
    }

    /// Lock it; inside `guard::slow` or on the engine thread only.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        // SAFETY: shared access, see the `Sync` implementation.
        unsafe { &*self.0.get() }.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Make it unlocked with a new value; the old one is leaked, because it may have been in the middle of a change.
    ///
    /// # Safety
    /// No other thread exists, and this one does not hold the lock.
    pub unsafe fn reset(&self, value: T) {
        // SAFETY: exclusive by the contract above.
        unsafe { ptr::write(self.0.get(), Mutex::new(value)) };
    }

    /// Look at the value past the lock.
    ///
    /// # Safety
    /// No other thread exists. The value may have been in the middle of a change.
    unsafe fn torn<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        // SAFETY: exclusive by the contract above.
        let mutex = unsafe { &mut *self.0.get() };
        f(ptr::from_ref(mutex.get_mut().unwrap_or_else(PoisonError::into_inner)))
    }
}

static ALL: AtomicPtr<Socket> = AtomicPtr::new(ptr::null_mut());
static DEAD: AtomicPtr<Socket> = AtomicPtr::new(ptr::null_mut());
static FREE: ForkLock<Vec<&'static Socket>> = ForkLock::new(Vec::new());

impl Socket {
    /// A record with one descriptor reference. Inside `guard::slow` only.
    pub fn create(flags: u32) -> &'static Socket {
        sweep();
        let socket = FREE.lock().pop().unwrap_or_else(|| {
            let socket: &'static Socket = Box::leak(Box::new(Socket {
                refs: Refs::new(),
                flags: AtomicU32::new(0),
                cell: AtomicPtr::new(ptr::null_mut()),
                meter: AtomicPtr::new(ptr::null_mut()),
                descriptor: AtomicI32::new(-1),
                local_port: AtomicU32::new(0),
                raw_protocol: AtomicU32::new(0),
                segment: AtomicU32::new(0),
                marking: AtomicU32::new(0),
                cookie: AtomicU64::new(0),
                recent: Recent::new(),
                inner: ForkLock::new(Inner::new()),
                next: AtomicPtr::new(ptr::null_mut()),
                next_dead: AtomicPtr::new(ptr::null_mut()),
            }));
            push(&ALL, socket, |s| &s.next);
            socket
        });
        socket.flags.store(flags, Release);
        socket.refs.begin();
        socket
    }

    /// Add a reference unless no descriptor is left.
    #[inline]
    pub fn acquire(&self, what: u64) -> bool {
        self.refs.acquire(what)
    }

    /// Has it a descriptor?
    pub fn is_open(&self) -> bool {
        self.refs.is_open()
    }

    /// The mode.
    #[inline]
    pub fn mode(&self) -> Mode {
        match self.flags.load(Acquire) & MODE {
            1 => Mode::Connected,
            2 => Mode::Unconnected,
            3 => Mode::Detached,
            _ => Mode::Plain,
        }
    }

    /// Change the mode.
    pub fn set_mode(&self, mode: Mode) {
        let set = |f: u32| Some(f & !MODE | mode as u32);
        // Never fails: the closure always gives a value.
        let _ = self.flags.fetch_update(SeqCst, SeqCst, set);
    }

    /// Is this flag set?
    #[inline]
    pub fn has(&self, flag: u32) -> bool {
        self.flags.load(Acquire) & flag != 0
    }

    /// Set or clear a flag.
    pub fn set(&self, flag: u32, on: bool) {
        if on {
            self.flags.fetch_or(flag, SeqCst);
        } else {
            self.flags.fetch_and(!flag, SeqCst);
        }
    }

    /// It is a raw socket of this protocol. Before it is installed in the table.
    pub fn set_raw(&self, protocol: u8) {
        self.raw_protocol.store(protocol.into(), Relaxed);
        self.set(flag::RAW, true);
    }

    /// Next header of its datagrams.
    pub fn protocol(&self) -> u8 {
        if self.has(flag::RAW) { self.raw_protocol.load(Relaxed) as u8 } else { UDP }
    }

    /// Its flow with a peer at this port.
    pub fn flow(&self, peer_port: u16) -> FlowId {
        match self.protocol() {
            UDP => FlowId { protocol: UDP, local_port: self.local_port.load(Relaxed) as u16, peer_port },
            protocol => FlowId { protocol, local_port: 0, peer_port: 0 },
        }
    }

    /// The meter of a connected socket with a cell and none of these flags; it needs no pin.
    #[inline(always)]
    pub fn connected_meter(&self, without: u32) -> Option<&'static Meter> {
        if !self.is(Mode::Connected, without) {
            return None;
        }
        // SAFETY: meters are never freed.
        unsafe { self.meter.load(Acquire).as_ref() }
    }

    /// Is the mode this one, and none of these flags set?
    #[inline(always)]
    pub fn is(&self, mode: Mode, without: u32) -> bool {
        self.flags.load(Acquire) & (MODE | without) == mode as u32
    }

    /// The cell of a connected socket. Only for a pinned record: it lives as long as the pin.
    #[inline]
    pub fn cell(&self) -> Option<&Cell> {
        // SAFETY: the pointer came from `Arc::into_raw`; the count is given back only where no other thread has the
        // record pinned (`set_cell`) or nobody at all (`sweep`).
        unsafe { self.cell.load(SeqCst).as_ref() }
    }

    /// The same, for longer.
    pub fn cell_arc(&self) -> Option<Arc<Cell>> {
        let cell = ptr::from_ref(self.cell()?);
        // SAFETY: the pointer came from `Arc::into_raw`, and the count is above 0 as in `cell`.
        unsafe {
            Arc::increment_strong_count(cell);
            Some(Arc::from_raw(cell))
        }
    }

    /// Change the cell; the new one knows of this socket already. The caller has the record pinned, once.
    pub fn set_cell(&self, cell: Option<Arc<Cell>>) {
        let meter = cell.as_ref().map_or(ptr::null(), |c| ptr::from_ref(c.meter()));
        let new = cell.map_or(ptr::null_mut(), |c| Arc::into_raw(c).cast_mut());
        self.meter.store(meter.cast_mut(), SeqCst);
        let old = self.cell.swap(new, SeqCst);
        let mut inner = self.inner();
        if !old.is_null() {
            // SAFETY: the pointer came from `Arc::into_raw` and was taken out just now.
            inner.retired.push(unsafe { Arc::from_raw(old) });
        }
        // Whoever pins the record from now on sees the new pointer.
        if self.refs.pins() <= PIN {
            inner.retired.clear();
        }
    }

    /// The part under the lock; inside `guard::slow` or on the engine thread only.
    pub fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    /// What is known about a peer of an unconnected socket. Inside `guard::slow` only.
    pub fn peer(&self, addr: &SocketAddrV6) -> Option<Peer> {
        let mut inner = self.inner();
        let peer = inner.peers.get(addr)?.clone();
        self.remember(addr, &peer, &inner);
        Some(peer)
    }

    /// Remember a peer of an unconnected socket. Inside `guard::slow` only.
    pub fn set_peer(&self, addr: &SocketAddrV6, peer: Peer) {
        let mut inner = self.inner();
        self.recent.detours.forget(addr);
        self.remember(addr, &peer, &inner);
        let change = inner.peers.set(addr, peer);
        if let Some(ulids) = change.ended.filter(|ended| inner.listed != Some(*ended)) {
            users::remove(self, ulids);
        }
        if let Some(ulids) = change.began {
            users::add(self, ulids);
        }
        if let Some(oldest) = change.dropped {
            self.recent.forget(&oldest);
        }
    }

    /// A socket got a peer, or lost it: bring the list of [`users`] up to date. Inside `guard::slow` or on the engine thread
    /// only.
    pub fn list_names(&self) {
        let mut inner = self.inner();
        let now = inner.ulids();
        let old = std::mem::replace(&mut inner.listed, now);
        if let Some(ulids) = old.filter(|old| now != Some(*old) && !inner.peers.has(*old)) {
            users::remove(self, ulids);
        }
        if let Some(ulids) = now {
            users::add(self, ulids);
        }
    }

    fn remember(&self, addr: &SocketAddrV6, peer: &Peer, inner: &Inner) {
        match &peer.cell {
            Some(cell) => {
                let unbound = inner.local.is_unspecified();
                let known = Known { local: peer.local, heard: peer.heard, unbound, meter: cell.meter() };
                self.recent.set(addr, known);
            }
            None => self.recent.forget(addr),
        }
    }

    /// Datagrams to that ULID and port were found to go without extension header since `epoch`. Inside `guard::slow` only.
    pub fn remember_outgoing(&self, epoch: u64, to: &SocketAddrV6, locators: LocatorPair, cell: &Cell) {
        let _lock = self.inner();
        self.recent.detours.set_outgoing(epoch, to, locators, cell.meter());
    }

    /// Datagrams from that locator and port to our address `to` were found to be the cell's since `epoch`. Inside
    /// `guard::slow` only.
    pub fn remember_incoming(
        &self,
        epoch: u64,
        from: &SocketAddrV6,
        to: Ipv6Addr,
        ulids: UlidPair,
        cell: &Cell,
    ) {
        let _lock = self.inner();
        self.recent.detours.set_incoming(epoch, from, to, ulids, cell.meter());
    }

    /// Forget all peers of an unconnected socket. Inside `guard::slow` only.
    pub fn forget_peers(&self) {
        let mut inner = self.inner();
        self.recent.clear();
        let others = inner.peers.pairs().filter(|ulids| inner.listed != Some(*ulids));
        others.for_each(|ulids| users::remove(self, ulids));
        inner.peers.clear();
        inner.aliases.clear();
    }

    /// Leave the cell, with everything that was set for it (API-GEN-17). The caller has the record pinned, once.
    pub fn leave_cell(&self) {
        if let Some(cell) = self.cell_arc() {
            self.part_from(&cell);
            self.set_cell(None);
        }
    }

    /// The cell is told that the socket has left it.
    fn part_from(&self, cell: &Cell) {
        let Some(running) = backend::current() else { return };
        if self.has(flag::HOT) {
            self.set(flag::HOT, false);
            running.backend.set_hot_standby(cell, false);
        }
        running.backend.detach(cell);
    }

    /// In a forked child: keep the names, drop everything that belongs to the parent's engine. Allocates nothing.
    ///
    /// # Safety
    /// No other thread exists.
    unsafe fn after_fork(&self) {
        // SAFETY: the parent's cells are never freed in the child.
        let cell = unsafe { self.cell.swap(ptr::null_mut(), SeqCst).as_ref() };
        self.meter.store(ptr::null_mut(), SeqCst);
        self.set(flag::NO_CELL, cell.is_some());
        self.recent.clear();
        // The parent's engine has them.
        self.set(flag::HOT | flag::WAITING, false);
        // Threads of the parent that had the record pinned do not exist here.
        self.refs.forget_pins();
        let mut fresh = Inner::new();
        fresh.inherited = cell.and_then(|cell| Some((cell.ulids(), cell.forward_after_fork()?)));
        // SAFETY: one thread; `local` and `peer` are plain values.
        unsafe {
            self.inner.torn(|old| {
                fresh.local = (*old).local;
                fresh.peer = (*old).peer;
            });
            self.inner.reset(fresh);
        }
    }
}

impl Record for Socket {
    fn refs(&self) -> &Refs {
        &self.refs
    }

    /// The last reference makes the record ready for recycling.
    #[inline]
    fn release(&'static self, what: u64) {
        if self.refs.release(what) {
            push(&DEAD, self, |s| &s.next_dead);
            guard::slow(sweep);
        }
    }
}

/// All records that have a descriptor.
pub fn all() -> impl Iterator<Item = &'static Socket> {
    // SAFETY: records are never freed.
    let record = |p: &AtomicPtr<Socket>| unsafe { p.load(Acquire).as_ref::<'static>() };
    std::iter::successors(record(&ALL), move |s| record(&s.next)).filter(|s| s.is_open())
}

/// In a forked child: see [`Socket::after_fork`].
///
/// # Safety
/// No other thread exists.
pub unsafe fn after_fork() {
    // SAFETY: by the contract above.
    unsafe {
        FREE.reset(Vec::new());
        // A record without descriptor is lost here, a few hundred octets.
        DEAD.store(ptr::null_mut(), SeqCst);
        for socket in all() {
            socket.after_fork();
        }
    }
}

fn push(list: &AtomicPtr<Socket>, socket: &'static Socket, link: impl Fn(&Socket) -> &AtomicPtr<Socket>) {
    let node = ptr::from_ref(socket).cast_mut();
    let mut head = list.load(Acquire);
    loop {
        link(socket).store(head, Release);
        match list.compare_exchange_weak(head, node, AcqRel, Acquire) {
            Ok(_) => return,
            Err(now) => head = now,
        }
    }
}

/// Clear the records whose last reference is gone and make them available. Inside `guard::slow` only.
pub fn sweep() {
    let mut next = DEAD.swap(ptr::null_mut(), AcqRel);
    // SAFETY: records are never freed; those on this list belong to us alone.
    while let Some(socket) = unsafe { next.as_ref() } {
        next = socket.next_dead.load(Acquire);
        registry::remove(socket);
        socket.meter.store(ptr::null_mut(), SeqCst);
        let cell = socket.cell.swap(ptr::null_mut(), SeqCst);
        if !cell.is_null() {
            // SAFETY: the pointer came from `Arc::into_raw`; no thread has the record pinned.
            let cell = unsafe { Arc::from_raw(cell) };
            socket.part_from(&cell);
        }
        socket.forget_peers();
        socket.inner().peer = None;
        socket.list_names();
        *socket.inner() = Inner::new();
        for field in [&socket.local_port, &socket.raw_protocol, &socket.segment, &socket.marking] {
            field.store(0, Release);
        }
        socket.flags.store(0, Release);
        socket.cookie.store(0, Release);
        FREE.lock().push(socket);
    }
}
