# needs: openvpn
# port: udp6 1194
# context
# cut: 4
key() {
	echo '-----BEGIN OpenVPN Static key V1-----'
	yes 00112233445566778899aabbccddeeff | head -n 16
	echo '-----END OpenVPN Static key V1-----'
}
server() {
	PATH=$PATH:/usr/sbin
	key >static.key
	exec openvpn --proto udp6 --dev null --secret static.key --verb 3 --ping 1 --ping-exit 5 --cipher AES-256-CBC --multihome
}
client() {
	PATH=$PATH:/usr/sbin
	key >static.key
	timeout -s INT 12 openvpn --proto udp6 --remote "$SERVER" --nobind --dev null --secret static.key --verb 3 --ping 1 --ping-exit 5 --cipher AES-256-CBC >said 2>&1
	echo $?
	grep -oE 'Peer Connection Initiated|Initialization Sequence Completed|SIGINT.*|Inactivity timeout|read UDP.*|Exiting due.*|Options error.*' said
}
