//! The sans-IO protocol core: packets, traffic, addresses and the time go in; transmits, events, payload to deliver
//! and the next timeout come out. No system call, clock, thread or own randomness (DESIGN section 3).
//!
//! The run-loop contract: call any `handle_*`/`set_*`/`payload_*` method with a time that never goes backwards, then
//! drain [`Engine::poll_transmit`] and [`Engine::poll_event`], then sleep until [`Engine::poll_timeout`] or input.

mod io;
pub mod pairs;
pub mod reap;

pub use io::{
    ContextInfo, ContextState, Datagram, Deliver, Direction, HostPolicy, IcmpKind, LocalLocator, LocatorInfo,
    Transmit, Wake,
};
