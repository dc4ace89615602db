# needs: dig
# subset
# port: udp6 5353
# context
server() {
	exec "$PYTHON" "$PROGRAMS/dns.py" 5353
}
client() {
	ask() {
		dig -p 5353 +tries=2 "$@" | grep -vE 'Query time|WHEN|SERVER|->>HEADER|DiG|global options|^; COOKIE' | sort
	}
	ask "@$SERVER" a.example AAAA
	ask "@$SERVER" b.example AAAA c.example AAAA d.example TXT
	ask "@$SERVER" a.example AAAA +tcp
	ask "@$SERVER" -x 2001:db8::1
	dig -p 5354 "@$SERVER" +tries=1 +time=1 a.example >/dev/null
	echo "closed port: $?"
}
