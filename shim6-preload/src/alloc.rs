//! A heap of our own, straight from the kernel.
//!
//! `send`, `recv` and `connect` may be called in a signal handler that has interrupted the application's `malloc` or
//! `fork`, and an application may bring a `malloc` that itself uses sockets or has fork handlers: nothing in here may
//! wait for a lock of the application's heap.

use dlmalloc::{Allocator, Dlmalloc};
use shim6::driver::reserve;
use shim6::socket::backend::{memory_is_short, watch_forks};
use shim6::socket::guard::{self, masked};
use shim6::socket::{direct, leave, ops::recognise, real};
use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

struct Heap {
    lock: UnsafeCell<libc::pthread_mutex_t>,
    heap: UnsafeCell<Dlmalloc>,
    spare: UnsafeCell<Dlmalloc<Reserve>>,
}

/// What is set aside, as one piece.
struct Reserve;

static TAKEN: AtomicBool = AtomicBool::new(false);

// SAFETY: one piece of memory that is nobody else's, zeroed, and never given back.
unsafe impl Allocator for Reserve {
    fn alloc(&self, size: usize) -> (*mut u8, usize, u32) {
        match reserve::at() {
            Some(at) if size <= reserve::OCTETS && !TAKEN.swap(true, Relaxed) => {
                (at as *mut u8, reserve::OCTETS, 0)
            }
            _ => (std::ptr::null_mut(), 0, 0),
        }
    }
    fn remap(&self, _: *mut u8, _: usize, _: usize, _: bool) -> *mut u8 {
        std::ptr::null_mut()
    }
    fn free_part(&self, _: *mut u8, _: usize, _: usize) -> bool {
        false
    }
    fn free(&self, _: *mut u8, _: usize) -> bool {
        false
    }
    fn can_release_part(&self, _: u32) -> bool {
        false
    }
    fn allocates_zeros(&self) -> bool {
        true
    }
    fn page_size(&self) -> usize {
        4096
    }
}

fn is_spare(p: *mut u8) -> bool {
    reserve::at().is_some_and(|at| (at..at + reserve::OCTETS).contains(&(p as usize)))
}

// SAFETY: `heap` and `spare` are only touched while `lock` is held.
unsafe impl Sync for Heap {}

#[global_allocator]
static HEAP: Heap = Heap {
    lock: UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER),
    heap: UnsafeCell::new(Dlmalloc::new()),
    spare: UnsafeCell::new(Dlmalloc::new_with_allocator(Reserve)),
};

impl Heap {
    fn lock(&self) {
        // SAFETY: a mutex that is never destroyed.
        unsafe { libc::pthread_mutex_lock(self.lock.get()) };
    }

    fn unlock(&self) {
        // SAFETY: as above; the calling thread holds it.
        unsafe { libc::pthread_mutex_unlock(self.lock.get()) };
    }

    /// From what is set aside, where the kernel gives no memory: with it the engine ends. Null: there is nothing.
    #[cold]
    fn spare(&self, layout: Layout) -> *mut u8 {
        if memory_is_short().is_none() {
            return std::ptr::null_mut();
        }
        // SAFETY: by the contract of `alloc`.
        self.with_spare(|heap| unsafe { heap.malloc(layout.size(), layout.align()) })
    }

    fn with_spare<T>(&self, f: impl FnOnce(&mut Dlmalloc<Reserve>) -> T) -> T {
        // SAFETY: under the lock.
        self.with(|_| f(unsafe { &mut *self.spare.get() }))
    }

    /// While the lock is held the thread counts as inside the shim: a hook called by a signal handler then bypasses
    /// the shim, instead of waiting for the lock that its own thread holds.
    fn with<T>(&self, f: impl FnOnce(&mut Dlmalloc) -> T) -> T {
        masked(|| {
            self.lock();
            // SAFETY: under the lock; dlmalloc does not come back here.
            let result = f(unsafe { &mut *self.heap.get() });
            self.unlock();
            result
        })
    }
}

// SAFETY: hands everything to dlmalloc, whose contract is that of this trait; each piece goes back where it came from.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: by the contract of the trait.
        let p = self.with(|heap| unsafe { heap.malloc(layout.size(), layout.align()) });
        if p.is_null() { self.spare(layout) } else { p }
    }
    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        if is_spare(p) {
            // SAFETY: by the contract of the trait.
            return self.with_spare(|heap| unsafe { heap.free(p, layout.size(), layout.align()) });
        }
        // SAFETY: as above.
        self.with(|heap| unsafe { heap.free(p, layout.size(), layout.align()) });
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: by the contract of the trait.
        let p = self.with(|heap| unsafe { heap.calloc(layout.size(), layout.align()) });
        if !p.is_null() {
            return p;
        }
        let p = self.spare(layout);
        if !p.is_null() {
            // SAFETY: that many octets were just allocated.
            unsafe { p.write_bytes(0, layout.size()) };
        }
        p
    }
    unsafe fn realloc(&self, p: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !is_spare(p) {
            // SAFETY: by the contract of the trait.
            let q = self.with(|heap| unsafe { heap.realloc(p, layout.size(), layout.align(), size) });
            if !q.is_null() {
                return q;
            }
        }
        // SAFETY: the size is one that the contract of the trait allows with this alignment.
        let q = self.spare(unsafe { Layout::from_size_align_unchecked(size, layout.align()) });
        if !q.is_null() {
            // SAFETY: two pieces, of which both have that many octets; the old one is not used any more.
            unsafe {
                q.copy_from_nonoverlapping(p, size.min(layout.size()));
                self.dealloc(p, layout);
            }
        }
        q
    }
}

/// What is done at load time: functions are looked up that may be called with a lock held, and sockets that an earlier
/// program of this process left detached are known again. And no fork while another thread (the engine's) is in the heap, and no hook
/// in a signal handler that interrupts the fork. Handlers before a fork run in reverse order: the mask comes first.
#[used]
#[unsafe(link_section = ".init_array")]
static PROTECT_FORKS: unsafe extern "C" fn() = protect_forks;

unsafe extern "C" fn protect_forks() {
    // SAFETY: plain functions, which allocate nothing.
    unsafe { libc::pthread_atfork(Some(before_fork), Some(after_fork), Some(after_fork)) };
    watch_forks();
    guard::own_panics();
    direct::threads_are_told();
    real::look_up_early();
    recognise();
}

#[used]
#[unsafe(link_section = ".fini_array")]
static AT_EXIT: unsafe extern "C" fn() = at_exit;

unsafe extern "C" fn at_exit() {
    leave::program_exits();
}

/// The forking thread holds the lock.
static HELD: AtomicBool = AtomicBool::new(false);

unsafe extern "C" fn before_fork() {
    // A signal handler that forks in the middle of our own code may have interrupted the holder of the lock.
    if !guard::was_inside_before_fork() {
        HEAP.lock();
        HELD.store(true, Relaxed);
    }
}

unsafe extern "C" fn after_fork() {
    if HELD.swap(false, Relaxed) {
        HEAP.unlock();
    }
}
