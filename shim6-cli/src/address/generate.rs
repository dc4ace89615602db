//! `shim6 address generate`.

use super::{Prefix, default_dir, index_of, links};
use clap::Args;
use shim6::crypto::{HbaSeed, HbaSet, MAX_PREFIXES};
use shim6::driver::netlink::on_link_prefixes;
use shim6::driver::random::SystemRng;
use shim6::identity::{EXTENSION, Identity, to_text};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{ErrorKind, IsTerminal, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Args, Debug)]
pub(super) struct GenerateArgs {
    /// A /64 prefix; repeat it for each [default: the prefixes found on the interfaces]
    #[arg(long = "prefix", value_name = "PREFIX/64")]
    prefixes: Vec<Prefix>,
    /// Take the prefixes of this interface; repeat it for several [default: all that are up]
    #[arg(long = "interface", value_name = "INTERFACE")]
    interfaces: Vec<String>,
    /// How much work it takes to find other parameters for an address: 0 none extra, 1 some milliseconds to make, 2 minutes
    /// to hours to make
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=2))]
    sec: u8,
    /// Where to write the parameters; `-` for standard output [default: a file named after the first address in
    /// /etc/shim6/identities for root, else in ~/.config/shim6/identities]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Overwrite the file if it exists
    #[arg(long)]
    force: bool,
}

pub(super) fn run(args: &GenerateArgs) -> Result<ExitCode, String> {
    // Before a search that may take hours
    if let Some(path) = args.output.as_deref().filter(|p| *p != Path::new("-") && !args.force)
        && path.symlink_metadata().is_ok()
    {
        return Err(exists(path));
    }
    let prefixes = prefixes(args)?;
    if prefixes.len() == 1 {
        eprintln!("shim6: note: one prefix gives one address, so there is no other path to change to");
    }
    let set = search(&prefixes, args.sec)?;
    let identity = Identity::from_set(&set);
    let text = to_text(&identity);
    if args.output.as_deref() == Some(Path::new("-")) {
        print!("{text}");
        return Ok(ExitCode::SUCCESS);
    }

    let root = nix::unistd::geteuid().is_root();
    let (path, mode) = match &args.output {
        Some(path) => (path.clone(), 0o600),
        None => {
            let first = set.addresses().next().map(|a| a.to_string().replace(':', "-")).unwrap_or_default();
            let dir = default_dir(root)?;
            // The parameters are public, and programs of all users are to find those of the system
            let (dir_mode, mode) = if root { (0o755, 0o644) } else { (0o700, 0o600) };
            DirBuilder::new()
                .recursive(true)
                .mode(dir_mode)
                .create(&dir)
                .map_err(|e| format!("cannot make the directory {}: {e}", dir.display()))?;
            (dir.join(first).with_extension(EXTENSION), mode)
        }
    };
    write(&path, &text, mode, args.force)?;
    for addr in set.addresses() {
        println!("{addr}");
    }
    eprintln!("shim6: parameters written to {}", path.display());
    eprintln!("shim6: put the addresses on the interfaces: shim6 address assign {}", path.display());
    Ok(ExitCode::SUCCESS)
}

/// What the user named, then what the interfaces have.
fn prefixes(args: &GenerateArgs) -> Result<Vec<[u8; 8]>, String> {
    let mut out: Vec<[u8; 8]> = args.prefixes.iter().map(|p| p.0).collect();
    if out.is_empty() || !args.interfaces.is_empty() {
        let links = links()?;
        let wanted =
            args.interfaces.iter().map(|name| index_of(&links, name)).collect::<Result<Vec<u32>, _>>()?;
        let found =
            on_link_prefixes().map_err(|e| format!("cannot list the prefixes of the interfaces: {e}"))?;
        for (name, ifindex) in args.interfaces.iter().zip(&wanted) {
            if !found.iter().any(|p| p.ifindex == *ifindex) {
                return Err(format!(
                    "{name} is down or has no global /64 prefix; set it up, or name its prefix with --prefix"
                ));
            }
        }
        for p in found {
            // The same prefix by two interfaces is one
            if (wanted.is_empty() || wanted.contains(&p.ifindex)) && !out.contains(&p.prefix) {
                out.push(p.prefix);
            }
        }
    }
    match out.len() {
        0 => Err("no interface that is up has a global /64 prefix; name the prefixes with --prefix".into()),
        n if n > MAX_PREFIXES => {
            Err(format!("there are {n} prefixes, at most {MAX_PREFIXES} fit a set; name some with --prefix"))
        }
        _ => Ok(out),
    }
}

fn search(prefixes: &[[u8; 8]], sec: u8) -> Result<HbaSet, String> {
    let seed = HbaSeed::random(&mut SystemRng::new());
    let shown = std::io::stderr().is_terminal() && sec > 1;
    let expected = 2f64.powi(16 * i32::from(sec));
    let mut progress = |tried: u64| {
        if shown && tried.is_multiple_of(1 << 22) {
            eprint!("\rshim6: searching, {:.2} of the usual work done ", tried as f64 / expected);
        }
        ControlFlow::Continue(())
    };
    let set = HbaSet::generate_from(prefixes, sec, None, &seed, &mut progress);
    if shown {
        eprintln!();
    }
    set.map_err(|e| format!("no set was made: {e}"))
}

fn exists(path: &Path) -> String {
    format!("{} exists; name another file, or overwrite it with --force", path.display())
}

/// Write a file of its own beside `path`, then give it the name, so that nobody sees half a file.
fn write(path: &Path, text: &str, mode: u32, force: bool) -> Result<(), String> {
    let name = path.file_name().ok_or_else(|| format!("{} is not the name of a file", path.display()))?;
    let mut hidden = std::ffi::OsString::from(".");
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
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        // A link, unlike a new name, never replaces what is there
        .and_then(|()| if force { fs::rename(&part, path) } else { fs::hard_link(&part, path) });
    if !force || done.is_err() {
        let _ = fs::remove_file(&part);
    }
    done.map_err(failed)
}
