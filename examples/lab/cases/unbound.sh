# needs: unbound dig
# port: udp6 5353
# context
server() {
	PATH=$PATH:/usr/sbin
	# It answers from the address that was asked, by IPV6_PKTINFO.
	cat >conf <<-END
		server:
		 interface: ::
		 interface-automatic: yes
		 port: 5353
		 access-control: ::/0 allow
		 do-daemonize: no
		 use-syslog: no
		 username: ""
		 chroot: ""
		 pidfile: "$PWD/pid"
		 directory: "$PWD"
		 num-threads: 4
		 so-reuseport: yes
		 local-zone: "lab." static
		 local-data: "a.lab. IN AAAA 2001:db8::1"
		 local-data: "b.lab. IN TXT $(seq -s '' 100)"
		remote-control:
		 control-enable: no
	END
	exec unbound -d -c conf
}
client() {
	for way in +notcp +tcp '+notcp +bufsize=512'; do
		# shellcheck disable=SC2086 # several words
		dig -p 5353 "@$SERVER" $way +tries=2 a.lab AAAA b.lab TXT none.lab A | grep -vE 'Query time|WHEN|SERVER|->>HEADER|DiG|global options|^; COOKIE'
	done
}
