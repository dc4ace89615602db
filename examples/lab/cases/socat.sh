# needs: socat
# subset
# port: udp6 5007
# context
server() {
	socat UDP6-RECVFROM:5008,fork EXEC:'tr a-z A-Z' &
	socat TCP6-LISTEN:5009,fork,reuseaddr PIPE &
	exec socat UDP6-LISTEN:5007,fork EXEC:cat
}
client() {
	for i in 1 2 3; do
		echo "listen $i" | socat -t1 - "UDP6:[$SERVER]:5007"
		echo "recvfrom $i" | socat -t1 - "UDP6-SENDTO:[$SERVER]:5008"
	done
	seq 20000 | socat -t1 - "TCP6:[$SERVER]:5009" | cksum
	echo refused | socat -t1 - "TCP6:[$SERVER]:5010" 2>/dev/null
	echo "closed port: $?"
	echo pipe | socat - EXEC:cat,pty,raw,echo=0
	echo hidden | socat -u - OPEN:file,creat && cat file
}
