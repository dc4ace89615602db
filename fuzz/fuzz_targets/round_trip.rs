//! What is accepted and may be sent again says the same on the way back.

#![no_main]

use libfuzzer_sys::fuzz_target;
use shim6::wire::{self, Packet};

fuzz_target!(|data: &[u8]| {
    // The input is everything but what a right header needs: type, octet 3, and what follows the checksum.
    let [ty, specific, rest @ ..] = data else { return };
    let mut message = vec![59, 0, ty & 0x7f, specific & 0xfe, 0, 0];
    message.extend(rest);
    message.resize(message.len().next_multiple_of(8), 0);
    message.truncate(256 * 8);
    message[1] = (message.len() / 8 - 1) as u8;
    let sum = wire::checksum(&message);
    message[4..6].copy_from_slice(&sum.to_be_bytes());

    let Ok(Packet::Control(first)) = wire::parse(&message) else { return };
    let Ok(emitted) = first.emit() else { return };
    assert!(emitted.len() <= wire::MAX_MESSAGE && emitted.len() <= message.len());
    assert_eq!(wire::parse(&emitted), Ok(Packet::Control(first)));
});
