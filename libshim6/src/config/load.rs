//! Reading of the configuration: file, then `SHIM6_SET`, then `SHIM6_LOG`; later ones win.

use super::lists;
use super::{Capability, Config, Suppress};
use crate::addr::Ipv6Prefix;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Value;
use tracing_subscriber::EnvFilter;

/// The file that is read when `SHIM6_CONFIG` names none.
pub const DEFAULT_FILE: &str = "/etc/shim6/config.toml";
/// The variable that names the TOML file.
pub const ENV_CONFIG: &str = "SHIM6_CONFIG";
/// The variable with `key=value` pairs, separated by `;`, that override the file. Keys are dotted TOML keys.
pub const ENV_SET: &str = "SHIM6_SET";
/// The variable with the log filter; overrides `log_filter`.
pub const ENV_LOG: &str = "SHIM6_LOG";

/// All keys, dotted as `SHIM6_SET` takes them.
pub const KEYS: &[&str] = &[
    "shim6.i1_retries_max",
    "shim6.i1_timeout",
    "shim6.no_r1_holddown_time",
    "shim6.icmp_holddown_time",
    "shim6.i2_timeout",
    "shim6.i2_retries_max",
    "shim6.i2bis_timeout",
    "shim6.i2bis_retries_max",
    "shim6.validator_min_lifetime",
    "shim6.update_timeout",
    "shim6.max_update_timeout",
    "shim6.idle_timeout",
    "shim6.max_contexts",
    "shim6.reply_rate_per_source",
    "shim6.reply_rate_total",
    "shim6.strict_payload_locators",
    "shim6.deliver_all_icmp",
    "shim6.debug_errors",
    "shim6.max_pds_memory",
    "shim6.suppress_header",
    "shim6.exclude",
    "shim6.groups",
    "shim6.peers",
    "reap.send_timeout",
    "reap.initial_probe_timeout",
    "reap.initial_probes",
    "reap.max_probe_timeout",
    "reap.jitter",
    "reap.hot_standby",
    "reap.standby_interval",
    "reap.return_after",
    "reap.resend",
    "reap.resend_age",
    "trigger.bytes",
    "trigger.age",
    "trigger.packets",
    "identities",
    "prefer_identity_source",
    "setup_wait",
    "log_file",
    "log_filter",
    "enabled",
];

/// More than any sensible file; keeps a wrong `SHIM6_CONFIG=/dev/zero` from eating the memory.
const MAX_FILE: u64 = 1 << 20;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// Why the configuration cannot be used: where, which key, which value, what is wrong and what helps.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigError {
    /// The file or the environment variable.
    pub origin: String,
    /// The dotted key; empty if the trouble is not with one key.
    pub key: String,
    /// The value as given; empty if there is none.
    pub value: String,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if !self.key.is_empty() {
            write!(f, "{}", self.key)?;
            if !self.value.is_empty() {
                write!(f, " = {}", self.value)?;
            }
            write!(f, ": ")?;
        }
        write!(f, "{}; {}", self.problem, self.remedy)
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// The configuration of this process: the file that `SHIM6_CONFIG` names (else [`DEFAULT_FILE`] if it exists), then
    /// `SHIM6_SET`, then `SHIM6_LOG`. A variable that is set but empty counts as not set.
    ///
    /// # Errors
    /// [`ConfigError`] for a file that cannot be read, an unknown key, a bad value or one out of range.
    pub fn load() -> Result<Config, ConfigError> {
        let file = match std::env::var_os(ENV_CONFIG).filter(|v| !v.is_empty()) {
            Some(named) => Some(PathBuf::from(named)),
            None => Some(PathBuf::from(DEFAULT_FILE)).filter(|p| p.exists()),
        };
        Config::load_from(file.as_deref(), variable(ENV_SET)?.as_deref(), variable(ENV_LOG)?.as_deref())
    }

    /// As [`Config::load`], from the given file and contents of `SHIM6_SET` and `SHIM6_LOG`.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_from(
        file: Option<&Path>,
        set: Option<&str>,
        log: Option<&str>,
    ) -> Result<Config, ConfigError> {
        let mut loader = Loader::default();
        if let Some(path) = file {
            loader.file(path)?;
        }
        if let Some(set) = set {
            loader.set(set)?;
        }
        if let Some(filter) = log.map(str::trim).filter(|l| !l.is_empty()) {
            loader.assign(ENV_LOG, "log_filter", Given::Text(filter))?;
        }
        loader.finish()
    }

    /// What is accepted but departs from a recommendation (RE-C-07, RE-C-08), one sentence each, for the log.
    pub fn warnings(&self) -> Vec<String> {
        let timeout = self.reap.send_timeout;
        let shown = humantime::format_duration(timeout);
        if timeout < 10 * SECOND {
            vec![format!(
                "reap.send_timeout = {shown} is below the 10s of RFC 5534 section 7: \
                 a busy or lossy path may be taken for a dead one"
            )]
        } else if timeout > 100 * SECOND {
            vec![format!(
                "reap.send_timeout = {shown} is above the 100s of RFC 5534 section 7: \
                 failures are found late and keepalives may not keep middlebox state"
            )]
        } else {
            Vec::new()
        }
    }
}

fn variable(name: &'static str) -> Result<Option<String>, ConfigError> {
    match std::env::var(name) {
        Ok(v) => Ok(Some(v).filter(|v| !v.trim().is_empty())),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(whole(name, "is not UTF-8", "set it to UTF-8 text, or use a file named by SHIM6_CONFIG"))
        }
    }
}

fn whole(origin: &str, problem: impl Into<String>, remedy: impl Into<String>) -> ConfigError {
    ConfigError {
        origin: origin.to_owned(),
        key: String::new(),
        value: String::new(),
        problem: problem.into(),
        remedy: remedy.into(),
    }
}

/// A value as found, before it is known what the key wants.
#[derive(Clone, Copy)]
pub(super) enum Given<'a> {
    Toml(&'a Value),
    Text(&'a str),
}

impl fmt::Display for Given<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Given::Toml(v) => write!(f, "{v}"),
            Given::Text(t) => write!(f, "{t:?}"),
        }
    }
}

/// Where a key's value goes and which values it takes.
enum Field<'c> {
    Count(&'c mut u32, u32, u32),
    Size(&'c mut usize, usize, usize),
    Threshold(&'c mut Option<u64>),
    Span(&'c mut Duration, Duration, Duration),
    OptionalSpan(&'c mut Option<Duration>),
    AutoSpan(&'c mut Option<Duration>, Duration, Duration),
    Flag(&'c mut bool),
    Suppress(&'c mut Suppress),
    Paths(&'c mut Vec<PathBuf>),
    Path(&'c mut Option<PathBuf>),
    Filter(&'c mut Option<String>),
    Prefixes(&'c mut Vec<Ipv6Prefix>),
    Groups(&'c mut Vec<Vec<String>>),
    Peers(&'c mut Vec<(Ipv6Prefix, Capability)>),
}

fn field<'c>(c: &'c mut Config, key: &str) -> Option<Field<'c>> {
    use Field::{AutoSpan, Count, Filter, Flag, OptionalSpan, Path, Paths, Size, Span, Threshold};
    let (s, r, t) = (&mut c.shim6, &mut c.reap, &mut c.trigger);
    Some(match key {
        "shim6.i1_retries_max" => Count(&mut s.i1_retries_max, 0, 100),
        "shim6.i1_timeout" => Span(&mut s.i1_timeout, 10 * MS, HOUR),
        "shim6.no_r1_holddown_time" => Span(&mut s.no_r1_holddown_time, Duration::ZERO, DAY),
        "shim6.icmp_holddown_time" => Span(&mut s.icmp_holddown_time, Duration::ZERO, DAY),
        "shim6.i2_timeout" => Span(&mut s.i2_timeout, 10 * MS, HOUR),
        "shim6.i2_retries_max" => Count(&mut s.i2_retries_max, 0, 100),
        "shim6.i2bis_timeout" => Span(&mut s.i2bis_timeout, 10 * MS, HOUR),
        "shim6.i2bis_retries_max" => Count(&mut s.i2bis_retries_max, 0, 100),
        "shim6.validator_min_lifetime" => Span(&mut s.validator_min_lifetime, SECOND, HOUR),
        "shim6.update_timeout" => Span(&mut s.update_timeout, 10 * MS, HOUR),
        "shim6.max_update_timeout" => Span(&mut s.max_update_timeout, 10 * MS, HOUR),
        "shim6.idle_timeout" => Span(&mut s.idle_timeout, 300 * SECOND, 365 * DAY),
        "shim6.max_contexts" => Size(&mut s.max_contexts, 1, 1 << 24),
        "shim6.reply_rate_per_source" => Count(&mut s.reply_rate_per_source, 1, 1_000_000),
        "shim6.reply_rate_total" => Count(&mut s.reply_rate_total, 1, 1_000_000),
        "shim6.strict_payload_locators" => Flag(&mut s.strict_payload_locators),
        "shim6.deliver_all_icmp" => Flag(&mut s.deliver_all_icmp),
        "shim6.debug_errors" => Flag(&mut s.debug_errors),
        "shim6.suppress_header" => Field::Suppress(&mut s.suppress_header),
        "shim6.exclude" => Field::Prefixes(&mut s.exclude),
        "shim6.groups" => Field::Groups(&mut s.groups),
        "shim6.peers" => Field::Peers(&mut s.peers),
        "shim6.max_pds_memory" => Size(&mut s.max_pds_memory, 0, 1 << 32),
        "reap.send_timeout" => Span(&mut r.send_timeout, 10 * MS, 65_535 * SECOND),
        "reap.initial_probe_timeout" => Span(&mut r.initial_probe_timeout, 10 * MS, HOUR),
        "reap.initial_probes" => Count(&mut r.initial_probes, 1, 100),
        "reap.max_probe_timeout" => Span(&mut r.max_probe_timeout, 10 * MS, HOUR),
        "reap.jitter" => Flag(&mut r.jitter),
        "reap.hot_standby" => Flag(&mut r.hot_standby),
        "reap.standby_interval" => AutoSpan(&mut r.standby_interval, 10 * MS, HOUR),
        "reap.return_after" => OptionalSpan(&mut r.return_after),
        "reap.resend" => Count(&mut r.resend, 0, 1024),
        "reap.resend_age" => Span(&mut r.resend_age, MS, 60 * SECOND),
        "trigger.bytes" => Threshold(&mut t.bytes),
        "trigger.age" => OptionalSpan(&mut t.age),
        "trigger.packets" => Threshold(&mut t.packets),
        "identities" => Paths(&mut c.identities),
        "prefer_identity_source" => Flag(&mut c.prefer_identity_source),
        "setup_wait" => Span(&mut c.setup_wait, Duration::ZERO, HOUR),
        "log_file" => Path(&mut c.log_file),
        "log_filter" => Filter(&mut c.log_filter),
        "enabled" => Flag(&mut c.enabled),
        _ => return None,
    })
}

/// The configuration so far, and where each key that was given came from.
#[derive(Default)]
struct Loader {
    config: Config,
    given: Vec<(String, String, String)>,
}

impl Loader {
    fn file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let origin = path.display().to_string();
        let read = |path: &Path| {
            let mut text = String::new();
            std::fs::File::open(path)?.take(MAX_FILE + 1).read_to_string(&mut text)?;
            std::io::Result::Ok(text)
        };
        let text = read(path).map_err(|e| {
            whole(
                &origin,
                format!("cannot be read: {e}"),
                format!("make it readable, or point {ENV_CONFIG} elsewhere"),
            )
        })?;
        if text.len() as u64 > MAX_FILE {
            return Err(whole(
                &origin,
                "is larger than 1 MiB",
                format!("point {ENV_CONFIG} at a configuration file"),
            ));
        }
        let table: toml::Table = text.parse().map_err(|e: toml::de::Error| {
            let line = e.span().map(|s| 1 + text[..s.start.min(text.len())].matches('\n').count());
            let place = line.map_or_else(String::new, |l| format!(" in line {l}"));
            whole(&origin, format!("is not TOML{place}: {}", e.message()), "correct the file")
        })?;
        let mut flat = Vec::new();
        flatten("", &table, &mut flat);
        flat.into_iter().try_for_each(|(key, value)| self.assign(&origin, &key, Given::Toml(value)))
    }

    fn set(&mut self, set: &str) -> Result<(), ConfigError> {
        for pair in set.split(';').map(str::trim).filter(|p| !p.is_empty()) {
            let Some((key, value)) = pair.split_once('=') else {
                return Err(whole(
                    ENV_SET,
                    format!("{pair:?} is not key=value"),
                    "write pairs like reap.send_timeout=1s and separate them by ';'",
                ));
            };
            self.assign(ENV_SET, key.trim(), Given::Text(value.trim()))?;
        }
        Ok(())
    }

    fn assign(&mut self, origin: &str, key: &str, value: Given<'_>) -> Result<(), ConfigError> {
        let fail = |problem: String, remedy: String| ConfigError {
            origin: origin.to_owned(),
            key: key.to_owned(),
            value: value.to_string(),
            problem,
            remedy,
        };
        let Some(field) = field(&mut self.config, key) else {
            return Err(fail("unknown key".to_owned(), nearest(key)));
        };
        put(field, value).map_err(|(problem, remedy)| fail(problem, remedy))?;
        self.given.retain(|(k, ..)| k != key);
        self.given.push((key.to_owned(), origin.to_owned(), value.to_string()));
        Ok(())
    }

    /// Rules over two keys.
    fn finish(mut self) -> Result<Config, ConfigError> {
        // Who wants a failure found within a moment does not want to wait half a second for the second Probe
        let r = &mut self.config.reap;
        if r.send_timeout < SECOND && !self.given.iter().any(|(k, ..)| k == "reap.initial_probe_timeout") {
            r.initial_probe_timeout = (r.send_timeout / 5).max(10 * MS).min(r.max_probe_timeout);
        }
        let (s, r) = (&self.config.shim6, &self.config.reap);
        for (low_key, low, high_key, high) in [
            (
                "reap.initial_probe_timeout",
                r.initial_probe_timeout,
                "reap.max_probe_timeout",
                r.max_probe_timeout,
            ),
            ("shim6.update_timeout", s.update_timeout, "shim6.max_update_timeout", s.max_update_timeout),
        ] {
            if low > high {
                // At least one was given: the defaults agree. Name the later one.
                let (key, origin, value) = self
                    .given
                    .iter()
                    .rev()
                    .find(|(k, ..)| k == low_key || k == high_key)
                    .cloned()
                    .unwrap_or_default();
                return Err(ConfigError {
                    origin,
                    key,
                    value,
                    problem: format!(
                        "{low_key} ({}) is longer than {high_key} ({})",
                        humantime::format_duration(low),
                        humantime::format_duration(high)
                    ),
                    remedy: "lower the first or raise the second".to_owned(),
                });
            }
        }
        Ok(self.config)
    }
}

fn flatten<'t>(prefix: &str, table: &'t toml::Table, out: &mut Vec<(String, &'t Value)>) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            // A table where a value belongs is reported by its key, not by the keys inside.
            Value::Table(inner) if !KEYS.contains(&key.as_str()) => flatten(&key, inner, out),
            _ => out.push((key, value)),
        }
    }
}

pub(super) type Bad = (String, String);

fn put(field: Field<'_>, given: Given<'_>) -> Result<(), Bad> {
    match field {
        Field::Count(to, min, max) => {
            *to = u32::try_from(number(given, min.into(), max.into())?).unwrap_or(max);
        }
        Field::Size(to, min, max) => {
            *to = usize::try_from(number(given, min as u64, max as u64)?).unwrap_or(max);
        }
        Field::Threshold(to) => *to = if is_never(given) { None } else { Some(number(given, 0, u64::MAX)?) },
        Field::Span(to, min, max) => *to = span(given, min, max)?,
        Field::OptionalSpan(to) => {
            *to = if is_never(given) { None } else { Some(span(given, Duration::ZERO, 365 * DAY)?) };
        }
        Field::AutoSpan(to, min, max) => {
            *to = if text(given) == Some("auto") { None } else { Some(span(given, min, max)?) };
        }
        Field::Flag(to) => {
            *to = match given {
                Given::Toml(Value::Boolean(b)) => *b,
                Given::Text("true") => true,
                Given::Text("false") => false,
                _ => return Err(bad("is neither true nor false", "write true or false")),
            }
        }
        Field::Suppress(to) => {
            *to = match given {
                Given::Toml(Value::Boolean(true)) | Given::Text("true") => Suppress::WhenClear,
                Given::Toml(Value::Boolean(false)) | Given::Text("false") => Suppress::Off,
                _ if text(given) == Some("always") => Suppress::Always,
                _ => return Err(bad("is neither true, false nor \"always\"", "write one of these")),
            }
        }
        Field::Paths(to) => *to = paths(given)?,
        Field::Prefixes(to) => *to = lists::prefixes(given)?,
        Field::Groups(to) => *to = lists::groups(given)?,
        Field::Peers(to) => *to = lists::peers(given)?,
        Field::Path(to) => {
            let path = text(given).filter(|p| !p.is_empty() && !p.contains('\0'));
            *to = Some(path.ok_or_else(|| bad("is no path", "write a path as a string"))?.into());
        }
        Field::Filter(to) => {
            let filter =
                text(given).ok_or_else(|| bad("is no string", "write a filter like \"shim6=debug\""))?;
            EnvFilter::builder().parse(filter).map_err(|e| {
                bad(&format!("is no log filter: {e}"), "write a filter like info or shim6=debug,warn")
            })?;
            *to = Some(filter.to_owned());
        }
    }
    Ok(())
}

pub(super) fn bad(problem: &str, remedy: &str) -> Bad {
    (problem.to_owned(), remedy.to_owned())
}

fn text<'a>(given: Given<'a>) -> Option<&'a str> {
    match given {
        Given::Toml(v) => v.as_str(),
        Given::Text(t) => Some(t),
    }
}

fn is_never(given: Given<'_>) -> bool {
    matches!(text(given), Some("never" | "off"))
}

fn number(given: Given<'_>, min: u64, max: u64) -> Result<u64, Bad> {
    let remedy = if max == u64::MAX {
        "write a whole number of at least 0, or \"never\"".to_owned()
    } else {
        format!("write a whole number from {min} to {max}")
    };
    let n = match given {
        Given::Toml(Value::Integer(n)) => u64::try_from(*n).ok(),
        Given::Text(t) => t.parse().ok(),
        Given::Toml(_) => None,
    };
    match n {
        None => Err(("is no whole number of at least 0".to_owned(), remedy)),
        Some(n) if n < min || n > max => Err(("is out of range".to_owned(), remedy)),
        Some(n) => Ok(n),
    }
}

fn span(given: Given<'_>, min: Duration, max: Duration) -> Result<Duration, Bad> {
    let shown = humantime::format_duration;
    let remedy = format!(
        "write a time with its unit, like \"15s\" or \"100ms\", from {} to {}",
        shown(min),
        shown(max)
    );
    // "0" without a unit is a time too.
    let parsed = match text(given) {
        Some("0") => Ok(Duration::ZERO),
        Some(t) => humantime::parse_duration(t).map_err(|e| format!("is no time: {e}")),
        None => Err("is no time in quotes".to_owned()),
    };
    match parsed {
        Err(problem) => Err((problem, remedy)),
        Ok(d) if d < min || d > max => Err(("is out of range".to_owned(), remedy)),
        Ok(d) => Ok(d),
    }
}

fn paths(given: Given<'_>) -> Result<Vec<PathBuf>, Bad> {
    let list: Option<Vec<&str>> = match given {
        Given::Text(t) => Some(t.split(':').filter(|p| !p.is_empty()).collect()),
        Given::Toml(Value::String(s)) => Some(vec![s]),
        Given::Toml(Value::Array(a)) => a.iter().map(Value::as_str).collect(),
        Given::Toml(_) => None,
    };
    match list {
        Some(l) if l.iter().all(|p| !p.is_empty() && !p.contains('\0')) => {
            Ok(l.into_iter().map(PathBuf::from).collect())
        }
        _ => Err(bad("is no list of paths", "write [\"/one\", \"/two\"] in a file, /one:/two in SHIM6_SET")),
    }
}

/// The remedy for an unknown key: the known one that looks most like it, or all.
fn nearest(key: &str) -> String {
    let last = |k: &str| k.rsplit('.').next().unwrap_or_default().to_owned();
    let close = KEYS.iter().map(|k| (distance(k, key).min(distance(&last(k), &last(key))), k)).min();
    match close {
        Some((d, k)) if d <= 2 => format!("did you mean {k}?"),
        _ => format!("the keys are {}", KEYS.join(", ")),
    }
}

/// Levenshtein distance over octets; `key` is cut so that a huge one costs nothing.
fn distance(known: &str, key: &str) -> usize {
    let (a, b) = (known.as_bytes(), &key.as_bytes()[..key.len().min(64)]);
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
