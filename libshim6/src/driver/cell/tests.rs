use super::*;

fn a(s: &str) -> Ipv6Addr {
    s.parse().unwrap()
}

fn info(addr: &str, probed: bool) -> LocatorInfo {
    LocatorInfo { verified: true, probed, accepted: true, ifindex: 3, ..LocatorInfo::new(a(addr)) }
}

/// Two locators each, the ULIDs in use; of the peer's others `::b2` is probed, `::b3` not, `::b4` unreachable, `::b6`
/// not verified.
fn cell() -> Cell {
    let ulids = UlidPair { local: a("2001:db8::a1"), peer: a("2001:db8::b1") };
    let cell = Cell::new(ulids);
    let unlisted = LocatorInfo { accepted: false, ..info("2001:db8::a3", true) };
    let local = vec![info("2001:db8::a1", true), info("2001:db8::a2", true)];
    let mut peer = vec![info("2001:db8::b1", false), info("2001:db8::b2", true), info("2001:db8::b3", false)];
    peer.push(LocatorInfo { unreachable: true, ..info("2001:db8::b4", true) });
    peer.push(LocatorInfo { verified: false, ..info("2001:db8::b6", true) });
    cell.set_view(ContextView {
        associated: true,
        setup: Setup::Up,
        current: Some(ulids.as_locators()),
        peer_tag: Some(ContextTag::new(5)),
        available: [local.clone(), vec![unlisted]].concat(),
        local,
        peer,
        ..ContextView::default()
    });
    cell
}

// API-LLP-10, API-PPF-08, API-PPF-10, API-PPF-12, API-PTX-08, API-PTX-09, API-PTX-10, API-PTX-13, API-PTX-16
#[test]
fn locators_are_checked() {
    let cell = cell();
    let view = cell.view();
    for (addr, want) in [("a1", Ok(())), ("a3", Ok(())), ("b1", Err(LocatorError::Invalid))] {
        assert_eq!(view.check_local(a(&format!("2001:db8::{addr}"))), want, "{addr}");
    }
    let peers = [
        ("b1", Ok(()), Ok(())),
        ("b2", Ok(()), Ok(())),
        ("b3", Ok(()), Err(LocatorError::Unverified)),
        ("b4", Err(LocatorError::Unreachable), Err(LocatorError::Unreachable)),
        ("b5", Err(LocatorError::Invalid), Err(LocatorError::Invalid)),
        // API-PPF-09
        ("b6", Err(LocatorError::Invalid), Err(LocatorError::Invalid)),
    ];
    for (addr, listed, usable) in peers {
        let addr = a(&format!("2001:db8::{addr}"));
        assert_eq!((view.check_peer_listed(addr), view.check_peer(cell.ulids(), addr)), (listed, usable));
    }
    assert!(LocatorError::Invalid < LocatorError::Unreachable);
    assert!(LocatorError::Unreachable < LocatorError::Unverified);
}

// API-CM-16, API-CM-17, API-CM-21, API-CM-37
#[test]
fn a_datagram_may_go_its_own_way() {
    let cell = cell();
    let on = |local: Option<&str>, peer: Option<&str>| {
        let addr = |s: Option<&str>| s.map(|s| a(&format!("2001:db8::{s}")));
        cell.forward_on(addr(local), addr(peer), |_| 1400)
    };
    let pair = |l: &str, p: &str| LocatorPair { local: a(l), peer: a(p) };
    assert_eq!(on(Some("a1"), Some("b1")), Ok(None));
    assert_eq!(on(None, None), Ok(None));
    let f = on(Some("a2"), None).unwrap().unwrap();
    assert_eq!((f.locators, f.ifindex, f.mtu), (pair("2001:db8::a2", "2001:db8::b1"), 3, 1400));
    let f = on(None, Some("b2")).unwrap().unwrap();
    assert_eq!((f.locators, f.peer_tag), (pair("2001:db8::a1", "2001:db8::b2"), ContextTag::new(5)));
    assert_eq!(on(Some("a3"), None), Err(LocatorError::Invalid), "the peer does not know it yet");
    assert_eq!(on(Some("b1"), None), Err(LocatorError::Invalid));
    assert_eq!(on(Some("a2"), Some("b3")), Err(LocatorError::Unverified));
    assert_eq!(on(None, Some("b4")), Err(LocatorError::Unreachable));
    // A path MTU once learned is kept
    cell.keep_mtu(Some((pair("2001:db8::a1", "2001:db8::b2"), 1300)));
    assert_eq!(on(None, Some("b2")).unwrap().unwrap().mtu, 1300);
    let bare = Cell::new(cell.ulids());
    assert_eq!(bare.forward_on(None, None, |_| 1400), Err(LocatorError::Invalid), "no context");
}

// API-LTX-06, API-LTX-08
#[test]
fn a_pin_holds_at_once_and_so_does_its_end() {
    let cell = cell();
    let on = |local: &str| cell.forward_on(Some(a(local)), None, |_| 1400).unwrap();
    let (first, second) =
        (on("2001:db8::a2"), cell.forward_on(None, Some(a("2001:db8::b2")), |_| 1400).unwrap());
    assert!(first.is_some() && second.is_some() && first != second);
    cell.pin(first, Some(None));
    assert_eq!((cell.forward(), cell.is_rewritten()), (first, true));
    cell.pin(second, None);
    assert_eq!(cell.forward(), second);
    cell.unpin();
    assert_eq!((cell.forward(), cell.is_rewritten()), (None, false), "as before the first");
    cell.unpin();
    assert_eq!(cell.forward(), None);
    // What went before belongs to a context that is no more
    cell.set_forward(first);
    cell.pin(second, Some(first));
    cell.set_view(ContextView { peer_tag: Some(ContextTag::new(6)), ..(*cell.view()).clone() });
    cell.unpin();
    assert_eq!(cell.forward(), second);
}

// API-DEF-11, API-GEN-20
#[test]
fn a_setup_is_waited_for_until_it_ends_or_time_is_up() {
    let cell = Cell::new(UlidPair { local: a("2001:db8::a1"), peer: a("2001:db8::b1") });
    let ms = Duration::from_millis;
    assert_eq!(cell.wait_setup(ms(5000)), Setup::None, "nothing under way");
    cell.ask_setup();
    assert_eq!(cell.wait_setup(ms(10)), Setup::Running);
    std::thread::scope(|s| {
        s.spawn(|| {
            cell.set_view(ContextView { setup: Setup::Running, ..ContextView::default() });
            cell.answer_setup(cell.asked_setup());
            std::thread::sleep(ms(20));
            cell.set_view(ContextView { setup: Setup::Up, associated: true, ..ContextView::default() });
        });
        assert_eq!(cell.wait_setup(ms(5000)), Setup::Up);
    });
    // Refused at once, as after a failure: the answer alone tells
    cell.set_view(ContextView { setup: Setup::Failed, ..ContextView::default() });
    cell.ask_setup();
    assert_eq!(cell.setup(), Setup::Running);
    cell.answer_setup(cell.asked_setup());
    assert_eq!(cell.wait_setup(ms(5000)), Setup::Failed);
}
