# needs: rsyslogd logger
# port: udp6 514
# context
# cut: 3
# A daemon with threads and one socket per address, and senders that never listen.
server() {
	PATH=$PATH:/usr/sbin
	printf 'module(load="imudp")\ninput(type="imudp" address="::" port="514")\n*.* action(type="omfile" file="%s/all" template="RSYSLOG_SyslogProtocol23Format")\n' "$PWD" >conf
	exec rsyslogd -n -C -f "$PWD/conf" -i "$PWD/pid"
}
client() {
	PATH=$PATH:/usr/sbin
	printf 'module(load="imuxsock" SysSock.Use="off")\ninput(type="imuxsock" socket="%s/log")\n*.* action(type="omfwd" target="%s" port="514" protocol="udp")\n' "$PWD" "$SERVER" >conf
	rsyslogd -n -C -f "$PWD/conf" -i "$PWD/pid" &
	relay=$!
	until [ -S log ]; do sleep 0.1; done
	for i in $(seq 60); do
		logger -u "$PWD/log" -t lab "relayed $i"
		[ "$i" -gt 10 ] || logger -n "$SERVER" -P 514 -d -t lab "sent $i"
		sleep 0.1
	done
	kill "$relay"
	wait "$relay"
	echo "ended $?"
	all="$PWD/../server.d/all"
	sleep 0.5
	grep -o 'sent [0-9]*' "$all"
	# Nobody answers, so what was on its way when the path failed is gone.
	n=$(grep -o 'relayed [0-9]*' "$all" | wc -l)
	[ "$n" -ge 40 ] && echo 'relayed: most' || echo "relayed: $n"
	tail -n 1 "$all" | grep -o 'relayed [0-9]*'
}
