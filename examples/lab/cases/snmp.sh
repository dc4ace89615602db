# needs: snmpd snmpget
# port: udp6 161
# context
server() {
	PATH=$PATH:/usr/sbin
	printf 'rocommunity6 public\nsysLocation lab\nagentAddress udp6:161\n' >conf
	exec snmpd -f -Lo -C -c conf -p "$PWD/pid"
}
client() {
	snmpget -v2c -c public "udp6:[$SERVER]:161" 1.3.6.1.2.1.1.6.0
	snmpbulkwalk -v2c -c public "udp6:[$SERVER]:161" 1.3.6.1.2.1.1.9 | sed 's/Timeticks.*//'
	for port in 161 162; do
		snmpget -v2c -r 0 -t 1 -c wrong "udp6:[$SERVER]:$port" 1.3.6.1.2.1.1.6.0 2>&1 | sed "s/$SERVER/SERVER/"
	done
}
