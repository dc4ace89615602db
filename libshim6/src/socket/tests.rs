//! The operations against a backend that records what it is told, in a network namespace. The healthy path, and
//! everything else that the C programs of `c-tests` can see, is tested there.

use super::backend::{self, Backend, Running};
use super::host::Sockets;
use super::state::{Mode, flag};
use super::{guard, ops, real, sys, table};
use crate::addr::{ContextTag, FlowId, LocatorPair, UlidPair};
use crate::config::ReapConfig;
use crate::driver::cell::{Cell, ContextView, Forward};
use crate::driver::host::{DeliverTo, SocketHost, UlidLoss};
use crate::driver::testing::{in_netns, run};
use crate::driver::{Arrival, Configured, build_udp};
use crate::engine::{Bare, Feedback, LocatorError, LocatorInfo, Settings};
use libc::{c_int, c_void, socklen_t};
use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::sync::{Arc, Mutex, MutexGuard, Once};
use std::time::Duration;

static CELLS: Mutex<Option<HashMap<UlidPair, Arc<Cell>>>> = Mutex::new(None);
static SENT: Mutex<Vec<(UlidPair, Vec<u8>)>> = Mutex::new(Vec::new());
static REFUSED: Mutex<Vec<UlidPair>> = Mutex::new(Vec::new());
static ARRIVAL: Mutex<(Option<UlidPair>, Option<LocatorPair>)> = Mutex::new((None, None));
static WOKEN: Mutex<Vec<(UlidPair, Option<FlowId>)>> = Mutex::new(Vec::new());

static FEEDBACK: Mutex<Vec<(UlidPair, Feedback)>> = Mutex::new(Vec::new());
static CONFIGURED: Mutex<Vec<UlidPair>> = Mutex::new(Vec::new());

struct Recorder;

impl Backend for Recorder {
    fn cell(&self, ulids: UlidPair) -> Option<Arc<Cell>> {
        let mut cells = CELLS.lock().unwrap();
        let cells = cells.get_or_insert_with(HashMap::new);
        Some(cells.entry(ulids).or_insert_with(|| Arc::new(Cell::new(ulids))).clone())
    }
    fn wake(&self, cell: &Cell, flow: Option<FlowId>) {
        WOKEN.lock().unwrap().push((cell.ulids(), flow));
    }
    fn send_payload(&self, cell: &Cell, _: &Forward, protocol: u8, packet: &[u8]) -> io::Result<()> {
        assert_eq!(protocol, 17);
        SENT.lock().unwrap().push((cell.ulids(), packet.to_vec()));
        Ok(())
    }
    fn send_payload_many(
        &self,
        cell: &Cell,
        f: &Forward,
        protocol: u8,
        packets: &[&[u8]],
    ) -> io::Result<usize> {
        for packet in packets {
            self.send_payload(cell, f, protocol, packet)?;
        }
        Ok(packets.len())
    }
    fn wait_writable(&self, _: i32) -> io::Result<bool> {
        Ok(true)
    }
    fn socket_closing(&self, _: i32) {}
    fn send_refused(&self, cell: &Cell, _: LocatorPair) {
        REFUSED.lock().unwrap().push(cell.ulids());
    }
    fn identity_source_for(&self, local: Ipv6Addr) -> Option<Ipv6Addr> {
        (local == ip("2001:db8:1::1")).then(|| ip("2001:db8:1::2"))
    }
    fn attach(&self, _: &Cell) {}
    fn detach(&self, _: &Cell) {}
    fn configure(
        &self,
        cell: &Arc<Cell>,
        _: Option<FlowId>,
        change: &mut dyn FnMut(&mut Settings),
    ) -> Configured {
        CONFIGURED.lock().unwrap().push(cell.ulids());
        change(&mut Settings::default());
        Configured::InPlace
    }
    fn fork(&self, _: &Cell, _: Settings, _: Option<FlowId>) -> Option<Arc<Cell>> {
        None
    }
    fn set_hot_standby(&self, _: &Cell, _: bool) {}
    fn probe_peer(&self, _: &Cell, _: Ipv6Addr) {}
    fn feedback(&self, cell: &Cell, feedback: Feedback) {
        FEEDBACK.lock().unwrap().push((cell.ulids(), feedback));
    }
    fn establish(&self, _: &Cell, _: Option<FlowId>) {}
    fn abandon_setup(&self, _: &Cell) {}
    fn forward_for(
        &self,
        cell: &Cell,
        local: Option<Ipv6Addr>,
        peer: Option<Ipv6Addr>,
    ) -> Result<Option<Forward>, LocatorError> {
        cell.forward_on(local, peer, |_| 1500)
    }
    fn arrival(&self, flowinfo: u32, _: u32) -> Option<Arrival> {
        let (ulids, locators) = *ARRIVAL.lock().unwrap();
        (flowinfo != 0).then_some(Arrival { ulids: ulids?, fii: 0, locators: locators? })
    }
}

/// A namespace with the recorder for an engine; one test at a time, because there is one fd table.
fn world(f: impl FnOnce() + Send) {
    static ONE: Mutex<()> = Mutex::new(());
    static INSTALL: Once = Once::new();
    let _one: MutexGuard<'_, ()> = ONE.lock().unwrap_or_else(|e| e.into_inner());
    INSTALL.call_once(|| {
        backend::install(Running {
            backend: Box::new(Recorder),
            // Changes something where the host has the address that the recorder tells of.
            prefer_identity_source: true,
            setup_wait: Duration::ZERO,
            reap: ReapConfig::default(),
        });
    });
    *CELLS.lock().unwrap() = None;
    SENT.lock().unwrap().clear();
    REFUSED.lock().unwrap().clear();
    WOKEN.lock().unwrap().clear();
    FEEDBACK.lock().unwrap().clear();
    CONFIGURED.lock().unwrap().clear();
    in_netns(|| {
        run("ip link set lo up; ip link add d0 type veth peer name d1; ip link set d0 up; ip link set d1 up;
             ip addr add 2001:db8:1::1/64 dev d0 nodad; ip addr add 2001:db8:2::1/64 dev d0 nodad;
             ip addr add 2001:db8:3::1/64 dev d0 nodad");
        [A, B, "2001:db8:3::1"].iter().for_each(|addr| wait_until_local(addr));
        f();
    });
}

/// The kernel makes a new address its own a little later.
fn wait_until_local(addr: &str) {
    run(&format!("until ip -6 route get {addr} | grep -q ^local; do sleep 0.01; done"));
}

/// Give the host an address (again).
fn add_address(addr: &str) {
    run(&format!("ip addr add {addr}/64 dev d0 nodad"));
    wait_until_local(addr);
}

fn ip(s: &str) -> Ipv6Addr {
    s.parse().unwrap()
}

fn at(s: &str, port: u16) -> SocketAddrV6 {
    SocketAddrV6::new(ip(s), port, 0, 0)
}

fn pair(local: &str, peer: &str) -> UlidPair {
    UlidPair { local: ip(local), peer: ip(peer) }
}

fn cell(local: &str, peer: &str) -> Arc<Cell> {
    Recorder.cell(pair(local, peer)).unwrap()
}

fn info(addr: &str) -> LocatorInfo {
    LocatorInfo { hba: true, verified: true, probed: true, ..LocatorInfo::new(ip(addr)) }
}

/// Give a pair a context; with `forward`, one that left its ULIDs.
fn associate(cell: &Cell, forward: bool) {
    let current = cell.ulids().as_locators();
    let local = vec![info("2001:db8:1::1"), info("2001:db8:2::1")];
    cell.set_view(ContextView {
        associated: true,
        current: Some(current),
        local,
        peer: vec![info("2001:db8:9::9")],
        ..ContextView::default()
    });
    let locators = LocatorPair { local: ip("2001:db8:7::1"), peer: ip("2001:db8:7::2") };
    let forward = forward.then_some(Forward {
        locators,
        ifindex: 1,
        peer_tag: ContextTag::new(5),
        mtu: 1500,
        bare: Bare::No,
    });
    cell.set_forward(forward);
}

/// A shim socket whose calls go through `ops`, as the hooks make them.
struct Sock(c_int);

impl Drop for Sock {
    fn drop(&mut self) {
        // SAFETY: plain integer.
        unsafe { ops::close(self.0) };
    }
}

fn result(r: isize) -> Result<usize, i32> {
    if r < 0 { Err(guard::errno()) } else { Ok(r as usize) }
}

impl Sock {
    fn new() -> Sock {
        // SAFETY: plain integers.
        Sock(unsafe { ops::socket(libc::AF_INET6, libc::SOCK_DGRAM | libc::SOCK_NONBLOCK, 0) })
    }
    fn bound(addr: SocketAddrV6) -> Sock {
        let s = Sock::new();
        let raw = sys::to_raw(&addr);
        // SAFETY: `raw` outlives the call.
        let r = unsafe { ops::bind(s.0, (&raw const raw).cast(), size_of_val(&raw) as socklen_t) };
        assert_eq!(r, Ok(0), "{}", io::Error::last_os_error());
        s
    }
    fn connect(&self, to: SocketAddrV6) {
        let raw = sys::to_raw(&to);
        let (p, len) = ((&raw const raw).cast(), size_of_val(&raw) as socklen_t);
        // SAFETY: `raw` outlives the calls.
        let r = unsafe { ops::connect(self.0, p, len).unwrap_or_else(|_| real::connect(self.0, p, len)) };
        assert_eq!(r, 0, "{}", io::Error::last_os_error());
    }
    fn port(&self) -> u16 {
        sys::local_name(self.0).unwrap().port()
    }
    fn send(&self, data: &[u8]) -> Result<usize, i32> {
        // SAFETY: the buffers outlive the calls.
        result(unsafe {
            ops::send(self.0, data.as_ptr().cast(), data.len(), 0)
                .unwrap_or_else(|_| real::send(self.0, data.as_ptr().cast(), data.len(), 0))
        })
    }
    fn send_to(&self, data: &[u8], to: SocketAddrV6) -> Result<usize, i32> {
        let (raw, len) = (sys::to_raw(&to), size_of::<libc::sockaddr_in6>() as socklen_t);
        let (p, addr) = (data.as_ptr().cast(), (&raw const raw).cast());
        // SAFETY: the buffers outlive the calls.
        result(unsafe {
            ops::sendto(self.0, p, data.len(), 0, addr, len)
                .unwrap_or_else(|_| real::sendto(self.0, p, data.len(), 0, addr, len))
        })
    }
    fn recv(&self) -> Result<(Vec<u8>, SocketAddrV6), i32> {
        let mut b = [0u8; 2000];
        let mut raw = sys::to_raw(&at("::", 0));
        let mut len = size_of_val(&raw) as socklen_t;
        let (p, addr) = (b.as_mut_ptr().cast::<c_void>(), (&raw mut raw).cast());
        // SAFETY: the buffers outlive the calls.
        let n = result(unsafe {
            ops::recvfrom(self.0, p, b.len(), 0, addr, &raw mut len)
                .unwrap_or_else(|_| real::recvfrom(self.0, p, b.len(), 0, addr, &raw mut len))
        })?;
        Ok((b[..n].to_vec(), sys::from_raw(&raw)))
    }
    /// What comes over the link, sooner or later on a busy machine.
    fn recv_soon(&self) -> (Vec<u8>, SocketAddrV6) {
        let mut p = libc::pollfd { fd: self.0, events: libc::POLLIN, revents: 0 };
        // SAFETY: `p` outlives the call.
        unsafe { libc::poll(&raw mut p, 1, 10_000) };
        self.recv().unwrap()
    }
    fn names(&self) -> (SocketAddrV6, SocketAddrV6) {
        let mut raw = [sys::to_raw(&at("::", 0)); 2];
        let mut len = size_of::<libc::sockaddr_in6>() as socklen_t;
        let (a, b) = ((&raw mut raw[0]).cast(), (&raw mut raw[1]).cast());
        // SAFETY: the buffers outlive the calls.
        unsafe {
            let r = ops::getsockname(self.0, a, &raw mut len)
                .unwrap_or_else(|_| real::getsockname(self.0, a, &raw mut len));
            assert_eq!(r, 0);
            let r = ops::getpeername(self.0, b, &raw mut len)
                .unwrap_or_else(|_| real::getpeername(self.0, b, &raw mut len));
            assert_eq!(r, 0, "{}", io::Error::last_os_error());
        }
        (sys::from_raw(&raw[0]), sys::from_raw(&raw[1]))
    }
    /// A datagram, or none, with one message of ancillary data at the draft's level.
    fn send_with(&self, data: Option<&[u8]>, kind: c_int, value: &[u8]) -> Result<usize, i32> {
        let mut control = [0u64; 8];
        // SAFETY: all zero is a valid value; the header and what it points to are locals that outlive the call.
        result(unsafe {
            let mut m: libc::msghdr = std::mem::zeroed();
            let mut iov = libc::iovec {
                iov_base: data.map_or(std::ptr::null_mut(), |d| d.as_ptr().cast_mut().cast()),
                iov_len: data.map_or(0, <[u8]>::len),
            };
            (m.msg_iov, m.msg_iovlen) = (&raw mut iov, usize::from(data.is_some()));
            m.msg_control = control.as_mut_ptr().cast();
            m.msg_controllen = libc::CMSG_SPACE(value.len() as u32) as usize;
            let c = libc::CMSG_FIRSTHDR(&raw const m);
            ((*c).cmsg_level, (*c).cmsg_type) = (0x5533, kind);
            (*c).cmsg_len = libc::CMSG_LEN(value.len() as u32) as usize;
            std::ptr::copy_nonoverlapping(value.as_ptr(), libc::CMSG_DATA(c), value.len());
            ops::sendmsg(self.0, &raw const m, 0).unwrap_or_else(|_| real::sendmsg(self.0, &raw const m, 0))
        })
    }
    fn shim(&self, level: c_int, name: c_int, room: usize) -> Result<Vec<u8>, i32> {
        let mut b = vec![0u8; room];
        let mut len = room as socklen_t;
        // SAFETY: the buffers outlive the calls.
        let r = unsafe { ops::getsockopt(self.0, level, name, b.as_mut_ptr().cast(), &raw mut len) }.unwrap();
        b.truncate(len as usize);
        result(r as isize).map(|_| b)
    }
}

/// Another host at the far end of the link, with the address [`P`]: an ordinary socket there.
fn neighbour(port: u16) -> Sock {
    let (tid_out, tid) = std::sync::mpsc::channel();
    let (go, went) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let there = scope.spawn(move || {
            in_netns(move || {
                tid_out.send(nix::unistd::gettid()).unwrap();
                went.recv().unwrap();
                run(&format!(
                    "ip link set d1 up; ip addr add {P}/64 dev d1 nodad;
                     ip -6 route add default via 2001:db8:1::1"
                ));
                let flags = libc::SOCK_DGRAM | libc::SOCK_NONBLOCK;
                let fd = sys::socket(libc::AF_INET6, flags, 0).unwrap();
                sys::bind(fd, &at(P, port)).unwrap();
                Sock(fd)
            })
        });
        run(&format!("ip link set d1 netns {}", tid.recv().unwrap()));
        go.send(()).unwrap();
        there.join().unwrap()
    })
}

/// Put a datagram on the wire of `lo`, as the engine re-injects it; checksum over the addresses given.
fn inject(source: &str, destination: &str, from: u16, to: u16, data: &[u8]) {
    let udp = build_udp(pair(source, destination), from, to, &[IoSlice::new(data)]).unwrap();
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((udp.len() as u16).to_be_bytes());
    packet.extend([17, 64]);
    packet.extend(ip(source).octets());
    packet.extend(ip(destination).octets());
    packet.extend(udp);
    let fd = sys::socket(libc::AF_INET6, libc::SOCK_RAW, libc::IPPROTO_RAW).unwrap();
    let raw = sys::to_raw(&at(destination, 0));
    // SAFETY: both buffers outlive the call.
    let r = unsafe {
        real::sendto(
            fd,
            packet.as_ptr().cast(),
            packet.len(),
            0,
            (&raw const raw).cast(),
            size_of_val(&raw) as u32,
        )
    };
    assert_eq!(r, packet.len() as isize, "{}", io::Error::last_os_error());
    sys::close(fd);
}

const A: &str = "2001:db8:1::1";
const B: &str = "2001:db8:2::1";
/// An address of another host.
const P: &str = "2001:db8:1::99";

// API-GEN-14, S6-E-3
#[test]
fn a_connected_socket_counts_for_its_pair_and_wakes_once() {
    world(|| {
        let s = Sock::bound(at(B, 0));
        // Left to itself the kernel talks to its own B from B.
        let c = Sock::bound(at(A, 0));
        c.connect(at(B, s.port()));
        let local = sys::local_name(c.0).unwrap();
        let cell = Recorder.cell(UlidPair { local: *local.ip(), peer: ip(B) }).unwrap();
        assert_eq!(c.send(b"abc"), Ok(3));
        assert_eq!(c.send(b""), Ok(0));
        assert_eq!(s.recv_soon().1, local);
        assert_eq!(s.send_to(b"answer", local), Ok(6));
        assert_eq!(c.recv_soon().0, b"answer");
        let sample = cell.sample();
        assert_eq!((sample.sent, sample.received, sample.bytes), (2, 1, 9));
        let flow = FlowId { protocol: 17, local_port: local.port(), peer_port: s.port() };
        let woken = WOKEN.lock().unwrap().iter().filter(|w| **w == (cell.ulids(), Some(flow))).count();
        assert_eq!(woken, 2, "once by the first sent, once by the first received");
        // The server's side: its own pair, the other way round.
        let there = self::cell(B, &local.ip().to_string()).sample();
        assert_eq!((there.sent, there.received, there.bytes), (1, 1, 9));
        assert!(SENT.lock().unwrap().is_empty());
    });
}

// API-FK-17: answers go by the pair by which the peer was last heard.
#[test]
fn a_wildcard_server_answers_by_the_pair_that_it_was_asked_by() {
    world(|| {
        let s = Sock::bound(at("::", 5000));
        let c = Sock::bound(at(A, 5001));
        // The kernel alone would answer A from A, not from B.
        assert_eq!(c.send_to(b"q", at(B, 5000)), Ok(1));
        let (_, from) = s.recv_soon();
        assert_eq!(from, at(A, 5001));
        assert_eq!(s.send_to(b"plain", from), Ok(5));
        assert_eq!(c.recv_soon().1, at(A, 5000), "without a context the kernel's choice stays");
        let pair = cell(B, A);
        associate(&pair, false);
        assert_eq!(s.send_to(b"context", from), Ok(7));
        assert_eq!(c.recv_soon(), (b"context".to_vec(), at(B, 5000)));
        assert_eq!(pair.sample().received, 1);
        associate(&pair, true);
        assert_eq!(s.send_to(b"moved", from), Ok(5));
        assert_eq!(c.recv(), Err(libc::EAGAIN));
        let sent = SENT.lock().unwrap();
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].0, pair.ulids());
        let wanted = build_udp(pair.ulids(), 5000, 5001, &[IoSlice::new(b"moved")]).unwrap();
        assert_eq!(sent[0].1, wanted);
    });
}

// API-EX-12, API-DONT-06, API-DONT-12
#[test]
fn a_rehomed_pair_is_sent_by_the_engine() {
    world(|| {
        let c = Sock::new();
        c.connect(at(P, 7));
        let local = sys::local_name(c.0).unwrap();
        let pair = Recorder.cell(UlidPair { local: *local.ip(), peer: ip(P) }).unwrap();
        associate(&pair, true);
        assert_eq!(c.send(b"one"), Ok(3));
        assert_eq!(c.send(b""), Ok(0));
        assert_eq!(c.send(&[0; 65_527]), Ok(65_527));
        assert_eq!(c.send(&[0; 65_528]), Err(libc::EMSGSIZE));
        assert_eq!(c.send_to(b"same", at(P, 7)), Ok(4));
        let on: c_int = 2;
        // SAFETY: the buffer outlives the call.
        let set =
            |level, name, v: &c_int| unsafe { ops::setsockopt(c.0, level, name, (&raw const *v).cast(), 4) };
        assert_eq!(set(libc::IPPROTO_UDP, 103, &on), Ok(0));
        assert_eq!(c.send(b"abcde"), Ok(5));
        assert_eq!(set(libc::IPPROTO_UDP, 103, &0), Ok(0));
        // Two parts, three messages, one of them to another port.
        let iov = [b"x".as_slice(), b"yz"]
            .map(|b| libc::iovec { iov_base: b.as_ptr().cast_mut().cast(), iov_len: b.len() });
        let mut other = sys::to_raw(&at(P, 8));
        // SAFETY: all zero is a valid value.
        let mut msgs: [libc::mmsghdr; 3] = unsafe { std::mem::zeroed() };
        for m in &mut msgs {
            m.msg_hdr.msg_iov = iov.as_ptr().cast_mut();
            m.msg_hdr.msg_iovlen = 2;
        }
        msgs[2].msg_hdr.msg_name = (&raw mut other).cast();
        msgs[2].msg_hdr.msg_namelen = size_of_val(&other) as socklen_t;
        // SAFETY: the headers point to locals.
        assert_eq!(unsafe { ops::sendmmsg(c.0, msgs.as_mut_ptr(), 3, 0) }, Ok(3));
        assert!(msgs.iter().all(|m| m.msg_len == 3));
        let data =
            |bytes: &[u8], port| build_udp(pair.ulids(), local.port(), port, &[IoSlice::new(bytes)]).unwrap();
        let mut sent: Vec<Vec<u8>> = SENT.lock().unwrap().drain(..).map(|s| s.1).collect();
        let long = sent.remove(2);
        assert_eq!(long.len(), 65_535);
        let wanted = [
            data(b"one", 7),
            data(b"", 7),
            data(b"same", 7),
            data(b"ab", 7),
            data(b"cd", 7),
            data(b"e", 7),
            data(b"xyz", 7),
            data(b"xyz", 7),
            data(b"xyz", 8),
        ];
        assert_eq!(sent, wanted);
        assert_eq!(pair.sample().sent, 8, "datagrams as the application sent them");
        assert_eq!(set(0x5533, 2, &1), Ok(0));
        assert_eq!(c.send(b"by the kernel"), Ok(13));
        assert!(SENT.lock().unwrap().is_empty());
        assert_eq!(pair.sample().sent, 8);
    });
}

#[test]
fn a_refused_send_counts_as_lost_where_the_context_has_other_pairs() {
    world(|| {
        let c = Sock::new();
        c.connect(at(P, 7));
        let local = sys::local_name(c.0).unwrap();
        run("ip -6 route del 2001:db8:1::/64 dev d0");
        assert_eq!(c.send(b"x"), Err(libc::ENETUNREACH));
        let pair = Recorder.cell(UlidPair { local: *local.ip(), peer: ip(P) }).unwrap();
        associate(&pair, false);
        assert_eq!(c.send(b"four"), Ok(4));
        assert_eq!(*REFUSED.lock().unwrap(), [pair.ulids()]);
    });
}

// API-EX-01, API-EX-02, API-EX-03
#[test]
fn a_socket_outlives_its_local_ulid() {
    world(|| {
        let peer = neighbour(6000);
        let c = Sock::new();
        c.connect(at(P, 6000));
        let (local, _) = c.names();
        let ulid = *local.ip();
        assert_eq!(ulid, ip(A));
        let pair = Recorder.cell(UlidPair { local: ulid, peer: ip(P) }).unwrap();
        let epoll = nix::sys::epoll::Epoll::new(nix::sys::epoll::EpollCreateFlags::empty()).unwrap();
        // SAFETY: the socket is open while this is used.
        let borrowed = unsafe { std::os::fd::BorrowedFd::borrow_raw(c.0) };
        let event = nix::sys::epoll::EpollEvent::new(nix::sys::epoll::EpollFlags::EPOLLIN, 1);
        epoll.add(borrowed, event).unwrap();
        let ready = || {
            let mut events = [nix::sys::epoll::EpollEvent::empty(); 1];
            epoll.wait(&mut events, 20u16).unwrap() == 1
        };
        // No context: nothing is done.
        assert_eq!(Sockets.local_ulid_lost(ulid), UlidLoss::Handled);
        assert_eq!(table::peek(c.0).unwrap().mode(), Mode::Connected);
        Sockets.local_ulid_back(ulid);
        associate(&pair, false);
        run(&format!("ip addr del {ulid}/64 dev d0"));
        assert_eq!(Sockets.local_ulid_lost(ulid), UlidLoss::Handled);
        assert_eq!(table::peek(c.0).unwrap().mode(), Mode::Detached);
        assert_eq!(c.names(), (local, at(P, 6000)));
        let flow = FlowId { protocol: 17, local_port: local.port(), peer_port: 6000 };
        assert_eq!(Sockets.deliver_to(pair.ulids(), flow), Some(DeliverTo::Loopback));
        assert_eq!(Sockets.descriptors(pair.ulids()), [c.0]);
        assert!(Sockets.in_use(pair.ulids()) && Sockets.serves(pair.ulids(), Some(flow)));
        // Strangers do not get in, not even into poll; the peer does.
        assert!(!ready());
        let stranger = Sock::bound(at("2001:db8:3::1", 6001));
        stranger.send_to(b"psst", at("2001:db8:3::1", local.port())).unwrap();
        inject(P, "::1", 6009, local.port(), b"wrong port");
        assert!(!ready());
        assert!(!Sockets.has_unread(pair.ulids()));
        assert_eq!(c.recv(), Err(libc::EAGAIN));
        inject(P, "::1", 6000, local.port(), b"injected");
        assert!(ready());
        assert!(Sockets.has_unread(pair.ulids()));
        assert_eq!(c.recv(), Ok((b"injected".to_vec(), at(P, 6000))));
        assert_eq!(pair.sample().received, 1);
        // No source any more, but other pairs: lost, not refused.
        assert_eq!(c.send(b"lost"), Ok(4));
        assert_eq!(REFUSED.lock().unwrap().len(), 1);
        associate(&pair, true);
        assert_eq!(c.send(b"moved"), Ok(5));
        assert_eq!(SENT.lock().unwrap().len(), 1);
        // Back again: by the kernel, from the ULID, to the peer.
        add_address(&ulid.to_string());
        Sockets.local_ulid_back(ulid);
        associate(&pair, false);
        assert_eq!(Sockets.deliver_to(pair.ulids(), flow), Some(DeliverTo::Ulid));
        assert_eq!(table::peek(c.0).unwrap().mode(), Mode::Connected);
        assert_eq!(sys::local_name(c.0), Some(local));
        assert_eq!(c.send(b"home"), Ok(4));
        assert_eq!(peer.recv_soon(), (b"home".to_vec(), local));
        assert_eq!(peer.send_to(b"welcome", local), Ok(7));
        assert!((0..50).any(|_| ready()));
        assert_eq!(c.recv(), Ok((b"welcome".to_vec(), at(P, 6000))));
        // The application connects it elsewhere: an ordinary socket again.
        c.connect(at("2001:db8:3::1", 6001));
        assert_eq!(table::peek(c.0).unwrap().mode(), Mode::Connected);
        assert_eq!(c.send(b"new"), Ok(3));
        let (_, from) = stranger.recv_soon();
        stranger.send_to(b"hello", from).unwrap();
        assert_eq!(c.recv_soon().0, b"hello");
    });
}

/// A program that calls exec has the kernel's socket alone to tell the next one what it was.
#[test]
fn a_detached_socket_is_known_again_after_exec() {
    world(|| {
        let peer = neighbour(6000);
        for back in [false, true] {
            let c = Sock::new();
            c.connect(at(P, 6000));
            let (local, _) = c.names();
            let pair = Recorder.cell(UlidPair { local: *local.ip(), peer: ip(P) }).unwrap();
            associate(&pair, false);
            run(&format!("ip addr del {}/64 dev d0", local.ip()));
            assert_eq!(Sockets.local_ulid_lost(*local.ip()), UlidLoss::Handled);
            assert_eq!(table::peek(c.0).unwrap().mode(), Mode::Detached);
            // All that exec leaves is the descriptor.
            table::forget(c.0);
            Sockets.local_ulid_back(*local.ip());
            if back {
                add_address(&local.ip().to_string());
            }
            ops::recognise();
            let mode = if back { Mode::Connected } else { Mode::Detached };
            assert_eq!(table::peek(c.0).map(|s| s.mode()), Some(mode), "{back}");
            assert_eq!(c.names(), (local, at(P, 6000)));
            let flow = FlowId { protocol: 17, local_port: local.port(), peer_port: 6000 };
            let to = if back { DeliverTo::Ulid } else { DeliverTo::Loopback };
            assert_eq!(Sockets.deliver_to(pair.ulids(), flow), Some(to));
            if !back {
                inject(P, "::1", 6000, local.port(), b"injected");
                assert_eq!(c.recv_soon().0, b"injected");
                add_address(&local.ip().to_string());
                Sockets.local_ulid_back(*local.ip());
            }
            associate(&pair, false);
            assert_eq!(c.send(b"home"), Ok(4));
            assert_eq!(peer.recv_soon(), (b"home".to_vec(), local));
        }
        // Others, and those with a filter of the application, are left alone.
        let c = Sock::bound(at("::", 0));
        table::forget(c.0);
        ops::recognise();
        assert!(table::peek(c.0).is_none());
    });
}

/// A source with an identity that the kernel does not prefer has to be bound. The kernel keeps it then as if the
/// application had bound it, and so does the shim; one that the kernel chose is given up with the connection.
#[test]
fn a_source_that_the_shim_binds_is_kept_like_one_of_the_application() {
    const IDENTITY: &str = "2001:db8:1::2";
    world(|| {
        let disconnected = |c: &Sock| {
            let raw = libc::sockaddr { sa_family: libc::AF_UNSPEC as u16, sa_data: [0; 14] };
            // SAFETY: `raw` outlives the call.
            let r = unsafe { ops::connect(c.0, &raw const raw, size_of_val(&raw) as socklen_t) };
            assert_eq!(r, Ok(0));
            *sys::local_name(c.0).unwrap().ip()
        };
        let chosen = Sock::new();
        chosen.connect(at(P, 6000));
        assert_eq!(*chosen.names().0.ip(), ip(A));
        associate(&cell(A, P), false);
        assert!(!table::peek(chosen.0).unwrap().has(flag::APP_BOUND));
        assert_eq!(disconnected(&chosen), Ipv6Addr::UNSPECIFIED);

        // Deprecated, so that nothing but bind makes the kernel use it.
        run(&format!("ip addr add {IDENTITY}/64 dev d0 nodad preferred_lft 0"));
        wait_until_local(IDENTITY);
        let ours = Sock::new();
        ours.connect(at(P, 6000));
        assert_eq!(*ours.names().0.ip(), ip(IDENTITY));
        associate(&cell(IDENTITY, P), false);
        assert!(table::peek(ours.0).unwrap().has(flag::APP_BOUND));
        assert_eq!(Sockets.local_ulid_lost(ip(IDENTITY)), UlidLoss::NeedsAddress);
        assert_eq!(table::peek(ours.0).unwrap().mode(), Mode::Connected);
        Sockets.local_ulid_back(ip(IDENTITY));
        assert_eq!(disconnected(&ours), ip(IDENTITY));

        // The application's own choice is never changed.
        let theirs = Sock::bound(at(A, 0));
        theirs.connect(at(P, 6000));
        assert_eq!(*theirs.names().0.ip(), ip(A));
        assert!(table::peek(theirs.0).unwrap().has(flag::APP_BOUND));
        assert_eq!(disconnected(&theirs), ip(A));
    });
}

/// What is re-injected comes by `lo`, where such a socket does not listen.
#[test]
fn a_socket_on_an_interface_is_the_kernels_alone() {
    world(|| {
        let peer = neighbour(6000);
        let bind_to = |fd, name: &[u8]| {
            // SAFETY: `name` is readable for its length.
            let r = unsafe {
                let (p, len) = (name.as_ptr().cast(), name.len() as socklen_t);
                ops::setsockopt(fd, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, p, len)
            };
            assert_eq!(r, Ok(0));
        };
        let mode = |c: &Sock| table::peek(c.0).unwrap().mode();
        let early = Sock::new();
        bind_to(early.0, b"d0");
        early.connect(at(P, 6000));
        assert_eq!(mode(&early), Mode::Plain);
        assert_eq!(early.send(b"hello"), Ok(5));
        assert_eq!(peer.recv_soon().0, b"hello");

        let c = Sock::new();
        c.connect(at(P, 6000));
        let (local, _) = c.names();
        let pair = Recorder.cell(UlidPair { local: *local.ip(), peer: ip(P) }).unwrap();
        associate(&pair, true);
        let flow = FlowId { protocol: 17, local_port: local.port(), peer_port: 6000 };
        assert!(Sockets.serves(pair.ulids(), Some(flow)));
        bind_to(c.0, b"d0");
        assert_eq!(mode(&c), Mode::Plain);
        assert!(!Sockets.serves(pair.ulids(), Some(flow)));
        assert_eq!(c.send(b"by the kernel"), Ok(13));
        assert_eq!(peer.recv_soon(), (b"by the kernel".to_vec(), local));
        // Known from elsewhere, it is asked for.
        table::forget(c.0);
        c.connect(at(P, 6000));
        assert_eq!(mode(&c), Mode::Plain);
        bind_to(c.0, b"");
        assert_eq!(mode(&c), Mode::Connected);
        associate(&pair, true);
        SENT.lock().unwrap().clear();
        assert_eq!(c.send(b"elsewhere"), Ok(9));
        assert_eq!(SENT.lock().unwrap().len(), 1);
    });
}

#[test]
fn a_bound_socket_needs_its_address_kept() {
    world(|| {
        let c = Sock::bound(at(A, 0));
        c.connect(at(P, 7));
        associate(&cell(A, P), false);
        assert_eq!(Sockets.local_ulid_lost(ip(A)), UlidLoss::NeedsAddress);
        assert_eq!(Sockets.local_ulid_lost(ip(B)), UlidLoss::Handled);
        Sockets.local_ulid_back(ip(A));
        Sockets.local_ulid_back(ip(B));
    });
}

// API-EX-04
#[test]
fn a_wildcard_socket_shows_the_ulid_for_what_was_injected_to_loopback() {
    world(|| {
        let s = Sock::bound(at("::", 5002));
        let on: c_int = 1;
        // SAFETY: the buffer outlives the call.
        let r = unsafe {
            ops::setsockopt(s.0, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, (&raw const on).cast(), 4)
        };
        assert_eq!(r, Ok(0));
        inject(P, A, 40, 5002, b"first");
        assert_eq!(s.recv_soon().1, at(P, 40));
        let pair = cell(A, P);
        assert_eq!(pair.sample().received, 1);
        associate(&pair, true);
        assert_eq!(Sockets.local_ulid_lost(ip(A)), UlidLoss::Handled);
        let flow = FlowId { protocol: 17, local_port: 5002, peer_port: 41 };
        assert_eq!(Sockets.deliver_to(pair.ulids(), flow), Some(DeliverTo::Loopback));
        for port in [40, 41] {
            // From a known port of the peer, and from one not heard before.
            inject(P, "::1", port, 5002, b"again");
            let mut b = [0u8; 16];
            let mut control = [0u64; 16];
            let mut iov = libc::iovec { iov_base: b.as_mut_ptr().cast(), iov_len: b.len() };
            // SAFETY: all zero is a valid value.
            let mut msg: libc::msghdr = unsafe { std::mem::zeroed() };
            (msg.msg_iov, msg.msg_iovlen) = (&raw mut iov, 1);
            (msg.msg_control, msg.msg_controllen) = (control.as_mut_ptr().cast(), size_of_val(&control));
            // SAFETY: the header points to locals.
            assert_eq!(unsafe { ops::recvmsg(s.0, &raw mut msg, 0) }, Ok(5));
            // SAFETY: the kernel wrote that many octets.
            let octets =
                unsafe { std::slice::from_raw_parts(control.as_ptr().cast::<u8>(), msg.msg_controllen) };
            assert_eq!(super::cmsg::destination(octets), Some(ip(A)));
        }
        assert_eq!(pair.sample().received, 3);
        assert_eq!(s.send_to(b"answer", at(P, 41)), Ok(6));
        assert_eq!(SENT.lock().unwrap().len(), 1);
        Sockets.local_ulid_back(ip(A));
    });
}

// API-ASSOC-04, API-ASSOC-08, API-ASSOC-09, API-DONT-07, API-LLL-05, API-LLL-09, API-LLL-10, API-LLR-05, API-LLR-11,
// API-GEN-13, API-GEN-15
#[test]
fn the_options_show_the_context() {
    world(|| {
        let c = Sock::new();
        c.connect(at(P, 7));
        let pair = cell(&sys::local_name(c.0).unwrap().ip().to_string(), P);
        let (d08, rfc) = (0x5533, 0x6316);
        let associated = |level| i32::from_ne_bytes(c.shim(level, 1, 4).unwrap().try_into().unwrap());
        assert_eq!((associated(d08), associated(rfc)), (0, 0));
        associate(&pair, false);
        assert_eq!((associated(d08), associated(rfc)), (1, 1));
        let local = c.shim(d08, 10, 640).unwrap();
        assert_eq!(local.len(), 40);
        assert_eq!(local[4..20], ip(A).octets());
        assert_eq!(local[24..40], ip(B).octets());
        let peer = c.shim(rfc, 11, 1024).unwrap();
        assert_eq!((peer.len(), &peer[12..28]), (32, &ip("2001:db8:9::9").octets()[..]));
        assert_eq!(c.shim(rfc, 10, 63), Err(5504));
        assert_eq!(c.shim(d08, 10, 39), Err(libc::EINVAL));
        let one: c_int = 1;
        // SAFETY: the buffer outlives the call.
        let set = |level| unsafe { ops::setsockopt(c.0, level, 2, (&raw const one).cast(), 4) };
        assert_eq!(set(rfc), Ok(-1));
        assert_eq!(guard::errno(), libc::EOPNOTSUPP);
        assert_eq!(associated(rfc), 1);
        assert_eq!(set(d08), Ok(0));
        assert_eq!((associated(d08), associated(rfc)), (0, 0));
        // SAFETY: plain integer.
        let twin = Sock(unsafe { ops::dup(c.0) });
        assert_eq!(twin.shim(d08, 2, 4), Ok(vec![1, 0, 0, 0]));
        pair.set_view(ContextView::default());
        assert_eq!(associated(d08), 0);
    });
}

/// Two sockets of one pair, whose context has a second locator here that the peer knows.
fn two_of_one_pair() -> (Sock, Sock, Arc<Cell>) {
    let (one, two) = (Sock::new(), Sock::new());
    one.connect(at(P, 7));
    two.connect(at(P, 7));
    let pair = cell(&sys::local_name(one.0).unwrap().ip().to_string(), P);
    let local: Vec<_> = [A, B].iter().map(|a| LocatorInfo { accepted: true, ..info(a) }).collect();
    pair.set_view(ContextView {
        associated: true,
        current: Some(pair.ulids().as_locators()),
        peer_tag: Some(ContextTag::new(5)),
        available: local.clone(),
        local,
        peer: vec![info(P)],
        ..ContextView::default()
    });
    pair.set_forward(None);
    (one, two, pair)
}

// API-CM-36: REAP's timers hear of a datagram by the count of the context, however it went.
#[test]
fn a_datagram_with_locators_of_its_own_counts_for_the_context() {
    world(|| {
        let (one, _two, pair) = two_of_one_pair();
        let mut name = [0; 28];
        name[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
        name[8..24].copy_from_slice(&ip(B).octets());
        let woken = |pair: &Cell| WOKEN.lock().unwrap().iter().filter(|w| w.0 == pair.ulids()).count();
        let wake = crate::engine::Wake { on_sent: true, after_bytes: Some(1000), ..Default::default() };
        pair.set_wake(wake);
        let before = woken(&pair);
        assert_eq!(one.send_with(Some(b"by another"), 8, &name), Ok(10));
        assert_eq!(SENT.lock().unwrap().len(), 1);
        let sample = pair.sample();
        assert_eq!((sample.sent, sample.bytes, woken(&pair)), (1, 10, before + 1));
    });
}

// API-FB-03, API-FB-09, API-FB-10
#[test]
fn feedback_is_taken_from_every_socket_of_the_context() {
    world(|| {
        let (one, two, pair) = two_of_one_pair();
        for socket in [&one, &two] {
            for indicator in 0..4 {
                assert_eq!(socket.send_with(None, 15, &[0, indicator, 0, 0]), Ok(0));
            }
            let told: Vec<_> = FEEDBACK.lock().unwrap().drain(..).collect();
            let all = [Feedback::Unable, Feedback::Unsatisfactory, Feedback::SatisfactoryOutbound];
            assert_eq!(told, all.map(|f| (pair.ulids(), f)), "nothing follows from indicator 0");
        }
        assert!(CONFIGURED.lock().unwrap().is_empty() && SENT.lock().unwrap().is_empty());
        assert_eq!(pair.sample().sent, 0);
    });
}

// API-LRX-08, API-LRX-09
#[test]
fn the_receive_switches_belong_to_the_socket() {
    world(|| {
        let (one, two, pair) = two_of_one_pair();
        let on: c_int = 1;
        // SAFETY: the buffer outlives the call.
        let set = |name| unsafe { ops::setsockopt(one.0, 0x5533, name, (&raw const on).cast(), 4) };
        let read = |s: &Sock| [6, 7].map(|name| s.shim(0x5533, name, 4).map(|value| value[0]));
        assert_eq!((set(6), read(&one), read(&two)), (Ok(0), [Ok(1), Ok(0)], [Ok(0), Ok(0)]));
        assert!(CONFIGURED.lock().unwrap().is_empty(), "no change of the context, so no fork");
        // Without the context, and with the next one
        let view = pair.view();
        pair.set_view(ContextView::default());
        assert_eq!(read(&one), [Err(libc::ENOENT), Err(libc::ENOENT)]);
        pair.set_view(ContextView::clone(&view));
        assert_eq!((read(&one), read(&two)), ([Ok(1), Ok(0)], [Ok(0), Ok(0)]));
        // As opposed to what is the context's
        assert_eq!((set(12), CONFIGURED.lock().unwrap().len()), (Ok(0), 1));
    });
}

#[test]
fn a_detached_socket_keeps_its_port_also_with_reuse() {
    world(|| {
        for name in [0, libc::SO_REUSEADDR, libc::SO_REUSEPORT] {
            let c = Sock::new();
            if name != 0 {
                sys::set_int(c.0, libc::SOL_SOCKET, name, 1).unwrap();
            }
            c.connect(at(B, 9));
            let (local, _) = c.names();
            let pair = Recorder.cell(UlidPair { local: *local.ip(), peer: ip(B) }).unwrap();
            associate(&pair, false);
            assert_eq!(Sockets.local_ulid_lost(*local.ip()), UlidLoss::Handled);
            assert_eq!(table::peek(c.0).unwrap().mode(), Mode::Detached);
            // The kernel's view: wildcard, and the port of old
            assert_eq!(sys::local_name(c.0).unwrap(), at("::", local.port()));
            if name != 0 {
                assert_eq!(sys::int_option(c.0, libc::SOL_SOCKET, name), Ok(1));
            }
        }
    });
}

// API-EX-11
#[test]
fn what_shim6_does_not_serve_stays_plain() {
    world(|| {
        for to in ["::1", "::ffff:127.0.0.1"] {
            let c = Sock::new();
            c.connect(at(to, 9));
            assert_eq!(table::peek(c.0).unwrap().mode(), Mode::Plain);
        }
        let c = Sock::bound(at("::1", 0));
        assert_eq!(table::peek(c.0).unwrap().mode(), Mode::Plain);
        assert!(CELLS.lock().unwrap().is_none());
    });
}
