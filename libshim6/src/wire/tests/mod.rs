//! Tests of the codec.

mod smoke;
