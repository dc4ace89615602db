//! Only the hooks leave the library, whatever else the linker finds in it.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // rustc passes a version script of its own, which lets all `no_mangle` functions of this crate out; symbols of
    // the crates below it must stay inside even when features are unified across the workspace.
    println!("cargo::rustc-cdylib-link-arg=-Wl,--exclude-libs,ALL");
    // Calls between the hooks bind here, and the library is never unloaded: threads run in it.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
