//! What the library says about itself, and its settings.

// The comments become those of the C header.
#![allow(clippy::missing_safety_doc)]

use super::guard;
use super::types::{EINVALIDLOCATOR, ETOOMANYLOCATORS, EUNREACHABLELOCATOR, EUNVERIFIEDLOCATOR};
use crate::config::Config;
use crate::socket::guard::set_errno;
use crate::socket::{backend, real};
use libc::c_int;
use std::ffi::{CStr, c_char};

/// The version of the library, "MAJOR.MINOR.PATCH".
#[unsafe(no_mangle)]
pub extern "C" fn shim6_version() -> *const c_char {
    guard::short(|_| concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast())
}

/// A text for an `errno`: as `strerror(3)`, which does not know EINVALIDLOCATOR and its like (API-ERR-10). Not to be
/// changed or freed.
#[unsafe(no_mangle)]
pub extern "C" fn shim6_strerror(error: c_int) -> *const c_char {
    guard::short(|_| match text(error) {
        Some(text) => text.as_ptr(),
        // SAFETY: any number may be asked for.
        None => unsafe { libc::strerror(error).cast_const() },
    })
}

/// The texts of the errors that are this API's own.
pub(crate) fn text(error: c_int) -> Option<&'static CStr> {
    Some(match error {
        EINVALIDLOCATOR => c"Invalid locator",
        EUNVERIFIEDLOCATOR => c"Locator not verified to be reachable yet",
        EUNREACHABLELOCATOR => c"Locator found unreachable",
        ETOOMANYLOCATORS => c"Too many locators",
        _ => return None,
    })
}

/// Settings for the engine of this process, before its first socket that may use it: "key=value", several separated by
/// ";", with the keys of the configuration file. They are added to the variable SHIM6_SET of the environment. -1 with
/// EINVAL for what is no setting, EBUSY where the engine has been started already. Not to be called while another thread
/// uses the environment.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim6_configure(settings: *const c_char) -> c_int {
    guard::short(|ours| {
        if settings.is_null() {
            set_errno(libc::EFAULT);
            return -1;
        }
        match ours {
            // SAFETY: a string of the application's.
            true => configure(unsafe { CStr::from_ptr(settings) }),
            // SAFETY: as above.
            false => unsafe { real::configure(settings) },
        }
    })
}

/// As `shim6_configure`, for the copy of the shim whose engine serves the process.
pub fn configure(settings: &CStr) -> c_int {
    let error = match settings.to_str().map(|s| (s, Config::load_from(None, Some(s), None))) {
        Ok((_, Ok(_))) if backend::was_asked_for() => libc::EBUSY,
        Ok((settings, Ok(_))) => {
            let all = match std::env::var(crate::config::ENV_SET) {
                Ok(there) if !there.is_empty() => format!("{there};{settings}"),
                _ => settings.to_owned(),
            };
            // SAFETY: by its documentation, no other thread uses the environment.
            unsafe { std::env::set_var(crate::config::ENV_SET, all) };
            return 0;
        }
        _ => libc::EINVAL,
    };
    set_errno(error);
    -1
}

#[cfg(test)]
mod tests {
    use super::*;

    // API-ERR-10
    #[test]
    fn all_errors_have_a_text() {
        let text = |e| {
            // SAFETY: the function gives a string that is never freed.
            unsafe { CStr::from_ptr(shim6_strerror(e)) }.to_string_lossy().into_owned()
        };
        let own: Vec<String> = (EINVALIDLOCATOR..=ETOOMANYLOCATORS).map(text).collect();
        for (i, one) in own.iter().enumerate() {
            assert!(one.contains("ocator") && !own[..i].contains(one), "{one}");
        }
        assert_eq!(text(libc::ENOENT), "No such file or directory");
    }
}
