//! `shim6 status`, `shim6 watch`, `shim6 control`: what the engines of this network namespace do, and commands to them.
//!
//! Enters: arguments. Leaves: results on standard output, and exit codes as of `shim6 address`. Speaks with the consoles of
//! running engines (`shim6::driver::console`).

mod control;
mod status;
mod watch;

pub use control::ControlArgs;
pub use status::StatusArgs;
pub use watch::WatchArgs;

use shim6::driver::console::client::{self, Connection};
use std::process::ExitCode;

/// Run `shim6 status`.
///
/// # Errors
///
/// What stopped the command, with the remedy; so for the other two.
pub fn status(args: &StatusArgs) -> Result<ExitCode, String> {
    status::run(args)
}

/// Run `shim6 watch`.
pub fn watch(args: &WatchArgs) -> Result<ExitCode, String> {
    watch::run(args)
}

/// Run `shim6 control`.
pub fn control(args: &ControlArgs) -> Result<ExitCode, String> {
    control::run(args)
}

/// Errors of connections say what is wrong.
fn text(e: std::io::Error) -> String {
    e.to_string()
}

/// The console of a process.
fn connect(pid: u32) -> Result<Connection, String> {
    let mut found = client::all(Some(pid)).map_err(text)?;
    found.pop().ok_or_else(|| {
        format!(
            "process {pid} has no engine in this network namespace: it was not started by `shim6 run`, has no \
             IPv6 UDP socket yet, or is another user's"
        )
    })
}
