# needs: traceroute mtr
client() {
	PATH=$PATH:/usr/sbin:/sbin
	plain() {
		sed -E "s/ +[0-9.]+ ms//g; s/$SERVER/SERVER/g; s/^(Start|HOST).*//; s/ +([0-9.]+%).*/ \\1/"
	}
	traceroute -6 -n -q 1 -w 2 -m 4 "$SERVER" | plain
	traceroute -6 -n -q 1 -w 2 -m 4 -I "$SERVER" | plain
	traceroute -6 -n -q 1 -w 2 -m 4 -T "$SERVER" | plain
	mtr -6 -n -r -w -c 2 -i 0.5 "$SERVER" | plain
	mtr -6 -n -r -w -c 2 -i 0.5 -u "$SERVER" | plain
}
