//! The meeting point of application threads and the engine thread: one [`Cell`] per ULID pair of the process.
//!
//! Application threads count traffic into atomics and read the forwarding state; the engine thread samples the
//! counters when its timers need them. On a healthy path neither side makes a system call for a datagram.

use crate::addr::{ContextTag, LocatorPair, UlidPair};
use crate::engine::{LocatorInfo, Wake};
use crate::time::Time;
use parking_lot::RwLock;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

/// Where payload of a ULID pair goes once its locators are not its ULIDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Source and destination on the wire.
    pub locators: LocatorPair,
    /// Interface that owns the source.
    pub ifindex: u32,
    /// CT(peer), for the payload extension header.
    pub peer_tag: ContextTag,
    /// Path MTU of the pair: a packet (IPv6 header included) above it is fragmented behind the shim header.
    pub mtu: u32,
}

/// The context as sockets see it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContextView {
    /// A context in ESTABLISHED or I2BIS-SENT serves the pair (SHIM_ASSOCIATED).
    pub associated: bool,
    /// Lp(local), Lp(peer).
    pub current: Option<LocatorPair>,
    /// Ls(local).
    pub local: Vec<LocatorInfo>,
    /// Ls(peer).
    pub peer: Vec<LocatorInfo>,
}

/// Traffic as the engine samples it. Times are 0 for "none".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Sample {
    /// Datagrams sent since the cell was made.
    pub sent: u64,
    /// Datagrams received.
    pub received: u64,
    /// Octets, both directions.
    pub bytes: u64,
    /// When the first datagram left that nothing has been received after.
    pub first_unanswered_sent: Time,
    /// When the first datagram came that nothing has been sent after.
    pub first_unreplied_received: Time,
}

/// One ULID pair.
#[derive(Debug)]
pub struct Cell {
    ulids: UlidPair,
    rewritten: AtomicBool,
    associated: AtomicBool,
    forward: RwLock<Option<Forward>>,
    view: RwLock<Arc<ContextView>>,
    sent: AtomicU64,
    received: AtomicU64,
    bytes: AtomicU64,
    first_unanswered_sent: AtomicU64,
    first_unreplied_received: AtomicU64,
    wake_on_sent: AtomicBool,
    wake_on_received: AtomicBool,
    wake_at_bytes: AtomicU64,
    wake_at_packets: AtomicU64,
}

impl Cell {
    /// A cell without context: traffic passes untouched.
    pub fn new(ulids: UlidPair) -> Self {
        Cell {
            ulids,
            rewritten: AtomicBool::new(false),
            associated: AtomicBool::new(false),
            forward: RwLock::new(None),
            view: RwLock::new(Arc::default()),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            first_unanswered_sent: AtomicU64::new(0),
            first_unreplied_received: AtomicU64::new(0),
            wake_on_sent: AtomicBool::new(true),
            wake_on_received: AtomicBool::new(true),
            wake_at_bytes: AtomicU64::new(u64::MAX),
            wake_at_packets: AtomicU64::new(u64::MAX),
        }
    }

    /// The pair.
    pub fn ulids(&self) -> UlidPair {
        self.ulids
    }

    /// Application thread: a datagram of `bytes` octets was sent. `now` is called only where a time is needed.
    /// Returns `true` if the engine has to be woken.
    #[must_use]
    pub fn note_sent(&self, bytes: usize, now: impl FnOnce() -> Time) -> bool {
        if self.first_unanswered_sent.load(Relaxed) == 0 {
            self.first_unanswered_sent.store(now().0.max(1), Relaxed);
        }
        if self.first_unreplied_received.load(Relaxed) != 0 {
            self.first_unreplied_received.store(0, Relaxed);
        }
        self.count(&self.sent, bytes) | take(&self.wake_on_sent)
    }

    /// Application thread: a datagram of `bytes` octets was received. As [`Cell::note_sent`].
    #[must_use]
    pub fn note_received(&self, bytes: usize, now: impl FnOnce() -> Time) -> bool {
        if self.first_unreplied_received.load(Relaxed) == 0 {
            self.first_unreplied_received.store(now().0.max(1), Relaxed);
        }
        if self.first_unanswered_sent.load(Relaxed) != 0 {
            self.first_unanswered_sent.store(0, Relaxed);
        }
        self.count(&self.received, bytes) | take(&self.wake_on_received)
    }

    fn count(&self, packets: &AtomicU64, bytes: usize) -> bool {
        packets.fetch_add(1, Relaxed);
        let total = self.bytes.fetch_add(bytes as u64, Relaxed) + bytes as u64;
        let packets = self.sent.load(Relaxed) + self.received.load(Relaxed);
        if total >= self.wake_at_bytes.load(Relaxed) || packets >= self.wake_at_packets.load(Relaxed) {
            self.wake_at_bytes.store(u64::MAX, Relaxed);
            self.wake_at_packets.store(u64::MAX, Relaxed);
            return true;
        }
        false
    }

    /// Application thread: `None` while locators equal ULIDs, the usual case, at the cost of one load.
    pub fn forward(&self) -> Option<Forward> {
        if !self.rewritten.load(Relaxed) {
            return None;
        }
        *self.forward.read()
    }

    /// Application thread: are locators other than the ULIDs in use? One load.
    #[inline]
    pub fn is_rewritten(&self) -> bool {
        self.rewritten.load(Relaxed)
    }

    /// Application thread: does a context serve the pair? One load.
    #[inline]
    pub fn is_associated(&self) -> bool {
        self.associated.load(Relaxed)
    }

    /// Application thread: the context as it is now.
    pub fn view(&self) -> Arc<ContextView> {
        self.view.read().clone()
    }

    /// Engine thread: traffic so far.
    pub fn sample(&self) -> Sample {
        Sample {
            sent: self.sent.load(SeqCst),
            received: self.received.load(SeqCst),
            bytes: self.bytes.load(SeqCst),
            first_unanswered_sent: Time(self.first_unanswered_sent.load(SeqCst)),
            first_unreplied_received: Time(self.first_unreplied_received.load(SeqCst)),
        }
    }

    /// Engine thread: payload of the pair goes there from now on; `None`: locators equal ULIDs.
    pub fn set_forward(&self, forward: Option<Forward>) {
        *self.forward.write() = forward;
        self.rewritten.store(forward.is_some(), SeqCst);
    }

    /// Engine thread: what sockets see from now on.
    pub fn set_view(&self, view: ContextView) {
        self.associated.store(view.associated, SeqCst);
        *self.view.write() = Arc::new(view);
    }

    /// Engine thread: when it wants to be woken. Sample after this call, so that nothing falls between the two.
    pub fn set_wake(&self, wake: Wake) {
        let bytes = self.bytes.load(SeqCst);
        let packets = self.sent.load(SeqCst) + self.received.load(SeqCst);
        self.wake_at_bytes.store(wake.after_bytes.map_or(u64::MAX, |n| bytes.saturating_add(n)), SeqCst);
        self.wake_at_packets
            .store(wake.after_packets.map_or(u64::MAX, |n| packets.saturating_add(n)), SeqCst);
        self.wake_on_sent.store(wake.on_sent, SeqCst);
        self.wake_on_received.store(wake.on_received, SeqCst);
    }
}

/// Read and clear a flag; the usual case, a clear one, costs a load.
fn take(flag: &AtomicBool) -> bool {
    flag.load(Relaxed) && flag.swap(false, SeqCst)
}
