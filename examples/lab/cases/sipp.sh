# needs: sipp
# port: udp6 5060
# context
# cut: 2
server() {
	exec sipp -sn uas -i "$SERVER" -p 5060 -nostdin </dev/null >/dev/null
}
client() {
	# What is lost on the way sipp sends again, as SIP wants it.
	sipp -sn uac -i "$CLIENT" "[$SERVER]:5060" -m 120 -r 20 -nostdin -trace_stat -stf stat >/dev/null 2>&1
	echo "status $?"
	tail -n 1 stat | cut -d';' -f 13-18
}
