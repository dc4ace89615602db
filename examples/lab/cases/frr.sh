# needs: vtysh unshare nsenter
# limit: 90
# Routing daemons of FRR on one link: raw sockets of OSPFv3 and PIM6, RIPng, and BFD over two hops between the hosts, after privileges were dropped.
client() {
	PATH=$PATH:/usr/lib/frr
	. "$PROGRAMS/link.sh"
	start() {
		mkdir -p "$1"
		chown frr:frr "$1"
		chmod 755 "$1" .
		cat >"$1/conf" <<-EOT
		hostname $1
		log stdout
		ipv6 route fd01:$3::/64 blackhole
		ipv6 forwarding
		router-id 10.0.0.$3
		interface $2
		 ipv6 ospf6 area 0
		 ipv6 ospf6 hello-interval 1
		 ipv6 ospf6 dead-interval 5
		 ipv6 ospf6 network point-to-point
		 ipv6 ospf6 bfd
		router ospf6
		 ospf6 router-id 10.0.0.$3
		 redistribute static
		router ripng
		 network $2
		 redistribute static
		 timers basic 5 30 30
		EOT
		for daemon in zebra staticd bfdd ospf6d ripngd babeld; do
			"$4" "$daemon" -f "$PWD/$1/conf" -z "$PWD/$1/zserv" -i "$PWD/$1/$daemon.pid" --vty_socket "$PWD/$1" -P 0 >"$1/$daemon.log" 2>&1 &
			until [ -S "$1/$daemon.vty" ]; do sleep 0.05; kill -0 $! || break; done
		done
	}
	start here near 1 env
	start there far 2 there
	tell() { vtysh --vty_socket "$PWD/$1" -c "$2" 2>&1; }
	i=0
	knows() { tell "$1" 'show ipv6 route ospf6' | grep -q "fd01:$2" && tell "$1" 'show ipv6 route ripng' | grep -q "fd01:$2"; }
	until knows here 2 && knows there 1 && tell here 'show bfd peers brief' | grep -qw up &&
		tell there 'show bfd peers brief' | grep -qw up || [ $i -ge 300 ]; do sleep 0.1; i=$((i+1)); done
	for host in here there; do
		tell $host 'show ipv6 route' | grep fd0 | sed -E 's/ *[0-9:]{8}$//; s/fe80[0-9a-f:]*/LL/; s/, [0-9:]+$//'
		tell $host 'show ipv6 ripng' | grep -o '^[RS].*fd01[^ ]*'
		tell $host 'show ipv6 ospf6 neighbor' | sed -E 's/[0-9:]{8}//g'
		tell $host 'show bfd peers brief' | grep -ow up
	done
	for daemon in ripngd ospf6d bfdd staticd zebra; do
		for host in here there; do
			pid=$(cat "$host/$daemon.pid")
			grep -E '^(Uid|CapEff)' "/proc/$pid/status"
			kill "$pid"
			i=0
			while [ -d "/proc/$pid" ] && ! grep -q zombie "/proc/$pid/status" && [ $i -lt 50 ]; do sleep 0.1; i=$((i+1)); done
			[ $i -lt 50 ] || echo "$daemon does not end"
		done
	done
	kill "$other"
}
