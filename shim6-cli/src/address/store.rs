//! Writing parameter files, key files and the state of searches.

use super::default_dir;
use shim6::identity::{EXTENSION, Identity, KeyPlace, to_file};
use std::ffi::OsString;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Ending of the files that hold private keys only.
const KEY_EXTENSION: &str = "key";

/// Where an identity goes.
pub(super) struct Target {
    pub(super) path: PathBuf,
    /// Mode of a file without secret in it.
    mode: u32,
    /// Overwrite what is there.
    force: bool,
}

impl Target {
    /// The file that the user named, or one named after `stem` in the standard place, whose directory is made.
    pub(super) fn new(output: Option<&Path>, stem: &str, force: bool) -> Result<Target, String> {
        if let Some(path) = output {
            return Ok(Target { path: path.to_owned(), mode: 0o600, force });
        }
        let root = nix::unistd::geteuid().is_root();
        let dir = standard_dir()?;
        // The parameters are public, and programs of all users are to find those of the system
        let mode = if root { 0o644 } else { 0o600 };
        Ok(Target { path: dir.join(stem).with_extension(EXTENSION), mode, force })
    }

    /// Where the private key goes: into the file itself, unless `apart`, or if others are to read the file.
    fn key_place(&self, apart: bool) -> Result<KeyPlace, String> {
        if !apart && self.mode == 0o600 {
            return Ok(KeyPlace::Inside);
        }
        let name = self.path.with_extension(KEY_EXTENSION);
        let name = name.file_name().and_then(|n| n.to_str()).map(str::to_owned);
        name.map(KeyPlace::Beside).ok_or_else(|| format!("{} is not the name of a file", self.path.display()))
    }

    /// Write the parameters, and the private key if there is one: to a file of its own if `apart`, nowhere if it is in
    /// `key_file` in the same directory already.
    pub(super) fn write(
        &self,
        identity: &Identity,
        apart: bool,
        key_file: Option<&Path>,
    ) -> Result<(), String> {
        let (place, new) = match (identity.key(), key_file.and_then(|file| beside(&self.path, file))) {
            (None, _) => (KeyPlace::None, false),
            (Some(_), Some(name)) => (KeyPlace::Beside(name), false),
            (Some(_), None) => (self.key_place(apart)?, true),
        };
        if let (KeyPlace::Beside(name), true, Some(key)) = (&place, new, identity.key()) {
            let text = key.to_pem().ok_or("the private key cannot be written")?;
            let path = self.path.with_file_name(name);
            write(&path, text.as_bytes(), 0o600, self.force)?;
            eprintln!("shim6: private key written to {}; keep it to yourself", path.display());
        }
        let mode = if place == KeyPlace::Inside { 0o600 } else { self.mode };
        write(&self.path, to_file(identity, &place).as_bytes(), mode, self.force)?;
        match place {
            KeyPlace::Inside => {
                eprintln!(
                    "shim6: parameters and private key written to {}; keep it to yourself",
                    self.path.display()
                );
            }
            _ => eprintln!("shim6: parameters written to {}", self.path.display()),
        }
        Ok(())
    }
}

/// The directory of [`default_dir`], made if there is none.
pub(super) fn standard_dir() -> Result<PathBuf, String> {
    let root = nix::unistd::geteuid().is_root();
    let dir = default_dir(root)?;
    DirBuilder::new()
        .recursive(true)
        .mode(if root { 0o755 } else { 0o700 })
        .create(&dir)
        .map_err(|e| format!("cannot make the directory {}: {e}", dir.display()))?;
    Ok(dir)
}

/// The name of `file` if it is in the directory of `path`.
fn beside(path: &Path, file: &Path) -> Option<String> {
    let dir = |p: &Path| match p.parent() {
        Some(dir) if dir != Path::new("") => dir.canonicalize(),
        _ => Path::new(".").canonicalize(),
    };
    let same = dir(path).ok()? == dir(file).ok()?;
    file.file_name().filter(|_| same)?.to_str().map(str::to_owned)
}

/// Put `identity` in the place of what is in its file, with the same mode.
pub(super) fn replace(path: &Path, identity: &Identity, place: &KeyPlace) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("cannot change {}: {e}", path.display());
    let path = path.canonicalize().map_err(failed)?;
    let mode = fs::metadata(&path).map_err(failed)?.mode() & 0o777;
    write(&path, to_file(identity, place).as_bytes(), mode, true)
}

/// Fail early if a file is in the way.
pub(super) fn free(path: &Path, force: bool) -> Result<(), String> {
    if !force && path.symlink_metadata().is_ok() { Err(exists(path)) } else { Ok(()) }
}

fn exists(path: &Path) -> String {
    format!("{} exists; name another file, or overwrite it with --force", path.display())
}

/// Write a file of its own beside `path`, then give it the name, so that nobody sees half a file.
pub(super) fn write(path: &Path, contents: &[u8], mode: u32, force: bool) -> Result<(), String> {
    let name = path.file_name().ok_or_else(|| format!("{} is not the name of a file", path.display()))?;
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}", std::process::id()));
    let part = path.with_file_name(hidden);
    let failed = |e: std::io::Error| match e.kind() {
        ErrorKind::AlreadyExists => exists(path),
        ErrorKind::PermissionDenied => {
            format!("cannot write {}: {e}; name another file with --output, or run as root", path.display())
        }
        _ => format!("cannot write {}: {e}", path.display()),
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&part).map_err(failed)?;
    let done = file
        .write_all(contents)
        .and_then(|()| file.sync_all())
        // A link, unlike a new name, never replaces what is there
        .and_then(|()| if force { fs::rename(&part, path) } else { fs::hard_link(&part, path) });
    if !force || done.is_err() {
        let _ = fs::remove_file(&part);
    }
    done.map_err(failed)
}
