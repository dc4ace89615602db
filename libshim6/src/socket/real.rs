//! The libc functions that the preload library stands in front of.
//!
//! Looked up one by one at their first use with `dlsym(RTLD_NEXT)`, so that a hook works before any constructor has
//! run. The ABI is `C-unwind`: a thread that is cancelled inside one of them is unwound through our frames.

#![allow(missing_docs, clippy::missing_safety_doc)]

use libc::{c_int, c_uint, c_void, iovec, mmsghdr, msghdr, size_t, sockaddr, socklen_t, ssize_t, timespec};
use std::ffi::CStr;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

#[inline(always)]
fn lookup(cache: &AtomicPtr<c_void>, name: &CStr) -> *mut c_void {
    let known = cache.load(Ordering::Relaxed);
    if known.is_null() { find(cache, name) } else { known }
}

#[cold]
#[inline(never)]
fn find(cache: &AtomicPtr<c_void>, name: &CStr) -> *mut c_void {
    // SAFETY: `name` is NUL-terminated; dlsym allocates nothing where the symbol exists.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    cache.store(found, Ordering::Relaxed);
    found
}

#[cold]
#[inline(never)]
fn missing() -> c_int {
    // SAFETY: errno is thread-local and always writable.
    unsafe { *libc::__errno_location() = libc::ENOSYS };
    -1
}

macro_rules! real {
    ($($name:ident($($arg:ident: $ty:ty),*) -> $ret:ty;)*) => {$(
        #[doc = concat!("The next `", stringify!($name), "` in the lookup order of the process.")]
        #[inline]
        pub unsafe fn $name($($arg: $ty),*) -> $ret {
            static CACHE: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
            // SAFETY: the literal has one NUL, at its end.
            let name = unsafe { CStr::from_bytes_with_nul_unchecked(concat!(stringify!($name), "\0").as_bytes()) };
            let f = lookup(&CACHE, name);
            if f.is_null() {
                return missing() as $ret;
            }
            // SAFETY: the function of that name has this signature; the caller answers for the arguments.
            unsafe {
                let f: unsafe extern "C-unwind" fn($($ty),*) -> $ret = std::mem::transmute(f);
                f($($arg),*)
            }
        }
    )*};
}

real! {
    socket(domain: c_int, ty: c_int, protocol: c_int) -> c_int;
    socketpair(domain: c_int, ty: c_int, protocol: c_int, sv: *mut c_int) -> c_int;
    bind(fd: c_int, addr: *const sockaddr, len: socklen_t) -> c_int;
    connect(fd: c_int, addr: *const sockaddr, len: socklen_t) -> c_int;
    getsockname(fd: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> c_int;
    getpeername(fd: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> c_int;
    getsockopt(fd: c_int, level: c_int, name: c_int, value: *mut c_void, len: *mut socklen_t) -> c_int;
    setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, len: socklen_t) -> c_int;
    shutdown(fd: c_int, how: c_int) -> c_int;
    send(fd: c_int, buf: *const c_void, len: size_t, flags: c_int) -> ssize_t;
    sendto(fd: c_int, buf: *const c_void, len: size_t, flags: c_int, addr: *const sockaddr, alen: socklen_t) -> ssize_t;
    sendmsg(fd: c_int, msg: *const msghdr, flags: c_int) -> ssize_t;
    sendmmsg(fd: c_int, msgs: *mut mmsghdr, n: c_uint, flags: c_int) -> c_int;
    write(fd: c_int, buf: *const c_void, len: size_t) -> ssize_t;
    writev(fd: c_int, iov: *const iovec, n: c_int) -> ssize_t;
    recv(fd: c_int, buf: *mut c_void, len: size_t, flags: c_int) -> ssize_t;
    recvfrom(fd: c_int, buf: *mut c_void, len: size_t, flags: c_int, addr: *mut sockaddr, alen: *mut socklen_t) -> ssize_t;
    recvmsg(fd: c_int, msg: *mut msghdr, flags: c_int) -> ssize_t;
    recvmmsg(fd: c_int, msgs: *mut mmsghdr, n: c_uint, flags: c_int, timeout: *mut timespec) -> c_int;
    read(fd: c_int, buf: *mut c_void, len: size_t) -> ssize_t;
    readv(fd: c_int, iov: *const iovec, n: c_int) -> ssize_t;
    __recv_chk(fd: c_int, buf: *mut c_void, len: size_t, size: size_t, flags: c_int) -> ssize_t;
    __recvfrom_chk(fd: c_int, buf: *mut c_void, len: size_t, size: size_t, flags: c_int, addr: *mut sockaddr, alen: *mut socklen_t) -> ssize_t;
    __read_chk(fd: c_int, buf: *mut c_void, len: size_t, size: size_t) -> ssize_t;
    close(fd: c_int) -> c_int;
    close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int;
    fclose(file: *mut libc::FILE) -> c_int;
    dup(fd: c_int) -> c_int;
    dup2(old: c_int, new: c_int) -> c_int;
    dup3(old: c_int, new: c_int, flags: c_int) -> c_int;
}

/// `closefrom`, which has no return value.
pub unsafe fn closefrom(low: c_int) {
    static CACHE: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
    let f = lookup(&CACHE, c"closefrom");
    if !f.is_null() {
        // SAFETY: that is glibc's signature of it.
        unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C-unwind" fn(c_int)>(f)(low) }
    }
}

/// `fcntl` and `fcntl64`, whose third argument is whatever `cmd` makes of it.
pub unsafe fn fcntl(fd: c_int, cmd: c_int, arg: *mut c_void) -> c_int {
    static CACHE: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
    let mut f = lookup(&CACHE, c"fcntl64");
    if f.is_null() {
        f = lookup(&CACHE, c"fcntl");
    }
    if f.is_null() {
        // SAFETY: errno is thread-local and always writable.
        unsafe { *libc::__errno_location() = libc::ENOSYS };
        return -1;
    }
    // SAFETY: variadic in C; the caller answers for `arg`.
    unsafe {
        let f: unsafe extern "C-unwind" fn(c_int, c_int, ...) -> c_int = std::mem::transmute(f);
        f(fd, cmd, arg)
    }
}

/// `pthread_exit`, which does not return.
pub unsafe fn pthread_exit(value: *mut c_void) -> ! {
    static CACHE: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
    let f = lookup(&CACHE, c"pthread_exit");
    if !f.is_null() {
        // SAFETY: that is its signature.
        unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C-unwind" fn(*mut c_void) -> !>(f)(value) }
    }
    // No libc is without it.
    // SAFETY: no memory involved; ends this thread alone.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    loop {
        std::hint::spin_loop();
    }
}
