//! The log of the engine thread: one line per event, to a file or to standard error.
//!
//! The subscriber is the default of one thread only, so a program with a subscriber of its own keeps it. Writing never
//! waits and never fails: a line that cannot be written at once is lost.

use crate::config::Config;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{Mode, fstat};
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::Relaxed};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

/// What a pipe takes at once when it polls writable (`PIPE_BUF`): longer lines are cut, so that no write can wait.
const MAX_LINE: usize = 4096;
/// Our descriptors stay out of the low numbers, which programs count on.
const LOWEST_FD: RawFd = 200;

/// The log file's descriptor, for those who must not close it; -1 if there is none.
static DESCRIPTOR: AtomicI32 = AtomicI32::new(-1);

/// The descriptor of the log file, if one is open: the socket layer keeps close loops away from it.
pub fn descriptor() -> Option<RawFd> {
    Some(DESCRIPTOR.load(Relaxed)).filter(|fd| *fd >= 0)
}

/// In a forked child: the engine thread that wrote by it does not exist here. Takes no lock and allocates nothing.
pub(super) fn close_after_fork() {
    let fd = DESCRIPTOR.swap(-1, Relaxed);
    if fd >= 0 {
        super::sys::close(fd);
    }
}

/// Run `f` with the log that `config` asks for as this thread's. Without `log_filter` and `log_file` nothing is
/// installed; `log_file` alone means level `info`. Call it with SIGPIPE blocked or ignored (the engine thread blocks
/// all signals).
pub fn with_log<T>(config: &Config, f: impl FnOnce() -> T) -> T {
    let Some(log) = init(config) else { return f() };
    let sink = log.sink.clone();
    let result = tracing::subscriber::with_default(log.subscriber(), || {
        for trouble in &log.troubles {
            tracing::warn!("{trouble}");
        }
        for warning in config.warnings() {
            tracing::warn!("{warning}");
        }
        f()
    });
    if let Target::File(fd) = &sink.target {
        let _ = DESCRIPTOR.compare_exchange(fd.as_raw_fd(), -1, Relaxed, Relaxed);
    }
    result
}

/// A log that is ready to be made a thread's default.
#[derive(Debug)]
struct Log {
    sink: Arc<Sink>,
    filter: String,
    /// What went wrong on the way, to be its first lines.
    troubles: Vec<String>,
}

/// The log that `config` asks for; `None`: none, or nowhere to write to.
fn init(config: &Config) -> Option<Log> {
    if config.log_filter.is_none() && config.log_file.is_none() {
        return None;
    }
    let mut troubles = Vec::new();
    let sink = match &config.log_file {
        None => Sink::standard_error(),
        Some(path) => Sink::file(path).or_else(|e| {
            troubles.push(format!(
                "log file {} cannot be opened ({e}): logging to standard error",
                path.display()
            ));
            Sink::standard_error()
        }),
    };
    let mut filter = config.log_filter.clone().unwrap_or_else(|| "info".to_owned());
    if let Err(e) = EnvFilter::builder().parse(&filter) {
        troubles.push(format!("log filter {filter:?} is not usable ({e}): logging at level info"));
        filter = "info".to_owned();
    }
    Some(Log { sink: Arc::new(sink.ok()?), filter, troubles })
}

impl Log {
    fn subscriber(&self) -> impl Subscriber + Send + Sync + use<> {
        tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::builder().parse_lossy(&self.filter))
            .with_ansi(false)
            // It would report to standard error with a macro that panics when that is gone.
            .log_internal_errors(false)
            .event_format(Line)
            .with_writer(Shared(self.sink.clone()))
            .finish()
    }
}

/// `2026-11-21T19:37:01.123456Z shim6[1234] WARN engine: message field=value`
struct Line;

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        SystemTime.format_time(&mut out)?;
        let meta = event.metadata();
        let level = match *meta.level() {
            Level::ERROR => "ERROR",
            Level::WARN => "WARN",
            Level::INFO => "INFO",
            Level::DEBUG => "DEBUG",
            Level::TRACE => "TRACE",
        };
        let target = meta.target().strip_prefix("shim6::").unwrap_or(meta.target());
        write!(out, " shim6[{}] {level} {target}: ", std::process::id())?;
        let mut fields = String::new();
        ctx.format_fields(Writer::new(&mut fields), event)?;
        // One line per event, whatever came from the network or from a file name.
        for c in fields.chars() {
            if c.is_control() { write!(out, "{}", c.escape_default())? } else { out.write_char(c)? }
        }
        out.write_char('\n')
    }
}

#[derive(Debug)]
enum Target {
    File(OwnedFd),
    /// Descriptor 2 itself, not a copy: a copy would keep the pipe of a program open that closed it to become a daemon.
    StandardError,
}

/// Where the lines go, and what stands there: once another file has the descriptor's number, writing ends.
#[derive(Debug)]
struct Sink {
    target: Target,
    identity: (u64, u64, u64),
    lost: AtomicU64,
}

impl Sink {
    fn file(path: &Path) -> nix::Result<Sink> {
        // Non-blocking for the sake of a FIFO.
        let flags = OFlag::O_WRONLY
            | OFlag::O_APPEND
            | OFlag::O_CREAT
            | OFlag::O_CLOEXEC
            | OFlag::O_NONBLOCK
            | OFlag::O_NOCTTY;
        let low = open(path, flags, Mode::from_bits_truncate(0o640))?;
        let fd = match fcntl(&low, FcntlArg::F_DUPFD_CLOEXEC(LOWEST_FD)) {
            // SAFETY: the kernel just made this descriptor, and nobody else knows it.
            Ok(high) => unsafe { OwnedFd::from_raw_fd(high) },
            // RLIMIT_NOFILE may be lower than that.
            Err(_) => low,
        };
        let sink =
            Sink { identity: identity(fd.as_raw_fd())?, target: Target::File(fd), lost: AtomicU64::new(0) };
        sink.publish();
        Ok(sink)
    }

    /// Make the descriptor known, and close the one that a fork brought from the parent process, if it is still that.
    fn publish(&self) {
        let Target::File(fd) = &self.target else { return };
        let old = DESCRIPTOR.swap(fd.as_raw_fd(), Relaxed);
        let inherited = OWNER.swap(std::process::id(), Relaxed) != std::process::id();
        if inherited && old >= 0 && old != fd.as_raw_fd() && identity(old) == Ok(self.identity) {
            let _ = nix::unistd::close(old);
        }
    }

    fn standard_error() -> nix::Result<Sink> {
        Ok(Sink { target: Target::StandardError, identity: identity(2)?, lost: AtomicU64::new(0) })
    }

    fn write_line(&self, line: &[u8]) {
        let lost = self.lost.swap(0, Relaxed);
        if lost > 0
            && !self.write_now(format!("shim6[{}]: {lost} log lines lost\n", std::process::id()).as_bytes())
        {
            self.lost.fetch_add(lost + 1, Relaxed);
            return;
        }
        if !self.write_now(line) {
            self.lost.fetch_add(1, Relaxed);
        }
    }

    fn write_now(&self, line: &[u8]) -> bool {
        let raw = match &self.target {
            Target::File(fd) => fd.as_raw_fd(),
            Target::StandardError => 2,
        };
        if identity(raw) != Ok(self.identity) {
            return false;
        }
        // SAFETY: it was open a moment ago; if the program closes it in between, the calls below report EBADF.
        let fd = unsafe { BorrowedFd::borrow_raw(raw) };
        let mut ready = [PollFd::new(fd, PollFlags::POLLOUT)];
        if poll(&mut ready, PollTimeout::ZERO) != Ok(1)
            || !ready[0].revents().is_some_and(|r| r.contains(PollFlags::POLLOUT))
        {
            return false;
        }
        match line.len().checked_sub(MAX_LINE) {
            None | Some(0) => nix::unistd::write(fd, line).is_ok(),
            Some(_) => nix::unistd::write(fd, &[&line[..MAX_LINE - 4], b"...\n"].concat()).is_ok(),
        }
    }
}

/// The process that `DESCRIPTOR` belongs to.
static OWNER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

/// Device, inode and device number of what a descriptor refers to.
fn identity(fd: RawFd) -> nix::Result<(u64, u64, u64)> {
    // SAFETY: fstat of a closed descriptor gives EBADF, nothing worse.
    let stat = fstat(unsafe { BorrowedFd::borrow_raw(fd) })?;
    Ok((stat.st_dev, stat.st_ino, stat.st_rdev))
}

#[derive(Debug)]
struct Shared(Arc<Sink>);

/// Takes the octets of one event, which `fmt` hands over in one piece.
struct OneLine<'a>(&'a Sink);

impl io::Write for OneLine<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write_line(buf);
        Ok(buf.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Shared {
    type Writer = OneLine<'a>;
    fn make_writer(&'a self) -> OneLine<'a> {
        OneLine(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::path::PathBuf;
    use std::sync::Mutex;

    /// The descriptor is process-wide: these tests run one at a time.
    static ONE: Mutex<()> = Mutex::new(());

    fn temp(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("shim6-log-{}-{name}", std::process::id()))
    }

    fn config(file: Option<&Path>, filter: Option<&str>) -> Config {
        Config {
            log_file: file.map(Path::to_owned),
            log_filter: filter.map(str::to_owned),
            ..Config::default()
        }
    }

    fn sink_on(fd: OwnedFd) -> Sink {
        Sink {
            identity: identity(fd.as_raw_fd()).unwrap(),
            target: Target::File(fd),
            lost: AtomicU64::new(0),
        }
    }

    #[test]
    fn no_filter_and_no_file_is_no_log() {
        assert!(init(&config(None, None)).is_none());
        with_log(&config(None, None), || tracing::error!("nobody sees this"));
    }

    // RE-C-07
    #[test]
    fn a_file_gets_one_line_per_event_appended() {
        let _one = ONE.lock().unwrap_or_else(|e| e.into_inner());
        let path = temp("lines");
        std::fs::write(&path, "before\n").unwrap();
        let mut c = config(Some(&path), None);
        c.reap.send_timeout = std::time::Duration::from_secs(1);
        with_log(&c, || {
            let fd = descriptor().expect("the descriptor is known while the log is open");
            assert!(fd >= 3);
            // SAFETY: open, see above.
            let flags = fcntl(unsafe { BorrowedFd::borrow_raw(fd) }, FcntlArg::F_GETFD).unwrap();
            assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
            tracing::info!(pair = %"a\nb\u{1b}", "two\nlines");
            tracing::debug!("below the level");
        });
        assert_eq!(descriptor(), None);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert_eq!(lines[0], "before");
        assert!(lines[1].contains("WARN") && lines[1].contains("reap.send_timeout = 1s"), "{text}");
        assert!(lines[2].contains(&format!(" shim6[{}] INFO ", std::process::id())), "{text}");
        assert!(lines[2].contains("two\\nlines") && lines[2].contains("a\\nb\\u{1b}"), "{text}");
        assert!(
            lines[2].starts_with("20") && lines[2].contains('T') && lines[2].contains("Z shim6["),
            "{text}"
        );
    }

    #[test]
    fn the_filter_decides_and_the_thread_alone_is_affected() {
        let _one = ONE.lock().unwrap_or_else(|e| e.into_inner());
        let path = temp("filter");
        with_log(&config(Some(&path), Some("shim6=debug,other=off")), || {
            tracing::debug!("seen");
            tracing::error!(target: "other", "filtered");
            std::thread::scope(|s| {
                s.spawn(|| tracing::error!("another thread"));
            });
        });
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(
            text.contains("seen") && !text.contains("filtered") && !text.contains("another thread"),
            "{text}"
        );
    }

    #[test]
    fn a_bad_file_or_filter_is_told_and_costs_nothing_else() {
        let _one = ONE.lock().unwrap_or_else(|e| e.into_inner());
        let log = init(&config(Some(Path::new("/nonexistent/log")), Some("warn"))).unwrap();
        assert!(matches!(log.sink.target, Target::StandardError));
        assert!(log.troubles[0].contains("/nonexistent/log"), "{:?}", log.troubles);
        let log = init(&config(None, Some("shim6=loud"))).unwrap();
        assert_eq!(log.filter, "info");
        assert!(log.troubles[0].contains("shim6=loud"), "{:?}", log.troubles);
    }

    #[test]
    fn a_full_pipe_loses_lines_and_says_so_later() {
        let (mut reader, writer) = io::pipe().unwrap();
        let sink = sink_on(writer.into());
        let line = [b'x'; 1000];
        for _ in 0..1000 {
            sink.write_line(&line);
        }
        let lost = sink.lost.load(Relaxed);
        assert!(lost > 900, "a pipe holds 64 KiB, so most of 1000 lines of 1000 octets are lost: {lost}");
        let mut held = vec![0; (1000 - lost as usize) * 1000];
        reader.read_exact(&mut held).unwrap();
        sink.write_line(b"room again\n");
        drop(sink);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, format!("shim6[{}]: {lost} log lines lost\nroom again\n", std::process::id()));
    }

    #[test]
    fn a_long_line_is_cut() {
        let (mut reader, writer) = io::pipe().unwrap();
        let sink = sink_on(writer.into());
        sink.write_line(&[b'x'; 100_000]);
        drop(sink);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text.len(), MAX_LINE);
        assert!(text.ends_with("xxx...\n"));
    }

    #[test]
    fn a_descriptor_that_became_something_else_is_not_written_to() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut sink = sink_on(writer.into());
        sink.identity.1 ^= 1;
        sink.write_line(b"into a file of the program\n");
        assert_eq!(sink.lost.load(Relaxed), 1);
        drop(sink);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "");
    }

    #[test]
    fn a_reader_that_went_away_is_no_error() {
        let (reader, writer) = io::pipe().unwrap();
        let sink = sink_on(writer.into());
        drop(reader);
        sink.write_line(b"lost\n");
        assert_eq!(sink.lost.load(Relaxed), 1);
    }
}
