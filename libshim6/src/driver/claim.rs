//! Claims on tag prefixes: several engines share the host's copies of every packet of protocol 140 (S6-N-48,
//! S6-E-7, DESIGN section 5).
//!
//! The claim is an abstract Unix datagram socket named after the prefix. Such names belong to the network namespace,
//! as the packets do, and the kernel frees them when their process ends, however it ends.

use super::sys;
use crate::addr::UlidPair;
use crate::rng::Rng;
use crate::time::Time;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::io;
use std::time::Duration;

/// How long an answer of the kernel is taken for true.
pub const CACHED: Duration = Duration::from_secs(2);
/// Most prefixes with a cached answer.
const CACHE: usize = 1024;

/// Our prefix, and what is known about those of others.
#[derive(Debug)]
pub struct Claim {
    prefix: u16,
    _held: sys::OwnFd,
    asks: sys::OwnFd,
    known: Mutex<HashMap<u16, (Time, bool)>>,
    first: Mutex<Option<(Time, bool)>>,
}

impl Claim {
    /// Draw a prefix that no other engine holds, and hold it.
    pub fn new(rng: &mut dyn Rng) -> io::Result<Claim> {
        let asks = unix_socket()?;
        // 64 failures in a row would mean that nearly all of 65536 prefixes are taken.
        for _ in 0..64 {
            let prefix = rng.u32() as u16;
            match take(tag_name(prefix)) {
                Ok(held) => {
                    return Ok(Claim {
                        prefix,
                        _held: held,
                        asks,
                        known: Mutex::default(),
                        first: Mutex::default(),
                    });
                }
                Err(e) if e.raw_os_error() == Some(libc::EADDRINUSE) => {}
                Err(e) => return Err(e),
            }
        }
        Err(io::Error::from_raw_os_error(libc::EADDRINUSE))
    }

    /// The top 16 bits of this engine's tags.
    pub fn prefix(&self) -> u16 {
        self.prefix
    }

    /// Does another engine of this network namespace hold `prefix`?
    pub fn is_foreign(&self, now: Time, prefix: u16) -> bool {
        if prefix == self.prefix {
            return false;
        }
        let mut known = self.known.lock();
        if let Some((at, answer)) = known.get(&prefix)
            && now.since(*at) < CACHED
        {
            return *answer;
        }
        // In doubt we leave the answer to others.
        let answer = !is_free(&self.asks, tag_name(prefix));
        if known.len() >= CACHE {
            known.clear();
        }
        known.insert(prefix, (now, answer));
        answer
    }

    /// Is ours the lowest of the prefixes that are held in this network namespace? If that cannot be told, it is.
    pub fn is_first(&self, now: Time) -> bool {
        let mut first = self.first.lock();
        if let Some((at, answer)) = *first
            && now.since(at) < CACHED
        {
            return answer;
        }
        let names = std::fs::read_to_string("/proc/thread-self/net/unix").unwrap_or_default();
        let held = names.lines().filter_map(|l| l.rsplit_once(TAG_NAME)).map(|(_, digits)| digits);
        let answer = held.filter_map(|d| u16::from_str_radix(d, 16).ok()).all(|p| self.prefix <= p);
        *first = Some((now, answer));
        answer
    }
}

/// What the names of claimed prefixes start with.
const TAG_NAME: &str = "shim6-tag-";
/// Most default contexts that this process holds one by one; each costs a descriptor.
const MAX_SINGLE: usize = 32;
/// Further ones are held by shares of all pairs there are; each costs a descriptor.
const SHARES: usize = 16;

/// Of several local processes with the same ULID pair one may have the default context (FII 0): the one that holds a
/// name made of the pair (DESIGN section 5). Otherwise they would overwrite each other's context at the peer.
///
/// A process with many pairs holds names of shares. Who wants a pair takes its own name first and looks for the other
/// kind of name then, so that of two at the same time at least one sees the other.
#[derive(Debug, Default)]
pub struct DefaultClaims(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    singly: HashMap<UlidPair, sys::OwnFd>,
    /// By the number of the share: its name, and which of its pairs are in use.
    shares: HashMap<usize, (sys::OwnFd, HashSet<UlidPair>)>,
}

impl DefaultClaims {
    /// Is the default context of the pair ours, from now on at the latest?
    pub fn hold(&self, ulids: UlidPair) -> bool {
        let mut held = self.0.lock();
        let Held { singly, shares } = &mut *held;
        let number = share_of(ulids);
        let in_use = |(_, pairs): &(sys::OwnFd, HashSet<UlidPair>)| pairs.contains(&ulids);
        if singly.contains_key(&ulids) || shares.get(&number).is_some_and(in_use) {
            return true;
        }
        let single = abstract_name(&format!("shim6-fii0-{}-{}", ulids.local, ulids.peer));
        let share = abstract_name(&format!("shim6-fii0-share-{number}"));
        let Ok(asks) = unix_socket() else { return false };
        if let Some((_, pairs)) = shares.get_mut(&number) {
            return is_free(&asks, single) && pairs.insert(ulids);
        }
        let alone = singly.len() < MAX_SINGLE;
        let (ours, other) = if alone { (single, share) } else { (share, single) };
        let Ok(name) = take(ours) else { return false };
        if !is_free(&asks, other) {
            return false;
        }
        if alone {
            singly.insert(ulids, name);
        } else {
            shares.insert(number, (name, HashSet::from([ulids])));
        }
        true
    }

    /// The context is gone.
    pub fn release(&self, ulids: UlidPair) {
        let mut held = self.0.lock();
        let number = share_of(ulids);
        if held.singly.remove(&ulids).is_none()
            && let Some((_, pairs)) = held.shares.get_mut(&number)
            && pairs.remove(&ulids)
            && pairs.is_empty()
        {
            held.shares.remove(&number);
        }
    }
}

/// The same in every process.
fn share_of(ulids: UlidPair) -> usize {
    let octets = [ulids.local.octets(), ulids.peer.octets()];
    octets.as_flattened().iter().fold(0usize, |sum, o| (sum * 31 + usize::from(*o)) % 65521) % SHARES
}

fn unix_socket() -> io::Result<sys::OwnFd> {
    sys::socket(libc::AF_UNIX, libc::SOCK_DGRAM, 0)
}

/// Hold a name as long as what is returned.
fn take((name, len): (libc::sockaddr_un, usize)) -> io::Result<sys::OwnFd> {
    let fd = unix_socket()?;
    sys::bind(fd.raw(), &name, len).map(|()| fd)
}

/// Has nobody this name? Only ECONNREFUSED says so.
fn is_free(asks: &sys::OwnFd, (name, len): (libc::sockaddr_un, usize)) -> bool {
    sys::connect(asks.raw(), &name, len).is_err_and(|e| e.raw_os_error() == Some(libc::ECONNREFUSED))
}

fn tag_name(prefix: u16) -> (libc::sockaddr_un, usize) {
    abstract_name(&format!("{TAG_NAME}{prefix:04x}"))
}

/// A name in the abstract namespace, with the length of the address; `text` is shorter than 107 octets.
pub(super) fn abstract_name(text: &str) -> (libc::sockaddr_un, usize) {
    // SAFETY: an all-zero `sockaddr_un` is valid.
    let mut a: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    a.sun_family = libc::AF_UNIX as libc::sa_family_t;
    for (to, from) in a.sun_path[1..].iter_mut().zip(text.bytes()) {
        *to = from as libc::c_char;
    }
    (a, std::mem::offset_of!(libc::sockaddr_un, sun_path) + 1 + text.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::random::SystemRng;

    // S6-N-48: a prefix is held by one engine, seen as foreign by others, and free when its holder is gone.
    #[test]
    fn prefixes_are_claimed_and_freed() {
        let a = Claim::new(&mut SystemRng::new()).unwrap();
        let b = Claim::new(&mut SystemRng::new()).unwrap();
        let (pa, pb) = (a.prefix(), b.prefix());
        assert_ne!(pa, pb);
        assert!(a.is_foreign(Time(1), pb) && b.is_foreign(Time(1), pa));
        assert!(!a.is_foreign(Time(1), pa) && !b.is_foreign(Time(1), pb));
        drop(b);
        assert!(a.is_foreign(Time(2), pb), "cached");
        assert!(!a.is_foreign(Time(1) + CACHED, pb));
    }

    // S6-N-48: of all engines the one with the lowest prefix answers strangers.
    #[test]
    fn one_is_the_first() {
        let (before, cached, after) = crate::driver::testing::in_netns(|| {
            let mut all: Vec<Claim> = (0..8).map(|_| Claim::new(&mut SystemRng::new()).unwrap()).collect();
            all.sort_by_key(Claim::prefix);
            let before: Vec<bool> = all.iter().map(|c| c.is_first(Time(1))).collect();
            drop(all.remove(0));
            (before, all[0].is_first(Time(2)), all[0].is_first(Time(1) + CACHED))
        });
        assert_eq!(before, [&[true][..], &[false; 7]].concat());
        assert!(!cached && after);
    }

    #[test]
    fn a_taken_prefix_is_not_drawn_again() {
        /// Draws the same prefix a few times, then another.
        struct Stubborn(u16, u32);
        impl Rng for Stubborn {
            fn fill(&mut self, out: &mut [u8]) {
                self.1 += 1;
                out.copy_from_slice(&(u32::from(self.0) + u32::from(self.1 > 3)).to_be_bytes());
            }
        }
        let a = Claim::new(&mut SystemRng::new()).unwrap();
        let b = Claim::new(&mut Stubborn(a.prefix() & 0xfffe, 0)).unwrap();
        assert_ne!(a.prefix(), b.prefix());
    }

    // DESIGN section 5: one process has the default context of a pair.
    #[test]
    fn one_holds_the_default_context() {
        let full = std::net::Ipv6Addr::from([0xfd; 16]);
        let pair = UlidPair { local: full, peer: (u128::from(full) - u128::from(std::process::id())).into() };
        let (a, b) = (DefaultClaims::default(), DefaultClaims::default());
        assert!(a.hold(pair) && a.hold(pair) && !b.hold(pair));
        a.release(pair);
        assert!(b.hold(pair) && !a.hold(pair));
    }

    // DESIGN section 5: a process with many pairs holds them by shares, and leaves those to others that others have.
    #[test]
    fn many_default_contexts_are_held_by_shares() {
        let (few, many, left, pairs) = crate::driver::testing::in_netns(|| {
            let local = std::net::Ipv6Addr::from([0xfd; 16]);
            let pairs: Vec<UlidPair> =
                (0..1000).map(|n: u128| UlidPair { local, peer: (n << 64).into() }).collect();
            let (a, b) = (DefaultClaims::default(), DefaultClaims::default());
            let few: Vec<UlidPair> = pairs.iter().copied().step_by(50).filter(|p| b.hold(*p)).collect();
            let of_a = |pair: &UlidPair| a.hold(*pair);
            let many: Vec<UlidPair> = pairs.iter().copied().filter(|p| of_a(p) && of_a(p)).collect();
            let more = UlidPair { local, peer: local };
            let while_held = b.hold(more);
            for pair in &many {
                a.release(*pair);
            }
            let left =
                (while_held, b.hold(more), pairs.iter().filter(|p| !few.contains(p)).all(|p| b.hold(*p)));
            (few, many, left, pairs)
        });
        assert_eq!(few.len(), 20);
        assert_eq!(many.len() + few.len(), pairs.len(), "each pair has one holder");
        assert!(many.iter().all(|p| !few.contains(p)));
        assert_eq!(left, (false, true, true), "a share is taken as a whole, and free again");
    }
}
