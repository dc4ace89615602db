//! The protocol core alone, driven as `shim6::driver` drives it, but with neither sockets nor threads: what 100,000 contexts
//! cost, which no two processes of a bench of minutes would set up, and what many locators cost.
//!
//! In goes what to make, out come times of this processor and octets of memory as JSON. Each measurement runs in a
//! process of its own ([`main`]), so that its memory is its own. The time that the engine is told is made up; only what it
//! computes is measured.

use serde_json::{Value, json};
use shim6::addr::{ContextTag, LocatorPair, UlidPair};
use shim6::config::Config;
use shim6::crypto::{HbaSet, MAX_PREFIXES};
use shim6::engine::{
    ContextInfo, Datagram, Direction, Engine, HostPolicy, LocalLocator, LocatorInfo, PairTraffic, Transmit,
};
use shim6::event::EventKind;
use shim6::identity::Identity;
use shim6::rng::{Rng, SeededRng};
use shim6::time::Time;
use shim6::wire::{emit_payload_header, message_type};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Operations that are timed together, as a look at the clock costs time itself.
const BATCH: usize = 64;
/// Batches of one measurement.
const BATCHES: usize = 300;
/// One way.
const DELAY: Duration = Duration::from_millis(10);
/// Between two datagrams of each side in an exploration.
const INTERVAL: Duration = Duration::from_millis(20);
/// An exploration that takes longer is given up.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// The measurement that `what` names, printed as JSON: `contexts:N`, `locators:N`.
pub fn main(what: &str) -> Result<(), String> {
    let bad = || format!("{what}: contexts:N or locators:N");
    let (kind, n) = what.split_once(':').ok_or_else(bad)?;
    let n = n.parse().ok().filter(|n| (1..=1_000_000).contains(n)).ok_or_else(bad)?;
    let measured = match kind {
        "contexts" => contexts(n),
        "locators" => locators(n as usize)?,
        _ => return Err(bad()),
    };
    println!("{measured}");
    Ok(())
}

/// A host whose sockets want everything.
struct Open;

impl HostPolicy for Open {
    fn serves(&self, _: UlidPair, _: Option<shim6::addr::FlowId>) -> bool {
        true
    }
    fn tag_is_foreign(&self, _: ContextTag) -> bool {
        false
    }
    fn has_unread(&self, _: UlidPair) -> bool {
        false
    }
    fn in_use(&self, _: UlidPair) -> bool {
        true
    }
    fn wants_context(&self, _: UlidPair, _: PairTraffic) -> Option<bool> {
        Some(false)
    }
}

/// Defaults, but for limits that protect from strangers.
fn config() -> Config {
    let mut config = Config::default();
    let limits = &mut config.shim6;
    (limits.reply_rate_per_source, limits.reply_rate_total) = (u32::MAX, u32::MAX);
    limits.max_contexts = 1 << 20;
    limits.max_pds_memory = 1 << 30;
    config
}

/// The addresses of host `host`: one for each of `n` prefixes, in HBA sets as large as can be.
fn addresses(host: u32, n: usize) -> Vec<LocalLocator> {
    let prefix = |i: usize| {
        let [a, b, c, d] = host.to_be_bytes();
        [0x24, i as u8 + 1, 0xd, 0xb8, a, b, c, d]
    };
    let prefixes: Vec<_> = (0..n).map(prefix).collect();
    let mut locators = Vec::with_capacity(n);
    for (i, some) in prefixes.chunks(MAX_PREFIXES).enumerate() {
        let mut rng = SeededRng::new(u64::from(host) << 8 | i as u64);
        let set = HbaSet::generate(some, 0, None, &mut rng).expect("prefixes that differ");
        let identity = Arc::new(Identity::from_set(&set));
        locators.extend(identity.members().map(|addr| LocalLocator {
            addr,
            ifindex: 2,
            operational: true,
            deprecated: false,
            group: 0,
            identity: Some(identity.clone()),
        }));
    }
    locators
}

fn engine(host: u32, locators: &[LocalLocator], now: Time) -> Engine {
    let rng = Box::new(SeededRng::new(u64::from(host) + 1000));
    let mut engine = Engine::new(config(), rng, Box::new(Open), Some(host as u16));
    engine.set_local_locators(now, locators.to_vec());
    out(&mut engine);
    engine
}

/// What the driver takes out of an engine after each turn; the messages.
fn out(engine: &mut Engine) -> Vec<Transmit> {
    let mut messages = Vec::new();
    loop {
        while let Some(t) = engine.poll_transmit() {
            messages.push(t);
        }
        while let Some(event) = engine.poll_event() {
            black_box(event);
        }
        let Some(ulids) = engine.poll_changed() else { return messages };
        black_box((engine.context(ulids), engine.wake(ulids)));
    }
}

/// As a receiver sees it.
fn arriving(t: &Transmit) -> Datagram<'_> {
    Datagram { source: t.locators.local, destination: t.locators.peer, data: &t.data }
}

fn timed<T>(f: impl FnOnce() -> T) -> (f64, T) {
    let begun = Instant::now();
    let result = black_box(f());
    (begun.elapsed().as_nanos() as f64, result)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// Time of one `operation`, ns: the median of batches.
fn each(mut operation: impl FnMut()) -> f64 {
    let batch = || timed(|| (0..BATCH).for_each(|_| operation())).0 / BATCH as f64;
    median(std::iter::repeat_with(batch).take(BATCHES).collect())
}

/// Times of both sides of a handshake, ns.
#[derive(Clone, Copy, Default)]
struct Handshake {
    both: f64,
    /// The responder's.
    responder: f64,
    /// Its part of the I2, which brings what has to be verified.
    i2: f64,
    /// Octets of the I2.
    i2_octets: usize,
}

/// `initiator` sets a context up with `responder`.
fn shake(initiator: &mut Engine, responder: &mut Engine, now: Time, ulids: UlidPair) -> Handshake {
    let mut times = Handshake::default();
    let (ns, mut there) = timed(|| {
        initiator.establish(now, ulids, None);
        out(initiator)
    });
    times.both += ns;
    while !there.is_empty() {
        let mut back = Vec::new();
        for t in &there {
            let (ns, answers) = timed(|| {
                responder.handle_datagram(now, &arriving(t));
                out(responder)
            });
            times.responder += ns;
            if t.data.get(2) == Some(&message_type::I2) {
                (times.i2, times.i2_octets) = (ns, t.data.len());
            }
            back.extend(answers);
        }
        there.clear();
        for t in &back {
            let (ns, answers) = timed(|| {
                initiator.handle_datagram(now, &arriving(t));
                out(initiator)
            });
            times.both += ns;
            there.extend(answers);
        }
    }
    times.both += times.responder;
    times
}

/// A context of the host that is measured, and a datagram of its peer after a switch.
struct Known {
    ulids: UlidPair,
    source: Ipv6Addr,
    data: Vec<u8>,
}

/// One host with contexts to `n` others.
fn contexts(n: u32) -> Value {
    let mut now = Time(1_000_000_000);
    let here = addresses(0, 2);
    let (ulid, other) = (here[0].addr, here[1].addr);
    let mut server = engine(0, &here, now);
    let mut known = Vec::with_capacity(n as usize);
    let (mut setup, mut first) = (Vec::new(), Vec::new());
    let before = super::resident("self");
    for i in 1..=n {
        now = now + Duration::from_micros(10);
        let there = addresses(i, 2);
        let mut peer = engine(i, &there, now);
        let ulids = UlidPair { local: ulid, peer: there[0].addr };
        let took = shake(&mut peer, &mut server, now, mirrored(ulids));
        let info = server.context(ulids).expect("a context");
        let mut data = emit_payload_header(info.local_tag, 17).to_vec();
        data.extend([0; 64]);
        let one = Known { ulids, source: there[1].addr, data };
        // The peer is no more, but has been heard.
        let (ns, ()) = timed(|| receive(&mut server, now, other, &one));
        known.push(one);
        // With as many contexts as are to be there, or nearly.
        if i + 1000 > n {
            setup.push(took.responder);
            first.push(ns);
        }
    }
    let memory = (super::resident("self") - before) / f64::from(n);

    let mut rng = SeededRng::new(7);
    let tick = Duration::from_micros(1);
    let busy = each(|| {
        now = now + tick;
        receive(&mut server, now, other, &known[0]);
    });
    let any = each(|| {
        now = now + tick;
        receive(&mut server, now, other, &known[rng.below(known.len())]);
    });
    let told = each(|| {
        now = now + tick;
        let ulids = known[rng.below(known.len())].ulids;
        server.payload(now, ulids, Direction::Received, 1, 64, None);
        black_box(out(&mut server));
    });

    // Keepalives, one context after the other.
    let mut rounds = Vec::new();
    while rounds.len() < BATCHES {
        let (mut due, mut spent) = (0, 0.0);
        while due < BATCH {
            let Some(next) = server.poll_timeout() else { break };
            now = now.max(next);
            due += server.due(now).count();
            spent += timed(|| turn(&mut server, now)).0;
        }
        if due == 0 {
            break;
        }
        rounds.push(spent / due as f64);
    }
    // All at once, as after a halt of the machine.
    now = now + Duration::from_secs(3600);
    let (all, ()) = timed(|| turn(&mut server, now));
    let (lost, probes) = timed(|| {
        server.set_local_locators(now, here[1..].to_vec());
        out(&mut server).len()
    });
    json!({
        "contexts": n,
        "setup_ns": median(setup),
        "first_ns": median(first),
        "busy_ns": busy,
        "any_ns": any,
        "told_ns": told,
        "timer_ns": median(rounds),
        "all_due_ms": all / 1e6,
        "link_lost_ms": lost / 1e6,
        "probes": probes,
        // Of a few, the allocator's own share is most.
        "octets": (n >= 100).then_some(memory),
    })
}

/// Tagged payload of a peer comes by the second locators.
fn receive(engine: &mut Engine, now: Time, destination: Ipv6Addr, from: &Known) {
    let d = Datagram { source: from.source, destination, data: &from.data };
    let delivered = engine.handle_datagram(now, &d);
    assert_eq!(delivered.map(|d| d.ulids), Some(from.ulids));
    black_box(out(engine));
}

/// What the driver does when a timer runs out and no traffic passed.
fn turn(engine: &mut Engine, now: Time) {
    black_box(engine.due(now).count());
    engine.handle_timeout(now);
    black_box(out(engine));
}

/// Two hosts with `n` addresses each.
fn locators(n: usize) -> Result<Value, String> {
    let now = Time(1_000_000_000);
    let sets = [addresses(1, n), addresses(2, n)];
    let ulids = UlidPair { local: sets[0][0].addr, peer: sets[1][0].addr };
    let repeats = if n > 8 { 25 } else { 200 };
    let (mut both, mut i2, mut news, mut taken) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut octets, mut update_octets) = (0, 0);
    let mut datagram = 0.0;
    for round in 0..repeats {
        let [mut a, mut b] = [1, 2].map(|host| engine(host, &sets[host as usize - 1], now));
        let took = shake(&mut a, &mut b, now, ulids);
        both.push(took.both);
        i2.push(took.i2);
        octets = took.i2_octets;
        if round + 1 == repeats {
            let info = context(&b, mirrored(ulids))?;
            let last = |list: &[LocatorInfo]| list.last().map(|l| l.addr).ok_or("a list is empty");
            let (source, destination) = (last(&info.peer)?, last(&info.local)?);
            let mut data = emit_payload_header(info.local_tag, 17).to_vec();
            data.extend([0; 64]);
            let one = Known { ulids: mirrored(ulids), source, data };
            let mut at = now;
            datagram = each(|| {
                at = at + Duration::from_micros(1);
                receive(&mut b, at, destination, &one);
            });
        }
        // The first host loses its second address.
        let mut fewer = sets[0].clone();
        fewer.remove(1);
        let later = now + Duration::from_secs(1);
        let (ns, told) = timed(|| {
            a.set_local_locators(later, fewer);
            out(&mut a)
        });
        news.push(ns);
        for t in &told {
            update_octets = t.data.len();
            let (ns, _) = timed(|| {
                b.handle_datagram(later, &arriving(t));
                out(&mut b)
            });
            taken.push(ns);
        }
    }
    let offered = |host: usize| {
        // What the other one has been told: of more than 32 addresses 32 (SHIM_MAX_LOCATORS).
        sets[host].iter().take(MAX_PREFIXES).map(|l| l.addr).collect::<Vec<_>>()
    };
    let (own, theirs) = (offered(0), offered(1));
    let without_first = |p: LocatorPair| p.local != own[0] && p.peer != theirs[0];
    let last_alone = |p: LocatorPair| own.last() == Some(&p.local) && theirs.last() == Some(&p.peer);
    let one = Duo::new(&sets, ulids).explore(&without_first)?;
    let only = Duo::new(&sets, ulids).explore(&last_alone)?;
    Ok(json!({
        "locators": n,
        "offered": own.len(),
        "setup_ns": median(both),
        "i2_ns": median(i2),
        "i2_octets": octets,
        "datagram_ns": datagram,
        "update_sender_ns": median(news),
        "update_receiver_ns": median(taken),
        "update_octets": update_octets,
        "first_fails": { "probes": one.probes, "seconds": one.seconds },
        "last_works": { "probes": only.probes, "seconds": only.seconds },
    }))
}

fn mirrored(ulids: UlidPair) -> UlidPair {
    UlidPair { local: ulids.peer, peer: ulids.local }
}

fn context(engine: &Engine, ulids: UlidPair) -> Result<ContextInfo, &'static str> {
    engine.context(ulids).ok_or("there is no context")
}

/// What it took to find a pair that works.
struct Search {
    /// Of both hosts.
    probes: usize,
    /// From the suspicion of the first host to its switch.
    seconds: f64,
}

/// Two hosts and the way between them; each sends a datagram now and then.
struct Duo {
    engines: [Engine; 2],
    ulids: [UlidPair; 2],
    now: Time,
    /// What arrives where, by time and number.
    under_way: BTreeMap<(Time, u64), (usize, Transmit)>,
    sent: u64,
    next_datagram: Time,
}

impl Duo {
    fn new(sets: &[Vec<LocalLocator>; 2], ulids: UlidPair) -> Duo {
        let now = Time(1_000_000_000);
        let mut engines = [engine(1, &sets[0], now), engine(2, &sets[1], now)];
        let [a, b] = &mut engines;
        shake(a, b, now, ulids);
        let ulids = [ulids, mirrored(ulids)];
        Duo { engines, ulids, now, under_way: BTreeMap::new(), sent: 0, next_datagram: now }
    }

    /// From now on only those pairs work of which `works` says so, as the first host sees them; until it has switched.
    fn explore(mut self, works: &dyn Fn(LocatorPair) -> bool) -> Result<Search, String> {
        let begin = self.now;
        let (mut probes, mut suspected) = (0, None);
        while self.now.since(begin) < LONGEST {
            let arrival = self.under_way.keys().next().map(|(t, _)| *t);
            let timers = self.engines.iter().filter_map(Engine::poll_timeout);
            let next = timers.chain(arrival).chain([self.next_datagram]).min().unwrap_or(self.now);
            self.now = self.now.max(next);
            if arrival.is_some_and(|t| t <= self.now) {
                if let Some((_, (host, t))) = self.under_way.pop_first() {
                    self.engines[host].handle_datagram(self.now, &arriving(&t));
                }
            } else if self.next_datagram <= self.now {
                self.next_datagram = self.now + INTERVAL;
                (0..2).for_each(|host| self.datagram(host, works));
            }
            for host in 0..2 {
                let engine = &mut self.engines[host];
                engine.handle_timeout(self.now);
                while let Some(event) = engine.poll_event() {
                    match event.kind {
                        EventKind::ExplorationStarted { .. } if host == 0 => {
                            suspected = suspected.or(Some(self.now));
                        }
                        EventKind::PairChanged { .. } if host == 0 => {
                            let since = suspected.unwrap_or(self.now);
                            return Ok(Search { probes, seconds: self.now.since(since).as_secs_f64() });
                        }
                        _ => {}
                    }
                }
                for t in out(engine) {
                    probes += usize::from(t.data.get(2) == Some(&message_type::PROBE));
                    self.carry(host, t, works);
                }
            }
        }
        Err("no pair was found in a day".into())
    }

    /// A message leaves a host; if its pair works, it arrives.
    fn carry(&mut self, from: usize, t: Transmit, works: &dyn Fn(LocatorPair) -> bool) {
        let LocatorPair { local, peer } = t.locators;
        let seen = if from == 0 { t.locators } else { LocatorPair { local: peer, peer: local } };
        if works(seen) {
            self.sent += 1;
            self.under_way.insert((self.now + DELAY, self.sent), (1 - from, t));
        }
    }

    /// The program of a host sends a datagram.
    fn datagram(&mut self, from: usize, works: &dyn Fn(LocatorPair) -> bool) {
        let ulids = self.ulids[from];
        let pair = self.engines[from].context(ulids).map(|c| (c.current, c.peer_tag));
        self.engines[from].payload(self.now, ulids, Direction::Sent, 1, 64, None);
        if let Some((locators, Some(tag))) = pair
            && locators != ulids.as_locators()
        {
            let data = emit_payload_header(tag, 17).to_vec();
            self.carry(from, Transmit { locators, data }, works);
        }
    }
}
