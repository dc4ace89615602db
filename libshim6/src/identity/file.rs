//! Parameter files: an identity as text.

use super::{Identity, IdentityError};
use crate::crypto::{KeyError, Pds, PdsError, SigningKey};
use std::fmt;
use std::net::Ipv6Addr;
use std::sync::Arc;
use zeroize::{Zeroize, Zeroizing};

/// Most octets of a parameter file: a set of 32 addresses with the largest PDSs has about 60 000.
pub const MAX_FILE: usize = 128 * 1024;
/// Label of the blocks with a PDS.
pub const LABEL: &str = "SHIM6 CGA PARAMETERS";
/// Most blocks of a file.
const MAX_BLOCKS: usize = 256;
/// Labels of blocks with a private key: PKCS#8 and PKCS#1.
const KEY_LABELS: [&str; 2] = ["PRIVATE KEY", "RSA PRIVATE KEY"];
/// Label of a block with a private key under a passphrase.
const LOCKED_LABEL: &str = "ENCRYPTED PRIVATE KEY";
/// Header that names the file of the private key.
const KEY_FILE: &str = "Key-File";

/// Where the private key of an identity is.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum KeyPlace {
    /// There is none, or it is kept elsewhere.
    #[default]
    None,
    /// In the parameter file itself.
    Inside,
    /// In the file of this name in the same directory.
    Beside(String),
}

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
    /// The private key cannot be used.
    Key(KeyError),
    /// There is no private key where one is looked for, or there are several.
    Keys(usize),
    /// The private key has a passphrase.
    Locked,
    /// This is no name of a file in the same directory.
    KeyFile(String),
}

/// An identity as text: a comment, and for each member a PEM block of its PDS with the address as a header. The private
/// key is not in it.
pub fn to_text(identity: &Identity) -> String {
    let secret = "Public parameters; no secret is in here.";
    with_head(identity, secret, None)
}

/// The contents of a parameter file. With [`KeyPlace::Inside`] the private key is among them: the file must be closed to
/// others.
pub fn to_file(identity: &Identity, place: &KeyPlace) -> Zeroizing<String> {
    let key = if *place == KeyPlace::Inside { identity.key().and_then(|k| k.to_pem()) } else { None };
    let text = match (&key, place) {
        (Some(_), _) => {
            with_head(identity, "The private key at the end is SECRET: keep this file to yourself.", None)
        }
        (None, KeyPlace::Beside(name)) => with_head(
            identity,
            "Public parameters; the private key is in the file that is named.",
            Some(name),
        ),
        (None, _) => to_text(identity),
    };
    // Of its final size at once, so that no copy of the key is left behind
    let key = key.as_ref().map_or("", |k| k.as_str());
    let mut out = Zeroizing::new(String::with_capacity(text.len() + key.len()));
    out.push_str(&text);
    out.push_str(key);
    out
}

fn with_head(identity: &Identity, secret: &str, key_file: Option<&str>) -> String {
    let mut out =
        format!("Addresses made by Shim6 ({}, Sec {}). {secret}\n\n", identity.kind(), identity.sec());
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    let mut key_file = key_file;
    for addr in identity.members() {
        let Some(octets) = identity.pds_for(&addr) else { continue };
        let block = pem::encode_config(&pem::Pem::new(LABEL, octets), config);
        // The crate refuses header values with colons, which addresses have
        let (begin, rest) = block.split_once('\n').unwrap_or((&block, ""));
        let named = key_file.take().map(|name| format!("{KEY_FILE}: {name}\n")).unwrap_or_default();
        out.push_str(&format!("{begin}\nAddress: {addr}\n{named}\n{rest}"));
    }
    out
}

/// The identity in the text of a file. Every address is verified against its PDS. Blocks with other labels are skipped.
/// A private key in a file of its own is not looked for.
///
/// # Errors
///
/// See [`FileError`].
pub fn from_text(text: &[u8]) -> Result<Identity, FileError> {
    parse(text).map(|(identity, _)| identity)
}

/// As [`from_text`], with the place of the private key.
///
/// # Errors
///
/// See [`FileError`].
pub fn parse(text: &[u8]) -> Result<(Identity, KeyPlace), FileError> {
    let contents = contents(text)?;
    let mut members = Vec::new();
    for (i, (addr, pds)) in contents.parameters.into_iter().enumerate() {
        members.push((addr.ok_or(FileError::NoAddress(i + 1))?, pds));
    }
    let identity = Identity::new(members).map_err(FileError::Identity)?;
    let place = match contents.key_file {
        Some(name) if contents.keys > 0 || !plain_name(&name) => return Err(FileError::KeyFile(name)),
        Some(name) => KeyPlace::Beside(name),
        None if contents.keys == 0 => KeyPlace::None,
        None => KeyPlace::Inside,
    };
    if place != KeyPlace::Inside {
        return Ok((identity, place));
    }
    let key = private_key(text)?;
    Ok((identity.with_key(key).map_err(FileError::Identity)?, place))
}

/// The one private key in a PEM text (PKCS#8 or PKCS#1), or in bare DER.
///
/// # Errors
///
/// See [`FileError`].
pub fn private_key(text: &[u8]) -> Result<Arc<SigningKey>, FileError> {
    if text.len() > MAX_FILE {
        return Err(FileError::TooLarge);
    }
    if text.first() == Some(&0x30) {
        return SigningKey::from_der(text).map(Arc::new).map_err(FileError::Key);
    }
    let mut found = Vec::new();
    for block in pem::parse_many(text).map_err(|e| FileError::BadBlock(e.to_string()))? {
        if block.tag() == LOCKED_LABEL {
            return Err(FileError::Locked);
        }
        if KEY_LABELS.contains(&block.tag()) {
            let mut der = block.into_contents();
            found.push(SigningKey::from_der(&der).map_err(FileError::Key));
            der.zeroize();
        }
    }
    match found.pop() {
        Some(key) if found.is_empty() => Ok(Arc::new(key?)),
        last => Err(FileError::Keys(found.len() + usize::from(last.is_some()))),
    }
}

/// Whether a name has no directory in it.
fn plain_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0'])
}

/// The PDSs in a file, with their addresses where it tells: text as of [`to_text`], or the bare octets of one PDS as
/// other tools write them. Nothing is verified.
///
/// # Errors
///
/// See [`FileError`].
pub fn parameters(contents: &[u8]) -> Result<Vec<(Option<Ipv6Addr>, Pds)>, FileError> {
    self::contents(contents).map(|c| c.parameters)
}

/// What a parameter file has in it.
#[derive(Default)]
struct Contents {
    parameters: Vec<(Option<Ipv6Addr>, Pds)>,
    /// Private keys.
    keys: usize,
    key_file: Option<String>,
}

fn contents(contents: &[u8]) -> Result<Contents, FileError> {
    const BEGIN: &[u8] = b"-----BEGIN ";
    if contents.len() > MAX_FILE {
        return Err(FileError::TooLarge);
    }
    let begins = contents.windows(BEGIN.len()).filter(|w| *w == BEGIN).count();
    if begins == 0 {
        return match Pds::parse(contents) {
            Ok(pds) => Ok(Contents { parameters: vec![(None, pds)], ..Contents::default() }),
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
    let mut out = Contents::default();
    for block in blocks {
        if KEY_LABELS.contains(&block.tag()) {
            out.keys += 1;
            block.into_contents().zeroize();
            continue;
        }
        if block.tag() == LOCKED_LABEL {
            return Err(FileError::Locked);
        }
        if block.tag() != LABEL {
            continue;
        }
        let addr = match block.headers().get("Address") {
            Some(text) => Some(text.parse().map_err(|_| FileError::NoAddress(out.parameters.len() + 1))?),
            None => None,
        };
        if let Some(name) = block.headers().get(KEY_FILE) {
            out.key_file.get_or_insert_with(|| name.to_owned());
        }
        let shown = addr.unwrap_or(Ipv6Addr::UNSPECIFIED);
        out.parameters.push((addr, Pds::parse(block.contents()).map_err(|e| FileError::Pds(shown, e))?));
    }
    if out.parameters.is_empty() { Err(FileError::NoParameters) } else { Ok(out) }
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
            FileError::Key(e) => write!(f, "private key: {e}; restore the file, or make new addresses"),
            FileError::Keys(0) => f.write_str("no block \"PRIVATE KEY\" in it"),
            FileError::Keys(n) => write!(f, "{n} private keys in it, where one is wanted; remove the others"),
            FileError::Locked => f.write_str(
                "the private key has a passphrase, which nobody could type for a program; take it off with \
                 `openssl pkey -in FILE -out NEW`",
            ),
            FileError::KeyFile(name) => write!(
                f,
                "{KEY_FILE} \"{name}\" is not the name of a file in the same directory, or there is a key in this \
                 file too"
            ),
            FileError::Identity(e) => write!(f, "{e}; restore the file, or make a new set"),
        }
    }
}

impl std::error::Error for FileError {}
