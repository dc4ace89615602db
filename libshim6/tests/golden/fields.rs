//! What our Wireshark dissector has to show for a message: field names and values as tshark prints them.

use shim6::addr::ContextTag;
use shim6::wire::*;

type Fields = Vec<(&'static str, Vec<String>)>;

/// The fields of a block of a Probe.
pub const BLOCK: [&str; 4] =
    ["shim6x.probe.source", "shim6x.probe.destination", "shim6x.probe.nonce", "shim6x.probe.data"];

pub fn of_blocks(blocks: &[ProbeBlock]) -> Vec<[String; 4]> {
    let of = |b: &ProbeBlock| [b.source.to_string(), b.destination.to_string(), word(b.nonce), word(b.data)];
    blocks.iter().map(of).collect()
}

pub fn tag(tag: ContextTag) -> String {
    format!("{:#018x}", tag.value())
}

fn word(value: u32) -> String {
    format!("{value:#010x}")
}

fn octets(value: &[u8]) -> String {
    value.iter().map(|o| format!("{o:02x}")).collect::<Vec<_>>().join(":")
}

pub fn of_message(message: &Message) -> Fields {
    let mut fields: Fields = vec![("shim6x.type", vec![message.type_number().to_string()])];
    let mut add = |key, value: String| fields.push((key, vec![value]));
    match message {
        Message::I1(m) => {
            add("shim6x.initiator_tag", tag(m.initiator_tag));
            add("shim6x.initiator_nonce", word(m.initiator_nonce));
        }
        Message::R1(m) => {
            add("shim6x.initiator_nonce", word(m.initiator_nonce));
            add("shim6x.responder_nonce", word(m.responder_nonce));
        }
        Message::I2(m) => {
            add("shim6x.initiator_tag", tag(m.initiator_tag));
            add("shim6x.initiator_nonce", word(m.initiator_nonce));
            add("shim6x.responder_nonce", word(m.responder_nonce));
        }
        Message::R2(m) => {
            add("shim6x.responder_tag", tag(m.responder_tag));
            add("shim6x.initiator_nonce", word(m.initiator_nonce));
        }
        Message::R1bis(m) => {
            add("shim6x.packet_tag", tag(m.packet_tag));
            add("shim6x.responder_nonce", word(m.responder_nonce));
        }
        Message::I2bis(m) => {
            add("shim6x.initiator_tag", tag(m.initiator_tag));
            add("shim6x.initiator_nonce", word(m.initiator_nonce));
            add("shim6x.responder_nonce", word(m.responder_nonce));
            add("shim6x.packet_tag", tag(m.packet_tag));
        }
        Message::UpdateRequest(m) => {
            add("shim6x.receiver_tag", tag(m.receiver_tag));
            add("shim6x.request_nonce", word(m.request_nonce));
        }
        Message::UpdateAck(m) => {
            add("shim6x.receiver_tag", tag(m.receiver_tag));
            add("shim6x.request_nonce", word(m.request_nonce));
        }
        Message::Keepalive(m) => add("shim6x.receiver_tag", tag(m.receiver_tag)),
        Message::Probe(m) => {
            add("shim6x.receiver_tag", tag(m.receiver_tag));
            add("shim6x.probe.sta", m.state.value().to_string());
            add("shim6x.probe.psent", m.sent.len().to_string());
            add("shim6x.probe.precvd", m.received.len().to_string());
        }
        Message::Error(m) => {
            add("shim6x.error.code", m.code.to_string());
            add("shim6x.error.pointer", m.pointer.to_string());
            add("shim6x.error.packet", octets(&m.packet));
        }
    }
    if let Some(options) = message.options() {
        of_options(options, &mut fields);
    }
    fields
}

/// Also for absent options: their fields must not be there.
fn of_options(options: &Options, fields: &mut Fields) {
    fn each<T>(of: impl IntoIterator<Item = T>, show: impl Fn(T) -> String) -> Vec<String> {
        of.into_iter().map(show).collect()
    }
    let list = options.locators.as_ref();
    let preferences = options.preferences.as_ref();
    let generations = list.map(|l| l.generation).into_iter().chain(preferences.map(|p| p.generation));
    let locators = || list.iter().flat_map(|l| &l.locators);
    let elements = || preferences.iter().flat_map(|p| p.elements.iter().flatten());
    let flag = |flag: u8| move |e: &Preference| u8::from(e.flags & flag != 0).to_string();
    fields.extend([
        ("shim6x.validator", each(&options.validator, |v| octets(v))),
        ("shim6x.generation", each(generations, word)),
        ("shim6x.locator_count", each(list, |l| l.locators.len().to_string())),
        ("shim6x.method", each(locators(), |(method, _)| method.to_string())),
        ("shim6x.locator", each(locators(), |(_, locator)| locator.to_string())),
        ("shim6x.preferences.broken", each(elements(), flag(preference_flag::BROKEN))),
        ("shim6x.preferences.transient", each(elements(), flag(preference_flag::TRANSIENT))),
        ("shim6x.preferences.priority", each(elements().filter_map(|e| e.priority), |p| p.to_string())),
        ("shim6x.preferences.weight", each(elements().filter_map(|e| e.weight), |w| w.to_string())),
        ("shim6x.pds", each(&options.pds, |pds| octets(pds))),
        ("shim6x.pds.modifier", each(&options.pds, |pds| octets(&pds[..16]))),
        ("shim6x.pds.collision_count", each(&options.pds, |pds| pds[24].to_string())),
        ("shim6x.signature", each(&options.signature, |s| octets(s))),
        ("shim6x.ulid.sender", each(options.ulid_pair, |p| p.sender.to_string())),
        ("shim6x.ulid.receiver", each(options.ulid_pair, |p| p.receiver.to_string())),
        ("shim6x.fii", each(options.fii, |fii| fii.to_string())),
        ("shim6x.keepalive_timeout", each(options.keepalive_timeout, |s| s.to_string())),
        ("shim6x.precise_timeout", each(options.precise_timeout, |ms| ms.to_string())),
        ("shim6x.flow.protocol", each(options.flow, |f| f.protocol.to_string())),
        ("shim6x.flow.sender_port", each(options.flow, |f| f.local_port.to_string())),
        ("shim6x.flow.receiver_port", each(options.flow, |f| f.peer_port.to_string())),
    ]);
}
