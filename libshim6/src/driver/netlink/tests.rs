//! Against the kernel, in network namespaces of their own; and the table without a kernel.

use super::monitor::State;
use super::parse::{Message, messages};
use super::*;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use proptest::prelude::*;
use std::os::fd::AsFd;
use std::process::Command;
use std::time::Instant;

/// Run `test` in a thread with a network namespace of its own. Without root, the test `name` runs again under
/// `unshare -r -n`, because only a process with one thread may enter a user namespace.
fn in_netns(name: &str, test: impl FnOnce() + Send + 'static) {
    if !nix::unistd::geteuid().is_root() {
        let exe = std::env::current_exe().unwrap();
        let status = Command::new("unshare").args(["-r", "-n"]).arg(exe).args(["--exact", name]).status();
        assert!(
            status.expect("unshare (util-linux) is needed").success(),
            "{name} failed in a user namespace"
        );
        return;
    }
    let run = move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a network namespace");
        test();
    };
    if let Err(panic) = std::thread::spawn(run).join() {
        std::panic::resume_unwind(panic);
    }
}

fn ip(args: &str) {
    let out = Command::new("ip").args(args.split_whitespace()).output().expect("iproute2 is needed");
    assert!(out.status.success(), "ip {args}: {}", String::from_utf8_lossy(&out.stderr));
}

/// Two ends of a wire, `v0` and `v1`, up.
fn veth() {
    ip("link add v0 type veth peer name v1");
    ip("link set v1 up");
    ip("link set v0 up");
    // Carrier is told by a worker of the kernel
    let end = Instant::now() + Duration::from_secs(10);
    while !(link("v0").running && link("v1").running) {
        assert!(Instant::now() < end, "no carrier");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn addr(s: &str) -> Ipv6Addr {
    s.parse().unwrap()
}

fn link(name: &str) -> Link {
    list_links().unwrap().into_iter().find(|l| l.name == name).unwrap()
}

fn listed(a: &str) -> Option<Address> {
    list_addresses().unwrap().into_iter().find(|x| x.addr == addr(a))
}

const NODAD: AddOptions =
    AddOptions { valid_lft: None, preferred_lft: None, nodad: true, noprefixroute: false, replace: false };

/// Drain until `done` holds for what was seen so far.
fn drain_until(monitor: &mut Monitor, done: impl Fn(&[Change]) -> bool) -> Vec<Change> {
    let end = Instant::now() + Duration::from_secs(10);
    let mut seen = Vec::new();
    loop {
        let changes = monitor.drain().unwrap();
        assert!(!changes.relisted);
        seen.extend(changes.events);
        if done(&seen) {
            return seen;
        }
        assert!(Instant::now() < end, "only {seen:#?}");
        let mut fds = [PollFd::new(monitor.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::from(100u8)).unwrap();
    }
}

fn gone(events: &[Change], a: &str) -> Option<RemovalCause> {
    events.iter().find_map(|e| match e {
        Change::AddressGone(x, cause) if x.addr == addr(a) => Some(*cause),
        _ => None,
    })
}

#[test]
fn lists_and_orders() {
    in_netns("driver::netlink::tests::lists_and_orders", || {
        veth();
        let lo = link("lo");
        assert!(lo.loopback && !lo.up);
        let v0 = link("v0");
        assert_eq!((v0.mtu, v0.up, v0.running, v0.loopback), (1500, true, true, false));
        let i = v0.ifindex;

        add_address(i, addr("2001:db8:a::1"), 64, &NODAD).unwrap();
        let a = listed("2001:db8:a::1").unwrap();
        assert_eq!((a.prefix_len, a.ifindex, a.valid_lft, a.scope), (64, i, None, Scope::Global));
        assert!(a.flags.usable() && a.flags.permanent() && !a.flags.deprecated());
        let again = add_address(i, addr("2001:db8:a::1"), 64, &NODAD).unwrap_err();
        assert_eq!(again.kind(), std::io::ErrorKind::AlreadyExists);
        assert!(again.to_string().contains("2001:db8:a::1/64"), "{again}");

        // Lifetimes, and setting them anew
        let some = AddOptions { valid_lft: Some(Duration::from_secs(100)), replace: true, ..NODAD };
        add_address(i, addr("2001:db8:a::1"), 64, &some).unwrap();
        let a = listed("2001:db8:a::1").unwrap();
        let left = a.valid_lft.unwrap();
        assert!((90..=100).contains(&left.as_secs()), "{left:?}");
        assert!(!a.flags.deprecated());
        let old = AddOptions { preferred_lft: Some(Duration::ZERO), ..some };
        add_address(i, addr("2001:db8:a::1"), 64, &old).unwrap();
        assert!(listed("2001:db8:a::1").unwrap().flags.deprecated());

        // The prefixes: not of the deprecated address, nor of one without /64
        add_address(i, addr("2001:db8:b::1"), 64, &NODAD).unwrap();
        add_address(i, addr("2001:db8:c::1"), 128, &NODAD).unwrap();
        add_address(i, addr("fd00:1::1"), 64, &AddOptions { noprefixroute: true, ..NODAD }).unwrap();
        ip("-6 route add 2001:db8:d::/64 dev v0");
        ip("-6 route add 2001:db8:e::/64 via 2001:db8:b::2");
        let mut found: Vec<Ipv6Addr> = on_link_prefixes()
            .unwrap()
            .into_iter()
            .map(|p| {
                assert_eq!(p.ifindex, i);
                (u128::from(u64::from_be_bytes(p.prefix)) << 64).into()
            })
            .collect();
        found.sort();
        assert_eq!(found, ["2001:db8:b::", "2001:db8:d::", "fd00:1::"].map(addr));

        del_address(i, addr("2001:db8:a::1"), 64).unwrap();
        assert_eq!(listed("2001:db8:a::1"), None);
        let e = del_address(i, addr("2001:db8:a::1"), 64).unwrap_err();
        assert_eq!(e.kind(), std::io::ErrorKind::AddrNotAvailable);
        let e = add_address(9999, addr("2001:db8:a::1"), 64, &NODAD).unwrap_err();
        assert!(e.to_string().contains("no such interface"), "{e}");
    });
}

#[test]
fn monitor_tells_why_an_address_went() {
    // RE-AD-04, RE-AD-05, RE-AD-07, S6-1-4
    in_netns("driver::netlink::tests::monitor_tells_why_an_address_went", || {
        veth();
        let i = link("v0").ifindex;
        let mut monitor = Monitor::open().unwrap();
        let flags = nix::fcntl::fcntl(&monitor, nix::fcntl::FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
        let find = |m: &Monitor, a: &str| m.snapshot().into_iter().find(|l| l.addr == addr(a));

        // Tentative first, then usable
        add_address(i, addr("2001:db8:a::1"), 64, &AddOptions::default()).unwrap();
        add_address(i, addr("2001:db8:a::2"), 64, &NODAD).unwrap();
        drain_until(&mut monitor, |e| {
            e.iter().any(|c| matches!(c, Change::Address(a) if a.addr == addr("2001:db8:a::2")))
        });
        let a = find(&monitor, "2001:db8:a::1").unwrap();
        assert!(a.flags.tentative() && !a.operational);
        let a = find(&monitor, "2001:db8:a::2").unwrap();
        assert_eq!((a.operational, a.mtu, a.ifindex, a.loopback), (true, 1500, i, false));
        drain_until(&mut monitor, |e| {
            e.iter().any(
                |c| matches!(c, Change::Address(a) if a.addr == addr("2001:db8:a::1") && a.flags.usable()),
            )
        });
        assert!(find(&monitor, "2001:db8:a::1").unwrap().operational);

        // Carrier: addresses stay, but are not operational
        ip("link set v1 down");
        drain_until(&mut monitor, |e| {
            e.iter().any(|c| matches!(c, Change::Link(l) if l.ifindex == i && !l.running))
        });
        let a = find(&monitor, "2001:db8:a::2").unwrap();
        assert!(!a.operational);
        ip("link set v1 up");
        drain_until(&mut monitor, |e| {
            e.iter().any(|c| matches!(c, Change::Link(l) if l.ifindex == i && l.running))
        });

        // MTU
        ip("link set v0 mtu 1400");
        drain_until(&mut monitor, |e| e.iter().any(|c| matches!(c, Change::Link(l) if l.mtu == 1400)));
        assert_eq!(find(&monitor, "2001:db8:a::2").unwrap().mtu, 1400);

        // Deleted
        del_address(i, addr("2001:db8:a::2"), 64).unwrap();
        let seen = drain_until(&mut monitor, |e| gone(e, "2001:db8:a::2").is_some());
        assert_eq!(gone(&seen, "2001:db8:a::2"), Some(RemovalCause::Deleted));

        // Expired
        let short = AddOptions { valid_lft: Some(Duration::from_secs(1)), ..NODAD };
        add_address(i, addr("2001:db8:a::3"), 64, &short).unwrap();
        let seen = drain_until(&mut monitor, |e| gone(e, "2001:db8:a::3").is_some());
        assert_eq!(gone(&seen, "2001:db8:a::3"), Some(RemovalCause::Expired));
        // Taken away long before its end
        let long = AddOptions { valid_lft: Some(Duration::from_secs(1000)), ..NODAD };
        add_address(i, addr("2001:db8:a::4"), 64, &long).unwrap();
        drain_until(&mut monitor, |e| told(e, "2001:db8:a::4"));
        del_address(i, addr("2001:db8:a::4"), 64).unwrap();
        let seen = drain_until(&mut monitor, |e| gone(e, "2001:db8:a::4").is_some());
        assert_eq!(gone(&seen, "2001:db8:a::4"), Some(RemovalCause::Deleted));

        // Link down, also when it is up again before we look
        ip("link set v0 down");
        let seen = drain_until(&mut monitor, |e| gone(e, "2001:db8:a::1").is_some());
        assert_eq!(gone(&seen, "2001:db8:a::1"), Some(RemovalCause::LinkDown));
        let link_at =
            seen.iter().position(|c| matches!(c, Change::Link(l) if l.ifindex == i && !l.up)).unwrap();
        let addr_at = seen.iter().position(|c| matches!(c, Change::AddressGone(..))).unwrap();
        assert!(link_at < addr_at, "the kernel tells of the link first: {seen:#?}");
        ip("link set v0 up");
        add_address(i, addr("2001:db8:a::1"), 64, &NODAD).unwrap();
        drain_until(&mut monitor, |e| told(e, "2001:db8:a::1"));
        ip("link set v0 down");
        ip("link set v0 up");
        let seen = drain_until(&mut monitor, |e| gone(e, "2001:db8:a::1").is_some());
        assert_eq!(gone(&seen, "2001:db8:a::1"), Some(RemovalCause::LinkDown));

        // Link removed
        add_address(i, addr("2001:db8:a::5"), 64, &NODAD).unwrap();
        drain_until(&mut monitor, |e| told(e, "2001:db8:a::5"));
        ip("link del v0");
        let seen = drain_until(&mut monitor, |e| {
            e.iter().any(|c| matches!(c, Change::LinkGone(l) if l.ifindex == i))
        });
        assert_ne!(gone(&seen, "2001:db8:a::5"), Some(RemovalCause::Deleted));
        assert!(matches!(
            gone(&seen, "2001:db8:a::5"),
            Some(RemovalCause::LinkDown | RemovalCause::LinkGone)
        ));
        assert_eq!(find(&monitor, "2001:db8:a::5"), None);
    });
}

/// The kernel told of a usable address. It does so from a worker of its own, some time after the order.
fn told(events: &[Change], a: &str) -> bool {
    events.iter().any(|c| matches!(c, Change::Address(x) if x.addr == addr(a) && x.flags.usable()))
}

#[test]
fn monitor_lists_anew_after_lost_notifications() {
    in_netns("driver::netlink::tests::monitor_lists_anew_after_lost_notifications", || {
        veth();
        let i = link("v0").ifindex;
        let many = |n: u16| Ipv6Addr::new(0x2001, 0xdb8, 0xb, 0, 0, 0, 1, n);
        (0..40).for_each(|n| add_address(i, many(n), 64, &NODAD).unwrap());
        let mut monitor = Monitor::open().unwrap();
        // The kernel tells of new addresses from a worker of its own
        let announced = |e: &[Change]| matches!(e, [] | [.., Change::Address(_)]);
        while !drain_until(&mut monitor, announced).is_empty() {
            std::thread::sleep(Duration::from_millis(50));
        }
        // The smallest queue, so that it overflows soon
        nix::sys::socket::setsockopt(&monitor, nix::sys::socket::sockopt::RcvBuf, &1).unwrap();
        (1..40).for_each(|n| del_address(i, many(n), 64).unwrap());
        let changes = monitor.drain().unwrap();
        assert!(changes.relisted);
        assert_eq!(gone(&changes.events, &many(39).to_string()), Some(RemovalCause::Deleted));
        let left: Vec<_> = monitor.snapshot().into_iter().filter(|l| l.addr.segments()[2] == 0xb).collect();
        assert!(left.len() == 1 && left[0].addr == many(0), "{left:?}");
        assert_eq!(monitor.drain().unwrap(), Changes::default());
    });
}

fn test_link(ifindex: u32, up: bool) -> Link {
    Link { ifindex, name: format!("t{ifindex}"), mtu: 1500, up, running: up, loopback: false }
}

fn test_address(ifindex: u32, a: &str) -> Address {
    Address {
        addr: addr(a),
        prefix_len: 64,
        ifindex,
        flags: AddressFlags(0),
        valid_lft: None,
        preferred_lft: None,
        scope: Scope::Global,
    }
}

#[test]
fn causes_do_not_depend_on_the_order_of_notifications() {
    let mut state = State::default();
    state.replace(vec![test_link(1, true)], vec![test_address(1, "2001:db8::1")]);
    let mut events = Vec::new();
    state.apply(Message::AddressGone(test_address(1, "2001:db8::1")), &mut events);
    assert_eq!(gone(&events, "2001:db8::1"), Some(RemovalCause::Deleted));
    state.apply(Message::Link(test_link(1, false)), &mut events);
    state.settle_causes(&mut events);
    assert_eq!(gone(&events, "2001:db8::1"), Some(RemovalCause::LinkDown));

    // A link that goes without a word about its addresses
    let mut state = State::default();
    state.replace(vec![test_link(1, true)], vec![test_address(1, "2001:db8::1")]);
    let mut events = Vec::new();
    state.apply(Message::LinkGone(1), &mut events);
    assert_eq!(gone(&events, "2001:db8::1"), Some(RemovalCause::LinkGone));
    assert!(state.snapshot().is_empty());
    // Told again by the list: no news
    let mut state = State::default();
    state.replace(vec![test_link(1, true)], vec![test_address(1, "2001:db8::1")]);
    let mut events = Vec::new();
    let refreshed = Address { valid_lft: Some(Duration::from_secs(9)), ..test_address(1, "2001:db8::1") };
    state.apply(Message::Address(refreshed), &mut events);
    state.apply(Message::Link(test_link(1, true)), &mut events);
    // An event of a wireless driver: name and MTU stay
    let partial = Link { name: String::new(), mtu: 0, ..test_link(1, true) };
    state.apply(Message::Link(partial), &mut events);
    assert_eq!(events, []);
}

#[test]
fn optimistic_addresses_are_usable() {
    // RE-AD-01, RE-AD-03
    for (flags, usable) in [
        (0, true),
        (libc::IFA_F_TENTATIVE, false),
        (libc::IFA_F_TENTATIVE | libc::IFA_F_OPTIMISTIC, true),
        (libc::IFA_F_DADFAILED, false),
        (libc::IFA_F_DADFAILED | libc::IFA_F_TENTATIVE | libc::IFA_F_OPTIMISTIC, false),
        (libc::IFA_F_DEPRECATED, true),
    ] {
        assert_eq!(AddressFlags(flags).usable(), usable, "{flags:#x}");
    }
}

proptest! {
    #[test]
    fn parser_takes_any_octets(octets in proptest::collection::vec(any::<u8>(), 0..200), kind in 16u16..32) {
        let _ = messages(&octets);
        // With a good frame around them
        let mut framed = (16 + octets.len() as u32).to_ne_bytes().to_vec();
        framed.extend_from_slice(&kind.to_ne_bytes());
        framed.extend_from_slice(&[0; 10]);
        framed.extend_from_slice(&octets);
        prop_assert_eq!(messages(&framed).unwrap().len(), 1);
    }
}

#[test]
fn an_interface_whose_routers_are_given_up_is_out_of_use() {
    // RE-AD-06, LS-RP-02
    in_netns("driver::netlink::tests::an_interface_whose_routers_are_given_up_is_out_of_use", || {
        veth();
        ip("link add w0 type veth peer name w1");
        ip("link set w1 up");
        ip("link set w0 up");
        ip("addr add 2001:db8:1::1/64 dev v0 nodad");
        ip("addr add 2001:db8:2::1/64 dev w0 nodad");
        let mut monitor = Monitor::open().unwrap();
        // The kernel may tell of carrier late, and tells of neighbours in the order of the commands
        let mut operational = |wanted: (bool, bool)| {
            let end = Instant::now() + Duration::from_secs(10);
            loop {
                monitor.drain().unwrap();
                let all = monitor.snapshot();
                let of = |a: &str| all.iter().any(|l| l.addr == addr(a) && l.operational);
                if (of("2001:db8:1::1"), of("2001:db8:2::1")) == wanted {
                    break;
                }
                assert!(Instant::now() < end, "not {wanted:?}: {all:?}");
                std::thread::sleep(Duration::from_millis(10));
            }
        };
        let neighbour = |a: &str, dev: &str, rest: &str| {
            ip(&format!("-6 neigh replace {a} lladdr 02:00:00:00:00:01 dev {dev} {rest}"));
        };
        operational((true, true));
        // Of what was never reached, the kernel tells nothing
        neighbour("2001:db8:1::fe", "v0", "nud reachable");
        neighbour("2001:db8:1::fe", "v0", "nud failed");
        neighbour("2001:db8:1::fd", "v0", "router nud reachable");
        neighbour("2001:db8:1::fd", "v0", "router nud failed");
        operational((false, true));
        neighbour("2001:db8:1::fc", "v0", "router nud reachable");
        operational((true, true));
        neighbour("2001:db8:1::fc", "v0", "router nud failed");
        operational((false, true));
        neighbour("2001:db8:2::fd", "w0", "router nud reachable");
        neighbour("2001:db8:2::fd", "w0", "router nud failed");
        // Nothing better is left
        operational((true, true));
        ip("-6 neigh del 2001:db8:2::fd dev w0");
        operational((false, true));
        neighbour("2001:db8:1::fd", "v0", "router nud stale");
        operational((true, true));
    });
}
