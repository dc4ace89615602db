//! No octets make the codec panic, with and without a right checksum.

#![no_main]

use libfuzzer_sys::fuzz_target;
use shim6::wire::{self, ErrorMessage, ipv6};

fuzz_target!(|data: &[u8]| {
    let _ = wire::parse(data);
    let _ = wire::describe(data);
    let _ = wire::peek_quoted(data);
    let _ = ipv6::Header::parse(data);
    let _ = ipv6::FragmentHeader::parse(data);
    let _ = ErrorMessage { code: 0, pointer: 0, packet: data.to_vec() }.quoted();

    // Nearly no input has a right checksum, so give it one.
    let mut sealed = data.to_vec();
    let len = data.get(1).map_or(0, |&units| (usize::from(units) + 1) * 8);
    if let Some(message) = sealed.get_mut(..len).filter(|message| !message.is_empty()) {
        let sum = wire::checksum(message);
        message[4..6].copy_from_slice(&sum.to_be_bytes());
        let _ = wire::describe(&sealed);
    }
});
