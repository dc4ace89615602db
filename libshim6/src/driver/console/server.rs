//! The engine's end of its console.

use super::messages::{Answer, Notice, Request};
use super::{MAX_PACKET, NAME};
use crate::driver::claim::abstract_name;
use crate::driver::sys::{self, OwnFd};
use crate::event::Event;
use serde::Serialize;
use std::io;
use std::os::fd::RawFd;

/// Most processes that are connected; each costs a descriptor.
const MAX_CLIENTS: usize = 8;
/// What a notice may wait in, octets; who reads more slowly is cut off.
const NOTICES: libc::c_int = 1 << 20;
/// Token of the listening socket; clients have their descriptors.
const LISTENER: u64 = u64::MAX;

/// A process that asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client(RawFd);

/// The socket, and who is connected.
#[derive(Debug)]
pub struct Console {
    epoll: OwnFd,
    listener: OwnFd,
    clients: Vec<(OwnFd, bool)>,
}

impl Console {
    /// Listen under a name made of our process ID and tag prefix.
    pub fn open(tag_prefix: u16) -> io::Result<Console> {
        let listener = sys::socket(libc::AF_UNIX, libc::SOCK_SEQPACKET, 0)?;
        let (name, len) = abstract_name(&format!("{NAME}{}-{tag_prefix:04x}", std::process::id()));
        sys::bind(listener.raw(), &name, len)?;
        sys::listen(listener.raw(), MAX_CLIENTS as i32)?;
        let epoll = sys::epoll()?;
        add(&epoll, listener.raw(), LISTENER)?;
        Ok(Console { epoll, listener, clients: Vec::new() })
    }

    /// Readable when there is something to do.
    pub fn raw(&self) -> RawFd {
        self.epoll.raw()
    }

    /// Take in who connects and what is asked. Does not wait.
    pub fn requests(&mut self) -> Vec<(Client, Request)> {
        let (mut events, mut asked) = (Vec::new(), Vec::new());
        if sys::epoll_wait_for(self.epoll.raw(), &mut events, 0).is_err() {
            return asked;
        }
        for (_, token) in events {
            if token == LISTENER {
                self.accept();
                continue;
            }
            let client = Client(token as RawFd);
            let mut packet = [0; MAX_PACKET];
            match sys::recv(client.0, &mut packet) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) | Ok(0) => self.drop_client(client),
                Ok(n) => match ciborium::from_reader(&packet[..n]) {
                    Ok(request) => asked.push((client, request)),
                    Err(e) => self.refuse(client, &format!("no request of this version: {e}")),
                },
            }
        }
        asked
    }

    fn accept(&mut self) {
        let Ok(fd) = sys::accept(self.listener.raw()) else { return };
        // SO_PEERCRED: process, user, group as of connect.
        let Ok([_, user, _]) = sys::option::<[u32; 3]>(fd.raw(), libc::SOL_SOCKET, libc::SO_PEERCRED) else {
            return;
        };
        // SAFETY: takes no arguments and cannot fail.
        let own = unsafe { libc::geteuid() };
        let client = Client(fd.raw());
        let welcome = (user == own || user == 0) && self.clients.len() < MAX_CLIENTS;
        if !welcome || add(&self.epoll, client.0, client.0 as u64).is_err() {
            return;
        }
        let _ = sys::set_option(client.0, libc::SOL_SOCKET, libc::SO_SNDBUF, &NOTICES);
        self.clients.push((fd, false));
    }

    /// From now on it gets the events.
    pub fn subscribe(&mut self, client: Client) {
        if let Some((_, watches)) = self.clients.iter_mut().find(|(fd, _)| fd.raw() == client.0) {
            *watches = true;
        }
    }

    /// Say that it was done.
    pub fn confirm(&mut self, client: Client) {
        self.answer(client, &Answer::default());
    }

    /// Say that it was not done.
    pub fn refuse(&mut self, client: Client, why: &str) {
        self.answer(client, &Answer { error: Some(why.to_owned()) });
    }

    /// Answer with a file in memory.
    pub fn hand_over(&mut self, client: Client, contents: &impl Serialize) {
        let mut octets = Vec::new();
        let file = match ciborium::into_writer(contents, &mut octets) {
            Ok(()) => sys::file_in_memory(c"shim6-status", &octets),
            Err(e) => Err(io::Error::other(e)),
        };
        let sent = match file {
            Ok(file) => encode(&Answer::default())
                .is_some_and(|packet| sys::send_with_file(client.0, &packet, file.raw()).is_ok()),
            Err(e) => return self.refuse(client, &e.to_string()),
        };
        if !sent {
            self.drop_client(client);
        }
    }

    /// Tell those who want to know.
    pub fn publish(&mut self, event: &Event) {
        if !self.clients.iter().any(|(_, watches)| *watches) {
            return;
        }
        let Some(packet) = encode(&Notice::from(event)) else { return };
        self.clients.retain(|(fd, watches)| !watches || sys::send(fd.raw(), &packet).is_ok());
    }

    fn answer(&mut self, client: Client, answer: &Answer) {
        let sent = encode(answer).is_some_and(|packet| sys::send(client.0, &packet).is_ok());
        if !sent {
            self.drop_client(client);
        }
    }

    fn drop_client(&mut self, client: Client) {
        self.clients.retain(|(fd, _)| fd.raw() != client.0);
    }
}

fn add(epoll: &OwnFd, fd: RawFd, token: u64) -> io::Result<()> {
    sys::epoll_control(epoll.raw(), libc::EPOLL_CTL_ADD, fd, libc::EPOLLIN as u32, token)
}

fn encode(message: &impl Serialize) -> Option<Vec<u8>> {
    let mut packet = Vec::new();
    ciborium::into_writer(message, &mut packet).ok()?;
    (packet.len() <= MAX_PACKET).then_some(packet)
}
