//! Shim6 in the process: real multihoming for UDP and raw IPv6 sockets.
//!
//! A [`ShimSocket`] is a UDP socket whose sessions outlive the addresses they began with. Without CAP_NET_RAW, towards
//! hosts without Shim6, and between addresses that prove nothing (no HBA or CGA) it is an ordinary one.
//!
//! ```
//! use shim6::{Error, ShimSocket};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = ShimSocket::bind("[::1]:0")?;
//! let client = ShimSocket::bind("[::]:0")?;
//! client.connect(server.local_addr()?)?;
//! client.send(b"hello")?;
//! let mut buffer = [0; 1500];
//! let (n, from) = server.recv_from(&mut buffer)?;
//! assert_eq!((&buffer[..n], from), (&b"hello"[..], client.local_addr()?));
//! // Loopback needs no multihoming; between hosts, this tells by which addresses the session goes.
//! match client.current_locators() {
//!     Ok(pair) => println!("{} to {}", pair.local, pair.peer),
//!     Err(Error::NoContext) => println!("no context (yet)"),
//!     Err(e) => return Err(e.into()),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The crate is layered; a lower layer never knows a higher one:
//!
//! | module | what it is | may use |
//! | --- | --- | --- |
//! | [`wire`] | codec of RFC 5533 and RFC 5534 messages | nothing |
//! | [`crypto`] | CGA parameter data structures, HBA sets, keyed hashes | `ring` |
//! | [`identity`] | HBA parameter files, and matching them to addresses | `crypto` |
//! | [`engine`] | the sans-IO protocol core: contexts, REAP, locators | the three above |
//! | [`sim`] | deterministic network of engines (feature `sim`) | `engine` |
//! | [`driver`] | clocks, raw sockets, netlink, re-injection, the engine thread | `engine` |
//! | [`socket`] | fd table and socket calls as the interposer needs them | `driver` |
//! | [`capi`] | `shim6_*`, the same calls for programs that link the library | `socket` |
//! | [`ShimSocket`] and what belongs to it | the same calls, typed and safe | `capi` |

#![deny(unsafe_code)]

pub mod addr;
#[allow(unsafe_code)]
pub mod capi;
pub mod config;
pub mod crypto;
#[allow(unsafe_code, clippy::disallowed_methods, clippy::disallowed_types)]
pub mod driver;
pub mod engine;
pub mod event;
pub mod identity;
pub mod rng;
mod safe;
#[cfg(feature = "sim")]
pub mod sim;
#[allow(unsafe_code)]
pub mod socket;
pub mod time;
pub mod wire;

pub use safe::{
    Error, Evidence, FailureCause, Feedback, Locator, LocatorError, LocatorPair, Misuse, PathExplore,
    Received, SendWith, ShimSocket, Switch, SwitchCause, Switches, configure,
};
