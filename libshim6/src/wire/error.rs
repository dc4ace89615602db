//! Why octets are no message to process, and why a message must not be sent.

use super::message::type_name;
use std::fmt;

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

impl ParseError {
    pub(super) const fn drop(reason: DropReason) -> ParseError {
        ParseError::Drop { reason }
    }
}

impl DropReason {
    /// A short name for counters.
    pub fn name(self) -> &'static str {
        match self {
            DropReason::Truncated => "truncated",
            DropReason::Checksum => "checksum",
            DropReason::NotShim6 => "not-shim6",
            DropReason::TooShort => "too-short",
            DropReason::BadOption => "bad-option",
            DropReason::MissingOption => "missing-option",
            DropReason::BadProbe => "bad-probe",
            DropReason::BadPayloadHeader => "bad-payload-header",
            DropReason::BadAddress => "bad-address",
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParseError::Drop { reason } => write!(f, "dropped: {reason}"),
            ParseError::UnknownType { ty } => write!(f, "unknown message type {ty}"),
            ParseError::CriticalOption { ty, offset, message } => {
                let name = type_name(*message).unwrap_or("?");
                write!(f, "critical option {ty} at octet {offset} of {name}")
            }
        }
    }
}

impl std::error::Error for ParseError {}

/// Why [`Message::emit`](super::Message::emit) refuses: the message must never be sent. A mistake of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmitError {
    /// Longer than [`MAX_MESSAGE`](super::MAX_MESSAGE) (S6-5.1-2).
    TooLong {
        /// Octets that it would have.
        len: usize,
    },
    /// The message type does not list this option (RFC 5533 section 5).
    OptionNotListed {
        /// Message type.
        message: u8,
        /// Option type.
        option: u16,
    },
    /// R1, I2, R1bis, I2bis without Responder Validator (S6-5.5-2, S6-5.6-2, S6-5.8-2, S6-5.9-2).
    MissingValidator,
    /// Locator List without PDS in I2, I2bis or R2 (S6-5.6-5).
    MissingPds,
    /// Locator with method CGA without Signature (S6-5.6-6, S6-5.10-5).
    MissingSignature,
    /// Locator List with no or more than 255 locators.
    LocatorCount {
        /// How many.
        count: usize,
    },
    /// Preferences without elements, with more than 255, or with elements of unequal size.
    Preferences,
    /// Probe without sent block, or more than 15 blocks of a kind (RE-PR-04, RE-PR-19).
    ProbeBlocks {
        /// Sent blocks.
        sent: usize,
        /// Received blocks.
        received: usize,
    },
    /// Error message whose code is above 127 or which quotes nothing.
    ErrorMessage,
}

impl fmt::Display for EmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EmitError::TooLong { len } => write!(f, "message of {len} octets"),
            EmitError::OptionNotListed { message, option } => {
                write!(f, "option {option} in {}", type_name(*message).unwrap_or("?"))
            }
            EmitError::MissingValidator => f.write_str("no Responder Validator"),
            EmitError::MissingPds => f.write_str("Locator List without PDS"),
            EmitError::MissingSignature => f.write_str("CGA locator without Signature"),
            EmitError::LocatorCount { count } => write!(f, "Locator List of {count}"),
            EmitError::Preferences => f.write_str("malformed Locator Preferences"),
            EmitError::ProbeBlocks { sent, received } => {
                write!(f, "Probe with {sent} sent and {received} received blocks")
            }
            EmitError::ErrorMessage => f.write_str("Error message with a bad code or nothing quoted"),
        }
    }
}

impl std::error::Error for EmitError {}
