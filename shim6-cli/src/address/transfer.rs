//! `shim6 address export` and `import`: parameters for and from other CGA tools.

use super::job::stem_of;
use super::store::{Target, free, write};
use clap::{Args, ValueEnum};
use shim6::crypto::{addresses_of, sec_of};
use shim6::identity::{Identity, parameters, read, read_contents, read_key, to_text};
use std::io::{IsTerminal, Write};
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A form that others read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// The octets of the CGA Parameter Data Structure of one address (RFC 3972 section 3), as they are hashed and sent
    Der,
    /// The text of a parameter file, without the private key
    Pem,
}

#[derive(Args, Debug)]
pub(super) struct ExportArgs {
    /// The parameter file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What to write
    #[arg(long, value_enum, default_value_t = Format::Der)]
    format: Format,
    /// Which address of a set (der)
    #[arg(long, value_name = "ADDRESS")]
    address: Option<Ipv6Addr>,
    /// Where to [default: standard output]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Overwrite the file if it exists
    #[arg(long)]
    force: bool,
}

#[derive(Args, Debug)]
pub(super) struct ImportArgs {
    /// The octets of a CGA Parameter Data Structure, or a parameter file without private key
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Sec of the address, which the octets do not tell [default: the highest that they allow]
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=2))]
    sec: Option<u8>,
    /// The private key (PEM or DER, PKCS#8 or PKCS#1), closed to others
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Write the private key to a file of its own; see `generate`
    #[arg(long)]
    separate_key: bool,
    /// Where to write the parameter file [default: as `generate`]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Overwrite the file if it exists
    #[arg(long)]
    force: bool,
}

pub(super) fn export(args: &ExportArgs) -> Result<ExitCode, String> {
    let identity = read(&args.file).map_err(|e| e.to_string())?;
    let octets = match args.format {
        Format::Pem => to_text(&identity).into_bytes(),
        Format::Der => {
            let addr = one_of(&identity, args.address)?;
            let octets = identity
                .pds_for(&addr)
                .ok_or_else(|| format!("{addr} is none of the addresses in {}", args.file.display()))?;
            octets.to_vec()
        }
    };
    match args.output.as_deref().filter(|p| *p != Path::new("-")) {
        Some(path) => write(path, &octets, 0o644, args.force)?,
        None => {
            let mut out = std::io::stdout().lock();
            if args.format == Format::Der && out.is_terminal() {
                return Err("these octets are not for a terminal; name a file with --output".into());
            }
            out.write_all(&octets).map_err(|e| format!("cannot write to standard output: {e}"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn one_of(identity: &Identity, wanted: Option<Ipv6Addr>) -> Result<Ipv6Addr, String> {
    let mut members = identity.members();
    match (wanted, members.next(), members.next()) {
        (Some(addr), _, _) => Ok(addr),
        (None, Some(only), None) => Ok(only),
        _ => {
            Err("there are several addresses, each with parameters of its own; name one with --address"
                .into())
        }
    }
}

pub(super) fn import(args: &ImportArgs) -> Result<ExitCode, String> {
    if let Some(path) = &args.output {
        free(path, args.force)?;
    }
    let contents = read_contents(&args.file).map_err(|e| e.to_string())?;
    let wrong = |e: &dyn std::fmt::Display| format!("{}: {e}", args.file.display());
    let found = parameters(&contents).map_err(|e| wrong(&e))?;
    let Some((addr, pds)) = found.first() else { return Err(wrong(&"no parameters in it")) };
    // One member stands for all of its set
    let sec = args.sec.or(addr.as_ref().map(sec_of));
    let members = addresses_of(pds, sec).map_err(|e| wrong(&e))?;
    let mut identity = Identity::new(members).map_err(|e| wrong(&e))?;
    for (addr, _) in &found {
        if let Some(addr) = addr.filter(|a| !identity.contains(a)) {
            return Err(wrong(&format!("{addr} does not belong to the parameters of the first address")));
        }
    }
    if let Some(file) = &args.key {
        let key = read_key(file).map_err(|e| e.to_string())?;
        identity = identity.with_key(key).map_err(|e| format!("{}: {e}", file.display()))?;
    }
    let first = identity.members().next().map(|a| stem_of(&a)).unwrap_or_default();
    let target = Target::new(args.output.as_deref(), &first, args.force)?;
    target.write(&identity, args.separate_key, args.key.as_deref())?;
    for addr in identity.members() {
        println!("{addr}");
    }
    Ok(ExitCode::SUCCESS)
}
