# needs: mosh-server mosh-client
# port: udp6 60002
# context
# cut: 3
# limit: 60
server() {
	mosh-server new -i :: -p 60002 -- sh -c 'stty -echo; for i in 1 2 3 4 5 6 7; do sleep 1; echo line $i; done; read x; echo got $x; sleep 0.3' </dev/null >key.new 2>/dev/null
	mv key.new key
	exec sleep 100
}
client() {
	# The key, which comes by ssh otherwise; the port is open just before it is told.
	while ! [ -f ../server.d/key ]; do sleep 0.1; done
	MOSH_KEY=$(sed -n 's/.*MOSH CONNECT [0-9]* \([^ \r]*\).*/\1/p' ../server.d/key)
	export MOSH_KEY
	"$PYTHON" "$PROGRAMS/terminal.py" 30 'line 7' hello 'line 1' 'line 7' 'got hello' -- mosh-client "$SERVER" 60002
}
