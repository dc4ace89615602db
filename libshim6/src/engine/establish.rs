//! Context establishment: I1, R1, I2, R2 and their crossings (RFC 5533 sections 7.3 to 7.16).

use super::context::{Claim, Context, Exchange, Reply};
use super::counters::Dropped;
use super::io::{ContextState, Datagram};
use super::locators::LocalSet;
use super::table::Id;
use super::validator::{R1Input, Refused};
use super::verify::{self, Preferences, Refusal};
use super::{Engine, Io};
use crate::addr::{ContextTag, Fii, FlowId, UlidPair, is_servable};
use crate::config::Capability;
use crate::event::{EventKind, FailureCause};
use crate::time::Time;
use crate::wire::{I1, I2, Message, Options, R1, R2, error_code};

/// I2 and I2bis that are remembered as acted on.
const MAX_CLAIMS: usize = 4;

/// An I2 or I2bis whose validator is ours.
pub(super) struct Request<'a> {
    pub(super) ulids: UlidPair,
    pub(super) fii: Fii,
    pub(super) tag: ContextTag,
    pub(super) initiator_nonce: u32,
    pub(super) responder_nonce: u32,
    pub(super) options: &'a Options,
    /// The tag that the peer's packets had (I2bis): not to be used again at once (S6-7.20-7).
    pub(super) packet_tag: Option<ContextTag>,
}

impl Engine {
    /// Begin an attempt, if nothing speaks against it (S6-B-1). `asked`: a program waits for it, so with a peer that is
    /// known to do Shim6 other pairs than that of the ULIDs are tried too (LS-D-04).
    pub(super) fn initiate(
        &mut self,
        now: Time,
        ulids: UlidPair,
        flow: Option<FlowId>,
        asked: bool,
    ) -> Option<Id> {
        let anywhere = asked && self.is_known(now, &ulids.peer);
        if !self.may_begin(ulids, anywhere)
            || self.negative.blocks(now, ulids)
            || self.shared_instance(ulids).is_some()
        {
            return None;
        }
        // A further process with the same ULID pair forks (S6-7.7-2, S6-N-39)
        let fii = if self.io.host.owns_default(ulids) {
            0
        } else {
            std::iter::repeat_with(|| self.io.rng.u32()).find(|fii| *fii != 0)?
        };
        let Some(id) = self.create(now, ulids, fii, None) else {
            // Not with each datagram again
            self.negative.failed(ulids, now + self.io.config.shim6.no_r1_holddown_time);
            return None;
        };
        let pairs = match anywhere {
            true => self.pairs_to_try(now, self.table.get(id)?),
            false => vec![ulids.as_locators()],
        };
        let Some(first) = pairs.first() else {
            self.table.remove(id);
            return None;
        };
        let ctx = self.table.get_mut(id)?;
        ctx.flow = flow.or(self.trigger.flow(ulids));
        let mut exchange = Exchange::new(self.io.rng.u32(), *first, now);
        exchange.pairs = pairs;
        ctx.exchange = Some(exchange);
        ctx.send_i1(now, &mut self.io);
        self.settle(now, id);
        Some(id)
    }

    /// Is a context with the pair possible, as long as the addresses of this host and the settings are as they are?
    /// `anywhere`: over whichever of our locators is up.
    pub(super) fn may_begin(&self, ulids: UlidPair, anywhere: bool) -> bool {
        let ours = |addr| self.local.iter().find(|l| l.addr == addr);
        ours(ulids.local).is_some_and(|l| l.operational || anywhere)
            && is_servable(&ulids.peer)
            && ours(ulids.peer).is_none()
            && !self.forbids(&ulids.peer)
    }

    /// A new context with a tag that no other has; `None` if the table is full or no tag is free (S6-7.1-5).
    pub(super) fn create(
        &mut self,
        now: Time,
        ulids: UlidPair,
        fii: Fii,
        avoid: Option<ContextTag>,
    ) -> Option<Id> {
        if self.table.len() >= self.io.config.shim6.max_contexts {
            self.io.counters.drop(Dropped::Full);
            return None;
        }
        let table = &self.table;
        let Some(tag) = self.tags.allocate(|t| table.by_tag(t).is_none() && Some(t) != avoid) else {
            self.io.counters.drop(Dropped::Full);
            return None;
        };
        let sibling = self.table.instances(ulids).next().and_then(|id| self.table.get(id)).map(|c| &c.local);
        let local = LocalSet::new(ulids.local, &self.local, sibling, self.io.rng.as_mut());
        let id = self.table.insert(Context::new(ulids, fii, tag, local, now));
        self.review_pair(now, ulids);
        Some(id)
    }

    /// The Retransmission Timer of I1, I2 or I2bis (S6-7.8, S6-7.12, S6-7.19).
    pub(super) fn exchange_timeout(&mut self, now: Time, id: Id) {
        let Some(ctx) = self.table.get_mut(id) else { return };
        let Some(exchange) = &ctx.exchange else { return };
        let timers = &self.io.config.shim6;
        let most = timers.i1_retries_max.saturating_add(1).saturating_mul(exchange.turns());
        let retries = match ctx.state {
            ContextState::I2Sent => timers.i2_retries_max,
            ContextState::I2bisSent => timers.i2bis_retries_max,
            ContextState::I1Sent | ContextState::Established => 0,
        };
        // The first copy is no retransmission
        if ctx.state != ContextState::I1Sent && exchange.sent <= retries {
            ctx.send_i2(now, &mut self.io, true);
        } else if exchange.i1_sent < most {
            // S6-7.12-2, S6-7.19-2, S6-N-18
            ctx.peer_tag = None;
            ctx.send_i1(now, &mut self.io);
        } else {
            self.fail(now, id, false);
            return;
        }
        self.settle(now, id);
    }

    /// E-FAILED or NO-SUPPORT: the context is gone, not to be tried again for a while (S6-7.8-4, S6-7.8-5).
    pub(super) fn fail(&mut self, now: Time, id: Id, no_support: bool) {
        let Some(mut ctx) = self.table.remove(id) else { return };
        let timers = &self.io.config.shim6;
        let capable = timers.capability(&ctx.ulids.peer) == Capability::Capable;
        if ctx.was_established && !no_support {
            self.former.remember(now, &ctx);
        }
        if ctx.exclusive {
            // The shared context shows that the peer can be reached and does Shim6
        } else if no_support && capable {
            // Another address of ours may fare better with a peer that was said to do Shim6 (LS-D-18)
            self.negative.failed(ctx.ulids, now + timers.icmp_holddown_time);
        } else if no_support {
            self.negative.no_support(ctx.ulids.peer, now + timers.icmp_holddown_time);
        } else {
            self.negative.failed(ctx.ulids, now + timers.no_r1_holddown_time);
        }
        ctx.state = ContextState::I1Sent;
        ctx.tell_pair(now, &mut self.io);
        self.io.counters.establish_failed += 1;
        self.io.event(now, ctx.ulids, ctx.fii, EventKind::EstablishFailed { no_support });
        self.io.changed.insert(ctx.ulids);
    }

    /// ULID pair and FII of I1, I2, I2bis (S6-7.9-2, S6-5.15.6-2). `None`: not to be served (S6-N-40).
    pub(super) fn key_of(&self, d: &Datagram<'_>, options: &Options) -> Option<(UlidPair, Fii)> {
        let ulids = match &options.ulid_pair {
            Some(o) => UlidPair { local: o.receiver, peer: o.sender },
            None => UlidPair { local: d.destination, peer: d.source },
        };
        let fii = options.fii.unwrap_or(0);
        let ours = |a| self.local.iter().any(|l| l.addr == a);
        // A ULID that vanished from the host lives on in its contexts, and they may be forked (LS-H-33)
        let local = ours(ulids.local) || self.table.instances(ulids).next().is_some();
        let excluded = self.io.config.shim6.excludes(&ulids.peer);
        let good = is_servable(&ulids.local) && is_servable(&ulids.peer) && !excluded;
        (local && good && !ours(ulids.peer)).then_some((ulids, fii))
    }

    /// S6-7.9-1 to S6-7.9-4: R1 or R2, and never a change of state.
    pub(super) fn on_i1(&mut self, now: Time, d: &Datagram<'_>, m: &I1) {
        let Some((ulids, fii)) = self.key_of(d, &m.options) else {
            return self.io.counters.drop(Dropped::BadUlid);
        };
        let id = self.table.by_key(ulids, fii);
        // Another process with the same ULID pair answers for its flows (S6-N-48)
        let flow = m.options.flow.map(mirror);
        if (id.is_none() || flow.is_some()) && !self.io.host.serves(ulids, flow) {
            return self.io.counters.drop(Dropped::NotServed);
        }
        if !self.io.limiter.allow(now, &d.source) {
            return self.io.counters.drop(Dropped::RateLimited);
        }
        if let Some(id) = id
            && let Some(ctx) = self.table.get_mut(id)
        {
            // In every state, or a forged ULID Pair option would get CT(local) (S6-N-24)
            let known = (ctx.peer.contains(&d.source)
                || ctx.exchange.as_ref().is_some_and(|e| e.pair.peer == d.source))
                && ctx.local.contains(&d.destination);
            if known && (!ctx.established() || ctx.peer_tag == Some(m.initiator_tag)) {
                if !ctx.established() || ctx.flags.own.is_none() {
                    self.set_flags(id);
                }
                let Some(ctx) = self.table.get_mut(id) else { return };
                ctx.send_r2(now, &mut self.io, d.back(), m.initiator_nonce);
                // S6-B-12, S6-B-26, S6-B-40
                if !ctx.established() {
                    ctx.poke(now, &mut self.io);
                }
                self.settle(now, id);
                return;
            }
        }
        let input = R1Input { tag: m.initiator_tag, ulids, locators: d.back(), fii };
        let (responder_nonce, validator) = self.validators.issue_r1(now, self.io.rng.as_mut(), &input);
        let options = Options { validator: Some(validator), ..Options::default() };
        let initiator_nonce = m.initiator_nonce;
        self.io.send(d.back(), &Message::R1(R1 { initiator_nonce, responder_nonce, options }));
    }

    /// S6-7.11: only in I1-SENT.
    pub(super) fn on_r1(&mut self, now: Time, d: &Datagram<'_>, m: R1) {
        let Some(validator) = m.options.validator else {
            return self.io.counters.drop(Dropped::Malformed(crate::wire::DropReason::MissingOption));
        };
        let Some(id) = self.by_exchange(d, m.initiator_nonce) else {
            return self.io.counters.drop(Dropped::NoMatch);
        };
        let Some(ctx) = self.table.get_mut(id) else { return };
        if ctx.state != ContextState::I1Sent {
            return self.io.counters.drop(Dropped::State);
        }
        if let Some(exchange) = &mut ctx.exchange {
            // The validator is good for this pair
            exchange.pair = d.back();
            exchange.reply = Some(Reply { nonce: m.responder_nonce, validator });
            exchange.sent = 0;
        }
        ctx.state = ContextState::I2Sent;
        ctx.local.refresh(&self.local, self.io.rng.as_mut());
        self.set_flags(id);
        let Some(ctx) = self.table.get_mut(id) else { return };
        ctx.send_i2(now, &mut self.io, true);
        self.settle(now, id);
    }

    /// The context whose exchange runs over the pair that `d` came by, with this Initiator Nonce (S6-12.4-2, S6-N-10).
    fn by_exchange(&self, d: &Datagram<'_>, nonce: u32) -> Option<Id> {
        self.table.by_nonce(nonce).find(|id| {
            let ctx = self.table.get(*id);
            ctx.is_some_and(|c| c.exchange.as_ref().is_some_and(|e| e.runs_over(c.state, d.back())))
        })
    }

    /// S6-7.13: the validator first, as it is cheap and proves that the source can be reached.
    pub(super) fn on_i2(&mut self, now: Time, d: &Datagram<'_>, m: &I2) {
        let Some((ulids, fii)) = self.key_of(d, &m.options) else {
            return self.io.counters.drop(Dropped::BadUlid);
        };
        let input = R1Input { tag: m.initiator_tag, ulids, locators: d.back(), fii };
        let validator = m.options.validator.as_deref().unwrap_or_default();
        if let Err(e) = self.validators.check_r1(now, m.responder_nonce, &input, validator) {
            return self.refuse_validator(e);
        }
        let request = Request {
            ulids,
            fii,
            tag: m.initiator_tag,
            initiator_nonce: m.initiator_nonce,
            responder_nonce: m.responder_nonce,
            options: &m.options,
            packet_tag: None,
        };
        self.accept(now, d, &request);
    }

    pub(super) fn refuse_validator(&mut self, why: Refused) {
        self.io.counters.drop(match why {
            Refused::Stale => Dropped::StaleNonce,
            Refused::Wrong => Dropped::BadValidator,
        });
    }

    /// The common part of S6-7.13 and S6-7.20, from the lookup on. Everything is verified before anything is changed
    /// (S6-N-51).
    pub(super) fn accept(&mut self, now: Time, d: &Datagram<'_>, r: &Request<'_>) {
        let id = self.table.by_key(r.ulids, r.fii);
        let flow = r.options.flow.map(mirror);
        if id.is_none() && !self.io.host.serves(r.ulids, flow) {
            return self.io.counters.drop(Dropped::NotServed);
        }
        // RSA costs more than all the rest
        if r.options.signature.is_some() && !self.io.limiter.allow(now, &d.source) {
            return self.io.counters.drop(Dropped::RateLimited);
        }
        let known = id.and_then(|id| self.table.get(id)).map(|c| &c.peer);
        let offer = match verify::check(r.options, r.ulids.peer, known) {
            Ok(offer) => offer,
            Err(Refusal::Pds) => return self.io.counters.drop(Dropped::BadPds),
            Err(Refusal::Method(offset)) => {
                self.io.counters.drop(Dropped::BadLocators);
                return self.io.send_error(d, error_code::VERIFICATION_METHOD, offset);
            }
        };
        // S6-7.13-9, S6-7.20-11, S6-N-50; without context S6-N-21
        let trusted = match known {
            Some(peer) => peer.contains(&d.source),
            None => d.source == r.ulids.peer,
        };
        if !trusted && !offer.lists(&d.source) {
            return self.io.counters.drop(Dropped::BadSource);
        }
        let claim = Claim {
            tag: r.tag,
            initiator_nonce: r.initiator_nonce,
            responder_nonce: r.responder_nonce,
            generation: offer.list.as_ref().map(|(generation, _)| *generation),
        };
        let id = match id {
            Some(id) => id,
            None => match self.create(now, r.ulids, r.fii, r.packet_tag) {
                Some(id) => {
                    // Other processes of this host are to fork, also where the peer was first
                    if r.fii == 0 {
                        self.io.host.owns_default(r.ulids);
                    }
                    id
                }
                None => return,
            },
        };
        let Some(ctx) = self.table.get_mut(id) else { return };
        if ctx.claims.contains(&claim) {
            // A copy: the R2 was lost, or the I2 was late. An Update may have come since, so nothing is taken from it
            ctx.send_r2(now, &mut self.io, d.back(), r.initiator_nonce);
            self.settle(now, id);
            return;
        }
        if ctx.claims.len() >= MAX_CLAIMS {
            ctx.claims.pop_front();
        }
        ctx.claims.push_back(claim);
        let offer = self.affordable(id, offer);
        let Some(ctx) = self.table.get_mut(id) else { return };
        let bad = commit(ctx, &mut self.io, offer, r.options);
        ctx.tune(&self.io);
        let anew = ctx.peer_tag.replace(r.tag).is_some_and(|old| old != r.tag);
        if anew {
            ctx.requests.clear();
            self.io.counters.recovered += 1;
        }
        ctx.flow = ctx.flow.or(flow);
        if let Some(flow) = flow {
            ctx.add_flow(flow);
        }
        self.peer_flags(id, r.options.capabilities, true);
        self.set_flags(id);
        if let Some((code, offset)) = bad {
            self.io.counters.drop(Dropped::BadPreferences);
            self.io.send_error(d, code, offset);
        }
        self.table.reindex(id);
        self.look_for_confusion(now, id);
        let Some(ctx) = self.table.get(id) else { return };
        match ctx.state {
            // S6-B-27, S6-B-41: R2 and stay
            ContextState::I2Sent | ContextState::I2bisSent => {}
            ContextState::I1Sent => self.become_established(now, id),
            ContextState::Established => self.tell_established(now, id),
        }
        let Some(ctx) = self.table.get_mut(id) else { return };
        ctx.send_r2(now, &mut self.io, d.back(), r.initiator_nonce);
        if ctx.established() {
            if ctx.update.is_none() {
                ctx.local.accept(ctx.local.addresses(), ctx.local.list().is_some());
            }
            ctx.refresh_local(now, &mut self.io, &self.local);
            ctx.update_candidates(now, &mut self.io);
            if anew {
                ctx.peer_began_anew(now, &mut self.io, d.back());
            }
        }
        self.settle(now, id);
    }

    /// Whether the PDS that a verified message brought for `id` still has room (HC-USE-19).
    pub(super) fn has_room_for(&self, id: Id, offer: &verify::Offer) -> bool {
        let size = |pds: Option<&crate::crypto::Pds>| pds.map_or(0, |p| p.as_bytes().len());
        let old = size(self.table.get(id).and_then(|c| c.peer.pds()));
        let new = size(offer.pds.as_ref());
        new <= old || self.table.pds_octets() - old + new <= self.io.config.shim6.max_pds_memory
    }

    /// What of an offer is recorded: all of it while there is room.
    fn affordable(&mut self, id: Id, offer: verify::Offer) -> verify::Offer {
        if self.has_room_for(id, &offer) {
            return offer;
        }
        self.io.counters.drop(Dropped::PdsFull);
        offer.without_list()
    }

    /// S6-7.16: in I1-SENT, I2-SENT and I2BIS-SENT.
    pub(super) fn on_r2(&mut self, now: Time, d: &Datagram<'_>, m: &R2) {
        let Some(id) = self.by_exchange(d, m.initiator_nonce) else {
            return self.io.counters.drop(Dropped::NoMatch);
        };
        let Some(ctx) = self.table.get(id) else { return };
        let offer = match verify::check(&m.options, ctx.ulids.peer, Some(&ctx.peer)) {
            Ok(offer) => offer,
            Err(Refusal::Pds) => return self.io.counters.drop(Dropped::BadPds),
            Err(Refusal::Method(offset)) => {
                self.io.counters.drop(Dropped::BadLocators);
                return self.io.send_error(d, error_code::VERIFICATION_METHOD, offset);
            }
        };
        let offer = self.affordable(id, offer);
        let Some(ctx) = self.table.get_mut(id) else { return };
        let bad = commit(ctx, &mut self.io, offer, &m.options);
        ctx.tune(&self.io);
        let anew = ctx.peer_tag.replace(m.responder_tag).is_some_and(|old| old != m.responder_tag);
        if anew {
            ctx.requests.clear();
        }
        self.peer_flags(id, m.options.capabilities, true);
        // Where I1 met I1 there was no I2 to announce them
        if self.table.get(id).is_some_and(|c| c.flags.own.is_none()) {
            self.set_flags(id);
        }
        if let Some((code, offset)) = bad {
            self.io.counters.drop(Dropped::BadPreferences);
            self.io.send_error(d, code, offset);
        }
        self.table.reindex(id);
        self.look_for_confusion(now, id);
        // The I2 or I2bis told everything
        if let Some(ctx) = self.table.get_mut(id)
            && ctx.state != ContextState::I1Sent
        {
            ctx.update = None;
        }
        self.become_established(now, id);
        if let Some(ctx) = self.table.get_mut(id) {
            ctx.refresh_local(now, &mut self.io, &self.local);
            ctx.update_candidates(now, &mut self.io);
            if anew {
                ctx.peer_began_anew(now, &mut self.io, d.back());
            }
            ctx.reap.established_by_r2(&mut self.io.env(now));
        }
        self.settle(now, id);
    }

    /// To ESTABLISHED; CT(peer) and Ls(peer) are recorded.
    fn become_established(&mut self, now: Time, id: Id) {
        let Some(ctx) = self.table.get_mut(id) else { return };
        ctx.state = ContextState::Established;
        // Where other pairs had to be tried, that of the ULIDs is not to be trusted
        let elsewhere =
            ctx.exchange.take().is_some_and(|e| e.pairs.len() > 1 && e.pair != ctx.ulids.as_locators());
        let again = std::mem::replace(&mut ctx.was_established, true);
        ctx.local.accept(ctx.local.addresses(), ctx.local.list().is_some());
        ctx.local.untrim();
        self.inherit(id);
        let Some(ctx) = self.table.get_mut(id) else { return };
        let limit = self.io.config.shim6.idle_timeout.max(super::MIN_IDLE);
        ctx.idle_check = ctx.last_use.max(now) + limit;
        // The peer's list may be another one now, and REAP probes at once if it was exploring
        ctx.update_candidates(now, &mut self.io);
        ctx.reap.resume(&mut self.io.env(now));
        if elsewhere {
            ctx.reap.explore(&mut self.io.env(now), FailureCause::SendTimeout);
        }
        if self.io.config.reap.hot_standby {
            ctx.set_hot_standby(now, true);
        }
        let ulids = ctx.ulids;
        if again {
            self.io.counters.recovered += 1;
        } else {
            ctx.last_use = now;
            self.io.counters.established += 1;
        }
        self.trigger.forget(ulids);
        self.negative.clear(ulids);
        self.tell_established(now, id);
    }

    fn tell_established(&mut self, now: Time, id: Id) {
        let Some(ctx) = self.table.get(id) else { return };
        if let Some(peer_tag) = ctx.peer_tag {
            let kind = EventKind::Established { local_tag: ctx.local_tag, peer_tag };
            self.io.event(now, ctx.ulids, ctx.fii, kind);
        }
        self.io.changed.insert(ctx.ulids);
    }
}

/// Record a verified offer and the Keepalive Timeout. Preferences that do not fit are ignored and reported (S6-N-30):
/// the code and offset of the Error.
fn commit(ctx: &mut Context, io: &mut Io, offer: verify::Offer, options: &Options) -> Option<(u8, usize)> {
    let bad = match offer.preferences {
        Preferences::Absent | Preferences::Fit(_) => None,
        Preferences::Generation { offset } => Some((error_code::GENERATION, offset)),
        Preferences::Count { offset } => Some((error_code::LOCATOR_COUNT, offset)),
    };
    offer.commit(&mut ctx.peer, &io.config.shim6, io.rng.as_mut());
    // Another implementation may have taken the place of one that knew milliseconds
    ctx.precise = false;
    ctx.announce(options);
    bad
}

/// A Flow option as we see the flow.
fn mirror(flow: FlowId) -> FlowId {
    FlowId { local_port: flow.peer_port, peer_port: flow.local_port, ..flow }
}
