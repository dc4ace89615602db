//! Locator lists that change (RFC 5533 section 10), and what the peer makes of them.

use super::matrix::{offer, world_in};
use super::*;
use crate::engine::Dropped;
use crate::wire::{LocatorPreferences, Options, Preference, UpdateAck, UpdateRequest, preference_flag};

fn update(w: &World) -> UpdateRequest {
    match w.last(64).message() {
        Message::UpdateRequest(m) => m,
        other => panic!("{other:?}"),
    }
}

fn listed(m: &UpdateRequest) -> Vec<Ipv6Addr> {
    m.options.locators.as_ref().expect("a list").locators.iter().map(|(_, a)| *a).collect()
}

fn flags(m: &UpdateRequest) -> Vec<u8> {
    let elements = m.options.preferences.as_ref().expect("preferences").elements.as_ref().unwrap();
    elements.iter().map(|e| e.flags).collect()
}

/// Host 0 has 4 prefixes in its set and `n` of them configured.
fn with_some(n: usize) -> (World, Vec<LocalLocator>) {
    let all = hba(0xa, &[1, 2, 3, 4], 5);
    let mut w = World::new(&exact(), 61, vec![all[..n].to_vec(), hba(0xb, &[1, 2], 6)]);
    w.establish(0, 1);
    w.run(ms(100));
    w.assert_converged();
    (w, all)
}

#[test]
fn a_new_address_of_the_set_is_announced_and_used_when_acknowledged() {
    // LS-D-21, LS-D-30
    // HC-CX-05, LS-H-27, LS-H-28, LS-H-31, LS-H-32, S6-7.2-4, S6-5.11-2, S6-10.1-1, S6-10.1-3, S6-5.10-4, S6-N-31, HC-USE-03
    let (mut w, all) = with_some(2);
    let first = w.last(3);
    let Message::I2(i2) = first.message() else { panic!() };
    assert_eq!(i2.options.locators.as_ref().unwrap().locators.len(), 2);
    w.pass = Box::new(|s| s.ty() != 65);
    w.set_addrs(0, all[..3].to_vec());
    let m = update(&w);
    assert_eq!(listed(&m), all[..3].iter().map(|l| l.addr).collect::<Vec<_>>());
    assert_ne!(m.options.locators.as_ref().unwrap().generation, i2.options.locators.unwrap().generation);
    assert_eq!((&m.options.pds, &m.options.preferences), (&None, &None));
    assert_eq!(Some(m.receiver_tag), w.info(0).unwrap().peer_tag);
    // While it is not acknowledged, no Probe leaves from the new one
    w.run(ms(500));
    assert_eq!(w.info(1).unwrap().peer.len(), 3);
    let new = all[2].addr;
    let now = w.now;
    let ulids = w.ulids(0, 1);
    w.hosts[0].engine.send_refused(now, ulids, ulids.as_locators());
    w.pass = Box::new(|_| false);
    w.run(secs(3));
    let sources = |w: &World| {
        let probes = w.log.iter().filter(|s| s.host == 0 && s.ty() == 67);
        probes.map(|s| s.pair.local).collect::<Vec<_>>()
    };
    assert!(sources(&w).len() > 2 && !sources(&w).contains(&new));
    let ack = Message::UpdateAck(UpdateAck {
        receiver_tag: w.info(0).unwrap().local_tag,
        request_nonce: m.request_nonce,
        options: Options::default(),
    });
    w.inject(w.hosts[1].a(1), all[1].addr, &ack);
    w.run(secs(60));
    assert!(sources(&w).contains(&new));
}

#[test]
fn a_foreign_address_is_not_announced() {
    // S6-10-2, S6-3-1, HC-SIG-09
    let (mut w, all) = with_some(2);
    let mut addrs = all[..2].to_vec();
    addrs.push(plain("2001:db8:77::1", 9));
    addrs.extend(hba(0xd, &[1, 2], 7));
    w.set_addrs(0, addrs);
    w.run(ms(100));
    assert_eq!(w.count(64), 0);
    assert_eq!(w.info(0).unwrap().local.len(), 2);
}

#[test]
fn a_vanished_ulid_stays_in_the_list_as_broken() {
    // LS-H-33, LS-H-34, S6-4-4, S6-2-4, S6-5.10-2, S6-5.10-3, RE-AD-13, RE-AD-14
    let (mut w, all) = with_some(3);
    let ulids = w.ulids(0, 1);
    // Without any traffic: the loss alone starts the exploration
    let start = w.now;
    let gone = w.hosts[0].a(0);
    w.set_addrs(0, all[1..3].to_vec());
    let probe = w.last(67);
    assert_eq!((probe.at, probe.host), (start, 0));
    assert_ne!(probe.pair.local, gone);
    w.run(ms(190));
    let info = w.hosts[0].engine.context(ulids).unwrap();
    assert_ne!(info.current.local, gone);
    assert_eq!(info.reap, wire::ReapState::Operational);
    let m = update(&w);
    assert_eq!(w.last(64).pair, info.current);
    assert!(m.options.locators.is_none());
    assert_eq!(flags(&m), [preference_flag::BROKEN, 0, 0]);
    let peer = w.hosts[1].engine.context(UlidPair { local: ulids.peer, peer: ulids.local }).unwrap();
    assert_eq!(peer.peer.iter().map(|l| l.broken).collect::<Vec<_>>(), [true, false, false]);
    assert_ne!(peer.current.peer, gone);
    // It comes back
    w.set_addrs(0, all[..3].to_vec());
    w.run(ms(100));
    assert_eq!(flags(&update(&w)), [0, 0, 0]);
}

#[test]
fn an_interface_without_carrier_is_broken_not_gone() {
    // S6-4-4, RE-AD-05, RE-AD-07, S6-N-31
    let (mut w, all) = with_some(2);
    let mut addrs = all[..2].to_vec();
    addrs[1].operational = false;
    w.set_addrs(0, addrs);
    w.run(ms(100));
    assert_eq!(flags(&update(&w)), [0, 1]);
    // A removed member leaves the list, and comes back by another Update
    w.set_addrs(0, all[..1].to_vec());
    w.run(ms(100));
    assert_eq!(listed(&update(&w)), [all[0].addr]);
    assert_eq!(w.info(1).unwrap().peer.len(), 1);
    w.set_addrs(0, all[..2].to_vec());
    w.run(ms(100));
    assert_eq!(w.info(1).unwrap().peer.len(), 2);
    let mut generations = Vec::new();
    for s in w.log.iter().filter(|s| s.ty() == 64) {
        if let Message::UpdateRequest(m) = s.message()
            && let Some(l) = m.options.locators
        {
            generations.push(l.generation);
        }
    }
    let n = generations.len();
    generations.dedup();
    assert_eq!(generations.len(), n);
}

#[test]
fn an_update_is_repeated_for_ever_with_the_same_nonce() {
    // S6-10.2-1, S6-10.2-2, S6-10.2-3, S6-10.1-5, S6-10.1-6, S6-10.3-1, S6-B-65
    let (mut w, all) = with_some(2);
    for host in &w.hosts {
        host.set(|p| p.in_use = true);
    }
    w.log.clear();
    w.pass = Box::new(|_| false);
    w.set_addrs(0, all[..3].to_vec());
    w.run(secs(3600));
    let sent: Vec<Sent> = w.log.iter().filter(|s| s.ty() == 64).cloned().collect();
    let gaps: Vec<u64> = sent.windows(2).map(|p| p[1].at.since(p[0].at).as_secs()).collect();
    assert_eq!(gaps[..7], [4, 8, 16, 32, 64, 120, 120]);
    assert_eq!(gaps[7..].iter().filter(|g| **g != 120).count(), 0);
    assert!(sent.iter().all(|s| s.data == sent[0].data));
    w.pass = Box::new(|_| true);
    w.run(secs(300));
    let n = w.count(64);
    w.run(secs(600));
    assert_eq!(w.count(64), n);
    assert_eq!(w.info(1).unwrap().peer.len(), 3);
}

#[test]
fn newer_information_replaces_an_outstanding_update() {
    // S6-10.3-1, S6-10.3-2, S6-10.3-3, S6-10.3-4, S6-10.3-5, S6-10.5-4, S6-10.5-5
    let (mut w, all) = with_some(2);
    w.pass = Box::new(|s| s.ty() != 65);
    w.set_addrs(0, all[..3].to_vec());
    w.run(secs(1));
    let old = update(&w);
    let mut addrs = all[..4].to_vec();
    addrs[1].operational = false;
    w.set_addrs(0, addrs);
    let start = w.now;
    let new = update(&w);
    assert_eq!(listed(&new), all.iter().map(|l| l.addr).collect::<Vec<_>>());
    assert_eq!(flags(&new), [0, 1, 0, 0]);
    assert_ne!(new.request_nonce, old.request_nonce);
    let generation = |m: &UpdateRequest| m.options.locators.as_ref().unwrap().generation;
    assert_ne!(generation(&new), generation(&old));
    let (receiver_tag, options) = (w.info(0).unwrap().local_tag, Options::default());
    let ack = |nonce| {
        Message::UpdateAck(UpdateAck { receiver_tag, request_nonce: nonce, options: options.clone() })
    };
    let (a, b) = (w.hosts[0].a(0), w.hosts[1].a(0));
    w.inject(b, a, &ack(old.request_nonce));
    w.log.clear();
    w.run(ms(4100));
    assert_eq!(w.last(64).at.since(start), secs(4));
    assert_eq!(update(&w), new);
    w.inject(b, a, &ack(new.request_nonce));
    w.log.clear();
    w.run(secs(200));
    assert_eq!(w.count(64), 0);
}

/// An Update Request of host 1 to host 0, hand-made.
fn request(w: &mut World, nonce: u32, options: Options) -> Vec<Message> {
    let (a, b) = (w.hosts[0].a(0), w.hosts[1].a(0));
    let receiver_tag = w.info(0).unwrap().local_tag;
    let before = w.log.len();
    w.inject(b, a, &Message::UpdateRequest(UpdateRequest { receiver_tag, request_nonce: nonce, options }));
    w.log[before..].iter().filter(|s| s.host == 0).map(Sent::message).collect()
}

fn preferences(generation: u32, elements: &[(u8, u8)]) -> Option<LocatorPreferences> {
    let element = |(flags, priority): &(u8, u8)| Preference {
        flags: *flags,
        priority: Some(*priority),
        weight: Some(0),
    };
    Some(LocatorPreferences { generation, elements: Some(elements.iter().map(element).collect()), offset: 0 })
}

#[test]
fn a_received_update_is_all_or_nothing() {
    // LS-UP-06, LS-F-04, LS-U-02, S6-N-44
    // S6-10.4-4, S6-10.4-5, S6-10.4-6, S6-10.4-7, S6-10.4-8, S6-10.4-9, S6-10.4-10, S6-10.4-11, S6-10.4-12, S6-7.2-1,
    // S6-7.2-5, S6-7.2-6, S6-7.2-7, S6-7.2-8, S6-N-29, S6-N-30, S6-N-36, S6-5.11-1, S6-N-23
    let mut w = World::connected(2, 62);
    let before = w.info(0).unwrap();
    let good = offer(&w, 1);
    let with_method = |method: u8| {
        let mut o = good.clone();
        o.locators.as_mut().unwrap().locators[1].0 = method;
        o
    };
    let error = |m: &[Message]| match m {
        [Message::Error(e)] => (e.code, usize::from(e.pointer) - 40),
        other => panic!("{other:?}"),
    };
    // Methods that nobody knows, or that need a key: offset of the second method octet (16 + 4 + 5 + 1)
    for method in [0, 2, 3, 77, 255] {
        assert_eq!(error(&request(&mut w, 1, with_method(method))), (2, 26), "method {method}");
    }
    // Locators that the set does not hold, or that are none
    for other in ["2001:db8:bad::1", "ff02::1", "fe80::1", "::1", "::"] {
        let mut o = good.clone();
        o.locators.as_mut().unwrap().locators[0].1 = addr(other);
        assert_eq!(error(&request(&mut w, 2, o)), (2, 25), "{other}");
    }
    // The PDS of somebody else: silence
    let foreign = Options { pds: offer(&w, 0).pds, ..good.clone() };
    assert_eq!(request(&mut w, 3, foreign), []);
    // Preferences for another generation, with another number; nothing of the good list is taken over
    let o = Options { preferences: preferences(78, &[(0, 0), (1, 0)]), ..good.clone() };
    let list_end = 16 + wire::LocatorList::encoded_len_for(2);
    assert_eq!(error(&request(&mut w, 4, o)), (3, list_end + 4));
    let o = Options { preferences: preferences(77, &[(0, 0)]), ..good.clone() };
    assert_eq!(error(&request(&mut w, 5, o)), (4, list_end + 2));
    assert_eq!(w.info(0).unwrap(), before);
    // A good one, twice, and then preferences alone
    for _ in 0..2 {
        let o = Options { preferences: preferences(77, &[(0, 0), (1, 0)]), ..good.clone() };
        let [Message::UpdateAck(ack)] = &request(&mut w, 6, o)[..] else { panic!("no Ack") };
        assert_eq!((ack.request_nonce, Some(ack.receiver_tag)), (6, before.peer_tag));
    }
    let broken = |w: &World| w.info(0).unwrap().peer.iter().map(|l| l.broken).collect::<Vec<_>>();
    assert_eq!(broken(&w), [false, true]);
    let alone = Options { preferences: preferences(77, &[(0, 0), (0, 0)]), ..Options::default() };
    assert!(matches!(request(&mut w, 7, alone)[..], [Message::UpdateAck(_)]));
    assert_eq!(broken(&w), [false, false]);
    // A late copy of the older request is acknowledged and not applied
    let o = Options { preferences: preferences(77, &[(0, 0), (1, 0)]), ..good };
    assert!(matches!(request(&mut w, 6, o)[..], [Message::UpdateAck(_)]));
    assert_eq!(broken(&w), [false, false]);
}

#[test]
fn a_list_without_pds_is_verified_with_the_one_that_is_kept() {
    // S6-5.15.4-3, S6-N-35, HC-VER-14
    let mut w = World::connected(2, 63);
    let o = Options { pds: None, ..offer(&w, 1) };
    assert!(matches!(request(&mut w, 1, o)[..], [Message::UpdateAck(_)]));
    // A peer that never sent one
    let plain_peer = vec![hba(0xa, &[1, 2], 1), vec![plain("2001:db8:b::1", 1)]];
    let mut w = World::new(&exact(), 64, plain_peer);
    w.establish(0, 1);
    w.run(ms(100));
    let list = wire::LocatorList { generation: 1, locators: vec![(1, w.hosts[1].a(0))], methods_offset: 0 };
    let o = Options { locators: Some(list), ..Options::default() };
    assert!(matches!(&request(&mut w, 1, o)[..], [Message::Error(e)] if e.code == 2));
    let o = Options { preferences: preferences(1, &[(1, 0)]), ..Options::default() };
    assert!(matches!(&request(&mut w, 2, o)[..], [Message::Error(e)] if e.code == 3));
}

#[test]
fn an_update_from_unknown_locators_gets_r1bis() {
    // LS-UP-05, LS-CX-06
    // S6-10.4-2, S6-10.4-3, S6-10.5-2, S6-10.5-3, S6-12.4-5, RE-KA-10, RE-KA-11
    let mut w = World::connected(2, 65);
    let (a, tag) = (w.hosts[0].a(0), w.info(0).unwrap().local_tag);
    let before = w.info(0);
    let options = Options::default;
    for (from, receiver_tag) in
        [(addr("2001:db8:bad::1"), tag), (w.hosts[1].a(0), ContextTag::new(tag.value() ^ 1))]
    {
        for m in [
            Message::UpdateRequest(UpdateRequest { receiver_tag, request_nonce: 1, options: options() }),
            Message::UpdateAck(UpdateAck { receiver_tag, request_nonce: 1, options: options() }),
            Message::Keepalive(wire::Keepalive { receiver_tag, options: options() }),
        ] {
            let n = w.log.len();
            w.inject(from, a, &m);
            let sent: Vec<u8> = w.log[n..].iter().map(Sent::ty).collect();
            assert_eq!(sent, [5], "{m:?}");
            let Message::R1bis(r) = w.last(5).message() else { panic!() };
            assert_eq!(r.packet_tag, receiver_tag);
            w.intercept();
        }
    }
    assert_eq!(w.info(0), before);
}

#[test]
fn the_peer_marks_its_current_locator_broken_or_drops_it() {
    // LS-D-29, LS-D-32
    // S6-10.4-13, S6-10.4-14, S6-5.15.3-8, RE-FI-12, S6-N-36
    for dropped in [false, true] {
        let mut w = World::connected(2, 66);
        let ulids = w.ulids(0, 1);
        let mut o = offer(&w, 1);
        if dropped {
            o.locators.as_mut().unwrap().locators.remove(0);
        } else {
            o.preferences = preferences(77, &[(1, 0), (0, 0)]);
        }
        let sent = request(&mut w, 1, o);
        assert!(matches!(sent[..], [Message::UpdateAck(_), Message::Probe(_)]), "{sent:?}");
        // Payload stays until a Probe came back
        assert_eq!(w.info(0).unwrap().current, ulids.as_locators());
        w.run(ms(300));
        assert_eq!(w.info(0).unwrap().current.peer, w.hosts[1].a(1));
        assert!(w.info(0).unwrap().peer.iter().any(|l| l.addr == w.hosts[1].a(1) && l.probed));
    }
}

#[test]
fn after_an_error_one_complete_request_follows() {
    // S6-N-29, S6-N-14
    let (mut w, all) = with_some(2);
    w.pass = Box::new(|_| false);
    w.set_addrs(0, all[..3].to_vec());
    let error = |w: &mut World| {
        let u = w.last(64);
        let e = wire::ErrorMessage::quoting(3, u.pair.local, u.pair.peer, &u.data, 20);
        w.inject(u.pair.peer, u.pair.local, &Message::Error(e));
    };
    let first = update(&w);
    error(&mut w);
    let second = update(&w);
    assert_ne!(first.request_nonce, second.request_nonce);
    assert!(second.options.pds.is_some() && second.options.preferences.is_some());
    assert_eq!(listed(&second).len(), 3);
    let n = w.count(64);
    error(&mut w);
    w.run(secs(400));
    assert_eq!(w.count(64), n);
    assert_eq!(w.hosts[0].engine.counters().errors_received.get(&3), Some(&2));
}

#[test]
fn priorities_and_weights_order_the_probes() {
    // LS-F-03
    // S6-5.15.3-5, S6-5.15.3-6, S6-5.15.3-2
    let mut picks = [0; 2];
    for seed in 0..200 {
        let mut w = World::new(&exact(), 67 + seed, vec![hba(0xa, &[1], 1), hba(0xb, &[1, 2, 3], 2)]);
        w.establish(0, 1);
        w.run(ms(100));
        let mut o = offer(&w, 1);
        let element =
            |flags, priority, weight| Preference { flags, priority: Some(priority), weight: Some(weight) };
        o.preferences = Some(LocatorPreferences {
            generation: 77,
            elements: Some(vec![element(1, 0, 0), element(0, 5, 30), element(0, 5, 10)]),
            offset: 0,
        });
        request(&mut w, 1, o);
        let first = w.last(67).pair.peer;
        assert_ne!(first, w.hosts[1].a(0));
        picks[usize::from(first == w.hosts[1].a(2))] += 1;
    }
    // Three to one; six standard deviations
    assert!((113..=187).contains(&picks[0]), "{picks:?}");
}

#[test]
fn preferences_that_do_not_fit_do_not_stop_an_establishment() {
    // S6-N-30
    let (mut w, fake) = world_in(None);
    let mut i2 = fake.i2(&w);
    i2.options.preferences = preferences(5, &[(1, 0), (1, 0)]);
    let (a, b) = (w.hosts[0].a(0), w.hosts[1].a(0));
    w.log.clear();
    w.inject(b, a, &Message::I2(i2));
    let mut types = w.types(0);
    types.sort();
    assert_eq!(types, [4, 68]);
    let info = w.info(0).unwrap();
    assert!(info.peer.iter().all(|l| !l.broken));
    assert_eq!(w.hosts[0].engine.counters().dropped(Dropped::BadPreferences), 1);
}
