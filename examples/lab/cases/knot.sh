# needs: knotd kdig dnsperf
# port: udp6 53
# context
server() {
	PATH=$PATH:/usr/sbin
	printf '$TTL 60\n@ SOA a b 1 60 60 60 60\n NS a\na AAAA ::2\nbig TXT %s\n' "$(seq -f '"text-%0200.0f"' 1 6 | tr '\n' ' ')" >zone
	cat >conf <<-EOT
	server:
	  rundir: "$PWD"
	  listen: ::@53
	  udp-workers: 2
	  tcp-workers: 1
	  background-workers: 1
	database:
	  storage: "$PWD"
	zone:
	  - domain: example
	    storage: "$PWD"
	    file: "$PWD/zone"
	EOT
	exec knotd -c "$PWD/conf"
}
client() {
	printf 'a.example AAAA\nbig.example TXT\nnone.example A\n' >questions
	# The port is open before the zone is there.
	for try in 1 2 3 4 5; do
		kdig -6 +short +retry=1 +timeout=1 @"$SERVER" a.example aaaa | grep ::2 && break
		sleep 0.2
	done
	kdig -6 +short @"$SERVER" big.example txt +bufsize=4096
	kdig -6 +short +notcp +ignore @"$SERVER" big.example txt +bufsize=512
	kdig -6 +tcp +short @"$SERVER" example soa
	dnsperf -s "$SERVER" -d questions -n 500 -c 20 -T 1 -q 50 2>/dev/null | grep -E 'Queries (sent|completed|lost)|Response codes'
}
