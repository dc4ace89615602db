//! MSG_ZEROCOPY where the kernel's socket does not carry the datagram: the data was copied, and the program waits for the
//! kernel to say that it is done with it.

// The width of some fields differs between C libraries.
#![allow(clippy::unnecessary_cast)]

use super::super::guard::{errno, set_errno};
use super::super::sys;
use super::rewritten::UDP_SEGMENT;
use super::way::Out;
use crate::driver::kernel::kernel;
use libc::c_int;
use std::net::{Ipv6Addr, SocketAddrV6};

/// Have the kernel's socket report as many completions as if it had sent the datagram. Keeps `errno`. Inside
/// `guard::slow` only.
///
/// The kernel numbers them, so it has to make a datagram; of UDP one that it gives up in the same call.
#[cold]
pub(super) fn complete(fd: c_int, out: &Out<'_>, to: &SocketAddrV6, raw: bool) {
    let saved = errno();
    let wanted = sys::int_option(fd, libc::SOL_SOCKET, libc::SO_ZEROCOPY) == Ok(1);
    if wanted && out.octets() > 0 {
        let here = SocketAddrV6::new(Ipv6Addr::LOCALHOST, to.port(), 0, 0);
        if raw {
            // The kernel numbers one that is held back by MSG_MORE, and given up because the rest of its data cannot be
            // read. What another thread sends in between goes with it.
            if sys::hold_back(fd, &[0], Some(to), libc::MSG_ZEROCOPY) {
                sys::drop_held_back(fd);
            }
        } else if !is_given_up(fd, &here) {
            is_given_up(fd, to);
        }
    }
    set_errno(saved);
}

/// Have the kernel make a datagram with MSG_ZEROCOPY and then find that it would be more segments than it takes. `false`:
/// it did not come that far.
fn is_given_up(fd: c_int, to: &SocketAddrV6) -> bool {
    /// Above UDP_MAX_SEGMENTS of every kernel.
    const DATA: [u8; 1000] = [0; 1000];
    #[repr(C)]
    struct Control {
        header: libc::cmsghdr,
        size: [u8; 8],
    }
    // SAFETY: all zero is a valid value of these plain structures.
    let (mut control, mut msg): (Control, libc::msghdr) = unsafe { std::mem::zeroed() };
    control.header.cmsg_len = (size_of::<libc::cmsghdr>() + 2) as _;
    (control.header.cmsg_level, control.header.cmsg_type) = (libc::IPPROTO_UDP, UDP_SEGMENT);
    control.size[..2].copy_from_slice(&1u16.to_ne_bytes());
    let mut name = sys::to_raw(to);
    let mut iov = libc::iovec { iov_base: DATA.as_ptr().cast_mut().cast(), iov_len: DATA.len() };
    (msg.msg_name, msg.msg_namelen) = ((&raw mut name).cast(), size_of_val(&name) as _);
    (msg.msg_iov, msg.msg_iovlen) = (&raw mut iov, 1);
    (msg.msg_control, msg.msg_controllen) = ((&raw mut control).cast(), size_of_val(&control) as _);
    let flags = libc::MSG_ZEROCOPY | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the header points to locals, and to data that the kernel only reads.
    let r = unsafe { kernel!(libc::SYS_sendmsg, fd, &raw const msg, flags) };
    r < 0 && errno() == libc::EINVAL
}
