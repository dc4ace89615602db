//! Settings that are lists: prefixes, groups of interfaces, what is known of peers.
//!
//! | key | in a file | in `SHIM6_SET` |
//! | --- | --- | --- |
//! | `shim6.exclude` | `["2001:db8:9::/48", "2001:db8::7"]` | `2001:db8:9::/48,2001:db8::7` |
//! | `shim6.groups` | `[["eth1", "eth2"], ["tun0"]]` | `eth1,eth2:tun0` |
//! | `shim6.peers` | `{ "2001:db8::/32" = "capable", "::/0" = "incapable" }` | `2001:db8::/32=capable,::/0=incapable` |

use super::Capability;
use super::load::{Bad, Given, bad};
use crate::addr::Ipv6Prefix;
use toml::Value;

/// Most elements of a list: they are looked through one by one.
const MAX_ELEMENTS: usize = 1024;
/// Octets that the name of an interface can have (IFNAMSIZ without the end).
const MAX_NAME: usize = 15;

/// Destinations.
pub(super) fn prefixes(given: Given<'_>) -> Result<Vec<Ipv6Prefix>, Bad> {
    const REMEDY: &str =
        "write [\"2001:db8:9::/48\", \"2001:db8::7\"] in a file, 2001:db8:9::/48,2001:db8::7 in SHIM6_SET";
    let list = words(given).ok_or_else(|| bad("is no list of prefixes", REMEDY))?;
    let all: Result<Vec<_>, _> = list.iter().map(|text| prefix(text, REMEDY)).collect();
    bounded(all?)
}

fn prefix(text: &str, remedy: &str) -> Result<Ipv6Prefix, Bad> {
    if let Ok(prefix) = text.parse() {
        return Ok(prefix);
    }
    let shown = shortened(text);
    Err(match text.split_once('/').and_then(|(a, l)| Some((a.parse::<std::net::Ipv6Addr>().ok()?, l))) {
        Some((_, len))
            if len.bytes().all(|b| b.is_ascii_digit()) && len.parse().is_ok_and(|l: u8| l <= 128) =>
        {
            bad(&format!("has bits behind the prefix {shown}"), "write zeros behind its length")
        }
        _ => bad(&format!("has {shown:?}, which is no IPv6 prefix"), remedy),
    })
}

/// Groups of interfaces.
pub(super) fn groups(given: Given<'_>) -> Result<Vec<Vec<String>>, Bad> {
    const REMEDY: &str = "write [[\"eth1\", \"eth2\"], [\"tun0\"]] in a file, eth1,eth2:tun0 in SHIM6_SET";
    let none = || bad("is no list of groups of interfaces", REMEDY);
    let list: Vec<Vec<&str>> = match given {
        Given::Text(t) => t.split(':').filter(|g| !g.trim().is_empty()).map(split).collect(),
        Given::Toml(Value::Array(a)) => {
            let group = |v| words(Given::Toml(v));
            a.iter().map(group).collect::<Option<_>>().ok_or_else(none)?
        }
        Given::Toml(_) => return Err(none()),
    };
    let mut seen: Vec<&str> = Vec::new();
    for name in list.iter().flatten() {
        let good = !name.is_empty()
            && name.len() <= MAX_NAME
            && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/' || c == ':');
        if !good {
            return Err(bad(&format!("has {:?}, which is no name of an interface", shortened(name)), REMEDY));
        }
        if seen.contains(name) {
            return Err(bad(&format!("has {name} twice"), "put each interface into one group"));
        }
        seen.push(name);
        if seen.len() > MAX_ELEMENTS {
            return Err(too_many());
        }
    }
    let group = |g: &Vec<&str>| g.iter().map(|name| (*name).to_owned()).collect();
    bounded(list.iter().filter(|g| !g.is_empty()).map(group).collect())
}

/// What is known of peers.
pub(super) fn peers(given: Given<'_>) -> Result<Vec<(Ipv6Prefix, Capability)>, Bad> {
    const REMEDY: &str = "write { \"2001:db8::/32\" = \"capable\" } in a file, 2001:db8::/32=capable in SHIM6_SET; there are \
                          capable, incapable and discover";
    let none = || bad("does not tell prefixes and what their hosts can do", REMEDY);
    let pairs: Vec<(&str, &str)> = match given {
        Given::Text(t) => {
            split(t).into_iter().map(|p| p.split_once('=').ok_or_else(none)).collect::<Result<_, _>>()?
        }
        Given::Toml(Value::Table(t)) => {
            let pair = |(k, v)| Some((String::as_str(k), Value::as_str(v)?));
            t.iter().map(pair).collect::<Option<_>>().ok_or_else(none)?
        }
        Given::Toml(_) => return Err(none()),
    };
    let mut out: Vec<(Ipv6Prefix, Capability)> = Vec::new();
    for (text, what) in pairs {
        let prefix = prefix(text.trim(), REMEDY)?;
        let capability = match what.trim() {
            "capable" => Capability::Capable,
            "incapable" => Capability::Incapable,
            "discover" => Capability::Discover,
            other => return Err(bad(&format!("has {:?} for {prefix}", shortened(other)), REMEDY)),
        };
        if out.iter().any(|(p, _)| *p == prefix) {
            return Err(bad(&format!("has {prefix} twice"), "say one thing of each prefix"));
        }
        out.push((prefix, capability));
        if out.len() > MAX_ELEMENTS {
            return Err(too_many());
        }
    }
    Ok(out)
}

fn words(given: Given<'_>) -> Option<Vec<&str>> {
    match given {
        Given::Text(t) => Some(split(t)),
        Given::Toml(Value::Array(a)) => a.iter().map(Value::as_str).collect(),
        Given::Toml(_) => None,
    }
}

/// The parts between commas; an empty one at the end is none.
fn split(text: &str) -> Vec<&str> {
    text.split(',').map(str::trim).filter(|p| !p.is_empty()).collect()
}

fn bounded<T>(list: Vec<T>) -> Result<Vec<T>, Bad> {
    if list.len() > MAX_ELEMENTS { Err(too_many()) } else { Ok(list) }
}

fn too_many() -> Bad {
    bad("is too long", &format!("write at most {MAX_ELEMENTS} elements, or shorter prefixes"))
}

/// As much of a wrong text as a message needs.
fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}
