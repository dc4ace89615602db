//! The only place with clocks, sockets, threads and operating-system randomness.
//!
//! One engine thread per process (`shim6`), started at the first socket that may use it ([`start`]). Application threads
//! reach it through [`Handle`] and per ULID pair through [`cell::Cell`], without locks on the healthy path.
//!
//! Enters: calls of application threads ([`Handle`]), packets of protocol 140 and ICMPv6 errors about them, address and
//! link changes, the time. Leaves: control messages and tagged payload, re-injected packets, the state of cells, calls of
//! [`host::SocketHost`], the log. May use the engine and what is below it; knows nothing of the socket layer but that trait.
//!
//! | file | what |
//! | --- | --- |
//! | `start`, `handle`, `shared`, `cell` | starting, and what application threads see |
//! | `run`, `traffic`, `watch`, `unread`, `policy` | the loop, and how traffic becomes known to the engine |
//! | `receive`, `filter`, `claim` | the raw socket that receives; which packets are another engine's |
//! | `send`, `frag`, `udp` | the raw socket that sends; fragments behind the shim header; checksums over ULIDs |
//! | `resend` | copies of the last datagrams, to be sent again after a failure |
//! | `reserve` | memory for the time when there is no more |
//! | `suppress` | who may get datagrams without extension header |
//! | `deliver`, `inject` | tagged payload to the application's own socket |
//! | `addresses`, [`netlink`] | locators, and ULIDs that vanish |
//! | [`console`] | live information for the tool, and its commands |
//! | `sys`, [`clock`], [`random`], [`log`] | system calls and own descriptors, and the rest of the world |

mod addresses;
mod arrivals;
pub mod cell;
mod claim;
pub mod clock;
pub mod console;
mod deliver;
mod filter;
mod follow;
mod frag;
mod handle;
pub mod host;
mod icmp;
mod inject;
pub(crate) mod kernel;
pub mod log;
pub mod netlink;
mod options;
mod policy;
pub mod random;
mod receive;
mod report;
pub(crate) mod resend;
pub mod reserve;
mod run;
pub(crate) mod send;
mod shared;
mod start;
mod suppress;
mod sys;
#[cfg(test)]
pub(crate) mod testing;
mod traffic;
pub(crate) mod udp;
mod unread;
mod watch;

pub(crate) use deliver::serves_raw;
pub use handle::{Handle, after_fork_in_child, is_own_fd};
pub use options::{Arrival, Configured};
pub use shared::DriverCounters;
pub use start::{StartError, start};
pub use udp::{build_udp, build_udp_into};
