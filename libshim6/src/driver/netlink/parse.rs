//! Reading of rtnetlink messages. Unknown attributes are skipped and broken messages give `None`, so that a newer kernel
//! never makes an interface or address vanish from our view.

use super::{Address, AddressFlags, Link, OnLinkPrefix, Scope};
use netlink_packet_core::{NLA_HEADER_SIZE, NetlinkBuffer, NlasIterator};
use std::io;
use std::net::Ipv6Addr;
use std::time::Duration;

/// One message of the kernel, as far as we understand it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// RTM_NEWLINK. Events of wireless drivers lack name and MTU, which are empty and 0 then.
    Link(Link),
    /// RTM_DELLINK.
    LinkGone(u32),
    /// RTM_NEWADDR, IPv6.
    Address(Address),
    /// RTM_DELADDR, IPv6.
    AddressGone(Address),
    /// RTM_NEWROUTE, IPv6, to a /64 without gateway.
    OnLink(OnLinkPrefix),
    /// RTM_NEWNEIGH of an IPv6 router; whether Neighbor Unreachability Detection gave it up.
    Router(u32, Ipv6Addr, bool),
    /// RTM_DELNEIGH.
    NeighbourGone(u32, Ipv6Addr),
    /// NLMSG_ERROR or NLMSG_DONE with its code: 0, or an errno.
    End(i32),
    /// NLMSG_OVERRUN.
    Overrun,
}

/// A message with what the header says about it.
#[derive(Clone, Debug)]
pub(super) struct Received {
    pub message: Option<Message>,
    pub sequence: u32,
    /// A dump met a change while it ran (`NLM_F_DUMP_INTR`).
    pub interrupted: bool,
}

/// The messages of a datagram.
///
/// # Errors
///
/// If the framing of the datagram is broken.
pub(super) fn messages(mut datagram: &[u8]) -> io::Result<Vec<Received>> {
    let mut out = Vec::new();
    while !datagram.is_empty() {
        let packet = NetlinkBuffer::new_checked(datagram)
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string()))?;
        let length = packet.length() as usize;
        out.push(Received {
            message: message(packet.message_type(), packet.payload()),
            sequence: packet.sequence_number(),
            interrupted: packet.flags() & libc::NLM_F_DUMP_INTR as u16 != 0,
        });
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(out)
}

fn message(kind: u16, payload: &[u8]) -> Option<Message> {
    match kind {
        libc::RTM_NEWLINK => link(payload).map(Message::Link),
        libc::RTM_DELLINK => link_index(payload).map(Message::LinkGone),
        libc::RTM_NEWADDR => address(payload).map(Message::Address),
        libc::RTM_DELADDR => address(payload).map(Message::AddressGone),
        libc::RTM_NEWNEIGH => neighbour(payload, false),
        libc::RTM_DELNEIGH => neighbour(payload, true),
        libc::RTM_NEWROUTE => on_link(payload).map(Message::OnLink),
        // The kernel ends a dump by NLMSG_DONE with the code too; an old one may leave it out
        k if i32::from(k) == libc::NLMSG_ERROR => Some(Message::End(i32_at(payload, 0)?.saturating_neg())),
        k if i32::from(k) == libc::NLMSG_DONE => {
            Some(Message::End(i32_at(payload, 0).unwrap_or(0).saturating_neg()))
        }
        k if i32::from(k) == libc::NLMSG_OVERRUN => Some(Message::Overrun),
        _ => None,
    }
}

/// `struct ifinfomsg`: family (1), pad (1), type (2), index (4), flags (4), change (4).
fn link(payload: &[u8]) -> Option<Link> {
    let ifindex = link_index(payload)?;
    let flags = u32_at(payload, 8)?;
    let has = |bit: libc::c_int| flags & bit as u32 != 0;
    let mut link = Link {
        ifindex,
        name: String::new(),
        mtu: 0,
        up: has(libc::IFF_UP),
        running: has(libc::IFF_RUNNING) && has(libc::IFF_LOWER_UP),
        loopback: has(libc::IFF_LOOPBACK),
    };
    for (kind, value) in attributes(payload.get(16..)?) {
        match kind {
            libc::IFLA_IFNAME => {
                link.name = String::from_utf8_lossy(value).trim_end_matches('\0').to_owned();
            }
            libc::IFLA_MTU => link.mtu = u32_at(value, 0)?,
            _ => {}
        }
    }
    Some(link)
}

/// Index of a link message of the link layer. Bridges and IPv6 send link messages of their own family, which lack most.
fn link_index(payload: &[u8]) -> Option<u32> {
    (i32::from(*payload.first()?) == libc::AF_UNSPEC).then(|| u32_at(payload, 4)).flatten()
}

/// `struct ifaddrmsg`: family (1), prefix length (1), flags (1), scope (1), index (4).
fn address(payload: &[u8]) -> Option<Address> {
    let head: &[u8; 4] = payload.first_chunk()?;
    if i32::from(head[0]) != libc::AF_INET6 {
        return None;
    }
    let mut flags = u32::from(head[2]);
    let (mut address, mut local) = (None, None);
    let (mut preferred_lft, mut valid_lft) = (None, None);
    for (kind, value) in attributes(payload.get(8..)?) {
        match kind {
            libc::IFA_ADDRESS => address = ipv6(value),
            libc::IFA_LOCAL => local = ipv6(value),
            libc::IFA_FLAGS => flags = u32_at(value, 0)?,
            libc::IFA_CACHEINFO => {
                preferred_lft = lifetime(u32_at(value, 0)?);
                valid_lft = lifetime(u32_at(value, 4)?);
            }
            _ => {}
        }
    }
    Some(Address {
        // With a peer address, IFA_LOCAL is ours
        addr: local.or(address)?,
        prefix_len: head[1],
        ifindex: u32_at(payload, 4)?,
        flags: AddressFlags(flags),
        valid_lft,
        preferred_lft,
        scope: match head[3] {
            libc::RT_SCOPE_UNIVERSE => Scope::Global,
            libc::RT_SCOPE_SITE => Scope::Site,
            libc::RT_SCOPE_LINK => Scope::Link,
            libc::RT_SCOPE_HOST => Scope::Host,
            n => Scope::Other(n),
        },
    })
}

/// `struct ndmsg`: family (1), pad (3), index (4), state (2), flags (1), type (1).
fn neighbour(payload: &[u8], gone: bool) -> Option<Message> {
    let head: &[u8; 12] = payload.first_chunk()?;
    if i32::from(head[0]) != libc::AF_INET6 {
        return None;
    }
    let ifindex = u32_at(payload, 4)?;
    let addr = attributes(payload.get(12..)?)
        .find_map(|(kind, value)| if kind == libc::NDA_DST { ipv6(value) } else { None })?;
    if gone {
        return Some(Message::NeighbourGone(ifindex, addr));
    }
    let failed = u16::from_ne_bytes([head[8], head[9]]) & libc::NUD_FAILED != 0;
    (head[10] & libc::NTF_ROUTER != 0).then_some(Message::Router(ifindex, addr, failed))
}

/// `struct rtmsg`: family, dst_len, src_len, tos, table, protocol, scope, type (1 each), flags (4).
fn on_link(payload: &[u8]) -> Option<OnLinkPrefix> {
    let head: &[u8; 8] = payload.first_chunk()?;
    let wanted = i32::from(head[0]) == libc::AF_INET6
        && head[1] == 64
        && head[2] == 0
        && head[4] == libc::RT_TABLE_MAIN
        && head[7] == libc::RTN_UNICAST;
    if !wanted {
        return None;
    }
    let (mut prefix, mut ifindex) = (None, None);
    for (kind, value) in attributes(payload.get(12..)?) {
        match kind {
            libc::RTA_DST => prefix = value.first_chunk().copied(),
            libc::RTA_OIF => ifindex = u32_at(value, 0),
            libc::RTA_GATEWAY | libc::RTA_MULTIPATH | libc::RTA_VIA => return None,
            _ => {}
        }
    }
    Some(OnLinkPrefix { prefix: prefix?, ifindex: ifindex? })
}

fn attributes(octets: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    NlasIterator::new(octets).map_while(Result::ok).map(|nla| {
        let (kind, len) = (nla.kind(), nla.value_length());
        // The iterator made sure of the length
        (kind, &nla.into_inner()[NLA_HEADER_SIZE..][..len])
    })
}

fn lifetime(seconds: u32) -> Option<Duration> {
    (seconds != u32::MAX).then(|| Duration::from_secs(u64::from(seconds)))
}

fn ipv6(value: &[u8]) -> Option<Ipv6Addr> {
    <[u8; 16]>::try_from(value).ok().map(Ipv6Addr::from)
}

fn u32_at(octets: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*octets.get(at..)?.first_chunk()?))
}

fn i32_at(octets: &[u8], at: usize) -> Option<i32> {
    u32_at(octets, at).map(|n| n as i32)
}
