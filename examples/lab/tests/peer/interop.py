"""Run scenarios: build the network, start the program under test on one host and the peer on the other, judge.

    interop.py --self [SCENARIO...]                         the Python implementation against itself
    interop.py --shim6 BIN [--library LIB] [SCENARIO...]    a real program under `shim6 run`

Exit status 0 if all scenarios hold. Needs root or `unshare -Urn`. `--capture DIR` keeps one pcap per scenario;
`--dissector LUA` has tshark read it and complains about malformed packets and expert warnings.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import netlab
from shim6peer import cga, hba, packet
from shim6peer.checks import PORT

HERE = pathlib.Path(__file__).resolve().parent
CANARY = 5999
# Short timers, so that a failure is over in seconds; the scenarios know these values.
# Tests for the return to pairs that failed are not in the RFCs, and would disturb the count of Probes.
SETTINGS = {"reap.return_after": "never", "reap.send_timeout": "1s", "reap.initial_probe_timeout": "100ms",
            "shim6.i1_timeout": "300ms", "shim6.i2_timeout": "300ms", "shim6.i2bis_timeout": "300ms",
            "shim6.update_timeout": "300ms"}
AT_ONCE = {"trigger.bytes": "0", "trigger.age": "0"}
NEVER = {"trigger.bytes": "never", "trigger.age": "never"}
# Scenario: (program under test, further settings).
SCENARIOS = {"initiator": ("echo", NEVER), "responder": ("client", AT_ONCE), "recovery": ("client", AT_ONCE),
             "variants": ("echo", NEVER), "crossing": ("client", AT_ONCE),
             "link_down": ("client", AT_ONCE),
             "crowded": ("client", AT_ONCE), "attacks": ("echo", NEVER),
             "signed": ("echo", NEVER), "signed_initiator": ("client", AT_ONCE)}
# Both hosts have a CGA on path 1 and ordinary addresses on the others. The stand-in for the product has no key.
SIGNED = {"signed", "signed_initiator"}


def set_of(lab, side):
    """An HBA set for that host, its ULID first, put on the links."""
    members = hba.generate([netlab.prefix(side, n) for n in lab.paths])
    for n, (address, _) in zip(lab.paths, members):
        lab.assign(side, n, packet.show(address))
    return members


def write_identity(path, members):
    path.write_text(json.dumps([[packet.show(a), pds.hex()] for a, pds in members]))


def plain_addresses(lab, side):
    """An ordinary address on each path but the first."""
    addresses = [netlab.prefix_text(side, n).replace("::/64", "::53") for n in lab.paths[1:]]
    for n, address in zip(lab.paths[1:], addresses):
        lab.assign(side, n, address)
    return [packet.pack_address(a) for a in addresses]


def signed_host(lab, side, directory):
    """The same with a CGA on path 1; the parameters of the others are those of the CGA, which signs for them."""
    key = cga.generate_key(1024)
    (directory / "key.json").write_text(json.dumps(key))
    ulid, pds = cga.generate(netlab.prefix(side, 1), key)
    lab.assign(side, 1, packet.show(ulid))
    return [(a, pds) for a in (ulid, *plain_addresses(lab, side))]


def product_set(lab, shim6, directory, signed):
    """The same by `shim6 address`: the product's own generation is under test too."""
    out, host = directory / "set.pem", lab.hosts["a"]
    prefixes = [x for n in lab.paths for x in ("--prefix", netlab.prefix_text("a", n))]
    # As a router's advertisement would have it: the tool finds the interface of a prefix by this route.
    host.ip(*(f"route add {netlab.prefix_text('a', n)} dev p{n} proto ra" for n in lab.paths))
    if signed:
        prefixes = ["--cga", *prefixes[:2]]
        plain_addresses(lab, "a")
    host.run([shim6, "address", "generate", *prefixes, "--output", str(out)])
    host.run([shim6, "address", "assign", "--no-dad", str(out)])
    shown = json.loads(host.run(["ip", "-6", "-j", "addr", "show", "scope", "global"]))
    found = {i["ifname"]: a["local"] for i in shown for a in i.get("addr_info", ()) if a.get("scope") == "global"}
    return [packet.pack_address(found[f"p{n}"]) for n in lab.paths]


def start_subject(a, lab, directory, role, settings, server):
    arguments = [str(PORT)] if role == "echo" else [server, str(PORT), "0.05"]
    log = open(directory / "subject.log", "w")
    environment = dict(os.environ, PYTHONUNBUFFERED="1")
    if a.self:
        command = [sys.executable, str(HERE / "subject.py"), role, str(directory / "subject.json"), *arguments]
    else:
        command = [sys.executable, str(HERE / "programs" / f"{role}.py"), *arguments]
        shim = [a.shim6, "run", "--strict", "--identity", str(directory / "identities"), "--log-level", a.log]
        shim += ["--library", a.library] if a.library else []
        shim += [x for k, v in (SETTINGS | settings).items() for x in ("--set", f"{k}={v}")]
        command = [*shim, "--", *command]
    process = lab.hosts["a"].start(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
    if process.stdout.readline().strip() != "ready":
        raise RuntimeError(f"the program under test did not start: {(directory / 'subject.log').read_text()[-2000:]}")
    return process


def run(a, name, directory):
    role, settings = SCENARIOS[name]
    lab = netlab.Lab()
    processes = []
    try:
        (directory / "identities").mkdir()
        if a.self:
            members = set_of(lab, "a")
            write_identity(directory / "subject.json", members)
            subject = [address for address, _ in members]
        else:
            subject = product_set(lab, a.shim6, directory / "identities", name in SIGNED)
        peers = signed_host(lab, "b", directory) if name in SIGNED else set_of(lab, "b")
        write_identity(directory / "peer.json", peers)
        plain = netlab.prefix_text("b", 1).replace("::/64", "::bad")
        lab.assign("b", 1, plain)
        capture = directory / "capture.pcap"
        recorder = lab.hosts["b"].start([sys.executable, str(HERE / "capture.py"), str(capture)],
                                        stdout=subprocess.PIPE, text=True)
        processes.append(recorder)
        if recorder.stdout.readline().strip() != "ready":
            raise RuntimeError("capture.py did not start")
        # A program without the shim, on the same host as the one under it.
        processes.append(lab.hosts["a"].start([sys.executable, str(HERE / "programs" / "echo.py"), str(CANARY)],
                                              stdout=subprocess.DEVNULL))
        server = packet.show(peers[0][0])
        if role == "echo":
            processes.append(start_subject(a, lab, directory, role, settings, server))
        script = [sys.executable, str(HERE / f"{name}.py"), "--identity", str(directory / "peer.json"), "--subject",
                  ",".join(packet.show(x) for x in subject), "--plain", plain]
        script += ["--key", str(directory / "key.json")] if name in SIGNED else []
        peer = lab.hosts["b"].start(script, stdout=subprocess.PIPE, text=True)
        processes.append(peer)
        lines = []
        for line in peer.stdout:
            lines.append(line)
            print(f"  {line}", end="", flush=True)
            if line.startswith("@"):  # what the scenario wants done to the links of the host under test
                lab.hosts["a"].ip(line[1:].strip())
            if role == "client" and line.split()[1:] == ["ready"]:
                processes.append(start_subject(a, lab, directory, role, settings, server))
        good = peer.wait() == 0
        subject_process = processes[-1] if role == "client" else processes[2]
        if subject_process.poll() is not None:
            print(f"  the program under test ended with {subject_process.returncode}")
            good = False
    finally:
        for p in reversed(processes):
            p.terminate()
            p.wait()
        lab.close()
    if good and a.dissector:
        good = dissect(a.dissector, capture, subject)
    if not good:
        print((directory / "subject.log").read_text()[-6000:])
    return good


def dissect(dissector, capture, subject):
    """tshark with our dissector finds nothing malformed and nothing to warn of in what the host under test sent. (What the
    peer sends is odd on purpose.)"""
    ours = f"ipv6.nxt == 140 && ipv6.src in {{{', '.join(packet.show(x) for x in subject)}}}"
    fields = ["-e", "frame.number", "-e", "_ws.expert.severity", "-e", "_ws.expert.message"]
    done = subprocess.run(["tshark", "-n", "-X", f"lua_script:{dissector}", "-r", str(capture), "-Y", ours,
                           "-T", "fields", *fields], capture_output=True, text=True)
    if done.returncode:
        print(f"  tshark: {done.stderr}")
        return False
    note = 0x00400000  # PI_NOTE; warnings are above it, malformed packets above these
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    bad = [r for r in rows if any(int(x) >= note for x in r[1].split(",") if x)]
    for number, _, text in bad[:20]:
        print(f"  tshark: frame {number}: {text}")
    print(f"  tshark: {len(bad)} of {len(rows)} packets malformed or with a remark")
    return bool(rows) and not bad


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"of {', '.join(SCENARIOS)}; default: all")
    parser.add_argument("--self", action="store_true")
    parser.add_argument("--shim6")
    parser.add_argument("--library", help="preload library, if not the one beside the tool")
    parser.add_argument("--log", default="info", help="SHIM6_LOG for the program under test")
    parser.add_argument("--capture", type=pathlib.Path, help="keep captures and logs here")
    parser.add_argument("--dissector")
    a = parser.parse_args()
    if a.self == bool(a.shim6):
        parser.error("either --self or --shim6")
    if unknown := set(a.scenarios) - set(SCENARIOS):
        parser.error(f"no scenario {', '.join(unknown)}")
    bad = []
    with tempfile.TemporaryDirectory(prefix="shim6-interop-") as scratch:
        for name in a.scenarios or [name for name in SCENARIOS if not (a.self and name in SIGNED)]:
            directory = pathlib.Path(a.capture or scratch).resolve() / name
            if directory.exists():
                for old in sorted(directory.rglob("*"), reverse=True):
                    old.rmdir() if old.is_dir() else old.unlink()
            directory.mkdir(parents=True, exist_ok=True)
            print(f"{name}:", flush=True)
            started = time.monotonic()
            good = run(a, name, directory)
            print(f"{name}: {'ok' if good else 'FAILED'} ({time.monotonic() - started:.1f} s)", flush=True)
            if not good:
                bad.append(name)
    sys.exit(1 if bad else 0)


main()
