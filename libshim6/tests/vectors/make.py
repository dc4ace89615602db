#!/usr/bin/env python3
"""Vectors for CGA (RFC 3972), HBA (RFC 5535) and signed locator lists (RFC 5533 section 5.15.5), computed from the RFCs with
nothing but hashlib and integers (`shim6peer` is the independent implementation of the interoperability tests).

    make.py > hba-cga.json

The same octets come out each time. The searches for Sec 2 (2^32 hashes on average) are not made again: their results stand
below, and are checked.
"""

import hashlib
import json
import pathlib
import random
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "examples/lab/tests/peer"))
from shim6peer.cga import generate_key, sign, spki  # noqa: E402

MASK = 0x1CFFFFFFFFFFFFFF
MULTI_PREFIX = 0x0012
# Modifiers whose Hash2 has 32 zero bits, by the name of the case.
SEC_2 = {"CGA, Sec 2": "00000000000000000000000013cb7f8f"}
rng = random.Random(5535)


def sha1(octets):
    return hashlib.sha1(octets).digest()


def extension(prefixes, p_flag):
    data = struct.pack("!I", p_flag << 31) + b"".join(prefixes)
    return struct.pack("!HH", MULTI_PREFIX, len(data)) + data


def search(modifier, rest, sec):
    """(modifier, hashes computed)"""
    number, tried = int.from_bytes(modifier, "big"), 0
    while sec:
        tried += 1
        if not any(sha1(number.to_bytes(16, "big") + bytes(9) + rest)[:2 * sec]):
            break
        number = (number + 1) % (1 << 128)
    return number.to_bytes(16, "big"), tried


def address(pds, sec):
    identifier = bytearray(sha1(pds)[:8])
    identifier[0] = identifier[0] & 0x1C | sec << 5
    return pds[16:24] + bytes(identifier)


def extensions(octets):
    """[(type, data)], or None where they do not fit."""
    found = []
    while octets:
        if len(octets) < 4:
            return None
        kind, length = struct.unpack_from("!HH", octets)
        if 4 + length > len(octets):
            return None
        found.append((kind, octets[4:4 + length]))
        octets = octets[4 + length:]
    return found


def key_length(pds):
    """Octets of the Public Key field; None if there is none in DER."""
    key = pds[25:]
    if len(key) < 2 or key[0] != 0x30:
        return None
    if key[1] < 0x80:
        total = 2 + key[1]
    elif key[1] == 0x81 and len(key) > 2 and key[2] >= 0x80:
        total = 3 + key[2]
    elif key[1] == 0x82 and len(key) > 3 and key[2]:
        total = 4 + int.from_bytes(key[2:4], "big")
    else:
        return None
    return total if total <= len(key) else None


def set_prefixes(pds):
    found = extensions(pds[25 + key_length(pds):])
    sets = [d for k, d in found if k == MULTI_PREFIX] if found is not None else []
    if len(sets) != 1 or len(sets[0]) < 12 or len(sets[0]) % 8 != 4:
        return None
    return [sets[0][i:i + 8] for i in range(4, len(sets[0]), 8)]


def is_cga(a, pds):
    if key_length(pds) is None or len(pds) > 1240 or pds[24] > 2 or a[:8] != pds[16:24]:
        return False
    identifier = int.from_bytes(a[8:], "big")
    sec = identifier >> 61
    if sec > 2 or (int.from_bytes(sha1(pds)[:8], "big") ^ identifier) & MASK:
        return False
    return not any(sha1(pds[:16] + bytes(9) + pds[25:])[:2 * sec])


def is_hba(a, pds):
    if key_length(pds) is None:
        return False
    prefixes = set_prefixes(pds)
    return prefixes is not None and a[:8] in prefixes and is_cga(a, pds[:16] + a[:8] + pds[24:])


def show(a):
    return ":".join(f"{x:x}" for x in struct.unpack("!8H", a))


def net(letter):
    return bytes.fromhex("20010db8000%s0000" % letter)


def made(name, prefixes, sec, count, key, modifier, extended):
    """A set or, without prefixes to bind, a CGA."""
    hba = len(prefixes) > 1 or key is None
    field = spki(*key[:2]) if key else spki(int.from_bytes(bytes([extended[0] | 0x80]) + extended[1:], "big"), 65537)
    rest = field + (extension(prefixes, key is not None) if hba else b"")
    if sec == 2:
        modifier = bytes.fromhex(SEC_2[name])
    found, tried = search(modifier, rest, sec)
    members = []
    for prefix in prefixes:
        pds = found + prefix + bytes([count]) + rest
        a = address(pds, sec)
        assert is_cga(a, pds) and (not hba or all(is_hba(b[0], pds) for b in members)), name
        members.append((a, pds))
    return {"name": name, "kind": "hba" if hba else "cga", "sec": sec, "count": count, "tried": tried,
            "key": field.hex() if key else None, "modifier": modifier.hex(), "extended": extended.hex(),
            "prefixes": [p.hex() for p in prefixes],
            "members": [{"address": show(a), "pds": pds.hex()} for a, pds in members]}


def judged(a, pds):
    return {"address": show(a), "pds": pds.hex(), "cga": is_cga(a, pds), "hba": is_hba(a, pds)}


def foreign(base):
    """Parameters that no generator here makes: other extensions, other keys, broken structures; with the address that fits
    as far as one can be told."""
    head, key = base[:25], base[25:25 + key_length(base)]
    one, two = extension([net("a"), net("b")], 0), extension([net("a"), net("c")], 0)
    flagged = extension([net("a"), net("b")], 1)
    other, empty = bytes.fromhex("fffd0003010203"), bytes.fromhex("fffe0000")
    # Reserved bits of the extension, all set
    reserved = one[:4] + bytes.fromhex("7fffffff") + one[8:]
    cases = [key, key + one, key + other, key + other + one, key + one + other, key + empty + one + empty, key + flagged,
             key + reserved, key + one + two, key + one + one, key + one[:-1], key + one + b"\0", key + one + other[:-1],
             key + extension([], 0), key + extension([net("a")], 0), key + extension([net("b")], 0),
             key + extension([net(x) for x in "abcdef"], 0), key + struct.pack("!HH", MULTI_PREFIX, 0),
             key + struct.pack("!HHI", MULTI_PREFIX, 8, 0) + b"\0\0\0\1",
             b"\x30\0" + one, b"\x30\x81\x80" + bytes(128) + one, b"\x30\x82\1\0" + bytes(256) + one,
             # Not the shortest form, indefinite, no SEQUENCE, longer than what there is
             b"\x30\x81\x7f" + bytes(127) + one, b"\x30\x82\0\xff" + bytes(255) + one, b"\x30\x80\0\0" + one,
             b"\x31\0" + one, b"\x30\x83\0\1\0" + bytes(256), b"\x30\x82\x0f\xff" + bytes(64), b"\x30", b"",
             # As long as a structure may be, and an octet more
             b"\x30\x82\x04\xbb" + bytes(1211), b"\x30\x82\x04\xbc" + bytes(1212)]
    for rest in cases:
        for prefix in (net("a"), net("b"), net("c")):
            pds = head[:16] + prefix + head[24:] + rest
            for count in (head[24], 3):
                pds = pds[:24] + bytes([count]) + pds[25:]
                yield judged(address(pds, 0), pds)
    for length in range(0, len(base), 9):
        yield judged(address(base[:length].ljust(25, b"\0"), 0), base[:length])


def changed(member, rounds):
    """A member with a bit or two changed, in the address or in the parameters."""
    a, pds = member
    for _ in range(rounds):
        octets = bytearray(a + pds)
        for _ in range(rng.choice([1, 1, 2])):
            bit = rng.randrange(8 * len(octets)) if rng.random() < 0.6 else rng.randrange(8 * 48)
            octets[bit // 8] ^= 0x80 >> bit % 8
        yield judged(bytes(octets[:16]), bytes(octets[16:]))


def main():
    keys = {bits: generate_key(bits, rng) for bits in (1024, 1280, 2048, 3072, 4096)}
    sets = []
    for sec, count, bits, names in [(0, 0, None, "ab"), (0, 1, None, "abc"), (0, 2, None, "cab"), (1, 0, None, "ab"),
                                    (1, 1, None, "a"), (1, 2, None, "abcdef"), (0, 0, 1024, "ab"), (0, 1, 2048, "ba"),
                                    (1, 2, 1024, "abc"), (1, 0, 2048, "ab"), (0, 0, 4096, "ab"), (0, 0, 1024, "a"),
                                    (0, 1, 1280, "b"), (0, 2, 3072, "c"), (1, 0, 1024, "a"), (1, 1, 4096, "a")]:
        name = f"Sec {sec}, count {count}, {bits or 'no'} bits, {names}"
        sets.append(made(name, [net(x) for x in names], sec, count, keys.get(bits), rng.randbytes(16), rng.randbytes(48)))
    extended = bytes([0x80]) + bytes(range(1, 48))
    for name in SEC_2:
        key = keys[1024] if name.startswith("CGA") else None
        for count in range(3):
            prefixes = [net("a")] if key else [net("a"), net("b")]
            sets.append(made(name, prefixes, 2, count, key, bytes(16), extended))
            sets[-1]["name"] += f", count {count}"
    unpack = lambda s: (bytes.fromhex("".join(f"{int(x, 16):04x}" for x in s["address"].split(":"))),
                        bytes.fromhex(s["pds"]))
    verdicts = list(foreign(unpack(sets[0]["members"][0])[1]))
    for s in sets[:10]:
        for member in s["members"][:2]:
            verdicts += changed(unpack(member), 12)
    signatures = []
    for s in sets:
        bits = next((b for b, k in keys.items() if s["key"] == spki(*k[:2]).hex()), None)
        if bits is None or s["sec"] == 2:
            continue
        ulid, _ = unpack(s["members"][0])
        locators = [ulid, net("e") + bytes(7) + b"\1", rng.randbytes(16)][:1 + s["count"] % 3 + (bits == 1024)]
        generation = rng.getrandbits(32)
        signatures.append({"name": s["name"], "address": s["members"][0]["address"], "pds": s["members"][0]["pds"],
                           "generation": generation, "locators": [show(x) for x in locators],
                           "signature": sign(keys[bits], generation, locators).hex()})
    print(json.dumps({"sets": sets, "verdicts": verdicts, "signatures": signatures}, indent=0))


main()
