//! One failure with one program, from the warm-up to the verdict.

use crate::programs::{self, Program, Running, Shim};
use crate::topology::{Addressing, Blackhole, PathPair, Side, Topology};
use crate::{Error, Result, now_ns};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

/// What fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Path 1 swallows everything.
    BlackholeBoth,
    /// Path 1 swallows what goes to the server.
    BlackholeToServer,
    /// Path 1 swallows what goes to the client.
    BlackholeToClient,
    /// The client's link of path 1 goes down, its address vanishes, and with it the local ULID.
    LocalLinkDown,
    /// The same at the server.
    PeerLinkDown,
    /// Path 1 swallows everything, comes back, and then path 2 does the same (and every path but 1 does).
    BackThenOther,
}

impl Failure {
    /// All of them.
    pub const ALL: [Failure; 6] = [
        Failure::BlackholeBoth,
        Failure::BlackholeToServer,
        Failure::BlackholeToClient,
        Failure::LocalLinkDown,
        Failure::PeerLinkDown,
        Failure::BackThenOther,
    ];

    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Failure::BlackholeBoth => "blackhole, both directions",
            Failure::BlackholeToServer => "blackhole, to the server",
            Failure::BlackholeToClient => "blackhole, to the client",
            Failure::LocalLinkDown => "local link down",
            Failure::PeerLinkDown => "link down at the peer",
            Failure::BackThenOther => "path 1 back, then path 2 fails",
        }
    }

    /// The longest silence that the application may see when the Send Timeout is `send_timeout`.
    pub fn limit(self, send_timeout: Duration) -> Duration {
        match self {
            Failure::LocalLinkDown => Duration::from_millis(200),
            _ => send_timeout + Duration::from_secs(1),
        }
    }

    fn strike(self, topology: &Topology) -> Result<()> {
        match self {
            Failure::BlackholeBoth | Failure::BackThenOther => topology.blackhole(1, Blackhole::Both),
            Failure::BlackholeToServer => topology.blackhole(1, Blackhole::ToServer),
            Failure::BlackholeToClient => topology.blackhole(1, Blackhole::ToClient),
            Failure::LocalLinkDown => topology.link_down(Side::Client, 1),
            Failure::PeerLinkDown => topology.link_down(Side::Server, 1),
        }
    }
}

/// One failure with one program.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What fails.
    pub failure: Failure,
    /// Who suffers.
    pub program: Program,
    /// Prefixes of each host.
    pub paths: usize,
    /// The shim on both sides, or none.
    pub shim: Option<Shim>,
    /// The Send Timeout that the shim has, or would have.
    pub send_timeout: Duration,
}

/// Locator pairs in use, per direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InUse {
    /// From client to server.
    pub to_server: Option<PathPair>,
    /// From server to client.
    pub to_client: Option<PathPair>,
}

impl std::fmt::Display for InUse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let show = |pair: Option<PathPair>| pair.map_or("none".to_owned(), |(a, b)| format!("a{a} b{b}"));
        if self.to_server == self.to_client {
            f.write_str(&show(self.to_server))
        } else {
            write!(f, "{} out, {} in", show(self.to_server), show(self.to_client))
        }
    }
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Both ends heard each other again, and no silence was longer than allowed.
    pub survived: bool,
    /// Both ends heard each other at the end, however late.
    pub recovered: bool,
    /// The longest silence at either end from the failure on; up to the end of the run if the program did not recover.
    pub silence: Duration,
    /// Datagrams of the client whose echo never came.
    pub lost: usize,
    /// Locator pairs before the failure, as the router saw them.
    pub before: InUse,
    /// Locator pairs in the end.
    pub after: InUse,
    /// What helps to understand a failure.
    pub remarks: String,
}

const SAMPLE: Duration = Duration::from_millis(300);

impl Scenario {
    /// Run it. Traces and logs go to files in `scratch`, with the prefix `name`.
    pub fn run(&self, scratch: &Path, name: &str) -> Result<Outcome> {
        let addressing = match &self.shim {
            Some(shim) => Addressing::Hba(shim.tool.clone()),
            None => Addressing::Plain,
        };
        let files = scratch.join(name);
        std::fs::create_dir_all(&files)?;
        let topology = Topology::new(self.paths, &addressing, &files)?;
        let shim = self.shim.as_ref();
        let mut server = programs::start_server(&topology.server, self.program, shim, &files.join("run"))?;
        let destination = topology.server.addresses[0];
        let mut client =
            programs::start_client(&topology.client, self.program, destination, shim, &files.join("run"))?;
        if !client.wait_received(20, Duration::from_secs(5)) {
            return Err(Error::new(format!(
                "no echo before any failure; client: {} server: {}",
                client.complaints(),
                server.complaints()
            )));
        }
        // A context is set up within a few round-trip times; the rest of the second lets both ends learn all locators.
        sleep(Duration::from_millis(if shim.is_some() { 1000 } else { 200 }));
        let before = in_use(&topology)?;

        let limit = self.failure.limit(self.send_timeout);
        let settle = limit.max(Duration::from_secs(1)) + Duration::from_millis(500);
        let struck = now_ns();
        self.failure.strike(&topology)?;
        sleep(settle);
        if self.failure == Failure::BackThenOther {
            topology.restore(1)?;
            sleep(Duration::from_millis(500));
            for other in topology.paths().skip(1) {
                topology.blackhole(other, Blackhole::Both)?;
            }
            sleep(settle);
        }
        let after = in_use(&topology)?;
        let end = now_ns();
        let (seen_by_client, seen_by_server) = (client.trace(), server.trace());
        let recent = end - SAMPLE.as_nanos() as u64;
        let recovered = seen_by_client.heard(recent, end) && seen_by_server.heard(recent, end);
        let silence =
            seen_by_client.longest_silence(struck, end).max(seen_by_server.longest_silence(struck, end));
        let remarks = remarks(&mut client, &mut server);
        client.stop()?;
        server.stop()?;
        Ok(Outcome {
            survived: recovered && silence <= limit,
            recovered,
            silence,
            lost: seen_by_client.lost(recent),
            before,
            after,
            remarks,
        })
    }
}

/// The pairs of the next moment.
fn in_use(topology: &Topology) -> Result<InUse> {
    let then = topology.counters()?;
    sleep(SAMPLE);
    let (to_server, to_client) = topology.counters()?.busiest_since(&then);
    Ok(InUse { to_server, to_client })
}

fn remarks(client: &mut Running, server: &mut Running) -> String {
    let mut remarks = Vec::new();
    for (who, running) in [("client", client), ("server", server)] {
        if !running.is_running() {
            remarks.push(format!("{who} ended"));
        }
        let errors = running.trace().errors;
        if let Some((error, _)) = errors.first() {
            remarks.push(format!("{who}: {} errors, first {error}", errors.len()));
        }
        let said = running.complaints();
        if let Some(line) = said.lines().last() {
            remarks.push(format!("{who} says: {line}"));
        }
    }
    remarks.join("; ")
}
