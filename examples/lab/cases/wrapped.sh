# needs: socat strace gdb fakeroot fakechroot proxychains4 proot faketime bwrap setpriv unshare
# port: udp6 5006
# context
# limit: 120
# A program inside of others that watch it, change what it sees, or bring libraries of their own, in front of the shim and behind.
server() {
	exec socat -T100 UDP6-LISTEN:5006,fork EXEC:cat
}
client() {
	try() {
		echo "== $*"
		"$@" "$PYTHON" "$PROGRAMS/wrapped.py" "$SERVER" 5006
	}
	try env
	try strace -f -o trace
	try strace -f --seccomp-bpf -e trace=openat -o trace
	try gdb -q --batch -ex run -ex 'info inferiors' --args | grep -E '^(==|[a-z]* answered)'
	try fakeroot
	try proot
	try fakechroot
	try proxychains4 -q
	try faketime '2001-01-01 00:00:00'
	try faketime -f '+1y x10'
	try bwrap --dev-bind / /
	try bwrap --unshare-user --unshare-pid --dev-bind / /
	try bwrap --cap-drop ALL --dev-bind / /
	try setpriv --no-new-privs
	try setpriv --reuid 1000 --clear-groups
	try setpriv --bounding-set=-all --inh-caps=-all
	try unshare -U -r
	try unshare -p -f --mount-proc
	export UID_WRAPPER=1 UID_WRAPPER_ROOT=1
	for library in libuid_wrapper.so libjemalloc.so.2 libtcmalloc_minimal.so.4 libmimalloc.so.2; do
		echo "== $library, behind and in front"
		try env LD_PRELOAD="$LD_PRELOAD:$library" | grep -v '^=='
		try env LD_PRELOAD="$library:$LD_PRELOAD" | grep -v '^=='
	done
}
