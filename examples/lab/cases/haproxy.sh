# needs: haproxy named dig curl
# port: udp6 53
# limit: 60
# A proxy with threads and a master process that asks a name server for its backends, and logs by UDP; its workers have no privileges, so that the shim leaves them alone.
server() {
	PATH=$PATH:/usr/sbin
	printf '$TTL 2\n@ IN SOA ns root 1 60 60 60 60\n@ IN NS ns\nns IN AAAA %s\nback IN AAAA %s\n' "$SERVER" "$SERVER" >zone
	printf 'options { directory "%s"; listen-on-v6 { any; }; listen-on {}; pid-file none; session-keyfile none; recursion no; };\ncontrols {};\nzone "lab.test" { type master; file "%s/zone"; };\n' "$PWD" "$PWD" >named.conf
	chmod -R a+rwX .
	echo hello >file
	"$PYTHON" -m http.server --bind :: 8000 >/dev/null 2>&1 &
	"$PYTHON" -c '
import socket
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.bind(("::", 514))
out = open("log", "wb", 0)
while True:
    out.write(s.recv(2000) + b"\n")' &
	exec named -g -n 2 -c "$PWD/named.conf" 2>named.log
}
client() {
	PATH=$PATH:/usr/sbin
	cat >conf <<-EOT
	global
	  nbthread 4
	  log [$SERVER]:514 local0
	  user nobody
	  group nogroup
	resolvers lab
	  nameserver one [$SERVER]:53
	  resolve_retries 5
	  timeout retry 300ms
	  hold valid 500ms
	defaults
	  mode http
	  log global
	  option httplog
	  timeout connect 2s
	  timeout client 5s
	  timeout server 5s
	frontend in
	  bind :::8080
	  default_backend out
	backend out
	  server s1 back.lab.test:8000 resolvers lab init-addr none check inter 300ms resolve-prefer ipv6
	EOT
	haproxy -W -f conf -p "$PWD/pid" >said 2>&1 &
	master=$!
	i=0
	until curl -s -g "http://[::1]:8080/file" | grep -q hello || [ $i -ge 100 ]; do sleep 0.1; i=$((i+1)); done
	for i in $(seq 20); do curl -s -g "http://[::1]:8080/file"; done | sort | uniq -c
	kill -USR2 "$master"
	sleep 1
	for i in $(seq 20); do curl -s -g "http://[::1]:8080/file"; done | sort | uniq -c
	kill -USR1 "$master"
	wait "$master"
	echo "ended $?"
	[ "$(grep -c 'GET /file HTTP' ../server.d/log)" -ge 40 ] && echo 'log: all'
	sed -E 's/\([0-9]+\)//; s/[0-9]+//g' said | grep -v WARNING | sort -u >&2
}
