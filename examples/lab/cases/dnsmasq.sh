# needs: dnsmasq dig
# port: udp6 5353
# context
server() {
	PATH=$PATH:/usr/sbin
	exec dnsmasq -d -C /dev/null -p 5353 -R -h -u root --address=/lab/2001:db8::1 --pid-file=
}
client() {
	for way in +notcp +tcp; do
		dig -p 5353 "@$SERVER" "$way" +tries=2 a.lab AAAA b.lab TXT | grep -vE 'Query time|WHEN|SERVER|->>HEADER|DiG|global options|^; COOKIE'
	done
}
