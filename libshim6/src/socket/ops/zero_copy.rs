//! MSG_ZEROCOPY where the kernel's socket does not carry the datagram: the data was copied, and the program waits for the
//! kernel to say that it is done with it.

use super::super::guard::{errno, set_errno};
use super::super::sys;
use super::way::Out;
use crate::driver::kernel::kernel;
use libc::{c_int, iovec, msghdr, socklen_t};
use std::net::SocketAddrV6;

/// Have the kernel's socket report as many completions as if it had sent the datagram. Keeps `errno`. Inside
/// `guard::slow` only.
///
/// The kernel numbers them, so it has to begin a datagram: one that is held back by MSG_MORE, and then given up because
/// the rest of its data cannot be read. Nothing is sent.
#[cold]
pub(super) fn complete(fd: c_int, out: &Out<'_>, to: &SocketAddrV6) {
    let saved = errno();
    let wanted = sys::int_option(fd, libc::SOL_SOCKET, libc::SO_ZEROCOPY) == Ok(1);
    if !wanted || out.octets() == 0 {
        return set_errno(saved);
    }
    let octet = 0u8;
    let nowhere: *mut libc::c_void = std::ptr::without_provenance_mut(8);
    let begin = iovec { iov_base: (&raw const octet).cast_mut().cast(), iov_len: 1 };
    let end = iovec { iov_base: nowhere, iov_len: 1 };
    if give(fd, to, begin, libc::MSG_MORE | libc::MSG_ZEROCOPY) {
        give(fd, to, end, 0);
    }
    set_errno(saved);
}

fn give(fd: c_int, to: &SocketAddrV6, mut data: iovec, flags: c_int) -> bool {
    let mut name = sys::to_raw(to);
    // SAFETY: all zero is a valid value of this plain structure.
    let mut msg: msghdr = unsafe { std::mem::zeroed() };
    (msg.msg_name, msg.msg_namelen) = ((&raw mut name).cast(), size_of_val(&name) as socklen_t);
    (msg.msg_iov, msg.msg_iovlen) = (&raw mut data, 1);
    let flags = flags | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the header points to locals, and to data that the kernel may read, or finds that it cannot.
    unsafe { kernel!(libc::SYS_sendmsg, fd, &raw const msg, flags) >= 0 }
}
