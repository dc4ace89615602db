//! `shim6 address renew`: a new set in the place of one in use, for hosts whose addresses are not to be theirs for long (RFC
//! 5535 section 11.2, as RFC 8981 has it for single addresses).

use super::assign::{Outcome, addresses, wait_for_dad, withdraw};
use super::generate::{find, with_ending};
use super::job::{Job, stem_of};
use super::store::{replace, write};
use super::{Prefix, links, name_of};
use clap::Args;
use shim6::crypto::{SigningKey, rsa_bits};
use shim6::driver::netlink::{AddOptions, Address, Link, add_address};
use shim6::driver::random::SystemRng;
use shim6::identity::{EXTENSION, Identity, IdentityKind, KeyPlace, read_placed, to_file};
use std::fs;
use std::net::Ipv6Addr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Between the name of a file and the first address of a set that was in it.
const FORMER: &str = ".former-";

#[derive(Args, Debug)]
pub(super) struct RenewArgs {
    /// The parameter file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// How long the new addresses are preferred: longer than the time to the next call
    #[arg(long, value_name = "DUR", default_value = "2days", value_parser = humantime::parse_duration)]
    preferred: Duration,
    /// How long the old addresses stay, for the sessions that use them
    #[arg(long, value_name = "DUR", default_value = "7days", value_parser = humantime::parse_duration)]
    keep: Duration,
    /// Make the new addresses with the same key, by which everybody can tell whose they are [default: a new key]
    #[arg(long)]
    keep_key: bool,
    /// Threads to search with [default: one for each core]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Do not look whether another host has the new addresses (duplicate address detection)
    #[arg(long)]
    no_dad: bool,
}

pub(super) fn run(args: &RenewArgs) -> Result<ExitCode, String> {
    if args.keep < Duration::from_secs(1) {
        return Err("--keep: take at least 1s".into());
    }
    // Links lead to the file itself, whose neighbours the others are
    let file = args.file.canonicalize().map_err(|e| format!("{}: {e}", args.file.display()))?;
    let (old, old_place) = read_placed(&file).map_err(|e| e.to_string())?;
    let mut new = make(args, &file, &old)?;
    let place = place_of(&file, &new, &old, &old_place, args.keep_key);
    let links = links()?;
    let present: Vec<Address> = addresses()?.into_iter().filter(|a| old.contains(&a.addr)).collect();

    // Programs look for the file when they see an address that they do not know
    let former = former_of(&file, &old);
    let mode = fs::metadata(&file).map_err(|e| format!("{}: {e}", file.display()))?.mode() & 0o777;
    write(&former, to_file(&old, &old_place).as_bytes(), mode, true)?;
    let undo = |why: String| {
        let _ = replace(&file, &old, &old_place);
        let _ = fs::remove_file(&former);
        remove_key(&file, &place, &old_place);
        format!("{why}; everything is as it was")
    };
    loop {
        store(&file, &new, &place, &old_place).map_err(&undo)?;
        match put(&new, &present, args, &links) {
            Ok(Outcome::Done) => break,
            Ok(Outcome::Collided) => {
                withdraw(&new).map_err(&undo)?;
                new = new.after_collision().map_err(|e| undo(e.to_string()))?;
            }
            Ok(Outcome::Failed) => {
                withdraw(&new).map_err(&undo)?;
                return Err(undo("the new addresses cannot be used".into()));
            }
            Err(e) => {
                let _ = withdraw(&new);
                return Err(undo(e));
            }
        }
    }
    let failed = !deprecate(&present, args.keep, &links);
    for addr in new.members().filter(|a| !present.iter().any(|p| Prefix::of(&p.addr) == Prefix::of(a))) {
        println!("{addr} not put anywhere, as the one before it is on no interface");
    }
    clear(&file)?;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// A set for the same prefixes, with as much work in it (HC-HBA-17).
fn make(args: &RenewArgs, file: &Path, old: &Identity) -> Result<Identity, String> {
    let pds = old.members().next().and_then(|a| old.parameters(&a)).ok_or("there is no address")?;
    let prefixes = match pds.multi_prefix() {
        Some(set) => set.prefixes.clone(),
        None => vec![pds.subnet_prefix()],
    };
    let mut rng = SystemRng::new();
    let key = match (old.kind(), args.keep_key) {
        (IdentityKind::Hba, _) => None,
        (_, true) => Some(old.key().cloned().ok_or("the private key is not here; leave --keep-key out")?),
        (_, false) => {
            let bits = rsa_bits(pds.key_der()).ok_or("the key of the addresses is no RSA key")?;
            Some(Arc::new(SigningKey::generate(bits, &mut rng).map_err(|e| e.to_string())?))
        }
    };
    let mut job = Job::new(prefixes, old.sec(), 0, key, &mut rng);
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let state = with_ending(file, ".search");
    let made = find(&mut job, &state, args.threads.unwrap_or_else(cores));
    // The next call begins anew: it is to be a set that nobody knows
    let _ = fs::remove_file(state);
    made
}

/// Where the private key of the new set goes: like the old one's, but not over it, as the old one is in use.
fn place_of(file: &Path, new: &Identity, old: &Identity, old_place: &KeyPlace, same_key: bool) -> KeyPlace {
    match old_place {
        KeyPlace::Beside(name) if same_key && old.key().is_some() => KeyPlace::Beside(name.clone()),
        KeyPlace::Beside(_) => {
            let stem = file.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
            let first = new.members().next().map(|a| stem_of(&a)).unwrap_or_default();
            KeyPlace::Beside(format!("{stem}.{first}.key"))
        }
        KeyPlace::None if new.key().is_some() => KeyPlace::Inside,
        other => other.clone(),
    }
}

/// Put the set in the place of the one in the file, its key first.
fn store(file: &Path, new: &Identity, place: &KeyPlace, old_place: &KeyPlace) -> Result<(), String> {
    if let (KeyPlace::Beside(name), Some(key)) = (place, new.key())
        && place != old_place
    {
        let text = key.to_pem().ok_or("the private key cannot be written")?;
        write(&file.with_file_name(name), text.as_bytes(), 0o600, true)?;
    }
    if *place == KeyPlace::Inside && place != old_place {
        // It was open to others; with a key in it, it cannot be
        return write(file, to_file(new, place).as_bytes(), 0o600, true);
    }
    replace(file, new, place)
}

/// The file of a set that is no longer the one in `file`.
fn former_of(file: &Path, old: &Identity) -> PathBuf {
    let mut name = file.file_stem().unwrap_or_default().to_owned();
    name.push(FORMER);
    name.push(old.members().next().map(|a| stem_of(&a)).unwrap_or_default());
    name.push(format!(".{EXTENSION}"));
    file.with_file_name(name)
}

/// Remove the key file of a set, unless the other one has the same.
fn remove_key(file: &Path, place: &KeyPlace, other: &KeyPlace) {
    if let KeyPlace::Beside(name) = place
        && place != other
    {
        let _ = fs::remove_file(file.with_file_name(name));
    }
}

/// Each new address goes where the old one of its prefix is.
fn put(new: &Identity, present: &[Address], args: &RenewArgs, links: &[Link]) -> Result<Outcome, String> {
    let mut added: Vec<(u32, Ipv6Addr)> = Vec::new();
    for addr in new.members() {
        for place in present.iter().filter(|a| Prefix::of(&a.addr) == Prefix::of(&addr)) {
            let options = AddOptions {
                preferred_lft: Some(args.preferred),
                nodad: args.no_dad,
                ..AddOptions::default()
            };
            add_address(place.ifindex, addr, place.prefix_len, &options).map_err(|e| e.to_string())?;
            println!("{addr} put on {}", name_of(links, place.ifindex));
            added.push((place.ifindex, addr));
        }
    }
    if args.no_dad { Ok(Outcome::Done) } else { wait_for_dad(&added, links) }
}

/// The old addresses are for what uses them already; the kernel takes them away when their time is over. `false`: some
/// could not be changed.
fn deprecate(present: &[Address], keep: Duration, links: &[Link]) -> bool {
    let mut done = true;
    for a in present {
        let options = AddOptions {
            // One that is on its way out already does not live longer by this
            valid_lft: Some(a.valid_lft.map_or(keep, |left| left.min(keep)).max(Duration::from_secs(1))),
            preferred_lft: Some(Duration::ZERO),
            nodad: true,
            // The route to the prefix is that of the new address now, and does not end with this one
            noprefixroute: true,
            replace: true,
        };
        match add_address(a.ifindex, a.addr, a.prefix_len, &options) {
            Ok(()) => println!("{} on {} deprecated", a.addr, name_of(links, a.ifindex)),
            Err(e) => {
                eprintln!("shim6: {e}");
                done = false;
            }
        }
    }
    done
}

/// Remove the files of former sets that have no address left.
fn clear(file: &Path) -> Result<(), String> {
    let present = addresses()?;
    let mut prefix = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    prefix.push_str(FORMER);
    let current = read_placed(file).map(|(_, place)| place).unwrap_or_default();
    let dir = file.parent().filter(|d| *d != Path::new("")).unwrap_or(Path::new("."));
    for entry in fs::read_dir(dir).map_err(|e| format!("{}: {e}", dir.display()))?.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if !name.to_string_lossy().starts_with(&prefix) || path.extension().is_none_or(|e| e != EXTENSION) {
            continue;
        }
        let Ok((former, place)) = read_placed(&path) else { continue };
        if !present.iter().any(|a| former.contains(&a.addr)) && fs::remove_file(&path).is_ok() {
            remove_key(&path, &place, &current);
        }
    }
    Ok(())
}
