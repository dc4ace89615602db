use super::*;
use std::os::unix::fs::PermissionsExt;

fn file(directory: &Path, name: &str, octets: &[u8], mode: u32) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, octets).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    path
}

fn compile(directory: &Path, name: &str, options: &[&str]) -> PathBuf {
    let source = file(directory, "main.c", b"int main(void) { return 0; }\n", 0o644);
    let program = directory.join(name);
    let status =
        std::process::Command::new("cc").args(options).arg("-o").arg(&program).arg(source).status().unwrap();
    assert!(status.success());
    program
}

fn problems(path: &Path) -> String {
    obstacles(path).into_iter().map(|obstacle| obstacle.problem + "\n").collect()
}

#[test]
fn path_is_searched_for_executable_files() {
    let directory = tempfile::tempdir().unwrap();
    let (one, two) = (directory.path().join("one"), directory.path().join("two"));
    std::fs::create_dir_all(one.join("directory")).unwrap();
    std::fs::create_dir_all(&two).unwrap();
    file(&one, "program", b"", 0o644);
    let wanted = file(&two, "program", b"", 0o755);
    let path = std::env::join_paths([&one, &two]).unwrap();
    let find = |name: &str| find(OsStr::new(name), Some(&path));
    assert_eq!(find("program"), Ok(wanted.clone()));
    assert_eq!(find("directory"), Err(NotRunnable::NotExecutable(one.join("directory"))));
    assert_eq!(find("absent"), Err(NotRunnable::Missing));
    assert_eq!(find(wanted.to_str().unwrap()), Ok(wanted));
    assert_eq!(
        find(one.join("program").to_str().unwrap()),
        Err(NotRunnable::NotExecutable(one.join("program")))
    );
}

#[test]
fn static_programs_are_told_from_dynamic_ones() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    assert_eq!(problems(&compile(directory, "dynamic", &[])), "");
    for (name, options) in [("static", ["-static", "-O1"]), ("static-pie", ["-static-pie", "-fPIE"])] {
        assert!(problems(&compile(directory, name, &options)).contains("statically linked"), "{name}");
    }
    let garbage = file(directory, "garbage", b"hello", 0o755);
    assert!(problems(&garbage).contains("no ELF program"));
    let cut = file(directory, "cut", b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0", 0o755);
    assert_eq!(problems(&cut), "", "left to the kernel to judge");
}

#[test]
fn another_machine_is_an_obstacle() {
    let directory = tempfile::tempdir().unwrap();
    let program = compile(directory.path(), "dynamic", &[]);
    let mut octets = std::fs::read(&program).unwrap();
    octets[18] ^= 0x55;
    let foreign = file(directory.path(), "foreign", &octets, 0o755);
    assert!(problems(&foreign).contains("another kind of machine"));
}

#[test]
fn a_go_program_is_known_by_its_build_id() {
    let directory = tempfile::tempdir().unwrap();
    let code =
        b"__attribute__((section(\".go.buildinfo\"), used)) const char info[] = \"\\xff Go buildinf:\";\n\
                 int main(void) { return 0; }\n";
    let source = file(directory.path(), "go.c", code, 0o644);
    let program = directory.path().join("go");
    assert!(std::process::Command::new("cc").arg("-o").arg(&program).arg(source).status().unwrap().success());
    assert!(problems(&program).contains("Go program"));
}

#[test]
fn a_script_is_judged_by_its_interpreter() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let fixed = compile(directory, "static", &["-static"]);
    let script = |name: &str, line: &str| file(directory, name, format!("#!{line}\nx\n").as_bytes(), 0o755);
    assert_eq!(problems(&script("sh", " /bin/sh -e")), "");
    assert_eq!(problems(&script("env", "/usr/bin/env sh")), "");
    let inner = script("inner", &fixed.to_string_lossy());
    assert!(problems(&inner).contains("static is statically linked"));
    assert!(problems(&script("outer", &inner.to_string_lossy())).contains("static is statically linked"));
    let through_env = script("through-env", &format!("/usr/bin/env -S A=1 {} x", fixed.display()));
    assert!(problems(&through_env).contains("static is statically linked"));
}

#[test]
fn set_user_id_programs_ignore_the_preload() {
    let directory = tempfile::tempdir().unwrap();
    let program = compile(directory.path(), "dynamic", &[]);
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o4755)).unwrap();
    let own = nix::unistd::getuid();
    if own.is_root() {
        assert_eq!(problems(&program), "", "root gains nothing from a program of root");
        std::os::unix::fs::chown(&program, Some(65534), None).unwrap();
        // chown() clears the bit.
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o4755)).unwrap();
        assert!(problems(&program).contains("set-user-ID"));
    } else {
        assert_eq!(problems(&program), "", "a user gains nothing from an own program");
        assert!(problems(Path::new("/usr/bin/su")).contains("set-user-ID"));
    }
}
