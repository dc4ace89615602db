//! Both ends start at once (RFC 5533 section 7.4), with every kind of loss.

use super::*;

/// Both sent I1; nothing has arrived.
fn both_started() -> World {
    let mut w = World::pair(2, 31);
    w.establish(0, 1);
    w.establish(1, 0);
    w
}

#[test]
fn crossing_i1() {
    // S6-7.4-1, S6-5.7-2, S6-B-12, S6-B-13, S6-7.4-5
    let mut w = both_started();
    w.run(ms(1000));
    w.assert_converged();
    let mut types: Vec<u8> = w.log.iter().map(Sent::ty).collect();
    types.retain(|t| *t < 64);
    assert_eq!(types, [1, 1, 4, 4]);
}

#[test]
fn an_i1_that_was_lost_goes_again_when_the_peer_begins() {
    // S6-B-12, S6-N-25: at once if it is old, else when its answer could have come
    for begins in [0, 1, 100, 499, 700] {
        let mut w = World::pair(2, 36);
        let mut lost = false;
        w.pass = Box::new(move |_| std::mem::replace(&mut lost, true));
        w.establish(0, 1);
        w.run(ms(begins));
        w.establish(1, 0);
        w.run(ms(600_u64.saturating_sub(begins).max(200)));
        w.assert_converged();
        let mut types: Vec<u8> = w.log.iter().map(Sent::ty).collect();
        types.retain(|t| *t < 64);
        types.sort_unstable();
        assert_eq!(types, [1, 1, 1, 4, 4], "after {begins} ms");
    }
}

#[test]
fn a_single_loss_costs_no_back_off_when_both_begin() {
    // S6-B-12, S6-B-26, S6-N-25, S6-7.4-4: whichever message it is, and however far apart they begin
    for second_after in [0, 1, 5, 15, 25, 100, 400] {
        let mut w = World::pair(2, 37);
        let messages = both_within(&mut w, second_after, None);
        // Where the R2 is lost after that time, the second is ESTABLISHED and begins nothing
        let most = if second_after > 30 { 3 } else { messages };
        for lost in 0..most {
            let mut w = World::pair(2, 37);
            both_within(&mut w, second_after, Some(lost));
            w.assert_converged();
        }
    }
}

/// Both begin, the second so many milliseconds after the first; a second passes. One message of the exchange may get lost.
/// How many there were.
fn both_within(w: &mut World, second_after: u64, lost: Option<usize>) -> usize {
    let mut n = 0;
    w.pass = Box::new(move |s| {
        n += usize::from(s.ty() < 64);
        lost.is_none_or(|lost| n != lost + 1)
    });
    w.establish(0, 1);
    w.run(ms(second_after));
    w.establish(1, 0);
    w.run(ms(1000));
    w.log.iter().filter(|s| s.ty() < 64).count()
}

#[test]
fn crossing_i1_and_i2() {
    // S6-7.4-2, S6-B-26, S6-B-15
    let mut w = World::pair(2, 32);
    w.establish(0, 1);
    w.run(ms(20));
    assert_eq!(w.state(0), Some(ContextState::I2Sent));
    let i2 = w.intercept().pop().unwrap();
    w.establish(1, 0);
    let i1 = w.intercept().pop().unwrap();
    assert_eq!((i1.ty(), i2.ty()), (1, 3));
    w.forward(&i2);
    assert_eq!(w.state(1), Some(ContextState::Established));
    w.forward(&i1);
    assert_eq!(w.state(0), Some(ContextState::I2Sent));
    w.run(ms(100));
    w.assert_converged();
}

#[test]
fn crossing_i2_and_i2() {
    // S6-7.4-3, S6-B-27, S6-B-24
    let mut w = World::pair(2, 33);
    let i1 = |w: &mut World, from| {
        w.establish(from, 1 - from);
        w.intercept().pop().unwrap()
    };
    // Each gets the other's I1 while IDLE: play them before the contexts exist on the other side
    let first = i1(&mut w, 0);
    w.forward(&first);
    let r1_for_0 = w.intercept().pop().unwrap();
    let second = i1(&mut w, 1);
    // An R1 for host 1 as host 0 would have sent it before its own attempt
    let mut other = World::pair(2, 33);
    other.forward(&second);
    let Message::R1(r1) = other.last(2).message() else { panic!() };
    w.forward(&r1_for_0);
    w.inject(second.pair.peer, second.pair.local, &Message::R1(r1));
    let i2s = w.intercept();
    assert_eq!(i2s.iter().map(Sent::ty).collect::<Vec<_>>(), [3, 3]);
    for i2 in &i2s {
        w.forward(i2);
    }
    w.run(secs(60));
    w.assert_converged();
}

#[test]
fn crossings_survive_the_loss_of_any_message() {
    // S6-7.4-4, S6-7.4-5, S6-7.14-3
    for lost in 0..12 {
        for second_after in [0, 5, 15, 25] {
            let mut w = World::pair(2, 34);
            let mut n = 0;
            w.pass = Box::new(move |_| {
                n += 1;
                n != lost + 1
            });
            w.establish(0, 1);
            w.run(ms(second_after));
            w.establish(1, 0);
            w.run(secs(100));
            w.assert_converged();
        }
    }
}

#[test]
fn one_sided_establishment_survives_the_loss_of_any_two_messages() {
    // S6-7.14-3, S6-7.4-4
    for first in 0..6 {
        for second in first + 1..8 {
            let mut w = World::pair(2, 35);
            let mut n = 0;
            w.pass = Box::new(move |_| {
                n += 1;
                n != first + 1 && n != second + 1
            });
            w.establish(0, 1);
            w.run(secs(100));
            w.assert_converged();
        }
    }
}

#[test]
fn random_loss_duplication_and_delay_converge() {
    // S6-7.4-5, S6-7.5-4: I1 and I2 from both sides, in any order
    for seed in 0..60 {
        // The last one shown is the one that failed
        eprintln!("seed {seed}");
        let config = Config::default();
        let hosts = vec![hba(0xa, &[1, 2], 1), hba(0xb, &[1, 2], 2)];
        let mut w = World::new(&config, seed, hosts);
        let mut rng = SeededRng::new(seed);
        let mut dice = SeededRng::new(seed + 1);
        let end = w.now + secs(40);
        w.shuffle = Some(SeededRng::new(seed + 2));
        w.pass = Box::new(move |s| s.at >= end || dice.f64(0.0, 1.0) > 0.3);
        if rng.below(2) == 0 {
            w.establish(0, 1);
            w.run(ms(rng.below(400) as u64));
            w.establish(1, 0);
        } else {
            w.establish(0, 1);
        }
        w.run(secs(300));
        if w.info(0).is_none() && w.info(1).is_none() {
            // Both attempts failed within the loss; a new one works
            w.establish(0, 1);
            w.run(secs(5));
        }
        w.assert_converged();
    }
}
