//! The `acton` command: arguments and environment to checked settings, a file a subcommand.

mod budgets;
mod client;
mod invite;
mod join;
mod kept_mac;
mod key_log;
mod keygen;
mod lab;
mod pubkey;
mod revoke;
mod rotate;
mod run;
mod server;
mod state;
mod values;

use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use env_logger::Env;
use nix::sys::prctl::set_dumpable;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Exit code where the machine does not allow what is asked for.
const FAILURE: u8 = 1;
/// Exit code where the command line asks for what cannot be, as with unknown options.
const USAGE: u8 = 2;

/// Ethernet over UDP: one server, any number of clients, one LAN.
#[derive(Debug, Parser)]
#[command(name = "acton", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Server(server::Arguments),
    Client(client::Arguments),
    Lab(lab::Arguments),
    Invite(invite::Arguments),
    Join(join::Arguments),
    Revoke(revoke::Arguments),
    Rotate(rotate::Arguments),
    Keygen(keygen::Arguments),
    Pubkey(pubkey::Arguments),
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let command = Arguments::parse().command;
    // A lab tells of its many ends in one table.
    let level = if matches!(command, Command::Lab(_)) { "warn" } else { "info" };
    let environment =
        Env::default().filter_or("ACTON_LOG_LEVEL", level).write_style("ACTON_LOG_STYLE");
    env_logger::Builder::from_env(environment).format_target(false).init();
    raise_open_files();
    if !matches!(command, Command::Lab(_)) {
        keep_memory_private();
    }
    let result = match command {
        Command::Server(arguments) => arguments.run(),
        Command::Client(arguments) => arguments.run(),
        Command::Lab(arguments) => arguments.run(),
        Command::Invite(arguments) => arguments.run(),
        Command::Join(arguments) => arguments.run(),
        Command::Revoke(arguments) => arguments.run(),
        Command::Rotate(arguments) => arguments.run(),
        Command::Keygen(arguments) => arguments.run(),
        Command::Pubkey(arguments) => arguments.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            state::note(&format!("acton: {}", failure.message));
            ExitCode::from(failure.code)
        }
    }
}

/// Keeps the kernel from writing this memory, which has keys, into a core dump, and other processes
/// of this user from reading it. A lab has no keys that outlive it, and has to write the files of its
/// own user namespace, which belong to root then.
fn keep_memory_private() {
    if let Err(error) = set_dumpable(false) {
        log::warn!("core dumps may hold keys: {error}");
    }
}

/// Raises the limit of open files to what this user may have: a lab of many clients needs more than
/// the usual 1,024.
fn raise_open_files() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        log::debug!("limit of open files: {error}");
    }
}

/// Why a command ends without success.
#[derive(Debug)]
struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// Tells of `error` and all that it came from.
    fn new(code: u8, error: &dyn std::error::Error) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            message = format!("{message}: {error}");
            let code = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
            if matches!(code, Some(libc::EMFILE | libc::ENFILE)) {
                message.push_str("; raise the limit (ulimit -n) and try again");
            }
            cause = error.source();
        }
        Self { code, message }
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(FAILURE, &error)
    }
}
