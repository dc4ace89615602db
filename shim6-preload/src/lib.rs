//! `libshim6_preload.so`: the libc names of an unmodified program's socket calls, each a thin function that asks the
//! socket layer of `shim6` and makes the plain call where that bypasses it.
//!
//! No engine starts at load time; every hook works before constructors and on inherited descriptors.
//!
//! # Names without a hook
//!
//! - `poll`, `select`, `epoll_wait` and their like, `__poll_chk`: the program keeps the kernel's own descriptor, which is
//!   ready when it should be. `ioctl` (FIONREAD, FIONBIO, SIOC*): the kernel's answer is the right one.
//! - `listen`, `accept`, `accept4`: not for sockets that the shim serves; the kernel refuses them, or makes descriptors that
//!   the table does not know.
//! - `bindresvport`: for IPv4 alone. What it and other functions of libc do inside reaches no
//!   hook: `fdopen`, `fprintf`, `dprintf`, `freopen`, `popen`, `system`, `getaddrinfo`, `getifaddrs`, `syslog`. Stdio over a socket
//!   goes by the ULIDs; a number that became something else is noticed when the kernel says so (ENOTSOCK, the socket's cookie).
//! - `tee`, `vmsplice`: pipes only. `pread`, `pwrite`, `preadv`, `pwritev`: ESPIPE on a socket.
//! - `fork`, `_Fork`, `vfork`, `clone`: handlers of `pthread_atfork`, which `_Fork` and `clone` do not call; the table knows by the
//!   process number that it is somebody else's. `execve`, `execl`, `posix_spawn`: the environment takes the library along.
//! - `pidfd_getfd`, SCM_RIGHTS: what arrives is plain until it is bound or connected.
//! - `syscall`, io_uring: escape, and are the kernel's alone.
//! - `__sendto_chk`, `__sendmsg_chk`, `__recvmsg_chk`: glibc has none.

#![allow(clippy::missing_safety_doc)]

mod alloc;
mod sanitizers;

use libc::{
    c_int, c_uint, c_void, iovec, mmsghdr, msghdr, off_t, size_t, sockaddr, socklen_t, ssize_t, timespec,
};
use shim6::capi::functions_library;
use shim6::socket::{backend, direct, guard, leave, ops, real};
use std::ffi::{CStr, c_char, c_ulong};

/// Hooks that ask the socket layer, and make the plain call with the same arguments where it bypasses.
macro_rules! asked {
    ($($(#[$doc:meta])* $name:ident = $op:ident($($arg:ident: $ty:ty),*) -> $ret:ty;)*) => {$(
        $(#[$doc])*
        #[unsafe(no_mangle)]
        pub unsafe extern "C-unwind" fn $name($($arg: $ty),*) -> $ret {
            // SAFETY: the arguments are the application's, for this very function.
            unsafe { shim6::ask_or_call!($op($($arg),*)) }
        }
    )*};
}

/// As `asked!`, for calls that an unknown descriptor never makes a shim socket: it costs two loads and a jump.
macro_rules! data {
    ($($(#[$doc:meta])* $name:ident = $op:ident(fd: c_int, $($arg:ident: $ty:ty),*) -> $ret:ty;)*) => {$(
        $(#[$doc])*
        #[unsafe(no_mangle)]
        pub unsafe extern "C-unwind" fn $name(fd: c_int, $($arg: $ty),*) -> $ret {
            // SAFETY: the arguments are the application's, for this very function.
            unsafe {
                if !ops::is_known(fd) {
                    return real::$op(fd, $($arg),*);
                }
                match ops::$op(fd, $($arg),*) {
                    Ok(value) => value,
                    Err(_) => real::$op(fd, $($arg),*),
                }
            }
        }
    )*};
}

/// Hooks whose operation makes the plain call itself.
macro_rules! done {
    ($($(#[$doc:meta])* $name:ident = $op:ident($($arg:ident: $ty:ty),*) $(-> $ret:ty)?;)*) => {$(
        $(#[$doc])*
        #[unsafe(no_mangle)]
        pub unsafe extern "C-unwind" fn $name($($arg: $ty),*) $(-> $ret)? {
            // SAFETY: the arguments are the application's, for this very function.
            unsafe { ops::$op($($arg),*) }
        }
    )*};
}

/// Tells a copy of the shim that the program is linked with that the libc names are hooks: it calls them, so that one
/// engine serves the whole process. And its `shim6_configure`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shim6_preloaded(settings: *const c_char) -> c_int {
    // SAFETY: a string of the application's.
    functions_library::configure(unsafe { CStr::from_ptr(settings) })
}

asked! {
    /// `bind(2)`.
    bind = bind(fd: c_int, addr: *const sockaddr, len: socklen_t) -> c_int;
    /// `connect(2)`.
    connect = connect(fd: c_int, addr: *const sockaddr, len: socklen_t) -> c_int;
    /// Alias of `connect`.
    __connect = connect(fd: c_int, addr: *const sockaddr, len: socklen_t) -> c_int;
    /// `getsockname(2)`.
    getsockname = getsockname(fd: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> c_int;
    /// `getpeername(2)`.
    getpeername = getpeername(fd: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> c_int;
    /// `getsockopt(2)`.
    getsockopt = getsockopt(fd: c_int, level: c_int, name: c_int, value: *mut c_void, len: *mut socklen_t) -> c_int;
    /// `setsockopt(2)`.
    setsockopt = setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, len: socklen_t) -> c_int;
    /// `shutdown(2)`.
    shutdown = shutdown(fd: c_int, how: c_int) -> c_int;
    /// `sendmsg(2)`; with ancillary data of a SHIM level it is refused by any socket (API-CM-28).
    sendmsg = sendmsg(fd: c_int, msg: *const msghdr, flags: c_int) -> ssize_t;
    /// `sendmmsg(2)`.
    sendmmsg = sendmmsg(fd: c_int, msgs: *mut mmsghdr, n: c_uint, flags: c_int) -> c_int;
}

data! {
    /// `send(2)`.
    send = send(fd: c_int, buf: *const c_void, len: size_t, flags: c_int) -> ssize_t;
    /// Alias of `send`.
    __send = send(fd: c_int, buf: *const c_void, len: size_t, flags: c_int) -> ssize_t;
    /// `sendto(2)`.
    sendto = sendto(fd: c_int, buf: *const c_void, len: size_t, flags: c_int, addr: *const sockaddr, alen: socklen_t) -> ssize_t;
    /// `write(2)`.
    write = write(fd: c_int, buf: *const c_void, len: size_t) -> ssize_t;
    /// Alias of `write`.
    __write = write(fd: c_int, buf: *const c_void, len: size_t) -> ssize_t;
    /// `writev(2)`.
    writev = writev(fd: c_int, iov: *const iovec, n: c_int) -> ssize_t;
    /// `recv(2)`.
    recv = recv(fd: c_int, buf: *mut c_void, len: size_t, flags: c_int) -> ssize_t;
    /// `recvfrom(2)`.
    recvfrom = recvfrom(fd: c_int, buf: *mut c_void, len: size_t, flags: c_int, addr: *mut sockaddr, alen: *mut socklen_t) -> ssize_t;
    /// `recvmsg(2)`.
    recvmsg = recvmsg(fd: c_int, msg: *mut msghdr, flags: c_int) -> ssize_t;
    /// `recvmmsg(2)`.
    recvmmsg = recvmmsg(fd: c_int, msgs: *mut mmsghdr, n: c_uint, flags: c_int, timeout: *mut timespec) -> c_int;
    /// `read(2)`.
    read = read(fd: c_int, buf: *mut c_void, len: size_t) -> ssize_t;
    /// Alias of `read`.
    __read = read(fd: c_int, buf: *mut c_void, len: size_t) -> ssize_t;
    /// `readv(2)`.
    readv = readv(fd: c_int, iov: *const iovec, n: c_int) -> ssize_t;
}

asked! {
    /// `preadv2(2)`.
    preadv2 = preadv2(fd: c_int, iov: *const iovec, n: c_int, offset: off_t, flags: c_int) -> ssize_t;
    /// The same with large files.
    preadv64v2 = preadv2(fd: c_int, iov: *const iovec, n: c_int, offset: off_t, flags: c_int) -> ssize_t;
    /// `pwritev2(2)`.
    pwritev2 = pwritev2(fd: c_int, iov: *const iovec, n: c_int, offset: off_t, flags: c_int) -> ssize_t;
    /// The same with large files.
    pwritev64v2 = pwritev2(fd: c_int, iov: *const iovec, n: c_int, offset: off_t, flags: c_int) -> ssize_t;
    /// `sendfile(2)`.
    sendfile = sendfile(fd: c_int, from: c_int, offset: *mut off_t, count: size_t) -> ssize_t;
    /// The same with large files.
    sendfile64 = sendfile(fd: c_int, from: c_int, offset: *mut off_t, count: size_t) -> ssize_t;
    /// `splice(2)`.
    splice = splice(from: c_int, from_offset: *mut off_t, fd: c_int, offset: *mut off_t, len: size_t, flags: c_uint) -> ssize_t;
}

done! {
    /// `socket(2)`.
    socket = socket(domain: c_int, ty: c_int, protocol: c_int) -> c_int;
    /// `socketpair(2)`.
    socketpair = socketpair(domain: c_int, ty: c_int, protocol: c_int, sv: *mut c_int) -> c_int;
    /// `close(2)`.
    close = close(fd: c_int) -> c_int;
    /// Alias of `close`.
    __close = close(fd: c_int) -> c_int;
    /// `close_range(2)`.
    close_range = close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int;
    /// `closefrom(3)`.
    closefrom = closefrom(low: c_int);
    /// `fclose(3)`.
    fclose = fclose(file: *mut libc::FILE) -> c_int;
    /// `dup(2)`.
    dup = dup(fd: c_int) -> c_int;
    /// `dup2(2)`.
    dup2 = dup2(old: c_int, new: c_int) -> c_int;
    /// Alias of `dup2`.
    __dup2 = dup2(old: c_int, new: c_int) -> c_int;
    /// `dup3(2)`.
    dup3 = dup3(old: c_int, new: c_int, flags: c_int) -> c_int;
    /// `fcntl(2)`; variadic in C, where the third argument travels like a pointer on all Linux ABIs.
    fcntl = fcntl(fd: c_int, cmd: c_int, arg: *mut c_void) -> c_int;
    /// Alias of `fcntl`.
    fcntl64 = fcntl(fd: c_int, cmd: c_int, arg: *mut c_void) -> c_int;
    /// Alias of `fcntl`.
    __fcntl = fcntl(fd: c_int, cmd: c_int, arg: *mut c_void) -> c_int;
    /// `munmap(2)`: what was readable there need not be any more.
    munmap = munmap(addr: *mut c_void, len: size_t) -> c_int;
    /// `mprotect(2)`, for the same reason.
    mprotect = mprotect(addr: *mut c_void, len: size_t, protection: c_int) -> c_int;
    /// `mremap(2)`, for the same reason; variadic in C, as `fcntl`.
    mremap = mremap(addr: *mut c_void, old: size_t, new: size_t, flags: c_int, place: *mut c_void) -> *mut c_void;
    /// `shmdt(2)`, for the same reason.
    shmdt = shmdt(addr: *const c_void) -> c_int;
}

/// The fortified `recv`: the check of the sizes is glibc's, as is the end of a program that fails it.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __recv_chk(
    fd: c_int,
    buf: *mut c_void,
    len: size_t,
    size: size_t,
    flags: c_int,
) -> ssize_t {
    // SAFETY: the arguments are the application's.
    unsafe {
        if len > size {
            return real::__recv_chk(fd, buf, len, size, flags);
        }
        recv(fd, buf, len, flags)
    }
}

/// The fortified `recvfrom`.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __recvfrom_chk(
    fd: c_int,
    buf: *mut c_void,
    len: size_t,
    size: size_t,
    flags: c_int,
    addr: *mut sockaddr,
    alen: *mut socklen_t,
) -> ssize_t {
    // SAFETY: the arguments are the application's.
    unsafe {
        if len > size {
            return real::__recvfrom_chk(fd, buf, len, size, flags, addr, alen);
        }
        recvfrom(fd, buf, len, flags, addr, alen)
    }
}

/// The fortified `read`.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __read_chk(
    fd: c_int,
    buf: *mut c_void,
    len: size_t,
    size: size_t,
) -> ssize_t {
    // SAFETY: the arguments are the application's.
    unsafe {
        if len > size {
            return real::__read_chk(fd, buf, len, size);
        }
        read(fd, buf, len)
    }
}

/// `pthread_exit(3)`: a program that ends its main thread by it ends with its last thread, not with the engine's.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn pthread_exit(value: *mut c_void) -> ! {
    leave::thread_exits();
    // SAFETY: the application's argument.
    unsafe { real::pthread_exit(value) }
}

/// Hooks that only tell that the program has threads.
macro_rules! threads {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $ty:ty),*);)*) => {$(
        $(#[$doc])*
        #[unsafe(no_mangle)]
        pub unsafe extern "C-unwind" fn $name($($arg: $ty),*) -> c_int {
            if !guard::inside() {
                direct::program_has_threads();
            }
            // SAFETY: the application's arguments.
            unsafe { real::$name($($arg),*) }
        }
    )*};
}

threads! {
    /// `pthread_create(3)`.
    pthread_create(thread: *mut libc::pthread_t, attributes: *const c_void, start: *const c_void, argument: *mut c_void);
    /// `thrd_create(3)`.
    thrd_create(thread: *mut libc::pthread_t, start: *const c_void, argument: *mut c_void);
    /// `pthread_cancel(3)`.
    pthread_cancel(thread: libc::pthread_t);
}

/// `prctl(2)`, whose arguments are five words in any case.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn prctl(
    option: c_int,
    a: c_ulong,
    b: c_ulong,
    c: c_ulong,
    d: c_ulong,
) -> c_int {
    // SAFETY: the application's arguments.
    let r = unsafe { real::prctl(option, a, b, c, d) };
    if option == libc::PR_SET_SECCOMP && r == 0 {
        backend::enters_sandbox();
    }
    r
}

/// `seccomp_load(3)` of libseccomp.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn seccomp_load(filter: *mut c_void) -> c_int {
    // SAFETY: the application's argument.
    let r = unsafe { real::seccomp_load(filter) };
    if r == 0 {
        backend::enters_sandbox();
    }
    r
}
