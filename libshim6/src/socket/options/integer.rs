//! The options whose value is an int.

use super::super::ops::look_at_ancillary_data;
use super::super::state::{Mode, flag};
use super::super::{backend, setup};
use super::access::State;
use super::{Abi, Call};
use crate::capi::types::*;
use libc::c_int;
use std::time::Duration;

pub(super) fn get(call: &Call<'_>, state: &State) -> Result<c_int, c_int> {
    let socket = call.socket;
    let rfc = call.abi == Abi::R6316;
    let on = |flag| Ok(c_int::from(socket.has(flag)));
    match call.name {
        SHIM_ASSOCIATED if rfc && matches!(state, State::U) => Err(libc::EOPNOTSUPP),
        SHIM_ASSOCIATED => Ok(c_int::from(matches!(state, State::C(_)))),
        SHIM_DONTSHIM => on(flag::DONT_SHIM),
        SHIM_DEFERRED_CONTEXT_SETUP => match state {
            State::U if rfc => Err(libc::EOPNOTSUPP),
            _ if rfc => Ok(1),
            _ => Ok(c_int::from(!socket.has(flag::NOT_DEFERRED))),
        },
        name => {
            let context = state.needs_context(call.abi)?;
            match name {
                SHIM_HOT_STANDBY => on(flag::HOT),
                SHIM_LOC_LOCAL_RECV => on(flag::LOCAL_RECV),
                SHIM_LOC_PEER_RECV => on(flag::PEER_RECV),
                _ => {
                    let seconds = context.settings.app_timeout.map_or(0, |t| t.as_secs());
                    Ok(c_int::try_from(seconds).unwrap_or(c_int::MAX))
                }
            }
        }
    }
}

pub(super) fn set(call: &Call<'_>, state: State, value: c_int) -> Result<(), c_int> {
    let socket = call.socket;
    match call.name {
        SHIM_DONTSHIM => dont_shim(call, &state, value),
        SHIM_DEFERRED_CONTEXT_SETUP => {
            socket.set(flag::NOT_DEFERRED, !switch(value)?);
            if value == 0 && matches!(state, State::N) {
                setup::begin(socket);
            }
            Ok(())
        }
        SHIM_HOT_STANDBY => {
            let context = state.context(call.abi)?;
            let on = switch(value)?;
            if let Some(engine) = backend::current().filter(|_| socket.has(flag::HOT) != on) {
                socket.set(flag::HOT, on);
                engine.backend.set_hot_standby(&context.cell, on);
            }
            Ok(())
        }
        SHIM_LOC_LOCAL_RECV | SHIM_LOC_PEER_RECV => {
            state.context(call.abi)?;
            let (both, mine) = match (call.name, call.abi) {
                (SHIM_LOC_LOCAL_RECV, Abi::D08) => (flag::LOCAL_RECV, flag::LOCAL_RECV_D08),
                (SHIM_LOC_LOCAL_RECV, Abi::R6316) => (flag::LOCAL_RECV, flag::LOCAL_RECV_R6316),
                (_, Abi::D08) => (flag::PEER_RECV, flag::PEER_RECV_D08),
                (_, Abi::R6316) => (flag::PEER_RECV, flag::PEER_RECV_R6316),
            };
            match switch(value)? {
                // It tells by the level of whoever asked; who switches it off, does so for both.
                true => socket.set(mine, true),
                false => socket.set(both, false),
            }
            look_at_ancillary_data(socket, call.fd);
            Ok(())
        }
        _ => {
            let context = state.context(call.abi)?;
            let seconds = u16::try_from(value).map_err(|_| libc::EINVAL)?;
            let timeout = (seconds > 0).then(|| Duration::from_secs(seconds.into()));
            call.configure(&context, |s| {
                s.app_timeout = timeout;
                s.app_timeout_by_draft = timeout.is_some() && call.abi == Abi::D08;
            })
        }
    }
}

fn switch(value: c_int) -> Result<bool, c_int> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(libc::EINVAL),
    }
}

fn dont_shim(call: &Call<'_>, state: &State, value: c_int) -> Result<(), c_int> {
    let socket = call.socket;
    if value == 1 && call.abi == Abi::R6316 && !matches!(state, State::U) {
        return Err(libc::EOPNOTSUPP);
    }
    let on = switch(value)?;
    if on == socket.has(flag::DONT_SHIM) {
        return Ok(());
    }
    socket.set(flag::DONT_SHIM, on);
    if on {
        setup::end(socket.record(), call.fd);
        if let Some(cell) = socket.cell_arc().filter(|_| socket.mode() == Mode::Connected) {
            if let Some(engine) = backend::current().filter(|_| cell.users() == 1) {
                // API-DONT-04
                engine.backend.abandon_setup(&cell);
            }
            socket.leave_cell();
            socket.set(flag::NO_CELL, true);
        }
    }
    Ok(())
}
