"""UDP echo as servers of old do it: the parent hears a datagram, and a child that it forks for it answers. A second kind
of child hears the next one itself."""

import os
import select
import signal
import socket
import sys

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.bind(("::", int(sys.argv[1])))
while True:
    data, peer = s.recvfrom(65536)
    if os.fork() == 0:
        s.sendto(data, peer)
        try:
            # Neither a timeout nor O_NONBLOCK, which the parent would share.
            select.select([s], [], [], 1)
            data, peer = s.recvfrom(65536, socket.MSG_DONTWAIT)
            s.sendto(data, peer)
        except BlockingIOError:
            pass
        os._exit(0)
