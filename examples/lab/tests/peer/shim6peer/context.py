"""The contexts of one host: establishment in both roles, recovery, updates, payload. No sockets, no clock in here.

`Endpoint.input(now, source, destination, octets)` takes what followed the IPv6 header of a packet of protocol 140,
`Endpoint.tick(now)` runs timers, `Endpoint.transmit(source, destination, octets)` (to be set) sends, and
`Endpoint.deliver(context, source, destination, protocol, octets)` (to be set) gets payload.
"""

import hashlib
import hmac
import os
import random
import struct
from dataclasses import dataclass

from . import cga, hba, packet
from .packet import (ERROR, FII, FRAGMENT, I1, I2, I2BIS, KEEPALIVE, KEEPALIVE_TIMEOUT, LOCATORS, PDS, PREFERENCES,
                     PROBE, R1, R1BIS, R2, SIGNATURE, ULID_PAIR, UPDATE, UPDATE_ACK, VALIDATOR, Malformed, Message,
                     Option)
from .reap import Reap

IDLE, I1_SENT, I2_SENT, I2BIS_SENT, ESTABLISHED = "IDLE", "I1-SENT", "I2-SENT", "I2BIS-SENT", "ESTABLISHED"


@dataclass
class Seen:
    """One packet of protocol 140, for the scripts to look at. `message` is None for payload, `tag` None for control."""

    time: float
    out: bool
    source: bytes
    destination: bytes
    octets: bytes
    message: Message = None
    tag: int = None
    dropped: bool = False

    def __str__(self):
        what = packet.NAMES.get(self.message.type, "?") if self.message else f"payload {self.tag:#x}"
        way = "sent" if self.out else "dropped" if self.dropped else "got"
        return f"{way} {packet.show(self.source)} -> {packet.show(self.destination)} {what}: {self.octets.hex()}"


class Context:
    def __init__(self, endpoint, local, peer, fii=0):
        self.endpoint = endpoint
        self.local, self.peer, self.fii = local, peer, fii
        self.state = IDLE
        self.tag = endpoint.new_tag()  # CT(local)
        self.peer_tag = None  # CT(peer)
        self.nonce = random.getrandbits(32)
        self.exchange = (local, peer)  # locators of the running exchange
        self.last = None  # message to retransmit
        self.retry_at, self.retries = None, 0
        self.locators = {peer: False}  # Ls(peer): verified?
        self.generation = None
        self.offered = 0  # number of locators in that list
        self.listed = None  # the list itself, in its order
        self.broken = set()
        self.peer_pds = None
        self.pair = (local, peer)
        self.reap = Reap(self, endpoint.send_timeout, endpoint.initial_probe_timeout)
        self.update = None  # outstanding Update Request
        self.packet_tag = None  # of the R1bis, while in I2BIS-SENT
        self.buffers = {}  # fragments behind the shim header

    def pairs(self):
        peers = [self.peer] + [a for a, verified in self.locators.items() if verified and a != self.peer]
        if self.listed:  # a ULID that is not in the list stays the identity, but is no destination
            peers = [a for a in peers if a in self.listed]
        peers.sort(key=lambda a: a in self.broken)
        own = [self.local] + [a for a in self.endpoint.addresses() if a != self.local]
        return [(l, p) for l in own for p in peers]

    def send_control(self, pair, message):
        if message.type not in (KEEPALIVE, PROBE):
            self.reap.payload_out(self.endpoint.now)
        self.endpoint.emit(pair[0], pair[1], message)

    def send_payload(self, protocol, octets, pair=None, tag=None):
        """With the payload extension header, whatever the pair; larger packets are fragmented behind it."""
        pair = pair or self.pair
        tag = self.peer_tag if tag is None else tag
        parts = [(protocol, octets)]
        if len(octets) > self.endpoint.largest_payload:
            identification = random.getrandbits(32)
            parts = [(FRAGMENT, f)
                     for f in packet.fragments(octets, protocol, identification, self.endpoint.largest_payload)]
        self.reap.payload_out(self.endpoint.now)
        for next_header, part in parts:
            self.endpoint.emit_octets(pair[0], pair[1], packet.payload_header(tag, next_header) + part, tag=tag)

    def established(self, pair):
        self.state = ESTABLISHED
        self.last = self.retry_at = None
        self.endpoint.log(f"context {packet.show(self.local)} {packet.show(self.peer)} established, tags "
                          f"{self.tag:#x} {self.peer_tag:#x}")


class Endpoint:
    """A host with an identity: [(address, PDS)] of one HBA set, or [(address, None)] for a single plain address."""

    send_timeout = 15.0
    initial_probe_timeout = 0.5
    exchange_timeout = 1.0
    largest_payload = 1400
    validator_length = 20

    def __init__(self, identity):
        self.identity = identity
        self.contexts = {}
        self.secret = os.urandom(32)
        self.generation = random.getrandbits(32)
        self.now = 0.0
        self.trace = []
        self.problems = []
        self.transmit = self.deliver = lambda *a: None
        self.log = lambda text: None

    def addresses(self):
        return [a for a, _ in self.identity]

    def new_tag(self):
        used = {c.tag for c in self.contexts.values()}
        return next(t for t in iter(lambda: random.getrandbits(47), None) if t not in used)

    def by_tag(self, tag):
        return next((c for c in self.contexts.values() if c.tag == tag and c.state != IDLE), None)

    # What a script may override

    def accepts(self, seen):
        """False: the packet is dropped unseen, as if the path were dead."""
        return True

    def sends(self, source, destination):
        return True

    def extra_options(self, message_type):
        """Further options for a message of ours."""
        return []

    # Output

    def emit(self, source, destination, message):
        self.emit_octets(source, destination, message.pack(), message=message)

    def emit_octets(self, source, destination, octets, **about):
        seen = Seen(self.now, True, source, destination, octets, **about)
        seen.dropped = not self.sends(source, destination)
        self.trace.append(seen)
        if not seen.dropped:
            self.transmit(source, destination, octets)

    def own_options(self, context):
        """Locator List, PDS, Keepalive Timeout for I2, I2bis, R2."""
        options = []
        if len(self.identity) > 1:
            pds = dict(self.identity)[context.local]
            options.append(packet.locators_option(self.generation, [(a, packet.HBA) for a in self.addresses()]))
            options.append(Option(PDS, pds))
        if self.send_timeout != 15.0:
            options.append(packet.keepalive_timeout_option(-int(-self.send_timeout // 1)))
        return options

    def ulid_options(self, context, pair):
        options = []
        if pair != (context.local, context.peer):
            options.append(packet.ulid_pair_option(context.local, context.peer))
        if context.fii:
            options.append(Option(FII, context.fii.to_bytes(4, "big")))
        return options

    def send_exchange(self, context, type, fields, options):
        order = sorted(options + self.extra_options(type), key=lambda o: o.type)
        context.last = Message(type, fields, order)
        context.retry_at, context.retries = self.now + self.exchange_timeout, 0
        self.emit(*context.exchange, context.last)

    def connect(self, local, peer, fii=0):
        context = Context(self, local, peer, fii)
        self.contexts[(local, peer, fii)] = context
        context.state = I1_SENT
        self.send_exchange(context, I1, {"tag": context.tag, "nonce": context.nonce},
                           self.ulid_options(context, context.exchange))
        return context

    def forget(self, context):
        self.contexts = {k: c for k, c in self.contexts.items() if c is not context}

    # Input

    def input(self, now, source, destination, octets):
        self.now = now
        seen = Seen(now, False, source, destination, octets)
        payload = len(octets) > 2 and bool(octets[2] & 0x80)
        try:
            if payload:
                seen.tag, next_header, rest = packet.parse_payload(octets)
            else:
                seen.message = packet.parse(octets)
        except Malformed as e:
            self.problems.append(f"{e}: {packet.show(source)} -> {packet.show(destination)} {octets.hex()}")
            if isinstance(e, packet.UnknownType):
                self.send_error(0, 2, seen)
            return
        seen.dropped = not self.accepts(seen)
        self.trace.append(seen)
        if not payload:
            for text in packet.audit(source, destination, octets):
                self.problems.append(f"{packet.NAMES[seen.message.type]}: {text}: {octets.hex()}")
        if seen.dropped:
            return
        if payload:
            self.payload(seen, next_header, rest)
        else:
            try:
                self.dispatch(seen)
            except Malformed as e:
                self.problems.append(f"{e}: {seen}")

    def dispatch(self, seen):
        m, arrived = seen.message, (seen.source, seen.destination)
        if m.type == ERROR:
            return
        unknown = [o for o in m.options if o.critical and o.type not in packet.ALLOWED[m.type]]
        if unknown:
            self.problems.append(f"critical option {unknown[0].type}: {seen}")
            self.send_error(1, unknown[0].at, seen)
            return
        needs_validator = m.type in (R1, I2, R1BIS, I2BIS)
        if needs_validator and m.option(VALIDATOR) is None:
            raise Malformed("no Responder Validator")
        for kind, length in ((ULID_PAIR, 36), (FII, 4)):
            if m.option(kind) and len(m.option(kind).contents) != length:
                raise Malformed(f"option {kind} with a wrong Length")
        handler = {I1: self.on_i1, R1: self.on_r1, I2: self.on_i2, R2: self.on_r2, R1BIS: self.on_r1bis,
                   I2BIS: self.on_i2bis}.get(m.type)
        if handler:
            handler(m, arrived, seen) if m.type in (I2, I2BIS, R2) else handler(m, arrived)
            return
        if m.type == PROBE and (m.sent[0].source, m.sent[0].destination) != arrived:
            raise Malformed("a Probe of another pair")
        context = self.by_tag(m.tag)
        if context is None or seen.source not in context.locators or seen.destination not in self.addresses():
            self.send_r1bis(m.tag, arrived)
            return
        if not self.ready(context):
            return
        if m.type == KEEPALIVE:
            context.reap.keepalive(self.now, arrived)
        elif m.type == PROBE:
            context.reap.probe(self.now, arrived, m)
        else:
            context.reap.payload_in(self.now, arrived)
            (self.on_update if m.type == UPDATE else self.on_update_ack)(context, m, arrived, seen)

    def send_error(self, code, at, seen):
        """Error (5.14); `at` counts from the start of the shim message, the Pointer from that of the packet."""
        header = struct.pack("!IHBB", 6 << 28, len(seen.octets), packet.PROTOCOL, 64) + seen.source + seen.destination
        quoted = (header + seen.octets)[:1232]
        fields = {"code": code, "pointer": 40 + at, "packet": quoted}
        self.emit(seen.destination, seen.source, Message(ERROR, fields))

    def ready(self, context):
        """Packets of an established peer in I2-SENT and I2BIS-SENT ask for another I2 or I2bis (10.4, 12.2)."""
        if context.state in (I2_SENT, I2BIS_SENT):
            self.emit(*context.exchange, context.last)
        return context.state == ESTABLISHED

    def lookup(self, m, arrived):
        """(key, context, exchange pair seen from here) of an I1, I2 or I2bis."""
        ulids, fii = m.option(ULID_PAIR), m.option(FII)
        source, destination = (ulids.contents[4:20], ulids.contents[20:36]) if ulids else arrived
        key = (destination, source, int.from_bytes(fii.contents, "big") if fii else 0)
        return key, self.contexts.get(key), (arrived[1], arrived[0])

    def validator(self, kind, nonce, *inputs):
        mac = hmac.new(self.secret, kind + nonce.to_bytes(4, "big") + b"".join(inputs), hashlib.sha512).digest()
        return (mac * 32)[:self.validator_length]

    def r1_validator(self, nonce, tag, key, arrived):
        return self.validator(b"R1", nonce, tag.to_bytes(6, "big"), key[0], key[1], key[2].to_bytes(4, "big"), *arrived)

    def on_i1(self, m, arrived):
        key, context, pair = self.lookup(m, arrived)
        if key[0] not in self.addresses():
            return
        known = context and (m.option(ULID_PAIR) is None or arrived[0] in context.locators)
        if known and context.state != IDLE and (context.state != ESTABLISHED or context.peer_tag == m.tag):
            self.send_r2(context, m.nonce, pair)
            return
        nonce = int(self.now) & 0xFFFFFFFF
        options = [Option(VALIDATOR, self.r1_validator(nonce, m.tag, key, arrived))] + self.extra_options(R1)
        self.emit(*pair, Message(R1, {"nonce": m.nonce, "responder_nonce": nonce}, options))

    def on_r1(self, m, arrived):
        for c in self.contexts.values():
            if c.state == I1_SENT and c.nonce == m.nonce and c.exchange == (arrived[1], arrived[0]):
                c.state = I2_SENT
                options = [Option(VALIDATOR, m.option(VALIDATOR).contents)]
                self.send_exchange(c, I2, {"tag": c.tag, "nonce": c.nonce, "responder_nonce": m.responder_nonce},
                                   options + self.ulid_options(c, c.exchange) + self.own_options(c))
                return

    def peer_set(self, m, ulid, seen, cached=None):
        """(Ls(peer), generation, PDS) that a message offers; None if it must be discarded (7.2, 7.13)."""
        option, pds = m.option(LOCATORS), m.option(PDS)
        pds = pds.contents if pds else cached
        if m.option(PDS) and not hba.verify_cga(ulid, pds) and not hba.verify(ulid, pds):
            self.problems.append(f"PDS does not belong to {packet.show(ulid)}")
            return None
        if option is None:
            return {ulid: False}, None, pds
        generation, offered = packet.parse_locators(option.contents)
        signed = [a for a, method in offered if method == packet.CGA]
        signature = m.option(SIGNATURE)
        by_cga = bool(signed and pds and signature
                      and cga.verify_signature(ulid, pds, generation, signed, signature.contents))
        for i, (address, method) in enumerate(offered):
            proved = by_cga if method == packet.CGA else method == packet.HBA and pds and hba.verify(address, pds)
            if not proved:
                self.problems.append(f"locator {packet.show(address)} does not verify")
                self.send_error(2, option.at + 9 + i, seen)
                return None
        return {ulid: False} | {a: True for a, _ in offered}, generation, pds

    def on_i2(self, m, arrived, seen):
        key, context, pair = self.lookup(m, arrived)
        expected = self.r1_validator(m.responder_nonce, m.tag, key, arrived)
        if m.option(VALIDATOR).contents != expected:
            self.problems.append("I2 with a validator that is not ours")
            return
        self.accept(m, key, context, pair, seen)

    def on_i2bis(self, m, arrived, seen):
        key, context, pair = self.lookup(m, arrived)
        expected = self.validator(b"R1bis", m.responder_nonce, m.packet_tag.to_bytes(6, "big"), *arrived)
        if m.option(VALIDATOR).contents != expected:
            self.problems.append("I2bis with a validator that is not ours")
            return
        self.accept(m, key, context, pair, seen)

    def accept(self, m, key, context, pair, seen):
        offer = self.peer_set(m, key[1], seen, context.peer_pds if context else None)
        if offer is None or key[0] not in self.addresses():
            return
        known = set(offer[0]) | (set(context.locators) if context else set())
        if pair[1] not in known:
            self.problems.append("I2 or I2bis from a source outside the peer's locators")
            return
        if context is None:
            context = self.contexts[key] = Context(self, *key)
        self.record(context, m, offer)
        if context.state not in (I2_SENT, I2BIS_SENT):
            context.established(pair)
        self.send_r2(context, m.nonce, pair)

    def record(self, context, m, offer):
        context.peer_tag = m.tag
        if m.option(LOCATORS) or context.generation is None:
            context.locators, context.generation = offer[0], offer[1]
            option = m.option(LOCATORS)
            context.listed = [a for a, _ in packet.parse_locators(option.contents)[1]] if option else None
            context.offered, context.broken = len(context.listed or []), set()
        context.peer_pds = offer[2]
        timeout = m.option(KEEPALIVE_TIMEOUT)
        if timeout and len(timeout.contents) == 4 and any(timeout.contents[2:]):
            context.reap.keepalive_timeout = float(int.from_bytes(timeout.contents[2:], "big"))

    def send_r2(self, context, nonce, pair):
        order = sorted(self.own_options(context) + self.extra_options(R2), key=lambda o: o.type)
        context.send_control(pair, Message(R2, {"tag": context.tag, "nonce": nonce}, order))

    def on_r2(self, m, arrived, seen):
        for c in self.contexts.values():
            waiting = c.state in (I1_SENT, I2_SENT, I2BIS_SENT)
            if waiting and c.nonce == m.nonce and c.exchange == (arrived[1], arrived[0]):
                offer = self.peer_set(m, c.peer, seen, c.peer_pds)
                if offer is not None:
                    self.record(c, m, offer)
                    c.established(c.exchange)
                    c.reap.payload_in(self.now, arrived)
                return

    def send_r1bis(self, tag, arrived):
        nonce = int(self.now) & 0xFFFFFFFF
        validator = self.validator(b"R1bis", nonce, tag.to_bytes(6, "big"), *arrived)
        options = [Option(VALIDATOR, validator)] + self.extra_options(R1BIS)
        self.emit(arrived[1], arrived[0], Message(R1BIS, {"packet_tag": tag, "responder_nonce": nonce}, options))

    def on_r1bis(self, m, arrived):
        for c in self.contexts.values():
            pair = (arrived[1], arrived[0])
            if c.state == ESTABLISHED and c.peer_tag == m.packet_tag and pair in c.pairs():
                c.state, c.exchange, c.packet_tag = I2BIS_SENT, pair, m.packet_tag
                c.nonce = random.getrandbits(32)
                fields = {"tag": c.tag, "nonce": c.nonce, "responder_nonce": m.responder_nonce,
                          "packet_tag": m.packet_tag}
                options = [Option(VALIDATOR, m.option(VALIDATOR).contents)]
                self.send_exchange(c, I2BIS, fields, options + self.ulid_options(c, pair) + self.own_options(c))
                return

    # Updates

    def request_update(self, context, options, pair=None):
        context.update = Message(UPDATE, {"tag": context.peer_tag, "nonce": random.getrandbits(32)}, options)
        context.send_control(pair or context.pair, context.update)
        return context.update

    def on_update(self, context, m, arrived, seen):
        offer = self.peer_set(m, context.peer, seen, context.peer_pds)
        if offer is None:
            return
        locators, generation = context.offered, context.generation
        if m.option(LOCATORS):
            generation, offered = packet.parse_locators(m.option(LOCATORS).contents)
            locators = len(offered)
        preferences = m.option(PREFERENCES)
        if preferences:
            stated, elements = packet.parse_preferences(preferences.contents)
            if stated != generation or len(elements) != locators:
                wrong_generation = stated != generation
                self.problems.append("preferences that do not fit the list")
                self.send_error(3 if wrong_generation else 4, preferences.at + (4 if wrong_generation else 2), seen)
                return
        if m.option(LOCATORS):
            context.locators, context.generation, context.offered = offer[0], offer[1], locators
            context.listed, context.broken = [a for a, _ in offered], set()
        if preferences:
            flags = [e[0] for e in elements]
            context.broken = {a for a, f in zip(context.listed or [], flags) if f & packet.BROKEN}
        fields = {"tag": context.peer_tag, "nonce": m.nonce}
        context.send_control((arrived[1], arrived[0]), Message(UPDATE_ACK, fields))
        if context.pair[1] in context.broken or context.listed and context.pair[1] not in context.listed:
            context.reap.explore(self.now)

    def on_update_ack(self, context, m, arrived, seen):
        if context.update and context.update.nonce == m.nonce:
            context.update = None

    # Payload

    def payload(self, seen, next_header, octets):
        arrived = (seen.source, seen.destination)
        context = self.by_tag(seen.tag)
        if context is None:
            self.send_r1bis(seen.tag, arrived)
            return
        self.audit_payload(context, seen)
        if not self.ready(context):
            return
        context.reap.payload_in(self.now, arrived)
        if next_header == FRAGMENT:
            next_header, octets = self.reassemble(context, octets)
        if octets is not None:
            self.deliver(context, seen.source, seen.destination, next_header, octets)

    def audit_payload(self, context, seen):
        """What RFC 5533 demands of payload with the extension header, beyond its layout."""
        complain = lambda text: self.problems.append(f"{text}: {seen}")
        if (seen.destination, seen.source) == (context.local, context.peer):
            complain("extension header although the locators are the ULIDs (11.1)")
        if seen.source not in context.locators or seen.destination not in self.addresses():
            complain("payload between addresses that were never offered (7.2)")
        # 7.2: payload to a locator only after we told that a probe to it arrived.
        reported = any(s.out and s.message and s.message.type == PROBE
                       and any(b.destination == seen.destination for b in s.message.received) for s in self.trace)
        if seen.destination != context.local and not reported:
            complain("payload to a locator before any probe to it was reported (7.2)")

    def reassemble(self, context, octets):
        try:
            next_header, offset, more, identification, part = packet.parse_fragment(octets)
        except Malformed as e:
            self.problems.append(str(e))
            return None, None
        if more and len(part) % 8 or offset + len(part) > 65535 or not part:
            self.problems.append(f"fragment of {len(part)} octets at {offset}, more: {more}")
            return None, None
        parts = context.buffers.setdefault(identification, {})
        parts[offset] = (part, more)
        whole, at = b"", 0
        while at in parts:
            whole += parts[at][0]
            if not parts[at][1]:
                del context.buffers[identification]
                return next_header, whole
            at = len(whole)
        return None, None

    # Timers

    def deadline(self):
        timers = [t for c in self.contexts.values()
                  for t in (c.retry_at, c.reap.deadline() if c.state == ESTABLISHED else None) if t is not None]
        return min(timers, default=None)

    def tick(self, now):
        self.now = now
        for c in list(self.contexts.values()):
            if c.retry_at is not None and now >= c.retry_at:
                c.retries += 1
                c.retry_at = now + self.exchange_timeout * 2 ** c.retries if c.retries < 5 else None
                self.emit(*c.exchange, c.last)
            if c.state == ESTABLISHED:
                c.reap.tick(now)
