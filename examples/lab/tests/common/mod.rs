//! Two hosts with programs on them, for tests that need other programs or other moments than a scenario has.

// Every test file uses a part of this.
#![allow(dead_code)]

use shim6_lab::programs::{self, PORT, Program, Running, Shim};
use shim6_lab::topology::{Addressing, PathPair, Side, Topology};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// Two hosts with HBA sets.
pub struct Bench {
    pub topology: Topology,
    pub scratch: tempfile::TempDir,
    pub shim: Shim,
}

impl Bench {
    pub fn new(paths: usize) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let shim = Shim::quick().unwrap();
        let addressing = Addressing::Hba(shim.tool.clone());
        let topology = Topology::new(paths, &addressing, scratch.path()).unwrap();
        Bench { topology, scratch, shim }
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Start a program of ours at a side; `name` names its files.
    pub fn start(&self, side: Side, name: &str, program: &[String], shim: Option<&Shim>) -> Running {
        programs::start_traced(self.topology.host(side), program, shim, &self.file(name)).unwrap()
    }

    /// Start a server, and wait for its port.
    pub fn serve(&self, program: Program, options: &str, shim: Option<&Shim>) -> Running {
        let mut running = self.start(Side::Server, "server", &with(program.server().unwrap(), options), shim);
        assert!(programs::wait_for_port(&self.topology.server, PORT), "{}", running.complaints());
        running
    }

    /// Start a client to path 1 of the server.
    pub fn ask(&self, program: Program, options: &str, shim: Option<&Shim>) -> Running {
        let program = with(program.client(self.topology.server.addresses[0]).unwrap(), options);
        self.start(Side::Client, "client", &program, shim)
    }

    /// A program of `c-tests/`, compiled.
    pub fn c_test(&self, name: &str) -> String {
        let program = self.file(name);
        if !program.exists() {
            let source = format!("{}/../../c-tests/{name}.c", env!("CARGO_MANIFEST_DIR"));
            let mut cc = Command::new("cc");
            cc.args(["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-pedantic", "-pthread", "-o"])
                .arg(&program)
                .arg(source);
            assert!(cc.status().unwrap().success());
        }
        program.to_string_lossy().into_owned()
    }

    /// What the shim of a program logged.
    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name).with_extension("log")).unwrap_or_default()
    }

    /// The pairs that carry most in the next 300 ms, to the server and back.
    pub fn pairs_in_use(&self) -> (Option<PathPair>, Option<PathPair>) {
        let before = self.topology.counters().unwrap();
        pause(300);
        self.topology.counters().unwrap().busiest_since(&before)
    }

    /// Wait until both logs tell of a context.
    pub fn wait_for_context(&self) {
        let both = || ["client", "server"].iter().all(|name| self.log(name).contains("context established"));
        // Longer than I1_TIMEOUT, for an I1 that came before the process that is to answer it was ready.
        let found = shim6_lab::wait_for(Duration::from_secs(10), both);
        assert!(found, "no context\nclient:\n{}\nserver:\n{}", self.log("client"), self.log("server"));
        // Both ends have all locators by now, and have returned to quiet.
        pause(300);
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let files = std::fs::read_dir(self.scratch.path()).into_iter().flatten().flatten();
            for path in
                files.map(|file| file.path()).filter(|path| path.extension().is_some_and(|e| e == "log"))
            {
                eprintln!("{}:\n{}", path.display(), std::fs::read_to_string(&path).unwrap_or_default());
            }
        }
    }
}

/// A command line with further options, separated by spaces.
pub fn with(mut program: Vec<String>, options: &str) -> Vec<String> {
    program.extend(options.split_whitespace().map(str::to_owned));
    program
}

pub fn pause(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

pub fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}
