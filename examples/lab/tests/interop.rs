//! A program under the shim against the independent Shim6 peer in `peer/`, which was written from the RFCs alone, and that
//! peer against itself, so that a failure of the first kind is not one of the peer.

use shim6_lab::{in_lab, programs};
use std::process::Command;

/// Run one scenario of `peer/interop.py`.
fn scenario(name: &str, against: &[&str]) {
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peer");
    let dissector = concat!(env!("CARGO_MANIFEST_DIR"), "/../../contrib/wireshark/shim6.lua");
    let mut python = Command::new("python3");
    python.arg(format!("{here}/interop.py")).args(against).args(["--dissector", dissector, name]);
    let output = python.output().expect("python3 is installed (make setup)");
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name}: {}\n{said}", output.status);
    println!("{said}");
}

fn under_the_shim(name: &str) {
    let tool = programs::tool().unwrap();
    scenario(name, &["--shim6", tool.to_str().expect("a UTF-8 path")]);
}

fn against_itself(name: &str) {
    scenario(name, &["--self"]);
}

// S6-7.3-1, S6-7.3-2, S6-7.6-1, S6-11.1-1, S6-12.2-6, RE-KA-01, RE-FB-07, RE-PR-13, RE-PR-14, RE-SM-19, RE-SM-22, RE-SM-28,
// RE-RP-14, RE-RP-15, S6-10.4-11, S6-10.4-12, S6-7.2-3
#[test]
fn a_peer_initiates_and_rehomes() {
    in_lab!();
    under_the_shim("initiator");
}

// S6-5.3-7, S6-7.8-7, S6-7.11-6, S6-5.15.1-3, S6-7.6-1, RE-KT-03, RE-SM-10, RE-PS-05, RE-PS-09, RE-PR-04, RE-PR-06
#[test]
fn the_program_initiates_and_survives_silent_paths() {
    in_lab!();
    under_the_shim("responder");
}

// S6-7.5-1, S6-7.5-2, S6-7.5-5, S6-7.18-1, S6-7.18-2, S6-7.18-3, S6-7.18-4, S6-7.18-7, S6-5.9-2, S6-5.9-3, RE-EX-14
#[test]
fn a_peer_loses_its_context() {
    in_lab!();
    under_the_shim("recovery");
}

// S6-7.13-4, S6-7.13-5, S6-7.13-6, S6-7.20-4, S6-7.10.1-4, S6-7.2-5, S6-7.2-6, S6-7.2-7, S6-5.14-3, S6-5.14-4, S6-5.14-8,
// S6-12.3-1, S6-12.3-5, S6-12.3-6, S6-12.4-5, S6-10.4-5, S6-10.4-7, S6-10.4-8, RE-FI-16, RE-FI-17, RE-PR-08, RE-PR-09,
// RE-PR-10, RE-PR-24, HC-USE-04, HC-USE-09, HC-USE-10
#[test]
fn attacks_change_nothing() {
    // LS-D-35, LS-D-37, LS-D-38
    in_lab!();
    under_the_shim("attacks");
}

// S6-7.5-3, S6-7.9-2, S6-7.9-3, S6-5.4-2, S6-5.4-3, S6-7.11-3, S6-7.14-3, S6-7.14-4, S6-4.2-2, S6-10.4-13, S6-10.4-14,
// S6-5.15.3-8, S6-N-42, S6-3-3, S6-3-4, RE-FI-12
#[test]
fn unusual_but_legal_peers() {
    // S6-4.6-2: Fragment headers in front of the shim header and behind it
    in_lab!();
    under_the_shim("variants");
}

// S6-7.4-1, S6-7.4-5
#[test]
fn both_initiate_at_once() {
    in_lab!();
    under_the_shim("crossing");
}

// S6-4-4, S6-10.1-3, S6-10.1-4, S6-10.1-6, S6-10.2-1, S6-10.5-5, S6-5.15.3-1, RE-AD-13, RE-AD-14, RE-SM-40, RE-EX-13
#[test]
fn a_link_of_the_program_goes_down_and_comes_back() {
    in_lab!();
    under_the_shim("link_down");
}

// S6-5.1-2, S6-5.1-3, S6-5.10-4, S6-5.15.1-3
#[test]
fn a_validator_that_leaves_no_room_for_the_list() {
    in_lab!();
    under_the_shim("crowded");
}

// HC-SIG-01, HC-SIG-02, HC-SIG-03, HC-SIG-05, HC-SIG-07, HC-KEY-05, S6-5.15.5-1, S6-5.15.5-2, S6-5.15.5-3, S6-7.2-10, S6-3-2,
// S6-5.6-6, S6-5.10-5, S6-5.15-8, S6-5.14-4, HC-USE-05, HC-USE-10, LS-I2-10, LS-F-05
#[test]
fn lists_signed_by_both_and_forged_ones() {
    in_lab!();
    under_the_shim("signed");
}

// HC-SIG-07, HC-USE-02, HC-USE-13, S6-5.6-6, S6-5.10-5, S6-7.18-6, LS-H-29, LS-I2-10
#[test]
fn a_program_signs_its_i2_updates_and_i2bis() {
    in_lab!();
    under_the_shim("signed_initiator");
}

/// `peer/interop.py --self` runs all that need no key; these three meet most of its code in both roles.
#[test]
fn the_peer_agrees_with_itself() {
    in_lab!();
    std::thread::scope(|s| {
        for name in ["initiator", "recovery", "variants"] {
            s.spawn(move || against_itself(name));
        }
    });
}

#[test]
fn the_codec_of_the_peer() {
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peer");
    let output =
        Command::new("python3").args(["-B", "-m", "unittest", "test_codec"]).current_dir(here).output();
    let output = output.expect("python3 is installed (make setup)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
