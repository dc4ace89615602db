//! `shim6 control`.

use clap::{Args, Subcommand};
use shim6::addr::UlidPair;
use shim6::driver::console::Request;
use std::net::Ipv6Addr;
use std::process::ExitCode;
use std::time::Duration;

/// RFC 5534 section 7; below it a busy or lossy path may be taken for a dead one.
const RECOMMENDED: Duration = Duration::from_secs(10);
/// The largest that the Keepalive Timeout option can announce.
const LONGEST: Duration = Duration::from_secs(65_535);

/// Arguments of `shim6 control`.
#[derive(Args, Debug)]
pub struct ControlArgs {
    /// Process
    pid: u32,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Without an answer for so long, a path is taken for dead: for all contexts, until the process ends
    ///
    /// The peers are told, for they have to send Keepalives accordingly. 1 s to 65535 s can be announced; what is shorter works
    /// with traffic in both directions only.
    SendTimeout {
        /// Such as 3s
        #[arg(value_parser = timeout)]
        timeout: Duration,
    },
    /// Discard the contexts of a pair of ULIDs; the next datagrams may set one up again
    Discard {
        /// Local ULID
        local: Ipv6Addr,
        /// The peer's ULID
        peer: Ipv6Addr,
    },
}

fn timeout(text: &str) -> Result<Duration, String> {
    // A number alone is seconds, as in the API.
    let timeout = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => humantime::parse_duration(text).map_err(|e| e.to_string())?,
    };
    if timeout < Duration::from_millis(1) || timeout > LONGEST {
        return Err(format!("it has to be 1ms to {}s", LONGEST.as_secs()));
    }
    Ok(timeout)
}

pub(super) fn run(args: &ControlArgs) -> Result<ExitCode, String> {
    let request = match args.command {
        Command::SendTimeout { timeout } => {
            if timeout < RECOMMENDED {
                eprintln!(
                    "shim6: {} is below the {} of RFC 5534 section 7: a busy or lossy path may be taken for a dead one",
                    humantime::format_duration(timeout),
                    humantime::format_duration(RECOMMENDED),
                );
            }
            Request::SendTimeout { milliseconds: timeout.as_millis() as u64 }
        }
        Command::Discard { local, peer } => Request::Discard { ulids: UlidPair { local, peer } },
    };
    super::connect(args.pid)?.command(&request).map_err(super::text)?;
    Ok(ExitCode::SUCCESS)
}
