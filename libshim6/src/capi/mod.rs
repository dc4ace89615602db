//! The C boundary. In: what a C program hands over. Out: structures, numbers and functions as `include/shim6.h` declares
//! them, `errno`. Nothing unwinds out of here (`guard`).

pub mod extensions;
pub mod functions;
pub mod functions_library;
mod guard;
pub(crate) mod native;
pub mod types;
