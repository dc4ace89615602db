//! The socket layer: which descriptors are shim sockets, what the shim knows about each, and the socket calls as an
//! interposer needs them.
//!
//! In come the calls of the application (from `shim6-preload`, one function of [`ops`] per libc name) and the questions
//! of the engine thread ([`host`]); out go the real libc functions ([`real`]) and calls into the driver ([`backend`]).
//! Every operation answers `Err(Bypass)` where the plain call is to be made. Rules that hold throughout:
//!
//! - An untracked descriptor costs one or two atomic loads ([`table`]).
//! - The healthy path of a connected socket takes no lock and allocates nothing; nothing at all is logged there.
//! - Whatever takes a lock or allocates runs inside [`guard::slow`], which a signal handler that interrupts it can
//!   detect: the handler's own call then bypasses the shim instead of waiting for itself.
//! - `errno` is what the kernel's answer to the application's call made it.

pub mod backend;
pub(crate) mod cmsg;
mod detach;
mod detours;
pub mod direct;
pub mod guard;
pub mod host;
mod inherit;
pub mod leave;
mod memory;
pub mod ops;
mod options;
mod peek;
mod peers;
mod ports;
pub mod real;
mod recent;
mod refs;
mod registry;
mod setup;
mod state;
mod sys;
pub mod table;
mod users;
mod words;

#[cfg(test)]
mod tests;

pub(crate) use sys::{from_raw, to_raw};

/// The shim does not take this call: make the plain one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bypass;

/// Ask an operation, and make the plain call with the same arguments where it bypasses: what a hook of the preload
/// library and a function of the C library have in common. In an `unsafe` block, for both are the libc function.
#[doc(hidden)]
#[macro_export]
macro_rules! ask_or_call {
    ($op:ident($($arg:expr),*)) => {
        match $crate::socket::ops::$op($($arg),*) {
            Ok(value) => value,
            Err($crate::socket::Bypass) => $crate::socket::real::$op($($arg),*),
        }
    };
}

/// What an operation answers: the value that the application gets (`errno` is set), or that the plain call is due.
pub type Outcome<T> = Result<T, Bypass>;
