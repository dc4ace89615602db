//! The C boundary. In: what a C program hands over. Out: structures and numbers as `include/shim6.h` declares them.

pub mod types;
