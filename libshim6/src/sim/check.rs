//! What must hold after every event.

use super::host::Host;
use crate::addr::{ContextTag, LocatorPair};
use crate::engine::{ContextInfo, ContextState};
use crate::wire::{self, Message, Packet};
use std::collections::{HashMap, HashSet};

/// Request Nonces of Update Requests, by host and CT(peer).
#[derive(Default)]
pub(super) struct Updates {
    current: HashMap<(usize, ContextTag), u32>,
    abandoned: HashSet<(usize, ContextTag, u32)>,
}

/// S6-7.15-7: no two ESTABLISHED contexts with one CT(peer) and overlapping Ls(peer); one context per ULID pair and FII.
pub(super) fn contexts(seed: u64, host: &Host) {
    let Some(engine) = host.engine() else { return };
    let all: Vec<ContextInfo> = engine.contexts().collect();
    for (i, a) in all.iter().enumerate() {
        for b in &all[..i] {
            assert!((a.ulids, a.fii) != (b.ulids, b.fii), "seed {seed}: two contexts for {}", a.ulids);
            assert_ne!(a.local_tag, b.local_tag, "seed {seed}: a tag twice");
            let established = [a, b].iter().all(|c| c.state == ContextState::Established);
            let overlap = a.peer.iter().any(|l| b.peer.iter().any(|m| l.addr == m.addr));
            assert!(!(established && overlap && a.peer_tag == b.peer_tag), "seed {seed}: confused contexts");
        }
    }
}

/// RE-RP-14: payload goes to a verified locator only, and to another than the ULID only after a probe.
pub(super) fn destination(seed: u64, c: &ContextInfo) {
    let locator = c.peer.iter().find(|l| l.addr == c.current.peer);
    let good = c.current.peer == c.ulids.peer || locator.is_some_and(|l| l.verified && l.probed);
    assert!(good, "seed {seed}: payload of {} to {}", c.ulids, c.current.peer);
}

/// What an engine may send. Returns the message.
pub(super) fn transmit(
    seed: u64,
    h: usize,
    host: &Host,
    updates: &mut Updates,
    locators: LocatorPair,
    data: &[u8],
) -> Message {
    let message = match wire::parse(data) {
        Ok(Packet::Control(m)) => m,
        other => panic!("seed {seed}: sent {other:?}"),
    };
    assert!(data.len() <= wire::MAX_MESSAGE, "seed {seed}: S6-5.1-2");
    let of = |tag: ContextTag| {
        host.engine().into_iter().flat_map(|e| e.contexts()).find(|c| c.peer_tag == Some(tag))
    };
    match &message {
        // RE-FB-22, RE-KA-04
        Message::Keepalive(_) | Message::Probe(_) | Message::UpdateRequest(_) => {
            let tag = message.receiver_tag().unwrap_or(ContextTag::new(0));
            let context = of(tag);
            let established = context.as_ref().is_some_and(|c| c.state == ContextState::Established);
            assert!(established, "seed {seed}: {message:?} without a context");
            let known = context.is_some_and(|c| {
                c.peer.iter().any(|l| l.addr == locators.peer && l.verified) || locators.peer == c.ulids.peer
            });
            assert!(known, "seed {seed}: RE-PS-14 {locators}");
        }
        _ => {}
    }
    match &message {
        // RE-PR-04
        Message::Probe(p) => {
            let first = p.sent[0];
            assert_eq!((first.source, first.destination), (locators.local, locators.peer), "seed {seed}");
        }
        // S6-10.3-1: an abandoned request does not come back
        Message::UpdateRequest(u) => {
            let key = (h, u.receiver_tag);
            assert!(
                !updates.abandoned.contains(&(h, u.receiver_tag, u.request_nonce)),
                "seed {seed}: two Update Requests outstanding"
            );
            if let Some(old) = updates.current.insert(key, u.request_nonce).filter(|o| *o != u.request_nonce)
            {
                updates.abandoned.insert((h, u.receiver_tag, old));
            }
        }
        _ => {}
    }
    message
}
