//! Whether ld.so will preload the library into a program: dynamic ELF, of this machine, not set-user-ID.

use super::Obstacle;
use object::elf::{FileHeader32, FileHeader64, Machine, PT_INTERP};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};
use object::{Endianness, FileKind, ReadCache};
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Why there is nothing to run.
#[derive(Debug, PartialEq, Eq)]
pub enum NotRunnable {
    /// No such file.
    Missing,
    /// A file, but not one to execute.
    NotExecutable(PathBuf),
}

/// The program that execvp() would take.
pub fn find(name: &OsStr, path: Option<&OsStr>) -> Result<PathBuf, NotRunnable> {
    let candidates: Vec<PathBuf> = if name.as_bytes().contains(&b'/') {
        vec![name.into()]
    } else {
        std::env::split_paths(path.unwrap_or(OsStr::new("/usr/local/bin:/usr/bin:/bin")))
            .map(|d| d.join(name))
            .collect()
    };
    let executable =
        |path: &Path| path.is_file() && nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok();
    match candidates.iter().find(|path| executable(path)) {
        Some(path) => Ok(path.clone()),
        None => Err(match candidates.into_iter().find(|path| path.exists()) {
            Some(path) => NotRunnable::NotExecutable(path),
            None => NotRunnable::Missing,
        }),
    }
}

/// What keeps the library out of a program. A script is judged by its interpreter. What cannot be read is not judged:
/// execution may be allowed where reading is not.
pub fn obstacles(path: &Path) -> Vec<Obstacle> {
    let mut path = path.to_owned();
    // The kernel gives up after four interpreters of interpreters.
    for _ in 0..5 {
        let Some(interpreter) = interpreter(&path) else { break };
        path = interpreter;
    }
    secure(&path).into_iter().chain(not_dynamic(&path)).collect()
}

/// The program that runs a script; `env` is looked through.
fn interpreter(path: &Path) -> Option<PathBuf> {
    let mut head = Vec::new();
    File::open(path).ok()?.take(256).read_to_end(&mut head).ok()?;
    let line = head.strip_prefix(b"#!")?.split(|&octet| octet == b'\n').next()?;
    let mut words = line.split(|octet| octet.is_ascii_whitespace()).filter(|word| !word.is_empty());
    let interpreter = PathBuf::from(OsStr::from_bytes(words.next()?));
    if interpreter.file_name() == Some(OsStr::new("env")) {
        let word = words.find(|word| !word.starts_with(b"-") && !word.contains(&b'='));
        let found = find(OsStr::from_bytes(word?), std::env::var_os("PATH").as_deref());
        return found.ok();
    }
    Some(interpreter)
}

/// ld.so ignores LD_PRELOAD in a program that gets more rights than its caller.
fn secure(path: &Path) -> Option<Obstacle> {
    let meta = std::fs::metadata(path).ok()?;
    let shown = path.display();
    let (uid, gid) = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
    let (set_uid, set_gid) = (meta.mode() & 0o4000 != 0, meta.mode() & 0o2010 == 0o2010);
    let reason = if set_uid && meta.uid() != uid {
        "set-user-ID"
    } else if set_gid && meta.gid() != gid {
        "set-group-ID"
    } else if uid != 0 && has_capabilities(path) {
        "a program with file capabilities"
    } else {
        return None;
    };
    Some(Obstacle::new(
        format!("{shown} is {reason}, and such programs ignore LD_PRELOAD"),
        "run it as root, or use a copy without that bit or those capabilities (`shim6 run` hands CAP_NET_RAW on)",
    ))
}

fn has_capabilities(path: &Path) -> bool {
    let mut value = [0u8; 64];
    rustix::fs::getxattr(path, "security.capability", &mut value).is_ok_and(|octets| octets > 0)
}

fn not_dynamic(path: &Path) -> Option<Obstacle> {
    let shown = path.display();
    let data = ReadCache::new(File::open(path).ok()?);
    let looks = match FileKind::parse(&data) {
        Ok(FileKind::Elf64) => look::<FileHeader64<Endianness>>(&data),
        Ok(FileKind::Elf32) => look::<FileHeader32<Endianness>>(&data),
        _ => {
            return Some(Obstacle::new(
                format!("{shown} is no ELF program"),
                "name the program that interprets it",
            ));
        }
    };
    // A file that cannot be understood is left to the kernel to judge.
    let looks = looks.ok()?;
    if own_kind().is_some_and(|own| own != (looks.is_64, looks.machine)) {
        return Some(Obstacle::new(
            format!("{shown} is for another kind of machine than the preload library"),
            "build the library for it and name it with --library",
        ));
    }
    if looks.go {
        return Some(Obstacle::new(
            format!("{shown} is a Go program, which makes its system calls itself, past the C library"),
            "nothing can be preloaded into it usefully; a program that uses the C library is needed",
        ));
    }
    if !looks.interpreted {
        return Some(Obstacle::new(
            format!("{shown} is statically linked, so nothing can be preloaded into it"),
            "link it dynamically, or use its distribution's dynamic package",
        ));
    }
    None
}

struct Looks {
    is_64: bool,
    machine: Machine,
    interpreted: bool,
    go: bool,
}

fn look<Elf: FileHeader<Endian = Endianness>>(data: &ReadCache<File>) -> object::Result<Looks> {
    let header = Elf::parse(data)?;
    let endian = header.endian()?;
    let interpreted =
        header.program_headers(endian, data)?.iter().any(|segment| segment.p_type(endian) == PT_INTERP);
    let sections = header.sections(endian, data)?;
    let go = sections.iter().any(|section| {
        sections
            .section_name(endian, section)
            .is_ok_and(|name| name == b".go.buildinfo" || name == b".note.go.buildid")
            && section.sh_size(endian).into() > 0u64
    });
    Ok(Looks { is_64: header.is_type_64(), machine: header.e_machine(endian), interpreted, go })
}

/// The kind of this tool, and so of the library of the same build.
fn own_kind() -> Option<(bool, Machine)> {
    use object::elf;
    let machine = match std::env::consts::ARCH {
        "x86_64" => elf::EM_X86_64,
        "x86" => elf::EM_386,
        "aarch64" => elf::EM_AARCH64,
        "arm" => elf::EM_ARM,
        "riscv64" => elf::EM_RISCV,
        "powerpc64" => elf::EM_PPC64,
        "s390x" => elf::EM_S390,
        "loongarch64" => elf::EM_LOONGARCH,
        _ => return None,
    };
    Some((cfg!(target_pointer_width = "64"), machine))
}

#[cfg(test)]
#[path = "program_tests.rs"]
mod tests;
