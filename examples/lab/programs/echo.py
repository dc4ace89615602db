#!/usr/bin/env python3
"""UDP echo, client and server, as one writes it without a thought for multihoming.

The client's socket is connected; the server's is bound to the wildcard address and answers with sendto() whoever
asked by recvfrom(). Both print what happened, one line each with a time of CLOCK_MONOTONIC in nanoseconds:
"S number time" (sent), "R number time" (received), "E errno time" (a call failed).
"""

import argparse
import errno
import os
import select
import signal
import socket
import struct
import sys
import time

stop = False


def on_term(_signal, _frame):
    global stop
    stop = True


def note(args, kind, number):
    if not args.quiet:
        sys.stdout.write(f"{kind} {number} {time.monotonic_ns()}\n")
        sys.stdout.flush()


def refused(args, error):
    note(args, "E", errno.errorcode.get(error.errno, str(error.errno)))


def client(args):
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    if args.bind:
        s.bind((args.bind, 0))
    s.connect((args.address, args.port))
    s.setblocking(False)
    number = echoes = 0
    due = time.monotonic()
    end = due + args.seconds
    padding = bytes(max(0, args.size - 8))
    while not stop and time.monotonic() < end and (args.count is None or echoes < args.count):
        now = time.monotonic()
        if now >= due and (args.count is None or number < args.count):
            try:
                s.send(struct.pack("!Q", number) + padding)
                note(args, "S", number)
            except OSError as error:
                note(args, "S", number)
                refused(args, error)
            number += 1
            due = float("inf") if args.ping_pong else max(due + args.interval_ms / 1000, now - 0.1)
        wait = min(due, end) - time.monotonic()
        if select.select([s], [], [], max(0.0, wait))[0]:
            try:
                data = s.recv(65536)
            except OSError as error:
                refused(args, error)
                continue
            note(args, "R", struct.unpack_from("!Q", data)[0])
            echoes += 1
            if args.ping_pong:
                due = 0.0
    return 0 if args.count is None or echoes >= args.count else 1


def server(args):
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    s.bind(("::", args.port))
    s.settimeout(0.5)
    if args.fork and os.fork() != 0:
        s.close()
        return os.waitstatus_to_exitcode(os.wait()[1])
    answered = 0
    end = time.monotonic() + args.seconds
    while not stop and time.monotonic() < end and (args.count is None or answered < args.count):
        try:
            data, sender = s.recvfrom(65536)
        except TimeoutError:
            continue
        except OSError as error:
            refused(args, error)
            continue
        note(args, "R", struct.unpack_from("!Q", data)[0])
        if not args.mute:
            try:
                s.sendto(data, sender)
            except OSError as error:
                refused(args, error)
        answered += 1
        if args.nap and answered % 100 == 0:
            time.sleep(args.nap)
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    modes = parser.add_subparsers(dest="mode", required=True)
    c = modes.add_parser("client")
    c.add_argument("address")
    c.add_argument("port", type=int)
    c.add_argument("--interval-ms", type=float, default=5.0)
    c.add_argument("--size", type=int, default=64, help="octets of a datagram, at least 8")
    c.add_argument("--ping-pong", action="store_true", help="the next datagram leaves when the last one's echo is back")
    c.add_argument("--bind", help="the source address, instead of the system's choice")
    s = modes.add_parser("server")
    s.add_argument("--mute", action="store_true", help="do not answer")
    s.add_argument("--nap", type=float, default=0.0, help="read nothing for so many seconds after every 100 datagrams")
    s.add_argument("port", type=int)
    s.add_argument("--fork", action="store_true", help="answer from a child of the process that bound the socket")
    for mode in (c, s):
        mode.add_argument("--count", type=int, help="end after so many echoes")
        mode.add_argument("--seconds", type=float, default=60.0, help="end after so long")
        mode.add_argument("--quiet", action="store_true")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, on_term)
    return client(args) if args.mode == "client" else server(args)


if __name__ == "__main__":
    sys.exit(main())
