//! CGA and HBA: parameter data structures, address generation and verification, signatures, keyed hashes.
//!
//! Enters: octets of parameter data structures, prefixes, injected randomness. Leaves: verdicts, addresses, digests.
//! Pure computation on `ring` and `rsa`; no file, clock or system call (those are in [`crate::identity`] and the driver).
//!
//! | item | for |
//! | --- | --- |
//! | [`Pds`] | the CGA Parameter Data Structure as it was received (RFC 3972 section 3, RFC 5535 section 5) |
//! | [`verify_cga`], [`verify_hba`] | does an address belong to a PDS (RFC 3972 section 5, RFC 5535 section 7) |
//! | [`HbaSet`], [`generate_cga`], [`addresses_of`], [`after_collision`] | making addresses (RFC 5535 section 6, RFC 3972 section 4) |
//! | [`Search`] | the search for a modifier in parts, for several threads |
//! | [`verify_signature`], [`SigningKey`] | the signed locator list (RFC 5533 section 5.15.5) |
//! | [`mac`], [`ct_eq`] | keyed hashes for validators (S6-N-41) |

mod generate;
mod key;
mod mac;
mod pds;
mod search;
mod signature;
mod verify;

pub use generate::{
    CgaSeed, GenerateError, HbaSeed, HbaSet, MAX_PREFIXES, Progress, address_of, addresses_of,
    after_collision, generate_cga,
};
pub use key::{DEFAULT_KEY_BITS, KeyError, SigningKey};
pub use mac::{MAC_LEN, ct_eq, mac};
pub use pds::{EXT_MULTI_PREFIX, MAX_PDS, MultiPrefix, NoMultiPrefix, Pds, PdsError};
pub use search::{Search, modifier_at};
pub use signature::{MAX_KEY_BITS, MIN_KEY_BITS, SignatureError, rsa_bits, signed_octets, verify_signature};
pub use verify::{VerifyError, sec_of, verify_cga, verify_hba};

#[cfg(test)]
mod rules_tests;
#[cfg(test)]
mod tests;
