//! The `shim6` tool: runs programs under the shim, makes and checks multihomed addresses.

mod address;
mod console;
mod run;

use clap::{CommandFactory, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Multihoming for programs: when the path in use dies, their UDP sessions go on over another one (Shim6, RFC 5533).
#[derive(Parser)]
#[command(name = "shim6", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a program under the shim
    Run(run::Args),
    /// Make, show, assign and verify multihomed addresses
    Address(address::AddressArgs),
    /// Show what the engines of this network namespace do
    Status(console::StatusArgs),
    /// Print what happens to them as it happens
    Watch(console::WatchArgs),
    /// Change what an engine does
    Control(console::ControlArgs),
    /// Write the manual pages of all commands into a directory
    #[command(hide = true)]
    Man { directory: PathBuf },
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => return run::run(args),
        Command::Address(args) => address::run(args),
        Command::Status(args) => console::status(&args),
        Command::Watch(args) => console::watch(&args),
        Command::Control(args) => console::control(&args),
        Command::Man { directory } => clap_mangen::generate_to(Cli::command(), &directory)
            .map(|()| ExitCode::SUCCESS)
            .map_err(|e| format!("{}: {e}", directory.display())),
    };
    result.unwrap_or_else(|message| {
        eprintln!("shim6: {message}");
        ExitCode::FAILURE
    })
}
