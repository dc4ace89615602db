//! The options about one locator: SHIM_LOC_LOCAL_PREF, SHIM_LOC_PEER_PREF, SHIM_LOC_LOCAL_SEND, SHIM_LOC_PEER_SEND.

use super::super::backend;
use super::access::Context;
use super::lists::{locals, peers};
use super::locator::{Given, code, decode, encode};
use super::{Abi, Call, Kind};
use crate::capi::types::*;
use crate::engine::{LocatorError, LocatorInfo, LocatorPreference};
use libc::c_int;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::Ipv6Addr;

/// Better than all others, the default included.
const BEST: LocatorPreference = LocatorPreference { priority: 0, weight: u16::MAX };

pub(super) fn get(call: &Call<'_>, context: &Context) -> Vec<u8> {
    let local = matches!(call.name, SHIM_LOC_LOCAL_PREF | SHIM_LOC_LOCAL_SEND);
    let list = if local { locals(context) } else { peers(context) };
    let current = context.view.current.map(|pair| if local { pair.local } else { pair.peer });
    let shown = match call.name {
        SHIM_LOC_LOCAL_SEND => context.settings.pinned_local,
        SHIM_LOC_PEER_SEND => context.settings.pinned_peer,
        // The one in use (API-CX-21)
        _ if call.abi == Abi::D08 => current,
        // The best, of several the one in use
        _ => list
            .iter()
            .min_by_key(|l| (l.preference.priority, Reverse(l.preference.weight), Some(l.addr) != current))
            .map(|l| l.addr),
    };
    let mut out = Vec::new();
    match shown {
        None => out.resize(Kind::Locator.size(call.abi), 0),
        Some(addr) => {
            let all = if local { &context.view.available } else { &context.view.peer };
            let info = list.iter().chain(all).find(|l| l.addr == addr).cloned();
            encode(call.abi, local, &info.unwrap_or_else(|| LocatorInfo::new(addr)), &mut out);
        }
    }
    out
}

pub(super) fn set(call: &Call<'_>, context: &Context, octets: &[u8]) -> Result<(), c_int> {
    let local = matches!(call.name, SHIM_LOC_LOCAL_PREF | SHIM_LOC_LOCAL_SEND);
    let pin = matches!(call.name, SHIM_LOC_LOCAL_SEND | SHIM_LOC_PEER_SEND);
    let given = match octets {
        // API-LLP-16
        [] => None,
        octets => match decode(call.abi, octets)? {
            Given::Ipv6(addr, preference) => Some((addr, preference)),
            Given::Never(_) => return Err(EINVALIDLOCATOR),
            Given::None if pin => None,
            Given::None => return Err(libc::EINVAL),
        },
    };
    if let Some((addr, _)) = given {
        check(context, local, pin, addr).map_err(|e| code(call.abi, e))?;
    }
    call.configure(context, |s| {
        let addr = given.map(|(addr, _)| addr);
        match call.name {
            SHIM_LOC_LOCAL_SEND => s.pinned_local = addr,
            SHIM_LOC_PEER_SEND => s.pinned_peer = addr,
            SHIM_LOC_LOCAL_PREF => prefer(call.abi, &mut s.local_preferences, given),
            _ => prefer(call.abi, &mut s.peer_preferences, given),
        }
    })
}

/// May the application name this locator for this? A locator of the peer that lacks a reachability test gets one
/// (API-PTX-12).
fn check(context: &Context, local: bool, pin: bool, addr: Ipv6Addr) -> Result<(), LocatorError> {
    if local {
        return context.view.check_local(addr);
    }
    if !pin {
        return context.view.check_peer_listed(addr);
    }
    let result = context.view.check_peer(context.cell.ulids(), addr);
    if let (Err(LocatorError::Unverified), Some(engine)) = (result, backend::current()) {
        engine.backend.probe_peer(&context.cell, addr);
    }
    result
}

/// The draft names the one locator that is to be preferred, the RFC gives values to several (part D5 of the table).
fn prefer(
    abi: Abi,
    preferences: &mut BTreeMap<Ipv6Addr, LocatorPreference>,
    given: Option<(Ipv6Addr, LocatorPreference)>,
) {
    if given.is_none() || abi == Abi::D08 {
        preferences.clear();
    }
    if let Some((addr, preference)) = given {
        let better = preference.priority < LocatorPreference::default().priority;
        preferences.insert(addr, if abi == Abi::R6316 || better { preference } else { BEST });
    }
}
