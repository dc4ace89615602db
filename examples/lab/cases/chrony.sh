# needs: chronyd
# port: udp6 123
# context
server() {
	PATH=$PATH:/usr/sbin
	printf 'local stratum 5\nallow all\npidfile %s/pid\nbindcmdaddress /\ncmdport 0\n' "$PWD" >conf
	exec chronyd -d -x -f "$PWD/conf" -u root
}
client() {
	PATH=$PATH:/usr/sbin
	chronyd -Q -x -u root -t 20 "server $SERVER iburst" "pidfile $PWD/pid" "cmdport 0" "bindcmdaddress /" 2>&1 |
		sed -E 's/^[^ ]* //; s/by -?[0-9.]+ sec.*//; s/version.*//'
	# With a filter that kills.
	for level in 1 -1; do
		chronyd -Q -x -u root -F "$level" -t 20 "server $SERVER iburst" "pidfile $PWD/pid" "cmdport 0" "bindcmdaddress /" >said 2>&1
		echo "filter $level $?"
	done
}
