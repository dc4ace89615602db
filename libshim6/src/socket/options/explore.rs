//! SHIM_PATHEXPLORE (API-PE).

use super::super::backend;
use super::access::Context;
use super::{Abi, Call};
use crate::config::ReapConfig;
use crate::engine::PathExplore;
use libc::c_int;
use std::time::Duration;

/// Most initial probes (API-PE-18).
const MAX_PROBES: u16 = 32;
/// Shortest gap between them (API-PE-17).
const MIN_GAP_MS: u16 = 10;

/// The values in force (API-PE-05).
pub(super) fn get(call: &Call<'_>, context: &Context) -> Vec<u8> {
    let defaults = backend::current().map_or_else(ReapConfig::default, |engine| engine.reap.clone());
    let explore = &context.settings.path_explore;
    let keepalive = context.view.timers.keepalive_timeout;
    let seconds =
        |t: Duration| u16::try_from(t.as_secs() + u64::from(t.subsec_nanos() > 0)).unwrap_or(u16::MAX);
    let probes = u16::try_from(explore.initial_probes.unwrap_or(defaults.initial_probes)).unwrap_or(u16::MAX);
    let send_timeout = seconds(context.settings.send_timeout(&defaults));
    let interval = seconds(explore.keepalive_interval.map_or(keepalive / 3, |t| t.min(keepalive / 2)));
    let gap = explore.initial_probe_timeout.unwrap_or(defaults.initial_probe_timeout).as_millis();
    let gap = u16::try_from(gap).unwrap_or(u16::MAX);
    let octet = |n: u16| u8::try_from(n).unwrap_or(u8::MAX);
    let mut out = match call.abi {
        Abi::D08 => vec![octet(probes), octet(send_timeout)],
        Abi::R6316 => [probes, send_timeout, interval].map(u16::to_ne_bytes).concat(),
    };
    out.extend(gap.to_ne_bytes());
    out.extend([0; 4]);
    out
}

/// Without `octets` the override is removed (API-PE-09).
pub(super) fn set(call: &Call<'_>, context: &Context, octets: &[u8]) -> Result<(), c_int> {
    if octets.is_empty() {
        return call.configure(context, |s| s.path_explore = PathExplore::default());
    }
    let u16_at = |i: usize| octets.get(i..i + 2).map_or(0, |o| u16::from_ne_bytes([o[0], o[1]]));
    let (probes, timeout, interval, gap) = match call.abi {
        Abi::D08 => (u16::from(octets[0]), u16::from(octets[1]), None, u16_at(2)),
        Abi::R6316 => (u16_at(0), u16_at(2), Some(u16_at(4)), u16_at(6)),
    };
    let reserved = octets.iter().rev().take(4).any(|o| *o != 0);
    let half = context.view.timers.keepalive_timeout / 2;
    let seconds = |n: u16| Duration::from_secs(n.into());
    if probes > MAX_PROBES
        || (1..MIN_GAP_MS).contains(&gap)
        || interval.is_some_and(|n| seconds(n) > half)
        // API-ST-13
        || (reserved && call.abi == Abi::R6316)
    {
        return Err(libc::EINVAL);
    }
    let some = |n: u16| (n > 0).then_some(n);
    call.configure(context, |s| {
        let e = &mut s.path_explore;
        e.initial_probes = some(probes).map(u32::from);
        e.send_timeout = some(timeout).map(seconds);
        e.initial_probe_timeout = some(gap).map(|ms| Duration::from_millis(ms.into()));
        if let Some(interval) = interval {
            e.keepalive_interval = some(interval).map(seconds);
        }
    })
}
