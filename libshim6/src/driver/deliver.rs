//! From tagged payload to the application's own socket: reassembly, checks, re-injection (DESIGN sections 4 and 6).

use super::arrivals::Labels;
use super::frag::{self, Outcome, Reassembly};
use super::host::{DeliverTo, SocketHost};
use super::icmp::{self, IcmpSocket};
use super::inject::{Header, Injector};
use super::options::Arrival;
use super::receive::Received;
use super::shared::{Counters, Shared};
use super::udp;
use crate::addr::{FlowId, LocatorPair, UlidPair, is_servable};
use crate::engine::{Deliver, IcmpDelivery};
use crate::time::Time;
use crate::wire::PROTOCOL;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// Headers that carry another protocol or belong to the kernel's own control: never re-injected on their own.
const REFUSED: [u8; 11] = [0, 6, 43, 50, 51, 58, 59, 60, 132, 135, 140];
/// May a raw socket of this protocol be one of the shim's? Not UDP, whose datagrams belong to UDP sockets, nor what is
/// never re-injected on its own, nor whole packets (IPPROTO_RAW).
pub fn serves_raw(protocol: u8) -> bool {
    protocol != udp::UDP && protocol != frag::FRAGMENT && protocol != 255 && !REFUSED.contains(&protocol)
}

/// Destination Options (RFC 8200 section 4.6).
const DESTINATION_OPTIONS: u8 = 60;

/// The delivering side of an engine.
pub struct Delivery {
    host: Arc<dyn SocketHost>,
    injector: Injector,
    reassembly: Reassembly,
    labels: Labels,
    /// When a port was last found closed, or not.
    refused: Option<Time>,
}

/// At most one datagram in this time is looked at for whether its port is closed.
const BETWEEN_REFUSALS: Duration = Duration::from_millis(100);

impl Delivery {
    /// Nothing is queued yet.
    pub fn new(host: Arc<dyn SocketHost>, injector: Injector) -> Self {
        Delivery {
            host,
            injector,
            reassembly: Reassembly::default(),
            labels: Labels::default(),
            refused: None,
        }
    }

    /// Take the payload of one packet. What it completes is queued; [`Delivery::flush`] hands it to the kernel. The flow
    /// that a datagram was queued for.
    pub fn handle(
        &mut self,
        now: Time,
        shared: &Shared,
        packet: &Received<'_>,
        d: &Deliver<'_>,
    ) -> Option<FlowId> {
        let counters = &shared.counters;
        let arrival = Arrival { ulids: d.ulids, fii: d.fii, locators: d.locators };
        let flow_label = self.labels.of(&shared.arrivals, arrival);
        if d.next_header != frag::FRAGMENT {
            let flow = self.whole(counters, packet, d.ulids, flow_label, d.next_header, d.data);
            if flow.is_none() && d.next_header == udp::UDP {
                self.refuse_port(now, shared, packet, d);
            }
            return flow;
        }
        Counters::add(&counters.fragments, 1);
        Counters::add(&counters.incomplete, self.reassembly.expire(now) as u64);
        match self.reassembly.handle(now, d.ulids, d.data) {
            Outcome::Complete(protocol, data) => {
                self.whole(counters, packet, d.ulids, flow_label, protocol, &data)
            }
            Outcome::Waiting => None,
            Outcome::Dropped => refuse(&counters.bad_fragments),
        }
    }

    fn whole(
        &mut self,
        counters: &Counters,
        packet: &Received<'_>,
        ulids: UlidPair,
        flow_label: u32,
        protocol: u8,
        data: &[u8],
    ) -> Option<FlowId> {
        // Destination Options that the sender put behind the shim header are for the final destination, which this
        // is; they end here, as the application's socket could not see them either.
        let Some((protocol, data)) = skip_options(protocol, data) else {
            return refuse(&counters.unsupported);
        };
        let (flow, data) = match protocol {
            udp::UDP => match udp::check(ulids, data) {
                Some(u) => (
                    FlowId { protocol, local_port: u.destination_port, peer_port: u.source_port },
                    u.datagram,
                ),
                None => return refuse(&counters.bad_udp),
            },
            p if !serves_raw(p) => return refuse(&counters.unsupported),
            // A raw upper-layer protocol, if an application has a socket for it.
            _ => (FlowId { protocol, local_port: 0, peer_port: 0 }, data),
        };
        let Some(to) = self.host.deliver_to(ulids, flow) else {
            let counter = if protocol == udp::UDP { &counters.no_socket } else { &counters.unsupported };
            return refuse(counter);
        };
        let destination = match to {
            DeliverTo::Ulid => ulids.local,
            DeliverTo::Loopback => Ipv6Addr::LOCALHOST,
        };
        let (hop_limit, traffic_class) = (packet.hop_limit, packet.traffic_class);
        let header =
            Header { source: ulids.peer, destination, protocol, hop_limit, traffic_class, flow_label };
        self.injector.push(header, data);
        Some(flow)
    }

    /// Tell the sender of a datagram that nobody has its port, as the kernel would have told of one between the ULIDs.
    /// What he gets is about his tagged packet, so his shim maps it back (S6-8-4, S6-8-6).
    fn refuse_port(&mut self, now: Time, shared: &Shared, packet: &Received<'_>, d: &Deliver<'_>) {
        let Some(port) = udp::check(d.ulids, d.data).map(|u| u.destination_port) else { return };
        if self.refused.is_some_and(|last| now.since(last) < BETWEEN_REFUSALS) || !is_servable(&packet.source)
        {
            return;
        }
        self.refused = Some(now);
        // Another process may have it, or a socket that the shim leaves alone.
        if self.host.port_is_open(port) {
            return;
        }
        let back = LocatorPair { local: packet.destination, peer: packet.source };
        let quoted = Header {
            source: packet.source,
            destination: packet.destination,
            protocol: PROTOCOL,
            hop_limit: packet.hop_limit,
            traffic_class: packet.traffic_class,
            flow_label: 0,
        };
        let _ = shared.sender.send_icmp(back, icmp::port_unreachable(&quoted, packet.data));
    }

    /// Queue an ICMPv6 error, if a socket of ours holds the flow that it is about: the kernel hands it to that socket,
    /// as if the router had quoted a packet between the ULIDs (S6-8-6).
    pub fn icmp(&mut self, counters: &Counters, told: &mut IcmpSocket, mut d: IcmpDelivery) {
        let Some(to) = self.host.deliver_to(d.ulids, d.flow) else {
            return Counters::add(&counters.no_socket, 1);
        };
        let destination = match to {
            DeliverTo::Ulid => d.ulids.local,
            DeliverTo::Loopback => Ipv6Addr::LOCALHOST,
        };
        let header = icmp::complete(d.source, destination, &mut d.message);
        self.injector.push(header, &d.message);
        told.note_told(d.message);
        Counters::add(&counters.icmp_delivered, 1);
    }

    /// Hand over what is queued.
    pub fn flush(&mut self, counters: &Counters) {
        let i = &mut self.injector;
        i.flush();
        Counters::add(&counters.injected, std::mem::take(&mut i.injected));
        Counters::add(&counters.inject_failed, std::mem::take(&mut i.failed));
    }

    /// Forget fragments whose time is over.
    pub fn expire(&mut self, now: Time, counters: &Counters) {
        Counters::add(&counters.incomplete, self.reassembly.expire(now) as u64);
    }

    /// When [`Delivery::expire`] is wanted.
    pub fn next_expiry(&self) -> Option<Time> {
        self.reassembly.next_expiry()
    }
}

/// Nothing is delivered, and this says why.
fn refuse(counter: &AtomicU64) -> Option<FlowId> {
    Counters::add(counter, 1);
    None
}

/// Step over Destination Options whose unknown options may be skipped. `None`: malformed, or one may not.
fn skip_options(mut protocol: u8, mut data: &[u8]) -> Option<(u8, &[u8])> {
    while protocol == DESTINATION_OPTIONS {
        let len = (usize::from(*data.get(1)?) + 1) * 8;
        let mut options = data.get(2..len)?;
        while let Some((ty, rest)) = options.split_first() {
            if *ty == 0 {
                options = rest; // Pad1
                continue;
            }
            // The two highest bits say what an unknown option asks for: only 00 is "skip".
            if ty >> 6 != 0 {
                return None;
            }
            let n = usize::from(*rest.first()?);
            options = rest.get(1 + n..)?;
        }
        protocol = data[0];
        data = &data[len..];
    }
    Some((protocol, data))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn destination_options_are_stepped_over() {
        let data = [17, 0, 1, 4, 0, 0, 0, 0, 9, 9];
        assert_eq!(skip_options(60, &data), Some((17, &data[8..])));
        let two = [60, 0, 0, 0, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0, 7];
        assert_eq!(skip_options(60, &two), Some((17, &two[16..])));
        assert_eq!(skip_options(17, &data), Some((17, &data[..])));
        assert_eq!(skip_options(60, &[17, 0, 0x85, 4, 0, 0, 0, 0]), None, "discard if unknown");
        assert_eq!(skip_options(60, &[17, 0, 1, 5, 0, 0, 0, 0]), None, "overrun");
        assert_eq!(skip_options(60, &[17, 1, 1, 4, 0, 0, 0, 0]), None, "longer than the packet");
    }

    proptest! {
        #[test]
        fn garbage_options_do_not_panic(data in prop::collection::vec(any::<u8>(), 0..40)) {
            skip_options(60, &data);
        }
    }
}
