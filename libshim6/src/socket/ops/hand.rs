//! Descriptors that change hands between the shim and a program that calls libc itself.

use super::super::guard::slow;
use super::super::state::{Mode, flag};
use super::super::table::{self, Pinned};
use super::super::{backend, detach, sys};
use super::close::before_close;
use super::life::{adopt, connected};
use super::{activate, learn_port};
use crate::addr::is_servable;
use crate::driver::kernel::kernel;
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
                super::registered();
            }
        }
    });
}

/// The socket was bound to an interface, or is no more. Bound to one it hears nothing from `lo`, where payload of other
/// locators is re-injected: it is the kernel's alone then, as without the shim.
pub(super) fn device_changed(socket: Pinned, fd: c_int) {
    let on_device = slow(|| sys::is_on_device(fd)).unwrap_or(true);
    if on_device == socket.has(flag::ON_DEVICE) {
        return;
    }
    socket.set(flag::ON_DEVICE, on_device);
    socket.set(flag::ELIGIBLE, !on_device);
    if on_device {
        slow(|| to_kernel(&socket, fd));
        return;
    }
    socket.set(flag::TRIED, false);
    drop(socket);
    take_over(fd);
}

/// The socket as the program sees it, by the kernel alone.
fn to_kernel(socket: &Pinned, fd: c_int) {
    detach::forget(socket, fd);
    if socket.mode() == Mode::Detached
        && let Some(peer) = socket.inner().peer
    {
        // The kernel's socket had lost its peer. Where that cannot be reached, sending says so.
        let _ = sys::connect(fd, &peer);
    }
    socket.set_mode(Mode::Plain);
    socket.leave_cell();
    socket.forget_peers();
    super::look_at_ancillary_data(socket, fd);
}

/// Forget a descriptor, which stays open: from now on it is the kernel's alone, and its traffic goes by the ULIDs.
pub fn hand_back(fd: c_int) {
    if let Some(socket) = table::pin(fd) {
        slow(|| to_kernel(&socket, fd));
        drop(socket);
        let _ = before_close(fd);
    }
}

fn peer_name(fd: c_int) -> Option<SocketAddrV6> {
    let mut raw = sys::to_raw(&SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, 0));
    let mut len = size_of::<sockaddr_in6>() as socklen_t;
    // SAFETY: both pointers are valid for writes of the sizes they stand for.
    let r = unsafe { kernel!(libc::SYS_getpeername, fd, &raw mut raw, &raw mut len) };
    (r == 0).then(|| sys::v6_of(&raw)).flatten()
}
