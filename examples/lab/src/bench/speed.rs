//! Throughput, delay and cost: alone and under the shim, on a healthy path and after a switch.

use super::growth;
use super::item::{Goal, Grid, Item};
use super::load::{Case, Flood, Pair, thread_cpu};
use super::plot::{Line, Panel};
use crate::namespace::Namespace;
use crate::programs::{self, Shim};
use crate::topology::{Addressing, Blackhole, Topology};
use crate::{Error, Result};
use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Pairs of each measurement.
    pub pairs: usize,
    /// Length of a flood, ms.
    pub flood_ms: u64,
    /// Datagrams per measurement of delay.
    pub stamps: u32,
    /// Parts to measure: all whose name contains this.
    pub only: Option<String>,
    /// Fewer points in the plots.
    pub quick: bool,
}

impl Plan {
    /// Only a part of the runs on one topology is wanted.
    fn wants_only(&self, part: &str) -> bool {
        self.only.as_deref() == Some(part)
    }

    fn wants(&self, part: &str) -> bool {
        self.only.as_deref().is_none_or(|only| part.contains(only))
    }
}

/// What was measured.
#[derive(Default)]
pub struct Results {
    /// The tables.
    pub items: Vec<Item>,
    /// Tables of growth.
    pub grids: Vec<Grid>,
    /// The plots.
    pub panels: Vec<Panel>,
    /// What has to be said about them.
    pub notes: Vec<String>,
    /// What broke.
    pub complaints: Vec<String>,
}

const SINGLE: [Case; 2] = [Case::single(64), Case::single(1200)];
const ALL: [Case; 6] = [
    Case::single(64),
    Case::single(1200),
    Case::batch(64),
    Case::batch(1200),
    Case::train(64),
    Case::train(1200),
];

/// Measure everything that is wanted; `progress` hears of it.
pub fn run(plan: &Plan, scratch: &Path, progress: impl Fn(&str)) -> Results {
    let mut results = Results::default();
    type Part = fn(&Plan, &Path, &mut Results) -> Result<()>;
    let parts: [(&str, Part); 8] = [
        ("path, healthy, switched", path),
        ("suppressed", suppressed),
        ("calls", calls),
        ("start", start),
        ("scaling, growth with sockets and threads", scaling),
        ("growth with contexts", growth::contexts),
        ("growth with locators", growth::locators),
        ("tunnel", super::tunnel::tunnels),
    ];
    for (name, part) in parts {
        if plan.wants(name) {
            progress(name);
            let begun = Instant::now();
            let directory = scratch.join(name.replace([' ', ','], "-"));
            if let Err(error) = part(plan, &directory, &mut results) {
                results.complaints.push(format!("{name}: {error}"));
            }
            progress(&format!("{name} took {:.0} s", begun.elapsed().as_secs_f64()));
        }
    }
    results
}

/// Two hosts with two paths, for programs alone on path 2 and programs under the shim from path 1 on.
pub(super) fn topology(scratch: &Path) -> Result<Topology> {
    std::fs::create_dir_all(scratch)?;
    Topology::new(2, &Addressing::Hba(programs::tool()?), scratch)
}

/// The shim with a context at once, and a Send Timeout that ends the wait for a switch soon.
pub(super) fn shim() -> Result<Shim> {
    let words = "--trigger now --send-timeout 400ms --probe-timeout 50ms --log-level shim6=info";
    Ok(Shim { tool: programs::tool()?, options: words.split(' ').map(str::to_owned).collect() })
}

/// Healthy path, the switch, and what is different then.
fn path(plan: &Plan, scratch: &Path, results: &mut Results) -> Result<()> {
    let topology = topology(scratch)?;
    let mut native = Pair::start(&topology, None, 6001, &scratch.join("native"))?;
    let mut shim = Pair::start(&topology, Some(&shim()?), 6002, &scratch.join("shim"))?;
    std::thread::sleep(Duration::from_millis(500));

    let healthy = "Healthy path: the kernel's own sockets carry the data";
    let cases = if plan.wants_only("switched") { &[][..] } else { &ALL };
    for &case in cases {
        results.items.extend(compare(plan, healthy, &mut native, &mut shim, case, Goal::Ratio(0.99))?.items);
    }
    let none = (Goal::None, Goal::None);
    results.items.extend(delays(plan, healthy, &mut native, &mut shim, none)?);
    if plan.wants_only("healthy") {
        return Ok(());
    }

    topology.blackhole(1, Blackhole::Both)?;
    std::thread::sleep(Duration::from_millis(500));
    shim.wait(50)?;
    let before = topology.counters()?;
    shim.wait(20)?;
    let after = topology.counters()?;
    let switched = "After a switch: payload extension header, raw socket, re-injection";
    let tagged = after.shim6 > before.shim6;
    if !tagged {
        results.notes.push("After the switch the payload had no extension header.".into());
    }
    for case in ALL {
        // Every way of sending is measured by what native sendto and recvfrom do.
        let goal = if SINGLE.contains(&case) { Goal::Ratio(1.0) } else { Goal::None };
        let compared = compare(plan, switched, &mut native, &mut shim, case, goal)?;
        results.items.extend(compared.items);
        if SINGLE.contains(&case) {
            let lost =
                lost(plan, switched, &case.size_name(), &mut native, &mut shim, case, compared.native_rate)?;
            results.items.push(lost);
        }
    }
    placed(plan, switched, &mut native, &mut shim, results)?;
    let goals = (Goal::Added(25.0), Goal::Added(60.0));
    results.items.extend(delays(plan, switched, &mut native, &mut shim, goals)?);
    results.items.extend(engine(plan, switched, &mut shim)?);
    Ok(())
}

/// After a switch without extension header, which `shim6.suppress_header` allows between sockets without peer.
fn suppressed(plan: &Plan, scratch: &Path, results: &mut Results) -> Result<()> {
    const SETTING: [&str; 2] = ["--set", "shim6.suppress_header=true"];
    let mut shim = shim()?;
    let mut known = Command::new(&shim.tool);
    known.arg("run").args(SETTING).args(["--", "/bin/true"]).stderr(std::process::Stdio::null());
    if !known.status()?.success() {
        results.notes.push("This build does not know shim6.suppress_header.".into());
        return Ok(());
    }
    shim.options.extend(SETTING.map(str::to_owned));
    // Without a source of its own, the native sender is left to path 1, so that must work.
    let whole = topology(&scratch.join("whole"))?;
    let mut native = Pair::unconnected(&whole, None, 6001, &scratch.join("native"))?;
    let topology = topology(scratch)?;
    let mut shim = Pair::unconnected(&topology, Some(&shim), 6002, &scratch.join("shim"))?;
    std::thread::sleep(Duration::from_millis(500));
    topology.blackhole(1, Blackhole::Both)?;
    std::thread::sleep(Duration::from_millis(500));
    shim.wait(50)?;
    let before = topology.counters()?;
    shim.wait(50)?;
    let after = topology.counters()?;
    if after.shim6 - before.shim6 > 50 {
        results.notes.push("The payload kept its extension header although suppression was allowed.".into());
    }
    let section = "After a switch, header suppressed (sockets without peer)";
    for case in ALL {
        let compared = compare(plan, section, &mut native, &mut shim, case, Goal::Ratio(0.95))?;
        results.items.extend(compared.items);
    }
    let goals = (Goal::Added(3.0), Goal::Added(6.0));
    results.items.extend(delays(plan, section, &mut native, &mut shim, goals)?);
    Ok(())
}

/// Datagrams that do not arrive where they are sent at the rate that native ones arrive at.
fn lost(
    plan: &Plan,
    section: &str,
    what: &str,
    native: &mut Pair,
    shim: &mut Pair,
    case: Case,
    rate: f64,
) -> Result<Item> {
    let mut lost = Item::new(section, format!("lost at native's rate, {what}"), "%", Goal::AtMost(0.0));
    for _ in 0..plan.pairs {
        let flood = shim.flood(case, plan.flood_ms, rate, (1, 1))?;
        let alone = native.flood(case, plan.flood_ms, rate, (1, 1))?;
        lost.pair(alone.loss.max(0.0) * 100.0, flood.loss.max(0.0) * 100.0);
    }
    Ok(lost)
}

/// The same floods with the sender on one processor and the receiver on another, and the engine's thread beside either.
fn placed(
    plan: &Plan,
    section: &str,
    native: &mut Pair,
    shim: &mut Pair,
    results: &mut Results,
) -> Result<()> {
    let all = sched_getaffinity(Pid::from_raw(0)).map_err(|e| Error::new(format!("processors: {e}")))?;
    let mut single = (0..CpuSet::count()).filter(|i| all.is_set(*i).unwrap_or(false)).filter_map(|i| {
        let mut one = CpuSet::new();
        one.set(i).ok()?;
        Some(one)
    });
    let (Some(first), Some(second)) = (single.next(), single.next()) else {
        results.notes.push("One processor only: threads were not put on processors of their own.".into());
        return Ok(());
    };
    for (beside, engine) in [("receiver", &second), ("sender", &first)] {
        for pair in [&mut *native, &mut *shim] {
            pair.place([&first, &second, engine])?;
        }
        for case in SINGLE {
            let Compared { mut items, native_rate } =
                compare(plan, section, native, shim, case, Goal::Ratio(1.0))?;
            let what = format!("{}, engine beside the {beside}", case.size_name());
            let mut rate = items.swap_remove(0);
            rate.name = format!("sendto/recvfrom, {what}");
            results.items.push(rate);
            results.items.push(lost(plan, section, &what, native, shim, case, native_rate)?);
        }
    }
    native.place([&all; 3])?;
    shim.place([&all; 3])
}

struct Compared {
    items: Vec<Item>,
    /// Datagrams per second that arrive without the shim, the median.
    native_rate: f64,
}

/// Floods with one case, alternating.
fn compare(
    plan: &Plan,
    section: &str,
    native: &mut Pair,
    shim: &mut Pair,
    case: Case,
    goal: Goal,
) -> Result<Compared> {
    let mut rate = Item::new(section, format!("{}, arriving", case.name()), "packets/s", goal);
    let mut bits = Item::new(section, format!("{}, arriving", case.name()), "Gbit/s", Goal::None);
    let mut cpu = Item::new(section, format!("{}, both processes", case.name()), "CPU ns/packet", Goal::None);
    // Once, unmeasured: pages, caches and the receiver's mode.
    for pair in [&mut *native, &mut *shim] {
        pair.flood(case, 50, 0.0, (1, 1))?;
    }
    for round in 0..plan.pairs {
        let measure = |pair: &mut Pair| pair.flood(case, plan.flood_ms, 0.0, (1, 1));
        // First one, then the other, in turns.
        let (n, s): (Flood, Flood) = if round % 2 == 0 {
            let n = measure(native)?;
            (n, measure(shim)?)
        } else {
            let s = measure(shim)?;
            (measure(native)?, s)
        };
        rate.pair(n.rate, s.rate);
        let gbit = |f: Flood| f.rate * f64::from(case.size) * 8.0 / 1e9;
        bits.pair(gbit(n), gbit(s));
        cpu.pair(n.cpu, s.cpu);
    }
    let native_rate = super::Spread::of(&rate.native).map_or(0.0, |spread| spread.median);
    Ok(Compared { items: vec![rate, bits, cpu], native_rate })
}

/// One-way times on an idle path.
fn delays(
    plan: &Plan,
    section: &str,
    native: &mut Pair,
    shim: &mut Pair,
    goals: (Goal, Goal),
) -> Result<[Item; 2]> {
    let mut median = Item::new(section, "one-way time, idle path, median", "us", goals.0);
    let mut p99 = Item::new(section, "one-way time, idle path, 99 %", "us", goals.1);
    for _ in 0..plan.pairs {
        let n = native.delays(plan.stamps, 64, 500)?;
        let s = shim.delays(plan.stamps, 64, 500)?;
        median.pair(n.0, s.0);
        p99.pair(n.1, s.1);
    }
    Ok([median, p99])
}

/// What the engine's threads do per packet in bulk.
fn engine(plan: &Plan, section: &str, shim: &mut Pair) -> Result<Vec<Item>> {
    let (Some(there), Some(here)) = (shim.receiver.engine_thread(), shim.sender.engine_thread()) else {
        return Err(Error::new("the programs have no thread of the shim"));
    };
    let case = Case::batch(1200);
    let mut cpu = Item::new(
        section,
        "engine's thread of the receiver, bulk (sendmmsg, 1200 octets)",
        "CPU ns/packet",
        Goal::None,
    );
    let mut sender_cpu =
        Item::new(section, "engine's thread of the sender, bulk", "CPU ns/packet", Goal::None);
    let mut calls =
        Item::new(section, "system calls of the engine's thread, bulk", "per packet", Goal::AtMost(0.25));
    for _ in 0..plan.pairs {
        let (before, sender_before) = (thread_cpu(there), thread_cpu(here));
        let flood = shim.flood(case, plan.flood_ms, 0.0, (1, 1))?;
        if let (Some(before), Some(after)) = (before, thread_cpu(there)) {
            cpu.shim.push((after - before) / flood.received.max(1.0));
        }
        if let (Some(before), Some(after)) = (sender_before, thread_cpu(here)) {
            sender_cpu.shim.push((after - before) / flood.received.max(1.0));
        }
        let counter = SystemCalls::of(there);
        let flood = shim.flood(case, plan.flood_ms, 0.0, (1, 1))?;
        if let Some(n) = counter.and_then(SystemCalls::stop) {
            calls.shim.push(n / flood.received.max(1.0));
        }
    }
    Ok(vec![cpu, sender_cpu, calls])
}

/// `strace -c` on one thread.
struct SystemCalls {
    tracer: std::process::Child,
}

impl SystemCalls {
    fn of(tid: u32) -> Option<Self> {
        let tracer = Command::new("strace")
            .args(["-c", "-qq", "-p", &tid.to_string()])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .ok()?;
        std::thread::sleep(Duration::from_millis(200));
        Some(SystemCalls { tracer })
    }

    fn stop(self) -> Option<f64> {
        let pid = nix::unistd::Pid::from_raw(self.tracer.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).ok()?;
        let said = self.tracer.wait_with_output().ok()?;
        let said = String::from_utf8_lossy(&said.stderr).into_owned();
        // % time, seconds, usecs/call, calls, [errors,] "total"
        let total = said.lines().rev().find(|line| line.trim_end().ends_with("total"))?;
        total.split_whitespace().nth(3)?.parse().ok()
    }
}

/// The library of this build.
pub(super) fn preload() -> Result<PathBuf> {
    let library = programs::tool()?.with_file_name("libshim6_preload.so");
    library.is_file().then_some(library).ok_or_else(|| Error::new("no libshim6_preload.so beside the tool"))
}

/// What a call costs: `c-tests/overhead.c`, alone and with the library.
fn calls(plan: &Plan, scratch: &Path, results: &mut Results) -> Result<()> {
    std::fs::create_dir_all(scratch)?;
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../../c-tests/overhead.c");
    let program = scratch.join("overhead");
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-pthread", "-o"]).arg(&program).arg(source);
    if !cc.status()?.success() {
        return Err(Error::new(format!("{source} does not compile")));
    }
    let library = preload()?;
    let measure = |with: bool| -> Result<Vec<(String, f64)>> {
        let namespace = Namespace::new()?;
        let mut command = Command::new(&program);
        command.env_remove("SHIM6_LOG");
        if with {
            command.env("LD_PRELOAD", &library);
        }
        let text = namespace.output(command, "")?;
        let line = |line: &str| {
            let (name, ns) = line.trim().rsplit_once(' ')?;
            Some((name.trim().to_owned(), ns.parse().ok()?))
        };
        Ok(text.lines().filter_map(line).collect())
    };
    let mut items: Vec<Item> = Vec::new();
    for _ in 0..plan.pairs.min(5) {
        for ((name, native), (_, shim)) in measure(false)?.into_iter().zip(measure(true)?) {
            let item = match items.iter_mut().find(|item| item.name == name) {
                Some(item) => item,
                None => {
                    items.push(Item::new("One call, best of many", name.clone(), "ns", goal_of_call(&name)));
                    items.last_mut().ok_or_else(|| Error::new("pushed"))?
                }
            };
            item.pair(native, shim);
        }
    }
    results.items.extend(items);
    Ok(())
}

fn goal_of_call(name: &str) -> Goal {
    match name {
        _ if name.contains("raw system call") => Goal::None,
        _ if name.starts_with("connected: send and recv") => Goal::Added(60.0),
        _ if name.starts_with("connected") => Goal::Added(30.0),
        _ if ["sendto and recvfrom", "sendmsg", "sendmmsg"].iter().any(|c| name.contains(c)) => {
            Goal::Added(60.0)
        }
        _ if name.starts_with("unconnected") => Goal::Added(30.0),
        _ if name.starts_with("::1") => Goal::Added(10.0),
        _ if name.starts_with("socket and close") => Goal::None,
        _ => Goal::Added(5.0),
    }
}

/// How much later a program ends that does nothing.
fn start(plan: &Plan, scratch: &Path, results: &mut Results) -> Result<()> {
    std::fs::create_dir_all(scratch)?;
    let (library, tool) = (preload()?, programs::tool()?);
    let once = |command: &mut Command| -> Result<f64> {
        let begun = Instant::now();
        let status = command.status()?;
        let took = begun.elapsed().as_secs_f64() * 1e3;
        status.success().then_some(took).ok_or_else(|| Error::new(format!("{command:?}: {status}")))
    };
    let section = "Program start (/bin/true, from start to end)";
    let mut preloaded = Item::new(section, "with the library preloaded", "ms", Goal::Added(1.0));
    let mut run = Item::new(section, "by `shim6 run`, the tool itself included", "ms", Goal::None);
    for _ in 0..plan.pairs * 10 {
        let alone = once(&mut Command::new("/bin/true"))?;
        preloaded.pair(alone, once(Command::new("/bin/true").env("LD_PRELOAD", &library))?);
        let mut by_tool = Command::new(&tool);
        by_tool.args(["run", "--", "/bin/true"]).stderr(std::process::Stdio::null());
        run.pair(alone, once(&mut by_tool)?);
    }
    results.items.extend([preloaded, run]);
    Ok(())
}

/// How cost grows with sockets and threads.
fn scaling(plan: &Plan, scratch: &Path, results: &mut Results) -> Result<()> {
    let topology = topology(scratch)?;
    for host in [&topology.client, &topology.server] {
        host.namespace.sysctl(&[("ipv4/ip_local_port_range", "10000 65000")])?;
    }
    let mut native = Pair::start(&topology, None, 6001, &scratch.join("native"))?;
    let mut shim = Pair::start(&topology, Some(&shim()?), 6002, &scratch.join("shim"))?;
    let case = Case::single(64);
    let sockets: &[u32] = if plan.quick { &[1, 100] } else { &[1, 10, 100, 1000, 10_000] };
    let threads: &[u32] = if plan.quick { &[1, 4] } else { &[1, 2, 4, 8, 16, 32, 64] };
    for (what, points) in [("sockets", sockets), ("threads", threads)] {
        let section = format!("Growth with {what}, healthy path, sendto, 64 octets, arriving");
        let (mut alone, mut with) = (Vec::new(), Vec::new());
        for &n in points {
            let shape = if what == "sockets" { (n, 1) } else { (1, n) };
            let mut item = Item::new(&section, format!("{n} {what}"), "packets/s", Goal::None);
            for pair in [&mut native, &mut shim] {
                // Makes the sockets.
                pair.flood(case, 20, 0.0, shape)?;
            }
            for _ in 0..plan.pairs.min(3) {
                let measured = native.flood(case, plan.flood_ms, 0.0, shape)?.rate;
                item.pair(measured, shim.flood(case, plan.flood_ms, 0.0, shape)?.rate);
            }
            let median = |values: &[f64]| super::Spread::of(values).map_or(0.0, |s| s.median);
            alone.push((f64::from(n), median(&item.native)));
            with.push((f64::from(n), median(&item.shim)));
            results.items.push(item);
        }
        results.panels.push(Panel {
            title: format!("packets/s over {what}"),
            x: what.into(),
            y: "packets/s".into(),
            logarithmic: true,
            lines: vec![
                Line { name: "alone".into(), points: alone },
                Line { name: "under the shim".into(), points: with },
            ],
        });
    }
    Ok(())
}
