//! Several contexts of one ULID pair: other processes of the peer's host, told apart by FII and flow.

use super::*;
use crate::addr::Fii;

pub(super) fn udp(local_port: u16, peer_port: u16) -> FlowId {
    FlowId { protocol: 17, local_port, peer_port }
}

/// Host 1 has a context with each of two processes of host 0; the second one lives on. Its FII.
fn two_processes(seed: u64) -> (World, Fii) {
    let mut w = World::pair(2, seed);
    let ulids = w.ulids(0, 1);
    w.hosts[0].engine.establish(w.now, ulids, Some(udp(1000, 5005)));
    w.run(ms(100));
    w.restart(0, seed + 50);
    w.hosts[0].set(|p| p.owns_default = false);
    w.hosts[0].engine.establish(w.now, ulids, Some(udp(2000, 5005)));
    w.run(ms(100));
    let fii = w.hosts[0].engine.contexts().next().expect("a context").fii;
    (w, fii)
}

// LS-P-05, S6-7.7-2: neither overwrites the other, and what is sent on a flow goes by its own instance.
#[test]
fn each_process_of_the_peer_has_an_instance_for_its_flow() {
    let (mut w, fii) = two_processes(7);
    assert_ne!(fii, 0);
    let ulids = w.ulids(1, 0);
    assert_eq!(w.hosts[1].engine.contexts().map(|c| c.fii).collect::<Vec<_>>(), [0, fii]);
    assert_eq!(w.hosts[1].engine.instance_flows(ulids), [(fii, udp(5005, 2000))]);
    let now = w.now;
    let engine = &mut w.hosts[1].engine;
    let idle = |e: &Engine, fii| e.wake_of(ulids, fii).on_sent;
    assert!(!idle(engine, fii), "its R2 counts as sent");
    engine.payload_of(now, ulids, 0, Direction::Received, 1, 10, None);
    engine.payload_of(now, ulids, 0, Direction::Sent, 1, 10, None);
    let before = engine.context_of(ulids, fii).map(|c| (c.fii, c.current));
    assert_eq!(before, Some((fii, ulids.as_locators())));
    // Silence on the flow of the second alone: only its context explores.
    w.run(secs(60));
    let now = w.now;
    let engine = &mut w.hosts[1].engine;
    engine.payload_of(now, ulids, fii, Direction::Sent, 1, 10, None);
    for _ in 0..20 {
        w.run(ms(1000));
        let now = w.now;
        let engine = &mut w.hosts[1].engine;
        engine.payload_of(now, ulids, 0, Direction::Sent, 1, 10, None);
        engine.payload_of(now, ulids, 0, Direction::Received, 1, 10, None);
        w.pass = Box::new(|_| false);
        w.flush();
    }
    let state = |fii| w.hosts[1].engine.context_of(ulids, fii).map(|c| c.reap);
    assert_eq!(state(0), Some(wire::ReapState::Operational));
    assert_eq!(state(fii), Some(wire::ReapState::Exploring));
}

// S6-7.7-2, LS-P-05: the default context is held by its process, whoever began, or a second process would take its place.
#[test]
fn the_default_context_is_held_where_the_peer_began_it() {
    let (w, fii) = two_processes(9);
    assert_ne!(fii, 0);
    let asked = w.hosts[1].policy.lock().unwrap().asked_default.clone();
    assert_eq!(asked, [w.ulids(1, 0)], "for the first instance, not for the fork");
}

// A flow that the Flow option did not name is learned from where it is heard, and follows when it moves.
#[test]
fn a_flow_belongs_to_the_instance_by_which_it_was_heard() {
    let (mut w, fii) = two_processes(8);
    let ulids = w.ulids(1, 0);
    let engine = &mut w.hosts[1].engine;
    engine.flow_heard(ulids, fii, udp(5005, 2001));
    assert_eq!(engine.instance_flows(ulids), [(fii, udp(5005, 2000)), (fii, udp(5005, 2001))]);
    engine.flow_heard(ulids, 0, udp(5005, 2001));
    assert_eq!(engine.instance_flows(ulids), [(fii, udp(5005, 2000))]);
    for port in 3000..3200 {
        engine.flow_heard(ulids, fii, udp(5005, port));
    }
    assert_eq!(engine.instance_flows(ulids).len(), 64, "bounded");
    engine.discard(w.now, ulids);
    assert_eq!(engine.instance_flows(ulids), []);
}
