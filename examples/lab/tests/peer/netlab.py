"""Two hosts with one link per prefix and a router between them, in network namespaces.

              p1 ---- a1 +------+ b1 ---- p1
    subject   p2 ---- a2 | core | b2 ---- p2   peer

Path N has the prefixes 2001:db8:aN::/64 and 2001:db8:bN::/64. Hosts route by source; the router drops sources that do
not belong on a link. A namespace lives as long as a process that holds it, and that dies with this one.
"""

import ctypes
import ipaddress
import os
import signal
import subprocess
import time

_libc = ctypes.CDLL(None, use_errno=True)


def _die_with_parent():
    _libc.prctl(1, signal.SIGKILL, 0, 0, 0)


class Namespace:
    def __init__(self):
        own = os.readlink("/proc/self/ns/net")
        self.holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"], preexec_fn=_die_with_parent)
        self.path = f"/proc/{self.holder.pid}/ns/net"
        end = time.monotonic() + 5
        while os.readlink(self.path) == own:
            if time.monotonic() > end or self.holder.poll() is not None:
                raise RuntimeError("no network namespace: unshare --net failed (root or a user namespace is needed)")
            time.sleep(0.005)
        self.ip("link set lo up")

    def start(self, command, **options):
        return subprocess.Popen(["nsenter", f"--net={self.path}", "--", *command], preexec_fn=_die_with_parent, **options)

    def run(self, command, input=""):
        done = subprocess.run(["nsenter", f"--net={self.path}", "--", *command], input=input, text=True,
                              capture_output=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}\n{input}")
        return done.stdout

    def ip(self, *lines):
        self.run(["ip", "-6", "-batch", "-"], "\n".join(lines) + "\n")

    def sysctl(self, key, value):
        self.run(["sh", "-c", f"echo {value} > /proc/sys/net/{key}"])

    def close(self):
        self.holder.kill()
        self.holder.wait()


def prefix(side, n):
    """8 octets."""
    return ipaddress.IPv6Network(prefix_text(side, n)).network_address.packed[:8]


def prefix_text(side, n):
    return f"2001:db8:{side}{n}::/64"


class Lab:
    """`a` is the host of the subject, `b` that of the peer; `assign` puts their addresses on the links."""

    def __init__(self, paths=2):
        self.paths = range(1, paths + 1)
        self.core, self.hosts = Namespace(), {}
        for key in ("all", "default"):
            self.core.sysctl(f"ipv6/conf/{key}/forwarding", 1)
        rules = "add table ip6 lab\nadd chain ip6 lab fail { type filter hook forward priority 0; }\n"
        for side in "ab":
            host = self.hosts[side] = Namespace()
            for space in (host, self.core):
                for key in ("all", "default"):
                    space.sysctl(f"ipv6/conf/{key}/accept_dad", 0)
                    space.sysctl(f"ipv6/conf/{key}/accept_ra", 0)
            for n in self.paths:
                self.core.ip(f"link add {side}{n} type veth peer name p{n} netns {host.holder.pid}",
                             f"link set {side}{n} up",
                             f"addr add fe80::1/64 dev {side}{n} nodad",
                             f"route add {prefix_text(side, n)} dev {side}{n}")
                host.ip(f"link set p{n} up",
                        f"route add default via fe80::1 dev p{n} table {100 + n}",
                        f"route add default via fe80::1 dev p{n} metric {100 + n}",
                        f"rule add from {prefix_text(side, n)} table {100 + n}")
                rules += f'add rule ip6 lab fail iifname "{side}{n}" ip6 saddr != {prefix_text(side, n)} drop\n'
        self.core.run(["nft", "-f", "-"], rules)

    def assign(self, side, n, address):
        self.hosts[side].ip(f"addr add {address}/64 dev p{n} nodad")

    def close(self):
        for space in (*self.hosts.values(), self.core):
            space.close()
