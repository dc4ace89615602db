//! `shim6 run`: look at the program and at this host, pass the settings on, become the program.
//!
//! What enters is the command line; what leaves is an environment (LD_PRELOAD, SHIM6_CONFIG, SHIM6_SET, SHIM6_LOG), ambient
//! capabilities, and exec(). A program must never be worse off for the shim: where the shim cannot work, it says why and what
//! helps, and runs the program all the same, unless `--strict`.

mod library;
mod privilege;
mod program;
mod settings;

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// The shim itself failed, as in env(1).
const FAILED: u8 = 125;
/// The program was found but cannot be run, as in the shell.
const NOT_EXECUTABLE: u8 = 126;
/// The program was not found, as in the shell.
const NOT_FOUND: u8 = 127;

/// Options of `shim6 run`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    settings: settings::Options,
    /// The preload library [default: beside this tool, in ../lib, or where SHIM6_PRELOAD says]
    #[arg(long, value_name = "FILE")]
    library: Option<PathBuf>,
    /// Do not run the program when the shim cannot work
    #[arg(long)]
    strict: bool,
    /// No warnings
    #[arg(long, short, conflicts_with = "strict")]
    quiet: bool,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

/// Something that keeps the shim from working, and what to do about it.
#[derive(Debug, PartialEq, Eq)]
struct Obstacle {
    problem: String,
    remedy: String,
}

impl Obstacle {
    fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Obstacle { problem: problem.into(), remedy: remedy.into() }
    }
}

/// Become the program; returns only if that cannot be.
pub fn run(args: Args) -> ExitCode {
    let name = args.program[0].to_string_lossy().into_owned();
    let path = match program::find(&args.program[0], std::env::var_os("PATH").as_deref()) {
        Ok(path) => path,
        Err(program::NotRunnable::Missing) => {
            eprintln!("shim6 run: {name}: not found; check its spelling, or give its path");
            return ExitCode::from(NOT_FOUND);
        }
        Err(program::NotRunnable::NotExecutable(path)) => {
            eprintln!("shim6 run: {} is no executable file; `chmod +x` makes a file one", path.display());
            return ExitCode::from(NOT_EXECUTABLE);
        }
    };
    let settings = match args.settings.resolve() {
        Ok(settings) => settings,
        Err(problem) => {
            eprintln!("shim6 run: {problem}");
            return ExitCode::from(FAILED);
        }
    };

    let mut obstacles = program::obstacles(&path);
    let library = library::find(args.library.as_deref());
    match &library {
        Ok(_) => {
            obstacles.extend(privilege::obstacle());
            obstacles.extend(settings.obstacles());
        }
        Err(obstacle) => obstacles.insert(0, Obstacle::new(&obstacle.problem, &obstacle.remedy)),
    }
    if !args.quiet {
        for Obstacle { problem, remedy } in &obstacles {
            eprintln!("shim6 run: {problem}: {remedy}");
        }
    }
    if !obstacles.is_empty() {
        if args.strict {
            eprintln!("shim6 run: {name} does not start, because of --strict");
            return ExitCode::from(FAILED);
        }
        if !args.quiet {
            eprintln!("shim6 run: {name} runs without multihoming");
        }
    }

    let mut command = Command::new(&path);
    command.arg0(&args.program[0]).args(&args.program[1..]).envs(settings.environment());
    if let Ok(library) = library {
        command.env("LD_PRELOAD", library::preload(&library, std::env::var_os("LD_PRELOAD").as_deref()));
    }
    let error = command.exec();
    eprintln!("shim6 run: cannot run {}: {error}", path.display());
    ExitCode::from(if error.kind() == std::io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE })
}
