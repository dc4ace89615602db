"""The program under the shim initiates: a client that sends at once. The peer answers with every reserved bit set, an
unknown option and a validator of odd length, loses the first I1 and I2, then goes silent on one path after the other."""

import time

from shim6peer import packet
from shim6peer.checks import PORT, Scenario, main
from shim6peer.context import ESTABLISHED, Endpoint
from shim6peer.packet import I1, I2, PROBE, R1, R2, ULID_PAIR, VALIDATOR, Option

# Silence that the client may see: Send Timeout of its shim, 10 % of jitter, and a second to explore.
SEND_TIMEOUT, LIMIT = 1.0, 2.1


class OddEndpoint(Endpoint):
    """Sends what is legal but unusual."""

    validator_length = 37

    def emit(self, source, destination, message):
        if message.type != packet.ERROR:
            message.reserved = 1
        super().emit(source, destination, message)

    def extra_options(self, message_type):
        return [Option(99, b"to be skipped"), Option(16000, b"")]


class Answers(Scenario):
    """What all scenarios with a client under the shim share."""

    endpoint_class = OddEndpoint

    def __init__(self, *a):
        super().__init__(*a)
        self.reports = []  # (time, number, answers, longest silence in s, context)
        self.on_udp = self.answer
        self.lost = {I1: 0, I2: 0}
        self.endpoint.accepts = self.accepts

    def answer(self, local, peer, port, peer_port, data, context):
        fields = data.split()
        self.claim(len(fields) == 7 and fields[0] == b"c", f"not from the client: {data!r}")
        number, answers, longest, wrong = (int(x) for x in fields[1:5])
        self.claim(wrong == 0, "the client got something that is no answer")
        self.claim(fields[5].decode() == packet.show(self.peer), f"the client's getsockname says {fields[5]}")
        self.claim(fields[6].decode() == packet.show(self.ulid), f"the client's getpeername says {fields[6]}")
        self.claim((peer, local) == (self.peer, self.ulid), "ULIDs changed")
        self.reports.append((time.monotonic(), number, answers, longest / 1000, context))
        self.send_udp(local, port, peer, peer_port, b"e " + data)

    def accepts(self, seen):
        if seen.message and self.lost.get(seen.message.type):
            self.lost[seen.message.type] -= 1
            return False
        return self.alive(seen.destination, seen.source)

    def context(self):
        return next(iter(self.endpoint.contexts.values()), None)

    def flows(self, seconds, header):
        """Datagrams keep coming, with or without extension header."""
        start = len(self.reports)
        self.run_for(seconds)
        got = self.reports[start:]
        self.claim(len(got) >= seconds / 0.05 / 2, f"{len(got)} datagrams in {seconds} s")
        self.claim(all((r[4] is not None) == header for r in got), f"extension header: {[r[4] is not None for r in got]}")

    def lose_path(self, dead, live, what):
        """Path `dead` goes silent; the client must be back within LIMIT, on path `live`."""
        own = self.endpoint.addresses()
        header = live != 0
        start, gone = len(self.trace), time.monotonic()
        before = self.reports[-1]
        self.dead = {dead}
        back = lambda: self.reports[-1][0] > gone and self.reports[-1][2] > before[2] + 5
        self.run_until(back, LIMIT + 2, f"datagrams after {what}")
        self.run_for(0.3)
        self.claim(self.reports[-1][3] <= LIMIT, f"{what}: the client saw {self.reports[-1][3]} s of silence")
        probes = self.got(PROBE, since=start)
        first = next((s for s in probes if s.message.sta == packet.EXPLORING), None)
        self.claim(first is not None, "no Probe Exploring")
        waited = first.time - gone
        self.claim(SEND_TIMEOUT - 0.2 <= waited <= SEND_TIMEOUT * 1.1 + 0.5, f"explores after {waited:.3f} s")
        self.claim((first.source, first.destination) == (self.subject[dead], own[dead]),
                   "the first Probe is not on the current pair (Appendix A)", first)
        self.check_gaps(probes)
        self.check_reports(start)
        for s in self.payload(since=start):
            if not s.dropped and s.time > self.reports[-1][0]:
                self.claim((s.source, s.destination) == (self.subject[live], own[live]), "payload on another pair", s)
        self.flows(1.0, header)
        quiet = len(self.trace)
        self.run_for(1.5)
        self.claim(not self.got(PROBE, since=quiet), "probes although both sides are Operational")
        self.say(f"{what}: explored after {waited:.3f} s, longest silence {self.reports[-1][3]:.3f} s")

    def check_gaps(self, probes):
        """Scheduled probes come one after another, no faster than the initial timeout of 0.1 s less 20 % (4.3)."""
        exploring = [s for s in probes if s.message.sta == packet.EXPLORING]
        gaps = [b.time - a.time for a, b in zip(exploring, exploring[1:])]
        self.claim(all(g >= 0.07 for g in gaps), f"probes too fast: {gaps}")


class Responder(Answers):
    def run(self):
        self.serve(self.ulid, PORT)
        self.lost = {I1: 1, I2: 1}
        self.say("ready")
        first = self.wait_for(I1, seconds=30)
        self.check_i1(first)
        second = self.wait_for(I1, seconds=8, dropped=False)
        self.claim(second.octets == first.octets, "a retransmitted I1 differs", second)
        i2 = self.wait_for(I2)
        self.check_i2(second, i2)
        again = self.wait_for(I2, seconds=8, dropped=False)
        self.check_i2(second, again)
        self.claim(again.octets == i2.octets, "a retransmitted I2 differs", again)
        self.run_until(lambda: self.context() is not None, 1, "the context")
        self.claim(self.context().reap.keepalive_timeout == SEND_TIMEOUT,
                   f"announced Send Timeout {self.context().reap.keepalive_timeout} s, not {SEND_TIMEOUT} (RFC 5534 5.3)")
        self.say("established")
        self.flows(1.5, header=False)
        self.claim(not self.got(I1, since=self.trace.index(again)), "another I1 after R2")
        self.claim(not self.got(PROBE), "probes on a healthy path")
        self.lose_path(0, 1, "path 1 silent")
        self.lose_path(1, 0, "path 2 silent, path 1 back")
        self.one_way()
        self.outage()

    def check_i1(self, seen):
        m = seen.message
        self.claim((seen.source, seen.destination) == (self.peer, self.ulid), "not between the ULIDs", seen)
        pair = m.option(ULID_PAIR)
        self.claim(pair is None or pair.contents[4:] == self.peer + self.ulid, "ULID pair of", seen)

    def check_i2(self, i1, seen):
        m = seen.message
        r1 = next(s for s in self.trace if s.out and s.message and s.message.type == R1)
        self.claim((seen.source, seen.destination) == (i1.source, i1.destination), "not on the pair of the I1", seen)
        self.claim(m.tag == i1.message.tag, "another Initiator Context Tag than in the I1", seen)
        self.claim(m.responder_nonce == r1.message.responder_nonce, "Responder Nonce of", seen)
        self.claim(m.option(VALIDATOR).contents == r1.message.option(VALIDATOR).contents, "validator of", seen)
        self.check_locators(seen)

    def one_way(self):
        """Ours arrive on path 2 only, the client's on path 1 only: answers must be there again all the same."""
        start, gone = len(self.trace), time.monotonic()
        before = self.reports[-1]
        own, self.dead = self.endpoint.addresses(), set()
        self.endpoint.sends = lambda o, other: (o, other) == (own[1], self.subject[1])
        self.endpoint.accepts = lambda seen: (seen.destination, seen.source) == (own[0], self.subject[0])
        self.run_until(lambda: self.reports[-1][2] > before[2] + 5 and time.monotonic() > gone + 0.5, LIMIT + 2,
                       "answers after the loss of our direction of path 1")
        self.run_for(0.3)
        self.claim(self.reports[-1][3] <= LIMIT, f"one way lost: {self.reports[-1][3]} s of silence")
        self.claim(self.got(PROBE, since=start), "no Probe")
        self.claim(self.context().pair == (own[1], self.subject[1]), "we do not send on path 2")
        self.check_reports(start)
        answered, quiet = self.reports[-1][2], len(self.trace)
        self.run_for(1.5)
        self.claim(self.reports[-1][2] >= answered + 15, "answers stop again")
        self.claim(not self.got(PROBE, since=quiet), "probes although both sides are Operational")
        self.say(f"one way of path 1 lost: answers again after {self.reports[-1][3]:.3f} s")

    def outage(self):
        """Nothing works for a while: all pairs are tried, ever more slowly (RFC 5534 4.3, jitter of 20 %)."""
        self.endpoint.sends, self.endpoint.accepts = self.alive, self.accepts
        self.dead, start = {0, 1}, len(self.trace)
        self.run_for(SEND_TIMEOUT + 4.0)
        probes = [s for s in self.got(PROBE, since=start) if s.message.sta == packet.EXPLORING]
        self.claim(all(s.message.sta == packet.EXPLORING for s in self.got(PROBE, since=start)), "hears what is not there")
        first = {(s.source, s.destination) for s in probes[:4]}
        self.claim(len(first) == 4, f"{len(first)} of 4 pairs in the first 4 probes")
        gaps = [b.time - a.time for a, b in zip(probes, probes[1:])]
        nominal = [0.1, 0.1, 0.1, 0.2, 0.4, 0.8, 1.6]
        self.claim(len(gaps) >= 6, f"{len(gaps) + 1} probes")
        for gap, about in zip(gaps, nominal):
            self.claim(0.78 * about - 0.03 <= gap <= 1.22 * about + 0.25, f"gaps {gaps}, nominal {nominal}")
        for s in probes:
            blocks = s.message.sent
            self.claim(all(b.source in self.subject for b in blocks), "sent probes that are not its own", s)
        before, self.dead = self.reports[-1][2], set()
        self.run_until(lambda: self.reports[-1][2] > before + 5, 5, "answers after the outage")
        self.run_for(1.0)
        self.say(f"outage over; probes {', '.join(f'{g:.2f}' for g in gaps)} s apart")


if __name__ == "__main__":
    main(Responder)
