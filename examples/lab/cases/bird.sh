# needs: bird birdc unshare nsenter
# OSPFv3 and RIPng by raw and multicast sockets, BFD, with privileges that are dropped.
client() {
	PATH=$PATH:/usr/sbin
	. "$PROGRAMS/link.sh"
	configure() {
		cat <<-EOT
		router id $1;
		log stderr all;
		protocol device { scan time 1; }
		protocol direct { ipv6; interface "dummy*", "lo", "$2"; }
		protocol kernel { ipv6 { export all; }; }
		protocol static { ipv6; route fd01:$3::/64 unreachable; }
		protocol bfd { interface "$2" { min rx interval 100 ms; min tx interval 100 ms; }; neighbor $4 dev "$2"; }
		protocol ospf v3 { ipv6 { import all; export where source = RTS_STATIC; };
		  area 0 { interface "$2" { hello 1; dead 5; wait 2; bfd; }; }; }
		protocol rip ng { ipv6 { import all; export where source = RTS_STATIC; }; interface "$2" { update time 2; mode multicast; }; }
		EOT
	}
	configure 10.0.0.1 near 1 fd00::2 >here.conf
	configure 10.0.0.2 far 2 fd00::1 >there.conf
	bird -f -c here.conf -s here.ctl 2>here.log &
	here=$!
	$over bird -f -c there.conf -s there.ctl 2>there.log &
	far=$!
	i=0
	knows() { birdc -s "$1" show route protocol "$2" 2>/dev/null | grep -q "fd01:$3"; }
	until knows here.ctl ospf1 2 && knows there.ctl ospf1 1 && knows here.ctl rip1 2 && knows there.ctl rip1 1 &&
		[ "$(birdc -s here.ctl show bfd sessions | grep -c Up)" = 2 ] || [ $i -ge 300 ]; do sleep 0.1; i=$((i+1)); done
	birdc -s here.ctl show route | sed -E 's/[0-9]{2}:[0-9]{2}:[0-9.]+//; s/fe80[0-9a-f:]*/LL/' | grep -v BIRD
	birdc -s there.ctl show route | sed -E 's/[0-9]{2}:[0-9]{2}:[0-9.]+//; s/fe80[0-9a-f:]*/LL/' | grep -v BIRD
	birdc -s here.ctl show bfd sessions | grep -o 'Up\|Down\|Init'
	birdc -s here.ctl show ospf neighbors | grep -o Full
	birdc -s here.ctl down
	wait "$here"
	echo "ended $?"
	kill "$far"
	wait "$far"
	echo "ended $?"
	kill "$other"
	sed -E 's/^[^<]*//; s/[0-9]{2}:[0-9]{2}:[0-9.]+//g' here.log there.log >&2
}
