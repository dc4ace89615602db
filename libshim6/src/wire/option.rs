//! Options (RFC 5533 section 5.15): the TLV, which option may stand in which message, and the options without a file
//! of their own.
//!
//! ```text
//!     0       2        4
//!    +-------+--------+----------------+---------------+
//!    |Type |C| Length | Contents       | Padding (0-7) |
//!    | 15   1|   16   | Length octets  | zero          |
//!    +-------+--------+----------------+---------------+
//! ```

use super::bytes::{address, be16, be32};
use super::{DropReason, EmitError, LocatorList, LocatorPreferences, ParseError, message_type, method};
use crate::addr::{Fii, FlowId};
use std::net::Ipv6Addr;

/// Option types (S6-5.15-4).
pub mod option_type {
    /// Responder Validator.
    pub const VALIDATOR: u16 = 1;
    /// Locator List.
    pub const LOCATOR_LIST: u16 = 2;
    /// Locator Preferences.
    pub const PREFERENCES: u16 = 3;
    /// CGA Parameter Data Structure.
    pub const PDS: u16 = 4;
    /// CGA Signature.
    pub const SIGNATURE: u16 = 5;
    /// ULID Pair.
    pub const ULID_PAIR: u16 = 6;
    /// Forked Instance Identifier.
    pub const FII: u16 = 7;
    /// Keepalive Timeout.
    pub const KEEPALIVE_TIMEOUT: u16 = 10;
    /// Capabilities for header suppression: ours, from the same range (draft-van-beijnum-shim6-suppress-header-00).
    pub const CAPABILITIES: u16 = 16384;
    /// Flow: ours, from the range that RFC 5533 leaves unassigned.
    pub const FLOW: u16 = 16385;
    /// Keepalive Timeout in milliseconds: ours, from the same range.
    pub const PRECISE_TIMEOUT: u16 = 16386;
}

/// Flags of the Capabilities option; bit 0 of the draft is the most significant one (LS-S-02 to LS-S-04).
pub mod capability {
    /// Bit 0: packets to the sender of the flags never carry the payload extension header.
    pub const ALWAYS: u8 = 0x80;
    /// Bit 1: equivalent locators per ULID.
    pub const EQUIVALENT: u8 = 0x40;
    /// Bit 2: transport demultiplexing.
    pub const TRANSPORT: u8 = 0x20;
    /// All that mean something; the others are sent as 0 and ignored on receipt (LS-S-05).
    pub const KNOWN: u8 = ALWAYS | EQUIVALENT | TRANSPORT;
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
    /// Type 7. An explicit 0 is read as absent, and never sent (S6-N-8).
    pub fii: Option<Fii>,
    /// Type 10, in seconds.
    pub keepalive_timeout: Option<u16>,
    /// Type 16384, ours: the flags of [`capability`].
    pub capabilities: Option<u8>,
    /// Type 16385, ours (DESIGN section 5): the sender's flow, ports as the sender sees them.
    pub flow: Option<FlowId>,
    /// Type 16386, ours: the sender's Send Timeout in milliseconds. Who sends it also honours that of its peer; 0 says
    /// no more than this. It beats type 10, which stands beside it for peers that know no milliseconds.
    pub precise_timeout: Option<u32>,
}

/// ULID Pair option (S6-5.15.6-2), as the sender of the message sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UlidPairOption {
    /// ULID of the sender of the message.
    pub sender: Ipv6Addr,
    /// ULID of the receiver of the message.
    pub receiver: Ipv6Addr,
}

/// Octets on the wire of an option with `contents` octets of contents (S6-5.15-1).
pub const fn option_len(contents: usize) -> usize {
    (4 + contents).next_multiple_of(8)
}

/// The options listed for a message type; others are skipped or refused by their C bit (S6-5.15-7, S6-5.15-9).
fn listed(message: u8) -> &'static [u16] {
    use option_type::*;
    match message {
        message_type::I1 => &[ULID_PAIR, FII, FLOW],
        message_type::R1 | message_type::R1BIS => &[VALIDATOR],
        message_type::I2 | message_type::I2BIS => &[
            VALIDATOR,
            LOCATOR_LIST,
            PREFERENCES,
            PDS,
            SIGNATURE,
            ULID_PAIR,
            FII,
            KEEPALIVE_TIMEOUT,
            CAPABILITIES,
            FLOW,
            PRECISE_TIMEOUT,
        ],
        message_type::R2 | message_type::UPDATE_REQUEST => {
            &[LOCATOR_LIST, PREFERENCES, PDS, SIGNATURE, KEEPALIVE_TIMEOUT, CAPABILITIES, PRECISE_TIMEOUT]
        }
        _ => &[],
    }
}

/// Octets of contents of the options that are ours.
fn own_length(ty: u16) -> usize {
    match ty {
        option_type::CAPABILITIES => 1,
        option_type::FLOW => 8,
        _ => 4,
    }
}

fn needs_validator(message: u8) -> bool {
    matches!(message, message_type::R1 | message_type::I2 | message_type::R1BIS | message_type::I2BIS)
}

const BAD_OPTION: ParseError = ParseError::Drop { reason: DropReason::BadOption };

/// One option as it stands in a message.
struct Tlv<'a> {
    ty: u16,
    critical: bool,
    contents: &'a [u8],
    /// Of the Type field in the message.
    offset: usize,
}

/// Split `message[start..]`; everything has to fit (S6-5.15-10).
fn split(message: &[u8], start: usize) -> Result<Vec<Tlv<'_>>, ParseError> {
    let mut options = Vec::new();
    let mut offset = start;
    while offset < message.len() {
        if message.len() - offset < 4 {
            return Err(BAD_OPTION);
        }
        let length = usize::from(be16(message, offset + 2));
        let end = offset + option_len(length);
        if end > message.len() {
            return Err(BAD_OPTION);
        }
        let type_and_c = be16(message, offset);
        options.push(Tlv {
            ty: type_and_c >> 1,
            critical: type_and_c & 1 != 0,
            contents: &message[offset + 4..offset + 4 + length],
            offset,
        });
        offset = end;
    }
    Ok(options)
}

impl Options {
    /// The options of a message of type `ty` from octet `start` on. That all of them fit is checked before any of them
    /// is judged, so that a message which overruns is never answered.
    pub(super) fn parse(message: &[u8], start: usize, ty: u8) -> Result<Options, ParseError> {
        let mut options = Options::default();
        let mut seen = 0_u32;
        for tlv in split(message, start)? {
            let Some(index) = listed(ty).iter().position(|&t| t == tlv.ty) else {
                if tlv.critical {
                    return Err(ParseError::CriticalOption { ty: tlv.ty, offset: tlv.offset, message: ty });
                }
                continue;
            };
            match tlv.ty {
                option_type::KEEPALIVE_TIMEOUT if tlv.contents.len() != 4 => {
                    tracing::debug!(
                        length = tlv.contents.len(),
                        "Keepalive Timeout option of a wrong length ignored"
                    );
                    continue;
                }
                // The types are no registered ones: another length is somebody else's option.
                option_type::FLOW | option_type::CAPABILITIES | option_type::PRECISE_TIMEOUT
                    if tlv.contents.len() != own_length(tlv.ty) =>
                {
                    if tlv.critical {
                        return Err(ParseError::CriticalOption {
                            ty: tlv.ty,
                            offset: tlv.offset,
                            message: ty,
                        });
                    }
                    continue;
                }
                _ => {}
            }
            if seen & 1 << index != 0 {
                return Err(BAD_OPTION);
            }
            seen |= 1 << index;
            options.set(&tlv).ok_or(BAD_OPTION)?;
        }
        if needs_validator(ty) && options.validator.is_none() {
            return Err(ParseError::Drop { reason: DropReason::MissingOption });
        }
        Ok(options)
    }

    /// `None` if the contents are malformed. Only for types that [`listed`] knows.
    fn set(&mut self, tlv: &Tlv<'_>) -> Option<()> {
        let contents = tlv.contents;
        match tlv.ty {
            option_type::VALIDATOR => self.validator = Some(contents.to_vec()),
            option_type::LOCATOR_LIST => self.locators = Some(LocatorList::parse(contents, tlv.offset)?),
            option_type::PREFERENCES => {
                self.preferences = Some(LocatorPreferences::parse(contents, tlv.offset)?)
            }
            option_type::PDS => self.pds = Some(contents.to_vec()),
            option_type::SIGNATURE => self.signature = Some(contents.to_vec()),
            option_type::ULID_PAIR if contents.len() == 36 => {
                self.ulid_pair =
                    Some(UlidPairOption { sender: address(contents, 4), receiver: address(contents, 20) });
            }
            option_type::FII if contents.len() == 4 => {
                self.fii = Some(be32(contents, 0)).filter(|&fii| fii != 0);
            }
            option_type::KEEPALIVE_TIMEOUT => self.keepalive_timeout = Some(be16(contents, 2)),
            option_type::CAPABILITIES => self.capabilities = contents.first().copied(),
            option_type::FLOW => {
                self.flow = Some(FlowId {
                    protocol: contents[0],
                    local_port: be16(contents, 4),
                    peer_port: be16(contents, 6),
                });
            }
            option_type::PRECISE_TIMEOUT => self.precise_timeout = Some(be32(contents, 0)),
            _ => return None,
        }
        Some(())
    }

    /// What must never be sent in a message of type `ty`.
    pub(super) fn check(&self, ty: u8) -> Result<(), EmitError> {
        if let Some(&option) = self.present().iter().find(|option| !listed(ty).contains(option)) {
            return Err(EmitError::OptionNotListed { message: ty, option });
        }
        if needs_validator(ty) && self.validator.is_none() {
            return Err(EmitError::MissingValidator);
        }
        if let Some(list) = &self.locators {
            list.check()?;
            // An Update Request may rely on the PDS that the peer has (S6-5.10-4).
            if self.pds.is_none() && ty != message_type::UPDATE_REQUEST {
                return Err(EmitError::MissingPds);
            }
            if self.signature.is_none() && list.locators.iter().any(|&(m, _)| m == method::CGA) {
                return Err(EmitError::MissingSignature);
            }
        }
        if let Some(preferences) = &self.preferences {
            preferences.check()?;
        }
        Ok(())
    }

    /// Types of the options that would be sent, in ascending order.
    fn present(&self) -> Vec<u16> {
        let mut types = Vec::new();
        self.each(|ty, _| types.push(ty));
        types
    }

    /// Octets of all options on the wire.
    pub fn encoded_len(&self) -> usize {
        let mut len = 0;
        self.each(|_, contents| len += option_len(contents.len()));
        len
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        self.each(|ty, contents| {
            // C = 0 for every option of ours (S6-N-5).
            let length = u16::try_from(contents.len()).unwrap_or(u16::MAX);
            out.extend((ty << 1).to_be_bytes());
            out.extend(length.to_be_bytes());
            out.extend(&contents[..usize::from(length)]);
            out.resize(out.len().next_multiple_of(8), 0);
        });
    }

    /// Type and contents of each option that is present, in ascending order of types.
    fn each(&self, mut take: impl FnMut(u16, &[u8])) {
        if let Some(validator) = &self.validator {
            take(option_type::VALIDATOR, validator);
        }
        if let Some(list) = &self.locators {
            take(option_type::LOCATOR_LIST, &list.contents());
        }
        if let Some(preferences) = &self.preferences {
            take(option_type::PREFERENCES, &preferences.contents());
        }
        if let Some(pds) = &self.pds {
            take(option_type::PDS, pds);
        }
        if let Some(signature) = &self.signature {
            take(option_type::SIGNATURE, signature);
        }
        if let Some(pair) = &self.ulid_pair {
            let mut contents = [0; 36];
            contents[4..20].copy_from_slice(&pair.sender.octets());
            contents[20..].copy_from_slice(&pair.receiver.octets());
            take(option_type::ULID_PAIR, &contents);
        }
        if let Some(fii) = self.fii.filter(|&fii| fii != 0) {
            take(option_type::FII, &fii.to_be_bytes());
        }
        if let Some(seconds) = self.keepalive_timeout {
            let [high, low] = seconds.to_be_bytes();
            take(option_type::KEEPALIVE_TIMEOUT, &[0, 0, high, low]);
        }
        if let Some(flags) = self.capabilities {
            take(option_type::CAPABILITIES, &[flags]);
        }
        if let Some(flow) = &self.flow {
            let [own, peer] = [flow.local_port.to_be_bytes(), flow.peer_port.to_be_bytes()];
            take(option_type::FLOW, &[flow.protocol, 0, 0, 0, own[0], own[1], peer[0], peer[1]]);
        }
        if let Some(milliseconds) = self.precise_timeout {
            take(option_type::PRECISE_TIMEOUT, &milliseconds.to_be_bytes());
        }
    }
}
