# needs: coap-server-openssl coap-client-openssl
# port: udp6 5683
# context
server() {
	exec coap-server-openssl -A ::
}
client() {
	ask() { coap-client-openssl "$@" 2>&1; }
	ask -m get "coap://[$SERVER]/" | md5sum
	ask -m get "coap://[$SERVER]/.well-known/core" | md5sum
	ask -m get -b 64 "coap://[$SERVER]/.well-known/core" | md5sum
	ask -m put -e hello "coap://[$SERVER]/example_data"
	ask -m get "coap://[$SERVER]/example_data"
	ask -B 3 -s 3 -m get "coap://[$SERVER]/time" | wc -l
	seq 4000 >data
	ask -m put -f data -b 512 "coap://[$SERVER]/example_data"
	ask -m get "coap://[$SERVER]/example_data" | md5sum
}
