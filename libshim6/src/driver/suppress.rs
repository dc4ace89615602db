//! Datagrams without payload extension header on other locators than the ULIDs: whose they may be, and the sessions that
//! wait until they cannot be taken for some.

use super::cell::{CellKey, ContextView};
use super::run::Runner;
use crate::addr::UlidPair;
use crate::engine::{Bare, LocatorInfo};
use crate::time::Time;
use std::time::Duration;

/// How long a session waits at most.
const HELD: Duration = Duration::from_secs(3);

impl Runner {
    /// The view of the cell of a pair has changed.
    pub(super) fn follow_bare(&mut self, ulids: UlidPair, old: &ContextView) {
        let Some(cell) = self.tracked.get(&CellKey { ulids, fii: 0 }).map(|t| t.cell.clone()) else { return };
        let view = cell.view();
        if view.takes_bare == Bare::No {
            if old.takes_bare != Bare::No {
                self.shared.bare.set(&cell, &[]);
            }
            return;
        }
        let same =
            |a: &[LocatorInfo], b: &[LocatorInfo]| a.iter().map(|l| l.addr).eq(b.iter().map(|l| l.addr));
        if old.takes_bare != Bare::No && same(&old.local, &view.local) && same(&old.peer, &view.peer) {
            return;
        }
        let peer: Vec<_> = view.peer.iter().filter(|l| l.verified).map(|l| l.addr).collect();
        self.shared.bare.set(&cell, &peer);
    }

    /// A session begins on locators that carried bare datagrams: its own wait until the peer knows.
    pub(super) fn hold(&mut self, now: Time, ulids: UlidPair) {
        if self.shared.cells.lock().get(&CellKey { ulids, fii: 0 }).is_some_and(|cell| cell.is_held()) {
            self.held.entry(ulids).or_insert(now + HELD);
        }
    }

    /// The peer knows, or has had time enough.
    pub(super) fn let_go(&mut self, now: Time) {
        let over = |(u, until): (&UlidPair, &Time)| {
            (*until <= now || !self.engine.retracting(u.as_locators())).then_some(*u)
        };
        let over: Vec<_> = self.held.iter().filter_map(over).collect();
        for ulids in over {
            self.held.remove(&ulids);
            if let Some(cell) = self.shared.cells.lock().get(&CellKey { ulids, fii: 0 }) {
                cell.hold(false);
            }
        }
    }
}
