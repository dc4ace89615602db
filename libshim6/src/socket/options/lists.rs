//! SHIM_LOCLIST_LOCAL and SHIM_LOCLIST_PEER (API-LLL, API-LLR).

use super::super::backend;
use super::access::Context;
use super::locator::{Given, code, decode, encode};
use super::{Abi, Call, Kind};
use crate::capi::types::*;
use crate::engine::{LocatorError, LocatorInfo, LocatorPreference};
use libc::c_int;
use std::net::Ipv6Addr;

/// The worst preference, for a ULID that the application left out (API-LLL-19).
const WORST: LocatorPreference = LocatorPreference { priority: u16::MAX, weight: 0 };

/// The list in its order.
pub(super) fn get(call: &Call<'_>, context: &Context) -> Vec<u8> {
    let local = call.name == SHIM_LOCLIST_LOCAL;
    let list = if local { locals(context) } else { peers(context) };
    let mut out = Vec::new();
    for l in list.iter().take(SHIM_MAX_LOCATORS) {
        encode(call.abi, local, l, &mut out);
    }
    out
}

/// Ls(local), as the application has set it where it has (API-LLL-20), with its preferences.
pub(super) fn locals(context: &Context) -> Vec<LocatorInfo> {
    let (view, settings) = (&context.view, &context.settings);
    let known = |addr: Ipv6Addr| view.local.iter().chain(&view.available).find(|l| l.addr == addr).cloned();
    let mut list = match &settings.local_list {
        None => view.local.clone(),
        Some(list) => {
            let ulid = context.cell.ulids().local;
            let added = (!list.iter().any(|(addr, _)| *addr == ulid)).then_some((ulid, WORST));
            let all = list.iter().copied().chain(added);
            all.filter_map(|(addr, preference)| Some(LocatorInfo { preference, ..known(addr)? })).collect()
        }
    };
    for l in &mut list {
        if let Some(preference) = settings.local_preferences.get(&l.addr) {
            l.preference = *preference;
        }
    }
    list
}

/// The peer's locators that may be used, with the preferences in force.
pub(super) fn peers(context: &Context) -> Vec<LocatorInfo> {
    let (view, settings) = (&context.view, &context.settings);
    let known = |addr: &Ipv6Addr| view.peer.iter().find(|l| l.addr == *addr).cloned();
    let mut list = match &settings.peer_list {
        None => view.peer.clone(),
        Some(list) => list.iter().filter_map(known).collect(),
    };
    for l in &mut list {
        if let Some(preference) = settings.peer_preferences.get(&l.addr) {
            l.preference = *preference;
        }
    }
    list
}

/// Replace the list after all entries passed.
pub(super) fn set(call: &Call<'_>, context: &Context, octets: &[u8]) -> Result<(), c_int> {
    let list = given(call.abi, octets)?;
    let local = call.name == SHIM_LOCLIST_LOCAL;
    let ulids = context.cell.ulids();
    let check = |given: &Given| match given {
        Given::Ipv6(addr, _) if local => context.view.check_local(*addr),
        Given::Ipv6(addr, _) => context.view.check_peer(ulids, *addr),
        Given::None | Given::Never(_) => Err(LocatorError::Invalid),
    };
    // The first in the order of API-PTX-16, wherever it stands in the list.
    if let Some(error) = list.iter().filter_map(|given| check(given).err()).min() {
        if error == LocatorError::Unverified {
            for given in list.iter().filter(|given| check(given).is_err()) {
                if let (Given::Ipv6(addr, _), Some(engine)) = (given, backend::current()) {
                    // API-PTX-12
                    engine.backend.probe_peer(&context.cell, *addr);
                }
            }
        }
        return Err(code(call.abi, error));
    }
    let list: Vec<(Ipv6Addr, LocatorPreference)> = list
        .into_iter()
        .filter_map(|given| match given {
            Given::Ipv6(addr, preference) => Some((addr, preference)),
            Given::None | Given::Never(_) => None,
        })
        .collect();
    call.configure(context, |s| {
        if local {
            s.local_list = Some(list.clone());
        } else {
            s.peer_list = Some(list.iter().map(|(addr, _)| *addr).collect());
            s.peer_preferences.extend(list.iter().copied());
        }
    })
}

/// The entries, without the zero-filled ones at the end (API-LLL-11, API-LLL-12).
fn given(abi: Abi, octets: &[u8]) -> Result<Vec<Given>, c_int> {
    let size = Kind::List.size(abi);
    if octets.len() > SHIM_MAX_LOCATORS * size {
        return Err(if abi == Abi::R6316 { ETOOMANYLOCATORS } else { libc::EINVAL });
    }
    let mut list = octets.chunks_exact(size).map(|o| decode(abi, o)).collect::<Result<Vec<_>, _>>()?;
    while list.last() == Some(&Given::None) {
        list.pop();
    }
    let addr = |given: &Given| match given {
        Given::None => None,
        Given::Ipv6(addr, _) | Given::Never(addr) => Some(*addr),
    };
    let twice = |(i, given): (usize, &Given)| list[..i].iter().any(|other| addr(other) == addr(given));
    if list.is_empty() || list.contains(&Given::None) || list.iter().enumerate().any(twice) {
        return Err(libc::EINVAL);
    }
    Ok(list)
}
