# needs: iperf3
# subset
# port: tcp6 5201
# context
server() {
	exec iperf3 -s -6
}
client() {
	report() {
		"$PYTHON" -c '
import json, sys
end = json.load(sys.stdin)["end"]
if "sum" in end:
    s = end["sum"]
    print("datagrams", s["packets"] > 500, "lost", s["lost_percent"] > 1)
else:
    print("octets", end["sum_received"]["bytes"] > 100000)
'
	}
	iperf3 -6 -c "$SERVER" -u -b 10M -l 1000 -t 1 -J | report
	iperf3 -6 -c "$SERVER" -u -b 10M -l 1000 -t 1 -R -J | report
	iperf3 -6 -c "$SERVER" -u -b 5M -l 1000 -t 1 -P 3 -J | report
	iperf3 -6 -c "$SERVER" -t 1 -J | report
}
