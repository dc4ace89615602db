"""The peer forgets its context while the program under the shim goes on: R1bis, I2bis, R2, for a Probe and for payload."""

import random

from responder import LIMIT, Answers
from shim6peer import packet
from shim6peer.checks import PORT, main
from shim6peer.packet import I2BIS, PROBE, R1BIS, ULID_PAIR, VALIDATOR


class Recovery(Answers):
    def run(self):
        self.serve(self.ulid, PORT)
        self.say("ready")
        self.run_until(lambda: self.context() is not None, 30, "a context")
        self.flows(1.0, header=False)

        # A Probe meets a host that knows nothing.
        old, start = self.context(), len(self.trace)
        self.endpoint.forget(old)
        self.dead = {0}
        self.recovered(old, start, PROBE)
        self.settles()
        self.say("recovered after a Probe")

        # Payload does; and the first I2bis gets lost.
        old, start = self.context(), len(self.trace)
        self.lost[I2BIS] = 1
        self.endpoint.forget(old)
        self.recovered(old, start, None)
        first, second = self.got(I2BIS, since=start)[:2]
        self.claim(first.octets == second.octets or second.message.nonce == first.message.nonce,
                   "a second I2bis with another nonce", second)
        self.settles()
        self.say("recovered after payload")

        # R1bis that nobody asked for: another tag, other addresses.
        start = len(self.trace)
        c = self.context()
        validator = packet.Option(VALIDATOR, bytes(20))
        for tag, source in ((c.peer_tag, self.plain), (random.getrandbits(47), self.endpoint.addresses()[1])):
            fields = {"packet_tag": tag, "responder_nonce": 1}
            self.endpoint.transmit(source, self.subject[1], packet.Message(R1BIS, fields, [validator]).pack())
        self.run_for(1.0)
        self.claim(not self.got(I2BIS, since=start), "I2bis in answer to a forged R1bis (7.18)")
        self.flows(1.0, header=True)

    def recovered(self, old, start, cause):
        """I2bis as 7.18 has it, and the new context with a new tag."""
        self.run_until(lambda: self.context() is not None, LIMIT + 3, "the recovered context")
        # Once there is a context no more R1bis is sent, so the last before it counts.
        i2bis = self.got(I2BIS, since=start, dropped=False)[0]
        at = self.trace.index(i2bis)
        r1bis = [s for s in self.trace[start:at] if s.out and s.message and s.message.type == R1BIS and not s.dropped]
        self.claim(r1bis, "no R1bis was sent")
        m, pair = i2bis.message, (i2bis.destination, i2bis.source)
        asked = [s for s in r1bis if s.message.option(VALIDATOR).contents == m.option(VALIDATOR).contents]
        self.claim(asked, "a validator that we never sent", i2bis)
        self.claim((asked[0].source, asked[0].destination) == pair, "not on the pair of the R1bis (7.18)", i2bis)
        self.claim(m.responder_nonce == asked[0].message.responder_nonce, "Responder Nonce of", i2bis)
        self.claim(m.packet_tag == old.tag, "Packet Context Tag of", i2bis)
        self.claim(m.tag == old.peer_tag, "not the tag that the context had (7.18)", i2bis)
        option = m.option(ULID_PAIR)
        if pair != (self.ulid, self.peer):
            self.claim(option is not None, "no ULID Pair although the locators differ (7.18)", i2bis)
            self.claim(option.contents[4:] == self.peer + self.ulid, "ULID Pair of", i2bis)
        self.check_locators(i2bis)
        caused = [s for s in self.trace[start:at] if not s.out and not s.dropped
                  and (s.message.type if s.message else None) == cause]
        self.claim(caused, f"recovery without {packet.NAMES.get(cause, 'payload')}")

    def settles(self):
        """Our new context starts on the ULIDs; path 1 is dead, so we explore too. Then all goes on path 2."""
        c = self.context()
        before = self.reports[-1][2]
        c.reap.explore(self.endpoint.now)
        own = self.endpoint.addresses()
        self.run_until(lambda: c.pair == (own[1], self.subject[1]) and c.reap.state == packet.OPERATIONAL, 5,
                       "the recovered context on path 2")
        self.run_until(lambda: self.reports[-1][2] > before + 3, 5, "answers at the client")
        self.flows(1.0, header=True)
        self.claim(all(s.tag == c.tag for s in self.payload()[-10:]), "payload with the old tag")


if __name__ == "__main__":
    main(Recovery)
