//! Message headers: lending the kernel buffers of our own, and filling the application's as the kernel would have.

// The width of some fields differs between C libraries.
#![allow(clippy::unnecessary_cast)]

use super::super::cmsg::{self, Told};
use super::super::state::flag;
use super::super::sys;
use super::super::table::Pinned;
use crate::addr::LocatorPair;
use crate::capi::types::{SHIM_LOC_LOCAL_RECV, SHIM_LOC_PEER_RECV, SOL_SHIM_D08, SOL_SHIM_R6316};
use libc::{c_uint, c_void, mmsghdr, msghdr, sockaddr_in6, socklen_t};
use std::mem::MaybeUninit;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::ptr;

/// Octets of an IPv6 socket address.
pub(super) const NAME: usize = size_of::<sockaddr_in6>();
/// Most ancillary data that a datagram can bring, generously.
const MAX_CONTROL: usize = 16_384;

/// Space for what a datagram brings besides its data, on the stack where it is small.
pub(super) struct Scratch {
    name: sockaddr_in6,
    small: MaybeUninit<[u64; 160]>,
    large: Vec<u64>,
}

impl Scratch {
    pub(super) fn new() -> Scratch {
        let name = sys::to_raw(&SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, 0));
        Scratch { name, small: MaybeUninit::uninit(), large: Vec::new() }
    }

    fn control(&mut self, octets: usize) -> *mut c_void {
        if octets <= size_of_val(&self.small) {
            return self.small.as_mut_ptr().cast();
        }
        self.large.resize(octets.div_ceil(8), 0);
        self.large.as_mut_ptr().cast()
    }
}

/// How message headers are handed to the kernel in place of the application's.
#[derive(Clone, Copy)]
pub(super) struct Lent {
    /// The name goes to our own buffer first.
    pub(super) name: bool,
    /// So does the ancillary data.
    control: bool,
    /// The application does not see IPV6_PKTINFO.
    hide: bool,
    /// Nor IPV6_FLOWINFO.
    hide_flow: bool,
    /// Levels at which it sees the locator that a datagram came to ([0]: draft, [1]: RFC 6316).
    local: [bool; 2],
    /// And the one that it came from.
    peer: [bool; 2],
}

/// What the application is shown instead of what the kernel told.
#[derive(Default)]
pub(super) struct Shown {
    /// The peer's ULID in place of its locator.
    pub(super) from: Option<SocketAddrV6>,
    /// The destination in place of `::1`, or of our locator.
    pub(super) to: Option<Ipv6Addr>,
    /// The datagram came round by `lo`; the interface that it really came by, 0 if that is not known.
    pub(super) detour: Option<u32>,
    /// `None`: no locators are shown. `Some(None)`: they are not known, the context is gone.
    pub(super) locators: Option<Option<LocatorPair>>,
}

impl Lent {
    /// For any header, by what the socket is asked for.
    pub(super) fn new(socket: &Pinned) -> Lent {
        Lent {
            name: false,
            control: socket.has(flag::LOOKED_AT),
            hide: !socket.has(flag::APP_PKTINFO),
            hide_flow: !socket.has(flag::APP_FLOWINFO),
            local: [flag::LOCAL_RECV_D08, flag::LOCAL_RECV_R6316].map(|f| socket.has(f)),
            peer: [flag::PEER_RECV_D08, flag::PEER_RECV_R6316].map(|f| socket.has(f)),
        }
    }

    /// As it is for the header `app`.
    #[inline]
    pub(super) fn of(self, app: &msghdr) -> Lent {
        Lent { name: app.msg_name.is_null() || (app.msg_namelen as usize) < NAME, ..self }
    }

    /// Make `own`, a copy of `app`, point to `scratch` where it has to.
    #[inline]
    pub(super) fn lend(self, app: &msghdr, own: &mut msghdr, scratch: &mut Scratch) {
        if self.of(app).name {
            own.msg_name = (&raw mut scratch.name).cast();
            own.msg_namelen = NAME as socklen_t;
        }
        if self.control {
            // What the application asked for, and has no room for, must not take the place of ours.
            let octets = (room(app) + cmsg::BEFORE_OURS + cmsg::OUR_SPACE).min(MAX_CONTROL);
            own.msg_control = scratch.control(octets);
            own.msg_controllen = octets as _;
        }
    }
}

/// Room for ancillary data in the application's buffer.
pub(super) fn room(app: &msghdr) -> usize {
    if app.msg_control.is_null() { 0 } else { (app.msg_controllen as usize).min(MAX_CONTROL) }
}

/// What came, as far as the shim wants to know.
pub(super) struct Came {
    pub(super) from: Option<SocketAddrV6>,
    pub(super) told: Told,
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
        Came { from, told: cmsg::told(control) }
    }
}

/// Give the application its header back, filled as the kernel would have filled it, but with what `shown` has in place
/// of the addresses that came.
///
/// # Safety
/// `own` is as the kernel left it, `app` as the application passed it.
pub(super) unsafe fn give_back(app: &mut msghdr, own: &msghdr, lent: &Lent, shown: &Shown) {
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
        if let Some(ifindex) = shown.detour {
            cmsg::hide_detour(control, ifindex);
        }
        if lent.control {
            let room = room(app);
            // The kernel tells nobody that it could not write there.
            let lacks = room > 0 && !sys::can_write(app.msg_control, room);
            let space = match room == 0 || lacks {
                true => &mut [][..],
                false => std::slice::from_raw_parts_mut(app.msg_control.cast::<u8>(), room),
            };
            let keep = |c: &cmsg::Cmsg<'_>| match (cmsg::is_pktinfo(c), cmsg::is_flowinfo(c)) {
                (true, _) => !lent.hide,
                (_, true) => !lent.hide_flow && c.data.iter().any(|o| *o != 0),
                _ => true,
            };
            let (used, cut) = cmsg::copy(control, space, keep);
            let (used, cut) = put_locators(lent, shown, space, used, cut);
            app.msg_controllen = used as _;
            // What the kernel itself had no room for stays cut off.
            let kernel_cut = own.msg_flags & libc::MSG_CTRUNC != 0;
            app.msg_flags &= !libc::MSG_CTRUNC;
            if cut && !lacks || kernel_cut {
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

/// The locators behind what the kernel told, each whole or not at all (API-CM-10, API-CM-11).
fn put_locators(
    lent: &Lent,
    shown: &Shown,
    space: &mut [u8],
    mut used: usize,
    mut cut: bool,
) -> (usize, bool) {
    let Some(pair) = shown.locators else { return (used, cut) };
    for (kind, levels, addr) in [
        (SHIM_LOC_LOCAL_RECV, lent.local, pair.map(|p| p.local)),
        (SHIM_LOC_PEER_RECV, lent.peer, pair.map(|p| p.peer)),
    ] {
        for (level, _) in [SOL_SHIM_D08, SOL_SHIM_R6316].into_iter().zip(levels).filter(|(_, on)| *on) {
            match cmsg::put_locator(space, used, level, kind, addr) {
                Some(n) => used += n,
                None => cut = true,
            }
        }
    }
    (used, cut)
}

/// Put a received message into the buffers of an earlier one.
///
/// # Safety
/// `own` is as the kernel left it, `app` as the application passed it.
pub(super) unsafe fn move_up(app: &mut mmsghdr, own: &mmsghdr, lent: &Lent, shown: &Shown) {
    // SAFETY: both lists of buffers are as the application passed them.
    let (copied, cut) = unsafe { copy_vectors(&app.msg_hdr, &own.msg_hdr, own.msg_len as usize) };
    app.msg_len = own.msg_len.min(copied as c_uint);
    let moved = Lent { name: true, ..*lent };
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

/// Is the kernel going to refuse this header? Buffers that are handed to it as they are it looks at itself.
#[inline]
pub(super) fn is_refused(app: &msghdr) -> bool {
    let (name, len) = (app.msg_name, app.msg_namelen as i32);
    !name.is_null() && (len < 0 || ((1..NAME as i32).contains(&len) && !sys::can_write(name, len as usize)))
}
