//! The system gives no more files and no more memory.

use std::fs;
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::checks::Checks;
use crate::crashes::{connected, one_session};
use crate::support::ask::{said_by, told};
use crate::support::{
    Acton, Mode, ROOT_V4, World, answers, control, ping_until_answered, said, shell, tcp_transfer,
};

const ACTON: &str = env!("CARGO_BIN_EXE_acton");
const SECOND: Duration = Duration::from_secs(1);
const MIB: u64 = 1 << 20;
/// Connections to a control socket: more than there may be at one time.
const CONNECTIONS: usize = 40;

/// Starts a server under a limit, as prlimit(1) has it; how it ended, unless it listens.
fn start_under(world: &World, limit: &str) -> Option<(ExitStatus, String)> {
    let mut command = Command::new("prlimit");
    let state = world.keys.server_state();
    command.args([limit, ACTON, "server", "--state", &state, "--workers", "2"]);
    let mut server = Acton::spawn("server", &world.server, &mut command);
    if server.says_or_ends(said::LISTENING) {
        // It says so before its threads run.
        server.signal(Signal::SIGTERM);
    }
    let (status, log) = server.end();
    (!status.success()).then_some((status, log))
}

/// Whether the system can load the program under a limit.
fn loads_under(limit: &str) -> bool {
    let mut command = Command::new("prlimit");
    command.args([limit, ACTON, "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().unwrap().success()
}

/// Starts servers under ever less strict limits until one listens. All others have to end by
/// themselves, say `words` and leave no device.
fn starts(
    checks: &Checks,
    limits: impl Iterator<Item = u64>,
    limit: impl Fn(u64) -> String,
    words: &[&str],
) {
    let world = World::new(0).speaking(Mode::Secure);
    world.keys.server();
    let (mut failed, mut wrong) = (0, Vec::new());
    let mut listens = None;
    for value in limits.skip_while(|&value| !loads_under(&limit(value))) {
        let Some((status, log)) = start_under(&world, &limit(value)) else {
            listens = Some(value);
            break;
        };
        failed += 1;
        let says_why = words.iter().any(|word| log.contains(word));
        let is_clean = !log.contains("panicked") && status.code() != Some(0);
        let devices = shell(&world.server, "ip -o link").lines().count();
        if !says_why || !is_clean || devices != 2 {
            wrong.push(value);
            eprintln!("{}: {status}, {devices} devices: {log}", limit(value));
        }
    }
    checks.at_least("starts that could not be", failed, 3);
    checks.holds(
        "all said why and left nothing",
        format!("{} did not", wrong.len()),
        wrong.is_empty(),
    );
    let seen = listens.map_or("never".to_owned(), &limit);
    checks.holds("with enough it listens", seen, listens.is_some());
}

pub(crate) fn few_files_at_start(checks: &Checks) {
    // With three it is not even loaded.
    starts(
        checks,
        4..100,
        |files| format!("--nofile={files}"),
        &["Too many open files", "os error 24"],
    );
}

pub(crate) fn little_memory_at_start(checks: &Checks) {
    let sizes = (1..40).map(|step| 8 * MIB * step);
    let words = ["Cannot allocate memory", "memory allocation of", "os error 12", "os error 11"];
    starts(checks, sizes, |bytes| format!("--as={bytes}"), &words);
}

/// Sets a limit of a process that runs.
fn limit(end: &Acton, what: &str) {
    let status = Command::new("prlimit").args(["--pid", &end.id().to_string(), what]).status();
    assert!(status.unwrap().success(), "{what}");
}

/// Connections to the control socket of an end, which ask for nothing.
fn knock(end: &Acton) -> Vec<UnixStream> {
    (0..CONNECTIONS).filter_map(|_| UnixStream::connect(control(end)).ok()).collect()
}

pub(crate) fn no_files_while_running(checks: &Checks) {
    let (world, server, clients) = connected(2, &["--keepalive", "1"]);
    told(&server, &["status"]);
    for end in [&server, &clients[0]] {
        let open = fs::read_dir(format!("/proc/{}/fd", end.id())).unwrap().count();
        limit(end, &format!("--nofile={open}:4096"));
    }
    let waiting = knock(&server);
    let before = server.processor_time();
    thread::sleep(2 * SECOND);
    let spent = (server.processor_time() - before).as_secs_f64();
    checks.holds("at most 0.2 s of processor in 2 s", format!("{spent:.2} s"), spent <= 0.2);
    tcp_transfer(&world.clients[0], &world.server, ROOT_V4, 1_000_000);
    checks.holds("1 MB of TCP passes", "it did", true);
    drop(waiting);
    limit(&server, "--nofile=1024:4096");
    let start = Instant::now();
    let said = said_by(control(&server), &["status"]);
    checks.equal("exit code of `acton status` then", said.code, 0);
    checks.within("it is answered", start.elapsed(), SECOND);
    one_session(checks, &clients[0], &server, 2);
    server.kill();
    let _server = world.serve(&["--keepalive", "1"]);
    // The client has not one file to spare when its server is another.
    let took = Instant::now();
    ping_until_answered(&world.clients[0], ROOT_V4);
    checks.within("the client finds a new server", took.elapsed(), 15 * SECOND);
}

pub(crate) fn no_memory_while_running(checks: &Checks) {
    let (world, server, clients) = connected(2, &["--keepalive", "1"]);
    told(&server, &["status"]);
    let size = server.proc_status("VmSize") * 1024;
    limit(&server, &format!("--as={size}:unlimited"));
    let waiting = knock(&server);
    checks.comes_within("a ping is answered", 5 * SECOND, || answers(&world.clients[0], ROOT_V4));
    tcp_transfer(&world.clients[0], &world.server, ROOT_V4, 4_000_000);
    checks.holds("4 MB of TCP pass", "they did", true);
    drop(waiting);
    let up = answers(&world.clients[1], ROOT_V4);
    checks.holds("the other client is served", up, up);
    limit(&server, "--as=unlimited:unlimited");
    let said = said_by(control(&server), &["status"]);
    checks.equal("exit code of `acton status` then", said.code, 0);
    one_session(checks, &clients[0], &server, 2);
}
