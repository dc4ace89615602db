//! Bringing an engine up: sockets in the caller's network namespace, then its thread.

use super::addresses::Addresses;
use super::claim::{Claim, DefaultClaims};
use super::deliver::Delivery;
use super::host::SocketHost;
use super::icmp::IcmpSocket;
use super::inject::{self, Injector};
use super::policy::Policy;
use super::random::SystemRng;
use super::receive::ReceiveSocket;
use super::resend::Limits;
use super::reserve;
use super::run::{Parts, Runner};
use super::send::SendSocket;
use super::shared::{MAX_COMMANDS, Shared};
use super::unread::Unread;
use super::{Handle, log, sys};
use crate::config::{Config, Suppress};
use crate::engine::Engine;
use crate::identity::Places;
use crate::rng::Rng;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Why no engine runs.
#[derive(Debug)]
pub enum StartError {
    /// The process may not open raw sockets: no CAP_NET_RAW. The caller steps aside.
    NoRawSocket(io::Error),
    /// Something else; the name says what was being done.
    Io(&'static str, io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::NoRawSocket(e) => write!(
                f,
                "no raw socket ({e}): CAP_NET_RAW is missing; `shim6 run` passes it on, or `setcap cap_net_raw+ep`"
            ),
            StartError::Io(what, e) => write!(f, "{what}: {e}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StartError::NoRawSocket(e) | StartError::Io(_, e) => Some(e),
        }
    }
}

fn raw(e: io::Error) -> StartError {
    match e.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => StartError::NoRawSocket(e),
        _ => StartError::Io("raw socket", e),
    }
}

fn doing(what: &'static str) -> impl Fn(io::Error) -> StartError {
    move |e| StartError::Io(what, e)
}

/// Start an engine in the network namespace of the calling thread. `host` is called from the engine thread only.
///
/// # Errors
///
/// See [`StartError`]; nothing is left behind then.
pub fn start(config: Config, host: Arc<dyn SocketHost>) -> Result<Handle, StartError> {
    let mut rng = SystemRng::new();
    let sender = SendSocket::open(rng.u32()).map_err(raw)?;
    let receive = ReceiveSocket::open().map_err(raw)?;
    let icmp = IcmpSocket::open().map_err(raw)?;
    // Without a way to re-inject, contexts would only break what they should save.
    let injector = Injector::open().map_err(doing("re-injection socket"))?;
    let places = Places::new(&config.identities);
    let (identities, problems) = places.load();
    let addresses = Addresses::open(identities, places, config.shim6.clone()).map_err(doing("rtnetlink"))?;
    let claim = Claim::new(&mut rng).map_err(doing("tag prefix"))?;
    let (sender_side, commands) = crossbeam_channel::bounded(MAX_COMMANDS);
    let shared = Arc::new(Shared {
        cells: Default::default(),
        bare: Default::default(),
        suppress: config.shim6.suppress_header != Suppress::Off,
        arrivals: Default::default(),
        commands: sender_side,
        look_at_all: false.into(),
        stopping: false.into(),
        waker: sys::eventfd().map_err(doing("eventfd"))?,
        wake_pending: false.into(),
        epoll: sys::epoll().map_err(doing("epoll"))?,
        sender,
        watches: Default::default(),
        locators: Default::default(),
        registered: false.into(),
        dead: false.into(),
        forks: sys::forks(),
        thread: Default::default(),
        counters: Default::default(),
        exclude: config.shim6.exclude.clone(),
        resend: (config.reap.resend > 0)
            .then_some(Limits { datagrams: config.reap.resend, age: config.reap.resend_age }),
    });
    // The program's first connect asks for them before the engine thread has run.
    *shared.locators.write() = Arc::new(addresses.locators());
    shared.arrivals.set_lo(inject::loopback().map_err(doing("lo"))?);
    let claim = Arc::new(claim);
    let defaults = Arc::new(DefaultClaims::default());
    let unread = Arc::new(Unread::new(host.clone()));
    let policy = Policy {
        host: host.clone(),
        unread: unread.clone(),
        claim: claim.clone(),
        defaults: defaults.clone(),
        shared: shared.clone(),
    };
    let engine = Engine::new(config.clone(), Box::new(rng), Box::new(policy), Some(claim.prefix()));
    let delivery = Delivery::new(host.clone(), injector);
    let shared_too = shared.clone();
    let parts = Parts {
        shared: shared_too,
        engine,
        receive,
        icmp,
        delivery,
        addresses,
        commands,
        claim,
        defaults,
        host,
        unread,
    };
    let runner = Runner::new(parts).map_err(doing("epoll"))?;
    let body = {
        let shared = shared.clone();
        move || {
            sys::ask_for_short_slices();
            log::with_log(&config, || {
                for p in problems {
                    tracing::warn!("identity file not used: {p}");
                }
                guarded(&shared, runner);
            });
        }
    };
    *shared.thread.lock() = Some(spawn(body).map_err(doing("thread"))?);
    Ok(Handle(shared))
}

/// Run to the end; whatever the end is, the program goes on with kernel sockets.
fn guarded(shared: &Shared, mut runner: Runner) {
    let result = catch_unwind(AssertUnwindSafe(|| {
        let result = runner.run();
        if let Err(e) = &result {
            tracing::error!(error = %e, "the engine stops; all traffic goes without it from now on");
        }
        if reserve::is_short() {
            tracing::error!("there is no memory left; all traffic goes without the engine from now on");
        }
        runner.shut_down();
    }));
    if let Err(panic) = result {
        tracing::error!("the engine crashed; all traffic goes without it from now on");
        // Dropping a payload may panic again; it is a few octets, once.
        std::mem::forget(panic);
    }
    shared.abandon();
}

/// A thread with all signals blocked from its first instruction on: it inherits the mask of this one.
fn spawn(body: impl FnOnce() + Send + 'static) -> io::Result<std::thread::JoinHandle<()>> {
    let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    let mut old = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `sigfillset` fills `all` before it is read, `pthread_sigmask` fills `old`.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), old.as_mut_ptr());
    }
    let thread = std::thread::Builder::new().name("shim6".into()).spawn(body);
    // SAFETY: `old` was filled above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, old.as_ptr(), std::ptr::null_mut()) };
    thread
}
