//! The socket options at the two SHIM levels (conformance table of the API, parts C, D and E).
//!
//! In come the arguments of getsockopt and setsockopt ([`get`], [`set`]); out go 0 or -1 with the errno of the table, and
//! changes of the socket's flags or of its context's settings. The order of checks is that of API-GEN-03: descriptor,
//! option and direction, pointer and length, socket state, value, locators. What fails changes nothing.

mod access;
mod explore;
mod extension;
mod integer;
mod lists;
mod locator;
mod single;
#[cfg(test)]
mod tests;

pub(super) use access::after_fork;
pub(super) use locator::code;

use super::guard::slow;
use super::ops::fail;
use super::table::Pinned;
use super::{Bypass, Outcome, sys};
use crate::capi::extensions::{SHIM_RESEND, SHIM_SWITCHES, shim_resend, shim_switch};
use crate::capi::types::*;
use access::{find, state};
use libc::{c_int, c_void, socklen_t};

/// The ABI that a call was compiled for; its level tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Abi {
    /// draft-ietf-shim6-multihome-shim-api-08.
    D08,
    /// RFC 6316.
    R6316,
}

/// Is it one of the SHIM levels?
#[inline]
pub fn is_level(level: c_int) -> bool {
    abi(level).is_some()
}

/// The ABI that a level stands for.
#[inline]
pub(super) fn abi(level: c_int) -> Option<Abi> {
    match level {
        SOL_SHIM_D08 => Some(Abi::D08),
        SOL_SHIM_R6316 => Some(Abi::R6316),
        _ => None,
    }
}

/// How an option's value is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Int,
    Explore,
    Locator,
    List,
    Switches,
    Resend,
}

impl Kind {
    fn of(name: c_int) -> Option<Kind> {
        Some(match name {
            SHIM_ASSOCIATED
            | SHIM_DONTSHIM
            | SHIM_HOT_STANDBY
            | SHIM_LOC_LOCAL_RECV
            | SHIM_LOC_PEER_RECV
            | SHIM_APP_TIMEOUT
            | SHIM_DEFERRED_CONTEXT_SETUP => Kind::Int,
            SHIM_PATHEXPLORE => Kind::Explore,
            SHIM_LOC_LOCAL_PREF | SHIM_LOC_PEER_PREF | SHIM_LOC_LOCAL_SEND | SHIM_LOC_PEER_SEND => {
                Kind::Locator
            }
            SHIM_LOCLIST_LOCAL | SHIM_LOCLIST_PEER => Kind::List,
            SHIM_SWITCHES => Kind::Switches,
            SHIM_RESEND => Kind::Resend,
            name if extension::is_int(name) => Kind::Int,
            _ => return None,
        })
    }

    /// Octets of the value, or of one element of a list.
    fn size(self, abi: Abi) -> usize {
        match (self, abi) {
            (Kind::Int, _) => size_of::<c_int>(),
            (Kind::Explore, Abi::D08) => size_of::<shim_pathexplore_d08>(),
            (Kind::Explore, Abi::R6316) => size_of::<shim_pathexplore_r6316>(),
            (Kind::Switches, _) => size_of::<shim_switch>(),
            (Kind::Resend, _) => size_of::<shim_resend>(),
            (_, Abi::D08) => size_of::<shim_locator_d08>(),
            (_, Abi::R6316) => size_of::<shim_locator_r6316>(),
        }
    }
}

/// What a call is about.
#[derive(Clone, Copy)]
struct Call<'a> {
    socket: &'a Pinned,
    fd: c_int,
    abi: Abi,
    name: c_int,
}

/// `getsockopt` at a SHIM level.
///
/// # Safety
/// `value` and `len` are the application's.
pub unsafe fn get(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> Outcome<c_int> {
    let abi = abi(level).ok_or(Bypass)?;
    let socket = match find(fd) {
        Ok(socket) => socket,
        Err(answer) => return answer,
    };
    let Some(kind) = Kind::of(name) else { return fail(libc::ENOPROTOOPT) };
    if value.is_null() || !sys::can_write(len.cast::<u8>(), size_of::<socklen_t>()) {
        return fail(libc::EFAULT);
    }
    // SAFETY: readable, as the kernel says.
    let room = unsafe { len.read_unaligned() };
    let (size, fixed) = (kind.size(abi), kind != Kind::Int && kind != Kind::List);
    if (room as c_int) < 0 || (fixed && (room as usize) < size) {
        return fail(libc::EINVAL);
    }
    let room = room as usize;
    if !may_put(value, room.min(size)) {
        return fail(libc::EFAULT);
    }
    let call = Call { socket: &socket, fd, abi, name };
    // SAFETY: `len` is writable, and so are the `n` octets at `value` in both cases.
    let put = |octets: &[u8], n: usize| unsafe {
        std::ptr::copy_nonoverlapping(octets.as_ptr(), value.cast(), n);
        len.write_unaligned(n as socklen_t);
    };
    match slow(|| call.get(kind)).ok_or(Bypass)? {
        Ok(octets) => {
            if kind == Kind::List && octets.len() > room {
                if abi == Abi::R6316 {
                    return fail(ETOOMANYLOCATORS);
                }
                // API-LLL-10
                // SAFETY: as above.
                unsafe { len.write_unaligned(octets.len() as socklen_t) };
                return fail(libc::EINVAL);
            }
            let n = match kind {
                Kind::Switches => octets.len().min(room / size * size),
                _ => octets.len().min(room),
            };
            if !may_put(value, n) {
                return fail(libc::EFAULT);
            }
            put(&octets, n);
            Ok(0)
        }
        Err(e) => {
            if name == SHIM_ASSOCIATED && e == libc::EOPNOTSUPP && room >= size {
                // Both answers that the RFC asks for: the error, and the value 2 (API-ASSOC-02).
                put(&2i32.to_ne_bytes(), size);
            }
            fail(e)
        }
    }
}

/// May `n` octets be written at `value`?
fn may_put(value: *mut c_void, n: usize) -> bool {
    n == 0 || sys::can_write(value, n)
}

/// `setsockopt` at a SHIM level.
///
/// # Safety
/// `value` is the application's.
pub unsafe fn set(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    len: socklen_t,
) -> Outcome<c_int> {
    let abi = abi(level).ok_or(Bypass)?;
    let socket = match find(fd) {
        Ok(socket) => socket,
        Err(answer) => return answer,
    };
    let read_only = matches!(name, SHIM_ASSOCIATED | SHIM_SWITCHES)
        || (name == SHIM_DEFERRED_CONTEXT_SETUP && abi == Abi::R6316);
    let Some(kind) = Kind::of(name).filter(|_| !read_only) else { return fail(libc::ENOPROTOOPT) };
    let size = kind.size(abi);
    let clear = value.is_null()
        && len == 0
        && matches!(
            name,
            SHIM_PATHEXPLORE
                | SHIM_LOC_LOCAL_PREF
                | SHIM_LOC_PEER_PREF
                | SHIM_LOCLIST_LOCAL
                | SHIM_LOCLIST_PEER
        );
    if value.is_null() && !clear {
        return fail(libc::EFAULT);
    }
    let fits = match kind {
        Kind::Int => len as c_int >= size as c_int,
        Kind::Explore | Kind::Locator | Kind::Resend => clear || len as usize == size,
        Kind::List | Kind::Switches => len as c_int >= 0 && (len as usize).is_multiple_of(size),
    };
    if !fits {
        return fail(libc::EINVAL);
    }
    // Of a list that is too long, one element too many is enough to tell.
    let wanted = match kind {
        Kind::List => (len as usize).min((SHIM_MAX_LOCATORS + 1) * size),
        _ if clear => 0,
        _ => size,
    };
    if wanted > 0 && !sys::can_read(value, wanted) {
        return fail(libc::EFAULT);
    }
    let octets: &[u8] = match wanted {
        0 => &[],
        // SAFETY: readable, as the kernel says.
        n => unsafe { std::slice::from_raw_parts(value.cast(), n) },
    };
    let call = Call { socket: &socket, fd, abi, name };
    match slow(|| call.set(kind, octets)).ok_or(Bypass)? {
        Ok(()) => Ok(0),
        Err(e) => fail(e),
    }
}

impl Call<'_> {
    /// The value, or the errno. Inside `guard::slow` only.
    fn get(&self, kind: Kind) -> Result<Vec<u8>, c_int> {
        let state = state(self.socket, self.fd);
        if extension::is_int(self.name) {
            return extension::get_int(self, &state).map(|value| value.to_ne_bytes().to_vec());
        }
        if kind == Kind::Int {
            return integer::get(self, &state).map(|value| value.to_ne_bytes().to_vec());
        }
        let context = state.context(self.abi)?;
        Ok(match kind {
            Kind::Explore => explore::get(self, &context),
            Kind::Switches => extension::switches(&context),
            Kind::Resend => extension::resend(self, &context),
            Kind::Locator => single::get(self, &context),
            _ => lists::get(self, &context),
        })
    }

    /// Inside `guard::slow` only.
    fn set(&self, kind: Kind, octets: &[u8]) -> Result<(), c_int> {
        // API-GEN-19
        let _one = access::lock();
        let state = state(self.socket, self.fd);
        if kind == Kind::Int {
            let value = octets.try_into().map(c_int::from_ne_bytes).map_err(|_| libc::EINVAL)?;
            return match extension::is_int(self.name) {
                true => extension::set_int(self, state, value),
                false => integer::set(self, state, value),
            };
        }
        let context = state.context(self.abi)?;
        match kind {
            Kind::Explore => explore::set(self, &context, octets),
            Kind::Locator => single::set(self, &context, octets),
            Kind::Resend => extension::set_resend(self, &context, octets),
            _ => lists::set(self, &context, octets),
        }
    }
}
