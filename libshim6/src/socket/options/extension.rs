//! The options of `capi::extensions`: those that neither document has.

use super::super::backend;
use super::Call;
use super::access::{Context, State};
use crate::capi::extensions::*;
use crate::config::ReapConfig;
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

/// The latest switches, newest first (RE-OP-02, RE-RP-16).
pub(super) fn switches(context: &Context) -> Vec<u8> {
    let view = &context.view;
    let newest_first = (0u64..).zip(view.switches.iter().rev());
    let shown: Vec<u8> = newest_first
        .flat_map(|(age, s)| shim_switch::new(view.switched.saturating_sub(age), s).octets())
        .collect();
    if shown.is_empty() { vec![0; size_of::<shim_switch>()] } else { shown }
}
