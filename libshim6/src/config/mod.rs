//! Every settable quantity with its default and source (S6-14-1, RE-C-*, S6-2-5).
//!
//! In: a TOML file and the variables `SHIM6_CONFIG`, `SHIM6_SET` and `SHIM6_LOG`. Out: a [`Config`] whose values are in
//! range, or a [`ConfigError`] that says what to change.

mod lists;
mod load;
#[cfg(test)]
mod tests;

pub use load::{ConfigError, DEFAULT_FILE, ENV_CONFIG, ENV_LOG, ENV_SET, KEYS};

use crate::addr::Ipv6Prefix;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::time::Duration;

/// The configuration of one engine. `Default` gives the values of the RFCs and of LinShim6's heuristic.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Protocol constants of RFC 5533 section 14.
    pub shim6: Shim6Config,
    /// Timers of RFC 5534 section 7.
    pub reap: ReapConfig,
    /// When a context is set up (LS-H-02, LS-H-03, LS-H-05).
    pub trigger: TriggerConfig,
    /// Further identity files or directories, searched before the standard places (DESIGN section 9).
    pub identities: Vec<PathBuf>,
    /// Whether a socket whose source the application leaves open gets an address with an identity (DESIGN section 8).
    pub prefer_identity_source: bool,
    /// How long a connect on a socket with SHIM_DEFERRED_CONTEXT_SETUP 0 waits for its context at most; 5 s
    /// (API-DEF-11).
    pub setup_wait: Duration,
    /// Where the log goes; standard error if `None`.
    pub log_file: Option<PathBuf>,
    /// Filter as in `tracing` (`warn`, `shim6=debug`, ...); no log if `None`.
    pub log_filter: Option<String>,
    /// `false`: the shim steps aside for the whole process.
    pub enabled: bool,
}

/// Protocol constants of RFC 5533 section 14 and the limits that go with them.
#[derive(Clone, Debug, PartialEq)]
pub struct Shim6Config {
    /// I1_RETRIES_MAX, 4.
    pub i1_retries_max: u32,
    /// I1_TIMEOUT, 4 s.
    pub i1_timeout: Duration,
    /// NO_R1_HOLDDOWN_TIME, 1 min.
    pub no_r1_holddown_time: Duration,
    /// ICMP_HOLDDOWN_TIME, 10 min.
    pub icmp_holddown_time: Duration,
    /// I2_TIMEOUT, 4 s.
    pub i2_timeout: Duration,
    /// I2_RETRIES_MAX, 2.
    pub i2_retries_max: u32,
    /// I2bis_TIMEOUT, 4 s.
    pub i2bis_timeout: Duration,
    /// I2bis_RETRIES_MAX, 2.
    pub i2bis_retries_max: u32,
    /// VALIDATOR_MIN_LIFETIME, 30 s.
    pub validator_min_lifetime: Duration,
    /// UPDATE_TIMEOUT, 4 s.
    pub update_timeout: Duration,
    /// MAX_UPDATE_TIMEOUT, 120 s.
    pub max_update_timeout: Duration,
    /// Idle time after which a context that no socket uses is discarded; 10 min, at least 5 min (LS-H-15, LS-H-16).
    pub idle_timeout: Duration,
    /// Most contexts that the engine holds; beyond it new ones are refused.
    pub max_contexts: usize,
    /// R1, R1bis and Error messages per second that a source /64 may cause, and in total (S6-N-47).
    pub reply_rate_per_source: u32,
    /// See `reply_rate_per_source`.
    pub reply_rate_total: u32,
    /// Drop tagged payload whose source is not in Ls(peer) or whose destination is not in Ls(local); off (S6-N-38).
    pub strict_payload_locators: bool,
    /// Applications get every ICMPv6 error, also those that the shim acts upon; off (S6-8-2).
    pub deliver_all_icmp: bool,
    /// Answer what is silently discarded otherwise by an Error with code 120 to 127; off (S6-5.14-7).
    pub debug_errors: bool,
    /// Most octets of CGA parameters of peers that are stored; contexts beyond keep the ULID alone (HC-USE-19).
    pub max_pds_memory: usize,
    /// Leave the payload extension header out of UDP where both hosts can do without; off (LS-CX-12).
    pub suppress_header: Suppress,
    /// Destinations that stay wholly with the kernel: no context with them, nothing of Shim6 sent to them or heard from
    /// them. For those behind an IPsec device that nothing on this host knows of (LS-G-13). None.
    pub exclude: Vec<Ipv6Prefix>,
    /// Groups of interfaces, by name: addresses of different groups never stand in one locator set. Interfaces that are in
    /// none are a group of their own. For hosts with protected and unprotected interfaces (LS-G-14). None.
    pub groups: Vec<Vec<String>>,
    /// What is known of peers beforehand; of several prefixes that an address is in, the longest counts (LS-D-05). None:
    /// all is discovered.
    pub peers: Vec<(Ipv6Prefix, Capability)>,
}

/// What is known of a peer before anything is sent to it (LS-D-05, LS-D-06).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Capability {
    /// Nothing: an I1 finds out, once there is enough traffic. `"discover"`.
    #[default]
    Discover,
    /// It does Shim6: it gets an I1 with the first datagram, which waits for nothing. `"capable"`.
    Capable,
    /// It does not: no I1 is ever sent to it. `"incapable"`.
    Incapable,
}

/// When rewritten datagrams go without payload extension header (draft-van-beijnum-shim6-suppress-header-00).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Suppress {
    /// Never; no flags are exchanged. `false` in the configuration.
    #[default]
    Off,
    /// Where both hosts can tell which session a datagram belongs to. `true`.
    WhenClear,
    /// The same, and the peers are told never to send it to this host, whatever they think. `"always"`.
    Always,
}

/// Timers of RFC 5534 section 7.
#[derive(Clone, Debug, PartialEq)]
pub struct ReapConfig {
    /// Send Timeout, 15 s; announced to the peer in whole seconds, rounded up, when it is not 15 s (RE-KT-03), and in
    /// milliseconds to those that know these. In force is never less than the path and the peer can do.
    pub send_timeout: Duration,
    /// Initial Probe Timeout, 500 ms; where only a Send Timeout below a second was given, a fifth of that.
    pub initial_probe_timeout: Duration,
    /// Number of Initial Probes, 4.
    pub initial_probes: u32,
    /// Max Probe Timeout, 60 s.
    pub max_probe_timeout: Duration,
    /// Randomise timers (RE-C-10); off only in tests.
    pub jitter: bool,
    /// Hot standby for every context, as if a socket of it had set SHIM_HOT_STANDBY; off.
    pub hot_standby: bool,
    /// Between two tests of the standby pair; `None`: by Send Timeout, round-trip time and traffic. All tests together stay
    /// below 1 per second or 1 percent of the packets, whichever is more (API-HOT-09).
    pub standby_interval: Option<Duration>,
    /// A pair that failed and is better than the one in use is used again once it has passed all tests for so long; each
    /// further failure doubles the time. 30 s; `None`: never.
    pub return_after: Option<Duration>,
    /// Datagrams of a context that are sent again on the new pair after a failure: the last so many; 0, none. The peer's
    /// program sees those twice that had arrived. They go out at once, so its receive buffer has to hold them.
    pub resend: u32,
    /// Of these, none older than this; 1 s.
    pub resend_age: Duration,
}

/// When a flow gets a context. With both thresholds `None` the engine never starts one itself (LS-H-06).
#[derive(Clone, Debug, PartialEq)]
pub struct TriggerConfig {
    /// Octets of a ULID pair over both directions; 2048. `Some(0)`: at the first datagram.
    pub bytes: Option<u64>,
    /// Age of a ULID pair that still carries datagrams; 1 min. `Some(0)`: at the first datagram.
    pub age: Option<Duration>,
    /// Datagrams over both directions (RFC 5533 section 4); off.
    pub packets: Option<u64>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            shim6: Shim6Config::default(),
            reap: ReapConfig::default(),
            trigger: TriggerConfig::default(),
            identities: Vec::new(),
            prefer_identity_source: true,
            setup_wait: Duration::from_secs(5),
            log_file: None,
            log_filter: None,
            enabled: true,
        }
    }
}

impl Default for Shim6Config {
    fn default() -> Self {
        let s = Duration::from_secs;
        Shim6Config {
            i1_retries_max: 4,
            i1_timeout: s(4),
            no_r1_holddown_time: s(60),
            icmp_holddown_time: s(600),
            i2_timeout: s(4),
            i2_retries_max: 2,
            i2bis_timeout: s(4),
            i2bis_retries_max: 2,
            validator_min_lifetime: s(30),
            update_timeout: s(4),
            max_update_timeout: s(120),
            idle_timeout: s(600),
            max_contexts: 100_000,
            reply_rate_per_source: 100,
            reply_rate_total: 1000,
            strict_payload_locators: false,
            deliver_all_icmp: false,
            debug_errors: false,
            max_pds_memory: 64 << 20,
            suppress_header: Suppress::Off,
            exclude: Vec::new(),
            groups: Vec::new(),
            peers: Vec::new(),
        }
    }
}

impl Shim6Config {
    /// Does the kernel alone deal with this destination?
    pub fn excludes(&self, peer: &Ipv6Addr) -> bool {
        self.exclude.iter().any(|p| p.contains(peer))
    }

    /// What is known of a peer.
    pub fn capability(&self, peer: &Ipv6Addr) -> Capability {
        let fitting = self.peers.iter().filter(|(p, _)| p.contains(peer));
        fitting.max_by_key(|(p, _)| p.len()).map_or(Capability::Discover, |(_, c)| *c)
    }

    /// The group of an interface: 0 for one that is in none.
    pub fn group_of(&self, interface: &str) -> u32 {
        let place = self.groups.iter().position(|g| g.iter().any(|name| name == interface));
        place.map_or(0, |i| i as u32 + 1)
    }
}

impl Default for ReapConfig {
    fn default() -> Self {
        ReapConfig {
            send_timeout: Duration::from_secs(15),
            initial_probe_timeout: Duration::from_millis(500),
            initial_probes: 4,
            max_probe_timeout: Duration::from_secs(60),
            jitter: true,
            hot_standby: false,
            standby_interval: None,
            return_after: Some(Duration::from_secs(30)),
            resend: 0,
            resend_age: Duration::from_secs(1),
        }
    }
}

impl Default for TriggerConfig {
    fn default() -> Self {
        TriggerConfig { bytes: Some(2048), age: Some(Duration::from_secs(60)), packets: None }
    }
}
