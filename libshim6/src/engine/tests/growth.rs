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
