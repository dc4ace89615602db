//! Verification of signed locator lists: RSASSA-PKCS1-v1_5 with SHA-1 (RFC 5533 section 5.15.5, RFC 3972 section 6).

use super::pds::Pds;
use super::verify::{VerifyError, verify_cga};
use ring::signature::{RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY, UnparsedPublicKey};
use std::fmt;
use std::net::Ipv6Addr;

/// Shortest modulus of a key that may sign locators (RFC 5533 section 16).
pub const MIN_KEY_BITS: usize = 1024;
/// Longest modulus that is accepted (HC-KEY-05).
pub const MAX_KEY_BITS: usize = 4096;

/// CGA Message Type tag of Shim6 (RFC 5533 sections 5.15.5 and 17).
const TYPE_TAG: [u8; 16] =
    [0x4a, 0x30, 0x56, 0x62, 0x48, 0x58, 0x57, 0x4b, 0x36, 0x55, 0x41, 0x6f, 0x50, 0x6a, 0x6d, 0x48];
/// AlgorithmIdentifier rsaEncryption with NULL parameters (RFC 3279 section 2.3.1).
const RSA_ENCRYPTION: [u8; 15] =
    [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

/// Why a signature, or a key, is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureError {
    /// The PDS is HBA-only: it has no key (HC-SIG-10).
    NoKey,
    /// The ULID is no CGA of the PDS (HC-SIG-05).
    Ulid(VerifyError),
    /// The key is not an RSA key in the form of RFC 3279 (HC-PDS-03, HC-VER-17).
    NotRsa,
    /// The modulus has this many bits, not [`MIN_KEY_BITS`] to [`MAX_KEY_BITS`].
    KeyBits(usize),
    /// The exponent is even or 1 (HC-KEY-07).
    Exponent,
    /// The signature is not one of this key over these locators.
    Signature,
}

/// The octets that a signature covers: type tag, Locator List Generation, and the locators whose method is CGA in the
/// order of the list (HC-SIG-01 to HC-SIG-03).
pub fn signed_octets(generation: u32, locators: &[Ipv6Addr]) -> Vec<u8> {
    let mut out = Vec::with_capacity(20 + 16 * locators.len());
    out.extend_from_slice(&TYPE_TAG);
    out.extend_from_slice(&generation.to_be_bytes());
    for locator in locators {
        out.extend_from_slice(&locator.octets());
    }
    out
}

/// Whether the holder of the key behind `ulid` signed `locators`: those of a Locator List whose method is CGA, in order.
/// `signature` is the contents of the CGA Signature option without padding. Costs one RSA verification, so call it only
/// for messages that a validator or a context vouches for.
///
/// # Errors
///
/// See [`SignatureError`].
pub fn verify_signature(
    ulid: &Ipv6Addr,
    pds: &Pds,
    generation: u32,
    locators: &[Ipv6Addr],
    signature: &[u8],
) -> Result<(), SignatureError> {
    if !pds.has_public_key() {
        return Err(SignatureError::NoKey);
    }
    verify_cga(ulid, pds).map_err(SignatureError::Ulid)?;
    let key = check_key(pds.key_der())?;
    UnparsedPublicKey::new(&RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY, key)
        .verify(&signed_octets(generation, locators), signature)
        .map_err(|_| SignatureError::Signature)
}

/// Whether a SubjectPublicKeyInfo is an RSA key that may sign locators; returns the RSAPublicKey inside.
pub(super) fn check_key(spki: &[u8]) -> Result<&[u8], SignatureError> {
    let (modulus, exponent, key) = rsa_parts(spki).ok_or(SignatureError::NotRsa)?;
    let bits = bits_of(modulus);
    if !(MIN_KEY_BITS..=MAX_KEY_BITS).contains(&bits) {
        return Err(SignatureError::KeyBits(bits));
    }
    if exponent == [1] || exponent.last().is_none_or(|b| b % 2 == 0) {
        return Err(SignatureError::Exponent);
    }
    Ok(key)
}

/// Bits of the modulus of a SubjectPublicKeyInfo, if that is an RSA key.
pub fn rsa_bits(spki: &[u8]) -> Option<usize> {
    rsa_parts(spki).map(|(modulus, _, _)| bits_of(modulus))
}

fn bits_of(modulus: &[u8]) -> usize {
    modulus.first().map_or(0, |b| 8 * modulus.len() - b.leading_zeros() as usize)
}

/// Modulus, exponent (both without leading zeros) and the RSAPublicKey around them.
fn rsa_parts(spki: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (spki, after) = der(0x30, spki)?;
    let bits = spki.strip_prefix(&RSA_ENCRYPTION)?;
    let (bits, after_bits) = der(0x03, bits)?;
    let key = bits.strip_prefix(&[0])?;
    let (fields, after_key) = der(0x30, key)?;
    let (modulus, rest) = der(0x02, fields)?;
    let (exponent, after_fields) = der(0x02, rest)?;
    if [after, after_bits, after_key, after_fields].iter().any(|s| !s.is_empty()) {
        return None;
    }
    Some((positive(modulus)?, positive(exponent)?, key))
}

/// The contents of a DER element of the given tag at the start of `input`, and what follows it.
fn der(tag: u8, input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = input.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => (usize::from(*rest.first()?), &rest[1..]),
        0x82 => {
            let (len, rest) = rest.split_at_checked(2)?;
            (usize::from(u16::from_be_bytes([len[0], len[1]])), rest)
        }
        _ => return None,
    };
    if found != tag {
        return None;
    }
    rest.split_at_checked(len)
}

/// A DER INTEGER above 0 without its sign octet.
fn positive(int: &[u8]) -> Option<&[u8]> {
    match int {
        [0, rest @ ..] if rest.first().is_some_and(|b| b & 0x80 != 0) => Some(rest),
        [1..=0x7f, ..] => Some(int),
        _ => None,
    }
}

impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SignatureError::NoKey => f.write_str("the CGA parameters are those of an HBA set without key"),
            SignatureError::Ulid(e) => write!(f, "the ULID is no CGA of the key: {e}"),
            SignatureError::NotRsa => {
                f.write_str("the key is not an RSA key (SubjectPublicKeyInfo, rsaEncryption)")
            }
            SignatureError::KeyBits(n) => {
                write!(f, "the RSA key has {n} bits, {MIN_KEY_BITS} to {MAX_KEY_BITS} are accepted")
            }
            SignatureError::Exponent => f.write_str("the exponent of the RSA key is even or 1"),
            SignatureError::Signature => f.write_str("the signature does not fit the locators"),
        }
    }
}

impl std::error::Error for SignatureError {}
