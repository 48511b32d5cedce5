//! What `acton status` takes of a server with thousands of sessions, and what it costs the server.
//!
//! ```text
//! cargo bench -p acton-cli --bench status
//! cargo bench -p acton-cli --bench status -- --clients 1000
//! ```
//!
//! The server is the program, in a network of its own; the clients are state machines of
//! `acton-proto` in this process, each with a socket and a loopback address of its own. Measured are
//! the whole answer over the socket, `acton status --json` as a process, a scrape of the metrics by HTTP
//! and how often its thread wakes while nobody asks, how long a client needs to join while nobody and
//! while somebody asks without a pause, and the server's memory.
#![forbid(unsafe_code)]

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{env, fs, thread};

use acton_engine::keys::State;
use acton_netns::Namespace;
use acton_proto::client::{Client, ClientConfig, ClientEvent};
use acton_proto::handshake::{Secret, SystemRandom};
use clap::Parser;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const PROGRAM: &str = env!("CARGO_BIN_EXE_acton");
const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
/// Where the server shows itself, in a namespace of its own.
const HTTP: &str = "127.0.0.1:9273";
/// The thread that lets in who asks by HTTP, and how long it is watched while nobody does.
const DOOR: &str = "acton-http";
const IDLE: Duration = Duration::from_secs(30);
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

    /// What cargo bench adds, and cargo test does not
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if !arguments.bench {
        // cargo test --all-targets builds benchmarks and runs them too.
        println!("not run: cargo bench -p acton-cli --bench status");
        return ExitCode::SUCCESS;
    }
    match measure(arguments.clients) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The server, in a directory that goes with it.
struct Server {
    child: Child,
    directory: PathBuf,
}

impl Server {
    fn start(sessions: usize) -> Result<Self> {
        let directory = env::temp_dir().join(format!("acton-status-{}", std::process::id()));
        fs::create_dir(&directory)?;
        let mut command = Command::new(PROGRAM);
        command.args(["server", "--listen", "127.0.0.1", "--keepalive", "600", "--max-sessions"]);
        command.arg(sessions.to_string()).arg("--state").arg(directory.join("keys"));
        command.arg("--control").arg(directory.join("sock")).args(["--http", HTTP]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let server = Self { child, directory };
        wait("the server listens", || UnixStream::connect(server.control()).is_ok())?;
        Ok(server)
    }

    fn control(&self) -> PathBuf {
        self.directory.join("sock")
    }

    /// Resident memory in MiB.
    fn memory(&self) -> Result<f64> {
        Ok(testbed::proc::status(self.child.id(), "VmRSS")? as f64 / 1024.0)
    }

    /// How often the thread of that name began to wait so far.
    fn waits(&self, thread: &str) -> Result<u64> {
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let status = fs::read_to_string(task?.path().join("status"))?;
            let value = |key: &str| status.lines().find_map(|line| line.strip_prefix(key));
            if value("Name:").map(str::trim) == Some(thread) {
                let waits = value("voluntary_ctxt_switches:").ok_or("no switches")?;
                return Ok(waits.trim().parse()?);
            }
        }
        Err(format!("no thread {thread}").into())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn wait(what: &str, mut holds: impl FnMut() -> bool) -> Result<()> {
    let start = Instant::now();
    while !holds() {
        if start.elapsed() > HANG {
            return Err(format!("hung waiting until {what}").into());
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Has client `number` join, and keeps its socket.
fn join(number: usize, config: ClientConfig) -> Result<UdpSocket> {
    let [_, a, b, c] = (number as u32 + 2).to_be_bytes();
    let socket = UdpSocket::bind((Ipv4Addr::new(127, 1 + a, b, c), 0))?;
    socket.connect(SERVER)?;
    let start = Instant::now();
    let wall = || {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        since.as_nanos() as u64
    };
    let mut client = Client::new(config, Box::new(SystemRandom), start.elapsed());
    let (mut buffer, mut out) = (vec![0; 2_048], Vec::new());
    let mut is_connected = false;
    while !is_connected {
        client.handle_timeout(start.elapsed(), wall());
        while client.poll_transmit(1, &mut out).is_some() {
            socket.send(&out)?;
            out.clear();
        }
        let due = client.poll_timeout().unwrap_or(HANG).saturating_sub(start.elapsed());
        socket.set_read_timeout(Some(due.max(Duration::from_millis(1))))?;
        if let Ok(length) = socket.recv(&mut buffer) {
            let _ = client.handle_input(start.elapsed(), &mut buffer[..length]);
        }
        while let Some(event) = client.poll_event() {
            is_connected |= matches!(event, ClientEvent::Connected { .. });
        }
        if start.elapsed() > HANG {
            return Err(format!("client {number} does not join").into());
        }
    }
    // What confirms its keys to the server.
    while client.poll_transmit(1, &mut out).is_some() {
        socket.send(&out)?;
        out.clear();
    }
    Ok(socket)
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

fn measure(clients: usize) -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let needed = clients as u64 + 1_000;
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(needed), hard.max(needed))?;
    let network = Namespace::new()?;
    network.enter()?;
    let server = Server::start(clients + 3 * JOINS)?;
    let identity = State::new(server.directory.join("keys")).server_identity()?;
    let invite = identity.invite(SERVER.into());
    let credentials = State::new(server.directory.join("client"))
        .client_credentials(Some(invite.url().as_str()), SERVER.port())?;
    let keys: acton_engine::ClientKeys = credentials.into();
    let config = || {
        let mut config = ClientConfig::new(Secret::generate(&mut SystemRandom), keys.server_key);
        config.network_key = keys.network_key.clone();
        config
    };
    let mut sockets = Vec::new();
    for number in 0..clients {
        sockets.push(join(number, config())?);
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
    let mut number = clients;
    let mut joins = |sockets: &mut Vec<UdpSocket>| {
        times(JOINS, || {
            // Not all in one moment.
            thread::sleep(BETWEEN_JOINS);
            number += 1;
            let (config, start) = (config(), Instant::now());
            sockets.push(join(number, config)?);
            Ok(start.elapsed())
        })
    };
    let (median, longest) = joins(&mut sockets)?;
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
        let polled = joins(&mut sockets);
        done.store(true, Ordering::Relaxed);
        (asker.join(), polled)
    });
    let (median, longest) = polled?;
    println!("a join, asked 10 a s:  median {median:6.1} ms, longest {longest:6.1} ms");
    println!("asked {} times meanwhile", asked.map_err(|_| "the asker panicked")?);
    println!("memory: {before:.1} MiB before, {:.1} MiB after", server.memory()?);
    Ok(())
}
