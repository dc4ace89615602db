//! Data of the peer that waits unread counts as received payload (RE-FB-23), once per arrival: what has been waiting
//! for long says nothing about the path any more.

use super::host::SocketHost;
use super::sys;
use crate::addr::UlidPair;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::os::fd::RawFd;
use std::sync::Arc;

const SO_MEMINFO: i32 = 55;
/// Most pairs that are remembered.
const MAX: usize = 65_536;

/// Memory of a receive queue, and datagrams that did not fit it: together they change with each arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    octets: u32,
    drops: u32,
}

impl Queue {
    /// As it is now; `None` if `fd` is no socket.
    pub fn of(fd: RawFd) -> Option<Queue> {
        let m: [u32; 9] = sys::option(fd, libc::SOL_SOCKET, SO_MEMINFO).ok()?;
        Some(Queue { octets: m[0], drops: m[8] })
    }
}

/// What was counted already.
pub struct Unread {
    host: Arc<dyn SocketHost>,
    seen: Mutex<HashMap<UlidPair, Vec<Option<Queue>>>>,
}

impl Unread {
    /// Nothing yet.
    pub fn new(host: Arc<dyn SocketHost>) -> Self {
        Unread { host, seen: Mutex::default() }
    }

    /// Does data of the peer wait unread that was not there when this was last asked?
    pub fn is_fresh(&self, ulids: UlidPair) -> bool {
        let unread = self.host.has_unread(ulids);
        let queues: Vec<_> = match unread {
            true => self.host.descriptors(ulids).into_iter().map(Queue::of).collect(),
            false => Vec::new(),
        };
        let mut seen = self.seen.lock();
        if !unread {
            seen.remove(&ulids);
            return false;
        }
        if seen.len() >= MAX {
            seen.clear();
        }
        seen.insert(ulids, queues.clone()).as_ref() != Some(&queues)
    }

    /// The context is gone.
    pub fn forget(&self, ulids: UlidPair) {
        self.seen.lock().remove(&ulids);
    }
}
