//! What applications set, against the real kernel: pins and forks put the sockets of one ULID pair on different links at
//! the same time, and each datagram tells by which pair it came.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

#[allow(dead_code)]
mod driver_lab;

use driver_lab::{Lab, Side, wait_for};
use shim6::addr::LocatorPair;
use shim6::driver::cell::{Cell, ForkState};
use shim6::driver::{Arrival, Configured};
use shim6::engine::{Feedback, LocatorError, Settings, Setup};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(3);
const IPV6_FLOWINFO: i32 = 11;

/// Packets that a side has received by link `n`.
fn received(side: &Side, name: &str) -> u64 {
    let file = format!("/sys/class/net/{name}/statistics/rx_packets");
    let out = Command::new("ip").args(["netns", "exec", &side.ns, "cat", &file]).output().unwrap();
    String::from_utf8_lossy(&out.stdout).trim().parse().unwrap()
}

fn option(side: &Side, option: i32) {
    let (fd, on, len) = (side.host.socket.as_raw_fd(), 1i32, 4);
    // SAFETY: `on` outlives the call.
    let r = unsafe { libc::setsockopt(fd, libc::IPPROTO_IPV6, option, (&raw const on).cast(), len) };
    assert_eq!(r, 0);
}

/// The next datagram, and by which pair it came.
fn receive(side: &Side) -> Option<(Vec<u8>, Option<Arrival>)> {
    side.host.socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let mut data = vec![0u8; 2000];
    let mut control = [0u64; 32];
    let mut iov = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: data.len() };
    // SAFETY: an all-zero `msghdr` is valid.
    let mut m: libc::msghdr = unsafe { std::mem::zeroed() };
    (m.msg_iov, m.msg_iovlen) = (&raw mut iov, 1);
    (m.msg_control, m.msg_controllen) = (control.as_mut_ptr().cast(), size_of_val(&control));
    // SAFETY: the message points to buffers that outlive the call.
    let n = unsafe { libc::recvmsg(side.host.socket.as_raw_fd(), &raw mut m, 0) };
    data.truncate(usize::try_from(n).ok()?);
    let (mut flowinfo, mut ifindex) = (0, 0);
    // SAFETY: the kernel filled the control buffer; the macros stay inside it.
    unsafe {
        let mut c = libc::CMSG_FIRSTHDR(&raw const m);
        while !c.is_null() {
            let value = libc::CMSG_DATA(c);
            match ((*c).cmsg_level, (*c).cmsg_type) {
                (libc::IPPROTO_IPV6, IPV6_FLOWINFO) => flowinfo = value.cast::<u32>().read_unaligned(),
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    ifindex = value.cast::<libc::in6_pktinfo>().read_unaligned().ipi6_ifindex;
                }
                _ => {}
            }
            c = libc::CMSG_NXTHDR(&raw const m, c);
        }
    }
    Some((data, side.handle.arrival(flowinfo, ifindex)))
}

fn established() -> Lab {
    let lab = Lab::new();
    lab.a.handle.establish(&lab.a.cell, lab.a.flow());
    assert_eq!(lab.a.cell.wait_setup(SOON), Setup::Up);
    wait_for("context at the peer", SOON, || lab.b.cell.view().associated);
    lab
}

/// Send by a cell as a socket that holds it does.
fn send(side: &Side, cell: &Cell, data: &[u8]) {
    match cell.forward() {
        Some(f) => side.handle.send_payload(cell, &f, 17, &side.datagram(data)).unwrap(),
        None => drop(side.host.socket.send(data).unwrap()),
    }
    if cell.note_sent(data.len(), shim6::driver::clock::now) {
        side.handle.wake(cell, side.flow());
    }
}

// API-FK-09, API-FK-01, API-FK-04, API-FK-05, API-FK-12, API-FK-13, API-FK-19, API-LTX-08, API-PTX-12, API-CM-04, API-CM-06
#[test]
fn two_sockets_of_one_pair_use_both_links() {
    let lab = established();
    let (a, b) = (&lab.a, &lab.b);
    [IPV6_FLOWINFO, libc::IPV6_RECVPKTINFO].iter().for_each(|o| option(b, *o));
    let (l, p) = (a.addresses[1], b.addresses[1]);
    // Two sockets share the cell
    a.handle.attach(&a.cell);
    a.handle.attach(&a.cell);
    assert_eq!(a.cell.view().check_peer(a.cell.ulids(), p), Err(LocatorError::Unverified));
    a.handle.probe_peer(&a.cell, p);
    wait_for("probe", SOON, || a.cell.view().check_peer(a.cell.ulids(), p).is_ok());
    let pin = |s: &mut Settings| (s.pinned_local, s.pinned_peer) = (Some(l), Some(p));
    let Configured::Forked(fork) = a.handle.configure(&a.cell, a.flow(), pin) else { panic!("no fork") };
    assert_eq!((a.cell.users(), fork.users(), fork.settings().pinned_peer), (1, 1, Some(p)));
    assert!(matches!(a.handle.configure(&fork, a.flow(), pin), Configured::Unchanged));
    wait_for("fork", SOON, || fork.view().fork == ForkState::Up && fork.forward().is_some());
    assert_eq!((fork.view().fii, a.cell.view().fii), (fork.key().fii, 0));
    assert_eq!(
        (a.cell.forward(), fork.forward().unwrap().locators),
        (None, LocatorPair { local: l, peer: p })
    );

    let before = ["b1", "b2"].map(|n| received(b, n));
    for i in 0..100u8 {
        send(a, &a.cell, &[0, i]);
        send(a, &fork, &[1, i]);
    }
    let after = ["b1", "b2"].map(|n| received(b, n));
    for n in 0..2 {
        let more = after[n] - before[n];
        assert!((100..120).contains(&more), "link {}: {more}\n{}", n + 1, lab.state());
    }
    let mut counts = [0, 0];
    for _ in 0..200 {
        let (data, arrival) = receive(b).expect("a datagram");
        let want = Arrival {
            ulids: b.cell.ulids(),
            fii: fork.key().fii,
            locators: LocatorPair { local: p, peer: l },
        };
        assert_eq!(arrival, (data[0] == 1).then_some(want), "{data:?}");
        counts[usize::from(data[0])] += 1;
    }
    assert_eq!(counts, [100, 100]);

    a.handle.detach(&fork);
    wait_for("end of the fork", SOON, || a.log().contains("context discarded"));
    assert!(a.cell.view().associated);
}

// API-CM-13, API-CM-14, API-CM-19, API-CM-21, API-FK-08, API-LTX-06
#[test]
fn a_datagram_and_a_sole_socket_choose_their_locators() {
    let lab = established();
    let (a, b) = (&lab.a, &lab.b);
    [IPV6_FLOWINFO, libc::IPV6_RECVPKTINFO].iter().for_each(|o| option(b, *o));
    a.handle.attach(&a.cell);
    let (l, p) = (a.addresses[1], b.addresses[1]);
    assert_eq!(a.handle.forward_for(&a.cell, None, Some(p)), Err(LocatorError::Unverified));
    wait_for("probe", SOON, || a.handle.forward_for(&a.cell, None, Some(p)).is_ok());
    let train: Vec<Vec<u8>> = (0..20u8).map(|i| vec![i; 100]).collect();
    for (local, peer) in [(None, Some(p)), (Some(l), None), (Some(l), Some(p))] {
        let f = a.handle.forward_for(&a.cell, local, peer).unwrap().unwrap();
        let packets: Vec<_> = train.iter().map(|d| a.datagram(d)).collect();
        let packets: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
        assert_eq!(a.handle.send_payload_many(&a.cell, &f, 17, &packets).unwrap(), 20);
        let ulids = a.cell.ulids();
        let want = LocatorPair { local: peer.unwrap_or(ulids.peer), peer: local.unwrap_or(ulids.local) };
        for d in &train {
            let (data, arrival) = receive(b).expect("a datagram");
            assert_eq!((&data, arrival.map(|a| a.locators)), (d, Some(want)));
        }
    }
    assert_eq!(a.cell.forward(), None, "the next one goes as before");
    // A sole user changes the context in place; the last one to leave takes its settings along
    assert!(matches!(a.handle.configure(&a.cell, None, |s| s.pinned_local = Some(l)), Configured::InPlace));
    assert_eq!(a.cell.settings().pinned_local, Some(l));
    wait_for("pin", SOON, || a.cell.forward().is_some_and(|f| f.locators.local == l));
    a.handle.set_hot_standby(&a.cell, true);
    wait_for("standby", SOON, || a.cell.view().standby.is_some() || a.cell.view().peer.len() < 2);
    a.handle.set_hot_standby(&a.cell, false);
    a.handle.detach(&a.cell);
    assert_eq!(a.cell.settings(), Arc::default());
}

// API-GEN-18
#[test]
fn a_new_context_gets_what_was_set_for_the_old_one() {
    for gone in [false, true] {
        let lab = established();
        let a = &lab.a;
        a.handle.attach(&a.cell);
        let (ulid, l) = (a.addresses[0], a.addresses[1]);
        let change = |s: &mut Settings| {
            (s.pinned_local, s.app_timeout) = (Some(l), Some(Duration::from_secs(30)));
        };
        assert!(matches!(a.handle.configure(&a.cell, None, change), Configured::InPlace));
        wait_for("pin", SOON, || a.cell.forward().is_some_and(|f| f.locators.local == l));
        // The context goes with its ULID, which comes back
        a.run(&format!("ip addr change {ulid}/64 dev a1 valid_lft 1 preferred_lft 1"));
        wait_for("end of the context", SOON * 3, || !a.cell.view().associated);
        if gone {
            a.run(&format!("ip addr del {l}/64 dev a2"));
        }
        a.run(&format!("ip addr add {ulid}/64 dev a1 nodad"));
        wait_for("a context", SOON * 5, || {
            a.handle.establish(&a.cell, a.flow());
            a.cell.wait_setup(SOON) == Setup::Up
        });
        wait_for("the timeout", SOON, || a.cell.view().timers.send_timeout == Duration::from_secs(30));
        if gone {
            wait_for("the pin's end", SOON, || a.cell.settings().pinned_local.is_none());
            assert!(a.log().contains("settings whose locators are gone are dropped"), "{}", lab.state());
        } else {
            wait_for("pin", SOON, || a.cell.forward().is_some_and(|f| f.locators.local == l));
        }
        assert_eq!(a.cell.settings().app_timeout, Some(Duration::from_secs(30)));
    }
}

// API-HOT-13, API-FB-10
#[test]
fn hot_standby_adds_up_and_neither_it_nor_feedback_forks() {
    let lab = established();
    let a = &lab.a;
    a.handle.attach(&a.cell);
    a.handle.attach(&a.cell);
    a.handle.set_hot_standby(&a.cell, true);
    a.handle.set_hot_standby(&a.cell, true);
    wait_for("standby", SOON, || a.cell.view().standby.is_some());
    a.handle.set_hot_standby(&a.cell, false);
    std::thread::sleep(Duration::from_millis(300));
    assert!(a.cell.is_hot_standby() && a.cell.view().standby.is_some(), "one socket still has it");
    a.handle.set_hot_standby(&a.cell, false);
    wait_for("end of standby", SOON, || a.cell.view().standby.is_none());
    for feedback in [Feedback::SatisfactoryOutbound, Feedback::Unsatisfactory, Feedback::Unable] {
        a.handle.feedback(&a.cell, feedback);
    }
    wait_for("exploration", SOON, || a.explorations() > 0);
    assert_eq!((a.cell.users(), a.cell.view().fii), (2, 0));
    assert_eq!(a.log().matches("context established").count(), 1, "{}", lab.state());
}
