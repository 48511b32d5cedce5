//! The `acton` command: arguments and environment to checked settings, a file a subcommand.

mod ask;
mod authorize;
mod budgets;
mod client;
mod config;
mod confine;
mod control;
mod doctor;
mod evpn;
mod generate;
mod hook;
mod http;
mod invite;
mod join;
mod kept_mac;
mod key_log;
mod keygen;
mod lab;
mod listen;
mod log_format;
mod logging;
mod process;
mod pubkey;
mod revoke;
mod rotate;
mod run;
mod running_server;
mod server;
mod state;
mod values;
mod version;

use std::env;
use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use acton_engine::Settings;
use clap::error::ErrorKind;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use log_format::LOG_FORMAT;
use logging::LOG_LEVEL;
use nix::sys::prctl::set_dumpable;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::config::{
    Failed, Invocation, OtherKeys, Reading, Reloader, Role, RunningConfig, config_option,
    first_paragraph,
};

/// Exit code where the machine does not allow what is asked for.
const FAILURE: u8 = 1;
/// Exit code where the command line asks for what cannot be, as with unknown options.
const USAGE: u8 = 2;

/// Ethernet over UDP: one server, any number of clients, one LAN.
#[derive(Debug, Parser)]
#[command(
    name = "acton",
    version,
    disable_version_flag = true,
    arg_required_else_help = true,
    max_term_width = 100
)]
struct Arguments {
    /// Prints the version
    #[arg(short = 'V', long)]
    version: bool,

    /// With --version, prints how this acton was built too, and what of this kernel it can use
    #[arg(long, requires = "version")]
    verbose: bool,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "there is one, and it moves once")]
enum Command {
    Server(server::Arguments),
    Client(client::Arguments),
    Config(config::Arguments),
    Lab(lab::Arguments),
    Invite(invite::Arguments),
    Join(join::Arguments),
    Revoke(revoke::Arguments),
    Rotate(rotate::Arguments),
    Keygen(keygen::Arguments),
    Pubkey(pubkey::Arguments),
    Status(ask::status::Arguments),
    Events(ask::events::Arguments),
    Fdb(ask::fdb::Arguments),
    Groups(ask::groups::Arguments),
    Drops(ask::drops::Arguments),
    Trace(ask::trace::Arguments),
    Capture(ask::capture::Arguments),
    Kick(ask::kick::Arguments),
    Drain(ask::drain::Arguments),
    VerifyIsolation(ask::verify_isolation::Arguments),
    Log(ask::log_levels::Arguments),
    Reload(ask::reload::Arguments),
    Doctor(doctor::Arguments),
    Top(ask::top::Arguments),
    Evpn(evpn::Arguments),
    Generate(generate::Arguments),
    HookRunner(hook::RunnerArguments),
}

/// The command line of `acton`.
#[must_use]
pub fn command() -> clap::Command {
    Role::ALL.into_iter().fold(Arguments::command(), |command, role| {
        command.mut_subcommand(role.name(), |end| {
            end.arg(logging::option()).arg(log_format::option()).arg(config_option(role))
        })
    })
}

/// The command line of one end, whose options are the keys of its file of settings.
#[must_use]
pub fn role_command(role: Role) -> clap::Command {
    let command = command();
    command.find_subcommand(role.name()).cloned().unwrap_or(command)
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    match run_command(env::args_os().collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            match &*failure.message {
                "" => {}
                message if logging::is_for_programs() => log::error!("{message}"),
                message => state::note(&format!("acton: {message}")),
            }
            ExitCode::from(failure.code)
        }
    }
}

fn run_command(arguments: Vec<OsString>) -> Result<(), Failure> {
    let (matches, config) = match Invocation::new(command(), arguments.clone()) {
        Some(invocation) => {
            let reading = read_to_start(&invocation)?;
            let matches = reading.matches.clone();
            let others = other_keys(invocation.role);
            let reloader = Reloader::new(invocation, reading, to_settings, others);
            (matches, Some(RunningConfig::new(reloader)))
        }
        None => (command().get_matches_from(arguments), None),
    };
    let arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    if arguments.version {
        return version::print(arguments.verbose);
    }
    let command = arguments.command.unwrap_or_else(|| {
        let error = "a command is needed; acton --help names them";
        command().error(ErrorKind::MissingSubcommand, error).exit()
    });
    // A lab tells of its many ends in one table.
    let level = if matches!(command, Command::Lab(_)) { "warn" } else { "info" };
    logging::begin(matches.subcommand().map(|(_, matches)| matches), level)?;
    raise_open_files();
    if !matches!(command, Command::Lab(_)) {
        keep_memory_private();
    }
    match command {
        Command::Server(arguments) => arguments.run(config),
        Command::Client(arguments) => arguments.run(config),
        Command::Config(arguments) => arguments.run(),
        Command::Lab(arguments) => arguments.run(),
        Command::Invite(arguments) => arguments.run(),
        Command::Join(arguments) => arguments.run(),
        Command::Revoke(arguments) => arguments.run(),
        Command::Rotate(arguments) => arguments.run(),
        Command::Keygen(arguments) => arguments.run(),
        Command::Pubkey(arguments) => arguments.run(),
        Command::Status(arguments) => arguments.run(),
        Command::Events(arguments) => arguments.run(),
        Command::Fdb(arguments) => arguments.run(),
        Command::Groups(arguments) => arguments.run(),
        Command::Drops(arguments) => arguments.run(),
        Command::Trace(arguments) => arguments.run(),
        Command::Capture(arguments) => arguments.run(),
        Command::Kick(arguments) => arguments.run(),
        Command::Drain(arguments) => arguments.run(),
        Command::VerifyIsolation(arguments) => arguments.run(),
        Command::Log(arguments) => arguments.run(),
        Command::Reload(arguments) => arguments.run(),
        Command::Doctor(arguments) => arguments.run(),
        Command::Top(arguments) => arguments.run(),
        Command::Evpn(arguments) => arguments.run(),
        Command::Generate(arguments) => arguments.run(),
        Command::HookRunner(arguments) => arguments.run(),
    }
}

/// What holds where an end is started so; what clap has to say, it prints and ends with.
fn read(invocation: &Invocation) -> Result<Reading, Failure> {
    invocation.read().map_err(|failed| match failed {
        Failed::Options(error) => error.exit(),
        Failed::File(error) => Failure::new(USAGE, &error),
    })
}

/// The same at a start, where what is wrong goes to the log if that is for programs.
fn read_to_start(invocation: &Invocation) -> Result<Reading, Failure> {
    invocation.read().or_else(|failed| {
        // In the form that is asked for, where that much is right. Without a journal it is text.
        let matches = invocation.told_of(&[LOG_FORMAT, LOG_LEVEL]);
        let _ = logging::begin(matches.as_ref(), "info");
        match failed {
            Failed::Options(error) if error.use_stderr() && logging::is_for_programs() => {
                Err(Failure { code: USAGE, message: first_paragraph(&error) })
            }
            Failed::Options(error) => error.exit(),
            Failed::File(error) => Err(Failure::new(USAGE, &error)),
        }
    })
}

/// The options of an end that make none of its tunnel's settings.
pub(crate) const fn other_keys(role: Role) -> OtherKeys {
    let at_start: &[&str] = match role {
        Role::Server => &[
            "state",
            "clients",
            "key-log",
            "control",
            "name",
            "control-group",
            "user",
            "sandbox",
            "authorize",
            "hook",
            "hook-timeout",
            "log-format",
            "http",
            "http-token",
            "metrics-per-session",
        ],
        // Which server it is, an invite may say.
        Role::Client => &[
            "server",
            "invite-file",
            "port",
            "state",
            "key-log",
            "control",
            "name",
            "control-group",
            "user",
            "sandbox",
            "hook",
            "hook-timeout",
            "log-format",
            "http",
            "http-token",
            "metrics-per-session",
        ],
    };
    OtherKeys { live: &[LOG_LEVEL], at_start }
}

/// What an end's options make of the settings in `base`.
pub(crate) fn to_settings(matches: &ArgMatches, mut base: Settings) -> Result<Settings, String> {
    let told = |error: clap::Error| error.to_string();
    match &mut base {
        Settings::Server(settings) => {
            let options = server::Arguments::from_arg_matches(matches).map_err(told)?;
            options.put_into(settings).map_err(|failure| failure.message)?;
        }
        Settings::Client(settings) => {
            let options = client::Arguments::from_arg_matches(matches).map_err(told)?;
            options.put_into(settings);
        }
        _ => {}
    }
    Ok(base)
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
    /// Empty where the exit code says it all.
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
