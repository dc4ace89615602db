//! What application threads leave for the engine to find (`driver::cell`), without the threads: traffic is told when a
//! wake flag asks for it, or when the engine's time has come.

use crate::addr::{FlowId, UlidPair};
use crate::engine::{Direction, Engine, Wake};
use crate::time::Time;

/// Traffic of one ULID pair that the engine has not been told of.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    /// Datagrams and octets, sent and received.
    untold: [(u64, u64); 2],
    /// Since when the present direction goes without an answer.
    turn: Option<(Direction, Time)>,
    /// Untold traffic is later than this.
    told: Time,
    wake: Wake,
    flow: FlowId,
}

impl Cell {
    pub(super) fn new(flow: FlowId, wake: Wake) -> Cell {
        Cell { untold: [(0, 0); 2], turn: None, told: Time::ZERO, wake, flow }
    }

    pub(super) fn set_wake(&mut self, wake: Wake) {
        self.wake = wake;
    }

    /// A datagram passed; whether the engine has to be woken.
    pub(super) fn note(&mut self, now: Time, dir: Direction, bytes: u64) -> bool {
        let n = &mut self.untold[dir as usize];
        n.0 += 1;
        n.1 += bytes;
        let wake = dir == Direction::Sent && self.wake.on_sent;
        if wake || self.turn.is_none_or(|t| t.0 != dir) {
            self.turn = Some((dir, now));
        }
        let (packets, octets) = (self.untold[0].0 + self.untold[1].0, self.untold[0].1 + self.untold[1].1);
        let flag = match dir {
            Direction::Sent => std::mem::take(&mut self.wake.on_sent),
            Direction::Received => std::mem::take(&mut self.wake.on_received),
        };
        flag || self.wake.after_packets.is_some_and(|n| packets >= n)
            || self.wake.after_bytes.is_some_and(|n| octets >= n)
    }

    /// Tell the engine: first the direction that had its turn earlier. A turn that lasts since before the last telling is
    /// not told with its beginning again: the engine's timers may have been stopped by Keepalives since.
    pub(super) fn tell(&mut self, now: Time, engine: &mut Engine, ulids: UlidPair) {
        let Some((last, since)) = self.turn else { return };
        let since = since.max(self.told);
        let first = if last == Direction::Sent { Direction::Received } else { Direction::Sent };
        for dir in [first, last] {
            let (packets, bytes) = std::mem::take(&mut self.untold[dir as usize]);
            engine.payload(since, ulids, dir, packets, bytes, Some(self.flow));
        }
        self.told = now;
    }
}
