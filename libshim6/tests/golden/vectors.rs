//! Reads the hand-laid packets.

use std::net::Ipv6Addr;

/// A packet of protocol 140 from one of the `.hex` files.
pub struct Vector {
    pub name: String,
    pub source: Ipv6Addr,
    pub destination: Ipv6Addr,
    /// From the shim header on.
    pub data: Vec<u8>,
}

/// The right packets, then those that only a receiver meets (`receive-`).
pub fn messages() -> Vec<Vector> {
    read(include_str!("messages.hex"))
}

/// One fault each.
pub fn damaged() -> Vec<Vector> {
    read(include_str!("damaged.hex"))
}

fn read(text: &str) -> Vec<Vector> {
    let mut vectors: Vec<Vector> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        if let Some((name, addresses)) = line.strip_prefix('[').and_then(|line| line.split_once("] ")) {
            let (source, destination) = addresses.split_once(" > ").expect(line);
            vectors.push(Vector {
                name: name.into(),
                source: source.parse().expect(line),
                destination: destination.parse().expect(line),
                data: Vec::new(),
            });
        } else {
            let hex = line.split('|').next().expect(line).split_whitespace();
            let octets = hex.map(|octet| u8::from_str_radix(octet, 16).expect(line));
            vectors.last_mut().expect(line).data.extend(octets);
        }
    }
    vectors
}
