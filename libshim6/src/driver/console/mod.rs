//! The console of an engine: live information and a few commands for the tool, over a Unix socket (LS-H-35, LS-H-36).
//!
//! Enters: requests of processes of the same user, or of root. Leaves: answers, and events as they happen (RE-OP-01). The
//! socket has an abstract name, which belongs to the network namespace as the contexts do and ends with its process;
//! who asks is known by SO_PEERCRED. One packet is one message in CBOR. What may be long comes as a file in memory, so that
//! the engine never waits for a reader.

pub mod client;
mod messages;
mod server;
mod status;

pub use messages::{Answer, ContextStatus, LocatorStatus, Notice, Request, Status};
pub(super) use server::Console;
pub(super) use status::status;

/// What the names of consoles start with; process ID and tag prefix follow.
pub const NAME: &str = "shim6-console-";
/// Most octets of a request or a notice.
pub const MAX_PACKET: usize = 4096;
