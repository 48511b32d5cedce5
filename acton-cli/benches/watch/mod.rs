//! Who watches an end of acton while it is measured: the benchmark's own program, run again, so that it can be
//! counted or left out.

use std::env;
use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use acton_cli::control::{Answer, AskError, Connection, Place, Request};
use clap::Args;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// How often the status is asked for by a [`Watcher`] of the control socket alone.
const OFTEN: Duration = Duration::from_millis(100);
/// How often `acton top` asks unless told otherwise; also that of a monitor, which is more often than any
/// asks.
const SECOND: Duration = Duration::from_secs(1);
/// How often the page asks for the status, and how many times more rarely for the history.
const PAGE: Duration = Duration::from_secs(2);
const PAGE_HISTORY: u32 = 5;
/// Frames that there are none of, so that a capture has each looked at and shows none: Local Experimental
/// EtherType 1 (IEEE 802).
const NO_FRAMES: &str = "ether proto 0x88b5";
/// How long an end may take until it can be asked.
const READY_WAIT: Duration = Duration::from_secs(10);

/// Whom to watch, as told to the program that is to do it.
#[derive(Debug, Clone, Args)]
pub(crate) struct Watcher {
    /// Its control socket
    #[arg(long, hide = true)]
    watch: Option<PathBuf>,

    /// Where it shows itself by HTTP: all tools at once then look at it
    #[arg(long, hide = true, requires = "watch")]
    watch_http: Option<SocketAddr>,
}

impl Watcher {
    /// The command that watches: the status ten times a second, the events and an idle capture; or, where
    /// the end shows itself by HTTP, all tools at once as they ask by themselves: `acton top`, the events, an
    /// idle capture, a monitor and a page.
    pub(crate) fn command(control: &Path, http: Option<SocketAddr>) -> Result<Command> {
        let mut command = Command::new(env::current_exe()?);
        command.arg("--watch").arg(control);
        if let Some(http) = http {
            command.args(["--watch-http", &http.to_string()]);
        }
        Ok(command)
    }

    /// Watches until it is killed, if this program is to do so; an error where a watcher is let go.
    pub(crate) fn run(&self) -> Option<Result<()>> {
        let place = Place::Path(self.watch.clone()?);
        Some(watch(&place, self.watch_http))
    }
}

fn watch(place: &Place, http: Option<SocketAddr>) -> Result<()> {
    let (ended, watchers) = mpsc::channel();
    let start = |name: &'static str, watcher: Box<dyn FnOnce() -> Result<()> + Send>| {
        let ended = ended.clone();
        thread::spawn(move || {
            let why =
                watcher().err().map_or_else(|| "it ends".to_owned(), |error| error.to_string());
            // Where nobody hears it, another one has ended already.
            let _ = ended.send(format!("{name}: {why}"));
        });
    };
    let follow = Request::Events { after: 0, follow: true };
    let filter = Some(NO_FRAMES.to_owned());
    let capture =
        Request::Capture { session: None, layer: None, drops: None, filter, snaplen: None };
    for (name, request) in [("events", follow), ("capture", capture)] {
        let mut connection = open(place)?;
        start(name, Box::new(move || Ok(read_all(&mut connection, request).map(drop)?)));
    }
    let mut connection = open(place)?;
    match http {
        None => start("status", Box::new(move || ask_often(&mut connection))),
        Some(http) => {
            start("top", Box::new(move || ask_as_top(&mut connection)));
            start("monitor", Box::new(move || ask_as_monitor(http)));
            start("page", Box::new(move || ask_as_page(http)));
            start("events of the page", Box::new(move || get(http, "/events")));
        }
    }
    Err(watchers.recv()?.into())
}

fn open(place: &Place) -> Result<Connection> {
    let start = Instant::now();
    loop {
        match Connection::open(place) {
            Ok(connection) => return Ok(connection),
            Err(error) if start.elapsed() > READY_WAIT => return Err(error.into()),
            Err(_) => thread::sleep(OFTEN),
        }
    }
}

fn ask_often(connection: &mut Connection) -> Result<()> {
    loop {
        read_all(connection, Request::Status { session: None, states: Vec::new() })?;
        thread::sleep(OFTEN);
    }
}

fn ask_as_top(connection: &mut Connection) -> Result<()> {
    let mut after = 0;
    loop {
        read_all(connection, Request::Status { session: None, states: Vec::new() })?;
        after = read_all(connection, Request::Events { after, follow: false })?.unwrap_or(after);
        read_all(connection, Request::Drops { session: None })?;
        thread::sleep(SECOND);
    }
}

fn ask_as_monitor(http: SocketAddr) -> Result<()> {
    loop {
        get(http, "/metrics")?;
        get(http, "/status.json")?;
        thread::sleep(SECOND);
    }
}

fn ask_as_page(http: SocketAddr) -> Result<()> {
    get(http, "/")?;
    loop {
        get(http, "/history.json")?;
        for _ in 0..PAGE_HISTORY {
            get(http, "/status.json")?;
            thread::sleep(PAGE);
        }
    }
}

/// Reads an answer to its end, and gives the number of the last event in it.
fn read_all(
    connection: &mut Connection,
    request: Request,
) -> std::result::Result<Option<u64>, AskError> {
    let (mut answers, mut last) = (connection.ask(request)?, None);
    loop {
        // A line of a session is not taken apart: that is not what is measured.
        if answers.session()?.is_some() {
            continue;
        }
        match answers.read()? {
            Answer::Event(event) => last = Some(event.number),
            Answer::End(_) => return Ok(last),
            Answer::Error(refusal) => return Err(refusal.into()),
            _ => {}
        }
    }
}

/// Asks by HTTP for what is there, and throws it away; of `/events` there is ever more.
fn get(http: SocketAddr, path: &str) -> Result<()> {
    const OK: &[u8] = b"HTTP/1.1 200";
    let mut stream = TcpStream::connect(http)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {http}\r\n\r\n")?;
    let (mut buffer, mut begin) = (vec![0; 1 << 16], Vec::new());
    loop {
        let length = stream.read(&mut buffer)?;
        if begin.len() < OK.len() {
            begin.extend_from_slice(&buffer[..length]);
        }
        if length == 0 {
            let line =
                String::from_utf8_lossy(&begin).lines().next().unwrap_or_default().to_owned();
            return if begin.starts_with(OK) {
                Ok(())
            } else {
                Err(format!("{path}: {line}").into())
            };
        }
    }
}
