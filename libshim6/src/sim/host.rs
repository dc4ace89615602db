//! One host: its addresses, its sockets, its engine.

use super::cell::Cell;
use crate::addr::{ContextTag, FlowId, LocatorPair, UlidPair};
use crate::config::Config;
use crate::engine::{Direction, Engine, HostPolicy, LocalLocator};
use crate::event::Event;
use crate::rng::SeededRng;
use crate::time::Time;
use crate::wire::{self, Message};
use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::sync::{Arc, Mutex, PoisonError};

/// How a host treats protocol 140.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// It runs an engine.
    Shim6,
    /// It drops such packets.
    Silent,
    /// It answers with an ICMPv6 Parameter Problem, as a kernel does.
    Icmp,
}

/// What a host is made from.
#[derive(Clone, Debug)]
pub struct HostSpec {
    /// Of its engine.
    pub config: Config,
    /// All its addresses.
    pub locators: Vec<LocalLocator>,
    /// Protocol 140.
    pub support: Support,
    /// Tell the engine of traffic as the driver does, by wake flags and samples; `false`: of each datagram at once.
    pub lazy: bool,
    /// All flows have the same ports.
    pub one_port: bool,
    /// Its sockets take datagrams on any locator.
    pub takes_bare: bool,
    /// Another implementation, which knows timeouts in whole seconds only: our own option for milliseconds is neither
    /// sent nor understood.
    pub seconds_only: bool,
}

impl HostSpec {
    /// A host with Shim6 and the given addresses.
    pub fn new(config: Config, locators: Vec<LocalLocator>) -> HostSpec {
        HostSpec {
            config,
            locators,
            support: Support::Shim6,
            lazy: false,
            one_port: false,
            takes_bare: true,
            seconds_only: false,
        }
    }
}

/// A message without the option that only we know.
pub(super) fn in_seconds(data: Vec<u8>) -> Vec<u8> {
    let Ok(wire::Packet::Control(mut message)) = wire::parse(&data) else { return data };
    let options = match &mut message {
        Message::I2(m) => &mut m.options,
        Message::I2bis(m) => &mut m.options,
        Message::R2(m) => &mut m.options,
        Message::UpdateRequest(m) => &mut m.options,
        _ => return data,
    };
    options.precise_timeout = None;
    message.emit().unwrap_or(data)
}

/// Open sockets by ULID pair.
type Sockets = Arc<Mutex<BTreeMap<UlidPair, usize>>>;

struct Policy(Sockets, bool);

fn open(sockets: &Sockets, ulids: UlidPair) -> usize {
    sockets.lock().unwrap_or_else(PoisonError::into_inner).get(&ulids).copied().unwrap_or(0)
}

impl HostPolicy for Policy {
    fn serves(&self, ulids: UlidPair, _: Option<FlowId>) -> bool {
        open(&self.0, ulids) > 0
    }
    fn tag_is_foreign(&self, _: ContextTag) -> bool {
        false
    }
    fn has_unread(&self, _: UlidPair) -> bool {
        false
    }
    fn in_use(&self, ulids: UlidPair) -> bool {
        open(&self.0, ulids) > 0
    }
    fn takes_bare(&self, ulids: UlidPair, _: Option<FlowId>) -> bool {
        self.1 && open(&self.0, ulids) > 0
    }
}

pub(super) struct Host {
    pub(super) spec: HostSpec,
    pub(super) events: Vec<Event>,
    engine: Option<Engine>,
    present: Vec<bool>,
    sockets: Sockets,
    cells: BTreeMap<UlidPair, Cell>,
}

impl Host {
    pub(super) fn new(spec: HostSpec, now: Time, seed: u64) -> Host {
        let present = vec![true; spec.locators.len()];
        let mut host = Host {
            spec,
            events: Vec::new(),
            engine: None,
            present,
            sockets: Sockets::default(),
            cells: BTreeMap::new(),
        };
        host.restart(now, seed);
        host
    }

    pub(super) fn restart(&mut self, now: Time, seed: u64) {
        self.cells.clear();
        if self.spec.support == Support::Shim6 {
            let policy = Box::new(Policy(self.sockets.clone(), self.spec.takes_bare));
            let mut engine =
                Engine::new(self.spec.config.clone(), Box::new(SeededRng::new(seed)), policy, None);
            engine.set_local_locators(now, self.locators());
            self.engine = Some(engine);
        }
    }

    fn locators(&self) -> Vec<LocalLocator> {
        let here = self.spec.locators.iter().zip(&self.present).filter(|(_, p)| **p);
        here.map(|(l, _)| l.clone()).collect()
    }

    pub(super) fn has(&self, addr: Ipv6Addr) -> bool {
        self.spec.locators.iter().zip(&self.present).any(|(l, p)| *p && l.addr == addr)
    }

    pub(super) fn set_present(&mut self, now: Time, present: impl Fn(usize) -> bool) {
        self.present = (0..self.spec.locators.len()).map(present).collect();
        let locators = self.locators();
        if let Some(e) = &mut self.engine {
            // What came before the change is no sign of life after it
            self.cells.iter_mut().for_each(|(ulids, cell)| cell.tell(now, e, *ulids));
            e.set_local_locators(now, locators);
        }
    }

    pub(super) fn open(&mut self, ulids: UlidPair) {
        *self.sockets.lock().unwrap_or_else(PoisonError::into_inner).entry(ulids).or_insert(0) += 1;
    }

    pub(super) fn close(&mut self, ulids: UlidPair) {
        if let Some(n) = self.sockets.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&ulids) {
            *n = n.saturating_sub(1);
        }
    }

    pub(super) fn engine(&self) -> Option<&Engine> {
        self.engine.as_ref()
    }

    pub(super) fn engine_mut(&mut self) -> Option<&mut Engine> {
        self.engine.as_mut()
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.engine.as_ref()?.poll_timeout()
    }

    /// The engine's time has come: it is told of all traffic first.
    pub(super) fn timeout(&mut self, now: Time) {
        let Some(engine) = &mut self.engine else { return };
        for (ulids, cell) in &mut self.cells {
            cell.tell(now, engine, *ulids);
        }
        engine.handle_timeout(now);
    }

    /// As the driver: before a control message is handled, the engine is told what was sent until then.
    pub(super) fn tell_before(&mut self, now: Time, data: &[u8]) {
        let Some(engine) = &mut self.engine else { return };
        if let Some((ulids, _)) = engine.owner(data)
            && let Some(cell) = self.cells.get_mut(&ulids)
        {
            cell.tell(now, engine, ulids);
        }
    }

    pub(super) fn note_sent(&mut self, now: Time, ulids: UlidPair, bytes: u64, flow: usize) {
        self.note(now, ulids, Direction::Sent, bytes, flow);
    }

    pub(super) fn note_received(&mut self, now: Time, ulids: UlidPair, bytes: u64, flow: usize) {
        self.note(now, ulids, Direction::Received, bytes, flow);
    }

    pub(super) fn flow_id(&self, flow: usize) -> FlowId {
        let port = 1000 + if self.spec.one_port { 0 } else { flow as u16 };
        FlowId { protocol: 17, local_port: port, peer_port: port }
    }

    fn note(&mut self, now: Time, ulids: UlidPair, dir: Direction, bytes: u64, flow: usize) {
        let id = self.flow_id(flow);
        let Some(engine) = &mut self.engine else { return };
        // As the socket layer does, with the first datagram
        engine.note_flow(now, ulids, id);
        if !self.spec.lazy {
            return engine.payload(now, ulids, dir, 1, bytes, Some(id));
        }
        let cell = self.cells.entry(ulids).or_insert_with(|| Cell::new(id, engine.wake(ulids)));
        if cell.note(now, dir, bytes) {
            cell.tell(now, engine, ulids);
            cell.set_wake(engine.wake(ulids));
        }
    }

    /// Take events and changed wake flags out of the engine.
    pub(super) fn settle(&mut self, now: Time) {
        let Some(engine) = &mut self.engine else { return };
        while let Some(e) = engine.poll_event() {
            self.events.push(e);
        }
        while let Some(ulids) = engine.poll_changed() {
            if let Some(cell) = self.cells.get_mut(&ulids) {
                cell.tell(now, engine, ulids);
                cell.set_wake(engine.wake(ulids));
            }
        }
    }

    /// The kernel refused a control message.
    pub(super) fn refuse(&mut self, now: Time, message: &Message, locators: LocatorPair) {
        let Some(engine) = &mut self.engine else { return };
        let tag = message.receiver_tag();
        let of = engine.contexts().find(|c| tag.is_some() && c.peer_tag == tag).map(|c| c.ulids);
        if let Some(ulids) = of {
            engine.send_refused(now, ulids, locators);
        }
    }
}
