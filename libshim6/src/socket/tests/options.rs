//! What options show and set.

use super::*;

// API-ASSOC-04, API-ASSOC-08, API-ASSOC-09, API-DONT-07, API-LLL-05, API-LLL-09, API-LLL-10, API-LLR-05, API-LLR-11,
// API-GEN-13, API-GEN-15
#[test]
fn the_options_show_the_context() {
    world(|| {
        let c = Sock::new();
        c.connect(at(P, 7));
        let pair = cell(&sys::local_name(c.0).unwrap().ip().to_string(), P);
        let (d08, rfc) = (0x5533, 0x6316);
        let associated = |level| i32::from_ne_bytes(c.shim(level, 1, 4).unwrap().try_into().unwrap());
        assert_eq!((associated(d08), associated(rfc)), (0, 0));
        associate(&pair, false);
        assert_eq!((associated(d08), associated(rfc)), (1, 1));
        let local = c.shim(d08, 10, 640).unwrap();
        assert_eq!(local.len(), 40);
        assert_eq!(local[4..20], ip(A).octets());
        assert_eq!(local[24..40], ip(B).octets());
        let peer = c.shim(rfc, 11, 1024).unwrap();
        assert_eq!((peer.len(), &peer[12..28]), (32, &ip("2001:db8:9::9").octets()[..]));
        assert_eq!(c.shim(rfc, 10, 63), Err(5504));
        assert_eq!(c.shim(d08, 10, 39), Err(libc::EINVAL));
        let one: c_int = 1;
        // SAFETY: the buffer outlives the call.
        let set = |level| unsafe { ops::setsockopt(c.0, level, 2, (&raw const one).cast(), 4) };
        assert_eq!(set(rfc), Ok(-1));
        assert_eq!(guard::errno(), libc::EOPNOTSUPP);
        assert_eq!(associated(rfc), 1);
        assert_eq!(set(d08), Ok(0));
        assert_eq!((associated(d08), associated(rfc)), (0, 0));
        // SAFETY: plain integer.
        let twin = Sock(unsafe { ops::dup(c.0) });
        assert_eq!(twin.shim(d08, 2, 4), Ok(vec![1, 0, 0, 0]));
        pair.set_view(ContextView::default());
        assert_eq!(associated(d08), 0);
    });
}

// API-FB-03, API-FB-09, API-FB-10
#[test]
fn feedback_is_taken_from_every_socket_of_the_context() {
    world(|| {
        let (one, two, pair) = two_of_one_pair();
        for socket in [&one, &two] {
            for indicator in 0..4 {
                assert_eq!(socket.send_with(None, 15, &[0, indicator, 0, 0]), Ok(0));
            }
            let told: Vec<_> = FEEDBACK.lock().unwrap().drain(..).collect();
            let all = [Feedback::Unable, Feedback::Unsatisfactory, Feedback::SatisfactoryOutbound];
            assert_eq!(told, all.map(|f| (pair.ulids(), f)), "nothing follows from indicator 0");
        }
        assert!(CONFIGURED.lock().unwrap().is_empty() && SENT.lock().unwrap().is_empty());
        assert_eq!(pair.sample().sent, 0);
    });
}

// API-LRX-08, API-LRX-09
#[test]
fn the_receive_switches_belong_to_the_socket() {
    world(|| {
        let (one, two, pair) = two_of_one_pair();
        let on: c_int = 1;
        // SAFETY: the buffer outlives the call.
        let set = |name| unsafe { ops::setsockopt(one.0, 0x5533, name, (&raw const on).cast(), 4) };
        let read = |s: &Sock| [6, 7].map(|name| s.shim(0x5533, name, 4).map(|value| value[0]));
        assert_eq!((set(6), read(&one), read(&two)), (Ok(0), [Ok(1), Ok(0)], [Ok(0), Ok(0)]));
        assert!(CONFIGURED.lock().unwrap().is_empty(), "no change of the context, so no fork");
        // Without the context, and with the next one
        let view = pair.view();
        pair.set_view(ContextView::default());
        assert_eq!(read(&one), [Err(libc::ENOENT), Err(libc::ENOENT)]);
        pair.set_view(ContextView::clone(&view));
        assert_eq!((read(&one), read(&two)), ([Ok(1), Ok(0)], [Ok(0), Ok(0)]));
        // As opposed to what is the context's
        assert_eq!((set(12), CONFIGURED.lock().unwrap().len()), (Ok(0), 1));
    });
}

// API-EX-11
#[test]
fn what_shim6_does_not_serve_stays_plain() {
    world(|| {
        for to in ["::1", "::ffff:127.0.0.1"] {
            let c = Sock::new();
            c.connect(at(to, 9));
            assert_eq!(table::peek(c.0).unwrap().mode(), Mode::Plain);
        }
        let c = Sock::bound(at("::1", 0));
        assert_eq!(table::peek(c.0).unwrap().mode(), Mode::Plain);
        assert!(CELLS.lock().unwrap().is_none());
    });
}
