//! All failures with all programs, with and without the shim, and the table.

use crate::programs::{Program, Shim};
use crate::scenario::{Failure, Outcome, Scenario};
use crate::{Error, Result};
use comfy_table::{Table, presets};
use serde_json::json;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// What the demo is to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Failures.
    pub failures: Vec<Failure>,
    /// Programs.
    pub programs: Vec<Program>,
    /// Prefixes of each host.
    pub paths: usize,
    /// How the shim is called; `None` leaves its column empty.
    pub shim: Option<Shim>,
    /// The Send Timeout among its options.
    pub send_timeout: Duration,
    /// Scenarios at a time.
    pub jobs: usize,
}

/// One line of the table.
pub struct Row {
    /// The failure.
    pub failure: Failure,
    /// The program.
    pub program: Program,
    /// Without the shim.
    pub without: std::result::Result<Outcome, String>,
    /// With the shim.
    pub with: Option<std::result::Result<Outcome, String>>,
}

impl Row {
    /// Survived with the shim.
    pub fn survived(&self) -> bool {
        matches!(&self.with, Some(Ok(outcome)) if outcome.survived)
    }

    /// The program alone did not survive it, so the failure is one.
    pub fn is_real(&self) -> bool {
        matches!(&self.without, Ok(outcome) if !outcome.survived)
    }
}

/// Run everything; `progress` hears of each scenario that ends.
pub fn run(plan: &Plan, scratch: &Path, progress: impl Fn(&str) + Sync) -> Result<Vec<Row>> {
    let cases: Vec<(Failure, Program, bool)> = plan
        .failures
        .iter()
        .flat_map(|&failure| plan.programs.iter().map(move |&program| (failure, program)))
        .flat_map(|(failure, program)| [(failure, program, false), (failure, program, true)])
        .filter(|case| !case.2 || plan.shim.is_some())
        .collect();
    let results: Vec<Mutex<Option<std::result::Result<Outcome, String>>>> =
        cases.iter().map(|_| Mutex::new(None)).collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..plan.jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let Some(&(failure, program, shimmed)) = cases.get(i) else { return };
                    let scenario = Scenario {
                        failure,
                        program,
                        paths: plan.paths,
                        shim: plan.shim.clone().filter(|_| shimmed),
                        send_timeout: plan.send_timeout,
                    };
                    let outcome = scenario.run(scratch, &format!("{i:02}")).map_err(|e| e.to_string());
                    let how = if shimmed { "with the shim" } else { "alone" };
                    progress(&format!(
                        "{}, {}, {how}: {}",
                        failure.name(),
                        program.name(),
                        verdict(&outcome)
                    ));
                    *results[i].lock().expect("no panic") = Some(outcome);
                }
            });
        }
    });
    let mut rows: Vec<Row> = Vec::new();
    for ((failure, program, shimmed), result) in cases.into_iter().zip(results) {
        let outcome =
            result.into_inner().ok().flatten().ok_or_else(|| Error::new("a scenario has not run"))?;
        if shimmed {
            rows.last_mut().expect("the case without the shim is before it").with = Some(outcome);
        } else {
            rows.push(Row { failure, program, without: outcome, with: None });
        }
    }
    Ok(rows)
}

fn verdict(outcome: &std::result::Result<Outcome, String>) -> String {
    match outcome {
        Err(error) => format!("the lab failed: {error}"),
        Ok(o) if o.survived => format!("survived, silence {} ms", o.silence.as_millis()),
        Ok(o) if o.recovered => format!("too late, silence {} ms", o.silence.as_millis()),
        Ok(_) => "lost".to_owned(),
    }
}

/// The table for people.
pub fn table(rows: &[Row], send_timeout: Duration) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    let head =
        ["failure", "program", "alone", "with shim6", "silence ms", "limit ms", "lost", "before", "after"];
    table.set_header(head);
    for row in rows {
        let with = row.with.as_ref().map_or("not run".to_owned(), short);
        let mut cells =
            vec![row.failure.name().to_owned(), row.program.name().to_owned(), short(&row.without), with];
        if let Ok(outcome) = row.with.as_ref().unwrap_or(&row.without) {
            cells.extend([
                outcome.silence.as_millis().to_string(),
                row.failure.limit(send_timeout).as_millis().to_string(),
                outcome.lost.to_string(),
                outcome.before.to_string(),
                outcome.after.to_string(),
            ]);
        }
        table.add_row(cells);
    }
    table.to_string()
}

fn short(outcome: &std::result::Result<Outcome, String>) -> String {
    match outcome {
        Err(_) => "lab failed".to_owned(),
        Ok(o) if o.survived => "survived".to_owned(),
        Ok(o) if o.recovered => format!("silent {} ms", o.silence.as_millis()),
        Ok(_) => "lost".to_owned(),
    }
}

/// What is wrong with rows that are not as they should be.
pub fn complaints(rows: &[Row]) -> Vec<String> {
    let mut complaints = Vec::new();
    for row in rows {
        let name = format!("{}, {}", row.failure.name(), row.program.name());
        match &row.without {
            Err(error) => complaints.push(format!("{name}, alone: {error}")),
            Ok(_) if !row.is_real() => {
                complaints.push(format!("{name}: the program survives this alone, so it shows nothing"))
            }
            Ok(_) => {}
        }
        match &row.with {
            Some(Err(error)) => complaints.push(format!("{name}, with the shim: {error}")),
            Some(Ok(o)) if !o.survived => {
                complaints.push(format!("{name}: silence {} ms. {}", o.silence.as_millis(), o.remarks));
            }
            _ => {}
        }
    }
    complaints
}

/// The longest silence of the rows that ran with the shim.
pub fn worst(rows: &[Row]) -> Duration {
    rows.iter().filter_map(|row| Some(row.with.as_ref()?.as_ref().ok()?.silence)).max().unwrap_or_default()
}

/// The table for programs.
pub fn to_json(rows: &[Row], send_timeout: Duration) -> serde_json::Value {
    let outcome = |outcome: &std::result::Result<Outcome, String>| match outcome {
        Err(error) => json!({ "error": error }),
        Ok(o) => json!({
            "survived": o.survived,
            "recovered": o.recovered,
            "longest_silence_ms": o.silence.as_secs_f64() * 1000.0,
            "datagrams_lost": o.lost,
            "pair_before": o.before.to_string(),
            "pair_after": o.after.to_string(),
            "remarks": o.remarks,
        }),
    };
    let rows_json: Vec<_> = rows
        .iter()
        .map(|row| {
            json!({
                "failure": row.failure.name(),
                "program": row.program.name(),
                "limit_ms": row.failure.limit(send_timeout).as_millis() as u64,
                "without": outcome(&row.without),
                "with": row.with.as_ref().map(outcome),
            })
        })
        .collect();
    json!({
        "failures": rows.len(),
        "survived": rows.iter().filter(|row| row.survived()).count(),
        "worst_silence_ms": worst(rows).as_secs_f64() * 1000.0,
        "rows": rows_json,
    })
}
