"""The peer initiates: I1, R1, I2, R2 with an echo server under the shim; keepalives; then it leaves path 1 by Probes, the
payload goes on behind the extension header; updates; and back to the ULIDs."""

import time

from shim6peer import packet
from shim6peer.checks import PORT, Scenario, main
from shim6peer.context import ESTABLISHED
from shim6peer.packet import KEEPALIVE, LOCATORS, PROBE, R1, R2, UPDATE_ACK, VALIDATOR

OUR_PORT = 40000


class Echoes(Scenario):
    """What all scenarios with an echo server under the shim share."""

    number = 0

    def ask(self, size=0, pair=None):
        """Send a request that is unlike all others; its text."""
        self.number += 1
        data = b"request %d " % self.number
        data += b"x" * (size - len(data))
        if pair is None:
            self.send_udp(self.ulid, OUR_PORT, self.peer, PORT, data)
        else:
            octets = packet.udp(self.ulid, self.peer, OUR_PORT, PORT, data)
            self.context.send_payload(packet.UDP, octets, pair=pair)
        return data

    def answers(self, data):
        """The answers to that request: (whole text, context it came by)."""
        return [(text, context) for _, text, context in self.heard if text.endswith(data)]

    def echo(self, size=0, seconds=2.0, tries=1, what="an echo", pair=None):
        """One round trip; the context that the answer came by, None if without extension header."""
        for left in range(tries, 0, -1):
            data = self.ask(size, pair)
            try:
                self.run_until(lambda: self.answers(data), seconds / tries, what)
            except Exception:
                if left == 1:
                    raise
                continue
            text, context = self.answers(data)[0]
            self.claim(len(self.answers(data)) == 1, f"{len(self.answers(data))} answers to one request")
            expected = b"%s %d %s" % (packet.show(self.ulid).encode(), OUR_PORT, data)
            self.claim(text == expected, f"the program saw other addresses: {text[:80]!r}, not {expected[:80]!r}")
            return context

    def establish(self):
        """I1, R1, I2, R2 with checks; returns the context."""
        start = len(self.trace)
        c = self.context = self.endpoint.connect(self.ulid, self.peer)
        self.run_until(lambda: c.state == ESTABLISHED, 5, "R2")
        r1, r2 = self.got(R1, since=start)[0], self.got(R2, since=start)[0]
        for seen in (r1, r2):
            self.claim((seen.source, seen.destination) == (self.peer, self.ulid), "not on the pair of the I1", seen)
        self.claim(r1.message.nonce == c.nonce and r2.message.nonce == c.nonce, "wrong Initiator Nonce")
        self.claim(len(r1.message.option(VALIDATOR).contents) >= 16, "a validator shorter than 128 bits", r1)
        self.claim(c.peer_tag == r2.message.tag, "the Responder Context Tag")
        self.check_locators(r2)
        return c

    def rehome(self, dead, what):
        """We stop using those paths; both sides must find the other."""
        self.dead = set(dead)
        own = self.endpoint.addresses()
        live = next(i for i in range(len(own)) if i not in self.dead)
        wanted = (own[live], self.subject[live])
        start, c = len(self.trace), self.context
        c.reap.explore(time.monotonic())
        self.run_until(lambda: c.pair == wanted and c.reap.state == packet.OPERATIONAL, 5, f"our move to {what}")
        probes = self.got(PROBE, since=start, dropped=False)
        self.claim(probes, f"no Probe on {what}")
        told = [s for s in probes if s.message.sta == packet.INBOUND_OK]
        self.claim(told, "no Probe InboundOk in answer to a Probe Exploring (6.7)")
        self.claim(all(s.message.received for s in told), "Probe InboundOk without a received probe (5.2)", told[0])
        self.check_reports(start)
        # The program's answers follow once our Probe Operational is there.
        context = self.echo(seconds=3, tries=10, what=f"an echo on {what}")
        ulids = wanted == (self.ulid, self.peer)
        self.claim((context is None) == ulids, f"the answer on {what} came {'with' if ulids else 'without'} the header")
        return start


class Initiator(Echoes):
    def run(self):
        own = self.endpoint.addresses()
        self.serve(self.ulid, OUR_PORT)
        self.claim(self.echo(seconds=10, tries=20, what="the echo server") is None, "a header without a context")
        c = self.establish()
        self.say("established")
        for size in (20, 1200, 4000):
            self.claim(self.echo(size) is None, "extension header while the locators are the ULIDs (11)")

        self.keepalives()

        # Our payload may come from any locator of ours at once; the answer must not go there before a probe did.
        start = len(self.trace)
        context = self.echo(pair=(own[1], self.peer), what="an answer to payload from another locator")
        self.claim(context is None, "an unproved locator got payload (7.2)")
        self.claim(not self.payload(since=start), "payload with the header before any probe")

        start = self.rehome({0}, "path 2")
        self.say("on path 2")
        quiet = len(self.trace)
        for i in range(20):
            self.claim(self.echo(40 + i) is c, "an answer without the extension header")
        for size in (1, 1200, 1380, 4000):
            self.claim(self.echo(size) is c, f"an answer of {size} octets without the extension header")
        for s in self.payload(since=quiet):
            self.claim((s.source, s.destination) == (self.subject[1], own[1]), "payload on another pair", s)
            self.claim(len(s.octets) <= 1460, "a packet above the link MTU: fragmented in front of the shim header", s)
        self.run_for(1.0)
        self.claim(not self.got(PROBE, since=quiet), "probes although both sides are Operational (6.9)")

        self.updates()
        self.rehome({1}, "path 1")
        quiet = len(self.trace)
        for i in range(10):
            self.claim(self.echo(40 + i) is None, "extension header although back on the ULIDs (11.1)")
        self.claim(not self.payload(since=quiet), "extension header although back on the ULIDs (11.1)")
        self.say("back on path 1")
        self.termination()
        self.disjoint()

    def termination(self):
        """A Probe Operational is the last word: nothing answers it (RFC 5534 6.9)."""
        start = len(self.trace)
        self.context.reap._probe(self.context.pair)
        self.run_for(0.5)
        self.claim(not self.got(PROBE, since=start), "a Probe in answer to a Probe Operational (6.9)")

    def disjoint(self):
        """Ours arrive on path 2 only, its own on path 1 only: each side ends on what the other reported (4.2)."""
        own, c = self.endpoint.addresses(), self.context
        there, back = (own[1], self.subject[1]), (own[0], self.subject[0])
        self.dead = set()
        self.endpoint.sends = lambda o, other: (o, other) == there
        self.endpoint.accepts = lambda seen: (seen.destination, seen.source) == back
        start = len(self.trace)
        c.reap.explore(time.monotonic())
        self.run_until(lambda: c.pair == there and c.reap.state == packet.OPERATIONAL, 5, "our move to path 2, one way")
        self.check_reports(start)
        for i in range(10):
            self.claim(self.echo(40 + i, seconds=3, tries=10 if i == 0 else 1) is None, "not on the pair that works")
        quiet = len(self.trace)
        for _ in range(10):
            self.run_for(0.1)
            self.echo()
        self.claim(not self.got(PROBE, since=quiet), "probes although both sides are Operational")
        self.say("one way on path 2, the other on path 1")

    def keepalives(self):
        """One-way traffic: a Keepalive at least every half of the timeout that we announced (RFC 5534 4.1, 6.1)."""
        start = len(self.trace)
        timeout = self.endpoint.send_timeout
        for _ in range(30):
            self.send_udp(self.ulid, OUR_PORT, self.peer, PORT, b"quiet")
            self.run_for(timeout / 15)
        kept = self.got(KEEPALIVE, since=start)
        self.claim(len(kept) >= 3, f"{len(kept)} keepalives in {2 * timeout} s of one-way traffic")
        for s in kept:
            self.claim((s.source, s.destination) == (self.peer, self.ulid), "not on the current pair", s)
            self.claim(s.message.tag == self.context.tag and not s.message.options, "tag or options of", s)
        gaps = [b.time - a.time for a, b in zip(kept, kept[1:])]
        # One more when the Keepalive Timeout is over (6.3), however soon after the one before.
        high = timeout / 2 + timeout / 15 + 0.3
        self.claim(all(g <= high for g in gaps), f"keepalive intervals {gaps}, longest allowed {high:.2f}")
        self.claim(sum(g < timeout / 3 - 0.1 for g in gaps) <= 2, f"keepalives too fast: {gaps}")
        self.claim(not self.got(PROBE, since=start), "a Probe on a working path")
        self.echo()
        self.run_for(0.2)
        self.say(f"{len(kept)} keepalives")

    def updates(self):
        """Update Request with a new list and preferences: acknowledged, also when it comes twice."""
        own, c = self.endpoint.addresses(), self.context
        self.endpoint.generation ^= 0x5A5A5A5A
        options = [packet.locators_option(self.endpoint.generation, [(a, packet.HBA) for a in own]),
                   packet.preferences_option(self.endpoint.generation, [bytes([packet.BROKEN])] + [b"\0"] * (len(own) - 1))]
        start = len(self.trace)
        request = self.endpoint.request_update(c, options)
        ack = self.wait_for(UPDATE_ACK, since=start)
        self.claim(ack.message.nonce == request.nonce and ack.message.tag == c.tag, "nonce or tag of", ack)
        self.claim((ack.destination, ack.source) == c.pair, "not back on the pair of the request", ack)
        start = len(self.trace)
        c.send_control(c.pair, request)
        again = self.wait_for(UPDATE_ACK, since=start)
        self.claim(again.octets == ack.octets, "another acknowledgement for the same request", again)
        self.claim(self.echo() is c, "no echo after the update")
        # Preferences alone, in force for the list sent before: all well again.
        start = len(self.trace)
        request = self.endpoint.request_update(
            c, [packet.preferences_option(self.endpoint.generation, [bytes(3)] * len(own))])
        ack = self.wait_for(UPDATE_ACK, since=start)
        self.claim(ack.message.nonce == request.nonce, "nonce of", ack)
        self.say("updates acknowledged")


if __name__ == "__main__":
    main(Initiator)
