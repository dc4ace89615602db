"""What a scenario is made of: the arguments, claims that must hold, the verdict."""

import argparse
import json
import sys
import time

from . import packet
from .context import Endpoint
from .host import Host, Timeout

PORT = 5533  # of the program under the shim or, where that is a client, of the peer


class Failed(Exception):
    pass


class Scenario(Host):
    """A peer that is the host under no shim. `run()` is the scenario; every claim that fails ends it."""

    endpoint_class = Endpoint

    def __init__(self, identity, subject, plain):
        super().__init__(self.endpoint_class(identity))
        e = self.endpoint
        e.send_timeout, e.initial_probe_timeout, e.exchange_timeout = 3.0, 0.1, 0.5
        e.log = self.say
        self.subject = subject  # locators of the host under test, its ULID first
        self.plain = plain  # an address of ours outside the HBA set
        self.ulid, self.peer = e.addresses()[0], subject[0]
        self.dead = set()  # paths, counted from 0, that carry nothing to or from us
        self.started = time.monotonic()
        self.heard = []  # (time, data, context) of each datagram
        self.on_udp = lambda local, peer, port, peer_port, data, context: self.heard.append(
            (time.monotonic(), data, context))
        e.accepts = lambda seen: self.alive(seen.destination, seen.source)
        e.sends = self.alive
        self.trace = e.trace

    def alive(self, own, other):
        addresses = self.endpoint.addresses()
        own_path = addresses.index(own) if own in addresses else None
        other_path = self.subject.index(other) if other in self.subject else None
        return own_path not in self.dead and other_path not in self.dead

    def say(self, text):
        print(f"{time.monotonic() - self.started:8.3f} {text}", flush=True)

    def claim(self, condition, text, seen=None):
        if not condition:
            raise Failed(f"{text}{f': {seen}' if seen is not None else ''}")

    def no_problems(self):
        self.claim(not self.endpoint.problems, "the host under test broke a rule:\n  "
                   + "\n  ".join(self.endpoint.problems[:20]))

    def got(self, *types, since=0, dropped=None):
        """Control messages of these types that came in, from index `since` of the trace on."""
        return [s for s in self.trace[since:] if not s.out and s.message and s.message.type in types
                and (dropped is None or s.dropped == dropped)]

    def payload(self, since=0, dropped=None):
        """Packets with the payload extension header that came in."""
        return [s for s in self.trace[since:] if not s.out and s.message is None
                and (dropped is None or s.dropped == dropped)]

    def wait_for(self, *types, since=0, seconds=5.0, dropped=None):
        """The first such message."""
        names = " or ".join(packet.NAMES[t] for t in types)
        self.run_until(lambda: self.got(*types, since=since, dropped=dropped), seconds, names)
        return self.got(*types, since=since, dropped=dropped)[0]

    def check_locators(self, seen):
        """The Locator List of I2, I2bis or R2: the subject's set, whole, by HBA."""
        option = seen.message.option(packet.LOCATORS)
        self.claim(option is not None, "no Locator List although the host has several locators (7.6)", seen)
        _, offered = packet.parse_locators(option.contents)
        self.claim(all(m == packet.HBA for _, m in offered), "a verification method other than HBA", seen)
        self.claim({a for a, _ in offered} == set(self.subject), "the list is not the host's HBA set", seen)

    def check_reports(self, since):
        """Each received block in its Probes is a block that we sent, octet by octet; its own nonces never repeat."""
        ours = [s.message.sent[0] for s in self.trace if s.out and s.message and s.message.type == packet.PROBE]
        for s in self.got(packet.PROBE, since=since):
            for block in s.message.received:
                self.claim(block in ours, f"reports a probe that we never sent: {block}", s)
        nonces = [s.message.sent[0].nonce for s in self.got(packet.PROBE)]
        self.claim(len(set(nonces)) == len(nonces), "a probe nonce used twice")

    def main(self):
        try:
            self.run()
            self.no_problems()
        except (Failed, Timeout) as e:
            self.say(f"FAILED: {e}")
            for text in self.endpoint.problems[:20]:
                self.say(f"  problem: {text}")
            for seen in self.trace[-8:]:
                self.say(f"  {seen.time - self.started:8.3f} {str(seen)[:400]}")
            return 1
        self.say("ok")
        return 0


def main(scenario):
    """Run a scenario with the command line that `lab.py` gives."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--identity", required=True, help="our [[address, PDS in hex]], as JSON in a file")
    parser.add_argument("--subject", required=True, help="addresses of the host under test, ULID first, with commas")
    parser.add_argument("--plain", required=True, help="an address of ours outside the HBA set")
    parser.add_argument("--key", help="our RSA key [n, e, d], as JSON in a file")
    a = parser.parse_args()
    if a.key:
        with open(a.key) as f:
            scenario.key = json.load(f)
    with open(a.identity) as f:
        identity = [(packet.pack_address(address), bytes.fromhex(pds)) for address, pds in json.load(f)]
    subject = [packet.pack_address(t) for t in a.subject.split(",")]
    sys.exit(scenario(identity, subject, packet.pack_address(a.plain)).main())
