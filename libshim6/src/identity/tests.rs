//! Identities, their files, and the search for them.

use super::file::{FileError, MAX_FILE, from_text, parameters, to_text};
use super::load::{load_from, read};
use super::*;
use crate::crypto::{CgaSeed, KeyError, generate_cga, verify_signature};
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
    assert_eq!(
        format!("{identity:?}"),
        format!("Identity {{ kind: Hba, members: [{addr}], can_sign: false, .. }}")
    );
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

fn cga(key: &SigningKey, seed: u64) -> Identity {
    let prefix = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0];
    let seed = CgaSeed::random(&mut SeededRng::new(seed));
    let made = generate_cga(prefix, 0, key.public_der(), &seed, &mut |_| std::ops::ControlFlow::Continue(()));
    Identity::new(vec![made.unwrap()]).unwrap()
}

fn key(seed: u64) -> Arc<SigningKey> {
    Arc::new(SigningKey::generate(1024, &mut SeededRng::new(seed)).unwrap())
}

/// A set of two with `key`.
fn set_with_key(key: &SigningKey) -> Identity {
    let prefixes = [0x2001_0db8_0000_0000u64, 0x2001_0db8_0001_0000].map(u64::to_be_bytes);
    let set = HbaSet::generate(&prefixes, 0, Some(key.public_der()), &mut SeededRng::new(5));
    Identity::from_set(&set.unwrap())
}

#[test]
fn identities_with_a_key() {
    // LS-H-20, LS-H-23, HC-SIG-09, HC-SIG-15
    let key = key(1);
    let list = ["2001:db8:77::1".parse().unwrap()];
    for public in [cga(&key, 2), set_with_key(&key)] {
        assert!(!public.can_sign() && public.sign(1, &list, &mut SeededRng::new(3)).is_none());
        let identity = public.clone().with_key(key.clone()).unwrap();
        assert_eq!((identity.can_sign(), identity.signature_len()), (true, 128));
        let signature = identity.sign(1, &list, &mut SeededRng::new(3)).unwrap();
        let ulid = identity.members().next().unwrap();
        let pds = identity.parameters(&ulid).unwrap();
        assert_eq!(verify_signature(&ulid, pds, 1, &list, &signature), Ok(()));

        // Inside of the file
        let text = to_file(&identity, &KeyPlace::Inside);
        assert!(text.contains("SECRET") && text.contains("-----BEGIN PRIVATE KEY-----"));
        assert_eq!(parse(text.as_bytes()), Ok((identity.clone(), KeyPlace::Inside)));
        // Neither text for others nor Debug have it
        let body: Vec<&str> = text.split("-----BEGIN PRIVATE KEY-----\n").nth(1).unwrap().lines().collect();
        for shown in
            [to_text(&identity), format!("{identity:?}"), to_file(&identity, &KeyPlace::None).to_string()]
        {
            assert!(!shown.contains("PRIVATE") && !shown.contains(body[3]), "{shown}");
        }
        assert_eq!(from_text(to_text(&identity).as_bytes()), Ok(public.clone()));
        // Beside it
        let place = KeyPlace::Beside("my.key".into());
        let text = to_file(&identity, &place);
        assert!(!text.contains("PRIVATE") && text.contains("\nKey-File: my.key\n"), "{text:?}");
        assert_eq!(parse(text.as_bytes()), Ok((public.clone(), place)));
    }
    // An HBA-only set has no use for one, another's key fits nobody
    assert_eq!(identity(1, 2).with_key(key.clone()), Err(IdentityError::Key));
    assert_eq!(cga(&self::key(2), 2).with_key(key), Err(IdentityError::Key));
}

#[test]
fn damaged_keys() {
    let (key, other) = (key(1), key(2));
    let identity = cga(&key, 2).with_key(key.clone()).unwrap();
    let good = to_file(&identity, &KeyPlace::Inside);
    let broken = |text: &str| parse(text.as_bytes()).unwrap_err();
    let foreign = format!("{}{}", to_text(&identity), other.to_pem().unwrap().as_str());
    assert_eq!(broken(&foreign), FileError::Identity(IdentityError::Key));
    let twice = format!("{}{}", good.as_str(), key.to_pem().unwrap().as_str());
    assert_eq!(broken(&twice), FileError::Keys(2));
    assert_eq!(broken(&good.replace(" PRIVATE KEY", " ENCRYPTED PRIVATE KEY")), FileError::Locked);
    let at = good.find("PRIVATE KEY-----\n").unwrap() + 200;
    let last = if good.as_bytes()[at] == b'A' { "B" } else { "A" };
    let changed = format!("{}{last}{}", &good[..at], &good[at + 1..]);
    assert_eq!(broken(&changed), FileError::Key(KeyError::Malformed));
    for name in ["../my.key", "/etc/my.key", "..", "."] {
        let text = to_file(&identity, &KeyPlace::Beside(name.into()));
        assert_eq!(broken(&text), FileError::KeyFile(name.into()));
    }
    // Named and there
    let both = format!(
        "{}{}",
        to_file(&identity, &KeyPlace::Beside("k".into())).as_str(),
        key.to_pem().unwrap().as_str()
    );
    assert_eq!(broken(&both), FileError::KeyFile("k".into()));
    assert_eq!(private_key(b"no key"), Err(FileError::Keys(0)));
}

#[test]
fn key_files() {
    // HC-SIG-15: a key that others can read is refused, one that we cannot read is not needed
    use std::os::unix::fs::PermissionsExt;
    let dir = Scratch::new("keys");
    let key = key(1);
    let identity = cga(&key, 2).with_key(key.clone()).unwrap();
    let mode = |path: &PathBuf, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let inside = dir.write("a.pem", to_file(&identity, &KeyPlace::Inside).as_bytes());
    mode(&inside, 0o600);
    assert_eq!(read(&inside), Ok(identity.clone()));
    for open in [0o640, 0o604, 0o644, 0o620] {
        mode(&inside, open);
        let e = read(&inside).unwrap_err().to_string();
        assert!(e.contains("chmod 600") && e.contains("a.pem"), "{e}");
    }
    let place = KeyPlace::Beside("b.key".into());
    let beside = dir.write("b.pem", to_file(&identity, &place).as_bytes());
    mode(&beside, 0o644);
    let e = read(&beside).unwrap_err();
    assert!(e.path.ends_with("b.key") && e.problem.contains("No such file"), "{e}");
    let file = dir.write("b.key", key.to_pem().unwrap().as_bytes());
    mode(&file, 0o644);
    assert!(read(&beside).unwrap_err().problem.contains("chmod 600"));
    mode(&file, 0o600);
    assert_eq!(read_placed(&beside), Ok((identity.clone(), place)));
    dir.write("b.key", self::key(2).to_pem().unwrap().as_bytes());
    let e = read(&beside).unwrap_err();
    assert!(e.path.ends_with("b.key") && e.problem.contains("not the one"), "{e}");

    // Of two copies the one with key is taken, once
    mode(&inside, 0o600);
    let public = dir.write("0.pem", to_text(&identity));
    let (found, problems) = load_from(&[public, inside.clone()], &[]);
    assert_eq!(problems, []);
    assert_eq!(found.iter().map(|(p, i)| (p.clone(), i.can_sign())).collect::<Vec<_>>(), [(inside, true)]);
}

#[test]
fn after_collisions() {
    // HC-HBA-11, HC-HBA-12, HC-GEN-11
    let key = key(1);
    for first in [identity(1, 3), cga(&key, 2).with_key(key.clone()).unwrap(), set_with_key(&key)] {
        let mut now = first.clone();
        for count in 1..=2 {
            let next = now.after_collision().unwrap();
            assert_eq!((next.kind(), next.can_sign()), (first.kind(), first.can_sign()));
            for (a, b) in next.members().zip(now.members()) {
                assert!(a != b && a.octets()[..8] == b.octets()[..8]);
                assert_eq!(next.parameters(&a).unwrap().collision_count(), count);
            }
            // It is one by the rules
            assert_eq!(from_text(to_text(&next).as_bytes()).unwrap().members, next.members);
            now = next;
        }
        assert_eq!(now.after_collision(), Err(GenerateError::TooManyCollisions));
    }
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
