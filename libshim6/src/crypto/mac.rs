//! Keyed hashes for validators and other tokens that only their maker has to recognise.

use ring::hmac;

/// Octets of a [`mac`]: HMAC-SHA-256 cut to 160 bits, so that a Responder Validator costs 24 octets as an option.
pub const MAC_LEN: usize = 20;

/// HMAC-SHA-256 over `domain` and `fields`, cut to [`MAC_LEN`] octets.
///
/// Different `domain` values give unrelated results under one key (R1 and R1bis validators), and each field goes in with
/// its length before it, so that no two lists of fields are hashed as the same octets (S6-N-41).
pub fn mac(key: &[u8; 32], domain: u8, fields: &[&[u8]]) -> [u8; MAC_LEN] {
    let mut ctx = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    ctx.update(&[domain]);
    for field in fields {
        ctx.update(&(field.len() as u64).to_be_bytes());
        ctx.update(field);
    }
    let tag = ctx.sign();
    let mut out = [0; MAC_LEN];
    out.copy_from_slice(&tag.as_ref()[..MAC_LEN]);
    out
}

/// Whether two octet strings are equal, in a time that depends on their lengths only.
pub fn ct_eq(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && std::hint::black_box(a.iter().zip(b).fold(0, |acc, (x, y)| acc | (x ^ y))) == 0
}
