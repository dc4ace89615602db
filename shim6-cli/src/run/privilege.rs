//! CAP_NET_RAW: the program needs it for the raw sockets of the shim.

use super::Obstacle;
use caps::{CapSet, Capability};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

/// Hand the capabilities that the shim can use on to the program, and tell whether it will have what it needs.
pub fn obstacle() -> Option<Obstacle> {
    if !nix::unistd::geteuid().is_root() {
        // CAP_NET_ADMIN is of use where it is there: it keeps a vanished ULID alive on `lo`.
        pass_on(Capability::CAP_NET_ADMIN);
        pass_on(Capability::CAP_NET_RAW);
    }
    // The only question that counts in containers and user namespaces too: is a raw socket to be had?
    match socket(AddressFamily::Inet6, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw) {
        Ok(_) => None,
        Err(nix::errno::Errno::EPERM | nix::errno::Errno::EACCES) => Some(Obstacle::new(
            "no CAP_NET_RAW, so the shim cannot open its raw sockets",
            "run as root, or once `sudo setcap cap_net_raw+ep` on this shim6 (whoever may run it then has CAP_NET_RAW \
             in the programs that it starts), or in a container grant NET_RAW",
        )),
        Err(error) => Some(Obstacle::new(
            format!("this host opens no raw IPv6 socket ({error})"),
            "enable IPv6 (`sysctl net.ipv6.conf.all.disable_ipv6=0`)",
        )),
    }
}

/// An ordinary user's program keeps over exec() only ambient capabilities, which do not make it a secure execution that
/// would ignore LD_PRELOAD.
fn pass_on(capability: Capability) {
    if caps::has_cap(None, CapSet::Permitted, capability).unwrap_or(false) {
        for set in [CapSet::Effective, CapSet::Inheritable, CapSet::Ambient] {
            // Where this fails, the raw socket tells.
            let _ = caps::raise(None, set, capability);
        }
    }
}
