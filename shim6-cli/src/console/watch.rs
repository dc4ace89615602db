//! `shim6 watch`.

use super::text;
use clap::Args;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::json;
use shim6::driver::clock;
use shim6::driver::console::client::{self, Connection};
use shim6::driver::console::{Notice, Request};
use shim6::event::EventKind;
use shim6::time::Time;
use std::io::Write;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::SystemTime;

/// How often to look for processes that have come, ms.
const LOOK: u16 = 250;

/// Arguments of `shim6 watch`.
#[derive(Args, Debug)]
pub struct WatchArgs {
    /// The events of this process, until it ends [default: of all, for ever]
    pid: Option<u32>,
    /// One JSON object per line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &WatchArgs) -> Result<ExitCode, String> {
    let mut watched = match args.pid {
        Some(pid) => vec![super::connect(pid)?],
        None => client::all(None).map_err(text)?,
    };
    for connection in &watched {
        connection.command(&Request::Watch).map_err(text)?;
    }
    loop {
        let mut fds: Vec<_> = watched.iter().map(|c| PollFd::new(c.as_fd(), PollFlags::POLLIN)).collect();
        match poll(&mut fds, PollTimeout::from(LOOK)) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(e) => return Err(format!("cannot wait for events: {e}")),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
        let mut ended = Vec::new();
        for (connection, _) in watched.iter().zip(ready).filter(|(_, ready)| *ready) {
            match connection.notice().map_err(text)? {
                Some(notice) => {
                    let line =
                        if args.json { as_json(connection, &notice) } else { as_text(connection, &notice) };
                    // Who read this has gone: so do we.
                    if writeln!(std::io::stdout(), "{line}").is_err() {
                        return Ok(ExitCode::SUCCESS);
                    }
                }
                None => ended.push(connection.pid),
            }
        }
        watched.retain(|c| !ended.contains(&c.pid));
        if args.pid.is_some() {
            if watched.is_empty() {
                return Ok(ExitCode::SUCCESS);
            }
            continue;
        }
        for name in client::names().map_err(text)? {
            if !watched.iter().any(|c| c.name == name)
                && let Ok(connection) = client::open(&name)
                && connection.command(&Request::Watch).is_ok()
            {
                watched.push(connection);
            }
        }
    }
}

fn as_json(connection: &Connection, notice: &Notice) -> String {
    json!({ "pid": connection.pid, "program": connection.program, "notice": notice }).to_string()
}

fn as_text(connection: &Connection, notice: &Notice) -> String {
    format!(
        "{} {}[{}] {} FII {}: {}",
        humantime::format_rfc3339_millis(wall_clock(notice.at)),
        connection.program,
        connection.pid,
        notice.ulids,
        notice.fii,
        describe(notice)
    )
}

#[allow(clippy::disallowed_methods)] // The tool is no engine.
fn wall_clock(at: Time) -> SystemTime {
    SystemTime::now() - clock::now().since(at)
}

fn describe(notice: &Notice) -> String {
    let ms = |from: Time| notice.at.since(from).as_millis();
    match &notice.event {
        EventKind::Established { local_tag, peer_tag } => {
            format!("context established, tags {local_tag} and {peer_tag}")
        }
        EventKind::EstablishFailed { no_support: true } => "the peer does not speak Shim6".into(),
        EventKind::EstablishFailed { no_support: false } => "context establishment failed".into(),
        EventKind::LocatorsChanged => "locators changed".into(),
        EventKind::ExplorationStarted { cause, pair, last_heard } => {
            let silence = last_heard.map_or(String::new(), |t| format!(", silent for {} ms", ms(t)));
            format!("{pair} taken for dead ({}{silence}); exploring", super::status::name(cause))
        }
        EventKind::ExplorationEnded { pair, started } => {
            format!("{pair} works, found within {} ms", ms(*started))
        }
        EventKind::PairChanged { old, new } => format!("payload moves from {old} to {new}"),
        EventKind::Switched(switch) => super::status::describe(switch),
        EventKind::Discarded { reason } => format!("context discarded ({})", super::status::name(reason)),
    }
}
