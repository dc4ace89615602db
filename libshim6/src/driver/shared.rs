//! What application threads and the engine thread share besides the cells.

use super::arrivals::Arrivals;
use super::cell::{Cell, CellKey, epoch};
use super::resend::Limits;
use super::send::SendSocket;
use super::sys::{self, OwnFd};
use super::watch::Watches;
use crate::addr::{Fii, FlowId, Ipv6Prefix, LocatorPair, UlidPair};
use crate::engine::{Feedback, LocalLocator, Wake};
use crossbeam_channel::Sender;
use parking_lot::{Mutex, RwLock};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};
use std::thread::JoinHandle;

/// Most cells, that is ULID pairs with traffic, of a process.
pub const MAX_CELLS: usize = 65_536;
/// Commands that may wait. What does not fit is found by the engine when it looks at all cells.
pub const MAX_COMMANDS: usize = 4096;

/// What application threads ask of the engine thread.
#[derive(Debug)]
pub enum Command {
    /// A cell wants to be looked at: it is new, or a wake condition came true, or its settings changed.
    Look(CellKey, Option<FlowId>),
    /// The kernel refused to send on the pair.
    Refused(CellKey, LocatorPair),
    /// The socket of a fork is gone.
    Release(CellKey),
    /// Test the way to a locator of the peer.
    ProbePeer(CellKey, Ipv6Addr),
    /// Feedback of an application.
    Feedback(CellKey, Feedback),
    /// Nobody wants the setup under way any more.
    AbandonSetup(CellKey),
    /// A flow began: its first datagram is about to pass, or has; or a socket has been connected (`true`).
    Flow(UlidPair, FlowId, bool),
    /// Set up a context now.
    Establish(UlidPair, Option<FlowId>),
    /// A send found a smaller path MTU.
    Mtu(LocatorPair, u32),
    /// Drop cells that nobody uses.
    Sweep,
}

/// See [`Shared::bare`].
#[derive(Default)]
pub struct BareIndex {
    /// How many locators it has: mostly none.
    count: AtomicUsize,
    cells: RwLock<HashMap<Ipv6Addr, Vec<Arc<Cell>>>>,
}

impl BareIndex {
    /// Engine thread: the cell, with the peer's locators as its view has them, or none.
    pub fn set(&self, cell: &Arc<Cell>, peers: &[Ipv6Addr]) {
        let mut cells = self.cells.write();
        cells.retain(|_, list| {
            list.retain(|c| !Arc::ptr_eq(c, cell));
            !list.is_empty()
        });
        for peer in peers {
            cells.entry(*peer).or_default().push(cell.clone());
        }
        self.count.store(cells.len(), SeqCst);
        epoch::advance();
    }

    /// Application thread: the cells that a datagram on these locators may belong to. One load where there are none.
    pub fn get(&self, locators: LocatorPair) -> Vec<Arc<Cell>> {
        if self.count.load(Relaxed) == 0 {
            return Vec::new();
        }
        let cells = self.cells.read();
        let found = cells.get(&locators.peer).into_iter().flatten();
        found.filter(|c| c.view().takes(c.ulids(), locators)).cloned().collect()
    }
}

/// Shared state of one engine.
pub struct Shared {
    /// All cells. The engine thread holds a clone of each.
    pub cells: Mutex<HashMap<CellKey, Arc<Cell>>>,
    /// Cells whose contexts take datagrams without extension header, by the peer's locators.
    pub bare: BareIndex,
    /// Headers may be suppressed at all.
    pub suppress: bool,
    /// Pairs that re-injected packets came by.
    pub arrivals: Arrivals,
    pub commands: Sender<Command>,
    /// A command did not fit: look at all cells.
    pub look_at_all: AtomicBool,
    /// End the thread.
    pub stopping: AtomicBool,
    /// The eventfd that wakes the engine thread, and whether a wake is under way already.
    pub waker: OwnFd,
    pub wake_pending: AtomicBool,
    pub epoll: OwnFd,
    pub sender: SendSocket,
    pub watches: Watches,
    /// Ls of the host, with identities.
    pub locators: RwLock<Arc<Vec<LocalLocator>>>,
    /// The socket for which the engine was started is registered.
    pub registered: AtomicBool,
    /// The engine thread has ended.
    pub dead: AtomicBool,
    /// `sys::forks()` of the process that started the engine.
    pub forks: u32,
    pub thread: Mutex<Option<JoinHandle<()>>>,
    pub counters: Counters,
    /// Destinations that are the kernel's alone.
    pub exclude: Vec<Ipv6Prefix>,
    /// What the configuration has kept for sending again.
    pub resend: Option<Limits>,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What the driver counted since its start.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct DriverCounters { $($(#[$doc])* pub $name: u64,)* }

        /// The same, as they are counted.
        #[derive(Debug, Default)]
        pub struct Counters { $(pub $name: AtomicU64,)* }

        impl Counters {
            pub fn read(&self) -> DriverCounters {
                DriverCounters { $($name: self.$name.load(Relaxed),)* }
            }
        }

        impl DriverCounters {
            /// All, by name.
            pub fn all(self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }
    };
}

counters! {
    /// Times the engine thread woke up.
    wakeups,
    /// Packets of protocol 140 read from the raw socket.
    received,
    /// Of those, cut off or without metadata.
    unreadable,
    /// Payload packets of other engines on this host.
    foreign,
    /// ICMPv6 errors that came to this host.
    icmp_errors,
    /// Of those, mapped back and handed to the sockets of this process.
    icmp_delivered,
    /// Packets handed to the local stack.
    injected,
    /// Packets that the local stack refused.
    inject_failed,
    /// Tagged payload that no shim socket takes (DESIGN section 6).
    no_socket,
    /// Tagged UDP with a wrong length or checksum (S6-E-6).
    bad_udp,
    /// Tagged payload of a protocol that is not served (S6-E-10).
    unsupported,
    /// Fragments taken in behind the shim header.
    fragments,
    /// Fragments that were invalid or overlapped (S6-E-5).
    bad_fragments,
    /// Packets whose fragments did not all come in time.
    incomplete,
    /// Tagged packets sent for applications.
    payload_sent,
    /// Tagged packets that the kernel refused to send on their pair: lost.
    payload_refused,
    /// Tagged packets sent again after a failure: their peers may have seen them before.
    payload_resent,
    /// Tagged packets of datagrams that the kernel had refused before another pair took over: sent once.
    payload_late,
    /// Control messages sent.
    control_sent,
    /// Control messages that the kernel refused to send.
    control_refused,
}

impl Counters {
    pub fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Relaxed);
    }
}

impl Shared {
    /// Hand over a command and wake the engine thread. On a full queue the engine looks at all cells instead.
    pub fn command(&self, command: Command) {
        if self.commands.try_send(command).is_err() {
            self.look_at_all.store(true, SeqCst);
        }
        if !self.wake_pending.swap(true, SeqCst) {
            sys::notify(self.waker.raw());
        }
    }

    /// Is the engine there, and in this process?
    pub fn alive(&self) -> bool {
        !self.dead.load(Acquire) && self.forks == sys::forks()
    }

    /// Does the kernel alone deal with this destination (LS-G-13)?
    pub fn excludes(&self, peer: &Ipv6Addr) -> bool {
        self.exclude.iter().any(|p| p.contains(peer))
    }

    /// The cell of a pair, made if need be; the flag says that it is new. `None` beyond the cap, and for a peer that the
    /// configuration leaves to the kernel.
    pub fn cell(&self, ulids: UlidPair) -> Option<(Arc<Cell>, bool)> {
        let key = CellKey { ulids, fii: 0 };
        let mut cells = self.cells.lock();
        if let Some(cell) = cells.get(&key) {
            return Some((cell.clone(), false));
        }
        if self.excludes(&ulids.peer) || cells.len() >= MAX_CELLS {
            return None;
        }
        let cell = Arc::new(self.new_cell(Cell::new(ulids)));
        cells.insert(key, cell.clone());
        Some((cell, true))
    }

    fn new_cell(&self, cell: Cell) -> Cell {
        if self.resend.is_some() {
            cell.resend.set(self.resend, true);
        }
        cell
    }

    /// The cell of an instance that the peer made. `None` beyond the cap.
    pub fn instance(&self, key: CellKey) -> Option<Arc<Cell>> {
        let mut cells = self.cells.lock();
        if cells.len() >= MAX_CELLS && !cells.contains_key(&key) {
            return None;
        }
        let new = || Arc::new(self.new_cell(Cell::of_instance(key.ulids, key.fii)));
        Some(cells.entry(key).or_insert_with(new).clone())
    }

    /// A new cell for a fork, under an instance number that no other has. `None` beyond the cap.
    pub fn fork(&self, ulids: UlidPair, mut draw: impl FnMut() -> Fii) -> Option<Arc<Cell>> {
        let mut cells = self.cells.lock();
        if cells.len() >= MAX_CELLS {
            return None;
        }
        loop {
            let fii = draw();
            if let (1.., Entry::Vacant(entry)) = (fii, cells.entry(CellKey { ulids, fii })) {
                return Some(entry.insert(Arc::new(self.new_cell(Cell::with_fii(ulids, fii)))).clone());
            }
        }
    }

    /// The engine is no more: all traffic goes the kernel's way again.
    pub fn abandon(&self) {
        self.dead.store(true, SeqCst);
        for cell in self.cells.lock().values() {
            cell.set_routes(Vec::new());
            cell.hold(false);
            cell.set_forward(None);
            cell.set_view(Default::default());
            cell.set_wake(Wake::default());
        }
    }
}
