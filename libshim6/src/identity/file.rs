//! Parameter files: an identity as text.

use super::{Identity, IdentityError};
use crate::crypto::{Pds, PdsError};
use std::fmt;
use std::net::Ipv6Addr;

/// Most octets of a parameter file: a set of 32 addresses with the largest PDSs has about 60 000.
pub const MAX_FILE: usize = 128 * 1024;
/// Label of the blocks with a PDS.
pub const LABEL: &str = "SHIM6 CGA PARAMETERS";
/// Most blocks of a file.
const MAX_BLOCKS: usize = 256;

/// Why the contents of a file are no identity. The text says what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileError {
    /// It has more than [`MAX_FILE`] octets.
    TooLarge,
    /// It has no block of ours.
    NoParameters,
    /// A block is cut off, or not base64.
    BadBlock(String),
    /// The block with this number (from 1) has no header "Address", or no IPv6 address there.
    NoAddress(usize),
    /// The block of this address is no PDS.
    Pds(Ipv6Addr, PdsError),
    /// The addresses and parameters do not fit.
    Identity(IdentityError),
}

/// An identity as text: a comment, and for each member a PEM block of its PDS with the address as a header.
pub fn to_text(identity: &Identity) -> String {
    let mut out = format!(
        "Addresses made by Shim6 ({}, Sec {}). Public parameters; no secret is in here.\n\n",
        identity.kind(),
        identity.sec()
    );
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    for addr in identity.members() {
        let Some(octets) = identity.pds_for(&addr) else { continue };
        let block = pem::encode_config(&pem::Pem::new(LABEL, octets), config);
        // The crate refuses header values with colons, which addresses have
        let (begin, rest) = block.split_once('\n').unwrap_or((&block, ""));
        out.push_str(&format!("{begin}\nAddress: {addr}\n\n{rest}"));
    }
    out
}

/// The identity in the text of a file. Every address is verified against its PDS. Blocks with other labels are skipped.
///
/// # Errors
///
/// See [`FileError`].
pub fn from_text(text: &[u8]) -> Result<Identity, FileError> {
    let mut members = Vec::new();
    for (i, (addr, pds)) in parameters(text)?.into_iter().enumerate() {
        members.push((addr.ok_or(FileError::NoAddress(i + 1))?, pds));
    }
    Identity::new(members).map_err(FileError::Identity)
}

/// The PDSs in a file, with their addresses where it tells: text as of [`to_text`], or the bare octets of one PDS as
/// other tools write them. Nothing is verified.
///
/// # Errors
///
/// See [`FileError`].
pub fn parameters(contents: &[u8]) -> Result<Vec<(Option<Ipv6Addr>, Pds)>, FileError> {
    const BEGIN: &[u8] = b"-----BEGIN ";
    if contents.len() > MAX_FILE {
        return Err(FileError::TooLarge);
    }
    let begins = contents.windows(BEGIN.len()).filter(|w| *w == BEGIN).count();
    if begins == 0 {
        return match Pds::parse(contents) {
            Ok(pds) => Ok(vec![(None, pds)]),
            Err(_) => Err(FileError::NoParameters),
        };
    }
    let blocks = pem::parse_many(contents).map_err(|e| FileError::BadBlock(e.to_string()))?;
    // The parser stops silently at a block without end
    if blocks.len() != begins {
        return Err(FileError::BadBlock(format!("{} of {begins} blocks are complete", blocks.len())));
    }
    if begins > MAX_BLOCKS {
        return Err(FileError::TooLarge);
    }
    let mut out = Vec::new();
    for (i, block) in blocks.iter().filter(|b| b.tag() == LABEL).enumerate() {
        let addr = match block.headers().get("Address") {
            Some(text) => Some(text.parse().map_err(|_| FileError::NoAddress(i + 1))?),
            None => None,
        };
        let shown = addr.unwrap_or(Ipv6Addr::UNSPECIFIED);
        out.push((addr, Pds::parse(block.contents()).map_err(|e| FileError::Pds(shown, e))?));
    }
    if out.is_empty() { Err(FileError::NoParameters) } else { Ok(out) }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileError::TooLarge => write!(f, "too large for a parameter file (over {MAX_FILE} octets)"),
            FileError::NoParameters => {
                write!(f, "no block \"{LABEL}\" in it; make a file with `shim6 address generate`")
            }
            FileError::BadBlock(why) => write!(f, "damaged ({why}); restore it, or make a new set"),
            FileError::NoAddress(n) => {
                write!(
                    f,
                    "block {n} has no header \"Address:\" with an IPv6 address; restore the file, or make a new set"
                )
            }
            FileError::Pds(addr, e) => write!(f, "{addr}: {e}; restore the file, or make a new set"),
            FileError::Identity(e) => write!(f, "{e}; restore the file, or make a new set"),
        }
    }
}

impl std::error::Error for FileError {}
