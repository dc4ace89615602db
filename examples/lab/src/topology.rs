//! Two hosts with two or more prefixes each, one link per prefix, and a router between them.
//!
//! ```text
//!           p1 ---- a1 +------+ b1 ---- p1
//!   client  p2 ---- a2 | core | b2 ---- p2  server
//!           p3 ---- a3 +------+ b3 ---- p3
//! ```
//!
//! Path N is provider N: the links aN and bN with the prefixes 2001:db8:aN::/64 and 2001:db8:bN::/64. The providers are
//! connected, so every locator pair works while nothing has failed. They filter at ingress: what comes from aN needs a
//! source in that prefix. The hosts route by source. A link that goes down at one host is no carrier loss at the other.

use crate::namespace::Namespace;
use crate::{Error, Result};
use std::fmt::Write as _;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The client's or the server's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Links a1, a2, ...
    Client,
    /// Links b1, b2, ...
    Server,
}

impl Side {
    fn letter(self) -> char {
        match self {
            Side::Client => 'a',
            Side::Server => 'b',
        }
    }
}

/// What a blackhole swallows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blackhole {
    /// Everything.
    Both,
    /// What goes from the client to the server.
    ToServer,
    /// What goes from the server to the client.
    ToClient,
}

/// How the hosts get their addresses.
#[derive(Clone, Debug)]
pub enum Addressing {
    /// Ordinary ones; enough for programs without the shim.
    Plain,
    /// HBA sets made and put on by `shim6 address`, this program.
    Hba(PathBuf),
}

/// One of the two hosts.
pub struct Host {
    /// Where its programs run.
    pub namespace: Namespace,
    /// Its addresses; that of path N is at N - 1.
    pub addresses: Vec<Ipv6Addr>,
    /// The directory with its identity, if it has one.
    pub identities: Option<PathBuf>,
    side: Side,
}

/// The two hosts and the router.
pub struct Topology {
    /// The host that starts to talk.
    pub client: Host,
    /// The host that answers.
    pub server: Host,
    core: Namespace,
    paths: usize,
}

/// A locator pair by the numbers of its paths: the client's, the server's.
pub type PathPair = (usize, usize);

/// Packets that crossed the router, per direction and locator pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counters {
    /// From client to server.
    pub to_server: Vec<(PathPair, u64)>,
    /// From server to client.
    pub to_client: Vec<(PathPair, u64)>,
    /// Of all these, packets of protocol 140: control messages, and payload that is not on its ULIDs.
    pub shim6: u64,
}

impl Counters {
    /// The pair that carried most packets since `before`, for each direction; `None` if nothing went there.
    pub fn busiest_since(&self, before: &Counters) -> (Option<PathPair>, Option<PathPair>) {
        let busiest = |now: &[(PathPair, u64)], then: &[(PathPair, u64)]| {
            now.iter()
                .zip(then)
                .map(|(n, t)| (n.0, n.1.saturating_sub(t.1)))
                .filter(|&(_, packets)| packets > 0)
                .max_by_key(|&(_, packets)| packets)
                .map(|(pair, _)| pair)
        };
        (busiest(&self.to_server, &before.to_server), busiest(&self.to_client, &before.to_client))
    }
}

impl Topology {
    /// Two hosts with `paths` prefixes each. `scratch` is a directory for the identities.
    pub fn new(paths: usize, addressing: &Addressing, scratch: &Path) -> Result<Self> {
        let core = Namespace::new()?;
        core.sysctl(&[
            ("ipv6/conf/all/forwarding", "1"),
            ("ipv6/conf/default/forwarding", "1"),
            ("ipv6/conf/default/accept_dad", "0"),
        ])?;
        let topology = Topology {
            client: Host::new(Side::Client, paths, &core, addressing, scratch)?,
            server: Host::new(Side::Server, paths, &core, addressing, scratch)?,
            core,
            paths,
        };
        topology.core.nft(&topology.ruleset())?;
        Ok(topology)
    }

    /// Numbers of the paths, from 1.
    pub fn paths(&self) -> std::ops::RangeInclusive<usize> {
        1..=self.paths
    }

    /// The host of a side.
    pub fn host(&self, side: Side) -> &Host {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }

    /// The namespace between the hosts, for captures.
    pub fn core(&self) -> &Namespace {
        &self.core
    }

    /// Path `n` swallows packets from now on, without a word to anybody.
    pub fn blackhole(&self, n: usize, what: Blackhole) -> Result<()> {
        let mut commands = format!("flush chain ip6 lab path{n}\n");
        let mut swallow = |from: char, to: char| {
            let _ = writeln!(commands, "add rule ip6 lab path{n} iifname \"{from}{n}\" drop");
            let _ =
                writeln!(commands, "add rule ip6 lab path{n} iifname \"{from}*\" oifname \"{to}{n}\" drop");
        };
        if what != Blackhole::ToClient {
            swallow('a', 'b');
        }
        if what != Blackhole::ToServer {
            swallow('b', 'a');
        }
        self.core.nft(&commands)
    }

    /// Path `n` has no blackhole any more.
    pub fn restore(&self, n: usize) -> Result<()> {
        self.core.nft(&format!("flush chain ip6 lab path{n}"))
    }

    /// The link of path `n` goes down at a host; its addresses and routes vanish with it.
    pub fn link_down(&self, side: Side, n: usize) -> Result<()> {
        self.host(side).namespace.ip(&format!("link set p{n} down"))
    }

    /// It comes back, and with it the host's address and routes.
    pub fn link_up(&self, side: Side, n: usize) -> Result<()> {
        let host = self.host(side);
        host.namespace
            .ip(&format!("link set p{n} up\naddr replace {}/64 dev p{n} nodad", host.addresses[n - 1]))?;
        host.namespace.ip(&host.routes(n))
    }

    /// What crossed the router so far.
    pub fn counters(&self) -> Result<Counters> {
        let mut nft = Command::new("nft");
        nft.args(["-j", "list", "counters", "table", "ip6", "lab"]);
        let text = self.core.output(nft, "")?;
        let json: serde_json::Value =
            serde_json::from_str(&text).map_err(|e| Error::new(format!("nft -j: {e}: {text}")))?;
        let listed = json["nftables"].as_array().cloned().unwrap_or_default();
        let packets = |name: String| {
            let counter = listed.iter().map(|item| &item["counter"]).find(|c| c["name"] == name.as_str());
            counter
                .and_then(|c| c["packets"].as_u64())
                .ok_or_else(|| Error::new(format!("nft lists no counter {name}: {text}")))
        };
        let of = |direction: &str| {
            self.pairs()
                .map(|(a, b)| Ok(((a, b), packets(format!("{direction}_{a}_{b}"))?)))
                .collect::<Result<Vec<_>>>()
        };
        Ok(Counters {
            to_server: of("to_server")?,
            to_client: of("to_client")?,
            shim6: packets("shim6".to_owned())?,
        })
    }

    fn pairs(&self) -> impl Iterator<Item = PathPair> {
        self.paths().flat_map(|a| self.paths().map(move |b| (a, b)))
    }

    fn ruleset(&self) -> String {
        let mut rules = String::from("add table ip6 lab\n");
        for n in self.paths() {
            let _ = writeln!(rules, "add chain ip6 lab path{n}");
        }
        rules.push_str("add chain ip6 lab fail { type filter hook forward priority 0; }\n");
        rules.push_str("add chain ip6 lab count { type filter hook forward priority 10; }\n");
        for n in self.paths() {
            for side in [Side::Client, Side::Server] {
                let (link, prefix) = (side.letter(), prefix(side, n));
                let _ = writeln!(
                    rules,
                    "add rule ip6 lab fail iifname \"{link}{n}\" ip6 saddr != {prefix}/64 drop"
                );
            }
            let _ = writeln!(rules, "add rule ip6 lab fail jump path{n}");
        }
        rules.push_str(
            "add counter ip6 lab shim6\nadd rule ip6 lab count ip6 nexthdr 140 counter name shim6\n",
        );
        for (a, b) in self.pairs() {
            let (client, server) = (prefix(Side::Client, a), prefix(Side::Server, b));
            for (direction, source, destination) in
                [("to_server", client, server), ("to_client", server, client)]
            {
                let name = format!("{direction}_{a}_{b}");
                let _ = writeln!(rules, "add counter ip6 lab {name}");
                let _ = writeln!(
                    rules,
                    "add rule ip6 lab count ip6 saddr {source}/64 ip6 daddr {destination}/64 counter name {name}"
                );
            }
        }
        rules
    }
}

/// The prefix of path `n` at a side, a /64.
pub fn prefix(side: Side, n: usize) -> Ipv6Addr {
    let site = match side {
        Side::Client => 0xa0,
        Side::Server => 0xb0,
    };
    // Where a digit is not enough for the number: 2001:db8:a010::/64 and so on.
    let site = if n < 16 { site + n as u16 } else { site << 8 | n as u16 };
    Ipv6Addr::new(0x2001, 0xdb8, site, 0, 0, 0, 0, 0)
}

impl Host {
    fn new(
        side: Side,
        paths: usize,
        core: &Namespace,
        addressing: &Addressing,
        scratch: &Path,
    ) -> Result<Self> {
        let mut host = Host { namespace: Namespace::new()?, addresses: Vec::new(), identities: None, side };
        host.namespace.sysctl(&[
            ("ipv6/conf/all/accept_ra", "0"),
            ("ipv6/conf/default/accept_ra", "0"),
            ("ipv6/conf/default/accept_dad", "0"),
        ])?;
        let letter = side.letter();
        let (mut links, mut up) = (String::new(), String::new());
        for n in 1..=paths {
            let there = host.namespace.path();
            let _ = writeln!(links, "link add {letter}{n} type veth peer name p{n} netns {there}");
            let _ = writeln!(links, "link set {letter}{n} up");
            let _ = writeln!(links, "addr add fe80::1/64 dev {letter}{n} nodad");
            let _ = writeln!(links, "addr add {}1/64 dev {letter}{n} nodad", prefix(side, n));
            let _ = writeln!(up, "link set p{n} up");
        }
        core.ip(&links)?;
        host.namespace.ip(&up)?;
        match addressing {
            Addressing::Plain => host.assign_plain(paths)?,
            Addressing::Hba(shim6) => host.assign_hba(paths, shim6, scratch)?,
        }
        for n in 1..=paths {
            let rule = format!("rule add from {}/64 table {}", prefix(side, n), 100 + n);
            host.namespace.ip(&format!("{}\n{rule}", host.routes(n)))?;
        }
        Ok(host)
    }

    /// The routes that go away with link `n`.
    fn routes(&self, n: usize) -> String {
        let via = format!("via fe80::1 dev p{n}");
        let table = 100 + n;
        format!("route replace default {via} table {table}\nroute replace default {via} metric {table}")
    }

    fn assign_plain(&mut self, paths: usize) -> Result<()> {
        for n in 1..=paths {
            let segments = prefix(self.side, n).segments();
            let address = Ipv6Addr::from([segments[0], segments[1], segments[2], segments[3], 0, 0, 0, 0x10]);
            self.namespace.ip(&format!("addr add {address}/64 dev p{n} nodad"))?;
            self.addresses.push(address);
        }
        Ok(())
    }

    fn assign_hba(&mut self, paths: usize, shim6: &Path, scratch: &Path) -> Result<()> {
        let identities = scratch.join(format!("identities-{}", self.side.letter()));
        std::fs::create_dir_all(&identities)?;
        let file = identities.join("lab.pem");
        let mut generate = Command::new(shim6);
        // Nobody in the lab searches for other parameters; a higher Sec would only take time.
        generate.args(["address", "generate", "--sec", "0", "--output"]).arg(&file);
        let mut assign = Command::new(shim6);
        assign.args(["address", "assign", "--no-dad"]).arg(&file);
        for n in 1..=paths {
            let prefix = prefix(self.side, n);
            // As a router's advertisement would have it: the tool finds the interface of a prefix by this route.
            self.namespace.ip(&format!("route add {prefix}/64 dev p{n} proto ra"))?;
            generate.arg("--prefix").arg(format!("{prefix}/64"));
        }
        self.namespace.output(generate, "")?;
        self.namespace.output(assign, "")?;
        self.addresses = (1..=paths).map(|n| self.address_on(n)).collect::<Result<_>>()?;
        self.identities = Some(identities);
        Ok(())
    }

    /// The address that link `n` has in its prefix.
    fn address_on(&self, n: usize) -> Result<Ipv6Addr> {
        let mut ip = Command::new("ip");
        ip.args(["-6", "-o", "addr", "show", "dev", &format!("p{n}"), "scope", "global"]);
        let listed = self.namespace.output(ip, "")?;
        let prefix = prefix(self.side, n).segments();
        listed
            .split_whitespace()
            .filter_map(|word| word.split_once('/')?.0.parse::<Ipv6Addr>().ok())
            .find(|address| address.segments()[..4] == prefix[..4])
            .ok_or_else(|| Error::new(format!("no address of the set on p{n}: {listed}")))
    }
}
