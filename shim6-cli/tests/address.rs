//! `shim6 address` as a user runs it, in network namespaces of its own.

// The rules of the engine are not those of its tests
#![allow(clippy::disallowed_methods)]

use std::fs;
use std::net::Ipv6Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const SHIM6: &str = env!("CARGO_BIN_EXE_shim6");

/// A host of its own: namespaces that live as long as this value, even if the test is killed. `/etc` is empty in it.
/// Without root it is one of a user namespace.
struct Host {
    holder: Child,
    user_ns: bool,
    dir: tempfile::TempDir,
}

impl Host {
    fn new() -> Host {
        let user_ns = !nix::unistd::geteuid().is_root();
        let mut unshare = Command::new("unshare");
        if user_ns {
            unshare.arg("-r");
        }
        unshare.args(["-m", "-n"]);
        let host = Host::hold(unshare, user_ns);
        host.run(&["mount", "-t", "tmpfs", "none", "/etc"]);
        host
    }

    /// Another host, to which links of this one can be moved.
    fn neighbour(&self) -> Host {
        Host::hold(self.command(&["unshare", "-n"]), self.user_ns)
    }

    fn hold(mut unshare: Command, user_ns: bool) -> Host {
        // `cat` ends when the pipe to it does
        let holder = unshare.arg("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
        let holder = holder.expect("unshare and nsenter (util-linux) are needed");
        let end = Instant::now() + Duration::from_secs(10);
        while fs::read_to_string(format!("/proc/{}/comm", holder.id())).unwrap().trim() != "cat" {
            assert!(Instant::now() < end, "no namespaces: root, or user namespaces, are needed");
            pause();
        }
        Host { holder, user_ns, dir: tempfile::tempdir().unwrap() }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut c = Command::new("nsenter");
        c.args(["-t", &self.holder.id().to_string(), "-m", "-n"]);
        if self.user_ns {
            c.args(["-U", "--preserve-credentials"]);
        }
        // `nsenter` leaves the current directory
        c.args(["--", "env", "-C"]).arg(self.dir.path()).args(args);
        c.env("XDG_CONFIG_HOME", self.dir.path().join("config"));
        c
    }

    fn run(&self, args: &[&str]) -> String {
        let out = self.command(args).output().unwrap();
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    fn ip(&self, args: &str) -> String {
        self.run(&[&["ip"], &args.split_whitespace().collect::<Vec<_>>()[..]].concat())
    }

    fn shim6(&self, args: &[&str]) -> Outcome {
        Outcome::of(self.command(&[&[SHIM6, "address"], args].concat()).output().unwrap())
    }

    /// Interfaces `up0` and `up1` with carrier, each with a prefix; the other ends are `far-up0` and `far-up1`.
    fn two_uplinks(&self) {
        for (name, addr) in [("up0", "2001:db8:a::1/64"), ("up1", "2001:db8:b::1/64")] {
            self.ip(&format!("link add {name} type veth peer name far-{name}"));
            self.ip(&format!("link set far-{name} up"));
            self.ip(&format!("link set {name} up"));
            self.ip(&format!("address add {addr} dev {name} nodad"));
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

#[derive(Debug)]
struct Outcome {
    code: i32,
    out: String,
    err: String,
}

impl Outcome {
    fn of(output: Output) -> Outcome {
        Outcome {
            code: output.status.code().expect("an exit code"),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    #[track_caller]
    fn good(self) -> Outcome {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }

    #[track_caller]
    fn bad(self, says: &[&str]) -> Outcome {
        assert_eq!(self.code, 1, "{self:?}");
        for text in says {
            assert!(self.err.contains(text), "{text:?} is not in {self:?}");
        }
        self
    }

    fn addresses(&self) -> Vec<Ipv6Addr> {
        self.out.lines().map(|l| l.parse().unwrap()).collect()
    }
}

fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn from_generate_to_assign() {
    // HC-HBA-19, HC-HBA-16
    let host = Host::new();
    host.two_uplinks();
    let made = host.shim6(&["generate", "--output", "set.pem"]).good();
    let addresses = made.addresses();
    let prefixes: Vec<_> = addresses.iter().map(|a| a.segments()[2]).collect();
    assert_eq!(prefixes, [0xa, 0xb]);
    // Sec 1 unless asked for another
    assert!(addresses.iter().all(|a| a.octets()[8] >> 5 == 1));
    assert_eq!(mode(&host.path("set.pem")), 0o600);
    assert!(made.err.contains("shim6 address assign set.pem"), "{made:?}");

    // Never over a file
    let before = fs::read(host.path("set.pem")).unwrap();
    host.shim6(&["generate", "--output", "set.pem"]).bad(&["set.pem exists", "--force"]);
    assert_eq!(fs::read(host.path("set.pem")).unwrap(), before);

    // Verify
    for a in &addresses {
        let v = host.shim6(&["verify", &a.to_string(), "set.pem"]).good();
        assert_eq!(v.out, format!("{a} belongs to set.pem: HBA, Sec 1\n"));
    }
    host.shim6(&["verify", "2001:db8:a::1", "set.pem"])
        .bad(&["2001:db8:a::1 does not belong to set.pem", "hash"]);
    host.shim6(&["verify", "2001:db8:c::1", "set.pem"]).bad(&["prefix"]);
    host.shim6(&["verify", "2001:db8:c::1", "none.pem"]).bad(&["none.pem", "shim6 address generate"]);

    // Shown as not assigned
    let show = |args: &[&str]| host.shim6(&[&["show"], args].concat()).good();
    let json: serde_json::Value = serde_json::from_str(&show(&["--json", "set.pem"]).out).unwrap();
    assert_eq!(json[0]["type"], "HBA");
    assert_eq!(json[0]["sec"], 1);
    assert_eq!(json[0]["addresses"][1]["address"], addresses[1].to_string());
    assert_eq!(json[0]["addresses"][1]["prefix"], "2001:db8:b::/64");
    assert!(json[0]["addresses"][1]["interface"].is_null());

    // Assign; it waits for duplicate address detection
    let start = Instant::now();
    let done = host.shim6(&["assign", "set.pem"]).good();
    assert!(start.elapsed() < Duration::from_secs(9));
    assert_eq!(done.out, format!("{} put on up0\n{} put on up1\n", addresses[0], addresses[1]));
    assert!(done.err.contains("2001:db8:a::1 on up0 belong(s) to no set"), "{done:?}");
    for (a, dev) in addresses.iter().zip(["up0", "up1"]) {
        let there = host.ip(&format!("-6 address show dev {dev}"));
        let line = there.lines().find(|l| l.contains(&format!("{a}/64"))).expect("assigned");
        assert!(!line.contains("tentative"), "{line}");
    }
    // Again: nothing to do
    let again = host.shim6(&["assign", "set.pem"]).good();
    assert_eq!(
        again.out,
        format!("{} is on up0 already\n{} is on up1 already\n", addresses[0], addresses[1])
    );
    host.shim6(&["assign", "set.pem", "--interface", "up1"]).bad(&["is on up0, not on up1", "--remove"]);

    let table = show(&["set.pem"]).out;
    let row = table.lines().find(|l| l.contains(&addresses[1].to_string())).unwrap();
    assert_eq!(row.split_whitespace().skip(1).collect::<Vec<_>>(), ["2001:db8:b::/64", "up1", "up"]);
    host.ip("link set far-up1 down");
    let end = Instant::now() + Duration::from_secs(5);
    while !show(&["set.pem"]).out.contains("link down") {
        assert!(Instant::now() < end);
        pause();
    }

    // And away
    let gone = host.shim6(&["assign", "--remove", "set.pem"]).good();
    assert_eq!(gone.out, format!("{} taken from up0\n{} taken from up1\n", addresses[0], addresses[1]));
    assert!(!host.ip("-6 address show").contains(&addresses[0].to_string()));
    let gone = host.shim6(&["assign", "--remove", "set.pem"]).good();
    assert!(gone.out.contains("is on no interface"));

    // A new set is one of other addresses
    let other = host.shim6(&["generate", "--force", "--sec", "0", "--output", "set.pem"]).good().addresses();
    assert!(other.iter().zip(&addresses).all(|(x, y)| x != y));
    assert!(other.iter().all(|a| a.octets()[8] >> 5 == 0));
    host.shim6(&["verify", &addresses[0].to_string(), "set.pem"]).bad(&["does not belong"]);

    // Without carrier there is nobody to ask; `far-up1` is down
    let done = host.shim6(&["assign", "set.pem"]).good();
    assert!(done.err.contains("up1 has no link") && !done.err.contains("up0 has no link"), "{done:?}");
}

#[test]
fn standard_place() {
    let host = Host::new();
    host.shim6(&["show"]).good();
    host.shim6(&["generate"]).bad(&["--prefix"]);
    let made = host.shim6(&["generate", "--prefix", "2001:db8:a::/64", "--prefix", "fd00:1:2:3::/64"]).good();
    let addresses = made.addresses();
    assert_eq!((addresses.len(), addresses[1].segments()[0]), (2, 0xfd00));
    // The directory is that of the namespace's own /etc
    let file = format!("/etc/shim6/identities/{}.pem", addresses[0].to_string().replace(':', "-"));
    assert_eq!(host.run(&["stat", "-c", "%a", &file, "/etc/shim6/identities"]), "644\n755\n");
    assert!(made.err.contains(&file), "{made:?}");

    let shown = host.shim6(&["show"]).good().out;
    assert!(shown.contains(&file) && shown.contains("not assigned"), "{shown}");
    assert!(addresses.iter().all(|a| shown.contains(&a.to_string())));
    host.shim6(&["assign", &file])
        .bad(&["no interface that is up has the prefix 2001:db8:a::/64", "--interface"]);

    // A broken file is told, and does not hide the others
    host.run(&["sh", "-c", "echo '-----BEGIN SHIM6' > /etc/shim6/identities/x.pem"]);
    let shown = host.shim6(&["show"]).bad(&["/etc/shim6/identities/x.pem: damaged"]);
    assert!(shown.out.contains(&file));
    // To standard output, for a pipe
    let text = host.shim6(&["generate", "--prefix", "2001:db8:a::/64", "--output", "-"]).good();
    assert!(text.out.contains("-----BEGIN SHIM6 CGA PARAMETERS-----\nAddress: 2001:db8:a:0:"), "{text:?}");
    assert!(text.err.contains("one prefix"), "{text:?}");
}

#[test]
fn interfaces_by_name() {
    let host = Host::new();
    host.two_uplinks();
    host.shim6(&["generate", "--interface", "c", "--output", "s"]).bad(&["no interface c", "there are lo, "]);
    host.shim6(&["generate", "--interface", "far-up0", "--output", "s"])
        .bad(&["far-up0 is down or has no global /64"]);
    let made = host.shim6(&["generate", "--interface", "up1", "--output", "s"]).good().addresses();
    assert_eq!(made.iter().map(|a| a.segments()[2]).collect::<Vec<_>>(), [0xb]);
    let done = host.shim6(&["assign", "s", "--no-dad", "--interface", "up0"]).good();
    assert_eq!(done.out, format!("{} put on up0\n", made[0]));
    // Usage errors are of clap
    for args in
        [&["generate", "--sec", "3"][..], &["generate", "--prefix", "2001:db8::/48"], &["verify", "x", "s"]]
    {
        assert_eq!(host.shim6(args).code, 2, "{args:?}");
    }
}

/// Another host at the far end of `up1` that has `taken`.
fn occupied(host: &Host, taken: &[Ipv6Addr]) -> Host {
    let far = host.neighbour();
    host.ip(&format!("link set far-up1 netns {}", far.holder.id()));
    far.ip("link set far-up1 up");
    for addr in taken {
        far.ip(&format!("address add {addr}/64 dev far-up1 nodad"));
    }
    far
}

/// The addresses of the set in a file after 0, 1 and 2 collisions.
fn generations(path: &Path) -> [Vec<Ipv6Addr>; 3] {
    let first = shim6::identity::read(path).unwrap();
    let second = first.after_collision().unwrap();
    let third = second.after_collision().unwrap();
    assert!(third.after_collision().is_err());
    [first, second, third].map(|i| i.members().collect())
}

#[test]
fn a_duplicate_makes_the_set_anew() {
    // HC-HBA-11, HC-HBA-13, HC-GEN-11
    let host = Host::new();
    host.two_uplinks();
    // With a key, which has to stay
    let made = host.shim6(&["generate", "--cga", "--bits", "1024", "--output", "set.pem"]).good();
    let [first, second, _] = generations(&host.path("set.pem"));
    assert_eq!(made.addresses(), first);
    // The other end of `up1` has the second member; known to be there, it would count as assigned
    host.ip(&format!("address add {}/64 dev far-up1 nodad", first[1]));
    host.shim6(&["assign", "set.pem", "--interface", "up1"]).bad(&["is on far-up1, not on up1"]);
    host.shim6(&["assign", "--remove", "set.pem"]).good();

    let _far = occupied(&host, &first[1..]);
    let done = host.shim6(&["assign", "set.pem"]).good();
    for text in ["another host on up1 has", "collision count 1", "DNS"] {
        assert!(done.err.contains(text), "{text:?} is not in {done:?}");
    }
    let there = host.ip("-6 address show");
    assert!(first.iter().all(|a| !there.contains(&format!("{a}/"))), "{there}");
    assert!(second.iter().all(|a| there.contains(&format!("{a}/64"))), "{there}");
    // The file has changed with them, the rest of it has not
    let json: serde_json::Value =
        serde_json::from_str(&host.shim6(&["show", "--json", "set.pem"]).good().out).unwrap();
    assert_eq!(json[0]["collision_count"], 1);
    assert_eq!(json[0]["can_sign"], true);
    assert_eq!(json[0]["addresses"][1]["address"], second[1].to_string());
    assert_eq!(mode(&host.path("set.pem")), 0o600);
    host.shim6(&["assign", "set.pem"]).good();
}

#[test]
fn the_third_collision_is_an_error() {
    // HC-HBA-12, HC-HBA-13, HC-GEN-11: nothing of a set stays
    let host = Host::new();
    host.two_uplinks();
    host.shim6(&["generate", "--output", "set.pem"]).good();
    let all = generations(&host.path("set.pem"));
    let taken: Vec<Ipv6Addr> = all.iter().map(|set| set[1]).collect();
    let _far = occupied(&host, &taken);
    let done = host.shim6(&["assign", "set.pem"]).bad(&["three sets in a row", "shim6 address generate"]);
    assert!(taken.iter().all(|a| done.err.contains(&a.to_string())), "{done:?}");
    let there = host.ip("-6 address show");
    assert!(all.iter().flatten().all(|a| !there.contains(&a.to_string())), "{there}");
    // Asked for from the start
    let made = host.shim6(&["generate", "--collision-count", "2", "--output", "last.pem"]).good();
    let identity = shim6::identity::read(&host.path("last.pem")).unwrap();
    assert_eq!((identity.collision_count(), identity.members().collect::<Vec<_>>()), (2, made.addresses()));
    assert_eq!(host.shim6(&["generate", "--collision-count", "3", "--output", "x"]).code, 2);
}

/// Addresses of an interface with what the kernel says of them.
fn addresses_of(host: &Host, interface: &str) -> Vec<(Ipv6Addr, bool, Option<u64>)> {
    let list: serde_json::Value =
        serde_json::from_str(&host.ip(&format!("-6 -j address show dev {interface} scope global"))).unwrap();
    let all =
        list.as_array().unwrap().iter().flat_map(|l| l["addr_info"].as_array().cloned().unwrap_or_default());
    all.filter_map(|a| {
        let addr = a["local"].as_str()?.parse().ok()?;
        let valid = a["valid_life_time"].as_u64().filter(|n| *n != u64::from(u32::MAX));
        Some((addr, a["deprecated"].as_bool() == Some(true), valid))
    })
    .collect()
}

fn members(path: &Path) -> Vec<Ipv6Addr> {
    shim6::identity::read(path).unwrap().members().collect()
}

fn former_members(host: &Host) -> Vec<Vec<Ipv6Addr>> {
    former(host).iter().map(|p| members(p)).collect()
}

fn former(host: &Host) -> Vec<PathBuf> {
    let entries = fs::read_dir(host.dir.path()).unwrap().map(|e| e.unwrap().path());
    entries.filter(|p| p.to_string_lossy().contains(".former-")).collect()
}

#[test]
fn a_renewed_set_takes_the_place_of_the_old_one() {
    // HC-HBA-17
    let host = Host::new();
    host.two_uplinks();
    let set = host.path("set.pem");
    host.shim6(&["generate", "--sec", "0", "--output", "set.pem"]).good();
    host.shim6(&["assign", "--no-dad", "set.pem"]).good();
    let old = members(&set);
    let routes = host.ip("-6 route show 2001:db8::/32 root 2001:db8::/32");
    let out = host.shim6(&["renew", "--preferred", "1h", "--keep", "2h", "set.pem"]).good();
    assert!(out.out.contains(&format!("{} on up0 deprecated", old[0])), "{out:?}");
    let new = members(&set);
    let prefix = |a: &Ipv6Addr| a.segments()[..4].to_vec();
    assert!(new.iter().map(prefix).eq(old.iter().map(prefix)) && new.iter().all(|a| !old.contains(a)));
    for (i, name) in ["up0", "up1"].into_iter().enumerate() {
        let there = addresses_of(&host, name);
        let of = |addr: Ipv6Addr| there.iter().find(|a| a.0 == addr).copied();
        assert!(matches!(of(new[i]), Some((_, false, None))), "{there:?}");
        assert!(matches!(of(old[i]), Some((_, true, Some(7100..=7200)))), "{there:?}");
        let preferred = host.ip(&format!("-6 address show dev {name} to {}", new[i]));
        let left =
            preferred.split("preferred_lft ").nth(1).and_then(|s| s.split("sec").next()?.parse::<u64>().ok());
        assert!(left.is_some_and(|n| (3500..=3600).contains(&n)), "{preferred}");
    }
    // The routes do not end with the old addresses
    assert_eq!(host.ip("-6 route show 2001:db8::/32 root 2001:db8::/32"), routes);
    // Programs that start meanwhile know the old set too, until it has no address left
    assert_eq!(former_members(&host), [&old[..]]);
    assert_eq!(mode(&former(&host)[0]), mode(&set));
    for (i, name) in ["up0", "up1"].into_iter().enumerate() {
        host.ip(&format!("address del {}/64 dev {name}", old[i]));
    }
    host.shim6(&["renew", "--no-dad", "set.pem"]).good();
    assert_eq!(former_members(&host), [new]);
}

#[test]
fn a_renewal_that_fails_changes_nothing() {
    // HC-HBA-17, HC-HBA-12
    let host = Host::new();
    host.two_uplinks();
    host.shim6(&["generate", "--sec", "0", "--output", "set.pem"]).good();
    host.shim6(&["assign", "--no-dad", "set.pem"]).good();
    let set = host.path("set.pem");
    let before = fs::read(&set).unwrap();
    let e = host.shim6(&["renew", "--keep", "0s", "set.pem"]);
    assert!(e.code == 1 && e.err.contains("at least 1s"), "{e:?}");
    let weak = ["setpriv", "--bounding-set=-net_admin", SHIM6, "address", "renew", "set.pem"];
    let e = Outcome::of(host.command(&weak).output().unwrap());
    assert!(e.code == 1 && e.err.contains("CAP_NET_ADMIN; everything is as it was"), "{e:?}");
    assert!(["up0", "up1"].iter().all(|i| addresses_of(&host, i).iter().all(|a| !a.1)));
    assert_eq!(fs::read(&set).unwrap(), before);
    assert!(former(&host).is_empty());
}

#[test]
fn a_renewed_key_is_another_one() {
    // HC-HBA-17, HC-SIG-15
    let host = Host::new();
    host.two_uplinks();
    let set = host.path("set.pem");
    for keep in [false, true] {
        host.shim6(&[
            "generate",
            "--sec",
            "0",
            "--cga",
            "--bits",
            "1024",
            "--separate-key",
            "--force",
            "--output",
            "set.pem",
        ])
        .good();
        host.shim6(&["assign", "--no-dad", "set.pem"]).good();
        let key = |path: &Path| shim6::identity::read(path).unwrap().key().unwrap().public_der().to_vec();
        let old = key(&set);
        let option: &[&str] = if keep { &["--keep-key"] } else { &[] };
        host.shim6(&[&["renew", "--no-dad"], option, &["set.pem"]].concat()).good();
        assert_eq!(key(&set) == old, keep);
        let before = former(&host).into_iter().find(|p| key(p) == old).expect("the old set, with its key");
        fs::remove_file(before).unwrap();
        let mut keys = fs::read_dir(host.dir.path()).unwrap().map(|e| e.unwrap().path());
        assert!(keys.all(|p| p.extension().is_none_or(|e| e != "key") || mode(&p) == 0o600));
        host.shim6(&["assign", "--remove", "set.pem"]).good();
    }
}
