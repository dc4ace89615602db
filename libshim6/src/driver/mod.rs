//! The only place with clocks, sockets, threads and operating-system randomness.
//!
//! One engine thread per process (`shim6`), started at the first socket that may use it. Application threads reach
//! it through [`Handle`](host) and per ULID pair through [`cell::Cell`], without locks on the healthy path.

pub mod cell;
mod claim;
pub mod clock;
mod filter;
mod frag;
pub mod host;
mod inject;
pub mod log;
pub mod netlink;
pub mod random;
mod receive;
mod send;
mod sys;
#[cfg(test)]
mod testing;
mod traffic;
mod udp;
mod watch;

pub use udp::{build_udp, build_udp_into};
