//! `shim6 address` with keys, parameters of other tools, and searches that are interrupted. Needs no network.

// The rules of the engine are not those of its tests
#![allow(clippy::disallowed_methods)]

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use shim6::crypto::{Pds, verify_cga, verify_hba, verify_signature};
use shim6::identity::{IdentityKind, read};
use shim6::rng::SeededRng;
use std::fs::{self, Permissions};
use std::net::Ipv6Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const A: [&str; 2] = ["--prefix", "2001:db8:a::/64"];
const B: [&str; 2] = ["--prefix", "2001:db8:b::/64"];

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut c = Command::new(env!("CARGO_BIN_EXE_shim6"));
        c.arg("address").args(args).current_dir(self.0.path());
        c.env("XDG_CONFIG_HOME", self.path("config")).stdin(Stdio::null());
        c
    }

    fn shim6(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    #[track_caller]
    fn good(&self, args: &[&str]) -> String {
        let out = self.shim6(args);
        assert!(out.status.success(), "{args:?}: {out:?}");
        String::from_utf8(out.stdout).unwrap()
    }

    #[track_caller]
    fn bad(&self, args: &[&str], says: &str) {
        let out = self.shim6(args);
        let err = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(1), "{args:?}: {err}");
        assert!(err.contains(says), "{args:?}: {says:?} is not in {err:?}");
    }

    fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.path(name)).unwrap().permissions().mode() & 0o777
    }
}

fn addresses(out: &str) -> Vec<Ipv6Addr> {
    out.lines().map(|l| l.parse().unwrap()).collect()
}

#[test]
fn a_cga_and_a_set_of_one_key() {
    // HC-KEY-01, HC-HBA-03, HC-SIG-11, HC-SIG-15, LS-H-20, LS-H-21
    let place = Place::new();
    let out =
        place.shim6(&[&["generate", "--cga", "--bits", "1024", "--output", "cga.pem"], &A[..]].concat());
    assert!(out.status.success(), "{out:?}");
    let text = fs::read_to_string(place.path("cga.pem")).unwrap();
    let key = &text[text.find("-----BEGIN PRIVATE KEY-----").expect("the key")..];
    assert_eq!(place.mode("cga.pem"), 0o600);
    // Nothing that is printed has a part of it
    let body = key.lines().nth(4).unwrap().to_owned();
    let show = place.shim6(&["show", "cga.pem"]);
    for shown in [&out.stdout, &out.stderr, &show.stdout, &show.stderr] {
        assert!(!String::from_utf8_lossy(shown).contains(&body));
    }
    let cga = addresses(std::str::from_utf8(&out.stdout).unwrap());
    let identity = read(&place.path("cga.pem")).unwrap();
    assert_eq!((identity.kind(), identity.can_sign(), identity.sec()), (IdentityKind::Cga, true, 1));
    assert_eq!(identity.members().collect::<Vec<_>>(), cga);
    let shown = String::from_utf8_lossy(&show.stdout).into_owned();
    assert!(shown.contains("(CGA, Sec 1, RSA key of 1024 bits)"), "{shown}");
    let line = place.good(&["verify", &cga[0].to_string(), "cga.pem"]);
    assert_eq!(line, format!("{} belongs to cga.pem: CGA, Sec 1\n", cga[0]));

    // Several prefixes: a set; the key stays in its own file
    fs::write(place.path("my.key"), key).unwrap();
    fs::set_permissions(place.path("my.key"), Permissions::from_mode(0o644)).unwrap();
    let args = [&["generate", "--cga", "--key", "my.key", "--output", "set.pem"], &A[..], &B[..]].concat();
    place.bad(&args, "chmod 600");
    fs::set_permissions(place.path("my.key"), Permissions::from_mode(0o600)).unwrap();
    let set = addresses(&place.good(&args));
    assert_eq!(set.len(), 2);
    let text = fs::read_to_string(place.path("set.pem")).unwrap();
    assert!(text.contains("\nKey-File: my.key\n") && !text.contains("PRIVATE"), "{text}");
    let identity = read(&place.path("set.pem")).unwrap();
    assert_eq!((identity.kind(), identity.can_sign()), (IdentityKind::CgaHba, true));
    let (own, other) = (identity.parameters(&set[0]).unwrap(), identity.parameters(&set[1]).unwrap());
    assert_eq!((verify_cga(&set[0], own), verify_hba(&set[0], other)), (Ok(()), Ok(())));
    assert_eq!(own.key_der(), read(&place.path("cga.pem")).unwrap().parameters(&cga[0]).unwrap().key_der());
    let line = place.good(&["verify", &set[1].to_string(), "set.pem"]);
    assert!(line.contains("HBA (CGA-compatible)"), "{line}");
    let list = ["2001:db8:77::1".parse().unwrap()];
    let signature = identity.sign(1, &list, &mut SeededRng::new(1)).unwrap();
    assert_eq!(verify_signature(&set[0], own, 1, &list, &signature), Ok(()));

    // In a file of its own that is new
    place.good(
        &[&["generate", "--cga", "--bits", "1024", "--separate-key", "--output", "n.pem"], &A[..]].concat(),
    );
    assert_eq!((place.mode("n.pem"), place.mode("n.key")), (0o600, 0o600));
    assert!(read(&place.path("n.pem")).unwrap().can_sign());
    let json: serde_json::Value = serde_json::from_str(&place.good(&["show", "--json", "n.pem"])).unwrap();
    assert_eq!((&json[0]["type"], &json[0]["key_bits"]), (&"CGA".into(), &1024.into()));
}

#[test]
fn keys_that_are_refused() {
    // HC-KEY-01, HC-SIG-15
    let place = Place::new();
    for bits in ["512", "1023", "1028", "8192"] {
        let args = ["generate", "--cga", "--bits", bits, "--output", "x.pem"];
        place.bad(&[&args, &A[..]].concat(), "1024 to 4096");
    }
    place.bad(&[&["generate", "--cga", "--output", "-"], &A[..]].concat(), "not printed");
    fs::write(place.path("none.key"), "-----BEGIN X-----\nAAAA\n-----END X-----\n").unwrap();
    fs::set_permissions(place.path("none.key"), Permissions::from_mode(0o600)).unwrap();
    let args = ["generate", "--cga", "--key", "none.key", "--output", "x.pem"];
    place.bad(&[&args, &A[..]].concat(), "no block \"PRIVATE KEY\"");
    let usage = place.shim6(&[&["generate", "--bits", "1024"], &A[..]].concat());
    assert_eq!(usage.status.code(), Some(2));
    assert!(!place.path("x.pem").exists());
}

#[test]
fn exchange_with_other_tools() {
    // HC-PDS-01, HC-PDS-11, HC-GEN-12, HC-HBA-14, LS-H-22
    let place = Place::new();
    let new = ["generate", "--cga", "--bits", "1024", "--separate-key", "--output", "set.pem"];
    let set = addresses(&place.good(&[&new, &A[..], &B[..]].concat()));
    let identity = read(&place.path("set.pem")).unwrap();
    place.bad(&["export", "set.pem", "--output", "x"], "--address");
    place.bad(&["export", "set.pem", "--address", "::1", "--output", "x"], "none of the addresses");
    let second = set[1].to_string();
    // To a pipe, and to a file
    let out = place.shim6(&["export", "set.pem", "--format", "der", "--address", &second]);
    assert_eq!(out.stdout, identity.pds_for(&set[1]).unwrap());
    place.good(&["export", "set.pem", "--address", &second, "--output", "second.der"]);
    assert_eq!(fs::read(place.path("second.der")).unwrap(), out.stdout);
    place.bad(&["export", "set.pem", "--address", &second, "--output", "second.der"], "--force");
    assert_eq!(Pds::parse(&out.stdout).as_ref(), Ok(identity.parameters(&set[1]).unwrap()));
    assert!(place.good(&["verify", &second, "second.der"]).contains("CGA-compatible"));
    // One member brings back the whole set
    assert_eq!(addresses(&place.good(&["import", "second.der", "--output", "public.pem"])), set);
    let public = read(&place.path("public.pem")).unwrap();
    assert!(!public.can_sign());
    assert!(place.good(&["show", "public.pem"]).contains("whose private part is not here"));
    place.good(&["import", "second.der", "--key", "set.key", "--output", "inside.pem"]);
    assert_eq!(read(&place.path("inside.pem")), Ok(identity.clone()));
    assert!(fs::read_to_string(place.path("inside.pem")).unwrap().contains("Key-File: set.key\n"));
    // Of another Sec
    place.bad(&["import", "second.der", "--sec", "2", "--output", "x"], "too weak for Sec 2");
    let zero = addresses(&place.good(&["import", "second.der", "--sec", "0", "--output", "zero.pem"]));
    assert!(zero.iter().all(|a| a.octets()[8] >> 5 == 0));
    // As text
    let text = place.good(&["export", "set.pem", "--format", "pem"]);
    assert!(!text.contains("PRIVATE") && !text.contains("Key-File"));
    fs::write(place.path("text.pem"), text).unwrap();
    assert_eq!(addresses(&place.good(&["import", "text.pem", "--output", "again.pem"])), set);
    place.bad(&["import", "set.key", "--output", "x"], "no block");

    // The vector of RFC 3972 appendix A, whose key is too short for Shim6 but not for hashing
    let mut vector =
        vec![0x89, 0xa8, 0xa8, 0xb2, 0xe8, 0x58, 0xd8, 0xb8, 0xf2, 0x63, 0x3f, 0x44, 0xd2, 0xd4, 0xce, 0x9b];
    vector.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0]);
    let key = "305c300d06092a864886f70d0101010500034b003048024100c2c2f137305454f10bd9cea36844b530e9211a4b262b16467cb7d\
               fba1f595c0194f275be5a4d386f2c3c2382508773c7867f9b3b9e63a09c7bc48f7a54ebefaf0203010001";
    vector.extend((0..key.len()).step_by(2).map(|i| u8::from_str_radix(&key[i..i + 2], 16).unwrap()));
    fs::write(place.path("rfc.der"), vector).unwrap();
    assert_eq!(place.good(&["import", "rfc.der", "--output", "rfc.pem"]), "fe80::3c4a:5bf6:ffb4:ca6c\n");
    assert!(place.good(&["verify", "fe80::3c4a:5bf6:ffb4:ca6c", "rfc.der"]).contains("CGA, Sec 1"));
}

/// Run a search of Sec 2 until it is at work, end it with `signal`, and return what it says.
fn interrupt(place: &Place, args: &[&str], signal: Signal) -> String {
    let child = place.command(args).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    // More threads than one: the search has begun
    let tasks = format!("/proc/{}/task", child.id());
    let end = Instant::now() + Duration::from_secs(60);
    while fs::read_dir(&tasks).unwrap().count() < 2 {
        assert!(Instant::now() < end, "no search");
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(300));
    kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
    let out = child.wait_with_output().unwrap();
    let err = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(1), "{err}");
    assert_eq!(out.stdout, b"");
    err
}

#[test]
fn a_search_survives_interruptions() {
    // HC-GEN-16, HC-HBA-07, HC-SIG-15
    let place = Place::new();
    let new = ["generate", "--sec", "2", "--cga", "--bits", "1024", "--output", "set.pem", "--threads", "2"];
    let new = [&new, &A[..], &B[..]].concat();
    let err = interrupt(&place, &new, Signal::SIGINT);
    assert!(err.contains("go on with: shim6 address generate --resume set.pem.search"), "{err}");
    assert!(!place.path("set.pem").exists());
    assert_eq!(place.mode("set.pem.search"), 0o600);
    let state = || fs::read_to_string(place.path("set.pem.search")).unwrap();
    let tried = |text: &str| -> u64 {
        text.lines().find_map(|l| l.strip_prefix("tried: ")).expect("tried").parse().unwrap()
    };
    let first = state();
    assert!(tried(&first) > 0, "{first}");
    // Not begun anew by mistake
    place.bad(&new, "--resume set.pem.search");
    let resume = ["generate", "--resume", "set.pem.search", "--output", "set.pem"];
    interrupt(&place, &resume, Signal::SIGTERM);
    let second = state();
    assert!(tried(&second) > tried(&first));
    assert_eq!(
        second.replace(&format!("tried: {}", tried(&second)), ""),
        first.replace(&format!("tried: {}", tried(&first)), "")
    );
    fs::set_permissions(place.path("set.pem.search"), Permissions::from_mode(0o644)).unwrap();
    place.bad(&resume, "others may open it");
    fs::set_permissions(place.path("set.pem.search"), Permissions::from_mode(0o600)).unwrap();
    // A search that ends: the same with Sec 1
    fs::write(place.path("set.pem.search"), second.replace("sec: 2", "sec: 1")).unwrap();
    let set = addresses(&place.good(&resume));
    let identity = read(&place.path("set.pem")).unwrap();
    assert_eq!((identity.kind(), identity.sec()), (IdentityKind::CgaHba, 1));
    assert_eq!(identity.members().collect::<Vec<_>>(), set);
    let key = &first[first.find("-----BEGIN").unwrap()..];
    assert!(fs::read_to_string(place.path("set.pem")).unwrap().contains(key));
    // It went on from where it was
    let start = first.lines().find_map(|l| l.strip_prefix("modifier: ")).unwrap();
    let start = u128::from_str_radix(start, 16).unwrap();
    let found = u128::from_be_bytes(identity.parameters(&set[0]).unwrap().modifier());
    assert!(found.wrapping_sub(start) >= u128::from(tried(&second)));
    assert!(!place.path("set.pem.search").exists());
}
