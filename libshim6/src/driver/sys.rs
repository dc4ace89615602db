//! System calls of the driver, and the table of its own descriptors.
//!
//! Everything goes to the kernel directly ([`super::kernel`]): under the preload library the libc names lead back into our
//! own hooks.
//! Own descriptors live at high numbers with CLOEXEC and are listed in a static table, so that the hooks can keep
//! close loops away from them and a forked child can drop them without taking a lock.

use crate::driver::kernel::kernel;
use libc::{c_int, c_long, c_void};
use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering::SeqCst};

/// Most descriptors that all engines of a process hold; an engine needs eleven, up to 48 for the default contexts of its
/// ULID pairs, and some per client of its console.
const SLOTS: usize = 128;
/// Slot: 0, or a stamp in the upper half and the descriptor + 1 in the lower.
static TABLE: [AtomicU64; SLOTS] = [const { AtomicU64::new(0) }; SLOTS];
/// No own descriptor is below this one: the usual question is answered by one load.
static LOWEST: AtomicI32 = AtomicI32::new(i32::MAX);
static STAMP: AtomicU32 = AtomicU32::new(1);
static FORKS: AtomicU32 = AtomicU32::new(0);

/// How often this process image has forked itself (counted in the child).
pub fn forks() -> u32 {
    FORKS.load(SeqCst)
}

/// Is `fd` a descriptor of the driver?
pub fn is_own(fd: RawFd) -> bool {
    if fd < LOWEST.load(SeqCst) {
        return false;
    }
    TABLE.iter().any(|slot| descriptor(slot.load(SeqCst)) == Some(fd))
}

/// In a forked child: close the copies of the parent's descriptors. Takes no lock and allocates nothing.
pub fn close_all_after_fork() {
    FORKS.fetch_add(1, SeqCst);
    for slot in &TABLE {
        if let Some(fd) = descriptor(slot.swap(0, SeqCst)) {
            close(fd);
        }
    }
    LOWEST.store(i32::MAX, SeqCst);
}

fn descriptor(slot: u64) -> Option<RawFd> {
    let low = slot as u32;
    (low != 0).then(|| (low - 1) as RawFd)
}

/// An own descriptor. Closed on drop, unless a fork has closed it before.
#[derive(Debug)]
pub struct OwnFd {
    fd: RawFd,
    entry: Entry,
}

/// The place of an own descriptor in the table.
#[derive(Debug)]
pub struct Entry {
    slot: usize,
    value: u64,
}

impl OwnFd {
    /// Move a new descriptor to a high number and list it.
    pub fn adopt(fd: RawFd) -> io::Result<OwnFd> {
        let fd = move_high(fd);
        match list(fd) {
            Ok(entry) => Ok(OwnFd { fd, entry }),
            Err(e) => {
                close(fd);
                Err(e)
            }
        }
    }

    /// The number.
    pub fn raw(&self) -> RawFd {
        self.fd
    }
}

impl Drop for OwnFd {
    fn drop(&mut self) {
        if self.entry.take() {
            close(self.fd);
        }
    }
}

impl Entry {
    /// Take the entry off the table; `false` if a fork did so before.
    fn take(&self) -> bool {
        TABLE[self.slot].compare_exchange(self.value, 0, SeqCst, SeqCst).is_ok()
    }
}

/// List a descriptor that another type owns and closes (the netlink socket). Dropped before that type.
#[derive(Debug)]
pub struct Listed(Entry);

impl Listed {
    /// List `fd`.
    pub fn new(fd: RawFd) -> io::Result<Listed> {
        list(fd).map(Listed)
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.0.take();
    }
}

fn list(fd: RawFd) -> io::Result<Entry> {
    let value = u64::from(STAMP.fetch_add(1, SeqCst)) << 32 | (fd as u64 + 1);
    LOWEST.fetch_min(fd, SeqCst);
    let free = |slot: &AtomicU64| slot.compare_exchange(0, value, SeqCst, SeqCst).is_ok();
    match TABLE.iter().position(free) {
        Some(slot) => Ok(Entry { slot, value }),
        None => Err(io::Error::from_raw_os_error(libc::EMFILE)),
    }
}

/// Where own descriptors start: 64 below the soft limit, but not so high that the kernel's table for this process
/// becomes large (8 octets per number).
fn first_number() -> c_int {
    let mut limit = libc::rlimit { rlim_cur: 1024, rlim_max: 1024 };
    // SAFETY: `limit` outlives the call, which writes one `struct rlimit`.
    unsafe { kernel!(libc::SYS_prlimit64, 0, libc::RLIMIT_NOFILE, 0usize, &raw mut limit) };
    let limit = limit.rlim_cur.min(4096) as c_int;
    (limit - 64).max(limit / 2).max(3)
}

/// Move a descriptor to a high number, with CLOEXEC; it stays where it is if that is not possible.
pub fn move_high(fd: RawFd) -> RawFd {
    // SAFETY: F_DUPFD_CLOEXEC takes an integer and touches no memory.
    let high = unsafe { kernel!(libc::SYS_fcntl, fd, libc::F_DUPFD_CLOEXEC, first_number()) };
    if high < 0 {
        return fd;
    }
    close(fd);
    high as RawFd
}

/// The result of a raw call as `io::Result`.
pub fn check(result: c_long) -> io::Result<c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Wait a little, as for a lock that nobody gives back. Sandboxes that kill for a sleep let threads wait for locks.
pub fn wait_a_millisecond() {
    let lock = 0u32;
    let most = libc::timespec { tv_sec: 0, tv_nsec: 1_000_000 };
    let op = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: both locals outlive the call, which only reads them.
    unsafe { kernel!(libc::SYS_futex, &raw const lock, op, 0, &raw const most, 0usize, 0) };
}

/// `close(2)`; errors mean nothing here.
pub fn close(fd: RawFd) {
    // SAFETY: no memory involved; callers own `fd`.
    unsafe { kernel!(libc::SYS_close, fd) };
}

/// `socket(2)` with CLOEXEC and NONBLOCK, listed as own.
pub fn socket(domain: c_int, ty: c_int, protocol: c_int) -> io::Result<OwnFd> {
    let ty = ty | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no memory involved.
    let fd = check(unsafe { kernel!(libc::SYS_socket, domain, ty, protocol) })?;
    OwnFd::adopt(fd as RawFd)
}

/// Take NONBLOCK away again.
pub fn let_block(fd: RawFd) -> io::Result<()> {
    // SAFETY: no memory involved; no other status flag of a socket of ours is set.
    check(unsafe { kernel!(libc::SYS_fcntl, fd, libc::F_SETFL, 0) }).map(drop)
}

/// `setsockopt(2)` with any plain value.
pub fn set_option<T: Copy>(fd: RawFd, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    let (p, len) = ((&raw const *value).cast::<c_void>(), size_of::<T>());
    // SAFETY: `p` points to `len` readable octets for the length of the call.
    check(unsafe { kernel!(libc::SYS_setsockopt, fd, level, name, p, len) }).map(drop)
}

/// Attach a classic BPF program; an earlier one is replaced at once.
pub fn attach_filter(fd: RawFd, program: &[libc::sock_filter]) -> io::Result<()> {
    let prog = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
    set_option(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &prog)
}

/// A type of which any octets are a value.
///
/// # Safety
/// It has no padding and no invalid bit patterns.
pub unsafe trait Plain: Copy {}
// SAFETY: integers and arrays of them.
unsafe impl Plain for c_int {}
// SAFETY: as above.
unsafe impl Plain for [u32; 9] {}
// SAFETY: as above.
unsafe impl Plain for [u32; 3] {}

/// `getsockopt(2)` of a plain value; what the kernel does not fill is zero.
pub fn option<T: Plain>(fd: RawFd, level: c_int, name: c_int) -> io::Result<T> {
    // SAFETY: any octets are a value of `T`.
    let mut value: T = unsafe { std::mem::zeroed() };
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: both pointers are valid for writes of the sizes they stand for.
    let r = unsafe { kernel!(libc::SYS_getsockopt, fd, level, name, &raw mut value, &raw mut len) };
    check(r).map(|_| value)
}

/// `bind(2)` to a plain address structure; `len` may be shorter than `A` (abstract Unix names).
pub fn bind<A: Copy>(fd: RawFd, addr: &A, len: usize) -> io::Result<()> {
    debug_assert!(len <= size_of::<A>());
    // SAFETY: `addr` has at least `len` readable octets.
    check(unsafe { kernel!(libc::SYS_bind, fd, &raw const *addr, len) }).map(drop)
}

/// `connect(2)`, as [`bind`].
pub fn connect<A: Copy>(fd: RawFd, addr: &A, len: usize) -> io::Result<()> {
    debug_assert!(len <= size_of::<A>());
    // SAFETY: `addr` has at least `len` readable octets.
    check(unsafe { kernel!(libc::SYS_connect, fd, &raw const *addr, len) }).map(drop)
}

/// `listen(2)`.
pub fn listen(fd: RawFd, backlog: c_int) -> io::Result<()> {
    // SAFETY: no memory involved.
    check(unsafe { kernel!(libc::SYS_listen, fd, backlog) }).map(drop)
}

/// `accept4(2)` with CLOEXEC and NONBLOCK, listed as own.
pub fn accept(fd: RawFd) -> io::Result<OwnFd> {
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no address is asked for.
    let fd = check(unsafe { kernel!(libc::SYS_accept4, fd, 0usize, 0usize, flags) })?;
    OwnFd::adopt(fd as RawFd)
}

/// `recv(2)` without waiting.
pub fn recv(fd: RawFd, out: &mut [u8]) -> io::Result<usize> {
    let (p, len) = (out.as_mut_ptr(), out.len());
    // SAFETY: `len` octets are writable at `p`; no address is asked for.
    let r = unsafe { kernel!(libc::SYS_recvfrom, fd, p, len, libc::MSG_DONTWAIT, 0usize, 0usize) };
    check(r).map(|n| n as usize)
}

/// `send(2)` without waiting and without SIGPIPE.
pub fn send(fd: RawFd, packet: &[u8]) -> io::Result<()> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: as many octets are readable as are said; no address is given.
    let r = unsafe { kernel!(libc::SYS_sendto, fd, packet.as_ptr(), packet.len(), flags, 0usize, 0usize) };
    check(r).map(drop)
}

/// The same over a Unix socket, with a copy of the descriptor `file`.
pub fn send_with_file(fd: RawFd, packet: &[u8], file: RawFd) -> io::Result<()> {
    #[repr(C)]
    struct Control(libc::cmsghdr, c_int);
    let header = libc::cmsghdr {
        cmsg_len: std::mem::offset_of!(Control, 1) + size_of::<c_int>(),
        cmsg_level: libc::SOL_SOCKET,
        cmsg_type: libc::SCM_RIGHTS,
    };
    let mut control = Control(header, file);
    let mut iov = libc::iovec { iov_base: packet.as_ptr().cast_mut().cast(), iov_len: packet.len() };
    // SAFETY: an all-zero `msghdr` is valid.
    let mut msg: libc::msghdr = unsafe { std::mem::zeroed() };
    (msg.msg_iov, msg.msg_iovlen) = (&raw mut iov, 1);
    (msg.msg_control, msg.msg_controllen) = ((&raw mut control).cast(), size_of::<Control>());
    // SAFETY: `iov` and `control` outlive the call, and `packet` is only read.
    unsafe { sendmsg(fd, &msg, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) }.map(drop)
}

/// A file without a place in the file system (`memfd_create(2)`), read from its start.
pub fn file_in_memory(name: &std::ffi::CStr, contents: &[u8]) -> io::Result<OwnFd> {
    // SAFETY: `name` ends with a zero octet.
    let fd = check(unsafe { kernel!(libc::SYS_memfd_create, name.as_ptr(), libc::MFD_CLOEXEC) })?;
    let file = OwnFd::adopt(fd as RawFd)?;
    let mut at = 0;
    while let Some(rest) = contents.get(at..).filter(|rest| !rest.is_empty()) {
        // SAFETY: as many octets are readable as are said.
        let r = unsafe { kernel!(libc::SYS_pwrite64, file.raw(), rest.as_ptr(), rest.len(), at) };
        at += check(r)? as usize;
    }
    Ok(file)
}

/// `sendmsg(2)`.
///
/// # Safety
/// All pointers in `msg` are valid for the lengths given there.
pub unsafe fn sendmsg(fd: RawFd, msg: &libc::msghdr, flags: c_int) -> io::Result<usize> {
    // SAFETY: the caller vouches for `msg`.
    check(unsafe { kernel!(libc::SYS_sendmsg, fd, &raw const *msg, flags) }).map(|n| n as usize)
}

/// `sendmmsg(2)`; how many messages went out.
///
/// # Safety
/// As [`sendmsg`], for each message.
pub unsafe fn sendmmsg(fd: RawFd, msgs: &mut [libc::mmsghdr], flags: c_int) -> io::Result<usize> {
    // SAFETY: the caller vouches for the messages.
    check(unsafe { kernel!(libc::SYS_sendmmsg, fd, msgs.as_mut_ptr(), msgs.len(), flags) })
        .map(|n| n as usize)
}

/// `recvmsg(2)`.
///
/// # Safety
/// As [`sendmsg`], writable.
pub unsafe fn recvmsg(fd: RawFd, msg: &mut libc::msghdr, flags: c_int) -> io::Result<usize> {
    // SAFETY: the caller vouches for `msg`.
    check(unsafe { kernel!(libc::SYS_recvmsg, fd, &raw mut *msg, flags) }).map(|n| n as usize)
}

/// `recvmmsg(2)` without timeout; how many messages came.
///
/// # Safety
/// As [`recvmsg`], for each message.
pub unsafe fn recvmmsg(fd: RawFd, msgs: &mut [libc::mmsghdr], flags: c_int) -> io::Result<usize> {
    let none = std::ptr::null_mut::<libc::timespec>();
    // SAFETY: the caller vouches for the messages; no timeout is given.
    check(unsafe { kernel!(libc::SYS_recvmmsg, fd, msgs.as_mut_ptr(), msgs.len(), flags, none) })
        .map(|n| n as usize)
}

/// Wait until `fd` shows `events`; `false` on timeout.
pub fn poll(fd: RawFd, events: i16, timeout_ms: i32) -> io::Result<bool> {
    let mut p = libc::pollfd { fd, events, revents: 0 };
    let t = libc::timespec {
        tv_sec: (timeout_ms / 1000).into(),
        tv_nsec: (timeout_ms % 1000 * 1_000_000).into(),
    };
    let t = if timeout_ms < 0 { std::ptr::null() } else { &raw const t };
    // SAFETY: one pollfd, a timespec or NULL, no signal mask.
    check(unsafe { kernel!(libc::SYS_ppoll, &raw mut p, 1, t, 0usize, 0usize) }).map(|n| n > 0)
}

/// `eventfd(2)`, nonblocking, as own descriptor.
pub fn eventfd() -> io::Result<OwnFd> {
    // SAFETY: no memory involved.
    let fd = check(unsafe { kernel!(libc::SYS_eventfd2, 0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
    OwnFd::adopt(fd as RawFd)
}

/// Add 1 to an eventfd.
pub fn notify(fd: RawFd) {
    let one = 1u64;
    // SAFETY: 8 readable octets.
    unsafe { kernel!(libc::SYS_write, fd, &raw const one, 8usize) };
}

/// Read the 8 octets of an eventfd or timerfd, if there are any.
pub fn clear(fd: RawFd) {
    let mut n = 0u64;
    // SAFETY: 8 writable octets.
    unsafe { kernel!(libc::SYS_read, fd, &raw mut n, 8usize) };
}

/// A timer on CLOCK_BOOTTIME, as own descriptor.
pub fn timerfd() -> io::Result<OwnFd> {
    let flags = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
    // SAFETY: no memory involved.
    let fd = check(unsafe { kernel!(libc::SYS_timerfd_create, libc::CLOCK_BOOTTIME, flags) })?;
    OwnFd::adopt(fd as RawFd)
}

/// Arm a timer for `ns` after boot, or disarm it.
pub fn arm_timer(fd: RawFd, ns: Option<u64>) -> io::Result<()> {
    // A time of 0 disarms; a time in the past fires at once.
    let ns = ns.map_or(0, |n| n.max(1));
    let zero = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let value = libc::timespec {
        tv_sec: (ns / 1_000_000_000) as libc::time_t,
        tv_nsec: (ns % 1_000_000_000) as c_long,
    };
    let spec = libc::itimerspec { it_interval: zero, it_value: value };
    // SAFETY: `spec` outlives the call; no old value is asked for.
    let r =
        unsafe { kernel!(libc::SYS_timerfd_settime, fd, libc::TFD_TIMER_ABSTIME, &raw const spec, 0usize) };
    check(r).map(drop)
}

/// `epoll_create1(2)`, as own descriptor.
pub fn epoll() -> io::Result<OwnFd> {
    // SAFETY: no memory involved.
    let fd = check(unsafe { kernel!(libc::SYS_epoll_create1, libc::EPOLL_CLOEXEC) })?;
    OwnFd::adopt(fd as RawFd)
}

/// `epoll_ctl(2)`.
pub fn epoll_control(epoll: RawFd, op: c_int, fd: RawFd, events: u32, token: u64) -> io::Result<()> {
    let mut event = libc::epoll_event { events, u64: token };
    // SAFETY: `event` outlives the call.
    check(unsafe { kernel!(libc::SYS_epoll_ctl, epoll, op, fd, &raw mut event) }).map(drop)
}

/// `epoll_pwait(2)` without timeout and signal mask; (events, token) pairs are appended to `out`.
pub fn epoll_wait(epoll: RawFd, out: &mut Vec<(u32, u64)>) -> io::Result<()> {
    epoll_wait_for(epoll, out, -1)
}

/// The same, for so many milliseconds at most; less than 0 is for ever.
pub fn epoll_wait_for(epoll: RawFd, out: &mut Vec<(u32, u64)>, timeout_ms: c_int) -> io::Result<()> {
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; 64];
    // SAFETY: room for as many events as are asked for; no signal mask.
    let r = unsafe {
        kernel!(libc::SYS_epoll_pwait, epoll, events.as_mut_ptr(), events.len(), timeout_ms, 0usize, 8usize,)
    };
    let n = check(r)? as usize;
    out.extend(events[..n].iter().map(|e| (e.events, e.u64)));
    Ok(())
}

/// Ask the scheduler to let the calling thread run soon and shortly at a time, which needs no privilege: it waits most of
/// the time, and what it then has to do is a few microseconds that the application waits for. Kernels before 6.12 do
/// not know of it.
pub fn ask_for_short_slices() {
    /// struct sched_attr of <linux/sched/types.h>, its first version.
    #[repr(C)]
    #[derive(Default)]
    struct Attributes {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        runtime: u64,
        deadline: u64,
        period: u64,
    }
    /// The shortest that the kernel takes.
    const SLICE_NS: u64 = 100_000;
    let size = size_of::<Attributes>() as u32;
    let mut a = Attributes::default();
    // SAFETY: the kernel writes at most `size` octets to `a`; thread 0 is the calling one.
    let got = unsafe { kernel!(libc::SYS_sched_getattr, 0, &raw mut a, size, 0) };
    if got == 0 && a.policy == libc::SCHED_OTHER as u32 {
        (a.size, a.runtime) = (size, SLICE_NS);
        // SAFETY: `a` is a whole structure of the size that it names.
        unsafe { kernel!(libc::SYS_sched_setattr, 0, &raw const a, 0) };
    }
}

/// An IPv6 socket address without port and scope.
pub fn sockaddr(addr: std::net::Ipv6Addr, port: u16) -> libc::sockaddr_in6 {
    libc::sockaddr_in6 {
        sin6_family: libc::AF_INET6 as libc::sa_family_t,
        sin6_port: port.to_be(),
        sin6_flowinfo: 0,
        sin6_addr: libc::in6_addr { s6_addr: addr.octets() },
        sin6_scope_id: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_descriptors_are_high_listed_and_closed() {
        let fd = eventfd().unwrap();
        let n = fd.raw();
        assert!(n >= first_number() && is_own(n) && !is_own(0) && !is_own(n + 1_000_000));
        // SAFETY: F_GETFD touches no memory.
        let flags = unsafe { libc::fcntl(n, libc::F_GETFD) };
        assert_eq!(flags, libc::FD_CLOEXEC);
        drop(fd);
        assert!(!is_own(n));
    }

    #[test]
    fn a_descriptor_that_a_fork_took_is_not_closed_again() {
        let fd = eventfd().unwrap();
        let n = fd.raw();
        // What `close_all_after_fork` does in a child, for this one slot.
        assert!(fd.entry.take());
        drop(fd);
        // SAFETY: F_GETFD touches no memory.
        assert!(unsafe { libc::fcntl(n, libc::F_GETFD) } >= 0, "left open");
        close(n);
    }
}
