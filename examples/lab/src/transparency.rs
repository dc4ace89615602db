//! Programs that others wrote, alone and under the shim, with the same results.
//!
//! A case is a shell script in `cases/` with a function `client`, run on one host, and perhaps a function `server`, run
//! on the other. What `client` prints and its exit status are the result; what differs by nature (times, port numbers)
//! the script takes out. The script says in comments what it needs:
//!
//! - `# needs: PROGRAM...`: programs that must be there; `python3-test` is Python's own test suite.
//! - `# subset`: part of `make test`.
//! - `# port: udp6|tcp6 NUMBER`: by which the server is known to be ready.
//! - `# context`: the shim has to set up a context in it, or the case shows nothing.
//! - `# cut: SECONDS`: with the shim path 1 swallows everything so long after the client began; alone nothing fails.
//! - `# limit: SECONDS`.
//!
//! Scripts find the hosts' addresses in SERVER and CLIENT, `programs/` in PROGRAMS, an empty directory in SCRATCH, and a
//! Python in PYTHON.

use crate::programs::{Shim, python};
use crate::topology::{Addressing, Blackhole, Side, Topology};
use crate::{Result, wait_for};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// One script.
#[derive(Clone, Debug)]
pub struct Case {
    /// File name without extension.
    pub name: String,
    /// Part of `make test`.
    pub subset: bool,
    script: PathBuf,
    text: String,
}

/// What came out of one run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Exit status in words.
    pub status: String,
    /// Standard output of the client.
    pub output: String,
    /// Standard error of client and server.
    pub complaints: String,
    /// The shim's log, of client and server.
    pub log: String,
    /// How long it took.
    pub took: Duration,
}

/// A case run both ways.
pub struct Row {
    /// The case.
    pub case: Case,
    /// Without the shim.
    pub alone: Outcome,
    /// With it.
    pub shimmed: Outcome,
}

impl Row {
    /// Why the row is not as it should be.
    pub fn trouble(&self) -> Option<String> {
        let known = |o: &Outcome| o.status == "0" || self.case.flag("may-fail");
        if !known(&self.alone) {
            return Some(format!("fails alone ({}), which shows nothing", self.alone.status));
        }
        if self.alone.output.is_empty() {
            return Some("prints nothing alone, which shows nothing".into());
        }
        if self.alone.status != self.shimmed.status {
            return Some(format!("status {} instead of {}", self.shimmed.status, self.alone.status));
        }
        if self.alone.output != self.shimmed.output {
            return Some("other output".into());
        }
        if self.case.flag("context") && !self.shimmed.log.contains("context established") {
            return Some("no context was set up, which shows nothing".into());
        }
        if self.case.cut().is_some() && !self.shimmed.log.contains("working path found") {
            return Some("no other path was taken, which shows nothing".into());
        }
        None
    }

    /// Lines that only one of the two printed, with `-` (alone) or `+` (with the shim) before them.
    pub fn difference(&self) -> Vec<String> {
        let (a, b): (Vec<&str>, Vec<&str>) =
            (self.alone.output.lines().collect(), self.shimmed.output.lines().collect());
        let only = |x: &[&str], y: &[&str], sign| {
            x.iter().filter(|l| !y.contains(l)).map(|l| format!("{sign} {l}")).collect::<Vec<_>>()
        };
        [only(&a, &b, '-'), only(&b, &a, '+')].concat()
    }
}

/// All cases, by name.
pub fn cases() -> Result<Vec<Case>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(&directory)? {
        let script = entry?.path();
        let (Some(stem), Some("sh")) =
            (script.file_stem(), script.extension().and_then(|extension| extension.to_str()))
        else {
            continue;
        };
        let text = std::fs::read_to_string(&script)?;
        let mut case =
            Case { name: stem.to_string_lossy().into_owned(), subset: false, script: script.clone(), text };
        case.subset = case.flag("subset");
        cases.push(case);
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(cases)
}

impl Case {
    fn comments(&self) -> impl Iterator<Item = &str> {
        self.text.lines().filter_map(|line| line.strip_prefix("# "))
    }

    fn flag(&self, name: &str) -> bool {
        self.comments().any(|line| line == name)
    }

    fn value(&self, key: &str) -> Option<&str> {
        self.comments().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
    }

    /// What it needs and this machine lacks.
    pub fn missing(&self) -> Vec<&str> {
        let needs = self.value("needs").unwrap_or_default().split_whitespace();
        needs.filter(|program| !present(program)).collect()
    }

    /// How long a run may take.
    pub fn limit(&self) -> Duration {
        Duration::from_secs(self.value("limit").and_then(|s| s.parse().ok()).unwrap_or(60))
    }

    /// When path 1 fails under the shim, counted from the start of the client.
    fn cut(&self) -> Option<Duration> {
        self.value("cut")?.parse().ok().map(Duration::from_secs_f64)
    }

    /// Protocol and number of the port by which the server is known to be ready.
    fn port(&self) -> Option<(&str, u16)> {
        let (protocol, number) = self.value("port")?.split_once(' ')?;
        Some((protocol, number.parse().ok()?))
    }

    /// Run it on two fresh hosts, with files in `directory`, which is made anew.
    pub fn run(&self, shim: Option<&Shim>, addressing: &Addressing, directory: &Path) -> Result<Outcome> {
        if directory.exists() {
            std::fs::remove_dir_all(directory)?;
        }
        std::fs::create_dir_all(directory)?;
        let topology = Topology::new(2, addressing, directory)?;
        let _server = match self.text.contains("\nserver()") {
            true => Some(self.start(&topology, Side::Server, shim, directory)?),
            false => None,
        };
        if let Some((protocol, number)) = self.port() {
            let wanted = format!(":{number:04X} ");
            let table = format!("/proc/thread-self/net/{protocol}");
            let open = wait_for(Duration::from_secs(20), || {
                let (wanted, table) = (wanted.clone(), table.clone());
                topology.server.namespace.run(move || {
                    let sockets = std::fs::read_to_string(table).unwrap_or_default();
                    sockets.lines().any(|line| {
                        line.split_once(": ")
                            .is_some_and(|(_, l)| l.contains(&wanted) && l.find(&wanted) <= Some(32))
                    })
                })
            });
            if !open {
                return Ok(Outcome {
                    status: format!("the server opened no port {number}"),
                    output: String::new(),
                    complaints: read(&directory.join("server.stderr")),
                    log: read(&directory.join("server.log")),
                    took: Duration::ZERO,
                });
            }
        }
        let start = Instant::now();
        let mut client = self.start(&topology, Side::Client, shim, directory)?;
        if let Some(after) = self.cut().filter(|_| shim.is_some()) {
            std::thread::sleep(after);
            topology.blackhole(1, Blackhole::Both)?;
        }
        let status = match client.wait(self.limit()) {
            Ok(status) => status.code().map_or_else(|| status.to_string(), |code| code.to_string()),
            Err(_) => format!("did not end within {:?}", self.limit()),
        };
        let took = start.elapsed();
        drop(client);
        let both = |extension: &str| {
            ["client", "server"].map(|name| read(&directory.join(name).with_extension(extension))).concat()
        };
        Ok(Outcome {
            status,
            output: read(&directory.join("client.stdout")),
            complaints: both("stderr"),
            log: both("log"),
            took,
        })
    }

    fn start(
        &self,
        topology: &Topology,
        side: Side,
        shim: Option<&Shim>,
        directory: &Path,
    ) -> Result<crate::namespace::Process> {
        let name = match side {
            Side::Client => "client",
            Side::Server => "server",
        };
        let host = topology.host(side);
        let words = ["sh", "-c", ". \"$1\"; $2", "case", &self.script.to_string_lossy(), name]
            .map(str::to_owned)
            .to_vec();
        let files = directory.join(name);
        let words = match shim {
            Some(shim) => shim.wrap(host, &files.with_extension("log"), &words),
            None => words,
        };
        let scratch = directory.join(format!("{name}.d"));
        std::fs::create_dir_all(&scratch)?;
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .current_dir(&scratch)
            .env("SERVER", topology.server.addresses[0].to_string())
            .env("CLIENT", topology.client.addresses[0].to_string())
            .env("PROGRAMS", Path::new(env!("CARGO_MANIFEST_DIR")).join("programs"))
            .env("SCRATCH", &scratch)
            .env("PYTHON", python())
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null())
            .stdout(File::create(files.with_extension("stdout"))?)
            .stderr(File::create(files.with_extension("stderr"))?);
        host.namespace.spawn(command)
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

fn present(program: &str) -> bool {
    let runs = |command: &mut Command| {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|s| s.success())
    };
    match program {
        "python3-test" => runs(Command::new(python()).args(["-c", "import test.test_socket"])),
        _ => runs(Command::new("sh").args([
            "-c",
            "PATH=$PATH:/usr/sbin:/sbin; command -v \"$1\"",
            "sh",
            program,
        ])),
    }
}
