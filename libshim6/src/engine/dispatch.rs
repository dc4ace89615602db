//! To which context a received packet, an Error message or an ICMPv6 error belongs (RFC 5533 sections 8 and 12).

use super::Engine;
use super::counters::{Counters, Dropped};
use super::io::{ContextState, Datagram, Deliver, IcmpKind};
use super::table::Id;
use crate::addr::{ContextTag, Fii, LocatorPair, UlidPair};
use crate::time::Time;
use crate::wire::{
    self, ErrorMessage, Message, Packet, ParseError, QuotedKind, check_addresses, error_code, message_type,
    peek_quoted,
};

impl Engine {
    /// A packet of protocol 140. Returns payload for the upper layer, if it carried any and belongs to a context.
    pub fn handle_datagram<'a>(&mut self, now: Time, d: &Datagram<'a>) -> Option<Deliver<'a>> {
        self.io.now = now;
        self.io.counters.last = None;
        let deliver = self.take_datagram(now, d);
        if let Some(why) = self.io.counters.last {
            tracing::trace!(source = %d.source, destination = %d.destination, ?why, "dropped");
        }
        if self.io.config.shim6.debug_errors {
            self.debug_error(d);
        }
        deliver
    }

    /// The context of ours that a control message names by its tag: what its sockets sent until now is to be told before the
    /// message is handled, or it would look as if it had been sent after.
    pub fn owner(&self, data: &[u8]) -> Option<(UlidPair, Fii)> {
        let tagged =
            data.get(2).is_some_and(|ty| (message_type::UPDATE_REQUEST..message_type::ERROR).contains(ty));
        let tag: [u8; 6] = data.get(6..12).filter(|_| tagged)?.try_into().ok()?;
        let tag = tag.iter().fold(0u64, |n, octet| n << 8 | u64::from(*octet)) & ((1 << 47) - 1);
        let ctx = self.table.by_tag(ContextTag::new(tag)).and_then(|id| self.table.get(id))?;
        Some((ctx.ulids, ctx.fii))
    }

    /// An Error about a control message that would be discarded silently (S6-5.14-7).
    fn debug_error(&mut self, d: &Datagram<'_>) {
        let code = match self.io.counters.last {
            Some(Dropped::Malformed(_)) => 120,
            Some(Dropped::BadUlid | Dropped::NotServed) => 121,
            Some(Dropped::NoMatch) => 122,
            Some(Dropped::State) => 123,
            Some(Dropped::StaleNonce | Dropped::BadValidator) => 124,
            Some(Dropped::BadPds) => 125,
            Some(Dropped::BadSource) => 126,
            Some(Dropped::Full | Dropped::PdsFull) => 127,
            _ => return,
        };
        if self.io.config.shim6.excludes(&d.source) {
            return;
        }
        let control = d.data.get(2).is_some_and(|ty| ty & 0x80 == 0 && *ty != message_type::ERROR);
        if control && check_addresses(d.source, d.destination).is_ok() {
            self.reply_error(d, code, 2);
        }
    }

    fn take_datagram<'a>(&mut self, now: Time, d: &Datagram<'a>) -> Option<Deliver<'a>> {
        // S6-12.3-4: before anything is answered
        if let Err(reason) = check_addresses(d.source, d.destination) {
            self.io.counters.drop(Dropped::Malformed(reason));
            return None;
        }
        if self.io.config.shim6.excludes(&d.source) {
            self.io.counters.drop(Dropped::NotServed);
            return None;
        }
        match wire::parse(d.data) {
            Ok(Packet::Payload { tag, next_header, data }) => self.on_payload(now, d, tag, next_header, data),
            Ok(Packet::Control(message)) => {
                Counters::bump(&mut self.io.counters.received, message.type_number());
                tracing::trace!(pair = %d.back(), "received {message}");
                self.on_message(now, d, message);
                None
            }
            Err(ParseError::Drop { reason }) => {
                self.io.counters.drop(Dropped::Malformed(reason));
                None
            }
            // S6-N-15: Error 0 only
            Err(ParseError::UnknownType { .. }) => {
                self.io.counters.drop(Dropped::UnknownType);
                self.reply_error(d, error_code::UNKNOWN_TYPE, 2);
                None
            }
            Err(ParseError::CriticalOption { offset, message, .. }) => {
                self.io.counters.drop(Dropped::CriticalOption);
                if message != message_type::ERROR {
                    self.reply_error(d, error_code::CRITICAL_OPTION, offset);
                }
                None
            }
        }
    }

    /// An Error about a packet that no context vouches for: only for addresses that are ours.
    fn reply_error(&mut self, d: &Datagram<'_>, code: u8, offset: usize) {
        if self.local.iter().any(|l| l.addr == d.destination) {
            self.io.send_error(d, code, offset);
        }
    }

    fn on_message(&mut self, now: Time, d: &Datagram<'_>, message: Message) {
        if let Some(tag) = message.receiver_tag() {
            return self.on_tagged(now, d, tag, &message);
        }
        match message {
            Message::I1(m) => self.on_i1(now, d, &m),
            Message::R1(m) => self.on_r1(now, d, m),
            Message::I2(m) => self.on_i2(now, d, &m),
            Message::R2(m) => self.on_r2(now, d, &m),
            Message::R1bis(m) => self.on_r1bis(now, d, m),
            Message::I2bis(m) => self.on_i2bis(now, d, &m),
            Message::Error(m) => self.on_error(now, &m),
            Message::UpdateRequest(_) | Message::UpdateAck(_) | Message::Keepalive(_) | Message::Probe(_) => {
            }
        }
    }

    /// S6-12.4-5: by the tag, then both addresses.
    fn on_tagged(&mut self, now: Time, d: &Datagram<'_>, tag: ContextTag, message: &Message) {
        let Some(id) = self.table.by_tag(tag) else {
            self.io.counters.drop(Dropped::UnknownTag);
            return self.send_r1bis(now, d, tag);
        };
        let Some(ctx) = self.table.get_mut(id) else { return };
        // S6-B-23
        if ctx.state == ContextState::I1Sent {
            return self.io.counters.drop(Dropped::State);
        }
        // S6-N-12: before a list is known, the peer of the exchange counts too
        let exchange = ctx.exchange.as_ref().is_some_and(|e| e.pair.peer == d.source);
        if !(ctx.peer.contains(&d.source) || exchange) || !ctx.local.contains(&d.destination) {
            self.io.counters.drop(Dropped::ForeignLocators);
            return self.send_r1bis(now, d, tag);
        }
        match message {
            Message::UpdateRequest(m) => self.on_update_request(now, id, d, m),
            Message::UpdateAck(m) => self.on_update_ack(now, id, m),
            // RE-KA-08, RE-PR-22, S6-N-27
            Message::Keepalive(_) | Message::Probe(_) if !ctx.established() => ctx.poke(now, &mut self.io),
            Message::Keepalive(_) => ctx.reap.keepalive_received(&mut self.io.env(now)),
            Message::Probe(m) => ctx.reap.probe_received(&mut self.io.env(now), m, d.back()),
            _ => {}
        }
        self.settle(now, id);
    }

    /// S6-12.2: by the tag alone, unless the strict mode is on (S6-N-38).
    fn on_payload<'a>(
        &mut self,
        now: Time,
        d: &Datagram<'a>,
        tag: ContextTag,
        next_header: u8,
        data: &'a [u8],
    ) -> Option<Deliver<'a>> {
        let Some(id) = self.table.by_tag(tag) else {
            self.io.counters.drop(Dropped::UnknownTag);
            self.send_r1bis(now, d, tag);
            return None;
        };
        let ctx = self.table.get_mut(id)?;
        let strict = self.io.config.shim6.strict_payload_locators;
        if strict && !(ctx.peer.contains(&d.source) && ctx.local.contains(&d.destination)) {
            self.io.counters.drop(Dropped::ForeignLocators);
            return None;
        }
        match ctx.state {
            // S6-B-22
            ContextState::I1Sent => {
                self.io.counters.drop(Dropped::State);
                return None;
            }
            // S6-B-34, S6-B-48
            ContextState::I2Sent | ContextState::I2bisSent => ctx.poke(now, &mut self.io),
            ContextState::Established => ctx.reap.payload_received(&mut self.io.env(now)),
        }
        ctx.last_use = ctx.last_use.max(now);
        let deliver = Deliver { ulids: ctx.ulids, fii: ctx.fii, locators: d.back(), next_header, data };
        self.io.counters.payload_received += 1;
        self.io.counters.payload_octets += data.len() as u64;
        self.settle(now, id);
        Some(deliver)
    }

    /// An Error message changes no state. What it quotes must be ours (S6-N-14).
    fn on_error(&mut self, now: Time, m: &ErrorMessage) {
        let found = m.quoted().and_then(|q| {
            let pair = LocatorPair { local: q.source, peer: q.destination };
            let kind = peek_quoted(q.message)?;
            Some((self.by_quoted(pair, kind)?, kind))
        });
        let Some((id, kind)) = found else {
            return self.io.counters.drop(Dropped::ForeignError);
        };
        Counters::bump(&mut self.io.counters.errors_received, m.code);
        let Some(ctx) = self.table.get_mut(id) else { return };
        tracing::warn!(ulids = %ctx.ulids, code = m.code, pointer = m.pointer, "the peer reports an error");
        if let QuotedKind::Tagged { ty: message_type::UPDATE_REQUEST, nonce: Some(nonce), .. } = kind
            && matches!(
                m.code,
                error_code::VERIFICATION_METHOD | error_code::GENERATION | error_code::LOCATOR_COUNT
            )
            && ctx.established()
        {
            ctx.update_failed(now, &mut self.io, nonce);
        }
        self.settle(now, id);
    }

    /// The context that sent a packet over `pair` (S6-12.4-6, S6-N-45).
    pub(super) fn by_quoted(&self, pair: LocatorPair, kind: QuotedKind) -> Option<Id> {
        match kind {
            QuotedKind::Initiator { tag, nonce, .. } => self.table.by_tag(tag).filter(|id| {
                self.table
                    .get(*id)
                    .is_some_and(|c| c.exchange.as_ref().is_some_and(|e| e.nonce == nonce && e.pair == pair))
            }),
            QuotedKind::Tagged { tag, .. } => self.table.by_peer_tag(tag).find(|id| {
                self.table
                    .get(*id)
                    .is_some_and(|c| c.local.contains(&pair.local) && c.peer.contains(&pair.peer))
            }),
            QuotedKind::Payload { tag, .. } => self
                .table
                .by_peer_tag(tag)
                .find(|id| self.table.get(*id).is_some_and(|c| c.active() && c.current() == pair)),
            QuotedKind::Reply { .. } | QuotedKind::Error => None,
        }
    }

    /// An ICMPv6 error about a packet of ours that was sent over `locators`; `quoted` is that packet from the shim header
    /// on, cut anywhere. It is a hint at most, and anything that fits no context is ignored (S6-8-8, S6-8-11, S6-8-12).
    pub fn handle_icmp(&mut self, now: Time, kind: IcmpKind, locators: LocatorPair, quoted: &[u8]) {
        self.io.now = now;
        let Some(what) = peek_quoted(quoted) else { return };
        let Some(id) = self.by_quoted(locators, what) else { return };
        let Some(ctx) = self.table.get_mut(id) else { return };
        match (kind, what) {
            (IcmpKind::PacketTooBig(_) | IcmpKind::Other, _) => {}
            // S6-7.8-5, S6-N-13: only the outstanding I1, and only in I1-SENT
            (IcmpKind::UnrecognizedNextHeader, QuotedKind::Initiator { ty: message_type::I1, .. }) => {
                if ctx.state == ContextState::I1Sent {
                    return self.fail(now, id, true);
                }
            }
            (_, QuotedKind::Initiator { .. }) => {}
            // RE-FI-03, RE-FI-04: of the current pair
            (IcmpKind::UnrecognizedNextHeader | IcmpKind::Unreachable, _) => {
                if ctx.established() && ctx.current() == locators {
                    ctx.reap.hint(&mut self.io.env(now));
                }
            }
        }
        self.settle(now, id);
    }
}
