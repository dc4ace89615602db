//! Shim6 in the process: real multihoming for UDP and raw IPv6 sockets.
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
#[cfg(feature = "sim")]
pub mod sim;
#[allow(unsafe_code)]
pub mod socket;
pub mod time;
pub mod wire;
