# A second host on one link with this one: `near` is the interface here, `far` the one there; `there COMMAND...` runs there.
unshare -n sleep 300 &
other=$!
until [ "$(readlink "/proc/$other/ns/net")" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.02; done
there() { nsenter -t "$other" -n "$@"; }
# The same without a function around it, for what goes to the background: $! is then the program.
over="nsenter -t $other -n"
ip link add near type veth peer name far netns "$other"
echo 0 >/proc/sys/net/ipv6/conf/near/accept_dad
there sh -c 'echo 0 >/proc/sys/net/ipv6/conf/far/accept_dad'
ip link set near up
there ip link set lo up
there ip link set far up
ip addr add fd00::1/64 dev near nodad
there ip addr add fd00::2/64 dev far nodad
