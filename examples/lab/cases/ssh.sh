# needs: ssh sshd
# port: tcp6 2222
server() {
	ssh-keygen -q -t ed25519 -N '' -f host
	mkdir -p /run/sshd
	cat >config <<-END
		Port 2222
		ListenAddress ::
		HostKey $PWD/host
		AuthorizedKeysFile $PWD/../client.d/key.pub
		StrictModes no
		PidFile none
		UsePAM no
		PermitRootLogin yes
	END
	exec /usr/sbin/sshd -D -f "$PWD/config"
}
client() {
	ssh-keygen -q -t ed25519 -N '' -f key
	log_in() {
		ssh -6 -p 2222 -i key -F none -o StrictHostKeyChecking=no -o UserKnownHostsFile=known -o BatchMode=yes -o LogLevel=ERROR "$SERVER" "$@"
	}
	log_in 'echo hello; id -u; exit 3'
	echo "ssh: $?"
	seq 50000 | log_in cksum
	log_in -tt 'tty >/dev/null && echo terminal' | tr -d '\r'
	log_in -L 6000:localhost:2222 -o ExitOnForwardFailure=yes true
	echo "forward: $?"
}
