//! The socket options (RFC 6316 section 6, draft section 5) as methods.

use super::{Error, LocatorPair, Misuse, PathExplore, ShimSocket};
use crate::capi::types::*;
use libc::{c_int, in6_addr};
use std::net::Ipv6Addr;
use std::time::Duration;

/// A locator of a context, with what the shim knows about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Locator {
    /// The address.
    pub address: Ipv6Addr,
    /// Index of the interface of a local locator, else 0. Told, never taken.
    pub interface: u32,
    /// Lower is better.
    pub priority: u16,
    /// Larger is better, among equal priorities.
    pub weight: u16,
    /// Bound to the ULID by an HBA set. Told, never taken.
    pub hba: bool,
    /// Bound to the ULID by a CGA key. Told, never taken.
    pub cga: bool,
}

impl Locator {
    /// A locator with the preference that all have at first: priority 128, weight 0.
    pub fn new(address: Ipv6Addr) -> Locator {
        Locator { address, interface: 0, priority: 128, weight: 0, hba: false, cga: false }
    }

    /// The same with another preference.
    pub fn with_preference(self, priority: u16, weight: u16) -> Locator {
        Locator { priority, weight, ..self }
    }

    fn raw(&self) -> [u8; LOCATOR] {
        shim_locator_r6316 {
            lc_family: libc::AF_INET6 as u8,
            lc_proto: 0,
            lc_port: 0,
            lc_prio: self.priority,
            lc_weight: self.weight,
            lc_ifidx: 0,
            lc_addr: in6_addr { s6_addr: self.address.octets() },
            lc_flags: 0,
        }
        .octets()
    }

    /// The inverse of `shim_locator_r6316::octets`; `None` for a zero-filled structure.
    fn parse(raw: &[u8]) -> Option<Locator> {
        let u16_at = |at: usize| Some(u16::from_ne_bytes(raw.get(at..at + 2)?.try_into().ok()?));
        let address: [u8; 16] = raw.get(12..28)?.try_into().ok()?;
        let flags = u16_at(28)?;
        (raw[0] != 0).then_some(Locator {
            address: address.into(),
            interface: u32::from_ne_bytes(raw.get(8..12)?.try_into().ok()?),
            priority: u16_at(4)?,
            weight: u16_at(6)?,
            hba: flags & u16::from(SHIM_LOC_HBA) != 0,
            cga: flags & u16::from(SHIM_LOC_CGA) != 0,
        })
    }
}

const LOCATOR: usize = size_of::<shim_locator_r6316>();
const INT: usize = size_of::<c_int>();

fn seconds(d: Option<Duration>) -> Result<u16, Error> {
    let Some(d) = d else { return Ok(0) };
    let whole = d.as_secs() + u64::from(d.subsec_nanos() != 0);
    u16::try_from(whole).ok().filter(|s| *s > 0).ok_or(Error::Misuse(Misuse::BadValue))
}

impl ShimSocket {
    /// Does a context serve the socket (SHIM_ASSOCIATED)? It may come and go without a call of the program.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn is_associated(&self) -> Result<bool, Error> {
        self.int(SOL_SHIM_D08, SHIM_ASSOCIATED).map(|v| v == 1)
    }

    /// Is the shim kept away from this socket (SHIM_DONTSHIM)?
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn dont_shim(&self) -> Result<bool, Error> {
        self.int(SOL_SHIM_D08, SHIM_DONTSHIM).map(|v| v == 1)
    }

    /// Keep the shim away from this socket, or let it in again, at any time.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn set_dont_shim(&self, on: bool) -> Result<(), Error> {
        self.set_int(SOL_SHIM_D08, SHIM_DONTSHIM, on.into())
    }

    /// May data flow before the context is there (SHIM_DEFERRED_CONTEXT_SETUP)? So it is at first.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn deferred_setup(&self) -> Result<bool, Error> {
        self.int(SOL_SHIM_D08, SHIM_DEFERRED_CONTEXT_SETUP).map(|v| v == 1)
    }

    /// With `false`, `connect` waits until there is a context, or it is clear that there will be none.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn set_deferred_setup(&self, on: bool) -> Result<(), Error> {
        self.set_int(SOL_SHIM_D08, SHIM_DEFERRED_CONTEXT_SETUP, on.into())
    }

    /// Is another locator pair kept tested, to be used at once (SHIM_HOT_STANDBY)?
    ///
    /// # Errors
    /// [`Error::NoContext`], [`Misuse::NotConnected`].
    pub fn hot_standby(&self) -> Result<bool, Error> {
        self.int(SOL_SHIM_R6316, SHIM_HOT_STANDBY).map(|v| v == 1)
    }

    /// Keep another locator pair tested, to be used at once when the one in use fails.
    ///
    /// # Errors
    /// As [`ShimSocket::hot_standby`].
    pub fn set_hot_standby(&self, on: bool) -> Result<(), Error> {
        self.set_int(SOL_SHIM_R6316, SHIM_HOT_STANDBY, on.into())
    }

    /// The locators by which datagrams go now.
    ///
    /// # Errors
    /// [`Error::NoContext`], [`Misuse::NotConnected`].
    pub fn current_locators(&self) -> Result<LocatorPair, Error> {
        let get = |name| {
            let mut raw = [0; size_of::<shim_locator_d08>()];
            self.get(SOL_SHIM_D08, name, &mut raw)?;
            let octets: [u8; 16] = raw[4..].try_into().map_err(|_| Error::NoContext)?;
            Ok::<Ipv6Addr, Error>(octets.into())
        };
        Ok(LocatorPair { local: get(SHIM_LOC_LOCAL_PREF)?, peer: get(SHIM_LOC_PEER_PREF)? })
    }

    /// The local locator with the best preference (SHIM_LOC_LOCAL_PREF).
    ///
    /// # Errors
    /// [`Error::NoContext`], [`Misuse::NotConnected`].
    pub fn preferred_local(&self) -> Result<Locator, Error> {
        self.locator(SHIM_LOC_LOCAL_PREF)?.ok_or(Error::NoContext)
    }

    /// Give a local locator its preference. The one with the best is used where it works; `None` leaves the choice to
    /// the shim again.
    ///
    /// # Errors
    /// [`Error::NoContext`], [`Misuse::NotConnected`], [`Error::Locator`].
    pub fn prefer_local(&self, locator: Option<Locator>) -> Result<(), Error> {
        self.set_locator(SHIM_LOC_LOCAL_PREF, locator)
    }

    /// The locator of the peer with the best preference (SHIM_LOC_PEER_PREF).
    ///
    /// # Errors
    /// [`Error::NoContext`], [`Misuse::NotConnected`].
    pub fn preferred_peer(&self) -> Result<Locator, Error> {
        self.locator(SHIM_LOC_PEER_PREF)?.ok_or(Error::NoContext)
    }

    /// As [`ShimSocket::prefer_local`], for a locator of the peer.
    ///
    /// # Errors
    /// As [`ShimSocket::prefer_local`].
    pub fn prefer_peer(&self, locator: Option<Locator>) -> Result<(), Error> {
        self.set_locator(SHIM_LOC_PEER_PREF, locator)
    }

    /// The local locator that all datagrams leave from, if one was set (SHIM_LOC_LOCAL_SEND).
    ///
    /// # Errors
    /// [`Error::NoContext`], [`Misuse::NotConnected`].
    pub fn pinned_local(&self) -> Result<Option<Ipv6Addr>, Error> {
        self.locator(SHIM_LOC_LOCAL_SEND).map(|l| l.map(|l| l.address))
    }

    /// Send all datagrams from this local locator, even if it fails; `None` ends that.
    ///
    /// # Errors
    /// [`Error::NoContext`], [`Misuse::NotConnected`], [`Error::Locator`].
    pub fn pin_local(&self, address: Option<Ipv6Addr>) -> Result<(), Error> {
        self.pin(SHIM_LOC_LOCAL_SEND, address)
    }

    /// The locator of the peer that all datagrams go to, if one was set (SHIM_LOC_PEER_SEND).
    ///
    /// # Errors
    /// [`Error::NoContext`], [`Misuse::NotConnected`].
    pub fn pinned_peer(&self) -> Result<Option<Ipv6Addr>, Error> {
        self.locator(SHIM_LOC_PEER_SEND).map(|l| l.map(|l| l.address))
    }

    /// Send all datagrams to this locator of the peer, even if it fails; `None` ends that.
    ///
    /// # Errors
    /// As [`ShimSocket::pin_local`]; [`LocatorError::Unverified`](super::LocatorError::Unverified) starts a test.
    pub fn pin_peer(&self, address: Option<Ipv6Addr>) -> Result<(), Error> {
        self.pin(SHIM_LOC_PEER_SEND, address)
    }

    /// The local locators of the context (SHIM_LOCLIST_LOCAL).
    ///
    /// # Errors
    /// [`Error::NoContext`], [`Misuse::NotConnected`].
    pub fn local_locators(&self) -> Result<Vec<Locator>, Error> {
        self.locators(SHIM_LOCLIST_LOCAL)
    }

    /// Offer these locators to the peer instead of those that the shim chose.
    ///
    /// # Errors
    /// [`Error::NoContext`], [`Error::Misuse`], [`Error::Locator`]; the old list stays then.
    pub fn set_local_locators(&self, locators: &[Locator]) -> Result<(), Error> {
        self.set_locators(SHIM_LOCLIST_LOCAL, locators)
    }

    /// The peer's locators (SHIM_LOCLIST_PEER).
    ///
    /// # Errors
    /// [`Error::NoContext`], [`Misuse::NotConnected`].
    pub fn peer_locators(&self) -> Result<Vec<Locator>, Error> {
        self.locators(SHIM_LOCLIST_PEER)
    }

    /// Use these of the peer's locators only.
    ///
    /// # Errors
    /// [`Error::NoContext`], [`Error::Misuse`], [`Error::Locator`]; the old list stays then.
    pub fn set_peer_locators(&self, locators: &[Locator]) -> Result<(), Error> {
        self.set_locators(SHIM_LOCLIST_PEER, locators)
    }

    /// How long the program waits for an answer before it takes the path for dead, if it said so (SHIM_APP_TIMEOUT).
    ///
    /// # Errors
    /// [`Error::NoContext`], [`Misuse::NotConnected`].
    pub fn app_timeout(&self) -> Result<Option<Duration>, Error> {
        let value = self.int(SOL_SHIM_R6316, SHIM_APP_TIMEOUT)?;
        Ok(u64::try_from(value).ok().filter(|s| *s > 0).map(Duration::from_secs))
    }

    /// Take a path for dead after so long without an answer, in whole seconds (rounded up), at most 65535.
    ///
    /// # Errors
    /// [`Error::NoContext`], [`Error::Misuse`].
    pub fn set_app_timeout(&self, timeout: Option<Duration>) -> Result<(), Error> {
        self.set_int(SOL_SHIM_R6316, SHIM_APP_TIMEOUT, seconds(timeout)?.into())
    }

    /// How failures are detected and other paths looked for (SHIM_PATHEXPLORE): the values in force, none of them `None`.
    ///
    /// # Errors
    /// [`Error::NoContext`], [`Misuse::NotConnected`].
    pub fn path_explore(&self) -> Result<PathExplore, Error> {
        let mut raw = [0; size_of::<shim_pathexplore_r6316>()];
        self.get(SOL_SHIM_R6316, SHIM_PATHEXPLORE, &mut raw)?;
        let field = |i: usize| u16::from_ne_bytes([raw[2 * i], raw[2 * i + 1]]);
        let s = |i| Some(Duration::from_secs(field(i).into()));
        Ok(PathExplore {
            initial_probes: Some(field(0).into()),
            send_timeout: s(1),
            keepalive_interval: s(2),
            initial_probe_timeout: Some(Duration::from_millis(field(3).into())),
        })
    }

    /// Set how failures are detected and other paths looked for; a field that is `None` gets its default. Seconds and, for
    /// the probes, milliseconds are rounded up.
    ///
    /// # Errors
    /// [`Error::NoContext`], [`Error::Misuse`].
    pub fn set_path_explore(&self, explore: &PathExplore) -> Result<(), Error> {
        let bad = Error::Misuse(Misuse::BadValue);
        let ms = explore.initial_probe_timeout.map_or(0, |d| d.as_nanos().div_ceil(1_000_000));
        let fields = [
            u16::try_from(explore.initial_probes.unwrap_or(0))
                .map_err(|_| Error::Misuse(Misuse::BadValue))?,
            seconds(explore.send_timeout)?,
            seconds(explore.keepalive_interval)?,
            u16::try_from(ms).map_err(|_| bad)?,
        ];
        let mut raw = [0; size_of::<shim_pathexplore_r6316>()];
        for (to, from) in raw.chunks_exact_mut(2).zip(fields) {
            to.copy_from_slice(&from.to_ne_bytes());
        }
        self.set(SOL_SHIM_R6316, SHIM_PATHEXPLORE, Some(&raw))
    }

    /// Have [`ShimSocket::recv_with`] tell by which locators a datagram came (SHIM_LOC_LOCAL_RECV, SHIM_LOC_PEER_RECV).
    ///
    /// # Errors
    /// [`Error::NoContext`], [`Misuse::NotConnected`].
    pub fn set_receive_locators(&self, on: bool) -> Result<(), Error> {
        self.set_int(SOL_SHIM_R6316, SHIM_LOC_LOCAL_RECV, on.into())?;
        self.set_int(SOL_SHIM_R6316, SHIM_LOC_PEER_RECV, on.into())
    }

    pub(super) fn get(&self, level: c_int, name: c_int, value: &mut [u8]) -> Result<usize, Error> {
        self.descriptor().option(level, name, value).map_err(|e| self.refused(e))
    }

    pub(super) fn set(&self, level: c_int, name: c_int, value: Option<&[u8]>) -> Result<(), Error> {
        self.descriptor().set_option(level, name, value).map_err(|e| self.refused(e))
    }

    /// What an option or ancillary data was refused for.
    pub(super) fn refused(&self, e: std::io::Error) -> Error {
        let error = Error::of_option(e);
        // Asked only where it matters
        let has_peer = !matches!(error, Error::NoContext) || self.descriptor().name(true).is_ok();
        error.with_peer(has_peer)
    }

    pub(super) fn int(&self, level: c_int, name: c_int) -> Result<c_int, Error> {
        let mut raw = [0; INT];
        self.get(level, name, &mut raw).map(|_| c_int::from_ne_bytes(raw))
    }

    pub(super) fn set_int(&self, level: c_int, name: c_int, value: c_int) -> Result<(), Error> {
        self.set(level, name, Some(&value.to_ne_bytes()))
    }

    fn locator(&self, name: c_int) -> Result<Option<Locator>, Error> {
        let mut raw = [0; LOCATOR];
        self.get(SOL_SHIM_R6316, name, &mut raw).map(|_| Locator::parse(&raw))
    }

    fn set_locator(&self, name: c_int, locator: Option<Locator>) -> Result<(), Error> {
        self.set(SOL_SHIM_R6316, name, locator.map(|l| l.raw()).as_ref().map(|raw| &raw[..]))
    }

    fn pin(&self, name: c_int, address: Option<Ipv6Addr>) -> Result<(), Error> {
        let raw = address.map_or([0; LOCATOR], |a| Locator::new(a).raw());
        self.set(SOL_SHIM_R6316, name, Some(&raw))
    }

    fn locators(&self, name: c_int) -> Result<Vec<Locator>, Error> {
        let mut raw = [0; LOCATOR * SHIM_MAX_LOCATORS];
        let n = self.get(SOL_SHIM_R6316, name, &mut raw)?;
        Ok(raw[..n].chunks_exact(LOCATOR).filter_map(Locator::parse).collect())
    }

    fn set_locators(&self, name: c_int, locators: &[Locator]) -> Result<(), Error> {
        let raw: Vec<u8> = locators.iter().flat_map(Locator::raw).collect();
        self.set(SOL_SHIM_R6316, name, Some(&raw))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locator_survives_the_way_to_the_shim_and_back() {
        let mut l = Locator::new("2001:db8::1".parse().unwrap()).with_preference(3, 700);
        assert_eq!(Locator::parse(&l.raw()), Some(l));
        let mut raw = l.raw();
        raw[8..12].copy_from_slice(&9u32.to_ne_bytes());
        raw[28..30].copy_from_slice(&3u16.to_ne_bytes());
        (l.interface, l.hba, l.cga) = (9, true, true);
        assert_eq!(Locator::parse(&raw), Some(l));
        assert_eq!(Locator::parse(&[0; LOCATOR]), None);
    }

    #[test]
    fn seconds_are_whole_and_in_range() {
        assert!(matches!(seconds(None), Ok(0)));
        assert!(matches!(seconds(Some(Duration::from_millis(1))), Ok(1)));
        assert!(matches!(seconds(Some(Duration::from_secs(65535))), Ok(65535)));
        for d in [Duration::ZERO, Duration::from_millis(65_535_001)] {
            assert!(matches!(seconds(Some(d)), Err(Error::Misuse(Misuse::BadValue))));
        }
    }
}
