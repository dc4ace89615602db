# needs: kdig
# port: udp6 5353
# context
server() {
	exec "$PYTHON" "$PROGRAMS/dns.py" 5353
}
client() {
	ask() {
		kdig -p 5353 "$@" | grep -vE 'Query time|Received|From|->>HEADER|^;; Time' | sort
	}
	ask "@$SERVER" a.example AAAA
	ask "@$SERVER" a.example AAAA b.example AAAA +short
	ask "@$SERVER" a.example AAAA +tcp
	kdig -p 5354 "@$SERVER" +retry=0 +time=1 a.example >/dev/null 2>&1
	echo "closed port: $?"
}
