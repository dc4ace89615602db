//! MSG_ZEROCOPY where the kernel's socket does not carry the datagram: the data was copied, and the program waits for the
//! kernel to say that it is done with it.

use super::super::guard::{errno, set_errno};
use super::super::sys;
use super::way::Out;
use libc::c_int;
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
    if sys::hold_back(fd, &[0], Some(to), libc::MSG_ZEROCOPY) {
        sys::drop_held_back(fd);
    }
    set_errno(saved);
}
