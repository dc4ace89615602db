//! Probe (RFC 5534 section 5.2): its part behind the Receiver Context Tag.
//!
//! ```text
//!     12      13..15                  16
//!    +-------+-----------------------+----------------+--------------------+---------+
//!    |Prc|Psn| Sta | Reserved2       | Psn blocks of  | Prc blocks of      | options |
//!    | 4   4 |  2          22        | 40: sent       | 40: received       |         |
//!    +-------+-----------------------+----------------+--------------------+---------+
//! ```

use super::bytes::{address, be32};
use super::{DropReason, EmitError, MAX_MESSAGE, Options};
use crate::addr::ContextTag;
use serde::{Deserialize, Serialize};
use std::net::Ipv6Addr;

/// Most blocks that each 4-bit counter can tell.
pub const MAX_PROBE_BLOCKS: usize = 15;
/// Octets of one block.
pub const PROBE_BLOCK_LEN: usize = 40;

/// Probe (RFC 5534 section 5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// CT(peer) of the sender.
    pub receiver_tag: ContextTag,
    /// Sta: the sender's REAP state after sending.
    pub state: ReapState,
    /// 1 to 15 blocks, the first describes this Probe.
    pub sent: Vec<ProbeBlock>,
    /// 0 to 15 blocks, copies of the first block of Probes received.
    pub received: Vec<ProbeBlock>,
    /// None defined.
    pub options: Options,
}

/// The states of REAP, as in the Sta field (RFC 5534 section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ReapState {
    /// 0
    Operational,
    /// 1
    Exploring,
    /// 2
    InboundOk,
}

impl ReapState {
    /// The value of the Sta field.
    pub fn value(self) -> u8 {
        match self {
            ReapState::Operational => 0,
            ReapState::Exploring => 1,
            ReapState::InboundOk => 2,
        }
    }

    /// From the Sta field; 3 is no state (RE-PR-08).
    pub fn from_value(value: u8) -> Option<ReapState> {
        Some(match value {
            0 => ReapState::Operational,
            1 => ReapState::Exploring,
            2 => ReapState::InboundOk,
            _ => return None,
        })
    }
}

/// One sent or received probe in a [`Probe`]: 40 octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProbeBlock {
    /// IPv6 source.
    pub source: Ipv6Addr,
    /// IPv6 destination.
    pub destination: Ipv6Addr,
    /// Nonce.
    pub nonce: u32,
    /// Data; this engine sends 0.
    pub data: u32,
}

impl Probe {
    /// How many blocks (sent and received together, each kind at most [`MAX_PROBE_BLOCKS`]) fit into a packet of 1280
    /// octets when `before` octets of other headers stand between IPv6 header and shim header (RE-PR-20).
    pub fn max_blocks(before: usize) -> usize {
        (MAX_MESSAGE.saturating_sub(before + 16) / PROBE_BLOCK_LEN).min(2 * MAX_PROBE_BLOCKS)
    }

    /// From a whole message of at least 16 octets. Also gives the offset of the options. RE-PR-08 to RE-PR-10.
    pub(super) fn parse(message: &[u8], receiver_tag: ContextTag) -> Result<(Probe, usize), DropReason> {
        let received = usize::from(message[12] >> 4);
        let sent = usize::from(message[12] & 0x0f);
        let state = ReapState::from_value(message[13] >> 6).ok_or(DropReason::BadProbe)?;
        let end = 16 + PROBE_BLOCK_LEN * (sent + received);
        if sent == 0 || end > message.len() {
            return Err(DropReason::BadProbe);
        }
        let block = |index: usize| ProbeBlock::parse(&message[16 + PROBE_BLOCK_LEN * index..]);
        let probe = Probe {
            receiver_tag,
            state,
            sent: (0..sent).map(block).collect(),
            received: (sent..sent + received).map(block).collect(),
            options: Options::default(),
        };
        Ok((probe, end))
    }

    pub(super) fn check(&self) -> Result<(), EmitError> {
        if self.sent.is_empty()
            || self.sent.len() > MAX_PROBE_BLOCKS
            || self.received.len() > MAX_PROBE_BLOCKS
        {
            return Err(EmitError::ProbeBlocks { sent: self.sent.len(), received: self.received.len() });
        }
        Ok(())
    }

    /// Octets 12 and up without options.
    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        let sent = &self.sent[..self.sent.len().min(MAX_PROBE_BLOCKS)];
        let received = &self.received[..self.received.len().min(MAX_PROBE_BLOCKS)];
        out.extend([(received.len() as u8) << 4 | sent.len() as u8, self.state.value() << 6, 0, 0]);
        for block in sent.iter().chain(received) {
            block.emit(out);
        }
    }
}

impl ProbeBlock {
    /// From at least [`PROBE_BLOCK_LEN`] octets.
    fn parse(block: &[u8]) -> ProbeBlock {
        ProbeBlock {
            source: address(block, 0),
            destination: address(block, 16),
            nonce: be32(block, 32),
            data: be32(block, 36),
        }
    }

    fn emit(&self, out: &mut Vec<u8>) {
        out.extend(self.source.octets());
        out.extend(self.destination.octets());
        out.extend(self.nonce.to_be_bytes());
        out.extend(self.data.to_be_bytes());
    }
}
