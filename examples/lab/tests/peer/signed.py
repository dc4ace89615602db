"""Hosts whose ULID is a CGA and whose other locators are ordinary addresses: lists that are signed, both ways (RFC 5533
5.15.5, 7.2). The peer initiates; then it tries lists that somebody else could have made."""

import random

from initiator import OUR_PORT, Echoes
from shim6peer import cga, packet
from shim6peer.checks import main
from shim6peer.context import Endpoint
from shim6peer.packet import (CGA, ERROR, I1, I2, LOCATORS, PDS, R1, R2, SIGNATURE, UPDATE, UPDATE_ACK, VALIDATOR, Message,
                              Option)


class SignedEndpoint(Endpoint):
    key = None

    def proofs(self, locators, generation, key=None):
        """Locator List and signature."""
        option = packet.locators_option(generation, [(a, CGA) for a in locators])
        return [option, Option(SIGNATURE, cga.sign(key or self.key, generation, locators))]

    def own_options(self, context):
        others = [o for o in super().own_options(context) if o.type != LOCATORS]
        return others + self.proofs(self.addresses(), self.generation)


class SignedScenario:
    """What both scenarios share."""

    endpoint_class = SignedEndpoint
    key = None

    def __init__(self, *a):
        super().__init__(*a)
        self.endpoint.key = self.key

    def check_locators(self, seen, expected=None):
        """The whole list by CGA, with a signature that holds."""
        m, option, signature = seen.message, seen.message.option(LOCATORS), seen.message.option(SIGNATURE)
        self.claim(option is not None, "no Locator List although the host has several locators (7.6)", seen)
        self.claim(signature is not None, "no CGA Signature (5.6)", seen)
        generation, offered = packet.parse_locators(option.contents)
        self.claim(all(method == CGA for _, method in offered), "a verification method other than CGA", seen)
        self.claim({a for a, _ in offered} == set(expected or self.subject), "the list is not that of the host", seen)
        pds = m.option(PDS).contents if m.option(PDS) else self.endpoint.by_tag(m.tag).peer_pds
        good = cga.verify_signature(self.peer, pds, generation, [a for a, _ in offered], signature.contents)
        self.claim(good, "the signature does not hold", seen)
        return generation


class Signed(SignedScenario, Echoes):
    def run(self):
        self.serve(self.ulid, OUR_PORT)
        self.own = self.endpoint.addresses()
        self.echo(seconds=10, tries=20, what="the echo server")
        self.forged_exchange()
        self.context = self.establish()
        self.say("established")
        self.rehome({0}, "path 2")
        self.forged_updates()
        self.true_updates()
        self.rehome({1}, "path 1")

    def fire(self, message):
        self.endpoint.transmit(*self.way, message.pack())

    def forgeries(self):
        """Options with a list and a signature that nobody with our key made, and the index that the Error points at."""
        e, generation, stranger = self.endpoint, self.endpoint.generation ^ 0x55, cga.generate_key(1024)
        option, signature = e.proofs(self.own, generation)
        changed = lambda at: Option(SIGNATURE, signature.contents[:at] + bytes([signature.contents[at] ^ 1])
                                    + signature.contents[at + 1:])
        yield "a bit of the signature", [option, changed(random.randrange(len(signature.contents)))]
        yield "a shorter signature", [option, Option(SIGNATURE, signature.contents[1:])]
        yield "a longer signature", [option, Option(SIGNATURE, signature.contents + b"\0")]
        yield "an empty signature", [option, Option(SIGNATURE, b"")]
        yield "no signature", [option]
        yield "another key", e.proofs(self.own, generation, stranger)
        yield "another generation", [e.proofs(self.own, generation)[0], e.proofs(self.own, generation ^ 1)[1]]
        yield "a locator more", [e.proofs([*self.own, self.plain], generation)[0], signature]
        yield "another order", [e.proofs(self.own[::-1], generation)[0], signature]

    def expect_error(self, what, message):
        """Error 2 at the first method, and nothing else."""
        start = len(self.trace)
        self.fire(message)
        e = self.wait_for(ERROR, since=start)
        at = 40 + message.pack().index(message.option(LOCATORS).pack()) + 9
        self.claim((e.message.code, e.message.pointer) == (2, at), f"{what}: not Error 2 at {at}", e)
        self.run_for(0.15)
        self.claim(not self.got(R2, UPDATE_ACK, since=start), f"taken: {what}")

    def forged_exchange(self):
        self.way = (self.ulid, self.peer)
        tag, nonce, start = random.getrandbits(47), random.getrandbits(32), len(self.trace)
        self.fire(Message(I1, {"tag": tag, "nonce": nonce}))
        r1 = self.wait_for(R1, since=start).message
        fields = {"tag": tag, "nonce": nonce, "responder_nonce": r1.responder_nonce}
        validator, pds = Option(VALIDATOR, r1.option(VALIDATOR).contents), Option(PDS, self.endpoint.identity[0][1])
        count = 0
        for what, options in self.forgeries():
            order = sorted([validator, pds, *options], key=lambda o: o.type)
            self.expect_error(what, Message(I2, fields, order))
            count += 1
        self.say(f"{count} forged I2 refused")

    def update(self, *options):
        return Message(UPDATE, {"tag": self.context.peer_tag, "nonce": random.getrandbits(32)}, list(options))

    def forged_updates(self):
        self.way = (self.own[1], self.subject[1])
        count = 0
        for what, options in self.forgeries():
            self.expect_error(what, self.update(*options))
            count += 1
        start = len(self.trace)
        critical = Option(4711, b"what is this", critical=True)
        message = self.update(*self.endpoint.proofs(self.own, self.endpoint.generation ^ 0x66), critical)
        self.fire(message)
        e = self.wait_for(ERROR, since=start)
        at = 40 + message.pack().index(critical.pack())
        self.claim((e.message.code, e.message.pointer) == (1, at), f"not Error 1 at {at}", e)
        self.run_for(0.15)
        self.claim(not self.got(UPDATE_ACK, since=start), "an update with an unknown critical option was taken (5.15)")
        self.claim(self.echo() is self.context, "no echo after forged updates")
        self.say(f"{count} forged updates refused")

    def true_updates(self):
        """Another ordinary address comes and goes, signed each time."""
        e = self.endpoint
        for locators in ([*self.own, self.plain], self.own):
            e.generation = random.getrandbits(32)
            start = len(self.trace)
            request = self.update(*e.proofs(locators, e.generation))
            self.fire(request)
            ack = self.wait_for(UPDATE_ACK, since=start)
            self.claim(ack.message.nonce == request.nonce, "nonce of", ack)
        self.claim(self.echo() is self.context, "no echo after updates")
        self.say("signed updates taken")


if __name__ == "__main__":
    main(Signed)
