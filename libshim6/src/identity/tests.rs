//! Identities, their files, and the search for them.

use super::file::{FileError, MAX_FILE, from_text, parameters, to_text};
use super::load::{load_from, read};
use super::*;
use crate::rng::SeededRng;
use proptest::prelude::*;
use std::fs;
use std::path::PathBuf;

fn set(seed: u64, n: u64) -> HbaSet {
    let prefixes: Vec<[u8; 8]> = (0..n).map(|i| (0x2001_0db8_0000_0000 | i << 16).to_be_bytes()).collect();
    HbaSet::generate(&prefixes, 0, None, &mut SeededRng::new(seed)).unwrap()
}

fn identity(seed: u64, n: u64) -> Identity {
    Identity::from_set(&set(seed, n))
}

/// A directory below /tmp that goes away at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let dir = std::env::temp_dir().join(format!("shim6-identity-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Scratch(dir)
    }

    fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, contents).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn members_and_their_parameters() {
    let set = set(1, 3);
    let identity = Identity::from_set(&set);
    assert_eq!(Identity::new(set.members().to_vec()).as_ref(), Ok(&identity));
    assert_eq!(identity.kind(), IdentityKind::Hba);
    assert!(identity.members().eq(set.addresses()));
    for (addr, pds) in set.members() {
        assert!(identity.contains(addr));
        assert_eq!(identity.pds_for(addr), Some(pds.as_bytes()));
    }
    let stranger = Ipv6Addr::LOCALHOST;
    assert!(!identity.contains(&stranger) && identity.pds_for(&stranger).is_none());

    let other = Arc::new(self::identity(2, 2));
    let list = [other.clone(), Arc::new(identity.clone())];
    let found = match_identity(&list, &set.members()[2].0).unwrap();
    assert!(Arc::ptr_eq(&found, &list[1]));
    assert!(match_identity(&list, &stranger).is_none());
}

#[test]
fn members_that_do_not_fit() {
    // HC-GEN-13, HC-HBA-14
    let (one, two) = (set(1, 2), set(2, 2));
    let [a, b] = one.members() else { panic!() };
    assert_eq!(Identity::new(vec![]), Err(IdentityError::Empty));
    assert_eq!(Identity::new(vec![a.clone(), a.clone()]), Err(IdentityError::Duplicate(a.0)));
    let foreign = two.members()[1].clone();
    assert_eq!(Identity::new(vec![a.clone(), foreign.clone()]), Err(IdentityError::Foreign(foreign.0)));
    let swapped = Identity::new(vec![(a.0, b.1.clone())]);
    assert_eq!(swapped, Err(IdentityError::Verify(a.0, VerifyError::Prefix)));
    // A part of a set is one too
    assert_eq!(Identity::new(vec![b.clone()]).unwrap().members().len(), 1);
}

#[test]
fn debug_shows_no_parameters() {
    // HC-SIG-15
    let identity = identity(1, 1);
    let addr = identity.members().next().unwrap();
    assert_eq!(format!("{identity:?}"), format!("Identity {{ kind: Hba, members: [{addr}], .. }}"));
}

#[test]
fn text_round_trip() {
    for n in [1, 2, 32] {
        let identity = identity(7, n);
        let text = to_text(&identity);
        assert!(text.len() <= MAX_FILE);
        assert!(text.is_ascii() && !text.contains('\r'));
        assert_eq!(from_text(text.as_bytes()).as_ref(), Ok(&identity));
        assert_eq!(from_text(text.replace('\n', "\r\n").as_bytes()).as_ref(), Ok(&identity));
        for addr in identity.members() {
            assert!(text.contains(&format!("Address: {addr}\n")));
        }
    }
    // A set with a key, and blocks of others around it
    let key = [&[0x30, 0x81, 0xa0][..], &[5; 160]].concat();
    let seed = crate::crypto::HbaSeed::random(&mut SeededRng::new(4));
    let set = HbaSet::generate_from(&[[0x20; 8], [0x21; 8]], 0, Some(&key), &seed, &mut |_| {
        std::ops::ControlFlow::Continue(())
    });
    let identity = Identity::from_set(&set.unwrap());
    assert_eq!(identity.kind(), IdentityKind::CgaHba);
    let other = "-----BEGIN X-----\nAAAA\n-----END X-----\n";
    let text = format!("{other}{}{other}", to_text(&identity));
    assert_eq!(from_text(text.as_bytes()), Ok(identity));
}

#[test]
fn bare_octets() {
    let set = set(1, 2);
    let (_, pds) = &set.members()[0];
    assert_eq!(parameters(pds.as_bytes()), Ok(vec![(None, pds.clone())]));
    // They do not tell the address, so they are no identity
    assert_eq!(from_text(pds.as_bytes()), Err(FileError::NoAddress(1)));
}

#[test]
fn damaged_texts() {
    let identity = identity(1, 2);
    let good = to_text(&identity);
    let broken = |text: &str| from_text(text.as_bytes()).unwrap_err();
    assert_eq!(broken(""), FileError::NoParameters);
    assert_eq!(broken("nothing in here"), FileError::NoParameters);
    assert_eq!(broken("-----BEGIN X-----\nAAAA\n-----END X-----\n"), FileError::NoParameters);
    // A file that was cut off must not lose members silently
    assert!(matches!(broken(&good[..good.len() - 30]), FileError::BadBlock(_)));
    assert!(matches!(broken(&good[..good.len() / 2 + 120]), FileError::BadBlock(_)));
    assert_eq!(broken(&good.replacen("Address:", "Adress:", 1)), FileError::NoAddress(1));
    assert_eq!(broken(&good.replacen("Address: 2001:", "Address: 2001:x", 1)), FileError::NoAddress(1));
    let first = identity.members().next().unwrap().to_string();
    let other = good.replacen(&first, "2001:db8::1", 1);
    let e = FileError::Identity(IdentityError::Verify("2001:db8::1".parse().unwrap(), VerifyError::Hash1));
    assert_eq!(broken(&other), e);
    assert_eq!(from_text(&vec![b' '; MAX_FILE + 1]), Err(FileError::TooLarge));
}

#[test]
fn search() {
    let dir = Scratch::new("search");
    let (a, b, c) = (identity(1, 2), identity(2, 2), identity(3, 1));
    let file_b = dir.write("extra/one-file", to_text(&b));
    dir.write("user/2.pem", to_text(&a));
    dir.write("user/1.pem", to_text(&c));
    dir.write("user/broken.pem", "-----BEGIN SHIM6 CGA PARAMETERS-----\n");
    dir.write("user/README", "not a parameter file");
    dir.write("user/.hidden.pem", "an editor's");
    dir.write("system/same.pem", to_text(&a));
    let places = [file_b.clone(), dir.0.join("missing")];
    let standard = [dir.0.join("user"), dir.0.join("system"), dir.0.join("none")];
    let (found, problems) = load_from(&places, &standard);

    let found: Vec<_> = found.iter().map(|(path, i)| (path.clone(), (**i).clone())).collect();
    let user = dir.0.join("user");
    assert_eq!(found, [(file_b, b), (user.join("1.pem"), c), (user.join("2.pem"), a)]);
    let paths: Vec<_> = problems.iter().map(|p| p.path.clone()).collect();
    assert_eq!(paths, [dir.0.join("missing"), user.join("broken.pem")]);
    assert!(problems[0].to_string().contains("shim6 address generate"), "{}", problems[0]);
    assert!(problems[1].to_string().contains("broken.pem: damaged"), "{}", problems[1]);
}

#[test]
fn files_that_are_none() {
    let dir = Scratch::new("none");
    let large = dir.write("large", vec![b'x'; MAX_FILE + 1]);
    assert!(read(&large).unwrap_err().problem.contains("too large"));
    let fifo = dir.0.join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).unwrap();
    assert!(read(&fifo).unwrap_err().problem.contains("not a regular file"));
    assert!(read(&dir.0).unwrap_err().problem.contains("not a regular file"));
}

proptest! {
    #[test]
    fn any_octets(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = from_text(&octets);
    }

    // Whatever is changed in a good file: refused, or the same identity
    #[test]
    fn changed_text(at in 0usize..1000, byte in any::<u8>(), seed in 0u64..4) {
        let identity = identity(seed, 2);
        let mut text = to_text(&identity).into_bytes();
        let at = at % text.len();
        text[at] = byte;
        if let Ok(read) = from_text(&text) {
            prop_assert!(read.members().all(|a| identity.contains(&a)));
        }
    }
}
