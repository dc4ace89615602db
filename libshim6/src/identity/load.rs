//! Finding the parameter files of this host.

use super::file::{FileError, KeyPlace, MAX_FILE, parse, private_key};
use super::{Identity, IdentityError};
use crate::crypto::SigningKey;
use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

/// Where an administrator puts identities for all users (DESIGN section 9).
pub const SYSTEM_DIR: &str = "/etc/shim6/identities";
/// Ending of the parameter files that a directory is searched for.
pub const EXTENSION: &str = "pem";
/// Most files that are read from a directory, and most identities in total.
const MAX_FILES: usize = 1024;

/// A file or directory that could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadProblem {
    /// Which.
    pub path: PathBuf,
    /// Why, and what to do about it.
    pub problem: String,
}

/// The directory of the user's own identities: `$XDG_CONFIG_HOME/shim6/identities`, else below `~/.config`.
pub fn user_dir() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let config = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")))?;
    Some(config.join("shim6").join("identities"))
}

/// The places that identities are looked for in.
#[derive(Clone, Debug, Default)]
pub struct Places {
    extra: Vec<PathBuf>,
    standard: Vec<PathBuf>,
}

impl Places {
    /// `extra` (files, or directories with `*.pem` files), then the user's directory, as the environment names it now, and
    /// the system's.
    pub fn new(extra: &[PathBuf]) -> Places {
        let standard = user_dir().into_iter().chain([PathBuf::from(SYSTEM_DIR)]).collect();
        Places { extra: extra.to_vec(), standard }
    }

    /// What is there now; see [`load_all`].
    pub fn load(&self) -> (Vec<Arc<Identity>>, Vec<LoadProblem>) {
        let (found, problems) = load_from(&self.extra, &self.standard);
        (found.into_iter().map(|(_, identity)| identity).collect(), problems)
    }
}

/// All identities of the places `extra` (files, or directories with `*.pem` files), the user's directory and the
/// system's, in this order, each once. A file that cannot be used is a problem and does not stop the others; a standard
/// directory that does not exist is none.
pub fn load_all(extra: &[PathBuf]) -> (Vec<Arc<Identity>>, Vec<LoadProblem>) {
    Places::new(extra).load()
}

/// As [`load_all`], with the file that each identity is from.
pub fn load_files(extra: &[PathBuf]) -> (Vec<(PathBuf, Arc<Identity>)>, Vec<LoadProblem>) {
    let places = Places::new(extra);
    load_from(&places.extra, &places.standard)
}

pub(super) fn load_from(
    extra: &[PathBuf],
    standard: &[PathBuf],
) -> (Vec<(PathBuf, Arc<Identity>)>, Vec<LoadProblem>) {
    let mut found: Vec<(PathBuf, Arc<Identity>)> = Vec::new();
    let mut problems = Vec::new();
    let places = extra.iter().map(|p| (p, false)).chain(standard.iter().map(|p| (p, true)));
    for (place, optional) in places {
        let files = match files_of(place) {
            Ok(files) => files,
            Err(e) if optional && e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => {
                problems.push(LoadProblem::io(place, &e));
                continue;
            }
        };
        for file in files {
            if found.len() >= MAX_FILES {
                let problem =
                    format!("not read: there are more than {MAX_FILES} identities; remove unused ones");
                problems.push(LoadProblem { path: file, problem });
                return (found, problems);
            }
            match read(&file) {
                Err(problem) => problems.push(problem),
                Ok(identity) => match found.iter_mut().find(|(_, i)| i.members().eq(identity.members())) {
                    None => found.push((file, Arc::new(identity))),
                    // A copy with the key serves better than one without
                    Some(same) if identity.can_sign() && !same.1.can_sign() => {
                        *same = (file, Arc::new(identity))
                    }
                    Some(_) => {}
                },
            }
        }
    }
    (found, problems)
}

/// The identity in a file, with its private key if this user may read it.
///
/// # Errors
///
/// If the file cannot be read, its contents do not verify, or others may read the private key (HC-SIG-15).
pub fn read(path: &Path) -> Result<Identity, LoadProblem> {
    read_placed(path).map(|(identity, _)| identity)
}

/// As [`read`], with the place of the private key.
///
/// # Errors
///
/// As [`read`].
pub fn read_placed(path: &Path) -> Result<(Identity, KeyPlace), LoadProblem> {
    let problem = |problem: String| LoadProblem { path: path.into(), problem };
    let (contents, mode) = read_with_mode(path)?;
    let (identity, place) = parse(&contents).map_err(|e| problem(e.to_string()))?;
    match &place {
        KeyPlace::None => Ok((identity, place)),
        KeyPlace::Inside => closed(path, mode).map(|()| (identity, place)),
        KeyPlace::Beside(name) => {
            let file = path.with_file_name(name);
            // The parameters are for all users, the key for its owner
            if access(&file, AccessFlags::R_OK) == Err(Errno::EACCES) {
                return Ok((identity, place));
            }
            let key = read_key(&file)?;
            let identity = identity.with_key(key).map_err(|e: IdentityError| LoadProblem {
                path: file,
                problem: format!("{e}; {} names it", path.display()),
            })?;
            Ok((identity, place))
        }
    }
}

/// The private key in a file: PEM (PKCS#8 or PKCS#1) or bare DER, without passphrase.
///
/// # Errors
///
/// If the file cannot be read, has no key that may sign locators, or others may read it (HC-SIG-15).
pub fn read_key(path: &Path) -> Result<Arc<SigningKey>, LoadProblem> {
    let (contents, mode) = read_with_mode(path)?;
    closed(path, mode)?;
    private_key(&contents).map_err(|e| LoadProblem { path: path.into(), problem: e.to_string() })
}

/// A private key that others can read is none.
fn closed(path: &Path, mode: u32) -> Result<(), LoadProblem> {
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let problem = format!(
        "it holds a private key, and others may open it (mode {:04o}); close it with `chmod 600 {}`, and make new \
         addresses if others had the chance to read it",
        mode & 0o7777,
        path.display()
    );
    Err(LoadProblem { path: path.into(), problem })
}

/// The contents of a parameter file, at most [`MAX_FILE`] octets.
///
/// # Errors
///
/// If the file cannot be read, is no regular file, or is too large.
pub fn read_contents(path: &Path) -> Result<Zeroizing<Vec<u8>>, LoadProblem> {
    read_with_mode(path).map(|(contents, _)| contents)
}

fn read_with_mode(path: &Path) -> Result<(Zeroizing<Vec<u8>>, u32), LoadProblem> {
    let problem = |e: io::Error| LoadProblem::io(path, &e);
    // Before it is opened: a FIFO would block
    if !fs::metadata(path).map_err(problem)?.is_file() {
        return Err(LoadProblem {
            path: path.into(),
            problem: "not a regular file; give a parameter file".into(),
        });
    }
    let file = File::open(path).map_err(problem)?;
    let meta = file.metadata().map_err(problem)?;
    // Of its final size at once, so that no copy of a key is left behind
    let size = usize::try_from(meta.len()).unwrap_or(usize::MAX).min(MAX_FILE) + 1;
    let mut contents = Zeroizing::new(Vec::with_capacity(size));
    file.take(MAX_FILE as u64 + 1).read_to_end(&mut contents).map_err(problem)?;
    if contents.len() > MAX_FILE {
        return Err(LoadProblem { path: path.into(), problem: FileError::TooLarge.to_string() });
    }
    Ok((contents, meta.mode()))
}

/// `place` itself if it is a file, else its parameter files in the order of their names.
fn files_of(place: &Path) -> io::Result<Vec<PathBuf>> {
    if !fs::metadata(place)?.is_dir() {
        return Ok(vec![place.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(place)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|e| e == EXTENSION) {
            files.push(path);
        }
        // One more than is read, so that it is told
        if files.len() > MAX_FILES {
            break;
        }
    }
    files.sort();
    Ok(files)
}

impl LoadProblem {
    fn io(path: &Path, e: &io::Error) -> LoadProblem {
        let remedy = match e.kind() {
            io::ErrorKind::PermissionDenied => "; make it readable for this user, or run as its owner",
            io::ErrorKind::NotFound => "; check the path, or make a set with `shim6 address generate`",
            _ => "",
        };
        LoadProblem { path: path.into(), problem: format!("{e}{remedy}") }
    }
}

impl fmt::Display for LoadProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.problem)
    }
}

impl std::error::Error for LoadProblem {}
