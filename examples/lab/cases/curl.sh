# needs: curl
# subset
# port: tcp6 8080
server() {
	seq 100000 >numbers
	exec "$PYTHON" -m http.server --bind :: 8080
}
client() {
	curl -gsS "http://[$SERVER]:8080/numbers" | cksum
	curl -gsS -o /dev/null -w '%{http_code} %{size_download} %{remote_ip}\n' "http://[$SERVER]:8080/numbers" | sed "s/$SERVER/SERVER/"
	curl -gsS -o /dev/null -w '%{http_code}\n' "http://[$SERVER]:8080/none"
	curl -gsS "http://[$SERVER]:8081/" 2>/dev/null
	echo "refused: $?"
	seq 100000 >file
	curl -sS "file://$PWD/file" | cksum
}
