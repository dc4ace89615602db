//! A deterministic network of engines, for the tests of the protocol logic: many hosts with many locators each,
//! applications that exchange payload, faults per directed locator pair, virtual time, one seed.
//!
//! In go hosts, [`Flow`]s and changes that happen at given times ([`World::at`]); out come what the applications saw
//! ([`Traffic`]) and a log of the control messages ([`Sent`]). Payload takes the way that the engine dictates: plain
//! while locators equal ULIDs, else behind the payload extension header on the current pair. After every event the
//! invariants of `check` are asserted for the host it touched.
//!
//! The same seed gives the same run.

mod app;
mod cell;
mod check;
mod host;
mod network;

pub use app::{Flow, Pattern, Traffic};
pub use host::{HostSpec, Support};
pub use network::{Link, Network};

use crate::addr::{LocatorPair, UlidPair};
use crate::crypto::HbaSet;
use crate::engine::{Bare, ContextInfo, ContextState, Datagram, Engine, IcmpKind, LocalLocator, Transmit};
use crate::event::Event;
use crate::identity::Identity;
use crate::rng::{Rng, SeededRng};
use crate::time::Time;
use crate::wire::{self, Message};
use app::Running;
use check::Books;
use host::Host;
use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

/// A control message that an engine sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// When.
    pub at: Time,
    /// Index of the host.
    pub host: usize,
    /// Source and destination.
    pub locators: LocatorPair,
    /// The message, from the shim header on.
    pub data: Vec<u8>,
}

impl Sent {
    /// Shim6 message type.
    pub fn ty(&self) -> u8 {
        self.data[2]
    }

    /// The message.
    pub fn message(&self) -> Option<Message> {
        match wire::parse(&self.data) {
            Ok(wire::Packet::Control(m)) => Some(m),
            _ => None,
        }
    }
}

/// What is under way.
enum Packet {
    /// Payload without shim header; its addresses are the ULIDs, or locators where both hosts can do without it.
    Plain(Vec<u8>),
    /// From the shim header on.
    Shim(Vec<u8>),
    /// An ICMPv6 Parameter Problem about a packet of this kind that the receiver of the error had sent.
    Icmp(Vec<u8>),
}

/// A change that happens to the world.
type Change = Box<dyn FnOnce(&mut World)>;

enum Ev {
    Arrive { source: Ipv6Addr, destination: Ipv6Addr, packet: Packet },
    Tick { flow: usize, side: usize },
    Change(Change),
}

/// Hosts, the network between them, and the time.
pub struct World {
    /// Virtual time.
    pub now: Time,
    /// Links and faults.
    pub net: Network,
    /// Control messages in the order of sending, lost ones too.
    pub log: Vec<Sent>,
    /// Print every control message and event to standard error.
    pub trace: bool,
    /// So many control messages from now on get through, and the one after them is lost.
    pub lose_after: Option<u32>,
    /// Datagrams that left on other locators than their ULIDs without extension header.
    pub bare: u64,
    /// Count datagrams that were taken for another flow's, instead of a panic; how many there were.
    pub may_misread: bool,
    /// See `may_misread`.
    pub misread: u64,
    hosts: Vec<Host>,
    flows: Vec<Running>,
    queue: BTreeMap<(Time, u64), Ev>,
    serial: u64,
    seed: u64,
    rng: SeededRng,
    books: Books,
}

impl World {
    /// An empty world that starts at 1 s.
    pub fn new(seed: u64) -> World {
        World {
            now: Time(1_000_000_000),
            net: Network::default(),
            log: Vec::new(),
            hosts: Vec::new(),
            flows: Vec::new(),
            queue: BTreeMap::new(),
            serial: 0,
            seed,
            rng: SeededRng::new(seed ^ 0x5eed_5eed),
            books: Books::default(),
            trace: false,
            lose_after: None,
            bare: 0,
            may_misread: false,
            misread: 0,
        }
    }

    /// Add a host; its index.
    pub fn add_host(&mut self, spec: HostSpec) -> usize {
        let n = self.hosts.len();
        let host = Host::new(spec, self.now, self.seed.wrapping_mul(1_000_003).wrapping_add(n as u64));
        self.hosts.push(host);
        self.drain(n);
        n
    }

    /// Add a flow; its index. Its hosts serve its ULID pair from now on.
    pub fn add_flow(&mut self, flow: Flow) -> usize {
        let n = self.flows.len();
        for side in 0..2 {
            let pair = flow.ulids(side);
            self.hosts[flow.hosts[side]].open(pair);
            if let Some(first) = flow.first_tick(side) {
                self.schedule(first, Ev::Tick { flow: n, side });
            }
        }
        self.flows.push(Running::new(flow));
        n
    }

    /// Let something happen at a time that is not over.
    pub fn at(&mut self, time: Time, change: impl FnOnce(&mut World) + 'static) {
        self.schedule(time, Ev::Change(Box::new(change)));
    }

    fn schedule(&mut self, time: Time, ev: Ev) {
        self.serial += 1;
        self.queue.insert((time.max(self.now), self.serial), ev);
    }

    /// Let `duration` pass.
    pub fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        let mut stuck = 0;
        loop {
            let event = self.queue.keys().next().map(|k| k.0);
            let timeouts = (0..self.hosts.len()).filter_map(|h| Some((self.hosts[h].poll_timeout()?, h)));
            let timeout = timeouts.min();
            let next = event.into_iter().chain(timeout.map(|t| t.0)).min();
            let Some(next) = next.filter(|t| *t <= end) else { break };
            stuck = if next > self.now { 0 } else { stuck + 1 };
            assert!(stuck < 100_000, "seed {}: no progress at {:?}", self.seed, self.now);
            self.now = self.now.max(next);
            if event.is_some_and(|e| e <= self.now) {
                if let Some((_, ev)) = self.queue.pop_first() {
                    self.happen(ev);
                }
            } else if let Some((_, h)) = timeout {
                let now = self.now;
                self.hosts[h].timeout(now);
                self.drain(h);
            }
        }
        self.now = end;
    }

    fn happen(&mut self, ev: Ev) {
        match ev {
            Ev::Change(change) => change(self),
            Ev::Tick { flow, side } => {
                let f = &self.flows[flow].flow;
                if f.stop.is_some_and(|t| self.now >= t) {
                    return;
                }
                let next = self.now + f.interval;
                self.send_payload(flow, side);
                self.schedule(next, Ev::Tick { flow, side });
            }
            Ev::Arrive { source, destination, packet } => self.arrive(source, destination, packet),
        }
    }

    /// The application at one side of a flow sends a datagram.
    fn send_payload(&mut self, flow: usize, side: usize) {
        let now = self.now;
        let f = &mut self.flows[flow];
        let (h, ulids, bytes) = (f.flow.hosts[side], f.flow.ulids(side), f.flow.bytes);
        let data = f.next_datagram(flow, side);
        let context = self.hosts[h].engine().and_then(|e| e.context(ulids));
        let active = context
            .filter(|c| matches!(c.state, ContextState::Established | ContextState::I2bisSent))
            .filter(|c| c.current != ulids.as_locators());
        let pair = active.as_ref().map_or(ulids.as_locators(), |c| c.current);
        if !self.hosts[h].has(pair.local) {
            // The kernel refuses; the datagram is lost
            if let Some(e) = self.hosts[h].engine_mut() {
                e.send_refused(now, ulids, pair);
            }
            return self.drain(h);
        }
        let known = self.flows[flow].traffic[side].received > 0;
        let packet = match active {
            None => Packet::Plain(data),
            Some(c) if c.bare == Bare::All || (c.bare == Bare::KnownFlows && known) => {
                check::destination(self.seed, h, &c, &self.books);
                self.bare += 1;
                Packet::Plain(data)
            }
            Some(c) => {
                check::destination(self.seed, h, &c, &self.books);
                let tag = c.peer_tag.expect("an active context has CT(peer)");
                Packet::Shim([&wire::emit_payload_header(tag, 17)[..], &data].concat())
            }
        };
        self.flows[flow].traffic[side].sent += 1;
        self.transmit(pair, packet);
        if let Some(e) = self.hosts[h].engine_mut() {
            e.first_sent(now, ulids, 0);
        }
        self.hosts[h].note_sent(now, ulids, bytes, flow);
        self.drain(h);
    }

    /// Hand a packet to the network.
    fn transmit(&mut self, pair: LocatorPair, packet: Packet) {
        let delays = self.net.pass(&mut self.rng, pair);
        let arrive = |packet| Ev::Arrive { source: pair.local, destination: pair.peer, packet };
        if let [first, second] = delays[..] {
            let copy = match &packet {
                Packet::Plain(d) => Packet::Plain(d.clone()),
                Packet::Shim(d) => Packet::Shim(d.clone()),
                Packet::Icmp(d) => Packet::Icmp(d.clone()),
            };
            self.schedule(self.now + first, arrive(packet));
            self.schedule(self.now + second, arrive(copy));
        } else if let [only] = delays[..] {
            self.schedule(self.now + only, arrive(packet));
        }
    }

    fn arrive(&mut self, source: Ipv6Addr, destination: Ipv6Addr, packet: Packet) {
        let Some(h) = self.hosts.iter().position(|h| h.has(destination)) else { return };
        let now = self.now;
        match packet {
            Packet::Plain(data) => {
                let ulids = UlidPair { local: destination, peer: source };
                let id = app::flow_of(&data).map(|(flow, _)| self.hosts[h].flow_id(flow));
                let pair = ulids.as_locators();
                let owner = self.hosts[h].engine().zip(id).and_then(|(e, id)| e.bare_owner(pair, id));
                self.receive_payload(h, owner.unwrap_or(ulids), &data);
            }
            Packet::Shim(data) => match self.hosts[h].spec.support {
                Support::Shim6 => {
                    let data = if self.hosts[h].spec.seconds_only { host::in_seconds(data) } else { data };
                    self.hosts[h].tell_before(now, &data);
                    let d = Datagram { source, destination, data: &data };
                    let deliver = self.hosts[h].engine_mut().and_then(|e| e.handle_datagram(now, &d));
                    self.drain(h);
                    if let Some(d) = deliver {
                        assert_eq!(d.next_header, 17);
                        let (ulids, data) = (d.ulids, d.data);
                        self.receive_payload(h, ulids, data);
                    }
                }
                Support::Silent => {}
                // An error is never answered by an error
                Support::Icmp => {
                    self.transmit(LocatorPair { local: destination, peer: source }, Packet::Icmp(data));
                }
            },
            Packet::Icmp(quoted) => {
                let pair = LocatorPair { local: destination, peer: source };
                if let Some(e) = self.hosts[h].engine_mut() {
                    e.handle_icmp(now, IcmpKind::UnrecognizedNextHeader, pair, &quoted);
                }
            }
        }
        self.drain(h);
    }

    fn receive_payload(&mut self, h: usize, ulids: UlidPair, data: &[u8]) {
        let now = self.now;
        let Some((flow, from)) = app::flow_of(data).filter(|(f, _)| *f < self.flows.len()) else {
            panic!("seed {}: payload came changed", self.seed)
        };
        let side = 1 - from;
        let f = &mut self.flows[flow];
        // Payload reaches the application between its own ULIDs, or not at all
        if self.may_misread && f.flow.ulids(side) != ulids {
            self.misread += 1;
            return;
        }
        assert_eq!((f.flow.hosts[side], f.flow.ulids(side)), (h, ulids), "seed {}", self.seed);
        f.receive(side, now);
        let (bytes, reply) = (f.flow.bytes, side == 1 && f.flow.pattern == Pattern::Request);
        self.hosts[h].note_received(now, ulids, bytes, flow);
        self.drain(h);
        if reply {
            self.send_payload(flow, side);
        }
    }

    /// Take out of an engine what it has, and look at the invariants.
    fn drain(&mut self, h: usize) {
        loop {
            let now = self.now;
            let seen = self.hosts[h].events.len();
            self.hosts[h].settle(now);
            if self.trace {
                let new = &self.hosts[h].events[seen..];
                new.iter().for_each(|e| eprintln!("{:9.3} host {h}: {:?}", now.0 as f64 / 1e9, e.kind));
            }
            let Some(Transmit { locators, data }) =
                self.hosts[h].engine_mut().and_then(Engine::poll_transmit)
            else {
                break;
            };
            let data = if self.hosts[h].spec.seconds_only { host::in_seconds(data) } else { data };
            let message = check::transmit(self.seed, h, &self.hosts[h], &mut self.books, locators, &data);
            self.log.push(Sent { at: now, host: h, locators, data: data.clone() });
            if self.trace {
                self.print(h, locators, &message);
            }
            if !self.hosts[h].has(locators.local) {
                self.hosts[h].refuse(now, &message, locators);
            } else if !self.loses_this() {
                self.transmit(locators, Packet::Shim(data));
            }
        }
        check::contexts(self.seed, h, &self.hosts[h], &mut self.books);
    }

    /// Whether it is the turn of the message that is to be lost.
    fn loses_this(&mut self) -> bool {
        let lost = self.lose_after == Some(0);
        self.lose_after = self.lose_after.and_then(|n| n.checked_sub(1));
        lost
    }

    fn print(&self, h: usize, locators: LocatorPair, message: &Message) {
        let sta = if let Message::Probe(p) = message {
            format!(" {:?}, {} sent, {} received", p.state, p.sent.len(), p.received.len())
        } else {
            String::new()
        };
        let fate = if self.net.get(locators).up { "" } else { " (into a hole)" };
        let at = self.now.0 as f64 / 1e9;
        eprintln!("{at:9.3} host {h}: {} {locators}{sta}{fate}", message.name());
    }

    /// The addresses of a host that are there from now on; the others are gone, as after `ip link set down`.
    pub fn set_present(&mut self, host: usize, present: impl Fn(usize) -> bool) {
        let now = self.now;
        self.hosts[host].set_present(now, present);
        self.drain(host);
    }

    /// A host loses all its state, as at a restart of the process.
    pub fn restart(&mut self, host: usize) {
        let (now, seed) = (self.now, self.rng.u64());
        self.hosts[host].restart(now, seed);
        self.drain(host);
    }

    /// The sockets of a flow are closed: its contexts may go once they are idle.
    pub fn close(&mut self, flow: usize) {
        let f = &mut self.flows[flow].flow;
        f.stop = Some(self.now);
        for side in 0..2 {
            self.hosts[f.hosts[side]].close(f.ulids(side));
        }
    }

    /// Address `i` of a host, present or not.
    pub fn addr(&self, host: usize, i: usize) -> Ipv6Addr {
        self.hosts[host].spec.locators[i].addr
    }

    /// Set the link of both directions between locator `i` of host `a` and locator `j` of host `b`.
    pub fn set_path(&mut self, (a, i): (usize, usize), (b, j): (usize, usize), link: Link) {
        self.set_direction((a, i), (b, j), link);
        self.set_direction((b, j), (a, i), link);
    }

    /// Set the link of one direction.
    pub fn set_direction(&mut self, (a, i): (usize, usize), (b, j): (usize, usize), link: Link) {
        let pair = LocatorPair { local: self.addr(a, i), peer: self.addr(b, j) };
        self.net.set(pair, link);
    }

    /// The engine of a host with Shim6.
    pub fn engine(&self, host: usize) -> Option<&Engine> {
        self.hosts[host].engine()
    }

    /// Do something with the engine of a host, and what follows from it.
    pub fn with_engine(&mut self, host: usize, f: impl FnOnce(&mut Engine, Time)) {
        let now = self.now;
        if let Some(e) = self.hosts[host].engine_mut() {
            f(e, now);
        }
        self.drain(host);
    }

    /// Events of a host so far.
    pub fn events(&self, host: usize) -> &[Event] {
        &self.hosts[host].events
    }

    /// What the application at a side of a flow sent and saw.
    pub fn traffic(&self, flow: usize, side: usize) -> &Traffic {
        &self.flows[flow].traffic[side]
    }

    /// Start measuring the longest silence of a flow from now on.
    pub fn reset_silence(&mut self, flow: usize) {
        let now = self.now;
        self.flows[flow].reset_silence(now);
    }

    /// The ULID pair of a flow as one of its sides sees it.
    pub fn ulids(&self, flow: usize, side: usize) -> UlidPair {
        self.flows[flow].flow.ulids(side)
    }

    /// The context of a flow as one of its sides has it.
    pub fn context(&self, flow: usize, side: usize) -> Option<ContextInfo> {
        let f = &self.flows[flow].flow;
        self.engine(f.hosts[side])?.context(f.ulids(side))
    }

    /// Both sides of a flow are ESTABLISHED, and each knows the other's tag (S6-7.4-5).
    pub fn crosswise(&self, flow: usize) -> bool {
        let (Some(a), Some(b)) = (self.context(flow, 0), self.context(flow, 1)) else { return false };
        a.state == ContextState::Established
            && b.state == ContextState::Established
            && a.peer_tag == Some(b.local_tag)
            && b.peer_tag == Some(a.local_tag)
    }

    /// Control messages sent since a time.
    pub fn sent_since(&self, since: Time) -> usize {
        self.log.iter().rev().take_while(|s| s.at >= since).count()
    }

    /// Nothing is left: no context, no timer, no packet on its way.
    pub fn is_empty(&self) -> bool {
        let arrivals = self.queue.values().any(|e| matches!(e, Ev::Arrive { .. }));
        let idle = |e: &Engine| e.contexts().next().is_none() && e.poll_timeout().is_none();
        !arrivals && self.hosts.iter().filter_map(Host::engine).all(idle)
    }
}

/// The locators of a host with an HBA set: `2001:db8:<100 * (i + 1) + host>::/64` for each i below `n`.
pub fn hba_locators(host: u16, n: usize, seed: u64) -> Vec<LocalLocator> {
    let prefixes: Vec<[u8; 8]> = (0..n as u16)
        .map(|i| {
            let [hi, lo] = ((i + 1) << 8 | host).to_be_bytes();
            [0x20, 0x01, 0x0d, 0xb8, hi, lo, 0, 0]
        })
        .collect();
    let set = HbaSet::generate(&prefixes, 0, None, &mut SeededRng::new(seed)).expect("distinct prefixes");
    let identity = Arc::new(Identity::from_set(&set));
    let locator = |(i, addr)| LocalLocator {
        addr,
        ifindex: i as u32 + 1,
        operational: true,
        deprecated: false,
        group: 0,
        identity: Some(identity.clone()),
    };
    identity.members().enumerate().map(locator).collect()
}
