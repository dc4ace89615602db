//! Speed: throughput, delay and cost, alone and under the shim, before and after a switch.

use clap::Parser;
use shim6_lab::bench::{self, engine, item, plot, speed};
use shim6_lab::{Result, programs};
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

/// Two hosts with two paths, C programs alone and under the shim, in turns: packets per second, one-way times, cost of a
/// call, program start, and how that grows.
///
/// Needs root or user namespaces; touches nothing outside its own network namespaces. Fails only if something broke, not
/// if a goal was missed.
#[derive(Parser)]
#[command(version)]
struct Options {
    /// Pairs of each measurement
    #[arg(long, default_value_t = 7)]
    pairs: usize,
    /// Length of one flood in milliseconds
    #[arg(long, default_value_t = 300)]
    flood: u64,
    /// Two short pairs of each
    #[arg(long)]
    quick: bool,
    /// Only this part: path (or healthy or switched of it), suppressed, calls, start, scaling, tunnel; growth (or contexts
    /// or locators of it, or scaling, that is with sockets and threads)
    #[arg(long)]
    only: Option<String>,
    /// Measure the protocol core alone and print JSON: contexts:N or locators:N
    #[arg(long, hide = true)]
    engine: Option<String>,
    #[command(flatten)]
    files: bench::Files,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if let Some(what) = &options.engine {
        return engine::main(what).map_or_else(
            |error| {
                eprintln!("bench: {error}");
                ExitCode::from(2)
            },
            |()| ExitCode::SUCCESS,
        );
    }
    bench::run("bench", |scratch| measure(&options, scratch))
}

fn measure(options: &Options, scratch: &Path) -> Result<ExitCode> {
    let directory = options.files.keep.as_deref().unwrap_or(scratch);
    programs::compiled("load")?;
    let machine = bench::circumstances();
    let plan = speed::Plan {
        pairs: if options.quick { 2 } else { options.pairs.max(1) },
        flood_ms: if options.quick { 150 } else { options.flood.max(20) },
        stamps: if options.quick { 300 } else { 1000 },
        only: options.only.clone(),
        quick: options.quick,
    };
    let results = speed::run(&plan, directory, |line| eprintln!("bench: {line}"));
    let grids: String = results.grids.iter().map(|grid| format!("{}\n", grid.table())).collect();
    let tables = item::tables(results.items.iter());
    let mut text = format!("{tables}\n{grids}{}\n", bench::circumstances_line(&machine));
    for note in &results.notes {
        let _ = write!(text, "\n{note}");
    }
    println!("\n{text}");
    let json = serde_json::json!({
        "machine": machine,
        "items": item::to_json(&results.items),
        "growth": results.grids.iter().map(item::Grid::json).collect::<Vec<_>>(),
        "notes": results.notes,
        "broken": results.complaints,
    });
    bench::write(&options.files.output, "bench.json", &format!("{json:#}\n"))?;
    let plots = if results.panels.is_empty() { "" } else { "\n![Growth](bench.svg)\n" };
    bench::write(&options.files.output, "bench.md", &format!("# Speed\n\n{text}\n{plots}"))?;
    if !results.panels.is_empty() {
        plot::draw(&options.files.output.join("bench.svg"), &results.panels)?;
    }
    if let Some(readme) = &options.files.readme {
        let with_goal = results.items.iter().filter(|item| item.goal != item::Goal::None);
        bench::fill(readme, "bench", &item::tables(with_goal))?;
    }
    for line in &results.complaints {
        println!("not as it should be: {line}");
    }
    println!("bench: JSON, Markdown and plots are in {}", options.files.output.display());
    let nothing = results.items.is_empty() && results.grids.is_empty();
    let broken = !results.complaints.is_empty() || nothing;
    Ok(if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
