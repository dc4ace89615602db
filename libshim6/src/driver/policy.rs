//! What the engine asks of the host.

use super::cell::CellKey;
use super::claim::{Claim, DefaultClaims};
use super::host::SocketHost;
use super::shared::Shared;
use super::unread::Unread;
use super::{clock, follow};
use crate::addr::{ContextTag, Fii, FlowId, UlidPair};
use crate::engine::HostPolicy;
use std::sync::Arc;

/// The socket layer and the claims as the engine sees them.
pub struct Policy {
    pub host: Arc<dyn SocketHost>,
    pub unread: Arc<Unread>,
    pub claim: Arc<Claim>,
    pub defaults: Arc<DefaultClaims>,
    pub shared: Arc<Shared>,
}

impl HostPolicy for Policy {
    fn serves(&self, ulids: UlidPair, flow: Option<FlowId>) -> bool {
        !self.shared.excludes(&ulids.peer) && self.host.serves(ulids, flow)
    }

    fn tag_is_foreign(&self, tag: ContextTag) -> bool {
        let prefix = (tag.value() >> 31) as u16;
        self.claim.is_foreign(clock::now(), prefix)
    }

    fn answers_strangers(&self) -> bool {
        self.claim.is_first(clock::now())
    }

    fn has_unread(&self, ulids: UlidPair) -> bool {
        self.unread.is_fresh(ulids)
    }

    fn in_use(&self, ulids: UlidPair) -> bool {
        self.host.in_use(ulids)
    }

    fn owns_default(&self, ulids: UlidPair) -> bool {
        self.defaults.hold(ulids)
    }

    fn takes_bare(&self, ulids: UlidPair, flow: Option<FlowId>) -> bool {
        self.host.takes_bare(ulids, flow)
    }

    fn fork_in_use(&self, ulids: UlidPair, fii: Fii) -> bool {
        follow::fork_in_use(&self.shared, CellKey { ulids, fii })
    }
}
