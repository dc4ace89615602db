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

/// A file beside the preload library, where `cargo build --workspace` puts it.
fn built(name: &str) -> PathBuf {
    let library = library();
    let found = library.ancestors().skip(1).take(2).map(|d| d.join(name)).find(|p| p.exists());
    found.unwrap_or_else(|| panic!("no {name}: cargo build --workspace"))
}

/// How a program is linked with `libshim6`.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Link {
    /// As a user would, with an rpath to the place of the build.
    Shared,
    /// `libshim6.a` in an executable that has the shared C library otherwise.
    Archive,
    /// An executable without any shared library.
    Static,
}

impl Link {
    fn arguments(self) -> Vec<String> {
        let profile = built("libshim6.so.0").parent().unwrap().display().to_string();
        match self {
            Link::Shared => vec![format!("-L{profile}"), format!("-Wl,-rpath,{profile}"), "-lshim6".into()],
            Link::Archive => vec![built("libshim6.a").display().to_string()],
            Link::Static => vec!["-static".into(), format!("-L{profile}"), "-lshim6".into()],
        }
    }
}

fn compile(sources: &[&str], language: &[&str]) -> (tempfile::TempDir, PathBuf) {
    compile_and_link(sources, language, &[])
}

fn compile_and_link(sources: &[&str], language: &[&str], link: &[String]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("program");
    let compiler = if language[0] == "c++" { "c++" } else { "cc" };
    let mut command = Command::new(compiler);
    command.args(language.iter().skip(1)).args(["-Wall", "-Wextra", "-Werror", "-pedantic", "-O2", "-o"]);
    command
        .arg(&program)
        .args(sources.iter().map(|s| root().join("c-tests").join(s)))
        .arg("-pthread")
        .args(link);
    run(&mut command);
    (dir, program)
}

/// Compile and run, without and with the library. Every test of the program says `ok`.
fn both(source: &str) {
    let (_dir, program) = compile(&[source], &["c", "-std=c11"]);
    for preload in [false, true] {
        all_ok(&program, preload, &[]);
    }
}

fn all_ok(program: &Path, preload: bool, arguments: &[&Path]) {
    let mut command = Command::new(program);
    match preload {
        true => command.env("LD_PRELOAD", library()),
        false => command.env_remove("LD_PRELOAD"),
    };
    let text = run(command.args(arguments).env("SHIM6_TEST_LIBRARY", library()));
    println!("{}, preload {preload}:\n{text}", program.display());
    assert!(text.lines().any(|l| l.starts_with("ok ")), "{text}");
    assert!(!text.contains("FAILED"), "{text}");
}

/// Compile a program whose socket calls are `shim6_*`.
fn linked(source: &str, link: Link) -> (tempfile::TempDir, PathBuf) {
    compile_and_link(&[source], &["c", "-std=c11", "-DSHIM6_POSIX_NAMES"], &link.arguments())
}

/// What holds under the preload library holds in a program that is linked with `libshim6`.
#[test]
fn linked_programs() {
    for source in ["transparency.c", "families.c", "options.c", "threads.c", "life.c"] {
        all_ok(&linked(source, Link::Shared).1, false, &[]);
    }
    all_ok(&linked("options.c", Link::Archive).1, false, &[]);
    all_ok(&linked("transparency.c", Link::Static).1, false, &[]);
}

/// Two ways in, one engine.
#[test]
fn linked_and_preloaded_programs() {
    for source in ["transparency.c", "options.c"] {
        all_ok(&linked(source, Link::Shared).1, true, &[]);
    }
}

// API-HOT-03, API-HOT-04, API-PE-03, API-PE-04, API-LLP-03, API-LLP-04, API-PPF-03, API-PPF-04, API-LRX-03, API-LRX-04,
// API-PRX-03, API-PRX-04, API-LTX-03, API-LTX-04, API-PTX-03, API-PTX-04, API-LLL-03, API-LLL-04, API-LLR-03, API-LLR-04,
// API-TMO-03, API-TMO-04, API-DEF-05, API-CM-15, API-FB-04, API-CX-07, API-CX-08, API-CX-25
#[test]
fn examples_of_the_draft_without_a_context() {
    let source = "draft_examples.c";
    all_ok(&compile(&[source], &["c", "-std=c11"]).1, true, &[]);
    all_ok(&linked(source, Link::Shared).1, false, &[]);
    all_ok(&linked(source, Link::Static).1, false, &[]);
}

#[test]
fn one_engine_per_process() {
    let copy = Link::Archive.arguments();
    let (_dir, plugin) = compile_and_link(
        &["engines_plugin.c"],
        &["c", "-std=c11"],
        &[&copy[..], &["-shared", "-fPIC", "-Wl,--exclude-libs,ALL"].map(String::from)].concat(),
    );
    for link in [Link::Shared, Link::Archive] {
        let (_dir, program) = linked("engines.c", link);
        all_ok(&program, false, &[]);
        all_ok(&program, true, &[]);
        all_ok(&program, true, &[&plugin]);
        // The archive exports nothing from an executable: a copy in a plug-in cannot find it.
        if link == Link::Shared {
            all_ok(&program, false, &[&plugin]);
        }
    }
    let (_dir, program) = compile(&["engines.c"], &["c", "-std=c11"]);
    all_ok(&program, true, &[&plugin]);
}

#[test]
fn transparency() {
    both("transparency.c");
}

#[test]
fn families() {
    both("families.c");
}

/// What the program does not leak alone it does not leak with the library, as two tools see it.
#[test]
fn leaks() {
    let (_dir, sanitized) = compile(&["leaks.c"], &["c", "-std=c11", "-fsanitize=leak"]);
    let (_dir, program) = compile(&["leaks.c"], &["c", "-std=c11"]);
    let kinds = "definite,possible,indirect";
    let valgrind = || {
        let mut command = Command::new("valgrind");
        command.args(["-q", "--leak-check=full", "--error-exitcode=9"]);
        command.arg(format!("--show-leak-kinds={kinds}")).arg(format!("--errors-for-leak-kinds={kinds}"));
        command.arg(&program);
        command
    };
    for preload in [None, Some(library())] {
        for mut command in [Command::new(&sanitized), valgrind()] {
            match &preload {
                Some(library) => command.env("LD_PRELOAD", library),
                None => command.env_remove("LD_PRELOAD"),
            };
            assert_eq!(run(&mut command), "ok leaks\n");
        }
    }
}

#[test]
fn memory() {
    both("memory.c");
}

#[test]
fn processes() {
    both("processes.c");
}

/// The main thread leaves by `pthread_exit`, by which a linked program reaches no hook of ours.
#[test]
fn endings() {
    both("endings.c");
    all_ok(&linked("endings.c", Link::Shared).1, false, &[]);
    all_ok(&linked("endings.c", Link::Static).1, false, &[]);
    all_ok(&linked("endings.c", Link::Shared).1, true, &[]);
}

#[test]
fn a_library_in_between() {
    let shared = ["-DBETWEEN", "-shared", "-fPIC"].map(String::from);
    let (_dir, between) = compile_and_link(&["between.c"], &["c", "-std=c11"], &shared);
    let (_dir, program) = compile(&["between.c"], &["c", "-std=c11"]);
    for libraries in [vec![&between], vec![&library(), &between]] {
        let mut command = Command::new(&program);
        let list: Vec<_> = libraries.iter().map(|l| l.display().to_string()).collect();
        let text = run(command.env("LD_PRELOAD", list.join(":")));
        assert!(text.contains("ok each_call_comes_by"), "{list:?}: {text}");
    }
}

#[test]
fn a_library_with_a_lock_in_front() {
    let shared = ["-DLOCKED", "-shared", "-fPIC"].map(String::from);
    let (_dir, locked) = compile_and_link(&["locked.c"], &["c", "-std=c11"], &shared);
    let (_dir, program) = compile(&["locked.c"], &["c", "-std=c11"]);
    for libraries in [vec![&locked], vec![&locked, &library()], vec![&library(), &locked]] {
        let list: Vec<_> = libraries.iter().map(|l| l.display().to_string()).collect();
        let text = run(Command::new(&program).env("LD_PRELOAD", list.join(":")));
        assert!(text.contains("ok forks_end"), "{list:?}: {text}");
    }
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

// API-GEN-03, API-GEN-05, API-GEN-07, API-GEN-08, API-GEN-09, API-GEN-10, API-GEN-12, API-CM-15, API-CM-28, API-CM-29
#[test]
fn options_states() {
    both("options_states.c");
}

// API-GEN-11: without the capability there is never a context.
#[test]
fn options_states_without_the_capability() {
    let (_dir, program) = compile(&["options_states.c"], &["c", "-std=c11"]);
    let mut command = Command::new("capsh");
    command.args(["--drop=cap_net_raw", "--", "-c"]).arg(program).env("LD_PRELOAD", library());
    let text = run(command.env("SHIM6_LOG", "off"));
    assert!(text.contains("ok ") && !text.contains("FAILED"), "{text}");
}

/// Reads and writes beyond the application's buffers, as the compiler's checks in the program see them, and use of
/// what nobody wrote, also inside the library, as Valgrind does.
#[test]
fn options_under_memory_checkers() {
    let flags =
        ["c", "-std=c11", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-static-libasan"];
    for source in ["options.c", "options_states.c"] {
        let (_dir, program) = compile(&[source], &flags);
        // What the library keeps for the life of the process is no leak of the program's.
        let mut command = Command::new(&program);
        let text = run(command.env("LD_PRELOAD", library()).env("ASAN_OPTIONS", "detect_leaks=0"));
        assert!(text.contains("ok ") && !text.contains("FAILED"), "{text}");
    }
    // Not the states: they hand bad pointers over on purpose, which Valgrind has to report.
    let (_dir, program) = compile(&["options.c"], &["c", "-std=c11"]);
    let mut command = Command::new("valgrind");
    let text = run(command.args(["-q", "--error-exitcode=9"]).arg(program).env("LD_PRELOAD", library()));
    assert!(text.contains("ok ") && !text.contains("FAILED") && !text.contains("=="), "{text}");
}

/// A program that was built with a sanitizer starts and forks under the library, and is told of no error that is none.
#[test]
fn sanitized_programs() {
    for sanitizer in ["address", "thread"] {
        let (_dir, program) =
            compile(&["sanitized.c"], &["c", "-std=c11", "-g", &format!("-fsanitize={sanitizer}")]);
        for preload in [false, true] {
            // The addresses that ThreadSanitizer wants for itself must be free; where -R is forbidden they may be, too.
            let mut command = Command::new("sh");
            let script = "setarch -R true 2>/dev/null && exec setarch -R \"$0\"; exec \"$0\"";
            command.args(["-c", script]).arg(&program).env("SHIM6_LOG", "off");
            match preload {
                true => command.env("LD_PRELOAD", library()),
                false => command.env_remove("LD_PRELOAD"),
            };
            assert_eq!(run(&mut command), "ok sanitized\n");
        }
    }
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

fn exports(library: &Path) -> Vec<String> {
    let text = run(Command::new("nm").args(["-D", "--defined-only"]).arg(library));
    let mut names: Vec<String> =
        text.lines().filter_map(|l| l.split_whitespace().nth(2)).map(str::to_owned).collect();
    names.sort_unstable();
    names
}

/// What the header declares and nothing else leaves `libshim6.so`, which has the soname of its ABI.
#[test]
fn exported_symbols_of_the_linkable_library() {
    let names = exports(&built("libshim6.so"));
    let header = std::fs::read_to_string(root().join("include/shim6.h")).unwrap();
    // The prototypes, past comments and macros: "TYPE shim6_NAME(".
    let declared = |line: &str| {
        let (front, _) = line.split_once('(')?;
        let name = &front[front.find(" shim6_").or_else(|| front.find("*shim6_"))? + 1..];
        (!line.starts_with([' ', '#', '/'])).then(|| name.to_owned())
    };
    let mut wanted: Vec<String> = header.lines().filter_map(declared).collect();
    wanted.sort_unstable();
    assert!(wanted.len() >= 30, "{wanted:?}");
    assert_eq!(names, wanted);
    let dynamic = run(Command::new("readelf").arg("-d").arg(built("libshim6.so")));
    assert!(dynamic.contains("soname: [libshim6.so.0]"), "{dynamic}");
}

/// Each function that leaves the C library is one call of a macro that has the guard, or of the guard itself.
#[test]
fn no_exported_function_avoids_the_guard() {
    let mut functions = 0;
    for file in ["functions.rs", "functions_library.rs"] {
        let text = std::fs::read_to_string(root().join("libshim6/src/capi").join(file)).unwrap();
        for exported in text.split("#[unsafe(no_mangle)]\n").skip(1) {
            let (_, body) = exported.split_once("{\n").unwrap();
            let body = body.split_once("\n}\n").map_or(body, |(body, _)| body).trim();
            let guarded =
                ["asked!(", "done!(", "plain!(", "guard::short("].iter().any(|g| body.starts_with(g));
            assert!(guarded && body.ends_with(')'), "{file}: {body}");
            functions += 1;
        }
    }
    assert!(functions >= 30, "{functions}");
}

/// The hooks and nothing else leave the library.
#[test]
fn exported_symbols() {
    let names = exports(&library());
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
        "mprotect",
        "mremap",
        "munmap",
        "shmdt",
        "getpeername",
        "getsockname",
        "getsockopt",
        "preadv2",
        "preadv64v2",
        "prctl",
        "pthread_cancel",
        "pthread_create",
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
        "seccomp_load",
        "sendfile",
        "sendfile64",
        "sendmmsg",
        "sendmsg",
        "sendto",
        "setsockopt",
        "shim6_preloaded",
        "shutdown",
        "socket",
        "socketpair",
        "splice",
        "thrd_create",
        "write",
        "writev",
        "__asan_default_options",
        "__close",
        "__connect",
        "__dup2",
        "__fcntl",
        "__read",
        "__read_chk",
        "__recv_chk",
        "__recvfrom_chk",
        "__send",
        "__tsan_default_options",
        "__tsan_default_suppressions",
        "__write",
    ];
    wanted.sort_unstable();
    assert_eq!(names, wanted);
}

/// What a program can do with a socket by way of libc is a hook, or the library's page tells why it is none.
#[test]
fn every_name_is_a_hook_or_has_a_reason() {
    let hooks = exports(&library());
    let page = std::fs::read_to_string(root().join("shim6-preload/src/lib.rs")).unwrap();
    let page: String = page.lines().filter(|line| line.starts_with("//!")).collect();
    let names = "socket socketpair bind bindresvport connect listen accept accept4 shutdown send sendto sendmsg sendmmsg recv \
        recvfrom recvmsg recvmmsg read readv write writev preadv2 pwritev2 preadv64v2 pwritev64v2 __read_chk __recv_chk \
        __recvfrom_chk __poll_chk __sendto_chk close close_range closefrom fclose freopen fdopen dup dup2 dup3 fcntl fcntl64 \
        getsockopt setsockopt getsockname getpeername ioctl sendfile sendfile64 splice tee vmsplice fork _Fork vfork clone \
        execve execl posix_spawn syscall pidfd_getfd dprintf fprintf __read __write __send __connect __close __dup2 __fcntl \
        poll select epoll_wait munmap mprotect mremap shmdt pthread_exit \
        pthread_create pthread_cancel thrd_create";
    for name in names.split_whitespace() {
        let hook = hooks.iter().any(|hook| hook == name);
        assert!(hook != page.contains(&format!("`{name}`")), "{name}: hook {hook}");
    }
}
