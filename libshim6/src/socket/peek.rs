//! Who sent what waits unread in a socket: a look along its receive queue that takes nothing off it (RE-FB-23).
//!
//! The kernel shows more than the first datagram by SO_PEEK_OFF alone. That offset belongs to the socket, so it is used only
//! where the first datagram is another peer's, and given back at once. Where the program uses the offset itself, or peeks, it
//! stays as it is and the first datagram has to do.

use super::sys;
use crate::driver::kernel::kernel;
use libc::{c_int, c_void, socklen_t};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Datagrams looked at.
const MOST: usize = 256;
/// As large as a datagram can be: what is not taken in whole is met again.
const ROOM: usize = 65_536;

/// The program peeks: it might do so while the offset is ours.
static PROGRAM_PEEKS: AtomicBool = AtomicBool::new(false);

/// A receiving call with these flags is made.
#[inline]
pub fn note_flags(flags: c_int) {
    if flags & libc::MSG_PEEK != 0 && !PROGRAM_PEEKS.load(Relaxed) {
        PROGRAM_PEEKS.store(true, Relaxed);
    }
}

/// Does a datagram wait that came from an address for which `wanted` holds? Of a long queue the first 256 are looked at.
pub fn any_source(fd: c_int, wanted: impl Fn(&SocketAddrV6) -> bool) -> bool {
    let own = offset(fd);
    let first = source(fd, &mut [0]);
    if let Some(own) = own.filter(|own| *own >= 0) {
        set_offset(fd, own);
    }
    match first {
        None => return false,
        Some((from, _)) if wanted(&from) => return true,
        Some(_) => {}
    }
    if PROGRAM_PEEKS.load(Relaxed) || own != Some(-1) || !set_offset(fd, 0) {
        return false;
    }
    let mut room = vec![0; ROOM];
    let mut found = false;
    for _ in 0..MOST {
        let Some((from, octets)) = source(fd, &mut room) else { break };
        found = wanted(&from);
        // An empty one does not move the offset
        if found || octets == 0 {
            break;
        }
    }
    set_offset(fd, -1);
    found
}

fn offset(fd: c_int) -> Option<c_int> {
    let mut value: c_int = 0;
    let mut len = size_of::<c_int>() as socklen_t;
    // SAFETY: both pointers are valid for writes of the sizes they stand for.
    let r = unsafe {
        let value = (&raw mut value).cast::<c_void>();
        kernel!(libc::SYS_getsockopt, fd, libc::SOL_SOCKET, libc::SO_PEEK_OFF, value, &raw mut len)
    };
    (r == 0).then_some(value)
}

fn set_offset(fd: c_int, value: c_int) -> bool {
    sys::set_int(fd, libc::SOL_SOCKET, libc::SO_PEEK_OFF, value).is_ok()
}

/// Source and size of the datagram at the offset.
fn source(fd: c_int, room: &mut [u8]) -> Option<(SocketAddrV6, usize)> {
    let mut name = sys::to_raw(&SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, 0));
    let mut len = size_of_val(&name) as socklen_t;
    // SAFETY: all three buffers are writable for the sizes that stand for them.
    let r = unsafe {
        kernel!(
            libc::SYS_recvfrom,
            fd,
            room.as_mut_ptr(),
            room.len(),
            libc::MSG_PEEK | libc::MSG_DONTWAIT,
            &raw mut name,
            &raw mut len,
        )
    };
    (r >= 0 && len as usize == size_of_val(&name)).then(|| (sys::from_raw(&name), r as usize))
}

#[cfg(test)]
#[allow(clippy::disallowed_types)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd;

    fn v6(s: &UdpSocket) -> SocketAddrV6 {
        match s.local_addr().unwrap() {
            std::net::SocketAddr::V6(a) => a,
            other => panic!("{other}"),
        }
    }

    // RE-FB-23: data of a peer counts wherever it stands in the queue of a server, and the program gets all of it
    #[test]
    fn a_datagram_behind_those_of_others_is_seen() {
        let bind = || UdpSocket::bind("[::1]:0").unwrap();
        let (server, first, second, third) = (bind(), bind(), bind(), bind());
        let fd = server.as_raw_fd();
        let is = |s: &UdpSocket| {
            let name = v6(s);
            move |a: &SocketAddrV6| *a == name
        };
        assert!(!any_source(fd, |_| true));
        for i in 0..20u8 {
            first.send_to(&[i; 1000], v6(&server)).unwrap();
        }
        second.send_to(&[99; 60_000], v6(&server)).unwrap();
        first.send_to(b"the last", v6(&server)).unwrap();
        assert!(any_source(fd, is(&first)) && any_source(fd, is(&second)) && !any_source(fd, is(&third)));
        assert_eq!(offset(fd), Some(-1));
        let mut buffer = vec![0; ROOM];
        for i in 0..20 {
            assert_eq!(server.recv(&mut buffer).unwrap(), 1000);
            assert_eq!(buffer[0], i);
        }
        assert_eq!(server.recv(&mut buffer).unwrap(), 60_000);
        assert!(!any_source(fd, is(&second)) && any_source(fd, is(&first)));
        assert_eq!(server.recv(&mut buffer).unwrap(), 8);
        // Where the program has set the offset it stays
        first.send_to(b"1", v6(&server)).unwrap();
        second.send_to(b"2", v6(&server)).unwrap();
        assert!(set_offset(fd, 0));
        assert!(!any_source(fd, is(&second)));
        assert_eq!(offset(fd), Some(0));
    }
}
