//! The socket itself.

// What the type converts from and to; the calls are the shim's own.
#![allow(clippy::disallowed_types)]

use crate::capi::native::Descriptor;
use std::io;
use std::net::{SocketAddr, SocketAddrV6, ToSocketAddrs, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

/// An IPv6 UDP socket whose sessions outlive a failure of the addresses that they began with.
///
/// The addresses of all calls are ULIDs; which locators are on the wire is the shim's business, and the program's if it
/// wants (the options). It can be polled by its descriptor as any socket, and shared between threads.
///
/// ```
/// use shim6::{Error, LocatorError, ShimSocket};
///
/// let socket = ShimSocket::bind("[::1]:0")?;
/// socket.connect(socket.local_addr()?)?;
/// assert!(!socket.is_associated()?, "loopback has no context");
/// match socket.pin_peer(Some("2001:db8::1".parse()?)) {
///     Err(Error::NoContext) => {}
///     Err(Error::Locator(LocatorError::Unverified)) => println!("try again after the test"),
///     other => other?,
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ShimSocket(Descriptor);

fn v6(addr: SocketAddr) -> io::Result<SocketAddrV6> {
    match addr {
        SocketAddr::V6(addr) => Ok(addr),
        SocketAddr::V4(_) => Err(io::Error::new(io::ErrorKind::Unsupported, "Shim6 is for IPv6 addresses")),
    }
}

/// `f` with each of the addresses until it succeeds.
fn each<T>(addr: impl ToSocketAddrs, mut f: impl FnMut(&SocketAddrV6) -> io::Result<T>) -> io::Result<T> {
    let mut last = io::Error::new(io::ErrorKind::InvalidInput, "no address");
    for addr in addr.to_socket_addrs()? {
        match v6(addr).and_then(|addr| f(&addr)) {
            Ok(value) => return Ok(value),
            Err(e) => last = e,
        }
    }
    Err(last)
}

impl ShimSocket {
    /// A socket bound to an address of this host, or to `[::]`. Bind to port 0 for any free one.
    ///
    /// # Errors
    /// The kernel's; `Unsupported` for an IPv4 address.
    pub fn bind(addr: impl ToSocketAddrs) -> io::Result<ShimSocket> {
        each(addr, |addr| {
            let socket = Descriptor::udp()?;
            socket.bind(addr)?;
            Ok(ShimSocket(socket))
        })
    }

    /// A socket that talks to one peer, from the address that the kernel, or the shim, finds best.
    ///
    /// # Errors
    /// The kernel's; `Unsupported` for an IPv4 address.
    pub fn connected(peer: impl ToSocketAddrs) -> io::Result<ShimSocket> {
        each(peer, |peer| {
            let socket = Descriptor::udp()?;
            socket.connect(peer)?;
            Ok(ShimSocket(socket))
        })
    }

    /// Talk to this peer only.
    ///
    /// # Errors
    /// The kernel's; `Unsupported` for an IPv4 address.
    pub fn connect(&self, peer: impl ToSocketAddrs) -> io::Result<()> {
        each(peer, |peer| self.0.connect(peer))
    }

    /// The local ULID and port.
    ///
    /// # Errors
    /// The kernel's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.name(false).map(SocketAddr::V6)
    }

    /// The peer's ULID and port.
    ///
    /// # Errors
    /// `NotConnected`, and the kernel's.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.name(true).map(SocketAddr::V6)
    }

    /// Send a datagram to the peer of a connected socket.
    ///
    /// # Errors
    /// The kernel's. A path that fails is none while the context has others.
    pub fn send(&self, data: &[u8]) -> io::Result<usize> {
        self.0.send(data)
    }

    /// Receive a datagram; what does not fit the buffer is lost.
    ///
    /// # Errors
    /// The kernel's.
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.recv(buffer)
    }

    /// Send a datagram to this address.
    ///
    /// # Errors
    /// As [`ShimSocket::send`].
    pub fn send_to(&self, data: &[u8], to: impl ToSocketAddrs) -> io::Result<usize> {
        each(to, |to| self.0.send_to(data, to))
    }

    /// Receive a datagram and the ULID and port that it came from.
    ///
    /// # Errors
    /// The kernel's.
    pub fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.0.recv_from(buffer).map(|(n, from)| (n, from.into()))
    }

    /// Have calls that would wait fail with `WouldBlock`, or not.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        self.0.set_nonblocking(on)
    }

    /// How long receiving waits; `None` for ever.
    ///
    /// # Errors
    /// `InvalidInput` for zero, and the kernel's.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.set_timeout(libc::SO_RCVTIMEO, timeout)
    }

    /// How long sending waits for room; `None` for ever.
    ///
    /// # Errors
    /// `InvalidInput` for zero, and the kernel's.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.set_timeout(libc::SO_SNDTIMEO, timeout)
    }

    /// As [`ShimSocket::set_read_timeout`] set it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
        self.timeout(libc::SO_RCVTIMEO)
    }

    /// As [`ShimSocket::set_write_timeout`] set it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn write_timeout(&self) -> io::Result<Option<Duration>> {
        self.timeout(libc::SO_SNDTIMEO)
    }

    /// Another descriptor of the same socket, with the same options and the same context.
    ///
    /// # Errors
    /// The kernel's.
    pub fn try_clone(&self) -> io::Result<ShimSocket> {
        self.0.duplicate().map(ShimSocket)
    }

    pub(super) fn descriptor(&self) -> &Descriptor {
        &self.0
    }

    fn set_timeout(&self, name: libc::c_int, timeout: Option<Duration>) -> io::Result<()> {
        if timeout.is_some_and(|t| t.is_zero()) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a timeout of zero"));
        }
        let t = timeout.unwrap_or_default();
        let seconds = i64::try_from(t.as_secs()).unwrap_or(i64::MAX);
        // Not to zero, which is for ever.
        let micros = i64::from(t.subsec_micros()).max(i64::from(timeout.is_some() && seconds == 0));
        let mut value = [0; 16];
        value[..8].copy_from_slice(&seconds.to_ne_bytes());
        value[8..].copy_from_slice(&micros.to_ne_bytes());
        self.0.set_option(libc::SOL_SOCKET, name, Some(&value))
    }

    fn timeout(&self, name: libc::c_int) -> io::Result<Option<Duration>> {
        let mut value = [0; 16];
        self.0.option(libc::SOL_SOCKET, name, &mut value)?;
        let part = |at: usize| value[at..at + 8].try_into().map_or(0, i64::from_ne_bytes).unsigned_abs();
        let t = Duration::from_secs(part(0)) + Duration::from_micros(part(8));
        Ok((!t.is_zero()).then_some(t))
    }
}

impl AsFd for ShimSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for ShimSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl From<UdpSocket> for ShimSocket {
    /// Takes the socket as it is, bound or connected. One that is no IPv6 socket goes on without the shim.
    ///
    /// ```
    /// # use std::net::UdpSocket;
    /// # use shim6::ShimSocket;
    /// let plain = UdpSocket::bind("[::1]:0")?;
    /// let address = plain.local_addr()?;
    /// let shim = ShimSocket::from(plain);
    /// assert_eq!(shim.local_addr()?, address);
    /// let plain: UdpSocket = shim.into();
    /// assert_eq!(plain.local_addr()?, address);
    /// # std::io::Result::Ok(())
    /// ```
    fn from(socket: UdpSocket) -> ShimSocket {
        ShimSocket(Descriptor::take_over(socket.into()))
    }
}

impl From<ShimSocket> for UdpSocket {
    /// The kernel's socket alone: what it sends from now on goes by the ULIDs, whether they work or not. Under the preload
    /// library it stays a shim socket.
    fn from(socket: ShimSocket) -> UdpSocket {
        socket.0.hand_back().into()
    }
}

impl From<ShimSocket> for OwnedFd {
    /// As for [`UdpSocket`].
    fn from(socket: ShimSocket) -> OwnedFd {
        socket.0.hand_back()
    }
}

#[cfg(test)]
mod tests;
