//! Identities: the HBA sets (later CGAs) of this host, their parameter files, and how they match addresses.

/// An HBA set that addresses of this host belong to.
#[derive(Debug)]
pub struct Identity {}
