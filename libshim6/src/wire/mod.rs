//! Codec of the Shim6 wire format (RFC 5533 section 5, RFC 5534 section 5): octets in, [`Message`] out, and back.
//!
//! Nothing here knows contexts, time or sockets. A message starts at the shim header (the first octet after the
//! IPv6 header); all offsets in errors count from there, so that an Error message's Pointer is `40 + offset`.

use crate::addr::{ContextTag, Fii, FlowId};
use std::net::Ipv6Addr;

/// IPv6 next header of Shim6.
pub const PROTOCOL: u8 = 140;
/// Most octets of a control message behind a bare IPv6 header (S6-5.1-2).
pub const MAX_MESSAGE: usize = 1240;
/// Octets of the payload extension header.
pub const PAYLOAD_HEADER_LEN: usize = 8;

/// A control message (P = 0).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Type 1.
    I1(I1),
    /// Type 2.
    R1(R1),
    /// Type 3.
    I2(I2),
    /// Type 4.
    R2(R2),
    /// Type 5.
    R1bis(R1bis),
    /// Type 6.
    I2bis(I2bis),
    /// Type 64.
    UpdateRequest(UpdateRequest),
    /// Type 65.
    UpdateAck(UpdateAck),
    /// Type 66.
    Keepalive(Keepalive),
    /// Type 67.
    Probe(Probe),
    /// Type 68.
    Error(ErrorMessage),
}

/// I1 (S6-5.4-1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct I1 {
    /// The initiator's CT(local).
    pub initiator_tag: ContextTag,
    /// Initiator Nonce.
    pub initiator_nonce: u32,
    /// ULID Pair, FII, Flow.
    pub options: Options,
}

/// R1 (S6-5.5-1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct R1 {
    /// Copied from the I1.
    pub initiator_nonce: u32,
    /// Responder Nonce.
    pub responder_nonce: u32,
    /// Responder Validator.
    pub options: Options,
}

/// I2 (S6-5.6-1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct I2 {
    /// The initiator's CT(local).
    pub initiator_tag: ContextTag,
    /// Initiator Nonce, returned in R2.
    pub initiator_nonce: u32,
    /// Copied from the R1.
    pub responder_nonce: u32,
    /// Validator, ULID Pair, FII, Locator List, Preferences, PDS, Signature, Keepalive Timeout, Flow.
    pub options: Options,
}

/// R2 (S6-5.7-1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct R2 {
    /// The responder's CT(local).
    pub responder_tag: ContextTag,
    /// Copied from the I2, I2bis or I1.
    pub initiator_nonce: u32,
    /// Locator List, Preferences, PDS, Signature, Keepalive Timeout.
    pub options: Options,
}

/// R1bis (S6-5.8-1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct R1bis {
    /// Tag of the packet that caused it.
    pub packet_tag: ContextTag,
    /// Responder Nonce.
    pub responder_nonce: u32,
    /// Responder Validator.
    pub options: Options,
}

/// I2bis (S6-5.9-1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct I2bis {
    /// The sender's CT(local).
    pub initiator_tag: ContextTag,
    /// Initiator Nonce, returned in R2.
    pub initiator_nonce: u32,
    /// Copied from the R1bis.
    pub responder_nonce: u32,
    /// Copied from the R1bis.
    pub packet_tag: ContextTag,
    /// As in [`I2`].
    pub options: Options,
}

/// Update Request (S6-5.10-1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateRequest {
    /// CT(peer) of the sender.
    pub receiver_tag: ContextTag,
    /// Request Nonce.
    pub request_nonce: u32,
    /// Locator List, Preferences, PDS, Signature, Keepalive Timeout.
    pub options: Options,
}

/// Update Acknowledgement (S6-5.11-1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateAck {
    /// CT(peer) of the acknowledging host.
    pub receiver_tag: ContextTag,
    /// Copied from the Update Request.
    pub request_nonce: u32,
    /// None defined.
    pub options: Options,
}

/// Keepalive (RFC 5534 section 5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// CT(peer) of the sender.
    pub receiver_tag: ContextTag,
    /// None defined.
    pub options: Options,
}

/// Probe (RFC 5534 section 5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// CT(peer) of the sender.
    pub receiver_tag: ContextTag,
    /// Sta: the sender's REAP state after sending.
    pub state: ReapState,
    /// 1 to 15 blocks, the first describes this Probe.
    pub sent: Vec<ProbeBlock>,
    /// 0 to 15 blocks, copies of the first block of Probes received.
    pub received: Vec<ProbeBlock>,
    /// None defined.
    pub options: Options,
}

/// The states of REAP, as in the Sta field (RFC 5534 section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReapState {
    /// 0
    Operational,
    /// 1
    Exploring,
    /// 2
    InboundOk,
}

/// One sent or received probe in a [`Probe`]: 40 octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProbeBlock {
    /// IPv6 source.
    pub source: Ipv6Addr,
    /// IPv6 destination.
    pub destination: Ipv6Addr,
    /// Nonce.
    pub nonce: u32,
    /// Data; this engine sends 0.
    pub data: u32,
}

/// Error message (S6-5.14-1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorMessage {
    /// 7 bits; see [`error_code`].
    pub code: u8,
    /// Octet offset inside the invoking packet, from its IPv6 header on (S6-N-16).
    pub pointer: u16,
    /// The invoking packet from its IPv6 header on, as far as it fits (zero padding included on receipt).
    pub packet: Vec<u8>,
}

/// Error Codes (S6-5.14-2).
pub mod error_code {
    /// Unknown message type.
    pub const UNKNOWN_TYPE: u8 = 0;
    /// Critical option not recognised.
    pub const CRITICAL_OPTION: u8 = 1;
    /// Locator verification method failed or is unknown.
    pub const VERIFICATION_METHOD: u8 = 2;
    /// Locator List generation out of sync.
    pub const GENERATION: u8 = 3;
    /// Wrong number of locators in a preferences option.
    pub const LOCATOR_COUNT: u8 = 4;
}

/// All options that a control message can carry; absent ones are `None`. Emitted in ascending type order, C = 0.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Options {
    /// Type 1, opaque.
    pub validator: Option<Vec<u8>>,
    /// Type 2.
    pub locators: Option<LocatorList>,
    /// Type 3.
    pub preferences: Option<LocatorPreferences>,
    /// Type 4: the CGA Parameter Data Structure as received, never re-encoded.
    pub pds: Option<Vec<u8>>,
    /// Type 5.
    pub signature: Option<Vec<u8>>,
    /// Type 6.
    pub ulid_pair: Option<UlidPairOption>,
    /// Type 7.
    pub fii: Option<Fii>,
    /// Type 10, in seconds.
    pub keepalive_timeout: Option<u16>,
    /// Type 16385, ours (DESIGN section 5): the sender's flow, ports as the sender sees them.
    pub flow: Option<FlowId>,
}

/// ULID Pair option (S6-5.15.6-2), as the sender of the message sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UlidPairOption {
    /// ULID of the sender of the message.
    pub sender: Ipv6Addr,
    /// ULID of the receiver of the message.
    pub receiver: Ipv6Addr,
}

/// Locator List option (S6-5.15.2-1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocatorList {
    /// Locator List Generation.
    pub generation: u32,
    /// Verification Method and locator, in order.
    pub locators: Vec<(u8, Ipv6Addr)>,
    /// Offset of the first Verification Method octet in the message it was parsed from; 0 when built (S6-7.2-7).
    pub methods_offset: usize,
}

/// Verification Methods (S6-N-1).
pub mod method {
    /// HBA.
    pub const HBA: u8 = 1;
    /// CGA.
    pub const CGA: u8 = 2;
}

/// Locator Preferences option (S6-5.15.3-1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocatorPreferences {
    /// Generation of the list that the elements refer to.
    pub generation: u32,
    /// One element per locator of that list; `None` if Element Len and Length do not fit (S6-N-30).
    pub elements: Option<Vec<Preference>>,
    /// Offset of the option's first octet in the message it was parsed from; 0 when built.
    pub offset: usize,
}

/// One element of [`LocatorPreferences`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Preference {
    /// BROKEN 0x01, TRANSIENT 0x02.
    pub flags: u8,
    /// As in DNS SRV: lower is tried first. `None` where Element Len is 1.
    pub priority: Option<u8>,
    /// As in DNS SRV. `None` where Element Len is below 3.
    pub weight: Option<u8>,
}

/// Why octets are no message that can be processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// Drop without reply: too short, bad checksum, S = 1, bad length, malformed or duplicate option, ...
    Drop {
        /// For the counter and the log.
        reason: DropReason,
    },
    /// Reply Error code 0, pointer at octet 2 (S6-12.3-5).
    UnknownType {
        /// The message type.
        ty: u8,
    },
    /// Reply Error code 1, pointer at the option's Type field (S6-12.3-6).
    CriticalOption {
        /// Option type.
        ty: u16,
        /// Offset of its first octet in the message.
        offset: usize,
        /// Type of the message that carries it.
        message: u8,
    },
}

/// Reasons of [`ParseError::Drop`]; one counter each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// Shorter than the header says or than its type needs.
    Truncated,
    /// Checksum does not verify.
    Checksum,
    /// S = 1 (S6-5.3-4).
    NotShim6,
    /// Hdr Ext Len is below the minimum of the type.
    TooShort,
    /// Option overruns, is a duplicate, or has a wrong fixed length (S6-N-34).
    BadOption,
    /// A mandatory option is missing (S6-N-35).
    MissingOption,
    /// Probe with Sta 3, no sent block, or counters beyond the message (RE-PR-08 to RE-PR-10).
    BadProbe,
    /// Payload extension header with Hdr Ext Len other than 0 (S6-N-38).
    BadPayloadHeader,
    /// IPv6 source or destination is multicast or unspecified (S6-12.3-3).
    BadAddress,
}

/// A packet of protocol 140, as [`parse`] tells the two kinds apart (S6-N-2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// P = 0.
    Control(Message),
    /// P = 1.
    Payload {
        /// CT(local) of the receiver.
        tag: ContextTag,
        /// Protocol of `data`.
        next_header: u8,
        /// What follows the header.
        data: &'a [u8],
    },
}
