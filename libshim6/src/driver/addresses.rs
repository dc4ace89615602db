//! The host's addresses: locators for the engine, and ULIDs that vanish and come back.

use super::netlink::{self, AddOptions, Change, LocalAddress, Monitor, RemovalCause};
use super::sys::Listed;
use crate::addr::is_servable;
use crate::config::Shim6Config;
use crate::engine::LocalLocator;
use crate::identity::{Identity, Places, match_identity};
use crate::time::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Ipv6Addr;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

/// A ULID on `lo` goes away by itself when its process no longer refreshes it.
const HELD_FOR: Duration = Duration::from_secs(60);
const REFRESH: Duration = Duration::from_secs(20);
/// How long an interface is out of use when its routers do not answer; then the kernel is to try them again.
const ROUTER_LOST: Duration = Duration::from_secs(30);
/// Most vanished addresses that are remembered.
const MAX_LOST: usize = 1024;
/// Between two looks for new identities.
const LOAD_INTERVAL: Duration = Duration::from_secs(1);

/// The addresses of the network namespace that the engine was started in.
pub struct Addresses {
    _listed: Listed,
    monitor: Monitor,
    identities: Vec<Arc<Identity>>,
    places: Places,
    /// When to look for new identities, and the earliest time for the next look after that.
    load_at: Option<Time>,
    load_again: Time,
    /// Groups of interfaces.
    config: Shim6Config,
    told: Vec<LocalAddress>,
    lost: BTreeSet<Ipv6Addr>,
    /// ULIDs that we have put on `lo`, and those for which it failed.
    held: BTreeSet<Ipv6Addr>,
    refused: BTreeSet<Ipv6Addr>,
    refresh_at: Option<Time>,
    forgive_at: Option<Time>,
    lo_down: bool,
}

/// What changed.
#[derive(Debug, Default)]
pub struct Update {
    /// All locators, if they changed.
    pub locators: Option<Vec<LocalLocator>>,
    /// Addresses whose valid lifetime ran out.
    pub expired: Vec<Ipv6Addr>,
    /// Addresses that vanished for another reason.
    pub lost: Vec<Ipv6Addr>,
    /// Lost addresses that can be used again.
    pub back: Vec<Ipv6Addr>,
}

impl Addresses {
    /// Subscribe.
    pub fn open(
        identities: Vec<Arc<Identity>>,
        places: Places,
        config: Shim6Config,
    ) -> io::Result<Addresses> {
        let monitor = Monitor::open()?;
        Ok(Addresses {
            _listed: Listed::new(monitor.as_raw_fd())?,
            monitor,
            identities,
            places,
            load_at: None,
            load_again: Time::ZERO,
            config,
            told: Vec::new(),
            lost: BTreeSet::new(),
            held: BTreeSet::new(),
            refused: BTreeSet::new(),
            refresh_at: None,
            forgive_at: None,
            lo_down: false,
        })
    }

    /// For epoll.
    pub fn raw(&self) -> RawFd {
        self.monitor.as_raw_fd()
    }

    /// All locators, as the kernel last told of them.
    pub fn locators(&self) -> Vec<LocalLocator> {
        locators(&self.monitor.snapshot(), &self.identities, &self.config)
    }

    /// Take in what the kernel told since the last call; the first call gives all locators.
    pub fn changes(&mut self, now: Time) -> Update {
        let changes = self.monitor.drain().unwrap_or_else(|e| {
            tracing::warn!(error = %e, "address changes could not be read");
            Default::default()
        });
        match (self.monitor.lacks_router(), self.forgive_at) {
            (true, Some(at)) if at <= now => {
                self.monitor.forgive_routers();
                self.forgive_at = None;
            }
            (true, None) => self.forgive_at = Some(now + ROUTER_LOST),
            (true, Some(_)) => {}
            (false, _) => self.forgive_at = None,
        }
        let snapshot = self.monitor.snapshot();
        let mut update = Update::default();
        for change in changes.events {
            let Change::AddressGone(a, cause) = change else { continue };
            if !is_servable(&a.addr) || present(&snapshot, &a.addr, false) || self.held.contains(&a.addr) {
                continue;
            }
            if cause == RemovalCause::Expired {
                self.lost.remove(&a.addr);
                update.expired.push(a.addr);
            } else if self.lost.len() < MAX_LOST && self.lost.insert(a.addr) {
                update.lost.push(a.addr);
            }
        }
        update.back = self.lost.iter().filter(|a| present(&snapshot, a, true)).copied().collect();
        for a in &update.back {
            self.lost.remove(a);
        }
        if !self.told.is_empty() && self.has_strangers(&snapshot) {
            self.load_at.get_or_insert(now.max(self.load_again));
        }
        let loaded = self.load_at.is_some_and(|at| at <= now) && self.load(now, &snapshot);
        if loaded || self.told != snapshot {
            update.locators = Some(locators(&snapshot, &self.identities, &self.config));
            self.told = snapshot;
        }
        self.watch_loopback();
        update
    }

    /// Addresses that are new and of no identity: they may be of a set that was made after the start (HC-HBA-17).
    fn has_strangers(&self, snapshot: &[LocalAddress]) -> bool {
        let new = |l: &&LocalAddress| !self.told.iter().any(|t| t.addr == l.addr);
        let candidate = |l: &&LocalAddress| !l.loopback && is_servable(&l.addr);
        snapshot
            .iter()
            .filter(candidate)
            .filter(new)
            .any(|l| match_identity(&self.identities, &l.addr).is_none())
    }

    /// Look for identities; `true` if there are others than before. Those of addresses that are in use stay, though their
    /// files may be gone or closed to this process by now.
    fn load(&mut self, now: Time, snapshot: &[LocalAddress]) -> bool {
        self.load_at = None;
        self.load_again = now + LOAD_INTERVAL;
        let (found, problems) = self.places.load();
        for problem in problems {
            tracing::debug!("identity file not used: {problem}");
        }
        let in_use = |i: &Identity| {
            let here = snapshot.iter().map(|l| &l.addr).chain(&self.lost).chain(&self.held);
            here.into_iter().any(|a| i.contains(a))
        };
        let merged = merged(&self.identities, found, in_use);
        let changed = merged != self.identities;
        if changed {
            tracing::info!(identities = merged.len(), "identities read again");
            self.identities = merged;
        }
        changed
    }

    /// Re-injection goes by way of `lo`.
    fn watch_loopback(&mut self) {
        let down = self.monitor.links().any(|l| l.loopback && !l.up);
        if down && !self.lo_down {
            tracing::warn!(
                "`lo` is down, so nothing that comes over another path can be delivered; remedy: `ip link set lo up`"
            );
        }
        self.lo_down = down;
    }

    /// A socket is bound to a vanished ULID: put it on `lo`, so that re-injection reaches the socket.
    pub fn hold(&mut self, now: Time, ulid: Ipv6Addr) {
        match self.put_on_loopback(ulid) {
            Ok(()) => {
                tracing::info!(%ulid, "ULID put on `lo` for a socket that is bound to it");
                self.held.insert(ulid);
                self.refresh_at.get_or_insert(now + REFRESH);
            }
            Err(e) => {
                if self.refused.len() < MAX_LOST && self.refused.insert(ulid) {
                    tracing::warn!(%ulid, error = %e, "a socket is bound to a ULID that vanished and cannot be put on `lo`: it receives nothing until the address is back");
                }
            }
        }
    }

    /// It is back on its own interface: take ours away.
    pub fn release(&mut self, ulid: Ipv6Addr) {
        if self.held.remove(&ulid)
            && let Some(lo) = self.loopback()
            && let Err(e) = netlink::del_address(lo, ulid, 128)
        {
            tracing::debug!(%ulid, error = %e, "ULID not taken from `lo`; it expires by itself");
        }
        if self.held.is_empty() {
            self.refresh_at = None;
        }
    }

    /// Take everything away that this engine has put on `lo`.
    pub fn release_all(&mut self) {
        while let Some(ulid) = self.held.first().copied() {
            self.release(ulid);
        }
    }

    /// When [`Addresses::refresh`] is wanted.
    pub fn next_refresh(&self) -> Option<Time> {
        self.refresh_at
    }

    /// When [`Addresses::changes`] is wanted although the kernel tells nothing.
    pub fn next_look(&self) -> Option<Time> {
        self.forgive_at.into_iter().chain(self.load_at).min()
    }

    /// Prolong what is held on `lo`.
    pub fn refresh(&mut self, now: Time) {
        if self.refresh_at.is_none_or(|t| t > now) {
            return;
        }
        self.refresh_at = Some(now + REFRESH);
        for ulid in &self.held {
            if let Err(e) = self.put_on_loopback(*ulid) {
                tracing::debug!(%ulid, error = %e, "ULID on `lo` not prolonged");
            }
        }
    }

    fn put_on_loopback(&self, ulid: Ipv6Addr) -> io::Result<()> {
        let lo = self.loopback().ok_or_else(|| io::Error::other("there is no `lo`"))?;
        let options = AddOptions {
            valid_lft: Some(HELD_FOR),
            // Deprecated: the kernel does not choose it as a source.
            preferred_lft: Some(Duration::ZERO),
            nodad: true,
            noprefixroute: true,
            replace: true,
        };
        netlink::add_address(lo, ulid, 128, &options)
    }

    fn loopback(&self) -> Option<u32> {
        self.monitor.links().find(|l| l.loopback).map(|l| l.ifindex)
    }
}

/// What was found, and of what is known that which is in use; of two copies of one identity that with the key.
fn merged(
    known: &[Arc<Identity>],
    found: Vec<Arc<Identity>>,
    in_use: impl Fn(&Identity) -> bool,
) -> Vec<Arc<Identity>> {
    let mut out = found;
    for old in known {
        match out.iter_mut().find(|i| i.members().eq(old.members())) {
            // Contexts have this one
            Some(same) if old.can_sign() || !same.can_sign() => *same = old.clone(),
            Some(_) => {}
            None if in_use(old) => out.push(old.clone()),
            None => {}
        }
    }
    out
}

/// Is the address on the host? One on `lo` with a finite lifetime is there only because an engine has put it there.
fn present(snapshot: &[LocalAddress], addr: &Ipv6Addr, usable: bool) -> bool {
    snapshot
        .iter()
        .any(|l| l.addr == *addr && (!l.loopback || l.flags.permanent()) && (!usable || l.flags.usable()))
}

/// What the engine may use. Addresses on `lo` can be ULIDs but are no locators: nothing routes to them by a link.
fn locators(
    snapshot: &[LocalAddress],
    identities: &[Arc<Identity>],
    config: &Shim6Config,
) -> Vec<LocalLocator> {
    let mut by_address = BTreeMap::new();
    for l in snapshot {
        if l.loopback || !is_servable(&l.addr) {
            continue;
        }
        let locator = LocalLocator {
            addr: l.addr,
            ifindex: l.ifindex,
            operational: l.operational,
            deprecated: l.deprecated,
            group: config.group_of(&l.ifname),
            identity: match_identity(identities, &l.addr),
        };
        // On two interfaces: the one that works.
        match by_address.get(&l.addr) {
            Some(LocalLocator { operational: true, .. }) => {}
            _ => drop(by_address.insert(l.addr, locator)),
        }
    }
    by_address.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::HbaSet;
    use crate::driver::netlink::{AddressFlags, Scope};
    use crate::rng::SeededRng;

    fn address(addr: &str, ifindex: u32, loopback: bool, flags: u32) -> LocalAddress {
        LocalAddress {
            addr: addr.parse().unwrap(),
            prefix_len: 64,
            ifindex,
            ifname: String::new(),
            mtu: 1500,
            operational: flags & libc::IFA_F_TENTATIVE == 0,
            deprecated: false,
            loopback,
            flags: AddressFlags(flags),
            scope: Scope::Global,
        }
    }

    // RE-AD-02: no link-local or loopback-interface address is a locator.
    #[test]
    fn locators_are_servable_addresses_of_links() {
        let s = [
            address("::1", 1, true, libc::IFA_F_PERMANENT),
            address("2001:db8::9", 1, true, libc::IFA_F_PERMANENT),
            address("fe80::1", 2, false, libc::IFA_F_PERMANENT),
            address("2001:db8:1::1", 2, false, libc::IFA_F_TENTATIVE),
            address("2001:db8:1::1", 3, false, libc::IFA_F_PERMANENT),
            address("fd00::1", 4, false, 0),
        ];
        let got: Vec<_> = locators(&s, &[], &Shim6Config::default())
            .iter()
            .map(|l| (l.addr.to_string(), l.ifindex, l.operational))
            .collect();
        assert_eq!(got, [("2001:db8:1::1".into(), 3, true), ("fd00::1".into(), 4, true)]);
    }

    fn set(seed: u64) -> Identity {
        let prefixes = [[0x20, 1, 0xd, 0xb8, 0, 0, 0, 1], [0x20, 1, 0xd, 0xb8, 0, 0, 0, 2]];
        Identity::from_set(&HbaSet::generate(&prefixes, 0, None, &mut SeededRng::new(seed)).unwrap())
    }

    // HC-HBA-17: sessions of the old set go on, programs that start find the new one.
    #[test]
    fn identities_in_use_outlive_their_files() {
        let (old, gone, new) = (Arc::new(set(1)), Arc::new(set(2)), Arc::new(set(3)));
        let known = [old.clone(), gone];
        let addr = old.members().next().unwrap();
        let merged = merged(&known, vec![new.clone()], |i| i.contains(&addr));
        assert_eq!(merged, [new.clone(), old.clone()]);
        // The same again is the same, with what contexts have of it
        let again = super::merged(&known, vec![Arc::new(set(1)), new.clone()], |_| false);
        assert!(Arc::ptr_eq(&again[0], &old) && Arc::ptr_eq(&again[1], &new) && again.len() == 2);
    }

    #[test]
    fn what_an_engine_put_on_loopback_does_not_count_as_present() {
        let a = "2001:db8::9".parse().unwrap();
        assert!(!present(&[address("2001:db8::9", 1, true, 0)], &a, false));
        assert!(present(&[address("2001:db8::9", 1, true, libc::IFA_F_PERMANENT)], &a, true));
        let tentative = [address("2001:db8::9", 2, false, libc::IFA_F_TENTATIVE)];
        assert!(present(&tentative, &a, false) && !present(&tentative, &a, true));
    }
}
