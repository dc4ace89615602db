//! The engine as the socket layer uses it: started at the first socket that may need it, never at load time.

use super::host::Sockets;
use super::state::{self, ForkLock};
use super::{detach, guard, leave, registry, table};
use crate::addr::{FlowId, LocatorPair, UlidPair};
use crate::config::Config;
use crate::driver::Handle;
use crate::driver::cell::{Cell, Forward};
use crate::time::Time;
use std::io;
use std::net::Ipv6Addr;
use std::os::fd::RawFd;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering::*};

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
    /// Wait for room in the send buffer of these packets; `false` on timeout.
    fn wait_writable(&self, timeout_ms: i32) -> io::Result<bool>;
    /// A tracked descriptor is about to be closed.
    fn socket_closing(&self, fd: RawFd);
    /// An address with an identity on the same interface and of the same scope as `local`, which has none.
    fn identity_source_for(&self, local: Ipv6Addr) -> Option<Ipv6Addr>;
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
    fn wait_writable(&self, timeout_ms: i32) -> io::Result<bool> {
        self.wait_writable(timeout_ms)
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

/// Has the engine been asked for, so that its settings have been read?
pub fn was_asked_for() -> bool {
    current().is_some() || OFF.load(Acquire)
}

/// The engine, started if need be. `None` if it cannot run here; that is logged once and remembered.
/// Inside `guard::slow` only.
pub fn ensure() -> Option<&'static Running> {
    debug_assert!(guard::inside());
    if let Some(running) = current() {
        return Some(running);
    }
    if OFF.load(Acquire) {
        return None;
    }
    let _lock = START.lock();
    if let Some(running) = current() {
        return Some(running);
    }
    watch_forks();
    match aside(start).flatten() {
        Some(running) => {
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
    let prefer_identity_source = config.prefer_identity_source;
    match crate::driver::start(config.clone(), Arc::new(Sockets)) {
        Ok(handle) => Ok(Running { backend: Box::new(handle), prefer_identity_source }),
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
        // SAFETY: the handlers are plain functions that allocate nothing and take no lock.
        unsafe { libc::pthread_atfork(Some(before_fork), Some(after_fork), Some(after_fork_in_child)) };
    }
}

unsafe extern "C" fn before_fork() {
    guard::mask_fork();
}

unsafe extern "C" fn after_fork() {
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
        detach::after_fork();
        state::after_fork();
    }
    leave::after_fork();
    table::own_again();
    guard::unmask_fork();
}
