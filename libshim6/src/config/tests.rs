use super::*;
use std::path::Path;

fn set(s: &str) -> Result<Config, ConfigError> {
    Config::load_from(None, Some(s), None)
}

fn file(text: &str) -> (PathBuf, Result<Config, ConfigError>) {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let n = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("shim6-config-{}-{n}.toml", std::process::id()));
    std::fs::write(&path, text).unwrap();
    let loaded = Config::load_from(Some(&path), None, None);
    std::fs::remove_file(&path).unwrap();
    (path, loaded)
}

#[test]
fn nothing_given_is_the_defaults() {
    let c = Config::load_from(None, None, None).unwrap();
    assert_eq!(c, Config::default());
    assert!(c.warnings().is_empty());
}

// S6-14-1
#[test]
fn defaults_are_those_of_rfc_5533_section_14() {
    let s = Shim6Config::default();
    let secs = [
        (s.i1_timeout, 4),
        (s.no_r1_holddown_time, 60),
        (s.icmp_holddown_time, 600),
        (s.i2_timeout, 4),
        (s.i2bis_timeout, 4),
        (s.validator_min_lifetime, 30),
        (s.update_timeout, 4),
        (s.max_update_timeout, 120),
    ];
    for (value, expected) in secs {
        assert_eq!(value, Duration::from_secs(expected));
    }
    assert_eq!((s.i1_retries_max, s.i2_retries_max, s.i2bis_retries_max), (4, 2, 2));
}

// S6-2-5
#[test]
fn every_key_can_be_set_both_ways() {
    for key in KEYS {
        let (text, toml) = match *key {
            "reap.jitter" | "prefer_identity_source" | "enabled" => ("false", "false"),
            "shim6.strict_payload_locators"
            | "shim6.deliver_all_icmp"
            | "shim6.debug_errors"
            | "shim6.suppress_header"
            | "reap.hot_standby" => ("true", "true"),
            "identities" => ("/a:/b", "[\"/a\", \"/b\"]"),
            "shim6.exclude" => ("2001:db8:9::/48, 2001:db8::7", "[\"2001:db8:9::/48\", \"2001:db8::7/128\"]"),
            "shim6.groups" => ("eth1,eth2:tun0", "[[\"eth1\", \"eth2\"], [\"tun0\"]]"),
            "shim6.peers" => (
                "2001:db8::/32=capable, ::/0=incapable",
                "{ \"2001:db8::/32\" = \"capable\", \"::/0\" = \"incapable\" }",
            ),
            "log_file" => ("/tmp/x", "\"/tmp/x\""),
            "log_filter" => ("shim6=debug,warn", "\"shim6=debug,warn\""),
            k if k.contains("retries")
                || k.contains("probes")
                || k.contains("rate")
                || k.contains("contexts")
                || k.contains("memory") =>
            {
                ("7", "7")
            }
            "trigger.bytes" | "trigger.packets" | "reap.resend" => ("123", "123"),
            "reap.resend_age" => ("300ms", "\"300ms\""),
            "shim6.idle_timeout" => ("7m", "\"7m\""),
            "shim6.update_timeout" | "reap.initial_probe_timeout" => ("1s 500ms", "\"1s 500ms\""),
            _ => ("77s", "\"77s\""),
        };
        let by_set = set(&format!("{key}={text}")).unwrap_or_else(|e| panic!("{e}"));
        let (_, by_file) = file(&format!("{key} = {toml}\n"));
        assert_ne!(by_set, Config::default(), "{key} changed nothing");
        assert_eq!(by_set, by_file.unwrap(), "{key}");
    }
}

#[test]
fn every_setting_has_its_key() {
    let shown = format!("{:#?}", Config::default());
    let settings = shown.lines().filter(|l| l.contains(": ") && !l.ends_with('{')).count();
    assert_eq!(settings, KEYS.len(), "a field without a key in KEYS, or the reverse: {shown}");
}

#[test]
fn every_key_is_documented() {
    let text = include_str!("../../../docs/configuration.md");
    for key in KEYS {
        assert!(text.contains(&format!("`{key}`")), "{key} is missing in docs/configuration.md");
    }
}

#[test]
fn a_file_with_tables_then_set_then_log() {
    let path = std::env::temp_dir().join(format!("shim6-config-order-{}.toml", std::process::id()));
    std::fs::write(
        &path,
        "identities = [\"/etc/a\"]\nlog_filter = \"info\"\n[reap]\nsend_timeout = \"20s\"\ninitial_probes = 6\n\
         [trigger]\nbytes = \"never\"\nage = \"off\"\n",
    )
    .unwrap();
    let c =
        Config::load_from(Some(&path), Some(" reap.send_timeout = 1s ;; trigger.packets=50;"), Some("debug"))
            .unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(c.reap.send_timeout, Duration::from_secs(1));
    assert_eq!(c.reap.initial_probes, 6);
    assert_eq!(c.trigger, TriggerConfig { bytes: None, age: None, packets: Some(50) });
    assert_eq!(c.identities, [PathBuf::from("/etc/a")]);
    assert_eq!(c.log_filter.as_deref(), Some("debug"));
}

#[test]
fn zero_and_never() {
    let c = set("trigger.bytes=0;trigger.age=0").unwrap();
    assert_eq!((c.trigger.bytes, c.trigger.age), (Some(0), Some(Duration::ZERO)));
    let c = set("trigger.bytes=never;trigger.age=never;trigger.packets=off").unwrap();
    assert_eq!(c.trigger, TriggerConfig { bytes: None, age: None, packets: None });
}

// LS-H-16
#[test]
fn bounds_are_kept() {
    for (good, bad) in [
        ("shim6.idle_timeout=5m", "shim6.idle_timeout=299s"),
        ("reap.send_timeout=10ms", "reap.send_timeout=9ms"),
        ("reap.send_timeout=65535s", "reap.send_timeout=65536s"),
        ("reap.initial_probe_timeout=10ms", "reap.initial_probe_timeout=9ms"),
        ("reap.initial_probe_timeout=60s", "reap.initial_probe_timeout=61s"),
        ("shim6.update_timeout=120s", "shim6.update_timeout=121s"),
        ("shim6.max_contexts=1", "shim6.max_contexts=0"),
        ("reap.initial_probes=1", "reap.initial_probes=0"),
        ("shim6.reply_rate_total=1", "shim6.reply_rate_total=0"),
    ] {
        set(good).unwrap_or_else(|e| panic!("{good}: {e}"));
        let e = set(bad).unwrap_err();
        let (key, value) = bad.split_once('=').unwrap();
        assert_eq!((e.origin.as_str(), e.key.as_str()), (ENV_SET, key));
        assert!(e.value.contains(value), "{e}");
    }
}

#[test]
fn an_error_names_place_key_value_and_remedy() {
    let (path, e) = file("[reap]\nsend_timeout = \"1ms\"\n");
    let shown = e.unwrap_err().to_string();
    assert_eq!(
        shown,
        format!(
            "{}: reap.send_timeout = \"1ms\": is out of range; write a time with its unit, like \"15s\" or \"100ms\", \
             from 10ms to 18h 12m 15s",
            path.display()
        )
    );
    let shown = set("reap.sendtimeout=1s").unwrap_err().to_string();
    assert_eq!(shown, "SHIM6_SET: reap.sendtimeout = \"1s\": unknown key; did you mean reap.send_timeout?");
    let shown = set("colour=blue").unwrap_err().to_string();
    assert!(shown.contains("the keys are shim6.i1_retries_max, "), "{shown}");
}

#[test]
fn bad_values() {
    for bad in [
        "reap.send_timeout=15",
        "reap.send_timeout=never",
        "reap.send_timeout=",
        "reap.initial_probes=-1",
        "trigger.bytes=2k",
        "enabled=yes",
        "log_file=",
        "log_filter=shim6=loud",
        "reap.send_timeout",
        "=1",
        "reap=1",
    ] {
        assert!(set(bad).is_err(), "{bad} was taken");
    }
    for bad in [
        "reap = 1",
        "trigger.bytes = -1",
        "trigger.bytes = 1.5",
        "reap.send_timeout = 15",
        "enabled = \"true\"",
        "identities = [1]",
        "identities = \"\"",
        "log_file = 3",
        "log_filter = []",
        "[enabled]\nx = 1",
        "[[reap]]\nsend_timeout = \"20s\"",
        "a b",
    ] {
        assert!(file(bad).1.is_err(), "{bad} was taken");
    }
    let e = file("x = 1\ny = \n").1.unwrap_err();
    assert!(e.problem.starts_with("is not TOML in line 2"), "{e}");
    let e = Config::load_from(None, None, Some("shim6=loud")).unwrap_err();
    assert_eq!((e.origin.as_str(), e.key.as_str()), (ENV_LOG, "log_filter"));
}

#[test]
fn a_named_file_must_exist_and_be_small() {
    let e = Config::load_from(Some(Path::new("/nonexistent/shim6.toml")), None, None).unwrap_err();
    assert!(e.to_string().starts_with("/nonexistent/shim6.toml: cannot be read: "), "{e}");
    assert!(e.remedy.contains(ENV_CONFIG));
    assert!(Config::load_from(Some(Path::new("/dev/zero")), None, None).is_err());
    assert!(Config::load_from(Some(Path::new("/")), None, None).is_err());
}

#[test]
fn rules_over_two_keys_name_the_given_one() {
    let e = set("reap.max_probe_timeout=100ms").unwrap_err();
    assert_eq!(
        (e.origin.as_str(), e.key.as_str(), e.value.as_str()),
        (ENV_SET, "reap.max_probe_timeout", "\"100ms\"")
    );
    set("reap.max_probe_timeout=100ms;reap.initial_probe_timeout=50ms").unwrap();
}

// RE-C-07, RE-C-08
#[test]
fn unusual_send_timeouts_are_accepted_with_a_warning() {
    for (value, warned) in [("9999ms", true), ("10s", false), ("100s", false), ("100001ms", true)] {
        let c = set(&format!("reap.send_timeout={value}")).unwrap();
        assert_eq!(c.warnings().len(), usize::from(warned), "{value}");
        assert!(c.warnings().iter().all(|w| w.contains("reap.send_timeout")), "{value}");
    }
}

// LS-G-13, LS-G-14, LS-D-05
#[test]
fn lists_are_looked_up() {
    let c = set("shim6.exclude=2001:db8:9::/48,2001:db8::7;shim6.groups=eth1,eth2:tun0").unwrap().shim6;
    let a = |s: &str| s.parse::<Ipv6Addr>().unwrap();
    for (addr, excluded) in
        [("2001:db8:9:1::5", true), ("2001:db8:a::5", false), ("2001:db8::7", true), ("2001:db8::8", false)]
    {
        assert_eq!(c.excludes(&a(addr)), excluded, "{addr}");
    }
    let groups = ["eth1", "eth2", "tun0", "eth0"].map(|name| c.group_of(name));
    assert_eq!(groups, [1, 1, 2, 0]);
    let c = set("shim6.peers=::/0=incapable,2001:db8::/32=capable,2001:db8:5::/48=discover").unwrap().shim6;
    for (addr, is) in [
        ("2001:db9::1", Capability::Incapable),
        ("2001:db8:1::1", Capability::Capable),
        ("2001:db8:5::1", Capability::Discover),
    ] {
        assert_eq!(c.capability(&a(addr)), is, "{addr}");
    }
    let (_, table) = file("[shim6]\nexclude = []\n[shim6.peers]\n\"fd00::/8\" = \"capable\"\n");
    assert_eq!(table.unwrap().shim6.capability(&a("fd00::1")), Capability::Capable);
}

#[test]
fn wrong_elements_of_lists_are_named() {
    for (bad, says) in [
        ("shim6.exclude=2001:db8::1/64", "has bits behind the prefix 2001:db8::1/64"),
        ("shim6.exclude=2001:db8::/129", "\"2001:db8::/129\", which is no IPv6 prefix"),
        ("shim6.exclude=eth0", "\"eth0\", which is no IPv6 prefix"),
        ("shim6.exclude=2001:db8::/+4", "\"2001:db8::/+4\", which is no IPv6 prefix"),
        ("shim6.groups=eth0,eth1:eth0", "has eth0 twice"),
        ("shim6.groups=an-interface-name", "which is no name of an interface"),
        ("shim6.peers=2001:db8::/32", "does not tell prefixes"),
        ("shim6.peers=2001:db8::/32=maybe", "has \"maybe\" for 2001:db8::/32; write {"),
        ("shim6.peers=::/0=capable,::/0=incapable", "has ::/0 twice"),
    ] {
        let e = set(bad).unwrap_err().to_string();
        assert!(e.contains(says), "{bad}: {e}");
    }
    for bad in [
        "shim6.exclude = \"2001:db8::/32\"",
        "shim6.exclude = [1]",
        "shim6.groups = [\"eth0\"]",
        "shim6.groups = \"eth0\"",
        "shim6.peers = [\"::/0\"]",
        "shim6.peers = { \"::/0\" = 1 }",
        "[shim6.exclude]\nx = 1",
    ] {
        assert!(file(bad).1.is_err(), "{bad} was taken");
    }
    let many: Vec<String> = (0..1025).map(|n| format!("2001:db8::{n:x}")).collect();
    let e = set(&format!("shim6.exclude={}", many.join(","))).unwrap_err().to_string();
    assert!(e.contains("is too long; write at most 1024"), "{e}");
}

proptest::proptest! {
    // Whatever stands in the variables, loading ends with a value or an error.
    #[test]
    fn no_input_panics(set in ".{0,80}", log in ".{0,40}", key in 0..KEYS.len(), value in ".{0,20}") {
        let _ = Config::load_from(None, Some(&set), Some(&log));
        let _ = Config::load_from(None, Some(&format!("{}={value}", KEYS[key])), None);
    }
}
