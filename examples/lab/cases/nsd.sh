# needs: nsd dnsperf dig
# port: udp6 53
# context
server() {
	PATH=$PATH:/usr/sbin
	printf '$TTL 60\n@ SOA a b 1 60 60 60 60\n NS a\na AAAA ::2\nbig TXT %s\n' "$(seq -f '"text-%0200.0f"' 1 6 | tr '\n' ' ')" >zone
	cat >conf <<-EOT
	server:
	  username: ""
	  pidfile: "$PWD/pid"
	  database: ""
	  zonelistfile: "$PWD/list"
	  xfrdfile: "$PWD/xfrd"
	  xfrdir: "$PWD"
	  server-count: 2
	  ip-address: ::
	remote-control:
	  control-enable: no
	zone:
	  name: example
	  zonefile: "$PWD/zone"
	EOT
	exec nsd -d -c "$PWD/conf"
}
client() {
	printf 'a.example AAAA\nbig.example TXT\nnone.example A\n' >questions
	# The port is open before the processes that answer are all there.
	for try in 1 2 3 4 5; do
		dig -6 +short +tries=1 +time=1 @"$SERVER" a.example aaaa | grep -q ::2 && break
	done
	sleep 0.3
	dig -6 +short @"$SERVER" big.example txt +bufsize=4096
	dig -6 +short +notcp +ignore @"$SERVER" big.example txt +bufsize=512
	dig -6 +short -b "$CLIENT#5353" @"$SERVER" a.example aaaa
	dnsperf -s "$SERVER" -d questions -n 500 -c 20 -T 1 -q 50 2>/dev/null | grep -E 'Queries (sent|completed|lost)|Response codes'
}
