//! How cost grows with contexts and with locators: between two programs as far as these go in seconds, and of the protocol
//! core alone ([`super::engine`]) beyond.

use super::item::{Goal, Grid, Item};
use super::load::{Case, Pair, thread_cpu};
use super::plot::{Line, Panel};
use super::speed::{Plan, Results, shim, topology};
use crate::topology::{Addressing, Blackhole, Host, Side, Topology, prefix};
use crate::{Error, Result, programs, wait_for};
use serde_json::Value;
use shim6::crypto::HbaSet;
use shim6::identity::{Identity, to_text};
use shim6::rng::SeededRng;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::Ipv6Addr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const CASE: Case = Case::single(64);
/// The engines come to rest so soon after a context was last used: Send Timeout, Keepalives, tests.
const REST: Duration = Duration::from_millis(1500);
/// Most time for the contexts of one point, and for those whose first message was lost.
const PATIENCE: Duration = Duration::from_secs(8);
const LATECOMERS: Duration = Duration::from_secs(6);
/// Milliseconds per second of an engine at rest that is not at rest.
const BUSY: f64 = 150.0;
const CONTEXTS_ALONE: &str = "Growth with contexts, the protocol core alone";
const LOCATORS_ALONE: &str = "Growth with locators of each host, the protocol core alone";

/// A measurement of the protocol core at each of `points`.
fn alone(kind: &str, points: &[u32]) -> Result<Vec<Value>> {
    let measure = |n: &u32| {
        let own = std::env::current_exe()?;
        let output = Command::new(own).args(["--engine", &format!("{kind}:{n}")]).output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(Error::new(format!("{kind}:{n}: {}", said.trim())));
        }
        serde_json::from_slice(&output.stdout).map_err(|e| Error::new(format!("{kind}:{n}: {e}")))
    };
    points.iter().map(measure).collect()
}

/// One row of a table, one line of a plot: what, its unit, where it stands, and what it is divided by.
type Row = (&'static str, &'static str, fn(&Value) -> f64);

fn number(of: &Value, path: &str) -> f64 {
    of.pointer(path).and_then(Value::as_f64).unwrap_or(f64::NAN)
}

fn grid(section: &str, what: &str, points: &[u32], measured: &[Value], rows: &[Row]) -> Grid {
    let named = |name: &str, unit: &str| match unit {
        "" => name.to_owned(),
        _ => format!("{name}, {unit}"),
    };
    let row = |(name, unit, of): &Row| (named(name, unit), measured.iter().map(of).collect());
    Grid {
        section: section.into(),
        head: what.into(),
        columns: points.iter().map(u32::to_string).collect(),
        rows: rows.iter().map(row).collect(),
        raw: measured.to_vec(),
    }
}

fn panel(title: &str, (x, y): (&str, &str), points: &[u32], measured: &[Value], rows: &[Row]) -> Panel {
    let line = |(name, _, of): &Row| Line {
        name: (*name).into(),
        points: points.iter().zip(measured).map(|(n, v)| (f64::from(*n), of(v))).collect(),
    };
    let lines = rows.iter().map(line).collect();
    Panel { title: title.into(), x: x.into(), y: y.into(), logarithmic: true, lines }
}

/// With contexts: 1 to 10,000 between two programs, 1 to 100,000 in the protocol core alone.
pub(super) fn contexts(plan: &Plan, scratch: &Path, results: &mut Results) -> Result<()> {
    let points: &[u32] = if plan.quick { &[1, 100, 10_000] } else { &[1, 10, 100, 1000, 10_000, 100_000] };
    let measured = alone("contexts", points)?;
    let times: [Row; 6] = [
        ("tagged datagram of the one busy context", "ns", |v| number(v, "/busy_ns")),
        ("tagged datagram of any context", "ns", |v| number(v, "/any_ns")),
        ("traffic of any context told by the driver", "ns", |v| number(v, "/told_ns")),
        ("timer of a context that runs out", "ns", |v| number(v, "/timer_ns")),
        ("handshake, the responder's part", "ns", |v| number(v, "/setup_ns")),
        ("loss of a link, per context", "ns", |v| number(v, "/link_lost_ms") / number(v, "/contexts") * 1e6),
    ];
    let more: [Row; 3] = [
        ("all timers at once", "ms", |v| number(v, "/all_due_ms")),
        ("loss of a link until the last context has probed", "ms", |v| number(v, "/link_lost_ms")),
        ("memory per context", "octets", |v| number(v, "/octets")),
    ];
    let rows: Vec<Row> = times.iter().chain(&more).copied().collect();
    results.grids.push(grid(CONTEXTS_ALONE, "contexts", points, &measured, &rows));
    let title = "time of one operation over contexts, protocol core alone";
    results.panels.push(panel(title, ("contexts", "ns"), points, &measured, &times));

    let points: &[u32] = if plan.quick { &[1, 100] } else { &[1, 10, 100, 1000, 10_000] };
    let wire = contexts_between_programs(plan, points, scratch, results)?;
    let mut memory = panel(
        "memory per context",
        ("contexts", "octets"),
        points,
        &wire,
        &[("program under the shim, sockets of the kernel not counted", "octets", |v| number(v, "/octets"))],
    );
    let alone = results.grids.last().map(|g| g.raw.clone()).unwrap_or_default();
    let line = |v: &Value| (number(v, "/contexts"), number(v, "/octets"));
    memory.lines.push(Line {
        name: "protocol core alone".into(),
        points: alone.iter().filter(|v| number(v, "/contexts") >= 100.0).map(line).collect(),
    });
    memory.lines[0].points.retain(|(n, octets)| *n >= 100.0 && *octets > 0.0);
    memory.lines.retain(|line| line.points.len() > 1);
    if !memory.lines.is_empty() {
        results.panels.push(memory);
    }
    let rows: [Row; 5] = [
        ("contexts for each pair of addresses", "both sides may begin", |v| number(v, "/per_pair")),
        ("to set one up, both programs in turn", "us", |v| number(v, "/setup_us")),
        ("engine's thread of the client, idle", "ms of CPU per s", |v| number(v, "/idle_client")),
        ("engine's thread of the server, idle", "ms of CPU per s", |v| number(v, "/idle_server")),
        ("memory of the client per context", "octets", |v| number(v, "/octets")),
    ];
    let section = "Growth with contexts, two programs";
    let reached = &points[..wire.len()];
    results.grids.push(grid(section, "contexts", reached, &wire, &rows));
    Ok(())
}

/// Hosts with many HBA sets of two addresses; contexts between the addresses of path 1, each with each. A flow on one of
/// them is measured.
fn contexts_between_programs(
    plan: &Plan,
    points: &[u32],
    scratch: &Path,
    results: &mut Results,
) -> Result<Vec<Value>> {
    let topology = topology(scratch)?;
    let most = points.last().copied().unwrap_or(1);
    let sets = f64::from(most).sqrt().ceil() as usize;
    let here = more_addresses(&topology.client, Side::Client, sets)?;
    let there = more_addresses(&topology.server, Side::Server, sets)?;
    let mut pairs = here.iter().flat_map(|a| there.iter().map(move |b| (a, b)));

    let mut under = shim()?;
    // As many handshakes at a time as the bench wants, from one prefix.
    let limits = ["--set", "shim6.reply_rate_per_source=1000000", "--set", "shim6.reply_rate_total=1000000"];
    under.options.extend(limits.map(str::to_owned));
    let mut native = Pair::start(&topology, None, 6001, &scratch.join("native"))?;
    let mut shim = Pair::start(&topology, Some(&under), 6002, &scratch.join("shim"))?;
    std::thread::sleep(Duration::from_millis(500));
    let empty = shim.sender.resident();
    let section = "Growth with contexts, healthy path, sendto, 64 octets, arriving";
    let (mut measured, mut lines) = (Vec::new(), [Vec::new(), Vec::new()]);
    let mut known = 1;
    for &n in points {
        let (begun, before) = (Instant::now(), known);
        while known < n {
            let Some((a, b)) = pairs.next() else { return Err(Error::new("too few addresses")) };
            if shim.sender.ask(&format!("meet {b} {a}"))? != [1.0] {
                return Err(Error::new(format!("nothing can be sent from {a} to {b}")));
            }
            known += 1;
        }
        let setup = quiet(&mut shim, begun) / f64::from((known - before).max(1));
        // What was lost comes again after seconds.
        let mut up = Ok(Up::default());
        let all = wait_for(LATECOMERS, || {
            up = established(&topology.client);
            up.as_ref().is_ok_and(|up| up.pairs >= n as usize)
        });
        let up = match up {
            Ok(up) if all => up,
            Ok(up) => {
                results.notes.push(format!("Of {n} pairs of addresses {} got a context in time.", up.pairs));
                if up.pairs < n as usize / 10 * 9 {
                    break;
                }
                up
            }
            Err(error) => {
                results
                    .notes
                    .push(format!("With {n} pairs of addresses the engine was too busy to answer: {error}"));
                break;
            }
        };
        std::thread::sleep(REST);
        let idle = idle(&mut shim, Duration::from_secs(1));
        let mut item = Item::new(section, format!("{n} contexts"), "packets/s", Goal::None);
        for pair in [&mut native, &mut shim] {
            pair.flood(CASE, 20, 0.0, (1, 1))?;
        }
        for _ in 0..plan.pairs.min(3) {
            let alone = native.flood(CASE, plan.flood_ms, 0.0, (1, 1))?.rate;
            item.pair(alone, shim.flood(CASE, plan.flood_ms, 0.0, (1, 1))?.rate);
        }
        for (line, values) in lines.iter_mut().zip([&item.native, &item.shim]) {
            line.push((f64::from(n), super::Spread::of(values).map_or(0.0, |s| s.median)));
        }
        results.items.push(item);
        measured.push(serde_json::json!({
            "contexts": n,
            "setup_us": (known > before).then_some(setup),
            "per_pair": up.contexts as f64 / up.pairs as f64,
            "idle_client": idle.0,
            "idle_server": idle.1,
            "octets": (known > 1).then(|| (shim.sender.resident() - empty) / f64::from(known - 1)),
        }));
        // More would only wait for each other.
        if n != most && idle.0.max(idle.1) > BUSY {
            results.notes.push(format!(
                "With {n} pairs of addresses the engines' threads use {:.0} and {:.0} ms per second at rest: \
                 no more were tried.",
                idle.0, idle.1
            ));
            break;
        }
    }
    results.panels.push(two_lines("packets/s of one flow over contexts, healthy path", "contexts", lines));
    Ok(measured)
}

fn two_lines(title: &str, x: &str, [alone, with]: [Vec<(f64, f64)>; 2]) -> Panel {
    Panel {
        title: title.into(),
        x: x.into(),
        y: "packets/s".into(),
        logarithmic: true,
        lines: vec![
            Line { name: "alone".into(), points: alone },
            Line { name: "under the shim".into(), points: with },
        ],
    }
}

/// `count` further HBA sets on the first two links of a host; the addresses on the first.
fn more_addresses(host: &Host, side: Side, count: usize) -> Result<Vec<Ipv6Addr>> {
    let directory = host.identities.as_ref().ok_or_else(|| Error::new("a host without identities"))?;
    let prefixes = [1, 2].map(|n| {
        let mut octets = [0; 8];
        octets.copy_from_slice(&prefix(side, n).octets()[..8]);
        octets
    });
    let (mut first, mut commands) = (Vec::new(), String::new());
    for i in 0..count {
        let mut rng = SeededRng::new(i as u64 + 1);
        let set = HbaSet::generate(&prefixes, 0, None, &mut rng);
        let identity = Identity::from_set(&set.map_err(|e| Error::new(e.to_string()))?);
        std::fs::write(directory.join(format!("set{i}.pem")), to_text(&identity))?;
        first.extend(identity.members().next());
        for (n, address) in identity.members().enumerate() {
            let _ = writeln!(commands, "addr add {address}/64 dev p{} nodad", n + 1);
        }
    }
    host.namespace.ip(&commands)?;
    Ok(first)
}

/// What is up at the one engine of a host.
#[derive(Clone, Copy, Debug, Default)]
struct Up {
    contexts: usize,
    /// Pairs of addresses that have one.
    pairs: usize,
}

fn established(host: &Host) -> Result<Up> {
    let mut status = Command::new(programs::tool()?);
    status.args(["status", "--json"]);
    let text = host.namespace.output(status, "")?;
    let json: Value = serde_json::from_str(&text).map_err(|e| Error::new(format!("shim6 status: {e}")))?;
    let contexts = json.pointer("/0/status/contexts").and_then(Value::as_array).cloned().unwrap_or_default();
    let up = || contexts.iter().filter(|c| c["state"] == "ESTABLISHED");
    let pairs: BTreeSet<_> = up().map(|c| c["ulids"].to_string()).collect();
    Ok(Up { contexts: up().count(), pairs: pairs.len() })
}

/// Microseconds from `begun` to the moment when the engines have nothing more to do, or until patience is over.
fn quiet(pair: &mut Pair, begun: Instant) -> f64 {
    const LOOK: Duration = Duration::from_millis(10);
    while begun.elapsed() < PATIENCE {
        let at = begun.elapsed();
        let (client, server) = idle(pair, LOOK);
        // A tenth of a processor
        if client.max(server) < 100.0 {
            return at.as_secs_f64() * 1e6;
        }
    }
    begun.elapsed().as_secs_f64() * 1e6
}

/// What the engines' threads of client and server use while nobody sends, ms per second.
fn idle(pair: &mut Pair, time: Duration) -> (f64, f64) {
    let threads = [pair.sender.engine_thread(), pair.receiver.engine_thread()];
    let used = || threads.map(|t| t.and_then(thread_cpu).unwrap_or(f64::NAN));
    let before = used();
    let begun = Instant::now();
    std::thread::sleep(time);
    let (after, seconds) = (used(), begun.elapsed().as_secs_f64());
    ((after[0] - before[0]) / 1e6 / seconds, (after[1] - before[1]) / 1e6 / seconds)
}

/// With locators: 2 to 32 between two programs, 2 to 64 in the protocol core alone.
pub(super) fn locators(plan: &Plan, scratch: &Path, results: &mut Results) -> Result<()> {
    let points: &[u32] = if plan.quick { &[2, 32] } else { &[2, 4, 8, 16, 32, 64] };
    let measured = alone("locators", points)?;
    let times: [Row; 5] = [
        ("handshake, both hosts", "us", |v| number(v, "/setup_ns") / 1e3),
        ("I2 verified and answered", "us", |v| number(v, "/i2_ns") / 1e3),
        ("address lost, Update Request made", "us", |v| number(v, "/update_sender_ns") / 1e3),
        ("Update Request verified and answered", "us", |v| number(v, "/update_receiver_ns") / 1e3),
        ("tagged datagram", "us", |v| number(v, "/datagram_ns") / 1e3),
    ];
    let found: [Row; 4] = [
        ("first path fails: probes until another works", "both hosts", |v| number(v, "/first_fails/probes")),
        ("the same", "s", |v| number(v, "/first_fails/seconds")),
        ("only the last pair works: probes until it is found", "both hosts", |v| {
            number(v, "/last_works/probes")
        }),
        ("the same, default timers", "s", |v| number(v, "/last_works/seconds")),
    ];
    let sizes: [Row; 3] = [
        ("locators that the peer learns", "", |v| number(v, "/offered")),
        ("I2", "octets", |v| number(v, "/i2_octets")),
        ("Update Request with list", "octets", |v| number(v, "/update_octets")),
    ];
    let rows: Vec<Row> = times.iter().chain(&found).chain(&sizes).copied().collect();
    results.grids.push(grid(LOCATORS_ALONE, "locators", points, &measured, &rows));
    let axes = ("locators of each host", "us");
    let title = "time of one operation over locators, protocol core alone";
    results.panels.push(panel(title, axes, points, &measured, &times));
    let lines: [Row; 4] = [
        ("first path fails: probes", "", found[0].2),
        ("first path fails: seconds", "", found[1].2),
        ("only the last pair works: probes", "", found[2].2),
        ("only the last pair works: seconds", "", found[3].2),
    ];
    let axes = ("locators of each host", "probes, seconds");
    let title = "until a pair that works is found, default timers, protocol core alone";
    results.panels.push(panel(title, axes, points, &measured, &lines));

    let points: &[u32] = if plan.quick { &[2, 16] } else { &[2, 4, 8, 16, 32] };
    let (mut wire, mut lines) = (Vec::new(), [Vec::new(), Vec::new()]);
    for &n in points {
        let directory = scratch.join(n.to_string());
        let (item, silence, engine) = locators_between_programs(plan, n, &directory)?;
        for (line, values) in lines.iter_mut().zip([&item.native, &item.shim]) {
            line.push((f64::from(n), super::Spread::of(values).map_or(0.0, |s| s.median)));
        }
        results.items.push(item);
        wire.push(serde_json::json!({ "locators": n, "silence_ms": silence, "engine_ns": engine }));
    }
    let rows: [Row; 2] = [
        ("path 1 swallows everything: until the next echo (Send Timeout 400 ms)", "ms", |v| {
            number(v, "/silence_ms")
        }),
        ("after the switch: engine's thread of the receiver", "CPU ns/packet", |v| number(v, "/engine_ns")),
    ];
    results.grids.push(grid("Growth with locators, two programs", "locators", points, &wire, &rows));
    results.panels.push(two_lines("packets/s over locators, after a switch", "locators of each host", lines));
    Ok(())
}

/// Two hosts with `n` paths, of which the first fails: floods after the switch, the silence until then in milliseconds,
/// and what the receiver's engine needs per packet.
fn locators_between_programs(plan: &Plan, n: u32, scratch: &Path) -> Result<(Item, f64, f64)> {
    std::fs::create_dir_all(scratch)?;
    let topology = Topology::new(n as usize, &Addressing::Hba(programs::tool()?), scratch)?;
    // A router that counts each pair would cost more than all the rest.
    topology
        .core()
        .nft("flush chain ip6 lab count\nflush chain ip6 lab fail\nadd rule ip6 lab fail jump path1")?;
    let mut native = Pair::start(&topology, None, 6001, &scratch.join("native"))?;
    let mut shim = Pair::start(&topology, Some(&shim()?), 6002, &scratch.join("shim"))?;
    std::thread::sleep(Duration::from_millis(500));
    shim.wait(20)?;
    topology.blackhole(1, Blackhole::Both)?;
    let failed = Instant::now();
    while shim.sender.ask("ping 1")? != [1.0] {
        if failed.elapsed() > Duration::from_secs(30) {
            return Err(Error::new(format!("{n} locators: no echo after the failure of path 1")));
        }
    }
    let silence = failed.elapsed().as_secs_f64() * 1e3;
    shim.wait(50)?;
    let section = "Growth with locators, after a switch, sendto, 64 octets, arriving";
    let mut item = Item::new(section, format!("{n} locators"), "packets/s", Goal::None);
    let thread = shim.receiver.engine_thread().ok_or_else(|| Error::new("no thread of the shim"))?;
    let mut engine = Vec::new();
    for pair in [&mut native, &mut shim] {
        pair.flood(CASE, 20, 0.0, (1, 1))?;
    }
    for _ in 0..plan.pairs.min(3) {
        let alone = native.flood(CASE, plan.flood_ms, 0.0, (1, 1))?.rate;
        let before = thread_cpu(thread).unwrap_or(f64::NAN);
        let flood = shim.flood(CASE, plan.flood_ms, 0.0, (1, 1))?;
        let after = thread_cpu(thread).unwrap_or(f64::NAN);
        engine.push((after - before) / flood.received.max(1.0));
        item.pair(alone, flood.rate);
    }
    Ok((item, silence, super::Spread::of(&engine).map_or(f64::NAN, |s| s.median)))
}
