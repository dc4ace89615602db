//! What is said on a console. Times are nanoseconds of the clock that [`Status::now`] was read from.

use crate::addr::{Fii, UlidPair};
use crate::engine::{ContextInfo, ContextState, LocalLocator, LocatorInfo, ReapCounters};
use crate::event::{Event, EventKind, Switch};
use crate::time::Time;
use crate::wire::ReapState;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::Ipv6Addr;

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Everything about engine and contexts: an [`Answer`] with a file in memory that contains a [`Status`].
    Status,
    /// From now on a [`Notice`] for each event.
    Watch,
    /// Discard the contexts of a ULID pair, without telling the peer (S6-9-1).
    Discard {
        /// Which.
        ulids: UlidPair,
    },
    /// Another Send Timeout for all contexts, announced to the peers (LS-H-37).
    SendTimeout {
        /// How long.
        milliseconds: u64,
    },
}

/// What became of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Why it was not done.
    pub error: Option<String>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// When.
    pub at: Time,
    /// The context's ULID pair.
    pub ulids: UlidPair,
    /// The context's forked instance.
    pub fii: Fii,
    /// What.
    pub event: EventKind,
}

impl From<&Event> for Notice {
    fn from(e: &Event) -> Self {
        Notice { at: e.at, ulids: e.ulids, fii: e.fii, event: e.kind.clone() }
    }
}

/// An engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// When this was written.
    pub now: Time,
    /// The upper 16 of the 47 bits of this engine's context tags.
    pub tag_prefix: u16,
    /// The Send Timeout of contexts without one of their own.
    pub send_timeout_ms: u64,
    /// Addresses of the host that may be locators.
    pub locators: Vec<LocatorStatus>,
    /// All contexts, oldest first.
    pub contexts: Vec<ContextStatus>,
    /// What was counted since the start.
    pub counters: BTreeMap<String, u64>,
}

/// A context.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContextStatus {
    /// ULIDs.
    pub ulids: UlidPair,
    /// Forked instance.
    pub fii: Fii,
    /// State of RFC 5533 section 6.2.
    pub state: ContextState,
    /// State of RFC 5534 section 4.2.
    pub reap: ReapState,
    /// CT(local).
    pub local_tag: u64,
    /// CT(peer), once known.
    pub peer_tag: Option<u64>,
    /// Where payload goes.
    pub local_locator: Ipv6Addr,
    /// See `local_locator`.
    pub peer_locator: Ipv6Addr,
    /// Ls(local).
    pub local: Vec<LocatorStatus>,
    /// Ls(peer).
    pub peer: Vec<LocatorStatus>,
    /// Send Timeout of the context.
    pub send_timeout_ms: u64,
    /// Keepalive Timeout of the context.
    pub keepalive_timeout_ms: u64,
    /// When anything was last received.
    pub last_heard: Option<Time>,
    /// What REAP counted (RE-OP-05).
    pub counters: ReapCounters,
    /// The latest switches of the pair, newest last.
    pub switches: Vec<Switch>,
}

/// A locator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocatorStatus {
    /// The address.
    pub addr: Ipv6Addr,
    /// Index of the interface that owns it; 0 for a peer's.
    pub ifindex: u32,
    /// Not operational here, or BROKEN by the word of the peer.
    pub broken: bool,
    /// Bound to the ULID by HBA or CGA, or the ULID itself.
    pub verified: bool,
    /// A Probe has shown that the way there works.
    pub probed: bool,
    /// File type of its identity: `HBA`, `CGA`, ...; only for locators of this host.
    pub identity: Option<String>,
}

impl From<&LocatorInfo> for LocatorStatus {
    fn from(l: &LocatorInfo) -> Self {
        let LocatorInfo { addr, ifindex, broken, verified, probed, .. } = *l;
        LocatorStatus { addr, ifindex, broken, verified, probed, identity: None }
    }
}

impl From<&LocalLocator> for LocatorStatus {
    fn from(l: &LocalLocator) -> Self {
        LocatorStatus {
            addr: l.addr,
            ifindex: l.ifindex,
            broken: !l.operational,
            verified: true,
            probed: false,
            identity: l.identity.as_ref().map(|i| i.kind().to_string()),
        }
    }
}

impl From<ContextInfo> for ContextStatus {
    fn from(c: ContextInfo) -> Self {
        let all = |locators: &[LocatorInfo]| locators.iter().map(LocatorStatus::from).collect();
        ContextStatus {
            ulids: c.ulids,
            fii: c.fii,
            state: c.state,
            reap: c.reap,
            local_tag: c.local_tag.value(),
            peer_tag: c.peer_tag.map(|t| t.value()),
            local_locator: c.current.local,
            peer_locator: c.current.peer,
            local: all(&c.local),
            peer: all(&c.peer),
            send_timeout_ms: c.timers.send_timeout.as_millis() as u64,
            keepalive_timeout_ms: c.timers.keepalive_timeout.as_millis() as u64,
            last_heard: c.last_heard,
            counters: c.counters,
            switches: c.switches,
        }
    }
}
