//! A heap of our own, straight from the kernel.
//!
//! `send`, `recv` and `connect` may be called in a signal handler that has interrupted the application's `malloc` or
//! `fork`, and an application may bring a `malloc` that itself uses sockets or has fork handlers: nothing in here may
//! wait for a lock of the application's heap.

use dlmalloc::GlobalDlmalloc;
use shim6::socket::guard::masked;
use std::alloc::{GlobalAlloc, Layout};

struct Heap;

#[global_allocator]
static HEAP: Heap = Heap;

// SAFETY: hands everything to dlmalloc. While its lock is held the thread counts as inside the shim, so that a hook
// called by a signal handler bypasses the shim instead of waiting for the lock that its own thread holds.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY (all four): by the contract of the trait.
        masked(|| unsafe { GlobalDlmalloc.alloc(layout) })
    }
    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        masked(|| unsafe { GlobalDlmalloc.dealloc(p, layout) });
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        masked(|| unsafe { GlobalDlmalloc.alloc_zeroed(layout) })
    }
    unsafe fn realloc(&self, p: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        masked(|| unsafe { GlobalDlmalloc.realloc(p, layout, size) })
    }
}

/// At load time, the one thing that is done then: no fork while another thread (the engine's) is in the heap.
#[used]
#[unsafe(link_section = ".init_array")]
static PROTECT_FORKS: unsafe extern "C" fn() = {
    unsafe extern "C" fn protect() {
        // SAFETY: called once, before the program has a second thread.
        unsafe { dlmalloc::enable_alloc_after_fork() };
    }
    protect
};
