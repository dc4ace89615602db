//! Codec of the Shim6 wire format (RFC 5533 section 5, RFC 5534 section 5): octets in, [`Message`] out, and back.
//!
//! Nothing here knows contexts, time or sockets. A message starts at the shim header (the first octet after the
//! IPv6 header); all offsets in errors count from there, so that an Error message's Pointer is `40 + offset`.
//!
//! | in | out |
//! | --- | --- |
//! | [`parse`], [`check_addresses`]: octets and addresses of a received packet | [`Packet`], or [`ParseError`]: drop, or what to answer |
//! | [`Message::emit`], [`emit_payload_header`] | octets, or [`EmitError`]: the rule that the message would break |
//! | [`ErrorMessage::quoting`], [`ErrorMessage::quoted`], [`peek_quoted`] | Error messages, and what they and ICMPv6 errors are about |
//! | [`Options::encoded_len`], [`LocatorList::encoded_len_for`], [`Probe::max_blocks`] | how much fits into a message |
//! | [`ipv6`] | IPv6 header, Fragment header, checksum with pseudo-header |
//! | [`describe`], `Display` of [`Message`] | one line for the log |
//!
//! The codec judges form only. What needs a context is the engine's: whether locators verify, whether a preferences
//! option fits the list in force, whether the ULIDs of an option may be served (S6-N-40).

mod bytes;
mod error;
mod error_message;
mod header;
pub mod ipv6;
mod locator;
mod message;
mod option;
pub mod pretty;
mod probe;
#[cfg(test)]
mod tests;

pub use error::{DropReason, EmitError, ParseError};
pub use error_message::{ErrorMessage, MAX_QUOTE, Quoted, QuotedKind, error_code, peek_quoted};
pub use header::{Packet, check_addresses, checksum, emit_payload_header, parse};
pub use locator::{LocatorList, LocatorPreferences, Preference, method, preference_flag};
pub use message::{
    I1, I2, I2bis, Keepalive, Message, R1, R1bis, R2, UpdateAck, UpdateRequest, fixed_len, message_type,
    type_name,
};
pub use option::{Options, UlidPairOption, capability, option_len, option_type};
pub use pretty::describe;
pub use probe::{MAX_PROBE_BLOCKS, PROBE_BLOCK_LEN, Probe, ProbeBlock, ReapState};

/// IPv6 next header of Shim6.
pub const PROTOCOL: u8 = 140;
/// Most octets of a control message behind a bare IPv6 header (S6-5.1-2).
pub const MAX_MESSAGE: usize = 1240;
/// Octets of the payload extension header.
pub const PAYLOAD_HEADER_LEN: usize = 8;
