//! `shim6 address generate`.

use super::job::{Job, stem_of};
use super::search;
use super::store::{Target, free, standard_dir, write};
use super::{Prefix, index_of, links};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use shim6::crypto::{DEFAULT_KEY_BITS, MAX_PREFIXES, SigningKey, modifier_at};
use shim6::driver::netlink::on_link_prefixes;
use shim6::driver::random::SystemRng;
use shim6::identity::{Identity, read_contents, read_key, to_text};
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the state of a search is saved.
const SAVE_INTERVAL: Duration = Duration::from_secs(30);

#[derive(Args, Debug)]
pub(super) struct GenerateArgs {
    /// A /64 prefix; repeat it for each [default: the prefixes found on the interfaces]
    #[arg(long = "prefix", value_name = "PREFIX/64")]
    prefixes: Vec<Prefix>,
    /// Take the prefixes of this interface; repeat it for several [default: all that are up]
    #[arg(long = "interface", value_name = "INTERFACE")]
    interfaces: Vec<String>,
    /// Make addresses with an RSA key, which can announce further addresses of the host later by signing them: a CGA (RFC
    /// 3972) for one prefix, a CGA-compatible set (RFC 5535) for several
    #[arg(long)]
    cga: bool,
    /// The key: a file with an RSA private key of 1024 to 4096 bits (PEM or DER, PKCS#8 or PKCS#1) that is closed to others
    /// [default: a new one]
    #[arg(long, value_name = "FILE", requires = "cga")]
    key: Option<PathBuf>,
    /// Length of the new key [default: 2048]
    #[arg(long, value_name = "BITS", requires = "cga", conflicts_with = "key")]
    bits: Option<usize>,
    /// Write the private key to a file of its own, named like the parameters with the ending `.key`. That is always done
    /// for the files of the system
    #[arg(long)]
    separate_key: bool,
    /// How much work it takes to find other parameters for an address: 0 none extra, 1 some milliseconds to make, 2 minutes
    /// to hours to make
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=2))]
    sec: u8,
    /// How often addresses made with the same parameters were found in use elsewhere; see `assign`
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=2))]
    collision_count: u8,
    /// Threads to search with [default: one for each core]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Go on with a search that was interrupted; its file tells what to make
    #[arg(long, value_name = "FILE.search", conflicts_with_all = [
        "prefixes", "interfaces", "cga", "key", "bits", "sec", "collision_count",
    ])]
    resume: Option<PathBuf>,
    /// Where to write the parameters; `-` for standard output [default: a file named after the first address in
    /// /etc/shim6/identities for root, else in ~/.config/shim6/identities]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Overwrite the file if it exists
    #[arg(long)]
    force: bool,
}

pub(super) fn run(args: &GenerateArgs) -> Result<ExitCode, String> {
    let stdout = args.output.as_deref() == Some(Path::new("-"));
    // Before a search that may take hours
    if let Some(path) = args.output.as_deref().filter(|_| !stdout) {
        free(path, args.force)?;
    }
    let mut job = match &args.resume {
        Some(file) => read_job(file)?,
        None => new_job(args)?,
    };
    if stdout && job.key.is_some() && args.key.is_none() {
        return Err(
            "a private key is not printed; name a file with --output, or give a key with --key".into()
        );
    }
    if job.prefixes.len() == 1 && job.key.is_none() {
        eprintln!("shim6: note: one prefix gives one address, so there is no other path to change to");
    }
    let state = match (&args.resume, &args.output) {
        (Some(file), _) => file.clone(),
        (None, Some(path)) if !stdout => with_ending(path, ".search"),
        (None, _) => with_ending(&standard_dir()?.join(job.stem()), ".search"),
    };
    if args.resume.is_none() && !args.force && state.symlink_metadata().is_ok() {
        return Err(format!(
            "{0} is of a search that was interrupted; go on with `shim6 address generate --resume {0}`, or remove it",
            state.display()
        ));
    }
    let threads = args.threads.or_else(|| std::thread::available_parallelism().ok().map(usize::from));
    let identity = find(&mut job, &state, threads.unwrap_or(1))?;
    if stdout {
        print!("{}", to_text(&identity));
    } else {
        let first = identity.members().next().map(|a| stem_of(&a)).unwrap_or_default();
        let target = Target::new(args.output.as_deref(), &first, args.force)?;
        target.write(&identity, args.separate_key, args.key.as_deref())?;
        for addr in identity.members() {
            println!("{addr}");
        }
        eprintln!(
            "shim6: put the addresses on the interfaces: shim6 address assign {}",
            target.path.display()
        );
    }
    // Only now is nothing lost without it
    let _ = fs::remove_file(&state);
    Ok(ExitCode::SUCCESS)
}

fn new_job(args: &GenerateArgs) -> Result<Job, String> {
    let prefixes = prefixes(args)?;
    let mut rng = SystemRng::new();
    let key = match &args.key {
        Some(file) => Some(read_key(file).map_err(|e| e.to_string())?),
        None if args.cga => {
            let key = SigningKey::generate(args.bits.unwrap_or(DEFAULT_KEY_BITS), &mut rng);
            Some(Arc::new(key.map_err(|e| e.to_string())?))
        }
        None => None,
    };
    Ok(Job::new(prefixes, args.sec, args.collision_count, key, &mut rng))
}

fn read_job(file: &Path) -> Result<Job, String> {
    let contents = read_contents(file).map_err(|e| e.to_string())?;
    let wrong = |e: String| format!("{}: {e}", file.display());
    let text = std::str::from_utf8(&contents).map_err(|_| wrong("not a text file".into()))?;
    let job = Job::from_text(text).map_err(wrong)?;
    let mode = fs::metadata(file).map_err(|e| wrong(e.to_string()))?.mode();
    if job.key.is_some() && mode & 0o077 != 0 {
        return Err(wrong("it holds a private key, and others may open it; begin a new search".into()));
    }
    Ok(job)
}

pub(super) fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// What the user named, then what the interfaces have.
fn prefixes(args: &GenerateArgs) -> Result<Vec<[u8; 8]>, String> {
    let mut out: Vec<[u8; 8]> = args.prefixes.iter().map(|p| p.0).collect();
    if out.is_empty() || !args.interfaces.is_empty() {
        let links = links()?;
        let wanted =
            args.interfaces.iter().map(|name| index_of(&links, name)).collect::<Result<Vec<u32>, _>>()?;
        let found =
            on_link_prefixes().map_err(|e| format!("cannot list the prefixes of the interfaces: {e}"))?;
        for (name, ifindex) in args.interfaces.iter().zip(&wanted) {
            if !found.iter().any(|p| p.ifindex == *ifindex) {
                return Err(format!(
                    "{name} is down or has no global /64 prefix; set it up, or name its prefix with --prefix"
                ));
            }
        }
        for p in found {
            // The same prefix by two interfaces is one
            if (wanted.is_empty() || wanted.contains(&p.ifindex)) && !out.contains(&p.prefix) {
                out.push(p.prefix);
            }
        }
    }
    match out.len() {
        0 => Err("no interface that is up has a global /64 prefix; name the prefixes with --prefix".into()),
        n if n > MAX_PREFIXES => {
            Err(format!("there are {n} prefixes, at most {MAX_PREFIXES} fit a set; name some with --prefix"))
        }
        _ => Ok(out),
    }
}

/// Search on `threads` threads. What was done is saved to `state` now and then, and when a signal ends the search.
pub(super) fn find(job: &mut Job, state: &Path, threads: usize) -> Result<Identity, String> {
    let search = job.search()?;
    if job.sec == 0 {
        return job.finish(job.start);
    }
    // Blocked in this thread and those that it starts, so that none is interrupted; read when there is time
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    let cannot = |e: nix::Error| format!("cannot wait for signals: {e}");
    let pending =
        SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC).map_err(cannot)?;
    signals.thread_block().map_err(cannot)?;

    let bar = bar(search.expected(), job.tried);
    let (start, done) = (job.start, job.tried);
    let mut saved = now();
    let mut problem = None;
    let result = search::run(&search, &start, done, threads, search::CHUNK, &mut |tried| {
        bar.set_length(search.expected().max(tried));
        bar.set_position(tried);
        job.tried = tried;
        if now().duration_since(saved) >= SAVE_INTERVAL {
            saved = now();
            // Told at the end: the search itself need not stop
            problem = save(job, state).err();
        }
        if matches!(pending.read_signal(), Ok(Some(_))) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    bar.finish_and_clear();
    let end = match result {
        Ok(n) => {
            if let Some(problem) = problem {
                eprintln!("shim6: {problem}");
            }
            job.finish(modifier_at(&start, n))
        }
        Err(tried) => {
            job.tried = tried;
            save(job, state)?;
            Err(format!(
                "interrupted after {tried} tries ({} are usual); go on with: shim6 address generate --resume {}",
                search.expected(),
                state.display()
            ))
        }
    };
    signals.thread_unblock().map_err(cannot)?;
    end
}

fn save(job: &Job, state: &Path) -> Result<(), String> {
    write(state, job.to_text().as_bytes(), 0o600, true)
}

/// Shown on a terminal only.
fn bar(expected: u64, tried: u64) -> ProgressBar {
    let bar = ProgressBar::new(expected.max(tried));
    let style = ProgressStyle::with_template(
        "{elapsed_precise} [{bar:30}] {human_pos} of about {human_len} tries, {per_sec}, usually {eta} more",
    );
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar.set_position(tried);
    // What an earlier run did is not the speed of this one
    bar.reset_eta();
    bar
}

/// The tool, unlike the engine, may look at the clock.
#[allow(clippy::disallowed_methods)]
fn now() -> Instant {
    Instant::now()
}
