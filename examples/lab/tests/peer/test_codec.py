"""The codec, the audit and HBA against octets laid out by hand. Run: python3 -m unittest test_codec (in this folder)."""

import random
import unittest

from shim6peer import hba, packet
from shim6peer.packet import Block, Malformed, Message, Option, pack_address

A, B, C = (pack_address(f"2001:db8:{x}::1") for x in "abc")
TAG = 0x123456789ABC


class Codec(unittest.TestCase):
    def test_keepalive_and_probes(self):
        vectors = [
            (Message(packet.KEEPALIVE, {"tag": TAG}), "3b0142007f95123456789abc00000000"),
            (Message(packet.PROBE, {"tag": TAG, "sta": 1, "sent": [Block(B, A, 0x11223344)], "received": []}),
             "3b064300dd60123456789abc01400000" + B.hex() + A.hex() + "1122334400000000"),
            (Message(packet.PROBE, {"tag": packet.MAX_TAG, "sta": 2, "sent": [Block(A, C, 0xA1A2A3A4)],
                                    "received": [Block(C, A, 0x55667788, 0xDEADBEEF)]}),
             "3b0b4300898c7fffffffffff11800000" + A.hex() + C.hex() + "a1a2a3a400000000" + C.hex() + A.hex()
             + "55667788deadbeef"),
        ]
        for message, octets in vectors:
            self.assertEqual(message.pack().hex(), octets)
            self.assertEqual(packet.parse(bytes.fromhex(octets)).fields, message.fields)

    def test_option_lengths(self):
        for length, total in ((0, 8), (1, 8), (4, 8), (5, 16), (12, 16), (36, 40)):
            self.assertEqual(len(Option(1, bytes(length)).pack()), total)
        for n, length in ((1, 28), (2, 44), (7, 124), (8, 148)):
            locators = [(bytes([i]) * 16, 1) for i in range(n)]
            option = packet.locators_option(7, locators)
            self.assertEqual(len(option.contents), length)
            self.assertEqual(len(option.pack()) - length, 4)
            self.assertEqual(packet.parse_locators(option.contents), (7, locators))

    def messages(self):
        validator = Option(packet.VALIDATOR, b"v" * 21)
        pair = packet.ulid_pair_option(A, B)
        words = {"tag": TAG, "nonce": 0x01020304, "responder_nonce": 0x05060708, "packet_tag": 0x0F0E0D0C0B0A}
        pick = lambda *names: {n: words[n] for n in names}
        probe = {"tag": TAG, "sta": 0, "sent": [Block(A, B, 1)], "received": [Block(B, A, 2, 3)]}
        return [Message(packet.I1, pick("tag", "nonce"), [pair]),
                Message(packet.R1, pick("nonce", "responder_nonce"), [validator]),
                Message(packet.I2, pick("tag", "nonce", "responder_nonce"), [validator, pair]),
                Message(packet.R2, pick("tag", "nonce"), []),
                Message(packet.R1BIS, pick("packet_tag", "responder_nonce"), [validator]),
                Message(packet.I2BIS, words, [validator, pair]),
                Message(packet.UPDATE, pick("tag", "nonce"), [Option(packet.KEEPALIVE_TIMEOUT, b"\0\0\0\x0f")]),
                Message(packet.UPDATE_ACK, pick("tag", "nonce")),
                Message(packet.KEEPALIVE, pick("tag")),
                Message(packet.PROBE, probe)]

    def test_layouts(self):
        """Offsets as in the figures of RFC 5533 5.4 to 5.11."""
        octets = {m.type: m.pack() for m in self.messages()}
        tag = TAG.to_bytes(6, "big")
        for type, at in ((packet.I1, 6), (packet.I2, 6), (packet.R2, 6), (packet.I2BIS, 6), (packet.UPDATE, 6)):
            self.assertEqual(octets[type][at:at + 6], tag)
            self.assertEqual(octets[type][12:16], bytes([1, 2, 3, 4]))
        self.assertEqual(octets[packet.R1][6:16], bytes([0, 0, 1, 2, 3, 4, 5, 6, 7, 8]))
        self.assertEqual(octets[packet.I2][16:24], bytes([5, 6, 7, 8, 0, 0, 0, 0]))
        self.assertEqual(octets[packet.I2BIS][16:32], bytes([5, 6, 7, 8] + [0] * 6) + bytes([15, 14, 13, 12, 11, 10]))
        self.assertEqual(octets[packet.R1BIS][6:16], bytes([15, 14, 13, 12, 11, 10, 5, 6, 7, 8]))

    def test_round_trip_and_reserved_bits(self):
        for m in self.messages():
            self.assertEqual(packet.audit(A, B, m.pack()), [], m)
            plain = packet.parse(m.pack())
            self.assertEqual(plain.fields, m.fields)
            m.reserved = 1
            ones = packet.parse(m.pack())
            self.assertEqual(ones.fields, plain.fields)
            self.assertTrue(packet.audit(A, B, m.pack()), packet.NAMES[m.type])

    def test_every_bit_counts(self):
        """No flip of a single bit passes the checksum."""
        for m in self.messages():
            good = m.pack()
            for bit in range(len(good) * 8):
                bad = bytearray(good)
                bad[bit // 8] ^= 0x80 >> bit % 8
                with self.assertRaises(Malformed):
                    packet.parse(bytes(bad))

    def test_garbage_raises_only_malformed(self):
        rng = random.Random(1)
        for _ in range(20000):
            octets = bytearray(rng.choice(self.messages()).pack())
            for _ in range(rng.randrange(1, 6)):
                octets[rng.randrange(len(octets))] = rng.getrandbits(8)
            octets = packet.refresh_checksum(bytes(octets[:rng.randrange(8, len(octets) + 1)]))
            try:
                packet.audit(A, B, octets)
            except Malformed:
                pass

    def test_payload_and_udp(self):
        self.assertEqual(packet.payload_header(TAG, 17).hex(), "11009234" + "56789abc")
        self.assertEqual(packet.parse_payload(packet.payload_header(TAG, 17) + b"x"), (TAG, 17, b"x"))
        # Checksum by hand: 2*(2001+0db8+1) + a + b + 10 + 11 + 1 + 2 + 10 + 6869 + 2100.
        datagram = packet.udp(A, B, 1, 2, b"hi!")
        self.assertEqual(packet.parse_udp(A, B, datagram), (1, 2, b"hi!"))
        total = 2 * (0x2001 + 0xDB8 + 1) + 0xA + 0xB + 11 + 17 + 1 + 2 + 11 + 0x6869 + 0x2100
        self.assertEqual(int.from_bytes(datagram[6:8], "big"), 0xFFFF - (total % 0x10000 + total // 0x10000))
        with self.assertRaises(Malformed):
            packet.parse_udp(A, C, datagram)

    def test_fragments(self):
        whole = bytes(range(256)) * 16
        parts = [packet.parse_fragment(f) for f in packet.fragments(whole, 17, 9, 1400)]
        self.assertEqual(b"".join(p[4] for p in parts), whole)
        self.assertEqual([p[1] for p in parts], [0, 1392, 2784])
        self.assertEqual([p[2] for p in parts], [True, True, False])
        self.assertTrue(all(p[0] == 17 and p[3] == 9 for p in parts))


class Hba(unittest.TestCase):
    def test_a_set_verifies_and_nothing_else_does(self):
        prefixes = [A[:8], B[:8], C[:8]]
        members = hba.generate(prefixes)
        self.assertEqual(len(members[0][1]), 111 + 8 * 3)
        for address, pds in members:
            self.assertTrue(hba.verify_cga(address, pds))
            for other, _ in members:
                self.assertTrue(hba.verify(other, pds))
                self.assertEqual(hba.verify_cga(other, pds), other == address)
        address, pds = members[0]
        self.assertFalse(hba.verify(A, pds))
        self.assertFalse(hba.verify(pack_address("2001:db8:d::1")[:8] + address[8:], pds))
        for at in (0, 15, 24, 40, len(pds) - 1):
            self.assertFalse(hba.verify(address, pds[:at] + bytes([pds[at] ^ 1]) + pds[at + 1:]))

    def test_sec_1(self):
        for address, pds in hba.generate([A[:8], B[:8]], sec=1):
            self.assertEqual(address[8] >> 5, 1)
            self.assertTrue(hba.verify(address, pds))
            self.assertFalse(hba.verify(address[:8] + bytes([address[8] | 0x40]) + address[9:], pds)
                             and hba.verify(address[:8] + bytes([address[8] | 0xE0]) + address[9:], pds))


if __name__ == "__main__":
    unittest.main()
