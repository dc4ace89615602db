//! Our own system calls, past every library: they reach no hook and are no cancellation points.

use super::memory;
use crate::driver::kernel::kernel;
use libc::{c_int, c_long, c_void, sockaddr_in6, socklen_t};
use std::net::{Ipv6Addr, SocketAddrV6};

/// A socket address as the kernel wants it. `scope_id` and flow information are kept.
pub fn to_raw(a: &SocketAddrV6) -> sockaddr_in6 {
    sockaddr_in6 {
        sin6_family: libc::AF_INET6 as u16,
        sin6_port: a.port().to_be(),
        sin6_flowinfo: a.flowinfo().to_be(),
        sin6_addr: libc::in6_addr { s6_addr: a.ip().octets() },
        sin6_scope_id: a.scope_id(),
    }
}

/// The other way.
pub fn from_raw(a: &sockaddr_in6) -> SocketAddrV6 {
    let ip = Ipv6Addr::from(a.sin6_addr.s6_addr);
    SocketAddrV6::new(ip, u16::from_be(a.sin6_port), u32::from_be(a.sin6_flowinfo), a.sin6_scope_id)
}

/// Can `len` octets at `p` be read, as what `p` points to? Where they cannot, or where the pointer is not aligned, the
/// answer is the kernel's to give: the plain call. Costs a few loads, and a system call where a page is new to us.
#[inline]
pub fn can_read<T>(p: *const T, len: usize) -> bool {
    p.is_aligned() && memory::checked(p as usize, len, memory::Access::Read)
}

/// As [`can_read`], for writing.
#[inline]
pub fn can_write<T>(p: *const T, len: usize) -> bool {
    p.is_aligned() && memory::checked(p as usize, len, memory::Access::Write)
}

/// The address family that an application passed in the kind of call that may take its time; `None` if the kernel is
/// going to refuse the address.
pub fn family(addr: *const libc::sockaddr, len: socklen_t) -> Option<c_int> {
    let sane = (size_of::<libc::sa_family_t>()..=MAX_NAME).contains(&(len as usize));
    if !sane || !can_read(addr.cast::<u8>(), len as usize) {
        return None;
    }
    // SAFETY: readable, as the kernel says.
    Some(c_int::from(unsafe { (&raw const (*addr).sa_family).read_unaligned() }))
}

/// Octets of the longest address that the kernel takes (sockaddr_storage).
const MAX_NAME: usize = 128;

/// The IPv6 address and port that an application passed; `None` if it is no whole `sockaddr_in6`.
///
/// # Safety
/// `addr` is readable for `len` octets, or [`can_read`] tells that it is not.
pub unsafe fn read_v6(addr: *const libc::sockaddr, len: socklen_t) -> Option<SocketAddrV6> {
    // 24: RFC 2133 knew no scope identifier, and the kernel still takes that length.
    if !(24..=MAX_NAME).contains(&(len as usize)) || !can_read(addr.cast::<u8>(), len as usize) {
        return None;
    }
    let mut raw = sockaddr_in6 {
        sin6_family: 0,
        sin6_port: 0,
        sin6_flowinfo: 0,
        sin6_addr: libc::in6_addr { s6_addr: [0; 16] },
        sin6_scope_id: 0,
    };
    let n = (len as usize).min(size_of::<sockaddr_in6>());
    // SAFETY: `n` octets are readable at `addr` and writable at `raw`, which are different objects.
    unsafe { std::ptr::copy_nonoverlapping(addr.cast::<u8>(), (&raw mut raw).cast::<u8>(), n) };
    v6_of(&raw)
}

/// A socket address, if it is an IPv6 one.
#[inline]
pub fn v6_of(raw: &sockaddr_in6) -> Option<SocketAddrV6> {
    (c_int::from(raw.sin6_family) == libc::AF_INET6).then(|| from_raw(raw))
}

fn ok(r: c_long) -> Result<c_long, c_int> {
    if r < 0 { Err(super::guard::errno()) } else { Ok(r) }
}

/// `socket(2)`.
pub fn socket(domain: c_int, ty: c_int, protocol: c_int) -> Result<c_int, c_int> {
    // SAFETY: no memory involved.
    ok(unsafe { kernel!(libc::SYS_socket, domain, ty, protocol) }).map(|fd| fd as c_int)
}

/// `close(2)` of a descriptor of our own.
pub fn close(fd: c_int) {
    // SAFETY: no memory involved.
    unsafe { kernel!(libc::SYS_close, fd) };
}

/// `bind(2)` to an IPv6 address.
pub fn bind(fd: c_int, addr: &SocketAddrV6) -> Result<(), c_int> {
    let raw = to_raw(addr);
    // SAFETY: `raw` outlives the call.
    ok(unsafe { kernel!(libc::SYS_bind, fd, &raw const raw, size_of::<sockaddr_in6>()) }).map(drop)
}

/// `connect(2)` to an IPv6 address.
pub fn connect(fd: c_int, addr: &SocketAddrV6) -> Result<(), c_int> {
    let raw = to_raw(addr);
    // SAFETY: `raw` outlives the call.
    ok(unsafe { kernel!(libc::SYS_connect, fd, &raw const raw, size_of::<sockaddr_in6>()) }).map(drop)
}

/// `connect(2)` to AF_UNSPEC: dissolves the association.
pub fn disconnect(fd: c_int) -> Result<(), c_int> {
    let raw = libc::sockaddr { sa_family: libc::AF_UNSPEC as u16, sa_data: [0; 14] };
    // SAFETY: `raw` outlives the call.
    ok(unsafe { kernel!(libc::SYS_connect, fd, &raw const raw, size_of::<libc::sockaddr>()) }).map(drop)
}

/// `getsockname(2)` of an IPv6 socket; `None` if it is none.
pub fn local_name(fd: c_int) -> Option<SocketAddrV6> {
    let mut raw = to_raw(&SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, 0));
    let mut len = size_of::<sockaddr_in6>() as socklen_t;
    // SAFETY: both pointers are valid for writes of the sizes they stand for.
    ok(unsafe { kernel!(libc::SYS_getsockname, fd, &raw mut raw, &raw mut len) }).ok()?;
    v6_of(&raw)
}

/// Does the socket have a peer, of whatever family?
pub fn has_peer(fd: c_int) -> bool {
    // SAFETY: all zero is a valid value of this plain structure.
    let mut raw: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let mut len = size_of::<libc::sockaddr_storage>() as socklen_t;
    // SAFETY: both pointers are valid for writes of the sizes they stand for.
    unsafe { kernel!(libc::SYS_getpeername, fd, &raw mut raw, &raw mut len) == 0 }
}

/// `getsockopt(2)` of a C int.
pub fn int_option(fd: c_int, level: c_int, name: c_int) -> Result<c_int, c_int> {
    let mut value: c_int = 0;
    get_option(fd, level, name, &mut value).map(|_| value)
}

/// `getsockopt(2)` of any plain value; the length that the kernel wrote.
pub fn get_option<T: Copy>(fd: c_int, level: c_int, name: c_int, value: &mut T) -> Result<usize, c_int> {
    let mut len = size_of::<T>() as socklen_t;
    let p = (&raw mut *value).cast::<c_void>();
    // SAFETY: both pointers are valid for writes of the sizes they stand for.
    ok(unsafe { kernel!(libc::SYS_getsockopt, fd, level, name, p, &raw mut len) }).map(|_| len as usize)
}

/// Has the host this address, so that a socket can be bound to it?
pub fn has_address(addr: &Ipv6Addr) -> bool {
    let Ok(scratch) = socket(libc::AF_INET6, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, libc::IPPROTO_UDP) else {
        return true;
    };
    let bound = bind(scratch, &SocketAddrV6::new(*addr, 0, 0, 0));
    close(scratch);
    bound != Err(libc::EADDRNOTAVAIL)
}

/// Is the socket bound to an interface?
pub fn is_on_device(fd: c_int) -> bool {
    let mut name = [0u8; libc::IF_NAMESIZE];
    get_option(fd, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, &mut name).is_ok_and(|len| len > 0)
}

/// `setsockopt(2)` of octets.
pub fn set_option(fd: c_int, level: c_int, name: c_int, value: &[u8]) -> Result<(), c_int> {
    // SAFETY: `value` is readable for its length.
    ok(unsafe { kernel!(libc::SYS_setsockopt, fd, level, name, value.as_ptr(), value.len()) }).map(drop)
}

/// `setsockopt(2)` of a C int.
pub fn set_int(fd: c_int, level: c_int, name: c_int, value: c_int) -> Result<(), c_int> {
    set_option(fd, level, name, &value.to_ne_bytes())
}

/// Where the kernel puts the checksum into what a raw socket sends (IPV6_CHECKSUM); `None`: nowhere.
pub fn checksum_offset(fd: c_int) -> Option<usize> {
    /// IPV6_CHECKSUM of <linux/in6.h>.
    const IPV6_CHECKSUM: c_int = 7;
    usize::try_from(int_option(fd, libc::IPPROTO_IPV6, IPV6_CHECKSUM).ok()?).ok()
}

/// The kernel's identity of the socket, unique since boot; 0 if `fd` is no socket.
pub fn cookie(fd: c_int) -> u64 {
    let mut value = 0u64;
    get_option(fd, libc::SOL_SOCKET, libc::SO_COOKIE, &mut value).map_or(0, |_| value)
}

/// Is it a pipe?
pub fn is_pipe(fd: c_int) -> bool {
    // SAFETY: all zero is a valid value of this plain structure.
    let mut st: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is valid for writes of the size it stands for.
    let r = ok(unsafe { kernel!(libc::SYS_fstat, fd, &raw mut st) });
    r.is_ok() && st.st_mode & libc::S_IFMT == libc::S_IFIFO
}

/// Is there nothing to read in this pipe? `None`: it is no pipe.
pub fn is_empty_pipe(fd: c_int) -> Option<bool> {
    if !is_pipe(fd) {
        return None;
    }
    let mut octets: c_int = 0;
    // SAFETY: the pointer is valid for writes of the size it stands for.
    ok(unsafe { kernel!(libc::SYS_ioctl, fd, libc::FIONREAD, &raw mut octets) }).ok()?;
    Some(octets == 0)
}

/// The process, asked of the kernel: a vfork child answers another number than its parent.
pub fn pid() -> u32 {
    // SAFETY: no memory involved.
    unsafe { kernel!(libc::SYS_getpid) as u32 }
}

/// Random octets of the kernel, for port numbers; `None` on a kernel that has none yet.
pub fn random_u32() -> Option<u32> {
    let mut b = [0u8; 4];
    // SAFETY: `b` is writable for its length.
    let n = unsafe { kernel!(libc::SYS_getrandom, b.as_mut_ptr(), b.len(), libc::GRND_NONBLOCK) };
    (n == 4).then(|| u32::from_ne_bytes(b))
}

/// Is something readable on `fd` now? Leaves a pending error in place, unlike a read.
pub fn readable(fd: c_int) -> bool {
    ready(fd, libc::POLLIN)
}

fn ready(fd: c_int, events: libc::c_short) -> bool {
    let mut p = libc::pollfd { fd, events, revents: 0 };
    let zero = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `p` and `zero` outlive the call.
    let n = unsafe { kernel!(libc::SYS_ppoll, &raw mut p, 1, &raw const zero, 0usize, 0usize) };
    n == 1 && p.revents & events != 0
}

/// Is there room in the send queue of `fd`?
pub fn writable(fd: c_int) -> bool {
    ready(fd, libc::POLLOUT)
}

/// Give a datagram to the kernel that it holds back; `to`: where the socket is not connected. More flags may be given.
pub fn hold_back(fd: c_int, data: &[u8], to: Option<&SocketAddrV6>, flags: c_int) -> bool {
    let flags = flags | libc::MSG_MORE | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    let name = to.map(to_raw);
    let (at, len) = match &name {
        Some(name) => ((&raw const *name), size_of::<sockaddr_in6>()),
        None => (std::ptr::null(), 0),
    };
    // SAFETY: `data` is readable for its length, and so is the name, if there is one.
    let n = unsafe { kernel!(libc::SYS_sendto, fd, data.as_ptr(), data.len(), flags, at, len) };
    n == data.len() as c_long
}

/// Have the kernel drop what it holds back: it does so when more data cannot be read.
pub fn drop_held_back(fd: c_int) {
    let flags = libc::MSG_MORE | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    let nowhere = std::ptr::without_provenance::<c_void>(1);
    // SAFETY: the kernel finds that nothing can be read there.
    unsafe { kernel!(libc::SYS_sendto, fd, nowhere, 1usize, flags, std::ptr::null::<c_void>(), 0) };
}

/// Is there an interface with this index?
pub fn has_interface(index: u32) -> bool {
    let mut name = [0u8; libc::IF_NAMESIZE];
    // SAFETY: `name` has room for the longest name.
    !unsafe { libc::if_indextoname(index, name.as_mut_ptr().cast()) }.is_null()
}

/// Could the process have `octets` more memory? Rust ends a process that could not, and limits (`setrlimit`) may leave it
/// little.
pub fn room(octets: usize) -> bool {
    let (kind, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a fresh mapping, at an address of the kernel's choice, that nobody has seen when it goes.
    unsafe {
        let at = kernel!(libc::SYS_mmap, 0usize, octets, kind, flags | libc::MAP_NORESERVE, -1isize, 0usize);
        at != -1 && kernel!(libc::SYS_munmap, at, octets) == 0
    }
}
