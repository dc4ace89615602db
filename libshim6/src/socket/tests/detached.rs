//! Sockets whose address has gone, or that the kernel serves differently because of the shim.

use super::*;

// API-EX-01, API-EX-02, API-EX-03
#[test]
fn a_socket_outlives_its_local_ulid() {
    world(|| {
        let peer = neighbour(6000);
        let c = Sock::new();
        c.connect(at(P, 6000));
        let (local, _) = c.names();
        let ulid = *local.ip();
        assert_eq!(ulid, ip(A));
        let pair = Recorder.cell(UlidPair { local: ulid, peer: ip(P) }).unwrap();
        let epoll = nix::sys::epoll::Epoll::new(nix::sys::epoll::EpollCreateFlags::empty()).unwrap();
        // SAFETY: the socket is open while this is used.
        let borrowed = unsafe { std::os::fd::BorrowedFd::borrow_raw(c.0) };
        let event = nix::sys::epoll::EpollEvent::new(nix::sys::epoll::EpollFlags::EPOLLIN, 1);
        epoll.add(borrowed, event).unwrap();
        let ready = || {
            let mut events = [nix::sys::epoll::EpollEvent::empty(); 1];
            epoll.wait(&mut events, 20u16).unwrap() == 1
        };
        // No context: nothing is done.
        assert_eq!(Sockets.local_ulid_lost(ulid), UlidLoss::Handled);
        assert_eq!(table::peek(c.0).unwrap().mode(), Mode::Connected);
        Sockets.local_ulid_back(ulid);
        associate(&pair, false);
        run(&format!("ip addr del {ulid}/64 dev d0"));
        assert_eq!(Sockets.local_ulid_lost(ulid), UlidLoss::Handled);
        assert_eq!(table::peek(c.0).unwrap().mode(), Mode::Detached);
        assert_eq!(c.names(), (local, at(P, 6000)));
        let flow = FlowId { protocol: 17, local_port: local.port(), peer_port: 6000 };
        assert_eq!(Sockets.deliver_to(pair.ulids(), flow), Some(DeliverTo::Loopback));
        assert_eq!(Sockets.descriptors(pair.ulids()), [c.0]);
        assert!(Sockets.in_use(pair.ulids()) && Sockets.serves(pair.ulids(), Some(flow)));
        // Strangers do not get in, not even into poll; the peer does.
        assert!(!ready());
        let stranger = Sock::bound(at("2001:db8:3::1", 6001));
        stranger.send_to(b"psst", at("2001:db8:3::1", local.port())).unwrap();
        inject(P, "::1", 6009, local.port(), b"wrong port");
        assert!(!ready());
        assert!(!Sockets.has_unread(pair.ulids()));
        assert_eq!(c.recv(), Err(libc::EAGAIN));
        inject(P, "::1", 6000, local.port(), b"injected");
        assert!(ready());
        assert!(Sockets.has_unread(pair.ulids()));
        assert_eq!(c.recv(), Ok((b"injected".to_vec(), at(P, 6000))));
        assert_eq!(pair.sample().received, 1);
        // No source any more, but other pairs: lost, not refused.
        assert_eq!(c.send(b"lost"), Ok(4));
        assert_eq!(REFUSED.lock().unwrap().len(), 1);
        associate(&pair, true);
        assert_eq!(c.send(b"moved"), Ok(5));
        assert_eq!(SENT.lock().unwrap().len(), 1);
        // Back again: by the kernel, from the ULID, to the peer.
        add_address(&ulid.to_string());
        Sockets.local_ulid_back(ulid);
        associate(&pair, false);
        assert_eq!(Sockets.deliver_to(pair.ulids(), flow), Some(DeliverTo::Ulid));
        assert_eq!(table::peek(c.0).unwrap().mode(), Mode::Connected);
        assert_eq!(sys::local_name(c.0), Some(local));
        assert_eq!(c.send(b"home"), Ok(4));
        assert_eq!(peer.recv_soon(), (b"home".to_vec(), local));
        assert_eq!(peer.send_to(b"welcome", local), Ok(7));
        assert!((0..50).any(|_| ready()));
        assert_eq!(c.recv(), Ok((b"welcome".to_vec(), at(P, 6000))));
        // The application connects it elsewhere: an ordinary socket again.
        c.connect(at("2001:db8:3::1", 6001));
        assert_eq!(table::peek(c.0).unwrap().mode(), Mode::Connected);
        assert_eq!(c.send(b"new"), Ok(3));
        let (_, from) = stranger.recv_soon();
        stranger.send_to(b"hello", from).unwrap();
        assert_eq!(c.recv_soon().0, b"hello");
    });
}

/// A program that calls exec has the kernel's socket alone to tell the next one what it was.
#[test]
fn a_detached_socket_is_known_again_after_exec() {
    world(|| {
        let peer = neighbour(6000);
        for back in [false, true] {
            let c = Sock::new();
            c.connect(at(P, 6000));
            let (local, _) = c.names();
            let pair = Recorder.cell(UlidPair { local: *local.ip(), peer: ip(P) }).unwrap();
            associate(&pair, false);
            run(&format!("ip addr del {}/64 dev d0", local.ip()));
            assert_eq!(Sockets.local_ulid_lost(*local.ip()), UlidLoss::Handled);
            assert_eq!(table::peek(c.0).unwrap().mode(), Mode::Detached);
            // All that exec leaves is the descriptor.
            table::forget(c.0);
            Sockets.local_ulid_back(*local.ip());
            if back {
                add_address(&local.ip().to_string());
            }
            ops::recognise();
            let mode = if back { Mode::Connected } else { Mode::Detached };
            assert_eq!(table::peek(c.0).map(|s| s.mode()), Some(mode), "{back}");
            assert_eq!(c.names(), (local, at(P, 6000)));
            let flow = FlowId { protocol: 17, local_port: local.port(), peer_port: 6000 };
            let to = if back { DeliverTo::Ulid } else { DeliverTo::Loopback };
            assert_eq!(Sockets.deliver_to(pair.ulids(), flow), Some(to));
            if !back {
                inject(P, "::1", 6000, local.port(), b"injected");
                assert_eq!(c.recv_soon().0, b"injected");
                add_address(&local.ip().to_string());
                Sockets.local_ulid_back(*local.ip());
            }
            associate(&pair, false);
            assert_eq!(c.send(b"home"), Ok(4));
            assert_eq!(peer.recv_soon(), (b"home".to_vec(), local));
        }
        // Others, and those with a filter of the application, are left alone.
        let c = Sock::bound(at("::", 0));
        table::forget(c.0);
        ops::recognise();
        assert!(table::peek(c.0).is_none());
    });
}

/// A source with an identity that the kernel does not prefer ends with the connection, as one that the kernel chose; the
/// socket outlives its loss. One that the application bound is kept.
#[test]
fn a_source_that_the_shim_chooses_is_given_up_like_one_of_the_kernel() {
    const IDENTITY: &str = "2001:db8:1::2";
    world(|| {
        let disconnected = |c: &Sock| {
            c.disconnect();
            *sys::local_name(c.0).unwrap().ip()
        };
        let chosen = Sock::new();
        chosen.connect(at(P, 6000));
        assert_eq!(*chosen.names().0.ip(), ip(A));
        associate(&cell(A, P), false);
        assert!(!table::peek(chosen.0).unwrap().has(flag::APP_BOUND));
        assert_eq!(disconnected(&chosen), Ipv6Addr::UNSPECIFIED);

        // Deprecated, so that the kernel does not choose it.
        run(&format!("ip addr add {IDENTITY}/64 dev d0 nodad preferred_lft 0"));
        wait_until_local(IDENTITY);
        let ours = Sock::new();
        ours.connect(at(P, 6000));
        assert_eq!(*ours.names().0.ip(), ip(IDENTITY));
        associate(&cell(IDENTITY, P), false);
        assert!(!table::peek(ours.0).unwrap().has(flag::APP_BOUND));
        assert_eq!(Sockets.local_ulid_lost(ip(IDENTITY)), UlidLoss::Handled);
        assert_eq!(table::peek(ours.0).unwrap().mode(), Mode::Detached);
        Sockets.local_ulid_back(ip(IDENTITY));
        assert_eq!(table::peek(ours.0).unwrap().mode(), Mode::Connected);
        assert_eq!(*sys::local_name(ours.0).unwrap().ip(), ip(IDENTITY));
        assert_eq!(disconnected(&ours), Ipv6Addr::UNSPECIFIED);

        // The application's own choice is never changed.
        let theirs = Sock::bound(at(A, 0));
        theirs.connect(at(P, 6000));
        assert_eq!(*theirs.names().0.ip(), ip(A));
        assert!(table::peek(theirs.0).unwrap().has(flag::APP_BOUND));
        assert_eq!(disconnected(&theirs), ip(A));
    });
}

/// What is re-injected comes by `lo`, where such a socket does not listen.
#[test]
fn a_socket_on_an_interface_is_the_kernels_alone() {
    world(|| {
        let peer = neighbour(6000);
        let bind_to = |fd, name: &[u8]| {
            // SAFETY: `name` is readable for its length.
            let r = unsafe {
                let (p, len) = (name.as_ptr().cast(), name.len() as socklen_t);
                ops::setsockopt(fd, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, p, len)
            };
            assert_eq!(r, Ok(0));
        };
        let mode = |c: &Sock| table::peek(c.0).unwrap().mode();
        let early = Sock::new();
        bind_to(early.0, b"d0");
        early.connect(at(P, 6000));
        assert_eq!(mode(&early), Mode::Plain);
        assert_eq!(early.send(b"hello"), Ok(5));
        assert_eq!(peer.recv_soon().0, b"hello");

        let c = Sock::new();
        c.connect(at(P, 6000));
        let (local, _) = c.names();
        let pair = Recorder.cell(UlidPair { local: *local.ip(), peer: ip(P) }).unwrap();
        associate(&pair, true);
        let flow = FlowId { protocol: 17, local_port: local.port(), peer_port: 6000 };
        assert!(Sockets.serves(pair.ulids(), Some(flow)));
        bind_to(c.0, b"d0");
        assert_eq!(mode(&c), Mode::Plain);
        assert!(!Sockets.serves(pair.ulids(), Some(flow)));
        assert_eq!(c.send(b"by the kernel"), Ok(13));
        assert_eq!(peer.recv_soon(), (b"by the kernel".to_vec(), local));
        // Known from elsewhere, it is asked for.
        table::forget(c.0);
        c.connect(at(P, 6000));
        assert_eq!(mode(&c), Mode::Plain);
        bind_to(c.0, b"");
        assert_eq!(mode(&c), Mode::Connected);
        associate(&pair, true);
        SENT.lock().unwrap().clear();
        assert_eq!(c.send(b"elsewhere"), Ok(9));
        assert_eq!(SENT.lock().unwrap().len(), 1);
    });
}

#[test]
fn a_bound_socket_needs_its_address_kept() {
    world(|| {
        let c = Sock::bound(at(A, 0));
        c.connect(at(P, 7));
        associate(&cell(A, P), false);
        assert_eq!(Sockets.local_ulid_lost(ip(A)), UlidLoss::NeedsAddress);
        assert_eq!(Sockets.local_ulid_lost(ip(B)), UlidLoss::Handled);
        Sockets.local_ulid_back(ip(A));
        Sockets.local_ulid_back(ip(B));
    });
}

// API-EX-04
#[test]
fn a_wildcard_socket_shows_the_ulid_for_what_was_injected_to_loopback() {
    world(|| {
        let s = Sock::bound(at("::", 5002));
        let on: c_int = 1;
        // SAFETY: the buffer outlives the call.
        let r = unsafe {
            ops::setsockopt(s.0, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, (&raw const on).cast(), 4)
        };
        assert_eq!(r, Ok(0));
        inject(P, A, 40, 5002, b"first");
        assert_eq!(s.recv_soon().1, at(P, 40));
        let pair = cell(A, P);
        assert_eq!(pair.sample().received, 1);
        associate(&pair, true);
        assert_eq!(Sockets.local_ulid_lost(ip(A)), UlidLoss::Handled);
        let flow = FlowId { protocol: 17, local_port: 5002, peer_port: 41 };
        assert_eq!(Sockets.deliver_to(pair.ulids(), flow), Some(DeliverTo::Loopback));
        for port in [40, 41] {
            // From a known port of the peer, and from one not heard before.
            inject(P, "::1", port, 5002, b"again");
            let mut b = [0u8; 16];
            let mut control = [0u64; 16];
            let mut iov = libc::iovec { iov_base: b.as_mut_ptr().cast(), iov_len: b.len() };
            // SAFETY: all zero is a valid value.
            let mut msg: libc::msghdr = unsafe { std::mem::zeroed() };
            (msg.msg_iov, msg.msg_iovlen) = (&raw mut iov, 1);
            (msg.msg_control, msg.msg_controllen) = (control.as_mut_ptr().cast(), size_of_val(&control));
            // SAFETY: the header points to locals.
            assert_eq!(unsafe { ops::recvmsg(s.0, &raw mut msg, 0) }, Ok(5));
            // SAFETY: the kernel wrote that many octets.
            let octets =
                unsafe { std::slice::from_raw_parts(control.as_ptr().cast::<u8>(), msg.msg_controllen) };
            assert_eq!(super::super::cmsg::destination(octets), Some(ip(A)));
        }
        assert_eq!(pair.sample().received, 3);
        assert_eq!(s.send_to(b"answer", at(P, 41)), Ok(6));
        assert_eq!(SENT.lock().unwrap().len(), 1);
        Sockets.local_ulid_back(ip(A));
    });
}

#[test]
fn a_detached_socket_keeps_its_port_also_with_reuse() {
    world(|| {
        for name in [0, libc::SO_REUSEADDR, libc::SO_REUSEPORT] {
            let c = Sock::new();
            if name != 0 {
                sys::set_int(c.0, libc::SOL_SOCKET, name, 1).unwrap();
            }
            c.connect(at(B, 9));
            let (local, _) = c.names();
            let pair = Recorder.cell(UlidPair { local: *local.ip(), peer: ip(B) }).unwrap();
            associate(&pair, false);
            assert_eq!(Sockets.local_ulid_lost(*local.ip()), UlidLoss::Handled);
            assert_eq!(table::peek(c.0).unwrap().mode(), Mode::Detached);
            // The kernel's view: wildcard, and the port of old
            assert_eq!(sys::local_name(c.0).unwrap(), at("::", local.port()));
            if name != 0 {
                assert_eq!(sys::int_option(c.0, libc::SOL_SOCKET, name), Ok(1));
            }
        }
    });
}
