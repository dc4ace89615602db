//! What a socket is to the options, and how settings reach its context.

use super::super::guard::errno;
use super::super::ops::{adopt_any, cell_for_options, fail, flow_of};
use super::super::state::{ForkLock, Mode, flag};
use super::super::table::Pinned;
use super::super::{Bypass, Outcome, backend, sys};
use super::{Abi, Call};
use crate::driver::Configured;
use crate::driver::cell::{Cell, ContextView, Forward};
use crate::driver::kernel::kernel;
use crate::engine::Settings;
use libc::{c_int, socklen_t};
use std::sync::{Arc, MutexGuard};

static SETTING: ForkLock<()> = ForkLock::new(());

/// One option call at a time changes anything.
pub(super) fn lock() -> MutexGuard<'static, ()> {
    SETTING.lock()
}

/// In a forked child.
///
/// # Safety
/// No other thread exists.
pub unsafe fn after_fork() {
    // SAFETY: by the contract above.
    unsafe { SETTING.reset(()) };
}

/// The context that serves a socket.
pub(super) struct Context {
    pub(super) cell: Arc<Cell>,
    pub(super) view: Arc<ContextView>,
    /// What sockets have set, from the moment on that they set it.
    pub(super) settings: Arc<Settings>,
}

/// The states of the table: no peer, a peer without context, a peer with one.
pub(super) enum State {
    U,
    N,
    C(Context),
}

/// Inside `guard::slow` only.
pub(super) fn state(socket: &Pinned, fd: c_int) -> State {
    let served = matches!(socket.mode(), Mode::Connected | Mode::Detached);
    // The kernel does not tell the peer of a raw socket, which has no port.
    if !served && !sys::has_peer(fd) && socket.inner().peer.is_none() {
        return State::U;
    }
    let cell = if served { cell_for_options(socket) } else { None };
    // The peer may have made an instance for this flow.
    let cell = cell.map(|cell| flow_of(socket, None).and_then(|flow| cell.of_flow(flow)).unwrap_or(cell));
    match cell.map(|cell| (cell.view(), cell)) {
        Some((view, cell)) if view.associated => State::C(Context { settings: cell.settings(), cell, view }),
        _ => State::N,
    }
}

impl State {
    /// The context, or why an option that needs one fails (API-ERR-07, API-ERR-08, API-ERR-09).
    pub(super) fn context(self, abi: Abi) -> Result<Context, c_int> {
        match self {
            State::C(context) => Ok(context),
            State::U if abi == Abi::R6316 => Err(libc::EOPNOTSUPP),
            State::U | State::N => Err(libc::ENOENT),
        }
    }

    /// The same for those that read no more than whether there is one.
    pub(super) fn needs_context(&self, abi: Abi) -> Result<&Context, c_int> {
        match self {
            State::C(context) => Ok(context),
            State::U if abi == Abi::R6316 => Err(libc::EOPNOTSUPP),
            State::U | State::N => Err(libc::ENOENT),
        }
    }
}

/// The socket for an option call; an error of the kernel's where `fd` is none (API-GEN-02).
pub(super) fn find(fd: c_int) -> Result<Pinned, Outcome<c_int>> {
    let mut kind: c_int = 0;
    let mut len = size_of::<c_int>() as socklen_t;
    // SAFETY: both pointers are valid for writes of the sizes they stand for.
    let r = unsafe {
        kernel!(libc::SYS_getsockopt, fd, libc::SOL_SOCKET, libc::SO_TYPE, &raw mut kind, &raw mut len)
    };
    if r != 0 {
        return Err(fail(errno()));
    }
    adopt_any(fd).ok_or(Err(Bypass))
}

impl Call<'_> {
    /// Change what is set for the socket's context; if others share it, in a context of its own from now on
    /// (API-FK-01).
    pub(super) fn configure(
        &self,
        context: &Context,
        mut change: impl FnMut(&mut Settings),
    ) -> Result<(), c_int> {
        let Some(engine) = backend::current() else { return Err(libc::ENOENT) };
        let old = &context.cell;
        let forward = old.forward();
        match engine.backend.configure(old, flow_of(self.socket, None), &mut change) {
            Configured::Unchanged => Ok(()),
            Configured::InPlace => {
                pin_at_once(old, context, forward);
                Ok(())
            }
            Configured::Forked(new) => {
                if self.socket.has(flag::HOT) {
                    engine.backend.set_hot_standby(&new, true);
                    engine.backend.set_hot_standby(old, false);
                }
                if self.socket.has(flag::RESEND) {
                    new.resend.follow(&old.resend);
                }
                self.socket.set_cell(Some(new));
                Ok(())
            }
            Configured::Refused => Err(libc::ENOBUFS),
        }
    }
}

/// A pin holds from the next packet on, although the engine hears of it a little later (API-LTX-08), and so does its end.
/// `forward`: where payload went before the change.
fn pin_at_once(cell: &Cell, before: &Context, forward: Option<Forward>) {
    let pins = |s: &Settings| (s.pinned_local, s.pinned_peer);
    let (old, new) = (pins(&before.settings), pins(&cell.settings()));
    let Some(engine) = backend::current().filter(|_| new != old) else { return };
    if new == (None, None) {
        return cell.unpin();
    }
    // Not yet possible, for a locator that the peer has not accepted, say: the engine sees to it.
    if let Ok(pinned) = engine.backend.forward_for(cell, new.0, new.1) {
        cell.pin(pinned, (old == (None, None)).then_some(forward));
    }
}
