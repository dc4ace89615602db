//! The libc functions that the shim stands in front of.
//!
//! Looked up one by one at their first use, so that a hook works before any constructor has run: with
//! `dlsym(RTLD_NEXT)` by the preload library, as [`look_up`] says by a linked one. The ABI is `C-unwind`: a thread that
//! is cancelled inside one of them is unwound through our frames.

#![allow(missing_docs, clippy::missing_safety_doc)]

use super::direct;
use crate::driver::kernel::kernel;
use libc::{
    c_int, c_uint, c_ulong, c_void, iovec, mmsghdr, msghdr, nfds_t, off_t, pollfd, size_t, sockaddr,
    socklen_t, ssize_t, timespec,
};
use std::ffi::{CStr, c_char};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU8, Ordering};

/// Which of the functions of a name is the real one for this copy of the shim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Lookup {
    /// The next in the lookup order of the process: what a hook needs. The default.
    Next,
    /// The same, or where there is no lookup at run time (a static executable), that of the linker.
    NextOrLinked,
    /// That of the process: the hooks of the preload library, whose engine serves this copy too.
    Hooks,
    /// `shim6_*` of another copy in this process, whose engine serves this copy too.
    OtherCopy,
}

static LOOKUP: AtomicU8 = AtomicU8::new(Lookup::Next as u8);

/// Decide where functions come from. Those that have been called already stay where they are.
pub fn look_up(how: Lookup) {
    LOOKUP.store(how as u8, Ordering::Release);
}

/// What the names of the C functions begin with.
const PREFIX: &str = "shim6_";

fn symbol(handle: *mut c_void, name: &CStr) -> *mut c_void {
    // SAFETY: `name` is NUL-terminated; dlsym allocates nothing where the symbol exists.
    unsafe { libc::dlsym(handle, name.as_ptr()) }
}

/// The first global symbol of this name in the process; null if there is none.
pub fn process_symbol(name: &CStr) -> *const c_void {
    symbol(libc::RTLD_DEFAULT, name)
}

/// `prefixed` is the name with [`PREFIX`]; `linked` what the linker found, if anything.
#[inline(always)]
fn lookup(cache: &AtomicPtr<c_void>, prefixed: &'static CStr, linked: *mut c_void) -> *mut c_void {
    let known = cache.load(Ordering::Relaxed);
    if known.is_null() { find(cache, prefixed, linked) } else { known }
}

#[cold]
#[inline(never)]
fn find(cache: &AtomicPtr<c_void>, prefixed: &'static CStr, linked: *mut c_void) -> *mut c_void {
    let name = prefixed.to_bytes_with_nul().get(PREFIX.len()..).map(CStr::from_bytes_with_nul);
    let Some(Ok(name)) = name else { return linked };
    let how = LOOKUP.load(Ordering::Acquire);
    let mut found = ptr::null_mut();
    if how == Lookup::OtherCopy as u8 {
        found = symbol(libc::RTLD_DEFAULT, prefixed);
    }
    if found.is_null() {
        let by_process = how == Lookup::OtherCopy as u8 || how == Lookup::Hooks as u8;
        found = symbol(if by_process { libc::RTLD_DEFAULT } else { libc::RTLD_NEXT }, name);
    }
    // Inside the preload library the linker's would be the hook itself.
    if found.is_null() && how != Lookup::Next as u8 {
        found = linked;
    }
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

macro_rules! prefixed {
    ($name:ident) => {
        literal!("shim6_", stringify!($name))
    };
}

macro_rules! literal {
    ($($part:expr),*) => {
        // SAFETY: the literal has one NUL, at its end.
        unsafe { CStr::from_bytes_with_nul_unchecked(concat!($($part),*, "\0").as_bytes()) }
    };
}

/// With a number before the name: the system call that [`direct`] may make in its place, which has the same arguments or more.
macro_rules! real {
    ($($([$number:ident])? $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty;)*) => {
        $(
            #[doc = concat!("The real `", stringify!($name), "` for this copy of the shim.")]
            #[inline]
            pub unsafe fn $name($($arg: $ty),*) -> $ret {
                static CACHE: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
                straight!([$($number)?] $ret, $($arg),*);
                let f = lookup(&CACHE, prefixed!($name), linked::$name());
                if f.is_null() {
                    return missing() as $ret;
                }
                // SAFETY: the function of that name has this signature; the caller answers for the arguments.
                unsafe {
                    let f: unsafe extern "C-unwind" fn($($ty),*) -> $ret = std::mem::transmute(f);
                    f($($arg),*)
                }
            }
        )*

        /// Before the engine's thread is made: let [`direct`] decide on the calls that it knows.
        pub(super) fn decide_on_direct_calls() {
            let names = [$($(named!($name $number),)?)*];
            direct::decide(&names.map(|name| symbol(libc::RTLD_NEXT, name).cast_const()));
        }
    };
}

macro_rules! straight {
    ([] $($rest:tt)*) => {};
    ([$number:ident] $ret:ty, $($arg:ident),*) => {
        if direct::is_allowed() {
            let mut six = [0; 6];
            for (place, argument) in six.iter_mut().zip([$($arg as usize),*]) {
                *place = argument;
            }
            // SAFETY: the caller answers for the arguments.
            return unsafe { direct::call(libc::$number, six) } as $ret;
        }
    };
}

macro_rules! named {
    ($name:ident $number:ident) => {
        literal!(stringify!($name))
    };
}

/// What the linker found for a name, where every C library has it.
mod linked {
    use super::*;

    macro_rules! linked {
        ($($name:ident)*) => {$(
            pub fn $name() -> *mut c_void {
                unsafe extern "C" {
                    fn $name();
                }
                $name as *const () as *mut c_void
            }
        )*};
    }
    macro_rules! looked_up {
        ($($name:ident)*) => {$(
            pub fn $name() -> *mut c_void {
                ptr::null_mut()
            }
        )*};
    }
    linked! {
        socket socketpair bind connect getsockname getpeername getsockopt setsockopt shutdown send sendto sendmsg
        sendmmsg write writev recv recvfrom recvmsg recvmmsg read readv sendfile splice close fclose dup dup2 dup3
        poll fcntl
    }
    looked_up! {
        __recv_chk __recvfrom_chk __read_chk close_range munmap mprotect shmdt pthread_create thrd_create pthread_cancel
        prctl seccomp_load
    }

    /// A static executable may have a C library without these.
    macro_rules! by_number {
        ($($name:ident $number:ident)*) => {$(
            pub fn $name() -> *mut c_void {
                unsafe extern "C" fn call(fd: c_int, iov: *const iovec, n: c_int, at: off_t, flags: c_int) -> ssize_t {
                    // SAFETY: the application's arguments. On 64 bits `at` is whole in the first of its two halves.
                    unsafe { kernel!(libc::$number, fd, iov, n, at, 0, flags) as ssize_t }
                }
                call as *const () as *mut c_void
            }
        )*};
    }
    by_number! { preadv2 SYS_preadv2 pwritev2 SYS_pwritev2 }
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
    [SYS_sendto] send(fd: c_int, buf: *const c_void, len: size_t, flags: c_int) -> ssize_t;
    [SYS_sendto] sendto(fd: c_int, buf: *const c_void, len: size_t, flags: c_int, addr: *const sockaddr, alen: socklen_t) -> ssize_t;
    [SYS_sendmsg] sendmsg(fd: c_int, msg: *const msghdr, flags: c_int) -> ssize_t;
    [SYS_sendmmsg] sendmmsg(fd: c_int, msgs: *mut mmsghdr, n: c_uint, flags: c_int) -> c_int;
    [SYS_write] write(fd: c_int, buf: *const c_void, len: size_t) -> ssize_t;
    [SYS_writev] writev(fd: c_int, iov: *const iovec, n: c_int) -> ssize_t;
    [SYS_recvfrom] recv(fd: c_int, buf: *mut c_void, len: size_t, flags: c_int) -> ssize_t;
    [SYS_recvfrom] recvfrom(fd: c_int, buf: *mut c_void, len: size_t, flags: c_int, addr: *mut sockaddr, alen: *mut socklen_t) -> ssize_t;
    [SYS_recvmsg] recvmsg(fd: c_int, msg: *mut msghdr, flags: c_int) -> ssize_t;
    [SYS_recvmmsg] recvmmsg(fd: c_int, msgs: *mut mmsghdr, n: c_uint, flags: c_int, timeout: *mut timespec) -> c_int;
    [SYS_read] read(fd: c_int, buf: *mut c_void, len: size_t) -> ssize_t;
    [SYS_readv] readv(fd: c_int, iov: *const iovec, n: c_int) -> ssize_t;
    preadv2(fd: c_int, iov: *const iovec, n: c_int, offset: off_t, flags: c_int) -> ssize_t;
    pwritev2(fd: c_int, iov: *const iovec, n: c_int, offset: off_t, flags: c_int) -> ssize_t;
    sendfile(fd: c_int, from: c_int, offset: *mut off_t, count: size_t) -> ssize_t;
    splice(from: c_int, from_offset: *mut off_t, fd: c_int, offset: *mut off_t, len: size_t, flags: c_uint) -> ssize_t;
    __recv_chk(fd: c_int, buf: *mut c_void, len: size_t, size: size_t, flags: c_int) -> ssize_t;
    __recvfrom_chk(fd: c_int, buf: *mut c_void, len: size_t, size: size_t, flags: c_int, addr: *mut sockaddr, alen: *mut socklen_t) -> ssize_t;
    __read_chk(fd: c_int, buf: *mut c_void, len: size_t, size: size_t) -> ssize_t;
    [SYS_close] close(fd: c_int) -> c_int;
    close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int;
    fclose(file: *mut libc::FILE) -> c_int;
    dup(fd: c_int) -> c_int;
    dup2(old: c_int, new: c_int) -> c_int;
    dup3(old: c_int, new: c_int, flags: c_int) -> c_int;
    munmap(addr: *mut c_void, len: size_t) -> c_int;
    mprotect(addr: *mut c_void, len: size_t, protection: c_int) -> c_int;
    shmdt(addr: *const c_void) -> c_int;
    poll(fds: *mut pollfd, n: nfds_t, timeout: c_int) -> c_int;
    pthread_create(thread: *mut libc::pthread_t, attributes: *const c_void, start: *const c_void, argument: *mut c_void) -> c_int;
    thrd_create(thread: *mut libc::pthread_t, start: *const c_void, argument: *mut c_void) -> c_int;
    pthread_cancel(thread: libc::pthread_t) -> c_int;
    prctl(option: c_int, a: c_ulong, b: c_ulong, c: c_ulong, d: c_ulong) -> c_int;
    seccomp_load(filter: *mut c_void) -> c_int;
}

/// `closefrom`, which has no return value.
pub unsafe fn closefrom(low: c_int) {
    static CACHE: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
    let f = lookup(&CACHE, prefixed!(closefrom), ptr::null_mut());
    if !f.is_null() {
        // SAFETY: that is glibc's signature of it.
        unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C-unwind" fn(c_int)>(f)(low) }
    }
}

/// `fcntl` and `fcntl64`, whose third argument is whatever `cmd` makes of it.
pub unsafe fn fcntl(fd: c_int, cmd: c_int, arg: *mut c_void) -> c_int {
    static CACHE: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
    let mut f = lookup(&CACHE, prefixed!(fcntl64), ptr::null_mut());
    if f.is_null() {
        f = lookup(&CACHE, prefixed!(fcntl), linked::fcntl());
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

/// `mremap`, which is variadic in C.
pub unsafe fn mremap(
    addr: *mut c_void,
    old: size_t,
    new: size_t,
    flags: c_int,
    place: *mut c_void,
) -> *mut c_void {
    static CACHE: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
    let f = lookup(&CACHE, prefixed!(mremap), ptr::null_mut());
    if f.is_null() {
        missing();
        return libc::MAP_FAILED;
    }
    type Mremap = unsafe extern "C-unwind" fn(*mut c_void, size_t, size_t, c_int, ...) -> *mut c_void;
    // SAFETY: that is its signature; the caller answers for the arguments.
    unsafe { std::mem::transmute::<*mut c_void, Mremap>(f)(addr, old, new, flags, place) }
}

/// Look those up that the program's heap may call with a lock held that another thread wants inside libc's loader.
pub fn look_up_early() {
    // SAFETY: these calls are refused, and change nothing: no page begins at 1.
    unsafe {
        let nowhere = ptr::without_provenance_mut::<c_void>(1);
        let saved = *libc::__errno_location();
        munmap(nowhere, 0);
        mprotect(nowhere, 1, 0);
        mremap(nowhere, 1, 1, 0, ptr::null_mut());
        *libc::__errno_location() = saved;
    }
}

/// `shim6_configure` of the copy that serves the process, which may be the preload library.
pub unsafe fn configure(settings: *const c_char) -> c_int {
    let mut f = process_symbol(c"shim6_preloaded");
    if f.is_null() {
        f = process_symbol(c"shim6_configure");
    }
    if f.is_null() {
        // SAFETY: errno is thread-local and always writable.
        unsafe { *libc::__errno_location() = libc::ENOSYS };
        return -1;
    }
    // SAFETY: that is the signature of both.
    unsafe { std::mem::transmute::<*const c_void, unsafe extern "C" fn(*const c_char) -> c_int>(f)(settings) }
}

/// `pthread_exit`, which does not return.
pub unsafe fn pthread_exit(value: *mut c_void) -> ! {
    static CACHE: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
    let f = lookup(&CACHE, prefixed!(pthread_exit), ptr::null_mut());
    if !f.is_null() {
        // SAFETY: that is its signature.
        unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C-unwind" fn(*mut c_void) -> !>(f)(value) }
    }
    // No libc is without it.
    // SAFETY: no memory involved; ends this thread alone.
    unsafe { kernel!(libc::SYS_exit, 0) };
    loop {
        std::hint::spin_loop();
    }
}
