# needs: java
# port: udp6 5006
# context
server() {
	exec java "$PROGRAMS/Echo.java" server 5006
}
client() {
	java "$PROGRAMS/Echo.java" client 5006 "$SERVER"
	java -Djava.net.preferIPv6Addresses=true "$PROGRAMS/Echo.java" channel 5006 "$SERVER"
}
