//! Flows of an unconnected socket whose datagrams go or come on other locators than the ULIDs without extension header, to be
//! found without a lock. What is remembered holds until the next change of anything that it was decided by
//! ([`epoch`](crate::driver::cell::epoch)).

use super::words::{Words, join, meter, of_meter, split};
use crate::addr::{LocatorPair, UlidPair};
use crate::driver::cell::{Meter, epoch};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering::*};

/// Flows that a socket has room for, each direction for itself; a later one takes the place of an earlier one.
const PLACES: usize = 32;
/// In the word of the port.
const INCOMING: u64 = 1 << 16;

/// Key (address and port), three addresses, epoch and meter.
#[derive(Debug)]
#[repr(align(64))]
struct Entry(Words<11>);

/// See the module. Written under the socket's lock, read by anybody.
#[derive(Debug)]
pub struct Detours(AtomicPtr<[Entry; PLACES]>);

impl Detours {
    /// Nothing.
    pub const fn new() -> Self {
        Detours(AtomicPtr::new(ptr::null_mut()))
    }

    fn entries(&self) -> Option<&[Entry; PLACES]> {
        // SAFETY: null, or what `set` has made, which lives for ever.
        unsafe { self.0.load(Acquire).as_ref() }
    }

    /// Where datagrams to that ULID and port go, and the meter of its cell.
    #[inline]
    pub fn outgoing(&self, to: &SocketAddrV6) -> Option<(LocatorPair, &'static Meter)> {
        let [_, _, _, a, b, c, d, _, _, _, m] = self.get(to, 0)?;
        Some((LocatorPair { local: join([a, b]), peer: join([c, d]) }, meter(m)?))
    }

    /// Whose datagrams are that come from that locator and port to this locator of ours, and the meter of their cell.
    #[inline]
    pub fn incoming(&self, from: &SocketAddrV6, to: Ipv6Addr) -> Option<(UlidPair, &'static Meter)> {
        let [_, _, _, a, b, c, d, e, f, _, m] = self.get(from, INCOMING)?;
        ([e, f] == split(&to)).then_some((UlidPair { local: join([a, b]), peer: join([c, d]) }, meter(m)?))
    }

    #[inline]
    fn get(&self, addr: &SocketAddrV6, way: u64) -> Option<[u64; 11]> {
        let key = key(addr, way);
        let words = self.entries()?[place(key)].0.read()?;
        (words[..3] == key && words[9] == epoch::now()).then_some(words)
    }

    /// Under the socket's lock: remember what was decided since `epoch` about datagrams to `to`.
    pub fn set_outgoing(&self, epoch: u64, to: &SocketAddrV6, locators: LocatorPair, meter: &'static Meter) {
        let unused = Ipv6Addr::UNSPECIFIED;
        self.set(key(to, 0), [locators.local, locators.peer, unused], epoch, meter);
    }

    /// The same about those from `from` to our address `to`.
    pub fn set_incoming(
        &self,
        epoch: u64,
        from: &SocketAddrV6,
        to: Ipv6Addr,
        ulids: UlidPair,
        meter: &'static Meter,
    ) {
        self.set(key(from, INCOMING), [ulids.local, ulids.peer, to], epoch, meter);
    }

    fn set(&self, key: [u64; 3], addrs: [Ipv6Addr; 3], epoch: u64, meter: &'static Meter) {
        let entries = self.entries().unwrap_or_else(|| self.make());
        let [[a, b], [c, d], [e, f]] = addrs.map(|addr| split(&addr));
        entries[place(key)].0.write([key[0], key[1], key[2], a, b, c, d, e, f, epoch, of_meter(meter)]);
    }

    #[cold]
    fn make(&self) -> &[Entry; PLACES] {
        // Never on the stack, which may be a few pages.
        let all: Box<[Entry]> = (0..PLACES).map(|_| Entry(Words::new())).collect();
        let all: *mut [Entry; PLACES] = Box::leak(all).as_mut_ptr().cast();
        self.0.store(all, Release);
        // SAFETY: just made, of this length, and never freed.
        unsafe { &*all }
    }

    /// Under the socket's lock: something else is known about the peer at that address and port, as ULID or as locator.
    pub fn forget(&self, peer: &SocketAddrV6) {
        let [high, low] = split(peer.ip());
        for entry in self.entries().into_iter().flatten() {
            let words = entry.0.under_lock();
            let port = words[2] as u16 == peer.port();
            if port && (words[..2] == [high, low] || words[5..7] == [high, low]) {
                entry.0.write([0; 11]);
            }
        }
    }

    /// Under the socket's lock, or where nobody else is: forget all.
    pub fn clear(&self) {
        self.entries().into_iter().flatten().for_each(|entry| entry.0.write([0; 11]));
    }
}

#[inline(always)]
fn key(addr: &SocketAddrV6, way: u64) -> [u64; 3] {
    let [high, low] = split(addr.ip());
    [high, low, u64::from(addr.port()) | way]
}

#[inline(always)]
fn place(key: [u64; 3]) -> usize {
    // A power of two; both directions of a flow are apart.
    (key[0] ^ key[1] ^ key[2] ^ (key[2] >> 16)) as usize & (PLACES - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::cell::Cell;

    fn at(i: u16, port: u16) -> SocketAddrV6 {
        SocketAddrV6::new(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, i), port, 0, 0)
    }

    #[test]
    fn flows_are_known_until_something_changes() {
        let ulids = UlidPair { local: *at(1, 0).ip(), peer: *at(2, 0).ip() };
        let locators = LocatorPair { local: *at(3, 0).ip(), peer: *at(4, 0).ip() };
        let cell = Cell::new(ulids);
        let detours = Detours::new();
        let (to, from) = (at(2, 7), at(4, 7));
        let known = || {
            let (out, come) = (detours.outgoing(&to), detours.incoming(&from, locators.local));
            assert!(out.is_none_or(|(l, m)| l == locators && ptr::eq(m, cell.meter())));
            assert!(come.is_none_or(|(u, m)| u == ulids && ptr::eq(m, cell.meter())));
            (out.is_some(), come.is_some())
        };
        let set = |epoch| {
            detours.set_outgoing(epoch, &to, locators, cell.meter());
            detours.set_incoming(epoch, &from, locators.local, ulids, cell.meter());
        };
        // Cells of other tests change it, too.
        let set_now = || (0..1000).any(|_| (set(epoch::now()), known() == (true, true)).1);
        assert_eq!(known(), (false, false));
        assert!(set_now());
        assert!(detours.incoming(&from, *at(5, 0).ip()).is_none(), "to another address");
        assert!(detours.outgoing(&at(2, 8)).is_none() && detours.outgoing(&from).is_none());
        assert!(detours.incoming(&to, locators.local).is_none());
        detours.forget(&at(2, 8));
        detours.forget(&at(9, 7));
        for peer in [to, from] {
            assert!(set_now());
            detours.forget(&peer);
            assert_eq!(known(), (false, false));
        }
        assert!(set_now());
        cell.set_forward(None);
        assert_eq!(known(), (false, false));
        set(epoch::now().wrapping_sub(1));
        assert_eq!(known(), (false, false));
        assert!(set_now());
        detours.clear();
        assert_eq!(known(), (false, false));
    }
}
