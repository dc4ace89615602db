//! Options that neither document has: numbers above theirs, at both levels, with one form of the structures.

#![allow(non_camel_case_types)]

use crate::event::{Evidence, FailureCause, Switch, SwitchCause};
use crate::time::Time;
use libc::in6_addr;
use std::ffi::c_int;
use std::net::Ipv6Addr;

/// Extension. Send Timeout in milliseconds, an int; 0 sets the default. It takes the place of `pe_keepaliveto`. (get, set)
pub const SHIM_SEND_TIMEOUT: c_int = 257;
/// Extension. The latest switches of the context to another locator pair, newest first: as many `struct shim_switch` as
/// fit, at most 16. Where there was none, one with `sw_number` 0. (get)
pub const SHIM_SWITCHES: c_int = 258;

/// Extension. Datagrams of this socket that are sent again on the new pair after a failure, a `struct shim_resend`. (get, set)
pub const SHIM_RESEND: c_int = 259;

/// `sw_cause`: the Send Timer expired.
pub const SHIM_SWITCH_SEND_TIMEOUT: u8 = 1;
/// `sw_cause`: the local locator or its link is gone.
pub const SHIM_SWITCH_LOCAL_LOST: u8 = 2;
/// `sw_cause`: the peer told that its locator is gone.
pub const SHIM_SWITCH_PEER_LOST: u8 = 3;
/// `sw_cause`: the kernel refused to send.
pub const SHIM_SWITCH_SEND_REFUSED: u8 = 4;
/// `sw_cause`: a Probe of the peer told that it does not hear us.
pub const SHIM_SWITCH_PEER_EXPLORES: u8 = 5;
/// `sw_cause`: an ICMPv6 error or an application asked for a test.
pub const SHIM_SWITCH_HINT: u8 = 6;
/// `sw_cause`: an application said that it cannot connect.
pub const SHIM_SWITCH_FEEDBACK: u8 = 7;
/// `sw_cause`: the new pair is preferred, or the old one was only a substitute.
pub const SHIM_SWITCH_PREFERRED: u8 = 8;
/// `sw_cause`: an application chose it.
pub const SHIM_SWITCH_PINNED: u8 = 9;

/// `sw_evidence`: the peer reported a Probe on the new pair.
pub const SHIM_EVIDENCE_REPORT: u8 = 1;
/// `sw_evidence`: it was the standby pair, tested at `sw_tested`.
pub const SHIM_EVIDENCE_STANDBY: u8 = 2;
/// `sw_evidence`: a test of it had just succeeded.
pub const SHIM_EVIDENCE_TEST: u8 = 3;
/// `sw_evidence`: none was asked for.
pub const SHIM_EVIDENCE_CHOICE: u8 = 4;

/// Which datagrams are sent again after a failure; the peer's program sees those twice that had arrived.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct shim_resend {
    /// The last so many, at most 1024; 0 for none.
    pub rs_datagrams: u32,
    /// Of these, none older than so many milliseconds, at most 60000; 0 sets 1000.
    pub rs_milliseconds: u32,
}

/// A switch to another locator pair. Times are nanoseconds of CLOCK_BOOTTIME, 0 where there is none.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct shim_switch {
    /// Switches of the context up to this one, itself counted.
    pub sw_number: u64,
    /// When the peer was last heard before the failure was found.
    pub sw_last_heard: u64,
    /// When it was known that the old pair had to be left.
    pub sw_detected: u64,
    /// When datagrams were directed to the new pair.
    pub sw_decided: u64,
    /// When the first of them left; 0 while none has.
    pub sw_first_packet: u64,
    /// When the test of the standby pair had begun.
    pub sw_tested: u64,
    /// SHIM_SWITCH_SEND_TIMEOUT and so on.
    pub sw_cause: u8,
    /// SHIM_EVIDENCE_REPORT and so on.
    pub sw_evidence: u8,
    /// Zero.
    pub sw_reserved: [u8; 6],
    /// Local locator until then.
    pub sw_old_local: in6_addr,
    /// Peer's locator until then.
    pub sw_old_peer: in6_addr,
    /// Local locator from then on.
    pub sw_new_local: in6_addr,
    /// Peer's locator from then on.
    pub sw_new_peer: in6_addr,
}

const SWITCH: usize = size_of::<shim_switch>();

fn cause_number(cause: SwitchCause) -> u8 {
    match cause {
        SwitchCause::Failure(FailureCause::SendTimeout) => SHIM_SWITCH_SEND_TIMEOUT,
        SwitchCause::Failure(FailureCause::LocalLocatorLost) => SHIM_SWITCH_LOCAL_LOST,
        SwitchCause::Failure(FailureCause::PeerLocatorLost) => SHIM_SWITCH_PEER_LOST,
        SwitchCause::Failure(FailureCause::SendRefused) => SHIM_SWITCH_SEND_REFUSED,
        SwitchCause::Failure(FailureCause::PeerExplores) => SHIM_SWITCH_PEER_EXPLORES,
        SwitchCause::Failure(FailureCause::Hint) => SHIM_SWITCH_HINT,
        SwitchCause::Failure(FailureCause::Feedback) => SHIM_SWITCH_FEEDBACK,
        SwitchCause::Preferred => SHIM_SWITCH_PREFERRED,
        SwitchCause::Pinned => SHIM_SWITCH_PINNED,
    }
}

fn cause_of(number: u8) -> Option<SwitchCause> {
    use FailureCause::*;
    let failures =
        [SendTimeout, LocalLocatorLost, PeerLocatorLost, SendRefused, PeerExplores, Hint, Feedback];
    let others = [SwitchCause::Preferred, SwitchCause::Pinned];
    failures.into_iter().map(SwitchCause::Failure).chain(others).find(|c| cause_number(*c) == number)
}

impl shim_switch {
    /// As a program sees switch `number`.
    pub fn new(number: u64, s: &Switch) -> Self {
        let time = |t: Option<Time>| t.map_or(0, |t| t.0);
        let address = |a: Ipv6Addr| in6_addr { s6_addr: a.octets() };
        let (evidence, tested) = match s.evidence {
            Evidence::Report => (SHIM_EVIDENCE_REPORT, None),
            Evidence::Standby(at) => (SHIM_EVIDENCE_STANDBY, Some(at)),
            Evidence::Test => (SHIM_EVIDENCE_TEST, None),
            Evidence::Choice => (SHIM_EVIDENCE_CHOICE, None),
        };
        shim_switch {
            sw_number: number,
            sw_last_heard: time(s.last_heard),
            sw_detected: s.detected.0,
            sw_decided: s.at.0,
            sw_first_packet: time(s.first_packet),
            sw_tested: time(tested),
            sw_cause: cause_number(s.cause),
            sw_evidence: evidence,
            sw_reserved: [0; 6],
            sw_old_local: address(s.old.local),
            sw_old_peer: address(s.old.peer),
            sw_new_local: address(s.new.local),
            sw_new_peer: address(s.new.peer),
        }
    }

    /// The memory of the structure, which has no padding.
    pub fn octets(&self) -> [u8; SWITCH] {
        let mut out = [0; SWITCH];
        let times = [
            self.sw_number,
            self.sw_last_heard,
            self.sw_detected,
            self.sw_decided,
            self.sw_first_packet,
            self.sw_tested,
        ];
        for (to, from) in out.chunks_exact_mut(8).zip(times) {
            to.copy_from_slice(&from.to_ne_bytes());
        }
        (out[48], out[49]) = (self.sw_cause, self.sw_evidence);
        let addresses = [&self.sw_old_local, &self.sw_old_peer, &self.sw_new_local, &self.sw_new_peer];
        for (to, from) in out[56..].chunks_exact_mut(16).zip(addresses) {
            to.copy_from_slice(&from.s6_addr);
        }
        out
    }
}

/// What the option's value says, newest first; switches before those are told by their number alone.
pub(crate) fn parse(octets: &[u8]) -> Vec<(u64, Switch)> {
    octets.chunks_exact(SWITCH).filter_map(parse_one).collect()
}

/// The inverse of [`shim_switch::octets`]; `None` where there was no switch.
fn parse_one(octets: &[u8]) -> Option<(u64, Switch)> {
    let number = |i: usize| octets[8 * i..8 * i + 8].try_into().map_or(0, u64::from_ne_bytes);
    let time = |i| Some(Time(number(i))).filter(|t| *t != Time::ZERO);
    let address = |i: usize| {
        let octets: Option<[u8; 16]> = octets[56 + 16 * i..72 + 16 * i].try_into().ok();
        octets.map(Ipv6Addr::from)
    };
    let pair = |i| Some(crate::addr::LocatorPair { local: address(i)?, peer: address(i + 1)? });
    let evidence = match octets[49] {
        SHIM_EVIDENCE_REPORT => Evidence::Report,
        SHIM_EVIDENCE_STANDBY => Evidence::Standby(Time(number(5))),
        SHIM_EVIDENCE_TEST => Evidence::Test,
        SHIM_EVIDENCE_CHOICE => Evidence::Choice,
        _ => return None,
    };
    let switch = Switch {
        old: pair(0)?,
        new: pair(2)?,
        cause: cause_of(octets[48])?,
        evidence,
        last_heard: time(1),
        detected: Time(number(2)),
        at: Time(number(3)),
        first_packet: time(4),
    };
    (number(0) > 0).then_some((number(0), switch))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::LocatorPair;

    fn switch(cause: SwitchCause, evidence: Evidence) -> Switch {
        let pair = |n: u8| LocatorPair { local: [n; 16].into(), peer: [n + 1; 16].into() };
        let (at, first_packet) = (Time(1_001), Some(Time(2_000)));
        let last_heard = Some(Time(900));
        Switch {
            old: pair(1),
            new: pair(3),
            cause,
            evidence,
            last_heard,
            detected: Time(1_000),
            at,
            first_packet,
        }
    }

    #[test]
    fn a_switch_survives_the_way_to_the_program() {
        assert_eq!(SWITCH, 120);
        assert_eq!(std::mem::offset_of!(shim_switch, sw_old_local), 56);
        let causes: Vec<SwitchCause> = (1..=9).filter_map(cause_of).collect();
        assert_eq!(causes.len(), 9);
        let evidence = [Evidence::Report, Evidence::Standby(Time(7)), Evidence::Test, Evidence::Choice];
        let (mut octets, mut expected) = (Vec::new(), Vec::new());
        for (i, cause) in causes.into_iter().enumerate() {
            let s = switch(cause, evidence[i % 4]);
            octets.extend(shim_switch::new(i as u64 + 1, &s).octets());
            expected.push((i as u64 + 1, s));
        }
        assert_eq!(parse(&octets), expected);
        assert_eq!(parse(&[0; SWITCH]), []);
        assert_eq!(cause_of(0), None);
    }
}
