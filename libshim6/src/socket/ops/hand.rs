//! Descriptors that change hands between the shim and a program that calls libc itself.

use super::super::guard::slow;
use super::super::state::{Mode, flag};
use super::super::{backend, detach, sys, table};
use super::close::before_close;
use super::life::{adopt, connected};
use super::{activate, learn_port};
use crate::addr::is_servable;
use libc::{c_int, sockaddr_in6, socklen_t};
use std::net::{Ipv6Addr, SocketAddrV6};

/// Take a descriptor that was bound or connected without the shim, as if the calls of this module had done that.
pub fn take_over(fd: c_int) {
    let Some(socket) = adopt(fd).filter(|s| s.has(flag::ELIGIBLE) && s.mode() == Mode::Plain) else { return };
    slow(|| {
        let local = sys::local_name(fd);
        match peer_name(fd) {
            Some(peer) if is_servable(peer.ip()) && peer.port() != 0 => {
                socket.set(flag::TRIED, true);
                if backend::ensure().is_some() {
                    connected(&socket, fd, peer);
                }
            }
            Some(_) => socket.set(flag::TRIED, true),
            None => {
                let Some(local) = local.filter(|l| l.port() != 0) else { return };
                match local.ip().is_unspecified() {
                    true => {}
                    false if is_servable(local.ip()) => {
                        socket.inner().local = *local.ip();
                        socket.set(flag::APP_BOUND, true);
                    }
                    false => return socket.set(flag::TRIED, true),
                }
                activate(&socket, fd);
                learn_port(&socket, fd);
            }
        }
    });
}

/// Forget a descriptor, which stays open: from now on it is the kernel's alone, and its traffic goes by the ULIDs.
pub fn hand_back(fd: c_int) {
    if let Some(socket) = table::pin(fd) {
        slow(|| {
            detach::forget(&socket, fd);
            if socket.mode() == Mode::Detached
                && let Some(peer) = socket.inner().peer
            {
                // The kernel's socket had lost its peer. Where that cannot be reached, sending says so.
                let _ = sys::connect(fd, &peer);
            }
        });
        drop(socket);
        let _ = before_close(fd);
    }
}

fn peer_name(fd: c_int) -> Option<SocketAddrV6> {
    let mut raw = sys::to_raw(&SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, 0));
    let mut len = size_of::<sockaddr_in6>() as socklen_t;
    // SAFETY: both pointers are valid for writes of the sizes they stand for.
    let r = unsafe { libc::syscall(libc::SYS_getpeername, fd, &raw mut raw, &raw mut len) };
    (r == 0 && c_int::from(raw.sin6_family) == libc::AF_INET6).then(|| sys::from_raw(&raw))
}
