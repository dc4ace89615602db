//! The hand-laid packets in `messages.hex` and `damaged.hex`, and what is checked with them: our codec, and our
//! Wireshark dissector on captures of them.

mod capture;
mod codec;
mod fields;
mod vectors;
