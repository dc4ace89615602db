//! What upper layers say of a path and want of a context, and what happens where they say nothing.

use super::*;
use crate::engine::{Feedback, Settings};
use crate::wire::message_type as ty;

/// Times of the messages that a host sent since `start`, with their types.
fn timetable(w: &World, host: usize, start: Time) -> Vec<(Duration, u8)> {
    let sent = w.log.iter().filter(|s| s.host == host && s.at >= start);
    sent.map(|s| (s.at.since(start), s.ty())).collect()
}

#[test]
fn without_feedback_there_are_keepalives_and_the_send_timer_alone() {
    // RE-FI-11, RE-CX-16
    let mut w = World::connected(2, 420);
    w.run(secs(60));
    // One way, and heard: three Keepalives, at thirds of the timeout, and no other message
    let start = w.now;
    w.traffic(0, 1, 1, 100);
    w.run(secs(60));
    let keepalives: Vec<_> = [5, 10, 15].map(|s| (secs(s), ty::KEEPALIVE)).into();
    assert_eq!(timetable(&w, 1, start), keepalives);
    assert_eq!(timetable(&w, 0, start), []);
    // Both ways: nothing at all
    let start = w.now;
    for _ in 0..100 {
        w.traffic(0, 1, 1, 100);
        w.traffic(1, 0, 1, 100);
        w.run(secs(1));
    }
    assert_eq!((timetable(&w, 0, start), timetable(&w, 1, start)), (vec![], vec![]));
    // Not heard: the first Probe when the Send Timeout is over
    w.pass = Box::new(|_| false);
    w.run(secs(60));
    let start = w.now;
    w.traffic_lost(0, 1, 1, 100);
    w.run(secs(16));
    assert_eq!(timetable(&w, 0, start)[..2], [(secs(15), ty::PROBE), (ms(15500), ty::PROBE)]);
}

#[test]
fn good_and_bad_news_are_taken() {
    // LS-RP-05, LS-RP-06, LS-CX-04
    let told = |news: Option<Feedback>| {
        let mut w = World::connected(2, 421);
        w.run(secs(60));
        let (start, ulids) = (w.now, w.ulids(0, 1));
        w.traffic_lost(0, 1, 1, 100);
        w.run(secs(5));
        if let Some(news) = news {
            let now = w.now;
            w.hosts[0].engine.feedback(now, ulids, 0, news);
        }
        w.run(secs(30));
        timetable(&w, 0, start).first().map(|(at, ty)| (at.as_secs(), *ty))
    };
    assert_eq!(told(None), Some((15, ty::PROBE)));
    assert_eq!(told(Some(Feedback::Unable)), Some((5, ty::PROBE)));
    assert_eq!(told(Some(Feedback::Unsatisfactory)), Some((5, ty::PROBE)));
    assert_eq!(told(Some(Feedback::SatisfactoryOutbound)), None);
    assert_eq!(told(Some(Feedback::SatisfactoryInbound)), Some((15, ty::PROBE)));
}

#[test]
fn each_context_has_its_own_send_timeout() {
    // LS-CX-07, RE-CX-13
    let hosts = vec![hba(0xa, &[1, 2], 1), hba(0xb, &[1, 2], 2), hba(0xc, &[1, 2], 3)];
    let mut w = World::new(&exact(), 422, hosts);
    w.establish(0, 1);
    w.establish(0, 2);
    w.run(secs(60));
    let (first, second) = (w.ulids(0, 1), w.ulids(0, 2));
    let now = w.now;
    let wish = Settings { app_timeout: Some(secs(3)), ..Settings::default() };
    w.hosts[0].engine.configure(now, first, 0, Arc::new(wish));
    w.run(secs(1));
    let timers = |w: &World, ulids| w.hosts[0].engine.context(ulids).unwrap().timers;
    assert_eq!(timers(&w, first).send_timeout, secs(3));
    assert_eq!(timers(&w, second).send_timeout, secs(15));
    w.run(secs(60));
    // It is no time for our own Keepalives: these follow what the peer announced
    assert_eq!(timers(&w, first).keepalive_interval, timers(&w, second).keepalive_interval);
    let start = w.now;
    w.traffic(1, 0, 1, 100);
    w.run(secs(30));
    assert_eq!(timetable(&w, 0, start).iter().map(|(at, _)| at.as_secs()).collect::<Vec<_>>(), [5, 10, 15]);
    // And the time until a failure is declared
    w.pass = Box::new(|_| false);
    let start = w.now;
    w.traffic_lost(0, 1, 1, 100);
    w.traffic_lost(0, 2, 1, 100);
    w.run(secs(20));
    let begun = |ulids| {
        let all = w.hosts[0].events.iter().filter(|e| e.ulids == ulids);
        let mut begun = all.filter(|e| matches!(e.kind, EventKind::ExplorationStarted { .. }));
        begun.next().map(|e| e.at.since(start))
    };
    assert_eq!((begun(first), begun(second)), (Some(secs(3)), Some(secs(15))));
}

#[test]
fn a_fork_has_its_own_pair_and_tag() {
    // LS-D-23
    // S6-11.1-7
    let mut w = World::connected(2, 423);
    let ulids = w.ulids(0, 1);
    for i in 0..2 {
        let (now, to) = (w.now, w.hosts[1].a(i));
        w.hosts[0].engine.probe_peer(now, ulids, 0, to);
        w.run(secs(2));
    }
    let (l, p) = (w.hosts[0].a(1), w.hosts[1].a(1));
    let own = Settings { pinned_local: Some(l), pinned_peer: Some(p), ..Settings::default() };
    let flow = FlowId { protocol: 17, local_port: 5, peer_port: 6 };
    let now = w.now;
    assert!(w.hosts[0].engine.fork(now, ulids, 9, Arc::new(own), Some(flow)));
    w.run(secs(1));
    let of = |fii| w.hosts[0].engine.context_of(ulids, fii).unwrap();
    let (shared, fork) = (of(0), of(9));
    assert_eq!((fork.fii, fork.current), (9, LocatorPair { local: l, peer: p }));
    assert_eq!((shared.fii, shared.current), (0, ulids.as_locators()));
    assert_ne!((fork.peer_tag, fork.local_tag), (shared.peer_tag, shared.local_tag));
    // The peer tells them apart by the tag
    for (info, fii) in [(shared, 0), (fork, 9)] {
        let mut packet = wire::emit_payload_header(info.peer_tag.unwrap(), 17).to_vec();
        packet.extend(b"x");
        let d = Datagram { source: info.current.local, destination: info.current.peer, data: &packet };
        let now = w.now;
        let got = w.hosts[1].engine.handle_datagram(now, &d).map(|d| (d.ulids, d.fii));
        assert_eq!(got, Some((UlidPair { local: ulids.peer, peer: ulids.local }, fii)));
    }
}
