//! The engine as the socket layer uses it: started at the first socket that may need it, never at load time.

use super::host::Sockets;
use super::state::{self, ForkLock};
use super::{detach, guard, inherit, leave, memory, options, real, registry, stack, sys, table, users};
use crate::addr::{FlowId, LocatorPair, UlidPair};
use crate::config::{Config, ReapConfig};
use crate::driver::cell::{Cell, Forward};
use crate::driver::{Arrival, Configured, Handle, reserve};
use crate::engine::{Feedback, LocatorError, Settings};
use crate::time::Time;
use std::io;
use std::net::Ipv6Addr;
use std::os::fd::RawFd;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering::*};
use std::time::Duration;

/// What the socket layer asks of the engine; `driver::Handle` in production.
pub trait Backend: Send + Sync {
    /// The cell of a ULID pair; `None` if the engine takes no more.
    fn cell(&self, ulids: UlidPair) -> Option<Arc<Cell>>;
    /// The cell asked to have the engine woken, for traffic of this flow.
    fn wake(&self, cell: &Cell, flow: Option<FlowId>);
    /// Send an upper-layer packet behind the payload extension header.
    fn send_payload(&self, cell: &Cell, forward: &Forward, protocol: u8, packet: &[u8]) -> io::Result<()>;
    /// As `send_payload`, for several; the number that was sent, an error only if none was.
    fn send_payload_many(
        &self,
        cell: &Cell,
        forward: &Forward,
        protocol: u8,
        packets: &[&[u8]],
    ) -> io::Result<usize>;
    /// The kernel refused to send on these locators.
    fn send_refused(&self, cell: &Cell, locators: LocatorPair);
    /// The socket that these packets go by, to wait for room in its send buffer.
    fn payload_fd(&self) -> Option<RawFd>;
    /// The socket for which the engine was started can be found by the engine now.
    fn socket_registered(&self) {}
    /// A tracked descriptor is about to be closed.
    fn socket_closing(&self, fd: RawFd);
    /// An address with an identity on the same interface and of the same scope as `local`, which has none.
    fn identity_source_for(&self, local: Ipv6Addr) -> Option<Ipv6Addr>;
    /// Does the kernel alone deal with this destination?
    fn excludes(&self, _peer: &Ipv6Addr) -> bool {
        false
    }
    /// End, and wait for that, but not longer than this.
    fn end(&self, _limit: Duration) {}
    /// End soon; called where nothing may be allocated or locked.
    fn end_soon(&self) {}
    /// A socket sends by the cell from now on.
    fn attach(&self, cell: &Cell);
    /// It does so no more.
    fn detach(&self, cell: &Cell);
    /// Change the settings of an attached socket's context, or fork one for it.
    fn configure(
        &self,
        cell: &Arc<Cell>,
        flow: Option<FlowId>,
        change: &mut dyn FnMut(&mut Settings),
    ) -> Configured;
    /// A context of its own for one socket; that is attached to it.
    fn fork(&self, cell: &Cell, settings: Settings, flow: Option<FlowId>) -> Option<Arc<Cell>>;
    /// Hot standby for one more or one fewer socket.
    fn set_hot_standby(&self, cell: &Cell, on: bool);
    /// Test whether a locator of the peer can be reached.
    fn probe_peer(&self, cell: &Cell, addr: Ipv6Addr);
    /// What an application says about the path.
    fn feedback(&self, cell: &Cell, feedback: Feedback);
    /// Set up a context now.
    fn establish(&self, cell: &Cell, flow: Option<FlowId>);
    /// Nobody wants the setup under way any more.
    fn abandon_setup(&self, cell: &Cell);
    /// Where a datagram with locators of its own goes; `None`: between the ULIDs.
    fn forward_for(
        &self,
        cell: &Cell,
        local: Option<Ipv6Addr>,
        peer: Option<Ipv6Addr>,
    ) -> Result<Option<Forward>, LocatorError>;
    /// By which pair a datagram came with this flow information and interface; `None`: between the ULIDs.
    fn arrival(&self, flowinfo: u32, ifindex: u32) -> Option<Arrival>;
    /// Pairs whose payload goes by other locators than the ULIDs.
    fn rewritten(&self) -> Vec<(UlidPair, Forward)> {
        Vec::new()
    }
    /// May payload extension headers be suppressed at all?
    fn suppresses(&self) -> bool {
        false
    }
    /// A flow begins, or a socket is connected: told where headers may be suppressed.
    fn flow_began(&self, _ulids: UlidPair, _flow: FlowId, _connected: bool, _meets: bool) {}
    /// The cells that may own a datagram which came on these locators without extension header.
    fn bare(&self, _locators: LocatorPair) -> Vec<Arc<Cell>> {
        Vec::new()
    }
}

impl Backend for Handle {
    fn cell(&self, ulids: UlidPair) -> Option<Arc<Cell>> {
        self.cell(ulids)
    }
    fn wake(&self, cell: &Cell, flow: Option<FlowId>) {
        self.wake(cell, flow);
    }
    fn send_payload(&self, cell: &Cell, forward: &Forward, protocol: u8, packet: &[u8]) -> io::Result<()> {
        self.send_payload(cell, forward, protocol, packet)
    }
    fn send_payload_many(
        &self,
        cell: &Cell,
        forward: &Forward,
        protocol: u8,
        packets: &[&[u8]],
    ) -> io::Result<usize> {
        self.send_payload_many(cell, forward, protocol, packets)
    }
    fn end_soon(&self) {
        self.stop_soon();
    }
    fn payload_fd(&self) -> Option<RawFd> {
        self.payload_fd()
    }
    fn socket_registered(&self) {
        self.socket_registered();
    }
    fn socket_closing(&self, fd: RawFd) {
        self.socket_closing(fd);
    }
    fn send_refused(&self, cell: &Cell, locators: LocatorPair) {
        self.send_refused(cell, locators);
    }
    fn identity_source_for(&self, local: Ipv6Addr) -> Option<Ipv6Addr> {
        self.identity_source_for(local)
    }
    fn excludes(&self, peer: &Ipv6Addr) -> bool {
        self.excludes(peer)
    }
    fn end(&self, limit: Duration) {
        self.stop_within(limit);
    }
    fn attach(&self, cell: &Cell) {
        self.attach(cell);
    }
    fn detach(&self, cell: &Cell) {
        self.detach(cell);
    }
    fn configure(
        &self,
        cell: &Arc<Cell>,
        flow: Option<FlowId>,
        change: &mut dyn FnMut(&mut Settings),
    ) -> Configured {
        self.configure(cell, flow, change)
    }
    fn fork(&self, cell: &Cell, settings: Settings, flow: Option<FlowId>) -> Option<Arc<Cell>> {
        self.fork(cell, settings, flow)
    }
    fn set_hot_standby(&self, cell: &Cell, on: bool) {
        self.set_hot_standby(cell, on);
    }
    fn probe_peer(&self, cell: &Cell, addr: Ipv6Addr) {
        self.probe_peer(cell, addr);
    }
    fn feedback(&self, cell: &Cell, feedback: Feedback) {
        self.feedback(cell, feedback);
    }
    fn establish(&self, cell: &Cell, flow: Option<FlowId>) {
        self.establish(cell, flow);
    }
    fn abandon_setup(&self, cell: &Cell) {
        self.abandon_setup(cell);
    }
    fn forward_for(
        &self,
        cell: &Cell,
        local: Option<Ipv6Addr>,
        peer: Option<Ipv6Addr>,
    ) -> Result<Option<Forward>, LocatorError> {
        self.forward_for(cell, local, peer)
    }
    fn arrival(&self, flowinfo: u32, ifindex: u32) -> Option<Arrival> {
        self.arrival(flowinfo, ifindex)
    }
    fn rewritten(&self) -> Vec<(UlidPair, Forward)> {
        self.rewritten()
    }
    fn suppresses(&self) -> bool {
        self.suppresses()
    }
    fn flow_began(&self, ulids: UlidPair, flow: FlowId, connected: bool, meets: bool) {
        self.flow_began(ulids, flow, connected, meets);
    }
    fn bare(&self, locators: LocatorPair) -> Vec<Arc<Cell>> {
        self.bare(locators)
    }
}

/// A running engine and the settings that sockets need.
pub struct Running {
    /// The engine.
    pub backend: Box<dyn Backend>,
    /// DESIGN section 8.
    pub prefer_identity_source: bool,
    /// How long a connect waits for a context that is not deferred (API-DEF-11).
    pub setup_wait: Duration,
    /// The defaults of SHIM_PATHEXPLORE.
    pub reap: ReapConfig,
}

/// The name of the threads of the shim.
pub(super) const THREAD: &str = "shim6";

static RUNNING: AtomicPtr<Running> = AtomicPtr::new(ptr::null_mut());
/// Do not try (again): it could not start, or is not wanted.
static OFF: AtomicBool = AtomicBool::new(false);
static START: ForkLock<()> = ForkLock::new(());
static FORK_HANDLER: AtomicBool = AtomicBool::new(false);

/// The engine, if it runs.
#[inline]
pub fn current() -> Option<&'static Running> {
    // SAFETY: a running engine is never freed.
    unsafe { RUNNING.load(Acquire).as_ref() }
}

static SANDBOX: AtomicBool = AtomicBool::new(false);

/// The program has a seccomp filter from now on. It may kill what asks for more than the program does, so no engine starts
/// behind it and no socket becomes one of the shim's; those that are go on.
pub fn enters_sandbox() {
    memory::ask_no_more();
    SANDBOX.store(true, Release);
}

/// Has the program a seccomp filter?
pub(super) fn in_sandbox() -> bool {
    SANDBOX.load(Acquire)
}

/// Has the engine been asked for, so that its settings have been read?
pub fn was_asked_for() -> bool {
    current().is_some() || OFF.load(Acquire)
}

/// Octets that a process must be able to have for an engine: its thread's stack, its buffers, and some contexts.
const ROOM_TO_RUN: usize = 16 << 20;
/// Octets to find out with, in a thread, whether there is to be one, and to say why not.
const ROOM_TO_START: usize = 4 << 20;

/// The engine, started if need be. `None` if it cannot run here; that is logged once and remembered.
/// Inside `guard::slow` only.
pub fn ensure() -> Option<&'static Running> {
    debug_assert!(guard::inside());
    if let Some(running) = current() {
        return Some(running);
    }
    if OFF.load(Acquire) || in_sandbox() || reserve::is_short() {
        return None;
    }
    stack::with_room(first).flatten()
}

/// The heap of the shim got no memory: the engine ends, and the program goes on without it. Where there is memory for that
/// ([`reserve::OCTETS`]); it stays there. Allocates nothing and takes no lock.
#[cold]
pub fn memory_is_short() -> Option<usize> {
    reserve::note_short();
    if let Some(running) = current() {
        running.backend.end_soon();
    }
    reserve::at()
}

/// No engine was there a moment ago.
#[cold]
fn first() -> Option<&'static Running> {
    let _lock = START.lock();
    if let Some(running) = current() {
        return Some(running);
    }
    watch_forks();
    guard::redirect_panics();
    real::decide_on_direct_calls();
    let started = if sys::room(ROOM_TO_START) { aside(start).flatten() } else { None };
    match started {
        Some(running) => {
            reserve::set_aside();
            install(running);
            leave::engine_started();
            current()
        }
        None => {
            OFF.store(true, Release);
            None
        }
    }
}

/// Run `f` in a thread of our own and wait for it: the application's thread may have a stack of few pages. `None` if
/// there can be no thread, or if `f` panics.
#[allow(clippy::disallowed_types)] // A thread to wait for, no engine.
fn aside<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let work = || {
        guard::mark_own_thread();
        f()
    };
    let thread = std::thread::Builder::new().name(THREAD.into()).stack_size(1 << 20);
    without_signals(|| thread.spawn(work)).ok()?.join().ok()
}

/// Run `f` in a thread of our own and do not wait for it. `false`: there can be no thread.
#[allow(clippy::disallowed_types)] // A thread that waits for the engine, no engine.
pub(super) fn background(f: impl FnOnce() + Send + 'static) -> bool {
    let work = || {
        guard::mark_own_thread();
        f();
    };
    let thread = std::thread::Builder::new().name(THREAD.into()).stack_size(1 << 18);
    without_signals(|| thread.spawn(work)).is_ok()
}

/// Make `running` the engine of this process.
pub(super) fn install(running: Running) {
    RUNNING.store(Box::into_raw(Box::new(running)), Release);
}

/// Start the engine, or say in the log why it does not run.
fn start() -> Option<Running> {
    let tried = try_start();
    if let Err((config, why)) = &tried {
        let message = format!("Shim6 is off in this process: {why}");
        crate::driver::log::with_log(config, || tracing::warn!("{message}"));
    }
    tried.ok()
}

/// Start the engine with the configuration of this process; on failure the reason, and the configuration for the log.
fn try_start() -> Result<Running, (Box<Config>, String)> {
    let config = match Config::load() {
        Ok(config) => config,
        Err(e) => {
            let filter = std::env::var("SHIM6_LOG").ok();
            return Err((Box::new(Config { log_filter: filter, ..Config::default() }), e.to_string()));
        }
    };
    if !config.enabled {
        return Err((Box::new(config), "the configuration says so".into()));
    }
    if !sys::room(ROOM_TO_RUN) {
        return Err((Box::new(config), "the memory that this process may have is too little".into()));
    }
    match crate::driver::start(config.clone(), Arc::new(Sockets)) {
        Ok(handle) => Ok(Running {
            backend: Box::new(handle),
            prefer_identity_source: config.prefer_identity_source,
            setup_wait: config.setup_wait,
            reap: config.reap,
        }),
        Err(e) => Err((Box::new(config), e.to_string())),
    }
}

/// The engine's clock; no system call.
pub fn now() -> Time {
    crate::driver::clock::now()
}

pub(super) fn without_signals<T>(f: impl FnOnce() -> T) -> T {
    // SAFETY: all zero is a valid signal set, and all three pointers are to locals.
    let old = unsafe {
        let (mut all, mut old): (libc::sigset_t, libc::sigset_t) = (std::mem::zeroed(), std::mem::zeroed());
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut old);
        old
    };
    let result = f();
    // SAFETY: `old` is what the call above wrote.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const old, ptr::null_mut()) };
    result
}

/// Have forked children keep their sockets and forget the parent's engine. May be called again.
pub fn watch_forks() {
    if !FORK_HANDLER.swap(true, AcqRel) {
        // SAFETY: plain functions. The one before the fork takes locks, each for a moment, and allocates while no heap is
        // locked for the fork yet; the others do neither.
        unsafe { libc::pthread_atfork(Some(before_fork), Some(after_fork), Some(after_fork_in_child)) };
    }
}

unsafe extern "C" fn before_fork() {
    guard::mask_fork();
    inherit::before_fork();
}

unsafe extern "C" fn after_fork() {
    inherit::after_fork();
    guard::unmask_fork();
}

/// The child keeps the sockets, but the engine thread does not exist in it: cells are dropped, and an engine of the
/// child's own starts when a socket needs it (API-GEN-16).
unsafe extern "C" fn after_fork_in_child() {
    crate::driver::after_fork_in_child();
    // Forgets the handle without dropping it, as the driver asks.
    RUNNING.store(ptr::null_mut(), Release);
    // SAFETY: fork leaves one thread in the child. A lock that this thread itself holds while it forks would be a
    // fork inside `guard::slow`, where no application code runs.
    unsafe {
        START.reset(());
        registry::after_fork();
        users::after_fork();
        detach::after_fork();
        options::after_fork();
        state::after_fork();
    }
    inherit::after_fork_in_child();
    leave::after_fork();
    table::own_again();
    guard::unmask_fork();
}
