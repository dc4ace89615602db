//! The `shim6` tool: runs programs under the shim, makes and checks multihomed addresses.

mod run;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Multihoming for programs: when the path in use dies, their UDP sessions go on over another one (Shim6, RFC 5533).
#[derive(Parser)]
#[command(version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a program under the shim
    Run(run::Args),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(args) => run::run(args),
    }
}
