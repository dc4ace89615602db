//! What the sockets API asks of the engine: settings, forks, tests, feedback, setup, arrivals.
//!
//! Answers come from the cell at once; what has to be done follows as a command to the engine thread. Only
//! [`Cell::wait_setup`] waits.

use super::cell::{Cell, Forward};
use super::handle::Handle;
use super::random::SystemRng;
use super::send;
use super::shared::Command;
use crate::addr::{Fii, FlowId, LocatorPair, UlidPair};
use crate::engine::{Feedback, LocatorError, Settings};
use crate::rng::Rng;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

/// What became of a change of settings.
#[derive(Clone, Debug)]
pub enum Configured {
    /// They were so already; nothing follows (API-FK-09).
    Unchanged,
    /// The cell has them now (API-FK-08).
    InPlace,
    /// Other sockets use the cell, so a context was forked (API-FK-01). The socket goes on with this cell, to which it
    /// is attached instead of the old one.
    Forked(Arc<Cell>),
    /// The engine is gone, or takes no more contexts.
    Refused,
}

/// By which pair a datagram came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Arrival {
    /// The context's ULIDs.
    pub ulids: UlidPair,
    /// The context's instance.
    pub fii: Fii,
    /// `local`: IPv6 destination on the wire; `peer`: source.
    pub locators: LocatorPair,
}

impl Handle {
    /// A socket uses the cell from now on. Every socket that sends by a cell is attached to it once; settings are
    /// changed in place for a sole user only.
    pub fn attach(&self, cell: &Cell) {
        cell.users_mut().fetch_add(1, SeqCst);
    }

    /// The socket does not use it any more (closed, connected elsewhere, or moved to a fork). With its last user a fork
    /// is deleted (API-FK-13), and the settings of a shared cell go back to the defaults.
    pub fn detach(&self, cell: &Cell) {
        let before = cell.users_mut().fetch_update(SeqCst, SeqCst, |n| n.checked_sub(1));
        if before != Ok(1) {
            return;
        }
        if cell.is_fork() {
            return self.command(Command::Release(cell.key()));
        }
        cell.change_settings(|s| *s = Arc::default());
        self.wake(cell, None);
    }

    /// Change the settings of a socket's context: in place if the socket is the sole user of the cell, else in a context
    /// that is forked for it (API-FK-07, API-FK-08). Values are to be checked before (`ContextView::check_*`). `flow` is
    /// told to the peer when a fork is made (API-FK-18).
    pub fn configure(
        &self,
        cell: &Arc<Cell>,
        flow: Option<FlowId>,
        change: impl FnOnce(&mut Settings),
    ) -> Configured {
        let outcome = cell.change_settings(|settings| {
            let mut new = Settings::clone(settings);
            change(&mut new);
            if new == **settings {
                return Ok(Configured::Unchanged);
            }
            if cell.users() > 1 {
                return Err(Box::new(new));
            }
            *settings = Arc::new(new);
            Ok(Configured::InPlace)
        });
        match outcome {
            Ok(Configured::InPlace) => {
                self.wake(cell, None);
                Configured::InPlace
            }
            Ok(other) => other,
            Err(new) => match self.fork(cell, *new, flow) {
                Some(fork) => {
                    self.detach(cell);
                    Configured::Forked(fork)
                }
                None => Configured::Refused,
            },
        }
    }

    /// A context of its own for one socket of the cell's ULID pair, with these settings; the caller is attached to the
    /// new cell. Until the context is ESTABLISHED the cell does as `cell` does (API-FK-10). `None` if the engine is gone or
    /// takes no more.
    ///
    /// For a socket that connects while a sole other user has changed the shared context (API-FK-08), call it with
    /// default settings.
    pub fn fork(&self, cell: &Cell, settings: Settings, flow: Option<FlowId>) -> Option<Arc<Cell>> {
        if !self.is_alive() {
            return None;
        }
        let fork = self.0.fork(cell.ulids(), || SystemRng::new().u32())?;
        fork.users_mut().store(1, SeqCst);
        fork.change_settings(|s| *s = Arc::new(settings));
        fork.set_view((*cell.view()).clone());
        fork.set_forward(cell.forward());
        self.wake(&fork, flow);
        Some(fork)
    }

    /// Hot standby for one more or one fewer socket of the cell: additive, never a fork (API-HOT-13). A socket that set
    /// it takes it back before [`Handle::detach`].
    pub fn set_hot_standby(&self, cell: &Cell, on: bool) {
        let change = |n: u32| if on { n.checked_add(1) } else { n.checked_sub(1) };
        let _ = cell.hot_mut().fetch_update(SeqCst, SeqCst, change);
        self.wake(cell, None);
    }

    /// Test whether a locator of the peer can be reached, at most one test per second and context; what came of it shows
    /// in the view (API-PTX-12).
    pub fn probe_peer(&self, cell: &Cell, addr: Ipv6Addr) {
        self.command(Command::ProbePeer(cell.key(), addr));
    }

    /// Feedback of an application on the current pair (API-FB-01).
    pub fn feedback(&self, cell: &Cell, feedback: Feedback) {
        self.command(Command::Feedback(cell.key(), feedback));
    }

    /// Give up a setup under way of a pair whose sole user wants none any more (API-DONT-04); no effect on a context.
    pub fn abandon_setup(&self, cell: &Cell) {
        self.command(Command::AbandonSetup(cell.key()));
    }

    /// [`Cell::forward_on`] with the path MTU as the kernel knows it. A locator of the peer that lacks a reachability
    /// test gets one (API-CM-19).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn forward_for(
        &self,
        cell: &Cell,
        local: Option<Ipv6Addr>,
        peer: Option<Ipv6Addr>,
    ) -> Result<Option<Forward>, LocatorError> {
        let result = cell.forward_on(local, peer, |pair| send::path_mtu(pair).unwrap_or(send::MIN_MTU));
        if let (Err(LocatorError::Unverified), Some(peer)) = (result, peer) {
            self.probe_peer(cell, peer);
        }
        result
    }

    /// By which pair a datagram came that was received with `IPV6_FLOWINFO` and `IPV6_PKTINFO`: `flowinfo` as the cmsg
    /// has it (network byte order), `ifindex` as in `in6_pktinfo`. `None`: it came untagged, between the ULIDs.
    ///
    /// Tagged payload reaches the socket by way of `lo` with an index as its flow label; what arrives by another
    /// interface has a flow label of the peer's, which means nothing here.
    pub fn arrival(&self, flowinfo: u32, ifindex: u32) -> Option<Arrival> {
        self.0.arrivals.get(u32::from_be(flowinfo), ifindex)
    }
}
