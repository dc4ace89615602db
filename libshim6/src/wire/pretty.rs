//! Messages in one line, for the log.

use super::*;
use std::fmt;

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Message::I1(m) => write!(f, " tag={} nonce={:08x}", m.initiator_tag, m.initiator_nonce)?,
            Message::R1(m) => write!(f, " nonce={:08x} rnonce={:08x}", m.initiator_nonce, m.responder_nonce)?,
            Message::I2(m) => {
                write!(
                    f,
                    " tag={} nonce={:08x} rnonce={:08x}",
                    m.initiator_tag, m.initiator_nonce, m.responder_nonce
                )?;
            }
            Message::R2(m) => write!(f, " tag={} nonce={:08x}", m.responder_tag, m.initiator_nonce)?,
            Message::R1bis(m) => write!(f, " packet-tag={} rnonce={:08x}", m.packet_tag, m.responder_nonce)?,
            Message::I2bis(m) => write!(
                f,
                " tag={} nonce={:08x} rnonce={:08x} packet-tag={}",
                m.initiator_tag, m.initiator_nonce, m.responder_nonce, m.packet_tag
            )?,
            Message::UpdateRequest(m) => write!(f, " tag={} nonce={:08x}", m.receiver_tag, m.request_nonce)?,
            Message::UpdateAck(m) => write!(f, " tag={} nonce={:08x}", m.receiver_tag, m.request_nonce)?,
            Message::Keepalive(m) => write!(f, " tag={}", m.receiver_tag)?,
            Message::Probe(m) => {
                write!(f, " tag={} {:?} sent=[", m.receiver_tag, m.state)?;
                blocks(f, &m.sent)?;
                f.write_str("] received=[")?;
                blocks(f, &m.received)?;
                f.write_str("]")?;
            }
            Message::Error(m) => error(f, m)?,
        }
        self.options().map_or(Ok(()), |options| fmt::Display::fmt(options, f))
    }
}

/// Each option with a space before it; nothing if there is none.
impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(validator) = &self.validator {
            write!(f, " validator={}B", validator.len())?;
        }
        if let Some(list) = &self.locators {
            write!(f, " locators={:08x}[", list.generation)?;
            for (i, (method, locator)) in list.locators.iter().enumerate() {
                let space = if i == 0 { "" } else { " " };
                match *method {
                    method::HBA => write!(f, "{space}{locator}/HBA")?,
                    method::CGA => write!(f, "{space}{locator}/CGA")?,
                    other => write!(f, "{space}{locator}/{other}")?,
                }
            }
            f.write_str("]")?;
        }
        if let Some(preferences) = &self.preferences {
            write!(f, " preferences={:08x}[", preferences.generation)?;
            match &preferences.elements {
                None => f.write_str("malformed")?,
                Some(elements) => {
                    for (i, element) in elements.iter().enumerate() {
                        write!(f, "{}{element}", if i == 0 { "" } else { " " })?;
                    }
                }
            }
            f.write_str("]")?;
        }
        if let Some(pds) = &self.pds {
            write!(f, " pds={}B", pds.len())?;
        }
        if let Some(signature) = &self.signature {
            write!(f, " signature={}B", signature.len())?;
        }
        if let Some(pair) = &self.ulid_pair {
            write!(f, " ulids=<{}, {}>", pair.sender, pair.receiver)?;
        }
        if let Some(fii) = self.fii {
            write!(f, " fii={fii}")?;
        }
        if let Some(seconds) = self.keepalive_timeout {
            write!(f, " keepalive-timeout={seconds}s")?;
        }
        if let Some(flags) = self.capabilities {
            write!(f, " capabilities={flags:#04x}")?;
        }
        if let Some(milliseconds) = self.precise_timeout {
            write!(f, " precise-timeout={milliseconds}ms")?;
        }
        if let Some(flow) = &self.flow {
            write!(f, " flow={}:{}->{}", flow.protocol, flow.local_port, flow.peer_port)?;
        }
        Ok(())
    }
}

impl fmt::Display for Preference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let broken = self.flags & preference_flag::BROKEN != 0;
        let transient = self.flags & preference_flag::TRANSIENT != 0;
        f.write_str(match (broken, transient) {
            (false, false) => "ok",
            (true, false) => "broken",
            (false, true) => "transient",
            (true, true) => "broken+transient",
        })?;
        if let Some(priority) = self.priority {
            write!(f, ":{priority}")?;
        }
        if let Some(weight) = self.weight {
            write!(f, ":{weight}")?;
        }
        Ok(())
    }
}

fn blocks(f: &mut fmt::Formatter<'_>, blocks: &[ProbeBlock]) -> fmt::Result {
    for (i, block) in blocks.iter().enumerate() {
        let space = if i == 0 { "" } else { ", " };
        write!(f, "{space}{}->{} {:08x}", block.source, block.destination, block.nonce)?;
        if block.data != 0 {
            write!(f, "/{:08x}", block.data)?;
        }
    }
    Ok(())
}

fn error(f: &mut fmt::Formatter<'_>, m: &ErrorMessage) -> fmt::Result {
    write!(f, " code={} pointer={}", m.code, m.pointer)?;
    let Some(quoted) = m.quoted() else {
        return write!(f, " about {} octets", m.packet.len());
    };
    write!(f, " about {}->{}", quoted.source, quoted.destination)?;
    match peek_quoted(quoted.message) {
        None => f.write_str(" ?"),
        Some(QuotedKind::Initiator { ty, tag, .. } | QuotedKind::Tagged { ty, tag, .. }) => {
            write!(f, " {} tag={tag}", type_name(ty).unwrap_or("?"))
        }
        Some(QuotedKind::Reply { ty }) => write!(f, " {}", type_name(ty).unwrap_or("?")),
        Some(QuotedKind::Payload { tag, next_header }) => {
            write!(f, " payload tag={tag} next-header={next_header}")
        }
        Some(QuotedKind::Error) => f.write_str(" Error"),
    }
}

/// Describe a packet of protocol 140 from its shim header on, whatever it holds.
pub fn describe(data: &[u8]) -> String {
    match parse(data) {
        Ok(Packet::Control(message)) => message.to_string(),
        Ok(Packet::Payload { tag, next_header, data }) => {
            format!("payload tag={tag} next-header={next_header} {}B", data.len())
        }
        Err(error) => format!("{error} ({} octets)", data.len()),
    }
}
