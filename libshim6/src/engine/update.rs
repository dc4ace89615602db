//! Update Request and Acknowledgement (RFC 5533 section 10): telling the peer of our locators, and being told of its.

use super::context::{Context, backoff};
use super::counters::Dropped;
use super::io::{ContextState, Datagram};
use super::table::Id;
use super::verify::{self, Preferences, Refusal};
use super::{Engine, Io};
use crate::addr::LocatorPair;
use crate::event::EventKind;
use crate::time::Time;
use crate::wire::{Message, Options, UpdateAck, UpdateRequest, error_code};
use std::net::Ipv6Addr;
use std::time::Duration;

/// Update Requests of the peer that are remembered (S6-N-29).
const MAX_REQUESTS: usize = 8;
/// From locators that the peer does not know, a request goes to so many pairs at a time, and the first two not closer.
const AT_ONCE: usize = 4;
const NEWCOMERS_GAP: Duration = Duration::from_millis(100);

/// What an Update Request has to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct News {
    /// The list.
    pub(super) list: bool,
    /// The preferences.
    pub(super) preferences: bool,
    /// The Keepalive Timeout.
    pub(super) keepalive: bool,
    /// The flags for header suppression.
    pub(super) flags: bool,
}

/// The one outstanding Update Request of a context (S6-10.3-1).
#[derive(Clone, Debug)]
pub(super) struct Update {
    /// Request Nonce.
    nonce: u32,
    news: News,
    /// What the acknowledgement accepts.
    addrs: Vec<Ipv6Addr>,
    with_pds: bool,
    sent: u32,
    pub(super) deadline: Time,
    /// This is the complete new request after an Error; another Error ends it (S6-N-29).
    complete: bool,
}

impl Update {
    /// Does it tell of flags for header suppression?
    pub(super) fn tells_flags(&self) -> bool {
        self.news.flags
    }
}

impl Context {
    /// Tell the peer, with everything that it has not acknowledged yet (S6-10.3-3).
    pub(super) fn request_update(&mut self, now: Time, io: &mut Io, news: News, complete: bool) {
        let mut news = news;
        if let Some(old) = &self.update {
            news.list |= old.news.list;
            news.preferences |= old.news.preferences;
            news.keepalive |= old.news.keepalive;
            news.flags |= old.news.flags;
        }
        // Without a list that it ever got, the peer has nothing to relate preferences to (S6-N-30)
        if news.preferences && !self.local.listed() {
            news.list = true;
        }
        if news.list {
            if self.local.list().is_none() {
                news.list = false;
                news.preferences = false;
            } else {
                news.preferences |= self.local.any_broken();
                self.local.mark_listed();
            }
        }
        if news == News::default() {
            return;
        }
        self.update = Some(Update {
            nonce: io.rng.u32(),
            news,
            addrs: self.local.addresses(),
            with_pds: news.list && !self.local.pds_known(),
            sent: 0,
            deadline: now,
            complete,
        });
        self.send_update(now, io);
    }

    /// Send the outstanding request (again), over the current pair.
    pub(super) fn send_update(&mut self, now: Time, io: &mut Io) {
        let pair = self.reap.current();
        let Some(update) = self.update.as_mut().filter(|_| self.peer_tag.is_some()) else { return };
        let timers = &io.config.shim6;
        let base = backoff(timers.update_timeout, update.sent).min(timers.max_update_timeout);
        update.deadline = now + io.randomised(base);
        if !self.local.candidates().iter().any(|c| c.addr == pair.local) {
            // Nothing can leave from there; it goes out as soon as REAP has found another pair
            if self.local.candidates().iter().any(|c| c.operational) || self.local.newcomers().is_empty() {
                return;
            }
            return self.send_from_newcomers(now, io);
        }
        update.sent += 1;
        self.emit_update(now, io, &[pair]);
    }

    /// All locators that the peer knows went at the moment when others came, so that there is no pair by which it could be told.
    /// From a source that it does not know it does not take the request, but answers with R1bis (S6-12.4-5), and the I2bis
    /// that follows brings the new list.
    fn send_from_newcomers(&mut self, now: Time, io: &mut Io) {
        let sources = self.local.newcomers();
        let current = self.reap.current().peer;
        let mut peers: Vec<Ipv6Addr> = self.peer.candidates().iter().map(|p| p.addr).collect();
        peers.sort_by_key(|a| *a != current);
        let pairs = sources.iter().flat_map(|local| peers.iter().map(|peer| (*local, *peer)));
        let pairs: Vec<_> = pairs.map(|(local, peer)| LocatorPair { local, peer }).collect();
        // All in turn, some at a time
        let turn = self.update.as_ref().map_or(0, |u| u.sent as usize * AT_ONCE) % pairs.len().max(1);
        let now_due: Vec<_> =
            pairs.iter().cycle().skip(turn).take(AT_ONCE.min(pairs.len())).copied().collect();
        if let Some(update) = &mut self.update {
            update.sent += 1;
            let base = io.config.reap.initial_probe_timeout.max(NEWCOMERS_GAP);
            update.deadline =
                now + io.randomised(backoff(base, update.sent - 1).min(io.config.shim6.max_update_timeout));
        }
        self.emit_update(now, io, &now_due);
    }

    /// The outstanding request over these pairs.
    fn emit_update(&mut self, now: Time, io: &mut Io, pairs: &[LocatorPair]) {
        let (seconds, milliseconds) = (self.timeout_seconds(io), self.timeout_ms(io));
        let (Some(update), Some(receiver_tag)) = (&self.update, self.peer_tag) else { return };
        let (news, with_pds, request_nonce) = (update.news, update.with_pds, update.nonce);
        let message = self.fitting(io, |ctx, _| {
            let options = Options {
                locators: ctx.local.list().filter(|_| news.list),
                signature: if news.list { ctx.local.signature() } else { None },
                preferences: news.preferences.then(|| ctx.local.preferences()),
                pds: if with_pds { ctx.local.pds() } else { None },
                keepalive_timeout: news.keepalive.then_some(seconds),
                precise_timeout: news.keepalive.then_some(milliseconds),
                capabilities: ctx.flags.own.filter(|_| news.flags),
                ..Options::default()
            };
            Message::UpdateRequest(UpdateRequest { receiver_tag, request_nonce, options })
        });
        if let Some(update) = &mut self.update {
            // What did not fit is not accepted either
            update.addrs = self.local.addresses();
        }
        for pair in pairs {
            io.send(*pair, &message);
        }
        self.reap.payload_sent(&mut io.env(now));
    }

    /// The host's addresses changed (LS-H-31 to LS-H-34).
    pub(super) fn refresh_local(&mut self, now: Time, io: &mut Io, host: &[super::LocalLocator]) {
        let change = self.local.refresh(host, io.rng.as_mut());
        if !change.any {
            return;
        }
        self.update_candidates(now, io);
        let told = self.local.listed();
        let news = News {
            list: change.list && self.local.can_list(),
            preferences: change.flags && !change.list && told,
            ..News::default()
        };
        self.request_update(now, io, news, false);
        io.event(now, self.ulids, self.fii, EventKind::LocatorsChanged);
        io.changed.insert(self.ulids);
    }

    /// The peer says that our outstanding request cannot be used: one complete new one, then no more (S6-N-29).
    pub(super) fn update_failed(&mut self, now: Time, io: &mut Io, nonce: u32) -> bool {
        let Some(update) = self.update.take_if(|u| u.nonce == nonce) else { return false };
        if !update.complete {
            self.local.forget_pds_known();
            let news = News {
                list: self.local.can_list(),
                preferences: self.local.listed(),
                keepalive: update.news.keepalive,
                flags: update.news.flags,
            };
            self.request_update(now, io, news, true);
        }
        true
    }
}

impl Engine {
    /// S6-10.4-1 to S6-10.4-14. The tag fits `id`, the locators fit its sets.
    pub(super) fn on_update_request(&mut self, now: Time, id: Id, d: &Datagram<'_>, m: &UpdateRequest) {
        let Some(ctx) = self.table.get_mut(id) else { return };
        if ctx.state != ContextState::Established {
            ctx.poke(now, &mut self.io);
        }
        // In I2-SENT without CT(peer) there is no way to acknowledge: the peer will send it again (S6-N-12)
        let Some(receiver_tag) = ctx.peer_tag else {
            self.io.counters.drop(Dropped::State);
            return;
        };
        let back = d.back();
        let ack = Message::UpdateAck(UpdateAck {
            receiver_tag,
            request_nonce: m.request_nonce,
            options: Options::default(),
        });
        let seen = ctx.requests.contains(&m.request_nonce);
        if !seen {
            if m.options.signature.is_some() && !self.io.limiter.allow(now, &d.source) {
                return self.io.counters.drop(Dropped::RateLimited);
            }
            let offer = match verify::check(&m.options, ctx.ulids.peer, Some(&ctx.peer)) {
                Ok(offer) => offer,
                Err(Refusal::Pds) => return self.io.counters.drop(Dropped::BadPds),
                Err(Refusal::Method(offset)) => {
                    self.io.counters.drop(Dropped::BadLocators);
                    return self.io.send_error(d, error_code::VERIFICATION_METHOD, offset);
                }
            };
            if !self.has_room_for(id, &offer) {
                return self.io.counters.drop(Dropped::PdsFull);
            }
            let Some(ctx) = self.table.get_mut(id) else { return };
            match offer.preferences {
                Preferences::Absent | Preferences::Fit(_) => {}
                Preferences::Generation { offset } => {
                    self.io.counters.drop(Dropped::BadPreferences);
                    return self.io.send_error(d, error_code::GENERATION, offset);
                }
                Preferences::Count { offset } => {
                    self.io.counters.drop(Dropped::BadPreferences);
                    return self.io.send_error(d, error_code::LOCATOR_COUNT, offset);
                }
            }
            let news = offer.list.is_some() || offer.preferences != Preferences::Absent;
            if offer.list.is_some() {
                ctx.list_replaced();
            }
            offer.commit(&mut ctx.peer, &self.io.config.shim6, self.io.rng.as_mut());
            if ctx.requests.len() >= MAX_REQUESTS {
                ctx.requests.pop_front();
            }
            ctx.requests.push_back(m.request_nonce);
            ctx.announce(&m.options);
            ctx.tune(&self.io);
            if news {
                self.io.event(now, ctx.ulids, ctx.fii, EventKind::LocatorsChanged);
                self.io.changed.insert(ctx.ulids);
            }
            self.peer_flags(id, m.options.capabilities, false);
            // What other contexts may announce does not hang on the locators of this peer
            self.review_flags(now, id);
        }
        let Some(ctx) = self.table.get_mut(id) else { return };
        let established = ctx.established();
        if established {
            // Before the packet counts as heard: an answer to it must not probe what the peer has just withdrawn
            if !seen {
                ctx.update_candidates(now, &mut self.io);
            }
            ctx.reap.payload_received(&mut self.io.env(now));
        }
        self.io.send(back, &ack);
        if established {
            ctx.reap.payload_sent(&mut self.io.env(now));
        }
        if !seen {
            self.look_for_confusion(now, id);
        }
    }

    /// S6-10.5-1 to S6-10.5-5. The tag fits `id`, the locators fit its sets.
    pub(super) fn on_update_ack(&mut self, now: Time, id: Id, m: &UpdateAck) {
        let Some(ctx) = self.table.get_mut(id) else { return };
        if ctx.established() {
            ctx.reap.payload_received(&mut self.io.env(now));
        } else {
            ctx.poke(now, &mut self.io);
        }
        let Some(update) = ctx.update.take_if(|u| u.nonce == m.request_nonce) else {
            self.io.counters.drop(Dropped::NoMatch);
            return;
        };
        if update.news.list {
            ctx.local.accept(update.addrs, update.with_pds);
            if ctx.established() {
                ctx.update_candidates(now, &mut self.io);
            }
            self.io.changed.insert(ctx.ulids);
        }
    }

    /// Change the Send Timeout of all contexts and announce it to the peers (RE-KT-07, LS-H-37). 0 is taken for 1 ms.
    pub fn set_send_timeout(&mut self, now: Time, timeout: Duration) {
        self.io.config.reap.send_timeout = timeout.max(Duration::from_millis(1));
        for id in self.table.ids() {
            if let Some(ctx) = self.table.get_mut(id) {
                ctx.set_timers(now, &mut self.io);
            }
            self.settle(now, id);
        }
    }
}
