//! Responder Validators: keyed hashes, so that nothing is stored for a peer before its I2 (RFC 5533 sections 7.10.1 and
//! 7.17.1, S6-N-7, S6-N-8, S6-N-41).

use crate::addr::{ContextTag, Fii, LocatorPair, UlidPair};
use crate::crypto::{MAC_LEN, ct_eq, mac};
use crate::rng::Rng;
use crate::time::Time;
use std::net::Ipv6Addr;
use std::time::Duration;

/// How long a secret issues validators (S6-16-6).
const ROTATION: Duration = Duration::from_secs(600);
const DOMAIN_R1: u8 = 1;
const DOMAIN_R1BIS: u8 = 2;

/// What an R1 validator binds; the locators as we see them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct R1Input {
    pub(super) tag: ContextTag,
    pub(super) ulids: UlidPair,
    pub(super) locators: LocatorPair,
    pub(super) fii: Fii,
}

/// What an R1bis validator binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct R1bisInput {
    pub(super) packet_tag: ContextTag,
    pub(super) locators: LocatorPair,
}

/// Why a validator is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Stale,
    Wrong,
}

/// Issues and checks validators. The Responder Nonce is a clock of seconds from a random origin.
pub(super) struct Validators {
    origin: u32,
    secret: [u8; 32],
    since: Time,
    previous: Option<([u8; 32], Time)>,
    lifetime: Duration,
}

impl Validators {
    pub(super) fn new(rng: &mut dyn Rng, lifetime: Duration) -> Validators {
        let mut secret = [0; 32];
        rng.fill(&mut secret);
        Validators { origin: rng.u32(), secret, since: Time::ZERO, previous: None, lifetime }
    }

    /// Responder Nonce and validator for an R1.
    pub(super) fn issue_r1(&mut self, now: Time, rng: &mut dyn Rng, input: &R1Input) -> (u32, Vec<u8>) {
        self.rotate(now, rng);
        let nonce = self.nonce(now);
        (nonce, mac_r1(&self.secret, nonce, input).to_vec())
    }

    /// Responder Nonce and validator for an R1bis.
    pub(super) fn issue_r1bis(&mut self, now: Time, rng: &mut dyn Rng, input: &R1bisInput) -> (u32, Vec<u8>) {
        self.rotate(now, rng);
        let nonce = self.nonce(now);
        (nonce, mac_r1bis(&self.secret, nonce, input).to_vec())
    }

    /// Whether we issued this for an R1, recently.
    pub(super) fn check_r1(&self, now: Time, nonce: u32, input: &R1Input, got: &[u8]) -> Result<(), Refused> {
        self.check(now, nonce, got, |secret| mac_r1(secret, nonce, input))
    }

    /// Whether we issued this for an R1bis, recently.
    pub(super) fn check_r1bis(
        &self,
        now: Time,
        nonce: u32,
        input: &R1bisInput,
        got: &[u8],
    ) -> Result<(), Refused> {
        self.check(now, nonce, got, |secret| mac_r1bis(secret, nonce, input))
    }

    fn check(
        &self,
        now: Time,
        nonce: u32,
        got: &[u8],
        expected: impl Fn(&[u8; 32]) -> [u8; MAC_LEN],
    ) -> Result<(), Refused> {
        // A nonce from the future wraps to a great age
        let age = u64::from(self.nonce(now).wrapping_sub(nonce));
        let limit = self.lifetime.as_secs() + u64::from(self.lifetime.subsec_nanos() > 0);
        if age > limit {
            return Err(Refused::Stale);
        }
        if ct_eq(&expected(&self.secret), got) {
            return Ok(());
        }
        // The secret before stays good for as long as what it issued last (S6-7.10.1-5)
        match &self.previous {
            Some((secret, until)) if now <= *until && ct_eq(&expected(secret), got) => Ok(()),
            _ => Err(Refused::Wrong),
        }
    }

    fn nonce(&self, now: Time) -> u32 {
        self.origin.wrapping_add((now.0 / 1_000_000_000) as u32)
    }

    fn rotate(&mut self, now: Time, rng: &mut dyn Rng) {
        if now.since(self.since) < ROTATION {
            return;
        }
        let mut next = [0; 32];
        rng.fill(&mut next);
        let until = now + self.lifetime + Duration::from_secs(1);
        self.previous = Some((std::mem::replace(&mut self.secret, next), until));
        self.since = now;
    }
}

fn mac_r1(secret: &[u8; 32], nonce: u32, i: &R1Input) -> [u8; MAC_LEN] {
    let octets = |a: &Ipv6Addr| a.octets();
    mac(
        secret,
        DOMAIN_R1,
        &[
            &nonce.to_be_bytes(),
            &i.tag.value().to_be_bytes(),
            &octets(&i.ulids.local),
            &octets(&i.ulids.peer),
            &octets(&i.locators.local),
            &octets(&i.locators.peer),
            &i.fii.to_be_bytes(),
        ],
    )
}

fn mac_r1bis(secret: &[u8; 32], nonce: u32, i: &R1bisInput) -> [u8; MAC_LEN] {
    mac(
        secret,
        DOMAIN_R1BIS,
        &[
            &nonce.to_be_bytes(),
            &i.packet_tag.value().to_be_bytes(),
            &i.locators.local.octets(),
            &i.locators.peer.octets(),
        ],
    )
}
