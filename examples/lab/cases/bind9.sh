# needs: named dig pdns_server pdns_recursor
# port: udp6 5300
# context
# Name servers with a thread and a socket per processor, chroots and dropped privileges; one behind the other.
server() {
	PATH=$PATH:/usr/sbin
	{
		printf '$TTL 60\n@ IN SOA ns root 1 60 60 60 60\n@ IN NS ns\nns IN AAAA %s\n' "$SERVER"
		for i in $(seq 200); do printf 'h%d IN AAAA 2001:db8:9::%x\n' "$i" "$i"; done
		printf 'big IN TXT %s\n' "$(yes '"0123456789012345678901234567890123456789"' | head -n 30 | tr '\n' ' ')"
	} >zone
	mkdir -p keys
	chmod -R a+rwX .
	cat >named.conf <<-EOT
	options { directory "$PWD"; listen-on {}; listen-on-v6 port 53 { any; }; pid-file none; session-keyfile none; recursion no;
	  managed-keys-directory "$PWD/keys"; };
	controls {};
	zone "lab.test" { type master; file "$PWD/zone"; };
	EOT
	named -g -n 4 -c "$PWD/named.conf" -u bind 2>named.log &
	mkdir -p pdns
	printf 'bind-config=%s/pdns.conf2\nlaunch=bind\nlocal-address=::\nlocal-port=5301\nsocket-dir=%s/pdns\nreceiver-threads=3\nreuseport=yes\n' "$PWD" "$PWD" >pdns.conf
	printf 'zone "lab.test" { type master; file "%s/zone"; };\n' "$PWD" >pdns.conf2
	pdns_server --config-dir="$PWD" --daemon=no --guardian=no >pdns.log 2>&1 &
	mkdir -p rec
	printf 'local-address=::\nlocal-port=5300\nallow-from=::/0\nsocket-dir=%s/rec\nforward-zones=lab.test=[%s]:53\nthreads=2\nquery-local-address=::\ndnssec=off\n' "$PWD" "$SERVER" >recursor.conf
	until dig +tries=1 +time=1 +short "@$SERVER" h1.lab.test aaaa | grep -q 2001; do sleep 0.2; done
	exec pdns_recursor --config-dir="$PWD" --daemon=no >rec.log 2>&1
}
client() {
	for port in 53 5301 5300; do
		echo "== $port"
		dig -p "$port" +short +tries=3 +time=2 "@$SERVER" big.lab.test txt | md5sum
		dig -p "$port" +short +tries=3 +time=2 +bufsize=512 "@$SERVER" big.lab.test txt | md5sum
		for i in $(seq 200); do echo "h$i.lab.test aaaa"; done >names
		dig -p "$port" +short +tries=3 +time=2 "@$SERVER" -f names | md5sum
		dig -p "$port" +tries=3 +time=2 "@$SERVER" nothing.lab.test aaaa | grep -o 'status: [A-Z]*'
	done
}
