//! Hosts with several prefixes in network namespaces, real programs on them, and failures between them.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`privilege`] | network namespaces for root and, through a user namespace, for anyone |
//! | [`namespace`] | one network namespace and the processes in it; both end with the value, or with this process |
//! | [`topology`] | two hosts, a router between them, addresses, routes, failures, counters per locator pair |
//! | [`programs`] | the unmodified programs, alone or under `shim6 run` |
//! | [`trace`] | what a program saw: silences and losses |
//! | [`scenario`] | one failure with one program, from the warm-up to the verdict |
//! | [`demo`] | all of them, and the table |
//! | [`bench`] | what is measured: failover and speed, side by side with what others do |
//! | [`transparency`] | programs that others wrote, alone and under the shim, with the same results |
//!
//! Nothing outlives the process: the namespaces have no names, only this process holds them, and every program gets
//! SIGKILL when its namespace's thread ends (also on panic, Ctrl-C and SIGKILL).

// The lab is no protocol code: clocks, threads and sockets are its business.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod bench;
pub mod demo;
pub mod namespace;
pub mod privilege;
pub mod programs;
pub mod scenario;
pub mod topology;
pub mod trace;
pub mod transparency;

use std::fmt;
use std::io;

/// What went wrong in the lab itself; a failure that the program under test did not survive is no error.
#[derive(Debug)]
pub struct Error(String);

impl Error {
    /// An error that says `what`.
    pub fn new(what: impl Into<String>) -> Self {
        Error(what.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Error(error.to_string())
    }
}

/// A result of the lab.
pub type Result<T> = std::result::Result<T, Error>;

/// CLOCK_MONOTONIC in nanoseconds, the clock of all traces.
pub fn now_ns() -> u64 {
    let t = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).expect("CLOCK_MONOTONIC exists");
    t.tv_sec() as u64 * 1_000_000_000 + t.tv_nsec() as u64
}

/// Sleep until `condition` holds, at most for `limit`; whether it came to hold.
pub fn wait_for(limit: std::time::Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = std::time::Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if std::time::Instant::now() >= end {
            return false;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}
