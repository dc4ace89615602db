//! Defaults that the run-time libraries of sanitizers ask for, so that a program that was built with one runs under this library
//! as it does alone. A program's own functions of these names come first, and so do ASAN_OPTIONS and TSAN_OPTIONS.
//! A run-time library that is linked into the executable, as clang does it, asks nobody: a program with ThreadSanitizer needs
//! `TSAN_OPTIONS=ignore_noninstrumented_modules=1:die_after_fork=0` then.

use std::ffi::c_char;

/// AddressSanitizer's library refuses to start behind another one; where it stands now it is still before the C library.
#[unsafe(no_mangle)]
pub extern "C" fn __asan_default_options() -> *const c_char {
    c"verify_asan_link_order=0".as_ptr()
}

/// The engine's thread makes a program of one thread one of two, whose child may have an engine too.
#[unsafe(no_mangle)]
pub extern "C" fn __tsan_default_options() -> *const c_char {
    c"die_after_fork=0".as_ptr()
}

/// ThreadSanitizer sees the copying in this library, but not the atomics that order it (`make tsan` does), and of the lock that is
/// held during a fork it sees only the release, which is the last thing that its handler does.
#[unsafe(no_mangle)]
pub extern "C" fn __tsan_default_suppressions() -> *const c_char {
    c"called_from_lib:libshim6_preload.so\nmutex:__run_postfork_handlers\n".as_ptr()
}
