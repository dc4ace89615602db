//! What an identity is made of while its modifier is searched for, and the file that an interrupted search leaves.

use super::Prefix;
use shim6::crypto::{CgaSeed, HbaSeed, HbaSet, MAX_PREFIXES, Search, SigningKey, generate_cga};
use shim6::identity::{Identity, private_key};
use shim6::rng::Rng;
use std::fmt::Write as _;
use std::net::Ipv6Addr;
use std::ops::ControlFlow;
use std::sync::Arc;
use zeroize::Zeroizing;

/// First line of the file, for people and to know it by.
const TITLE: &str = "Shim6 search for addresses";

/// A search, begun or not.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) prefixes: Vec<[u8; 8]>,
    pub(super) sec: u8,
    pub(super) collision_count: u8,
    /// For a CGA or a CGA-compatible set.
    pub(super) key: Option<Arc<SigningKey>>,
    /// The first modifier tried.
    pub(super) start: [u8; 16],
    extended_modifier: [u8; 48],
    /// Modifiers tried without success.
    pub(super) tried: u64,
}

impl Job {
    pub(super) fn new(
        prefixes: Vec<[u8; 8]>,
        sec: u8,
        collision_count: u8,
        key: Option<Arc<SigningKey>>,
        rng: &mut dyn Rng,
    ) -> Job {
        let HbaSeed { modifier, extended_modifier, .. } = HbaSeed::random(rng);
        Job { prefixes, sec, collision_count, key, start: modifier, extended_modifier, tried: 0 }
    }

    /// A key and one prefix make a CGA, all else is a set.
    fn cga(&self) -> Option<(&SigningKey, [u8; 8])> {
        match (&self.key, &self.prefixes[..]) {
            (Some(key), [prefix]) => Some((key, *prefix)),
            _ => None,
        }
    }

    fn key_der(&self) -> Option<&[u8]> {
        self.key.as_ref().map(|k| k.public_der())
    }

    pub(super) fn search(&self) -> Result<Search, String> {
        match self.cga() {
            Some((key, _)) => Search::for_cga(self.sec, key.public_der()),
            None => Search::for_set(&self.prefixes, self.sec, self.key_der(), &self.extended_modifier),
        }
        .map_err(|e| format!("no addresses were made: {e}"))
    }

    /// The identity with the modifier that was found.
    pub(super) fn finish(&self, modifier: [u8; 16]) -> Result<Identity, String> {
        let failed = |e: &dyn std::fmt::Display| format!("no addresses were made: {e}");
        let collision_count = self.collision_count;
        let stop = &mut |_| ControlFlow::Break(());
        let identity = match self.cga() {
            Some((key, prefix)) => {
                let seed = CgaSeed { modifier, collision_count };
                let made = generate_cga(prefix, self.sec, key.public_der(), &seed, stop);
                Identity::new(vec![made.map_err(|e| failed(&e))?]).map_err(|e| failed(&e))?
            }
            None => {
                let seed = HbaSeed { modifier, extended_modifier: self.extended_modifier, collision_count };
                let set = HbaSet::generate_from(&self.prefixes, self.sec, self.key_der(), &seed, stop);
                Identity::from_set(&set.map_err(|e| failed(&e))?)
            }
        };
        match &self.key {
            Some(key) => identity.with_key(key.clone()).map_err(|e| failed(&e)),
            None => Ok(identity),
        }
    }

    /// The file of the search. It holds the private key if there is one.
    pub(super) fn to_text(&self) -> Zeroizing<String> {
        let hex = |octets: &[u8]| octets.iter().fold(String::new(), |s, b| s + &format!("{b:02x}"));
        let mut head = format!("{TITLE}; continue it with: shim6 address generate --resume FILE\n");
        let mut line = |name: &str, value: &dyn std::fmt::Display| {
            let _ = writeln!(head, "{name}: {value}");
        };
        line("sec", &self.sec);
        line("collision-count", &self.collision_count);
        for prefix in &self.prefixes {
            line("prefix", &Prefix(*prefix));
        }
        line("modifier", &hex(&self.start));
        line("extended-modifier", &hex(&self.extended_modifier));
        line("tried", &self.tried);
        let key = self.key.as_ref().and_then(|k| k.to_pem());
        let key = key.as_ref().map_or("", |k| k.as_str());
        let mut out = Zeroizing::new(String::with_capacity(head.len() + key.len()));
        out.push_str(&head);
        out.push_str(key);
        out
    }

    /// # Errors
    ///
    /// What is wrong with the text.
    pub(super) fn from_text(text: &str) -> Result<Job, String> {
        let (head, key) = match text.find("-----BEGIN ") {
            Some(at) => text.split_at(at),
            None => (text, ""),
        };
        let mut lines = head.lines();
        if !lines.next().is_some_and(|l| l.starts_with(TITLE)) {
            return Err("not the file of an interrupted search".into());
        }
        let (mut sec, mut count, mut start, mut extended, mut tried) = (None, None, None, None, None);
        let mut prefixes = Vec::new();
        for line in lines.filter(|l| !l.is_empty()) {
            let wrong = || format!("damaged at \"{line}\"; begin a new search");
            let (name, value) = line.split_once(": ").ok_or_else(wrong)?;
            match name {
                "sec" => sec = Some(value.parse().ok().filter(|n| *n <= 2).ok_or_else(wrong)?),
                "collision-count" => count = Some(value.parse().ok().filter(|n| *n <= 2).ok_or_else(wrong)?),
                "prefix" => prefixes.push(value.parse::<Prefix>().map_err(|_| wrong())?.0),
                "modifier" => start = Some(from_hex(value).ok_or_else(wrong)?),
                "extended-modifier" => extended = Some(from_hex(value).ok_or_else(wrong)?),
                "tried" => tried = Some(value.parse().map_err(|_| wrong())?),
                _ => return Err(wrong()),
            }
        }
        let key =
            if key.is_empty() { None } else { Some(private_key(key.as_bytes()).map_err(|e| e.to_string())?) };
        let (Some(sec), Some(collision_count), Some(start), Some(extended_modifier), Some(tried)) =
            (sec, count, start, extended, tried)
        else {
            return Err("incomplete; begin a new search".into());
        };
        if prefixes.is_empty() || prefixes.len() > MAX_PREFIXES {
            return Err("damaged: it has no prefixes, or too many; begin a new search".into());
        }
        Ok(Job { prefixes, sec, collision_count, key, start, extended_modifier, tried })
    }

    /// A name for its files: the first prefix.
    pub(super) fn stem(&self) -> String {
        let mut octets = [0; 16];
        octets[..8].copy_from_slice(self.prefixes.first().unwrap_or(&[0; 8]));
        stem_of(&Ipv6Addr::from(octets))
    }
}

/// An address as the name of a file.
pub(super) fn stem_of(addr: &Ipv6Addr) -> String {
    addr.to_string().replace(':', "-")
}

fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let text = text.as_bytes();
    let digit = |b: u8| (b as char).to_digit(16).map(|d| d as u8);
    let mut out = [0; N];
    for (octet, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        *octet = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    (text.len() == 2 * N).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::super::search;
    use super::*;
    use shim6::crypto::modifier_at;
    use shim6::identity::IdentityKind;
    use shim6::rng::SeededRng;

    const PREFIXES: [[u8; 8]; 2] = [[0x20, 1, 0xd, 0xb8, 0, 1, 0, 0], [0x20, 1, 0xd, 0xb8, 0, 2, 0, 0]];

    fn job(prefixes: usize, key: bool, sec: u8, seed: u64) -> Job {
        let mut rng = SeededRng::new(seed);
        let key = key.then(|| Arc::new(SigningKey::generate(1024, &mut rng).unwrap()));
        Job::new(PREFIXES[..prefixes].to_vec(), sec, 0, key, &mut rng)
    }

    fn find(job: &Job, done: u64) -> Identity {
        let go_on = &mut |_| ControlFlow::Continue(());
        let n = search::run(&job.search().unwrap(), &job.start, done, 2, 1000, go_on).unwrap();
        job.finish(modifier_at(&job.start, n)).unwrap()
    }

    #[test]
    fn interrupted_and_continued() {
        // HC-GEN-16, HC-KEY-06, HC-HBA-03, LS-H-21
        for (prefixes, key, kind) in
            [(1, true, IdentityKind::Cga), (2, true, IdentityKind::CgaHba), (2, false, IdentityKind::Hba)]
        {
            let mut job = job(prefixes, key, 1, 3);
            let whole = find(&job, 0);
            assert_eq!((whole.kind(), whole.sec(), whole.can_sign()), (kind, 1, key));
            job.tried = 3000.min(job.search().unwrap().find(&job.start, 0, u64::MAX).unwrap());
            let read = Job::from_text(&job.to_text()).unwrap();
            assert_eq!(read, job);
            assert_eq!(find(&read, read.tried), whole);
        }
        // Sec 0 needs no search
        assert_eq!(find(&job(2, false, 0, 1), 0).sec(), 0);
    }

    #[test]
    fn damaged_files() {
        let job = job(2, true, 2, 5);
        let good = job.to_text();
        assert!(good.contains("-----BEGIN PRIVATE KEY-----"));
        for (from, to) in [
            ("Shim6 search", "Other"),
            ("sec: 2", "sec: 3"),
            ("sec: 2\n", ""),
            ("prefix: 2001:db8:1::/64", "prefix: 2001:db8:1::/48"),
            ("modifier: ", "modifier: 0"),
            ("tried: 0", "tried: -1"),
            ("tried", "tired"),
            ("collision-count: 0", "collision-count: 3"),
            ("-----END PRIVATE KEY-----", ""),
        ] {
            assert!(Job::from_text(&good.replacen(from, to, 1)).is_err(), "{from}");
        }
        assert!(Job::from_text("").is_err());
    }
}
