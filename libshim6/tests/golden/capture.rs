//! The hand-laid packets as captures, and what tshark makes of them with `contrib/wireshark/shim6.lua`.

use super::codec::expected;
use super::fields::of_message;
use super::vectors::{Vector, damaged, messages};
use serde_json::Value;
use shim6::wire::{ErrorMessage, Message, Packet, parse};
use std::path::{Path, PathBuf};
use std::process::Command;

const LINKTYPE_IPV6: u32 = 229;
/// Severities of Wireshark's expert information.
const WARNING: u64 = 0x60_0000;

/// A pcap file, one packet a second, with nothing but the hand-laid octets behind hand-made IPv6 headers.
fn pcap(vectors: &[Vector]) -> Vec<u8> {
    let mut file = Vec::new();
    // Magic, version 2.4, time zone, accuracy, snapshot length, link type.
    for word in [0xa1b2_c3d4, 0x0002_0004, 0, 0, 65535, LINKTYPE_IPV6] {
        file.extend(u32::to_be_bytes(word));
    }
    for (second, vector) in (0..).zip(vectors) {
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend((vector.data.len() as u16).to_be_bytes());
        packet.extend([140, 64]);
        packet.extend(vector.source.octets());
        packet.extend(vector.destination.octets());
        packet.extend(&vector.data);
        for word in [1_000_000_000 + second, 0, packet.len() as u32, packet.len() as u32] {
            file.extend(word.to_be_bytes());
        }
        file.extend(packet);
    }
    file
}

/// The committed capture, which has to be made of the vectors. `SHIM6_WRITE_GOLDEN=1` writes it anew.
fn committed(name: &str, vectors: &[Vector]) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let made = pcap(vectors);
    if std::env::var_os("SHIM6_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let read = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert!(
        read == made,
        "{} is not made of the vectors: SHIM6_WRITE_GOLDEN=1 writes it anew",
        path.display()
    );
    path
}

/// What tshark with our dissector makes of each packet: its layers.
fn dissect(capture: &Path) -> Vec<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../contrib/wireshark/shim6.lua");
    let output = Command::new("tshark")
        // Not the plugins and preferences of who runs the test.
        .env("HOME", env!("CARGO_TARGET_TMPDIR"))
        .env("XDG_CONFIG_HOME", env!("CARGO_TARGET_TMPDIR"))
        .env_remove("WIRESHARK_CONFIG_DIR")
        .arg("-X")
        .arg(format!("lua_script:{}", script.display()))
        .args(["-n", "-T", "json", "--no-duplicate-keys", "-r"])
        .arg(capture)
        .output()
        .unwrap_or_else(|e| panic!("cannot run tshark ({e}): `make setup` installs what the tests need"));
    // On stderr root is told that it is dangerous, nothing more.
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "tshark: {stderr}");
    let packets: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON from tshark");
    let layers: Vec<Value> = packets.into_iter().map(|packet| packet["_source"]["layers"].clone()).collect();
    for layers in &layers {
        assert!(
            layers["shim6x"].is_object(),
            "tshark did not use our dissector; is Lua off? {stderr}{layers:#}"
        );
    }
    layers
}

/// Every value of `key` at any depth, not looking into what an Error message quotes.
pub fn values(tree: &Value, key: &str) -> Vec<String> {
    let mut found = Vec::new();
    walk(tree, &mut |k, value| {
        if k == key {
            found.extend(value.as_str().map(String::from));
        }
        k != "shim6x.error.packet_tree"
    });
    found
}

/// Every subtree of `key` at any depth.
fn subtrees<'a>(tree: &'a Value, key: &str) -> Vec<&'a Value> {
    let mut found = Vec::new();
    walk(tree, &mut |k, value| {
        if k == key {
            found.push(value);
        }
        true
    });
    found
}

/// Call `visit` for each value of each key, arrays taken apart; go on below it if it says so.
fn walk<'a>(tree: &'a Value, visit: &mut impl FnMut(&str, &'a Value) -> bool) {
    for (key, value) in tree.as_object().into_iter().flatten() {
        let one = std::slice::from_ref(value);
        for value in value.as_array().map_or(one, Vec::as_slice) {
            if visit(key, value) {
                walk(value, visit);
            }
        }
    }
}

/// Names of expert findings of at least severity `least`; an exception in a dissector is one, too.
fn findings(layers: &Value, least: u64) -> Vec<String> {
    let mut names = Vec::new();
    walk(layers, &mut |key, value| {
        if key == "_ws.expert" {
            let severity = value["_ws.expert.severity"].as_str().and_then(|s| s.parse::<u64>().ok());
            if severity.expect("expert severity") >= least {
                let finding = value.as_object().unwrap();
                names.extend(finding.keys().filter(|k| !k.starts_with("_ws.expert.")).cloned());
            }
        }
        true
    });
    names
}

/// `layers` shows each field of `message` and no other option.
fn assert_dissected(layers: &Value, message: &Message, name: &str) {
    for (key, wanted) in of_message(message) {
        assert_eq!(values(layers, key), wanted, "{name}: {key}");
    }
    let blocks = |kind: &str| {
        let trees = subtrees(layers, kind);
        trees.iter().map(|t| super::fields::BLOCK.map(|k| values(t, k).concat())).collect::<Vec<_>>()
    };
    if let Message::Probe(probe) = message {
        assert_eq!(blocks("shim6x.probe.sent"), super::fields::of_blocks(&probe.sent), "{name}");
        assert_eq!(blocks("shim6x.probe.received"), super::fields::of_blocks(&probe.received), "{name}");
    }
}

#[test]
fn tshark_dissects_every_message() {
    // RE-CX-10: under the name Precvd
    let vectors = messages();
    let packets = dissect(&committed("messages.pcap", &vectors));
    assert_eq!(packets.len(), vectors.len());
    for (layers, vector) in packets.iter().zip(&vectors) {
        let name = vector.name.as_str();
        assert_eq!(findings(layers, WARNING), [""; 0], "{name}: {layers:#}");
        let shim = &layers["shim6x"];
        match parse(&vector.data).unwrap() {
            Packet::Payload { tag, next_header, .. } => {
                assert_eq!(values(shim, "shim6x.p"), ["1"], "{name}");
                assert_eq!(values(shim, "shim6x.nxt"), [next_header.to_string()], "{name}");
                assert_eq!(values(shim, "shim6x.receiver_tag"), [super::fields::tag(tag)], "{name}");
            }
            Packet::Control(_) => {
                let message = expected(vector);
                assert_dissected(shim, &message, name);
                assert_eq!(values(shim, "shim6x.len"), [vector.data[1].to_string()], "{name}");
                assert_eq!(values(shim, "shim6x.checksum.status"), ["1"], "{name}");
                if let Message::Error(error) = &message {
                    assert_quote_dissected(shim, error, name);
                }
            }
        }
        // Findings of less weight only where there is something to find.
        assert_eq!(findings(layers, 0).is_empty(), !name.starts_with("receive"), "{name}");
    }

    // The payload goes on to UDP, also when it comes in fragments behind the payload extension header.
    let find = |name: &str| &packets[vectors.iter().position(|v| v.name == name).unwrap()];
    assert_eq!(values(find("payload-udp"), "udp.dstport"), ["40000"]);
    assert_eq!(values(find("payload-udp"), "data.data"), ["68:65:6c:6c:6f"]);
    assert_eq!(values(find("payload-fragment-2"), "udp.dstport"), ["49152"]);
    assert_eq!(values(find("payload-fragment-2"), "data.data"), ["61:62:63:64:65:66:67:68:69:6a:6b:6c:6d"]);
}

/// The quoted message is shown as one; the one of unknown type by its type.
fn assert_quote_dissected(shim: &Value, error: &ErrorMessage, name: &str) {
    let quotes = subtrees(shim, "shim6x.error.packet_tree");
    let [quote] = quotes[..] else { panic!("{name}: {} quotes", quotes.len()) };
    let quoted = error.quoted().unwrap();
    assert_eq!(values(quote, "shim6x.error.source"), [quoted.source.to_string()], "{name}");
    assert_eq!(values(quote, "shim6x.error.destination"), [quoted.destination.to_string()], "{name}");
    assert_eq!(values(quote, "shim6x.type"), [(quoted.message[2] & 0x7f).to_string()], "{name}");
    if let Ok(Packet::Control(message)) = parse(quoted.message) {
        assert_dissected(quote, &message, name);
    }
}

#[test]
fn tshark_finds_every_damage() {
    let vectors = damaged();
    let packets = dissect(&committed("damaged.pcap", &vectors));
    assert_eq!(packets.len(), vectors.len());
    for (layers, vector) in packets.iter().zip(&vectors) {
        let finding = match vector.name.as_str() {
            "checksum" => "shim6x.checksum.bad",
            "truncated" | "seven-octets" => "shim6x.truncated",
            "too-short" => "shim6x.too_short",
            "hip" => "shim6x.not_shim6",
            "unknown-type" => "shim6x.type.unknown",
            "option-overrun" => "shim6x.option.overrun",
            "locator-list-length"
            | "locator-list-empty"
            | "fii-length"
            | "ulid-pair-length"
            | "preferences-length" => "shim6x.option.bad_length",
            "duplicate" => "shim6x.option.duplicate",
            "missing-validator" => "shim6x.validator.missing",
            "critical-unknown" | "critical-not-listed" => "shim6x.option.critical_refused",
            "probe-state" => "shim6x.probe.bad_state",
            "probe-no-sent" => "shim6x.probe.no_sent",
            "probe-count" => "shim6x.probe.bad_count",
            "payload-header-length" => "shim6x.payload_header.length",
            other => panic!("nothing expected of {other}"),
        };
        assert_eq!(findings(layers, WARNING), [finding], "{}", vector.name);
    }
}
