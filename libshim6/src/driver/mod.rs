//! The only place with clocks, sockets, threads and operating-system randomness.
//!
//! One engine thread per process (`shim6`), started at the first socket that may use it. Application threads reach
//! it through [`Handle`](host) and per ULID pair through [`cell::Cell`], without locks on the healthy path.

mod addresses;
mod arrivals;
pub mod cell;
mod claim;
pub mod clock;
mod deliver;
mod filter;
mod follow;
mod frag;
mod handle;
pub mod host;
mod inject;
pub mod log;
pub mod netlink;
mod options;
mod policy;
pub mod random;
mod receive;
mod report;
mod run;
mod send;
mod shared;
mod start;
mod sys;
#[cfg(test)]
mod testing;
mod traffic;
mod udp;
mod watch;

pub use handle::{Handle, after_fork_in_child, is_own_fd};
pub use options::{Arrival, Configured};
pub use shared::DriverCounters;
pub use start::{StartError, start};
pub use udp::{build_udp, build_udp_into};
