//! The engine as application threads reach it.

use super::cell::{Cell, Forward};
use super::send::{self, MIN_MTU};
use super::shared::{Command, Counters, DriverCounters, Shared};
use super::sys;
use crate::addr::{FlowId, LocatorPair, UlidPair};
use std::io;
use std::net::Ipv6Addr;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A running engine. All methods are quick and wait for no other thread; after the end of the engine, or in a forked
/// child, they do nothing.
#[derive(Clone)]
pub struct Handle(pub(super) Arc<Shared>);

impl Handle {
    /// The cell of a ULID pair, made if need be. `None` if the engine takes no more, or is gone.
    pub fn cell(&self, ulids: UlidPair) -> Option<Arc<Cell>> {
        if !self.0.alive() {
            return None;
        }
        let cell = self.0.cell(ulids);
        if cell.is_none() && !self.excludes(&ulids.peer) {
            self.0.command(Command::Sweep);
        }
        // The engine hears of a new cell by its first datagram, which wakes it.
        cell.map(|(cell, _)| cell)
    }

    /// Pairs whose payload goes by other locators than the ULIDs, instances for single sockets excepted.
    pub fn rewritten(&self) -> Vec<(UlidPair, Forward)> {
        let cells = self.0.cells.lock();
        let shared = cells.iter().filter(|(key, cell)| key.fii == 0 && cell.is_rewritten());
        shared.filter_map(|(key, cell)| Some((key.ulids, cell.forward()?))).collect()
    }

    /// Have the engine look at a cell now, for traffic of this flow: after [`Cell::note_sent`] or
    /// [`Cell::note_received`] returned `true`.
    pub fn wake(&self, cell: &Cell, flow: Option<FlowId>) {
        self.command(Command::Look(cell.key(), flow));
    }

    /// May headers be suppressed at all? Then [`Handle::flow_began`] has to be told.
    pub fn suppresses(&self) -> bool {
        self.0.suppress
    }

    /// A flow begins on the pair, with its first datagram or its socket: whether it stays told apart from others decides
    /// on the headers of both. `connected`: it begins with the connect of a socket. `meets`: its ULIDs and ports are the
    /// locators and ports of another flow that goes without header now, so it waits until the peer knows.
    pub fn flow_began(&self, ulids: UlidPair, flow: FlowId, connected: bool, meets: bool) {
        if !self.0.suppress || !self.0.alive() {
            return;
        }
        if meets && let Some((cell, _)) = self.0.cell(ulids) {
            cell.hold(true);
        }
        self.command(Command::Flow(ulids, flow, connected));
    }

    /// The cells whose contexts may own a datagram that came on these locators without extension header.
    pub fn bare(&self, locators: LocatorPair) -> Vec<Arc<Cell>> {
        self.0.bare.get(locators)
    }

    /// Set up a context now, whatever the trigger says; [`Cell::setup`] tells how far it is, [`Cell::wait_setup`] waits.
    pub fn establish(&self, cell: &Cell, flow: Option<FlowId>) {
        cell.ask_setup();
        self.command(Command::Establish(cell.ulids(), flow));
    }

    /// Send an upper-layer packet (header and data, checksum over the ULIDs) behind the payload extension header, in
    /// fragments if it exceeds the path MTU. What the kernel refuses to send by this pair is lost, as on a path, and
    /// told to the engine.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if the send buffer is full ([`Handle::payload_fd`]), ENOBUFS, ENOMEM.
    pub fn send_payload(&self, cell: &Cell, f: &Forward, protocol: u8, packet: &[u8]) -> io::Result<()> {
        self.check_alive()?;
        let s = &self.0;
        let mut mtu = f.mtu;
        let mut result = s.sender.send_payload(f, mtu, protocol, packet);
        for _ in 0..3 {
            match &result {
                Err(e) if e.raw_os_error() == Some(libc::EMSGSIZE) && mtu > MIN_MTU => {
                    // The kernel knows a smaller path MTU by now.
                    let known = send::path_mtu(f.locators).unwrap_or(MIN_MTU);
                    mtu = if known < mtu { known } else { MIN_MTU };
                    s.command(Command::Mtu(f.locators, mtu));
                }
                _ => break,
            }
            result = s.sender.send_payload(f, mtu, protocol, packet);
        }
        self.account(cell, f, result.map(|()| 1)).map(drop)
    }

    /// As [`Handle::send_payload`] for several packets, by one system call where they fit the path MTU. The number that
    /// was sent (or lost), an error only if none was.
    pub fn send_payload_many(
        &self,
        cell: &Cell,
        f: &Forward,
        protocol: u8,
        packets: &[&[u8]],
    ) -> io::Result<usize> {
        self.check_alive()?;
        let fits = |p: &[u8]| p.len() + 48 <= f.mtu as usize;
        let mut done = 0;
        while done < packets.len() {
            let rest = &packets[done..];
            let train = rest.iter().take_while(|p| fits(p)).count();
            let result = if train < 2 {
                self.send_payload(cell, f, protocol, rest[0]).map(|()| 1)
            } else {
                match self.0.sender.send_many(f, protocol, &rest[..train]) {
                    // Too large by now, or another way out is worth a try: one by one.
                    Err(e) if e.raw_os_error() == Some(libc::EMSGSIZE) || send::is_refusal(&e) => {
                        self.send_payload(cell, f, protocol, rest[0]).map(|()| 1)
                    }
                    other => self.account(cell, f, other),
                }
            };
            match result {
                Ok(n) => done += n,
                Err(e) if done == 0 => return Err(e),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    /// A refusal is a loss on the way and evidence against the pair.
    fn account(&self, cell: &Cell, f: &Forward, result: io::Result<usize>) -> io::Result<usize> {
        let counters = &self.0.counters;
        match result {
            Ok(n) => {
                Counters::add(&counters.payload_sent, n as u64);
                Ok(n)
            }
            Err(e) if send::is_refusal(&e) => {
                Counters::add(&counters.payload_refused, 1);
                self.send_refused(cell, f.locators);
                Ok(1)
            }
            Err(e) => Err(e),
        }
    }

    /// The socket that tagged payload goes by, to wait for room in its send buffer; it blocks where a call does not say
    /// MSG_DONTWAIT. `None` after the end of the engine.
    pub fn payload_fd(&self) -> Option<RawFd> {
        self.0.alive().then(|| self.0.sender.payload_fd())
    }

    /// The kernel refused to send on `pair`.
    pub fn send_refused(&self, cell: &Cell, pair: LocatorPair) {
        self.command(Command::Refused(cell.key(), pair));
    }

    /// Is `fd` a descriptor of the driver?
    pub fn is_own_fd(&self, fd: RawFd) -> bool {
        is_own_fd(fd)
    }

    /// The socket for which this engine was started has its peer or port: what came for it meanwhile is read now, not
    /// before. One load after the first time.
    pub fn socket_registered(&self) {
        if self.0.registered.load(Relaxed) || !self.0.alive() {
            return;
        }
        self.0.registered.store(true, Release);
        if let Some(thread) = self.0.thread.lock().as_ref() {
            thread.thread().unpark();
        }
    }

    /// `fd` of a shim socket is about to be closed: take its readiness watch away, which would otherwise live as long
    /// as a duplicate of it does. Costs one load if there is no watch.
    pub fn socket_closing(&self, fd: RawFd) {
        if self.0.alive() {
            self.0.watches.forget(self.0.epoll.raw(), fd);
        }
    }

    /// An address with an identity on the same interface and of the same scope as `local`, which has none; the one
    /// that has the most leading bits in common with it (DESIGN section 8).
    pub fn identity_source_for(&self, local: Ipv6Addr) -> Option<Ipv6Addr> {
        let locators = self.0.locators.read().clone();
        let own = locators.iter().find(|l| l.addr == local)?;
        if own.identity.is_some() {
            return None;
        }
        let unique_local = |a: &Ipv6Addr| a.octets()[0] & 0xfe == 0xfc;
        locators
            .iter()
            .filter(|l| l.ifindex == own.ifindex && l.identity.is_some() && l.operational && !l.deprecated)
            .filter(|l| unique_local(&l.addr) == unique_local(&local))
            .max_by_key(|l| crate::addr::common_prefix_len(&l.addr, &local))
            .map(|l| l.addr)
    }

    /// Does the kernel alone deal with this destination (`shim6.exclude`)?
    pub fn excludes(&self, peer: &Ipv6Addr) -> bool {
        self.0.excludes(peer)
    }

    /// What the driver counted.
    pub fn counters(&self) -> DriverCounters {
        self.0.counters.read()
    }

    /// Is the engine there? `false` after a crash of its thread, after [`Handle::stop`], and in a forked child.
    pub fn is_alive(&self) -> bool {
        self.0.alive()
    }

    /// End the engine thread and wait for it: for tests, and for programs that unload the library.
    pub fn stop(&self) {
        if !self.0.alive() {
            return;
        }
        // The queue may be full, the flag cannot.
        self.0.stopping.store(true, Release);
        self.command(Command::Sweep);
        let thread = self.0.thread.lock().take();
        if let Some(t) = thread {
            let _ = t.join();
        }
    }

    /// Have the engine end soon, and all traffic go without it. Allocates nothing and takes no lock.
    pub fn stop_soon(&self) {
        if self.0.alive() {
            self.0.stopping.store(true, Release);
            sys::notify(self.0.waker.raw());
        }
    }

    /// As [`Handle::stop`], but wait no longer than `limit`.
    pub fn stop_within(&self, limit: Duration) {
        if !self.0.alive() {
            return;
        }
        self.0.stopping.store(true, Release);
        self.command(Command::Sweep);
        let end = Instant::now() + limit;
        loop {
            // Somebody else who ends it holds the lock while he waits.
            let Some(mut thread) = self.0.thread.try_lock() else { return };
            match thread.as_ref().map(JoinHandle::is_finished) {
                Some(true) => return drop(thread.take().map(JoinHandle::join)),
                Some(false) if Instant::now() < end => {}
                _ => return,
            }
            drop(thread);
            sys::wait_a_millisecond();
        }
    }

    pub(super) fn command(&self, command: Command) {
        if self.0.alive() {
            self.0.command(command);
        }
    }

    fn check_alive(&self) -> io::Result<()> {
        if self.0.alive() { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ENETDOWN)) }
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let dead = self.0.dead.load(Acquire);
        let wakeups = self.0.counters.wakeups.load(Relaxed);
        f.debug_struct("Handle").field("dead", &dead).field("wakeups", &wakeups).finish_non_exhaustive()
    }
}

/// Is `fd` a descriptor of any engine of this process? One load for the numbers that applications use.
pub fn is_own_fd(fd: RawFd) -> bool {
    sys::is_own(fd) || super::log::descriptor() == Some(fd)
}

/// In a forked child, before anything else of this crate: closes the copies of the parent's engine descriptors. The
/// parent's [`Handle`] and cells do nothing here any more, and must not be dropped; a new engine may be started.
/// Takes no lock and allocates nothing.
pub fn after_fork_in_child() {
    sys::close_all_after_fork();
    super::log::close_after_fork();
}
