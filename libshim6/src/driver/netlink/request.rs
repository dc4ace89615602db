//! Questions to the kernel and orders to it, each over a socket of its own.

use super::parse::{Message, messages};
use super::{Address, Link, OnLinkPrefix};
use crate::addr::is_servable;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader,
    NetlinkMessage,
};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags as RouteAddressFlags, AddressMessage, AddressScope, CacheInfo,
};
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::route::RouteMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// Octets of a receive buffer; the kernel makes dump datagrams of at most 32 KiB.
pub(super) const BUFFER: usize = 32 * 1024;
/// How often a dump that was disturbed by changes is made again.
const DUMP_TRIES: u32 = 20;

/// How an address is put on an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddOptions {
    /// Valid lifetime in whole seconds, at least 1; `None`: forever.
    pub valid_lft: Option<Duration>,
    /// Preferred lifetime in whole seconds; zero makes a deprecated address. `None`: as the valid lifetime.
    pub preferred_lft: Option<Duration>,
    /// Without duplicate address detection.
    pub nodad: bool,
    /// Without a route to its prefix.
    pub noprefixroute: bool,
    /// Set lifetimes and flags anew if the address is there already, instead of failing.
    pub replace: bool,
}

/// All IPv6 addresses of the host.
///
/// # Errors
///
/// Those of the system calls.
pub fn list_addresses() -> io::Result<Vec<Address>> {
    let mut request = AddressMessage::default();
    request.header.family = AddressFamily::Inet6;
    dump(RouteNetlinkMessage::GetAddress(request), |m| match m {
        Message::Address(a) => Some(a),
        _ => None,
    })
}

/// All links of the host.
///
/// # Errors
///
/// Those of the system calls.
pub fn list_links() -> io::Result<Vec<Link>> {
    dump(RouteNetlinkMessage::GetLink(LinkMessage::default()), |m| match m {
        Message::Link(l) => Some(l),
        _ => None,
    })
}

/// The /64 prefixes that are on a link which is up, by interface: of global and unique-local addresses that are neither
/// temporary nor deprecated, and of on-link routes (as router advertisements make them). In the order of the interfaces,
/// none twice.
///
/// # Errors
///
/// Those of the system calls.
pub fn on_link_prefixes() -> io::Result<Vec<OnLinkPrefix>> {
    let links = list_links()?;
    let addresses = list_addresses()?;
    let mut request = RouteMessage::default();
    request.header.address_family = AddressFamily::Inet6;
    let routes = dump(RouteNetlinkMessage::GetRoute(request), |m| match m {
        Message::OnLink(p) => Some(p),
        _ => None,
    })?;

    let prefix_of = |a: &Address| OnLinkPrefix {
        prefix: a.addr.octets()[..8].try_into().expect("8 of 16 octets"),
        ifindex: a.ifindex,
    };
    let on_prefix = |a: &&Address| is_servable(&a.addr) && a.prefix_len <= 64;
    let good = |a: &&Address| on_prefix(a) && !a.flags.temporary() && !a.flags.deprecated();
    let mut out: Vec<OnLinkPrefix> = addresses.iter().filter(good).map(prefix_of).collect();
    // A prefix whose addresses are all deprecated is on its way out, although its route is still there
    out.extend(routes.into_iter().filter(|p| {
        let mut addr = [0; 16];
        addr[..8].copy_from_slice(&p.prefix);
        let known: Vec<_> = addresses.iter().filter(on_prefix).filter(|a| prefix_of(a) == *p).collect();
        is_servable(&addr.into()) && (known.is_empty() || known.iter().any(|a| !a.flags.deprecated()))
    }));
    out.retain(|p| links.iter().any(|l| l.ifindex == p.ifindex && l.up && !l.loopback));
    out.sort_by_key(|p| p.ifindex);
    let mut seen = Vec::new();
    out.retain(|p| {
        !seen.contains(p) && {
            seen.push(p.clone());
            true
        }
    });
    Ok(out)
}

/// Put an address on an interface; needs CAP_NET_ADMIN.
///
/// # Errors
///
/// With the kind of the system's error and a text that names the address and the remedy; `AlreadyExists` if the
/// interface has the address and [`AddOptions::replace`] is not set.
pub fn add_address(ifindex: u32, addr: Ipv6Addr, prefix_len: u8, options: &AddOptions) -> io::Result<()> {
    let mut request = address_message(ifindex, addr, prefix_len);
    let mut flags = RouteAddressFlags::empty();
    flags.set(RouteAddressFlags::Nodad, options.nodad);
    flags.set(RouteAddressFlags::Noprefixroute, options.noprefixroute);
    request.attributes.push(AddressAttribute::Flags(flags));
    let seconds = |d: Option<Duration>| {
        d.map_or(u32::MAX, |d| u32::try_from(d.as_secs()).unwrap_or(u32::MAX).min(u32::MAX - 1))
    };
    let mut lifetimes = CacheInfo::default();
    lifetimes.ifa_valid = seconds(options.valid_lft);
    lifetimes.ifa_preferred = seconds(options.preferred_lft.or(options.valid_lft));
    request.attributes.push(AddressAttribute::CacheInfo(lifetimes));
    let flags = NLM_F_CREATE | if options.replace { NLM_F_REPLACE } else { NLM_F_EXCL };
    order(RouteNetlinkMessage::NewAddress(request), flags)
        .map_err(|e| explain(e, &format!("cannot put {addr}/{prefix_len} on interface {ifindex}")))
}

/// Take an address from an interface; needs CAP_NET_ADMIN.
///
/// # Errors
///
/// As [`add_address`]; `AddrNotAvailable` if the interface does not have it.
pub fn del_address(ifindex: u32, addr: Ipv6Addr, prefix_len: u8) -> io::Result<()> {
    order(RouteNetlinkMessage::DelAddress(address_message(ifindex, addr, prefix_len)), 0)
        .map_err(|e| explain(e, &format!("cannot take {addr}/{prefix_len} from interface {ifindex}")))
}

fn address_message(ifindex: u32, addr: Ipv6Addr, prefix_len: u8) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet6;
    message.header.prefix_len = prefix_len;
    message.header.scope = AddressScope::Universe;
    message.header.index = ifindex;
    message.attributes.push(AddressAttribute::Local(IpAddr::V6(addr)));
    message.attributes.push(AddressAttribute::Address(IpAddr::V6(addr)));
    message
}

fn explain(e: io::Error, what: &str) -> io::Error {
    let remedy = match e.raw_os_error() {
        Some(libc::EPERM) => "; this needs root or CAP_NET_ADMIN",
        Some(libc::EACCES) => "; IPv6 is disabled there (sysctl net.ipv6.conf.<interface>.disable_ipv6)",
        Some(libc::EEXIST) => "; it is there already",
        Some(libc::ENODEV) => "; there is no such interface",
        _ => "",
    };
    io::Error::new(e.kind(), format!("{what}: {e}{remedy}"))
}

/// Ask for a list and keep what `pick` takes.
fn dump<T>(request: RouteNetlinkMessage, pick: impl Fn(Message) -> Option<T>) -> io::Result<Vec<T>> {
    let octets = packet(request, NLM_F_REQUEST | NLM_F_DUMP);
    for attempt in 1..=DUMP_TRIES {
        let socket = open()?;
        socket.send(&octets, 0)?;
        let (mut out, mut interrupted) = (Vec::new(), false);
        until_end(&socket, |message, i| {
            interrupted |= i;
            out.extend(message.and_then(&pick));
        })?;
        // A list made from two states may lack what was there all the time
        if !interrupted || attempt == DUMP_TRIES {
            return Ok(out);
        }
    }
    unreachable!("the last attempt returns")
}

/// Give an order and wait for its acknowledgement.
fn order(request: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
    let socket = open()?;
    socket.send(&packet(request, NLM_F_REQUEST | NLM_F_ACK | flags), 0)?;
    until_end(&socket, |_, _| {})
}

const SEQUENCE: u32 = 1;

fn packet(request: RouteNetlinkMessage, flags: u16) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    header.sequence_number = SEQUENCE;
    let mut message = NetlinkMessage::new(header, request.into());
    message.finalize();
    let mut octets = vec![0; message.buffer_len()];
    message.serialize(&mut octets);
    octets
}

/// A blocking socket to the kernel; `Socket::new` makes it close-on-exec.
fn open() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    Ok(socket)
}

/// Read answers up to the one that ends them.
fn until_end(socket: &Socket, mut each: impl FnMut(Option<Message>, bool)) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(BUFFER);
    loop {
        if !receive(socket, &mut buffer, 0)? {
            continue;
        }
        for received in messages(&buffer)? {
            match received.message {
                _ if received.sequence != SEQUENCE => {}
                Some(Message::End(0)) => return Ok(()),
                Some(Message::End(code)) => return Err(io::Error::from_raw_os_error(code)),
                Some(Message::Overrun) => return Err(io::Error::from_raw_os_error(libc::ENOBUFS)),
                message => each(message, received.interrupted),
            }
        }
    }
}

/// Read a datagram into `buffer`; `false`: it was not from the kernel.
pub(super) fn receive(socket: &Socket, buffer: &mut Vec<u8>, flags: libc::c_int) -> io::Result<bool> {
    loop {
        buffer.clear();
        match socket.recv_from(buffer, flags) {
            Ok((_, from)) => return Ok(from.port_number() == 0),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}
