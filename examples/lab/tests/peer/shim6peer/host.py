"""Sockets and clock of one host: a raw socket of protocol 140, kernel UDP sockets for the healthy path, one loop."""

import selectors
import socket
import struct
import time

from . import packet

IPV6_RECVPKTINFO, IPV6_PKTINFO = 49, 50


class Timeout(Exception):
    pass


class Host:
    """Runs an `Endpoint` on this machine's sockets. Datagrams for `serve`d ports go to `on_udp(local, peer, local_port,
    peer_port, data, context)`; `context` is None for those that came without the extension header."""

    def __init__(self, endpoint):
        self.endpoint = endpoint
        self.selector = selectors.DefaultSelector()
        self.raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW, packet.PROTOCOL)
        self.raw.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
        self.raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.raw.setblocking(False)
        self.selector.register(self.raw, selectors.EVENT_READ, self._raw_ready)
        self.udp = {}
        self.on_udp = lambda *a: None
        self.refused = 0  # sends that the kernel refused
        endpoint.transmit = self.transmit
        endpoint.deliver = self._deliver

    def transmit(self, source, destination, octets):
        info = [(socket.IPPROTO_IPV6, IPV6_PKTINFO, source + struct.pack("@I", 0))]
        try:
            self.raw.sendmsg([octets], info, 0, (packet.show(destination), 0))
        except OSError:
            self.refused += 1

    def _raw_ready(self):
        for _ in range(64):
            try:
                octets, ancillary, _, source = self.raw.recvmsg(65536, 256)
            except BlockingIOError:
                return
            destination = next((data[:16] for level, kind, data in ancillary if kind == IPV6_PKTINFO), None)
            if destination is not None:
                self.endpoint.input(time.monotonic(), packet.pack_address(source[0].split("%")[0]), destination, octets)

    def serve(self, local, port):
        """A kernel UDP socket for datagrams between ULIDs."""
        udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        udp.bind((packet.show(local), port))
        udp.setblocking(False)
        self.udp[local, port] = udp
        self.selector.register(udp, selectors.EVENT_READ, lambda: self._udp_ready(udp, local, port))

    def _udp_ready(self, udp, local, port):
        for _ in range(64):
            try:
                data, source = udp.recvfrom(65536)
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP error for an earlier datagram
            peer = packet.pack_address(source[0].split("%")[0])
            self.endpoint.now = time.monotonic()
            seen = packet_seen(self.endpoint.now, peer, local)
            if not self.endpoint.accepts(seen):
                continue
            context = self.endpoint.contexts.get((local, peer, 0))
            if context is not None and context.state == "ESTABLISHED":
                context.reap.payload_in(self.endpoint.now, (peer, local))
            self.on_udp(local, peer, port, source[1], data, None)

    def _deliver(self, context, source, destination, protocol, octets):
        if protocol != packet.UDP:
            self.endpoint.problems.append(f"payload of protocol {protocol}")
            return
        try:
            peer_port, port, data = packet.parse_udp(context.peer, context.local, octets)
        except packet.Malformed as e:
            self.endpoint.problems.append(f"{e}: {octets.hex()}")
            return
        self.on_udp(context.local, context.peer, port, peer_port, data, context)

    def send_udp(self, local, port, peer, peer_port, data):
        """As RFC 5533 11: by the context of the ULID pair if there is one, plain while its locators are the ULIDs."""
        self.endpoint.now = time.monotonic()
        context = self.endpoint.contexts.get((local, peer, 0))
        established = context is not None and context.state == "ESTABLISHED"
        if established and context.pair != (local, peer):
            context.send_payload(packet.UDP, packet.udp(local, peer, port, peer_port, data))
            return
        if established:
            context.reap.payload_out(self.endpoint.now)
        if self.endpoint.sends(local, peer):
            try:
                self.udp[local, port].sendto(data, (packet.show(peer), peer_port))
            except OSError:
                self.refused += 1

    def step(self, limit):
        """Wait for packets or timers until `limit` (CLOCK_MONOTONIC) at most."""
        self.endpoint.now = time.monotonic()
        wake = min(t for t in (limit, self.endpoint.deadline()) if t is not None)
        for key, _ in self.selector.select(max(0.0, wake - time.monotonic())):
            key.data()
        self.endpoint.tick(time.monotonic())

    def run_until(self, condition, seconds, what):
        """Run until `condition()` holds; Timeout naming `what` if it does not within `seconds`."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() >= end:
                raise Timeout(f"not within {seconds} s: {what}")
            self.step(end)

    def run_for(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.step(end)


def packet_seen(now, source, destination):
    """How a datagram without extension header looks to `Endpoint.accepts`."""
    from .context import Seen
    return Seen(now, False, source, destination, b"")
