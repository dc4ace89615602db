"""The link of path 1 goes down at the client's own host, and its ULID with it (RFC 5533 10, RFC 5534 4.1): the client hardly
notices, the peer is told by an Update Request that is sent again until acknowledged, and again when the link is back."""

import time

from responder import Answers
from shim6peer import packet
from shim6peer.checks import PORT, main
from shim6peer.packet import LOCATORS, PDS, PREFERENCES, PROBE, UPDATE

SILENCE = 0.35  # the goal is 0.2 s; the rest is for a busy machine


class LinkDown(Answers):
    def run(self):
        self.serve(self.ulid, PORT)
        self.say("ready")
        self.run_until(lambda: self.context() is not None, 30, "a context")
        self.flows(1.0, header=False)

        start, gone = len(self.trace), time.monotonic()
        self.lost[UPDATE] = 1
        print("@link set p1 down", flush=True)
        self.run_until(lambda: self.reports[-1][4] is not None, 3, "a datagram over path 2")
        self.run_for(0.5)
        self.claim(self.reports[-1][3] <= SILENCE, f"the client saw {self.reports[-1][3]} s of silence")
        self.claim(self.payload()[-1].source == self.subject[1], "payload from the lost address")
        first = self.wait_for(UPDATE, since=start)
        again = self.wait_for(UPDATE, since=start, dropped=False)
        self.claim(again.octets == first.octets, "a retransmitted Update Request differs", again)
        self.told(first, broken={self.subject[0]})
        self.flows(1.0, header=True)
        quiet = len(self.trace)
        self.run_for(1.5)
        self.claim(not self.got(UPDATE, since=quiet), "an Update Request although the last one was acknowledged")
        self.claim(not self.got(PROBE, since=quiet), "probes although both sides are Operational")
        self.check_reports(start)
        self.say(f"told that its path 1 is broken; longest silence {self.reports[-1][3]:.3f} s")

        start = len(self.trace)
        address = packet.show(self.subject[0])
        for command in ("link set p1 up", f"addr replace {address}/64 dev p1 nodad",
                        "route replace default via fe80::1 dev p1 table 101",
                        "route replace default via fe80::1 dev p1 metric 101"):
            print(f"@{command}", flush=True)
        update = self.wait_for(UPDATE, since=start)
        self.told(update, broken=set())
        self.dead = {1}
        back = self.reports[-1][2]
        self.run_until(lambda: self.reports[-1][2] > back + 5, 5, "datagrams on path 1")
        self.run_for(0.5)
        self.flows(1.0, header=False)
        self.say("told that it is back, and went there")

    def told(self, update, broken):
        """What list and preferences of an Update Request say."""
        m, c = update.message, self.context()
        self.claim(m.tag == c.tag, "the tag of", update)
        locators, preferences = m.option(LOCATORS), m.option(PREFERENCES)
        listed, generation = c.listed, c.generation
        if locators:
            generation, offered = packet.parse_locators(locators.contents)
            listed = [a for a, _ in offered]
            self.claim(self.subject[0] in listed, "a list without the ULID", update)
        said = set()
        if preferences:
            stated, elements = packet.parse_preferences(preferences.contents)
            self.claim(stated == generation, "preferences for another list", update)
            self.claim(len(elements) == len(listed), "as many preferences as locators", update)
            said = {a for a, e in zip(listed, elements) if e[0] & packet.BROKEN}
        self.claim(locators or preferences, "an update that says nothing", update)
        self.claim(said == broken, f"says {[packet.show(a) for a in said]} is broken", update)


if __name__ == "__main__":
    main(LinkDown)
