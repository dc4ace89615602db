//! What became of the paths of a socket: its switches, with causes, evidence and times; and the timeout that finds failures.

use super::{Error, Misuse, ShimSocket, Switch};
use crate::capi::extensions::{SHIM_RESEND, SHIM_SEND_TIMEOUT, SHIM_SWITCHES, parse, shim_switch};
use crate::capi::types::SOL_SHIM_R6316;
use libc::c_int;
use std::time::{Duration, Instant};

/// Most that the shim remembers of a context.
const REMEMBERED: usize = 16;
/// Between two looks.
const LOOK: Duration = Duration::from_millis(2);

/// The switches of a context to other locator pairs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Switches {
    /// How many there were.
    pub count: u64,
    /// The latest, newest first; 16 at most. Their times are those of CLOCK_BOOTTIME, in nanoseconds.
    pub latest: Vec<Switch>,
}

impl ShimSocket {
    /// The switches of the socket's context so far: why each old pair was left, what showed that the new one works, when the
    /// peer was last heard, when the failure was found, and when the first datagram left by the new pair (RE-OP-02).
    ///
    /// # Errors
    /// [`Error::NoContext`], [`Misuse::NotConnected`].
    pub fn switches(&self) -> Result<Switches, Error> {
        let mut raw = [0; size_of::<shim_switch>() * REMEMBERED];
        let n = self.get(SOL_SHIM_R6316, SHIM_SWITCHES, &mut raw)?;
        let told = parse(&raw[..n]);
        let count = told.first().map_or(0, |(number, _)| *number);
        Ok(Switches { count, latest: told.into_iter().map(|(_, switch)| switch).collect() })
    }

    /// Wait until there were more than `seen` switches and the first datagram has left by the latest pair; looks every few
    /// milliseconds. `None`: not within `limit`.
    ///
    /// # Errors
    /// As [`ShimSocket::switches`].
    #[allow(clippy::disallowed_methods)] // The caller's own thread, which asked to wait; no part of the engine.
    pub fn wait_for_switch(&self, seen: u64, limit: Duration) -> Result<Option<Switches>, Error> {
        let began = Instant::now();
        loop {
            let now = self.switches()?;
            if now.count > seen && now.latest.first().is_some_and(|s| s.first_packet.is_some()) {
                return Ok(Some(now));
            }
            if began.elapsed() >= limit {
                return Ok(None);
            }
            std::thread::sleep(LOOK);
        }
    }

    /// After a failure, send the last datagrams of this socket again on the new pair: at most so many (1024 at the most, 0
    /// for none), none older than `age` (a minute at the most, rounded up to milliseconds). The peer's program sees those
    /// twice that had arrived.
    ///
    /// # Errors
    /// [`Error::NoContext`], [`Error::Misuse`].
    pub fn set_resend(&self, datagrams: u32, age: Duration) -> Result<(), Error> {
        let ms = u32::try_from(age.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX);
        let value = [datagrams, ms.max(1)].map(u32::to_ne_bytes).concat();
        self.set(SOL_SHIM_R6316, SHIM_RESEND, Some(&value))
    }

    /// The Send Timeout that was set or configured: how long nothing may be heard before a path is taken for dead. What is
    /// in force is never less than the path can do.
    ///
    /// # Errors
    /// [`Error::NoContext`], [`Misuse::NotConnected`].
    pub fn send_timeout(&self) -> Result<Duration, Error> {
        let ms = self.int(SOL_SHIM_R6316, SHIM_SEND_TIMEOUT)?;
        Ok(Duration::from_millis(u64::try_from(ms).unwrap_or(0)))
    }

    /// Set it, to the millisecond (rounded up); `None` sets the default. [`ShimSocket::set_app_timeout`] goes before.
    ///
    /// # Errors
    /// [`Error::NoContext`], [`Error::Misuse`].
    pub fn set_send_timeout(&self, timeout: Option<Duration>) -> Result<(), Error> {
        let ms = timeout.map_or(0, |t| t.as_nanos().div_ceil(1_000_000));
        let value = c_int::try_from(ms).ok().filter(|ms| *ms > 0 || timeout.is_none());
        self.set_int(SOL_SHIM_R6316, SHIM_SEND_TIMEOUT, value.ok_or(Error::Misuse(Misuse::BadValue))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_context_there_are_none() {
        let server = ShimSocket::bind("[::1]:0").unwrap();
        let client = ShimSocket::connected(server.local_addr().unwrap()).unwrap();
        assert!(matches!(client.switches(), Err(Error::NoContext)));
        assert!(matches!(server.switches(), Err(Error::Misuse(Misuse::NotConnected))));
        assert!(matches!(client.send_timeout(), Err(Error::NoContext)));
        assert!(matches!(client.set_resend(3, Duration::ZERO), Err(Error::NoContext)));
        let zero = client.set_send_timeout(Some(Duration::ZERO));
        assert!(matches!(zero, Err(Error::Misuse(Misuse::BadValue))));
    }
}
