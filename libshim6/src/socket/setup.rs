//! SHIM_DEFERRED_CONTEXT_SETUP 0: connects and first datagrams that wait for their context (API-DEF).
//!
//! A non-blocking connect has to come back at once, and the application's own descriptor must not poll as writable before
//! the attempt has ended. A UDP socket always does, so its send queue is filled: data that MSG_MORE holds back counts
//! there, of raw sockets too, and SO_SNDBUF is lowered below it. At the end SO_SNDBUF gets its value back, and a send from an address that
//! cannot be read makes the kernel drop what it held back and wake whoever polls. Nothing of it is ever sent.

use super::ops::cell_for_options;
use super::state::{Mode, Socket, flag};
use super::table::{self, Pinned};
use super::{backend, detach, guard, ops, sys};
use crate::addr::{FlowId, UlidPair};
use crate::driver::cell::Cell;
use crate::engine::Setup;
use libc::c_int;
use std::net::SocketAddrV6;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::time::Duration;

/// Non-blocking connects that may wait at the same time; more do not wait.
const MAX_WAITING: usize = 64;
/// The engine answers a request after this time at most, a sick one excepted.
const ANSWER: Duration = Duration::from_millis(50);
/// A blocking call looks around this often while it waits.
const STEP: Duration = Duration::from_millis(100);

static WAITING: AtomicUsize = AtomicUsize::new(0);

/// What has to be given back at the end.
#[derive(Debug)]
pub struct Waiting {
    /// SO_SNDBUF as the kernel tells it.
    send_buffer: c_int,
    /// Whose end is awaited.
    peer: Option<SocketAddrV6>,
    cell: Arc<Cell>,
}

/// Have the context of a connected socket set up now. The cell to wait for; `None`: there is nothing to wait for.
/// Inside `guard::slow` only.
pub fn begin(socket: &Pinned) -> Option<Arc<Cell>> {
    let own = cell_for_options(socket)?;
    ask(own.ulids(), ops::flow_of(socket, None))
}

/// The cell of the pair, whose context is being set up now.
fn ask(ulids: UlidPair, flow: Option<FlowId>) -> Option<Arc<Cell>> {
    let engine = backend::current()?;
    let cell = engine.backend.cell(ulids)?;
    if cell.is_associated() {
        return None;
    }
    engine.backend.establish(&cell, flow);
    (cell.wait_answer(ANSWER) != Setup::Failed).then_some(cell)
}

/// After a successful connect: wait for the context, or see to it that the socket polls as writable when the attempt
/// has ended. The errno of the connect, if it is not to succeed now.
pub fn connected(socket: &Pinned, fd: c_int) -> Option<c_int> {
    if !socket.has(flag::NOT_DEFERRED) || socket.has(flag::DONT_SHIM) || socket.mode() != Mode::Connected {
        return None;
    }
    let cell = guard::slow(|| begin(socket)).flatten()?;
    let limit = backend::current()?.setup_wait;
    if ops::may_wait(fd, 0) {
        wait(&cell, limit);
        return None;
    }
    guard::slow(|| hold(socket, fd, cell, limit)).unwrap_or(false).then_some(libc::EINPROGRESS)
}

/// Wait in steps, so that a signal handler finds the shim free now and then.
fn wait(cell: &Cell, limit: Duration) {
    let mut left = limit;
    while !left.is_zero() && guard::slow(|| cell.wait_setup(left.min(STEP))) == Some(Setup::Running) {
        left = left.saturating_sub(STEP);
    }
}

/// Is a connect to this peer waiting? Any other one that is, ends. Before a connect.
pub fn reconnect(socket: &Pinned, fd: c_int, to: Option<&SocketAddrV6>) -> bool {
    if !socket.has(flag::WAITING) {
        return false;
    }
    guard::slow(|| {
        let same = to.is_some()
            && socket.inner().waiting.as_ref().is_some_and(|w| {
                w.peer.as_ref().map(|p| (p.ip(), p.port())) == to.map(|p| (p.ip(), p.port()))
            });
        if !same {
            end(socket.record(), fd);
        }
        same
    })
    .unwrap_or(false)
}

/// SO_SNDBUF as the application is to see it while a connect waits.
pub fn send_buffer(socket: &Pinned) -> Option<c_int> {
    guard::slow(|| socket.inner().waiting.as_ref().map(|w| w.send_buffer)).flatten()
}

/// Before a datagram of a socket with [`flag::NOT_DEFERRED`] or [`flag::WAITING`]: wait for the context that it starts,
/// or the errno. `to`: the destination, if the call names one.
pub fn before_send(socket: &Pinned, fd: c_int, to: Option<SocketAddrV6>, flags: c_int) -> Option<c_int> {
    let limit = backend::current()?.setup_wait;
    if socket.has(flag::WAITING) {
        let cell = guard::slow(|| socket.inner().waiting.as_ref().map(|w| w.cell.clone())).flatten()?;
        if !ops::may_wait(fd, flags) {
            return Some(libc::EAGAIN);
        }
        wait(&cell, limit);
        guard::slow(|| end(socket.record(), fd));
        return None;
    }
    let to = to.filter(|_| socket.mode() == Mode::Unconnected && !socket.has(flag::DONT_SHIM))?;
    let (cell, left) = guard::slow(|| first_to(socket, fd, &to, limit)).flatten()?;
    if ops::may_wait(fd, flags) {
        wait(&cell, left);
        return None;
    }
    (cell.setup() == Setup::Running).then_some(libc::EAGAIN)
}

/// The context of the first datagram to a peer, and how long it may still take (API-DEF-13).
fn first_to(socket: &Pinned, fd: c_int, to: &SocketAddrV6, limit: Duration) -> Option<(Arc<Cell>, Duration)> {
    let (cell, ..) = ops::resolve(socket, fd, to, None)?;
    if cell.is_associated() {
        return None;
    }
    let now = backend::now();
    let until = socket.inner().peers.get(to)?.setup_until;
    let until = match until {
        Some(until) => until,
        None => {
            // An unbound UDP socket has no port yet to tell the peer.
            let flow = Some(socket.flow(to.port())).filter(|f| (f.local_port == 0) == (f.peer_port == 0));
            let asked = ask(cell.ulids(), flow);
            let until = if asked.is_some() { now + limit } else { now };
            socket.inner().peers.wait_until(to, until);
            until
        }
    };
    (until > now).then(|| (cell, until.since(now)))
}

/// Fill the send queue of a connected UDP or raw socket and watch the attempt. `false`: not possible, as where the program
/// writes the IPv6 header itself.
fn hold(socket: &Pinned, fd: c_int, cell: Arc<Cell>, limit: Duration) -> bool {
    const DATA: [u8; 4000] = [0; 4000];
    let option = |name| sys::int_option(fd, libc::SOL_SOCKET, name).ok();
    let Some(send_buffer) = option(libc::SO_SNDBUF) else { return false };
    if WAITING.fetch_add(1, SeqCst) >= MAX_WAITING {
        WAITING.fetch_sub(1, SeqCst);
        return false;
    }
    let (record, cookie) = (socket.record(), socket.cookie.load(Relaxed));
    let held = {
        let mut inner = socket.inner();
        inner.waiting = Some(Waiting { send_buffer, peer: inner.peer, cell: cell.clone() });
        socket.set(flag::WAITING, true);
        // As much as an application's datagram may need is refused where IPV6_DONTFRAG is set.
        (sys::hold_back(fd, &DATA, None, 0) || sys::hold_back(fd, &DATA[..1200], None, 0))
            && sys::set_int(fd, libc::SOL_SOCKET, libc::SO_SNDBUF, 1).is_ok()
            && !sys::writable(fd)
    };
    let watched = held
        && backend::background(move || {
            cell.wait_setup(limit);
            WAITING.fetch_sub(1, SeqCst);
            // No hook closes the descriptor meanwhile.
            let _stable = detach::descriptors_are_stable();
            let Some(socket) = Pinned::new(record).filter(|s| s.cookie.load(Relaxed) == cookie) else {
                return;
            };
            if let Some(fd) = table::descriptors(&socket).find(|fd| sys::cookie(*fd) == cookie) {
                end(record, fd);
            }
        });
    if !watched {
        WAITING.fetch_sub(1, SeqCst);
        end(record, fd);
    }
    watched
}

/// The attempt has ended, or nobody waits for it any more: the socket is as it was. Inside `guard::slow` only.
pub fn end(socket: &'static Socket, fd: c_int) {
    let mut inner = socket.inner();
    let Some(waiting) = inner.waiting.take() else { return };
    // The kernel doubles what it is told.
    let half = waiting.send_buffer / 2;
    let force = sys::set_int(fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, half);
    if force.is_err() {
        let _ = sys::set_int(fd, libc::SOL_SOCKET, libc::SO_SNDBUF, half);
    }
    sys::drop_held_back(fd);
    socket.set(flag::WAITING, false);
}
