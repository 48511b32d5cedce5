//! What `acton status` takes of a server with thousands of sessions, and what it costs the server.
//!
//! ```text
//! cargo bench -p acton-cli --bench status
//! cargo bench -p acton-cli --bench status -- --clients 1000
//! cargo bench -p acton-cli --bench status -- --watched
//! cargo bench -p acton-cli --bench status -- --accounts
//! ```
//!
//! The server is the program, in a network of its own; the clients are state machines of
//! `acton-proto` in this process, each with a socket and a loopback address of its own. Measured are
//! the whole answer over the socket, `acton status --json` as a process, a scrape of the metrics by HTTP
//! and how often its thread wakes while nobody asks, how long a client needs to join while nobody and
//! while somebody asks without a pause, and the server's memory.
//!
//! With `--watched` only: processor time and memory of a server whose sessions are idle, while nobody
//! watches it, and of another one while all tools do at once ([`watch`]). With `--accounts` only: the same of
//! one that tells accounts of its sessions, and how evenly these come.
#![forbid(unsafe_code)]

mod accounts;
mod crowd;
mod server;
#[path = "../watch/mod.rs"]
mod watch;

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use acton_netns::Namespace;
use clap::Parser;
use crowd::Crowd;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use server::{PROGRAM, Server};
use watch::Watcher;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Where the server shows itself, in a namespace of its own.
const HTTP: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9_273);
/// The thread that lets in who asks by HTTP.
const DOOR: &str = "acton-http";
/// How long an idle server is looked at.
const IDLE: Duration = Duration::from_secs(30);
/// After the last client has joined, or the first watcher begun, until it is.
const SETTLE: Duration = Duration::from_secs(3);
/// Looks whose median is told.
const LOOKS: usize = 21;
/// Clients that join to measure how long that takes.
const JOINS: usize = 200;
/// Time before each of them.
const BETWEEN_JOINS: Duration = Duration::from_millis(10);
const HANG: Duration = Duration::from_secs(20);

/// What `acton status` takes and costs
#[derive(Debug, Parser)]
struct Arguments {
    /// Sessions
    #[arg(long, default_value_t = 10_000)]
    clients: usize,

    /// Instead: processor time and memory of an idle server while nobody and while everybody watches
    #[arg(long)]
    watched: bool,

    /// Instead: what it costs an idle server to tell accounts, and how evenly they come
    #[arg(long, conflicts_with = "watched")]
    accounts: bool,

    #[command(flatten)]
    watcher: Watcher,

    /// What cargo bench adds, and cargo test does not
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.watcher.run() {
        Some(result) => result,
        None if !arguments.bench => {
            // cargo test --all-targets builds benchmarks and runs them too.
            println!("not run: cargo bench -p acton-cli --bench status");
            Ok(())
        }
        None if arguments.watched => compare(arguments.clients),
        None if arguments.accounts => {
            prepare(arguments.clients).and_then(|()| accounts::compare(arguments.clients))
        }
        None => measure(arguments.clients),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Asks for all sessions: how many lines came, and their bytes.
fn ask(control: &Path) -> Result<(usize, usize)> {
    let mut stream = UnixStream::connect(control)?;
    let schema = acton_cli::control::SCHEMA;
    writeln!(stream, "{{\"schema\":{schema},\"request\":{{\"status\":{{}}}}}}")?;
    let (mut reader, mut line) = (BufReader::with_capacity(1 << 16, stream), Vec::new());
    let (mut lines, mut bytes) = (0, 0);
    while !line.starts_with(b"{\"schema\":2,\"answer\":{\"end\"") {
        line.clear();
        bytes += reader.read_until(b'\n', &mut line)?;
        lines += 1;
    }
    Ok((lines, bytes))
}

/// Has all metrics shown: their bytes.
fn scrape() -> Result<usize> {
    let (mut stream, mut text) = (TcpStream::connect(HTTP)?, String::new());
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {HTTP}\r\n\r\n")?;
    stream.read_to_string(&mut text)?;
    if text.starts_with("HTTP/1.1 200") { Ok(text.len()) } else { Err(text.into()) }
}

/// Milliseconds of each run: the median, and the longest.
fn times(runs: usize, mut run: impl FnMut() -> Result<Duration>) -> Result<(f64, f64)> {
    let mut times = Vec::new();
    for _ in 0..runs {
        times.push(run()?.as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok((times[runs / 2], times[runs - 1]))
}

/// Goes into a network of its own, with descriptors for so many clients.
fn prepare(clients: usize) -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let needed = clients as u64 + 1_000;
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(needed), hard.max(needed))?;
    Ok(Namespace::new()?.enter()?)
}

/// What it costs a server with idle sessions that all tools watch it.
fn compare(clients: usize) -> Result<()> {
    prepare(clients)?;
    println!("{clients} idle sessions, {} s", IDLE.as_secs());
    for is_watched in [false, true] {
        let server = Server::start(clients, is_watched.then_some(HTTP))?;
        let mut crowd = Crowd::new(&server)?;
        for _ in 0..clients {
            crowd.join()?;
        }
        let watcher = is_watched.then(|| server.watch()).transpose()?;
        thread::sleep(SETTLE);
        let before = server.processor_time()?;
        thread::sleep(IDLE);
        let share = (server.processor_time()? - before).as_secs_f64() / IDLE.as_secs_f64();
        let told = if is_watched { "watched by all: " } else { "nothing on:     " };
        let memory = server.memory()?;
        println!("{told} {:5.2} % of a processor, {memory:5.1} MiB", share * 100.0);
        watcher.map(server::Watching::stop).transpose()?;
    }
    Ok(())
}

fn measure(clients: usize) -> Result<()> {
    prepare(clients)?;
    let server = Server::start(clients + 3 * JOINS, Some(HTTP))?;
    let mut crowd = Crowd::new(&server)?;
    for _ in 0..clients {
        crowd.join()?;
    }
    let before = server.memory()?;
    let control = server.control();
    let (lines, bytes) = ask(&control)?;
    println!("{} sessions, {:.1} MB of JSON", lines - 2, bytes as f64 / 1e6);
    let (median, longest) = times(LOOKS, || {
        let start = Instant::now();
        ask(&control)?;
        Ok(start.elapsed())
    })?;
    println!("over the socket:       median {median:6.1} ms, longest {longest:6.1} ms");
    let (median, longest) = times(LOOKS, || {
        let start = Instant::now();
        let mut command = Command::new(PROGRAM);
        command.args(["status", "--json"]).env("ACTON_CONTROL", &control).stdout(Stdio::null());
        let is_fine = command.status()?.success();
        if is_fine { Ok(start.elapsed()) } else { Err("acton status fails".into()) }
    })?;
    println!("acton status --json:   median {median:6.1} ms, longest {longest:6.1} ms");
    let bytes = scrape()?;
    let (median, longest) = times(LOOKS, || {
        let start = Instant::now();
        scrape()?;
        Ok(start.elapsed())
    })?;
    println!(
        "a scrape, {:3.0} kB:      median {median:6.1} ms, longest {longest:6.1} ms",
        bytes as f64 / 1e3
    );
    let waits = server.waits(DOOR)?;
    thread::sleep(IDLE);
    let (waits, seconds) = (server.waits(DOOR)? - waits, IDLE.as_secs());
    println!("HTTP, nobody asks:     {waits} wake-ups in {seconds} s");
    let mut joins = || {
        times(JOINS, || {
            // Not all in one moment.
            thread::sleep(BETWEEN_JOINS);
            crowd.join()
        })
    };
    let (median, longest) = joins()?;
    println!("a join, nobody asks:   median {median:6.1} ms, longest {longest:6.1} ms");
    let done = AtomicBool::new(false);
    let (asked, polled) = thread::scope(|scope| {
        let asker = scope.spawn(|| {
            let mut asked = 0;
            while !done.load(Ordering::Relaxed) && ask(&control).is_ok() {
                asked += 1;
                thread::sleep(Duration::from_millis(100));
            }
            asked
        });
        let polled = joins();
        done.store(true, Ordering::Relaxed);
        (asker.join(), polled)
    });
    let (median, longest) = polled?;
    println!("a join, asked 10 a s:  median {median:6.1} ms, longest {longest:6.1} ms");
    println!("asked {} times meanwhile", asked.map_err(|_| "the asker panicked")?);
    println!("memory: {before:.1} MiB before, {:.1} MiB after", server.memory()?);
    Ok(())
}
