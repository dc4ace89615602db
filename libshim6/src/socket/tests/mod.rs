//! The operations against a backend that records what it is told, in a network namespace. The healthy path, and
//! everything else that the C programs of `c-tests` can see, is tested there.

mod detached;
mod options;
mod traffic;

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
    fn suppresses(&self) -> bool {
        true
    }
    fn bare(&self, locators: LocatorPair) -> Vec<Arc<Cell>> {
        let cells = CELLS.lock().unwrap();
        let takes = |c: &&Arc<Cell>| c.view().takes(c.ulids(), locators);
        cells.iter().flat_map(HashMap::values).filter(takes).cloned().collect()
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
    cell.set_forward(forward.then(|| Forward::new(locators, 1, ContextTag::new(5), 1500)));
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
        self.connect_raw(&sys::to_raw(&to));
    }
    /// Dissolve the association.
    fn disconnect(&self) {
        self.connect_raw(&libc::sockaddr { sa_family: libc::AF_UNSPEC as u16, sa_data: [0; 14] });
    }
    fn connect_raw<A>(&self, raw: &A) {
        let (p, len) = ((&raw const *raw).cast(), size_of_val(raw) as socklen_t);
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
    /// The same to each of them, by one call: how many went.
    fn send_batch(&self, data: &[u8], to: &[SocketAddrV6]) -> c_int {
        let mut part = libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() };
        let mut names: Vec<_> = to.iter().map(sys::to_raw).collect();
        // SAFETY: all zero is a valid value.
        let mut all: Vec<libc::mmsghdr> = to.iter().map(|_| unsafe { std::mem::zeroed() }).collect();
        for (m, name) in all.iter_mut().zip(&mut names) {
            (m.msg_hdr.msg_iov, m.msg_hdr.msg_iovlen) = (&raw mut part, 1);
            m.msg_hdr.msg_name = (&raw mut *name).cast();
            m.msg_hdr.msg_namelen = size_of_val(name) as socklen_t;
        }
        // SAFETY: the headers point to locals and to `data`.
        let sent = unsafe { ops::sendmmsg(self.0, all.as_mut_ptr(), all.len() as libc::c_uint, 0) }.unwrap();
        assert!(all.iter().take(sent.max(0) as usize).all(|m| m.msg_len as usize == data.len()));
        sent
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
    /// Octets and source of all that came, up to four, by one call.
    fn recv_batch(&self, named: bool) -> Vec<(u32, Option<SocketAddrV6>)> {
        let (mut data, mut names) = ([[0u8; 100]; 4], [sys::to_raw(&at("::", 0)); 4]);
        let mut parts =
            data.each_mut().map(|d| libc::iovec { iov_base: d.as_mut_ptr().cast(), iov_len: 100 });
        // SAFETY: all zero is a valid value.
        let mut all: [libc::mmsghdr; 4] = unsafe { std::mem::zeroed() };
        for ((m, part), name) in all.iter_mut().zip(&mut parts).zip(&mut names) {
            (m.msg_hdr.msg_iov, m.msg_hdr.msg_iovlen) = (part, 1);
            if named {
                m.msg_hdr.msg_name = (&raw mut *name).cast();
                m.msg_hdr.msg_namelen = size_of_val(name) as socklen_t;
            }
        }
        // SAFETY: the buffers outlive the call.
        let n =
            unsafe { ops::recvmmsg(self.0, all.as_mut_ptr(), 4, libc::MSG_DONTWAIT, std::ptr::null_mut()) };
        let n = n.unwrap().max(0) as usize;
        all[..n].iter().zip(&names).map(|(m, a)| (m.msg_len, named.then(|| sys::from_raw(a)))).collect()
    }
    /// What comes over the link, sooner or later on a busy machine.
    fn recv_soon(&self) -> (Vec<u8>, SocketAddrV6) {
        self.wait_readable();
        self.recv().unwrap()
    }
    fn wait_readable(&self) {
        let mut p = libc::pollfd { fd: self.0, events: libc::POLLIN, revents: 0 };
        // SAFETY: `p` outlives the call.
        assert_eq!(unsafe { libc::poll(&raw mut p, 1, 10_000) }, 1);
    }
    /// A datagram by recvmsg, with room for so much ancillary data: its length, octets of that, flags.
    fn recv_message(&self, room: usize) -> (usize, usize, c_int) {
        let mut b = [0u8; 100];
        let mut control = [0u64; 64];
        // SAFETY: all zero is a valid value; the header and what it points to are locals that outlive the call.
        unsafe {
            let mut m: libc::msghdr = std::mem::zeroed();
            let mut iov = libc::iovec { iov_base: b.as_mut_ptr().cast(), iov_len: b.len() };
            (m.msg_iov, m.msg_iovlen) = (&raw mut iov, 1);
            m.msg_control = control.as_mut_ptr().cast();
            m.msg_controllen = room.min(size_of_val(&control)) as _;
            self.wait_readable();
            let r =
                ops::recvmsg(self.0, &raw mut m, 0).unwrap_or_else(|_| real::recvmsg(self.0, &raw mut m, 0));
            (result(r).unwrap(), m.msg_controllen as usize, m.msg_flags)
        }
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
