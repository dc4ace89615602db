//! The longest silence of a two-way flow of 1000 messages per second when its path fails, next to kernel MPTCP.

use super::plot::{Line, Panel};
use super::{Spread, circumstances, circumstances_line, plot};
use crate::programs::{self, Running, Shim};
use crate::topology::{Addressing, Blackhole, Host, Side, Topology};
use crate::{Error, Result, now_ns, wait_for};
use comfy_table::{Table, presets};
use serde_json::json;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::sleep;
use std::time::Duration;

/// What fails; path 1, on which the flow runs, while path 2 works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Packets vanish, nobody is told.
    Blackhole,
    /// The client's link goes down.
    LinkHere,
    /// The server's link goes down.
    LinkThere,
}

impl Failure {
    /// All of them.
    pub const ALL: [Failure; 3] = [Failure::Blackhole, Failure::LinkHere, Failure::LinkThere];

    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Failure::Blackhole => "silent blackhole",
            Failure::LinkHere => "link down here",
            Failure::LinkThere => "link down at the peer",
        }
    }

    fn strike(self, topology: &Topology) -> Result<()> {
        match self {
            Failure::Blackhole => topology.blackhole(1, Blackhole::Both),
            Failure::LinkHere => topology.link_down(Side::Client, 1),
            Failure::LinkThere => topology.link_down(Side::Server, 1),
        }
    }
}

/// Who carries the flow.
#[derive(Clone, Debug)]
pub enum Carrier {
    /// UDP under `shim6 run` with these options.
    Shim(Shim),
    /// A stream of kernel MPTCP.
    Mptcp,
}

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// Its name.
    pub name: String,
    /// Who carries the flow.
    pub carrier: Carrier,
    /// How long after each failure arrivals are watched.
    pub watch: [Duration; 3],
    /// What the goals are, ms.
    pub goals: [Option<f64>; 3],
    /// The Send Timeout is longer than a run with a blackhole should be: those run side by side.
    pub slow_blackhole: bool,
}

/// Options of `shim6 run` for the configurations, without those of the lab.
pub fn configurations(tool: &Path) -> Result<Vec<Configuration>> {
    let shim = |options: &[&str]| Shim {
        tool: tool.to_owned(),
        options: options.iter().map(|&word| word.to_owned()).collect(),
    };
    let help = Command::new(tool).args(["run", "--help"]).output()?;
    let has_standby = String::from_utf8_lossy(&help.stdout).contains("--hot-standby");
    let seconds = Duration::from_secs;
    let quick = [seconds(4), seconds(2), seconds(2)];
    let standby = Configuration {
        name: if has_standby {
            "hot standby, Send Timeout 30 ms".into()
        } else {
            "Send Timeout 30 ms (this build has no --hot-standby)".into()
        },
        carrier: Carrier::Shim(shim(if has_standby {
            &["--hot-standby", "--send-timeout", "30ms", "--probe-timeout", "10ms"]
        } else {
            &["--send-timeout", "30ms", "--probe-timeout", "10ms"]
        })),
        watch: quick,
        goals: [Some(45.0), Some(4.0), Some(5.0)],
        slow_blackhole: false,
    };
    Ok(vec![
        standby,
        Configuration {
            name: "no hot standby, Send Timeout 100 ms".into(),
            carrier: Carrier::Shim(shim(&["--send-timeout", "100ms", "--probe-timeout", "20ms"])),
            watch: quick,
            goals: [Some(150.0), Some(20.0), Some(30.0)],
            slow_blackhole: false,
        },
        Configuration {
            name: "RFC 5534 defaults".into(),
            carrier: Carrier::Shim(shim(&[])),
            watch: [seconds(19), seconds(2), seconds(2)],
            goals: [None, Some(20.0), Some(30.0)],
            slow_blackhole: true,
        },
        Configuration {
            name: "kernel MPTCP".into(),
            carrier: Carrier::Mptcp,
            watch: [seconds(4), seconds(4), seconds(4)],
            goals: [None; 3],
            slow_blackhole: false,
        },
    ])
}

/// One failure of one flow.
#[derive(Clone, Debug)]
pub struct Run {
    /// The longest silence from the failure on in the worse direction, ms.
    pub silence: f64,
    /// The longest time that a thread which wanted to sleep for a millisecond waited beyond that, ms: no program can do better
    /// than the machine.
    pub stall: f64,
    /// Messages came again in both directions before the watch was over.
    pub recovered: bool,
    /// Arrivals of the worse direction, ms from the failure on.
    pub arrivals: Vec<f64>,
}

/// All runs of one configuration with one failure.
pub struct Cell {
    /// What failed.
    pub failure: Failure,
    /// The runs, or why there are fewer.
    pub runs: Vec<std::result::Result<Run, String>>,
}

impl Cell {
    fn good(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter().flatten()
    }

    /// Of the silences.
    pub fn spread(&self) -> Option<Spread> {
        Spread::of(&self.good().map(|run| run.silence).collect::<Vec<_>>())
    }

    /// More than half of the runs did not recover.
    fn never(&self) -> bool {
        self.good().filter(|run| !run.recovered).count() * 2 > self.runs.len()
    }

    /// The run whose silence is next to the median.
    fn typical(&self) -> Option<&Run> {
        let median = self.spread()?.median;
        self.good().min_by(|a, b| (a.silence - median).abs().total_cmp(&(b.silence - median).abs()))
    }

    fn text(&self) -> String {
        match self.spread() {
            None if self.runs.is_empty() => String::new(),
            None => "failed".into(),
            Some(_) if self.never() => "never".into(),
            Some(s) if s.high >= 10_000.0 => {
                format!("{:.1} s ({:.1}-{:.1})", s.median / 1e3, s.low / 1e3, s.high / 1e3)
            }
            Some(s) => format!("{:.1} ({:.1}-{:.1})", s.median, s.low, s.high),
        }
    }
}

/// A configuration with its results.
pub struct Row {
    /// Which.
    pub configuration: Configuration,
    /// A cell per failure, in the order of [`Failure::ALL`].
    pub cells: Vec<Cell>,
}

/// Whether this kernel has MPTCP; otherwise why not.
pub fn mptcp_here() -> std::result::Result<(), String> {
    match std::fs::read_to_string("/proc/sys/net/mptcp/enabled") {
        Ok(text) if text.trim() == "1" => Ok(()),
        Ok(_) => Err("net.mptcp.enabled is 0".into()),
        Err(e) => Err(format!("this kernel has no MPTCP (/proc/sys/net/mptcp/enabled: {e})")),
    }
}

/// Run all, `repeats` times each with the failures that `wanted` names; `progress` hears of each run.
pub fn run(
    configurations: Vec<Configuration>,
    wanted: impl Fn(Failure) -> bool,
    repeats: usize,
    scratch: &Path,
    progress: impl Fn(&str) + Sync,
) -> Vec<Row> {
    let mut rows: Vec<Row> = configurations
        .into_iter()
        .map(|configuration| Row {
            configuration,
            cells: Failure::ALL.map(|failure| Cell { failure, runs: Vec::new() }).into(),
        })
        .collect();
    let one = |row: &Row, which: usize, repeat: usize| {
        let failure = Failure::ALL[which];
        let name = format!("{} {} {repeat}", row.configuration.name, failure.name()).replace(' ', "-");
        let run = measure(&row.configuration, which, &scratch.join(name)).map_err(|e| e.to_string());
        let said = match &run {
            Ok(run) if run.recovered => {
                format!("{:.1} ms, the machine itself stood still for {:.1} ms", run.silence, run.stall)
            }
            Ok(_) => "did not recover".into(),
            Err(error) => error.clone(),
        };
        progress(&format!("{}, {}: {said}", row.configuration.name, failure.name()));
        run
    };
    // Rounds over all of them, so that what disturbs the machine for a while disturbs all alike.
    for repeat in 0..repeats {
        for which in (0..Failure::ALL.len()).filter(|which| wanted(Failure::ALL[*which])) {
            for row in &mut rows {
                if !(which == 0 && row.configuration.slow_blackhole) {
                    let run = one(row, which, repeat);
                    row.cells[which].runs.push(run);
                }
            }
        }
    }
    let slow = |row: &&mut Row| row.configuration.slow_blackhole && wanted(Failure::Blackhole);
    for row in rows.iter_mut().filter(slow) {
        let runs = std::thread::scope(|scope| {
            let (row, one) = (&*row, &one);
            let threads: Vec<_> =
                (0..repeats).map(|repeat| scope.spawn(move || one(row, 0, repeat))).collect();
            threads.into_iter().map(|t| t.join().unwrap_or_else(|_| Err("the run panicked".into()))).collect()
        });
        row.cells[0].runs = runs;
    }
    rows
}

const PORT: &str = "5006";
/// Between two messages, in microseconds.
const INTERVAL: &str = "1000";

fn measure(configuration: &Configuration, which: usize, files: &Path) -> Result<Run> {
    std::fs::create_dir_all(files)?;
    let (addressing, shim, protocol) = match &configuration.carrier {
        Carrier::Shim(shim) => (Addressing::Hba(shim.tool.clone()), Some(shim), "udp"),
        Carrier::Mptcp => (Addressing::Plain, None, "mptcp"),
    };
    let topology = Topology::new(2, &addressing, files)?;
    if protocol == "mptcp" {
        prepare_mptcp(&topology)?;
    }
    let program = programs::compiled("flow")?;
    let words = |role: &str, address: &str| {
        [program.as_str(), protocol, role, address, PORT, INTERVAL].map(str::to_owned).to_vec()
    };
    let start = |host: &Host, role: &str, address: &str| {
        programs::start_traced(host, &words(role, address), shim, &files.join(role))
    };
    let mut server = start(&topology.server, "server", "::")?;
    if !wait_for(Duration::from_secs(5), || server.complaints().contains("open")) {
        return Err(Error::new(format!("the server does not start: {}", server.complaints())));
    }
    let mut client = start(&topology.client, "client", &topology.server.addresses[0].to_string())?;
    let heard = |running: &Running| running.wait_received(200, Duration::from_secs(5));
    if !(heard(&client) && heard(&server)) {
        let said = format!("client: {} server: {}", client.complaints(), server.complaints());
        return Err(Error::new(format!("no flow before any failure; {said}")));
    }
    // Contexts and subflows are set up within a few round-trip times; after that, both sides get to know all addresses.
    sleep(Duration::from_millis(1200));
    let struck = now_ns();
    let over = AtomicBool::new(false);
    let (stall, end) = std::thread::scope(|scope| {
        let stall = scope.spawn(|| longest_stall(&over));
        let watched = Failure::ALL[which].strike(&topology).map(|()| {
            sleep(configuration.watch[which]);
            now_ns()
        });
        over.store(true, Relaxed);
        watched.map(|end| (stall.join().unwrap_or_default(), end))
    })?;
    client.stop()?;
    server.stop()?;
    let traces = [client.trace(), server.trace()];
    let recent = end - 300_000_000;
    let worse = usize::from(traces[1].longest_silence(struck, end) > traces[0].longest_silence(struck, end));
    let ms = |at: u64| (at as f64 - struck as f64) / 1e6;
    Ok(Run {
        silence: traces[worse].longest_silence(struck, end).as_secs_f64() * 1e3,
        stall: stall.as_secs_f64() * 1e3,
        recovered: traces.iter().all(|trace| trace.heard(recent, end)),
        arrivals: traces[worse].received.iter().map(|&(_, at)| ms(at)).filter(|at| *at > -100.0).collect(),
    })
}

/// How much longer than a millisecond the longest sleep of a millisecond took until then.
fn longest_stall(over: &AtomicBool) -> Duration {
    let step = Duration::from_millis(1);
    let mut longest = Duration::ZERO;
    while !over.load(Relaxed) {
        let began = now_ns();
        sleep(step);
        longest = longest.max(Duration::from_nanos(now_ns() - began).saturating_sub(step));
    }
    longest
}

/// The best settings known: subflows over both paths from the start, retransmission timers of 20 ms at least, and a
/// subflow counts as stale at the first timeout.
fn prepare_mptcp(topology: &Topology) -> Result<()> {
    for side in [Side::Client, Side::Server] {
        let host = topology.host(side);
        host.namespace.sysctl(&[("mptcp/stale_loss_cnt", "1")])?;
        let mut commands = String::from("mptcp limits set subflows 8 add_addr_accepted 8\n");
        for n in topology.paths() {
            let (address, table) = (host.addresses[n - 1], 100 + n);
            let flag = if side == Side::Client { "subflow fullmesh" } else { "signal" };
            commands += &format!("mptcp endpoint add {address} dev p{n} {flag}\n");
            let via = format!("via fe80::1 dev p{n}");
            commands += &format!("route replace default {via} table {table} rto_min 20ms\n");
            commands += &format!("route replace default {via} metric {table} rto_min 20ms\n");
        }
        host.namespace.ip(&commands)?;
    }
    Ok(())
}

/// The table for people.
pub fn table(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    let mut head = vec!["longest silence, ms".to_owned()];
    head.extend(Failure::ALL.iter().map(|failure| failure.name().to_owned()));
    table.set_header(head);
    for row in rows {
        let mut cells = vec![row.configuration.name.clone()];
        for (cell, goal) in row.cells.iter().zip(row.configuration.goals) {
            let goal = goal.map_or(String::new(), |goal| format!(", goal {goal:.0}"));
            cells.push(cell.text() + &goal);
        }
        table.add_row(cells);
    }
    table.to_string()
}

/// What is said below the table.
pub fn notes(repeats: usize, mptcp: &std::result::Result<(), String>) -> String {
    let mut notes = format!(
        "A flow of 1000 messages per second in both directions between two hosts with two paths of less than 1 ms each; the \
         path that it uses fails. Longest time without a message at either end (the worse direction), median of {repeats} \
         runs (lowest-highest).\n"
    );
    notes += match mptcp {
        Ok(()) => {
            "MPTCP: TCP sockets with IPPROTO_MPTCP and TCP_NODELAY, subflows over all address pairs from the start (client \
             subflow and fullmesh, server signal), rto_min 20 ms by route, stale_loss_cnt 1. A stream delivers late what was \
             sent meanwhile; a flow of datagrams has lost it.\n"
        }
        Err(_) => "",
    };
    if let Err(why) = mptcp {
        notes += &format!("No comparison with kernel MPTCP: {why}.\n");
    }
    notes
}

/// Table, JSON and plot go to `directory`.
pub fn report(
    rows: &[Row],
    repeats: usize,
    mptcp: &std::result::Result<(), String>,
    directory: &Path,
) -> Result<String> {
    let machine = circumstances();
    let text = format!("{}\n\n{}{}\n", table(rows), notes(repeats, mptcp), circumstances_line(&machine));
    let cells = |row: &Row| -> Vec<_> {
        let goals = row.cells.iter().zip(row.configuration.goals);
        goals
            .map(|(cell, goal)| {
                json!({
                    "failure": cell.failure.name(),
                    "goal_ms": goal,
                    "silence_ms": cell.spread().map(Spread::json),
                    "runs_ms": cell.good().map(|run| run.silence).collect::<Vec<_>>(),
                    "stalls_of_the_machine_ms": cell.good().map(|run| run.stall).collect::<Vec<_>>(),
                    "recovered": cell.good().filter(|run| run.recovered).count(),
                    "errors": cell.runs.iter().filter_map(|run| run.as_ref().err()).collect::<Vec<_>>(),
                })
            })
            .collect()
    };
    let rows_json: Vec<_> = rows
        .iter()
        .map(|row| json!({ "configuration": row.configuration.name, "failures": cells(row) }))
        .collect();
    let json = json!({
        "machine": machine,
        "repeats": repeats,
        "mptcp": mptcp.as_ref().err().map_or("compared", String::as_str),
        "rows": rows_json,
    });
    super::write(directory, "failover.json", &format!("{json:#}\n"))?;
    super::write(
        directory,
        "failover.md",
        &format!("# Failover\n\n{text}\n![Arrivals over time](failover.svg)\n"),
    )?;
    plot::draw(&directory.join("failover.svg"), &panels(rows))?;
    Ok(text)
}

/// For each failure the messages that have arrived, over time; a silence is a level stretch.
fn panels(rows: &[Row]) -> Vec<Panel> {
    let panel = |which: usize| Panel {
        title: format!("{}: messages that arrived, worse direction, typical run", Failure::ALL[which].name()),
        x: "ms from the failure on".into(),
        y: "messages".into(),
        logarithmic: false,
        lines: rows
            .iter()
            .filter_map(|row| {
                let run = row.cells[which].typical()?;
                Some(Line { name: row.configuration.name.clone(), points: staircase(&run.arrivals) })
            })
            .collect(),
    };
    (0..Failure::ALL.len()).map(panel).collect()
}

/// Arrivals up to one millisecond each, as a staircase from -100 to 1000 ms.
fn staircase(arrivals: &[f64]) -> Vec<(f64, f64)> {
    let shown = -100..=1000;
    let mut points = Vec::new();
    let mut count = 0;
    for at in shown {
        while arrivals.get(count).is_some_and(|arrival| *arrival < f64::from(at)) {
            count += 1;
        }
        let y = count as f64;
        let level = points.len() > 1 && points.iter().rev().take(2).all(|p: &(f64, f64)| p.1 == y);
        if level {
            points.pop();
        }
        points.push((f64::from(at), y));
    }
    points
}

/// What broke, as opposed to what is slow.
pub fn complaints(rows: &[Row]) -> Vec<String> {
    let mut complaints = Vec::new();
    for row in rows {
        for cell in &row.cells {
            let name = format!("{}, {}", row.configuration.name, cell.failure.name());
            complaints.extend(
                cell.runs.iter().filter_map(|run| run.as_ref().err()).map(|e| format!("{name}: {e}")),
            );
            if !cell.runs.is_empty() && cell.never() && matches!(row.configuration.carrier, Carrier::Shim(_))
            {
                complaints.push(format!("{name}: the flow does not recover"));
            }
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_is_a_level_stretch() {
        let points = staircase(&[-50.0, 0.5, 300.0]);
        assert_eq!(points.first(), Some(&(-100.0, 0.0)));
        assert_eq!(points.last(), Some(&(1000.0, 3.0)));
        assert!(points.contains(&(1.0, 2.0)) && points.contains(&(300.0, 2.0)));
        assert!(points.len() < 12, "{points:?}");
    }
}
