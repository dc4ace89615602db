"""REAP of one context: the state machine of RFC 5534 section 6, reports and pair choice.

The context supplies `pairs()` (candidates, best first), `pair` (the current one), `send_control(pair, message)`.
"""

import random

from . import packet
from .packet import EXPLORING, INBOUND_OK, OPERATIONAL, Block, Message

KEEPALIVES = 3  # per Keepalive Timeout: an interval of one third (4.1 item 1)


class Reap:
    def __init__(self, context, send_timeout, initial_probe_timeout):
        self.context = context
        self.send_timeout = send_timeout
        self.initial_probe_timeout = initial_probe_timeout
        self.keepalive_timeout = 15.0  # until the peer announces another
        self.state = OPERATIONAL
        self.send_at = self.keepalive_end = self.keepalive_at = self.probe_at = None
        self.sent = []  # Blocks of our probes of this exploration, oldest first
        self.reported = []  # those of them that the peer reported
        self.received = []  # Blocks of the peer's probes, oldest first
        self.probes = 0
        self.gap = initial_probe_timeout
        self.position = 0
        self.proved = set()  # peer locators that answered (return routability)

    # Timers

    def deadline(self):
        timers = [t for t in (self.send_at, self.keepalive_at, self.probe_at) if t is not None]
        return min(timers, default=None)

    def tick(self, now):
        if self.keepalive_at is not None and now >= self.keepalive_at:
            self.context.send_control(self.context.pair, Message(packet.KEEPALIVE, {"tag": self.context.peer_tag}))
            self.keepalive_at += self.keepalive_timeout / KEEPALIVES
            if self.keepalive_at > self.keepalive_end + 0.01:
                self._stop_keepalive()
        if self.send_at is not None and now >= self.send_at:
            self.explore(now)
        if self.probe_at is not None and now >= self.probe_at:
            if self.state == INBOUND_OK:
                self._start_send(now)
            self._scheduled_probe(now)

    def _start_send(self, now):
        if self.send_at is None:
            self.send_at = now + self.send_timeout

    def _start_keepalive(self, now):
        if self.keepalive_at is None:
            self.keepalive_end = now + self.keepalive_timeout
            self.keepalive_at = now + self.keepalive_timeout / KEEPALIVES

    def _stop_keepalive(self):
        self.keepalive_at = self.keepalive_end = None

    # 6.1, 6.2: payload, and all control messages but Keepalive and Probe

    def payload_in(self, now, pair):
        if self.state == OPERATIONAL:
            self.send_at = None
            self._start_keepalive(now)
        elif self.state == EXPLORING:
            self._enter(INBOUND_OK, now)
            self._reactive_probe(pair)
            self._start_send(now)
        else:
            self.send_at = None

    def payload_out(self, now):
        if self.state == OPERATIONAL:
            self._start_send(now)
            self._stop_keepalive()
        elif self.state == INBOUND_OK:
            self._start_send(now)

    # 6.4, 6.5: exploration

    def explore(self, now):
        """As if the Send Timer had expired."""
        if self.state == EXPLORING:
            return
        if self.state == OPERATIONAL:
            self.sent, self.reported = [], []
            self.position = 0
        self.received = []
        self._enter(EXPLORING, now)
        self._scheduled_probe(now)

    def _enter(self, state, now):
        if self.state == OPERATIONAL and state == INBOUND_OK:
            self.sent, self.reported, self.received = [], [], self.received[-1:]
            self.position = 0
        self.state = state
        self._stop_keepalive()
        if state == EXPLORING:
            self.send_at = None
        self.probes, self.gap = 0, self.initial_probe_timeout
        self.probe_at = now + self.gap

    def _operational(self):
        self.state = OPERATIONAL
        self.probe_at = None

    def _scheduled_probe(self, now):
        order = self.context.pairs()
        current = self.context.pair
        if current in order and current[1] not in self.context.broken:
            order = [current] + [p for p in order if p != current]
        self._probe(order[self.position % len(order)])
        self.position += 1
        self.probes += 1
        if self.probes >= 4:
            self.gap = min(self.gap * 2, 60.0)
        self.probe_at = now + self.gap

    def _reactive_probe(self, arrived):
        """On the reverse of the (source, destination) that the cause arrived on."""
        source, destination = arrived
        pair = (destination, source)
        self._probe(pair if pair in self.context.pairs() else self.context.pair)

    def _probe(self, pair):
        used = {b.nonce for b in self.sent}
        nonce = next(n for n in iter(lambda: random.getrandbits(32), None) if n not in used)
        block = Block(pair[0], pair[1], nonce, random.getrandbits(32))
        unreported = [b for b in self.sent if b not in self.reported][-4:]
        self.sent.append(block)
        fields = {"tag": self.context.peer_tag, "sta": self.state, "sent": [block] + unreported[::-1],
                  "received": self.received[-15:]}
        self.context.send_control(pair, Message(packet.PROBE, fields))

    # 6.6 to 6.9

    def keepalive(self, now, arrived):
        if self.state == EXPLORING:
            self._enter(INBOUND_OK, now)
            self._reactive_probe(arrived)
            self._start_send(now)
        else:
            self.send_at = None

    def probe(self, now, arrived, message):
        block = message.sent[0]
        if block not in self.received:
            self.received.append(block)
        fresh = [b for b in message.received if b in self.sent]
        self.reported += [b for b in fresh if b not in self.reported]
        self.proved.update(b.destination for b in fresh)
        if message.sta == EXPLORING:
            if self.state != INBOUND_OK:
                self._enter(INBOUND_OK, now)
            self._stop_keepalive()
            self._reactive_probe(arrived)
            self.send_at = now + self.send_timeout
        elif message.sta == INBOUND_OK:
            self._choose(fresh)
            self._operational()
            self._stop_keepalive()
            # On a pair that the peer has just reported, if there is one: others may not work in this direction.
            reverse = (arrived[1], arrived[0])
            if any((b.source, b.destination) == reverse for b in fresh):
                self._reactive_probe(arrived)
            else:
                self._probe(self.context.pair)
            self.send_at = now + self.send_timeout
        else:
            if self.state != OPERATIONAL:
                self._choose(fresh)
            self._operational()
            self.send_at = None
            self._start_keepalive(now)

    def _choose(self, reports):
        pairs = [(b.source, b.destination) for b in reports]
        if pairs and self.context.pair not in pairs:
            ranked = [p for p in self.context.pairs() if p in pairs]
            self.context.pair = ranked[0] if ranked else pairs[-1]
