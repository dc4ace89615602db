//! `libshim6.so` and `libshim6.a`. In goes the crate `shim6`; out come its `shim6_*` functions, which
//! `include/shim6.h` declares, and nothing else.

pub use shim6_crate::capi::{functions, functions_library};
