//! `shim6 address verify`.

use clap::Args;
use shim6::crypto::{Pds, VerifyError, sec_of, verify_cga, verify_hba};
use shim6::identity::{parameters, read_contents};
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Args, Debug)]
pub(super) struct VerifyArgs {
    /// The address
    #[arg(value_name = "ADDRESS")]
    address: Ipv6Addr,
    /// A parameter file, or the bare octets of a CGA Parameter Data Structure
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(super) fn run(args: &VerifyArgs) -> Result<ExitCode, String> {
    let contents = read_contents(&args.file).map_err(|e| e.to_string())?;
    let found = parameters(&contents).map_err(|e| format!("{}: {e}", args.file.display()))?;
    let (addr, file) = (args.address, args.file.display());
    let mut reasons = Vec::new();
    for (_, pds) in &found {
        match method(&addr, pds) {
            Ok(method) => {
                println!("{addr} belongs to {file}: {method}, Sec {}", sec_of(&addr));
                return Ok(ExitCode::SUCCESS);
            }
            Err(reason) => reasons.push(reason),
        }
    }
    // A wrong prefix says least: it is what all but one of a set of CGAs fail by
    let reason = reasons.iter().find(|r| **r != VerifyError::Prefix).or(reasons.first());
    let reason = reason.map(ToString::to_string).unwrap_or_default();
    Err(format!(
        "{addr} does not belong to {file}: {reason}; was the set made anew, or is it another host's?"
    ))
}

/// By which method an address verifies.
fn method(addr: &Ipv6Addr, pds: &Pds) -> Result<&'static str, VerifyError> {
    let Some(set) = pds.multi_prefix() else { return verify_cga(addr, pds).map(|()| "CGA") };
    verify_hba(addr, pds)?;
    Ok(if set.p_flag { "HBA (CGA-compatible)" } else { "HBA" })
}
