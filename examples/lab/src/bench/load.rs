//! `programs/load.c` on two hosts: commands and answers, and what the kernel tells about the engine's thread.

use crate::namespace::Process;
use crate::programs::{self, Shim};
use crate::topology::{Host, Topology};
use crate::{Error, Result};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// No answer takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// One program.
pub struct Load {
    process: Process,
    input: ChildStdin,
    lines: Receiver<String>,
    complaints: std::path::PathBuf,
}

impl Load {
    /// Start it. Its files get the prefix `files`.
    pub fn start(host: &Host, words: &[String], shim: Option<&Shim>, files: &Path) -> Result<Self> {
        let words = match shim {
            Some(shim) => shim.wrap(host, &files.with_extension("log"), words),
            None => words.to_vec(),
        };
        let complaints = files.with_extension("stderr");
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(File::create(&complaints)?);
        let mut process = host.namespace.spawn(command)?;
        let input = process.child().stdin.take().ok_or_else(|| Error::new("no pipe"))?;
        let output = process.child().stdout.take().ok_or_else(|| Error::new("no pipe"))?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(std::io::Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut load = Load { process, input, lines, complaints };
        load.answer("ready")?;
        Ok(load)
    }

    /// Give a command and return the numbers of its answer.
    pub fn ask(&mut self, command: &str) -> Result<Vec<f64>> {
        writeln!(self.input, "{command}").map_err(|e| self.error(&format!("{command}: {e}")))?;
        self.answer(command.split(' ').next().unwrap_or_default())
    }

    fn answer(&mut self, word: &str) -> Result<Vec<f64>> {
        let line =
            self.lines.recv_timeout(PATIENCE).map_err(|_| self.error(&format!("no answer to {word}")))?;
        let mut words = line.split(' ');
        if words.next() != Some(word) {
            return Err(self.error(&format!("{word} is answered by {line}")));
        }
        words.map(|w| w.parse().map_err(|_| self.error(&format!("{word}: {line}")))).collect()
    }

    fn error(&self, what: &str) -> Error {
        let said = std::fs::read_to_string(&self.complaints).unwrap_or_default();
        Error::new(format!("load: {what} {}", said.trim()))
    }

    /// Octets of the process that are in memory.
    pub fn resident(&mut self) -> f64 {
        super::resident(&self.process.child().id().to_string())
    }

    /// The engine's thread, if there is one.
    pub fn engine_thread(&mut self) -> Option<u32> {
        self.threads().into_iter().find_map(|(thread, engine)| engine.then_some(thread))
    }

    /// All threads, and whether each is the engine's.
    fn threads(&mut self) -> Vec<(u32, bool)> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.process.child().id()));
        let thread = |task: std::fs::DirEntry| {
            let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
            Some((task.file_name().to_str()?.parse().ok()?, name.trim() == "shim6"))
        };
        tasks.into_iter().flatten().flatten().filter_map(thread).collect()
    }

    /// Let the engine's thread run on these processors only, and the others on those.
    fn place(&mut self, engine: &CpuSet, others: &CpuSet) -> Result<()> {
        for (thread, is_engine) in self.threads() {
            let processors = if is_engine { engine } else { others };
            sched_setaffinity(Pid::from_raw(thread as i32), processors)
                .map_err(|e| Error::new(format!("processors of a thread: {e}")))?;
        }
        Ok(())
    }
}

/// Processor time of a thread so far, ns.
pub fn thread_cpu(tid: u32) -> Option<f64> {
    let text = std::fs::read_to_string(format!("/proc/{tid}/schedstat")).ok()?;
    text.split(' ').next()?.parse().ok()
}

/// A way to send and the way to receive that goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// sendto, sendmmsg, gso
    pub send: &'static str,
    /// recvfrom, recvmmsg, gro
    pub receive: &'static str,
    /// Octets of a datagram.
    pub size: u32,
}

impl Case {
    /// One call a datagram.
    pub const fn single(size: u32) -> Self {
        Case { send: "sendto", receive: "recvfrom", size }
    }

    /// 32 datagrams a call.
    pub const fn batch(size: u32) -> Self {
        Case { send: "sendmmsg", receive: "recvmmsg", size }
    }

    /// UDP_SEGMENT and UDP_GRO.
    pub const fn train(size: u32) -> Self {
        Case { send: "gso", receive: "gro", size }
    }

    /// Its name in a table.
    pub fn name(&self) -> String {
        let calls = match self.send {
            "gso" => "UDP_SEGMENT/UDP_GRO".to_owned(),
            _ => format!("{}/{}", self.send, self.receive),
        };
        format!("{calls}, {}", self.size_name())
    }

    /// The part of it that tells the size.
    pub fn size_name(&self) -> String {
        format!("{} octets", self.size)
    }
}

/// What came of a flood.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flood {
    /// Datagrams that the receiver got, per second of the flood.
    pub rate: f64,
    /// Datagrams handed to the kernel per second.
    pub sent_rate: f64,
    /// Datagrams that the receiver got.
    pub received: f64,
    /// Part of the datagrams sent that did not arrive.
    pub loss: f64,
    /// Processor time of both processes, ns per datagram received.
    pub cpu: f64,
}

/// A sender and a receiver.
pub struct Pair {
    /// At the client.
    pub sender: Load,
    /// At the server.
    pub receiver: Load,
}

impl Pair {
    /// Without the shim on path 2, or under it from path 1 on.
    pub fn start(topology: &Topology, shim: Option<&Shim>, port: u16, files: &Path) -> Result<Self> {
        std::fs::create_dir_all(files)?;
        let program = programs::compiled("load")?;
        let path = usize::from(shim.is_none());
        let (client, server) = (&topology.client, &topology.server);
        // Bound to no address, the native one would answer from that of path 1.
        let listen = if shim.is_some() { "::".to_owned() } else { server.addresses[path].to_string() };
        Self::between(
            (client, &client.addresses[path].to_string()),
            (server, &server.addresses[path].to_string(), &listen),
            shim,
            (&program, port, &[]),
            files,
        )
    }

    /// On path 1: the sender has neither peer nor address of its own.
    pub fn unconnected(topology: &Topology, shim: Option<&Shim>, port: u16, files: &Path) -> Result<Self> {
        std::fs::create_dir_all(files)?;
        let program = programs::compiled("load")?;
        let (client, server) = (&topology.client, &topology.server);
        let destination = server.addresses[0].to_string();
        let more = (program.as_str(), port, &["unconnected"][..]);
        Self::between((client, "::"), (server, &destination, "::"), shim, more, files)
    }

    /// From an address of one host to an address of the other, where `listen` is bound.
    pub fn between(
        (client, source): (&Host, &str),
        (server, destination, listen): (&Host, &str, &str),
        shim: Option<&Shim>,
        (program, port, more): (&str, u16, &[&str]),
        files: &Path,
    ) -> Result<Self> {
        let words = |list: &[&str]| list.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let port = port.to_string();
        let receiver = words(&[program, "receiver", listen, &port]);
        let receiver = Load::start(server, &receiver, shim, &files.join("receiver"))?;
        let sender = words(&[&[program, "sender", destination, &port, source], more].concat());
        let mut pair = Pair { sender: Load::start(client, &sender, shim, &files.join("sender"))?, receiver };
        pair.wait(20)?;
        Ok(pair)
    }

    /// Let the sender run on these processors only, the receiver on those, and the receiver's engine on others.
    pub fn place(&mut self, [sender, receiver, engine]: [&CpuSet; 3]) -> Result<()> {
        self.sender.place(sender, sender)?;
        self.receiver.place(engine, receiver)
    }

    /// Ping until `count` echoes in a row came.
    pub fn wait(&mut self, count: u32) -> Result<()> {
        for _ in 0..20 {
            if self.sender.ask(&format!("ping {count}"))? == [f64::from(count)] {
                return Ok(());
            }
        }
        Err(Error::new("no echo"))
    }

    /// Send for `ms` milliseconds, `rate` datagrams per second (0: as fast as can be), with `threads` threads over
    /// `sockets` sockets each.
    pub fn flood(&mut self, case: Case, ms: u64, rate: f64, (sockets, threads): (u32, u32)) -> Result<Flood> {
        self.receiver.ask(&format!("mode {}", case.receive))?;
        self.receiver.ask("reset")?;
        let command = format!("flood {} {} {ms} {rate:.0} {sockets} {threads}", case.send, case.size);
        let sent = self.sender.ask(&command)?;
        let got = self.receiver.ask("count")?;
        let (&[datagrams, ns, cpu, _], &[received, _, cpu_there]) = (&sent[..], &got[..]) else {
            return Err(Error::new("a flood was not understood"));
        };
        Ok(Flood {
            rate: received / ns * 1e9,
            sent_rate: datagrams / ns * 1e9,
            received,
            loss: if datagrams > 0.0 { 1.0 - received / datagrams } else { 0.0 },
            cpu: (cpu + cpu_there) / received.max(1.0),
        })
    }

    /// One-way times on an idle path, microseconds: median and 99 %.
    pub fn delays(&mut self, count: u32, size: u32, gap_us: u32) -> Result<(f64, f64)> {
        self.receiver.ask("mode recvfrom")?;
        self.receiver.ask("delays")?;
        self.sender.ask(&format!("stamps {count} {size} {gap_us}"))?;
        std::thread::sleep(Duration::from_millis(30));
        match self.receiver.ask("delays")?[..] {
            [n, median, p99] if n > 0.0 => Ok((median / 1e3, p99 / 1e3)),
            _ => Err(Error::new("no stamped datagram arrived")),
        }
    }
}
