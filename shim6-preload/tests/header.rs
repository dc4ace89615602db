//! `include/shim6.h` is what cbindgen makes of `libshim6/src/capi` (DESIGN section 7).

use std::path::Path;

#[test]
fn the_header_is_not_stale() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let config = cbindgen::Config::from_file(root.join("libshim6/cbindgen.toml")).unwrap();
    let bindings = cbindgen::Builder::new()
        .with_config(config)
        .with_src(root.join("libshim6/src/capi/types.rs"))
        .with_src(root.join("libshim6/src/capi/extensions.rs"))
        .with_src(root.join("libshim6/src/capi/functions.rs"))
        .with_src(root.join("libshim6/src/capi/functions_library.rs"))
        .generate()
        .unwrap();
    let mut text = Vec::new();
    bindings.write(&mut text);
    let path = root.join("include/shim6.h");
    if std::env::var_os("SHIM6_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let there = std::fs::read(&path).unwrap_or_default();
    assert!(
        there == text,
        "include/shim6.h is stale; run: SHIM6_BLESS=1 cargo test -p shim6-preload --test header"
    );
}
