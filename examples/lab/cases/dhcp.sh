# needs: dhcpd dhclient kea-dhcp6 radvd rdisc6 dhcpcd dhcp6c unshare nsenter
# limit: 120
# Addresses by router advertisements (raw ICMPv6) and DHCPv6 (link-local UDP, multicast), of four authors.
client() {
	PATH=$PATH:/usr/sbin:/sbin
	. "$PROGRAMS/link.sh"
	# What they keep in fixed places is theirs alone.
	printf '#!/bin/sh\nmount -t tmpfs none /run && mount -t tmpfs none /var/lib && mkdir /var/lib/kea /var/lib/dhcpcd /var/lib/dhcpv6 && exec "$@"\n' >private.sh
	private="unshare -m sh $PWD/private.sh"
	shown() {
		i=0
		until there ip -6 -o addr show dev far | grep -q fd02 || [ $i -ge 100 ]; do sleep 0.1; i=$((i+1)); done
		there ip -6 -o addr show dev far | grep -o 'fd0[^ ]*' | sed -E 's/fd03:.*/by router/; s/fd02::1[0-9a-f:]*/leased/'
		there ip -6 addr flush dev far scope global
		there ip addr add fd00::2/64 dev far nodad
	}
	ask() {
		$over dhclient -6 -1 -d -sf "$PWD/script" -lf "$PWD/cleases" -pf "$PWD/cpid" far 2>>dhclient.log &
		client=$!
		shown
		kill "$client"
		wait "$client"
		echo "client $?"
	}
	ip addr add fd02::1/64 dev near nodad
	sysctl -q -w net.ipv6.conf.near.forwarding=1
	cat >radvd.conf <<-EOT
	interface near {
	  AdvSendAdvert on;
	  AdvManagedFlag on;
	  MinRtrAdvInterval 3;
	  MaxRtrAdvInterval 4;
	  RDNSS fd02::53 { };
	  prefix fd03::/64 { };
	};
	EOT
	radvd -n -C radvd.conf -p "$PWD/radvd.pid" -m stderr -u nobody >radvd.log 2>&1 &
	radvd=$!
	sleep 1
	there rdisc6 -1 -r 2 -w 1000 far | sed -E 's/fe80.*/LL/; s/[0-9A-F]{2}(:[0-9A-F]{2}){5}/MAC/'
	echo '== isc'
	printf 'subnet6 fd02::/64 {\n range6 fd02::100 fd02::1ff;\n option dhcp6.name-servers fd02::53;\n}\n' >dhcpd.conf
	touch leases
	dhcpd -6 -f -q -cf dhcpd.conf -lf "$PWD/leases" -pf "$PWD/dhcpd.pid" near >dhcpd.log 2>&1 &
	server=$!
	sleep 1
	printf '#!/bin/sh\n[ -z "$new_ip6_address" ] || ip addr replace "$new_ip6_address/128" dev far\n' >script
	chmod +x script
	ask
	echo '== dhcpcd'
	echo noarp >dhcpcd.conf
	there $private timeout 20 dhcpcd -1 -6 -B -f "$PWD/dhcpcd.conf" -c /bin/true far >dhcpcd.log 2>&1
	echo "client $?"
	shown
	echo '== wide'
	printf 'interface far {\n send ia-na 0;\n};\nid-assoc na 0 {\n};\n' >dhcp6c.conf
	$over $private timeout 5 dhcp6c -f -c dhcp6c.conf -p "$PWD/dhcp6c.pid" far >dhcp6c.log 2>&1 &
	shown
	wait $!
	echo "client $?"
	kill "$server"
	wait "$server"
	echo "server $?"
	echo '== kea'
	cat >kea.conf <<-EOT
	{ "Dhcp6": { "interfaces-config": { "interfaces": [ "near" ] }, "lease-database": { "type": "memfile", "persist": false },
	  "subnet6": [ { "id": 1, "subnet": "fd02::/64", "interface": "near", "pools": [ { "pool": "fd02::100-fd02::1ff" } ] } ] } }
	EOT
	$private env KEA_PIDFILE_DIR="$PWD" KEA_LOCKFILE_DIR="$PWD" kea-dhcp6 -c kea.conf >kea.log 2>&1 &
	server=$!
	sleep 1
	rm -f cleases
	ask
	kill "$server"
	wait "$server"
	echo "server $?"
	kill "$radvd"
	wait "$radvd"
	echo "radvd $?"
	kill "$other"
	tail -n 3 radvd.log dhcpd.log dhclient.log dhcpcd.log dhcp6c.log kea.log >&2
}
