//! The settings: options of the command line, over the environment, over the file; checked by the code that reads them in the
//! program later.

use super::Obstacle;
use shim6::config::{Config, ENV_CONFIG, ENV_LOG, ENV_SET};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Options of `shim6 run` that become settings of the library.
#[derive(clap::Args, Clone, Default)]
pub struct Options {
    /// Without an answer for so long, a path is taken for dead (RFC 5534: 15s), such as 1s or 30ms
    #[arg(long, value_name = "DUR")]
    send_timeout: Option<String>,
    /// Keep another path tested, so that traffic moves to it at once when the one in use fails
    #[arg(long)]
    hot_standby: bool,
    /// After a failure, send the last N datagrams again on the new path; what had arrived arrives twice
    #[arg(long, value_name = "N")]
    resend: Option<String>,
    /// Between the first probes of an exploration (RFC 5534: 500ms)
    #[arg(long, value_name = "DUR")]
    probe_timeout: Option<String>,
    /// When a pair of addresses gets its context: "now", at the first datagram, or "never"
    #[arg(long, value_name = "WHEN", conflicts_with_all = ["trigger_bytes", "trigger_time"])]
    trigger: Option<Trigger>,
    /// Octets of a pair of addresses after which it gets a context, or "never" [default: 2048]
    #[arg(long, value_name = "N")]
    trigger_bytes: Option<String>,
    /// Age of a pair of addresses, still in use, at which it gets a context, or "never" [default: 1m]
    #[arg(long, value_name = "DUR")]
    trigger_time: Option<String>,
    /// Further file or directory with identities (`shim6 address generate`); may be repeated
    #[arg(long, value_name = "PATH")]
    identity: Vec<PathBuf>,
    /// Write the log to this file instead of standard error
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// What to log, such as "info" or "shim6=debug"
    #[arg(long, value_name = "FILTER")]
    log_level: Option<String>,
    /// Configuration file (TOML) [default: SHIM6_CONFIG, /etc/shim6/config.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Any setting by its name in the configuration file; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// When a context is set up.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// At the first datagram.
    Now,
    /// Not by itself.
    Never,
}

/// Settings that the library will accept.
pub struct Settings {
    config: Config,
    environment: Vec<(&'static str, OsString)>,
}

impl Options {
    /// Settings as the program will have them, or what is wrong with them.
    pub fn resolve(&self) -> Result<Settings, String> {
        let mut environment: Vec<(&'static str, OsString)> = Vec::new();
        let file = match &self.config {
            Some(file) => Some(absolute(file)?),
            None => std::env::var_os(ENV_CONFIG).filter(|v| !v.is_empty()).map(PathBuf::from),
        };
        if let Some(file) = &self.config {
            environment.push((ENV_CONFIG, absolute(file)?.into()));
        }
        let inherited = std::env::var(ENV_SET).unwrap_or_default();
        let inherited_log = std::env::var(ENV_LOG).ok().filter(|filter| !filter.trim().is_empty());
        let load = |set: &str, log: Option<&str>| match &file {
            Some(file) => Config::load_from(Some(file), Some(set), log),
            None => Config::load_from(default_file().as_deref(), Some(set), log),
        };
        let base = load(&inherited, inherited_log.as_deref()).map_err(|e| e.to_string())?;

        let mut set: Vec<String> = Some(inherited).filter(|s| !s.trim().is_empty()).into_iter().collect();
        set.extend(self.pairs(&base)?);
        let set = set.join(";");
        let mut log = self.log_level.clone().or(inherited_log);
        if self.log.is_some() && log.is_none() && base.log_filter.is_none() {
            log = Some("shim6=info".to_owned());
        }
        let config = load(&set, log.as_deref()).map_err(|e| e.to_string())?;
        if !set.is_empty() {
            environment.push((ENV_SET, set.into()));
        }
        if let Some(log) = log {
            environment.push((ENV_LOG, log.into()));
        }
        Ok(Settings { config, environment })
    }

    fn pairs(&self, base: &Config) -> Result<Vec<String>, String> {
        let mut pairs = Vec::new();
        let mut add = |key: &str, value: &str| {
            if value.contains(';') {
                return Err(format!(
                    "{key} = {value:?}: a setting cannot contain \";\"; use a configuration file"
                ));
            }
            pairs.push(format!("{key}={value}"));
            Ok(())
        };
        for pair in &self.set {
            let (key, value) =
                pair.split_once('=').ok_or_else(|| format!("--set {pair}: write KEY=VALUE"))?;
            add(key.trim(), value)?;
        }
        let mut given =
            |key: &str, value: &Option<String>| value.as_ref().map_or(Ok(()), |value| add(key, value));
        given("reap.send_timeout", &self.send_timeout)?;
        given("reap.initial_probe_timeout", &self.probe_timeout)?;
        given("reap.hot_standby", &self.hot_standby.then(|| "true".to_owned()))?;
        given("reap.resend", &self.resend)?;
        given("trigger.bytes", &self.trigger_bytes)?;
        given("trigger.age", &self.trigger_time)?;
        match self.trigger {
            Some(Trigger::Now) => add("trigger.bytes", "0")?,
            Some(Trigger::Never) => {
                for key in ["trigger.bytes", "trigger.age", "trigger.packets"] {
                    add(key, "never")?;
                }
            }
            None => {}
        }
        if !self.identity.is_empty() {
            let mut all = Vec::new();
            for path in base.identities.iter().chain(&self.identity) {
                let path = absolute(path)?;
                std::fs::metadata(&path).map_err(|e| format!("--identity {}: {e}", path.display()))?;
                let path = text(&path)?;
                if path.contains(':') {
                    return Err(format!(
                        "--identity {path}: a path cannot contain \":\"; use a configuration file"
                    ));
                }
                all.push(path);
            }
            add("identities", &all.join(":"))?;
        }
        if let Some(log) = &self.log {
            add("log_file", &text(&absolute(log)?)?)?;
        }
        Ok(pairs)
    }
}

impl Settings {
    /// What the program's environment needs.
    pub fn environment(&self) -> impl Iterator<Item = (&'static str, &OsString)> {
        self.environment.iter().map(|(name, value)| (*name, value))
    }

    /// What keeps the shim from working with these settings on this host.
    pub fn obstacles(&self) -> Vec<Obstacle> {
        if !self.config.enabled {
            return vec![Obstacle::new(
                "the shim is switched off (enabled = false)",
                "run with --set enabled=true",
            )];
        }
        let (identities, problems) = shim6::identity::load_all(&self.config.identities);
        let unusable = problems
            .iter()
            .map(|p| Obstacle::new(format!("an identity cannot be used: {p}"), "mend it or take it away"));
        unusable.chain(no_identity(&identities)).collect()
    }
}

fn no_identity(identities: &[std::sync::Arc<shim6::identity::Identity>]) -> Option<Obstacle> {
    let make = "make addresses with `shim6 address generate`, then put them on the interfaces with `shim6 address assign`";
    if identities.is_empty() {
        return Some(Obstacle::new("this host has no identity", make));
    }
    // Where the addresses cannot be listed, the library will not be able to either, and says so in the log.
    let addresses = shim6::driver::netlink::list_addresses().ok()?;
    let present = |identity: &shim6::identity::Identity| {
        identity.members().filter(|member| addresses.iter().any(|address| address.addr == *member)).count()
    };
    match identities.iter().map(|identity| present(identity)).max() {
        Some(0) => Some(Obstacle::new(
            "none of the addresses of this host has an identity",
            "put those of an identity on the interfaces with `shim6 address assign FILE`, or make other ones with `shim6 \
             address generate`",
        )),
        _ => None,
    }
}

fn default_file() -> Option<PathBuf> {
    Some(PathBuf::from(shim6::config::DEFAULT_FILE)).filter(|file| file.exists())
}

/// The program may change its directory.
fn absolute(path: &Path) -> Result<PathBuf, String> {
    std::path::absolute(path).map_err(|e| format!("{}: {e}", path.display()))
}

fn text(path: &Path) -> Result<String, String> {
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| format!("{} is not UTF-8; use a configuration file", path.display()))
}
