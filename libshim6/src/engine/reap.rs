//! REAP (RFC 5534) for one context: a pure state machine over events and times.
