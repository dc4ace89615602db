//! Explicit local ports: a socket that is to survive `connect(AF_UNSPEC)` needs one that the kernel takes for bound.

use super::sys;
use libc::c_int;
use std::fs;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::sync::OnceLock;

/// Attempts before we leave the choice to the kernel.
const TRIES: usize = 32;

struct Range {
    low: u16,
    high: u16,
    reserved: Vec<(u16, u16)>,
}

/// Bind `fd` to `addr` and a free port of the ephemeral range, as the kernel's own autobind would choose it, but so
/// that the port stays when the socket is disconnected (`bind` to port 0 does not give that). Changes nothing if it
/// fails. Inside `guard::slow` only.
pub fn bind_explicitly(fd: c_int, addr: Ipv6Addr) -> bool {
    // A reusing socket could share a port with another one.
    let reuse = [libc::SO_REUSEADDR, libc::SO_REUSEPORT]
        .map(|name| (name, sys::int_option(fd, libc::SOL_SOCKET, name).unwrap_or(0)));
    for (name, value) in reuse {
        if value != 0 && sys::set_int(fd, libc::SOL_SOCKET, name, 0).is_err() {
            return false;
        }
    }
    let bound = bind_free(fd, addr);
    for (name, value) in reuse {
        if value != 0 {
            let _ = sys::set_int(fd, libc::SOL_SOCKET, name, value);
        }
    }
    bound
}

fn bind_free(fd: c_int, addr: Ipv6Addr) -> bool {
    let range = range();
    for _ in 0..TRIES {
        let Some(random) = sys::random_u32() else { return false };
        let span = u32::from(range.high - range.low) + 1;
        let port = range.low + ((u64::from(random) * u64::from(span)) >> 32) as u16;
        if range.reserved.iter().any(|(low, high)| (*low..=*high).contains(&port)) {
            continue;
        }
        match sys::bind(fd, &SocketAddrV6::new(addr, port, 0, 0)) {
            Ok(()) => return true,
            Err(libc::EADDRINUSE) => continue,
            Err(_) => return false,
        }
    }
    false
}

/// The ephemeral range and what is taken out of it; read once.
fn range() -> &'static Range {
    static RANGE: OnceLock<Range> = OnceLock::new();
    RANGE.get_or_init(|| {
        let read = |name: &str| fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap_or_default();
        parse(&read("ip_local_port_range"), &read("ip_local_reserved_ports"))
    })
}

fn parse(range: &str, reserved: &str) -> Range {
    let mut numbers = range.split_whitespace().map_while(|n| n.parse::<u16>().ok());
    let (low, high) = match (numbers.next(), numbers.next()) {
        (Some(low), Some(high)) if low >= 1 && low <= high => (low, high),
        _ => (32768, 60999),
    };
    let interval = |text: &str| {
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        Some((low.trim().parse().ok()?, high.trim().parse().ok()?))
    };
    Range { low, high, reserved: reserved.split(',').filter_map(interval).collect() }
}

/// Have the next connect keep `source`. A connected socket keeps its address when it is connected again, and one that is
/// connected to an address of this host has that address; a bind would outlive a disconnect by the program, and the loss
/// of `source`. `false`, with nothing changed: this one is not to be had.
pub fn take_source(fd: c_int, source: Ipv6Addr) -> bool {
    /// Where nobody listens; and nothing is sent.
    const DISCARD: u16 = 9;
    if sys::connect(fd, &SocketAddrV6::new(source, DISCARD, 0, 0)).is_err() {
        return false;
    }
    let taken = sys::local_name(fd).is_some_and(|name| *name.ip() == source);
    if !taken {
        let _ = sys::disconnect(fd);
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_is_read_as_the_kernel_writes_it() {
        let r = parse("40000\t40010\n", "40001,40003-40005\n");
        assert_eq!((r.low, r.high), (40000, 40010));
        assert_eq!(r.reserved, [(40001, 40001), (40003, 40005)]);
        let r = parse("", "\n");
        assert_eq!((r.low, r.high), (32768, 60999));
        assert!(r.reserved.is_empty());
    }
}
