//! Local UDP port -> shim sockets, for the engine thread: to whom a datagram that it received belongs. Raw sockets stand
//! under the number of their protocol, as in the kernel.

use super::state::{ForkLock, Socket, all};
use super::table::Pinned;
use crate::addr::FlowId;
use crate::driver::udp::UDP;
use std::collections::HashMap;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

static PORTS: ForkLock<Option<HashMap<u16, Vec<&'static Socket>>>> = ForkLock::new(None);
/// After a fork: the map has to be made again from the records.
static STALE: AtomicBool = AtomicBool::new(false);

fn with<R>(f: impl FnOnce(&mut HashMap<u16, Vec<&'static Socket>>) -> R) -> R {
    let mut ports = PORTS.lock();
    let map = ports.get_or_insert_with(HashMap::new);
    if STALE.swap(false, SeqCst) {
        for socket in all() {
            let port = socket.local_port.load(SeqCst) as u16;
            if port != 0 {
                map.entry(port).or_default().push(socket);
            }
        }
    }
    f(map)
}

/// `socket` has this local port now. Inside `guard::slow` only.
pub fn set_port(socket: &'static Socket, port: u16) {
    let old = socket.local_port.load(SeqCst) as u16;
    if old == port {
        return;
    }
    with(|map| {
        take(map, socket, old);
        socket.local_port.store(port.into(), SeqCst);
        if port != 0 {
            map.entry(port).or_default().push(socket);
        }
    });
}

/// `socket` is gone.
pub fn remove(socket: &'static Socket) {
    let port = socket.local_port.load(SeqCst) as u16;
    if port != 0 {
        with(|map| take(map, socket, port));
    }
}

fn take(map: &mut HashMap<u16, Vec<&'static Socket>>, socket: &Socket, port: u16) {
    if let Some(list) = map.get_mut(&port) {
        list.retain(|s| !ptr::eq(*s, socket));
        if list.is_empty() {
            map.remove(&port);
        }
    }
}

/// The open shim sockets that a flow may belong to: of its protocol, and on its local port if it has ports. Oldest first.
pub fn of_flow(flow: FlowId) -> Vec<Pinned> {
    let port = if flow.protocol == UDP { flow.local_port } else { flow.protocol.into() };
    with(|map| {
        let open = |list: &Vec<&'static Socket>| {
            let of_protocol = list.iter().copied().filter(|s| s.protocol() == flow.protocol);
            of_protocol.filter_map(Pinned::new).collect()
        };
        map.get(&port).map_or(Vec::new(), open)
    })
}

/// In a forked child.
///
/// # Safety
/// No other thread exists.
pub unsafe fn after_fork() {
    // SAFETY: by the contract above.
    unsafe { PORTS.reset(None) };
    STALE.store(true, SeqCst);
}
