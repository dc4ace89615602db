# needs: inetd
# port: udp6 5005
# context
# A service that gets the socket by fork and exec, and hands it back by its end.
server() {
	PATH=$PATH:/usr/sbin
	cat >service.py <<-EOT
	import socket
	s = socket.socket(fileno=0)
	s.settimeout(0.5)
	try:
	    while True:
	        data, peer = s.recvfrom(2000)
	        s.sendto(b"got " + data, peer)
	except TimeoutError:
	    pass
	EOT
	printf '5005 dgram udp6 wait root %s python %s/service.py\n' "$PYTHON" "$PWD" >conf
	exec inetd -d -i "$PWD/conf"
}
client() {
	"$PYTHON" - "$SERVER" <<-'EOT'
	import socket, sys, time
	s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
	s.connect((sys.argv[1], 5005))
	s.settimeout(2)
	for n in range(30):
	    for again in range(3):
	        s.send(b"%d" % n)
	        try:
	            print(s.recv(100))
	            break
	        except TimeoutError:
	            pass
	    # Now and then the service ends in between.
	    time.sleep(0.8 if n % 10 == 5 else 0.02)
	EOT
}
