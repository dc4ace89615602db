"""CGAs and signed locator lists (RFC 3972, RFC 5533 5.15.5), with RSA from integers alone: for tests, never for secrets."""

import hashlib
import random
import struct

from . import hba

TYPE_TAG = bytes.fromhex("4a3056624858574b3655416f506a6d48")
SHA_1_INFO = bytes.fromhex("3021300906052b0e03021a05000414")
SMALL = [p for p in range(3, 8000, 2) if all(p % q for q in range(3, int(p**0.5) + 1, 2))]


def spki(n, e):
    return hba.der(0x30, hba.ALGORITHM + hba.der(3, b"\0" + hba.der(0x30, hba.der_integer(n) + hba.der_integer(e))))


def _prime(n, rng):
    if any(n % p == 0 for p in SMALL):
        return False
    s = (n - 1 & -(n - 1)).bit_length() - 1
    for _ in range(8):
        x = pow(rng.randrange(2, n - 1), n - 1 >> s, n)
        if x in (1, n - 1):
            continue
        for _ in range(s - 1):
            x = x * x % n
            if x == n - 1:
                break
        else:
            return False
    return True


def generate_key(bits, rng=random):
    """(n, e, d) with exactly that many bits in n."""
    e, half = 65537, bits // 2
    primes = []
    while len(primes) < 2:
        size = half if not primes else bits - half
        candidate = rng.getrandbits(size) | 3 << size - 2 | 1
        if candidate % e != 1 and candidate not in primes and _prime(candidate, rng):
            primes.append(candidate)
    p, q = primes
    assert (p * q).bit_length() == bits
    return p * q, e, pow(e, -1, (p - 1) * (q - 1))


def _block(size, octets):
    """EMSA-PKCS1-v1_5 with SHA-1 (RFC 8017 9.2)."""
    digest = SHA_1_INFO + hashlib.sha1(octets).digest()
    return b"\0\1" + b"\xff" * (size - len(digest) - 3) + b"\0" + digest


def covered(generation, locators):
    """What a signature covers: the locators by method CGA, in their order."""
    return TYPE_TAG + struct.pack("!I", generation) + b"".join(locators)


def sign(key, generation, locators):
    n, _, d = key
    size = (n.bit_length() + 7) // 8
    block = _block(size, covered(generation, locators))
    return pow(int.from_bytes(block, "big"), d, n).to_bytes(size, "big")


def verify_signature(ulid, pds, generation, locators, signature):
    """The key in the PDS of this CGA signed these locators."""
    if not hba.verify_cga(ulid, pds):
        return False
    n, e = _public_key(pds[25:])
    size = (n.bit_length() + 7) // 8
    if n.bit_length() < 1024 or len(signature) != size:
        return False
    return pow(int.from_bytes(signature, "big"), e, n).to_bytes(size, "big") == _block(size, covered(generation, locators))


def _public_key(der):
    def element(octets, tag):
        assert octets[0] == tag, f"DER tag {octets[0]:#x}, not {tag:#x}"
        size = octets[1] & 0x7F if octets[1] & 0x80 else 0
        length = int.from_bytes(octets[2:2 + size], "big") if size else octets[1]
        return octets[2 + size:2 + size + length], octets[2 + size + length:]

    inside, _ = element(der, 0x30)
    assert inside.startswith(hba.ALGORITHM)
    bits, _ = element(inside[len(hba.ALGORITHM):], 3)
    numbers, _ = element(bits[1:], 0x30)
    n, rest = element(numbers, 2)
    e, _ = element(rest, 2)
    return int.from_bytes(n, "big"), int.from_bytes(e, "big")


def generate(prefix, key, rng=random):
    """(address, PDS) with Sec 0."""
    pds = rng.randbytes(16) + prefix + b"\0" + spki(*key[:2])
    return hba.address(pds, 0), pds
