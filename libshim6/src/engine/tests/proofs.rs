//! What proves a locator, and what a peer that can prove nothing is left with (RFC 5535, RFC 4982 section 4.1).

use super::*;
use crate::crypto::{Pds, VerifyError, sec_of, verify_hba};
use crate::engine::Dropped;
use crate::identity::IdentityError;
use crate::wire::ReapState;

fn list(m: &Message) -> wire::LocatorList {
    m.options().unwrap().locators.clone().expect("a list")
}

#[test]
fn a_host_without_proofs_of_its_own_verifies_those_of_its_peer() {
    // LS-D-22
    // HC-HBA-18
    let mut w = World::new(&exact(), 71, vec![vec![plain("2001:db8:a:1::1", 1)], hba(0xb, &[1, 2], 7)]);
    w.establish(0, 1);
    w.run(ms(100));
    w.assert_converged();
    let info = w.info(0).unwrap();
    assert_eq!(info.local.len(), 1);
    assert_eq!(info.peer.iter().map(|l| (l.hba, l.verified)).collect::<Vec<_>>(), [(true, true); 2]);
    // A list of the peer that does not hold is refused by it
    let r2 = w.last(4);
    let Message::R2(mut forged) = r2.message() else { panic!() };
    forged.options.locators.as_mut().unwrap().locators[1].1 = addr("2001:db8:bad::1");
    let mut w = World::new(&exact(), 71, vec![vec![plain("2001:db8:a:1::1", 1)], hba(0xb, &[1, 2], 7)]);
    w.pass = Box::new(|s| s.ty() != 4);
    w.establish(0, 1);
    w.run(ms(100));
    w.inject(r2.pair.local, r2.pair.peer, &Message::R2(forged));
    assert_eq!(w.hosts[0].engine.counters().dropped(Dropped::BadLocators), 1);
    assert_eq!(w.state(0), Some(ContextState::I2Sent));
    w.pass = Box::new(|_| true);
    w.run(secs(20));
    w.assert_converged();
    // And the other address of the peer is of use when the first is dead
    let dead = w.hosts[1].a(0);
    w.pass = Box::new(move |s| s.pair.peer != dead && s.pair.local != dead);
    w.traffic_lost(0, 1, 1, 100);
    w.run(secs(60));
    let info = w.info(0).unwrap();
    assert_eq!((info.reap, info.current.peer), (ReapState::Operational, w.hosts[1].a(1)));
}

/// An HBA set, and its first address with a Sec that has no meaning.
fn unknown_sec() -> (Vec<LocalLocator>, Ipv6Addr, Pds) {
    let set = hba(0xa, &[1, 2], 8);
    let identity = set[0].identity.as_ref().unwrap();
    let pds = identity.parameters(&set[0].addr).unwrap().clone();
    let mut octets = set[0].addr.octets();
    octets[8] |= 5 << 5;
    (set, octets.into(), pds)
}

#[test]
fn an_unknown_sec_leaves_the_ulid_alone() {
    // HC-SEC-06, HC-VER-07
    let (set, strange, pds) = unknown_sec();
    assert_eq!((sec_of(&strange), verify_hba(&strange, &pds)), (5, Err(VerifyError::Sec(5))));
    let refused = Identity::new(vec![(strange, pds.clone())]);
    assert!(
        matches!(refused, Err(IdentityError::Verify(a, VerifyError::Sec(5))) if a == strange),
        "{refused:?}"
    );
    // So to us it is an ordinary address; what the peer does with the parameters is the same
    let hosts = vec![vec![plain(&strange.to_string(), 1), set[1].clone()], hba(0xb, &[1, 2], 9)];
    let mut w = World::new(&exact(), 72, hosts);
    w.pass = Box::new(|s| s.ty() != 3);
    w.establish(0, 1);
    w.run(ms(100));
    let i2 = w.last(3);
    let Message::I2(mut with_pds) = i2.message() else { panic!() };
    assert_eq!((&with_pds.options.locators, &with_pds.options.pds), (&None, &None));
    with_pds.options.pds = Some(pds.as_bytes().to_vec());
    w.inject(i2.pair.local, i2.pair.peer, &Message::I2(with_pds));
    assert_eq!(w.hosts[1].engine.counters().dropped(Dropped::BadPds), 1);
    assert_eq!(w.hosts[1].engine.contexts().count(), 0);
    // Without them it is served, by its ULID alone
    w.pass = Box::new(|_| true);
    w.run(secs(20));
    w.assert_converged();
    assert_eq!(w.info(1).unwrap().peer.iter().map(|l| l.addr).collect::<Vec<_>>(), [strange]);
    assert_eq!(w.info(0).unwrap().peer.len(), 2);
}

#[test]
fn sec_makes_no_difference_to_the_context() {
    // HC-VER-08
    let with_sec = |sec| {
        let prefixes: Vec<[u8; 8]> = (1..=2).map(|n| [0x20, 1, 0xd, 0xb8, 0, 0xa, 0, n]).collect();
        let set = HbaSet::generate(&prefixes, sec, None, &mut SeededRng::new(10)).unwrap();
        let identity = Arc::new(Identity::from_set(&set));
        let host = identity.members().zip(1..).map(|(addr, ifindex)| LocalLocator {
            identity: Some(identity.clone()),
            ..plain(&addr.to_string(), ifindex)
        });
        let mut w = World::new(&exact(), 73, vec![host.collect(), hba(0xb, &[1, 2], 9)]);
        w.establish(0, 1);
        w.run(ms(100));
        w.assert_converged();
        let info = w.info(1).unwrap();
        assert!(info.peer.iter().all(|l| sec_of(&l.addr) == sec));
        info.peer.iter().map(|l| (l.hba, l.cga, l.verified, l.probed, l.preference)).collect::<Vec<_>>()
    };
    assert_eq!(with_sec(0), with_sec(1));
}

#[test]
fn whole_sets_go_into_i2_and_r2() {
    // LS-D-12
    // HC-CX-06
    let mut w = World::new(&exact(), 74, vec![hba(0xa, &[1, 2, 3, 4, 5], 1), hba(0xb, &[1, 2, 3, 4], 2)]);
    w.establish(0, 1);
    w.run(ms(100));
    for (ty, host) in [(3, 0), (4, 1)] {
        let told: Vec<Ipv6Addr> = list(&w.last(ty).message()).locators.iter().map(|l| l.1).collect();
        assert_eq!(told, w.hosts[host].addrs.iter().map(|l| l.addr).collect::<Vec<_>>());
    }
    // Nothing is left to be announced when a path fails
    let dead = w.hosts[0].a(0);
    w.pass = Box::new(move |s| s.pair.peer != dead && s.pair.local != dead);
    w.traffic_lost(0, 1, 1, 100);
    w.run(secs(60));
    assert_ne!(w.info(0).unwrap().current.local, dead);
    assert_eq!(w.count(64), 0);
}
