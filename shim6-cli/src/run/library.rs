//! Where the preload library is, and how it gets into LD_PRELOAD.

use super::Obstacle;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

const NAME: &str = "libshim6_preload.so";

/// The library: `given`, or SHIM6_PRELOAD, or that of the same build or installation as this tool.
pub fn find(given: Option<&Path>) -> Result<PathBuf, Obstacle> {
    let named = given.map(Path::to_owned).or_else(|| std::env::var_os("SHIM6_PRELOAD").map(PathBuf::from));
    let found = match named {
        Some(named) => absolute_file(&named).ok_or_else(|| {
            Obstacle::new(
                format!("there is no library {}", named.display()),
                "correct --library or SHIM6_PRELOAD, or leave it out",
            )
        })?,
        None => beside_the_tool().ok_or_else(|| {
            Obstacle::new(
                format!("{NAME} is neither beside this tool nor in ../lib"),
                "build it (`cargo build --workspace`) or name it with --library",
            )
        })?,
    };
    // ld.so splits LD_PRELOAD at both.
    if found.as_os_str().as_bytes().iter().any(|octet| b" :".contains(octet)) {
        return Err(Obstacle::new(
            format!("{} has a space or a colon in its path, which LD_PRELOAD cannot carry", found.display()),
            "put the library somewhere else and name it with --library",
        ));
    }
    Ok(found)
}

fn beside_the_tool() -> Option<PathBuf> {
    let tool = std::env::current_exe().ok()?;
    let directory = tool.parent()?;
    let prefix = directory.parent().unwrap_or(directory);
    let multiarch = format!("lib/{}-linux-gnu", std::env::consts::ARCH);
    [directory.to_owned(), prefix.join("lib"), prefix.join("lib64"), prefix.join(multiarch)]
        .iter()
        .find_map(|directory| absolute_file(&directory.join(NAME)))
}

fn absolute_file(path: &Path) -> Option<PathBuf> {
    std::path::absolute(path).ok().filter(|path| path.is_file())
}

/// LD_PRELOAD with `library` added to what is there already.
pub fn preload(library: &Path, present: Option<&OsStr>) -> OsString {
    let present = present.unwrap_or_default().as_bytes();
    let library = library.as_os_str().as_bytes();
    if present.split(|octet| b" :".contains(octet)).any(|entry| entry == library) {
        return OsString::from_vec(present.to_vec());
    }
    // Last, so that libraries which must come first (sanitizers, allocators) stay there.
    let mut all = present.to_vec();
    if !all.is_empty() {
        all.push(b':');
    }
    all.extend_from_slice(library);
    OsString::from_vec(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_joins_those_that_are_preloaded() {
        let library = Path::new("/lib/libshim6_preload.so");
        let preload =
            |present: Option<&str>| preload(library, present.map(OsStr::new)).into_string().unwrap();
        assert_eq!(preload(None), "/lib/libshim6_preload.so");
        assert_eq!(preload(Some("")), "/lib/libshim6_preload.so");
        assert_eq!(preload(Some("/a.so b.so")), "/a.so b.so:/lib/libshim6_preload.so");
        assert_eq!(preload(Some("/lib/libshim6_preload.so /a.so")), "/lib/libshim6_preload.so /a.so");
    }

    #[test]
    fn a_library_that_ld_so_cannot_name_is_an_obstacle() {
        let directory = tempfile::Builder::new().prefix("with space").tempdir().unwrap();
        let library = directory.path().join(NAME);
        assert!(find(Some(&library)).unwrap_err().problem.contains("no library"));
        std::fs::write(&library, "").unwrap();
        assert!(find(Some(&library)).unwrap_err().problem.contains("space"));
    }
}
