//! The same work by the userspace tunnels that people use to survive a path loss: wireguard-go and boringtun.

use super::item::{Goal, Item};
use super::load::{Case, Pair};
use super::speed::{Plan, Results, shim, topology};
use crate::namespace::{Namespace, Process};
use crate::programs;
use crate::topology::{Blackhole, Host};
use crate::{Error, Result, wait_for};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A program that makes an interface, which `wg` sets up.
struct Tunnel {
    program: &'static str,
    options: &'static [&'static str],
}

const TUNNELS: [Tunnel; 2] = [
    Tunnel { program: "wireguard-go", options: &["-f"] },
    Tunnel { program: "boringtun-cli", options: &["-f", "--disable-drop-privileges", "-v", "error"] },
];

/// Where `scripts/setup bench` installs what has no package of the system, from the root of the sources.
const TOOLS: &str = "target/tools/bin";

fn find(program: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(TOOLS);
    std::env::split_paths(&paths).chain([tools]).map(|p| p.join(program)).find(|p| p.is_file())
}

/// One end: the process, and the name of its interface.
struct End {
    _process: Process,
    key: String,
    name: &'static str,
}

fn wg(namespace: &Namespace, words: &[&str], input: &str) -> Result<String> {
    let mut command = Command::new("wg");
    command.args(words);
    Ok(namespace.output(command, input)?.trim().to_owned())
}

fn end(host: &Host, tunnel: &Tunnel, program: &Path, name: &'static str, scratch: &Path) -> Result<End> {
    let mut command = Command::new(program);
    command.args(tunnel.options).arg(name).env("LOG_LEVEL", "error").env("WG_PROCESS_FOREGROUND", "1");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let process = host.namespace.spawn(command)?;
    let socket = format!("/var/run/wireguard/{name}.sock");
    if !wait_for(Duration::from_secs(5), || Path::new(&socket).exists()) {
        return Err(Error::new(format!("{} does not start", tunnel.program)));
    }
    let secret = wg(&host.namespace, &["genkey"], "")?;
    let key = wg(&host.namespace, &["pubkey"], &secret)?;
    let file = scratch.join(name);
    std::fs::write(&file, secret)?;
    let file = file.to_string_lossy().into_owned();
    wg(&host.namespace, &["set", name, "listen-port", "51820", "private-key", &file], "")?;
    Ok(End { _process: process, key, name })
}

/// Packets per second through each tunnel, next to the shim after a switch.
pub(super) fn tunnels(plan: &Plan, scratch: &Path, results: &mut Results) -> Result<()> {
    for t in &TUNNELS {
        let why = match (find(t.program), find("wg")) {
            (None, _) => format!("{} is not installed", t.program),
            (_, None) => "wg is not installed (wireguard-tools)".to_owned(),
            _ if !Path::new("/dev/net/tun").exists() => "this machine has no /dev/net/tun".to_owned(),
            (Some(program), _) => {
                tunnel(plan, &made(scratch, t.program)?, results, t, &program)?;
                continue;
            }
        };
        results.notes.push(format!("No comparison with {}: {why}.", t.program));
    }
    results.notes.push(
        "In the tables of the tunnels, \"native\" is the tunnel; it encrypts, the shim does not.".into(),
    );
    Ok(())
}

fn tunnel(plan: &Plan, scratch: &Path, results: &mut Results, tunnel: &Tunnel, program: &Path) -> Result<()> {
    let section = format!("Against a userspace tunnel ({}), the shim after a switch", tunnel.program);
    let topology = topology(scratch)?;
    let (here, there) = (&topology.client, &topology.server);
    let [near, far] = ["shim6wg-a", "shim6wg-b"];
    let ends = [end(here, tunnel, program, near, scratch)?, end(there, tunnel, program, far, scratch)?];
    for (host, (own, other), (address, far), peer) in [
        (here, (&ends[0], &ends[1]), ("fd00::a", "fd00::b"), there.addresses[1]),
        (there, (&ends[1], &ends[0]), ("fd00::b", "fd00::a"), here.addresses[1]),
    ] {
        let endpoint = format!("[{peer}]:51820");
        let allowed = format!("{far}/128");
        let words = ["set", own.name, "peer", &other.key, "endpoint", &endpoint, "allowed-ips", &allowed];
        wg(&host.namespace, &words, "")?;
        let name = own.name;
        host.namespace.ip(&format!(
            "addr add {address}/64 dev {name} nodad\nlink set {name} mtu 1420 up\n\
             route replace {peer} via fe80::1 dev p2 src {}",
            host.addresses[1]
        ))?;
    }
    let program = programs::compiled("load")?;
    let mut tunnelled = Pair::between(
        (here, "fd00::a"),
        (there, "fd00::b", "::"),
        None,
        (&program, 6003, &[]),
        &made(scratch, "tunnelled")?,
    )?;
    let mut shimmed = Pair::start(&topology, Some(&shim()?), 6002, &scratch.join("shim"))?;
    std::thread::sleep(Duration::from_millis(500));
    topology.blackhole(1, Blackhole::Both)?;
    std::thread::sleep(Duration::from_millis(500));
    shimmed.wait(50)?;
    for case in [Case::single(64), Case::single(1200), Case::batch(1200)] {
        let mut item =
            Item::new(&section, format!("{}, arriving", case.name()), "packets/s", Goal::Ratio(3.0));
        for _ in 0..plan.pairs {
            let measured = tunnelled.flood(case, plan.flood_ms, 0.0, (1, 1))?.rate;
            item.pair(measured, shimmed.flood(case, plan.flood_ms, 0.0, (1, 1))?.rate);
        }
        results.items.push(item);
    }
    Ok(())
}

fn made(scratch: &Path, name: &str) -> Result<std::path::PathBuf> {
    let directory = scratch.join(name);
    std::fs::create_dir_all(&directory)?;
    Ok(directory)
}
