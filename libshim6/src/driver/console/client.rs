//! The other end of the consoles, for the tool and for programs that watch engines.

use super::{Answer, MAX_PACKET, NAME, Notice, Request, Status};
use ciborium::{from_reader, into_writer};
use nix::cmsg_space;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, connect, getsockopt, recv,
    recvmsg, send, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{self, IoSliceMut, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// How long an engine may take to answer.
const PATIENCE: i64 = 5;

/// A connection to the console of a process. Errors of its methods name the process.
#[derive(Debug)]
pub struct Connection {
    /// Its process.
    pub pid: u32,
    /// The name of its program.
    pub program: String,
    /// The name of its console.
    pub name: String,
    fd: OwnedFd,
}

/// Connect to all engines of this network namespace, or to those of one process, by process ID. Those of other users are left
/// out.
///
/// # Errors
///
/// If `/proc` cannot be read.
pub fn all(pid: Option<u32>) -> io::Result<Vec<Connection>> {
    let mut found: Vec<Connection> =
        names()?.iter().filter_map(|n| open(n).ok()).filter(|c| pid.is_none_or(|p| p == c.pid)).collect();
    found.sort_by_key(|c| c.pid);
    Ok(found)
}

/// The names of all consoles.
///
/// # Errors
///
/// If `/proc` cannot be read.
pub fn names() -> io::Result<Vec<String>> {
    let file = "/proc/self/net/unix";
    let text = std::fs::read_to_string(file)
        .map_err(|e| io::Error::new(e.kind(), format!("cannot read {file}: {e}")))?;
    let mut names: Vec<String> = text
        .lines()
        .filter_map(|line| line.split_whitespace().last()?.strip_prefix('@'))
        .filter(|name| name.starts_with(NAME))
        .map(str::to_owned)
        .collect();
    names.sort();
    names.dedup();
    Ok(names)
}

/// Connect to one.
///
/// # Errors
///
/// If it has ended, or listens to nobody else now.
pub fn open(name: &str) -> io::Result<Connection> {
    let fd = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
    connect(fd.as_raw_fd(), &UnixAddr::new_abstract(name.as_bytes())?)?;
    setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::new(PATIENCE, 0))?;
    // Of the name, any process may have made use; of this, not.
    let pid = getsockopt(&fd, sockopt::PeerCredentials)?.pid() as u32;
    let program = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Ok(Connection { pid, program: program.trim_end().to_owned(), name: name.to_owned(), fd })
}

impl Connection {
    /// Everything about the engine.
    ///
    /// # Errors
    ///
    /// If the engine does not answer as it should; so for the others.
    pub fn status(&self) -> io::Result<Status> {
        self.send(&Request::Status)?;
        let mut packet = [0; MAX_PACKET];
        let mut parts = [IoSliceMut::new(&mut packet)];
        let mut control = cmsg_space!([std::os::fd::RawFd; 1]);
        let message =
            recvmsg::<()>(self.fd.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC)
                .map_err(|e| self.failed(e))?;
        let files: Vec<OwnedFd> = message
            .cmsgs()
            .map_err(|e| self.failed(e))?
            .filter_map(|c| if let ControlMessageOwned::ScmRights(fds) = c { Some(fds) } else { None })
            .flatten()
            // SAFETY: the kernel made these descriptors for us, and nothing else knows of them.
            .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
            .collect();
        let octets = message.bytes;
        self.check(&packet[..octets])?;
        let file = files.into_iter().next().ok_or_else(|| self.failed("no status came"))?;
        let mut contents = Vec::new();
        File::from(file).read_to_end(&mut contents).map_err(|e| self.failed(e))?;
        from_reader(&contents[..]).map_err(|e| self.failed(e))
    }

    /// Have something done.
    pub fn command(&self, request: &Request) -> io::Result<()> {
        self.send(request)?;
        let mut packet = [0; MAX_PACKET];
        let n = recv(self.fd.as_raw_fd(), &mut packet, MsgFlags::empty()).map_err(|e| self.failed(e))?;
        self.check(&packet[..n])
    }

    /// The next event; `None` when the engine has ended.
    pub fn notice(&self) -> io::Result<Option<Notice>> {
        let mut packet = [0; MAX_PACKET];
        match recv(self.fd.as_raw_fd(), &mut packet, MsgFlags::empty()) {
            Ok(0) | Err(nix::errno::Errno::ECONNRESET) => Ok(None),
            Ok(n) => self.decode(&packet[..n]).map(Some),
            Err(e) => Err(self.failed(e)),
        }
    }

    fn send(&self, request: &Request) -> io::Result<()> {
        let mut packet = Vec::new();
        into_writer(request, &mut packet).map_err(|e| self.failed(e))?;
        send(self.fd.as_raw_fd(), &packet, MsgFlags::MSG_NOSIGNAL).map_err(|e| self.failed(e))?;
        Ok(())
    }

    fn check(&self, packet: &[u8]) -> io::Result<()> {
        if packet.is_empty() {
            return Err(self.failed("the engine hung up; are there more than 8 such connections?"));
        }
        match self.decode::<Answer>(packet)?.error {
            None => Ok(()),
            Some(why) => Err(self.failed(why)),
        }
    }

    fn decode<T: DeserializeOwned>(&self, packet: &[u8]) -> io::Result<T> {
        from_reader(packet).map_err(|e| self.failed(e))
    }

    fn failed(&self, why: impl std::fmt::Display) -> io::Error {
        io::Error::other(format!("process {} ({}): {why}", self.pid, self.program))
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
