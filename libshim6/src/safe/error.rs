//! Errors, told apart by who can do something about them.

use crate::capi::types::{EINVALIDLOCATOR, ETOOMANYLOCATORS, EUNREACHABLELOCATOR, EUNVERIFIEDLOCATOR};
use std::{fmt, io};

/// Why an option or ancillary data was refused. Nothing has changed then.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The call makes no sense: a fault of the program.
    Misuse(Misuse),
    /// No Shim6 context serves the connected socket: none yet, the peer does not speak Shim6, or the process may not (API-ERR-07).
    NoContext,
    /// A locator cannot be used.
    Locator(LocatorError),
    /// The kernel's error, as of any socket call.
    Io(io::Error),
}

/// What is wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Misuse {
    /// A value out of its range, or no setting.
    BadValue,
    /// The socket is not connected (API-ERR-08).
    NotConnected,
    /// No IPv6 UDP socket, or an option that is not for it.
    NotSupported,
    /// The engine runs already.
    TooLate,
}

/// Why a locator cannot be used (RFC 6316 section 6.16).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LocatorError {
    /// None of this host's or of the peer's announced ones, or not covered by the ULID's proof.
    Invalid,
    /// No reachability test has succeeded yet; one has been started, so try again (API-PTX-12).
    Unverified,
    /// The last reachability test failed.
    Unreachable,
    /// More than 32.
    TooMany,
}

impl Error {
    /// [`Error::NoContext`] of a socket that has no peer either: the fault is the program's, which has to connect it first.
    pub(crate) fn with_peer(self, has_peer: bool) -> Error {
        match self {
            Error::NoContext if !has_peer => Error::Misuse(Misuse::NotConnected),
            other => other,
        }
    }

    /// The error of an option or of ancillary data, by its errno.
    pub(crate) fn of_option(e: io::Error) -> Error {
        match e.raw_os_error() {
            Some(libc::ENOENT) => Error::NoContext,
            Some(EINVALIDLOCATOR) => Error::Locator(LocatorError::Invalid),
            Some(EUNVERIFIEDLOCATOR) => Error::Locator(LocatorError::Unverified),
            Some(EUNREACHABLELOCATOR) => Error::Locator(LocatorError::Unreachable),
            Some(ETOOMANYLOCATORS) => Error::Locator(LocatorError::TooMany),
            Some(libc::EINVAL | libc::EFAULT) => Error::Misuse(Misuse::BadValue),
            Some(libc::EOPNOTSUPP) => Error::Misuse(Misuse::NotConnected),
            Some(libc::ENOPROTOOPT | libc::ENOTSOCK) => Error::Misuse(Misuse::NotSupported),
            Some(libc::EBUSY) => Error::Misuse(Misuse::TooLate),
            _ => Error::Io(e),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Misuse(Misuse::BadValue) => f.write_str("the value is out of its range"),
            Error::Misuse(Misuse::NotConnected) => f.write_str("the socket is not connected"),
            Error::Misuse(Misuse::NotSupported) => f.write_str("not an option of this socket"),
            Error::Misuse(Misuse::TooLate) => f.write_str("the engine of this process runs already"),
            Error::NoContext => f.write_str("no Shim6 context serves the socket"),
            Error::Locator(LocatorError::Invalid) => f.write_str("not a locator of this context"),
            Error::Locator(LocatorError::Unverified) => {
                f.write_str("no reachability test of the locator has succeeded yet")
            }
            Error::Locator(LocatorError::Unreachable) => {
                f.write_str("the last reachability test of the locator failed")
            }
            Error::Locator(LocatorError::TooMany) => f.write_str("too many locators"),
            Error::Io(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io(e) => Some(e),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // API-ERR-07, API-ERR-08
    #[test]
    fn errors_are_told_apart() {
        let of = |errno| Error::of_option(io::Error::from_raw_os_error(errno));
        assert!(matches!(of(libc::ENOENT), Error::NoContext));
        assert!(matches!(of(libc::EOPNOTSUPP), Error::Misuse(Misuse::NotConnected)));
        assert!(matches!(of(libc::EINVAL), Error::Misuse(Misuse::BadValue)));
        assert!(matches!(of(EINVALIDLOCATOR), Error::Locator(LocatorError::Invalid)));
        assert!(matches!(of(EUNVERIFIEDLOCATOR), Error::Locator(LocatorError::Unverified)));
        assert!(matches!(of(EUNREACHABLELOCATOR), Error::Locator(LocatorError::Unreachable)));
        assert!(matches!(of(ETOOMANYLOCATORS), Error::Locator(LocatorError::TooMany)));
        assert!(matches!(of(libc::EAGAIN), Error::Io(_)));
        // The draft's level says the same of a socket without peer as of one without context
        assert!(matches!(of(libc::ENOENT).with_peer(true), Error::NoContext));
        assert!(matches!(of(libc::ENOENT).with_peer(false), Error::Misuse(Misuse::NotConnected)));
        assert!(matches!(of(EINVALIDLOCATOR).with_peer(false), Error::Locator(LocatorError::Invalid)));
    }
}
