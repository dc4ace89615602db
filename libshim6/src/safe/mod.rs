//! The sockets API for Rust programs: typed, without `unsafe`, re-exported at the crate root.
//!
//! In: what a program wants of its socket. Out: calls of `capi::native`, the same that C programs make. The options are
//! those of RFC 6316, whose errors say more; where only the draft has a thing (the locators in use, deferred setup), its
//! level is asked.

mod ancillary;
mod error;
mod options;
mod socket;
mod switches;

pub use crate::addr::LocatorPair;
pub use crate::engine::{Feedback, PathExplore};
pub use crate::event::{Evidence, FailureCause, Switch, SwitchCause};
pub use ancillary::{Received, SendWith};
pub use error::{Error, LocatorError, Misuse};
pub use options::Locator;
pub use socket::ShimSocket;
pub use switches::Switches;

/// Settings for the engine of this process, before its first socket that may use it: `key=value`, several separated by
/// `;`, with the keys of the configuration file. They are added to the variable SHIM6_SET of the environment, so no other
/// thread may use the environment at the time; a program calls this first in `main`.
///
/// # Errors
/// [`Misuse::BadValue`] for what is no setting, [`Misuse::TooLate`] where the engine has been asked for already.
///
/// ```
/// shim6::configure("reap.send_timeout=5s;trigger.bytes=0")?;
/// assert!(shim6::configure("reap.send_timeout=soon").is_err());
/// # Ok::<(), shim6::Error>(())
/// ```
pub fn configure(settings: &str) -> Result<(), Error> {
    crate::capi::native::configure(settings).map_err(Error::of_option)
}
