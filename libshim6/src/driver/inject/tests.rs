//! Re-injection against the real kernel, each test in a network namespace of its own.

use super::*;
use crate::addr::UlidPair;
use crate::driver::testing::{in_netns, run};
use crate::driver::udp::build_udp;
use std::io::IoSlice;
use std::net::{SocketAddrV6, UdpSocket};
use std::time::Duration;

const LOCAL: &str = "2001:db8:1::1";
const PEER: &str = "2001:db8:2::2";

/// `lo` up, and the ULID on another interface.
fn host() {
    run("ip link set lo up");
    run("ip link add d0 type veth peer name d1");
    run("ip link set d1 up");
    run("ip link set d0 up");
    run(&format!("ip addr add {LOCAL}/64 dev d0 nodad"));
    // The address is local once the link has carrier.
    run(&format!("until ip -6 route show table local | grep -q {LOCAL}; do sleep 0.01; done"));
    run("ip -6 route add default dev d0");
}

fn socket(bind: &str) -> UdpSocket {
    let s = UdpSocket::bind(format!("[{bind}]:5000")).unwrap();
    s.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    s
}

fn peer_port() -> SocketAddrV6 {
    format!("[{PEER}]:6000").parse().unwrap()
}

/// What the peer sent to us, checksum over the ULIDs.
fn datagram(data: &[u8]) -> Vec<u8> {
    let ulids = UlidPair { local: PEER.parse().unwrap(), peer: LOCAL.parse().unwrap() };
    build_udp(ulids, 6000, 5000, &[IoSlice::new(data)]).unwrap()
}

fn header(destination: &str) -> Header {
    Header {
        source: PEER.parse().unwrap(),
        destination: destination.parse().unwrap(),
        protocol: udp::UDP,
        hop_limit: 61,
        traffic_class: 2,
        flow_label: 0x54321,
    }
}

fn receive(s: &UdpSocket) -> Vec<u8> {
    let mut buf = vec![0; 70_000];
    let (n, from) = s.recv_from(&mut buf).expect("nothing arrived");
    assert_eq!(from, peer_port().into());
    buf.truncate(n);
    buf
}

fn ways() -> [(&'static str, Injector); 2] {
    [
        ("packet", Injector::with(Injector::packet().unwrap())),
        ("raw", Injector::with(Injector::raw().unwrap())),
    ]
}

/// Sizes: none, odd, equal ones in a row with a shorter end, larger than a link's MTU, and the largest there are.
fn payloads() -> Vec<Vec<u8>> {
    [0, 1, 1200, 1200, 1200, 700, 1200, 9000, 9000, 65487, 65488, 65489, 65527]
        .iter()
        .enumerate()
        .map(|(i, n)| (0..*n).map(|k| (k * 7 + i) as u8).collect())
        .collect()
}

fn reaches(destination: &str, s: &UdpSocket) {
    for (name, mut way) in ways() {
        let (train, large): (Vec<_>, Vec<_>) = payloads().into_iter().partition(|d| d.len() < 2000);
        for data in &train {
            way.push(header(destination), &datagram(data));
        }
        way.flush();
        for want in &train {
            assert!(receive(s) == *want, "{name}: {}", want.len());
        }
        // One by one: two of them may already be more than a receive buffer holds.
        for want in &large {
            way.push(header(destination), &datagram(want));
            way.flush();
            assert!(receive(s) == *want, "{name}: {}", want.len());
        }
        assert_eq!(way.failed, 0, "{name}");
    }
}

#[test]
fn connected_sockets_receive() {
    in_netns(|| {
        host();
        let s = socket("::");
        s.connect(peer_port()).unwrap();
        assert_eq!(s.local_addr().unwrap().ip().to_string(), LOCAL);
        reaches(LOCAL, &s);
    });
}

#[test]
fn wildcard_sockets_receive() {
    in_netns(|| {
        host();
        reaches(LOCAL, &socket("::"));
    });
}

#[test]
fn bound_sockets_receive() {
    in_netns(|| {
        host();
        reaches(LOCAL, &socket(LOCAL));
    });
}

#[test]
fn detached_sockets_receive_at_loopback_after_the_ulid_is_gone() {
    in_netns(|| {
        host();
        let s = socket("::");
        s.connect(peer_port()).unwrap();
        run("ip link set d0 down");
        run(&format!("sh -c '! ip -6 addr show | grep -q {LOCAL}'"));
        // connect(AF_UNSPEC) keeps the port that was bound explicitly.
        let unspecified = libc::sockaddr { sa_family: libc::AF_UNSPEC as u16, sa_data: [0; 14] };
        use std::os::fd::AsRawFd;
        sys::connect(s.as_raw_fd(), &unspecified, size_of::<libc::sockaddr>()).unwrap();
        assert_eq!(s.local_addr().unwrap().port(), 5000);
        reaches("::1", &s);
    });
}

// Equal datagrams of a flow go as one frame, which the kernel cuts into the datagrams that they were.
#[test]
fn a_train_of_datagrams_is_one_frame() {
    in_netns(|| {
        host();
        let s = socket("::");
        let mut way = Injector::with(Injector::packet().unwrap());
        let mut other = datagram(b"other port");
        other[..2].copy_from_slice(&6001u16.to_be_bytes());
        for n in [100, 100, 100, 99, 100] {
            way.push(header(LOCAL), &datagram(&vec![n; n.into()]));
        }
        way.push(header(LOCAL), &other);
        for _ in 0..100 {
            way.push(header(LOCAL), &datagram(&[7; 1000]));
        }
        let shape: Vec<_> = way.frames.iter().map(|f| f.segments).collect();
        assert_eq!(shape, [4, 1, 1, 64, 36]);
        way.flush();
        assert_eq!((way.injected, way.failed), (106, 0));
        let Way::Packet { gso, .. } = way.way else { panic!("another way") };
        for n in [100, 100, 100, 99, 100] {
            assert_eq!(receive(&s), vec![n; n.into()]);
        }
        let mut buf = [0; 100];
        assert_eq!(s.recv_from(&mut buf).unwrap().1.port(), 6001);
        for _ in 0..100 {
            assert_eq!(receive(&s), [7; 1000]);
        }
        println!("kernel takes GSO frames: {gso}");
    });
}

#[test]
fn a_frame_splits_into_what_it_was_made_of() {
    let parts: Vec<_> = [50, 50, 20].iter().map(|n| datagram(&vec![*n; *n as usize])).collect();
    let octets = [&[0; UPPER][..], &parts[0]].concat();
    let mut f = Frame { header: header(LOCAL), octets, segment: 50, segments: 1, open: true };
    assert!(f.append(header(LOCAL), &parts[1]) && f.append(header(LOCAL), &parts[2]));
    assert!(!f.append(header(LOCAL), &parts[2]), "a shorter one ends the frame");
    f.finish();
    let split = f.split();
    assert_eq!(split.len(), 3);
    for ((_, got), want) in split.iter().zip(&parts) {
        assert_eq!((&got[..4], &got[8..]), (&want[..4], &want[8..]), "all but length and checksum");
    }
}

// ECN and hop limit of the outer packet are those that the application sees.
#[test]
fn traffic_class_and_hop_limit_survive() {
    in_netns(|| {
        host();
        let s = socket("::");
        use std::os::fd::AsRawFd;
        sys::set_option(s.as_raw_fd(), libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, &1i32).unwrap();
        sys::set_option(s.as_raw_fd(), libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT, &1i32).unwrap();
        for (_, mut way) in ways() {
            way.push(header(LOCAL), &datagram(b"x"));
            way.flush();
            let mut control = [0u64; 16];
            // SAFETY: an all-zero `msghdr` is valid.
            let mut m: libc::msghdr = unsafe { std::mem::zeroed() };
            m.msg_control = control.as_mut_ptr().cast();
            m.msg_controllen = 128;
            // SAFETY: the control buffer is as long as said.
            unsafe { sys::recvmsg(s.as_raw_fd(), &mut m, 0) }.unwrap();
            let words: Vec<u32> = control.iter().flat_map(|w| [*w as u32, (*w >> 32) as u32]).collect();
            let value = |ty: i32| words.windows(3).find(|w| w[0] == 41 && w[1] == ty as u32).map(|w| w[2]);
            assert_eq!((value(libc::IPV6_TCLASS), value(libc::IPV6_HOPLIMIT)), (Some(2), Some(61)));
        }
    });
}
