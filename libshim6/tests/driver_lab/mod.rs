//! Two namespaces with two links, an engine in each, and the smallest socket layer that can work.
use shim6::addr::{FlowId, UlidPair};
use shim6::config::Config;
use shim6::crypto::HbaSet;
use shim6::driver::cell::Cell;
use shim6::driver::host::{DeliverTo, SocketHost, UlidLoss};
use shim6::driver::{Handle, build_udp, clock, start};
use shim6::identity::{Identity, to_text};
use shim6::rng::{Rng, SeededRng};
use std::io::IoSlice;
use std::net::{Ipv6Addr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

pub const SEND_TIMEOUT: Duration = Duration::from_secs(1);
const PORT: u16 = 7000;

pub struct Lab {
    pub a: Side,
    pub b: Side,
}

pub struct Side {
    /// A process that keeps the namespace and runs commands in it.
    pub ns: String,
    pub addresses: Vec<Ipv6Addr>,
    pub host: Arc<Host>,
    pub handle: Handle,
    pub cell: Arc<Cell>,
    log: std::path::PathBuf,
}

/// One connected socket.
pub struct Host {
    pub socket: UdpSocket,
    ulids: UlidPair,
    detached: AtomicBool,
    /// The application bound the ULID itself, so the socket cannot be detached from it.
    pub bound: AtomicBool,
    pub came_back: AtomicBool,
}

impl Host {
    pub fn detached(&self) -> bool {
        self.detached.load(SeqCst)
    }
}

impl SocketHost for Host {
    fn serves(&self, ulids: UlidPair, _: Option<FlowId>) -> bool {
        ulids == self.ulids
    }
    fn deliver_to(&self, ulids: UlidPair, flow: FlowId) -> Option<DeliverTo> {
        let ours = FlowId { protocol: 17, local_port: PORT, peer_port: PORT };
        let to = if self.detached() { DeliverTo::Loopback } else { DeliverTo::Ulid };
        (ulids == self.ulids && flow == ours).then_some(to)
    }
    fn has_unread(&self, _: UlidPair) -> bool {
        let mut p = libc::pollfd { fd: self.socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd.
        unsafe { libc::poll(&raw mut p, 1, 0) == 1 }
    }
    fn in_use(&self, ulids: UlidPair) -> bool {
        ulids == self.ulids
    }
    fn descriptors(&self, ulids: UlidPair) -> Vec<RawFd> {
        if ulids == self.ulids { vec![self.socket.as_raw_fd()] } else { Vec::new() }
    }
    fn local_ulid_lost(&self, ulid: Ipv6Addr) -> UlidLoss {
        if ulid == self.ulids.local && self.bound.load(SeqCst) {
            return UlidLoss::NeedsAddress;
        }
        if ulid == self.ulids.local {
            let none = libc::sockaddr { sa_family: libc::AF_UNSPEC as u16, sa_data: [0; 14] };
            let len = size_of::<libc::sockaddr>() as u32;
            // SAFETY: `none` outlives the call.
            assert_eq!(unsafe { libc::connect(self.socket.as_raw_fd(), &raw const none, len) }, 0);
            self.detached.store(true, SeqCst);
        }
        UlidLoss::Handled
    }
    fn local_ulid_back(&self, ulid: Ipv6Addr) {
        self.came_back.fetch_or(ulid == self.ulids.local, SeqCst);
    }
}

/// Any pair.
pub fn some_ulids() -> UlidPair {
    UlidPair { local: "2001:db8::1".parse().unwrap(), peer: "2001:db8::2".parse().unwrap() }
}

/// A socket layer without sockets.
struct Nobody {
    fragile: bool,
}

impl SocketHost for Nobody {
    fn serves(&self, _: UlidPair, _: Option<FlowId>) -> bool {
        false
    }
    fn deliver_to(&self, _: UlidPair, _: FlowId) -> Option<DeliverTo> {
        None
    }
    fn has_unread(&self, _: UlidPair) -> bool {
        false
    }
    fn in_use(&self, _: UlidPair) -> bool {
        false
    }
    fn descriptors(&self, _: UlidPair) -> Vec<RawFd> {
        Vec::new()
    }
    fn local_ulid_lost(&self, _: Ipv6Addr) -> UlidLoss {
        assert!(!self.fragile, "this panic belongs to a test");
        UlidLoss::Handled
    }
    fn local_ulid_back(&self, _: Ipv6Addr) {}
}

/// It has no socket.
pub fn nobody() -> Arc<dyn SocketHost> {
    Arc::new(Nobody { fragile: false })
}

/// It panics when an address vanishes.
pub fn fragile() -> Arc<dyn SocketHost> {
    Arc::new(Nobody { fragile: true })
}

/// Run `f` on a thread in a new network namespace.
pub fn in_netns<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|s| {
        let t = s.spawn(|| {
            // SAFETY: affects this thread alone.
            assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0, "root or CAP_SYS_ADMIN is needed");
            f()
        });
        t.join().unwrap_or_else(|e| std::panic::resume_unwind(e))
    })
}

/// Give up CAP_NET_RAW for this thread.
pub fn drop_net_raw() {
    let header = [0x2008_0522u32, 0];
    let mut data = [[0u32; 3]; 2];
    // SAFETY: header and data are laid out as version 3 of capget(2) has them.
    unsafe {
        assert_eq!(libc::syscall(libc::SYS_capget, header.as_ptr(), data.as_mut_ptr()), 0);
        data[0][0] &= !(1 << 13);
        assert_eq!(libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()), 0);
    }
}

pub fn wait_for(what: &str, limit: Duration, mut f: impl FnMut() -> bool) {
    let start = Instant::now();
    while !f() {
        assert!(start.elapsed() < limit, "no {what} within {limit:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Run a command; panics if it fails.
pub fn sh(command: &str) {
    let out = Command::new("sh").args(["-ec", command]).output().expect("sh");
    assert!(out.status.success(), "{command}: {}", String::from_utf8_lossy(&out.stderr));
}

impl Lab {
    /// Both hosts with sockets connected to each other's first address.
    pub fn new() -> Lab {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = format!("s6d{}-{}", std::process::id(), NEXT.fetch_add(1, SeqCst));
        let (na, nb) = (format!("{id}a"), format!("{id}b"));
        sh(&format!("ip netns add {na}; ip netns add {nb}"));
        for i in [1, 2] {
            sh(&format!("ip link add a{i} netns {na} type veth peer name b{i} netns {nb}"));
        }
        let mut rng = SeededRng::new(u64::from(std::process::id()));
        let sets = ["a", "b"].map(|s| {
            let prefix = |i| [0x20, 1, 0x0d, 0xb8, if s == "a" { 0xa } else { 0xb }, 0, 0, i];
            HbaSet::generate(&[prefix(1), prefix(2)], 0, None, &mut rng as &mut dyn Rng).unwrap()
        });
        let addresses = sets.each_ref().map(|s| s.addresses().collect::<Vec<_>>());
        for (me, other, ns, own) in [("a", "b", &na, &addresses[0]), ("b", "a", &nb, &addresses[1])] {
            let mut c = String::from("ip link set lo up\n");
            for (i, addr) in (1..).zip(own) {
                c += &format!(
                    "sysctl -qw net.ipv6.conf.{me}{i}.accept_dad=0\n\
                     ip link set {me}{i} up\n\
                     ip addr add fe80::{me}{i}/64 dev {me}{i} nodad\n\
                     ip addr add {addr}/64 dev {me}{i} nodad\n"
                );
                let via = format!("via fe80::{other}{i} dev {me}{i}");
                c += &format!(
                    "ip -6 route add default {via} table {i}\n\
                     ip -6 rule add from {addr} table {i}\n\
                     ip -6 route add default {via} metric {i}0\n"
                );
            }
            let file = std::env::temp_dir().join(format!("{ns}.sh"));
            std::fs::write(&file, c).unwrap();
            sh(&format!("ip netns exec {ns} sh -e {}", file.display()));
            std::fs::remove_file(&file).unwrap();
        }
        let pair = |l: usize| UlidPair { local: addresses[l][0], peer: addresses[1 - l][0] };
        let a = Side::new(na, pair(0), &sets[0]);
        let b = Side::new(nb, pair(1), &sets[1]);
        Lab { a, b }
    }

    pub fn wakeups(&self) -> u64 {
        self.a.handle.counters().wakeups + self.b.handle.counters().wakeups
    }

    /// For messages of failed tests.
    pub fn state(&self) -> String {
        [&self.a, &self.b]
            .map(|s| format!("{:#?}\n{}\n{:#?}", s.cell.view().current, s.log(), s.handle.counters()))
            .join("\n")
    }
}

impl Side {
    fn new(ns: String, ulids: UlidPair, set: &HbaSet) -> Side {
        let dir = std::env::temp_dir();
        let (file, log) = (dir.join(format!("{ns}.pem")), dir.join(format!("{ns}.log")));
        std::fs::write(&file, to_text(&Identity::from_set(set))).unwrap();
        let mut config = Config { identities: vec![file.clone()], ..Config::default() };
        config.trigger.bytes = Some(0);
        config.reap.send_timeout = SEND_TIMEOUT;
        config.reap.initial_probe_timeout = Duration::from_millis(100);
        config.log_file = Some(log.clone());
        config.log_filter = Some("debug".into());
        let handle_ns = std::fs::File::open(format!("/run/netns/{ns}")).unwrap();
        let (host, handle) = std::thread::scope(|s| {
            let t = s.spawn(|| {
                // SAFETY: affects this thread alone.
                assert_eq!(unsafe { libc::setns(handle_ns.as_raw_fd(), libc::CLONE_NEWNET) }, 0);
                let mut socket = UdpSocket::bind(("::", PORT));
                wait_for("route", Duration::from_secs(3), || {
                    let to = SocketAddrV6::new(ulids.peer, PORT, 0, 0);
                    socket.as_mut().unwrap().connect(to).is_ok()
                });
                let socket = socket.unwrap();
                assert_eq!(socket.local_addr().unwrap().ip(), ulids.local);
                let host = Arc::new(Host {
                    socket,
                    ulids,
                    detached: false.into(),
                    bound: false.into(),
                    came_back: false.into(),
                });
                let handle = start(config, host.clone()).unwrap();
                (host, handle)
            });
            t.join().unwrap()
        });
        std::fs::remove_file(&file).unwrap();
        let cell = handle.cell(ulids).unwrap();
        Side { ns, addresses: set.addresses().collect(), host, handle, cell, log }
    }

    pub fn run(&self, command: &str) {
        sh(&format!("ip netns exec {} sh -ec \"{}\"", self.ns, command.replace('$', "\\$")));
    }

    /// The UDP datagram that carries `data` to the peer.
    pub fn datagram(&self, data: &[u8]) -> Vec<u8> {
        build_udp(self.cell.ulids(), PORT, PORT, &[IoSlice::new(data)]).unwrap()
    }

    /// The same to another port.
    pub fn datagram_to(&self, port: u16, data: &[u8]) -> Vec<u8> {
        build_udp(self.cell.ulids(), PORT, port, &[IoSlice::new(data)]).unwrap()
    }

    pub fn flow(&self) -> Option<FlowId> {
        Some(FlowId { protocol: 17, local_port: PORT, peer_port: PORT })
    }

    pub fn send(&self, data: &[u8]) {
        match self.cell.forward() {
            Some(f) => self.handle.send_payload(&self.cell, &f, 17, &self.datagram(data)).unwrap(),
            // Refusals of a dead path are losses.
            None => drop(self.host.socket.send(data)),
        }
        if self.cell.note_sent(data.len(), clock::now) {
            self.handle.wake(&self.cell, self.flow());
        }
    }

    pub fn send_train(&self, train: &[Vec<u8>]) {
        let f = self.cell.forward().unwrap();
        let packets: Vec<_> = train.iter().map(|d| self.datagram(d)).collect();
        let packets: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
        assert_eq!(self.handle.send_payload_many(&self.cell, &f, 17, &packets).unwrap(), train.len());
    }

    pub fn receive_within(&self, time: Duration) -> Option<Vec<u8>> {
        self.host.socket.set_read_timeout(Some(time)).unwrap();
        let mut buf = vec![0; 70_000];
        loop {
            match self.host.socket.recv_from(&mut buf) {
                Ok((n, _)) => {
                    if self.cell.note_received(n, clock::now) {
                        self.handle.wake(&self.cell, self.flow());
                    }
                    buf.truncate(n);
                    return Some(buf);
                }
                Err(e) if matches!(e.raw_os_error(), Some(libc::EAGAIN)) => return None,
                Err(_) => {} // an error of the path, as a send leaves behind
            }
        }
    }

    /// The next error that a read of the socket reports; datagrams are skipped.
    pub fn error_within(&self, time: Duration) -> Option<i32> {
        self.host.socket.set_read_timeout(Some(time)).unwrap();
        let mut buf = [0; 70_000];
        loop {
            match self.host.socket.recv_from(&mut buf) {
                Ok(_) => {}
                Err(e) => return e.raw_os_error().filter(|n| *n != libc::EAGAIN),
            }
        }
    }

    /// Have the kernel queue ICMPv6 errors for the socket (IPV6_RECVERR).
    pub fn queue_errors(&self) {
        let on = 1i32;
        // SAFETY: the value outlives the call.
        let r = unsafe {
            libc::setsockopt(
                self.host.socket.as_raw_fd(),
                libc::IPPROTO_IPV6,
                libc::IPV6_RECVERR,
                (&raw const on).cast(),
                4,
            )
        };
        assert_eq!(r, 0);
    }

    /// The next entry of the error queue: the quoted data, where it was sent to, type, code, the info word, and who
    /// sent the error.
    pub fn queued_error(&self) -> Option<(Vec<u8>, Ipv6Addr, u8, u8, u32, Ipv6Addr)> {
        let mut data = [0u8; 2000];
        let mut control = [0u64; 64];
        // SAFETY: all-zero values of these types are valid; all pointers are to locals that outlive the call.
        unsafe {
            let mut name: libc::sockaddr_in6 = std::mem::zeroed();
            let mut iov = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: data.len() };
            let mut m: libc::msghdr = std::mem::zeroed();
            (m.msg_name, m.msg_namelen) = ((&raw mut name).cast(), size_of_val(&name) as _);
            (m.msg_iov, m.msg_iovlen) = (&raw mut iov, 1);
            (m.msg_control, m.msg_controllen) = (control.as_mut_ptr().cast(), size_of_val(&control));
            let n = libc::recvmsg(self.host.socket.as_raw_fd(), &raw mut m, libc::MSG_ERRQUEUE);
            if n < 0 {
                return None;
            }
            let c = libc::CMSG_FIRSTHDR(&raw const m);
            assert_eq!(((*c).cmsg_level, (*c).cmsg_type), (libc::IPPROTO_IPV6, libc::IPV6_RECVERR));
            let e = libc::CMSG_DATA(c).cast::<libc::sock_extended_err>().read_unaligned();
            let offender =
                libc::CMSG_DATA(c).add(size_of_val(&e)).cast::<libc::sockaddr_in6>().read_unaligned();
            let peer = name.sin6_addr.s6_addr.into();
            let from = offender.sin6_addr.s6_addr.into();
            Some((data[..n as usize].to_vec(), peer, e.ee_type, e.ee_code, e.ee_info, from))
        }
    }

    /// Send an ICMPv6 message from this host.
    pub fn send_icmp(&self, source: Ipv6Addr, to: Ipv6Addr, message: &[u8]) {
        let ns = std::fs::File::open(format!("/run/netns/{}", self.ns)).unwrap();
        std::thread::scope(|s| {
            s.spawn(|| {
                let address = |a: Ipv6Addr| libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as u16,
                    sin6_port: 0,
                    sin6_flowinfo: 0,
                    sin6_addr: libc::in6_addr { s6_addr: a.octets() },
                    sin6_scope_id: 0,
                };
                let (from, to) = (address(source), address(to));
                let len = size_of_val(&from) as u32;
                // SAFETY: affects this thread alone; all pointers are to locals that outlive the calls.
                unsafe {
                    assert_eq!(libc::setns(ns.as_raw_fd(), libc::CLONE_NEWNET), 0);
                    let fd = libc::socket(libc::AF_INET6, libc::SOCK_RAW, libc::IPPROTO_ICMPV6);
                    assert_eq!(libc::bind(fd, (&raw const from).cast(), len), 0);
                    let (data, n) = (message.as_ptr().cast(), message.len());
                    let sent = libc::sendto(fd, data, n, 0, (&raw const to).cast(), len);
                    assert_eq!(sent, n as isize);
                    libc::close(fd);
                }
            });
        });
    }

    pub fn receive(&self) -> Option<Vec<u8>> {
        self.receive_within(Duration::from_secs(2))
    }

    /// Skip other datagrams; the length of the one that was found.
    pub fn receive_matching(&self, data: &[u8]) -> Option<usize> {
        std::iter::from_fn(|| self.receive()).find(|d| d == data).map(|d| d.len())
    }

    pub fn log_file(&self) -> &std::path::Path {
        &self.log
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn explorations(&self) -> usize {
        self.log().matches("exploring").count()
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        self.handle.stop();
        let _ = std::fs::remove_file(&self.log);
        let _ = Command::new("ip").args(["netns", "del", &self.ns]).status();
    }
}
