//! Does an address belong to a PDS: RFC 3972 section 5 and RFC 5535 section 7.

use super::pds::{COUNT_AT, NoMultiPrefix, PREFIX_AT, Pds};
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use std::fmt;
use std::net::Ipv6Addr;

/// The largest Sec value with a meaning (RFC 4982 section 6).
pub(super) const MAX_SEC: u8 = 2;

/// Why an address does not belong to a PDS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VerifyError {
    /// The PDS is not of the kind that the method needs (RFC 5533 section 7.2: Error code 2, not just a bad locator).
    MethodInconsistent(NoMultiPrefix),
    /// Collision Count is not 0, 1 or 2.
    CollisionCount(u8),
    /// The prefix of the address is not the Subnet Prefix (CGA) or not in the Multi-Prefix extension (HBA).
    Prefix,
    /// Sec of the address is 3 to 7, which has no meaning (HC-VER-07).
    Sec(u8),
    /// The interface identifier is not the one that the PDS gives.
    Hash1,
    /// The PDS does not have the work in it that Sec of the address asks for.
    Hash2,
}

impl VerifyError {
    /// Whether the method cannot be used with this kind of PDS at all (HC-VER-12, HC-USE-09).
    pub fn is_method_inconsistent(&self) -> bool {
        matches!(self, VerifyError::MethodInconsistent(_))
    }
}

/// Sec of an address: the three leftmost bits of its interface identifier (RFC 3972 section 2).
pub fn sec_of(addr: &Ipv6Addr) -> u8 {
    addr.octets()[8] >> 5
}

/// CGA verification of `addr` with `pds` (RFC 3972 section 5): at most two SHA-1 computations.
///
/// # Errors
///
/// The first check that failed, in the order Collision Count, prefix, Sec, Hash1, Hash2.
pub fn verify_cga(addr: &Ipv6Addr, pds: &Pds) -> Result<(), VerifyError> {
    check_count(pds)?;
    let prefix = prefix_of(addr);
    if prefix != pds.subnet_prefix() {
        return Err(VerifyError::Prefix);
    }
    check_hashes(addr, pds, prefix)
}

/// HBA verification of `addr` with the PDS of any member of the set (RFC 5535 section 7).
///
/// # Errors
///
/// [`VerifyError::MethodInconsistent`] if the PDS has no usable Multi-Prefix extension, else as [`verify_cga`].
pub fn verify_hba(addr: &Ipv6Addr, pds: &Pds) -> Result<(), VerifyError> {
    let set = pds.require_multi_prefix().map_err(VerifyError::MethodInconsistent)?;
    check_count(pds)?;
    let prefix = prefix_of(addr);
    if !set.prefixes.contains(&prefix) {
        return Err(VerifyError::Prefix);
    }
    check_hashes(addr, pds, prefix)
}

/// The leftmost 64 bits of an address.
pub(super) fn prefix_of(addr: &Ipv6Addr) -> [u8; 8] {
    addr.octets()[..8].try_into().expect("8 of 16 octets")
}

fn check_count(pds: &Pds) -> Result<(), VerifyError> {
    match pds.collision_count() {
        0..=2 => Ok(()),
        n => Err(VerifyError::CollisionCount(n)),
    }
}

/// The steps behind the prefix check, with `prefix` in the place of the Subnet Prefix.
fn check_hashes(addr: &Ipv6Addr, pds: &Pds, prefix: [u8; 8]) -> Result<(), VerifyError> {
    let sec = sec_of(addr);
    if sec > MAX_SEC {
        return Err(VerifyError::Sec(sec));
    }
    let bytes = pds.as_bytes();
    let (modifier, rest) = (&bytes[..PREFIX_AT], &bytes[COUNT_AT + 1..]);
    let hash1 = hash1(modifier, prefix, pds.collision_count(), rest);
    let id = u64::from_be_bytes(addr.octets()[8..].try_into().expect("8 of 16 octets"));
    // All but Sec, u and g
    if (u64::from_be_bytes(hash1) ^ id) & 0x1cff_ffff_ffff_ffff != 0 {
        return Err(VerifyError::Hash1);
    }
    if sec > 0 && !hash2_fits(&hash2(modifier, rest), sec) {
        return Err(VerifyError::Hash2);
    }
    Ok(())
}

/// Hash1: the leftmost 64 bits of SHA-1 over the PDS (RFC 3972 section 3). `rest` is what follows the Collision Count.
pub(super) fn hash1(modifier: &[u8], prefix: [u8; 8], count: u8, rest: &[u8]) -> [u8; 8] {
    sha1(modifier, &prefix, count, rest)[..8].try_into().expect("8 of 20 octets")
}

/// Hash2: the leftmost 112 bits of SHA-1 over the PDS with nine zero octets for Subnet Prefix and Collision Count.
pub(super) fn hash2(modifier: &[u8], rest: &[u8]) -> [u8; 14] {
    sha1(modifier, &[0; 8], 0, rest)[..14].try_into().expect("14 of 20 octets")
}

/// Whether the `16 * sec` leftmost bits are zero; `sec` is at most [`MAX_SEC`].
pub(super) fn hash2_fits(hash2: &[u8; 14], sec: u8) -> bool {
    hash2[..2 * usize::from(sec)].iter().all(|b| *b == 0)
}

#[cfg(test)]
thread_local! {
    /// Hashes computed by this thread.
    pub(super) static HASHES: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

fn sha1(modifier: &[u8], prefix: &[u8; 8], count: u8, rest: &[u8]) -> [u8; 20] {
    #[cfg(test)]
    HASHES.set(HASHES.get() + 1);
    let mut ctx = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    ctx.update(modifier);
    ctx.update(prefix);
    ctx.update(&[count]);
    ctx.update(rest);
    ctx.finish().as_ref().try_into().expect("SHA-1 has 20 octets")
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VerifyError::MethodInconsistent(why) => {
                write!(f, "the CGA parameters are not those of an HBA set: {why}")
            }
            VerifyError::CollisionCount(n) => write!(f, "the collision count is {n}, more than 2"),
            VerifyError::Prefix => f.write_str("the prefix of the address is not one of the CGA parameters"),
            VerifyError::Sec(n) => write!(f, "the address has Sec {n}, only 0, 1 and 2 are defined"),
            VerifyError::Hash1 => {
                f.write_str("the interface identifier is not the hash of the CGA parameters")
            }
            VerifyError::Hash2 => f.write_str("the CGA parameters are too weak for Sec of the address"),
        }
    }
}

impl std::error::Error for VerifyError {}
