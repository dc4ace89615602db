//! Recovery of a context that the peer lost (R1bis, I2bis; RFC 5533 sections 7.17 to 7.20), and of the confusion when it
//! uses a tag for another context (section 7.15).

use super::Engine;
use super::context::{Exchange, Reply};
use super::counters::Dropped;
use super::establish::Request;
use super::io::{ContextState, Datagram};
use super::table::Id;
use super::validator::R1bisInput;
use crate::addr::{ContextTag, UlidPair};
use crate::event::DiscardReason;
use crate::time::Time;
use crate::wire::{I2bis, Message, Options, R1bis};

impl Engine {
    /// A tag that is not ours, or comes over foreign locators: R1bis (S6-7.17). Nothing is stored. A tag of another engine
    /// on this host is its affair, and a tag of nobody is answered by who has traffic with the peer, else by one of them
    /// (S6-N-48).
    pub(super) fn send_r1bis(&mut self, now: Time, d: &Datagram<'_>, tag: ContextTag) {
        if self.io.host.tag_is_foreign(tag) {
            return self.io.counters.drop(Dropped::ForeignTag);
        }
        if !self.local.iter().any(|l| l.addr == d.destination) {
            return self.io.counters.drop(Dropped::BadUlid);
        }
        let ulids = UlidPair { local: d.destination, peer: d.source };
        let ours = self.table.instances(ulids).next().is_some() || self.io.host.serves(ulids, None);
        if !ours && !self.io.host.answers_strangers() {
            return self.io.counters.drop(Dropped::NotServed);
        }
        if !self.io.limiter.allow(now, &d.source) {
            return self.io.counters.drop(Dropped::RateLimited);
        }
        let input = R1bisInput { packet_tag: tag, locators: d.back() };
        let (responder_nonce, validator) = self.validators.issue_r1bis(now, self.io.rng.as_mut(), &input);
        let options = Options { validator: Some(validator), ..Options::default() };
        self.io.send(d.back(), &Message::R1bis(R1bis { packet_tag: tag, responder_nonce, options }));
    }

    /// S6-7.18, with S6-N-9: any pair of the context, as it may answer a Probe.
    pub(super) fn on_r1bis(&mut self, now: Time, d: &Datagram<'_>, m: R1bis) {
        let Some(validator) = m.options.validator else {
            return self.io.counters.drop(Dropped::Malformed(crate::wire::DropReason::MissingOption));
        };
        let fits = |id: &Id| {
            self.table
                .get(*id)
                .is_some_and(|c| c.active() && c.peer.contains(&d.source) && c.local.contains(&d.destination))
        };
        let Some(id) = self.table.by_peer_tag(m.packet_tag).find(fits) else {
            return self.io.counters.drop(Dropped::NoMatch);
        };
        let Some(ctx) = self.table.get_mut(id) else { return };
        // S6-B-45, S6-N-17
        if ctx.state != ContextState::Established {
            return self.io.counters.drop(Dropped::State);
        }
        ctx.reap.pause();
        ctx.state = ContextState::I2bisSent;
        let mut exchange = Exchange::new(self.io.rng.u32(), d.back(), now);
        exchange.reply = Some(Reply { nonce: m.responder_nonce, validator });
        exchange.packet_tag = m.packet_tag;
        ctx.exchange = Some(exchange);
        self.set_flags(id);
        let Some(ctx) = self.table.get_mut(id) else { return };
        ctx.send_i2(now, &mut self.io, true);
        self.settle(now, id);
    }

    /// S6-7.20.
    pub(super) fn on_i2bis(&mut self, now: Time, d: &Datagram<'_>, m: &I2bis) {
        let Some((ulids, fii)) = self.key_of(d, &m.options) else {
            return self.io.counters.drop(Dropped::BadUlid);
        };
        let input = R1bisInput { packet_tag: m.packet_tag, locators: d.back() };
        let validator = m.options.validator.as_deref().unwrap_or_default();
        if let Err(e) = self.validators.check_r1bis(now, m.responder_nonce, &input, validator) {
            return self.refuse_validator(e);
        }
        let request = Request {
            ulids,
            fii,
            tag: m.initiator_tag,
            initiator_nonce: m.initiator_nonce,
            responder_nonce: m.responder_nonce,
            options: &m.options,
            packet_tag: Some(m.packet_tag),
        };
        self.accept(now, d, &request);
    }

    /// CT(peer) or Ls(peer) of `id` changed: no other context with the same host may use that tag (S6-7.15). Only
    /// verified locators are in Ls(peer), so nobody can evict the contexts of others (S6-N-28).
    pub(super) fn look_for_confusion(&mut self, now: Time, id: Id) {
        let Some(ctx) = self.table.get(id) else { return };
        let Some(tag) = ctx.peer_tag else { return };
        let confused: Vec<Id> = self
            .table
            .by_peer_tag(tag)
            .filter(|other| *other != id)
            .filter(|other| self.table.get(*other).is_some_and(|o| o.active() && o.peer.overlaps(&ctx.peer)))
            .collect();
        for other in confused {
            self.io.counters.confused += 1;
            let wanted = self.table.get(other).is_some_and(|o| self.io.host.in_use(o.ulids));
            if wanted { self.restart(now, other) } else { self.remove(now, other, DiscardReason::Confusion) }
        }
    }

    /// The peer lost this context and an application still needs it: from I1 on (S6-7.15-6).
    fn restart(&mut self, now: Time, id: Id) {
        let Some(ctx) = self.table.get_mut(id) else { return };
        let pair = ctx.reap.current();
        ctx.reap.pause();
        ctx.peer_tag = None;
        ctx.update = None;
        ctx.claims.clear();
        ctx.requests.clear();
        ctx.exchange = Some(Exchange::new(self.io.rng.u32(), pair, now));
        ctx.send_i1(now, &mut self.io);
        self.io.changed.insert(ctx.ulids);
        self.settle(now, id);
    }
}
