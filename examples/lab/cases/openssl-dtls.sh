# needs: openssl
# subset
# port: udp6 4433
# context
server() {
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out cert.pem -subj /CN=lab -days 1 2>/dev/null
	while sleep 0.1; do
		echo "hello, client"
	done | openssl s_server -dtls1_2 -6 -accept '[::]:4433' -cert cert.pem -key key.pem -quiet >/dev/null
}
client() {
	for cipher in ECDHE-ECDSA-AES128-GCM-SHA256 ECDHE-ECDSA-CHACHA20-POLY1305; do
		sleep 1 | openssl s_client -dtls1_2 -cipher $cipher -connect "[$SERVER]:4433" >said 2>/dev/null
		grep -m1 '^hello' said
		grep -m1 'Cipher is' said
	done
}
