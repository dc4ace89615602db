//! What the typed API (`crate::ShimSocket`) stands on: an owned descriptor, and safe forms of the `shim6_*` functions.
//!
//! In: slices and addresses. Out: `io::Result` with the errno of the call.

use super::functions::*;
use super::guard;
use crate::socket::{from_raw, ops, to_raw};
use libc::{c_int, iovec, msghdr, sockaddr_in6, socklen_t};
use std::ffi::CString;
use std::io;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::ptr;

/// A descriptor that the shim knows; closed by `shim6_close`.
#[derive(Debug)]
pub struct Descriptor(RawFd);

/// A control buffer as the CMSG macros want it.
#[repr(align(8))]
#[derive(Clone, Copy, Debug)]
pub struct Control(pub [u8; 512]);

/// `shim6_configure`.
pub fn configure(settings: &str) -> io::Result<()> {
    let settings = CString::new(settings)?;
    // SAFETY: a string.
    check(unsafe { super::functions_library::shim6_configure(settings.as_ptr()) }).map(drop)
}

fn check<T: Copy + Into<i64>>(r: T) -> io::Result<T> {
    if r.into() < 0 { Err(io::Error::last_os_error()) } else { Ok(r) }
}

fn octets(r: isize) -> io::Result<usize> {
    usize::try_from(r).map_err(|_| io::Error::last_os_error())
}

impl Descriptor {
    /// A new IPv6 UDP socket.
    pub fn udp() -> io::Result<Descriptor> {
        // SAFETY: plain integers.
        let fd = unsafe { shim6_socket(libc::AF_INET6, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
        check(fd).map(Descriptor)
    }

    /// A socket that was made without the shim, or by its hooks.
    pub fn take_over(fd: OwnedFd) -> Descriptor {
        let fd = fd.into_raw_fd();
        guard::short(|ours| {
            if ours {
                ops::take_over(fd);
            }
            0
        });
        Descriptor(fd)
    }

    /// Let the shim forget it, unless the libc names are hooks, which know it in any case.
    pub fn hand_back(self) -> OwnedFd {
        let fd = self.0;
        std::mem::forget(self);
        guard::short(|ours| {
            if ours {
                ops::hand_back(fd);
            }
            0
        });
        // SAFETY: `self` owned it and is not dropped.
        unsafe { OwnedFd::from_raw_fd(fd) }
    }

    /// Another descriptor of the same socket.
    pub fn duplicate(&self) -> io::Result<Descriptor> {
        // SAFETY: plain integers.
        check(unsafe { shim6_fcntl(self.0, libc::F_DUPFD_CLOEXEC, ptr::null_mut()) }).map(Descriptor)
    }

    /// `bind`.
    pub fn bind(&self, addr: &SocketAddrV6) -> io::Result<()> {
        let raw = to_raw(addr);
        // SAFETY: `raw` outlives the call.
        check(unsafe { shim6_bind(self.0, (&raw const raw).cast(), NAME_LEN) }).map(drop)
    }

    /// `connect`.
    pub fn connect(&self, addr: &SocketAddrV6) -> io::Result<()> {
        let raw = to_raw(addr);
        // SAFETY: `raw` outlives the call.
        check(unsafe { shim6_connect(self.0, (&raw const raw).cast(), NAME_LEN) }).map(drop)
    }

    /// `getsockname`, or with `peer` `getpeername`.
    pub fn name(&self, peer: bool) -> io::Result<SocketAddrV6> {
        let mut raw = to_raw(&ANY);
        let mut len = NAME_LEN;
        let (name, len) = ((&raw mut raw).cast(), &raw mut len);
        // SAFETY: both pointers are to locals of the sizes they stand for.
        let r = unsafe {
            if peer { shim6_getpeername(self.0, name, len) } else { shim6_getsockname(self.0, name, len) }
        };
        check(r).map(|_| from_raw(&raw))
    }

    /// `send`.
    pub fn send(&self, data: &[u8]) -> io::Result<usize> {
        // SAFETY: `data` is readable for its length.
        octets(unsafe { shim6_send(self.0, data.as_ptr().cast(), data.len(), 0) })
    }

    /// `recv`.
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        // SAFETY: `buffer` is writable for its length.
        octets(unsafe { shim6_recv(self.0, buffer.as_mut_ptr().cast(), buffer.len(), 0) })
    }

    /// `sendto`.
    pub fn send_to(&self, data: &[u8], to: &SocketAddrV6) -> io::Result<usize> {
        let raw = to_raw(to);
        let (buf, name) = (data.as_ptr().cast(), (&raw const raw).cast());
        // SAFETY: `data` is readable for its length, `raw` outlives the call.
        octets(unsafe { shim6_sendto(self.0, buf, data.len(), 0, name, NAME_LEN) })
    }

    /// `recvfrom`.
    pub fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddrV6)> {
        let mut raw = to_raw(&ANY);
        let mut len = NAME_LEN;
        let buf = buffer.as_mut_ptr().cast();
        // SAFETY: `buffer` is writable for its length, the others are locals of the sizes they stand for.
        let r = unsafe { shim6_recvfrom(self.0, buf, buffer.len(), 0, (&raw mut raw).cast(), &raw mut len) };
        octets(r).map(|n| (n, from_raw(&raw)))
    }

    /// `sendmsg` of one datagram, or with `None` of ancillary data alone.
    pub fn send_message(
        &self,
        data: Option<&[u8]>,
        to: Option<&SocketAddrV6>,
        control: &Control,
        control_len: usize,
    ) -> io::Result<usize> {
        let name = to.map(to_raw);
        let data_len = data.map_or(0, <[u8]>::len);
        let mut part = iovec {
            iov_base: data.map_or(ptr::null_mut(), |d| d.as_ptr().cast_mut().cast()),
            iov_len: data_len,
        };
        // SAFETY: all zero is a valid value of this plain structure.
        let mut message: msghdr = unsafe { std::mem::zeroed() };
        if let Some(name) = &name {
            message.msg_name = ptr::from_ref(name).cast_mut().cast();
            message.msg_namelen = NAME_LEN;
        }
        message.msg_iov = &raw mut part;
        message.msg_iovlen = usize::from(data.is_some()) as _;
        message.msg_control = control.0.as_ptr().cast_mut().cast();
        message.msg_controllen = control_len.min(control.0.len()) as _;
        // SAFETY: what `message` points to outlives the call, which only reads it.
        octets(unsafe { shim6_sendmsg(self.0, &raw const message, 0) })
    }

    /// `recvmsg`: octets of data, octets of ancillary data, flags, who sent it.
    pub fn receive_message(
        &self,
        buffer: &mut [u8],
        control: &mut Control,
    ) -> io::Result<(usize, usize, c_int, SocketAddrV6)> {
        let mut name = to_raw(&ANY);
        let mut part = iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        // SAFETY: all zero is a valid value of this plain structure.
        let mut message: msghdr = unsafe { std::mem::zeroed() };
        message.msg_name = (&raw mut name).cast();
        message.msg_namelen = NAME_LEN;
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = control.0.len() as _;
        // SAFETY: what `message` points to is writable for the lengths in it and outlives the call.
        let n = octets(unsafe { shim6_recvmsg(self.0, &raw mut message, 0) })?;
        Ok((n, (message.msg_controllen as usize).min(control.0.len()), message.msg_flags, from_raw(&name)))
    }

    /// `getsockopt` into `value`; the octets written.
    pub fn option(&self, level: c_int, name: c_int, value: &mut [u8]) -> io::Result<usize> {
        let mut len = value.len() as socklen_t;
        let p = value.as_mut_ptr().cast();
        // SAFETY: `value` is writable for its length, `len` is a local.
        check(unsafe { shim6_getsockopt(self.0, level, name, p, &raw mut len) })?;
        Ok((len as usize).min(value.len()))
    }

    /// `setsockopt`; `None` is NULL with length 0.
    pub fn set_option(&self, level: c_int, name: c_int, value: Option<&[u8]>) -> io::Result<()> {
        let (p, len) = value.map_or((ptr::null(), 0), |v| (v.as_ptr().cast(), v.len() as socklen_t));
        // SAFETY: the value is readable for its length.
        check(unsafe { shim6_setsockopt(self.0, level, name, p, len) }).map(drop)
    }

    /// O_NONBLOCK.
    pub fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        // SAFETY: plain integers.
        let flags = check(unsafe { shim6_fcntl(self.0, libc::F_GETFL, ptr::null_mut()) })?;
        let flags = if on { flags | libc::O_NONBLOCK } else { flags & !libc::O_NONBLOCK };
        let flags = ptr::without_provenance_mut(flags as usize);
        // SAFETY: the third argument is an integer here.
        check(unsafe { shim6_fcntl(self.0, libc::F_SETFL, flags) }).map(drop)
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: this is its only owner.
        unsafe { shim6_close(self.0) };
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: open as long as `self` lives.
        unsafe { BorrowedFd::borrow_raw(self.0) }
    }
}

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

const NAME_LEN: socklen_t = size_of::<sockaddr_in6>() as socklen_t;
const ANY: SocketAddrV6 = SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, 0);
