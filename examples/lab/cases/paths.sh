# needs: mtr tracepath busybox
# Probes with children that read raw sockets, error queues, and an all-in-one program.
client() {
	PATH=$PATH:/usr/sbin:/sbin
	plain() { sed -E "s/$SERVER/SERVER/g; s/$CLIENT/CLIENT/g; s/ +[0-9.]+ ?ms//g; s/time=.*//; s/= [0-9.]+\/[0-9.]+\/[0-9.]+//; s/^Start:.*//; s/(%|[0-9]) .*/\1/"; }
	for kind in '' -u -T; do
		mtr -6 -n -w -c 2 -i 0.2 $kind -P 53 "$SERVER" 2>&1 | sed -E "s/$SERVER/SERVER/; s/ +[0-9]+( +[0-9.]+){5}$//; /Start/d; s/ {2,}/ /g"
	done
	tracepath -6 -n "$SERVER" 2>&1 | plain
	tracepath -6 -n -p 5000 -l 1400 "$SERVER" 2>&1 | plain
	busybox ping -6 -c 2 "$SERVER" | plain
	busybox traceroute6 -n -q 1 -m 4 "$SERVER" 2>&1 | plain
	busybox nslookup -timeout=1 x.test "$SERVER" 2>&1 | plain
	echo "$?"
}
