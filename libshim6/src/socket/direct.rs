//! Calls into the kernel without the C library's function around them, for programs of one thread.
//!
//! As soon as a process has a second thread, glibc makes each call that can wait a point where the calling thread can be
//! cancelled, which costs about as much again as entering the kernel. The engine's thread is a second one, and cancels
//! nobody. So as long as the program itself has made none, its calls go to the kernel as directly as they did without the
//! shim. From its first thread on (the hooks of `pthread_create`, `thrd_create` and `pthread_cancel` tell) they take glibc's
//! functions, which costs what it costs without the shim.

use super::real;
pub use crate::driver::kernel::call;
use libc::{c_int, c_void, size_t};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::*};

const UNDECIDED: u8 = 0;
const ALLOWED: u8 = 1;
const FORBIDDEN: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(UNDECIDED);
static THREADS_ARE_TOLD: AtomicBool = AtomicBool::new(false);

/// This copy of the shim has the hooks that call [`program_has_threads`].
pub fn threads_are_told() {
    THREADS_ARE_TOLD.store(true, Release);
}

/// The program makes a thread, or cancels one: the C library's functions from now on.
pub fn program_has_threads() {
    STATE.store(FORBIDDEN, SeqCst);
}

/// May calls go straight to the kernel? One load.
#[inline(always)]
pub fn is_allowed() -> bool {
    cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) && STATE.load(Relaxed) == ALLOWED
}

/// Before the engine's thread is made: is it the process's second one, and is nothing but glibc behind the names?
pub(super) fn decide(calls: &[*const c_void]) {
    if !THREADS_ARE_TOLD.load(Acquire) || STATE.load(Relaxed) != UNDECIDED {
        return;
    }
    let allowed = is_single_threaded() && is_within_libc(calls);
    let _ = STATE.compare_exchange(UNDECIDED, if allowed { ALLOWED } else { FORBIDDEN }, SeqCst, Relaxed);
}

fn is_single_threaded() -> bool {
    let told = real::process_symbol(c"__libc_single_threaded").cast::<u8>();
    // SAFETY: glibc's variable of that name is a `char`, which only it writes.
    !told.is_null() && unsafe { told.read_volatile() } != 0
}

/// Is each of these functions the C library's own, and not that of another library in between, which has to be asked?
fn is_within_libc(calls: &[*const c_void]) -> bool {
    let libc = real::process_symbol(c"gnu_get_libc_version");
    let mut search = Search { of: libc as usize, found: None };
    // SAFETY: the callback is given `search`, which outlives the call. (Not dladdr: it looks at every symbol there is.)
    unsafe { libc::dl_iterate_phdr(Some(segment_of), (&raw mut search).cast()) };
    !libc.is_null()
        && search.found.is_some_and(|code| calls.iter().all(|call| code.contains(&(*call as usize))))
}

struct Search {
    of: usize,
    /// The segment that this address is in.
    found: Option<Range<usize>>,
}

unsafe extern "C" fn segment_of(object: *mut libc::dl_phdr_info, _: size_t, search: *mut c_void) -> c_int {
    // SAFETY: what the dynamic loader hands over, and what was handed to it.
    let (object, search) = unsafe { (&*object, &mut *search.cast::<Search>()) };
    // SAFETY: as above: that many headers.
    let headers = unsafe { std::slice::from_raw_parts(object.dlpi_phdr, object.dlpi_phnum.into()) };
    let mut loaded = headers.iter().filter(|h| h.p_type == libc::PT_LOAD).map(|h| {
        let start = (object.dlpi_addr as usize).wrapping_add(h.p_vaddr as usize);
        start..start + h.p_memsz as usize
    });
    search.found = loaded.find(|segment| segment.contains(&search.of));
    c_int::from(search.found.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ptr;

    #[test]
    fn only_the_c_librarys_own_functions_may_be_left_out() {
        let names = [c"send", c"read"].map(real::process_symbol);
        assert!(is_within_libc(&names));
        assert!(!is_within_libc(&[names[0], is_within_libc as *const c_void]));
        assert!(!is_within_libc(&[ptr::null()]));
    }
}
