//! What the engine counts: every message in and out by type, every packet that it did not act on by reason.

use crate::wire::DropReason;
use std::collections::{BTreeMap, HashMap};

/// Numbers since the engine was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Control messages sent, by message type.
    pub sent: BTreeMap<u8, u64>,
    /// Well-formed control messages received, by message type.
    pub received: BTreeMap<u8, u64>,
    /// Packets that changed nothing, by reason.
    pub dropped: HashMap<Dropped, u64>,
    /// Tagged payload packets handed to the upper layer.
    pub payload_received: u64,
    /// Octets behind their payload extension headers.
    pub payload_octets: u64,
    /// Error messages sent, by Error Code.
    pub errors_sent: BTreeMap<u8, u64>,
    /// Error messages received that quote a message of ours, by Error Code.
    pub errors_received: BTreeMap<u8, u64>,
    /// Contexts that became ESTABLISHED for the first time.
    pub established: u64,
    /// Establishment attempts that ended in E-FAILED or NO-SUPPORT.
    pub establish_failed: u64,
    /// Contexts that were rebuilt by I2bis, by I2 of a restarted peer, or by R2 after I2BIS-SENT.
    pub recovered: u64,
    /// Contexts discarded or restarted because their CT(peer) was reused (RFC 5533 section 7.15).
    pub confused: u64,
    /// Explorations started.
    pub explorations: u64,
    /// ICMPv6 errors given out for applications.
    pub icmp_delivered: u64,
    /// Changes of a current pair.
    pub pair_changes: u64,
    /// Why the latest packet was dropped, for the debugging Errors.
    pub(super) last: Option<Dropped>,
}

/// Why a packet had no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dropped {
    /// No message that can be processed.
    Malformed(DropReason),
    /// Unknown message type (Error 0 was sent if the rate allowed it).
    UnknownType,
    /// Critical option not recognised (Error 1).
    CriticalOption,
    /// ULIDs that Shim6 does not serve, or a local ULID that is not ours (S6-N-40).
    BadUlid,
    /// No flow of this process has the ULID pair (S6-N-48).
    NotServed,
    /// No context fits nonce, tag or locators.
    NoMatch,
    /// The tag is unknown; R1bis was sent if nobody else owns the tag and the rate allowed it.
    UnknownTag,
    /// The tag belongs to another engine of this host.
    ForeignTag,
    /// The tag is known, the locators are not (R1bis).
    ForeignLocators,
    /// The state of the context does not take the message.
    State,
    /// Responder Nonce too old, or not one of ours.
    StaleNonce,
    /// The Responder Validator is not the one for this message.
    BadValidator,
    /// The PDS does not belong to ULID(peer).
    BadPds,
    /// A locator failed verification, or its method is unknown (Error 2).
    BadLocators,
    /// Preferences for another list (Error 3) or another number of locators (Error 4).
    BadPreferences,
    /// The source locator is neither known nor verified by the message.
    BadSource,
    /// No room for another context.
    Full,
    /// No room for the peer's CGA parameters, so its ULID is its only locator (HC-USE-19).
    PdsFull,
    /// A reply was not sent because its rate was exceeded (S6-N-47).
    RateLimited,
    /// Error message that quotes nothing of ours (S6-N-14).
    ForeignError,
}

impl Counters {
    pub(super) fn drop(&mut self, why: Dropped) {
        self.last = Some(why);
        *self.dropped.entry(why).or_default() += 1;
    }

    pub(super) fn bump(map: &mut BTreeMap<u8, u64>, key: u8) {
        *map.entry(key).or_default() += 1;
    }

    /// How often `why` happened.
    pub fn dropped(&self, why: Dropped) -> u64 {
        self.dropped.get(&why).copied().unwrap_or(0)
    }

    /// Messages of type `ty` sent.
    pub fn sent(&self, ty: u8) -> u64 {
        self.sent.get(&ty).copied().unwrap_or(0)
    }

    /// Messages of type `ty` received.
    pub fn received(&self, ty: u8) -> u64 {
        self.received.get(&ty).copied().unwrap_or(0)
    }
}
