"""Client: one connected socket that sends a number every interval and listens for the answers. Each datagram tells how
many answers came, the longest silence between two of them so far (ms), and both addresses of the socket."""

import select
import socket
import sys
import time

server, port, interval = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.connect((server, port))
print("ready", flush=True)
number = answers = longest = wrong = 0
last = None
next_send = time.monotonic()
while True:
    now = time.monotonic()
    if now >= next_send:
        number += 1
        next_send += interval
        own, other = s.getsockname(), s.getpeername()
        try:
            s.send(b"c %d %d %d %d %s %s" % (number, answers, longest, wrong, own[0].encode(), other[0].encode()))
        except OSError as e:
            print(f"send {number}: {e}", flush=True)
    if select.select([s], [], [], max(0.0, next_send - time.monotonic()))[0]:
        try:
            data = s.recv(65536)
        except OSError as e:
            print(f"recv: {e}", flush=True)
            continue
        if not data.startswith(b"e c "):
            wrong += 1
        now = time.monotonic()
        if last is not None:
            longest = max(longest, int((now - last) * 1000))
        last, answers = now, answers + 1
