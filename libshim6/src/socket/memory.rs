//! Is memory that an application names there? The kernel answers EFAULT where it is not; whoever reads in its place must
//! not crash instead.
//!
//! The kernel is asked once per page, by calls that change nothing; the answer "yes" is kept in a small table, so that
//! a program that uses its buffers again and again costs loads alone. What the program unmaps or protects is taken out
//! of the table by the hooks of `munmap` and its like ([`forget`]). Not noticed is what libc itself unmaps (a large block
//! that was freed), and a file that gets shorter under its mapping.

use super::guard;
use crate::driver::kernel::kernel;
use libc::c_int;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

const PAGE: usize = 4096;
const SLOTS: usize = 256;
/// MADV_POPULATE_READ and MADV_POPULATE_WRITE of <asm/mman.h>: Linux 5.14.
const POPULATE_READ: c_int = 22;
const POPULATE_WRITE: c_int = 23;

/// Page number times two, plus one if it can be written; 0 is empty.
static KNOWN: [AtomicUsize; SLOTS] = [const { AtomicUsize::new(0) }; SLOTS];

/// Has the table an entry?
static USED: AtomicBool = AtomicBool::new(false);

/// Does nobody forbid our questions?
static MAY_ASK: AtomicBool = AtomicBool::new(true);

/// A filter of the program may kill whoever asks. What it names is taken to be there from now on.
pub fn ask_no_more() {
    MAY_ASK.store(false, Relaxed);
}

/// The program has changed what is mapped there: ask again. No lock, no allocation.
#[inline]
pub fn forget(start: usize, len: usize) {
    if USED.load(Relaxed) {
        take_out(start, len);
    }
}

#[cold]
fn take_out(start: usize, len: usize) {
    let first = start / PAGE;
    let last = start.saturating_add(len.max(1) - 1) / PAGE;
    for slot in &KNOWN {
        if (first..=last).contains(&(slot.load(Relaxed) >> 1)) {
            slot.store(0, Relaxed);
        }
    }
}

/// What an application's memory is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading.
    Read,
    /// Reading and writing.
    Write,
}

fn entry(page: usize, access: Access) -> (usize, &'static AtomicUsize) {
    let value = page << 1 | usize::from(access == Access::Write);
    // Neighbouring pages, and the two kinds of a page, lie in different slots.
    (value, &KNOWN[(value ^ value >> 8) % SLOTS])
}

/// Can `len` octets at `start` be accessed?
#[inline]
pub fn checked(start: usize, len: usize, access: Access) -> bool {
    // Not in the first page, nor in the kernel's half.
    let Some(last) = start.checked_add(len.max(1) - 1) else { return false };
    if (start as isize) < PAGE as isize || (last as isize) < 0 {
        return false;
    }
    let (first, last) = (start / PAGE, last / PAGE);
    let known = |page| {
        let (value, slot) = entry(page, access);
        slot.load(Relaxed) == value
    };
    (first..=last).all(known) || ask(first, last, access)
}

#[cold]
fn ask(first: usize, last: usize, access: Access) -> bool {
    if !MAY_ASK.load(Relaxed) {
        return true;
    }
    let saved = guard::errno();
    let there = populated(first, last, access).unwrap_or_else(|| {
        // Memory that cannot be populated (of a device, say), or an older kernel. What cannot be written then is not told.
        (first..=last).all(is_readable)
    });
    guard::set_errno(saved);
    if there {
        USED.store(true, Relaxed);
        for page in (first..=last).take(SLOTS) {
            let (value, slot) = entry(page, access);
            slot.store(value, Relaxed);
        }
    }
    there
}

/// `None`: the kernel cannot tell.
fn populated(first: usize, last: usize, access: Access) -> Option<bool> {
    let advice = if access == Access::Read { POPULATE_READ } else { POPULATE_WRITE };
    let advise = |page: usize, pages: usize| {
        // SAFETY: brings pages in that are there in any case, and changes no memory.
        unsafe { kernel!(libc::SYS_madvise, page * PAGE, pages * PAGE, advice) == 0 }
    };
    if advise(first, last - first + 1) {
        return Some(true);
    }
    match guard::errno() {
        libc::EFAULT | libc::ENOMEM => Some(false),
        // A read-only page, or a kernel that does not know the advice: our own stack shows which.
        libc::EINVAL if access == Access::Write => {
            let here = 0u8;
            advise((&raw const here) as usize / PAGE, 1).then_some(false)
        }
        _ => None,
    }
}

/// rt_sigprocmask reads the set before it refuses an unknown operation: EFAULT tells of an unreadable one.
fn is_readable(page: usize) -> bool {
    const NO_OPERATION: c_int = -1;
    /// Octets of the kernel's sigset_t.
    const SET: usize = 8;
    // SAFETY: the kernel reads the set and changes nothing, because there is no such operation.
    let r = unsafe {
        kernel!(libc::SYS_rt_sigprocmask, NO_OPERATION, page * PAGE, std::ptr::null_mut::<u8>(), SET)
    };
    r == 0 || guard::errno() != libc::EFAULT
}

#[cfg(test)]
mod tests {
    use super::Access::{Read, Write};
    use super::*;

    fn map(protection: c_int) -> usize {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a fresh mapping, which lives to the end of the process.
        let p = unsafe { libc::mmap(std::ptr::null_mut(), 3 * PAGE, protection, flags, -1, 0) };
        assert_ne!(p, libc::MAP_FAILED);
        p as usize
    }

    #[test]
    fn memory_that_is_not_there_is_told_from_memory_that_is() {
        let (none, ro) = (map(libc::PROT_NONE), map(libc::PROT_READ));
        let rw = map(libc::PROT_READ | libc::PROT_WRITE);
        guard::set_errno(7);
        for _ in 0..2 {
            for len in [0, 1, 100, PAGE, 2 * PAGE + 1] {
                assert!(checked(rw + 5, len, Read) && checked(rw + 5, len, Write), "{len}");
                assert!(checked(ro + 5, len, Read) && !checked(ro + 5, len, Write), "{len}");
                assert!(!checked(none + 5, len, Read) && !checked(none + 5, len, Write), "{len}");
            }
        }
        // A middle page without access, and the end of a mapping.
        // SAFETY: the test's own mapping.
        unsafe {
            libc::mprotect((rw + PAGE) as *mut _, PAGE, libc::PROT_NONE);
            libc::munmap((ro + PAGE) as *mut _, PAGE);
        }
        forget(rw + PAGE, PAGE);
        forget(ro + PAGE, 1);
        assert!(!checked(rw + PAGE - 1, 2, Read) && checked(rw + PAGE - 1, 1, Read));
        assert!(!checked(ro + PAGE - 1, 2, Read) && checked(ro + PAGE - 1, 1, Read));
        for (p, len) in [(0, 1), (8, 4), (usize::MAX, 1), (usize::MAX - 10, 100), (1 << 63, 1)] {
            assert!(!checked(p, len, Read), "{p:#x}");
        }
        assert_eq!(guard::errno(), 7);
    }

    #[test]
    fn the_way_of_older_kernels_tells_too() {
        let (none, ro) = (map(libc::PROT_NONE), map(libc::PROT_READ));
        assert!(is_readable(ro / PAGE) && !is_readable(none / PAGE) && !is_readable(1));
    }
}
