# needs: ping
# subset
client() {
	ping -6 -c 3 -i 0.2 "$SERVER" | sed -E 's/time[= ].*//; s/^rtt.*//'"; s/$SERVER/SERVER/g"
	ping -c 2 -i 0.2 127.0.0.1 | sed -E 's/time[= ].*//; s/^rtt.*//'
	ping -6 -c 1 -W 1 2001:db8:b1::dead >/dev/null
	echo "nobody there: $?"
}
