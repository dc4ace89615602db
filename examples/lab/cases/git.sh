# needs: git
# subset
# port: tcp6 9418
server() {
	export GIT_AUTHOR_DATE='2026-01-01 00:00:00 +0000' GIT_COMMITTER_DATE='2026-01-01 00:00:00 +0000' GIT_CONFIG_GLOBAL=/dev/null
	git init -q -b main repository
	seq 10000 >repository/numbers
	git -C repository add numbers
	git -C repository -c user.name=Lab -c user.email=lab@localhost commit -q -m 'Add numbers'
	exec git daemon --base-path="$PWD" --export-all --listen=:: --reuseaddr
}
client() {
	export GIT_CONFIG_GLOBAL=/dev/null
	git clone -q "git://[$SERVER]/repository"
	echo "clone: $?"
	git -C repository log --format='%H %s'
	git -C repository fsck 2>&1
	git -C repository gc -q
	cksum repository/numbers
	git ls-remote "git://[$SERVER]/repository"
}
