//! Programs that others wrote, run alone and under the shim: a table, and whether the results are the same.

// The lint keeps threads out of the engine; this is a program.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use clap::Parser;
use comfy_table::Table;
use shim6_lab::programs::Shim;
use shim6_lab::topology::Addressing;
use shim6_lab::transparency::{self, Case, Outcome, Row};
use shim6_lab::{Error, Result, privilege};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;

/// Run programs that others wrote twice, alone and under the shim, and compare.
#[derive(Parser)]
#[command(version)]
struct Options {
    /// Only the cases that are part of `make test`
    #[arg(long)]
    subset: bool,
    /// Runs at a time; each has hosts of its own
    #[arg(long, default_value_t = 4)]
    jobs: usize,
    /// Keep the files of the runs in this directory
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Only these cases
    cases: Vec<String>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match privilege::ensure().and_then(|()| compare(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("transparency: {error}");
            ExitCode::from(2)
        }
    }
}

fn compare(options: &Options) -> Result<bool> {
    let scratch = tempfile::Builder::new().prefix("shim6-transparency-").tempdir()?;
    let directory = options.keep.as_deref().unwrap_or(scratch.path());
    // A user that a program becomes has to reach its files.
    std::fs::set_permissions(scratch.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let mut cases = transparency::cases()?;
    if let Some(unknown) = options.cases.iter().find(|name| !cases.iter().any(|c| c.name == **name)) {
        return Err(Error::new(format!("there is no case {unknown}")));
    }
    cases.retain(|case| {
        let named = options.cases.is_empty() || options.cases.contains(&case.name);
        named && (case.subset || !options.subset)
    });
    let missing: Vec<String> =
        cases.iter().flat_map(|c| c.missing().into_iter().map(|m| format!("{m} ({})", c.name))).collect();
    if !missing.is_empty() {
        return Err(Error::new(format!("not installed: {}; see scripts/setup", missing.join(", "))));
    }
    let mut rows = run(&cases, options.jobs, directory)?;
    // What a busy machine made of two runs at different moments is not the shim's doing: only what differs twice counts.
    let differ: Vec<Case> =
        rows.iter().filter(|row| row.trouble().is_some()).map(|row| row.case.clone()).collect();
    if !differ.is_empty() {
        for row in &rows {
            let Some(trouble) = row.trouble() else { continue };
            eprintln!("transparency: {}: {trouble}", row.case.name);
            row.difference().iter().take(5).for_each(|line| eprintln!("transparency: {line}"));
        }
        eprintln!("transparency: {} of {} once more, one at a time", differ.len(), rows.len());
        for again in run(&differ, 1, directory)? {
            rows.retain(|row| row.case.name != again.case.name);
            rows.push(again);
        }
        rows.sort_by(|a, b| a.case.name.cmp(&b.case.name));
    }
    let troubles: Vec<(&Row, String)> =
        rows.iter().filter_map(|row| row.trouble().map(|t| (row, t))).collect();
    println!("{}", table(&rows));
    for (row, trouble) in &troubles {
        println!("\n{}: {trouble}", row.case.name);
        row.difference().iter().take(40).for_each(|line| println!("{line}"));
        for (what, text) in [("alone", &row.alone.complaints), ("with shim6", &row.shimmed.complaints)] {
            let lines: Vec<&str> = text.lines().collect();
            for line in &lines[lines.len().saturating_sub(15)..] {
                println!("{what}, stderr: {line}");
            }
        }
    }
    println!("transparency: {} of {} programs behave the same", rows.len() - troubles.len(), rows.len());
    Ok(troubles.is_empty() && !rows.is_empty())
}

/// Run all cases both ways, `jobs` runs at a time.
fn run(cases: &[Case], jobs: usize, directory: &Path) -> Result<Vec<Row>> {
    let shim = Shim::quick()?;
    let addressing = Addressing::Hba(shim.tool.clone());
    let mut todo: Vec<(usize, bool)> = (0..cases.len()).flat_map(|i| [(i, true), (i, false)]).rev().collect();
    // Long ones first; `pop` takes from the end.
    todo.sort_by_key(|&(i, _)| cases[i].limit());
    let queue = Mutex::new(todo);
    let done: Mutex<Vec<(usize, bool, Result<Outcome>)>> = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let Some((i, shimmed)) = queue.lock().expect("no panic").pop() else { return };
                    let way = if shimmed { "shim" } else { "alone" };
                    let files = directory.join(format!("{}-{way}", cases[i].name));
                    let outcome = cases[i].run(shimmed.then_some(&shim), &addressing, &files);
                    eprintln!("transparency: {} {way}", cases[i].name);
                    done.lock().expect("no panic").push((i, shimmed, outcome));
                }
            });
        }
    });
    let mut outcomes: Vec<[Option<Outcome>; 2]> = cases.iter().map(|_| [None, None]).collect();
    for (i, shimmed, outcome) in done.into_inner().expect("no panic") {
        outcomes[i][usize::from(shimmed)] = Some(outcome?);
    }
    let rows = cases.iter().zip(outcomes).filter_map(|(case, [alone, shimmed])| {
        Some(Row { case: case.clone(), alone: alone?, shimmed: shimmed? })
    });
    Ok(rows.collect())
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::ASCII_MARKDOWN);
    table.set_header(["program", "alone", "with shim6", "contexts", "lines", "same"]);
    let shown = |o: &Outcome| format!("exit {}, {:.1} s", o.status, o.took.as_secs_f64());
    for row in rows {
        let contexts = row.shimmed.log.matches("context established").count();
        table.add_row([
            row.case.name.clone(),
            shown(&row.alone),
            shown(&row.shimmed),
            contexts.to_string(),
            row.shimmed.output.lines().count().to_string(),
            row.trouble().unwrap_or_else(|| "yes".into()),
        ]);
    }
    table
}
