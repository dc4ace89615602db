//! Message headers: lending the kernel buffers of our own, and filling the application's as the kernel would have.

// The width of some fields differs between C libraries.
#![allow(clippy::unnecessary_cast)]

use super::super::state::flag;
use super::super::table::Pinned;
use super::super::{cmsg, sys};
use libc::{c_uint, c_void, mmsghdr, msghdr, sockaddr_in6, socklen_t};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::ptr;

/// Octets of an IPv6 socket address.
const NAME: usize = size_of::<sockaddr_in6>();
/// Most ancillary data that a datagram can bring, generously.
const MAX_CONTROL: usize = 16_384;

/// Space for what a datagram brings besides its data, on the stack where it is small.
pub(super) struct Scratch {
    name: sockaddr_in6,
    small: [u64; 16],
    large: Vec<u64>,
}

impl Scratch {
    pub(super) fn new() -> Scratch {
        let name = sys::to_raw(&SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, 0));
        Scratch { name, small: [0; 16], large: Vec::new() }
    }

    fn control(&mut self, octets: usize) -> *mut c_void {
        if octets <= size_of_val(&self.small) {
            return self.small.as_mut_ptr().cast();
        }
        self.large.resize(octets.div_ceil(8), 0);
        self.large.as_mut_ptr().cast()
    }
}

/// How one message header is handed to the kernel in place of the application's.
pub(super) struct Lent {
    /// The name goes to our own buffer first.
    pub(super) name: bool,
    /// So does the ancillary data.
    pub(super) control: bool,
    /// The application does not see IPV6_PKTINFO.
    pub(super) hide: bool,
}

pub(super) fn lend(socket: &Pinned, app: &msghdr, own: &mut msghdr, scratch: &mut Scratch) -> Lent {
    /// Room in which IPV6_PKTINFO will not be cut off.
    const ENOUGH: usize = 512;
    *own = *app;
    let hide = !socket.has(flag::APP_PKTINFO);
    let lent = Lent {
        name: app.msg_name.is_null() || (app.msg_namelen as usize) < NAME,
        control: socket.has(flag::OUR_PKTINFO) && (hide || room(app) < ENOUGH),
        hide,
    };
    if lent.name {
        own.msg_name = (&raw mut scratch.name).cast();
        own.msg_namelen = NAME as socklen_t;
    }
    if lent.control {
        let octets = (room(app) + cmsg::PKTINFO_SPACE).min(MAX_CONTROL);
        own.msg_control = scratch.control(octets);
        own.msg_controllen = octets as _;
    }
    lent
}

/// Room for ancillary data in the application's buffer.
pub(super) fn room(app: &msghdr) -> usize {
    if app.msg_control.is_null() { 0 } else { (app.msg_controllen as usize).min(MAX_CONTROL) }
}

/// What came, as far as the shim wants to know.
pub(super) struct Came {
    pub(super) from: Option<SocketAddrV6>,
    pub(super) to: Option<Ipv6Addr>,
}

/// What the application is shown in place of what came.
#[derive(Clone, Copy, Default)]
pub(super) struct Shown {
    pub(super) from: Option<SocketAddrV6>,
    pub(super) to: Option<Ipv6Addr>,
}

/// # Safety
/// `own` is as the kernel left it after success.
pub(super) unsafe fn came(own: &msghdr) -> Came {
    // SAFETY: the kernel wrote as many octets as it says, within the space that was offered.
    unsafe {
        let from = match own.msg_namelen as usize >= NAME {
            true => sys::read_v6(own.msg_name.cast(), own.msg_namelen),
            false => None,
        };
        let control = match own.msg_control.is_null() {
            true => &[][..],
            false => std::slice::from_raw_parts(own.msg_control.cast::<u8>(), own.msg_controllen as usize),
        };
        Came { from, to: cmsg::destination(control) }
    }
}

/// Give the application its header back, filled as the kernel would have filled it, but with what `shown` has in place
/// of the addresses that came.
///
/// # Safety
/// `own` is as the kernel left it, `app` as the application passed it.
pub(super) unsafe fn give_back(app: &mut msghdr, own: &msghdr, lent: &Lent, shown: Shown) {
    app.msg_flags = own.msg_flags;
    // SAFETY: the sizes are those of the buffers, see each step.
    unsafe {
        let control = match own.msg_control.is_null() {
            true => &mut [][..],
            false => {
                std::slice::from_raw_parts_mut(own.msg_control.cast::<u8>(), own.msg_controllen as usize)
            }
        };
        if let Some(to) = shown.to
            && let Some(came) = cmsg::destination(control)
        {
            cmsg::replace_destination(control, came, to);
        }
        if let Some(from) = shown.from
            && own.msg_namelen as usize >= NAME
        {
            own.msg_name.cast::<sockaddr_in6>().write_unaligned(sys::to_raw(&from));
        }
        if lent.control {
            let space = match room(app) {
                0 => &mut [][..],
                n => std::slice::from_raw_parts_mut(app.msg_control.cast::<u8>(), n),
            };
            let (used, cut) = cmsg::copy(control, space, |c| !(lent.hide && cmsg::is_pktinfo(c)));
            app.msg_controllen = used as _;
            // What the kernel itself had no room for stays cut off.
            let kernel_cut = own.msg_flags & libc::MSG_CTRUNC != 0;
            app.msg_flags &= !libc::MSG_CTRUNC;
            if cut || kernel_cut {
                app.msg_flags |= libc::MSG_CTRUNC;
            }
        } else {
            app.msg_controllen = own.msg_controllen;
        }
        if !app.msg_name.is_null() {
            if lent.name {
                let n = (own.msg_namelen as usize).min(app.msg_namelen as usize);
                ptr::copy_nonoverlapping(own.msg_name.cast::<u8>(), app.msg_name.cast::<u8>(), n);
            }
            app.msg_namelen = own.msg_namelen;
        }
    }
}

/// Put a received message into the buffers of an earlier one.
///
/// # Safety
/// `own` is as the kernel left it, `app` as the application passed it.
pub(super) unsafe fn move_up(app: &mut mmsghdr, own: &mmsghdr, lent: &Lent, shown: Shown) {
    // SAFETY: both lists of buffers are as the application passed them.
    let (copied, cut) = unsafe { copy_vectors(&app.msg_hdr, &own.msg_hdr, own.msg_len as usize) };
    app.msg_len = own.msg_len.min(copied as c_uint);
    let moved = Lent { name: true, control: lent.control, hide: lent.hide };
    // SAFETY: as above; a name that the kernel wrote to the application is copied like one of ours.
    unsafe { give_back(&mut app.msg_hdr, &own.msg_hdr, &moved, shown) };
    if cut {
        app.msg_hdr.msg_flags |= libc::MSG_TRUNC;
    }
}

/// Copy `octets` of data from the buffers of one message to those of another; how much fitted, and whether it did
/// not all fit.
///
/// # Safety
/// The headers point to readable and writable buffers.
pub(super) unsafe fn copy_vectors(to: &msghdr, from: &msghdr, octets: usize) -> (usize, bool) {
    // SAFETY: by the contract above.
    let (to, from) = unsafe {
        (
            std::slice::from_raw_parts(to.msg_iov, to.msg_iovlen as usize),
            std::slice::from_raw_parts(from.msg_iov, from.msg_iovlen as usize),
        )
    };
    let mut targets = to.iter().map(|v| (v.iov_base.cast::<u8>(), v.iov_len)).filter(|v| v.1 > 0);
    let mut target = targets.next();
    let mut left = octets;
    let mut copied = 0;
    for v in from {
        let (mut source, mut len) = (v.iov_base.cast::<u8>(), v.iov_len.min(left));
        left -= len;
        while len > 0 {
            let Some((place, space)) = target else { return (copied, true) };
            let n = len.min(space);
            // SAFETY: `n` octets are readable at `source` and writable at `place`; buffers may overlap.
            unsafe {
                ptr::copy(source, place, n);
                source = source.add(n);
                target = if n == space { targets.next() } else { Some((place.add(n), space - n)) };
            }
            len -= n;
            copied += n;
        }
    }
    (copied, false)
}

/// Is the kernel going to refuse this header or its buffers?
pub(super) fn is_refused(app: &msghdr) -> bool {
    let bad = |p: *mut c_void, len: usize| !p.is_null() && len > 0 && !sys::can_write(p, len);
    ((app.msg_namelen as i32) < 0 && !app.msg_name.is_null())
        || bad(app.msg_name, (app.msg_namelen as usize).min(NAME))
        || bad(app.msg_control, room(app))
}
