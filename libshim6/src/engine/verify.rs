//! Verification of what a message says about its sender (RFC 5533 section 7.2): nothing is committed before all of it
//! passed (S6-N-51).

use super::locators::PeerSet;
use crate::addr::is_servable;
use crate::config::Shim6Config;
use crate::crypto::{Pds, verify_cga, verify_hba, verify_signature};
use crate::rng::Rng;
use crate::wire::{Options, Preference, method};
use std::net::Ipv6Addr;

/// What a message offers, verified.
#[derive(Debug, Default)]
pub(super) struct Offer {
    pub(super) pds: Option<Pds>,
    /// Generation, and method and address of each locator in order.
    pub(super) list: Option<(u32, Vec<(u8, Ipv6Addr)>)>,
    pub(super) preferences: Preferences,
}

/// What became of a Locator Preferences option. Offsets count in the message.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Preferences {
    /// There was none.
    #[default]
    Absent,
    /// Fits the list in force.
    Fit(Vec<Preference>),
    /// For another generation (Error 3, S6-10.4-7).
    Generation {
        /// Of the Generation field.
        offset: usize,
    },
    /// Wrong number of elements (Error 4, S6-10.4-8).
    Count {
        /// Of the Length field.
        offset: usize,
    },
}

/// Why a message must be ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The PDS does not belong to ULID(peer): silent (S6-7.13-5, S6-7.16-3, S6-7.20-5, S6-10.4-4).
    Pds,
    /// This Verification Method octet, at this offset in the message, does not stand for what it says (Error 2).
    Method(usize),
}

/// Whether `pds` is that of `ulid`: its own, or that of another member of the HBA set it is in.
pub(super) fn belongs(ulid: &Ipv6Addr, pds: &Pds) -> bool {
    verify_cga(ulid, pds).is_ok() || verify_hba(ulid, pds).is_ok()
}

/// Check PDS, list and preferences of a message from the host with `ulid`. `known` is what an existing context has of
/// that host. Costs two SHA-1 computations per new locator and one RSA verification at most.
pub(super) fn check(options: &Options, ulid: Ipv6Addr, known: Option<&PeerSet>) -> Result<Offer, Refusal> {
    let sent = match &options.pds {
        None => None,
        Some(octets) => {
            let pds = Pds::parse(octets).map_err(|_| Refusal::Pds)?;
            if !belongs(&ulid, &pds) {
                return Err(Refusal::Pds);
            }
            Some(pds)
        }
    };
    let cached = known.and_then(PeerSet::pds);
    let pds = sent.as_ref().or(cached);
    let mut list = None;
    if let Some(option) = &options.locators {
        let same_pds = pds.is_some() && pds == cached;
        let mut signed = Vec::new();
        let mut first_signed = 0;
        for (i, (by, addr)) in option.locators.iter().enumerate() {
            let refusal = Refusal::Method(option.methods_offset + i);
            if !is_servable(addr) {
                return Err(refusal);
            }
            // A list without any PDS to verify it by: S6-N-35
            let pds = pds.ok_or(refusal)?;
            match *by {
                method::HBA => {
                    let done = same_pds && known.is_some_and(|k| k.verified(method::HBA, addr));
                    if !done && verify_hba(addr, pds).is_err() {
                        return Err(refusal);
                    }
                }
                method::CGA => {
                    if signed.is_empty() {
                        first_signed = i;
                    }
                    signed.push(*addr);
                }
                _ => return Err(refusal),
            }
        }
        if let (Some(pds), false) = (pds, signed.is_empty()) {
            let refusal = Refusal::Method(option.methods_offset + first_signed);
            let signature = options.signature.as_deref().ok_or(refusal)?;
            verify_signature(&ulid, pds, option.generation, &signed, signature).map_err(|_| refusal)?;
        }
        list = Some((option.generation, option.locators.clone()));
    }
    let preferences = match &options.preferences {
        None => Preferences::Absent,
        Some(option) => {
            let (generation, count) = match &list {
                Some((generation, locators)) => (Some(*generation), locators.len()),
                None => (known.and_then(PeerSet::generation), known.map_or(0, PeerSet::len)),
            };
            match &option.elements {
                _ if generation != Some(option.generation) => {
                    Preferences::Generation { offset: option.offset + 4 }
                }
                Some(elements) if elements.len() == count => Preferences::Fit(elements.clone()),
                _ => Preferences::Count { offset: option.offset + 2 },
            }
        }
    };
    Ok(Offer { pds: sent, list, preferences })
}

impl Offer {
    /// Whether the list names `addr`.
    pub(super) fn lists(&self, addr: &Ipv6Addr) -> bool {
        self.list.as_ref().is_some_and(|(_, l)| l.iter().any(|(_, a)| a == addr))
    }

    /// Nothing is to be recorded: the peer is known by its ULID alone.
    pub(super) fn without_list(self) -> Offer {
        Offer::default()
    }

    /// Record everything. A message without list leaves the list as it is (S6-N-6).
    pub(super) fn commit(self, peer: &mut PeerSet, config: &Shim6Config, rng: &mut dyn Rng) {
        // The PDS that a kept list was verified with stays with it
        if let Some(pds) = self.pds
            && (self.list.is_some() || peer.pds().is_none())
        {
            peer.set_pds(pds);
        }
        if let Some((generation, list)) = self.list {
            peer.replace(generation, &list, |addr| config.excludes(addr));
        }
        if let Preferences::Fit(elements) = &self.preferences {
            peer.prefer(elements, rng);
        }
    }
}
