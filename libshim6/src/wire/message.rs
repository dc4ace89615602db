//! The control messages, and the table of what each type is made of.

use super::{ErrorMessage, Options, Probe};
use crate::addr::ContextTag;

/// Type numbers of the control messages (S6-5.3-2).
pub mod message_type {
    /// I1.
    pub const I1: u8 = 1;
    /// R1.
    pub const R1: u8 = 2;
    /// I2.
    pub const I2: u8 = 3;
    /// R2.
    pub const R2: u8 = 4;
    /// R1bis.
    pub const R1BIS: u8 = 5;
    /// I2bis.
    pub const I2BIS: u8 = 6;
    /// Update Request.
    pub const UPDATE_REQUEST: u8 = 64;
    /// Update Acknowledgement.
    pub const UPDATE_ACK: u8 = 65;
    /// Keepalive.
    pub const KEEPALIVE: u8 = 66;
    /// Probe.
    pub const PROBE: u8 = 67;
    /// Error.
    pub const ERROR: u8 = 68;
}

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

impl Message {
    /// The Type field (S6-5.3-2).
    pub fn type_number(&self) -> u8 {
        match self {
            Message::I1(_) => message_type::I1,
            Message::R1(_) => message_type::R1,
            Message::I2(_) => message_type::I2,
            Message::R2(_) => message_type::R2,
            Message::R1bis(_) => message_type::R1BIS,
            Message::I2bis(_) => message_type::I2BIS,
            Message::UpdateRequest(_) => message_type::UPDATE_REQUEST,
            Message::UpdateAck(_) => message_type::UPDATE_ACK,
            Message::Keepalive(_) => message_type::KEEPALIVE,
            Message::Probe(_) => message_type::PROBE,
            Message::Error(_) => message_type::ERROR,
        }
    }

    /// The name as in the RFCs.
    pub fn name(&self) -> &'static str {
        type_name(self.type_number()).unwrap_or("?")
    }

    /// The options; `None` for an Error message, which has none.
    pub fn options(&self) -> Option<&Options> {
        match self {
            Message::I1(m) => Some(&m.options),
            Message::R1(m) => Some(&m.options),
            Message::I2(m) => Some(&m.options),
            Message::R2(m) => Some(&m.options),
            Message::R1bis(m) => Some(&m.options),
            Message::I2bis(m) => Some(&m.options),
            Message::UpdateRequest(m) => Some(&m.options),
            Message::UpdateAck(m) => Some(&m.options),
            Message::Keepalive(m) => Some(&m.options),
            Message::Probe(m) => Some(&m.options),
            Message::Error(_) => None,
        }
    }

    /// The Receiver Context Tag of types 64 to 67: the messages of an established context (S6-12.4-5).
    pub fn receiver_tag(&self) -> Option<ContextTag> {
        match self {
            Message::UpdateRequest(m) => Some(m.receiver_tag),
            Message::UpdateAck(m) => Some(m.receiver_tag),
            Message::Keepalive(m) => Some(m.receiver_tag),
            Message::Probe(m) => Some(m.receiver_tag),
            _ => None,
        }
    }
}

/// The name of a message type; `None` for types that no RFC defines.
pub fn type_name(ty: u8) -> Option<&'static str> {
    Some(match ty {
        message_type::I1 => "I1",
        message_type::R1 => "R1",
        message_type::I2 => "I2",
        message_type::R2 => "R2",
        message_type::R1BIS => "R1bis",
        message_type::I2BIS => "I2bis",
        message_type::UPDATE_REQUEST => "Update Request",
        message_type::UPDATE_ACK => "Update Acknowledgement",
        message_type::KEEPALIVE => "Keepalive",
        message_type::PROBE => "Probe",
        message_type::ERROR => "Error",
        _ => return None,
    })
}

/// Octets of the fixed part of a message type: where its options (for an Error, the quoted packet) start.
pub fn fixed_len(ty: u8) -> Option<usize> {
    Some(match ty {
        message_type::I2 => 24,
        message_type::I2BIS => 32,
        message_type::ERROR => 8,
        _ if type_name(ty).is_some() => 16,
        _ => return None,
    })
}
