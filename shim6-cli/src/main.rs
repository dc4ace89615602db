//! The `shim6` tool.
fn main() {}
