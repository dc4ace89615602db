# needs: java
# port: udp6 5006
# context
# limit: 90
server() {
	exec "$PYTHON" -c '
import socket
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.bind(("::", 5006))
while True:
    data, peer = s.recvfrom(2000)
    s.sendto(data, peer)'
}
client() {
	java -Xmx200m "$PROGRAMS/Channels.java" "$CLIENT" "$SERVER" 5006 2>&1
	echo "$?"
}
