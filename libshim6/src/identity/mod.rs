//! Identities: the HBA sets and CGAs of this host, their parameter files, and how they match addresses.
//!
//! Enters: parameter files, addresses. Leaves: [`Identity`] values whose addresses were all verified against their PDSs.
//!
//! # Parameter files
//!
//! Text with one PEM block (RFC 7468) for each address. The block holds the CGA Parameter Data Structure (RFC 3972 section
//! 3) as it is hashed and sent; a header tells the address, which the PDS alone does not (Sec is not in it). Text outside
//! of blocks is a comment, blocks with other labels are skipped.
//!
//! ```text
//! -----BEGIN SHIM6 CGA PARAMETERS-----
//! Address: 2001:db8:a:0:2c80:f425:fd62:ffe0
//!
//! AAECAwQFBgcICQoLDA1rmSABDbgACgAAADBMMA0GCSqGSIb3DQEBAQUAAzsAMDgC
//! ...
//! -----END SHIM6 CGA PARAMETERS-----
//! ```
//!
//! The blocks of a file are those of one HBA set, or one block of a CGA. The private key of a CGA or of a CGA-compatible
//! HBA set follows as a block `PRIVATE KEY` (PKCS#8), or stands in a file of its own in the same directory, which a header
//! `Key-File: NAME` of the first block names; whichever file holds it must be closed to others (mode 0600). Without the key
//! the addresses are used as far as they need no signature.
//!
//! A directory holds files `*.pem`. They are looked
//! for in the places that the configuration names, in `$XDG_CONFIG_HOME/shim6/identities` (`~/.config/...`) and in
//! `/etc/shim6/identities`. For checking an address ([`parameters`]) the bare octets of a PDS do as well.

mod file;
mod load;
#[cfg(test)]
mod tests;

pub use file::{
    FileError, KeyPlace, LABEL, MAX_FILE, from_text, parameters, parse, private_key, to_file, to_text,
};
pub use load::{
    EXTENSION, LoadProblem, Places, SYSTEM_DIR, load_all, load_files, read, read_contents, read_key,
    read_placed, user_dir,
};

use crate::crypto::{
    GenerateError, HbaSet, Pds, SigningKey, VerifyError, after_collision, sec_of, verify_cga,
};
use crate::rng::Rng;
use std::fmt;
use std::net::Ipv6Addr;
use std::sync::Arc;

/// What the addresses of an identity prove, and so which locators may be offered with them (DESIGN section 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IdentityKind {
    /// An HBA set without key: its members vouch for each other.
    Hba,
    /// A CGA-compatible HBA set: as [`IdentityKind::Hba`], and its key can sign for other addresses.
    CgaHba,
    /// A CGA: its key can sign for other addresses.
    Cga,
}

/// An HBA set or a CGA that addresses of this host belong to, with the private key if there is one and it is known.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    kind: IdentityKind,
    members: Vec<(Ipv6Addr, Pds)>,
    key: Option<Arc<SigningKey>>,
}

/// Why addresses and parameters are no identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityError {
    /// There is no member.
    Empty,
    /// This address does not belong to its PDS.
    Verify(Ipv6Addr, VerifyError),
    /// This address stands twice in the list.
    Duplicate(Ipv6Addr),
    /// The parameters of this address are not those of the set of the first one.
    Foreign(Ipv6Addr),
    /// The private key is not that of the public key in the parameters, or they have none.
    Key,
}

impl Identity {
    /// An identity from addresses, each with its own PDS. Several members have to be of one HBA set.
    ///
    /// # Errors
    ///
    /// See [`IdentityError`]; every address is verified against its PDS.
    pub fn new(members: Vec<(Ipv6Addr, Pds)>) -> Result<Identity, IdentityError> {
        let Some((_, first)) = members.first() else { return Err(IdentityError::Empty) };
        let kind = match first.multi_prefix() {
            Some(set) if set.p_flag => IdentityKind::CgaHba,
            Some(_) => IdentityKind::Hba,
            None => IdentityKind::Cga,
        };
        for (i, (addr, pds)) in members.iter().enumerate() {
            verify_cga(addr, pds).map_err(|e| IdentityError::Verify(*addr, e))?;
            if members[..i].iter().any(|(a, _)| a == addr) {
                return Err(IdentityError::Duplicate(*addr));
            }
            // The PDSs of a set differ in the Subnet Prefix only (HC-HBA-14); that prefix has to be one of the set
            let same = pds.modifier() == first.modifier()
                && pds.as_bytes()[24..] == first.as_bytes()[24..]
                && pds.multi_prefix().map_or(i == 0, |s| s.prefixes.contains(&pds.subnet_prefix()));
            if !same {
                return Err(IdentityError::Foreign(*addr));
            }
        }
        Ok(Identity { kind, members, key: None })
    }

    /// The identity of a set that was just made.
    pub fn from_set(set: &HbaSet) -> Identity {
        let key = set.members().first().is_some_and(|(_, pds)| pds.has_public_key());
        Identity {
            kind: if key { IdentityKind::CgaHba } else { IdentityKind::Hba },
            members: set.members().to_vec(),
            key: None,
        }
    }

    /// The same with the private key to sign with.
    ///
    /// # Errors
    ///
    /// [`IdentityError::Key`] if it is not the one that the addresses are made with.
    pub fn with_key(self, key: Arc<SigningKey>) -> Result<Identity, IdentityError> {
        let fits = |(_, pds): &(Ipv6Addr, Pds)| pds.has_public_key() && pds.key_der() == key.public_der();
        if !self.members.iter().all(fits) {
            return Err(IdentityError::Key);
        }
        Ok(Identity { key: Some(key), ..self })
    }

    /// Whether it can vouch for addresses that are none of its own: its private key is there (HC-SIG-09).
    pub fn can_sign(&self) -> bool {
        self.key.is_some()
    }

    /// The signature over locators of a list, in their order: contents of the CGA Signature option (RFC 5533 section
    /// 5.15.5). The same octets each time; `rng` only blinds the computation. `None` without private key.
    pub fn sign(&self, generation: u32, locators: &[Ipv6Addr], rng: &mut dyn Rng) -> Option<Vec<u8>> {
        self.key.as_ref()?.sign(generation, locators, rng)
    }

    /// A generation that [`Identity::sign`] was called with lately for these locators, to be taken again.
    pub fn recent_generation(&self, locators: &[Ipv6Addr]) -> Option<u32> {
        self.key.as_ref()?.recent_generation(locators)
    }

    /// Octets that [`Identity::sign`] gives; 0 without private key.
    pub fn signature_len(&self) -> usize {
        self.key.as_ref().map_or(0, |key| key.bits().div_ceil(8))
    }

    /// The identity that takes the place of this one after another host was found to have one of its addresses: all members
    /// with the next Collision Count (RFC 3972 section 4 step 8, RFC 5535 section 6 step 6.4). The old ones have to be
    /// withdrawn (HC-HBA-13).
    ///
    /// # Errors
    ///
    /// [`GenerateError::TooManyCollisions`] at the third collision.
    pub fn after_collision(&self) -> Result<Identity, GenerateError> {
        let members = self.members.iter().map(|(addr, pds)| after_collision(addr, pds));
        Ok(Identity { members: members.collect::<Result<_, _>>()?, ..self.clone() })
    }

    /// The private key, if it is known.
    pub fn key(&self) -> Option<&Arc<SigningKey>> {
        self.key.as_ref()
    }

    /// Collisions that its addresses were made anew after: 0 to 2.
    pub fn collision_count(&self) -> u8 {
        self.members.first().map_or(0, |(_, pds)| pds.collision_count())
    }

    /// What its addresses prove.
    pub fn kind(&self) -> IdentityKind {
        self.kind
    }

    /// Its addresses, in the order of the prefixes; never empty.
    pub fn members(&self) -> impl ExactSizeIterator<Item = Ipv6Addr> + '_ {
        self.members.iter().map(|(addr, _)| *addr)
    }

    /// Whether `addr` is one of its addresses.
    pub fn contains(&self, addr: &Ipv6Addr) -> bool {
        self.members.iter().any(|(a, _)| a == addr)
    }

    /// The parsed PDS of a member.
    pub fn parameters(&self, addr: &Ipv6Addr) -> Option<&Pds> {
        self.members.iter().find(|(a, _)| a == addr).map(|(_, pds)| pds)
    }

    /// The octets of the PDS of a member, for the CGA Parameter Data Structure option when `addr` is the ULID.
    pub fn pds_for(&self, addr: &Ipv6Addr) -> Option<&[u8]> {
        self.parameters(addr).map(Pds::as_bytes)
    }

    /// Sec of its addresses.
    pub fn sec(&self) -> u8 {
        self.members.first().map_or(0, |(addr, _)| sec_of(addr))
    }
}

/// The identity that `addr` belongs to: the first of the list that has it as a member.
pub fn match_identity(identities: &[Arc<Identity>], addr: &Ipv6Addr) -> Option<Arc<Identity>> {
    identities.iter().find(|i| i.contains(addr)).cloned()
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("kind", &self.kind)
            .field("members", &self.members().collect::<Vec<_>>())
            .field("can_sign", &self.can_sign())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for IdentityKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            IdentityKind::Hba => "HBA",
            IdentityKind::CgaHba => "CGA/HBA",
            IdentityKind::Cga => "CGA",
        })
    }
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IdentityError::Empty => f.write_str("there is no address"),
            IdentityError::Verify(addr, e) => write!(f, "{addr}: {e}"),
            IdentityError::Duplicate(addr) => write!(f, "{addr} is there twice"),
            IdentityError::Key => {
                f.write_str("the private key is not the one that the addresses were made with")
            }
            IdentityError::Foreign(addr) => write!(f, "{addr} is not of the set of the first address"),
        }
    }
}

impl std::error::Error for IdentityError {}
