"""A second Shim6 implementation, in Python, for interoperability tests.

It was written from RFC 5533, RFC 5534 and RFC 5535 alone and shares no code with the Rust one, so that a misreading in
one of them shows as a disagreement between the two.

packet   codec, and an audit of every octet of a received message
hba      HBA sets: generation and verification
cga      CGAs and signatures over locator lists
reap     the REAP state machine of one context
context  contexts: establishment in both roles, recovery, updates, payload
host     sockets and clock of one host
checks   what a test script asks and how it tells
"""
