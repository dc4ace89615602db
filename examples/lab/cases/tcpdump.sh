# needs: tcpdump socat
# subset
# port: udp6 5007
server() {
	exec socat UDP6-LISTEN:5007,fork EXEC:cat
}
client() {
	PATH=$PATH:/usr/sbin:/sbin
	tcpdump -i p1 -c 4 -lnt --immediate-mode -w capture udp port 5007 2>said &
	until grep -q listening said; do sleep 0.05; done
	echo one | socat -t1 - "UDP6:[$SERVER]:5007,sourceport=4000"
	echo two | socat -t1 - "UDP6:[$SERVER]:5007,sourceport=4001"
	wait $!
	echo "tcpdump: $?"
	tcpdump -nt -r capture 2>/dev/null | sed -E "s/, ?hlim [0-9]+//; s/flowlabel 0x[0-9a-f]+, //; s/$CLIENT/CLIENT/; s/$SERVER/SERVER/"
}
