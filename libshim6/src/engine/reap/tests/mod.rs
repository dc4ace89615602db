//! Tests of REAP: single machine in this folder's `table`, `timing`, `probing`; two machines on a scripted path in
//! `runs` and `outages`, with the harness `duo`.

mod alternative;
mod duo;
mod outages;
mod probing;
mod runs;
mod table;
mod timing;

use super::timers::Timer;
use super::*;
use crate::rng::SeededRng;
use crate::wire::Options;

/// Locator `i` of host `h`, i from 1; the two hosts' locators of one index share 40 bits.
pub(super) fn addr(h: usize, i: usize) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, (i as u16) << 8 | h as u16, 0, 0, 0, 0, 1)
}

/// Our locator `i`, the peer's `j`, as host 0 sees it.
pub(super) fn pair(i: usize, j: usize) -> LocatorPair {
    LocatorPair { local: addr(0, i), peer: addr(1, j) }
}

pub(super) fn secs(s: f64) -> Time {
    Time((s * 1e9).round() as u64)
}

pub(super) fn plain() -> ReapConfig {
    ReapConfig { jitter: false, ..ReapConfig::default() }
}

/// All pairs of n x m locators, best first as `pairs::order` ranks them.
pub(super) fn product(n: usize, m: usize) -> Vec<LocatorPair> {
    let mut all: Vec<_> = (1..=n).flat_map(|i| (1..=m).map(move |j| (i, j))).collect();
    all.sort_by_key(|(i, j)| ((*i, *j) != (1, 1), i != j));
    all.into_iter().map(|(i, j)| pair(i, j)).collect()
}

/// One machine under test with what surrounds it.
pub(super) struct One {
    pub reap: Reap,
    pub rng: SeededRng,
    pub config: ReapConfig,
    pub now: Time,
}

/// A Probe as the peer sends it.
pub(super) fn probe(state: ReapState, on: LocatorPair, nonce: u32, received: Vec<ProbeBlock>) -> Probe {
    let first = ProbeBlock { source: on.peer, destination: on.local, nonce, data: nonce ^ 0x5a5a };
    Probe {
        receiver_tag: crate::addr::ContextTag::new(1),
        state,
        sent: vec![first],
        received,
        options: Options::default(),
    }
}

impl One {
    pub fn new(n: usize, m: usize) -> One {
        One::with(plain(), n, m)
    }

    pub fn with(config: ReapConfig, n: usize, m: usize) -> One {
        let mut one = One { reap: Reap::new(pair(1, 1)), rng: SeededRng::new(7), config, now: secs(100.0) };
        one.run(|r, e| r.set_candidates(e, product(n, m)));
        one
    }

    /// Do something at the present time and collect the actions.
    pub fn run(&mut self, f: impl FnOnce(&mut Reap, &mut Env)) -> Vec<Action> {
        let mut env = Env { now: self.now, rng: &mut self.rng, config: &self.config };
        f(&mut self.reap, &mut env);
        let actions: Vec<_> = std::iter::from_fn(|| self.reap.poll_action()).collect();
        assert!(!(self.on(Timer::Send) && self.on(Timer::Keepalive)), "RE-FB-03");
        match self.reap.state {
            ReapState::Operational => assert!(!self.on(Timer::Retransmit), "RE-SM-13"),
            ReapState::Exploring => assert!(!self.on(Timer::Send) && !self.on(Timer::Keepalive), "RE-FB-04"),
            ReapState::InboundOk => assert!(!self.on(Timer::Keepalive), "RE-FB-04"),
        }
        assert!(self.on(Timer::Keepalive) || !self.on(Timer::Interval));
        actions
    }

    pub fn on(&self, t: Timer) -> bool {
        self.reap.timers.running(t)
    }

    pub fn sent(&mut self) -> Vec<Action> {
        self.run(|r, e| r.payload_sent(e))
    }

    pub fn received(&mut self) -> Vec<Action> {
        self.run(|r, e| r.payload_received(e))
    }

    pub fn timeout(&mut self) -> Vec<Action> {
        self.run(|r, e| r.handle_timeout(e))
    }

    /// Let time pass, acting on deadlines as they come; what was sent, with the seconds since now.
    pub fn pass(&mut self, seconds: f64) -> Vec<(f64, Action)> {
        let start = self.now;
        let end = Time(start.0 + (seconds * 1e9).round() as u64);
        let mut out = Vec::new();
        while let Some(t) = self.reap.next_timeout().filter(|t| *t <= end) {
            self.now = t.max(self.now);
            let at = (self.now - start).as_secs_f64();
            out.extend(self.timeout().into_iter().map(|a| (at, a)));
        }
        self.now = end;
        out
    }

    pub fn get(
        &mut self,
        state: ReapState,
        on: LocatorPair,
        nonce: u32,
        rep: Vec<ProbeBlock>,
    ) -> Vec<Action> {
        let p = probe(state, on, nonce, rep);
        self.run(|r, e| r.probe_received(e, &p, on))
    }

    /// In `state`, with no other timers than those that the way there leaves running.
    pub fn bring_to(&mut self, state: ReapState) -> Vec<Action> {
        match state {
            ReapState::Operational => Vec::new(),
            ReapState::Exploring => self.run(|r, e| r.explore(e, FailureCause::SendTimeout)),
            ReapState::InboundOk => {
                self.bring_to(ReapState::Exploring);
                self.run(|r, e| r.keepalive_received(e))
            }
        }
    }
}

/// The Probes among actions: where, Sta, sent blocks, received blocks.
pub(super) type SeenProbe = (LocatorPair, ReapState, Vec<ProbeBlock>, Vec<ProbeBlock>);

pub(super) fn probes(actions: &[Action]) -> Vec<SeenProbe> {
    actions
        .iter()
        .filter_map(|a| match a {
            Action::SendProbe { pair, state, sent, received } => {
                Some((*pair, *state, sent.clone(), received.clone()))
            }
            _ => None,
        })
        .collect()
}

pub(super) fn keepalives(actions: &[(f64, Action)]) -> Vec<f64> {
    actions.iter().filter(|(_, a)| matches!(a, Action::SendKeepalive { .. })).map(|(t, _)| *t).collect()
}
