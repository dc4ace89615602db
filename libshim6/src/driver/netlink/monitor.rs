//! The addresses and links of the host as a table that follows the kernel's notifications.

use super::parse::{Message, messages};
use super::request::{BUFFER, list_addresses, list_links, receive};
use super::{Address, AddressFlags, Link, Scope};
use crate::driver::sys;
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use std::collections::BTreeMap;
use std::io;
use std::net::Ipv6Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, RawFd};
use std::time::Duration;

/// Datagrams that one [`Monitor::drain`] takes at most; the descriptor stays readable if there are more.
const DRAIN_MAX: usize = 1024;
/// Octets of notifications that may wait. An interface with many addresses that goes down tells of each.
const QUEUE: usize = 1 << 20;
/// Most routers that are remembered.
const MAX_ROUTERS: usize = 1024;

/// Follows the addresses and links of the network namespace that it was opened in.
#[derive(Debug)]
pub struct Monitor {
    socket: Socket,
    buffer: Vec<u8>,
    state: State,
    /// Notifications were lost, so the table is stale until the next list.
    stale: bool,
}

/// The table. A pure fold over messages, so that it can be tested without a kernel.
#[derive(Debug, Default)]
pub(super) struct State {
    links: BTreeMap<u32, Link>,
    addresses: BTreeMap<(u32, Ipv6Addr), Address>,
    /// Routers by interface, and whether Neighbor Unreachability Detection gave them up.
    routers: BTreeMap<(u32, Ipv6Addr), bool>,
}

/// What happened since the last [`Monitor::drain`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// In the order in which the kernel told; after a new list, links before addresses.
    pub events: Vec<Change>,
    /// Notifications were lost and everything was listed anew: the order of what happened, and whether an address went
    /// away and came back, is unknown.
    pub relisted: bool,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A link appeared, or its name, MTU or state changed.
    Link(Link),
    /// A link is gone; as it was.
    LinkGone(Link),
    /// An address appeared, or its flags, prefix length or scope changed.
    Address(Address),
    /// An address is gone; as it was.
    AddressGone(Address, RemovalCause),
}

/// Why an address is gone. Only the last two make a ULID invalid (S6-1-4); a link that is down may come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RemovalCause {
    /// Its link was set down, which takes the addresses with it.
    LinkDown,
    /// Its link was removed.
    LinkGone,
    /// Its valid lifetime ran out.
    Expired,
    /// Somebody took it away.
    Deleted,
}

/// An address of this host, with what its link says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalAddress {
    /// The address.
    pub addr: Ipv6Addr,
    /// Its prefix length.
    pub prefix_len: u8,
    /// Index of its interface.
    pub ifindex: u32,
    /// Name of its interface.
    pub ifname: String,
    /// MTU of its interface.
    pub mtu: u32,
    /// Its interface is up with carrier, the address is neither tentative nor a duplicate (RE-AD-01, RE-AD-05), and a
    /// router of the interface can be reached, as far as the kernel has tried (RE-AD-06).
    pub operational: bool,
    /// Its preferred lifetime is over.
    pub deprecated: bool,
    /// Its interface is a loopback.
    pub loopback: bool,
    /// What the kernel says about it.
    pub flags: AddressFlags,
    /// Its scope.
    pub scope: Scope,
}

impl Monitor {
    /// Subscribe to links and IPv6 addresses and list what there is. The socket is nonblocking and close-on-exec.
    ///
    /// # Errors
    ///
    /// Those of the system calls.
    pub fn open() -> io::Result<Monitor> {
        let low = Socket::new(NETLINK_ROUTE)?.into_raw_fd();
        // SAFETY: the descriptor was just given up by its owner, and its new number has no other owner.
        let mut socket = unsafe { Socket::from_raw_fd(sys::move_high(low)) };
        socket.set_non_blocking(true)?;
        // As much as the system allows
        socket.set_rx_buf_sz(QUEUE as libc::c_int)?;
        socket.bind_auto()?;
        for group in [libc::RTNLGRP_LINK, libc::RTNLGRP_IPV6_IFADDR, libc::RTNLGRP_NEIGH] {
            socket.add_membership(group)?;
        }
        // Subscribed first: what changes while the list is made is told again behind it
        let mut state = State::default();
        state.replace(list_links()?, list_addresses()?);
        Ok(Monitor { socket, buffer: Vec::with_capacity(BUFFER), state, stale: false })
    }

    /// Take in all notifications that wait. If some were lost (ENOBUFS), lists everything anew, which
    /// [`Changes::relisted`] tells.
    ///
    /// # Errors
    ///
    /// Those of the system calls. The table is then as it was after the notifications that were read, and the next call
    /// lists anew.
    pub fn drain(&mut self) -> io::Result<Changes> {
        let mut changes = Changes::default();
        for _ in 0..DRAIN_MAX {
            match receive(&self.socket, &mut self.buffer, 0) {
                Ok(true) => {}
                Ok(false) => continue,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => {
                    self.stale = true;
                    continue;
                }
                Err(e) => {
                    self.stale = true;
                    return Err(e);
                }
            }
            match messages(&self.buffer) {
                Ok(received) => {
                    let known = received.into_iter().filter_map(|r| r.message);
                    known.for_each(|message| self.state.apply(message, &mut changes.events));
                }
                Err(_) => self.stale = true,
            }
        }
        if self.stale {
            changes.events.extend(self.state.replace(list_links()?, list_addresses()?));
            changes.relisted = true;
            self.stale = false;
        }
        self.state.settle_causes(&mut changes.events);
        Ok(changes)
    }

    /// All addresses, by interface; no system call.
    pub fn snapshot(&self) -> Vec<LocalAddress> {
        self.state.snapshot()
    }

    /// Is an interface out of use because its routers do not answer?
    pub fn lacks_router(&self) -> bool {
        self.state.routers.values().any(|failed| *failed)
    }

    /// Take all routers for reachable again: the kernel tries them only when there is something to send.
    pub fn forgive_routers(&mut self) {
        self.state.routers.retain(|_, failed| !*failed);
    }

    /// All links, by index; no system call.
    pub fn links(&self) -> impl Iterator<Item = &Link> {
        self.state.links.values()
    }
}

impl AsRawFd for Monitor {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl State {
    /// Take a notification in; what it changes goes to `events`.
    pub(super) fn apply(&mut self, message: Message, events: &mut Vec<Change>) {
        match message {
            Message::Link(mut link) => {
                let old = self.links.get(&link.ifindex);
                if link.name.is_empty() {
                    link.name = old.map(|l| l.name.clone()).unwrap_or_default();
                }
                if link.mtu == 0 {
                    // The least that IPv6 allows
                    link.mtu = old.map_or(1280, |l| l.mtu);
                }
                if self.links.insert(link.ifindex, link.clone()).as_ref() != Some(&link) {
                    events.push(Change::Link(link));
                }
            }
            Message::LinkGone(ifindex) => {
                self.forget_addresses(ifindex, events);
                self.routers.retain(|(i, _), _| *i != ifindex);
                events.extend(self.links.remove(&ifindex).map(Change::LinkGone));
            }
            Message::Address(address) => {
                let old = self.addresses.insert((address.ifindex, address.addr), address.clone());
                // Lifetimes alone are no news
                let same = old.is_some_and(|o| {
                    Address { valid_lft: address.valid_lft, preferred_lft: address.preferred_lft, ..o }
                        == address
                });
                if !same {
                    events.push(Change::Address(address));
                }
            }
            Message::AddressGone(gone) => {
                if let Some(old) = self.addresses.remove(&(gone.ifindex, gone.addr)) {
                    let cause = match self.links.get(&gone.ifindex) {
                        None => RemovalCause::LinkGone,
                        Some(link) if !link.up => RemovalCause::LinkDown,
                        // What is left of the lifetime at removal; the kernel's timer may be a little early
                        _ if gone.valid_lft.is_some_and(|left| left <= Duration::from_secs(1)) => {
                            RemovalCause::Expired
                        }
                        _ => RemovalCause::Deleted,
                    };
                    events.push(Change::AddressGone(old, cause));
                }
            }
            Message::Router(ifindex, addr, failed) => {
                let key = (ifindex, addr);
                if self.routers.len() < MAX_ROUTERS || self.routers.contains_key(&key) {
                    self.routers.insert(key, failed);
                }
            }
            Message::NeighbourGone(ifindex, addr) => {
                self.routers.remove(&(ifindex, addr));
            }
            Message::OnLink(_) | Message::End(_) | Message::Overrun => {}
        }
    }

    /// Take a whole list in; the differences leave.
    pub(super) fn replace(&mut self, links: Vec<Link>, addresses: Vec<Address>) -> Vec<Change> {
        let mut events = Vec::new();
        let gone: Vec<u32> =
            self.links.keys().filter(|i| links.iter().all(|l| l.ifindex != **i)).copied().collect();
        gone.into_iter().for_each(|i| self.apply(Message::LinkGone(i), &mut events));
        links.into_iter().for_each(|l| self.apply(Message::Link(l), &mut events));
        let is_listed =
            |old: &Address| addresses.iter().any(|a| a.ifindex == old.ifindex && a.addr == old.addr);
        let gone: Vec<Address> = self.addresses.values().filter(|a| !is_listed(a)).cloned().collect();
        gone.into_iter().for_each(|a| self.apply(Message::AddressGone(a), &mut events));
        addresses.into_iter().for_each(|a| self.apply(Message::Address(a), &mut events));
        events
    }

    /// Should the kernel tell of an address before it tells of the link that took it along, see it at the end.
    pub(super) fn settle_causes(&self, events: &mut [Change]) {
        for event in events {
            if let Change::AddressGone(address, cause) = event {
                *cause = match (*cause, self.links.get(&address.ifindex)) {
                    (RemovalCause::LinkDown, _) | (_, Some(Link { up: true, .. })) => *cause,
                    (_, Some(_)) => RemovalCause::LinkDown,
                    (_, None) => RemovalCause::LinkGone,
                };
            }
        }
    }

    /// A link that is gone has no addresses, even if the kernel did not tell of each.
    fn forget_addresses(&mut self, ifindex: u32, events: &mut Vec<Change>) {
        let gone: Vec<_> = self.addresses.keys().filter(|(i, _)| *i == ifindex).copied().collect();
        for key in gone {
            events
                .extend(self.addresses.remove(&key).map(|a| Change::AddressGone(a, RemovalCause::LinkGone)));
        }
    }

    /// All routers of the interface that are known have been given up.
    fn cut_off(&self, ifindex: u32) -> bool {
        let mut routers =
            self.routers.range((ifindex, Ipv6Addr::UNSPECIFIED)..).take_while(|r| r.0.0 == ifindex);
        routers.next().is_some_and(|(_, failed)| *failed) && routers.all(|(_, failed)| *failed)
    }

    pub(super) fn snapshot(&self) -> Vec<LocalAddress> {
        let local = |a: &Address| {
            let link = self.links.get(&a.ifindex)?;
            Some(LocalAddress {
                addr: a.addr,
                prefix_len: a.prefix_len,
                ifindex: a.ifindex,
                ifname: link.name.clone(),
                mtu: link.mtu,
                operational: link.operational() && a.flags.usable(),
                deprecated: a.flags.deprecated(),
                loopback: link.loopback,
                flags: a.flags,
                scope: a.scope,
            })
        };
        let mut all: Vec<LocalAddress> = self.addresses.values().filter_map(local).collect();
        // With nothing better, the link may still lead to neighbours.
        let good = |a: &LocalAddress| {
            a.operational && !a.loopback && a.scope == Scope::Global && !self.cut_off(a.ifindex)
        };
        if all.iter().any(good) {
            all.iter_mut().for_each(|a| a.operational &= a.loopback || !self.cut_off(a.ifindex));
        }
        all
    }
}
