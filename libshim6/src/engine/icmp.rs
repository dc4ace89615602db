//! ICMPv6 errors about packets of ours (RFC 5533 section 8): what they mean, and what the application gets to see.
//!
//! An error about a tagged packet quotes locators and a shim header that no socket of the application knows, so it is
//! mapped back and handed over as [`IcmpDelivery`]. What the shim itself can mend by another path is held back until
//! the outcome is known (S6-N-49).

use super::Engine;
use super::context::Context;
use super::io::{IcmpDelivery, IcmpKind};
use super::table::Id;
use crate::addr::{FlowId, LocatorPair, UlidPair};
use crate::time::Time;
use crate::wire::{PROTOCOL, QuotedKind, peek_quoted};
use std::net::Ipv6Addr;

/// Errors of one context that wait for the outcome of an exploration.
const MAX_HELD: usize = 4;
/// The ICMPv6 header in front of the quoted packet.
const ICMP: usize = 8;
const IPV6: usize = 40;
/// Octets of the payload extension header, which the quoted packet loses.
const SHIM: usize = 8;
/// RFC 4884 section 3: the quoted packet in front of an extension has at least these octets.
const MIN_EXTENDED: usize = 128;
/// S6-N-43.
const MIN_MTU: u32 = 1272;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;
const UDP: u8 = 17;

const UNREACHABLE: u8 = 1;
const TOO_BIG: u8 = 2;
const TIME_EXCEEDED: u8 = 3;
const PARAMETER_PROBLEM: u8 = 4;

/// An ICMPv6 error message (RFC 4443) whose checksum was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError<'a> {
    /// Who sent it.
    pub source: Ipv6Addr,
    /// What it says.
    pub kind: IcmpKind,
    /// Source and destination of the quoted packet.
    pub locators: LocatorPair,
    message: &'a [u8],
    /// The quoted packet in `message`, without the extensions of RFC 4884.
    end: usize,
    /// Where in `message` a shim header starts, and the Next Header octet that announces it.
    shim: Option<(usize, usize)>,
}

impl<'a> IcmpError<'a> {
    /// From the Type octet on. `None`: no error message about an IPv6 packet.
    pub fn parse(source: Ipv6Addr, message: &'a [u8]) -> Option<IcmpError<'a>> {
        let (ty, code) = (*message.first()?, *message.get(1)?);
        let info = u32::from_be_bytes(message.get(4..ICMP)?.try_into().ok()?);
        let extended = ICMP + 8 * usize::from(message[4]);
        let mut end = message.len();
        if matches!(ty, UNREACHABLE | TIME_EXCEEDED) && (ICMP + IPV6..end).contains(&extended) {
            end = extended;
        }
        let quoted = message.get(ICMP..end)?;
        if quoted.len() < IPV6 || quoted[0] >> 4 != 6 {
            return None;
        }
        let address = |at: usize| quoted[at..].first_chunk::<16>().map(|a| Ipv6Addr::from(*a));
        let locators = LocatorPair { local: address(8)?, peer: address(24)? };
        let (mut next, mut at) = (6, IPV6);
        let shim = loop {
            match quoted[next] {
                PROTOCOL => break Some((ICMP + at, ICMP + next)),
                HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS if at + 1 < quoted.len() => {
                    (next, at) = (at, at + 8 * (usize::from(quoted[at + 1]) + 1));
                }
                _ => break None,
            }
        };
        let kind = match (ty, code) {
            (UNREACHABLE, 0..=3 | 5 | 6) | (TIME_EXCEEDED, _) => IcmpKind::Unreachable,
            (TOO_BIG, _) => IcmpKind::PacketTooBig(info),
            // S6-8-3: only what concerns Shim6
            (PARAMETER_PROBLEM, code) => match shim {
                Some((start, announced)) => {
                    let pointer = usize::try_from(info).unwrap_or(usize::MAX).saturating_add(ICMP);
                    let inside = (start..start + SHIM).contains(&pointer);
                    if inside || (code == 1 && pointer == announced) {
                        IcmpKind::UnrecognizedNextHeader
                    } else {
                        IcmpKind::Other
                    }
                }
                None => IcmpKind::Other,
            },
            (UNREACHABLE, _) => IcmpKind::Other,
            _ => return None,
        };
        Some(IcmpError { source, kind, locators, message, end, shim })
    }

    /// The quoted packet from its shim header on, as far as it was quoted; `None` if it has none.
    pub fn shim_packet(&self) -> Option<&'a [u8]> {
        self.message.get(self.shim?.0..self.end)
    }

    /// The message as a host without shim would have got it (S6-8-6, S6-8-7, S6-8-9, S6-8-10), its checksum 0, and the
    /// flow that it is about. `None` if too little was quoted to tell.
    fn map_back(&self, ulids: UlidPair) -> Option<(FlowId, Vec<u8>)> {
        let (start, announced) = self.shim?;
        let shim = self.message.get(start..start + SHIM).filter(|_| start + SHIM <= self.end)?;
        let flow = flow_of(shim[0], self.message.get(start + SHIM..self.end)?)?;
        let mut out = self.message[..start].to_vec();
        out.extend_from_slice(&self.message[start + SHIM..self.end]);
        out[2..4].fill(0);
        out[announced] = shim[0];
        let len = u16::from_be_bytes([out[ICMP + 4], out[ICMP + 5]]).saturating_sub(SHIM as u16);
        out[ICMP + 4..ICMP + 6].copy_from_slice(&len.to_be_bytes());
        out[ICMP + 8..ICMP + 24].copy_from_slice(&ulids.local.octets());
        out[ICMP + 24..ICMP + 40].copy_from_slice(&ulids.peer.octets());
        if self.end < self.message.len() {
            let padded = (out.len() - ICMP).next_multiple_of(8).max(MIN_EXTENDED);
            out.resize(ICMP + padded, 0);
            out[4] = (padded / 8) as u8;
            out.extend_from_slice(&self.message[self.end..]);
        }
        let info = u32::from_be_bytes(*self.message[4..].first_chunk()?);
        let mapped = match self.message[0] {
            TOO_BIG => Some(info.saturating_sub(SHIM as u32).max(MIN_MTU)),
            // Behind the shim header everything moves up
            PARAMETER_PROBLEM if info as usize >= start - ICMP + SHIM => Some(info - SHIM as u32),
            _ => None,
        };
        if let Some(info) = mapped {
            out[4..8].copy_from_slice(&info.to_be_bytes());
        }
        Some((flow, out))
    }
}

/// The flow of a packet of ours from `protocol`'s header on. `None`: a later fragment, or too little of it.
fn flow_of(mut protocol: u8, mut data: &[u8]) -> Option<FlowId> {
    loop {
        let len = match protocol {
            DESTINATION_OPTIONS => 8 * (usize::from(*data.get(1)?) + 1),
            FRAGMENT if u16::from_be_bytes([*data.get(2)?, *data.get(3)?]) & 0xfff8 == 0 => 8,
            FRAGMENT => return None,
            UDP => {
                let port = |at: usize| Some(u16::from_be_bytes([*data.get(at)?, *data.get(at + 1)?]));
                return Some(FlowId { protocol, local_port: port(0)?, peer_port: port(2)? });
            }
            _ => return Some(FlowId { protocol, local_port: 0, peer_port: 0 }),
        };
        protocol = *data.first()?;
        data = data.get(len..)?;
    }
}

impl Context {
    /// Whether the shim may yet find another way for what an error reports.
    fn can_act(&self) -> bool {
        let (local, peer) = (self.local.candidates(), self.peer.candidates());
        self.active() && super::pairs::order(self.ulids, &local, &peer).len() > 1
    }
}

impl Engine {
    /// An ICMPv6 error that came to this host. Errors about tagged payload of a context come out of
    /// [`Engine::poll_icmp`], mapped back, at once or once it is clear that the shim cannot help. Errors about untagged
    /// packets reach the application by the kernel; here they are hints (RE-FI-03). Everything else concerns the state
    /// machine alone or nobody (S6-8-11, S6-8-12).
    pub fn handle_icmp_error(&mut self, now: Time, e: &IcmpError<'_>) {
        let Some(quoted) = e.shim_packet() else {
            if e.kind == IcmpKind::Unreachable {
                self.hint(now, UlidPair { local: e.locators.local, peer: e.locators.peer });
            }
            return;
        };
        let payload = peek_quoted(quoted).filter(|k| matches!(k, QuotedKind::Payload { .. }));
        let id = payload.and_then(|kind| self.by_quoted(e.locators, kind));
        self.handle_icmp(now, e.kind, e.locators, quoted);
        let Some(id) = id else { return };
        let Some(ctx) = self.table.get_mut(id) else { return };
        let Some((flow, message)) = e.map_back(ctx.ulids) else { return };
        let delivery = IcmpDelivery { ulids: ctx.ulids, flow, source: e.source, message };
        let mendable = matches!(e.kind, IcmpKind::Unreachable | IcmpKind::UnrecognizedNextHeader);
        if !mendable || self.io.config.shim6.deliver_all_icmp || !ctx.can_act() {
            self.io.deliver_icmp(now, delivery);
        } else if ctx.reap.state() != crate::wire::ReapState::Operational || !ctx.established() {
            if ctx.held.len() < MAX_HELD {
                ctx.held.push(delivery);
            }
            let limit = now + self.io.config.reap.send_timeout;
            ctx.held_until.get_or_insert(limit);
        }
        // Else: the path was tested a short while ago, and it works
        self.settle(now, id);
    }

    /// The next ICMPv6 error for an application.
    pub fn poll_icmp(&mut self) -> Option<IcmpDelivery> {
        self.io.icmp.pop_front()
    }

    /// No way was found: what was held goes to the application (S6-8-1).
    pub(super) fn release_held(&mut self, now: Time, id: Id) {
        let Some(ctx) = self.table.get_mut(id) else { return };
        ctx.held_until = None;
        for delivery in std::mem::take(&mut ctx.held) {
            self.io.deliver_icmp(now, delivery);
        }
    }
}

impl super::Io {
    pub(super) fn deliver_icmp(&mut self, now: Time, delivery: IcmpDelivery) {
        if self.icmp.len() < super::MAX_ICMP && self.icmp_limiter.allow(now, &delivery.source) {
            self.counters.icmp_delivered += 1;
            self.icmp.push_back(delivery);
        } else {
            self.counters.drop(super::Dropped::RateLimited);
        }
    }
}

#[cfg(test)]
#[path = "tests/icmp.rs"]
mod tests;
