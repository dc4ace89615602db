# needs: nc
# port: udp6 5006
# context
server() {
	exec nc -6 -u -l -k 5006 >said
}
client() {
	for i in 1 2 3; do
		seq "$i" 200 | nc -6 -u -q 1 -w 1 "$SERVER" 5006
		echo "nc: $?"
	done
	nc -6 -z -v -w 1 "$SERVER" 5010 2>/dev/null
	echo "closed port: $?"
	nc -6 -u -z "$SERVER" 5011
	echo "closed UDP port: $?"
	sort -n ../server.d/said | cksum
}
