//! Readiness watches on the application's own descriptors: data of the peer that nobody reads still has to start
//! Keepalives (RE-FB-23, RE-EX-22). Armed only while no timer of the context runs, so a flow under way costs nothing.

use super::sys;
use super::unread::Queue;
use crate::addr::UlidPair;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// Tokens of watches are descriptors above this.
pub const TOKEN: u64 = 1 << 32;
/// Most descriptors watched; beyond it the application's own reads are what counts.
const MAX: usize = 4096;

/// All watches of an engine. Application threads come here at close only.
#[derive(Debug, Default)]
pub struct Watches {
    map: Mutex<BTreeMap<RawFd, Watch>>,
    count: AtomicUsize,
}

#[derive(Debug, Default)]
struct Watch {
    /// Who wants to know.
    armed: BTreeSet<UlidPair>,
    /// What waited when the watch last fired.
    seen: Option<Queue>,
}

impl Watches {
    /// Wake the engine at the next datagram that arrives at one of `fds`, or that waits and was not seen yet.
    pub fn arm(&self, epoll: RawFd, ulids: UlidPair, fds: &[RawFd]) {
        let mut map = self.map.lock();
        for fd in fds {
            if !map.contains_key(fd) && map.len() >= MAX {
                continue;
            }
            let watch = map.entry(*fd).or_default();
            if watch.armed.insert(ulids)
                && watch.armed.len() == 1
                && set(epoll, *fd, (libc::EPOLLIN | libc::EPOLLET) as u32) == Entry::Added
            {
                watch.seen = None;
            }
        }
        self.count.store(map.len(), SeqCst);
    }

    /// Timers run again, or the context is gone.
    pub fn disarm(&self, epoll: RawFd, ulids: UlidPair, fds: &[RawFd]) {
        let mut map = self.map.lock();
        for fd in fds {
            if let Some(watch) = map.get_mut(fd)
                && watch.armed.remove(&ulids)
                && watch.armed.is_empty()
            {
                set(epoll, *fd, 0);
            }
        }
    }

    /// A watch fired: the pairs that data may have come for. None, if it is only what was seen before.
    pub fn fired(&self, epoll: RawFd, fd: RawFd) -> Vec<UlidPair> {
        let mut map = self.map.lock();
        let Some(watch) = map.get_mut(&fd) else { return Vec::new() };
        let now = Queue::of(fd);
        if now.is_some() && watch.seen == now {
            return Vec::new(); // edge-triggered: the next arrival fires again
        }
        watch.seen = now;
        set(epoll, fd, 0);
        std::mem::take(&mut watch.armed).into_iter().collect()
    }

    /// Application thread: `fd` is about to be closed.
    pub fn forget(&self, epoll: RawFd, fd: RawFd) {
        if self.count.load(SeqCst) == 0 {
            return;
        }
        let mut map = self.map.lock();
        if map.remove(&fd).is_some() {
            let _ = sys::epoll_control(epoll, libc::EPOLL_CTL_DEL, fd, 0, 0);
        }
        self.count.store(map.len(), SeqCst);
    }
}

#[derive(PartialEq)]
enum Entry {
    Changed,
    Added,
}

/// Change or make the entry. The number may stand for another file by now, of which epoll knows nothing.
fn set(epoll: RawFd, fd: RawFd, events: u32) -> Entry {
    let token = TOKEN | fd as u64;
    if sys::epoll_control(epoll, libc::EPOLL_CTL_MOD, fd, events, token).is_err() && events != 0 {
        let _ = sys::epoll_control(epoll, libc::EPOLL_CTL_ADD, fd, events, token);
        return Entry::Added;
    }
    Entry::Changed
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd;

    fn ulids(n: u8) -> UlidPair {
        UlidPair { local: [n; 16].into(), peer: [9; 16].into() }
    }

    /// Descriptors for which the watch fires within 100 ms.
    fn events(epoll: RawFd) -> Vec<RawFd> {
        if !sys::poll(epoll, libc::POLLIN, 100).unwrap() {
            return Vec::new();
        }
        let mut out = Vec::new();
        sys::epoll_wait(epoll, &mut out).unwrap();
        out.iter().map(|(_, token)| (token - TOKEN) as RawFd).collect()
    }

    // RE-FB-23: unread data fires once per arrival, while armed.
    #[test]
    fn unread_data_fires_and_stale_data_does_not() {
        let (a, b) = (UdpSocket::bind("[::1]:0").unwrap(), UdpSocket::bind("[::1]:0").unwrap());
        let to = a.local_addr().unwrap();
        let (fd, epoll, w) = (a.as_raw_fd(), sys::epoll().unwrap(), Watches::default());
        let epoll = epoll.raw();
        w.arm(epoll, ulids(1), &[fd]);
        w.arm(epoll, ulids(2), &[fd]);
        assert!(events(epoll).is_empty());
        b.send_to(b"1", to).unwrap();
        assert_eq!(events(epoll), [fd]);
        assert_eq!(w.fired(epoll, fd), [ulids(1), ulids(2)]);
        b.send_to(b"2", to).unwrap();
        assert!(events(epoll).is_empty(), "not armed");
        w.arm(epoll, ulids(1), &[fd]);
        assert_eq!(events(epoll), [fd]);
        assert_eq!(w.fired(epoll, fd), [ulids(1)], "came while not armed");
        w.arm(epoll, ulids(1), &[fd]);
        assert_eq!(events(epoll), [fd]);
        assert!(w.fired(epoll, fd).is_empty(), "the same two still wait");
        assert!(events(epoll).is_empty());
        b.send_to(b"3", to).unwrap();
        assert_eq!(events(epoll), [fd]);
        assert_eq!(w.fired(epoll, fd), [ulids(1)]);
        w.arm(epoll, ulids(1), &[fd]);
        w.disarm(epoll, ulids(1), &[fd]);
        b.send_to(b"4", to).unwrap();
        assert!(events(epoll).is_empty(), "disarmed");
    }

    #[test]
    fn closing_works_and_a_reused_number_is_watched_anew() {
        let (epoll, w) = (sys::epoll().unwrap(), Watches::default());
        let epoll = epoll.raw();
        let a = UdpSocket::bind("[::1]:0").unwrap();
        let fd = a.as_raw_fd();
        let copy = a.try_clone().unwrap();
        w.arm(epoll, ulids(1), &[fd]);
        w.forget(epoll, fd);
        let b = UdpSocket::bind("[::1]:0").unwrap();
        b.send_to(b"x", a.local_addr().unwrap()).unwrap();
        assert!(events(epoll).is_empty(), "no entry is left though the file lives on in {copy:?}");
        // Without the hint: the number stands for another file.
        w.arm(epoll, ulids(1), &[fd]);
        assert_eq!(events(epoll), [fd]);
        assert_eq!(w.fired(epoll, fd), [ulids(1)]);
        // SAFETY: both are descriptors of this test; `fd` now stands for the file of `b`.
        assert!(unsafe { libc::dup2(b.as_raw_fd(), fd) } >= 0);
        w.arm(epoll, ulids(1), &[fd]);
        b.send_to(b"y", b.local_addr().unwrap()).unwrap();
        assert_eq!(events(epoll), [fd]);
        assert_eq!(w.fired(epoll, fd), [ulids(1)]);
    }
}
