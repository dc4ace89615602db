//! Network namespaces for unit tests. Root, or CAP_SYS_ADMIN, is needed: a test fails without, it is not skipped.

use std::process::Command;

/// Run `f` on a thread in a new network namespace.
pub fn in_netns<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|s| {
        s.spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("unshare(CLONE_NEWNET)");
            f()
        })
        .join()
        .unwrap_or_else(|e| std::panic::resume_unwind(e))
    })
}

/// Run a command of the system; panics if it fails.
pub fn run(command: &str) {
    let out = Command::new("sh").args(["-c", command]).output().expect("sh");
    assert!(out.status.success(), "{command}: {}", String::from_utf8_lossy(&out.stderr));
}
