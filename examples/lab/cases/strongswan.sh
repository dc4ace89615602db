# needs: swanctl unshare
# port: udp6 4500
# context
# cut: 4
# limit: 90
# IKEv2 with 16 threads, one socket per port with IPV6_PKTINFO, and a tunnel in UDP that the daemon itself encrypts.
configure() {
	mkdir -p d/private d/x509 d/x509ca d/pubkey d/rsa d/ecdsa
	cat >strongswan.conf <<-EOT
	charon {
	  load = random nonce aes sha1 sha2 hmac kdf gmp curve25519 pem pkcs1 pubkey x509 kernel-libipsec kernel-netlink socket-default vici updown
	  install_routes = yes
	  install_virtual_ip = no
	  piddir = $PWD
	  plugins { vici { socket = unix://$PWD/vici } kernel-libipsec { allow_peer_ts = yes } }
	  filelog { stderr { default = 1 } }
	}
	swanctl { load = random pem pkcs1 pubkey x509 }
	EOT
	cat >swanctl.conf <<-EOT
	connections {
	  lab {
	    local_addrs = $1
	    remote_addrs = $2
	    encap = yes
	    dpd_delay = 1s
	    local { auth = psk 
	      id = $1 }
	    remote { auth = psk 
	      id = $2 }
	    children { net { local_ts = fd0$3::/64
	      remote_ts = fd0$4::/64
	      esp_proposals = aes128-sha256
	      rekey_time = 60s } }
	  }
	}
	secrets { ike { secret = verysecret } }
	EOT
	ip addr add "fd0$3::1/64" dev lo nodad
	export STRONGSWAN_CONF="$PWD/strongswan.conf"
}
charon() { exec unshare -m sh -c 'mount -t tmpfs none /var/run && exec /usr/lib/ipsec/charon'; }
server() {
	PATH=$PATH:/usr/sbin
	configure "$SERVER" "$CLIENT" 2 1
	charon 2>charon.log &
	until swanctl --load-all --file swanctl.conf --uri "unix://$PWD/vici" >/dev/null 2>&1; do sleep 0.1; done
	wait
}
client() {
	PATH=$PATH:/usr/sbin
	configure "$CLIENT" "$SERVER" 1 2
	charon 2>charon.log &
	daemon=$!
	ask() { swanctl "$@" --uri "unix://$PWD/vici" 2>&1; }
	until ask --load-all --file swanctl.conf >/dev/null; do sleep 0.1; done
	sleep 1
	ask --initiate --child net | tail -1
	ask --list-sas | sed -E "s/[0-9a-f]{16}_[ir]\*?//g; s/[0-9]+s//g; s/,? *[0-9]+ (bytes|packets)//g; s/(in|out) +[0-9a-f]{8}//
		s/$SERVER/SERVER/g; s/$CLIENT/CLIENT/g"
	ping -c 3 -i 0.2 -I fd01::1 fd02::1 2>&1 | sed -E 's/time.*//; s/rtt.*//'
	ask --rekey --child net
	ping -c 3 -i 0.2 -I fd01::1 fd02::1 2>&1 | sed -E 's/time.*//; s/rtt.*//'
	sleep 8
	ping -c 3 -i 0.2 -I fd01::1 fd02::1 2>&1 | sed -E 's/time.*//; s/rtt.*//'
	ask --terminate --ike lab | tail -1
	kill "$daemon"
	wait "$daemon"
	echo "ended $?"
}
