//! The run loop of the engine thread: waits for packets, address changes, timers, commands and readiness, feeds the
//! engine, and carries out what it wants.

use super::addresses::Addresses;
use super::cell::{CellKey, Forward};
use super::claim::{CACHED, Claim, DefaultClaims};
use super::console::{self, Console, Request};
use super::deliver::Delivery;
use super::host::{SocketHost, UlidLoss};
use super::icmp::IcmpSocket;
use super::receive::{self, ReceiveSocket};
use super::resend::Again;
use super::shared::{Command, Counters, Shared};
use super::sys::{self, OwnFd};
use super::traffic::{Report, Tracked};
use super::unread::Unread;
use super::{clock, filter, report, send, watch};
use crate::addr::{Fii, FlowId, LocatorPair, UlidPair};
use crate::engine::{ContextInfo, Datagram, Direction, Engine, IcmpError, IcmpKind};
use crate::event::EventKind;
use crate::time::Time;
use crossbeam_channel::Receiver;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, IoSlice};
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

const RAW: u64 = 0;
const NETLINK: u64 = 1;
const TIMER: u64 = 2;
const WAKE: u64 = 3;
const ICMP: u64 = 4;
const CONSOLE: u64 = 5;

/// Batches of packets and errors taken at a time, before timers and commands get their turn.
const BATCHES: usize = 8;
const ERRORS: usize = 64;
/// Rounds of engine output that one turn carries out; what is left comes with the next turn.
const ROUNDS: usize = 16;
/// How long the start waits at most for the socket that it is for.
const SOCKET_WAIT: Duration = Duration::from_millis(20);
/// How long the kernel's word on a path MTU is kept.
const MTU_KEPT: Duration = Duration::from_secs(60);
const MAX_MTUS: usize = 4096;

/// Everything that the engine thread owns.
pub struct Runner {
    pub(super) shared: Arc<Shared>,
    pub(super) engine: Engine,
    receive: ReceiveSocket,
    icmp: IcmpSocket,
    delivery: Delivery,
    addresses: Addresses,
    commands: Receiver<Command>,
    claim: Arc<Claim>,
    pub(super) defaults: Arc<DefaultClaims>,
    pub(super) host: Arc<dyn SocketHost>,
    pub(super) unread: Arc<Unread>,
    timer: OwnFd,
    armed: Option<Time>,
    pub(super) tracked: BTreeMap<CellKey, Tracked>,
    /// Prefixes that the kernel drops for us, and until when.
    foreign: BTreeMap<u16, Time>,
    /// Pairs whose datagrams are held back, and until when at most.
    pub(super) held: BTreeMap<UlidPair, Time>,
    mtus: HashMap<LocatorPair, (u32, Time)>,
    /// Datagrams that are being sent again.
    pub(super) again: Vec<Again>,
    /// `None` if the kernel gave none: nothing but the tool needs it.
    console: Option<Console>,
}

/// What a runner is made of.
pub struct Parts {
    pub shared: Arc<Shared>,
    pub engine: Engine,
    pub receive: ReceiveSocket,
    pub icmp: IcmpSocket,
    pub delivery: Delivery,
    pub addresses: Addresses,
    pub commands: Receiver<Command>,
    pub claim: Arc<Claim>,
    pub defaults: Arc<DefaultClaims>,
    pub host: Arc<dyn SocketHost>,
    pub unread: Arc<Unread>,
}

impl Runner {
    /// Register with epoll.
    pub fn new(parts: Parts) -> io::Result<Runner> {
        let Parts {
            shared,
            engine,
            receive,
            icmp,
            delivery,
            addresses,
            commands,
            claim,
            defaults,
            host,
            unread,
        } = parts;
        let timer = sys::timerfd()?;
        let epoll = shared.epoll.raw();
        let sources = [
            (RAW, receive.raw()),
            (NETLINK, addresses.raw()),
            (TIMER, timer.raw()),
            (WAKE, shared.waker.raw()),
            (ICMP, icmp.raw()),
        ];
        for (token, fd) in sources {
            sys::epoll_control(epoll, libc::EPOLL_CTL_ADD, fd, libc::EPOLLIN as u32, token)?;
        }
        let console = Console::open(claim.prefix()).and_then(|c| {
            sys::epoll_control(epoll, libc::EPOLL_CTL_ADD, c.raw(), libc::EPOLLIN as u32, CONSOLE).map(|()| c)
        });
        Ok(Runner {
            shared,
            engine,
            receive,
            icmp,
            delivery,
            addresses,
            commands,
            claim,
            defaults,
            host,
            unread,
            timer,
            armed: None,
            tracked: BTreeMap::new(),
            foreign: BTreeMap::new(),
            held: BTreeMap::new(),
            mtus: HashMap::new(),
            again: Vec::new(),
            console: console.inspect_err(|e| tracing::debug!(error = %e, "no console")).ok(),
        })
    }

    /// Run until told to stop, or until the kernel refuses to wait.
    pub fn run(&mut self) -> io::Result<()> {
        self.host.clone().on_engine_thread();
        tracing::info!(prefix = format_args!("{:04x}", self.claim.prefix()), "engine started");
        self.address_changes();
        self.wait_for_socket();
        let mut events = Vec::new();
        while !self.shared.stopping.load(SeqCst) {
            self.arm()?;
            events.clear();
            match sys::epoll_wait(self.shared.epoll.raw(), &mut events) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            Counters::add(&self.shared.counters.wakeups, 1);
            // A link that went down comes first: the probes that find another path should leave at once.
            events.sort_by_key(|(_, token)| (*token != NETLINK, *token));
            for (ready, token) in &events {
                match *token {
                    NETLINK => self.address_changes(),
                    RAW => self.packets(*ready),
                    TIMER => {
                        sys::clear(self.timer.raw());
                        self.armed = None;
                    }
                    WAKE => self.commands(),
                    ICMP => self.errors(),
                    CONSOLE => self.console_requests(),
                    watch => self.readable((watch - watch::TOKEN) as RawFd),
                }
            }
            self.timeouts();
        }
        Ok(())
    }

    /// The raw socket is open already, and an I1 that is read before the socket it is for can be found would be dropped: the
    /// peer would be silent for the whole of its I1 timer.
    fn wait_for_socket(&self) {
        let end = clock::now() + SOCKET_WAIT;
        loop {
            let left = end.since(clock::now());
            let over = self.shared.registered.load(SeqCst) || self.shared.stopping.load(SeqCst);
            if over || left.is_zero() {
                return;
            }
            std::thread::park_timeout(left);
        }
    }

    /// Undo what lives outside of this process.
    pub fn shut_down(&mut self) {
        self.end_again();
        self.addresses.release_all();
    }

    /// Set the timer to the next deadline, if it is not set to it.
    fn arm(&mut self) -> io::Result<()> {
        let deadlines = [
            self.engine.poll_timeout(),
            self.delivery.next_expiry(),
            self.addresses.next_refresh(),
            self.held.values().min().copied(),
            self.addresses.next_look(),
            self.foreign.values().min().copied(),
            self.again.iter().map(Again::next).min(),
        ];
        let next = deadlines.into_iter().flatten().min();
        if next != self.armed {
            sys::arm_timer(self.timer.raw(), next.map(|t| t.0))?;
            self.armed = next;
        }
        Ok(())
    }

    fn timeouts(&mut self) {
        let now = clock::now();
        if self.engine.poll_timeout().is_some_and(|t| t <= now) {
            // What the timers count on must be known to the engine first.
            let due: BTreeSet<CellKey> =
                self.engine.due(now).map(|(ulids, fii)| self.cell_of(ulids, fii)).collect();
            let mut unread = Vec::new();
            for key in due {
                let last = self.tracked.get(&key).map_or(now, Tracked::sampled);
                if self.sample_with_queue(now, last, key) {
                    unread.push(key);
                }
            }
            self.engine.handle_timeout(now);
            // A Keepalive Timer that ran out starts again for them: what a full queue drops wakes nobody.
            for key in unread {
                self.engine.payload_of(now, key.ulids, key.fii, Direction::Received, 1, 0, None);
            }
            self.carry_out(now);
        }
        self.continue_again(now);
        self.delivery.expire(now, &self.shared.counters);
        self.addresses.refresh(now);
        self.let_go(now);
        if self.addresses.next_look().is_some_and(|t| t <= now) {
            self.address_changes();
        }
        let before = self.foreign.len();
        self.foreign.retain(|_, until| *until > now);
        if self.foreign.len() != before {
            self.update_filter();
        }
    }

    fn commands(&mut self) {
        sys::clear(self.shared.waker.raw());
        // Cleared before the queue is read: a command that comes later wakes again.
        self.shared.wake_pending.store(false, SeqCst);
        let now = clock::now();
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Look(key, flow) => self.look(now, key, flow),
                Command::Refused(key, pair) => self.engine.send_refused(now, key.ulids, pair),
                Command::Establish(ulids, flow) => {
                    let key = CellKey { ulids, fii: 0 };
                    self.look(now, key, flow);
                    let asked = self.tracked.get(&key).map(|t| t.cell.asked_setup());
                    self.engine.establish(now, ulids, flow);
                    self.refresh(now, key);
                    if let (Some(t), Some(asked)) = (self.tracked.get(&key), asked) {
                        t.cell.answer_setup(asked);
                    }
                }
                Command::Flow(ulids, flow, anew) => {
                    self.engine.note_flow(now, ulids, flow);
                    if anew {
                        self.engine.review_pair(now, ulids);
                    }
                    self.hold(now, ulids);
                }
                Command::Release(key) => self.release(now, key),
                Command::ProbePeer(key, addr) => self.engine.probe_peer(now, key.ulids, key.fii, addr),
                Command::Feedback(key, feedback) => {
                    self.engine.feedback(now, key.ulids, key.fii, feedback);
                }
                Command::AbandonSetup(key) => self.engine.abandon_setup(now, key.ulids),
                Command::Mtu(pair, mtu) => self.set_mtu(now, pair, mtu),
                Command::Sweep => self.sweep(now),
            }
        }
        if self.shared.look_at_all.swap(false, SeqCst) {
            let all: Vec<_> = self.shared.cells.lock().keys().copied().collect();
            for key in all {
                self.look(now, key, None);
            }
            self.sweep(now);
        }
        self.carry_out(now);
    }

    /// A cell has news: its traffic and settings go to the engine, and its wake conditions are set anew.
    fn look(&mut self, now: Time, key: CellKey, flow: Option<FlowId>) {
        if !self.track(now, key) {
            return;
        }
        if let Some(t) = self.tracked.get_mut(&key) {
            t.flow = flow.or(t.flow);
        }
        self.sample(now, key);
        self.refresh(now, key);
    }

    /// Follow a cell, which must exist.
    pub(super) fn track(&mut self, now: Time, key: CellKey) -> bool {
        if !self.tracked.contains_key(&key) {
            let Some(cell) = self.shared.cells.lock().get(&key).cloned() else { return false };
            self.tracked.insert(key, Tracked::new(cell, now));
        }
        true
    }

    /// Tell the engine what passed since the last time; the last of it.
    pub(super) fn sample(&mut self, now: Time, key: CellKey) -> Option<Report> {
        let t = self.tracked.get_mut(&key)?;
        if let Some(at) = t.cell.take_first_by_pair() {
            self.engine.first_sent(at, key.ulids, key.fii);
        }
        let (flow, mut last) = (t.flow, None);
        for r in t.sample(now) {
            self.engine.payload_of(r.at, key.ulids, key.fii, r.direction, r.packets, r.bytes, flow);
            last = Some(r);
        }
        last
    }

    /// The same, and if the application reads nothing, what came into its queue (RE-FB-23), `since` then at the earliest:
    /// a Keepalive is rather sent too early than too late. Tells if there was such data.
    fn sample_with_queue(&mut self, now: Time, since: Time, key: CellKey) -> bool {
        let last = self.sample(now, key);
        if last.is_some_and(|r| r.direction == Direction::Received) || !self.unread.is_fresh(key.ulids) {
            return false;
        }
        let at = last.map_or(since, |r| r.at.max(since));
        self.engine.payload_of(at, key.ulids, key.fii, Direction::Received, 1, 0, None);
        true
    }

    /// The cells of a pair, the shared one first.
    pub(super) fn keys(&self, ulids: UlidPair) -> Vec<CellKey> {
        let range = CellKey { ulids, fii: 0 }..=CellKey { ulids, fii: Fii::MAX };
        self.tracked.range(range).map(|(key, _)| *key).collect()
    }

    /// A fork of ours has a cell of its own; any other instance serves the shared one.
    fn cell_of(&self, ulids: UlidPair, fii: Fii) -> CellKey {
        let own = CellKey { ulids, fii };
        if self.tracked.contains_key(&own) { own } else { CellKey { ulids, fii: 0 } }
    }

    /// `ready` is what epoll tells of the raw socket.
    fn packets(&mut self, ready: u32) {
        for _ in 0..BATCHES {
            let n = self.receive.receive(0);
            if n > 0 {
                self.batch(n);
            }
            // What comes after a batch that is not full wakes again.
            if n < receive::BATCH {
                break;
            }
        }
        if ready & libc::EPOLLERR as u32 != 0 {
            self.receive.discard_errors(ERRORS);
        }
        let now = clock::now();
        // Before the R2 of a new context leaves: payload may follow at once, and the application answer it.
        self.refresh_changed(now);
        self.carry_out(now);
    }

    /// ICMPv6 errors, about anything that this host sent (S6-E-9).
    fn errors(&mut self) {
        let now = clock::now();
        for _ in 0..ERRORS {
            let Some((source, message)) = self.icmp.receive() else { break };
            Counters::add(&self.shared.counters.icmp_errors, 1);
            let Some(e) = IcmpError::parse(source, message) else { continue };
            self.engine.handle_icmp_error(now, &e);
            if let (IcmpKind::PacketTooBig(mtu), Some(_)) = (e.kind, e.shim_packet()) {
                let pair = e.locators;
                self.set_mtu(now, pair, mtu);
            }
        }
        self.carry_out(now);
    }

    /// What other processes ask (LS-H-35).
    fn console_requests(&mut self) {
        let now = clock::now();
        let Some(mut console) = self.console.take() else { return };
        for (client, request) in console.requests() {
            match request {
                Request::Status => {
                    let status = console::status(now, &self.engine, &self.shared, self.claim.prefix());
                    console.hand_over(client, &status);
                    continue;
                }
                Request::Watch => console.subscribe(client),
                Request::Discard { ulids } => {
                    if self.engine.context(ulids).is_none() {
                        console.refuse(client, "there is no such context");
                        continue;
                    }
                    tracing::info!(%ulids, "context discarded by command");
                    self.engine.discard(now, ulids);
                }
                Request::SendTimeout { milliseconds } => {
                    tracing::info!(milliseconds, "Send Timeout set by command");
                    self.engine.set_send_timeout(now, Duration::from_millis(milliseconds));
                }
            }
            console.confirm(client);
        }
        self.console = Some(console);
        self.carry_out(now);
    }

    fn batch(&mut self, n: usize) {
        let now = clock::now();
        let shared = self.shared.clone();
        let counters = &shared.counters;
        Counters::add(&counters.received, n as u64);
        let mut foreign = None;
        for i in 0..n {
            let owner = self.receive.packet(i).and_then(|p| self.engine.owner(p.data));
            if let Some((ulids, fii)) = owner {
                let key = self.cell_of(ulids, fii);
                self.sample(now, key);
                if let Some(t) = self.tracked.get(&key) {
                    t.cell.note_answered();
                }
            }
            let Some(p) = self.receive.packet(i) else {
                Counters::add(&counters.unreadable, 1);
                continue;
            };
            if let Some(prefix) = filter::payload_prefix(p.data)
                && self.claim.is_foreign(now, prefix)
            {
                Counters::add(&counters.foreign, 1);
                foreign = Some(prefix);
                continue;
            }
            let datagram = Datagram { source: p.source, destination: p.destination, data: p.data };
            let Some(d) = self.engine.handle_datagram(now, &datagram) else { continue };
            if let Some(flow) = self.delivery.handle(now, &shared, &p, &d) {
                self.engine.flow_heard(d.ulids, d.fii, flow);
            }
            let (ulids, octets) = (d.ulids, d.data.len());
            let key = self.cell_of(ulids, d.fii);
            // The engine has counted this one; what the application sent before must not look as if it came after.
            if self.sample(now, key).is_some_and(|r| r.direction == Direction::Sent) {
                self.engine.payload_of(now, ulids, key.fii, Direction::Received, 1, 0, None);
            }
            if let Some(t) = self.tracked.get_mut(&key) {
                t.note_delivered(octets, now);
            }
        }
        self.delivery.flush(counters);
        if let Some(prefix) = foreign
            && self.foreign.len() < filter::MAX_FOREIGN
        {
            // Asked again after a while: its engine may have ended.
            self.foreign.insert(prefix, now + CACHED);
            self.update_filter();
        }
    }

    fn update_filter(&mut self) {
        let prefixes: Vec<u16> = self.foreign.keys().copied().collect();
        if let Err(e) = self.receive.set_foreign(&prefixes) {
            tracing::debug!(error = %e, "packet filter not changed");
        }
    }

    /// Data waits in a socket of a context without running timers (RE-FB-23).
    fn readable(&mut self, fd: RawFd) {
        let now = clock::now();
        for ulids in self.shared.watches.fired(self.shared.epoll.raw(), fd) {
            for key in self.keys(ulids) {
                self.sample_with_queue(now, now, key);
                self.refresh(now, key);
            }
        }
        self.carry_out(now);
    }

    fn address_changes(&mut self) {
        let now = clock::now();
        let update = self.addresses.changes(now);
        if let Some(locators) = update.locators {
            *self.shared.locators.write() = Arc::new(locators.clone());
            self.mtus.clear();
            self.engine.set_local_locators(now, locators);
            // Probes first, everything else is not urgent.
            self.carry_out(now);
        }
        for ulid in update.expired {
            tracing::info!(%ulid, "valid lifetime of a ULID is over");
            self.engine.ulid_invalidated(now, ulid);
        }
        for ulid in update.lost {
            tracing::info!(address = %ulid, "address vanished");
            if self.host.local_ulid_lost(ulid) == UlidLoss::NeedsAddress {
                self.addresses.hold(now, ulid);
            }
        }
        for ulid in update.back {
            tracing::info!(address = %ulid, "address is back");
            self.addresses.release(ulid);
            self.host.local_ulid_back(ulid);
        }
        self.carry_out(now);
    }

    /// Do what the engine wants: messages, log, cells.
    fn carry_out(&mut self, now: Time) {
        let mut refused = BTreeSet::new();
        for round in 0.. {
            self.transmit(&mut refused);
            while let Some(event) = self.engine.poll_event() {
                report::log(&event, self.engine.tag_of(event.ulids, event.fii));
                if let Some(console) = &mut self.console {
                    console.publish(&event);
                }
                if let EventKind::Discarded { .. } = event.kind {
                    self.forget_if_unused(now, CellKey { ulids: event.ulids, fii: 0 });
                }
            }
            while let Some(d) = self.engine.poll_icmp() {
                self.delivery.icmp(&self.shared.counters, &mut self.icmp, d);
                self.delivery.flush(&self.shared.counters);
            }
            let changed = self.refresh_changed(now);
            self.let_go(now);
            if round == 0 {
                // Once per turn: a refusal starts probes, which may be refused again.
                self.control_refused(now, &refused);
            } else if !changed {
                break;
            }
            if round >= ROUNDS {
                sys::notify(self.shared.waker.raw());
                break;
            }
        }
    }

    /// Bring the cells up to date whose contexts have changed; tells if there were any.
    fn refresh_changed(&mut self, now: Time) -> bool {
        let changed: Vec<_> = std::iter::from_fn(|| self.engine.poll_changed()).collect();
        for ulids in &changed {
            self.refresh(now, CellKey { ulids: *ulids, fii: 0 });
            for key in self.keys(*ulids).into_iter().filter(|key| key.fii != 0) {
                self.refresh(now, key);
            }
        }
        !changed.is_empty()
    }

    fn transmit(&mut self, refused: &mut BTreeSet<LocatorPair>) {
        while let Some(t) = self.engine.poll_transmit() {
            let ifindex = self.ifindex(t.locators);
            match self.shared.sender.send(t.locators, ifindex, &[IoSlice::new(&t.data)]) {
                Ok(()) => Counters::add(&self.shared.counters.control_sent, 1),
                Err(e) => {
                    Counters::add(&self.shared.counters.control_refused, 1);
                    tracing::debug!(pair = %t.locators, error = %e, "control message not sent");
                    if send::is_refusal(&e) {
                        refused.insert(t.locators);
                    }
                }
            }
        }
    }

    /// The kernel refused control messages on these pairs: evidence for contexts whose payload goes that way.
    fn control_refused(&mut self, now: Time, refused: &BTreeSet<LocatorPair>) {
        if refused.is_empty() {
            return;
        }
        let hit: Vec<_> = self.engine.contexts().filter(|c| refused.contains(&c.current)).collect();
        for c in hit {
            self.engine.send_refused(now, c.ulids, c.current);
        }
    }

    pub(super) fn ifindex(&self, pair: LocatorPair) -> u32 {
        self.shared.locators.read().iter().find(|l| l.addr == pair.local).map_or(0, |l| l.ifindex)
    }

    /// Where payload goes, if not between the ULIDs (S6-11-3, S6-11-4).
    pub(super) fn forward(&mut self, now: Time, info: &ContextInfo) -> Option<Forward> {
        let locators = info.current;
        if locators == info.ulids.as_locators() {
            return None;
        }
        let (peer_tag, ifindex) = (info.peer_tag?, self.ifindex(locators));
        let forward = Forward::new(locators, ifindex, peer_tag, self.mtu(now, locators));
        Some(Forward { bare: info.bare, ..forward })
    }

    pub(super) fn mtu(&mut self, now: Time, pair: LocatorPair) -> u32 {
        match self.mtus.get(&pair) {
            Some((mtu, at)) if now.since(*at) < MTU_KEPT => *mtu,
            _ => {
                let mtu = send::path_mtu(pair).unwrap_or(send::MIN_MTU);
                self.keep_mtu(now, pair, mtu);
                mtu
            }
        }
    }

    fn keep_mtu(&mut self, now: Time, pair: LocatorPair, mtu: u32) {
        if self.mtus.len() >= MAX_MTUS {
            self.mtus.clear();
        }
        self.mtus.insert(pair, (mtu, now));
    }

    /// The path MTU of a pair is smaller than thought; never below what every path carries (S6-N-43).
    fn set_mtu(&mut self, now: Time, pair: LocatorPair, mtu: u32) {
        let mtu = mtu.max(send::MIN_MTU).min(self.mtu(now, pair));
        self.keep_mtu(now, pair, mtu);
        let uses = |t: &Tracked| t.cell.forward().is_some_and(|f| f.locators == pair);
        let hit: Vec<_> = self.tracked.iter().filter(|(_, t)| uses(t)).map(|(u, _)| *u).collect();
        self.tracked.values().for_each(|t| t.cell.keep_mtu(Some((pair, mtu))));
        for key in hit {
            self.refresh(now, key);
        }
    }
}
