//! One network namespace and the processes in it.
//!
//! A thread lives in the namespace and starts all its processes, so that they inherit it; nothing else holds it but a
//! descriptor of this process. Hence there is nothing to clean up: when the process ends, however it ends, the kernel kills
//! the children (PR_SET_PDEATHSIG) and drops the namespace with its links.

use crate::{Error, Result};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace.
pub struct Namespace {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<std::thread::JoinHandle<()>>,
    file: File,
}

impl Namespace {
    /// A new one with `lo` up.
    pub fn new() -> Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (ready, made) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let file = unshare(CloneFlags::CLONE_NEWNET)
                .map_err(|e| Error::new(format!("no new network namespace: {e}")))
                .and_then(|()| Ok(File::open("/proc/thread-self/ns/net")?));
            let fine = file.is_ok();
            if ready.send(file).is_ok() && fine {
                queue.into_iter().for_each(|job| job());
            }
        });
        let file = made.recv().map_err(|_| Error::new("the namespace's thread died"))??;
        let namespace = Namespace { jobs: Some(jobs), thread: Some(thread), file };
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// A path by which other processes find it while this value lives.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    /// Run `job` in a thread inside and return what it returns.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (answer, result) = mpsc::channel();
        let job = Box::new(move || drop(answer.send(job())));
        self.jobs
            .as_ref()
            .expect("lives until drop")
            .send(job)
            .expect("the thread lives as long as the value");
        result.recv().expect("a job does not panic")
    }

    /// Start a program inside. It leads a process group of its own and dies with this namespace at the latest.
    pub fn spawn(&self, mut command: Command) -> Result<Process> {
        command.process_group(0);
        let die_with_parent = || Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?);
        // SAFETY: between fork and exec, prctl() is the only call made, and it is async-signal-safe.
        unsafe { command.pre_exec(die_with_parent) };
        let name = command.get_program().to_string_lossy().into_owned();
        let child = self.run(move || command.spawn());
        Ok(Process { child: child.map_err(|e| Error::new(format!("cannot start {name}: {e}")))? })
    }

    /// Run a program inside to its end, with `input` as standard input; its standard output, or what it complained about.
    pub fn output(&self, mut command: Command, input: &str) -> Result<String> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let shown = format!("{command:?}");
        let mut process = self.spawn(command)?;
        let written = process.child.stdin.take().expect("piped").write_all(input.as_bytes());
        let output = process.wait_with_output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(Error::new(format!("{shown}: {}: {}\n{input}", output.status, said.trim())));
        }
        written?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// `ip` with these commands, one a line.
    pub fn ip(&self, commands: &str) -> Result<()> {
        let mut ip = Command::new("ip");
        ip.args(["-6", "-batch", "-"]);
        self.output(ip, commands).map(drop)
    }

    /// `nft` with these commands.
    pub fn nft(&self, commands: &str) -> Result<()> {
        let mut nft = Command::new("nft");
        nft.args(["-f", "-"]);
        self.output(nft, commands).map(drop)
    }

    /// Set `net.` sysctls, such as `("ipv6/conf/all/forwarding", "1")`.
    pub fn sysctl(&self, settings: &[(&'static str, &'static str)]) -> Result<()> {
        for &(key, value) in settings {
            self.run(move || std::fs::write(format!("/proc/sys/net/{key}"), value))
                .map_err(|e| Error::new(format!("sysctl {key}={value}: {e}")))?;
        }
        Ok(())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A running program; killed with its process group when dropped.
pub struct Process {
    child: Child,
}

impl Process {
    /// The process itself, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Ask it to end with SIGTERM, and kill it if it does not within two seconds.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        if self.is_running() {
            let _ = kill(self.pid(), Signal::SIGTERM);
        }
        self.wait(Duration::from_secs(2)).or_else(|_| {
            self.kill();
            Ok(self.child.wait()?)
        })
    }

    /// Wait until it ends by itself.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        if !crate::wait_for(limit, || !self.is_running()) {
            return Err(Error::new(format!("process {} did not end within {limit:?}", self.child.id())));
        }
        Ok(self.child.wait()?)
    }

    fn wait_with_output(mut self) -> Result<std::process::Output> {
        // Pipes first, then the status: a full pipe would block the program.
        let read = |pipe: Option<Box<dyn std::io::Read + Send>>| {
            std::thread::spawn(move || {
                let mut octets = Vec::new();
                pipe.map(|mut p| p.read_to_end(&mut octets));
                octets
            })
        };
        let stdout = read(self.child.stdout.take().map(|p| Box::new(p) as _));
        let stderr = read(self.child.stderr.take().map(|p| Box::new(p) as _));
        let status = self.wait(Duration::from_secs(30))?;
        let octets = |thread: std::thread::JoinHandle<Vec<u8>>| thread.join().unwrap_or_default();
        Ok(std::process::Output { status, stdout: octets(stdout), stderr: octets(stderr) })
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    fn kill(&mut self) {
        let _ = killpg(self.pid(), Signal::SIGKILL);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A process that was waited for has given its number back; its group may still have members, though then the
        // number is not reused.
        self.kill();
        let _ = self.child.wait();
    }
}
