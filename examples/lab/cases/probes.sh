# needs: fping ndisc6 rdisc6 rltraceroute6 nmap
# Raw sockets of every kind, and packet sockets.
client() {
	PATH=$PATH:/usr/sbin:/sbin
	plain() {
		sed -E "/^(Starting|Nmap done)/d; s/ from port [0-9]+,//; s/ +[0-9.]+ ?m?s//g; s/[0-9.]+s latency//
			s/= [0-9.]+\/[0-9.]+\/[0-9.]+$//; s/$SERVER/SERVER/g; s/$CLIENT/CLIENT/g; s/[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}/MAC/"
	}
	device=$(ip -o -6 addr | grep -F "$CLIENT/" | sed -E 's/^[0-9]+: ([^ ]+).*/\1/')
	fping -6 -c 3 -p 100 -q "$SERVER" 2>&1 | plain
	fping -6 -r 0 -a "$SERVER" 2001:db8::dead 2>/dev/null | plain
	ndisc6 -1 "$SERVER" "$device" | plain
	rdisc6 -1 -r 1 -w 200 "$device" 2>&1 | plain
	for kind in -U -I -S; do
		rltraceroute6 "$kind" -n -q 1 -m 3 "$SERVER" 2>&1 | plain
	done
	for kind in -sU -sT -sS; do
		nmap -n -6 "$kind" -p 53,69,161,5006 --max-retries 2 "$SERVER" | plain
	done
}
