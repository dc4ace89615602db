#!/usr/bin/env python3
"""Programs for which the shim has little or nothing to do. They print traces as echo.py does, and "N address time" for the
name of a socket.

    aside.py source ADDRESS...            which source the system chooses for each destination
    aside.py dissolve ADDRESS             the name of a socket: connected, dissolved, connected to ::1, dissolved and bound to ::1
    aside.py plain|optout ADDRESS PORT    an echo client; with optout its socket has SHIM_DONTSHIM
    aside.py waiting ADDRESS PORT         an echo client whose connect waits for the context
    aside.py exec ADDRESS PORT            echoes until there is a context, then the same socket after execve() without LD_PRELOAD
"""

import ctypes
import os
import socket
import struct
import sys
import time

SOL_SHIM, SHIM_ASSOCIATED, SHIM_DONTSHIM, SHIM_DEFERRED_CONTEXT_SETUP = 0x5533, 1, 2, 14
COUNT, AFTER = 30, 1000


def note(kind, what):
    print(kind, what, time.monotonic_ns(), flush=True)


def connected(address, port, waiting=False):
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    if waiting:
        s.setsockopt(SOL_SHIM, SHIM_DEFERRED_CONTEXT_SETUP, 0)
    s.connect((address, port))
    return s


def dissolve(s):
    if ctypes.CDLL(None).connect(s.fileno(), bytes(16), 16) != 0:
        sys.exit("connect(AF_UNSPEC) failed")


def echo(s, numbers):
    s.settimeout(1.0)
    for number in numbers:
        s.send(struct.pack("!Q", number))
        note("S", number)
        try:
            note("R", struct.unpack("!Q", s.recv(100))[0])
        except TimeoutError:
            pass
        time.sleep(0.01)


def main():
    mode, arguments = sys.argv[1], sys.argv[2:]
    if mode == "source":
        for address in arguments:
            note("N", connected(address, 9).getsockname()[0])
    elif mode == "dissolve":
        s = connected(arguments[0], 9)
        note("N", s.getsockname()[0])
        dissolve(s)
        note("N", f"{s.getsockname()[0]}#{s.getsockname()[1]}")
        s.connect(("::1", 9))
        note("N", s.getsockname()[0])
        dissolve(s)
        s.bind(("::1", 0))
        note("N", s.getsockname()[0])
    elif mode == "after":
        with open("/proc/self/maps") as maps:
            if "libshim6" in maps.read():
                sys.exit("the shim is still here")
        s = socket.socket(fileno=int(arguments[0]))
        note("N", s.getsockname()[0])
        note("N", s.getpeername()[0])
        echo(s, range(AFTER, AFTER + COUNT))
    else:
        s = connected(arguments[0], int(arguments[1]), mode == "waiting")
        if mode == "optout":
            s.setsockopt(SOL_SHIM, SHIM_DONTSHIM, 1)
        if mode != "exec":
            echo(s, range(1 << 20))
        note("N", s.getsockname()[0])
        note("N", s.getpeername()[0])
        number = 0
        while number < AFTER - COUNT and not s.getsockopt(SOL_SHIM, SHIM_ASSOCIATED):
            echo(s, [number])
            number += 1
        echo(s, range(number, number + COUNT))
        s.settimeout(None)
        os.set_inheritable(s.fileno(), True)
        environment = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
        os.execve(sys.executable, [sys.executable, __file__, "after", str(s.fileno())], environment)


main()
