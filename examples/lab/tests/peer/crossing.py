"""Both sides initiate at once, with a client under the shim: I1 crosses I1 (RFC 5533 7.4)."""

from responder import Answers
from shim6peer import packet
from shim6peer.checks import PORT, main
from shim6peer.context import ESTABLISHED, Endpoint
from shim6peer.packet import I1, I2, R1, R2


class Crossing(Answers):
    endpoint_class = Endpoint

    def run(self):
        self.serve(self.ulid, PORT)
        self.hold = {I1}  # types that we look at but do not process yet
        self.endpoint.accepts = lambda seen: not (seen.message and seen.message.type in self.hold) and self.alive(
            seen.destination, seen.source)
        self.say("ready")

        # I1 and I1: each is answered with R2.
        theirs = self.wait_for(I1, seconds=30)
        c = self.endpoint.connect(self.ulid, self.peer)
        self.hold = set()
        start = len(self.trace)
        self.run_until(lambda: c.state == ESTABLISHED, 3, "R2 in answer to an I1 that crossed an I1")
        r2 = self.got(R2, since=start)[0]
        self.claim(r2.message.nonce == c.nonce and r2.message.tag == theirs.message.tag, "nonce or tag of", r2)
        self.check_locators(r2)
        self.settled(start, c)
        self.say("I1 crossed I1")

    def settled(self, start, c):
        """One context, both tags right: payload with the header is understood both ways."""
        self.run_for(1.5)  # its own exchange ends: our R2 answers its I1
        before = len(self.trace)
        self.run_for(1.5)
        self.claim(not self.got(I1, I2, R1, since=before), "still establishing")
        self.claim(c.peer_tag == self.got(R2, I2, I1)[-1].message.tag, "tags differ")
        self.dead = {0}
        self.run_until(lambda: c.pair[0] == self.endpoint.addresses()[1] and c.reap.state == packet.OPERATIONAL, 6,
                       "path 2")
        self.flows(1.0, header=True)
        self.dead = set()


if __name__ == "__main__":
    main(Crossing)
