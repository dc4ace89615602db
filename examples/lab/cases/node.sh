# needs: node
# port: udp6 5006
# context
server() {
	exec node "$PROGRAMS/echo.js" server 5006
}
client() {
	node "$PROGRAMS/echo.js" client 5006 "$SERVER"
}
