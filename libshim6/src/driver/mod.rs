//! The only place with clocks, sockets, threads and operating-system randomness.
//!
//! One engine thread per process (`shim6`), started at the first socket that may use it. Application threads reach
//! it through [`Handle`](host) and per ULID pair through [`cell::Cell`], without locks on the healthy path.

pub mod cell;
pub mod host;
pub mod netlink;
pub mod random;
