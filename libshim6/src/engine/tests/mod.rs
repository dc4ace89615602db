//! Tests of the engine: whole hosts on a network of the tests' own, in virtual time.

mod api;
mod attacks;
mod contact;
mod crossing;
mod establish;
mod feedback;
mod growth;
mod instances;
mod keys;
mod locators;
mod matrix;
mod mutants;
mod options;
mod proofs;
mod recovery;
mod rules;
mod suppress;
mod traffic;
mod units;
pub(super) mod work;

use super::{
    ContextInfo, ContextState, Datagram, Deliver, Direction, Engine, HostPolicy, LocalLocator, PairTraffic,
    Transmit,
};
use crate::addr::{ContextTag, Fii, FlowId, LocatorPair, UlidPair};
use crate::config::Config;
use crate::crypto::HbaSet;
use crate::event::{Event, EventKind};
use crate::identity::Identity;
use crate::rng::{Rng, SeededRng};
use crate::time::Time;
use crate::wire::{self, Message, Packet};
use std::net::Ipv6Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// One way, between any two addresses.
const LATENCY: Duration = Duration::from_millis(10);

pub(super) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(super) fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(super) fn addr(s: &str) -> Ipv6Addr {
    s.parse().expect("an address")
}

/// What a host's sockets say.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    pub(super) serves: bool,
    pub(super) in_use: bool,
    pub(super) unread: bool,
    pub(super) foreign: bool,
    pub(super) first: bool,
    pub(super) owns_default: bool,
    pub(super) asked_default: Vec<UlidPair>,
    pub(super) takes_bare: bool,
    pub(super) heuristic: Option<fn(PairTraffic) -> Option<bool>>,
    pub(super) fork_in_use: bool,
    pub(super) asked_flow: Option<FlowId>,
}

#[derive(Clone)]
struct Shared(Arc<Mutex<Policy>>);

impl HostPolicy for Shared {
    fn serves(&self, _: UlidPair, flow: Option<FlowId>) -> bool {
        let mut p = self.0.lock().unwrap();
        p.asked_flow = flow;
        p.serves
    }
    fn tag_is_foreign(&self, _: ContextTag) -> bool {
        self.0.lock().unwrap().foreign
    }
    fn answers_strangers(&self) -> bool {
        self.0.lock().unwrap().first
    }
    fn has_unread(&self, _: UlidPair) -> bool {
        self.0.lock().unwrap().unread
    }
    fn in_use(&self, _: UlidPair) -> bool {
        self.0.lock().unwrap().in_use
    }
    fn owns_default(&self, ulids: UlidPair) -> bool {
        let mut p = self.0.lock().unwrap();
        p.asked_default.push(ulids);
        p.owns_default
    }
    fn takes_bare(&self, _: UlidPair, _: Option<FlowId>) -> bool {
        self.0.lock().unwrap().takes_bare
    }
    fn wants_context(&self, _: UlidPair, seen: PairTraffic) -> Option<bool> {
        self.0.lock().unwrap().heuristic.and_then(|wants| wants(seen))
    }
    fn fork_in_use(&self, _: UlidPair, _: Fii) -> bool {
        self.0.lock().unwrap().fork_in_use
    }
}

/// A payload packet that an engine delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Delivered {
    pub(super) ulids: UlidPair,
    pub(super) next_header: u8,
    pub(super) data: Vec<u8>,
}

pub(super) struct Host {
    pub(super) engine: Engine,
    pub(super) addrs: Vec<LocalLocator>,
    pub(super) policy: Arc<Mutex<Policy>>,
    pub(super) events: Vec<Event>,
    pub(super) delivered: Vec<Delivered>,
}

impl Host {
    fn new(config: &Config, seed: u64, addrs: Vec<LocalLocator>) -> Host {
        let policy = Arc::new(Mutex::new(Policy {
            serves: true,
            in_use: false,
            unread: false,
            foreign: false,
            first: true,
            owns_default: true,
            asked_default: Vec::new(),
            takes_bare: true,
            heuristic: None,
            fork_in_use: true,
            asked_flow: None,
        }));
        let host = Box::new(Shared(policy.clone()));
        let mut engine = Engine::new(config.clone(), Box::new(SeededRng::new(seed)), host, None);
        engine.set_local_locators(Time::ZERO, addrs.clone());
        Host { engine, addrs, policy, events: Vec::new(), delivered: Vec::new() }
    }

    pub(super) fn set(&self, change: impl FnOnce(&mut Policy)) {
        change(&mut self.policy.lock().unwrap());
    }

    pub(super) fn a(&self, i: usize) -> Ipv6Addr {
        self.addrs[i].addr
    }

    /// What happened, without the times.
    pub(super) fn kinds(&self) -> Vec<EventKind> {
        self.events.iter().map(|e| e.kind.clone()).collect()
    }
}

/// A message that was sent: by which host, when, over which pair.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) at: Time,
    pub(super) host: usize,
    pub(super) pair: LocatorPair,
    pub(super) data: Vec<u8>,
}

impl Sent {
    pub(super) fn message(&self) -> Message {
        match wire::parse(&self.data) {
            Ok(Packet::Control(m)) => m,
            other => panic!("not a control message: {other:?}"),
        }
    }

    pub(super) fn ty(&self) -> u8 {
        self.data[2]
    }
}

type Filter = Box<dyn FnMut(&Sent) -> bool>;

/// Hosts and the network between them.
pub(super) struct World {
    pub(super) now: Time,
    pub(super) hosts: Vec<Host>,
    queue: Vec<(Time, Sent)>,
    /// Everything sent, lost or not.
    pub(super) log: Vec<Sent>,
    /// `false`: the message is lost.
    pub(super) pass: Filter,
    /// Delays of 1 to 200 ms, and one in ten messages twice.
    pub(super) shuffle: Option<SeededRng>,
}

pub(super) fn plain(a: &str, ifindex: u32) -> LocalLocator {
    LocalLocator { addr: addr(a), ifindex, operational: true, deprecated: false, group: 0, identity: None }
}

/// Addresses of an HBA set for the prefixes `net:N00::/64`.
pub(super) fn hba(net: u16, prefixes: &[u16], seed: u64) -> Vec<LocalLocator> {
    let prefixes: Vec<[u8; 8]> = prefixes
        .iter()
        .map(|p| {
            let mut octets = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0];
            octets[4..6].copy_from_slice(&net.to_be_bytes());
            octets[6..8].copy_from_slice(&p.to_be_bytes());
            octets
        })
        .collect();
    let set = HbaSet::generate(&prefixes, 0, None, &mut SeededRng::new(seed)).expect("a set");
    let identity = Arc::new(Identity::from_set(&set));
    identity
        .members()
        .enumerate()
        .map(|(i, addr)| LocalLocator {
            addr,
            ifindex: i as u32 + 1,
            operational: true,
            deprecated: false,
            group: 0,
            identity: Some(identity.clone()),
        })
        .collect()
}

/// A configuration that makes times exact.
pub(super) fn exact() -> Config {
    let mut config = Config::default();
    config.reap.jitter = false;
    // Nothing moves without need; the return to pairs that failed has tests of its own
    config.reap.return_after = None;
    config
}

impl World {
    pub(super) fn new(config: &Config, seed: u64, hosts: Vec<Vec<LocalLocator>>) -> World {
        let hosts = hosts.into_iter().enumerate();
        World {
            now: Time(1_000_000_000),
            hosts: hosts.map(|(i, h)| Host::new(config, seed * 1000 + i as u64, h)).collect(),
            queue: Vec::new(),
            log: Vec::new(),
            pass: Box::new(|_| true),
            shuffle: None,
        }
    }

    /// Two hosts with HBA sets of `n` addresses each.
    pub(super) fn pair(n: u16, seed: u64) -> World {
        let prefixes: Vec<u16> = (1..=n).collect();
        World::new(&exact(), seed, vec![hba(0xa, &prefixes, seed + 1), hba(0xb, &prefixes, seed + 2)])
    }

    /// The first addresses of two hosts.
    pub(super) fn ulids(&self, local: usize, peer: usize) -> UlidPair {
        UlidPair { local: self.hosts[local].a(0), peer: self.hosts[peer].a(0) }
    }

    pub(super) fn establish(&mut self, from: usize, to: usize) {
        let ulids = self.ulids(from, to);
        self.hosts[from].engine.establish(self.now, ulids, None);
        self.flush();
    }

    /// Both hosts are ESTABLISHED afterwards.
    pub(super) fn connected(n: u16, seed: u64) -> World {
        let mut w = World::pair(n, seed);
        w.establish(0, 1);
        w.run(ms(100));
        assert_eq!(w.state(0), Some(ContextState::Established));
        assert_eq!(w.state(1), Some(ContextState::Established));
        w
    }

    /// What a host knows of its context, without what changes with every message.
    pub(super) fn info(&self, host: usize) -> Option<ContextInfo> {
        self.info_of(host, self.ulids(host, 1 - host))
    }

    /// The same for any pair.
    pub(super) fn info_of(&self, host: usize, ulids: UlidPair) -> Option<ContextInfo> {
        let info = self.hosts[host].engine.context(ulids)?;
        Some(ContextInfo { last_heard: None, counters: Default::default(), ..info })
    }

    pub(super) fn state(&self, host: usize) -> Option<ContextState> {
        self.info(host).map(|c| c.state)
    }

    /// Take out of the engines what they have.
    pub(super) fn flush(&mut self) {
        for i in 0..self.hosts.len() {
            let host = &mut self.hosts[i];
            while let Some(Transmit { locators, data }) = host.engine.poll_transmit() {
                let sent = Sent { at: self.now, host: i, pair: locators, data };
                let present = host.addrs.iter().any(|a| a.addr == locators.local);
                self.log.push(sent.clone());
                if !(self.pass)(&sent) || !present {
                    continue;
                }
                let copies = match &mut self.shuffle {
                    None => vec![LATENCY],
                    Some(rng) => {
                        let n = 1 + usize::from(rng.below(10) == 0);
                        (0..n).map(|_| ms(1 + rng.below(200) as u64)).collect()
                    }
                };
                for delay in copies {
                    self.queue.push((self.now + delay, sent.clone()));
                }
            }
            while let Some(e) = host.engine.poll_event() {
                host.events.push(e);
            }
            while host.engine.poll_changed().is_some() {}
        }
    }

    /// A packet arrives at whoever has the address.
    pub(super) fn deliver(&mut self, source: Ipv6Addr, destination: Ipv6Addr, data: &[u8]) {
        let has = |h: &Host| h.addrs.iter().any(|a| a.addr == destination);
        if let Some(i) = self.hosts.iter().position(has) {
            let host = &mut self.hosts[i];
            let d = Datagram { source, destination, data };
            if let Some(Deliver { ulids, next_header, data, .. }) = host.engine.handle_datagram(self.now, &d)
            {
                host.delivered.push(Delivered { ulids, next_header, data: data.to_vec() });
            }
        }
        self.flush();
    }

    /// A message that no engine built.
    pub(super) fn inject(&mut self, source: Ipv6Addr, destination: Ipv6Addr, message: &Message) {
        self.deliver(source, destination, &message.emit_unchecked());
    }

    /// Hold back what is in flight and return it in the order of sending.
    pub(super) fn intercept(&mut self) -> Vec<Sent> {
        self.flush();
        self.queue.drain(..).map(|(_, s)| s).collect()
    }

    pub(super) fn forward(&mut self, sent: &Sent) {
        self.deliver(sent.pair.local, sent.pair.peer, &sent.data);
    }

    fn next_event(&self) -> Option<Time> {
        let timeouts = self.hosts.iter().filter_map(|h| h.engine.poll_timeout());
        self.queue.iter().map(|(t, _)| *t).chain(timeouts).min()
    }

    /// Let time pass.
    pub(super) fn run(&mut self, duration: Duration) {
        self.flush();
        let end = self.now + duration;
        let mut stuck = 0;
        while let Some(t) = self.next_event().filter(|t| *t <= end) {
            if t > self.now {
                stuck = 0;
            }
            stuck += 1;
            assert!(stuck < 10_000, "no progress at {:?}", self.now);
            self.now = self.now.max(t);
            let due: Vec<Sent> = {
                let (due, rest) = self.queue.drain(..).partition(|(t, _)| *t <= self.now);
                self.queue = rest;
                let due: Vec<(Time, Sent)> = due;
                due.into_iter().map(|(_, s)| s).collect()
            };
            for sent in due {
                self.forward(&sent);
            }
            for host in &mut self.hosts {
                if host.engine.poll_timeout().is_some_and(|t| t <= self.now) {
                    host.engine.handle_timeout(self.now);
                }
            }
            self.flush();
        }
        self.now = end;
    }

    /// Datagrams of `bytes` octets each between the ULIDs; both engines are told.
    pub(super) fn traffic(&mut self, from: usize, to: usize, packets: u64, bytes: u64) {
        let (there, back) = (self.ulids(from, to), self.ulids(to, from));
        self.hosts[from].engine.payload(self.now, there, Direction::Sent, packets, packets * bytes, None);
        self.hosts[to].engine.payload(self.now, back, Direction::Received, packets, packets * bytes, None);
        self.flush();
    }

    /// The same, but nothing arrives.
    pub(super) fn traffic_lost(&mut self, from: usize, to: usize, packets: u64, bytes: u64) {
        let there = self.ulids(from, to);
        self.hosts[from].engine.payload(self.now, there, Direction::Sent, packets, packets * bytes, None);
        self.flush();
    }

    /// A tagged payload packet from a host's context, as the driver would send it.
    pub(super) fn send_tagged(&mut self, from: usize, data: &[u8]) {
        let ctx = self.info(from).expect("a context");
        let tag = ctx.peer_tag.expect("a tag");
        let mut packet = wire::emit_payload_header(tag, 17).to_vec();
        packet.extend(data);
        let sent = Sent { at: self.now, host: from, pair: ctx.current, data: packet };
        let ulids = ctx.ulids;
        self.hosts[from].engine.payload(self.now, ulids, Direction::Sent, 1, data.len() as u64, None);
        if (self.pass)(&sent) {
            self.queue.push((self.now + LATENCY, sent));
        }
        self.flush();
    }

    /// The addresses of a host from now on.
    pub(super) fn set_addrs(&mut self, host: usize, addrs: Vec<LocalLocator>) {
        self.hosts[host].addrs = addrs.clone();
        self.hosts[host].engine.set_local_locators(self.now, addrs);
        self.flush();
    }

    /// A host loses all its state, as at a restart of the process.
    pub(super) fn restart(&mut self, host: usize, seed: u64) {
        let addrs = self.hosts[host].addrs.clone();
        let config = self.hosts[host].engine.config().clone();
        let mut new = Host::new(&config, seed, addrs);
        new.delivered = std::mem::take(&mut self.hosts[host].delivered);
        self.hosts[host] = new;
    }

    /// Types of the messages that a host sent, in order.
    pub(super) fn types(&self, host: usize) -> Vec<u8> {
        self.log.iter().filter(|s| s.host == host).map(Sent::ty).collect()
    }

    /// The last message of a type that was sent.
    pub(super) fn last(&self, ty: u8) -> Sent {
        self.log
            .iter()
            .rev()
            .find(|s| s.ty() == ty)
            .cloned()
            .unwrap_or_else(|| panic!("no message of type {ty}"))
    }

    pub(super) fn count(&self, ty: u8) -> usize {
        self.log.iter().filter(|s| s.ty() == ty).count()
    }

    /// S6-7.4-5, S6-7.3-2: one context each, tags and locators known crosswise.
    pub(super) fn assert_converged(&self) {
        assert_eq!(self.hosts[0].engine.contexts().count(), 1);
        assert_eq!(self.hosts[1].engine.contexts().count(), 1);
        let (a, b) = (self.info(0).expect("context"), self.info(1).expect("context"));
        assert_eq!((a.state, b.state), (ContextState::Established, ContextState::Established));
        assert_eq!(a.peer_tag, Some(b.local_tag));
        assert_eq!(b.peer_tag, Some(a.local_tag));
        let set = |l: &[super::LocatorInfo]| {
            let mut v: Vec<Ipv6Addr> = l.iter().map(|l| l.addr).collect();
            v.sort();
            v
        };
        assert_eq!(set(&a.peer), set(&b.local));
        assert_eq!(set(&b.peer), set(&a.local));
    }
}

/// A nonce or tag that nobody has.
pub(super) fn random() -> u64 {
    SeededRng::new(0x5eed).u64()
}
