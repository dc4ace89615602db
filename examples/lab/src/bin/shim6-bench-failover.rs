//! The longest silence of a flow whose path fails, next to kernel MPTCP.

use clap::Parser;
use shim6_lab::bench::{self, failover};
use shim6_lab::{Result, programs};
use std::path::Path;
use std::process::ExitCode;

/// Two hosts with two paths, a flow of 1000 messages per second in both directions, and the path that it uses fails:
/// the longest silence, under the shim and with kernel MPTCP.
///
/// Needs root or user namespaces; touches nothing outside its own network namespaces. Fails only if something broke, not
/// if a goal was missed.
#[derive(Parser)]
#[command(version)]
struct Options {
    /// Runs of each configuration with each failure
    #[arg(long, default_value_t = 5)]
    repeats: usize,
    /// One run of each, and no RFC 5534 defaults
    #[arg(long)]
    quick: bool,
    /// Only configurations whose name contains this
    #[arg(long)]
    only: Option<String>,
    /// Only failures whose name contains this
    #[arg(long)]
    failure: Option<String>,
    #[command(flatten)]
    files: bench::Files,
}

fn main() -> ExitCode {
    let options = Options::parse();
    bench::run("bench-failover", |scratch| measure(&options, scratch))
}

fn measure(options: &Options, scratch: &Path) -> Result<ExitCode> {
    let directory = options.files.keep.as_deref().unwrap_or(scratch);
    programs::compiled("flow")?;
    let mptcp = failover::mptcp_here();
    let mut wanted = failover::configurations(&programs::tool()?)?;
    wanted.retain(|c| {
        options.only.as_deref().is_none_or(|part| c.name.contains(part))
            && !(options.quick && c.slow_blackhole)
            && (mptcp.is_ok() || !matches!(c.carrier, failover::Carrier::Mptcp))
    });
    let repeats = if options.quick { 1 } else { options.repeats.max(1) };
    let fails = |f: failover::Failure| options.failure.as_deref().is_none_or(|part| f.name().contains(part));
    let rows = failover::run(wanted, fails, repeats, directory, |line| eprintln!("bench-failover: {line}"));
    let text = failover::report(&rows, repeats, &mptcp, &options.files.output)?;
    println!("\n{text}");
    if let Some(readme) = &options.files.readme {
        bench::fill(readme, "bench-failover", &failover::table(&rows))?;
    }
    let complaints = failover::complaints(&rows);
    for line in &complaints {
        println!("not as it should be: {line}");
    }
    println!("bench-failover: JSON, Markdown and plot are in {}", options.files.output.display());
    Ok(if complaints.is_empty() && !rows.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
