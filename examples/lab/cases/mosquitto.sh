# needs: mosquitto mosquitto_pub mosquitto_sub
# port: tcp6 1883
# TCP alone: the shim has nothing to do.
server() {
	PATH=$PATH:/usr/sbin
	printf 'listener 1883 ::\nallow_anonymous true\n' >conf
	exec mosquitto -c conf
}
client() {
	mosquitto_sub -h "$SERVER" -t 'a/#' -C 20 -v &
	sub=$!
	sleep 0.5
	for i in $(seq 20); do mosquitto_pub -h "$SERVER" -q 2 -t "a/$i" -m "message $i"; done
	wait "$sub"
	echo "$?"
}
