//! The hand-laid packets in `messages.hex` and `damaged.hex`, and what is checked with them.

mod codec;
mod vectors;
