//! libshim6.so gets a soname, and a link of that name beside it.

use std::env;
use std::path::Path;

const SONAME: &str = "libshim6.so.0";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,{SONAME}");
    // Threads run in it: it is never unloaded.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    // So that programs linked with -Ltarget/release, and an rpath to it, start. OUT_DIR is PROFILE/build/NAME/out.
    let out = env::var_os("OUT_DIR").unwrap_or_default();
    if let Some(profile) = Path::new(&out).ancestors().nth(3) {
        // An existing link, or a place where none can be made, is no reason to stop.
        let _ = std::os::unix::fs::symlink("libshim6.so", profile.join(SONAME));
    }
}
