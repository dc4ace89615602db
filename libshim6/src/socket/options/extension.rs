//! The options of `capi::extensions`: those that neither document has.

use super::super::backend;
use super::super::state::flag;
use super::Call;
use super::access::{Context, State};
use crate::capi::extensions::*;
use crate::config::ReapConfig;
use crate::driver::resend::{Limits, MAX_DATAGRAMS};
use libc::c_int;
use std::time::Duration;

/// Is it one whose value is an int?
pub(super) fn is_int(name: c_int) -> bool {
    name == SHIM_SEND_TIMEOUT
}

pub(super) fn get_int(call: &Call<'_>, state: &State) -> Result<c_int, c_int> {
    let context = state.needs_context(call.abi)?;
    let defaults = backend::current().map_or_else(ReapConfig::default, |engine| engine.reap.clone());
    let ms = context.settings.send_timeout(&defaults).as_millis();
    Ok(c_int::try_from(ms).unwrap_or(c_int::MAX))
}

pub(super) fn set_int(call: &Call<'_>, state: State, value: c_int) -> Result<(), c_int> {
    let context = state.context(call.abi)?;
    let ms = u64::try_from(value).ok().filter(|ms| *ms <= MAX_MS).ok_or(libc::EINVAL)?;
    let timeout = (ms > 0).then(|| Duration::from_millis(ms));
    call.configure(&context, |s| s.path_explore.send_timeout = timeout)
}

/// What the whole seconds of SHIM_PATHEXPLORE can say.
const MAX_MS: u64 = 65_535_000;
const MAX_AGE_MS: u32 = 60_000;

/// What is sent again of this socket's.
pub(super) fn resend(call: &Call<'_>, context: &Context) -> Vec<u8> {
    let limits =
        context.cell.resend.limits().filter(|_| context.cell.resend.keeps(call.socket.has(flag::RESEND)));
    let (datagrams, age) = limits.map_or((0, 0), |l| (l.datagrams, l.age.as_millis() as u32));
    [datagrams, age].map(u32::to_ne_bytes).concat()
}

pub(super) fn set_resend(call: &Call<'_>, context: &Context, octets: &[u8]) -> Result<(), c_int> {
    let field = |i: usize| octets.get(i..i + 4).and_then(|o| o.try_into().ok()).map_or(0, u32::from_ne_bytes);
    let (datagrams, ms) = (field(0), field(4));
    if datagrams > MAX_DATAGRAMS || ms > MAX_AGE_MS {
        return Err(libc::EINVAL);
    }
    if datagrams > 0 {
        let age = Duration::from_millis(if ms == 0 { 1000 } else { ms.into() });
        context.cell.resend.ask(Limits { datagrams, age });
    }
    call.socket.set(flag::RESEND, datagrams > 0);
    Ok(())
}

/// The latest switches, newest first (RE-OP-02, RE-RP-16).
pub(super) fn switches(context: &Context) -> Vec<u8> {
    let view = &context.view;
    let newest_first = (0u64..).zip(view.switches.iter().rev());
    let shown: Vec<u8> = newest_first
        .flat_map(|(age, s)| shim_switch::new(view.switched.saturating_sub(age), s).octets())
        .collect();
    if shown.is_empty() { vec![0; size_of::<shim_switch>()] } else { shown }
}
