//! What is measured, side by side in one run, with medians and spread; reports as Markdown, JSON and plots.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`failover`] | the longest silence of a flow when its path fails, next to kernel MPTCP |
//! | [`speed`] | throughput, delay and cost, alone and under the shim, before and after a switch |
//! | [`engine`] | what contexts and locators cost the protocol core, alone |
//! | [`growth`] | how cost grows with contexts and locators |
//! | [`load`] | the programs that make the load, and their answers |
//! | [`item`] | one measured quantity, its goal, and the tables |
//! | [`tunnel`] | the same work by a userspace tunnel |
//! | [`plot`] | the plots, as SVG |

pub mod engine;
pub mod failover;
pub mod growth;
pub mod item;
pub mod load;
pub mod plot;
pub mod speed;
pub mod tunnel;

use crate::{Error, Result, privilege};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// What both commands do with files.
#[derive(clap::Args, Debug)]
pub struct Files {
    /// Where the reports as JSON, Markdown and SVG go
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/bench"))]
    pub output: PathBuf,
    /// Fill the command's block (<!-- bench -->, <!-- bench-failover -->) of this file with what has a goal
    #[arg(long)]
    pub readme: Option<PathBuf>,
    /// Keep traces and logs in this directory
    #[arg(long)]
    pub keep: Option<PathBuf>,
}

/// The `main` of a command: `measure` with the privileges for namespaces and a directory of its own. Exit code 2 if it
/// could not do its work.
pub fn run(name: &str, measure: impl FnOnce(&Path) -> Result<ExitCode>) -> ExitCode {
    let measured = privilege::ensure().and_then(|()| {
        let scratch = tempfile::Builder::new().prefix("shim6-bench-").tempdir()?;
        measure(scratch.path())
    });
    measured.unwrap_or_else(|error| {
        eprintln!("{name}: {error}");
        ExitCode::from(2)
    })
}

/// Lowest, median and highest of some measurements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Lowest.
    pub low: f64,
    /// Half of them are below.
    pub median: f64,
    /// Highest.
    pub high: f64,
}

impl Spread {
    /// Of `values`; `None` of none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 };
        Some(Spread { low, median, high })
    }

    /// For programs.
    pub fn json(self) -> serde_json::Value {
        json!({ "low": self.low, "median": self.median, "high": self.high })
    }
}

/// The machine and the moment, for programs.
pub fn circumstances() -> serde_json::Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let cpu = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let said = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let directory = env!("CARGO_MANIFEST_DIR");
    json!({
        "date": said("date", &["-u", "+%Y-%m-%dT%H:%MZ"]),
        "commit": said("git", &["-C", directory, "describe", "--always", "--dirty"]),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "cpu": cpu.map(|(_, name)| name),
        "cpus": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        "load": read("/proc/loadavg").split(' ').next(),
    })
}

/// The same in one line for people.
pub fn circumstances_line(of: &serde_json::Value) -> String {
    let word = |key: &str| of[key].as_str().unwrap_or("unknown").to_owned();
    format!(
        "Measured {} at {}, Linux {}, {} x {}, load average at the start {}.",
        word("date"),
        word("commit"),
        word("kernel"),
        of["cpus"],
        word("cpu"),
        word("load"),
    )
}

/// Octets of a process (its number, or `self`) that are in memory.
pub(crate) fn resident(process: &str) -> f64 {
    let statm = std::fs::read_to_string(format!("/proc/{process}/statm")).unwrap_or_default();
    let pages: f64 = statm.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0.0);
    pages * 4096.0
}

/// Write a file below `directory`, which is made if need be.
pub fn write(directory: &Path, name: &str, text: &str) -> Result<()> {
    let path = directory.join(name);
    std::fs::create_dir_all(directory)
        .and_then(|()| std::fs::write(&path, text))
        .map_err(|e| Error::new(format!("{}: {e}", path.display())))
}

/// Replace what stands in a Markdown file between `<!-- NAME -->` and `<!-- /NAME -->`.
pub fn fill(file: &Path, name: &str, text: &str) -> Result<()> {
    let (open, close) = (format!("<!-- {name} -->"), format!("<!-- /{name} -->"));
    let old = std::fs::read_to_string(file).map_err(|e| Error::new(format!("{}: {e}", file.display())))?;
    let parts = old.split_once(&open).and_then(|(before, rest)| Some((before, rest.split_once(&close)?.1)));
    let (before, after) =
        parts.ok_or_else(|| Error::new(format!("{} has no {open} ... {close}", file.display())))?;
    std::fs::write(file, format!("{before}{open}\n{}\n{close}{after}", text.trim_end()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[3.0, 1.0, 2.0]), Some(Spread { low: 1.0, median: 2.0, high: 3.0 }));
        assert_eq!(Spread::of(&[4.0, 1.0, 2.0, 3.0]), Some(Spread { low: 1.0, median: 2.5, high: 4.0 }));
    }

    #[test]
    fn only_the_marked_block_is_replaced() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("x.md");
        std::fs::write(&file, "a\n<!-- b -->\nold\n<!-- /b -->\nc\n").expect("written");
        fill(&file, "b", "new\n").expect("filled");
        assert_eq!(std::fs::read_to_string(&file).expect("read"), "a\n<!-- b -->\nnew\n<!-- /b -->\nc\n");
        assert!(fill(&file, "x", "").is_err());
    }
}
