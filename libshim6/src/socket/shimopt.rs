//! The socket options at the two SHIM levels (conformance table of the API, parts C and D).
//!
//! Order of checks: descriptor, option and direction, pointer and length, socket state, value (API-GEN-03).

use super::guard::{errno, slow};
use super::ops::{adopt_any, fail};
use super::state::{Mode, flag};
use super::table::Pinned;
use super::{Bypass, Outcome, sys};
use crate::capi::types::{
    SHIM_ASSOCIATED, SHIM_DONTSHIM, SHIM_LOCLIST_LOCAL, SHIM_LOCLIST_PEER, SOL_SHIM_D08, SOL_SHIM_R6316,
    shim_locator_d08, shim_locator_r6316,
};
use crate::driver::cell::ContextView;
use crate::engine::LocatorInfo;
use libc::{c_int, c_void, socklen_t};
use std::sync::Arc;

/// The ABI that a call was compiled for; its level tells.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Abi {
    D08,
    R6316,
}

/// Is it one of the SHIM levels?
#[inline]
pub fn is_level(level: c_int) -> bool {
    level == SOL_SHIM_D08 || level == SOL_SHIM_R6316
}

fn abi(level: c_int) -> Abi {
    if level == SOL_SHIM_R6316 { Abi::R6316 } else { Abi::D08 }
}

/// What a socket is to the options: no peer, a peer without context, a peer with one.
enum State {
    U,
    N,
    C(Arc<ContextView>),
}

fn state(socket: &Pinned, fd: c_int) -> State {
    let served = matches!(socket.mode(), Mode::Connected | Mode::Detached);
    if !served && !sys::has_peer(fd) {
        return State::U;
    }
    match socket.cell().filter(|_| served && !socket.has(flag::DONT_SHIM)).map(|cell| cell.view()) {
        Some(view) if view.associated => State::C(view),
        _ => State::N,
    }
}

/// The socket for an option call; an error of the kernel's where `fd` is none.
fn find(fd: c_int) -> Result<Pinned, Outcome<c_int>> {
    let mut kind: c_int = 0;
    let mut len = size_of::<c_int>() as socklen_t;
    // SAFETY: both pointers are valid for writes of the sizes they stand for.
    let r = unsafe {
        libc::syscall(libc::SYS_getsockopt, fd, libc::SOL_SOCKET, libc::SO_TYPE, &raw mut kind, &raw mut len)
    };
    if r != 0 {
        return Err(fail(errno()));
    }
    adopt_any(fd).ok_or(Err(Bypass))
}

/// `getsockopt` at a SHIM level.
///
/// # Safety
/// `value` and `len` are null or valid for reads and writes as the application says.
pub unsafe fn get(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> Outcome<c_int> {
    let socket = match find(fd) {
        Ok(socket) => socket,
        Err(answer) => return answer,
    };
    if !matches!(name, SHIM_ASSOCIATED | SHIM_DONTSHIM | SHIM_LOCLIST_LOCAL | SHIM_LOCLIST_PEER) {
        return fail(libc::ENOPROTOOPT);
    }
    if value.is_null() || len.is_null() {
        return fail(libc::EFAULT);
    }
    // SAFETY: by the contract above.
    let room = unsafe { *len };
    if (room as c_int) < 0 {
        return fail(libc::EINVAL);
    }
    let Some(state) = slow(|| state(&socket, fd)) else { return Err(Bypass) };
    let abi = abi(level);
    match (name, state) {
        (SHIM_ASSOCIATED, State::U) if abi == Abi::R6316 => {
            // Both answers that the RFC asks for: the error, and the value 2.
            if room as usize >= size_of::<c_int>() {
                // SAFETY: `room` octets are writable at `value`, and `len` is valid, by the contract above.
                unsafe { put(value, len, room, &2i32.to_ne_bytes()) };
            }
            fail(libc::EOPNOTSUPP)
        }
        (SHIM_ASSOCIATED, state) => {
            let associated = c_int::from(matches!(state, State::C(_)));
            // SAFETY: `room` octets are writable at `value`, and `len` is valid, by the contract above.
            unsafe { put(value, len, room, &associated.to_ne_bytes()) };
            Ok(0)
        }
        (SHIM_DONTSHIM, _) => {
            // SAFETY: `room` octets are writable at `value`, and `len` is valid, by the contract above.
            unsafe { put(value, len, room, &c_int::from(socket.has(flag::DONT_SHIM)).to_ne_bytes()) };
            Ok(0)
        }
        (_, State::U) if abi == Abi::R6316 => fail(libc::EOPNOTSUPP),
        (_, State::U | State::N) => fail(libc::ENOENT),
        (_, State::C(view)) => {
            let local = name == SHIM_LOCLIST_LOCAL;
            let locators = if local { &view.local } else { &view.peer };
            let Some(octets) = slow(|| encode(abi, local, locators)) else { return Err(Bypass) };
            if octets.len() > room as usize {
                return match abi {
                    Abi::R6316 => fail(crate::capi::types::ETOOMANYLOCATORS),
                    Abi::D08 => {
                        // SAFETY: `room` octets are writable at `value`, and `len` is valid, by the contract above.
                        unsafe { *len = octets.len() as socklen_t };
                        fail(libc::EINVAL)
                    }
                };
            }
            // SAFETY: `room` octets are writable at `value`, and `len` is valid, by the contract above.
            unsafe { put(value, len, room, &octets) };
            Ok(0)
        }
    }
}

/// Copy out at most `room` octets and tell how many.
unsafe fn put(value: *mut c_void, len: *mut socklen_t, room: socklen_t, octets: &[u8]) {
    let n = octets.len().min(room as usize);
    // SAFETY: `room` octets are writable at `value`, by the contract of `get`.
    unsafe {
        std::ptr::copy_nonoverlapping(octets.as_ptr(), value.cast(), n);
        *len = n as socklen_t;
    }
}

/// The locators in list order, as the structures of the ABI, all padding zero (API-ST-14).
fn encode(abi: Abi, local: bool, locators: &[LocatorInfo]) -> Vec<u8> {
    let mut out = Vec::new();
    for l in locators.iter().take(crate::capi::types::SHIM_MAX_LOCATORS) {
        match abi {
            Abi::D08 => out.extend_from_slice(&shim_locator_d08::new(l, local).octets()),
            Abi::R6316 => out.extend_from_slice(&shim_locator_r6316::new(l, local).octets()),
        }
    }
    out
}

/// `setsockopt` at a SHIM level.
///
/// # Safety
/// `value` is null or readable for `len` octets.
pub unsafe fn set(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    len: socklen_t,
) -> Outcome<c_int> {
    let socket = match find(fd) {
        Ok(socket) => socket,
        Err(answer) => return answer,
    };
    if name != SHIM_DONTSHIM {
        return fail(libc::ENOPROTOOPT);
    }
    if value.is_null() {
        return fail(libc::EFAULT);
    }
    if (len as c_int) < size_of::<c_int>() as c_int {
        return fail(libc::EINVAL);
    }
    // SAFETY: at least four octets are readable, by the contract above.
    let asked = unsafe { value.cast::<c_int>().read_unaligned() };
    let Some(state) = slow(|| state(&socket, fd)) else { return Err(Bypass) };
    if asked == 1 && abi(level) == Abi::R6316 && !matches!(state, State::U) {
        return fail(libc::EOPNOTSUPP);
    }
    match asked {
        0 | 1 => {
            socket.set(flag::DONT_SHIM, asked == 1);
            Ok(0)
        }
        _ => fail(libc::EINVAL),
    }
}
