//! The search for a modifier that Hash2 agrees with (RFC 3972 section 4 steps 1 to 3), in parts of any size.

use super::generate::{GenerateError, check_prefixes, set_rest};
use super::verify::{MAX_SEC, hash2};

/// All that goes into Hash2 but the modifier, and how many zero bits it has to begin with. A search that starts at a
/// random modifier and goes up by one each time can be cut into ranges, for several threads or several days.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    zero_bits: u32,
    rest: Vec<u8>,
}

impl Search {
    /// For an HBA set, CGA-compatible if there is a key; the arguments as for [`super::HbaSet::generate_from`].
    ///
    /// # Errors
    ///
    /// See [`GenerateError`]. The key is not looked at.
    pub fn for_set(
        prefixes: &[[u8; 8]],
        sec: u8,
        key_der: Option<&[u8]>,
        extended_modifier: &[u8; 48],
    ) -> Result<Search, GenerateError> {
        check_prefixes(prefixes)?;
        Search::new(sec, set_rest(prefixes, key_der, extended_modifier))
    }

    /// For a CGA of `key_der`. The prefix does not go into Hash2 (HC-GEN-14).
    ///
    /// # Errors
    ///
    /// [`GenerateError::Sec`].
    pub fn for_cga(sec: u8, key_der: &[u8]) -> Result<Search, GenerateError> {
        Search::new(sec, key_der.to_vec())
    }

    pub(super) fn new(sec: u8, rest: Vec<u8>) -> Result<Search, GenerateError> {
        if sec > MAX_SEC {
            return Err(GenerateError::Sec(sec));
        }
        Ok(Search { zero_bits: 16 * u32::from(sec), rest })
    }

    /// The same search, over after `2^zero_bits` computations on average instead: what it finds fits no Sec, so this is
    /// for trying out how a search is divided.
    pub fn with_difficulty(self, zero_bits: u32) -> Search {
        Search { zero_bits, ..self }
    }

    /// Hash2 computations that it takes on average.
    pub fn expected(&self) -> u64 {
        1u64.checked_shl(self.zero_bits).unwrap_or(u64::MAX)
    }

    /// Try `count` modifiers from `start + from` on (modulo 2^128, HC-GEN-07): the number, counted from `start`, of the
    /// first that fits.
    pub fn find(&self, start: &[u8; 16], from: u64, count: u64) -> Option<u64> {
        (from..from.saturating_add(count)).find(|n| self.fits(&modifier_at(start, *n)))
    }

    /// Whether Hash2 of this modifier is good.
    pub fn fits(&self, modifier: &[u8; 16]) -> bool {
        self.zero_bits == 0 || leading_zeros(&hash2(modifier, &self.rest)) >= self.zero_bits
    }

    pub(super) fn into_rest(self) -> Vec<u8> {
        self.rest
    }
}

/// The modifier `n` steps after `start`, big-endian with wrap-around (HC-GEN-07).
pub fn modifier_at(start: &[u8; 16], n: u64) -> [u8; 16] {
    u128::from_be_bytes(*start).wrapping_add(u128::from(n)).to_be_bytes()
}

fn leading_zeros(hash: &[u8; 14]) -> u32 {
    let mut octets = [0xff; 16];
    octets[..14].copy_from_slice(hash);
    u128::from_be_bytes(octets).leading_zeros()
}

#[cfg(test)]
mod tests;
