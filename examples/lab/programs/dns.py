"""A name server that knows one answer for every question, over UDP and TCP."""
import socketserver
import struct
import sys
import threading


def answer(query):
    name = query[12:query.index(0, 12) + 5]
    kind = struct.unpack("!H", name[-4:-2])[0]
    data = {28: b"\x20\x01\x0d\xb8" + bytes(12), 16: b"\x05hello", 12: b"\x01a\x07example\0"}.get(kind)
    records = b"\xc0\x0c" + name[-4:] + struct.pack("!IH", 60, len(data)) + data if data else b""
    return query[:2] + struct.pack("!HHHHH", 0x8580, 1, bool(data), 0, 0) + name + records


class Udp(socketserver.BaseRequestHandler):
    def handle(self):
        query, connection = self.request
        connection.sendto(answer(query), self.client_address)


class Tcp(socketserver.StreamRequestHandler):
    def handle(self):
        while length := self.rfile.read(2):
            reply = answer(self.rfile.read(struct.unpack("!H", length)[0]))
            self.wfile.write(struct.pack("!H", len(reply)) + reply)


class UdpServer(socketserver.ThreadingUDPServer):
    address_family = socketserver.socket.AF_INET6


class TcpServer(socketserver.ThreadingTCPServer):
    address_family = socketserver.socket.AF_INET6
    allow_reuse_address = daemon_threads = True


port = int(sys.argv[1])
tcp = TcpServer(("::", port), Tcp)
threading.Thread(target=tcp.serve_forever, daemon=True).start()
UdpServer(("::", port), Udp).serve_forever()
