# needs: perl
# subset
# port: udp6 5006
# context
server() {
	exec perl "$PROGRAMS/echo.pl" server 5006
}
client() {
	perl "$PROGRAMS/echo.pl" client 5006 "$SERVER"
}
