//! What goes with one datagram: locators and feedback (RFC 6316 section 7, draft section 6).

use super::{Error, Feedback, ShimSocket};
use crate::capi::native::Control;
use crate::capi::types::*;
use crate::socket::cmsg;
use libc::c_int;
use std::net::{Ipv6Addr, SocketAddr};

/// How one datagram is to be sent. `Default` asks for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SendWith {
    /// From this locator of ours.
    pub local: Option<Ipv6Addr>,
    /// To this locator of the peer.
    pub peer: Option<Ipv6Addr>,
    /// What the program thinks of the path in use.
    pub feedback: Option<Feedback>,
}

/// A datagram that has come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Received {
    /// Octets in the buffer.
    pub len: usize,
    /// The datagram was longer than the buffer.
    pub truncated: bool,
    /// The ULID and port of the peer.
    pub from: SocketAddr,
    /// The locator of ours that it was sent to; see [`ShimSocket::set_receive_locators`].
    pub local: Option<Ipv6Addr>,
    /// The locator of the peer that it was sent from.
    pub peer: Option<Ipv6Addr>,
}

/// Ancillary data under construction.
struct Builder {
    control: Control,
    len: usize,
}

impl Builder {
    fn new() -> Builder {
        Builder { control: Control([0; 512]), len: 0 }
    }

    /// What is put in here fits: three messages at most, of 28 octets at most.
    fn add(&mut self, kind: c_int, data: &[u8]) {
        let whole = cmsg::HEADER + data.len();
        let at = &mut self.control.0[self.len..];
        at[..8].copy_from_slice(&whole.to_ne_bytes());
        at[8..12].copy_from_slice(&SOL_SHIM_R6316.to_ne_bytes());
        at[12..16].copy_from_slice(&kind.to_ne_bytes());
        at[cmsg::HEADER..whole].copy_from_slice(data);
        self.len += whole.next_multiple_of(size_of::<usize>());
    }

    /// A `sockaddr_in6`, of which the family and the address count.
    fn add_locator(&mut self, kind: c_int, address: Ipv6Addr) {
        let mut name = [0; 28];
        name[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
        name[8..24].copy_from_slice(&address.octets());
        self.add(kind, &name);
    }
}

impl SendWith {
    fn build(&self) -> Builder {
        let mut b = Builder::new();
        if let Some(local) = self.local {
            b.add_locator(SHIM_LOC_LOCAL_SEND, local);
        }
        if let Some(peer) = self.peer {
            b.add_locator(SHIM_LOC_PEER_SEND, peer);
        }
        if let Some(feedback) = self.feedback {
            b.add(SHIM_FEEDBACK, &feedback_octets(feedback));
        }
        b
    }
}

/// `struct shim_feedback`.
fn feedback_octets(feedback: Feedback) -> [u8; 4] {
    let (direction, indicator) = match feedback {
        Feedback::Unable => (0, 1),
        Feedback::Unsatisfactory => (0, 2),
        Feedback::SatisfactoryOutbound => (0, 3),
        Feedback::SatisfactoryInbound => (1, 3),
    };
    [direction, indicator, 0, 0]
}

impl ShimSocket {
    /// Send one datagram to the peer, by other locators or with feedback. The next one goes as before.
    ///
    /// # Errors
    /// [`Error::NoContext`], [`Error::Misuse`], [`Error::Locator`]: it has not been sent. [`Error::Io`] as [`ShimSocket::send`].
    pub fn send_with(&self, data: &[u8], with: &SendWith) -> Result<usize, Error> {
        let b = with.build();
        self.descriptor().send_message(Some(data), None, &b.control, b.len).map_err(|e| self.refused(e))
    }

    /// Tell the shim what the program thinks of the path in use, without sending anything.
    ///
    /// # Errors
    /// [`Error::NoContext`], [`Misuse::NotConnected`](super::Misuse::NotConnected).
    pub fn feedback(&self, feedback: Feedback) -> Result<(), Error> {
        let b = SendWith { feedback: Some(feedback), ..SendWith::default() }.build();
        self.descriptor().send_message(None, None, &b.control, b.len).map(drop).map_err(|e| self.refused(e))
    }

    /// Receive a datagram, and with it the locators by which it came, if [`ShimSocket::set_receive_locators`] asked for
    /// them.
    ///
    /// # Errors
    /// As [`ShimSocket::recv`].
    pub fn recv_with(&self, buffer: &mut [u8]) -> std::io::Result<Received> {
        let mut control = Control([0; 512]);
        let (len, control_len, flags, from) = self.descriptor().receive_message(buffer, &mut control)?;
        let find = |kind| {
            let ours = |c: &cmsg::Cmsg<'_>| c.level == SOL_SHIM_R6316 && c.kind == kind;
            let cmsg = cmsg::iter(&control.0[..control_len]).find(ours)?;
            let octets: [u8; 16] = cmsg.data.get(8..24)?.try_into().ok()?;
            // Zero-filled where the context has gone (API-CM-08).
            Some(Ipv6Addr::from(octets)).filter(|a| !a.is_unspecified())
        };
        Ok(Received {
            len,
            truncated: flags & libc::MSG_TRUNC != 0,
            from: from.into(),
            local: find(SHIM_LOC_LOCAL_RECV),
            peer: find(SHIM_LOC_PEER_RECV),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // API-CM-01, API-CM-02
    #[test]
    fn ancillary_data_is_as_the_macros_want_it() {
        let a: Ipv6Addr = "2001:db8::1".parse().unwrap();
        let b: Ipv6Addr = "2001:db8::2".parse().unwrap();
        let with = SendWith { local: Some(a), peer: Some(b), feedback: Some(Feedback::SatisfactoryInbound) };
        let built = with.build();
        assert_eq!(built.len, 48 + 48 + 24);
        let all: Vec<_> = cmsg::iter(&built.control.0[..built.len]).collect();
        let kinds: Vec<_> = all.iter().map(|c| (c.level, c.kind, c.data.len())).collect();
        let level = SOL_SHIM_R6316;
        let wanted =
            [(level, SHIM_LOC_LOCAL_SEND, 28), (level, SHIM_LOC_PEER_SEND, 28), (level, SHIM_FEEDBACK, 4)];
        assert_eq!(kinds, wanted);
        assert_eq!((&all[0].data[8..24], &all[1].data[8..24]), (&a.octets()[..], &b.octets()[..]));
        assert_eq!(all[2].data, [1, 3, 0, 0]);
    }
}
