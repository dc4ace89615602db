//! What applications set for a context: timers, lists, preferences, pins, standby, feedback, forks.

use super::*;
use crate::engine::{Feedback, LocatorPreference, PathExplore, Settings, Setup};
use crate::event::{DiscardReason, Evidence, FailureCause, SwitchCause};
use crate::wire::message_type as ty;

pub(super) fn set(w: &mut World, host: usize, change: impl FnOnce(&mut Settings)) {
    let (now, ulids) = (w.now, w.ulids(host, 1 - host));
    let mut s = Settings::clone(&w.info(host).unwrap().settings);
    change(&mut s);
    w.hosts[host].engine.configure(now, ulids, 0, Arc::new(s));
    w.flush();
}

pub(super) fn pair_of(w: &World, local: usize, peer: usize) -> LocatorPair {
    LocatorPair { local: w.hosts[0].a(local), peer: w.hosts[1].a(peer) }
}

pub(super) fn updates(w: &World) -> Vec<wire::UpdateRequest> {
    let all = w.log.iter().filter(|s| s.ty() == ty::UPDATE_REQUEST && s.host == 0);
    all.map(|s| match s.message() {
        Message::UpdateRequest(m) => m,
        m => panic!("{m:?}"),
    })
    .collect()
}

/// Probe every pair of the peer's locators.
pub(super) fn probe_all(w: &mut World) {
    let ulids = w.ulids(0, 1);
    for i in 0..w.hosts[1].addrs.len() {
        let (now, addr) = (w.now, w.hosts[1].a(i));
        w.hosts[0].engine.probe_peer(now, ulids, 0, addr);
    }
    w.run(secs(5));
    assert!(w.info(0).unwrap().peer.iter().all(|l| l.probed));
}

#[test]
fn the_send_timeout_is_settable_and_announced() {
    // RE-C-14, RE-KT-07, RE-KT-03, API-TMO-08, API-TMO-09, API-TMO-15, API-PE-13
    let mut w = World::connected(2, 400);
    let keepalive = |w: &World| w.info(1).unwrap().timers.keepalive_timeout;
    set(&mut w, 0, |s| s.path_explore.send_timeout = Some(secs(20)));
    w.run(ms(100));
    assert_eq!((w.info(0).unwrap().timers.send_timeout, keepalive(&w)), (secs(20), secs(20)));
    set(&mut w, 0, |s| s.app_timeout = Some(ms(2500)));
    w.run(ms(100));
    assert_eq!((w.info(0).unwrap().timers.send_timeout, keepalive(&w)), (ms(2500), ms(2500)));
    set(&mut w, 0, |s| *s = Settings::default());
    w.run(ms(100));
    assert_eq!((w.info(0).unwrap().timers.send_timeout, keepalive(&w)), (secs(15), secs(15)));
    assert_eq!(
        updates(&w).iter().map(|u| u.options.keepalive_timeout).collect::<Vec<_>>(),
        [Some(20), Some(3), Some(15)]
    );
    // A value that the peer knows already is not told again
    set(&mut w, 0, |s| s.app_timeout = Some(secs(15)));
    assert_eq!(updates(&w).len(), 3);
    // And it is what starts an exploration
    set(&mut w, 0, |s| s.app_timeout = Some(secs(2)));
    w.run(secs(20));
    w.pass = Box::new(|_| false);
    let start = w.now;
    w.traffic_lost(0, 1, 1, 100);
    w.run(secs(5));
    let cause = EventKind::ExplorationStarted {
        cause: FailureCause::SendTimeout,
        pair: pair_of(&w, 0, 0),
        last_heard: w.hosts[0].events.iter().rev().find_map(|e| match &e.kind {
            EventKind::ExplorationStarted { last_heard, .. } => *last_heard,
            _ => None,
        }),
    };
    let at = w.hosts[0].events.iter().find(|e| e.kind == cause).map(|e| e.at.since(start));
    assert_eq!(at, Some(secs(2)));
}

#[test]
fn timers_read_as_they_are() {
    // API-PE-05, API-PE-06, API-PE-08
    let mut w = World::connected(2, 401);
    let t = w.info(0).unwrap().timers;
    assert_eq!((t.initial_probes, t.send_timeout, t.initial_probe_timeout), (4, secs(15), ms(500)));
    assert_eq!(t.keepalive_interval, secs(5));
    let own = PathExplore {
        initial_probes: Some(7),
        initial_probe_timeout: Some(ms(50)),
        send_timeout: None,
        keepalive_interval: Some(secs(2)),
    };
    set(&mut w, 0, |s| s.path_explore = own);
    let t = w.info(0).unwrap().timers;
    assert_eq!((t.initial_probes, t.send_timeout, t.initial_probe_timeout), (7, secs(15), ms(50)));
    assert_eq!(t.keepalive_interval, secs(2));
}

#[test]
fn a_list_of_the_application_is_offered() {
    // API-LLL-06, API-LLL-16, API-LLL-17, API-LLL-18, API-LLL-19, API-ABI-08
    let mut w = World::connected(3, 402);
    let a: Vec<Ipv6Addr> = (0..3).map(|i| w.hosts[0].a(i)).collect();
    let p = |priority, weight| LocatorPreference { priority, weight };
    set(&mut w, 0, |s| s.local_list = Some(vec![(a[2], p(1, 7)), (a[1], p(1000, 0))]));
    let order = |w: &World, host: usize| {
        let info = w.info(host).unwrap();
        let list = if host == 0 { info.local } else { info.peer };
        list.iter().map(|l| l.addr).collect::<Vec<_>>()
    };
    assert_eq!(order(&w, 0), [a[2], a[1], a[0]], "at once, with the ULID at the end");
    w.run(ms(100));
    assert_eq!(order(&w, 1), [a[2], a[1], a[0]]);
    let u = updates(&w);
    assert_eq!(u.len(), 1);
    let sent = u[0].options.preferences.as_ref().unwrap().elements.as_ref().unwrap();
    assert_eq!(
        sent.iter().map(|e| (e.priority, e.weight)).collect::<Vec<_>>(),
        [(Some(1), Some(7)), (Some(255), Some(0)), (Some(255), Some(0))]
    );
    // The current locator is the ULID's, which stays; leave out another and it is no source any more
    set(&mut w, 0, |s| s.local_list = Some(vec![(a[0], p(128, 0)), (a[1], p(128, 0))]));
    w.run(ms(100));
    assert_eq!(order(&w, 1), [a[0], a[1]]);
    assert!(updates(&w)[1].options.preferences.is_none(), "all equal");
    assert_eq!(w.info(0).unwrap().available.len(), 3);
    // Back to the engine's choice
    set(&mut w, 0, |s| s.local_list = None);
    w.run(ms(100));
    assert_eq!(order(&w, 1).len(), 3);
}

#[test]
fn leaving_out_the_current_locator_starts_an_exploration() {
    // API-LLL-18, API-LLR-12, API-LLR-14
    let mut w = World::connected(3, 403);
    probe_all(&mut w);
    let (a, b) = (w.hosts[0].a(1), w.hosts[1].a(1));
    set(&mut w, 0, |s| s.pinned_local = Some(a));
    assert_eq!(w.info(0).unwrap().current, pair_of(&w, 1, 0));
    let (ulid, third) = (w.hosts[0].a(0), w.hosts[0].a(2));
    set(&mut w, 0, |s| {
        s.pinned_local = None;
        s.local_list = Some([ulid, third].map(|a| (a, LocatorPreference::default())).to_vec());
    });
    w.run(secs(5));
    assert_ne!(w.info(0).unwrap().current.local, a);
    let sent = w.log.len();
    set(&mut w, 0, |s| s.peer_list = Some(vec![b]));
    assert!(w.log[sent..].iter().all(|s| s.ty() == ty::PROBE), "nothing is said to the peer");
    w.run(secs(5));
    assert_eq!(w.info(0).unwrap().current.peer, b);
    // API-LLR-13: a new list of the peer's ends it
    let fewer = w.hosts[1].addrs[..2].to_vec();
    w.set_addrs(1, fewer);
    w.run(secs(1));
    assert_eq!(w.info(0).unwrap().settings.peer_list, None);
}

#[test]
fn pins_take_effect_at_once_and_end_with_their_locators() {
    // API-LTX-06, API-LTX-08, API-LTX-13, API-LTX-14, API-PTX-14, API-PTX-15
    let mut w = World::connected(3, 404);
    probe_all(&mut w);
    let (l, p) = (w.hosts[0].a(2), w.hosts[1].a(1));
    set(&mut w, 0, |s| (s.pinned_local, s.pinned_peer) = (Some(l), Some(p)));
    assert_eq!(w.info(0).unwrap().current, pair_of(&w, 2, 1));
    // The pair dies: probes go nowhere else
    w.pass = Box::new(|s: &Sent| s.ty() != ty::PROBE);
    let sent = w.log.len();
    w.traffic_lost(0, 1, 1, 100);
    w.run(secs(40));
    let probes: Vec<_> = w.log[sent..].iter().filter(|s| s.ty() == ty::PROBE && s.host == 0).collect();
    assert!(probes.len() > 3 && probes.iter().all(|s| s.pair == pair_of(&w, 2, 1)));
    assert_eq!(w.info(0).unwrap().current, pair_of(&w, 2, 1));
    w.pass = Box::new(|_| true);
    // The address goes, and the pin with it
    let fewer = w.hosts[0].addrs[..2].to_vec();
    w.set_addrs(0, fewer);
    w.run(secs(60));
    let info = w.info(0).unwrap();
    assert_eq!((info.settings.pinned_local, info.settings.pinned_peer), (None, Some(p)));
    assert!(info.current.local != l && info.current.peer == p);
    let gone = w.hosts[1].addrs[..1].to_vec();
    w.set_addrs(1, gone);
    w.run(secs(5));
    assert_eq!(w.info(0).unwrap().settings.pinned_peer, None);
}

#[test]
fn an_unlisted_locator_is_pinned_once_the_peer_knows_it() {
    // API-LTX-10, API-LLP-11
    let mut w = World::connected(3, 405);
    let a: Vec<Ipv6Addr> = (0..3).map(|i| w.hosts[0].a(i)).collect();
    set(&mut w, 0, |s| s.local_list = Some(vec![(a[0], LocatorPreference::default())]));
    w.run(ms(100));
    assert_eq!(w.info(1).unwrap().peer.len(), 1);
    set(&mut w, 0, |s| s.pinned_local = Some(a[2]));
    assert_eq!(w.info(0).unwrap().current.local, a[0], "not yet");
    w.run(ms(100));
    assert_eq!(w.info(0).unwrap().current.local, a[2]);
    assert!(w.info(1).unwrap().peer.iter().any(|l| l.addr == a[2]));
}

#[test]
fn a_preferred_locator_is_tested_then_used() {
    // API-LLP-09, API-LLP-12, API-LLP-14, API-LLP-15, API-LLP-17, API-PPF-12, RE-FI-12, RE-RP-14
    let mut w = World::connected(3, 406);
    let best = LocatorPreference { priority: 0, weight: 0 };
    let a = w.hosts[0].a(1);
    let sent = w.log.len();
    set(&mut w, 0, |s| {
        s.local_preferences.insert(a, best);
    });
    assert_eq!(w.info(0).unwrap().current, pair_of(&w, 0, 0), "not before the test");
    w.run(ms(100));
    assert_eq!(w.info(0).unwrap().current.local, a);
    assert!(w.log[sent..].iter().all(|s| s.ty() != ty::UPDATE_REQUEST));
    // Larger weight wins among equal priorities; the peer's end likewise
    let (b, c) = (w.hosts[0].a(2), w.hosts[1].a(2));
    set(&mut w, 0, |s| {
        s.local_preferences.insert(b, LocatorPreference { weight: 5, ..best });
        s.peer_preferences.insert(c, best);
    });
    w.run(secs(2));
    assert_eq!(w.info(0).unwrap().current, pair_of(&w, 2, 2));
    let shown = w.info(0).unwrap().local.iter().map(|l| l.preference).collect::<Vec<_>>();
    assert_eq!(shown, [LocatorPreference::default(), best, LocatorPreference { weight: 5, ..best }]);
    // It fails: left although preferred, tried again, taken again when it works
    let dead = c;
    w.pass = Box::new(move |s: &Sent| s.pair.peer != dead && s.pair.local != dead);
    w.traffic_lost(0, 1, 1, 100);
    w.run(secs(60));
    assert_ne!(w.info(0).unwrap().current.peer, c);
    w.pass = Box::new(|_| true);
    w.run(secs(100));
    assert_eq!(w.info(0).unwrap().current, pair_of(&w, 2, 2));
    // Without wishes nothing moves back
    set(&mut w, 0, |s| *s = Settings::default());
    w.run(secs(100));
    assert_eq!(w.info(0).unwrap().current, pair_of(&w, 2, 2));
}

#[test]
fn what_the_peer_prefers_is_tested_then_used() {
    // RE-FI-12, S6-10.4-12
    let mut w = World::connected(3, 417);
    let addrs: Vec<Ipv6Addr> = (0..3).map(|i| w.hosts[1].a(i)).collect();
    let p = |priority| LocatorPreference { priority, weight: 0 };
    let list = vec![(addrs[0], p(100)), (addrs[2], p(1)), (addrs[1], p(50))];
    let dead = addrs[2];
    w.pass = Box::new(move |s: &Sent| s.pair.peer != dead && s.pair.local != dead);
    set(&mut w, 1, |s| s.local_list = Some(list));
    w.run(secs(10));
    assert_eq!(w.info(0).unwrap().current.peer, addrs[0], "a wish is no evidence");
    w.pass = Box::new(|_| true);
    w.run(secs(100));
    assert_eq!(w.info(0).unwrap().current.peer, addrs[2]);
    let last = *w.info(0).unwrap().switches.last().unwrap();
    assert_eq!((last.cause, last.evidence), (SwitchCause::Preferred, Evidence::Test));
    assert_eq!(w.hosts[0].engine.context(w.ulids(0, 1)).unwrap().counters.explorations, 0);
}

#[test]
fn a_preferred_locator_that_does_not_work_is_not_used() {
    // API-LLP-12, API-ERR-11, API-PPF-10
    let mut w = World::connected(2, 407);
    let c = w.hosts[1].a(1);
    w.pass = Box::new(move |s: &Sent| s.pair.peer != c);
    set(&mut w, 0, |s| {
        s.peer_preferences.insert(c, LocatorPreference { priority: 0, weight: 0 });
    });
    w.run(secs(10));
    let info = w.info(0).unwrap();
    assert_eq!(info.current, pair_of(&w, 0, 0));
    assert!(info.peer[1].unreachable && !info.peer[1].probed);
    set(&mut w, 0, |s| s.peer_preferences.clear());
    w.run(secs(61));
    assert!(!w.info(0).unwrap().peer[1].unreachable, "unverified again after a minute");
    assert_eq!(w.hosts[0].engine.context(w.ulids(0, 1)).unwrap().counters.explorations, 0);
}

#[test]
fn locators_are_tested_on_demand_one_a_second() {
    // API-PTX-12, RE-FI-14, RE-FI-13
    let mut w = World::connected(3, 408);
    let (ulids, start) = (w.ulids(0, 1), w.now);
    let sent = w.log.len();
    for i in [1, 2] {
        let addr = w.hosts[1].a(i);
        w.hosts[0].engine.probe_peer(start, ulids, 0, addr);
        w.hosts[0].engine.probe_peer(start, ulids, 0, addr);
    }
    w.hosts[0].engine.probe_peer(start, ulids, 0, super::addr("2001:db8:99::1"));
    w.flush();
    assert!(w.info(0).unwrap().peer.iter().skip(1).all(|l| !l.probed));
    w.run(secs(4));
    assert!(w.info(0).unwrap().peer.iter().skip(1).all(|l| l.probed && !l.unreachable));
    let mine = w.log[sent..].iter().filter(|s| s.host == 0 && s.ty() == ty::PROBE);
    let at: Vec<_> = mine.map(|s| (s.at.since(start), s.pair)).collect();
    assert_eq!(at, [(secs(0), pair_of(&w, 0, 1)), (secs(1), pair_of(&w, 0, 2))]);
    assert_eq!(
        (w.info(0).unwrap().current, w.info(1).unwrap().current.peer),
        (pair_of(&w, 0, 0), ulids.local)
    );
}

#[test]
fn hot_standby_replaces_a_dead_pair_at_once() {
    // API-HOT-08, API-HOT-09, API-HOT-10, API-HOT-14
    let mut w = World::connected(3, 409);
    let (now, ulids) = (w.now, w.ulids(0, 1));
    w.hosts[0].engine.set_hot_standby(now, ulids, 0, true);
    w.run(ms(200));
    let standby = w.info(0).unwrap().standby.expect("confirmed");
    assert!(standby.local != ulids.local && standby.peer != ulids.peer, "shares no end");
    let sent = w.log.len();
    for _ in 0..600 {
        w.traffic(0, 1, 1, 100);
        w.traffic(1, 0, 1, 100);
        w.run(ms(100));
    }
    let tests = w.log[sent..].iter().filter(|s| s.host == 0 && s.ty() == ty::PROBE).count();
    assert_eq!((tests, w.info(0).unwrap().current), (4, ulids.as_locators()), "every 15 s");
    let old = [w.hosts[0].a(0), w.hosts[1].a(0)];
    w.pass = Box::new(move |s: &Sent| !old.contains(&s.pair.local) || !old.contains(&s.pair.peer));
    w.traffic_lost(0, 1, 1, 100);
    w.run(secs(15));
    let at = |f: &dyn Fn(&EventKind) -> bool| w.hosts[0].events.iter().rfind(|e| f(&e.kind)).map(|e| e.at);
    let started = at(&|k| matches!(k, EventKind::ExplorationStarted { .. })).expect("an exploration");
    assert_eq!(at(&|k| matches!(k, EventKind::PairChanged { .. })), Some(started));
    assert_eq!(w.info(0).unwrap().current, standby);
    w.run(secs(40));
    assert_eq!(w.info(0).unwrap().current, standby);
    assert_ne!(w.info(0).unwrap().standby, Some(standby));
    let now = w.now;
    w.hosts[0].engine.set_hot_standby(now, ulids, 0, false);
    assert_eq!(w.info(0).unwrap().standby, None);
    let sent = w.log.len();
    w.run(secs(60));
    assert!(w.log[sent..].iter().filter(|s| s.host == 0).all(|s| s.ty() != ty::PROBE));
}

#[test]
fn feedback_acts_as_the_table_says() {
    // RE-FI-07, RE-FI-08, RE-FI-09, API-FB-07, API-FB-11
    let mut w = World::connected(2, 410);
    w.run(secs(30));
    let ulids = w.ulids(0, 1);
    let tell = |w: &mut World, f| {
        let now = w.now;
        w.hosts[0].engine.feedback(now, ulids, 0, f);
        w.flush();
    };
    let causes = |w: &World| {
        let all = w.hosts[0].events.iter().filter_map(|e| match e.kind {
            EventKind::ExplorationStarted { cause, .. } => Some(cause),
            _ => None,
        });
        all.collect::<Vec<_>>()
    };
    tell(&mut w, Feedback::Unable);
    tell(&mut w, Feedback::SatisfactoryOutbound);
    assert_eq!(causes(&w), [FailureCause::Feedback], "and it goes on");
    w.run(secs(30));
    tell(&mut w, Feedback::Unsatisfactory);
    w.run(secs(1));
    tell(&mut w, Feedback::Unsatisfactory);
    assert_eq!(causes(&w), [FailureCause::Feedback, FailureCause::Hint], "once per Send Timeout");
    w.run(secs(30));
    let before = w.hosts[0].events.len();
    w.traffic_lost(0, 1, 1, 100);
    w.run(secs(10));
    tell(&mut w, Feedback::SatisfactoryInbound);
    tell(&mut w, Feedback::SatisfactoryOutbound);
    w.run(secs(20));
    assert_eq!(w.hosts[0].events.len(), before, "the Send Timer was stopped");
    assert_eq!(w.info(0).unwrap().current, ulids.as_locators());
}

pub(super) fn fork(w: &mut World, fii: u32, settings: Settings) -> bool {
    let (now, ulids) = (w.now, w.ulids(0, 1));
    let flow = FlowId { protocol: 17, local_port: 5, peer_port: 6 };
    let made = w.hosts[0].engine.fork(now, ulids, fii, Arc::new(settings), Some(flow));
    w.flush();
    made
}

#[test]
fn a_fork_goes_its_own_way() {
    // API-FK-01, API-FK-02, API-FK-03, API-FK-04, API-FK-05, API-FK-10, API-FK-16, API-FK-18, API-FK-19
    let mut w = World::connected(2, 411);
    probe_all(&mut w);
    let ulids = w.ulids(0, 1);
    let (l, p) = (w.hosts[0].a(1), w.hosts[1].a(1));
    let own = Settings { pinned_local: Some(l), pinned_peer: Some(p), ..Settings::default() };
    assert!(!fork(&mut w, 0, own.clone()));
    assert!(fork(&mut w, 77, own.clone()) && !fork(&mut w, 77, own));
    let i1 = w.last(ty::I1).message();
    assert_eq!(i1.options().unwrap().fii, Some(77));
    assert_eq!(i1.options().unwrap().flow.map(|f| f.local_port), Some(5));
    let of = |w: &World| w.hosts[0].engine.context_of(ulids, 77).unwrap();
    assert_eq!(
        (of(&w).fii, w.hosts[0].engine.setup_of(ulids, 77)),
        (0, Setup::Running),
        "the shared one so far"
    );
    w.run(ms(100));
    assert_eq!((of(&w).fii, of(&w).current), (77, pair_of(&w, 1, 1)));
    assert_eq!((w.info(0).unwrap().fii, w.info(0).unwrap().current), (0, ulids.as_locators()));
    assert_eq!(w.hosts[1].engine.contexts().map(|c| c.fii).collect::<Vec<_>>(), [0, 77]);
    // Each is told of its own traffic: the fork's goes into a hole, the shared one's does not
    w.run(secs(40));
    w.pass = Box::new(|s: &Sent| s.ty() != ty::PROBE);
    let now = w.now;
    w.hosts[0].engine.payload_of(now, ulids, 77, Direction::Sent, 1, 100, None);
    for _ in 0..20 {
        w.traffic(0, 1, 1, 100);
        w.traffic(1, 0, 1, 100);
        w.run(secs(1));
    }
    let explored: Vec<_> = w.hosts[0]
        .events
        .iter()
        .filter(|e| matches!(e.kind, EventKind::ExplorationStarted { .. }))
        .map(|e| e.fii)
        .collect();
    assert_eq!(explored, [77]);
    w.pass = Box::new(|_| true);
    // The socket is closed
    let now = w.now;
    w.hosts[0].engine.release_fork(now, ulids, 0);
    w.hosts[0].engine.release_fork(now, ulids, 77);
    w.flush();
    assert_eq!(w.hosts[0].engine.contexts().map(|c| c.fii).collect::<Vec<_>>(), [0]);
    let discarded = EventKind::Discarded { reason: DiscardReason::Command };
    assert!(w.hosts[0].events.iter().any(|e| e.fii == 77 && e.kind == discarded));
}

#[test]
fn a_fork_over_another_pair_than_the_ulids() {
    // API-FK-03, S6-5.4-2
    let mut w = World::connected(2, 412);
    let dead = w.ulids(0, 1);
    let dead = [dead.local, dead.peer];
    w.pass = Box::new(move |s: &Sent| !dead.contains(&s.pair.local) && !dead.contains(&s.pair.peer));
    w.traffic_lost(0, 1, 1, 100);
    w.run(secs(30));
    assert_eq!(w.info(0).unwrap().current, pair_of(&w, 1, 1));
    assert!(fork(&mut w, 9, Settings::default()));
    w.run(secs(1));
    let ulids = w.ulids(0, 1);
    assert_eq!(w.hosts[0].engine.context_of(ulids, 9).unwrap().fii, 9);
    assert!(w.last(ty::I1).message().options().unwrap().ulid_pair.is_some());
}

#[test]
fn a_fork_that_fails_leaves_the_shared_context() {
    // API-FK-11
    let mut w = World::connected(2, 413);
    w.pass = Box::new(|s: &Sent| s.ty() != ty::I1);
    assert!(fork(&mut w, 5, Settings::default()));
    w.run(secs(400));
    let ulids = w.ulids(0, 1);
    assert_eq!(w.hosts[0].engine.setup_of(ulids, 5), Setup::None);
    assert!(
        w.hosts[0].events.iter().any(|e| e.fii == 5 && matches!(e.kind, EventKind::EstablishFailed { .. }))
    );
    assert_eq!((w.info(0).unwrap().fii, w.state(0)), (0, Some(ContextState::Established)));
    assert_eq!(w.hosts[0].engine.setup_of(ulids, 0), Setup::Up);
}

#[test]
fn a_setup_can_be_given_up() {
    // API-DONT-04
    let mut w = World::pair(2, 414);
    let (now, ulids) = (w.now, w.ulids(0, 1));
    w.hosts[0].engine.establish(now, ulids, None);
    assert_eq!(w.hosts[0].engine.setup_of(ulids, 0), Setup::Running);
    w.hosts[0].engine.abandon_setup(now, ulids);
    assert_eq!(w.hosts[0].engine.setup_of(ulids, 0), Setup::None);
    w.establish(0, 1);
    w.run(ms(100));
    let now = w.now;
    w.hosts[0].engine.abandon_setup(now, ulids);
    assert_eq!(w.hosts[0].engine.setup_of(ulids, 0), Setup::Up, "no effect on a context");
    let mut w = World::pair(2, 415);
    w.pass = Box::new(|_| false);
    w.establish(0, 1);
    w.run(secs(150));
    assert_eq!(w.hosts[0].engine.setup_of(ulids, 0), Setup::None, "other ULIDs");
    assert_eq!(w.hosts[0].engine.setup_of(w.ulids(0, 1), 0), Setup::Failed);
}
