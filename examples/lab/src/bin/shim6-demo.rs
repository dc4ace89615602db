//! The demo: real programs lose a path, with and without the shim.

// The lint keeps threads out of the engine; this is a program.
#![allow(clippy::disallowed_methods)]

use clap::Parser;
use nix::sys::signal::{SigSet, Signal};
use shim6_lab::programs::{self, Program, Shim};
use shim6_lab::scenario::Failure;
use shim6_lab::{Result, demo, privilege};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Two hosts with several prefixes each, unmodified programs between them, and a path that fails.
///
/// Needs root or user namespaces; touches nothing outside its own network namespaces.
#[derive(Parser)]
#[command(version)]
struct Options {
    /// Prefixes (and links) of each host
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(2..=3))]
    paths: u8,
    /// Scenarios at a time; each has a topology of its own
    #[arg(long, default_value_t = 4)]
    jobs: usize,
    /// Only failures whose name contains this
    #[arg(long)]
    failure: Option<String>,
    /// Only programs whose name contains this
    #[arg(long)]
    program: Option<String>,
    /// Only the programs alone, to see that the failures are real
    #[arg(long)]
    alone: bool,
    /// Write the results as JSON to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Keep traces and logs in this directory
    #[arg(long)]
    keep: Option<PathBuf>,
}

const SEND_TIMEOUT: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let options = Options::parse();
    match privilege::ensure().and_then(|()| show(&options)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::from(2)
        }
    }
}

/// Namespaces and programs end with this process anyway; files do not.
fn tidy_up_when_interrupted(scratch: PathBuf) -> Result<()> {
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    signals.thread_block().map_err(std::io::Error::from)?;
    std::thread::spawn(move || {
        if let Ok(signal) = signals.wait() {
            let _ = std::fs::remove_dir_all(scratch);
            std::process::exit(128 + signal as i32);
        }
    });
    Ok(())
}

fn show(options: &Options) -> Result<ExitCode> {
    let scratch = tempfile::Builder::new().prefix("shim6-demo-").tempdir()?;
    let directory = options.keep.clone().unwrap_or_else(|| scratch.path().to_owned());
    std::fs::create_dir_all(&directory)?;
    tidy_up_when_interrupted(scratch.path().to_owned())?;
    programs::c_program()?;
    let wanted =
        |name: &str, filter: &Option<String>| filter.as_deref().is_none_or(|part| name.contains(part));
    let plan = demo::Plan {
        failures: Failure::ALL.into_iter().filter(|f| wanted(f.name(), &options.failure)).collect(),
        programs: Program::ALL.into_iter().filter(|p| wanted(p.name(), &options.program)).collect(),
        paths: options.paths.into(),
        shim: if options.alone { None } else { Some(Shim::quick()?) },
        send_timeout: SEND_TIMEOUT,
        jobs: options.jobs,
    };
    let rows = demo::run(&plan, &directory, |line| eprintln!("demo: {line}"))?;
    println!("{}", demo::table(&rows, SEND_TIMEOUT));
    println!();
    println!(
        "alone: the program without the shim. with shim6: the same program under `shim6 run`, on both hosts."
    );
    println!(
        "silence: the longest that client or server saw from the failure on. lost: datagrams without echo."
    );
    println!(
        "before, after: locators on the wire; aN is the client's in the prefix of path N, bN the server's."
    );
    if let Some(path) = &options.json {
        std::fs::write(path, format!("{:#}\n", demo::to_json(&rows, SEND_TIMEOUT)))?;
    }
    let complaints = demo::complaints(&rows);
    for line in &complaints {
        println!("not as it should be: {line}");
    }
    if options.alone {
        let real = rows.iter().filter(|row| row.is_real()).count();
        println!("demo: {real} of {} failures are real: no program survives them alone", rows.len());
    } else {
        let survived = rows.iter().filter(|row| row.survived()).count();
        let worst = demo::worst(&rows).as_millis();
        println!("demo: {survived} of {} failures survived, worst silence {worst} ms", rows.len());
    }
    Ok(if complaints.is_empty() && !rows.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
