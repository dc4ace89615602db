"""Codec of RFC 5533 and RFC 5534 messages, and an audit that names every octet that is not as the RFCs lay it out.

Addresses are packed (16 octets) everywhere. A message is one `Message`: its type, the fixed fields by name, the options.
"""

import ipaddress
import struct
from dataclasses import dataclass, field

PROTOCOL = 140
NO_NEXT_HEADER = 59
UDP = 17
FRAGMENT = 44

I1, R1, I2, R2, R1BIS, I2BIS = 1, 2, 3, 4, 5, 6
UPDATE, UPDATE_ACK, KEEPALIVE, PROBE, ERROR = 64, 65, 66, 67, 68
NAMES = {I1: "I1", R1: "R1", I2: "I2", R2: "R2", R1BIS: "R1bis", I2BIS: "I2bis", UPDATE: "Update Request",
         UPDATE_ACK: "Update Acknowledgement", KEEPALIVE: "Keepalive", PROBE: "Probe", ERROR: "Error"}

VALIDATOR, LOCATORS, PREFERENCES, PDS, SIGNATURE, ULID_PAIR, FII, KEEPALIVE_TIMEOUT = 1, 2, 3, 4, 5, 6, 7, 10
DEFINED_OPTIONS = {VALIDATOR, LOCATORS, PREFERENCES, PDS, SIGNATURE, ULID_PAIR, FII, KEEPALIVE_TIMEOUT}
_LIST = {LOCATORS, PREFERENCES, PDS, SIGNATURE, KEEPALIVE_TIMEOUT}
# RFC 5533 5.4-5.11, RFC 5534 5.3: the options defined for each message.
ALLOWED = {I1: {ULID_PAIR, FII}, R1: {VALIDATOR}, I2: {VALIDATOR, ULID_PAIR, FII} | _LIST, R2: _LIST,
           R1BIS: {VALIDATOR}, I2BIS: {VALIDATOR, ULID_PAIR, FII} | _LIST, UPDATE: _LIST, UPDATE_ACK: set(),
           KEEPALIVE: set(), PROBE: set()}

HBA, CGA = 1, 2
BROKEN, TRANSIENT = 1, 2
OPERATIONAL, EXPLORING, INBOUND_OK = 0, 1, 2
MAX_TAG = (1 << 47) - 1

# Length of the fixed part, before the options.
FIXED = {I1: 16, R1: 16, I2: 24, R2: 16, R1BIS: 16, I2BIS: 32, UPDATE: 16, UPDATE_ACK: 16, KEEPALIVE: 16, PROBE: 16}


class Malformed(Exception):
    """The octets are no message that could be processed."""


class UnknownType(Malformed):
    """All is well but for the message type."""


def pack_address(text):
    return ipaddress.IPv6Address(text).packed


def show(address):
    return str(ipaddress.IPv6Address(address))


def ones_complement_sum(octets):
    if len(octets) % 2:
        octets += b"\0"
    total = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def checksum(octets):
    return 0xFFFF - ones_complement_sum(octets)


@dataclass
class Option:
    type: int
    contents: bytes
    critical: bool = False
    padding: bytes = field(default=None, compare=False)  # None: zeros
    at: int = field(default=None, compare=False)  # offset in the received message

    def pack(self):
        need = 7 - (len(self.contents) + 3) % 8
        padding = bytes(need) if self.padding is None else self.padding
        return struct.pack("!HH", self.type << 1 | self.critical, len(self.contents)) + self.contents + padding


@dataclass
class Block:
    """One sent or received probe inside a Probe message."""

    source: bytes
    destination: bytes
    nonce: int
    data: int = 0

    def pack(self):
        return self.source + self.destination + struct.pack("!II", self.nonce, self.data)


@dataclass
class Message:
    """A control message. `fields` holds what the type has: tag, nonce (of initiator or request), responder_nonce, packet_tag,
    sta, sent, received (Probe), code, pointer, packet (Error)."""

    type: int
    fields: dict
    options: list = field(default_factory=list)
    # All reserved bits are set to this on the wire (tests set ones: receivers must not care).
    reserved: int = 0

    def __getattr__(self, name):
        try:
            return self.__dict__["fields"][name]
        except KeyError:
            raise AttributeError(name) from None

    def option(self, type):
        return next((o for o in self.options if o.type == type), None)

    def pack(self):
        ones = self.reserved
        f = self.fields
        tag = lambda t: (t | (ones << 47)).to_bytes(6, "big")
        body = {
            I1: lambda: tag(f["tag"]) + struct.pack("!I", f["nonce"]),
            R1: lambda: struct.pack("!HII", 0xFFFF * ones, f["nonce"], f["responder_nonce"]),
            I2: lambda: tag(f["tag"]) + struct.pack("!III", f["nonce"], f["responder_nonce"], 0xFFFFFFFF * ones),
            R2: lambda: tag(f["tag"]) + struct.pack("!I", f["nonce"]),
            R1BIS: lambda: tag(f["packet_tag"]) + struct.pack("!I", f["responder_nonce"]),
            I2BIS: lambda: tag(f["tag"]) + struct.pack("!II", f["nonce"], f["responder_nonce"])
            + (f["packet_tag"] | (((1 << 49) - 1) * ones) << 47).to_bytes(12, "big"),
            UPDATE: lambda: tag(f["tag"]) + struct.pack("!I", f["nonce"]),
            UPDATE_ACK: lambda: tag(f["tag"]) + struct.pack("!I", f["nonce"]),
            KEEPALIVE: lambda: tag(f["tag"]) + struct.pack("!I", 0xFFFFFFFF * ones),
            PROBE: lambda: tag(f["tag"]) + struct.pack(
                "!BBH", len(f["received"]) << 4 | len(f["sent"]), f["sta"] << 6 | 0x3F * ones, 0xFFFF * ones)
            + b"".join(b.pack() for b in f["sent"] + f["received"]),
            ERROR: lambda: struct.pack("!H", f["pointer"]) + f["packet"] + bytes(-len(f["packet"]) % 8),
        }[self.type]()
        body += b"".join(o.pack() for o in self.options)
        return seal(self.type, (f["code"] if self.type == ERROR else 0x7F * ones) << 1, body)


def seal(type, octet3, body, next_header=NO_NEXT_HEADER):
    """Common header of RFC 5533 5.3, with checksum, in front of what follows octet 6."""
    length = 6 + len(body)
    assert length % 8 == 0, f"{length} octets"
    head = struct.pack("!BBBB", next_header, length // 8 - 1, type, octet3)
    return head + struct.pack("!H", checksum(head + b"\0\0" + body)) + body


def refresh_checksum(octets):
    octets = octets[:4] + b"\0\0" + octets[6:]
    length = (octets[1] + 1) * 8
    return octets[:4] + struct.pack("!H", checksum(octets[:length])) + octets[6:]


def parse_options(octets, start):
    options, at = [], start
    while at < len(octets):
        if len(octets) - at < 4:
            raise Malformed("stray octets behind the options")
        kind, length = struct.unpack_from("!HH", octets, at)
        total = 11 + length - (length + 3) % 8
        if at + total > len(octets):
            raise Malformed(f"option {kind >> 1} runs past the end")
        contents = octets[at + 4:at + 4 + length]
        options.append(Option(kind >> 1, contents, bool(kind & 1), octets[at + 4 + length:at + total], at))
        at += total
    return options


def parse(octets):
    """The message in `octets`; Malformed if RFC 5533 12.3 or the layout of its type is violated."""
    if len(octets) < 8:
        raise Malformed("shorter than the common header")
    length = (octets[1] + 1) * 8
    if octets[2] & 0x80:
        raise Malformed("P is set: no control message")
    if octets[3] & 1:
        raise Malformed("S is set: no Shim6 message")
    if length > len(octets):
        raise Malformed("Hdr Ext Len passes the end of the packet")
    octets = octets[:length]
    if ones_complement_sum(octets) != 0xFFFF:
        raise Malformed("wrong checksum")
    type = octets[2] & 0x7F
    if type == ERROR:
        pointer = struct.unpack_from("!H", octets, 6)[0]
        return Message(ERROR, {"code": octets[3] >> 1, "pointer": pointer, "packet": octets[8:]})
    if type not in FIXED:
        raise UnknownType(f"unknown type {type}")
    if length < FIXED[type]:
        raise Malformed(f"{NAMES[type]} of {length} octets")
    tag = lambda at: int.from_bytes(octets[at:at + 6], "big") & MAX_TAG
    word = lambda at: struct.unpack_from("!I", octets, at)[0]
    start = FIXED[type]
    if type in (I1, R2, UPDATE, UPDATE_ACK):
        fields = {"tag": tag(6), "nonce": word(12)}
    elif type == R1:
        fields = {"nonce": word(8), "responder_nonce": word(12)}
    elif type == I2:
        fields = {"tag": tag(6), "nonce": word(12), "responder_nonce": word(16)}
    elif type == R1BIS:
        fields = {"packet_tag": tag(6), "responder_nonce": word(12)}
    elif type == I2BIS:
        fields = {"tag": tag(6), "nonce": word(12), "responder_nonce": word(16), "packet_tag": tag(26)}
    elif type == KEEPALIVE:
        fields = {"tag": tag(6)}
    else:
        received, sent, sta = octets[12] >> 4, octets[12] & 15, octets[13] >> 6
        if sent == 0 or sta == 3:
            raise Malformed(f"Probe with Psent {sent}, Sta {sta}")
        blocks = []
        for _ in range(sent + received):
            if start + 40 > length:
                raise Malformed("Probe shorter than its blocks")
            blocks.append(Block(octets[start:start + 16], octets[start + 16:start + 32], word(start + 32), word(start + 36)))
            start += 40
        fields = {"tag": tag(6), "sta": sta, "sent": blocks[:sent], "received": blocks[sent:]}
    return Message(type, fields, parse_options(octets, start))


def audit(source, destination, octets):
    """What a sender did wrong, as sentences; the message parses. `octets` is all that followed the IPv6 header."""
    wrong = []
    complain = lambda condition, text: condition and wrong.append(text)
    message = parse(octets)
    type = message.type
    length = (octets[1] + 1) * 8
    complain(octets[0] != NO_NEXT_HEADER, f"Next Header is {octets[0]}, not 59")
    complain(length != len(octets), f"{len(octets) - length} octets behind the message")
    complain(length > 1240, f"{length} octets: the packet is larger than 1280 (5.1)")
    complain(type != ERROR and octets[3] != 0, f"Reserved1 is {octets[3] >> 1:#x}")
    if type in (I1, I2, R2, R1BIS, I2BIS, UPDATE, UPDATE_ACK, KEEPALIVE, PROBE):
        complain(octets[6] & 0x80, "R is set")
    reserved = {R1: (6, 8), I2: (20, 24), KEEPALIVE: (12, 16), PROBE: (14, 16), I2BIS: (20, 26)}.get(type)
    if reserved:
        complain(any(octets[slice(*reserved)]), f"Reserved2 is {octets[slice(*reserved)].hex()}")
    complain(type == PROBE and octets[13] & 0x3F, "Reserved2 of the Probe is not zero")
    complain(type == I2BIS and octets[26] & 0x80, "last bit of Reserved2 of the I2bis is set")
    if type == ERROR:
        complain(length < 16, "Error without quoted packet")
        return wrong
    if type == PROBE:
        own = message.sent[0]
        complain(own.source != source or own.destination != destination,
                 f"block 1 says {show(own.source)} -> {show(own.destination)}, the IPv6 header "
                 f"{show(source)} -> {show(destination)}")
        # RFC 5533 11 / RFC 5534 5.2: nothing else is allowed in there.
        complain(len({b.nonce for b in message.sent}) != len(message.sent), "two sent probes with one nonce")
    seen = set()
    for o in message.options:
        what = f"option {o.type}"
        complain(o.type in seen, f"{what} twice")
        seen.add(o.type)
        complain(any(o.padding), f"{what}: padding {o.padding.hex()}")
        if o.type not in DEFINED_OPTIONS:
            complain(o.critical, f"unknown critical {what}")
            continue
        complain(o.critical, f"{what}: C is set")
        complain(o.type not in ALLOWED[type], f"{what} does not belong into {NAMES[type]}")
        wrong += _audit_option(o)
    if type in (R1, I2, R1BIS, I2BIS):
        complain(VALIDATOR not in seen, "no Responder Validator")
    if LOCATORS in seen and type != UPDATE:
        complain(PDS not in seen, "Locator List without PDS")
    locators = message.option(LOCATORS)
    methods = parse_locators(locators.contents)[1] if locators and not _audit_option(locators) else []
    complain(any(m == CGA for _, m in methods) and SIGNATURE not in seen, "CGA locator without signature")
    preferences = message.option(PREFERENCES)
    if preferences and locators and not _audit_option(preferences):
        generation, elements = parse_preferences(preferences.contents)
        complain(generation != parse_locators(locators.contents)[0], "preferences of another generation than the list")
        complain(len(elements) != len(methods), f"{len(elements)} preferences for {len(methods)} locators")
    return wrong


def _audit_option(o):
    c, n = o.contents, len(o.contents)
    if o.type == VALIDATOR and n == 0:
        return ["empty validator"]
    if o.type == LOCATORS:
        if n < 5 or n != 5 + c[4] + (7 - c[4]) % 8 + 16 * c[4]:
            return [f"Locator List with Length {n}"]
        count = c[4]
        if count == 0:
            return ["Locator List without locators"]
        wrong = []
        if any(c[5 + count:5 + count + (7 - count) % 8]):
            wrong.append("inner padding of the Locator List is not zero")
        addresses = [a for a, _ in parse_locators(c)[1]]
        if len(set(addresses)) != count:
            wrong.append("a locator twice")
        for a in addresses:
            if not (ipaddress.IPv6Address(a).is_global or a[:4] == bytes.fromhex("20010db8") or a[0] & 0xFE == 0xFC):
                wrong.append(f"locator {show(a)}")
        wrong += [f"verification method {m}" for _, m in parse_locators(c)[1] if m not in (HBA, CGA)]
        return wrong
    if o.type == PREFERENCES:
        if n < 5 or not 1 <= c[4] <= 3 or (n - 5) % c[4]:
            return [f"Locator Preferences with Length {n}, Element Len {c[4] if n > 4 else '?'}"]
        return [f"preference flags {e[0]:#x}" for e in parse_preferences(c)[1] if e[0] & ~(BROKEN | TRANSIENT)]
    if o.type == ULID_PAIR:
        if n != 36:
            return [f"ULID Pair with Length {n}"]
        return ["Reserved2 of the ULID Pair is not zero"] if any(c[:4]) else []
    if o.type == FII:
        if n != 4:
            return [f"FII with Length {n}"]
        return [] if any(c) else ["FII option with 0"]
    if o.type == KEEPALIVE_TIMEOUT:
        if n != 4:
            return [f"Keepalive Timeout with Length {n}"]
        return ["Reserved of the Keepalive Timeout is not zero"] if any(c[:2]) else []
    return []


def locators_option(generation, locators):
    """`locators`: (address, method) in order."""
    n = len(locators)
    contents = struct.pack("!IB", generation, n) + bytes(m for _, m in locators) + bytes((7 - n) % 8)
    return Option(LOCATORS, contents + b"".join(a for a, _ in locators))


def parse_locators(contents):
    if len(contents) < 5:
        raise Malformed("Locator List cut short")
    generation, n = struct.unpack_from("!IB", contents)
    start = 5 + n + (7 - n) % 8
    if len(contents) != start + 16 * n or n == 0:
        raise Malformed("Locator List with a wrong Length")
    return generation, [(contents[start + 16 * i:start + 16 * i + 16], contents[5 + i]) for i in range(n)]


def preferences_option(generation, elements):
    """`elements`: octets of one length, one for each locator."""
    return Option(PREFERENCES, struct.pack("!IB", generation, len(elements[0])) + b"".join(elements))


def parse_preferences(contents):
    if len(contents) < 5:
        raise Malformed("Locator Preferences cut short")
    generation, size = struct.unpack_from("!IB", contents)
    if size == 0 or (len(contents) - 5) % size:
        raise Malformed("Locator Preferences with a wrong Length")
    return generation, [contents[i:i + size] for i in range(5, len(contents), size)]


def ulid_pair_option(sender, receiver):
    return Option(ULID_PAIR, bytes(4) + sender + receiver)


def keepalive_timeout_option(seconds):
    return Option(KEEPALIVE_TIMEOUT, struct.pack("!HH", 0, seconds))


def payload_header(tag, next_header):
    return struct.pack("!BB", next_header, 0) + (tag | 1 << 47).to_bytes(6, "big")


def parse_payload(octets):
    """(tag, next header, rest) of a packet with the Payload Extension header."""
    if len(octets) < 8 or not octets[2] & 0x80 or octets[1] != 0:
        raise Malformed("no payload extension header")
    return int.from_bytes(octets[2:8], "big") & MAX_TAG, octets[0], octets[8:]


def _pseudo(source, destination, length, protocol):
    return source + destination + struct.pack("!IHBB", length, 0, 0, protocol)


def udp(source, destination, source_port, destination_port, data):
    """A UDP datagram whose checksum covers these addresses: the ULIDs."""
    head = struct.pack("!HHH", source_port, destination_port, 8 + len(data))
    total = checksum(_pseudo(source, destination, 8 + len(data), UDP) + head + b"\0\0" + data)
    return head + struct.pack("!H", total or 0xFFFF) + data


def parse_udp(source, destination, octets):
    """(source port, destination port, data); the checksum must fit these addresses, the length the packet."""
    if len(octets) < 8:
        raise Malformed("UDP header cut short")
    source_port, destination_port, length, total = struct.unpack_from("!HHHH", octets)
    if length != len(octets):
        raise Malformed(f"UDP length {length} in {len(octets)} octets")
    if total == 0:
        raise Malformed("UDP over IPv6 without checksum")
    if ones_complement_sum(_pseudo(source, destination, length, UDP) + octets) != 0xFFFF:
        raise Malformed("UDP checksum does not cover the ULIDs")
    return source_port, destination_port, octets[8:]


def fragments(octets, next_header, identification, size):
    """Fragment headers of RFC 8200 4.5 with their parts, each at most `size` octets long."""
    step = (size - 8) // 8 * 8
    for offset in range(0, len(octets), step):
        more = offset + step < len(octets)
        yield struct.pack("!BBHI", next_header, 0, offset | more, identification) + octets[offset:offset + step]


def parse_fragment(octets):
    """(next header, offset, more, identification, part)"""
    if len(octets) < 8:
        raise Malformed("fragment header cut short")
    next_header, _, offset, identification = struct.unpack_from("!BBHI", octets)
    return next_header, offset & 0xFFF8, bool(offset & 1), identification, octets[8:]
