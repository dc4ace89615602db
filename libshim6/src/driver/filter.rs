//! Classic BPF programs for raw sockets of protocol 140. They see a packet from the shim header on.

use libc::sock_filter;

/// Most foreign prefixes in a filter; beyond it packets of further ones are dropped in user space.
pub const MAX_FOREIGN: usize = 64;

const LD_W_ABS: u16 = 0x20;
const AND_K: u16 = 0x54;
const JEQ_K: u16 = 0x15;
const JSET_K: u16 = 0x45;
const RET_K: u16 = 0x06;
const KEEP: u32 = 0x0004_0000;

fn op(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// Drop everything: for sockets that only send.
pub fn drop_all() -> Vec<sock_filter> {
    vec![op(RET_K, 0, 0, 0)]
}

/// Keep control packets (P = 0), and payload packets (P = 1) unless the top 16 of their 47 tag bits are one of
/// `foreign`: tags of other engines on this host, each of which gets a copy of every packet (S6-N-48). Payload with
/// a prefix that nobody claims has to pass, since somebody must answer it with R1bis (S6-12.2-2). At most
/// [`MAX_FOREIGN`] prefixes count.
pub fn payload_filter(foreign: &[u16]) -> Vec<sock_filter> {
    let foreign = &foreign[..foreign.len().min(MAX_FOREIGN)];
    let n = foreign.len() as u8;
    // A: octets 2 to 5, so bit 31 is P and bits 30 to 15 are the prefix. Too short a packet ends with "drop".
    let mut program = vec![
        op(LD_W_ABS, 2, 0, 0),
        op(JSET_K, 0x8000_0000, 0, n + 1), // P = 0: to "keep", behind AND and the comparisons
        op(AND_K, 0x7fff_8000, 0, 0),
    ];
    for (i, prefix) in foreign.iter().enumerate() {
        program.push(op(JEQ_K, u32::from(*prefix) << 15, n - i as u8, 0)); // equal: to "drop"
    }
    program.push(op(RET_K, KEEP, 0, 0));
    program.push(op(RET_K, 0, 0, 0));
    program
}

/// The 16-bit prefix of the tag in a payload packet; `None` for a control packet or a short one.
pub fn payload_prefix(data: &[u8]) -> Option<u16> {
    match data {
        [_, _, a, b, c, _, _, _, ..] if a & 0x80 != 0 => {
            Some(u16::from(a & 0x7f) << 9 | u16::from(*b) << 1 | u16::from(c >> 7))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::sys;
    use proptest::prelude::*;

    /// A payload packet with `prefix` as the top 16 tag bits.
    fn payload(prefix: u16, rest: u32) -> Vec<u8> {
        let tag = u64::from(prefix) << 31 | u64::from(rest & 0x7fff_ffff);
        let mut p = vec![17, 0];
        p.extend_from_slice(&(tag | 1 << 47).to_be_bytes()[2..]);
        p.extend_from_slice(b"data");
        p
    }

    /// Run a program in the kernel: on a Unix datagram socket it sees the data alone.
    fn kernel_keeps(program: &[sock_filter], packet: &[u8]) -> bool {
        let mut pair = [0; 2];
        // SAFETY: room for two descriptors.
        let r = unsafe {
            libc::socketpair(libc::AF_UNIX, libc::SOCK_DGRAM | libc::SOCK_NONBLOCK, 0, pair.as_mut_ptr())
        };
        assert_eq!(r, 0);
        sys::attach_filter(pair[1], program).unwrap();
        let mut buf = [0u8; 64];
        // SAFETY: the buffers are as long as said.
        let got = unsafe {
            libc::send(pair[0], packet.as_ptr().cast(), packet.len(), 0);
            libc::recv(pair[1], buf.as_mut_ptr().cast(), buf.len(), 0)
        };
        sys::close(pair[0]);
        sys::close(pair[1]);
        got == packet.len() as isize
    }

    // S6-N-48: payload of other engines on the host is dropped in the kernel, everything else is kept.
    #[test]
    fn the_kernel_drops_foreign_prefixes_only() {
        let control = [59, 0, 1, 0, 0, 0, 0, 0]; // I1 with S = 0, P = 0
        let many: Vec<u16> = (0..200).collect();
        for foreign in [&[][..], &[0x1234], &[0xffff, 0, 0x1234], &many] {
            let program = payload_filter(foreign);
            assert!(kernel_keeps(&program, &control));
            assert!(kernel_keeps(&program, &payload(0x1235, 7)));
            assert!(!kernel_keeps(&program, &payload(7, 7)[..4]), "too short");
            for f in foreign.iter().take(MAX_FOREIGN) {
                assert!(!kernel_keeps(&program, &payload(*f, 0)), "{f:#x}");
                assert!(!kernel_keeps(&program, &payload(*f, u32::MAX)), "{f:#x}");
            }
        }
        assert!(!kernel_keeps(&drop_all(), &control));
    }

    proptest! {
        #[test]
        fn the_prefix_is_the_top_of_the_tag(prefix: u16, rest: u32, octets: [u8; 8]) {
            prop_assert_eq!(payload_prefix(&payload(prefix, rest)), Some(prefix));
            prop_assert_eq!(payload_prefix(&octets).is_some(), octets[2] & 0x80 != 0);
        }
    }
}
