//! Making addresses: HBA sets (RFC 5535 section 6) and CGAs (RFC 3972 section 4).

use super::pds::{COUNT_AT, KEY_AT, PREFIX_AT, Pds, PdsError, multi_prefix_octets};
use super::search::{Search, modifier_at};
use super::signature::{SignatureError, check_key};
use super::verify::{MAX_SEC, hash1, hash2, hash2_fits, sec_of};
use crate::rng::Rng;
use std::fmt;
use std::net::Ipv6Addr;
use std::ops::ControlFlow;

/// Most prefixes of a set (HC-MPE-06).
pub const MAX_PREFIXES: usize = 32;
/// Hash2 computations between two calls of [`Progress`].
const PROGRESS_STEP: u64 = 1 << 16;

/// Called now and then during the search for a modifier with the number of Hash2 computations so far; `Break` cancels.
/// The search takes `2^(16 * Sec)` computations on average and has no bound (HC-GEN-16).
pub type Progress<'a> = &'a mut dyn FnMut(u64) -> ControlFlow<()>;

/// Where the generation of a set starts. [`HbaSeed::random`] is the way to a good one; the fields are open so that a set
/// can be made again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HbaSeed {
    /// First modifier to try.
    pub modifier: [u8; 16],
    /// What stands in the Public Key field of a set without key; its top bit is taken as 1 (HC-HBA-05).
    pub extended_modifier: [u8; 48],
    /// 0 to 2.
    pub collision_count: u8,
}

/// Where the generation of a CGA starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgaSeed {
    /// First modifier to try.
    pub modifier: [u8; 16],
    /// 0 to 2.
    pub collision_count: u8,
}

/// Addresses that prove by hashing that they belong together, one for each prefix (RFC 5535 section 6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HbaSet {
    recipe: Recipe,
    prefixes: Vec<[u8; 8]>,
    count: u8,
    members: Vec<(Ipv6Addr, Pds)>,
}

/// Why no address was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GenerateError {
    /// There is no prefix.
    NoPrefix,
    /// There are more than [`MAX_PREFIXES`]; the number there is.
    TooManyPrefixes(usize),
    /// This prefix stands twice in the list.
    DuplicatePrefix([u8; 8]),
    /// Sec is not 0, 1 or 2 (HC-GEN-17).
    Sec(u8),
    /// The key cannot be used.
    Key(SignatureError),
    /// The result would be no valid PDS.
    Pds(PdsError),
    /// The third collision: give up (RFC 3972 section 4 step 8).
    TooManyCollisions,
    /// The parameters do not have the work in them that this Sec asks for.
    Work(u8),
    /// [`Progress`] said so.
    Cancelled,
}

/// What the members of a set have in common: all that goes into Hash2.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Recipe {
    sec: u8,
    modifier: [u8; 16],
    /// Key field and extensions.
    rest: Vec<u8>,
    tried: u64,
}

impl HbaSeed {
    /// A seed from random octets (HC-GEN-05, HC-HBA-04).
    pub fn random(rng: &mut dyn Rng) -> HbaSeed {
        let mut seed = HbaSeed { modifier: [0; 16], extended_modifier: [0; 48], collision_count: 0 };
        rng.fill(&mut seed.modifier);
        rng.fill(&mut seed.extended_modifier);
        seed
    }
}

impl CgaSeed {
    /// A seed from random octets (HC-GEN-05).
    pub fn random(rng: &mut dyn Rng) -> CgaSeed {
        let mut seed = CgaSeed { modifier: [0; 16], collision_count: 0 };
        rng.fill(&mut seed.modifier);
        seed
    }
}

impl HbaSet {
    /// A set for `prefixes` in their order, CGA-compatible if there is a key (a DER SubjectPublicKeyInfo). Sec 1 takes
    /// some milliseconds, Sec 2 minutes to hours; [`HbaSet::generate_from`] can be cancelled.
    ///
    /// # Errors
    ///
    /// See [`GenerateError`]; also if the key is not RSA or has less than 1024 bits (HC-KEY-01).
    pub fn generate(
        prefixes: &[[u8; 8]],
        sec: u8,
        key_der: Option<&[u8]>,
        rng: &mut dyn Rng,
    ) -> Result<HbaSet, GenerateError> {
        if let Some(key) = key_der {
            check_key(key).map_err(GenerateError::Key)?;
        }
        let seed = HbaSeed::random(rng);
        Self::generate_from(prefixes, sec, key_der, &seed, &mut |_| ControlFlow::Continue(()))
    }

    /// The set that `seed` gives: the same input gives the same set. The key is not looked at.
    ///
    /// # Errors
    ///
    /// See [`GenerateError`].
    pub fn generate_from(
        prefixes: &[[u8; 8]],
        sec: u8,
        key_der: Option<&[u8]>,
        seed: &HbaSeed,
        progress: Progress<'_>,
    ) -> Result<HbaSet, GenerateError> {
        check_prefixes(prefixes)?;
        let rest = set_rest(prefixes, key_der, &seed.extended_modifier);
        let recipe = Recipe::search(sec, seed.modifier, rest, progress)?;
        let mut set =
            HbaSet { recipe, prefixes: prefixes.to_vec(), count: seed.collision_count, members: Vec::new() };
        set.make_members()?;
        Ok(set)
    }

    /// The addresses with their PDSs, in the order of the prefixes.
    pub fn members(&self) -> &[(Ipv6Addr, Pds)] {
        &self.members
    }

    /// The addresses, in the order of the prefixes.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv6Addr> + '_ {
        self.members.iter().map(|(addr, _)| *addr)
    }

    /// Sec of the addresses.
    pub fn sec(&self) -> u8 {
        self.recipe.sec
    }

    /// The modifier that was found.
    pub fn modifier(&self) -> [u8; 16] {
        self.recipe.modifier
    }

    /// Hash2 computations that it took; 0 for Sec 0.
    pub fn tried(&self) -> u64 {
        self.recipe.tried
    }

    /// A member is in use by someone else: makes all members anew with the next Collision Count (RFC 5535 section 6
    /// step 6.4). What was assigned of the old ones has to be withdrawn (HC-HBA-13).
    ///
    /// # Errors
    ///
    /// [`GenerateError::TooManyCollisions`] at the third collision; the set stays as it was.
    pub fn regenerate_after_collision(&mut self) -> Result<(), GenerateError> {
        if self.count >= 2 {
            return Err(GenerateError::TooManyCollisions);
        }
        self.count += 1;
        self.make_members()
    }

    fn make_members(&mut self) -> Result<(), GenerateError> {
        self.members =
            self.prefixes.iter().map(|p| self.recipe.address(*p, self.count)).collect::<Result<_, _>>()?;
        Ok(())
    }
}

/// The CGA of `key_der` under `prefix` that `seed` gives (RFC 3972 section 4). On a collision call it again with the
/// modifier of the PDS and the next Collision Count.
///
/// # Errors
///
/// See [`GenerateError`]; also if the key is not RSA or has less than 1024 bits (HC-KEY-01).
pub fn generate_cga(
    prefix: [u8; 8],
    sec: u8,
    key_der: &[u8],
    seed: &CgaSeed,
    progress: Progress<'_>,
) -> Result<(Ipv6Addr, Pds), GenerateError> {
    check_key(key_der).map_err(GenerateError::Key)?;
    generate_cga_unchecked(prefix, sec, key_der, seed, progress)
}

/// As [`generate_cga`] for a key of any kind and length.
pub(super) fn generate_cga_unchecked(
    prefix: [u8; 8],
    sec: u8,
    key_der: &[u8],
    seed: &CgaSeed,
    progress: Progress<'_>,
) -> Result<(Ipv6Addr, Pds), GenerateError> {
    Recipe::search(sec, seed.modifier, key_der.to_vec(), progress)?.address(prefix, seed.collision_count)
}

impl Recipe {
    /// Steps 1 to 4 of RFC 5535 section 6, 1 to 3 of RFC 3972 section 4: a modifier that Hash2 agrees with.
    fn search(
        sec: u8,
        start: [u8; 16],
        rest: Vec<u8>,
        progress: Progress<'_>,
    ) -> Result<Recipe, GenerateError> {
        let search = Search::new(sec, rest)?;
        let mut tried = 0;
        let modifier = loop {
            if sec == 0 {
                break start;
            }
            if let Some(n) = search.find(&start, tried, PROGRESS_STEP) {
                tried = n + 1;
                break modifier_at(&start, n);
            }
            tried += PROGRESS_STEP;
            if progress(tried).is_break() {
                return Err(GenerateError::Cancelled);
            }
        };
        Ok(Recipe { sec, modifier, rest: search.into_rest(), tried })
    }

    /// The address under `prefix` and its PDS.
    fn address(&self, prefix: [u8; 8], count: u8) -> Result<(Ipv6Addr, Pds), GenerateError> {
        let mut octets = Vec::with_capacity(KEY_AT + self.rest.len());
        octets.extend_from_slice(&self.modifier);
        octets.extend_from_slice(&prefix);
        octets.push(count);
        octets.extend_from_slice(&self.rest);
        let pds = Pds::parse(&octets).map_err(GenerateError::Pds)?;
        Ok((address_of(&pds, self.sec)?, pds))
    }
}

/// The address with this Sec that a PDS stands for. Whether its Hash2 is good enough for Sec is not looked at.
///
/// # Errors
///
/// [`GenerateError::Sec`], or [`GenerateError::TooManyCollisions`] if the Collision Count is above 2.
pub fn address_of(pds: &Pds, sec: u8) -> Result<Ipv6Addr, GenerateError> {
    if sec > MAX_SEC {
        return Err(GenerateError::Sec(sec));
    }
    if pds.collision_count() > 2 {
        return Err(GenerateError::TooManyCollisions);
    }
    let (prefix, rest) = (pds.subnet_prefix(), &pds.as_bytes()[KEY_AT..]);
    let mut id = hash1(&pds.modifier(), prefix, pds.collision_count(), rest);
    id[0] = (id[0] & 0x1c) | (sec << 5);
    let mut addr = [0; 16];
    addr[..8].copy_from_slice(&prefix);
    addr[8..].copy_from_slice(&id);
    Ok(Ipv6Addr::from(addr))
}

/// All addresses that are made by the same parameters: those of the HBA set, or the one of a CGA. `sec` is taken as the
/// highest that Hash2 allows if it is not given.
///
/// # Errors
///
/// As [`address_of`], and [`GenerateError::Work`] if Hash2 is not good enough for `sec`.
pub fn addresses_of(pds: &Pds, sec: Option<u8>) -> Result<Vec<(Ipv6Addr, Pds)>, GenerateError> {
    let hash2 = hash2(&pds.modifier(), &pds.as_bytes()[KEY_AT..]);
    let fits = |sec: &u8| hash2_fits(&hash2, *sec);
    let sec = match sec {
        Some(sec) if sec > MAX_SEC => return Err(GenerateError::Sec(sec)),
        Some(sec) if !fits(&sec) => return Err(GenerateError::Work(sec)),
        Some(sec) => sec,
        None => (0..=MAX_SEC).rfind(fits).unwrap_or(0),
    };
    let prefixes = match pds.multi_prefix() {
        Some(set) => set.prefixes.clone(),
        None => vec![pds.subnet_prefix()],
    };
    prefixes
        .iter()
        .map(|prefix| {
            let pds = changed(pds, |octets| octets[PREFIX_AT..COUNT_AT].copy_from_slice(prefix))?;
            Ok((address_of(&pds, sec)?, pds))
        })
        .collect()
}

/// What takes the place of an address after a collision: the next Collision Count, all else the same (RFC 3972 section 4
/// step 8; for a set do it with all members, RFC 5535 section 6 step 6.4).
///
/// # Errors
///
/// [`GenerateError::TooManyCollisions`] at the third.
pub fn after_collision(addr: &Ipv6Addr, pds: &Pds) -> Result<(Ipv6Addr, Pds), GenerateError> {
    let pds = changed(pds, |octets| octets[COUNT_AT] = octets[COUNT_AT].saturating_add(1))?;
    Ok((address_of(&pds, sec_of(addr))?, pds))
}

fn changed(pds: &Pds, change: impl FnOnce(&mut [u8])) -> Result<Pds, GenerateError> {
    let mut octets = pds.as_bytes().to_vec();
    change(&mut octets);
    Pds::parse(&octets).map_err(GenerateError::Pds)
}

/// What follows the Collision Count in the PDSs of a set: key field and Multi-Prefix extension.
pub(super) fn set_rest(
    prefixes: &[[u8; 8]],
    key_der: Option<&[u8]>,
    extended_modifier: &[u8; 48],
) -> Vec<u8> {
    let mut rest = match key_der {
        Some(key) => key.to_vec(),
        None => extended_modifier_der(extended_modifier),
    };
    rest.extend_from_slice(&multi_prefix_octets(key_der.is_some(), prefixes));
    rest
}

pub(super) fn check_prefixes(prefixes: &[[u8; 8]]) -> Result<(), GenerateError> {
    if prefixes.is_empty() {
        return Err(GenerateError::NoPrefix);
    }
    if prefixes.len() > MAX_PREFIXES {
        return Err(GenerateError::TooManyPrefixes(prefixes.len()));
    }
    match prefixes.iter().enumerate().find(|(i, p)| prefixes[..*i].contains(p)) {
        Some((_, p)) => Err(GenerateError::DuplicatePrefix(*p)),
        None => Ok(()),
    }
}

/// The Extended Modifier dressed as a 384-bit RSA key with exponent 65537 (RFC 5535 section 6, HC-HBA-05): 78 octets.
fn extended_modifier_der(modifier: &[u8; 48]) -> Vec<u8> {
    const HEAD: [u8; 25] = [
        0x30, 0x4c, // SubjectPublicKeyInfo
        0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, // rsaEncryption
        0x05, 0x00, // NULL
        0x03, 0x3b, 0x00, // BIT STRING
        0x30, 0x38, // RSAPublicKey
        0x02, 0x31, 0x00, // modulus, made positive
    ];
    let mut out = HEAD.to_vec();
    out.push(modifier[0] | 0x80);
    out.extend_from_slice(&modifier[1..]);
    out.extend_from_slice(&[0x02, 0x03, 0x01, 0x00, 0x01]);
    out
}

impl fmt::Display for GenerateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GenerateError::NoPrefix => f.write_str("no prefix is given"),
            GenerateError::TooManyPrefixes(n) => {
                write!(f, "{n} prefixes are given, at most {MAX_PREFIXES} fit a set")
            }
            GenerateError::DuplicatePrefix(p) => {
                let mut a = [0; 16];
                a[..8].copy_from_slice(p);
                write!(f, "the prefix {}/64 is given twice", Ipv6Addr::from(a))
            }
            GenerateError::Sec(n) => write!(f, "Sec {n} is not defined, only 0, 1 and 2 are"),
            GenerateError::Key(e) => write!(f, "{e}"),
            GenerateError::Pds(e) => write!(f, "{e}"),
            GenerateError::TooManyCollisions => {
                f.write_str("the addresses of three sets in a row are in use elsewhere")
            }
            GenerateError::Work(n) => write!(f, "the CGA parameters are too weak for Sec {n}"),
            GenerateError::Cancelled => f.write_str("cancelled"),
        }
    }
}

impl std::error::Error for GenerateError {}
