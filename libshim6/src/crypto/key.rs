//! RSA key pairs that sign locator lists (RFC 3972 section 6). Why this library: `docs/cryptography.md`.

use super::signature::{MAX_KEY_BITS, MIN_KEY_BITS, SignatureError, check_key, signed_octets};
use crate::rng::Rng;
use parking_lot::Mutex;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use rsa::pkcs1::DecodeRsaPrivateKey;
use rsa::pkcs8::{DecodePrivateKey, EncodePrivateKey, EncodePublicKey, LineEnding};
use rsa::rand_core::{TryCryptoRng, TryRng};
use rsa::traits::PublicKeyParts;
use rsa::{Pkcs1v15Sign, RsaPrivateKey};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::net::Ipv6Addr;
use zeroize::Zeroizing;

/// Modulus bits of a new key unless asked for others (HC-KEY-06).
pub const DEFAULT_KEY_BITS: usize = 2048;

/// Signatures that are remembered.
const MAX_RECENT: usize = 16;

/// The DER before the digest in the block that is signed: DigestInfo of SHA-1 (HC-SIG-14).
const DIGEST_INFO: [u8; 15] =
    [0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00, 0x04, 0x14];

/// The private key behind a CGA or a CGA-compatible HBA set. It signs locator lists and does nothing else (HC-SIG-11);
/// neither `Debug` nor any other text shows more of it than its length (HC-SIG-15). Its memory is cleared on drop.
pub struct SigningKey {
    key: RsaPrivateKey,
    public: Vec<u8>,
    recent: Mutex<VecDeque<Signed>>,
}

/// A signature that was made.
struct Signed {
    generation: u32,
    locators: Vec<Ipv6Addr>,
    signature: Vec<u8>,
}

/// Why there is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// No key has this many bits: [`MIN_KEY_BITS`] to [`MAX_KEY_BITS`] in steps of 8.
    Bits(usize),
    /// The octets are no RSA private key, in PKCS#8 or PKCS#1 form without encryption, or its numbers do not fit.
    Malformed,
    /// It may not sign locators.
    Unfit(SignatureError),
}

impl SigningKey {
    /// A new key pair with exponent 65537. 2048 bits take about half a second, 4096 some seconds.
    ///
    /// # Errors
    ///
    /// [`KeyError::Bits`].
    pub fn generate(bits: usize, rng: &mut dyn Rng) -> Result<SigningKey, KeyError> {
        if !(MIN_KEY_BITS..=MAX_KEY_BITS).contains(&bits) || !bits.is_multiple_of(8) {
            return Err(KeyError::Bits(bits));
        }
        let key = RsaPrivateKey::new(&mut Draws(rng), bits).map_err(|_| KeyError::Bits(bits))?;
        SigningKey::new(key)
    }

    /// The key in a DER PrivateKeyInfo (PKCS#8, RFC 5958) or RSAPrivateKey (PKCS#1, RFC 8017).
    ///
    /// # Errors
    ///
    /// See [`KeyError`]; the numbers of the key are checked against each other.
    pub fn from_der(der: &[u8]) -> Result<SigningKey, KeyError> {
        let key = RsaPrivateKey::from_pkcs8_der(der)
            .or_else(|_| RsaPrivateKey::from_pkcs1_der(der))
            .map_err(|_| KeyError::Malformed)?;
        SigningKey::new(key)
    }

    fn new(key: RsaPrivateKey) -> Result<SigningKey, KeyError> {
        let public = key.to_public_key().to_public_key_der().map_err(|_| KeyError::Malformed)?.into_vec();
        check_key(&public).map_err(KeyError::Unfit)?;
        Ok(SigningKey { key, public, recent: Mutex::default() })
    }

    /// The public key, a DER SubjectPublicKeyInfo as it stands in a PDS (HC-PDS-03).
    pub fn public_der(&self) -> &[u8] {
        &self.public
    }

    /// Bits of the modulus.
    pub fn bits(&self) -> usize {
        self.key.n().bits_vartime() as usize
    }

    /// The private key as PEM block `PRIVATE KEY` (PKCS#8), for a file that is closed to others and nothing else.
    pub fn to_pem(&self) -> Option<Zeroizing<String>> {
        self.key.to_pkcs8_pem(LineEnding::LF).ok()
    }

    /// The signature over the locators whose method is CGA, in the order of the list: contents of the CGA Signature option
    /// without padding, as long as the modulus (RFC 5533 section 5.15.5). The octets are the same each time (HC-SIG-13);
    /// `rng` only blinds the computation against timing. `None` if it failed, which a good key does not.
    pub fn sign(&self, generation: u32, locators: &[Ipv6Addr], rng: &mut dyn Rng) -> Option<Vec<u8>> {
        let same = |s: &&Signed| s.generation == generation && s.locators == locators;
        if let Some(known) = self.recent.lock().iter().find(same) {
            return Some(known.signature.clone());
        }
        let octets = signed_octets(generation, locators);
        let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, &octets);
        let scheme = Pkcs1v15Sign { hash_len: Some(20), prefix: Box::new(DIGEST_INFO) };
        let signature = self.key.sign_with_rng(&mut Draws(rng), scheme, hash.as_ref()).ok()?;
        let mut recent = self.recent.lock();
        if recent.len() >= MAX_RECENT {
            recent.pop_front();
        }
        recent.push_back(Signed { generation, locators: locators.to_vec(), signature: signature.clone() });
        Some(signature)
    }

    /// A generation with which these locators were signed lately: signing them again with it costs nothing, so that peers
    /// that come and go do not make the host compute.
    pub fn recent_generation(&self, locators: &[Ipv6Addr]) -> Option<u32> {
        self.recent.lock().iter().rev().find(|s| s.locators == locators).map(|s| s.generation)
    }
}

impl PartialEq for SigningKey {
    fn eq(&self, other: &Self) -> bool {
        self.public == other.public
    }
}

impl Eq for SigningKey {}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("bits", &self.bits()).finish_non_exhaustive()
    }
}

/// The injected source in the form that the library wants.
struct Draws<'a>(&'a mut dyn Rng);

impl TryRng for Draws<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.0.u32())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.u64())
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(out);
        Ok(())
    }
}

/// As good as the source that was injected: the system's, outside of tests.
impl TryCryptoRng for Draws<'_> {}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyError::Bits(n) => {
                write!(f, "a key cannot have {n} bits, only {MIN_KEY_BITS} to {MAX_KEY_BITS} in steps of 8")
            }
            KeyError::Malformed => {
                f.write_str("not an RSA private key without passphrase (PKCS#8 or PKCS#1)")
            }
            KeyError::Unfit(e) => write!(f, "{e}"),
        }
    }
}

impl std::error::Error for KeyError {}

#[cfg(test)]
mod tests;
