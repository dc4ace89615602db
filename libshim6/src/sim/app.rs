//! Applications: who sends payload to whom, and what arrives.

use crate::addr::UlidPair;
use crate::time::Time;
use std::net::Ipv6Addr;
use std::time::Duration;

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Both sides, every interval; the second half an interval later.
    TwoWay,
    /// The first side only.
    OneWay,
    /// The first side every interval, and the second answers each datagram.
    Request,
    /// Nobody.
    Idle,
}

/// Two applications that talk.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Host of the first and of the second application.
    pub hosts: [usize; 2],
    /// Their addresses: the ULIDs.
    pub addrs: [Ipv6Addr; 2],
    /// Who sends.
    pub pattern: Pattern,
    /// Between datagrams.
    pub interval: Duration,
    /// Octets of a datagram, as counted by the trigger.
    pub bytes: u64,
    /// First datagram.
    pub start: Time,
    /// No datagram from then on.
    pub stop: Option<Time>,
}

impl Flow {
    /// The ULID pair as a side sees it.
    pub fn ulids(&self, side: usize) -> UlidPair {
        UlidPair { local: self.addrs[side], peer: self.addrs[1 - side] }
    }

    pub(super) fn first_tick(&self, side: usize) -> Option<Time> {
        match (self.pattern, side) {
            (Pattern::Idle, _) | (Pattern::OneWay | Pattern::Request, 1) => None,
            (_, 0) => Some(self.start),
            _ => Some(self.start + self.interval / 2),
        }
    }
}

/// What one side sent and saw.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    /// Datagrams that left.
    pub sent: u64,
    /// Datagrams that came, copies included.
    pub received: u64,
    /// Last datagram that came.
    pub last: Option<Time>,
    /// The longest time between two datagrams.
    pub silence: Duration,
}

/// A flow and its state.
pub(super) struct Running {
    pub(super) flow: Flow,
    pub(super) traffic: [Traffic; 2],
}

const MAGIC: [u8; 3] = *b"sim";

impl Running {
    pub(super) fn new(flow: Flow) -> Running {
        Running { flow, traffic: Default::default() }
    }

    /// A datagram that tells where it belongs.
    pub(super) fn next_datagram(&self, flow: usize, side: usize) -> Vec<u8> {
        let mut data = MAGIC.to_vec();
        data.push(side as u8);
        data.extend((flow as u32).to_be_bytes());
        data.extend(self.traffic[side].sent.to_be_bytes());
        data
    }

    pub(super) fn receive(&mut self, side: usize, now: Time) {
        let t = &mut self.traffic[side];
        t.received += 1;
        if let Some(last) = t.last {
            t.silence = t.silence.max(now.since(last));
        }
        t.last = Some(now);
    }

    pub(super) fn reset_silence(&mut self, _now: Time) {
        for t in &mut self.traffic {
            t.silence = Duration::ZERO;
        }
    }
}

/// Flow and sending side of a datagram; `None` if it is not one of ours.
pub(super) fn flow_of(data: &[u8]) -> Option<(usize, usize)> {
    let data: &[u8; 16] = data.try_into().ok()?;
    let flow = u32::from_be_bytes([data[4], data[5], data[6], data[7]]) as usize;
    (data[..3] == MAGIC && data[3] < 2).then_some((flow, usize::from(data[3])))
}
