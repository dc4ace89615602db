# needs: ruby php lua5.3 erl erlc socat
# port: udp6 5006
# context
# limit: 90
server() {
	exec socat -T100 UDP6-LISTEN:5006,fork EXEC:cat
}
client() {
	ruby "$PROGRAMS/sockets.rb" "$SERVER" 5006
	php "$PROGRAMS/sockets.php" "$SERVER" 5006
	lua5.3 "$PROGRAMS/sockets.lua" "$SERVER" 5006
	erlc "$PROGRAMS/sockets.erl" && erl -noshell -eval 'sockets:main()'
}
