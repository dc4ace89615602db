"""Stands in for a program under the shim: an echo server or client on the Python implementation itself, so that the
scenarios can be tested without the product. Speaks as programs/echo.py and programs/client.py do."""

import argparse
import json
import time

from shim6peer import packet
from shim6peer.context import ESTABLISHED, Endpoint
from shim6peer.host import Host


def make_host(identity_file):
    with open(identity_file) as f:
        identity = [(packet.pack_address(a), bytes.fromhex(pds)) for a, pds in json.load(f)]
    host = Host(Endpoint(identity))
    e = host.endpoint
    e.send_timeout, e.initial_probe_timeout, e.exchange_timeout = 1.0, 0.1, 0.3
    return host


def server(host, port):
    own = host.endpoint.addresses()[0]
    host.serve(own, port)

    def answer(local, peer, port, peer_port, data, context):
        if not data.startswith(b"quiet"):
            host.send_udp(local, port, peer, peer_port, b"%s %d %s" % (packet.show(peer).encode(), peer_port, data))

    def guarded(local, peer, port, peer_port, data, context):
        if (local, port) in host.udp:  # only what a socket of ours would get
            answer(local, peer, port, peer_port, data, context)

    host.on_udp = guarded
    print("ready", flush=True)
    while True:
        host.run_for(3600)


def client(host, server, port, interval):
    own, peer, local_port = host.endpoint.addresses()[0], packet.pack_address(server), 40001
    host.serve(own, local_port)
    counts = {"answers": 0, "longest": 0, "wrong": 0, "last": None}

    def heard(local, remote, local_port, peer_port, data, context):
        now = time.monotonic()
        counts["wrong"] += (remote, peer_port) != (peer, port) or not data.startswith(b"e c ")
        if counts["last"] is not None:
            counts["longest"] = max(counts["longest"], int((now - counts["last"]) * 1000))
        counts["last"] = now
        counts["answers"] += 1

    host.on_udp = heard
    print("ready", flush=True)
    number, context = 0, None
    while True:
        number += 1
        host.send_udp(own, local_port, peer, port, b"c %d %d %d %d %s %s" % (
            number, counts["answers"], counts["longest"], counts["wrong"], packet.show(own).encode(), server.encode()))
        if context is None:
            context = host.endpoint.connect(own, peer)
        host.run_for(interval)


parser = argparse.ArgumentParser()
parser.add_argument("role", choices=["echo", "client"])
parser.add_argument("identity")
parser.add_argument("arguments", nargs="+")
a = parser.parse_args()
if a.role == "echo":
    server(make_host(a.identity), int(a.arguments[0]))
else:
    client(make_host(a.identity), a.arguments[0], int(a.arguments[1]), float(a.arguments[2]))
