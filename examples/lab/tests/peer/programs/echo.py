"""Echo server: one wildcard socket, recvfrom and sendto. Each answer starts with the client's address and port as this
program sees them. What starts with "quiet" gets no answer."""

import socket
import sys

s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.bind(("::", int(sys.argv[1])))
print("ready", flush=True)
while True:
    data, client = s.recvfrom(65536)
    if not data.startswith(b"quiet"):
        s.sendto(b"%s %d %s" % (client[0].encode(), client[1], data), client)
