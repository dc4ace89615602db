//! One line in the log for each event: what happened, why, from which pair to which, after how long a silence.

use crate::addr::ContextTag;
use crate::event::{Event, EventKind};
use crate::time::Time;
use tracing::{info, warn};

/// Write it; `tag` is CT(local) of the context (RE-OP-02).
pub fn log(event: &Event, tag: Option<ContextTag>) {
    let (ulids, fii) = (event.ulids, event.fii);
    let tag = tag.map(tracing::field::display);
    let ms = |from: Time| event.at.since(from).as_millis() as u64;
    match &event.kind {
        EventKind::Established { local_tag, peer_tag } => {
            info!(%ulids, fii, %local_tag, %peer_tag, "context established");
        }
        EventKind::EstablishFailed { no_support: true } => {
            info!(%ulids, fii, "peer does not speak Shim6; going on without");
        }
        EventKind::EstablishFailed { no_support: false } => {
            info!(%ulids, fii, "context establishment failed; going on without");
        }
        EventKind::LocatorsChanged => info!(%ulids, fii, "locators changed"),
        EventKind::ExplorationStarted { cause, pair, last_heard } => {
            let silence_ms = last_heard.map(ms);
            warn!(%ulids, fii, tag, ?cause, %pair, silence_ms, "path taken for dead; exploring");
        }
        EventKind::ExplorationEnded { pair, started } => {
            info!(%ulids, fii, tag, %pair, took_ms = ms(*started), "working path found");
        }
        EventKind::PairChanged { old, new } => {
            warn!(%ulids, fii, tag, %old, %new, "payload moves to another locator pair");
        }
        EventKind::Switched(s) => {
            let silence_ms = s.last_heard.map(|t| s.detected.since(t).as_millis() as u64);
            let decided_us = s.at.since(s.detected).as_micros() as u64;
            let first_packet_us = s.first_packet.map(|t| t.since(s.detected).as_micros() as u64);
            info!(
                %ulids, fii, tag, old = %s.old, new = %s.new, cause = ?s.cause, evidence = ?s.evidence, silence_ms, decided_us,
                first_packet_us, "first datagram by the new pair"
            );
        }
        EventKind::Discarded { reason } => info!(%ulids, fii, ?reason, "context discarded"),
    }
}
