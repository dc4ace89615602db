"""HBA sets (RFC 5535) on top of CGA parameters (RFC 3972): SHA-1, Sec 0 to 2."""

import hashlib
import os
import struct

MULTI_PREFIX = 0x0012
# rsaEncryption with NULL parameters.
ALGORITHM = bytes.fromhex("300d06092a864886f70d0101010500")


def der(tag, contents):
    n = len(contents)
    if n < 0x80:
        head = bytes([n])
    else:
        size = (n.bit_length() + 7) // 8
        head = bytes([0x80 | size]) + n.to_bytes(size, "big")
    return bytes([tag]) + head + contents


def der_integer(value):
    return der(2, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def extended_modifier():
    """384 random bits dressed as an RSA key (RFC 5535 6)."""
    modulus = int.from_bytes(os.urandom(48), "big") | 1 << 383
    key = der(0x30, der_integer(modulus) + der_integer(65537))
    return der(0x30, ALGORITHM + der(3, b"\0" + key))


def address(pds, sec):
    """The address that a PDS stands for."""
    identifier = bytearray(hashlib.sha1(pds).digest()[:8])
    identifier[0] = identifier[0] & 0x1C | sec << 5
    return pds[16:24] + bytes(identifier)


def generate(prefixes, sec=0):
    """[(address, PDS)] for 64-bit prefixes (8 octets each), in their order."""
    key = extended_modifier()
    extension = struct.pack("!HHI", MULTI_PREFIX, 8 * len(prefixes) + 4, 0) + b"".join(prefixes)
    modifier = int.from_bytes(os.urandom(16), "big")
    while True:
        hash2 = hashlib.sha1(modifier.to_bytes(16, "big") + bytes(9) + key + extension).digest()[:14]
        if not any(hash2[:2 * sec]):
            break
        modifier = (modifier + 1) % (1 << 128)
    result = []
    for prefix in prefixes:
        pds = modifier.to_bytes(16, "big") + prefix + b"\0" + key + extension
        result.append((address(pds, sec), pds))
    return result


def _key_end(pds):
    """Where the DER structure that starts at octet 25 ends."""
    if len(pds) < 27 or pds[25] != 0x30:
        raise ValueError("no SubjectPublicKeyInfo at octet 25")
    first = pds[26]
    if first < 0x80:
        end = 27 + first
    else:
        size = first & 0x7F
        if not 1 <= size <= 2 or len(pds) < 27 + size:
            raise ValueError("bad DER length")
        end = 27 + size + int.from_bytes(pds[27:27 + size], "big")
    if end > len(pds):
        raise ValueError("key runs past the end")
    return end


def prefixes(pds):
    """The prefixes of the Multi-Prefix extension; None without one."""
    at = _key_end(pds)
    while at + 4 <= len(pds):
        kind, length = struct.unpack_from("!HH", pds, at)
        data = pds[at + 4:at + 4 + length]
        if kind == MULTI_PREFIX and len(data) == length and length >= 12 and length % 8 == 4:
            return [data[i:i + 8] for i in range(4, length, 8)]
        at += 4 + length
    return None


def verify_cga(address, pds):
    """RFC 3972 5."""
    try:
        end = _key_end(pds)
    except ValueError:
        return False
    if pds[24] > 2 or pds[16:24] != address[:8]:
        return False
    mask = 0x1CFFFFFFFFFFFFFF
    hash1 = int.from_bytes(hashlib.sha1(pds).digest()[:8], "big")
    identifier = int.from_bytes(address[8:], "big")
    if (hash1 ^ identifier) & mask:
        return False
    sec = identifier >> 61
    if sec > 2:
        return False
    hash2 = hashlib.sha1(pds[:16] + bytes(9) + pds[25:]).digest()[:14]
    return end <= len(pds) and not any(hash2[:2 * sec])


def verify(address, pds):
    """RFC 5535 7.2: `address` belongs to the HBA set of `pds`."""
    try:
        members = prefixes(pds)
    except ValueError:
        return False
    if not members or address[:8] not in members:
        return False
    return verify_cga(address, pds[:16] + address[:8] + pds[24:])
