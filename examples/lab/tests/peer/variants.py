"""Other legal ways of a peer, with an echo server under the shim: a lost context that comes back as an I1, copies, a forked
instance, an I1 over another locator pair, updates that take the current locator away, packets that
the peer's kernel fragmented in front of the shim header, and a peer with a single ordinary address."""

import random
import time

from initiator import OUR_PORT, Echoes
from shim6peer import packet
from shim6peer.checks import PORT, main
from shim6peer.context import ESTABLISHED
from shim6peer.packet import FII, HBA, I1, I2, PROBE, R1, R2, UPDATE, UPDATE_ACK, Option


class Variants(Echoes):
    def run(self):
        self.own = self.endpoint.addresses()
        self.serve(self.ulid, OUR_PORT)
        self.serve(self.plain, OUR_PORT)
        self.echo(seconds=10, tries=20, what="the echo server")
        self.copies()
        self.restart()
        self.over_other_locators()
        self.fork()
        self.removal()
        self.kernel_fragments()
        self.single_address()

    def copies(self):
        """A second copy of an I2 gets the same R2, one of an I1 with the context's tag an R2 too (7.9, 7.14)."""
        c = self.establish()
        sent = {s.message.type: s for s in self.trace if s.out and s.message and s.message.type in (I1, I2)}
        first = self.got(R2)[-1].message
        for type in (I2, I1):
            start = len(self.trace)
            self.endpoint.transmit(self.ulid, self.peer, sent[type].octets)
            again = self.wait_for(R2, since=start)
            self.claim(again.message.tag == first.tag and again.message.nonce == c.nonce, "another tag or nonce", again)
        self.echo()
        self.say("copies answered alike")

    def restart(self):
        """We lost the context and start over (figure 7): R1, not R2, and the new tag counts from then on."""
        old = self.context
        self.endpoint.forget(old)
        start = len(self.trace)
        c = self.establish()
        self.claim(self.got(R1, since=start), "no R1 for an I1 with another tag (7.9)")
        self.claim(c.tag != old.tag, "our own fault: the same tag")
        self.rehome({0}, "path 2")
        for s in self.payload(since=start):
            self.claim(s.tag == c.tag, "payload with the tag of the lost context", s)
        self.rehome({1}, "path 1")
        self.say("restarted")

    def over_other_locators(self):
        """An exchange over path 2 for the ULIDs of path 1, which is dead: ULID Pair in I1 and I2 (5.4, 7.11)."""
        self.endpoint.forget(self.context)
        self.dead = {0}
        pair = (self.own[1], self.subject[1])
        start = len(self.trace)
        c = self.context = self.endpoint.connect(self.ulid, self.peer)
        c.exchange = pair
        self.endpoint.send_exchange(c, I1, {"tag": c.tag, "nonce": c.nonce}, self.endpoint.ulid_options(c, pair))
        self.run_until(lambda: c.state == ESTABLISHED, 5, "R2 over path 2")
        for seen in self.got(R1, R2, since=start):
            self.claim((seen.destination, seen.source) == pair, "not on the pair of the I1", seen)
        self.check_locators(self.got(R2, since=start)[0])
        self.rehome({0}, "path 2")
        self.rehome({1}, "path 1")
        self.say("established over path 2")

    def fork(self):
        """A second instance for the same ULIDs: its own tag; what it carries is delivered, answers go by the default
        context (4.2)."""
        self.dead = set()
        fork = self.endpoint.connect(self.ulid, self.peer, fii=random.randrange(1, 1 << 32))
        self.run_until(lambda: fork.state == ESTABLISHED, 5, "R2 for a forked context")
        self.claim(fork.peer_tag != self.context.peer_tag, "one tag for two contexts")
        self.claim(self.echo() is None, "no plain echo beside a fork")
        data = b"by the fork"
        octets = packet.udp(self.ulid, self.peer, OUR_PORT, PORT, data)
        fork.send_payload(packet.UDP, octets, pair=(self.own[1], self.peer))
        self.run_until(lambda: self.answers(data), 2, "an answer to payload of the fork")
        self.claim(self.answers(data)[0][1] is None, "the answer does not go by the default context")
        self.say("forked")

    def update(self, options):
        start = len(self.trace)
        request = self.endpoint.request_update(self.context, options)
        ack = self.wait_for(UPDATE_ACK, since=start)
        self.claim(ack.message.nonce == request.nonce, "nonce of", ack)
        return start

    def moves(self, wanted, start, what):
        """The host leaves the pair by itself; Probes come before payload."""
        self.run_until(lambda: self.got(PROBE, since=start), 2, f"a Probe: {what} (10.4)")
        context = self.echo(seconds=3, tries=10, what=f"an echo: {what}")
        for _ in range(20):
            if self.payload(since=start) and self.payload()[-1].destination == wanted:
                break
            self.run_for(0.1)
            context = self.echo(what=f"an echo: {what}")
        self.claim(context is self.context and self.payload()[-1].destination == wanted,
                   f"payload still goes elsewhere: {what}")

    def removal(self):
        """BROKEN for the locator that it sends to, then a list without it: it moves, by REAP."""
        self.claim(self.echo() is None, "not on the ULIDs")
        generation = self.endpoint.generation = random.getrandbits(32)
        full = packet.locators_option(generation, [(a, HBA) for a in self.own])
        broken = packet.preferences_option(generation, [bytes([packet.BROKEN])] + [b"\0"] * (len(self.own) - 1))
        start = self.update([full, broken])
        self.moves(self.own[1], start, "its current locator is BROKEN")
        self.update([packet.preferences_option(generation, [bytes(3)] * len(self.own))])
        self.rehome({1}, "path 1")
        self.dead = set()
        start = self.update([packet.locators_option(random.getrandbits(32), [(self.own[1], HBA)])])
        self.moves(self.own[1], start, "its current locator is no longer in the list")
        self.endpoint.generation = random.getrandbits(32)
        self.update([packet.locators_option(self.endpoint.generation, [(a, HBA) for a in self.own])])
        self.rehome({1}, "path 1")
        self.say("left locators that were BROKEN or taken away")

    def kernel_fragments(self):
        """Our kernel fragments in front of the shim header, and we behind it: both arrive (S6-N-42)."""
        self.rehome({0}, "path 2")
        for largest in (60000, 1400, 640):
            self.endpoint.largest_payload = largest
            for size in (1500, 4000, 9000):
                self.claim(self.echo(size) is self.context, f"{size} octets in pieces of {largest}")
        self.endpoint.largest_payload = 1400
        self.dead = set()
        self.say("fragments of both kinds")

    def single_address(self):
        """A peer with one ordinary address has no list to offer, but may still be served (section 3)."""
        e = self.endpoint
        self.ulid = self.plain
        identity, e.identity = e.identity, [(self.plain, None)]
        self.own = e.addresses()
        self.echo(what="an echo to the plain address")
        c = self.establish()
        self.claim(self.echo() is None, "extension header on the ULIDs")
        # Its path 1 dies: it can still change its source (S6-3-4).
        e.accepts = lambda seen: seen.source != self.subject[0]
        e.sends = lambda own, other: other != self.subject[0]
        start = len(self.trace)
        c.reap.explore(time.monotonic())
        self.run_until(lambda: c.pair == (self.plain, self.subject[1]) and c.reap.state == packet.OPERATIONAL, 5,
                       "our move to its other locator")
        self.check_reports(start)
        self.claim(self.echo(seconds=3, tries=10, what="an echo over its other locator") is c, "without the header")
        self.claim(self.payload()[-1].source == self.subject[1], "from the dead locator")
        self.say("a peer with a single address is served")


if __name__ == "__main__":
    main(Variants)
