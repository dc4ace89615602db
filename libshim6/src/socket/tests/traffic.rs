//! What is sent and received: which context counts it, and by which pair it goes.

use super::*;

// API-GEN-14, S6-E-3
#[test]
fn a_connected_socket_counts_for_its_pair_and_wakes_once() {
    world(|| {
        let s = Sock::bound(at(B, 0));
        // Left to itself the kernel talks to its own B from B.
        let c = Sock::bound(at(A, 0));
        c.connect(at(B, s.port()));
        let local = sys::local_name(c.0).unwrap();
        let cell = Recorder.cell(UlidPair { local: *local.ip(), peer: ip(B) }).unwrap();
        assert_eq!(c.send(b"abc"), Ok(3));
        assert_eq!(c.send(b""), Ok(0));
        assert_eq!(s.recv_soon().1, local);
        assert_eq!(s.send_to(b"answer", local), Ok(6));
        assert_eq!(c.recv_soon().0, b"answer");
        let sample = cell.sample();
        assert_eq!((sample.sent, sample.received, sample.bytes), (2, 1, 9));
        let flow = FlowId { protocol: 17, local_port: local.port(), peer_port: s.port() };
        let woken = WOKEN.lock().unwrap().iter().filter(|w| **w == (cell.ulids(), Some(flow))).count();
        assert_eq!(woken, 2, "once by the first sent, once by the first received");
        // The server's side: its own pair, the other way round.
        let there = self::cell(B, &local.ip().to_string()).sample();
        assert_eq!((there.sent, there.received, there.bytes), (1, 1, 9));
        assert!(SENT.lock().unwrap().is_empty());
    });
}

// API-FK-17: answers go by the pair by which the peer was last heard.
#[test]
fn a_wildcard_server_answers_by_the_pair_that_it_was_asked_by() {
    world(|| {
        let s = Sock::bound(at("::", 5000));
        let c = Sock::bound(at(A, 5001));
        // The kernel alone would answer A from A, not from B.
        assert_eq!(c.send_to(b"q", at(B, 5000)), Ok(1));
        let (_, from) = s.recv_soon();
        assert_eq!(from, at(A, 5001));
        assert_eq!(s.send_to(b"plain", from), Ok(5));
        assert_eq!(c.recv_soon().1, at(A, 5000), "without a context the kernel's choice stays");
        let pair = cell(B, A);
        associate(&pair, false);
        assert_eq!(s.send_to(b"context", from), Ok(7));
        assert_eq!(c.recv_soon(), (b"context".to_vec(), at(B, 5000)));
        assert_eq!(pair.sample().received, 1);
        associate(&pair, true);
        assert_eq!(s.send_to(b"moved", from), Ok(5));
        assert_eq!(c.recv(), Err(libc::EAGAIN));
        let sent = SENT.lock().unwrap();
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].0, pair.ulids());
        let wanted = build_udp(pair.ulids(), 5000, 5001, &[IoSlice::new(b"moved")]).unwrap();
        assert_eq!(sent[0].1, wanted);
    });
}

// LS-S-14, LS-S-15, LS-S-22
#[test]
fn a_flow_without_header_is_found_without_a_lock_until_it_moves() {
    world(|| {
        const C: &str = "2001:db8:3::1";
        let s = Sock::bound(at("::", 5000));
        // One host at two addresses
        let (ulid, locator) = (Sock::bound(at(A, 5001)), Sock::bound(at(C, 5001)));
        assert_eq!(ulid.send_to(b"q", at(B, 5000)), Ok(1));
        let (_, from) = s.recv_soon();
        let pair = cell(B, A);
        let goes = |local, peer| {
            let locators = LocatorPair { local: ip(local), peer: ip(peer) };
            let forward = Forward::new(locators, 1, ContextTag::new(5), 1500);
            pair.set_forward(Some(Forward { bare: Bare::All, ..forward }));
        };
        let known = |from: &SocketAddrV6, to| {
            let detours = &table::peek(s.0).unwrap().recent.detours;
            (
                detours.outgoing(from).map(|(l, _)| l.local),
                detours.incoming(&at(C, 5001), ip(to)).map(|(u, _)| u),
            )
        };
        pair.set_view(ContextView {
            associated: true,
            current: Some(pair.ulids().as_locators()),
            local: vec![info(A), info(B)],
            peer: vec![info(A), info(C)],
            takes_bare: Bare::KnownFlows,
            ..ContextView::default()
        });
        for source in [B, A] {
            goes(source, C);
            assert_eq!(known(&from, source), (None, None));
            for _ in 0..3 {
                assert_eq!(s.send_to(b"moved", from), Ok(5));
                assert_eq!(s.send_batch(b"as one", &[from, from]), 2);
                for data in [&b"moved"[..], b"as one", b"as one"] {
                    assert_eq!(locator.recv_soon(), (data.to_vec(), at(source, 5000)));
                }
                assert_eq!(locator.send_to(b"answer", at(source, 5000)), Ok(6));
                assert_eq!(s.recv_soon(), (b"answer".to_vec(), from), "the address that the program knows");
                assert_eq!(known(&from, source), (Some(ip(source)), Some(pair.ulids())));
            }
        }
        assert_eq!(pair.sample().received, 7);
        assert_eq!(pair.sample().sent, 18);
        // A session between just these addresses is not the context's.
        s.send_to(b"question", at(C, 5001)).unwrap();
        assert_eq!(locator.recv_soon().0, b"question");
        pair.set_forward(None);
        assert_eq!(s.send_to(b"back", from), Ok(4));
        assert_eq!(ulid.recv_soon(), (b"back".to_vec(), at(B, 5000)));
        assert!(SENT.lock().unwrap().is_empty());
        // What the kernel refuses counts as lost, as by any other way.
        goes("2001:db8:77::1", C);
        for _ in 0..2 {
            assert_eq!(s.send_to(b"lost", from), Ok(4));
        }
        assert_eq!(*REFUSED.lock().unwrap(), [pair.ulids(); 2]);
    });
}

// API-FK-17: also those that are sent by one call, of which each has the source that its peer needs.
#[test]
fn a_wildcard_server_answers_many_at_once() {
    world(|| {
        let s = Sock::bound(at("::", 5000));
        let clients = [5001, 5002, 5003].map(|port| Sock::bound(at(A, port)));
        for (c, asked) in clients.iter().zip([B, A, B]) {
            assert_eq!(c.send_to(b"question", at(asked, 5000)), Ok(8));
        }
        let mut asked = Vec::new();
        while asked.len() < 3 {
            s.wait_readable();
            asked.extend(s.recv_batch(true).into_iter().filter_map(|(_, from)| from));
        }
        asked.sort();
        assert_eq!(asked, [5001, 5002, 5003].map(|port| at(A, port)));
        let answers = |sources: [&str; 3]| {
            assert_eq!(s.send_batch(b"answer", &asked), 3);
            for (c, source) in clients.iter().zip(sources) {
                assert_eq!(c.recv_soon(), (b"answer".to_vec(), at(source, 5000)));
            }
        };
        answers([A, A, A]);
        let pair = cell(B, A);
        associate(&pair, false);
        let before = pair.sample();
        answers([B, A, B]);
        assert_eq!((before.received, pair.sample().sent - before.sent), (2, 2));
        // One that nobody knows among them
        assert_eq!(s.send_batch(b"answer", &[asked[2], at(A, 5009), asked[0]]), 3);
        for c in [&clients[0], &clients[2]] {
            assert_eq!(c.recv_soon(), (b"answer".to_vec(), at(B, 5000)));
        }
        associate(&pair, true);
        assert_eq!(s.send_batch(b"moved", &asked), 3);
        assert_eq!(SENT.lock().unwrap().len(), 2);
        assert_eq!(clients[1].recv_soon(), (b"moved".to_vec(), at(A, 5000)));
        associate(&pair, false);
        // The kernel refuses a source that the host does not have: lost on the way, like one that is sent alone.
        run(&format!("ip addr del {B}/64 dev d0"));
        assert_eq!((s.send_batch(b"refused", &asked), s.send_to(b"refused", asked[0])), (1, Ok(7)));
        assert_eq!(*REFUSED.lock().unwrap(), [pair.ulids(); 2]);
    });
}

// API-FK-17: also where the kernel tells so much else that the application has no room for.
#[test]
fn a_peer_is_heard_behind_timestamps_that_nobody_reads() {
    world(|| {
        let s = Sock::bound(at("::", 5000));
        let c = Sock::bound(at(A, 5001));
        let stamps = libc::SOF_TIMESTAMPING_RX_SOFTWARE
            | libc::SOF_TIMESTAMPING_SOFTWARE
            | 1 << 13 /* SOF_TIMESTAMPING_OPT_PKTINFO */;
        for (level, name, value) in [
            (libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1),
            (libc::SOL_SOCKET, libc::SO_TIMESTAMPING, stamps),
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1),
            (libc::SOL_UDP, libc::UDP_GRO, 1),
            (libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT, 1),
            (libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, 1),
        ] {
            // SAFETY: `value` outlives the call.
            let r = unsafe { real::setsockopt(s.0, level, name, (&raw const value).cast(), 4) };
            assert_eq!(r, 0, "{level} {name}: {}", io::Error::last_os_error());
        }
        let pair = cell(B, A);
        associate(&pair, false);
        // The kernel alone would answer A from A, not from B.
        assert_eq!(c.send_to(b"no room", at(B, 5000)), Ok(7));
        assert_eq!(s.recv_message(0), (7, 0, libc::MSG_CTRUNC));
        assert_eq!(s.send_to(b"context", at(A, 5001)), Ok(7));
        assert_eq!(c.recv_soon(), (b"context".to_vec(), at(B, 5000)));
        for (room, told) in [(16, 16), (24, 24), (32, 32), (100, 96), (139, 139), (140, 140), (400, 144)] {
            assert_eq!(c.send_to(b"room", at(B, 5000)), Ok(4));
            let cut = if room < 140 { libc::MSG_CTRUNC } else { 0 };
            assert_eq!(s.recv_message(room), (4, told, cut), "{room}");
        }
        assert_eq!(c.send_to(b"no message", at(B, 5000)), Ok(10));
        assert_eq!(s.recv_soon(), (b"no message".to_vec(), at(A, 5001)));
        assert_eq!(pair.sample().received, 9);
    });
}

/// Is the kernel asked to which address a datagram came?
fn asks_for_destinations(s: &Sock) -> bool {
    table::peek(s.0).unwrap().has(flag::OUR_PKTINFO)
}

#[test]
fn a_server_with_an_address_need_not_ask_to_which_one_a_datagram_came() {
    world(|| {
        let (s, c) = (Sock::bound(at(B, 5000)), Sock::bound(at(A, 5001)));
        let pair = cell(B, A);
        for i in 1..=3 {
            assert_eq!(c.send_to(b"question", at(B, 5000)), Ok(8));
            assert_eq!(s.recv_soon(), (b"question".to_vec(), at(A, 5001)));
            assert_eq!(s.send_to(b"answer", at(A, 5001)), Ok(6));
            let sample = pair.sample();
            assert_eq!((sample.received, sample.sent), (i, i));
        }
        assert!(!asks_for_destinations(&s));
        // Two of four, with and without room for the source
        for named in [true, false] {
            for _ in 0..2 {
                assert_eq!(c.send_to(b"question", at(B, 5000)), Ok(8));
            }
            let mut came = Vec::new();
            while came.len() < 2 {
                s.wait_readable();
                came.extend(s.recv_batch(named));
            }
            assert_eq!(came, [(8, named.then_some(at(A, 5001))); 2]);
        }
        assert_eq!(pair.sample().received, 7);
        // Without a peer again it is bound as before; without an address it has to ask.
        s.connect(at(A, 5001));
        s.disconnect();
        assert!(!asks_for_destinations(&s));
        let w = Sock::bound(at("::", 0));
        assert!(asks_for_destinations(&w));
        w.connect(at(B, 5000));
        assert!(!asks_for_destinations(&w));
        w.disconnect();
        assert!(asks_for_destinations(&w));
    });
}

#[test]
fn the_sockets_of_a_pair_are_known_at_any_time() {
    world(|| {
        let users = |local, peer| Sockets.descriptors(pair(local, peer));
        let (s, c) = (Sock::bound(at(B, 5000)), Sock::bound(at(A, 5001)));
        assert_eq!(users(A, B), []);
        // Two peers of one pair, then one more by connect
        for port in [5000, 5002] {
            assert_eq!(c.send_to(b"datagram", at(B, port)), Ok(8));
        }
        s.recv_soon();
        assert_eq!((users(A, B), users(B, A)), (vec![c.0], vec![s.0]));
        c.connect(at(B, 5000));
        assert_eq!(users(A, B), [c.0]);
        c.connect(at(P, 6000));
        assert_eq!((users(A, B), users(A, P)), (vec![], vec![c.0]));
        // A connected socket that names another peer
        assert_eq!(c.send_to(b"datagram", at(B, 5000)), Ok(8));
        assert_eq!(users(A, P), [c.0]);
        c.disconnect();
        assert_eq!(users(A, P), []);
        assert_eq!(c.send_to(b"datagram", at(B, 5000)), Ok(8));
        assert_eq!(users(A, B), [c.0]);
        // By its duplicate, when the first descriptor is closed
        // SAFETY: plain integers.
        let copy = Sock(unsafe { ops::dup(c.0) });
        drop(c);
        assert_eq!(users(A, B), [copy.0]);
        drop(copy);
        assert_eq!((users(A, B), users(B, A)), (vec![], vec![s.0]));
    });
}

// API-EX-12, API-DONT-06, API-DONT-12
#[test]
fn a_rehomed_pair_is_sent_by_the_engine() {
    world(|| {
        let c = Sock::new();
        c.connect(at(P, 7));
        let local = sys::local_name(c.0).unwrap();
        let pair = Recorder.cell(UlidPair { local: *local.ip(), peer: ip(P) }).unwrap();
        associate(&pair, true);
        assert_eq!(c.send(b"one"), Ok(3));
        assert_eq!(c.send(b""), Ok(0));
        assert_eq!(c.send(&[0; 65_527]), Ok(65_527));
        assert_eq!(c.send(&[0; 65_528]), Err(libc::EMSGSIZE));
        assert_eq!(c.send_to(b"same", at(P, 7)), Ok(4));
        let on: c_int = 2;
        // SAFETY: the buffer outlives the call.
        let set =
            |level, name, v: &c_int| unsafe { ops::setsockopt(c.0, level, name, (&raw const *v).cast(), 4) };
        assert_eq!(set(libc::IPPROTO_UDP, 103, &on), Ok(0));
        assert_eq!(c.send(b"abcde"), Ok(5));
        assert_eq!(set(libc::IPPROTO_UDP, 103, &0), Ok(0));
        // Two parts, three messages, one of them to another port.
        let iov = [b"x".as_slice(), b"yz"]
            .map(|b| libc::iovec { iov_base: b.as_ptr().cast_mut().cast(), iov_len: b.len() });
        let mut other = sys::to_raw(&at(P, 8));
        // SAFETY: all zero is a valid value.
        let mut msgs: [libc::mmsghdr; 3] = unsafe { std::mem::zeroed() };
        for m in &mut msgs {
            m.msg_hdr.msg_iov = iov.as_ptr().cast_mut();
            m.msg_hdr.msg_iovlen = 2;
        }
        msgs[2].msg_hdr.msg_name = (&raw mut other).cast();
        msgs[2].msg_hdr.msg_namelen = size_of_val(&other) as socklen_t;
        // SAFETY: the headers point to locals.
        assert_eq!(unsafe { ops::sendmmsg(c.0, msgs.as_mut_ptr(), 3, 0) }, Ok(3));
        assert!(msgs.iter().all(|m| m.msg_len == 3));
        let data =
            |bytes: &[u8], port| build_udp(pair.ulids(), local.port(), port, &[IoSlice::new(bytes)]).unwrap();
        let mut sent: Vec<Vec<u8>> = SENT.lock().unwrap().drain(..).map(|s| s.1).collect();
        let long = sent.remove(2);
        assert_eq!(long.len(), 65_535);
        let wanted = [
            data(b"one", 7),
            data(b"", 7),
            data(b"same", 7),
            data(b"ab", 7),
            data(b"cd", 7),
            data(b"e", 7),
            data(b"xyz", 7),
            data(b"xyz", 7),
            data(b"xyz", 8),
        ];
        assert_eq!(sent, wanted);
        assert_eq!(pair.sample().sent, 8, "datagrams as the application sent them");
        assert_eq!(set(0x5533, 2, &1), Ok(0));
        assert_eq!(c.send(b"by the kernel"), Ok(13));
        assert!(SENT.lock().unwrap().is_empty());
        assert_eq!(pair.sample().sent, 8);
    });
}

#[test]
fn a_refused_send_counts_as_lost_where_the_context_has_other_pairs() {
    world(|| {
        let c = Sock::new();
        c.connect(at(P, 7));
        let local = sys::local_name(c.0).unwrap();
        run("ip -6 route del 2001:db8:1::/64 dev d0");
        assert_eq!(c.send(b"x"), Err(libc::ENETUNREACH));
        let pair = Recorder.cell(UlidPair { local: *local.ip(), peer: ip(P) }).unwrap();
        associate(&pair, false);
        let own = build_udp(pair.ulids(), c.port(), 7, &[IoSlice::new(b"four")]).unwrap();
        assert_eq!(c.send(b"four"), Ok(4));
        assert_eq!(*REFUSED.lock().unwrap(), [pair.ulids()]);
        // It waits for the pair that takes over
        let waiting = || pair.resend.take_refused(backend::now());
        assert_eq!(waiting().iter().map(|k| (k.protocol, &k.packet)).collect::<Vec<_>>(), [(17, &own)]);
        let mut data = *b"four";
        let mut parts = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: 4 };
        // SAFETY: all zero is a valid value of these plain structures.
        let mut batch: [libc::mmsghdr; 2] = unsafe { std::mem::zeroed() };
        batch.iter_mut().for_each(|m| (m.msg_hdr.msg_iov, m.msg_hdr.msg_iovlen) = (&raw mut parts, 1));
        // SAFETY: the headers point to the buffer above.
        assert_eq!(unsafe { ops::sendmmsg(c.0, batch.as_mut_ptr(), 2, 0) }, Ok(1));
        assert_eq!(waiting().iter().filter(|k| k.packet == own).count(), 1);
        let unconnected = Sock::bound(at("::", 0));
        assert_eq!(unconnected.send_to(b"four", at(P, 7)), Err(libc::ENETUNREACH));
        assert!(waiting().is_empty(), "nothing is known of that peer");
    });
}

// API-CM-36: REAP's timers hear of a datagram by the count of the context, however it went.
#[test]
fn a_datagram_with_locators_of_its_own_counts_for_the_context() {
    world(|| {
        let (one, _two, pair) = two_of_one_pair();
        let mut name = [0; 28];
        name[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
        name[8..24].copy_from_slice(&ip(B).octets());
        let woken = |pair: &Cell| WOKEN.lock().unwrap().iter().filter(|w| w.0 == pair.ulids()).count();
        let wake = crate::engine::Wake { on_sent: true, after_bytes: Some(1000), ..Default::default() };
        pair.set_wake(wake);
        let before = woken(&pair);
        assert_eq!(one.send_with(Some(b"by another"), 8, &name), Ok(10));
        assert_eq!(SENT.lock().unwrap().len(), 1);
        let sample = pair.sample();
        assert_eq!((sample.sent, sample.bytes, woken(&pair)), (1, 10, before + 1));
    });
}
