//! A Rust program whose UDP session outlives the failure of a path, and that prints which locators carry it.
//!
//!     cargo build --release -p shim6 --example multihomed
//!     sudo target/release/examples/multihomed 5005                # on one host: sends everything back
//!     sudo target/release/examples/multihomed ADDRESS 5005        # on another, with an address of the first

use shim6::{Error, ShimSocket};
use std::error;
use std::net::Ipv6Addr;
use std::time::Duration;

fn serve(port: u16) -> Result<(), Box<dyn error::Error>> {
    let socket = ShimSocket::bind((Ipv6Addr::UNSPECIFIED, port))?;
    let mut buffer = [0; 2048];
    loop {
        let (n, peer) = socket.recv_from(&mut buffer)?;
        socket.send_to(&buffer[..n], peer)?;
    }
}

fn talk(peer: (Ipv6Addr, u16), pause: Duration) -> Result<(), Box<dyn error::Error>> {
    let socket = ShimSocket::connected(peer)?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut buffer = [0; 64];
    let mut seen = 0;
    for number in 1u64.. {
        socket.send(number.to_string().as_bytes())?;
        let what = if socket.recv(&mut buffer).is_ok() { "echo of" } else { "no answer to" };
        match socket.current_locators() {
            Ok(pair) => println!("{what} {number}  {} -> {}", pair.local, pair.peer),
            Err(Error::NoContext) => println!("{what} {number}  no context"),
            Err(e) => println!("{what} {number}  {e}"),
        }
        if let Ok(Some(switches)) = socket.wait_for_switch(seen, Duration::ZERO) {
            seen = switches.count;
            let last = switches.latest[0];
            let silence = last.last_heard.map_or(Duration::ZERO, |heard| last.detected.since(heard));
            eprintln!("switch {seen}: {:?} after a silence of {silence:?}, {:?}", last.cause, last.evidence);
        }
        wait(pause);
    }
    Ok(())
}

#[allow(clippy::disallowed_methods)] // A program of its own, no part of the engine.
fn wait(pause: Duration) {
    std::thread::sleep(pause);
}

fn main() -> Result<(), Box<dyn error::Error>> {
    // A context at the first datagram, and a path is dead after two silent seconds.
    shim6::configure("trigger.bytes=0;reap.send_timeout=2s")?;
    let words: Vec<String> = std::env::args().skip(1).collect();
    match &words[..] {
        [port] => serve(port.parse()?),
        [address, port, rest @ ..] => {
            let pause = rest.first().map_or(Ok(1000), |ms| ms.parse())?;
            talk((address.parse()?, port.parse()?), Duration::from_millis(pause))
        }
        [] => Err("usage: multihomed PORT | ADDRESS PORT [MILLISECONDS]".into()),
    }
}
