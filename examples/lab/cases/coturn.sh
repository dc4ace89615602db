# needs: turnserver turnutils_uclient
# port: udp6 3478
# context
server() {
	turnutils_peer -L :: -p 3480 >peer.log 2>&1 &
	exec turnserver -n -L "$SERVER" -E "$SERVER" -a -u u:p -r lab --no-cli --no-tls --no-dtls --allow-loopback-peers --no-stdout-log --pidfile="$PWD/pid"
}
client() {
	turnutils_stunclient -p 3478 "$SERVER" 2>&1 | grep -o 'UDP reflexive addr' | sort -u
	turnutils_uclient -x -X -u u -w p -e "$SERVER" -r 3480 -n 50 -m 4 -l 200 -z 10 "$SERVER" >said 2>&1
	echo "uclient: $?"
	grep -oE 'Total lost packets [0-9]+|tot_recv_msgs=[0-9]+' said | tail -2
}
