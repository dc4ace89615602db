# needs: keepalived unshare nsenter
# limit: 60
# VRRP over raw IPv6 sockets, multicast on one link and unicast between the hosts.
client() {
	PATH=$PATH:/usr/sbin
	. "$PROGRAMS/link.sh"
	configure() {
		cat >"$1.conf" <<-EOT
		global_defs {
		  vrrp_version 3
		  vrrp_garp_master_delay 1
		  script_user root
		}
		vrrp_instance one {
		  interface $2
		  state BACKUP
		  virtual_router_id 51
		  priority $3
		  advert_int 0.5
		  virtual_ipaddress {
		    fe80::99
		    fd00::99/64
		  }
		}
		vrrp_instance two {
		  interface $2
		  state BACKUP
		  virtual_router_id 52
		  priority $4
		  advert_int 0.5
		  unicast_src_ip fd00::$5
		  unicast_peer {
		    fd00::$6
		  }
		  virtual_ipaddress {
		    fd00::98/64
		  }
		}
		EOT
		echo "-n -l -P -D -f $PWD/$1.conf -p $PWD/$1.pid -r $PWD/$1.vrrp.pid"
	}
	keepalived $(configure here near 200 50 1 2) >here.log 2>&1 &
	first=$!
	$over keepalived $(configure there far 100 100 2 1) >there.log 2>&1 &
	second=$!
	has() {
		i=0
		until "$@" | grep -q "$want" || [ $i -ge 100 ]; do sleep 0.1; i=$((i+1)); done
	}
	shown() {
		ip -6 -o addr show dev near | grep -o 'fd00[^ ]*\|fe80::99'
		there ip -6 -o addr show dev far | grep -o 'fd00[^ ]*\|fe80::99'
	}
	want=fd00::99 has ip -6 addr show dev near
	want=fd00::98 has there ip -6 addr show dev far
	sleep 1
	shown
	kill "$first"
	wait "$first"
	echo "ended $?"
	want=fd00::99 has there ip -6 addr show dev far
	shown
	kill "$second"
	wait "$second"
	echo "ended $?"
	shown
	kill "$other"
	cat here.log there.log >&2
}
