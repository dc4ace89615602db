//! Rows of the sockets API that say how its settings, feedback and forks act on each other and on the peer.

use super::options::{fork, pair_of, probe_all, set, updates};
use super::*;
use crate::engine::{Feedback, LocatorPreference, Settings};
use crate::event::FailureCause;
use crate::wire::message_type as ty;

/// Messages of a type that a host sent after the first `since` of all.
fn sent(w: &World, since: usize, host: usize, ty: u8) -> Vec<&Sent> {
    w.log[since..].iter().filter(|s| s.host == host && s.ty() == ty).collect()
}

/// Explorations of a host: when each began, and on which pair.
fn explorations(w: &World, host: usize) -> Vec<(Time, FailureCause, LocatorPair)> {
    let of = |e: &Event| match e.kind {
        EventKind::ExplorationStarted { cause, pair, .. } => Some((e.at, cause, pair)),
        _ => None,
    };
    w.hosts[host].events.iter().filter_map(of).collect()
}

fn tell(w: &mut World, feedback: Feedback) {
    let (now, ulids) = (w.now, w.ulids(0, 1));
    w.hosts[0].engine.feedback(now, ulids, 0, feedback);
    w.flush();
}

/// Both ends send each second.
fn converse(w: &mut World, seconds: u64) {
    for _ in 0..seconds {
        w.traffic(0, 1, 1, 100);
        w.traffic(1, 0, 1, 100);
        w.run(secs(1));
    }
}

#[test]
fn the_timeout_of_the_draft_alone_holds_keepalives_back() {
    // API-TMO-11, API-TMO-12, API-RQ-06
    for by_draft in [true, false] {
        let mut w = World::connected(2, 430);
        set(&mut w, 0, |s| (s.app_timeout, s.app_timeout_by_draft) = (Some(secs(30)), by_draft));
        w.run(ms(100));
        let since = w.log.len();
        for _ in 0..100 {
            w.traffic(1, 0, 1, 100);
            w.run(secs(1));
        }
        let (keepalives, explored) = (sent(&w, since, 0, ty::KEEPALIVE).len(), explorations(&w, 1));
        if by_draft {
            assert_eq!(keepalives, 0);
            // The peer, which hears nothing, looks after each of its Send Timeouts, and finds the pair well
            assert!((4..8).contains(&explored.len()), "{explored:?}");
            assert!(explored.iter().all(|e| e.1 == FailureCause::SendTimeout));
        } else {
            assert!(keepalives > 5, "{keepalives}");
            assert_eq!(explored, []);
        }
        assert_eq!(w.info(1).unwrap().current, w.ulids(1, 0).as_locators());
    }
}

#[test]
fn outbound_traffic_does_not_put_the_timeout_off() {
    // API-TMO-13: it runs from the first datagram without an answer, whatever is sent later
    let mut w = World::connected(2, 431);
    set(&mut w, 0, |s| s.app_timeout = Some(secs(20)));
    w.run(secs(60));
    let start = w.now;
    for _ in 0..25 {
        w.traffic_lost(0, 1, 1, 100);
        w.run(secs(1));
    }
    let at: Vec<_> = explorations(&w, 0).iter().map(|e| e.0.since(start)).collect();
    assert_eq!(at, [secs(20)]);
}

#[test]
fn the_application_is_asked_before_the_peer() {
    // API-PPF-13
    let mut w = World::connected(3, 432);
    let b: Vec<Ipv6Addr> = (0..3).map(|i| w.hosts[1].a(i)).collect();
    let p = |priority| LocatorPreference { priority, weight: 0 };
    set(&mut w, 0, |s| {
        s.peer_preferences.insert(b[1], p(0));
    });
    w.run(secs(1));
    assert_eq!(w.info(0).unwrap().current.peer, b[1]);
    set(&mut w, 1, |s| s.local_list = Some(vec![(b[2], p(1)), (b[0], p(100)), (b[1], p(200))]));
    w.run(secs(200));
    let preferred =
        |w: &World| w.info(0).unwrap().peer.iter().map(|l| l.preference.priority).collect::<Vec<_>>();
    assert_eq!(preferred(&w), [1, 100, 0], "in the order of the peer's list");
    assert_eq!(w.info(0).unwrap().current.peer, b[1]);
    set(&mut w, 0, |s| s.peer_preferences.clear());
    w.run(secs(200));
    assert_eq!(w.info(0).unwrap().current.peer, b[2]);
}

#[test]
fn preferences_have_an_octet_each_on_the_wire() {
    // API-CX-20, API-ABI-08
    let mut w = World::connected(2, 433);
    let a = [w.hosts[0].a(0), w.hosts[0].a(1)];
    let p = |priority, weight| LocatorPreference { priority, weight };
    set(&mut w, 0, |s| s.local_list = Some(vec![(a[0], p(255, 256)), (a[1], p(65_535, 3))]));
    w.run(ms(100));
    let update = updates(&w).remove(0);
    let sent = update.options.preferences.unwrap().elements.unwrap();
    let sent: Vec<_> = sent.iter().map(|e| (e.priority, e.weight)).collect();
    assert_eq!(sent, [(Some(255), Some(255)), (Some(255), Some(3))]);
    let own: Vec<_> = w.info(0).unwrap().local.iter().map(|l| l.preference).collect();
    assert_eq!(own, [p(255, 256), p(65_535, 3)], "here they stay whole");
}

#[test]
fn probes_go_one_after_the_other_however_eager() {
    // API-PE-21, API-CX-28, API-PE-19
    for n in [1, 3] {
        let mut w = World::connected(n, 434);
        set(&mut w, 0, |s| {
            s.path_explore.initial_probes = Some(32);
            s.path_explore.initial_probe_timeout = Some(ms(10));
        });
        w.run(secs(60));
        w.pass = Box::new(|s: &Sent| s.ty() != ty::PROBE);
        let since = w.log.len();
        w.traffic_lost(0, 1, 1, 100);
        w.run(secs(16));
        let probes = sent(&w, since, 0, ty::PROBE);
        let initial = &probes[..32];
        let gaps: Vec<_> = initial.windows(2).map(|p| p[1].at.since(p[0].at)).collect();
        assert!(gaps.iter().all(|gap| *gap == ms(10)), "{gaps:?}");
        // All pairs in turn; with one pair it is the same again
        let mut pairs: Vec<_> = initial.iter().map(|s| s.pair).collect();
        pairs.sort_by_key(|p| (p.local, p.peer));
        pairs.dedup();
        assert_eq!(pairs.len(), usize::from(n * n));
        for s in &probes[1..] {
            let Message::Probe(p) = s.message() else { panic!("no Probe") };
            assert!(p.sent.len() > 1, "each tells of those before it");
        }
    }
}

#[test]
fn feedback_is_about_the_pair_in_use_in_one_direction() {
    // API-FB-02
    let mut w = World::connected(2, 435);
    probe_all(&mut w);
    let (l, p) = (w.hosts[0].a(1), w.hosts[1].a(1));
    set(&mut w, 0, |s| (s.pinned_local, s.pinned_peer) = (Some(l), Some(p)));
    w.run(secs(30));
    tell(&mut w, Feedback::Unable);
    let told: Vec<_> = explorations(&w, 0).iter().map(|e| (e.1, e.2)).collect();
    assert_eq!(told, [(FailureCause::Feedback, pair_of(&w, 1, 1))]);
    w.run(secs(60));
    // What comes in is no word about what goes out
    for (feedback, explored) in [(Feedback::SatisfactoryInbound, 1), (Feedback::SatisfactoryOutbound, 0)] {
        let before = explorations(&w, 0).len();
        w.traffic_lost(0, 1, 1, 100);
        w.run(secs(10));
        tell(&mut w, feedback);
        w.run(secs(10));
        assert_eq!(explorations(&w, 0).len() - before, explored, "{feedback:?}");
        w.run(secs(60));
    }
}

#[test]
fn feedback_is_not_remembered_and_forks_nothing() {
    // API-FB-09, API-FB-10
    let mut w = World::connected(2, 436);
    w.run(secs(30));
    // Said before there was anything to say it of
    tell(&mut w, Feedback::SatisfactoryOutbound);
    w.traffic_lost(0, 1, 1, 100);
    w.run(secs(16));
    assert_eq!(explorations(&w, 0).len(), 1, "the timer that starts later runs");
    converse(&mut w, 20);
    for feedback in [Feedback::Unable, Feedback::Unsatisfactory] {
        tell(&mut w, feedback);
        converse(&mut w, 1);
        let (after, started) = (explorations(&w, 0).len(), explorations(&w, 1).len());
        converse(&mut w, 200);
        assert_eq!((explorations(&w, 0).len(), explorations(&w, 1).len()), (after, started), "{feedback:?}");
    }
    for host in &w.hosts {
        assert_eq!(host.engine.contexts().map(|c| c.fii).collect::<Vec<_>>(), [0]);
    }
    assert_eq!((w.count(ty::I1), w.info(0).unwrap().settings.as_ref()), (1, &Settings::default()));
}

/// Two hosts with the shared context and one with FII 77, made by the first.
fn forked(seed: u64) -> World {
    let mut w = World::connected(2, seed);
    probe_all(&mut w);
    let p = w.hosts[1].a(1);
    assert!(fork(&mut w, 77, Settings { pinned_peer: Some(p), ..Settings::default() }));
    w.run(ms(100));
    assert_eq!(instances(&w), [vec![0, 77], vec![0, 77]]);
    w
}

fn instances(w: &World) -> [Vec<Fii>; 2] {
    [0, 1].map(|h| w.hosts[h].engine.contexts().map(|c| c.fii).collect())
}

#[test]
fn a_fork_that_no_socket_holds_is_collected() {
    // API-FK-14
    let mut w = forked(437);
    for host in &w.hosts {
        host.set(|p| p.in_use = true);
    }
    w.run(secs(7200));
    assert_eq!(instances(&w)[0], [0, 77], "as long as it is held");
    w.hosts[0].set(|p| p.fork_in_use = false);
    w.run(secs(1300));
    assert_eq!(instances(&w)[0], [0], "others of the pair do not keep it");
}

#[test]
fn the_peer_learns_of_the_end_of_a_fork_when_it_uses_it() {
    // API-FK-15, API-CX-23
    let mut w = forked(438);
    // Long enough for both ends to have fallen silent
    w.run(secs(60));
    let (now, ulids, back) = (w.now, w.ulids(0, 1), w.ulids(1, 0));
    let there =
        w.hosts[1].engine.context_of(back, 77).or_else(|| w.hosts[1].engine.contexts().find(|c| c.fii == 77));
    let (current, tag) = there.map(|c| (c.current, c.peer_tag.unwrap())).unwrap();
    let since = w.log.len();
    w.hosts[0].engine.release_fork(now, ulids, 77);
    w.run(secs(30));
    assert_eq!(instances(&w), [vec![0], vec![0, 77]]);
    assert_eq!(w.log.len(), since, "nothing is said of it");
    let since = w.log.len();
    let packet = [&wire::emit_payload_header(tag, 17)[..], b"still there?"].concat();
    w.deliver(current.local, current.peer, &packet);
    assert_eq!(w.hosts[0].delivered, []);
    let answers: Vec<u8> = w.log[since..].iter().filter(|s| s.host == 0).map(Sent::ty).collect();
    assert_eq!(answers, [ty::R1BIS]);
}

#[test]
fn a_fork_with_default_values_stays_a_fork() {
    // API-FK-21
    let mut w = forked(439);
    let (now, ulids) = (w.now, w.ulids(0, 1));
    w.hosts[0].engine.configure(now, ulids, 77, Arc::default());
    w.run(secs(120));
    let own = w.hosts[0].engine.context_of(ulids, 77).unwrap();
    assert_eq!((own.fii, own.settings.as_ref()), (77, &Settings::default()));
    assert_eq!(instances(&w)[0], [0, 77]);
    let now = w.now;
    w.hosts[0].engine.release_fork(now, ulids, 77);
    w.flush();
    assert_eq!(instances(&w)[0], [0]);
}
