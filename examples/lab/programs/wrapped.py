"""A connected socket, one without peer, and a child: wrapped.py ADDRESS PORT"""

import os
import socket
import sys

peer = (sys.argv[1], int(sys.argv[2]))


def echo(s, numbers):
    good = 0
    for i in numbers:
        s.send(b"%d" % i)
        good += s.recv(100) == b"%d" % i
    return good


connected = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
connected.settimeout(10)
connected.connect(peer)
print("connected answered", echo(connected, range(20)))
free = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
free.settimeout(10)
free.sendto(b"free", peer)
data, source = free.recvfrom(100)
print("free answered", data == b"free" and source[:2] == peer, flush=True)
child = os.fork()
if child == 0:
    print("child answered", echo(connected, range(5)), flush=True)
    os._exit(7)
print("ended answered", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
