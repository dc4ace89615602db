#!/usr/bin/env python3
"""Echo over raw IPv6 sockets. Prints "S number time" and "R number time" as echo.py does, "E errno time" for a failed call,
and "W text time" for something that is not as it was sent.

Arguments: "server PROTOCOL CHECKSUM", or "client PROTOCOL CHECKSUM ADDRESS connected|unconnected". CHECKSUM is the
offset at which the kernel shall put and verify a checksum (IPV6_CHECKSUM), or -1.
"""

import errno
import select
import socket
import struct
import sys
import time

IPV6_CHECKSUM = 7
SIZES = (64, 300, 3000)


def note(kind, what):
    print(kind, what, time.monotonic_ns(), flush=True)


def content(number):
    size = SIZES[number % len(SIZES)]
    return struct.pack("!QI", number, 0) + bytes(i % 251 for i in range(size - 12))


def number_of(data):
    """The four octets behind the number are the place for a checksum."""
    number = struct.unpack_from("!Q", data)[0]
    if data[:8] + bytes(4) + data[12:] != content(number):
        note("W", f"content-{len(data)}")
    return number


def main():
    side, protocol, checksum = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, protocol)
    s.setsockopt(socket.IPPROTO_IPV6, IPV6_CHECKSUM, checksum)
    if side == "server":
        while True:
            try:
                data, sender = s.recvfrom(65536)
                note("R", number_of(data))
                s.sendto(data[:8] + bytes(4) + data[12:], sender)
            except OSError as error:
                note("E", errno.errorcode[error.errno])
    peer = (sys.argv[4], 0)
    connected = sys.argv[5] == "connected"
    # Neither keeps the kernel from sending for raw sockets, large packets in fragments.
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_DONTFRAG, 1)
    if connected:
        s.connect(peer)
        s.shutdown(socket.SHUT_WR)
        name = s.getsockname()[0]
    s.setblocking(False)
    number, due, end = 0, time.monotonic(), time.monotonic() + 60
    while time.monotonic() < end:
        if time.monotonic() >= due:
            try:
                if connected:
                    s.send(content(number))
                else:
                    s.sendto(content(number), peer)
            except OSError as error:
                note("E", errno.errorcode[error.errno])
            note("S", number)
            number += 1
            due += 0.01
        if select.select([s], [], [], max(0.0, due - time.monotonic()))[0]:
            try:
                data, sender = s.recvfrom(65536)
            except OSError as error:
                note("E", errno.errorcode[error.errno])
                continue
            if sender[0] != peer[0] or connected and s.getsockname()[0] != name:
                note("W", f"name-{sender[0]}")
            note("R", number_of(data))


main()
