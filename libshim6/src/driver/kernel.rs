//! System calls, past everything that the process has loaded.
//!
//! `syscall(2)` is a function that other preloaded libraries replace too: cwrap's uid_wrapper takes a lock in it, which it
//! holds over each fork, and the engine has to close its descriptors there.

use libc::{c_int, c_long};

/// A system call by number and arguments (integers, pointers): -1 and `errno` if it fails, as `syscall(2)`, and no point
/// of cancellation. Unsafe as the call.
macro_rules! kernel {
    ($number:expr $(, $argument:expr)* $(,)?) => {
        $crate::driver::kernel::call($number, $crate::driver::kernel::six([$($argument as usize),*])) as libc::c_long
    };
}
pub(crate) use kernel;

/// Those arguments and as many zeros as are missing.
#[inline(always)]
pub const fn six<const N: usize>(some: [usize; N]) -> [usize; 6] {
    let mut all = [0; 6];
    let mut i = 0;
    while i < N {
        all[i] = some[i];
        i += 1;
    }
    all
}

/// A system call as the C library makes it: -1 and `errno` if it fails.
///
/// # Safety
/// As the call.
#[inline(always)]
pub unsafe fn call(number: c_long, arguments: [usize; 6]) -> isize {
    // SAFETY: by the contract above.
    let r = unsafe { enter(number, arguments) };
    if (-4095..0).contains(&r) { failed(-r as c_int) } else { r }
}

#[cold]
#[inline(never)]
fn failed(error: c_int) -> isize {
    // SAFETY: the calling thread's own.
    unsafe { *libc::__errno_location() = error };
    -1
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn enter(number: c_long, [a, b, c, d, e, f]: [usize; 6]) -> isize {
    let r: isize;
    // SAFETY: the convention of Linux on this processor; the kernel changes no other register.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") number as isize => r,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    r
}

#[cfg(target_arch = "aarch64")]
#[inline(always)]
unsafe fn enter(number: c_long, [a, b, c, d, e, f]: [usize; 6]) -> isize {
    let r: isize;
    // SAFETY: the convention of Linux on this processor; the kernel changes no other register.
    unsafe {
        std::arch::asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a as isize => r,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e, in("x5") f,
            options(nostack),
        );
    }
    r
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe fn enter(number: c_long, [a, b, c, d, e, f]: [usize; 6]) -> isize {
    // SAFETY: by the contract of `call`.
    unsafe { libc::syscall(number, a, b, c, d, e, f) as isize }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_returns_what_the_c_library_returns() {
        let mut pipe = [0; 2];
        // SAFETY: the buffers are as long as is said.
        unsafe {
            assert_eq!(libc::pipe(pipe.as_mut_ptr()), 0);
            let [from, to] = pipe.map(|fd| fd as usize);
            assert_eq!(call(libc::SYS_write, [to, b"abc".as_ptr() as usize, 3, 0, 0, 0]), 3);
            let mut got = [0u8; 8];
            assert_eq!(call(libc::SYS_read, [from, got.as_mut_ptr() as usize, 8, 0, 0, 0]), 3);
            assert_eq!(&got[..3], b"abc");
            assert_eq!(call(libc::SYS_read, [-1isize as usize, 0, 0, 0, 0, 0]), -1);
            assert_eq!(*libc::__errno_location(), libc::EBADF);
            for fd in pipe {
                libc::close(fd);
            }
        }
    }
}
