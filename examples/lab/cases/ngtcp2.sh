# needs: gtlsserver gtlsclient openssl
# port: udp6 4434
# context
# cut: 1.5
server() {
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out cert.pem -subj /CN=lab -days 1 2>/dev/null
	mkdir documents
	seq 1500000 >documents/big
	exec gtlsserver -q -d documents :: 4434 key.pem cert.pem
}
client() {
	get() {
		gtlsclient -q --exit-on-all-streams-close --download=. "$@" "$SERVER" 4434 https://lab/big >/dev/null 2>&1
		echo "status $?"
		md5sum big
		rm big
	}
	# Connected before the path fails, asks after it.
	get --delay-stream=3s
}
