//! What crosses the border of the engine.

use super::reap::ReapCounters;
use super::settings::{ContextTimers, LocatorPreference, Settings};
use super::suppress::Bare;
use crate::addr::{ContextTag, Fii, FlowId, LocatorPair, UlidPair};
use crate::event::Switch;
use crate::identity::Identity;
use crate::time::Time;
use crate::wire::ReapState;
use serde::{Deserialize, Serialize};
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

/// A received packet of protocol 140.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// IPv6 source.
    pub source: Ipv6Addr,
    /// IPv6 destination.
    pub destination: Ipv6Addr,
    /// From the shim header on.
    pub data: &'a [u8],
}

/// A control message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Source and destination; the source is never left to the kernel (S6-E-3).
    pub locators: LocatorPair,
    /// The whole message, checksum included.
    pub data: Vec<u8>,
}

/// Payload of a tagged packet, to be handed to the upper layer as if it had come between the ULIDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deliver<'a> {
    /// The context's ULID pair.
    pub ulids: UlidPair,
    /// The context's instance.
    pub fii: Fii,
    /// The pair that the packet came by, as we see it.
    pub locators: LocatorPair,
    /// Protocol of `data`: UDP, Fragment (44), ...
    pub next_header: u8,
    /// What followed the payload extension header.
    pub data: &'a [u8],
}

/// An address of this host that may be a locator.
#[derive(Clone, Debug)]
pub struct LocalLocator {
    /// The address.
    pub addr: Ipv6Addr,
    /// Index of the interface that owns it.
    pub ifindex: u32,
    /// Its interface is up with carrier and the address is not tentative (RE-AD-05).
    pub operational: bool,
    /// Preferred lifetime is over; ranks behind others.
    pub deprecated: bool,
    /// Group of its interface: only locators of one group stand in one set (LS-G-14). 0 unless configured.
    pub group: u32,
    /// The HBA set or CGA that it belongs to, if any (DESIGN section 8).
    pub identity: Option<Arc<Identity>>,
}

/// Direction of payload as we see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Sent by us.
    Sent,
    /// Received by us.
    Received,
}

/// What an ICMPv6 error about one of our packets says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpKind {
    /// Parameter Problem code 1: the peer's kernel knows no protocol 140 (S6-7.8-5).
    UnrecognizedNextHeader,
    /// Destination Unreachable codes 0 to 3, 5, 6, or Time Exceeded: a hint (RE-FI-04).
    Unreachable,
    /// Packet Too Big with this MTU.
    PacketTooBig(u32),
    /// Anything else.
    Other,
}

/// An ICMPv6 error for the application that holds the flow, mapped back to the ULIDs (S6-8-6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IcmpDelivery {
    /// The context's ULID pair: the error goes to the local one.
    pub ulids: UlidPair,
    /// The flow of the packet that it is about.
    pub flow: FlowId,
    /// Who sent the error.
    pub source: Ipv6Addr,
    /// From the Type octet on; the checksum is left 0.
    pub message: Vec<u8>,
}

/// When application threads have to wake the engine for traffic on a ULID pair (DESIGN section 3: timers are lazy).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Wake {
    /// At the next datagram sent.
    pub on_sent: bool,
    /// At the next datagram received.
    pub on_received: bool,
    /// When this many more octets (both directions) have passed: the trigger.
    pub after_bytes: Option<u64>,
    /// When this many more datagrams (both directions) have passed: the trigger.
    pub after_packets: Option<u64>,
}

/// Traffic of a ULID pair without context, in both directions, since it was first heard of or last had one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairTraffic {
    /// Datagrams.
    pub packets: u64,
    /// Their octets.
    pub bytes: u64,
    /// How long ago the first of them was.
    pub age: Duration,
}

/// What the engine has to ask the world around it.
pub trait HostPolicy: Send {
    /// May an upper-layer flow here belong to this ULID pair? Decides whether we answer an I1 (DESIGN section 5).
    fn serves(&self, ulids: UlidPair, flow: Option<FlowId>) -> bool;
    /// Does another engine on this host claim this tag's prefix? Then an unknown tag is not ours to answer.
    fn tag_is_foreign(&self, tag: ContextTag) -> bool;
    /// Of the engines on this host, is this the one that answers unknown tags of peers that none of them knows (S6-N-48)?
    fn answers_strangers(&self) -> bool {
        true
    }
    /// Is data of the peer waiting unread in a socket (RE-FB-23)?
    fn has_unread(&self, ulids: UlidPair) -> bool;
    /// Does an open socket use the pair (S6-9-2)?
    fn in_use(&self, ulids: UlidPair) -> bool;
    /// May a context that we start be the default one (FII 0), as no other process of this host has it (DESIGN section
    /// 5)? Asked once for each attempt; if not, the context forks. Asked too, and the answer left aside, when the peer has
    /// made it the default one.
    fn owns_default(&self, _ulids: UlidPair) -> bool {
        true
    }
    /// Would datagrams of the pair (and flow) that come on other locators than the ULIDs, without extension header, reach
    /// their sockets (LS-S-22)? In doubt not.
    fn takes_bare(&self, _ulids: UlidPair, _flow: Option<FlowId>) -> bool {
        false
    }
    /// A heuristic in place of the thresholds (LS-H-07): should the pair, which has no context and has seen this traffic, get
    /// one now? `None` leaves it to them. Asked whenever the engine is told of a datagram of the pair, which is at the first,
    /// then when one of the thresholds is reached, and from then on at each; with all thresholds off never.
    fn wants_context(&self, _ulids: UlidPair, _seen: PairTraffic) -> Option<bool> {
        None
    }
    /// Does a socket still hold the context that was forked for it (API-FK-12, API-FK-14)?
    fn fork_in_use(&self, _ulids: UlidPair, _fii: Fii) -> bool {
        true
    }
}

/// States of a context (S6-6-4); IDLE is the absence of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING-KEBAB-CASE")]
pub enum ContextState {
    /// I1 sent.
    I1Sent,
    /// I2 sent.
    I2Sent,
    /// I2bis sent.
    I2bisSent,
    /// Up.
    Established,
}

/// One locator as the API shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocatorInfo {
    /// The address.
    pub addr: Ipv6Addr,
    /// Interface index; 0 for a peer's locator.
    pub ifindex: u32,
    /// Bound to the ULID by HBA.
    pub hba: bool,
    /// Bound to the ULID by a CGA key.
    pub cga: bool,
    /// HBA/CGA verification passed (always for our own and for ULIDs).
    pub verified: bool,
    /// Return routability shown by a Probe (S6-6-2).
    pub probed: bool,
    /// Flagged BROKEN, or not operational here.
    pub broken: bool,
    /// The last reachability test of this locator of the peer failed, less than a minute ago (API-ERR-11).
    pub unreachable: bool,
    /// The peer knows this locator of ours, so payload may leave from it (S6-7.2-4); `true` for the peer's own.
    pub accepted: bool,
    /// The application's, else the one that the peer sent, else the default (API-ABI-07).
    pub preference: LocatorPreference,
}

impl LocatorInfo {
    /// A locator of which nothing is known.
    pub fn new(addr: Ipv6Addr) -> LocatorInfo {
        LocatorInfo {
            addr,
            ifindex: 0,
            hba: false,
            cga: false,
            verified: false,
            probed: false,
            broken: false,
            unreachable: false,
            accepted: false,
            preference: LocatorPreference::default(),
        }
    }
}

/// A copy of what is known about a context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextInfo {
    /// ULIDs.
    pub ulids: UlidPair,
    /// Instance.
    pub fii: Fii,
    /// State.
    pub state: ContextState,
    /// CT(local).
    pub local_tag: ContextTag,
    /// CT(peer), once known.
    pub peer_tag: Option<ContextTag>,
    /// Lp(local), Lp(peer): where payload goes now.
    pub current: LocatorPair,
    /// REAP state.
    pub reap: ReapState,
    /// Ls(local).
    pub local: Vec<LocatorInfo>,
    /// Ls(peer).
    pub peer: Vec<LocatorInfo>,
    /// All addresses of the host that may be offered with this ULID, listed or not.
    pub available: Vec<LocatorInfo>,
    /// The timers in force.
    pub timers: ContextTimers,
    /// The alternative pair that was last confirmed by a test, if hot standby is on.
    pub standby: Option<LocatorPair>,
    /// The latest switches of the pair, newest last; 16 at most.
    pub switches: Vec<Switch>,
    /// What the application set, as far as it is in force.
    pub settings: Arc<Settings>,
    /// Which payload goes without extension header.
    pub bare: Bare,
    /// Which payload may come without.
    pub takes_bare: Bare,
    /// When anything was last received.
    pub last_heard: Option<Time>,
    /// What REAP counted (RE-OP-05).
    pub counters: ReapCounters,
}
