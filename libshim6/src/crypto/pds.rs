//! The CGA Parameter Data Structure (RFC 3972 section 3) with the Multi-Prefix extension (RFC 5535 section 5).
//!
//! ```text
//! 0       Modifier (16)
//! 16      Subnet Prefix (8)
//! 24      Collision Count (1)
//! 25      Public Key: a DER SubjectPublicKeyInfo, whose own length tells its end
//! ..      extensions: type (2), data length (2), data
//! ```

use std::fmt;

/// Longest PDS that is accepted, in octets: more would not fit an I2 of 1280 octets (HC-PDS-10).
pub const MAX_PDS: usize = 1240;
/// Type of the Multi-Prefix extension (RFC 5535 section 10).
pub const EXT_MULTI_PREFIX: u16 = 0x0012;

/// Octets before the Public Key field.
pub(super) const KEY_AT: usize = 25;
pub(super) const PREFIX_AT: usize = 16;
pub(super) const COUNT_AT: usize = 24;

/// A well-formed PDS. The octets are kept as they came and never encoded anew, because they are what is hashed
/// (HC-PDS-11).
#[derive(Clone, PartialEq, Eq)]
pub struct Pds {
    bytes: Vec<u8>,
    key_end: usize,
    multi_prefix: Result<MultiPrefix, NoMultiPrefix>,
    has_public_key: bool,
}

/// The Multi-Prefix extension: the prefixes of an HBA set in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultiPrefix {
    /// The P flag: the Public Key field holds a real key.
    pub p_flag: bool,
    /// Prefix[1] to Prefix[n], 64 bits each; never empty.
    pub prefixes: Vec<[u8; 8]>,
}

/// Why a PDS cannot be used with the HBA method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoMultiPrefix {
    /// It has no Multi-Prefix extension: a CGA.
    Absent,
    /// The octets after the key are no sequence of extensions (HC-PDS-08).
    MalformedExtensions,
    /// The extension has no prefix, or a part of one (HC-MPE-05).
    BadLength,
    /// There are several Multi-Prefix extensions (HC-MPE-05).
    Duplicate,
}

/// Why octets are no PDS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PdsError {
    /// Shorter than the fixed fields and a key, or than the key says; the octets there are.
    TooShort(usize),
    /// Longer than [`MAX_PDS`]; the octets there are.
    TooLong(usize),
    /// The Public Key field does not begin with the SEQUENCE of a SubjectPublicKeyInfo.
    NotASequence,
    /// The length of the Public Key field is not encoded in the shortest form of DER (HC-PDS-10).
    KeyLength,
}

impl Pds {
    /// Take octets apart. Of the key only the outer DER header is read (HC-PDS-04, HC-VER-16). Extensions that cannot be
    /// read make the HBA method unusable, not the PDS (HC-PDS-08); see [`Pds::multi_prefix`].
    ///
    /// # Errors
    ///
    /// See [`PdsError`]. A Collision Count above 2 is no error here; verification refuses it.
    pub fn parse(bytes: &[u8]) -> Result<Pds, PdsError> {
        if bytes.len() > MAX_PDS {
            return Err(PdsError::TooLong(bytes.len()));
        }
        let key = bytes.get(KEY_AT..).ok_or(PdsError::TooShort(bytes.len()))?;
        let key_len = sequence_len(key, bytes.len())?;
        if key_len > key.len() {
            return Err(PdsError::TooShort(bytes.len()));
        }
        let (multi_prefix, has_public_key) = read_extensions(&key[key_len..]);
        Ok(Pds { bytes: bytes.to_vec(), key_end: KEY_AT + key_len, multi_prefix, has_public_key })
    }

    /// The octets as received.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The 128-bit Modifier, network order.
    pub fn modifier(&self) -> [u8; 16] {
        self.bytes[..PREFIX_AT].try_into().expect("parse made sure of the fixed fields")
    }

    /// The Subnet Prefix of the address that this PDS was made for.
    pub fn subnet_prefix(&self) -> [u8; 8] {
        self.bytes[PREFIX_AT..COUNT_AT].try_into().expect("parse made sure of the fixed fields")
    }

    /// The Collision Count, which may be above 2 here.
    pub fn collision_count(&self) -> u8 {
        self.bytes[COUNT_AT]
    }

    /// The Public Key field, DER; for an HBA-only PDS the Extended Modifier.
    pub fn key_der(&self) -> &[u8] {
        &self.bytes[KEY_AT..self.key_end]
    }

    /// The octets behind the Public Key field.
    pub fn extensions(&self) -> &[u8] {
        &self.bytes[self.key_end..]
    }

    /// The Multi-Prefix extension, if the HBA method can be used with this PDS.
    pub fn multi_prefix(&self) -> Option<&MultiPrefix> {
        self.multi_prefix.as_ref().ok()
    }

    /// As [`Pds::multi_prefix`], with the reason if there is none.
    ///
    /// # Errors
    ///
    /// See [`NoMultiPrefix`].
    pub fn require_multi_prefix(&self) -> Result<&MultiPrefix, NoMultiPrefix> {
        self.multi_prefix.as_ref().map_err(|e| *e)
    }

    /// Whether the Public Key field is a real key: without a Multi-Prefix extension always, else by its P flag. Only
    /// then may the CGA method be used (HC-SIG-10).
    pub fn has_public_key(&self) -> bool {
        self.has_public_key
    }
}

/// Octets of the DER SEQUENCE at the start of `der`, header included. `have` is for the error only.
fn sequence_len(der: &[u8], have: usize) -> Result<usize, PdsError> {
    let short = PdsError::TooShort(have);
    if *der.first().ok_or(short)? != 0x30 {
        return Err(PdsError::NotASequence);
    }
    let first = *der.get(1).ok_or(short)?;
    match first {
        0..=0x7f => Ok(2 + usize::from(first)),
        0x81 => match *der.get(2).ok_or(short)? {
            0..=0x7f => Err(PdsError::KeyLength),
            n => Ok(3 + usize::from(n)),
        },
        0x82 => {
            let n = u16::from_be_bytes([*der.get(2).ok_or(short)?, *der.get(3).ok_or(short)?]);
            if n < 0x100 { Err(PdsError::KeyLength) } else { Ok(4 + usize::from(n)) }
        }
        // Indefinite, or a length that no accepted PDS can have
        _ => Err(PdsError::KeyLength),
    }
}

fn read_extensions(mut rest: &[u8]) -> (Result<MultiPrefix, NoMultiPrefix>, bool) {
    let mut found = Err(NoMultiPrefix::Absent);
    let mut seen = false;
    // An extension that cannot be used for HBA still tells whether the key is one
    let mut has_public_key = true;
    while !rest.is_empty() {
        let Some((head, after)) = rest.split_at_checked(4) else {
            return (Err(NoMultiPrefix::MalformedExtensions), has_public_key);
        };
        let kind = u16::from_be_bytes([head[0], head[1]]);
        let Some((data, after)) = after.split_at_checked(usize::from(u16::from_be_bytes([head[2], head[3]])))
        else {
            has_public_key &= kind != EXT_MULTI_PREFIX;
            return (Err(NoMultiPrefix::MalformedExtensions), has_public_key);
        };
        rest = after;
        if kind != EXT_MULTI_PREFIX {
            continue;
        }
        let p_flag = data.first().is_some_and(|b| b & 0x80 != 0);
        has_public_key &= p_flag;
        found = if seen {
            Err(NoMultiPrefix::Duplicate)
        } else if data.len() < 12 || data.len() % 8 != 4 {
            Err(NoMultiPrefix::BadLength)
        } else {
            let prefixes = data[4..].chunks_exact(8).map(|c| c.try_into().expect("chunks of 8")).collect();
            Ok(MultiPrefix { p_flag, prefixes })
        };
        seen = true;
    }
    (found, has_public_key)
}

/// The Multi-Prefix extension with its header (HC-PDS-07, HC-MPE-01 to HC-MPE-04); at most 8190 prefixes.
pub(super) fn multi_prefix_octets(p_flag: bool, prefixes: &[[u8; 8]]) -> Vec<u8> {
    let data_len = 4 + 8 * prefixes.len() as u16;
    let mut out = Vec::with_capacity(4 + usize::from(data_len));
    out.extend_from_slice(&EXT_MULTI_PREFIX.to_be_bytes());
    out.extend_from_slice(&data_len.to_be_bytes());
    out.extend_from_slice(&[u8::from(p_flag) << 7, 0, 0, 0]);
    out.extend_from_slice(prefixes.as_flattened());
    out
}

impl fmt::Debug for Pds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pds")
            .field("octets", &self.bytes.len())
            .field("subnet_prefix", &self.subnet_prefix())
            .field("collision_count", &self.collision_count())
            .field("multi_prefix", &self.multi_prefix)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for PdsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PdsError::TooShort(n) => write!(f, "the CGA parameters end too early, after {n} octets"),
            PdsError::TooLong(n) => write!(f, "the CGA parameters have {n} octets, more than {MAX_PDS}"),
            PdsError::NotASequence => f.write_str("the key in the CGA parameters is no SubjectPublicKeyInfo"),
            PdsError::KeyLength => f.write_str("the key length in the CGA parameters is not valid DER"),
        }
    }
}

impl std::error::Error for PdsError {}

impl fmt::Display for NoMultiPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NoMultiPrefix::Absent => "no Multi-Prefix extension",
            NoMultiPrefix::MalformedExtensions => "extensions that cannot be read",
            NoMultiPrefix::BadLength => "a Multi-Prefix extension of a wrong length",
            NoMultiPrefix::Duplicate => "several Multi-Prefix extensions",
        })
    }
}
