//! `shim6 run` from outside: exit status, environment, warnings. The library here is a stand-in that does nothing, for what is
//! tested is how a program comes to be preloaded with it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

struct Bench {
    directory: TempDir,
    library: PathBuf,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let library = directory.path().join("libstandin.so");
        let source = directory.path().join("standin.c");
        std::fs::write(&source, "int shim6_stand_in;\n").unwrap();
        let cc =
            Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).status().unwrap();
        assert!(cc.success());
        Bench { directory, library }
    }

    fn file(&self, name: &str) -> String {
        self.directory.path().join(name).to_string_lossy().into_owned()
    }

    fn command(&self, options: &[&str], program: &[&str]) -> Command {
        command(Path::new(env!("CARGO_BIN_EXE_shim6")), &self.library, options, program)
    }

    fn run(&self, options: &[&str], program: &[&str]) -> Output {
        self.command(options, program).output().unwrap()
    }

    /// A variable as the program gets it.
    fn variable(&self, name: &str, command: &mut Command) -> Option<String> {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        let all = stdout(&output);
        all.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix('=')?.to_owned()))
    }
}

fn command(tool: &Path, library: &Path, options: &[&str], program: &[&str]) -> Command {
    let mut command = Command::new(tool);
    command.arg("run").arg("--library").arg(library).args(options).arg("--").args(program);
    for name in ["LD_PRELOAD", "SHIM6_CONFIG", "SHIM6_SET", "SHIM6_LOG", "SHIM6_PRELOAD"] {
        command.env_remove(name);
    }
    command
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_exit_status_is_the_program_s() {
    let bench = Bench::new();
    assert_eq!(bench.run(&[], &["sh", "-c", "exit 7"]).status.code(), Some(7));
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(bench.run(&[], &["sh", "-c", "kill -TERM $$"]).status.signal(), Some(15));
    let output = bench.run(&[], &["printf", "%s.", "--library", "a b"]);
    assert_eq!(stdout(&output), "--library.a b.", "arguments stay the program's");
}

#[test]
fn the_library_is_added_to_those_that_are_preloaded() {
    let bench = Bench::new();
    let library = bench.library.to_string_lossy().into_owned();
    assert_eq!(bench.variable("LD_PRELOAD", &mut bench.command(&[], &["env"])), Some(library.clone()));
    let other = bench.file("libother.so");
    std::fs::copy(&bench.library, &other).unwrap();
    let present = bench.variable("LD_PRELOAD", bench.command(&[], &["env"]).env("LD_PRELOAD", &other));
    assert_eq!(present, Some(format!("{other}:{library}")));
}

#[test]
fn options_become_settings_over_those_of_the_environment() {
    let bench = Bench::new();
    let options =
        ["--send-timeout", "1s", "--probe-timeout", "100ms", "--trigger", "now", "--log", "some.log"];
    let mut command = bench.command(&options, &["env"]);
    command.env("SHIM6_SET", "reap.send_timeout=20s;trigger.age=5m").current_dir(bench.directory.path());
    let log = bench.directory.path().canonicalize().unwrap().join("some.log");
    assert_eq!(
        bench.variable("SHIM6_SET", &mut command).unwrap(),
        format!(
            "reap.send_timeout=20s;trigger.age=5m;reap.send_timeout=1s;reap.initial_probe_timeout=100ms;\
             trigger.bytes=0;log_file={}",
            log.display()
        )
    );
    assert_eq!(bench.variable("SHIM6_LOG", &mut command).as_deref(), Some("shim6=info"));
    assert_eq!(bench.variable("SHIM6_SET", &mut bench.command(&[], &["env"])), None);
    assert_eq!(bench.variable("SHIM6_LOG", &mut bench.command(&[], &["env"])), None);
    let never = bench.variable("SHIM6_SET", &mut bench.command(&["--trigger", "never"], &["env"]));
    assert_eq!(never.as_deref(), Some("trigger.bytes=never;trigger.age=never;trigger.packets=never"));
}

#[test]
fn identities_join_those_of_the_configuration_file() {
    let bench = Bench::new();
    let (config, one, two) = (bench.file("shim6.toml"), bench.file("one"), bench.file("two"));
    std::fs::write(&config, format!("identities = [\"{one}\"]\n")).unwrap();
    std::fs::create_dir(&one).unwrap();
    std::fs::create_dir(&two).unwrap();
    let options = ["--config", &config, "--identity", &two];
    let mut command = bench.command(&options, &["env"]);
    assert_eq!(bench.variable("SHIM6_CONFIG", &mut command), Some(config.clone()));
    assert_eq!(bench.variable("SHIM6_SET", &mut command), Some(format!("identities={one}:{two}")));
    let output = bench.run(&["--identity", &bench.file("absent")], &["true"]);
    assert_eq!(output.status.code(), Some(125));
    assert!(stderr(&output).contains("absent"));
}

#[test]
fn a_setting_that_the_library_would_refuse_is_refused_before_the_program_runs() {
    let bench = Bench::new();
    for (options, word) in [
        (&["--send-timeout", "soon"][..], "reap.send_timeout"),
        (&["--trigger-bytes", "-1"], "trigger.bytes"),
        (&["--log-level", "shim6=loudly"], "log_filter"),
        (&["--set", "reap.sendtimeout=1s"], "reap.sendtimeout"),
        (&["--set", "reap.send_timeout"], "KEY=VALUE"),
        (&["--config", "/nowhere/shim6.toml"], "/nowhere/shim6.toml"),
        (&["--log", "a;b"], "\";\""),
    ] {
        let output = bench.run(options, &["echo", "ran"]);
        assert_eq!(output.status.code(), Some(125), "{options:?}");
        assert_eq!(stdout(&output), "", "{options:?}");
        assert!(stderr(&output).contains(word), "{options:?}: {}", stderr(&output));
    }
}

#[test]
fn what_is_no_program_gets_the_status_of_the_shell() {
    let bench = Bench::new();
    let output = bench.run(&[], &["no-such-program-here"]);
    assert_eq!(output.status.code(), Some(127));
    assert!(stderr(&output).contains("no-such-program-here: not found"));
    let output = bench.run(&[], &[&bench.file("standin.c")]);
    assert_eq!(output.status.code(), Some(126));
    assert!(stderr(&output).contains("chmod +x"));
}

#[test]
fn a_static_program_runs_with_a_warning_or_not_at_all_if_strict() {
    let bench = Bench::new();
    let (source, program) = (bench.file("main.c"), bench.file("static"));
    std::fs::write(&source, "int main(void) { return 3; }\n").unwrap();
    assert!(Command::new("cc").args(["-static", "-o", &program, &source]).status().unwrap().success());
    let output = bench.run(&[], &[&program]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("statically linked"), "{}", stderr(&output));
    assert!(stderr(&output).contains("runs without multihoming"));
    let output = bench.run(&["--quiet"], &[&program]);
    assert_eq!((output.status.code(), stderr(&output)), (Some(3), String::new()));
    let output = bench.run(&["--strict"], &[&program]);
    assert_eq!(output.status.code(), Some(125));
    assert!(stderr(&output).contains("statically linked"));
}

#[test]
fn without_a_library_the_program_runs_alone() {
    let bench = Bench::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_shim6"));
    command.args(["run", "--library", "/nowhere/lib.so", "--", "sh", "-c", "echo \"<$LD_PRELOAD>\""]);
    let output = command.env_remove("LD_PRELOAD").output().unwrap();
    assert_eq!(stdout(&output), "<>\n");
    assert!(stderr(&output).contains("there is no library /nowhere/lib.so"), "{}", stderr(&output));
    drop(bench);
}

#[test]
fn identities_that_no_address_of_this_host_has_are_told() {
    let bench = Bench::new();
    let set = bench.file("set.pem");
    let mut generate = Command::new(env!("CARGO_BIN_EXE_shim6"));
    generate.args([
        "address",
        "generate",
        "--prefix",
        "2001:db8:fade::/64",
        "--prefix",
        "2001:db8:fae1::/64",
    ]);
    let output = generate.args(["--output", &set]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let output = bench.run(&["--identity", &set], &["echo", "ran"]);
    assert_eq!(stdout(&output), "ran\n");
    let said = stderr(&output);
    assert!(said.contains("has an identity") && said.contains("shim6 address assign"), "{said}");
    std::fs::write(&set, "no parameters").unwrap();
    let said = stderr(&bench.run(&["--identity", &set], &["true"]));
    assert!(said.contains("set.pem") && said.contains("cannot be used"), "{said}");
}

#[test]
fn without_cap_net_raw_the_program_runs_and_the_remedy_is_told() {
    let bench = Bench::new();
    let shimmed = bench.command(&[], &["echo", "ran"]);
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", "-net_raw", "--inh-caps", "-all", "--ambient-caps", "-all", "--"]);
    if !nix::unistd::geteuid().is_root() {
        // An ordinary user has no such capability to lose.
        command = Command::new("env");
    }
    command.arg(shimmed.get_program()).args(shimmed.get_args());
    let output = command.output().unwrap();
    assert_eq!(stdout(&output), "ran\n", "{}", stderr(&output));
    assert!(
        stderr(&output).contains("CAP_NET_RAW") && stderr(&output).contains("setcap"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_capability_of_the_tool_reaches_an_ordinary_user_s_program() {
    // Giving the copy a capability takes root, or a user namespace with a second user in it.
    let root = nix::unistd::geteuid().is_root();
    let bench = Bench::new();
    let tool = bench.file("shim6");
    std::fs::copy(env!("CARGO_BIN_EXE_shim6"), &tool).unwrap();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(bench.directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = ["sh", "-c", "grep CapAmb /proc/self/status; echo \"<$LD_PRELOAD>\""];
    let shimmed = command(Path::new(&tool), &bench.library, &["--quiet"], &program);
    let mut as_user = Command::new(if root { "setpriv" } else { "env" });
    if root {
        assert!(Command::new("setcap").args(["cap_net_raw+ep", &tool]).status().unwrap().success());
        as_user.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
    }
    as_user.arg(shimmed.get_program()).args(shimmed.get_args()).env_remove("LD_PRELOAD");
    let output = as_user.output().unwrap();
    let said = stdout(&output);
    let ambient = said.lines().find_map(|line| line.strip_prefix("CapAmb:")).unwrap_or_default().trim();
    let ambient =
        u64::from_str_radix(ambient, 16).unwrap_or_else(|e| panic!("{e}: {said}{}", stderr(&output)));
    // CAP_NET_RAW is number 13.
    assert_eq!(ambient, if root { 1 << 13 } else { 0 }, "{}", stderr(&output));
    assert!(said.contains(&format!("<{}>", bench.library.display())), "preloaded: {said}");
}
