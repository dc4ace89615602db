//! What must hold after every event.

use super::host::Host;
use crate::addr::{ContextTag, LocatorPair, UlidPair};
use crate::engine::{ContextInfo, ContextState};
use crate::wire::{self, Message, Packet};
use std::collections::{HashMap, HashSet};
use std::net::Ipv6Addr;

/// What was seen so far.
#[derive(Default)]
pub(super) struct Books {
    /// Peer locators that passed return routability, by host and ULID pair.
    probed: HashSet<(usize, UlidPair, Ipv6Addr)>,
    /// Request Nonces of Update Requests, by host and CT(peer).
    current: HashMap<(usize, ContextTag), u32>,
    abandoned: HashSet<(usize, ContextTag, u32)>,
}

/// S6-7.15-7: no two ESTABLISHED contexts with one CT(peer) and overlapping Ls(peer); one context per ULID pair and FII.
pub(super) fn contexts(seed: u64, h: usize, host: &Host, books: &mut Books) {
    let Some(engine) = host.engine() else { return };
    let all: Vec<ContextInfo> = engine.contexts().collect();
    for (i, a) in all.iter().enumerate() {
        let probed = a.peer.iter().filter(|l| l.probed && l.verified).map(|l| (h, a.ulids, l.addr));
        books.probed.extend(probed);
        for b in &all[..i] {
            assert!((a.ulids, a.fii) != (b.ulids, b.fii), "seed {seed}: two contexts for {}", a.ulids);
            assert_ne!(a.local_tag, b.local_tag, "seed {seed}: a tag twice");
            let established = [a, b].iter().all(|c| c.state == ContextState::Established);
            let overlap = a.peer.iter().any(|l| b.peer.iter().any(|m| l.addr == m.addr));
            assert!(!(established && overlap && a.peer_tag == b.peer_tag), "seed {seed}: confused contexts");
        }
    }
}

/// RE-RP-14: payload goes to another locator than the ULID only after verification and a probe. The peer may have
/// withdrawn it since: payload stays until another pair is confirmed (RE-SM-30).
pub(super) fn destination(seed: u64, h: usize, c: &ContextInfo, books: &Books) {
    let good = c.current.peer == c.ulids.peer || books.probed.contains(&(h, c.ulids, c.current.peer));
    assert!(good, "seed {seed}: payload of {} to {}", c.ulids, c.current.peer);
}

/// What an engine may send. Returns the message.
pub(super) fn transmit(
    seed: u64,
    h: usize,
    host: &Host,
    books: &mut Books,
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
            // What answers on the current pair may go to a locator that the peer has just withdrawn
            let known = context.is_some_and(|c| {
                c.peer.iter().any(|l| l.addr == locators.peer && l.verified) || locators == c.current
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
                !books.abandoned.contains(&(h, u.receiver_tag, u.request_nonce)),
                "seed {seed}: two Update Requests outstanding"
            );
            if let Some(old) = books.current.insert(key, u.request_nonce).filter(|o| *o != u.request_nonce) {
                books.abandoned.insert((h, u.receiver_tag, old));
            }
        }
        _ => {}
    }
    message
}
