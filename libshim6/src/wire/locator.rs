//! Locator List and Locator Preferences options (RFC 5533 sections 5.15.2 and 5.15.3).

use super::bytes::{address, be32};
use super::{EmitError, option_len};
use std::net::Ipv6Addr;

/// Locator List option (S6-5.15.2-1).
#[derive(Clone, Debug)]
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

/// Flags of a [`Preference`] (S6-5.15.3-3).
pub mod preference_flag {
    /// Known not to work.
    pub const BROKEN: u8 = 0x01;
    /// Less stable than others.
    pub const TRANSIENT: u8 = 0x02;
}

const KNOWN_FLAGS: u8 = preference_flag::BROKEN | preference_flag::TRANSIENT;

/// Locator Preferences option (S6-5.15.3-1).
#[derive(Clone, Debug)]
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

/// Where the locators start in the contents of a list of `n`: behind generation, count and methods, padded so that
/// they are aligned to 8 octets in the message (S6-5.15.2-1).
const fn locators_at(n: usize) -> usize {
    // Contents start 4 octets behind a boundary.
    (4 + 5 + n).next_multiple_of(8) - 4
}

impl LocatorList {
    /// Octets on the wire of a Locator List option with `n` locators.
    pub const fn encoded_len_for(n: usize) -> usize {
        option_len(locators_at(n) + 16 * n)
    }

    /// `offset` is that of the option in the message. S6-5.15.2-2, S6-N-36.
    pub(super) fn parse(contents: &[u8], offset: usize) -> Option<LocatorList> {
        let n = usize::from(*contents.get(4)?);
        if n == 0 || contents.len() != locators_at(n) + 16 * n {
            return None;
        }
        let locator = |i: usize| (contents[5 + i], address(contents, locators_at(n) + 16 * i));
        Some(LocatorList {
            generation: be32(contents, 0),
            locators: (0..n).map(locator).collect(),
            methods_offset: offset + 4 + 5,
        })
    }

    pub(super) fn check(&self) -> Result<(), EmitError> {
        if self.locators.is_empty() || self.locators.len() > 255 {
            return Err(EmitError::LocatorCount { count: self.locators.len() });
        }
        Ok(())
    }

    pub(super) fn contents(&self) -> Vec<u8> {
        let locators = &self.locators[..self.locators.len().min(255)];
        let mut contents = self.generation.to_be_bytes().to_vec();
        contents.push(locators.len() as u8);
        contents.extend(locators.iter().map(|&(method, _)| method));
        contents.resize(locators_at(locators.len()), 0);
        contents.extend(locators.iter().flat_map(|(_, locator)| locator.octets()));
        contents
    }
}

/// Compares what is on the wire; the place in a message is none of it.
impl PartialEq for LocatorList {
    fn eq(&self, other: &Self) -> bool {
        (self.generation, &self.locators) == (other.generation, &other.locators)
    }
}

impl Eq for LocatorList {}

impl LocatorPreferences {
    /// Octets on the wire of a Locator Preferences option with `n` elements of `element_len` octets.
    pub const fn encoded_len_for(n: usize, element_len: usize) -> usize {
        option_len(5 + n * element_len)
    }

    /// `offset` is that of the option in the message. Unknown flags are dropped (S6-5.15.3-9), octets of an element
    /// behind the third skipped (S6-5.15.3-7).
    pub(super) fn parse(contents: &[u8], offset: usize) -> Option<LocatorPreferences> {
        let element_len = usize::from(*contents.get(4)?);
        let element = |octets: &[u8]| Preference {
            flags: octets[0] & KNOWN_FLAGS,
            priority: octets.get(1).copied(),
            weight: octets.get(2).copied(),
        };
        let elements = &contents[5..];
        Some(LocatorPreferences {
            generation: be32(contents, 0),
            elements: (element_len != 0 && elements.len().is_multiple_of(element_len))
                .then(|| elements.chunks(element_len).map(element).collect()),
            offset,
        })
    }

    /// Element Len that holds what the elements tell.
    fn element_len(&self) -> usize {
        let elements = self.elements.iter().flatten();
        elements
            .map(|e| if e.weight.is_some() { 3 } else { 1 + usize::from(e.priority.is_some()) })
            .max()
            .unwrap_or(1)
    }

    pub(super) fn check(&self) -> Result<(), EmitError> {
        let elements = self.elements.as_deref().unwrap_or_default();
        let len = self.element_len();
        let uniform = |e: &Preference| e.priority.is_some() == (len > 1) && e.weight.is_some() == (len > 2);
        if elements.is_empty() || elements.len() > 255 || !elements.iter().all(uniform) {
            return Err(EmitError::Preferences);
        }
        Ok(())
    }

    /// What an element does not tell is sent as 0.
    pub(super) fn contents(&self) -> Vec<u8> {
        let len = self.element_len();
        let mut contents = self.generation.to_be_bytes().to_vec();
        contents.push(len as u8);
        for e in self.elements.iter().flatten() {
            let octets = [e.flags & KNOWN_FLAGS, e.priority.unwrap_or(0), e.weight.unwrap_or(0)];
            contents.extend(&octets[..len]);
        }
        contents
    }
}

/// Compares what is on the wire; the place in a message is none of it.
impl PartialEq for LocatorPreferences {
    fn eq(&self, other: &Self) -> bool {
        (self.generation, &self.elements) == (other.generation, &other.elements)
    }
}

impl Eq for LocatorPreferences {}
