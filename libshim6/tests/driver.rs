//! The driver against the real kernel: two engines in two network namespaces, joined by two links, under a socket
//! layer of a few lines.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod driver_lab;

use driver_lab::{Lab, SEND_TIMEOUT, wait_for};
use shim6::addr::{ContextTag, LocatorPair};
use shim6::driver::cell::Forward;
use shim6::driver::{self, StartError, clock};
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

const LIMIT: Duration = SEND_TIMEOUT.saturating_add(Duration::from_secs(1));

/// Exchange datagrams until both sides have the context.
fn established(lab: &Lab) {
    lab.a.send(b"hello");
    assert_eq!(lab.b.receive(), Some(b"hello".to_vec()));
    lab.b.send(b"hi");
    assert_eq!(lab.a.receive(), Some(b"hi".to_vec()));
    for side in [&lab.a, &lab.b] {
        wait_for("association", Duration::from_secs(3), || side.cell.view().associated);
        assert_eq!(side.cell.view().peer.len(), 2);
    }
}

/// Drop everything that arrives by link `n`, both ways.
fn blackhole(lab: &Lab, n: u32) {
    for (side, name) in [(&lab.a, "a"), (&lab.b, "b")] {
        side.run("nft add table ip6 t; nft add chain ip6 t in '{ type filter hook prerouting priority 0; }'");
        side.run(&format!("nft flush chain ip6 t in; nft add rule ip6 t in iifname {name}{n} drop"));
    }
}

/// Exchange datagrams until they pass both ways again; how long it took.
fn silence(lab: &Lab) -> Duration {
    let start = Instant::now();
    let (mut to_a, mut to_b) = (None, None);
    let mut n = 0u32;
    while start.elapsed() < LIMIT && (to_a.is_none() || to_b.is_none()) {
        n += 1;
        for (from, to, at) in [(&lab.a, &lab.b, &mut to_b), (&lab.b, &lab.a, &mut to_a)] {
            from.send(&n.to_be_bytes());
            while let Some(d) = to.receive_within(Duration::from_millis(5)) {
                if d == n.to_be_bytes() {
                    at.get_or_insert(start.elapsed());
                }
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    match (to_a, to_b) {
        (Some(a), Some(b)) => a.max(b),
        other => panic!("silent after {LIMIT:?}: {other:?}\n{}", lab.state()),
    }
}

// S6-E-3, S6-11-4, S6-12.2-3: after a silent loss of the path, payload goes behind the extension header from the chosen
// locator and reaches the kernel sockets, which keep their addresses.
#[test]
fn a_blackhole_is_survived_and_the_way_back_too() {
    // LS-H-39, S6-11.1-2, S6-11.1-3, S6-11.1-4, S6-12-2, S6-12.2-4, S6-4.6-1, S6-E-1, S6-E-2, S6-E-11, LS-PL-01, LS-P-08, LS-P-09
    let lab = Lab::new();
    established(&lab);
    assert_eq!((lab.a.cell.forward(), lab.b.cell.forward()), (None, None));
    // S6-12.1-2: what comes without extension header is the kernel's affair alone.
    assert_eq!((lab.a.handle.counters().injected, lab.b.handle.counters().injected), (0, 0));
    blackhole(&lab, 1);
    println!("blackhole: {:?}", silence(&lab));
    for side in [&lab.a, &lab.b] {
        let forward = side.cell.forward().expect("rehomed");
        assert_eq!(forward.locators.local, side.addresses[1]);
        assert_eq!(side.cell.view().current, Some(forward.locators));
        assert!(side.handle.counters().injected > 0);
    }
    // S6-E-4, S6-E-5: larger than the path MTU, in fragments behind the shim header.
    for n in [1444, 1445, 5000, 60_000] {
        let data: Vec<u8> = (0..n).map(|i| i as u8).collect();
        let before = lab.b.handle.counters().fragments;
        lab.a.send(&data);
        assert_eq!(lab.b.receive_matching(&data), Some(n), "{}", lab.state());
        let fragments = lab.b.handle.counters().fragments - before;
        // 1500 - 40 - 8 - 8 = 1444, rounded down to 1440 octets of 8 + n in each.
        let want = if n == 1444 { 0 } else { (8 + n).div_ceil(1440) };
        assert_eq!(fragments, want as u64, "{n}");
    }
    // The path MTU shrinks under way.
    lab.a.run("ip link set a2 mtu 1300");
    let before = lab.b.handle.counters().fragments;
    lab.a.send(&[7; 1400]);
    assert_eq!(lab.b.receive_matching(&[7; 1400]), Some(1400), "{}", lab.state());
    assert_eq!(lab.b.handle.counters().fragments - before, 2);
    lab.a.run("ip link set a2 mtu 1500");
    // A train by one system call arrives in order.
    let train: Vec<Vec<u8>> = (0..40u8).map(|i| vec![i; 1000]).collect();
    lab.a.send_train(&train);
    for d in &train {
        assert_eq!(lab.b.receive().as_ref(), Some(d));
    }
    // S6-11.1-5: the other path fails, the first one works again.
    blackhole(&lab, 2);
    println!("and back: {:?}", silence(&lab));
    assert_eq!((lab.a.cell.forward(), lab.b.cell.forward()), (None, None));
}

#[test]
fn an_address_that_vanishes_is_survived() {
    let lab = Lab::new();
    established(&lab);
    lab.a.run(&format!("ip addr del {}/64 dev a1", lab.a.addresses[0]));
    println!("address removed: {:?}", silence(&lab));
    let forward = lab.a.cell.forward().expect("rehomed");
    assert_eq!(forward.locators.local, lab.a.addresses[1]);
    assert!(lab.a.host.detached(), "the socket layer was told");
}

// DESIGN section 4: a socket that cannot be detached from its ULID finds it on `lo` meanwhile, for a finite time.
#[test]
fn a_bound_ulid_is_held_on_loopback_until_it_is_back() {
    let lab = Lab::new();
    let a = &lab.a;
    a.host.bound.store(true, SeqCst);
    established(&lab);
    let ulid = a.addresses[0];
    a.run(&format!("ip addr del {ulid}/64 dev a1"));
    println!("address removed: {:?}", silence(&lab));
    assert!(!a.host.detached());
    a.run(&format!(
        "ip -6 addr show dev lo | grep -A1 {ulid}/128 | grep 'valid_lft [0-9]*sec preferred_lft 0sec'"
    ));
    assert!(!a.host.came_back.load(SeqCst), "what we put on `lo` is no return");
    a.run(&format!("ip addr add {ulid}/64 dev a1 nodad"));
    wait_for("return", LIMIT, || a.host.came_back.load(SeqCst));
    a.run(&format!("! ip -6 addr show dev lo | grep {ulid}"));
}

#[test]
fn a_link_that_goes_down_is_survived() {
    // LS-H-13
    let lab = Lab::new();
    established(&lab);
    lab.a.run("ip link set a1 down");
    println!("link down: {:?}", silence(&lab));
    let forward = lab.a.cell.forward().expect("rehomed");
    assert_eq!(forward.locators.local, lab.a.addresses[1]);
    assert!(lab.a.host.detached(), "the socket layer was told");
}

// S6-E-9: ICMPv6 errors about our packets are taken from the error queue, and never fail a send.
#[test]
fn icmp_errors_come_in() {
    let lab = Lab::new();
    let a = &lab.a;
    lab.b.run("sysctl -qw net.ipv6.conf.all.forwarding=1; ip -6 route add unreachable 2001:db8:ffff::/48");
    lab.b.run("ip -6 route add 2001:db8:fffe::/48 via fe80::a2 dev b2 mtu 1300");
    let to = |peer: &str| {
        let locators = LocatorPair { local: a.addresses[0], peer: peer.parse().unwrap() };
        Forward::new(locators, 0, ContextTag::new(1), 1500)
    };
    let errors = || a.handle.counters().icmp_errors;
    let send = |f: &Forward, n| a.handle.send_payload(&a.cell, f, 17, &vec![0; n]).unwrap();
    send(&to("2001:db8:ffff::1"), 100);
    wait_for("Destination Unreachable", LIMIT, || errors() == 1);
    // Packet Too Big: from then on the driver fragments for that path.
    let narrow = to("2001:db8:fffe::1");
    send(&narrow, 1400);
    wait_for("Packet Too Big", LIMIT, || errors() > 1);
    // The kernel hands us the error before it acts on it itself.
    std::thread::sleep(Duration::from_millis(200));
    let before = errors();
    send(&Forward { mtu: 1300, ..narrow }, 1400);
    send(&narrow, 1240);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(a.handle.counters().payload_refused, 0);
    let log = std::fs::read_to_string(a.log_file()).unwrap();
    assert!(!log.contains("crashed"), "{log}");
    assert_eq!(errors(), before, "nothing was too big any more");
}

// S6-E-10, DESIGN section 6: what no shim socket asked for is not handed to the kernel. S6-12.2-2: an unknown tag that
// nobody claims is answered, although it is not of our prefix.
#[test]
fn only_what_a_socket_takes_is_re_injected() {
    let lab = Lab::new();
    established(&lab);
    blackhole(&lab, 1);
    silence(&lab);
    let (a, b) = (&lab.a, &lab.b);
    let forward = b.cell.forward().unwrap();
    let send = |f: &Forward, protocol, packet: &[u8]| {
        b.handle.send_payload(&b.cell, f, protocol, packet).unwrap();
    };
    while a.receive_within(Duration::from_millis(50)).is_some() {}
    let before = a.handle.counters();
    for protocol in [6, 58, 99] {
        send(&forward, protocol, &[0; 20]);
    }
    // S6-E-6: a wrong checksum; and another port, one more in the ports and one less in the checksum.
    let mut bad = b.datagram(b"yy");
    bad[8] ^= 1;
    send(&forward, 17, &bad);
    let other_port = b.datagram_to(7001, b"x");
    send(&forward, 17, &other_port);
    let now = || a.handle.counters();
    wait_for("unsupported", LIMIT, || now().unsupported == before.unsupported + 3);
    wait_for("bad checksum", LIMIT, || now().bad_udp == before.bad_udp + 1);
    wait_for("no socket", LIMIT, || now().no_socket == before.no_socket + 1);
    assert_eq!(now().injected, before.injected);
    // R1bis for an unknown tag.
    let sent = now().control_sent;
    let unknown = ContextTag::new(forward.peer_tag.value() ^ 0x5555_0000_0001);
    send(&Forward { peer_tag: unknown, ..forward }, 17, &b.datagram(b"z"));
    wait_for("R1bis", Duration::from_millis(300), || now().control_sent > sent);
    assert_eq!(a.receive_within(Duration::from_millis(100)), None);
    // LS-P-06: no kernel complained of protocol 140.
    assert_eq!((a.handle.counters().icmp_errors, b.handle.counters().icmp_errors), (0, 0));
}

/// What `side` would send now with `data`, as the network sees it.
fn on_the_wire(side: &driver_lab::Side, data: &[u8]) -> Vec<u8> {
    let f = side.cell.forward().expect("rehomed");
    let upper = side.datagram(data);
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(((8 + upper.len()) as u16).to_be_bytes());
    packet.extend([140, 64]);
    packet.extend(f.locators.local.octets());
    packet.extend(f.locators.peer.octets());
    packet.extend(shim6::wire::emit_payload_header(f.peer_tag, 17));
    packet.extend(upper);
    packet
}

// S6-8-1, S6-8-4, S6-8-6, S6-8-9, S6-8-10, S6-E-9, LS-F-09: the application's own socket gets the error as if it were about
// the datagram between the ULIDs.
#[test]
fn icmp_errors_about_tagged_packets_reach_the_socket() {
    // S6-15-2, API-EX-10
    let lab = Lab::new();
    established(&lab);
    blackhole(&lab, 1);
    silence(&lab);
    let (a, b) = (&lab.a, &lab.b);
    while a.receive_within(Duration::from_millis(50)).is_some() {}
    let f = a.cell.forward().expect("rehomed");
    let (ulid, router) = (a.cell.ulids().peer, b.addresses[1]);
    let error = |ty: u8, code: u8, info: u32| {
        [&[ty, code, 0, 0], &info.to_be_bytes()[..], &on_the_wire(a, b"lost")].concat()
    };
    // A connected socket: ECONNREFUSED at the next call.
    b.send_icmp(router, f.locators.local, &error(1, 4, 0));
    assert_eq!(a.error_within(Duration::from_secs(1)), Some(libc::ECONNREFUSED), "{}", lab.state());
    // By the error queue with everything that is in it.
    a.queue_errors();
    for (ty, code, info, seen) in [(1, 4, 0, 0), (2, 0, 1400, 1392), (2, 0, 1280, 1272), (4, 0, 48, 40)] {
        b.send_icmp(router, f.locators.local, &error(ty, code, info));
        let mut got = None;
        wait_for("queued error", Duration::from_secs(1), || {
            got = a.queued_error();
            got.is_some()
        });
        assert_eq!(got, Some((b"lost".to_vec(), ulid, ty, code, seen, router)));
    }
    // The path MTU of the pair is kept, not less than 1280 octets; and nothing comes back as a hint or twice.
    wait_for("path MTU", Duration::from_secs(1), || a.cell.forward().is_some_and(|f| f.mtu == 1280));
    let counters = a.handle.counters();
    assert_eq!(counters.icmp_delivered, 5, "{}", lab.state());
    // S6-8-12: an unknown tag, and a flow that no socket holds.
    let mut unknown = error(1, 4, 0);
    unknown[8 + 40 + 7] ^= 1;
    b.send_icmp(router, f.locators.local, &unknown);
    let mut other_port = error(1, 4, 0);
    other_port[8 + 40 + 8 + 1] ^= 1;
    b.send_icmp(router, f.locators.local, &other_port);
    wait_for("two more errors", LIMIT, || a.handle.counters().no_socket == counters.no_socket + 1);
    assert_eq!(a.handle.counters().icmp_delivered, 5);
    assert!(a.queued_error().is_none());
}

// S6-8-3, S6-N-49, RE-FI-04: an unreachable is a hint; another pair works, so the application hears nothing of it.
#[test]
fn an_unreachable_moves_the_traffic_and_is_not_shown() {
    let lab = Lab::new();
    established(&lab);
    blackhole(&lab, 1);
    silence(&lab);
    let (a, b) = (&lab.a, &lab.b);
    while a.receive_within(Duration::from_millis(50)).is_some() {}
    a.queue_errors();
    for side in [a, b] {
        side.run("nft flush table ip6 t");
    }
    let before = a.explorations();
    let message = [&[1, 0, 0, 0, 0, 0, 0, 0], &on_the_wire(a, b"lost")[..]].concat();
    let f = a.cell.forward().expect("rehomed");
    b.run("nft add rule ip6 t in iifname b2 drop");
    let start = Instant::now();
    b.send_icmp(f.locators.peer, f.locators.local, &message);
    wait_for("the other pair", SEND_TIMEOUT / 2, || a.cell.forward().is_none());
    println!("moved after {:?}", start.elapsed());
    assert_eq!(a.explorations(), before + 1);
    silence(&lab);
    std::thread::sleep(SEND_TIMEOUT);
    assert!(a.queued_error().is_none());
    assert_eq!(a.handle.counters().icmp_delivered, 0);
    assert!(a.handle.counters().icmp_errors > 0);
}

// S6-1-4, S6-B-69, API-EX-14: a ULID whose valid lifetime is over takes its context along.
#[test]
fn a_ulid_that_expires_ends_its_context() {
    let lab = Lab::new();
    established(&lab);
    let ulid = lab.a.addresses[0];
    lab.a.run(&format!("ip addr change {ulid}/64 dev a1 valid_lft 1 preferred_lft 1"));
    wait_for("end of the context", Duration::from_secs(5), || !lab.a.cell.view().associated);
    assert_eq!(lab.a.cell.forward(), None);
    assert!(lab.b.cell.view().associated, "unilateral (S6-9-1)");
}

// RE-FB-23, RE-EX-22: the receiver of a one-way stream gives no sign of life itself, and does not even read.
#[test]
fn a_receiver_that_does_not_read_keeps_the_path_alive() {
    let lab = Lab::new();
    established(&lab);
    let start = Instant::now();
    while start.elapsed() < SEND_TIMEOUT * 4 {
        lab.a.send(b"one way");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(lab.a.explorations() + lab.b.explorations(), 0, "{}", lab.state());
    assert_eq!(lab.a.cell.forward(), None);
    assert!(lab.b.handle.counters().control_sent > 4, "Keepalives");
}

// DESIGN section 3: timers are lazy. A flow under way costs a few wake-ups per Send Timeout, an idle one none.
#[test]
fn the_engine_sleeps() {
    let lab = Lab::new();
    established(&lab);
    let talk = |time: Duration| {
        let start = Instant::now();
        let mut n = 0;
        while start.elapsed() < time {
            lab.a.send(b"ping");
            lab.b.receive().unwrap();
            lab.b.send(b"pong");
            lab.a.receive().unwrap();
            n += 1;
            std::thread::sleep(Duration::from_millis(2));
        }
        n
    };
    talk(Duration::from_millis(500));
    let before = lab.wakeups();
    let n = talk(SEND_TIMEOUT * 2);
    let flow = lab.wakeups() - before;
    println!("{flow} wake-ups of both engines for {n} round trips in two Send Timeouts");
    assert!(flow <= 2 * 2 * 8, "{flow}");
    std::thread::sleep(SEND_TIMEOUT * 3);
    let before = lab.wakeups();
    std::thread::sleep(SEND_TIMEOUT * 2);
    assert_eq!(lab.wakeups() - before, 0, "idle");
    assert_eq!(lab.a.explorations() + lab.b.explorations(), 0, "{}", lab.state());
}

#[test]
fn without_the_capability_the_caller_hears_so() {
    let got = std::thread::spawn(|| {
        driver_lab::drop_net_raw();
        driver::start(Default::default(), driver_lab::nobody()).map(drop)
    });
    match got.join().unwrap() {
        Err(StartError::NoRawSocket(_)) => {}
        other => panic!("{other:?}"),
    }
}

// The child of a fork has none of the parent's descriptors, a dead handle, and may start an engine of its own.
#[test]
fn a_forked_child_starts_anew() {
    driver_lab::in_netns(|| {
        let handle = driver::start(Default::default(), driver_lab::nobody()).unwrap();
        let cell = handle.cell(driver_lab::some_ulids()).unwrap();
        // SAFETY: the child takes no lock that another thread of the parent may hold, and leaves by `_exit`.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let own: Vec<i32> = (3..5000).filter(|fd| handle.is_own_fd(*fd)).collect();
            driver::after_fork_in_child();
            // SAFETY: F_GETFD touches no memory.
            let open = own.iter().any(|fd| unsafe { libc::fcntl(*fd, libc::F_GETFD) } >= 0);
            handle.wake(&cell, None); // goes nowhere
            let dead = !handle.is_alive() && handle.cell(driver_lab::some_ulids()).is_none();
            let again = driver::start(Default::default(), driver_lab::nobody());
            let alive = again.as_ref().is_ok_and(|h| h.is_alive());
            let code = i32::from(own.len() < 8)
                | i32::from(open) << 1
                | i32::from(!dead) << 2
                | i32::from(!alive) << 3;
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(code) };
        }
        let mut status = 0;
        // SAFETY: `status` outlives the call.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert!(libc::WIFEXITED(status));
        assert_eq!(libc::WEXITSTATUS(status), 0);
        assert!(handle.is_alive());
        handle.stop();
        assert!(!handle.is_alive());
    });
}

// DESIGN sections 3 and 6: the thread is named `shim6` and takes no signal; if it crashes, the program goes on without.
#[test]
fn the_thread_takes_no_signal_and_a_crash_ends_it_alone() {
    driver_lab::in_netns(|| {
        let handle = driver::start(Default::default(), driver_lab::fragile()).unwrap();
        let cell = handle.cell(driver_lab::some_ulids()).unwrap();
        assert!(cell.note_sent(1, clock::now));
        handle.wake(&cell, None);
        wait_for("wake-up", LIMIT, || handle.counters().wakeups > 0);
        assert!(handle.is_alive());
        // It runs by now, so it has its name.
        let blocked = std::fs::read_dir("/proc/self/task")
            .unwrap()
            .filter_map(|t| std::fs::read_to_string(t.ok()?.path().join("status")).ok())
            .filter(|status| status.starts_with("Name:\tshim6\n"))
            .filter_map(|status| {
                let mask = status.lines().find_map(|l| l.strip_prefix("SigBlk:\t"))?;
                u64::from_str_radix(mask, 16).ok()
            })
            .collect::<Vec<_>>();
        // All but SIGKILL, SIGSTOP, and the two that the C library keeps for itself.
        let all = !(1 << 8 | 1 << 18 | 1 << 31 | 1 << 32);
        assert!(!blocked.is_empty() && blocked.iter().all(|b| b & all == all), "{blocked:x?}");
        // An address that comes and goes makes the socket layer of this test panic.
        driver_lab::sh("ip link set lo up; ip link add d0 type veth peer name d1; ip link set d0 up");
        driver_lab::sh(
            "ip addr add 2001:db8::1/64 dev d0 nodad; sleep 0.1; ip addr del 2001:db8::1/64 dev d0",
        );
        wait_for("crash", LIMIT, || !handle.is_alive());
        assert_eq!((handle.cell(driver_lab::some_ulids()).is_none(), cell.forward()), (true, None));
        assert!(!cell.view().associated);
        handle.wake(&cell, None);
        handle.stop();
    });
}

/// A reading of the clock is no system call: those take several times as long.
#[test]
fn the_clock_is_cheap() {
    let start = Instant::now();
    for _ in 0..1_000_000 {
        std::hint::black_box(clock::now());
    }
    println!("{} ns per reading", start.elapsed().as_nanos() / 1_000_000);
    let direct = Instant::now();
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    for _ in 0..1_000_000 {
        // SAFETY: `t` outlives the call.
        unsafe { libc::syscall(libc::SYS_clock_gettime, libc::CLOCK_BOOTTIME, &raw mut t) };
    }
    println!("{} ns per system call", direct.elapsed().as_nanos() / 1_000_000);
    assert!(direct - start < direct.elapsed());
}
