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
    /// The first datagram has left by a new pair: all that is known of the switch, after its [`EventKind::PairChanged`].
    Switched(Switch),
    /// The context is gone.
    Discarded {
        /// Why.
        reason: DiscardReason,
    },
}

/// A change of the pair for sending: why, on what evidence, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switch {
    /// Until then.
    pub old: LocatorPair,
    /// From then on.
    pub new: LocatorPair,
    /// Why the old one was left.
    pub cause: SwitchCause,
    /// What the choice of the new one rests on.
    pub evidence: Evidence,
    /// When something was last heard from the peer before the decision was due.
    pub last_heard: Option<Time>,
    /// When it was known that the old pair had to be left.
    pub detected: Time,
    /// When payload was directed to the new one.
    pub at: Time,
    /// When the first datagram left by it.
    pub first_packet: Option<Time>,
}

/// Why a pair was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SwitchCause {
    /// It failed.
    Failure(FailureCause),
    /// Another one is preferred, by an application, by the peer, or because it was in use before it failed.
    Preferred,
    /// An application chose another one (SHIM_LOC_LOCAL_SEND, SHIM_LOC_PEER_SEND).
    Pinned,
}

/// What shows that a pair works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// The peer reported a Probe of this exploration on it.
    Report,
    /// It was the standby pair; the confirmed test began then.
    Standby(Time),
    /// A test of it succeeded just now.
    Test,
    /// None was asked for: the choice of an application.
    Choice,
}

/// Why REAP took the current pair for dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureCause {
    /// The Send Timer expired, or the ULIDs gave no answer when the context was set up.
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
