//! Network namespaces for root and, through a user namespace, for anyone.

use crate::{Error, Result};
use nix::sched::{CloneFlags, unshare};
use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

const INSIDE: &str = "SHIM6_LAB_INSIDE";

/// Whether this process may make network namespaces.
pub fn allowed() -> bool {
    // In a thread of its own, because the namespace stays with the thread.
    std::thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET).is_ok()).join().unwrap_or(false)
}

/// For a program: go on with the privilege to make network namespaces, if need be as root of a user namespace, in which
/// the program starts again. Returns only with the privilege, or with what to do about the lack of it.
pub fn ensure() -> Result<()> {
    if allowed() {
        return Ok(());
    }
    if std::env::var_os(INSIDE).is_some() || !user_namespaces_work() {
        return Err(no_way());
    }
    let error = in_user_namespace(std::env::current_exe()?).args(std::env::args_os().skip(1)).exec();
    Err(Error::new(format!("cannot run unshare (package util-linux): {error}")))
}

/// For a test: `true` to go on here; `false` after the same test has run in a user namespace and has passed there.
/// Use [`in_lab!`](crate::in_lab).
///
/// # Panics
/// If the test failed there, or if there is no way to make network namespaces.
pub fn inside(test: &str) -> bool {
    if allowed() {
        return true;
    }
    assert!(std::env::var_os(INSIDE).is_none() && user_namespaces_work(), "{}", no_way());
    let own = std::env::current_exe().expect("a test knows its executable");
    let status = in_user_namespace(own).args([test, "--exact", "--nocapture", "--test-threads=1"]).status();
    let status = status.expect("unshare has just run");
    assert!(status.success(), "{test} failed in a user namespace ({status})");
    false
}

fn user_namespaces_work() -> bool {
    let mut probe = in_user_namespace("true");
    probe.stdout(Stdio::null()).stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}

fn in_user_namespace(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "--"]).arg(program).env(INSIDE, "1");
    command
}

fn no_way() -> Error {
    Error::new(
        "The lab needs network namespaces, and neither this user nor a user namespace may make them. Run it as root, or \
         allow user namespaces: `sysctl -w user.max_user_namespaces=10000`, on Debian also `sysctl -w \
         kernel.unprivileged_userns_clone=1`, on Ubuntu also `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`; \
         in a container, grant it CAP_SYS_ADMIN and CAP_NET_ADMIN.",
    )
}

/// At the start of a test: go on only where network namespaces can be made; otherwise the test runs again as root of a user
/// namespace, and this call returns from it when it has passed there.
#[macro_export]
macro_rules! in_lab {
    () => {{
        fn here() {}
        let name = std::any::type_name_of_val(&here).trim_end_matches("::here");
        let name = name.split_once("::").map_or(name, |(_, test)| test);
        if !$crate::privilege::inside(name) {
            return;
        }
    }};
}
