//! `make install`, and a C program that is built by pkg-config against what it installed.

use std::path::Path;
use std::process::Command;

fn run(command: &mut Command) -> String {
    let out = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&out.stderr));
    text
}

const PROGRAM: &str = r#"
#include <shim6.h>
#include <stdio.h>
int main(void)
{
    int value = 7;
    socklen_t len = sizeof value;
    int fd = shim6_socket(AF_INET6, SOCK_DGRAM, 0);
    int r = shim6_getsockopt(fd, SOL_SHIM, SHIM_ASSOCIATED, &value, &len);
    printf("%s %d %d %s\n", shim6_version(), r, value, shim6_strerror(EINVALIDLOCATOR));
    return shim6_close(fd);
}
"#;

#[test]
fn a_program_builds_against_an_installation() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let stage = scratch.path().join("stage");
    let make = |goal: &str| {
        let mut make = Command::new("make");
        make.current_dir(root).args(["--no-print-directory", goal, "PREFIX=/opt/shim6"]);
        make.arg(format!("DESTDIR={}", stage.display())).arg(format!("BUILT={}", profile.display()));
        run(make.env_remove("MAKEFLAGS").env_remove("MAKELEVEL"))
    };
    make("install");
    let installed = stage.join("opt/shim6");
    let version = env!("CARGO_PKG_VERSION");
    let link = |name: &str| std::fs::read_link(installed.join("lib").join(name)).unwrap();
    assert_eq!(link("libshim6.so.0"), Path::new(&format!("libshim6.so.{version}")));
    assert_eq!(link("libshim6.so"), Path::new("libshim6.so.0"));

    let pkg_config = |options: &[&str]| -> Vec<String> {
        let mut pkg_config = Command::new("pkg-config");
        pkg_config.env("PKG_CONFIG_PATH", installed.join("lib/pkgconfig"));
        pkg_config.env("PKG_CONFIG_SYSROOT_DIR", &stage);
        run(pkg_config.args(options).arg("shim6")).split_whitespace().map(str::to_owned).collect()
    };
    assert_eq!(pkg_config(&["--modversion"]), [version]);
    let source = scratch.path().join("program.c");
    std::fs::write(&source, PROGRAM).unwrap();
    let wanted = format!("{version} 0 0 Invalid locator\n");
    for (name, options) in [("shared", vec![]), ("static", vec!["--static"])] {
        let program = scratch.path().join(name);
        let mut cc = Command::new("cc");
        cc.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&program).arg(&source);
        if name == "static" {
            cc.arg("-static");
        }
        run(cc.args(pkg_config(&[&["--cflags", "--libs"][..], &options[..]].concat())));
        let said = run(Command::new(&program).env("LD_LIBRARY_PATH", installed.join("lib")));
        assert_eq!(said, wanted, "{name}");
    }
    // The tool finds its library where it was installed.
    let tool = installed.join("bin/shim6");
    let said = run(Command::new(tool).args(["run", "--quiet", "--", "sh", "-c", "echo $LD_PRELOAD"]));
    assert_eq!(Path::new(said.trim()), installed.join("lib/libshim6_preload.so"));
    let page = |name: &str| std::fs::read_to_string(installed.join("share/man/man1").join(name)).unwrap();
    assert!(page("shim6-run.1").contains("\\-\\-send\\-timeout"), "roff writes hyphens so");
    assert!(page("shim6.1").contains("shim6\\-run(1)") && page("shim6-address-generate.1").contains("cga"));
    make("uninstall");
    let left: Vec<_> = ["bin", "include", "lib/pkgconfig", "share/man/man1"]
        .iter()
        .flat_map(|d| std::fs::read_dir(installed.join(d)).unwrap())
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
