//! What a packet costs does not grow with the number of locators or contexts: counted, not timed.

use super::work::counted;
use super::*;

/// Two hosts with `n` locators each, whose payload has left the ULIDs because the link of the first one's ULID went away
/// for a while.
fn switched(n: u16, hot: bool) -> World {
    let mut w = World::pair(n, 5);
    for (i, host) in w.hosts.iter_mut().enumerate() {
        let mut config = exact();
        config.reap.return_after = Some(secs(3000));
        config.reap.hot_standby = hot;
        *host = Host::new(&config, 50 + i as u64, host.addrs.clone());
    }
    w.establish(0, 1);
    w.run(ms(100));
    let all = w.hosts[0].addrs.clone();
    let ulids = w.ulids(0, 1);
    w.set_addrs(0, all[1..].to_vec());
    w.run(secs(2));
    w.set_addrs(0, all);
    w.run(secs(2));
    let info = w.info(0).expect("a context");
    assert!(info.current != ulids.as_locators() && info.peer.len() == usize::from(n), "{info:?}");
    w
}

/// What the engine weighs for ten tagged packets.
fn weighed(n: u16, hot: bool) -> u64 {
    let mut w = switched(n, hot);
    // A test that begins weighs all pairs; packets between two tests do not.
    w.send_tagged(0, b"first");
    w.run(ms(100));
    let received = w.hosts[1].delivered.len();
    let counted = counted(|| {
        (0..10).for_each(|_| w.send_tagged(0, b"tagged"));
        w.run(ms(15));
    });
    assert_eq!(w.hosts[1].delivered.len(), received + 10);
    counted
}

#[test]
fn a_packet_costs_the_same_with_2_and_with_32_locators() {
    for hot in [false, true] {
        let (few, many) = (weighed(2, hot), weighed(32, hot));
        assert!(many <= few.max(100), "hot standby {hot}: {few} with 2 locators, {many} with 32");
    }
}

/// What a host with `n` contexts, all with header suppression, weighs when one more is set up, and when a peer tells of
/// its locators.
fn suppressing(n: u16) -> (u64, u64) {
    let mut config = exact();
    config.shim6.suppress_header = crate::config::Suppress::WhenClear;
    let host = |i: u16| hba(0x100 + i, &[1, 2], u64::from(i) + 9);
    let mut w = World::new(&config, 3, (0..=n).map(host).collect());
    for peer in 1..usize::from(n) {
        w.establish(peer, 0);
        w.run(ms(100));
    }
    let setup = counted(|| {
        w.establish(usize::from(n), 0);
        w.run(ms(100));
    });
    assert_eq!(w.hosts[0].engine.contexts().count(), usize::from(n));
    let one = w.hosts[1].addrs[..1].to_vec();
    let update = counted(|| {
        w.set_addrs(1, one);
        w.run(ms(100));
    });
    let ulids = w.ulids(0, 1);
    assert_eq!(w.info_of(0, ulids).map(|c| c.peer.len()), Some(1), "the Update Request came");
    (setup, update)
}

#[test]
fn suppression_costs_the_same_with_4_and_with_40_contexts() {
    let (few, many) = (suppressing(4), suppressing(40));
    assert_eq!(few, many);
}
