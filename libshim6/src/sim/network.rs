//! Links between locators, each direction apart.

use crate::addr::LocatorPair;
use crate::rng::{Rng, SeededRng};
use std::collections::HashMap;
use std::time::Duration;

/// One direction of a path between two locators.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// `false`: a silent blackhole.
    pub up: bool,
    /// Probability that a packet is lost.
    pub loss: f64,
    /// Probability that a packet arrives twice.
    pub duplicate: f64,
    /// One-way delay.
    pub delay: Duration,
    /// Up to this much is added at random, so packets overtake each other.
    pub jitter: Duration,
}

impl Link {
    /// A good link of 10 ms.
    pub const UP: Link = Link {
        up: true,
        loss: 0.0,
        duplicate: 0.0,
        delay: Duration::from_millis(10),
        jitter: Duration::ZERO,
    };
    /// A blackhole.
    pub const DOWN: Link = Link { up: false, ..Link::UP };
}

/// The links that differ from the usual one.
#[derive(Clone, Debug)]
pub struct Network {
    /// Every link that was not set.
    pub usual: Link,
    links: HashMap<LocatorPair, Link>,
}

impl Default for Network {
    fn default() -> Self {
        Network { usual: Link::UP, links: HashMap::new() }
    }
}

impl Network {
    /// Set the link of a directed pair, as its sender sees it.
    pub fn set(&mut self, pair: LocatorPair, link: Link) {
        self.links.insert(pair, link);
    }

    /// The link of a directed pair.
    pub fn get(&self, pair: LocatorPair) -> Link {
        self.links.get(&pair).copied().unwrap_or(self.usual)
    }

    /// Delays of the copies of a packet that arrive: none, one or two.
    pub(super) fn pass(&self, rng: &mut SeededRng, pair: LocatorPair) -> Vec<Duration> {
        let link = self.get(pair);
        // Drawn always, so that a change of one link leaves the fate of packets on others
        let (lost, twice) = (rng.f64(0.0, 1.0) < link.loss, rng.f64(0.0, 1.0) < link.duplicate);
        let delays = [0; 2].map(|_| link.delay + link.jitter.mul_f64(rng.f64(0.0, 1.0)));
        if !link.up || lost { Vec::new() } else { delays[..1 + usize::from(twice)].to_vec() }
    }
}
