//! Header suppression: flags on the wire, and what they lead to.

use super::instances::udp;
use super::*;
use crate::config::Suppress;
use crate::engine::Bare;
use crate::engine::suppress::Flags;
use crate::wire::capability::{ALWAYS, EQUIVALENT, TRANSPORT};
use crate::wire::message_type::{I2, R2, UPDATE_REQUEST};

/// Two hosts with two locators each and these settings, ESTABLISHED.
fn connected(modes: [Suppress; 2], change: impl FnOnce(&mut World)) -> World {
    let mut w = World::pair(2, 3);
    for (i, mode) in modes.into_iter().enumerate() {
        let mut config = exact();
        config.shim6.suppress_header = mode;
        let addrs = w.hosts[i].addrs.clone();
        w.hosts[i] = Host::new(&config, 70 + i as u64, addrs);
    }
    change(&mut w);
    w.establish(0, 1);
    w.run(ms(200));
    w.assert_converged();
    w
}

fn told(w: &World, ty: u8) -> Option<u8> {
    w.last(ty).message().options().expect("options").capabilities
}

fn bare(w: &World) -> [Bare; 2] {
    [0, 1].map(|h| w.info(h).expect("a context").bare)
}

const BOTH: [Suppress; 2] = [Suppress::WhenClear; 2];

// LS-S-01, LS-S-03, LS-S-04, LS-S-05
#[test]
fn both_hosts_announce_what_holds() {
    let w = connected(BOTH, |_| ());
    assert_eq!((told(&w, I2), told(&w, R2)), (Some(0x60), Some(0x60)));
    assert_eq!(bare(&w), [Bare::KnownFlows; 2]);
    assert!(w.types(0).iter().chain(&w.types(1)).all(|ty| *ty != UPDATE_REQUEST));
}

// LS-CX-12, LS-S-09: nothing of it is on the wire by default, and a peer without it gets headers.
#[test]
fn off_means_plain_rfc_5533() {
    let w = connected([Suppress::Off; 2], |_| ());
    assert_eq!((told(&w, I2), told(&w, R2), bare(&w)), (None, None, [Bare::No; 2]));
    let w = connected([Suppress::Off, Suppress::Always], |_| ());
    assert_eq!((told(&w, I2), told(&w, R2), bare(&w)), (None, Some(0xe0), [Bare::No; 2]));
}

// LS-S-02, LS-S-06, LS-S-10: bit 0 is obeyed by a host that has no capability of its own.
#[test]
fn bit_0_is_obeyed() {
    let w = connected([Suppress::WhenClear, Suppress::Always], |w| w.hosts[0].set(|p| p.takes_bare = false));
    assert_eq!((told(&w, I2), told(&w, R2)), (Some(0), Some(0xe0)));
    assert_eq!(bare(&w), [Bare::All, Bare::No]);
    assert_eq!(w.info(1).expect("context").takes_bare, Bare::All);
}

// LS-S-07, LS-S-08, LS-S-22: one capability in common, or none.
#[test]
fn what_is_left_out_follows_from_both_sets_of_flags() {
    let leaves = |own, peer| Flags { own, peer, ..Flags::default() }.leaves();
    assert_eq!(leaves(None, 0xff), Bare::No);
    assert_eq!(leaves(Some(0), ALWAYS), Bare::All);
    assert_eq!(leaves(Some(ALWAYS), 0), Bare::No, "what we take says nothing about the peer");
    assert_eq!(leaves(Some(EQUIVALENT), TRANSPORT), Bare::No);
    assert_eq!(leaves(Some(EQUIVALENT | TRANSPORT), TRANSPORT), Bare::KnownFlows);
    assert_eq!(leaves(Some(TRANSPORT), EQUIVALENT | TRANSPORT), Bare::KnownFlows);
    assert_eq!(leaves(Some(EQUIVALENT), EQUIVALENT), Bare::KnownFlows);
    let w = connected(BOTH, |w| w.hosts[1].set(|p| p.takes_bare = false));
    assert_eq!((told(&w, R2), bare(&w)), (Some(0), [Bare::No; 2]));
}

// LS-S-05: reserved bits of the peer mean nothing.
#[test]
fn reserved_bits_are_ignored() {
    let mut w = connected(BOTH, |_| ());
    let id = w.hosts[0].engine.table.ids()[0];
    w.hosts[0].engine.peer_flags(id, Some(0x1f), true);
    assert_eq!(bare(&w)[0], Bare::No);
}

// LS-S-12, LS-S-13, LS-S-16: B::1 stands for A::1 until it is an ULID itself; with other ports bit 2 is left.
#[test]
fn a_locator_that_becomes_an_ulid_takes_bit_1_back() {
    let mut w = connected(BOTH, |_| ());
    let (now, peer) = (w.now, w.hosts[1].a(0));
    let other = UlidPair { local: w.hosts[0].a(1), peer };
    let ulids = w.ulids(0, 1);
    w.hosts[0].engine.note_flow(now, ulids, udp(1000, 5005));
    assert!(w.types(0).iter().all(|ty| *ty != UPDATE_REQUEST));
    w.hosts[0].engine.note_flow(now, other, udp(2000, 5005));
    w.run(ms(100));
    assert_eq!((told(&w, UPDATE_REQUEST), bare(&w)), (Some(0x20), [Bare::KnownFlows; 2]));
    // A session with somebody else changes nothing
    let stranger = UlidPair { local: ulids.local, peer: addr("2001:db8:77::1") };
    w.hosts[0].engine.note_flow(w.now, stranger, udp(1000, 5005));
    assert_eq!(bare(&w)[0], Bare::KnownFlows);
}

// LS-S-08, LS-S-19: the same ports on what may be the same locators.
#[test]
fn a_second_session_with_the_same_ports_takes_all_back() {
    let mut w = connected(BOTH, |_| ());
    let other = UlidPair { local: w.hosts[0].a(1), peer: w.hosts[1].a(1) };
    let ulids = w.ulids(0, 1);
    w.hosts[0].engine.note_flow(w.now, ulids, udp(1000, 5005));
    w.hosts[0].engine.note_flow(w.now, other, udp(1000, 5005));
    assert_eq!(bare(&w)[0], Bare::No, "before the peer knows");
    w.run(ms(100));
    assert_eq!((told(&w, UPDATE_REQUEST), bare(&w)), (Some(0), [Bare::No; 2]));
    assert_eq!(w.hosts[1].engine.context(w.ulids(1, 0)).expect("context").takes_bare, Bare::No);
}

// LS-S-08: a second context of the pair.
#[test]
fn a_second_context_takes_all_back() {
    let mut w = connected(BOTH, |_| ());
    let ulids = w.ulids(0, 1);
    assert!(w.hosts[0].engine.fork(w.now, ulids, 9, Arc::default(), None));
    w.run(ms(200));
    assert_eq!(bare(&w), [Bare::No; 2]);
    assert!(w.hosts[1].engine.contexts().all(|c| c.bare == Bare::No && c.takes_bare == Bare::No));
}

// LS-S-14, LS-S-15, LS-S-17, LS-S-20, LS-S-23, LS-S-24, LS-S-25: whose a datagram on locators is.
#[test]
fn the_owner_of_a_bare_datagram() {
    let mut w = connected(BOTH, |_| ());
    let ulids = w.ulids(1, 0);
    let locators = |i: usize, j: usize| LocatorPair { local: w.hosts[1].a(i), peer: w.hosts[0].a(j) };
    let (crossed, second, same) = (locators(1, 0), locators(1, 1), locators(0, 0));
    let foreign = LocatorPair { peer: addr("2001:db8:77::1"), ..second };
    let owner = |w: &World, pair| w.hosts[1].engine.bare_owner(pair, udp(5005, 1000));
    assert_eq!(owner(&w, second), None, "a flow that nobody knows could be a session on these addresses");
    w.hosts[1].engine.note_flow(w.now, ulids, udp(5005, 1000));
    assert_eq!(owner(&w, crossed), Some(ulids));
    assert_eq!(owner(&w, second), Some(ulids));
    assert_eq!(owner(&w, same), None, "its own ULIDs");
    assert_eq!(owner(&w, foreign), None, "no locator of the peer");
    for protocol in [6, 89] {
        let flow = FlowId { protocol, local_port: 5005, peer_port: 1000 };
        assert_eq!(w.hosts[1].engine.bare_owner(second, flow), None, "only UDP is ever bare");
    }
    // A session on just these addresses comes first.
    w.hosts[1].engine.note_flow(w.now, UlidPair { local: second.local, peer: second.peer }, udp(5005, 1000));
    assert_eq!(owner(&w, second), None);
}

// LS-S-27
#[test]
fn a_header_is_taken_although_none_was_needed() {
    let mut w = connected([Suppress::Always; 2], |_| ());
    w.send_tagged(0, b"data");
    w.run(ms(50));
    let ulids = w.ulids(1, 0);
    assert_eq!(w.hosts[1].delivered, [Delivered { ulids, next_header: 17, data: b"data".to_vec() }]);
}

// More flows than can be told apart prove nothing.
#[test]
fn too_many_flows_bring_the_header_back() {
    let mut w = connected(BOTH, |_| ());
    let ulids = w.ulids(0, 1);
    for n in 0..=65_536u32 {
        let flow = FlowId { protocol: 17, local_port: 1 + (n >> 8) as u16, peer_port: (n & 0xff) as u16 };
        w.hosts[0].engine.note_flow(w.now, ulids, flow);
    }
    assert_eq!(bare(&w)[0], Bare::No);
}
