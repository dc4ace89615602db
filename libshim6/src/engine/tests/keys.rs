//! ULIDs with a key: locator lists that are signed (RFC 5533 sections 5.15.5 and 10, RFC 5535 section 8.1).

use super::*;
use crate::crypto::{CgaSeed, SigningKey, generate_cga, verify_signature};
use crate::driver::cell::ContextView;
use crate::engine::{Dropped, LocatorError, LocatorPreference, Settings};
use crate::identity::IdentityKind;
use crate::wire::{LocatorList, Options, ReapState, method};
use std::ops::ControlFlow;
use std::sync::OnceLock;

/// Key pairs are costly, so all tests have the same.
fn key(which: usize) -> Arc<SigningKey> {
    static KEYS: OnceLock<[Arc<SigningKey>; 2]> = OnceLock::new();
    let make = |seed| Arc::new(SigningKey::generate(1024, &mut SeededRng::new(seed)).unwrap());
    KEYS.get_or_init(|| [make(1), make(2)])[which].clone()
}

/// A longer one, for messages that it makes too long.
fn long_key() -> Arc<SigningKey> {
    static KEY: OnceLock<Arc<SigningKey>> = OnceLock::new();
    KEY.get_or_init(|| Arc::new(SigningKey::generate(2048, &mut SeededRng::new(3)).unwrap())).clone()
}

fn locator(addr: Ipv6Addr, ifindex: u32, identity: Option<&Arc<Identity>>) -> LocalLocator {
    LocalLocator {
        addr,
        ifindex,
        operational: true,
        deprecated: false,
        group: 0,
        identity: identity.cloned(),
    }
}

fn prefix(net: u16, link: u16) -> [u8; 8] {
    let [a, b] = net.to_be_bytes();
    let [c, d] = link.to_be_bytes();
    [0x20, 1, 0xd, 0xb8, a, b, c, d]
}

/// A CGA without its private key.
fn public_cga(net: u16, key: &SigningKey) -> Identity {
    let seed = CgaSeed::random(&mut SeededRng::new(u64::from(net)));
    let made = generate_cga(prefix(net, 1), 0, key.public_der(), &seed, &mut |_| ControlFlow::Continue(()));
    Identity::new(vec![made.unwrap()]).unwrap()
}

/// A host with a CGA and `n` ordinary addresses.
pub(super) fn cga_host(net: u16, n: u32, which: usize) -> Vec<LocalLocator> {
    let key = key(which);
    let identity = Arc::new(public_cga(net, &key).with_key(key).unwrap());
    let ulid = identity.members().next().unwrap();
    let mut out = vec![locator(ulid, 1, Some(&identity))];
    out.extend((2..n + 2).map(|i| plain(&format!("2001:db8:{net:x}:{i:x}::1"), i)));
    out
}

/// A host with a CGA-compatible set of `set` addresses and `n` ordinary ones.
fn set_host(net: u16, set: u16, n: u32) -> Vec<LocalLocator> {
    set_host_with(key(0), net, set, n)
}

fn set_host_with(key: Arc<SigningKey>, net: u16, set: u16, n: u32) -> Vec<LocalLocator> {
    let prefixes: Vec<[u8; 8]> = (1..=set).map(|i| prefix(net, i)).collect();
    let rng = &mut SeededRng::new(u64::from(net));
    let made = HbaSet::generate(&prefixes, 0, Some(key.public_der()), rng).unwrap();
    let identity = Arc::new(Identity::from_set(&made).with_key(key).unwrap());
    let members: Vec<Ipv6Addr> = identity.members().collect();
    let mut out: Vec<_> = members.iter().map(|a| locator(*a, 1, Some(&identity))).collect();
    out.extend((0..n).map(|i| plain(&format!("2001:db8:{net:x}:f{i:02x}::1"), i + 10)));
    out
}

fn world(a: Vec<LocalLocator>, b: Vec<LocalLocator>) -> World {
    World::new(&exact(), 31, vec![a, b])
}

fn connect(a: Vec<LocalLocator>, b: Vec<LocalLocator>) -> World {
    let mut w = world(a, b);
    w.establish(0, 1);
    w.run(ms(100));
    w.assert_converged();
    w
}

fn addrs(host: &[LocalLocator]) -> Vec<Ipv6Addr> {
    host.iter().map(|l| l.addr).collect()
}

/// The list of a message, and its locators with method CGA, whose signature was checked with the PDS of `ulid`.
#[track_caller]
fn signed(m: &Message, ulid: &LocalLocator) -> (LocatorList, Vec<Ipv6Addr>) {
    let options = m.options().unwrap();
    let list = options.locators.clone().expect("a list");
    let by_cga = |l: &&(u8, Ipv6Addr)| l.0 == method::CGA;
    let signed: Vec<Ipv6Addr> = list.locators.iter().filter(by_cga).map(|(_, a)| *a).collect();
    let pds = ulid.identity.as_ref().unwrap().parameters(&ulid.addr).unwrap();
    let signature = options.signature.as_deref().expect("a signature");
    assert_eq!(verify_signature(&ulid.addr, pds, list.generation, &signed, signature), Ok(()));
    (list, signed)
}

/// `m` with other options.
fn with(mut m: Message, change: impl FnOnce(&mut Options)) -> Message {
    match &mut m {
        Message::I2(m) => change(&mut m.options),
        Message::UpdateRequest(m) => change(&mut m.options),
        other => panic!("{other:?}"),
    }
    m
}

/// Code of the Error that a host sent last, and offset of what it points at in the message.
fn error(w: &World) -> (u8, usize) {
    match w.last(68).message() {
        Message::Error(e) => (e.code, usize::from(e.pointer) - 40),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_cga_host_offers_all_its_addresses_signed() {
    // LS-H-29, LS-H-23, HC-SIG-02, HC-SIG-06, HC-SIG-07, HC-USE-02, HC-USE-05, HC-USE-14, HC-USE-16, S6-5.15.5-1, S6-5.15.5-2
    let (a, b) = (cga_host(0xa, 2, 0), cga_host(0xb, 1, 1));
    let w = connect(a.clone(), b.clone());
    for (ty, host) in [(3, &a), (4, &b)] {
        let m = w.last(ty).message();
        let (list, signed) = signed(&m, &host[0]);
        assert_eq!(signed, addrs(host));
        assert_eq!(list.locators.len(), host.len());
        let options = m.options().unwrap();
        assert_eq!(options.pds.as_deref(), host[0].identity.as_ref().unwrap().pds_for(&host[0].addr));
        assert_eq!(options.signature.as_ref().unwrap().len(), 128);
    }
    let info = w.info(0).unwrap();
    assert!(info.local.iter().chain(&info.peer).all(|l| l.cga && !l.hba && l.verified));
    assert_eq!((info.local.len(), info.peer.len()), (3, 2));
}

#[test]
fn sessions_move_to_signed_locators() {
    // HC-USE-05, HC-USE-08, HC-USE-15, HC-USE-18
    let mut w = connect(cga_host(0xa, 1, 0), cga_host(0xb, 1, 1));
    let (dead, there) = (w.info(0).unwrap().current, w.ulids(0, 1));
    assert_eq!(dead, there.as_locators());
    let old = [dead.local, dead.peer];
    w.pass = Box::new(move |s| !old.contains(&s.pair.local) && !old.contains(&s.pair.peer));
    w.traffic_lost(0, 1, 1, 100);
    w.run(secs(60));
    let now = w.info(0).unwrap();
    assert_eq!(now.reap, ReapState::Operational);
    assert_eq!((now.current.local, now.current.peer), (w.hosts[0].a(1), w.hosts[1].a(1)));
    let probed: Vec<bool> = now.peer.iter().map(|l| l.probed).collect();
    assert!(probed[1]);
}

#[test]
fn members_of_a_set_need_no_signature() {
    // LS-I2-10, HC-CX-01, LS-H-30, HC-USE-12, HC-USE-14, HC-SIG-02, HC-SIG-08, S6-5.15.5-4, HC-USE-16
    let (a, b) = (set_host(0xa, 2, 2), set_host(0xb, 3, 0));
    let w = connect(a.clone(), b.clone());
    let (list, signed) = signed(&w.last(3).message(), &a[0]);
    let methods: Vec<u8> = list.locators.iter().map(|l| l.0).collect();
    assert_eq!(methods, [1, 1, 2, 2]);
    assert_eq!(w.last(3).data[list.methods_offset..][..4], [1, 1, 2, 2], "1 is HBA and 2 is CGA on the wire");
    assert_eq!(signed, addrs(&a[2..]));
    assert_eq!(list.locators.iter().map(|l| l.1).collect::<Vec<_>>(), addrs(&a));
    // All of one set: nothing to sign
    let m = w.last(4).message();
    assert!(m.options().unwrap().locators.as_ref().unwrap().locators.iter().all(|l| l.0 == 1));
    assert_eq!(m.options().unwrap().signature, None);
    let flags: Vec<_> = w.info(0).unwrap().local.iter().map(|l| (l.hba, l.cga)).collect();
    assert_eq!(flags, [(true, true), (true, true), (false, true), (false, true)]);
}

#[test]
fn a_forged_signature_makes_the_message_ignored() {
    // HC-USE-09, HC-USE-10, HC-SIG-03, HC-SIG-05, HC-SIG-07, HC-SIG-10, S6-5.15.5-3, S6-7.2-1
    type Change = fn(&mut Options);
    let changes: [(&str, Change); 6] = [
        ("octet", |o| o.signature.as_mut().unwrap()[5] ^= 1),
        ("none", |o| o.signature = None),
        ("length", |o| o.signature.as_mut().unwrap().truncate(120)),
        ("generation", |o| o.locators.as_mut().unwrap().generation += 1),
        ("order", |o| o.locators.as_mut().unwrap().locators.swap(2, 3)),
        ("addition", |o| o.locators.as_mut().unwrap().locators.push((2, addr("2001:db8:bad::1")))),
    ];
    for (what, change) in changes {
        let mut w = world(set_host(0xa, 2, 2), cga_host(0xb, 1, 1));
        w.establish(0, 1);
        w.pass = Box::new(|s| s.ty() != 3);
        w.run(ms(100));
        let i2 = w.last(3);
        let forged = with(i2.message(), change);
        w.inject(i2.pair.local, i2.pair.peer, &forged);
        let offset = forged.options().unwrap().locators.as_ref().unwrap().methods_offset;
        // The first locator with method CGA is the third
        assert_eq!(error(&w), (2, offset + 2), "{what}");
        assert_eq!(w.hosts[1].engine.contexts().count(), 0, "{what}");
        assert_eq!(w.hosts[1].engine.counters().dropped(Dropped::BadLocators), 1, "{what}");
        // The true one is accepted after that
        w.forward(&i2);
        assert_eq!(w.hosts[1].engine.contexts().count(), 1, "{what}");
    }
    // A locator by method CGA under parameters without key, signed by whom ever
    let mut w = world(hba(0xa, &[1, 2], 3), cga_host(0xb, 1, 1));
    w.establish(0, 1);
    w.pass = Box::new(|s| s.ty() != 3);
    w.run(ms(100));
    let i2 = w.last(3);
    let forged = with(i2.message(), |o| {
        let list = o.locators.as_mut().unwrap();
        list.locators[1] = (2, addr("2001:db8:bad::1"));
        let signed = [list.locators[1].1];
        o.signature = key(0).sign(list.generation, &signed, &mut SeededRng::new(1));
    });
    w.inject(i2.pair.local, i2.pair.peer, &forged);
    let offset = forged.options().unwrap().locators.as_ref().unwrap().methods_offset;
    assert_eq!(error(&w), (2, offset + 1));
    // A signature that nobody needs is ignored
    let extra = with(i2.message(), |o| o.signature = Some(vec![1; 128]));
    w.inject(i2.pair.local, i2.pair.peer, &extra);
    assert_eq!(w.hosts[1].engine.contexts().count(), 1);
}

#[test]
fn a_new_prefix_is_announced_by_a_signed_update() {
    // LS-D-29, LS-D-31
    // HC-USE-13, HC-USE-03, HC-SIG-07, LS-H-31, LS-H-32, S6-10.1-3, S6-5.10-4, HC-SIG-09
    for host in [cga_host(0xa, 1, 0), set_host(0xa, 2, 0)] {
        let mut w = connect(host.clone(), cga_host(0xb, 0, 1));
        let before = w.last(3).message();
        let mut more = host.clone();
        more.push(plain("2001:db8:77::1", 9));
        w.set_addrs(0, more.clone());
        let sent = w.last(64);
        let (list, signed) = signed(&sent.message(), &host[0]);
        assert_eq!(list.locators.iter().map(|l| l.1).collect::<Vec<_>>(), addrs(&more));
        assert!(signed.contains(&more.last().unwrap().addr));
        assert_ne!(list.generation, before.options().unwrap().locators.as_ref().unwrap().generation);
        // The peer has the PDS
        assert_eq!(sent.message().options().unwrap().pds, None);
        w.run(ms(100));
        w.assert_converged();
        assert_eq!(w.count(65), 1);
        assert_eq!(w.info(1).unwrap().peer.len(), more.len());

        // Somebody else cannot add one
        let forged = with(sent.message(), |o| {
            o.locators.as_mut().unwrap().locators.push((2, addr("2001:db8:bad::1")));
        });
        let forged = match forged {
            Message::UpdateRequest(mut m) => {
                m.request_nonce ^= 1;
                Message::UpdateRequest(m)
            }
            other => other,
        };
        w.inject(sent.pair.local, sent.pair.peer, &forged);
        assert_eq!(error(&w).0, 2);
        assert_eq!(w.info(1).unwrap().peer.len(), more.len());
    }
    // A set without key: refused here already
    let host = hba(0xa, &[1, 2], 3);
    let mut w = connect(host.clone(), cga_host(0xb, 0, 1));
    w.set_addrs(0, [&host[..], &[plain("2001:db8:77::1", 9)]].concat());
    w.run(ms(100));
    assert_eq!(w.count(64), 0);
    assert_eq!(w.info(0).unwrap().local.len(), 2);
}

#[test]
fn an_application_offers_any_address_of_a_host_with_a_key() {
    // API-LLL-15, API-ERR-03, API-CX-29
    for host in [cga_host(0xa, 2, 0), set_host(0xa, 2, 1)] {
        let mut w = connect(host.clone(), cga_host(0xb, 0, 1));
        let (ulid, other) = (host[0].addr, host.last().unwrap().addr);
        let view =
            |w: &World| ContextView { available: w.info(0).unwrap().available, ..ContextView::default() };
        assert_eq!(view(&w).check_local(other), Ok(()));
        let list = Some(vec![(other, LocatorPreference::default())]);
        let (now, ulids) = (w.now, w.ulids(0, 1));
        let settings = Settings { local_list: list, ..Settings::default() };
        w.hosts[0].engine.configure(now, ulids, 0, Arc::new(settings));
        w.run(ms(100));
        let (told, signed) = signed(&w.last(64).message(), &host[0]);
        assert_eq!(told.locators.iter().map(|l| l.1).collect::<Vec<_>>(), [other, ulid]);
        assert!(signed.contains(&other));
        let peer = w.info(1).unwrap().peer;
        assert_eq!(
            peer.iter().map(|l| (l.addr, l.verified)).collect::<Vec<_>>(),
            [(other, true), (ulid, true)]
        );
    }
    // API-CX-31: without a key an address of this host that is not of the set is no valid locator
    let mut host = hba(0xa, &[1, 2], 3);
    host.push(plain("2001:db8:77::1", 9));
    let w = connect(host.clone(), cga_host(0xb, 0, 1));
    let view = ContextView { available: w.info(0).unwrap().available, ..ContextView::default() };
    assert_eq!(view.check_local(host[1].addr), Ok(()));
    assert_eq!(view.check_local(host[2].addr), Err(LocatorError::Invalid));
}

#[test]
fn without_private_key_nothing_is_signed() {
    // HC-SIG-09, LS-H-26
    let identity = Arc::new(public_cga(0xa, &key(0)));
    assert_eq!(identity.kind(), IdentityKind::Cga);
    let ulid = identity.members().next().unwrap();
    let host = vec![locator(ulid, 1, Some(&identity)), plain("2001:db8:a:2::1", 2)];
    let w = connect(host, cga_host(0xb, 1, 1));
    assert_eq!(w.info(0).unwrap().local.len(), 1);
    let m = w.last(3).message();
    let options = m.options().unwrap();
    assert_eq!((&options.locators, &options.signature), (&None, &None));
    // An address without identity is its own only locator, on a host with a key too
    let mut host = cga_host(0xa, 1, 0);
    host.swap(0, 1);
    let w = connect(host, cga_host(0xb, 1, 1));
    assert_eq!(w.info(0).unwrap().local.len(), 1);
}

#[test]
fn a_list_that_is_too_long_is_cut_and_then_signed() {
    // S6-5.1-3, HC-USE-17, S6-5.1-2
    let host = set_host_with(long_key(), 0xa, 20, 12);
    let mut w = connect(host.clone(), cga_host(0xb, 0, 1));
    let i2 = w.last(3);
    assert!((1200..=1240).contains(&i2.data.len()), "{}", i2.data.len());
    let (list, signed_in_i2) = signed(&i2.message(), &host[0]);
    let n = list.locators.len();
    assert!((21..32).contains(&n), "{n}");
    // What can be verified without the key is kept
    assert_eq!(list.locators.iter().map(|l| l.1).collect::<Vec<_>>(), addrs(&host[..n]));
    assert_eq!(signed_in_i2, addrs(&host[20..n]));
    // An Update has more room, without validator and PDS: it tells the rest
    let mut other = host.clone();
    other[n - 1] = plain("2001:db8:77::1", 9);
    w.set_addrs(0, other);
    let update = w.last(64);
    assert!(update.data.len() <= 1240);
    let (list, _) = signed(&update.message(), &host[0]);
    assert_eq!(list.locators.len(), host.len());
    w.run(ms(100));
    w.assert_converged();
}

#[test]
fn an_update_that_is_too_long_is_cut() {
    // S6-5.1-3, HC-USE-17, S6-5.1-2
    let host = set_host_with(long_key(), 0xa, 20, 12);
    let mut w = connect(host[..21].to_vec(), cga_host(0xb, 0, 1));
    // The peer has lost the parameters as far as we know
    let ulids = w.ulids(0, 1);
    for id in w.hosts[0].engine.table.ids() {
        w.hosts[0].engine.table.get_mut(id).unwrap().local.forget_pds_known();
    }
    w.set_addrs(0, host.clone());
    let update = w.last(64);
    assert!((1200..=1240).contains(&update.data.len()), "{}", update.data.len());
    let (list, signed) = signed(&update.message(), &host[0]);
    assert!(list.locators.len() > 21 && signed.len() == list.locators.len() - 20);
    w.run(ms(100));
    w.assert_converged();
    assert_eq!(w.hosts[0].engine.context(ulids).unwrap().local.len(), list.locators.len());
}

#[test]
fn the_same_list_is_signed_once() {
    // LS-D-33
    // S6-N-3: new for each context, though other contexts had it
    let host = cga_host(0xc, 2, 0);
    let mut w = World::new(&exact(), 31, vec![host.clone(), cga_host(0xb, 0, 1), hba(0xd, &[1], 3)]);
    w.establish(0, 1);
    w.run(ms(100));
    let first = w.last(3).message();
    w.establish(0, 2);
    w.run(ms(100));
    let second = w.last(3).message();
    assert_eq!(first.options().unwrap().signature, second.options().unwrap().signature);
    assert_eq!(first.options().unwrap().locators, second.options().unwrap().locators);
    // A list that comes back within a context gets another number
    w.set_addrs(0, host[..2].to_vec());
    w.run(ms(100));
    w.set_addrs(0, host.clone());
    let mut generations: Vec<u32> = Vec::new();
    for s in w.log.iter().filter(|s| s.host == 0 && s.pair.peer == w.hosts[1].a(0)) {
        if let Some(list) = s.message().options().and_then(|o| o.locators.clone()) {
            let (_, _) = signed(&s.message(), &host[0]);
            assert!(!generations.contains(&list.generation));
            generations.push(list.generation);
        }
    }
    assert_eq!(generations.len(), 3);
}
