# needs: gnutls-serv gnutls-cli openssl
# port: udp6 5556
# context
# cut: 2
server() {
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out cert.pem -subj /CN=lab -days 1 2>/dev/null
	exec gnutls-serv --udp -p 5556 --echo --x509keyfile key.pem --x509certfile cert.pem --quiet
}
client() {
	say() {
		sleep 0.5
		echo before
		sleep 2.5
		# By this the failure is found.
		echo lost
		sleep 3
		echo after
		sleep 0.5
		echo end
		sleep 1
	}
	say | gnutls-cli --udp -p 5556 --insecure "$SERVER" >said 2>&1
	echo "status $?"
	grep -aE '^(before|after|end)|Description|Fatal' said
}
