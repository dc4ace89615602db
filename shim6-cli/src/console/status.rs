//! `shim6 status`.

use super::text;
use clap::Args;
use comfy_table::{Table, presets};
use serde_json::json;
use shim6::driver::console::client::{self, Connection};
use shim6::driver::console::{ContextStatus, LocatorStatus, Status};
use shim6::event::{Evidence, Switch, SwitchCause};
use shim6::time::Time;
use std::process::ExitCode;

/// Arguments of `shim6 status`.
#[derive(Args, Debug)]
pub struct StatusArgs {
    /// Show everything about this process [default: one line for each context of each process]
    pid: Option<u32>,
    /// Print JSON: an array of processes. Times are nanoseconds since boot.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &StatusArgs) -> Result<ExitCode, String> {
    let found = match args.pid {
        Some(pid) => vec![super::connect(pid)?],
        None => client::all(None).map_err(text)?,
    };
    let mut all = Vec::new();
    for connection in found {
        match connection.status() {
            Ok(status) => all.push((connection, status)),
            // It may just have ended.
            Err(e) if args.pid.is_none() => eprintln!("shim6: {e}"),
            Err(e) => return Err(text(e)),
        }
    }
    if args.json {
        let all: Vec<_> = all
            .iter()
            .map(|(c, status)| json!({ "pid": c.pid, "program": c.program, "status": status }))
            .collect();
        println!("{:#}", serde_json::Value::Array(all));
    } else if let (Some(_), [(connection, status)]) = (args.pid, &all[..]) {
        details(connection, status);
    } else if all.is_empty() {
        eprintln!("shim6: no engine runs in this network namespace; start programs by `shim6 run`");
    } else {
        overview(&all);
    }
    Ok(ExitCode::SUCCESS)
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header);
    table
}

fn overview(all: &[(Connection, Status)]) {
    let mut t = table(&[
        "PID",
        "PROGRAM",
        "LOCAL ULID",
        "PEER ULID",
        "STATE",
        "LOCAL LOCATOR",
        "PEER LOCATOR",
        "REAP",
    ]);
    for (connection, status) in all {
        let (pid, program) = (connection.pid.to_string(), &connection.program);
        for c in &status.contexts {
            t.add_row([
                pid.clone(),
                program.clone(),
                c.ulids.local.to_string(),
                peer_name(c),
                name(&c.state),
                c.local_locator.to_string(),
                c.peer_locator.to_string(),
                name(&c.reap),
            ]);
        }
        if status.contexts.is_empty() {
            t.add_row([&pid, program, "no context"]);
        }
    }
    println!("{}", t.trim_fmt());
}

/// The peer's ULID, and which instance if it is not the default one.
fn peer_name(c: &ContextStatus) -> String {
    if c.fii == 0 { c.ulids.peer.to_string() } else { format!("{} (FII {})", c.ulids.peer, c.fii) }
}

/// A state as the RFC writes it.
pub(super) fn name(state: &impl serde::Serialize) -> String {
    serde_json::to_value(state).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

fn details(connection: &Connection, status: &Status) {
    println!(
        "process {} ({}), tags {:04x}..., Send Timeout {} ms",
        connection.pid, connection.program, status.tag_prefix, status.send_timeout_ms
    );
    println!("\naddresses of this host");
    locators(&status.locators);
    for c in &status.contexts {
        context(c, status.now);
    }
    println!("\ncounters");
    let mut t = table(&[]);
    for (name, n) in status.counters.iter().filter(|(_, n)| **n > 0) {
        t.add_row([name.clone(), n.to_string()]);
    }
    println!("{}", t.trim_fmt());
}

fn context(c: &ContextStatus, now: Time) {
    println!("\ncontext {} {}, FII {}", c.ulids.local, c.ulids.peer, c.fii);
    let tag = |tag: u64| format!("{tag:#014x}");
    let heard = c.last_heard.map_or_else(|| "never".to_owned(), |t| ago(now, t));
    let r = &c.counters;
    let mut t = table(&[]);
    let rows = [
        ("state", name(&c.state)),
        ("tags, local and peer", format!("{} {}", tag(c.local_tag), c.peer_tag.map_or("-".into(), tag))),
        ("locators in use", format!("{} {}", c.local_locator, c.peer_locator)),
        ("REAP", name(&c.reap)),
        (
            "Send Timeout, Keepalive Timeout",
            format!("{} ms, {} ms", c.send_timeout_ms, c.keepalive_timeout_ms),
        ),
        ("last heard", heard),
        ("explorations, changes of the pair", format!("{}, {}", r.explorations, r.pair_changes)),
        ("Keepalives sent, received", format!("{}, {}", r.keepalives_sent, r.keepalives_received)),
        (
            "Probes sent, received",
            format!("{}, {}", r.probes_sent.iter().sum::<u64>(), r.probes_received.iter().sum::<u64>()),
        ),
    ];
    for (what, value) in rows {
        t.add_row([what.to_owned(), value]);
    }
    println!("{}", t.trim_fmt());
    for switch in &c.switches {
        println!("{}: {}", ago(now, switch.at), describe(switch));
    }
    println!("locators of this host in the context");
    locators(&c.local);
    println!("locators of the peer");
    locators(&c.peer);
}

/// A switch of the pair in words.
pub(super) fn describe(s: &Switch) -> String {
    let after = |t: Time| s.last_heard.map_or("-".to_owned(), |heard| t.since(heard).as_millis().to_string());
    let why = match s.cause {
        SwitchCause::Failure(cause) => name(&cause),
        SwitchCause::Preferred => "another one is preferred".into(),
        SwitchCause::Pinned => "chosen by the application".into(),
    };
    let shown = match s.evidence {
        Evidence::Report => "a probe",
        Evidence::Standby(_) => "hot standby",
        Evidence::Test => "a test",
        Evidence::Choice => "nothing",
    };
    format!(
        "moved from {} to {} ({why}; the new one shown by {shown}); after the last sign of the peer: detected {} ms, \
         first datagram {} ms",
        s.old,
        s.new,
        after(s.detected),
        s.first_packet.map_or("-".to_owned(), after),
    )
}

fn ago(now: Time, then: Time) -> String {
    format!("{} ms ago", now.since(then).as_millis())
}

fn locators(all: &[LocatorStatus]) {
    let mut t = table(&[]);
    for l in all {
        let mut notes = Vec::new();
        notes.extend(l.identity.clone());
        notes.extend((!l.verified).then(|| "not verified".to_owned()));
        notes.extend(l.probed.then(|| "probed".to_owned()));
        notes.extend(l.broken.then(|| "broken".to_owned()));
        t.add_row([l.addr.to_string(), notes.join(", ")]);
    }
    println!("{}", t.trim_fmt());
}
