# needs: memcached
# port: udp6 11211
# context
server() {
	exec memcached -u root -U 11211 -p 11211 -l :: -t 2
}
client() {
	"$PYTHON" -c '
import socket, struct, sys
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.settimeout(5)
s.connect((sys.argv[1], 11211))
for i in range(30):
    for command in (f"set k{i} 0 0 3\r\nabc\r\n", f"get k{i}\r\n"):
        s.send(struct.pack("!HHHH", i, 0, 1, 0) + command.encode())
        data = s.recv(2000)
        print(struct.unpack_from("!HHHH", data), data[8:])
' "$SERVER"
}
