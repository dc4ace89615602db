//! `shim6 address assign`.

use super::store::replace;
use super::{Prefix, index_of, links, name_of};
use clap::Args;
use shim6::addr::is_servable;
use shim6::driver::netlink::{
    AddOptions, Address, Link, OnLinkPrefix, add_address, del_address, list_addresses, on_link_prefixes,
};
use shim6::identity::{Identity, read_placed};
use std::io::ErrorKind;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// How long duplicate address detection may take: up to 1 s of delay and 1 s per try (RFC 4862 section 5.4), and then some.
const DAD_WAIT: Duration = Duration::from_secs(10);
const DAD_STEP: Duration = Duration::from_millis(50);
/// How long to wait for carrier, a multiple of the step; without it the detection does not start.
const CARRIER_WAIT: Duration = Duration::from_millis(1000);

#[derive(Args, Debug)]
pub(super) struct AssignArgs {
    /// The parameter file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Put all addresses on this interface [default: each on the one that has its prefix]
    #[arg(long, value_name = "INTERFACE")]
    interface: Option<String>,
    /// Do not look whether another host has the address (duplicate address detection)
    #[arg(long)]
    no_dad: bool,
    /// Take the addresses away
    #[arg(long, conflicts_with = "no_dad")]
    remove: bool,
}

pub(super) fn run(args: &AssignArgs) -> Result<ExitCode, String> {
    let (mut identity, place) = read_placed(&args.file).map_err(|e| e.to_string())?;
    let links = links()?;
    let wanted = args.interface.as_deref().map(|name| index_of(&links, name)).transpose()?;
    if args.remove {
        return remove(&identity, wanted, &addresses()?, &links);
    }
    loop {
        let outcome = assign(&identity, wanted, args.no_dad, &links)?;
        if outcome != Outcome::Collided {
            return Ok(if outcome == Outcome::Done { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        // A set is replaced as a whole (HC-HBA-13)
        withdraw(&identity)?;
        identity = identity.after_collision().map_err(|e| {
            format!("{e}; taken away what was put. Make a new set with `shim6 address generate`, and look who answers for all addresses")
        })?;
        replace(&args.file, &identity, &place)?;
        eprintln!(
            "shim6: all addresses made anew with collision count {}; {} is changed, so change what names the old ones \
             (DNS)",
            identity.collision_count(),
            args.file.display()
        );
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    /// Some addresses are not usable.
    Failed,
    /// Another host has one of them.
    Collided,
}

fn assign(identity: &Identity, wanted: Option<u32>, no_dad: bool, links: &[Link]) -> Result<Outcome, String> {
    let present = addresses()?;
    let prefixes =
        on_link_prefixes().map_err(|e| format!("cannot list the prefixes of the interfaces: {e}"))?;
    let collided = |a: &&Address| identity.contains(&a.addr) && a.flags.dadfailed();
    if let Some(a) = present.iter().find(collided) {
        eprintln!("shim6: another host on {} has {}", name_of(links, a.ifindex), a.addr);
        return Ok(Outcome::Collided);
    }
    let mut failed = false;
    let mut added: Vec<(u32, Ipv6Addr)> = Vec::new();
    let mut used: Vec<(u32, Prefix)> = Vec::new();
    for addr in identity.members() {
        match put(addr, wanted, no_dad, &present, &prefixes, links) {
            Ok((ifindex, new)) => {
                used.push((ifindex, Prefix::of(&addr)));
                added.extend(new.then_some((ifindex, addr)));
            }
            Err(message) => {
                eprintln!("shim6: {message}");
                failed = true;
            }
        }
    }
    if !no_dad {
        match wait_for_dad(&added, links)? {
            Outcome::Done => {}
            Outcome::Failed => failed = true,
            Outcome::Collided => return Ok(Outcome::Collided),
        }
    }
    for (ifindex, prefix) in used {
        note_others(identity, ifindex, prefix, links)?;
    }
    Ok(if failed { Outcome::Failed } else { Outcome::Done })
}

/// Put a member on its interface; returns the interface and whether the address is new there.
fn put(
    addr: Ipv6Addr,
    wanted: Option<u32>,
    no_dad: bool,
    present: &[Address],
    prefixes: &[OnLinkPrefix],
    links: &[Link],
) -> Result<(u32, bool), String> {
    if let Some(there) = present.iter().find(|a| a.addr == addr) {
        let name = name_of(links, there.ifindex);
        return match wanted {
            Some(ifindex) if ifindex != there.ifindex => Err(format!(
                "{addr} is on {name}, not on {}; take it away first with --remove",
                name_of(links, ifindex)
            )),
            _ => {
                println!("{addr} is on {name} already");
                Ok((there.ifindex, false))
            }
        };
    }
    let ifindex = match wanted {
        Some(ifindex) => ifindex,
        None => {
            let prefix = Prefix::of(&addr);
            let having: Vec<u32> =
                prefixes.iter().filter(|p| p.prefix == prefix.0).map(|p| p.ifindex).collect();
            let first = *having.first().ok_or_else(|| {
                format!("{addr}: no interface that is up has the prefix {prefix}; set it up, or name one with --interface")
            })?;
            if having.len() > 1 {
                let names: Vec<_> = having.iter().map(|i| name_of(links, *i)).collect();
                eprintln!("shim6: note: {} have the prefix {prefix}; taking the first", names.join(" and "));
            }
            first
        }
    };
    let options = AddOptions { nodad: no_dad, ..AddOptions::default() };
    add_address(ifindex, addr, 64, &options).map_err(|e| e.to_string())?;
    println!("{addr} put on {}", name_of(links, ifindex));
    Ok((ifindex, true))
}

/// Wait until the new addresses can be used, or another host is found to have one.
pub(super) fn wait_for_dad(added: &[(u32, Ipv6Addr)], links: &[Link]) -> Result<Outcome, String> {
    let mut left: Vec<(u32, Ipv6Addr)> = added.to_vec();
    for step in 0..DAD_WAIT.as_millis() / DAD_STEP.as_millis() {
        // A link that was just set up gets carrier some time later
        if DAD_STEP.as_millis() * step == CARRIER_WAIT.as_millis() {
            let links = super::links()?;
            left.retain(|(ifindex, addr)| {
                let carrier = links.iter().any(|l| l.ifindex == *ifindex && l.operational());
                if !carrier {
                    let name = name_of(&links, *ifindex);
                    eprintln!(
                        "shim6: note: {name} has no link, so {addr} is checked for duplicates and usable once it has one"
                    );
                }
                carrier
            });
        }
        let now = addresses()?;
        let state = |key: &(u32, Ipv6Addr)| now.iter().find(|a| (a.ifindex, a.addr) == *key);
        let duplicates: Vec<_> =
            left.iter().filter(|k| state(k).is_some_and(|a| a.flags.dadfailed())).collect();
        if !duplicates.is_empty() {
            for (ifindex, addr) in duplicates {
                eprintln!("shim6: another host on {} has {addr}", name_of(links, *ifindex));
            }
            return Ok(Outcome::Collided);
        }
        left.retain(|k| state(k).is_some_and(|a| !a.flags.usable()));
        if left.is_empty() {
            return Ok(Outcome::Done);
        }
        wait(DAD_STEP);
    }
    for (ifindex, addr) in &left {
        eprintln!(
            "shim6: {addr} on {} is still being checked for duplicates after {} s; see `ip address`",
            name_of(links, *ifindex),
            DAD_WAIT.as_secs()
        );
    }
    Ok(Outcome::Failed)
}

/// Take the members away from wherever they are.
pub(super) fn withdraw(identity: &Identity) -> Result<(), String> {
    for a in addresses()?.iter().filter(|a| identity.contains(&a.addr)) {
        match del_address(a.ifindex, a.addr, a.prefix_len) {
            Err(e) if e.kind() != ErrorKind::AddrNotAvailable => return Err(e.to_string()),
            _ => {}
        }
    }
    Ok(())
}

/// The tool, unlike the engine, may sleep.
#[allow(clippy::disallowed_methods)]
fn wait(time: Duration) {
    std::thread::sleep(time);
}

/// Tell of addresses that the kernel may choose as source instead.
fn note_others(identity: &Identity, ifindex: u32, prefix: Prefix, links: &[Link]) -> Result<(), String> {
    let other = |a: &&Address| {
        a.ifindex == ifindex
            && Prefix::of(&a.addr) == prefix
            && is_servable(&a.addr)
            && !identity.contains(&a.addr)
            && !a.flags.deprecated()
    };
    let others: Vec<String> = addresses()?.iter().filter(other).map(|a| a.addr.to_string()).collect();
    if !others.is_empty() {
        eprintln!(
            "shim6: note: {} on {} belong(s) to no set; a program whose source address is one of them is not multihomed. \
             The shim chooses an address of a set unless the program binds another",
            others.join(", "),
            name_of(links, ifindex)
        );
    }
    Ok(())
}

fn remove(
    identity: &Identity,
    wanted: Option<u32>,
    present: &[Address],
    links: &[Link],
) -> Result<ExitCode, String> {
    let mut failed = false;
    for addr in identity.members() {
        let places: Vec<_> =
            present.iter().filter(|a| a.addr == addr && wanted.is_none_or(|i| i == a.ifindex)).collect();
        if places.is_empty() {
            println!("{addr} is on no interface");
        }
        for a in places {
            match del_address(a.ifindex, addr, a.prefix_len) {
                Ok(()) => println!("{addr} taken from {}", name_of(links, a.ifindex)),
                // Gone in the meantime
                Err(e) if e.kind() == ErrorKind::AddrNotAvailable => println!("{addr} is on no interface"),
                Err(e) => {
                    eprintln!("shim6: {e}");
                    failed = true;
                }
            }
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

pub(super) fn addresses() -> Result<Vec<Address>, String> {
    list_addresses().map_err(|e| format!("cannot list the addresses: {e}"))
}
