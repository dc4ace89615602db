//! `shim6 address`: make, show, assign and verify the addresses that a multihomed host proves its locators with.
//!
//! Enters: arguments. Leaves: an exit code; results on standard output, everything else on standard error. Exit codes:
//! 0 done, 1 not (the message names the thing and the remedy), 2 wrong usage.

mod assign;
mod generate;
mod job;
mod renew;
mod search;
mod show;
mod store;
mod transfer;
mod verify;

use clap::{Args, Subcommand};
use shim6::driver::netlink::{Link, list_links};
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `shim6 address`.
#[derive(Args, Debug)]
pub struct AddressArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Make a set of addresses, one for each prefix, that prove that they belong together (HBA, RFC 5535)
    ///
    /// Prints the addresses and writes their parameters to a file. The addresses cannot be chosen, and all of them change
    /// when a prefix is added, so make a set for all prefixes that the host is to use, or one with a key (--cga), which can
    /// announce addresses that come later.
    ///
    /// A search of --sec 2 can be interrupted at any time, also by a crash, and continued with --resume.
    Generate(generate::GenerateArgs),
    /// Show the sets of this host, or those in files
    Show(show::ShowArgs),
    /// Put the addresses of a set on the interfaces that have their prefixes
    ///
    /// If another host has one of them, all are made anew with the next collision count, up to two times; the file changes
    /// then.
    ///
    /// Needs root or CAP_NET_ADMIN. Does not outlast a restart of the system: call it from the place that configures
    /// your network.
    Assign(assign::AssignArgs),
    /// Make a new set for the same prefixes in the place of one, as temporary addresses
    ///
    /// The new addresses go where the old ones are, which are deprecated: nothing new uses them, what uses them already goes
    /// on until they are taken away (--keep). Running programs find the new set by themselves. Nothing is changed if the
    /// new addresses cannot be used.
    ///
    /// Call it now and then, such as once a day by a timer; sets of Sec 0 cost nothing to make, those of Sec 1 some
    /// milliseconds. Needs root or CAP_NET_ADMIN.
    Renew(renew::RenewArgs),
    /// Check that an address belongs to the parameters in a file
    Verify(verify::VerifyArgs),
    /// Write the parameters of an address in the form that other CGA tools read
    Export(transfer::ExportArgs),
    /// Make a parameter file from the parameters of another CGA tool
    Import(transfer::ImportArgs),
}

/// Run `shim6 address`. An `Err` is a message for the user; the exit code is then 1.
///
/// # Errors
///
/// What stopped the command, with the remedy.
pub fn run(args: AddressArgs) -> Result<ExitCode, String> {
    match args.command {
        Command::Generate(args) => generate::run(&args),
        Command::Show(args) => show::run(&args),
        Command::Assign(args) => assign::run(&args),
        Command::Renew(args) => renew::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Export(args) => transfer::export(&args),
        Command::Import(args) => transfer::import(&args),
    }
}

/// A /64 prefix on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Prefix([u8; 8]);

impl Prefix {
    fn of(addr: &Ipv6Addr) -> Prefix {
        let mut prefix = [0; 8];
        prefix.copy_from_slice(&addr.octets()[..8]);
        Prefix(prefix)
    }
}

impl std::fmt::Display for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let base: Ipv6Addr = (u128::from(u64::from_be_bytes(self.0)) << 64).into();
        write!(f, "{base}/64")
    }
}

impl std::str::FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Prefix, String> {
        let wrong = || "write it like 2001:db8:a::/64".to_owned();
        let (base, len) = text.split_once('/').ok_or_else(wrong)?;
        let base: Ipv6Addr = base.parse().map_err(|_| wrong())?;
        match len.parse() {
            Ok(64u8) => {}
            Ok(len @ 0..64) => {
                return Err(format!(
                    "a /{len} is not one prefix for hosts; name a /64 in it that a link uses"
                ));
            }
            Ok(_) => return Err("only /64 prefixes can be used".into()),
            Err(_) => return Err(wrong()),
        }
        let prefix = Prefix::of(&base);
        if base.octets()[8..] != [0; 8] {
            return Err(format!("it has bits behind the prefix; you may mean {prefix}"));
        }
        if !shim6::addr::is_servable(&base) {
            return Err("only global and unique-local prefixes can be used".into());
        }
        Ok(prefix)
    }
}

/// The links of this host.
fn links() -> Result<Vec<Link>, String> {
    list_links().map_err(|e| format!("cannot list the interfaces: {e}"))
}

/// Index of an interface that the user named.
fn index_of(links: &[Link], name: &str) -> Result<u32, String> {
    let found = links.iter().find(|l| l.name == name);
    found.map(|l| l.ifindex).ok_or_else(|| {
        let names: Vec<_> = links.iter().map(|l| l.name.as_str()).collect();
        format!("there is no interface {name}; there are {}", names.join(", "))
    })
}

/// Name of an interface.
fn name_of(links: &[Link], ifindex: u32) -> String {
    links
        .iter()
        .find(|l| l.ifindex == ifindex)
        .map_or_else(|| format!("interface {ifindex}"), |l| l.name.clone())
}

/// Where `generate` puts its files: root's sets are for the whole system.
fn default_dir(root: bool) -> Result<PathBuf, String> {
    if root {
        return Ok(PathBuf::from(shim6::identity::SYSTEM_DIR));
    }
    shim6::identity::user_dir().ok_or_else(|| "HOME is not set; name the file with --output".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes() {
        // HC-MPE-08, HC-MPE-07
        let good = |s: &str| s.parse::<Prefix>().unwrap().to_string();
        assert_eq!(good("2001:db8:a::/64"), "2001:db8:a::/64");
        assert_eq!(good("fd00:1:2:3::/64"), "fd00:1:2:3::/64");
        for (text, says) in [
            ("2001:db8:a::", "like 2001:db8:a::/64"),
            ("x/64", "like 2001:db8:a::/64"),
            ("2001:db8:a::/x", "like 2001:db8:a::/64"),
            ("2001:db8::/48", "name a /64"),
            ("2001:db8:a::/128", "only /64"),
            ("2001:db8:a::1/64", "you may mean 2001:db8:a::/64"),
            ("fe80::/64", "only global"),
            ("ff02::/64", "only global"),
        ] {
            let e = text.parse::<Prefix>().unwrap_err();
            assert!(e.contains(says), "{text}: {e}");
        }
    }

    #[test]
    fn places() {
        assert_eq!(default_dir(true).unwrap(), PathBuf::from("/etc/shim6/identities"));
        if let Ok(dir) = default_dir(false) {
            assert!(dir.ends_with("shim6/identities") && !dir.starts_with("/etc/shim6"), "{}", dir.display());
        }
    }
}
