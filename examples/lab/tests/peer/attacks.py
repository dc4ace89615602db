"""What must not work, against an echo server under the shim: false validators, locators outside the HBA set, wrong PDS,
forged REAP and update messages, payload that is not for a shim socket, garbage. Ordinary traffic goes on, and nothing is
ever sent to an address that proved nothing."""

import os
import random
import struct
import time

from initiator import OUR_PORT, Echoes
from shim6peer import hba, packet
from shim6peer.checks import PORT, main
from shim6peer.context import ESTABLISHED
from shim6peer.packet import (ERROR, FII, HBA, I1, I2, I2BIS, KEEPALIVE, LOCATORS, PDS, PROBE, R1, R1BIS, R2, UPDATE,
                              UPDATE_ACK, VALIDATOR, Block, Message, Option)

CANARY = 5999  # a program without the shim on the same host
SEED = int(os.environ.get("SHIM6_PEER_SEED", random.randrange(1 << 31)))
PAUSE = 0.3  # longer than any answer takes


class Attacks(Echoes):
    def run(self):
        self.rng = random.Random(SEED)
        self.say(f"SHIM6_PEER_SEED={SEED}")
        self.serve(self.ulid, OUR_PORT)
        self.own = self.endpoint.addresses()
        self.serve(self.plain, OUR_PORT)
        self.echo(seconds=10, tries=20, what="the echo server")
        self.validators()
        self.lists()
        self.foreign_source()
        self.unknown()
        self.garbage(1500)
        self.bystander_tags()
        self.context = self.establish()
        self.echo()
        self.forged_reap()
        self.forged_updates()
        self.rehome({0}, "path 2")
        self.payloads()
        self.dead = set()
        self.mutated(2000)
        self.last_word()

    # Tools

    def fire(self, message, source=None, destination=None):
        octets = message if isinstance(message, bytes) else message.pack()
        self.endpoint.transmit(source or self.ulid, destination or self.peer, octets)

    def quiet(self, types, text, since, seconds=PAUSE):
        """None of these came in."""
        self.run_for(seconds)
        got = self.got(*types, since=since)
        self.claim(not got, text, got[0] if got else None)

    def i1(self, tag, nonce, options=(), source=None):
        """The R1 that answers an I1 of ours."""
        start = len(self.trace)
        self.fire(Message(I1, {"tag": tag, "nonce": nonce}, list(options)), source)
        return self.wait_for(R1, since=start).message

    def i2(self, tag, nonce, r1, options=None, validator=None):
        options = self.good_options() if options is None else options
        validator = r1.option(VALIDATOR).contents if validator is None else validator
        options = sorted([Option(VALIDATOR, validator)] + options, key=lambda o: o.type)
        return Message(I2, {"tag": tag, "nonce": nonce, "responder_nonce": r1.responder_nonce}, options)

    def good_options(self):
        return [packet.locators_option(self.endpoint.generation, [(a, HBA) for a in self.own]),
                Option(PDS, self.endpoint.identity[0][1])]

    def error(self, message, code, pointer, source=None, start=None):
        """The host answers with this Error and quotes what we sent."""
        start = len(self.trace) if start is None else start
        octets = message if isinstance(message, bytes) else message.pack()
        self.fire(octets, source)
        seen = self.wait_for(ERROR, since=start)
        e = seen.message
        self.claim(e.code == code, f"Error {e.code}, not {code}", seen)
        self.claim(e.pointer == pointer, f"Pointer {e.pointer}, not {pointer}", seen)
        self.claim((seen.source, seen.destination) == (self.peer, source or self.ulid), "not sent back", seen)
        quoted = e.packet
        self.claim(quoted[0] >> 4 == 6 and quoted[6] == packet.PROTOCOL, "quotes no IPv6 packet of protocol 140", seen)
        self.claim(struct.unpack_from("!H", quoted, 4)[0] == len(octets), "payload length of the quoted packet", seen)
        self.claim(quoted[8:40] == (source or self.ulid) + self.peer, "addresses of the quoted packet", seen)
        self.claim(quoted[40:40 + len(octets)] == octets[:1232 - 40], "the quoted message", seen)
        self.claim(not any(quoted[40 + len(octets):]) and len(seen.octets) <= 1240, "size of", seen)

    # I2

    def validators(self):
        """No single wrong bit in a validator or in what it covers gets an R2."""
        tag, nonce = self.rng.getrandbits(47), self.rng.getrandbits(32)
        r1 = self.i1(tag, nonce)
        good = r1.option(VALIDATOR).contents
        start = len(self.trace)
        flipped = [good[:b // 8] + bytes([good[b // 8] ^ 0x80 >> b % 8]) + good[b // 8 + 1:] for b in range(8 * len(good))]
        for v in flipped + [good[:-1], good + b"\0", b"", bytes(len(good)), good * 2, bytes(900)]:
            self.fire(self.i2(tag, nonce, r1, validator=v))
        for _ in range(32):
            changed = self.i2(tag, nonce, r1)
            changed.fields["responder_nonce"] ^= 1 << self.rng.randrange(32)
            self.fire(changed)
        for b in range(47):
            self.fire(self.i2(tag ^ 1 << b, nonce, r1))
        bare = self.i2(tag, nonce, r1)
        bare.options = [o for o in bare.options if o.type != VALIDATOR]
        self.fire(bare)
        # Other locators, other ULIDs, another instance.
        self.fire(self.i2(tag, nonce, r1), source=self.own[1])
        pair = packet.ulid_pair_option(self.ulid, self.peer)
        self.fire(self.i2(tag, nonce, r1, self.good_options() + [pair]), source=self.own[1])
        self.fire(self.i2(tag, nonce, r1), destination=self.subject[1])
        self.fire(self.i2(tag, nonce, r1, self.good_options() + [pair]), destination=self.subject[1])
        self.fire(self.i2(tag, nonce, r1, self.good_options() + [packet.ulid_pair_option(self.own[1], self.peer)]))
        self.fire(self.i2(tag, nonce, r1, self.good_options() + [packet.ulid_pair_option(self.ulid, self.subject[1])]))
        self.fire(self.i2(tag, nonce, r1, self.good_options() + [Option(FII, b"\0\0\0\7")]))
        # A validator of another exchange.
        other = self.i1(tag ^ 1, nonce)
        self.fire(self.i2(tag, nonce, other))
        self.quiet([R2], "R2 for an I2 with a false validator (7.13)", start)
        self.say(f"{len(flipped)} bits of the validator, none missed")

    def lists(self):
        """Locator Lists that do not hold: Error 2 at the method, no R2; the right PDS or nothing."""
        tag, nonce = self.rng.getrandbits(47), self.rng.getrandbits(32)
        r1 = self.i1(tag, nonce)
        generation, pds = self.endpoint.generation, self.endpoint.identity[0][1]
        locators = [(a, HBA) for a in self.own]
        start = len(self.trace)

        def refused(list_, index, why, further=()):
            option = packet.locators_option(generation, list_)
            m = self.i2(tag, nonce, r1, [option, Option(PDS, pds), *further])
            # IPv6 header, fixed part, validator option; then type, Length, generation, count.
            at = 40 + 24 + len(m.option(VALIDATOR).pack()) + 9 + index
            self.error(m, 2, at)
            self.say(f"refused: {why}")

        refused(locators + [(self.plain, HBA)], 2, "a locator outside the HBA set")
        refused([(self.plain, HBA)] + locators, 0, "the same in front")
        refused([locators[0], (self.own[1], 77)], 1, "verification method 77")
        refused([locators[0], (self.own[1], 0)], 1, "verification method 0")
        refused([locators[0], (self.own[1], 255)], 1, "verification method 255")
        refused([locators[0], (self.own[1], packet.CGA)], 1, "CGA under a PDS without a key")
        signature = Option(packet.SIGNATURE, bytes(48))
        refused([locators[0], (self.plain, packet.CGA)], 1, "CGA with a forged signature", [signature])
        outside = self.own[1][:15] + bytes([self.own[1][15] ^ 1])
        refused([locators[0], (outside, HBA)], 1, "another interface identifier")
        self.quiet([R2], "R2 although the list does not verify (7.2)", start)

        start = len(self.trace)
        foreign = hba.generate([self.ulid[:8], self.own[1][:8]])[0][1]
        option = packet.locators_option(generation, locators)
        bad = [foreign, b"", pds[:24], pds[:-1], bytes(len(pds))]
        # Not 16 to 23: HBA verification puts the prefix of the address there (RFC 5535 7.2 step 1).
        bad += [pds[:at] + bytes([pds[at] ^ 1 << self.rng.randrange(8)]) + pds[at + 1:]
                for at in (*range(0, 16, 5), *range(24, len(pds), 5))]
        for p in bad:
            self.fire(self.i2(tag, nonce, r1, [option, Option(PDS, p)]))
            self.fire(self.i2(tag, nonce, r1, [Option(PDS, p)]))
        c = option.contents
        for contents in (c[:4] + b"\0" + c[5:], c[:5], c[:-1], c + b"\0", c[:4] + bytes([3]) + c[5:], b""):
            self.fire(self.i2(tag, nonce, r1, [Option(LOCATORS, contents), Option(PDS, pds)]))
        self.fire(self.i2(tag, nonce, r1, [option]))  # a list, and nothing to verify it by
        self.quiet([R2], "R2 although the PDS or the list is wrong", start)

    def foreign_source(self):
        """An attacker that can answer an R1 at its own address, but claims our ULID (S6-N-21)."""
        tag, nonce = self.rng.getrandbits(47), self.rng.getrandbits(32)
        pair = packet.ulid_pair_option(self.ulid, self.peer)
        start = len(self.trace)
        r1 = self.i1(tag, nonce, [pair], source=self.plain)
        options = self.good_options()
        outside = packet.locators_option(self.endpoint.generation, [(a, HBA) for a in (*self.own, self.plain)])
        for more in (options, [], [outside, options[1]], [options[0]], [options[1]]):
            self.fire(self.i2(tag, nonce, r1, more + [pair]), source=self.plain)
        self.quiet([R2], "a context for a source that is no verified locator", start)

    # Unknown things

    def unknown(self):
        tag, nonce = self.rng.getrandbits(47), self.rng.getrandbits(32)
        critical = Option(1000, b"12345", critical=True)
        self.error(Message(I1, {"tag": tag, "nonce": nonce}, [critical]), 1, 40 + 16)
        r1 = self.i1(tag, nonce, [Option(1000, b"12345"), Option(77, bytes(33))])
        m = self.i2(tag, nonce, r1, self.good_options() + [critical])
        start = len(self.trace)
        self.error(m, 1, 40 + m.pack().index(critical.pack()[:4]))
        # A known option where it does not belong, and critical.
        misplaced = Option(VALIDATOR, bytes(20), critical=True)
        self.error(Message(I1, {"tag": tag, "nonce": nonce}, [misplaced]), 1, 40 + 16)
        for type in (7, 63, 69, 100, 127):
            self.error(packet.seal(type, 0, bytes(10)), 0, 42)
        self.run_for(1.1)  # whatever limits the rate of errors
        before = len(self.trace)
        # Silence: bad checksum, S, Error in answer to Error, unknown options in an Error.
        spoiled = bytearray(packet.seal(100, 0, bytes(10)))
        spoiled[5] ^= 1
        self.fire(bytes(spoiled))
        self.fire(packet.seal(100, 1, bytes(10)))
        self.fire(packet.seal(I1, 1, Message(I1, {"tag": tag, "nonce": nonce}).pack()[6:]))
        for quoted in (bytes(40), packet.seal(100, 0, bytes(10)), self.rng.randbytes(80)):
            self.fire(Message(ERROR, {"code": self.rng.randrange(128), "pointer": 40, "packet": quoted}))
        short = packet.seal(100, 0, bytes(10))
        self.fire(packet.refresh_checksum(short[:1] + b"\3" + short[2:]))  # passes the end of the packet
        i1 = Message(I1, {"tag": tag, "nonce": nonce}).pack()
        for seen in self.got(ERROR, R2, since=start):
            self.claim(seen.message.type != R2, "R2 for an I2 with an unknown critical option", seen)
        self.fire(packet.refresh_checksum(i1[:1] + b"\0" + i1[2:8]))  # 8 octets
        self.quiet([R1, R2, ERROR, R1BIS], "an answer to what must be dropped silently (12.3)", before)
        self.echo()
        self.say("errors as in 5.14")

    def bystander_tags(self):
        """Tags that nobody holds: R1bis at most; and no I2bis with a false validator gets an R2."""
        start = len(self.trace)
        answered = 0
        for message in (packet.payload_header(self.rng.getrandbits(47), packet.UDP) + bytes(8),
                        Message(KEEPALIVE, {"tag": self.rng.getrandbits(47)}),
                        Message(UPDATE, {"tag": self.rng.getrandbits(47), "nonce": 5}),
                        Message(PROBE, {"tag": self.rng.getrandbits(47), "sta": 1, "received": [],
                                        "sent": [Block(self.ulid, self.peer, 1)]})):
            before = len(self.trace)
            self.fire(message)
            self.run_for(PAUSE)
            got = self.got(*packet.NAMES, since=before)
            self.claim(all(s.message.type == R1BIS for s in got) and len(got) <= 1, "answers to an unknown tag", got)
            answered += len(got)
            for r1bis in got:
                tag = message[2:8] if isinstance(message, bytes) else message.tag.to_bytes(6, "big")
                tag = int.from_bytes(tag, "big") & packet.MAX_TAG
                self.claim(r1bis.message.packet_tag == tag, "Packet Context Tag of", r1bis)
                self.false_i2bis(r1bis.message)
        self.claim(answered == 4, f"{answered} of 4 packets with unknown tags were answered with R1bis (7.17)")
        self.quiet([R2], "R2 for an I2bis with a false validator (7.20)", start)
        self.say(f"{answered} R1bis")

    def false_i2bis(self, m):
        good = m.option(VALIDATOR).contents
        tag = self.rng.getrandbits(47)

        def fire(validator, nonce=m.responder_nonce, packet_tag=m.packet_tag, **where):
            fields = {"tag": tag, "nonce": 9, "responder_nonce": nonce, "packet_tag": packet_tag}
            options = sorted([Option(VALIDATOR, validator)] + self.good_options(), key=lambda o: o.type)
            self.fire(Message(I2BIS, fields, options), **where)

        for b in range(0, 8 * len(good), 3):
            fire(good[:b // 8] + bytes([good[b // 8] ^ 0x80 >> b % 8]) + good[b // 8 + 1:])
        fire(good, nonce=m.responder_nonce ^ 1)
        fire(good, packet_tag=m.packet_tag ^ 1)
        fire(good, source=self.own[1])
        fire(b"")
        r1 = self.i1(tag, 9)
        fire(r1.option(VALIDATOR).contents, nonce=r1.responder_nonce, packet_tag=tag)
        # And the other way round: an R1bis validator in an I2 (S6-N-41).
        self.fire(self.i2(m.packet_tag, 9, Message(R1, {"responder_nonce": m.responder_nonce}, m.options)))

    # An established context

    def forged_reap(self):
        """REAP messages from elsewhere, with guessed nonces, or malformed, move nothing."""
        c = self.context
        start = len(self.trace)
        blocks = [Block(self.plain, self.peer, 7)]
        for message in (Message(KEEPALIVE, {"tag": c.peer_tag}),
                        Message(UPDATE, {"tag": c.peer_tag, "nonce": 3}, self.good_options()),
                        Message(PROBE, {"tag": c.peer_tag, "sta": 1, "sent": blocks, "received": []}),
                        Message(PROBE, {"tag": c.peer_tag, "sta": 2, "sent": blocks, "received": [
                            Block(self.peer, self.plain, 8)]})):
            before = len(self.trace)
            self.fire(message, source=self.plain)
            self.run_for(PAUSE)
            got = self.got(*packet.NAMES, since=before)
            self.claim(all(s.message.type == R1BIS and s.destination == self.plain for s in got),
                       "an answer other than R1bis to a source outside Ls(peer) (12.4)", got[0] if got else None)
        before = len(self.trace)
        good = Message(PROBE, {"tag": c.peer_tag, "sta": 1, "received": [],
                               "sent": [Block(self.ulid, self.peer, 0x1234)]}).pack()
        for octets in (good[:13] + b"\xc0" + good[14:],  # Sta 3
                       good[:12] + b"\x00" + good[13:],  # Psent 0
                       good[:12] + b"\x02" + good[13:],  # more blocks than octets
                       good[:12] + b"\xf1" + good[13:],
                       good[:16] + self.plain + good[32:]):  # block 1 names other addresses (RE-PR-24)
            self.fire(packet.refresh_checksum(octets))
        self.fire(good, source=self.own[1])
        self.quiet([PROBE], "a Probe in answer to a malformed one", before)
        # A liar with the right tag and address: it claims to have heard probes that were never sent.
        lies = [Block(self.subject[i], a, self.rng.getrandbits(32)) for i in (0, 1) for a in (*self.own, self.plain)
                if (i, a) != (0, self.ulid)]
        before = len(self.trace)
        self.fire(Message(PROBE, {"tag": c.peer_tag, "sta": 2, "received": lies,
                                  "sent": [Block(self.ulid, self.peer, 0x4321)]}))
        answer = self.wait_for(PROBE, since=before)
        self.claim(answer.message.sta == packet.OPERATIONAL, "not Probe Operational (6.8)", answer)
        self.claim((answer.source, answer.destination) == (self.peer, self.ulid), "moved by a guessed nonce", answer)
        self.claim(self.echo() is None, "payload moved by a guessed nonce")
        self.claim(not self.payload(since=start), "payload with the header on an unproved pair")
        self.no_attacker_traffic(start)
        self.say("forged REAP moves nothing")

    def forged_updates(self):
        c, pds = self.context, self.endpoint.identity[0][1]
        generation = self.endpoint.generation ^ 0x33
        update = lambda *options: Message(UPDATE, {"tag": c.peer_tag, "nonce": self.rng.getrandbits(32)}, list(options))
        start = len(self.trace)
        wrong = packet.locators_option(generation, [(self.ulid, HBA), (self.plain, HBA)])
        self.error(update(wrong, Option(PDS, pds)), 2, 40 + 16 + 9 + 1)
        self.error(update(wrong), 2, 40 + 16 + 9 + 1)  # by the PDS of the I2
        prefer = lambda generation, n: packet.preferences_option(generation, [bytes(3)] * n)
        self.error(update(prefer(generation, 2)), 3, 40 + 16 + 4)
        self.error(update(prefer(self.endpoint.generation, 3)), 4, 40 + 16 + 2)
        right = packet.locators_option(generation, [(a, HBA) for a in self.own])
        # All or nothing: the list verifies, the preferences do not fit it.
        m = update(right, prefer(generation, 1))
        self.error(m, 4, 40 + 16 + len(right.pack()) + 2)
        m = update(prefer(generation, 2))
        self.error(m, 3, 40 + 16 + 4)
        foreign = hba.generate([self.ulid[:8], self.own[1][:8]])[0][1]
        self.fire(update(right, Option(PDS, foreign)))
        self.quiet([UPDATE_ACK], "an acknowledgement for an update that does not hold (10.4)", start)
        self.echo()
        self.say("updates refused")

    def payloads(self):
        """On path 2, so with the header. Only what a shim socket would get may reach the host's stack."""
        c = self.context
        send = lambda protocol, octets, **k: c.send_payload(protocol, octets, pair=(self.own[1], self.subject[1]), **k)
        datagram = lambda port, data: packet.udp(self.ulid, self.peer, OUR_PORT, port, data)
        self.claim(self.echo() is c, "no echo on path 2")
        heard = len(self.heard)
        send(packet.UDP, datagram(CANARY, b"to the canary"))
        send(packet.UDP, datagram(9, b"to nobody"))
        good = datagram(PORT, b"bad checksum")
        send(packet.UDP, good[:6] + bytes([good[6] ^ 0x10]) + good[7:])
        send(packet.UDP, good[:6] + b"\0\0" + good[8:])  # no checksum: not allowed with IPv6
        send(packet.UDP, good[:4] + struct.pack("!H", len(good) + 8) + good[6:])
        send(packet.UDP, good[:4] + struct.pack("!H", 7) + good[6:])
        for cut in (0, 1, 7):
            send(packet.UDP, good[:cut])
        # Checksum over the locators instead of the ULIDs.
        send(packet.UDP, packet.udp(self.own[1], self.subject[1], OUR_PORT, PORT, b"over locators"))
        send(58, bytes.fromhex("8000000012345678"))  # an echo request of the lower kind
        send(6, bytes(20))
        send(59, b"")
        send(packet.PROTOCOL, packet.payload_header(c.peer_tag, packet.UDP) + good)
        send(41, bytes(40) + good)
        send(0, bytes(8) + good)
        send(packet.FRAGMENT, bytes(8))
        send(packet.FRAGMENT, b"\x11\0\xff\xf8" + bytes(4) + bytes(64))  # beyond 65535
        send(packet.FRAGMENT, b"\x11\0\0\1" + bytes(4) + bytes(13))  # not a multiple of 8
        for _ in range(300):
            send(self.rng.choice([packet.UDP, packet.FRAGMENT, 58, 6, 43, 60, 0, 255]),
                 self.rng.randbytes(self.rng.randrange(0, 80)))
        # Unknown and nearly known tags.
        for b in range(0, 47, 5):
            send(packet.UDP, good, tag=c.peer_tag ^ 1 << b)
        header = packet.payload_header(c.peer_tag, packet.UDP)
        self.fire(header[:1] + b"\1" + header[2:] + good + bytes(8), self.own[1], self.subject[1])  # Hdr Ext Len 1
        self.fire(header[:5], self.own[1], self.subject[1])
        self.run_for(PAUSE)
        got = [data for _, data, _ in self.heard[heard:]]
        self.claim(not got, f"answers to what no shim socket may get: {got}")
        # The canary does answer when asked without the shim.
        self.dead = set()
        self.send_plain(CANARY, b"control")
        self.run_until(lambda: any(d.endswith(b"control") for _, d, _ in self.heard[heard:]), 2, "the canary")
        self.dead = {0}
        self.claim(self.echo() is c, "no echo after it all")
        self.say("nothing got past the shim's own sockets")

    def send_plain(self, port, data):
        """Without any shim, from an address whose ULID pair has no context."""
        self.udp[self.plain, OUR_PORT].sendto(data, (packet.show(self.peer), port))

    # Garbage

    def garbage(self, count):
        for i in range(count):
            octets = self.rng.randbytes(self.rng.choice([0, 1, 7, 8, 16, 24, 40, 64, 200, 1200]))
            if len(octets) >= 8 and i % 3:
                size = self.rng.randrange(0, len(octets) // 8)
                octets = bytes([59, size, octets[2] & (0x7F if i % 2 else 0xFF), octets[3] & 0xFE]) + octets[4:]
                octets = packet.refresh_checksum(octets)
            self.fire(octets, self.rng.choice([self.ulid, self.own[1], self.plain]), self.rng.choice(self.subject))
            if i % 100 == 0:
                self.run_for(0.01)
        self.echo(seconds=5, tries=5, what="an echo after garbage")
        self.run_for(1.2)  # whatever limits the rate of answers
        self.say(f"{count} pieces of garbage")

    def mutated(self, count):
        """Valid messages with a few octets changed, checksum right or wrong; our own machine runs all the while."""
        ours = [s.octets for s in self.trace if s.out]
        samples = ours[:40] + ours[-200:]
        for i in range(count):
            octets = bytearray(self.rng.choice(samples))
            for _ in range(self.rng.randrange(1, 4)):
                octets[self.rng.randrange(len(octets))] = self.rng.getrandbits(8)
            if self.rng.random() < 0.2:
                octets = octets[:self.rng.randrange(len(octets))]
            octets = bytes(octets)
            if len(octets) >= 8 and not octets[2] & 0x80 and self.rng.random() < 0.7:
                octets = packet.refresh_checksum(octets)
            self.fire(octets, self.rng.choice([self.ulid, self.own[1], self.plain]), self.rng.choice(self.subject))
            if i % 50 == 0:
                self.run_for(0.02)
        self.run_for(1.2)
        # The mutants may rightly have started recovery or exploration, or marked a locator; set it right again.
        self.endpoint.problems = [p for p in self.endpoint.problems if "probe to it was reported" not in p]
        self.say(f"{count} mutants")

    def last_word(self):
        c = self.context
        if c.state != ESTABLISHED:
            self.run_until(lambda: c.state == ESTABLISHED, 5, "the context back in ESTABLISHED")
        start = len(self.trace)
        self.endpoint.generation ^= 0x77
        self.endpoint.request_update(c, self.good_options()[:1])
        self.run_for(PAUSE)
        self.rehome({0}, "path 2")
        self.claim(self.echo() is c, "no echo on path 2 at the end")
        self.rehome({1}, "path 1")
        self.claim(self.echo() is None, "no plain echo at the end")
        self.claim(self.got(UPDATE_ACK, since=start), "no acknowledgement at the end")
        self.no_attacker_traffic(0)

    def no_attacker_traffic(self, since):
        """Nothing but answers of the stateless kind ever goes to an address that is not in the HBA set."""
        for s in self.trace[since:]:
            if not s.out and s.destination == self.plain:
                self.claim(s.message is not None and s.message.type in (R1, R1BIS, ERROR), "traffic for an attacker", s)


if __name__ == "__main__":
    main(Attacks)
