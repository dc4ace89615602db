//! The unmodified programs, alone or under `shim6 run`.

use crate::namespace::Process;
use crate::topology::Host;
use crate::trace::Trace;
use crate::{Error, Result, now_ns, wait_for};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

/// Port of the servers.
pub const PORT: u16 = 5005;
/// Between two datagrams of a client.
pub const INTERVAL: Duration = Duration::from_millis(5);

/// A pair of client and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `programs/echo.py`.
    Python,
    /// `programs/echo.c`: epoll, recvmmsg, sendmmsg.
    Epoll,
    /// `socat` on both sides; what comes out at the server goes back in.
    Socat,
}

impl Program {
    /// All of them.
    pub const ALL: [Program; 3] = [Program::Python, Program::Epoll, Program::Socat];

    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Program::Python => "python3",
            Program::Epoll => "C, epoll and recvmmsg",
            Program::Socat => "socat",
        }
    }

    /// The command line of the server.
    pub fn server(self) -> Result<Vec<String>> {
        Ok(match self {
            Program::Python => argv([python(), source("echo.py").as_str(), "server", &PORT.to_string()]),
            Program::Epoll => argv([c_program()?, "server", &PORT.to_string()]),
            Program::Socat => argv(["socat", "-", &format!("UDP6-LISTEN:{PORT}")]),
        })
    }

    /// The command line of the client.
    pub fn client(self, server: Ipv6Addr) -> Result<Vec<String>> {
        let (address, port) = (server.to_string(), PORT.to_string());
        Ok(match self {
            Program::Python => argv([python(), source("echo.py").as_str(), "client", &address, &port]),
            Program::Epoll => argv([c_program()?, "client", &address, &port]),
            Program::Socat => argv(["socat", "-", &format!("UDP6:[{address}]:{port}")]),
        })
    }
}

fn argv<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}

/// The Python of the system; another one that comes first in PATH may be a shell script around a Python.
pub fn python() -> &'static str {
    if Path::new("/usr/bin/python3").exists() { "/usr/bin/python3" } else { "python3" }
}

fn source(name: &str) -> String {
    format!("{}/programs/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// `programs/echo.c`, compiled next to the lab's own executable.
pub fn c_program() -> Result<&'static str> {
    static BUILT: OnceLock<std::result::Result<String, String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| compiled("echo").map_err(|e| e.to_string()));
    built.as_deref().map_err(|e| Error::new(e.clone()))
}

/// The path of `programs/NAME.c`, compiled next to the lab's own executable.
pub fn compiled(name: &str) -> Result<String> {
    let source = source(&format!("{name}.c"));
    let build = || -> std::result::Result<String, String> {
        let own = std::env::current_exe().map_err(|e| e.to_string())?;
        let program = own.with_file_name(format!("shim6-lab-{name}"));
        let modified = |path: &Path| std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
        if modified(&program) > modified(Path::new(&source)) {
            return Ok(program.to_string_lossy().into_owned());
        }
        let draft = own.with_file_name(format!("shim6-lab-{name}.{}", std::process::id()));
        let mut cc = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
        cc.args(["-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-o"]).arg(&draft).arg(&source);
        let done = cc.status().map_err(|e| format!("cannot run cc: {e}"))?;
        if !done.success() {
            return Err(format!("cc: {done}"));
        }
        std::fs::rename(&draft, &program).map_err(|e| e.to_string())?;
        Ok(program.to_string_lossy().into_owned())
    };
    build().map_err(|e| Error::new(format!("{source}: {e}")))
}

/// How `shim6 run` is called.
#[derive(Clone, Debug)]
pub struct Shim {
    /// The tool.
    pub tool: PathBuf,
    /// Its options; `--identity` and `--log` are added.
    pub options: Vec<String>,
}

impl Shim {
    /// The tool of this build, with a short Send Timeout and a context at the first datagram.
    pub fn quick() -> Result<Self> {
        let words = "--send-timeout 1s --probe-timeout 100ms --trigger now --log-level shim6=trace";
        Ok(Shim { tool: tool()?, options: words.split(' ').map(str::to_owned).collect() })
    }

    /// `shim6 run ... -- program`.
    pub fn wrap(&self, host: &Host, log: &Path, program: &[String]) -> Vec<String> {
        let mut words = argv([&self.tool.to_string_lossy(), "run"]);
        words.extend(self.options.iter().cloned());
        words.extend(argv(["--log", &log.to_string_lossy()]));
        if let Some(directory) = &host.identities {
            words.extend(argv(["--identity", &directory.to_string_lossy()]));
        }
        words.push("--".into());
        words.extend_from_slice(program);
        words
    }
}

/// The `shim6` of this build: in `SHIM6_BIN`, or in the target directory of the lab's own executable.
pub fn tool() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("SHIM6_BIN") {
        return Ok(path.into());
    }
    let own = std::env::current_exe()?;
    own.ancestors()
        .skip(1)
        .take(2)
        .map(|directory| directory.join("shim6"))
        .find(|path| path.is_file())
        .ok_or_else(|| {
            Error::new("no `shim6` here; build it with `cargo build --workspace` or name it in SHIM6_BIN")
        })
}

/// A client or a server that runs.
pub struct Running {
    process: Process,
    source: Source,
    complaints: PathBuf,
}

enum Source {
    File(PathBuf),
    Pipes(Arc<Mutex<Trace>>),
}

/// Which end of the pipes of `socat` the lab is.
#[derive(Clone, Copy)]
enum Pipes {
    Asking,
    Answering,
}

/// Start the server of a program and wait until its port is open. Files get the prefix `files`.
pub fn start_server(host: &Host, program: Program, shim: Option<&Shim>, files: &Path) -> Result<Running> {
    let pipes = (program == Program::Socat).then_some(Pipes::Answering);
    let mut running = start(host, &program.server()?, shim, &suffixed(files, "server"), pipes)?;
    wait_for_port(host, PORT)
        .then_some(())
        .ok_or_else(|| Error::new(format!("the server opened no port {PORT}: {}", running.complaints())))?;
    Ok(running)
}

/// Start the client of a program.
pub fn start_client(
    host: &Host,
    program: Program,
    server: Ipv6Addr,
    shim: Option<&Shim>,
    files: &Path,
) -> Result<Running> {
    let pipes = (program == Program::Socat).then_some(Pipes::Asking);
    start(host, &program.client(server)?, shim, &suffixed(files, "client"), pipes)
}

/// Start a program that prints a trace.
pub fn start_traced(host: &Host, program: &[String], shim: Option<&Shim>, files: &Path) -> Result<Running> {
    start(host, program, shim, files, None)
}

/// Whether something listens on UDP port `port` of a host before five seconds are over.
pub fn wait_for_port(host: &Host, port: u16) -> bool {
    let wanted = format!(":{port:04X} ");
    wait_for(Duration::from_secs(5), || {
        let wanted = wanted.clone();
        host.namespace.run(move || {
            let sockets = std::fs::read_to_string("/proc/thread-self/net/udp6").unwrap_or_default();
            sockets
                .lines()
                .any(|line| line.split_once(": ").is_some_and(|(_, l)| l.get(32..38) == Some(&wanted)))
        })
    })
}

fn suffixed(files: &Path, suffix: &str) -> PathBuf {
    let mut name = files.as_os_str().to_owned();
    name.push("-");
    name.push(suffix);
    name.into()
}

fn start(
    host: &Host,
    program: &[String],
    shim: Option<&Shim>,
    files: &Path,
    pipes: Option<Pipes>,
) -> Result<Running> {
    let words = match shim {
        Some(shim) => shim.wrap(host, &files.with_extension("log"), program),
        None => program.to_vec(),
    };
    let (trace, complaints) = (files.with_extension("trace"), files.with_extension("stderr"));
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).stderr(File::create(&complaints)?);
    if pipes.is_some() {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
    } else {
        command.stdin(Stdio::null()).stdout(File::create(&trace)?);
    }
    let mut process = host.namespace.spawn(command)?;
    let source = match pipes {
        Some(role) => Source::Pipes(measure(&mut process, role)),
        None => Source::File(trace),
    };
    Ok(Running { process, source, complaints })
}

/// Be the other end of the program's pipes. The threads end with the program.
fn measure(process: &mut Process, role: Pipes) -> Arc<Mutex<Trace>> {
    let trace = Arc::new(Mutex::new(Trace::default()));
    let input = Arc::new(Mutex::new(process.child().stdin.take().expect("piped")));
    let output = BufReader::new(process.child().stdout.take().expect("piped"));
    let (noted, answers) = (trace.clone(), input.clone());
    std::thread::spawn(move || {
        for line in output.lines().map_while(std::io::Result::ok) {
            let Ok(number) = line.trim().parse() else { continue };
            noted.lock().expect("no panic").received.push((number, now_ns()));
            if matches!(role, Pipes::Answering)
                && writeln!(answers.lock().expect("no panic"), "{number}").is_err()
            {
                return;
            }
        }
    });
    if matches!(role, Pipes::Asking) {
        let noted = trace.clone();
        std::thread::spawn(move || {
            for number in 0.. {
                if writeln!(input.lock().expect("no panic"), "{number}").is_err() {
                    return;
                }
                noted.lock().expect("no panic").sent.push((number, now_ns()));
                std::thread::sleep(INTERVAL);
            }
        });
    }
    trace
}

impl Running {
    /// What it saw so far.
    pub fn trace(&self) -> Trace {
        match &self.source {
            Source::File(path) => Trace::parse(&std::fs::read_to_string(path).unwrap_or_default()),
            Source::Pipes(trace) => trace.lock().expect("no panic").clone(),
        }
    }

    /// Wait until it has received `count` datagrams, at most for `limit`.
    pub fn wait_received(&self, count: usize, limit: Duration) -> bool {
        wait_for(limit, || self.trace().received.len() >= count)
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// Let it end, by SIGTERM.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.process.stop()
    }

    /// Wait until it ends by itself.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.process.wait(limit)
    }

    /// What it wrote to standard error.
    pub fn complaints(&mut self) -> String {
        std::fs::read_to_string(&self.complaints).unwrap_or_default().trim().to_owned()
    }
}
