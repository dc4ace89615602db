//! Tests of REAP.
