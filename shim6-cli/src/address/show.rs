//! `shim6 address show`.

use super::{Prefix, links, name_of};
use clap::Args;
use comfy_table::{Table, presets};
use serde_json::json;
use shim6::crypto::rsa_bits;
use shim6::driver::netlink::{Address, Link, list_addresses};
use shim6::identity::{Identity, IdentityKind, SYSTEM_DIR, load_files, read, user_dir};
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

#[derive(Args, Debug)]
pub(super) struct ShowArgs {
    /// Parameter files [default: those of this user and of the system]
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print JSON: an array of sets
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &ShowArgs) -> Result<ExitCode, String> {
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    if args.files.is_empty() {
        (found, problems) = load_files(&[]);
    }
    for file in &args.files {
        match read(file) {
            Ok(identity) => found.push((file.clone(), Arc::new(identity))),
            Err(problem) => problems.push(problem),
        }
    }
    let links = links()?;
    let addresses = list_addresses().map_err(|e| format!("cannot list the addresses: {e}"))?;
    for problem in &problems {
        eprintln!("shim6: {problem}");
    }
    if args.json {
        let sets: Vec<_> = found.iter().map(|(file, i)| as_json(file, i, &addresses, &links)).collect();
        println!("{:#}", serde_json::Value::Array(sets));
    } else if found.is_empty() && problems.is_empty() {
        let user = user_dir().map(|d| format!(" and {}", d.display())).unwrap_or_default();
        eprintln!("shim6: no set in {SYSTEM_DIR}{user}; make one with `shim6 address generate`");
    } else {
        for (n, (file, identity)) in found.iter().enumerate() {
            if n > 0 {
                println!();
            }
            print_set(file, identity, &addresses, &links);
        }
    }
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Where an address is: name of the interface and what hinders its use.
fn place(addr: &Ipv6Addr, addresses: &[Address], links: &[Link]) -> Option<(String, &'static str)> {
    let a = addresses.iter().find(|a| a.addr == *addr)?;
    let down = links.iter().any(|l| l.ifindex == a.ifindex && !l.operational());
    let state = if a.flags.dadfailed() {
        "duplicate"
    } else if !a.flags.usable() {
        "tentative"
    } else if down {
        "link down"
    } else if a.flags.deprecated() {
        "deprecated"
    } else {
        "up"
    };
    Some((name_of(links, a.ifindex), state))
}

fn as_json(file: &Path, identity: &Identity, addresses: &[Address], links: &[Link]) -> serde_json::Value {
    let members: Vec<_> = identity
        .members()
        .map(|addr| {
            let place = place(&addr, addresses, links);
            json!({
                "address": addr.to_string(),
                "prefix": Prefix::of(&addr).to_string(),
                "interface": place.as_ref().map(|(name, _)| name),
                "state": place.as_ref().map(|(_, state)| state),
            })
        })
        .collect();
    let kind = identity.kind().to_string();
    json!({
        "file": file,
        "type": kind,
        "sec": identity.sec(),
        "collision_count": identity.collision_count(),
        "key_bits": key_bits(identity),
        "can_sign": identity.can_sign(),
        "addresses": members,
    })
}

/// Length of the RSA key that the addresses are made with, if they are with one.
fn key_bits(identity: &Identity) -> Option<usize> {
    let pds = identity.members().next().and_then(|a| identity.parameters(&a))?;
    if identity.kind() == IdentityKind::Hba { None } else { rsa_bits(pds.key_der()) }
}

/// What there is to say about the key.
fn key_note(identity: &Identity) -> String {
    let Some(bits) = key_bits(identity) else { return String::new() };
    let signs = if identity.can_sign() { "" } else { " whose private part is not here" };
    format!(", RSA key of {bits} bits{signs}")
}

fn print_set(file: &Path, identity: &Identity, addresses: &[Address], links: &[Link]) {
    println!("{} ({}, Sec {}{})", file.display(), identity.kind(), identity.sec(), key_note(identity));
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["ADDRESS", "PREFIX", "INTERFACE", "STATE"]);
    for addr in identity.members() {
        let (interface, state) =
            place(&addr, addresses, links).unwrap_or_else(|| ("-".to_owned(), "not assigned"));
        table.add_row([addr.to_string(), Prefix::of(&addr).to_string(), interface, state.to_owned()]);
    }
    println!("{}", table.trim_fmt());
}
