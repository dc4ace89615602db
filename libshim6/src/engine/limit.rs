//! Token buckets for replies that a stranger can cause: R1, R1bis, R2 to an I1, Error (S6-N-47, S6-E-12).

use crate::time::Time;
use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::Duration;

/// Source prefixes that are told apart; further ones share a bucket.
const MAX_SOURCES: usize = 1024;
/// Tokens are counted in thousandths.
const TOKEN: u64 = 1000;

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: u64,
    filled: Time,
}

impl Bucket {
    /// Full: one second's worth.
    fn new(now: Time, rate: u32) -> Bucket {
        Bucket { tokens: u64::from(rate) * TOKEN, filled: now }
    }

    fn fill(&mut self, now: Time, rate: u32) {
        let elapsed = u64::try_from(now.since(self.filled).as_micros()).unwrap_or(u64::MAX);
        let gained = elapsed.saturating_mul(u64::from(rate)) / 1000;
        if gained > 0 {
            self.tokens = self.tokens.saturating_add(gained).min(u64::from(rate) * TOKEN);
            self.filled = now;
        }
    }
}

/// The limiter: `per_source` replies per second to each /64, `total` to all.
#[derive(Debug)]
pub(super) struct Limiter {
    per_source: u32,
    total: u32,
    sources: BTreeMap<u64, Bucket>,
    crowd: Bucket,
    all: Bucket,
    pruned: Time,
}

impl Limiter {
    pub(super) fn new(per_source: u32, total: u32) -> Limiter {
        Limiter {
            per_source,
            total,
            sources: BTreeMap::new(),
            crowd: Bucket::new(Time::ZERO, per_source),
            all: Bucket::new(Time::ZERO, total),
            pruned: Time::ZERO,
        }
    }

    /// Whether a reply to `source` may go out now; if so it is counted.
    pub(super) fn allow(&mut self, now: Time, source: &Ipv6Addr) -> bool {
        let prefix = (u128::from(*source) >> 64) as u64;
        if self.sources.len() >= MAX_SOURCES && !self.sources.contains_key(&prefix) {
            self.prune(now);
        }
        let rate = self.per_source;
        let bucket = if self.sources.len() < MAX_SOURCES || self.sources.contains_key(&prefix) {
            self.sources.entry(prefix).or_insert_with(|| Bucket::new(now, rate))
        } else {
            &mut self.crowd
        };
        bucket.fill(now, rate);
        self.all.fill(now, self.total);
        if bucket.tokens < TOKEN || self.all.tokens < TOKEN {
            return false;
        }
        bucket.tokens -= TOKEN;
        self.all.tokens -= TOKEN;
        true
    }

    /// Forget the sources whose bucket is full again; at most once a second, as it walks through all.
    fn prune(&mut self, now: Time) {
        if now.since(self.pruned) < Duration::from_secs(1) {
            return;
        }
        self.pruned = now;
        let rate = self.per_source;
        self.sources.retain(|_, bucket| {
            bucket.fill(now, rate);
            bucket.tokens < u64::from(rate) * TOKEN
        });
    }
}
