//! The state of an engine as its console tells it.

use super::messages::{ContextStatus, LocatorStatus, Status};
use crate::driver::shared::Shared;
use crate::engine::Engine;
use crate::time::Time;
use crate::wire::type_name;
use std::collections::BTreeMap;

/// Everything.
pub fn status(now: Time, engine: &Engine, shared: &Shared, tag_prefix: u16) -> Status {
    Status {
        now,
        tag_prefix,
        send_timeout_ms: engine.config().reap.send_timeout.as_millis() as u64,
        locators: shared.locators.read().iter().map(LocatorStatus::from).collect(),
        contexts: engine.contexts().map(ContextStatus::from).collect(),
        counters: counters(engine, shared),
    }
}

/// A message type by its name, or its number.
fn named(ty: u8) -> String {
    type_name(ty).map_or_else(|| ty.to_string(), str::to_owned)
}

/// Those of the engine and of the driver, by names that say what was counted.
fn counters(engine: &Engine, shared: &Shared) -> BTreeMap<String, u64> {
    let c = engine.counters();
    let mut all: BTreeMap<String, u64> =
        shared.counters.read().all().map(|(name, n)| (name.to_owned(), n)).collect();
    all.extend(c.sent.iter().map(|(ty, n)| (format!("sent.{}", named(*ty)), *n)));
    all.extend(c.received.iter().map(|(ty, n)| (format!("received.{}", named(*ty)), *n)));
    all.extend(c.dropped.iter().map(|(why, n)| (format!("dropped.{why:?}"), *n)));
    all.extend(c.errors_sent.iter().map(|(code, n)| (format!("errors_sent.{code}"), *n)));
    all.extend(c.errors_received.iter().map(|(code, n)| (format!("errors_received.{code}"), *n)));
    let rest = [
        ("payload_received", c.payload_received),
        ("payload_octets", c.payload_octets),
        ("established", c.established),
        ("establish_failed", c.establish_failed),
        ("recovered", c.recovered),
        ("confused", c.confused),
        ("explorations", c.explorations),
        ("pair_changes", c.pair_changes),
    ];
    all.extend(rest.map(|(name, n)| (name.to_owned(), n)));
    all
}
