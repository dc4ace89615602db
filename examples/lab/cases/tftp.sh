# needs: tftp in.tftpd
# port: udp6 69
# context
server() {
	PATH=$PATH:/usr/sbin
	mkdir files
	chmod 777 files .
	seq 100000 >files/numbers
	chmod 644 files/numbers
	exec in.tftpd -L -6 -a '[::]:69' -c -u root -s "$PWD/files"
}
client() {
	tftp -6 "$SERVER" -m binary -c get numbers
	cksum numbers
	tftp -6 "$SERVER" -m binary -c put numbers there
	echo "put: $?"
	tftp -6 "$SERVER" -m binary -c get there
	cksum there
	tftp -6 "$SERVER" -m binary -c get none
	echo "none: $?"
}
