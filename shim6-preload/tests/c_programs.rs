//! The programs of `c-tests/`, each run alone and under the preload library with the same assertions.

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// The library as cargo built it for this profile.
fn library() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    // Of the two places the one under deps is always fresh.
    let found = [profile.join("deps/libshim6_preload.so"), profile.join("libshim6_preload.so")];
    found.into_iter().find(|p| p.exists()).expect("cargo has built libshim6_preload.so")
}

fn run(command: &mut Command) -> String {
    let out = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{command:?}: {}\n{text}", out.status);
    text
}

/// The library to link with, of the same build.
fn linked_library(kind: &str) -> PathBuf {
    library().with_file_name(format!("libshim6.{kind}"))
}

/// How a program may be linked with the library.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Link {
    Shared,
    /// `libshim6.a` in an executable that is linked to the shared C library otherwise.
    Archive,
    /// An executable without any shared library.
    Static,
}

impl Link {
    fn arguments(self) -> Vec<String> {
        let directory = library().parent().unwrap().display().to_string();
        match self {
            // As a user would, who has an rpath to the soname; the link of that name is in the profile's directory.
            Link::Shared => {
                let profile = linked_library("so").parent().unwrap().to_path_buf();
                let profile = profile.ancestors().find(|p| p.join(SONAME).exists()).unwrap();
                let profile = profile.display();
                vec![format!("-L{profile}"), format!("-Wl,-rpath,{profile}"), "-lshim6".into()]
            }
            Link::Archive => vec![linked_library("a").display().to_string()],
            Link::Static => vec!["-static".into(), format!("-L{directory}"), "-lshim6".into()],
        }
    }
}

const SONAME: &str = "libshim6.so.0";

fn compile(sources: &[&str], language: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("program");
    let compiler = if language[0] == "c++" { "c++" } else { "cc" };
    let mut command = Command::new(compiler);
    command.args(language.iter().skip(1)).args(["-Wall", "-Wextra", "-Werror", "-pedantic", "-O2", "-o"]);
    command.arg(&program).args(sources.iter().map(|s| root().join("c-tests").join(s))).arg("-pthread");
    run(&mut command);
    (dir, program)
}

/// Compile and run, without and with the library. Every test of the program says `ok`.
fn both(source: &str) {
    let (_dir, program) = compile(&[source], &["c", "-std=c11"]);
    for preload in [None, Some(library())] {
        let mut command = Command::new(&program);
        match &preload {
            Some(library) => command.env("LD_PRELOAD", library),
            None => command.env_remove("LD_PRELOAD"),
        };
        let text = run(command.env("SHIM6_TEST_LIBRARY", library()));
        println!("{source}, preload {preload:?}:\n{text}");
        assert!(text.lines().any(|l| l.starts_with("ok ")), "{text}");
        assert!(!text.contains("FAILED"), "{text}");
    }
}

#[test]
fn transparency() {
    both("transparency.c");
}

#[test]
fn families() {
    both("families.c");
}

#[test]
fn memory() {
    both("memory.c");
}

#[test]
fn processes() {
    both("processes.c");
}

#[test]
fn pitfalls() {
    both("pitfalls.c");
}

#[test]
fn threads() {
    both("threads.c");
}

#[test]
fn life() {
    both("life.c");
}

// API-GEN-01, API-GEN-02, API-GEN-03, API-GEN-04, API-GEN-05, API-GEN-06, API-GEN-10, API-GEN-12, API-GEN-21
#[test]
fn options() {
    both("options.c");
}

// API-ABI-03, API-ABI-04, API-ABI-09, API-ABI-10, API-ABI-12, API-ST-01
#[test]
fn header() {
    let (_dir, program) = compile(&["abi.c", "abi_rfc6316.c"], &["c", "-std=c11"]);
    assert_eq!(run(&mut Command::new(program)), "ok abi\n");
}

// API-ABI-13
#[test]
fn header_in_other_languages() {
    let dir = tempfile::tempdir().unwrap();
    for (name, language) in [("c99.c", "c"), ("cpp.cc", "c++")] {
        let source = dir.path().join(name);
        let header = root().join("include/shim6.h");
        std::fs::write(
            &source,
            format!("#include \"{}\"\nint main(void) {{ return 0; }}\n", header.display()),
        )
        .unwrap();
        let standard = if language == "c" { "-std=c99" } else { "-std=c++17" };
        let (_dir, _program) = compile(&[source.to_str().unwrap()], &[language, standard]);
        let (_dir, _program) =
            compile(&[source.to_str().unwrap()], &[language, standard, "-DSHIM6_API_RFC6316"]);
    }
}

/// The hooks and nothing else leave the library.
#[test]
fn exported_symbols() {
    let text = run(Command::new("nm").args(["-D", "--defined-only"]).arg(library()));
    let mut names: Vec<&str> = text.lines().filter_map(|l| l.split_whitespace().nth(2)).collect();
    names.sort_unstable();
    let mut wanted = vec![
        "bind",
        "close",
        "close_range",
        "closefrom",
        "connect",
        "dup",
        "dup2",
        "dup3",
        "fclose",
        "fcntl",
        "fcntl64",
        "getpeername",
        "getsockname",
        "getsockopt",
        "preadv2",
        "preadv64v2",
        "pthread_exit",
        "pwritev2",
        "pwritev64v2",
        "read",
        "readv",
        "recv",
        "recvfrom",
        "recvmmsg",
        "recvmsg",
        "send",
        "sendfile",
        "sendfile64",
        "sendmmsg",
        "sendmsg",
        "sendto",
        "setsockopt",
        "shutdown",
        "socket",
        "socketpair",
        "splice",
        "write",
        "writev",
        "__close",
        "__connect",
        "__dup2",
        "__fcntl",
        "__read",
        "__read_chk",
        "__recv_chk",
        "__recvfrom_chk",
        "__send",
        "__write",
    ];
    wanted.sort_unstable();
    assert_eq!(names, wanted);
}
