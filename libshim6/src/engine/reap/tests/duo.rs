//! Two machines joined by scripted paths, in virtual time: host 0 is A, host 1 is B of the RFC's examples.

use super::*;
use crate::event::FailureCause;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What happened, for the assertions.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// A Probe left (and arrives, or is lost).
    Probe { pair: LocatorPair, state: ReapState, nonce: u32, reported: Vec<u32>, lost: bool },
    /// A Keepalive left.
    Keepalive,
    /// Payload arrived at this host.
    Heard,
    /// Payload left this host.
    Payload { pair: LocatorPair },
    /// Left Operational.
    Started(FailureCause),
    /// Operational again.
    Ended,
    /// Pair changed.
    Pair(LocatorPair),
}

#[derive(Clone, Debug)]
pub struct Entry {
    pub at: f64,
    pub host: usize,
    pub what: What,
}

#[derive(Clone)]
enum Packet {
    Payload,
    Keepalive,
    Probe(Box<Probe>),
}

/// `fn(seconds, sending host, local index, peer index, is a Probe Operational) -> arrives`; indices from 1.
pub type Path = Box<dyn FnMut(f64, usize, usize, usize, Option<ReapState>) -> bool>;

pub struct Duo {
    pub reap: [Reap; 2],
    pub config: [ReapConfig; 2],
    rng: [SeededRng; 2],
    pub now: Time,
    pub delay: Duration,
    pub path: Path,
    /// Interval of payload that each host sends, and when next.
    apps: [Option<(Duration, Time)>; 2],
    queue: BinaryHeap<Reverse<(Time, u64, usize, usize)>>,
    packets: Vec<(Packet, LocatorPair)>,
    serial: u64,
    pub log: Vec<Entry>,
}

fn mirror(p: LocatorPair) -> LocatorPair {
    LocatorPair { local: p.peer, peer: p.local }
}

/// Index of a locator, from 1.
pub fn index(a: Ipv6Addr) -> usize {
    usize::from(a.segments()[2] >> 8)
}

impl Duo {
    /// A with `n` locators, B with `m`; both Operational on the first pair.
    pub fn new(n: usize, m: usize, config: ReapConfig, seed: u64) -> Duo {
        let all = product(n, m);
        let mut duo = Duo {
            reap: [Reap::new(pair(1, 1)), Reap::new(mirror(pair(1, 1)))],
            config: [config.clone(), config],
            rng: [SeededRng::new(seed), SeededRng::new(!seed)],
            now: secs(0.0),
            delay: Duration::from_millis(50),
            path: Box::new(|_, _, _, _, _| true),
            apps: [None, None],
            queue: BinaryHeap::new(),
            packets: Vec::new(),
            serial: 0,
            log: Vec::new(),
        };
        duo.with(0, |r, e| r.set_candidates(e, all.clone()));
        duo.with(1, |r, e| r.set_candidates(e, all.iter().map(|p| mirror(*p)).collect()));
        duo
    }

    /// Host sends payload every `interval` seconds from `start` on; 0 ends it.
    pub fn app(&mut self, host: usize, start: f64, interval: f64) {
        self.apps[host] = (interval > 0.0).then(|| (Duration::from_secs_f64(interval), secs(start)));
    }

    /// An event at a host, and what follows from it.
    pub fn with(&mut self, host: usize, f: impl FnOnce(&mut Reap, &mut Env)) {
        let mut env = Env { now: self.now, rng: &mut self.rng[host], config: &self.config[host] };
        f(&mut self.reap[host], &mut env);
        while let Some(a) = self.reap[host].poll_action() {
            match a {
                Action::SendKeepalive { pair } => {
                    self.note(host, What::Keepalive);
                    self.transmit(host, pair, Packet::Keepalive);
                }
                Action::SendProbe { pair, state, sent, received } => {
                    let p = Probe {
                        receiver_tag: crate::addr::ContextTag::new(1),
                        state,
                        sent,
                        received,
                        options: Options::default(),
                    };
                    let (nonce, reported) = (p.sent[0].nonce, p.received.iter().map(|b| b.nonce).collect());
                    let lost = !self.transmit(host, pair, Packet::Probe(Box::new(p)));
                    self.note(host, What::Probe { pair, state, nonce, reported, lost });
                }
                Action::PairChanged { new, .. } => self.note(host, What::Pair(new)),
                Action::ExplorationStarted { cause, .. } => self.note(host, What::Started(cause)),
                Action::ExplorationEnded { .. } => self.note(host, What::Ended),
                Action::Reachable { .. } | Action::TestEnded { .. } => {}
            }
        }
    }

    fn note(&mut self, host: usize, what: What) {
        let at = self.now.since(Time::ZERO).as_secs_f64();
        self.log.push(Entry { at, host, what });
    }

    fn transmit(&mut self, host: usize, pair: LocatorPair, packet: Packet) -> bool {
        let sta = if let Packet::Probe(p) = &packet { Some(p.state) } else { None };
        let at = self.now.since(Time::ZERO).as_secs_f64();
        if !(self.path)(at, host, index(pair.local), index(pair.peer), sta) {
            return false;
        }
        self.packets.push((packet, pair));
        self.serial += 1;
        self.queue.push(Reverse((self.now + self.delay, self.serial, 1 - host, self.packets.len() - 1)));
        true
    }

    /// Run until `end` seconds.
    pub fn run(&mut self, end: f64) {
        let end = secs(end);
        loop {
            let arrival = self.queue.peek().map(|r| r.0.0);
            let timers = [0, 1].map(|h| self.reap[h].next_timeout());
            let apps = self.apps.map(|a| a.map(|a| a.1));
            let next = [arrival, timers[0], timers[1], apps[0], apps[1]].into_iter().flatten().min();
            let Some(next) = next.filter(|t| *t <= end) else { break };
            self.now = self.now.max(next);
            if arrival == Some(next) {
                let Reverse((_, _, host, at)) = self.queue.pop().expect("peeked");
                self.arrive(host, at);
            } else if let Some(h) = (0..2).find(|h| timers[*h] == Some(next)) {
                self.with(h, |r, e| r.handle_timeout(e));
            } else if let Some(h) = (0..2).find(|h| apps[*h] == Some(next)) {
                self.apps[h] = self.apps[h].map(|(i, t)| (i, t + i));
                let pair = self.reap[h].current();
                self.note(h, What::Payload { pair });
                self.transmit(h, pair, Packet::Payload);
                self.with(h, |r, e| r.payload_sent(e));
            }
        }
        self.now = end;
    }

    fn arrive(&mut self, host: usize, at: usize) {
        let (packet, pair) = self.packets[at].clone();
        match packet {
            Packet::Payload => {
                self.note(host, What::Heard);
                self.with(host, |r, e| r.payload_received(e));
            }
            Packet::Keepalive => self.with(host, |r, e| r.keepalive_received(e)),
            Packet::Probe(p) => self.with(host, |r, e| r.probe_received(e, &p, mirror(pair))),
        }
    }

    pub fn states(&self) -> [ReapState; 2] {
        [self.reap[0].state(), self.reap[1].state()]
    }

    /// Current pairs as (local index, peer index).
    pub fn currents(&self) -> [(usize, usize); 2] {
        [0, 1].map(|h| (index(self.reap[h].current().local), index(self.reap[h].current().peer)))
    }

    pub fn entries(&self, host: usize, f: impl Fn(&What) -> bool) -> Vec<f64> {
        self.log.iter().filter(|e| e.host == host && f(&e.what)).map(|e| e.at).collect()
    }

    /// Probes of a host from `since` on: time, local index, peer index, Sta, lost.
    pub fn probes(&self, host: usize, since: f64) -> Vec<(f64, usize, usize, ReapState, bool)> {
        self.log
            .iter()
            .filter(|e| e.host == host && e.at >= since)
            .filter_map(|e| match &e.what {
                What::Probe { pair, state, lost, .. } => {
                    Some((e.at, index(pair.local), index(pair.peer), *state, *lost))
                }
                _ => None,
            })
            .collect()
    }

    /// Probes and Keepalives of both.
    pub fn control(&self) -> usize {
        self.log.iter().filter(|e| matches!(e.what, What::Probe { .. } | What::Keepalive)).count()
    }

    /// The nonces of a host's Probes on a pair, in order, with what each reported.
    pub fn nonces(&self, host: usize, on: (usize, usize)) -> Vec<(u32, Vec<u32>)> {
        self.log
            .iter()
            .filter(|e| e.host == host)
            .filter_map(|e| match &e.what {
                What::Probe { pair, nonce, reported, .. } if (index(pair.local), index(pair.peer)) == on => {
                    Some((*nonce, reported.clone()))
                }
                _ => None,
            })
            .collect()
    }
}
