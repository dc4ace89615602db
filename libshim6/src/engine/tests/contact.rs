//! What configuration and former contexts say of peers, and which locators stand together.

use super::*;
use crate::config::{Capability, Shim6Config};
use crate::engine::{Dropped, IcmpKind, Setup, Wake};
use crate::wire::{LocatorPreferences, UpdateRequest, preference_flag};

/// Two hosts with two addresses each; the first one's configuration is changed.
fn configured(seed: u64, change: impl FnOnce(&mut Shim6Config)) -> World {
    let mut w = World::pair(2, seed);
    let mut config = exact();
    change(&mut config.shim6);
    let addrs = w.hosts[0].addrs.clone();
    w.hosts[0] = Host::new(&config, seed, addrs);
    w
}

fn prefix_of(addr: Ipv6Addr) -> crate::addr::Ipv6Prefix {
    let base = Ipv6Addr::from(u128::from(addr) >> 64 << 64);
    format!("{base}/64").parse().expect("a prefix")
}

#[test]
fn excluded_destinations_are_left_to_the_kernel() {
    // LS-G-13
    let peer = World::pair(2, 300).hosts[1].a(0);
    let mut w = configured(300, |c| c.exclude = vec![prefix_of(peer)]);
    let there = w.ulids(0, 1);
    w.traffic_lost(0, 1, 1000, 1000);
    w.establish(0, 1);
    w.run(secs(100));
    assert_eq!((w.log.len(), w.hosts[0].engine.wake(there)), (0, Wake::default()));
    assert_eq!(w.hosts[0].engine.setup_of(there, 0), Setup::Failed);
    // It is not answered either, whatever it sends
    w.establish(1, 0);
    w.run(secs(200));
    assert_eq!(w.types(1), [1; 5]);
    let tag = ContextTag::new(random());
    let (a, b) = (w.hosts[0].a(0), peer);
    w.deliver(b, a, &[&wire::emit_payload_header(tag, 17)[..], b"stray"].concat());
    assert_eq!(w.types(0), []);
    assert_eq!(w.hosts[0].engine.counters().dropped(Dropped::NotServed), 6);
    // Nor under another source: the ULID counts
    let ulids = there;
    let options = wire::Options {
        ulid_pair: Some(wire::UlidPairOption { sender: ulids.peer, receiver: ulids.local }),
        ..Default::default()
    };
    let i1 = wire::I1 { initiator_tag: tag, initiator_nonce: 1, options };
    let other = w.hosts[1].a(1);
    w.inject(other, a, &Message::I1(i1));
    assert_eq!(w.types(0), []);
    // Another destination is served
    let other = UlidPair { local: a, peer: w.hosts[1].a(1) };
    let now = w.now;
    w.hosts[0].engine.establish(now, other, None);
    w.run(ms(100));
    assert_eq!(w.info_of(0, other).map(|c| c.state), Some(ContextState::Established));
}

#[test]
fn nothing_is_sent_to_an_excluded_locator_of_a_peer() {
    // LS-G-13
    let second = World::pair(2, 301).hosts[1].a(1);
    let mut w = configured(301, |c| c.exclude = vec![prefix_of(second)]);
    w.establish(0, 1);
    w.run(ms(100));
    assert!(w.info(0).unwrap().peer[1].broken);
    let ulids = w.ulids(0, 1);
    w.pass = Box::new(|_| false);
    w.hosts[0].engine.send_refused(w.now, ulids, ulids.as_locators());
    w.run(secs(60));
    let probes: Vec<_> = w.log.iter().filter(|s| s.host == 0 && s.ty() == 67).collect();
    assert!(probes.len() > 4 && probes.iter().all(|s| s.pair.peer != second), "{probes:?}");
    let now = w.now;
    w.hosts[0].engine.probe_peer(now, ulids, 0, second);
    w.run(secs(10));
    assert!(w.log.iter().all(|s| s.host != 0 || s.pair.peer != second));
}

#[test]
fn locators_of_two_groups_never_stand_in_one_set() {
    // LS-G-14
    let mut all = hba(0xa, &[1, 2, 3, 4], 5);
    (all[2].group, all[3].group) = (1, 1);
    let addrs = |at: &[usize]| at.iter().map(|i| all[*i].addr).collect::<Vec<_>>();
    let mut w = World::new(&exact(), 61, vec![all.clone(), hba(0xb, &[1], 6)]);
    let told = |w: &World, ulid: usize| {
        let ulids = UlidPair { local: w.hosts[1].a(0), peer: all[ulid].addr };
        let mut known: Vec<_> = w.info_of(1, ulids).unwrap().peer.iter().map(|l| l.addr).collect();
        known.sort_by_key(|a| all.iter().position(|l| l.addr == *a));
        known
    };
    for ulid in [0, 2] {
        let ulids = UlidPair { local: all[ulid].addr, peer: w.hosts[1].a(0) };
        let now = w.now;
        w.hosts[0].engine.establish(now, ulids, None);
        w.run(ms(100));
        let own = w.info_of(0, ulids).unwrap();
        assert_eq!(own.available.len(), 2);
    }
    assert_eq!((told(&w, 0), told(&w, 2)), (addrs(&[0, 1]), addrs(&[2, 3])));
    // An address of the other group comes or goes: nothing to tell
    let updates = w.count(64);
    w.set_addrs(0, all[..3].to_vec());
    w.run(secs(1));
    assert_eq!(w.count(64), updates + 1, "to the peer of that group alone");
    assert_eq!((told(&w, 0), told(&w, 2)), (addrs(&[0, 1]), addrs(&[2])));
    // An interface changes its group: the list that the peer has is replaced
    let mut moved = all.clone();
    moved[1].group = 1;
    w.set_addrs(0, moved);
    w.run(secs(1));
    assert_eq!((told(&w, 0), told(&w, 2)), (addrs(&[0]), addrs(&[1, 2, 3])));
    // A ULID that vanishes keeps its group: its session has nowhere to go but there
    w.set_addrs(0, all[1..].to_vec());
    w.run(secs(30));
    let ulids = UlidPair { local: all[0].addr, peer: w.hosts[1].a(0) };
    assert_eq!(w.info_of(0, ulids).unwrap().current.local, all[1].addr);
    assert_eq!(told(&w, 0), addrs(&[0, 1]));
}

#[test]
fn a_key_signs_for_its_group_alone() {
    // LS-G-14, LS-H-30
    let mut host = super::keys::cga_host(0xa, 3, 0);
    (host[1].group, host[2].group) = (7, 7);
    let expected = vec![host[0].addr, host[3].addr];
    let mut w = World::new(&exact(), 62, vec![host, hba(0xb, &[1], 6)]);
    w.establish(0, 1);
    w.run(ms(100));
    let mut known: Vec<_> = w.info(1).unwrap().peer.iter().map(|l| l.addr).collect();
    known.sort();
    assert_eq!(known, expected);
}

#[test]
fn an_incapable_peer_never_gets_an_i1() {
    // LS-D-05
    let peer = World::pair(2, 302).hosts[1].a(0);
    let mut w = configured(302, |c| c.peers = vec![(prefix_of(peer), Capability::Incapable)]);
    let there = w.ulids(0, 1);
    w.traffic_lost(0, 1, 1000, 1000);
    w.establish(0, 1);
    w.run(secs(3600));
    w.traffic_lost(0, 1, 1000, 1000);
    assert_eq!((w.types(0), w.hosts[0].engine.wake(there)), (vec![], Wake::default()));
    assert_eq!(w.hosts[0].engine.setup_of(there, 0), Setup::Failed);
    // It knows better itself
    w.establish(1, 0);
    w.run(ms(100));
    w.assert_converged();
}

#[test]
fn a_capable_peer_gets_an_i1_with_the_first_datagram() {
    // LS-D-05, LS-D-06
    let peer = World::pair(2, 303).hosts[1].a(0);
    let capable = |c: &mut Shim6Config| c.peers = vec![(prefix_of(peer), Capability::Capable)];
    let mut w = configured(303, capable);
    let there = w.ulids(0, 1);
    assert!(w.hosts[0].engine.wake(there).on_sent);
    w.traffic_lost(0, 1, 1, 1);
    w.run(ms(100));
    w.assert_converged();
    // It does not answer: payload goes on between the ULIDs, and it is tried again after the hold-down
    let mut w = configured(304, |c| c.peers = vec![("::/0".parse().unwrap(), Capability::Capable)]);
    let there = w.ulids(0, 1);
    w.pass = Box::new(|_| false);
    w.traffic_lost(0, 1, 1, 1);
    assert_eq!((w.count(1), w.info(0).unwrap().current), (1, there.as_locators()));
    w.run(secs(125));
    assert_eq!((w.count(1), w.info(0)), (5, None));
    w.traffic_lost(0, 1, 1, 1);
    assert_eq!(w.count(1), 5);
    w.run(secs(60));
    assert!(w.hosts[0].engine.wake(there).on_sent);
    w.traffic_lost(0, 1, 1, 1);
    assert_eq!(w.count(1), 6);
}

#[test]
fn no_context_is_set_up_by_itself_where_the_trigger_is_off() {
    // LS-D-05, LS-H-06
    let mut config = exact();
    config.trigger = crate::config::TriggerConfig { bytes: None, age: None, packets: None };
    config.shim6.peers = vec![("::/0".parse().unwrap(), Capability::Capable)];
    let mut w = World::new(&config, 305, vec![hba(0xa, &[1, 2], 1), hba(0xb, &[1, 2], 2)]);
    w.traffic_lost(0, 1, 1000, 1000);
    let there = w.ulids(0, 1);
    assert_eq!((w.log.len(), w.hosts[0].engine.wake(there)), (0, Wake::default()));
}

#[test]
fn a_refusal_of_a_capable_peer_holds_for_the_pair_alone() {
    // LS-D-18
    for (capability, second_try) in [(Capability::Discover, false), (Capability::Capable, true)] {
        let mut w = configured(306, |c| c.peers = vec![("::/0".parse().unwrap(), capability)]);
        w.pass = Box::new(|_| false);
        w.establish(0, 1);
        let (i1, now) = (w.last(1), w.now);
        w.hosts[0].engine.handle_icmp(now, IcmpKind::UnrecognizedNextHeader, i1.pair, &i1.data);
        w.flush();
        assert_eq!(w.info(0), None);
        w.run(secs(599));
        w.establish(0, 1);
        assert_eq!(w.count(1), 1, "for ten minutes");
        let other = UlidPair { local: w.hosts[0].a(1), peer: w.hosts[1].a(0) };
        let now = w.now;
        w.hosts[0].engine.establish(now, other, None);
        assert_eq!(w.hosts[0].engine.context(other).is_some(), second_try);
    }
}

#[test]
fn a_peer_that_sets_up_a_context_is_no_longer_taken_for_one_without() {
    // LS-D-19: its verified I2, as an I1 may come from anybody
    for no_support in [false, true] {
        let mut w = World::pair(2, 307);
        w.pass = Box::new(|_| false);
        w.establish(0, 1);
        let (i1, now) = (w.last(1), w.now);
        match no_support {
            true => w.hosts[0].engine.handle_icmp(now, IcmpKind::UnrecognizedNextHeader, i1.pair, &i1.data),
            false => w.run(secs(125)),
        }
        w.flush();
        let there = w.ulids(0, 1);
        assert_eq!(w.hosts[0].engine.setup_of(there, 0), Setup::Failed);
        w.pass = Box::new(|s| s.ty() <= 2);
        w.establish(1, 0);
        w.run(ms(100));
        assert_eq!(w.hosts[0].engine.setup_of(there, 0), Setup::Failed, "an I1 is no proof");
        w.pass = Box::new(|_| true);
        w.run(secs(10));
        w.assert_converged();
        let now = w.now;
        w.hosts[0].engine.discard(now, there);
        w.flush();
        assert_eq!(w.hosts[0].engine.setup_of(there, 0), Setup::None);
        w.establish(0, 1);
        w.run(ms(100));
        w.assert_converged();
    }
}

#[test]
fn what_a_peer_can_do_is_known_as_long_as_there_is_a_context() {
    // LS-D-14
    let mut w = World::connected(2, 308);
    let i1 = w.count(1);
    for _ in 0..30 {
        w.run(secs(60));
        w.traffic(0, 1, 1000, 1000);
        w.traffic(1, 0, 1000, 1000);
    }
    w.establish(0, 1);
    w.run(secs(1));
    assert_eq!(w.count(1), i1);
}

/// Two hosts whose context is gone since `ago`; the path to the first address of one of them is dead now.
fn parted(seed: u64, ago: Duration, dead: usize) -> World {
    let mut w = World::connected(2, seed);
    for (host, peer) in [(0, 1), (1, 0)] {
        let (now, ulids) = (w.now, w.ulids(host, peer));
        w.hosts[host].engine.discard(now, ulids);
    }
    w.run(ago);
    let dead = w.hosts[dead].a(0);
    w.pass = Box::new(move |s| s.pair.local != dead && s.pair.peer != dead);
    w.log.clear();
    w
}

#[test]
fn a_known_peer_is_reached_although_the_ulids_are_dead() {
    // LS-D-02, LS-D-04, LS-D-15, LS-D-28
    for dead in [0, 1] {
        let mut w = parted(310 + dead as u64, secs(590), dead);
        w.establish(0, 1);
        w.run(secs(4));
        w.assert_converged();
        let i1 = w.log.iter().find(|s| s.ty() == 1).unwrap();
        assert_eq!(i1.pair, w.ulids(0, 1).as_locators(), "that of the ULIDs comes first");
        let used = w.last(1);
        let option =
            used.message().options().unwrap().ulid_pair.expect("the ULIDs, as the addresses are others");
        assert_eq!((option.sender, option.receiver), (w.hosts[0].a(0), w.hosts[1].a(0)));
        let dead = w.hosts[dead].a(0);
        for host in [0, 1] {
            let info = w.info(host).unwrap();
            assert!(![info.current.local, info.current.peer].contains(&dead), "{:?}", info.current);
            assert_eq!(info.reap, wire::ReapState::Operational);
        }
    }
}

#[test]
fn a_ulid_without_link_is_kept_for_a_known_peer() {
    // LS-D-02
    let mut w = parted(312, secs(1), 0);
    let mut addrs = w.hosts[0].addrs.clone();
    addrs[0].operational = false;
    w.set_addrs(0, addrs);
    w.establish(0, 1);
    w.run(ms(200));
    w.assert_converged();
    assert_eq!(w.log[0].pair.local, w.hosts[0].a(1), "nothing is sent from where nothing can leave");
    assert_eq!(w.info(0).unwrap().current.local, w.hosts[0].a(1));
}

#[test]
fn other_pairs_are_tried_only_if_asked_for_and_for_a_known_peer() {
    // LS-D-04, LS-D-15, S6-13-1, S6-N-18
    let only = |w: &World| {
        let ulids = w.ulids(0, 1).as_locators();
        w.log.iter().filter(|s| s.host == 0).all(|s| s.ty() == 1 && s.pair == ulids) && w.count(1) == 5
    };
    // Traffic alone does not ask
    let mut w = parted(313, secs(1), 1);
    w.traffic_lost(0, 1, 10, 1000);
    w.run(secs(130));
    assert!(only(&w) && w.info(0).is_none());
    // Forgotten after ten minutes
    let mut w = parted(314, secs(600), 1);
    w.establish(0, 1);
    w.run(secs(130));
    assert!(only(&w) && w.info(0).is_none());
    // Nobody answers anywhere: each pair five times, and then no more
    let mut w = parted(315, secs(1), 1);
    w.pass = Box::new(|_| false);
    w.establish(0, 1);
    w.run(secs(600));
    assert_eq!((w.count(1), w.info(0)), (4 * 5, None));
    // A peer that is said to do Shim6 is known, though not its locators
    let mut w = configured(316, |c| c.peers = vec![("::/0".parse().unwrap(), Capability::Capable)]);
    let dead = w.hosts[0].a(0);
    w.pass = Box::new(move |s| s.pair.local != dead && s.pair.peer != dead);
    w.establish(0, 1);
    w.run(secs(2));
    w.assert_converged();
}

#[test]
fn another_address_that_the_application_tries_is_a_pair_of_its_own() {
    // S6-13-1, S6-13-2
    let mut w = World::pair(2, 319);
    let dead = w.hosts[1].a(0);
    w.pass = Box::new(move |s| s.pair.peer != dead && s.pair.local != dead);
    w.traffic_lost(0, 1, 3, 100);
    let there = UlidPair { local: w.hosts[0].a(0), peer: w.hosts[1].a(1) };
    let back = UlidPair { local: there.peer, peer: there.local };
    for _ in 0..10 {
        assert_eq!(w.log.len(), 0, "below the threshold nothing is sent and nothing kept");
        assert_eq!(w.hosts[0].engine.contexts().count(), 0);
        let now = w.now;
        w.hosts[0].engine.payload(now, there, Direction::Sent, 1, 200, None);
        w.hosts[1].engine.payload(now, back, Direction::Received, 1, 200, None);
        w.run(ms(10));
    }
    let now = w.now;
    w.hosts[0].engine.payload(now, there, Direction::Sent, 1, 200, None);
    w.run(ms(100));
    let info = w.info_of(0, there).unwrap();
    assert_eq!((info.state, info.current), (ContextState::Established, there.as_locators()));
    assert_eq!(w.info(0), None);
}

#[test]
fn nothing_but_messages_of_rfc_5533_and_5534_is_sent_at_the_end() {
    // LS-D-41
    let mut w = World::connected(2, 317);
    w.run(secs(60));
    w.log.clear();
    let (now, ulids) = (w.now, w.ulids(0, 1));
    w.hosts[0].engine.discard(now, ulids);
    w.run(secs(700));
    assert_eq!((w.log.len(), w.info(0), w.info(1)), (0, None, None));
}

#[test]
fn what_was_found_unreachable_stays_so_when_the_list_is_repeated() {
    // S6-5.10-2, API-ERR-11
    let mut w = World::connected(2, 318);
    let second = w.hosts[1].a(1);
    w.pass = Box::new(move |s: &Sent| s.pair.peer != second);
    let (now, ulids) = (w.now, w.ulids(0, 1));
    w.hosts[0].engine.probe_peer(now, ulids, 0, second);
    w.run(secs(10));
    assert!(w.info(0).unwrap().peer[1].unreachable);
    let mut options = super::matrix::offer(&w, 1);
    options.preferences = Some(LocatorPreferences {
        generation: 77,
        elements: Some(vec![
            Default::default(),
            wire::Preference { flags: preference_flag::TRANSIENT, ..Default::default() },
        ]),
        offset: 0,
    });
    let receiver_tag = w.info(0).unwrap().local_tag;
    let m = UpdateRequest { receiver_tag, request_nonce: 5, options };
    let (from, to) = (w.hosts[1].a(0), w.hosts[0].a(0));
    w.inject(from, to, &Message::UpdateRequest(m));
    assert_eq!(w.last(65).host, 0, "the list was taken");
    assert!(w.info(0).unwrap().peer[1].unreachable);
    w.run(secs(61));
    assert!(!w.info(0).unwrap().peer[1].unreachable);
}

#[test]
fn a_fork_has_the_locators_of_a_ulid_that_vanished() {
    // LS-H-33, LS-G-14, API-FK-03
    let mut all = hba(0xa, &[1, 2, 3], 5);
    (all[0].group, all[1].group) = (4, 4);
    let mut w = World::new(&exact(), 320, vec![all.clone(), hba(0xb, &[1, 2], 6)]);
    w.establish(0, 1);
    w.run(ms(100));
    let ulids = w.ulids(0, 1);
    w.set_addrs(0, all[1..].to_vec());
    w.run(secs(1));
    let now = w.now;
    assert_eq!(w.hosts[0].engine.context(ulids).unwrap().current.local, all[1].addr);
    assert!(w.hosts[0].engine.fork(now, ulids, 9, Arc::default(), None));
    w.run(secs(1));
    let own = w.hosts[0].engine.context_of(ulids, 9).unwrap();
    assert_eq!((own.fii, own.state, own.reap), (9, ContextState::Established, wire::ReapState::Operational));
    assert_eq!(own.current.local, all[1].addr);
    assert!(own.local.iter().all(|l| l.addr != all[2].addr));
}
