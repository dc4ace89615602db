//! What the engine tells about: for the log, the tool and (later) the API (RE-OP-01, RE-OP-02, S6-15-1).

use crate::addr::{ContextTag, Fii, LocatorPair, UlidPair};
use crate::time::Time;
use serde::{Deserialize, Serialize};

/// Something that happened to a context.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When.
    pub at: Time,
    /// The context's ULID pair.
    pub ulids: UlidPair,
    /// The context's forked instance.
    pub fii: Fii,
    /// What.
    pub kind: EventKind,
}

/// The kinds of [`Event`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// The context is ESTABLISHED (or I2BIS-SENT again became so).
    Established {
        /// CT(local).
        local_tag: ContextTag,
        /// CT(peer).
        peer_tag: ContextTag,
    },
    /// Establishment failed; no new attempt before the hold-down ends.
    EstablishFailed {
        /// `true`: the peer's kernel answered that it knows no protocol 140 (state NO-SUPPORT).
        no_support: bool,
    },
    /// The locators that the peer offers, or ours, changed (read them with `Engine::context`).
    LocatorsChanged,
    /// REAP left Operational: the current pair is taken for dead.
    ExplorationStarted {
        /// Why.
        cause: FailureCause,
        /// The pair in use until now.
        pair: LocatorPair,
        /// When something was last heard from the peer on this context.
        last_heard: Option<Time>,
    },
    /// REAP is Operational again.
    ExplorationEnded {
        /// The pair in use now.
        pair: LocatorPair,
        /// When the exploration had started.
        started: Time,
    },
    /// The pair for sending changed (also when it went back to the ULIDs).
    PairChanged {
        /// Until now.
        old: LocatorPair,
        /// From now on.
        new: LocatorPair,
    },
    /// The context is gone.
    Discarded {
        /// Why.
        reason: DiscardReason,
    },
}

/// Why REAP took the current pair for dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureCause {
    /// The Send Timer expired.
    SendTimeout,
    /// Our locator of the pair is gone or no longer operational.
    LocalLocatorLost,
    /// The peer told that its locator is BROKEN, or dropped it from its list.
    PeerLocatorLost,
    /// The kernel refused to send on the pair.
    SendRefused,
    /// A Probe of the peer says that it does not hear us, or explores.
    PeerExplores,
    /// An ICMPv6 error or feedback of an application asked for a test.
    Hint,
    /// An application says that it cannot connect (SHIM_FEEDBACK, RE-FI-07).
    Feedback,
}

/// Why a context was discarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiscardReason {
    /// No traffic and no user for the idle time.
    Idle,
    /// The local ULID is no longer valid (S6-1-4).
    UlidInvalid,
    /// Its tag was reused by the peer for another context (RFC 5533 section 7.15).
    Confusion,
    /// By command.
    Command,
}
