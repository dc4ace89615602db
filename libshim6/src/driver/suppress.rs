//! Datagrams without payload extension header on other locators than the ULIDs: who may get some, and the sockets that
//! have to be made ready for them (LS-S-22).

use super::cell::{CellKey, ContextView};
use super::run::Runner;
use crate::addr::UlidPair;
use crate::engine::{Bare, LocatorInfo};

impl Runner {
    /// The view of the cell of a pair has changed.
    pub(super) fn follow_bare(&mut self, ulids: UlidPair, old: &ContextView) {
        let Some(cell) = self.tracked.get(&CellKey { ulids, fii: 0 }).map(|t| t.cell.clone()) else { return };
        let view = cell.view();
        if view.takes_bare == Bare::No {
            if old.takes_bare != Bare::No {
                self.takers.remove(&ulids);
                cell.set_bare_due(false);
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
        if cell.is_bare_due() {
            self.host.expect_bare(ulids);
        } else {
            self.takers.insert(ulids);
        }
    }

    /// Before anything is sent: the answer to a Probe may be all that a peer waits for to leave the ULIDs.
    pub(super) fn expect_bare(&mut self) {
        if self.takers.is_empty() {
            return;
        }
        let due: Vec<_> = self.takers.iter().copied().filter(|u| self.engine.expects_bare(*u)).collect();
        for ulids in due {
            self.takers.remove(&ulids);
            if let Some(t) = self.tracked.get(&CellKey { ulids, fii: 0 }) {
                // First this, for a socket that connects meanwhile.
                t.cell.set_bare_due(true);
                self.host.expect_bare(ulids);
            }
        }
    }
}
