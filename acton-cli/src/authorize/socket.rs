//! The socket of the program, and the threads that speak and listen on it: the tunnel waits for neither.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use acton_engine::{Authority, Decision, Decisions, EventKind, Question};
use parking_lot::{Condvar, Mutex};

use super::queue::Queue;
use super::wire;
use crate::control::AuthorizeReport;

/// How long until the socket is tried again: twice as long each time.
const RETRY: Duration = Duration::from_millis(100);
const MAX_RETRY: Duration = Duration::from_secs(2);
/// A connection that lasts so long was one.
const LASTING: Duration = Duration::from_secs(5);
/// How long the program may take to read.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the end of the tunnel waits for the last accounts to be read.
const FAREWELL: Duration = Duration::from_secs(3);
/// The longest line of the program, in bytes.
const MAX_LINE: u64 = 64 << 10;
/// Least time between two lines of the log on bad lines.
const TELL_INTERVAL: Duration = Duration::from_secs(60);

/// The program that decides, by its socket. Clones are cheap.
#[derive(Debug, Clone)]
pub(crate) struct AuthorizeSocket(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    /// What the server was told to be called.
    name: Option<String>,
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct State {
    queue: Queue,
    decisions: Option<Decisions>,
    /// What the server is called: accounts are told before it has started.
    server: String,
    connected: bool,
    /// The program has closed the connection, or said what cannot be.
    hung_up: bool,
    /// The tunnel has ended.
    ended: bool,
    /// Nothing more is said.
    finished: bool,
    /// Why its answers are missed.
    lost: Option<String>,
    asked: u64,
    answered: u64,
    bad_lines: u64,
    accounts_lost: u64,
    told_bad_at: Option<Instant>,
    /// What is wrong with its last line, the beginning of that.
    wrong: Option<String>,
}

impl State {
    /// Why its answers are missed: what says none may have said one that is left alone.
    fn why_lost(&self) -> Option<String> {
        let why = self.lost.as_ref()?;
        Some(match &self.wrong {
            Some(wrong) => format!("{why}; its last line is wrong: {wrong}"),
            None => why.clone(),
        })
    }
}

impl AuthorizeSocket {
    /// The socket at `path`, for the server of this name: that of its TAP where it has none.
    pub(crate) fn new(path: &Path, name: Option<&str>) -> Self {
        let (state, news) = (Mutex::default(), Condvar::new());
        let (path, name) = (path.to_owned(), name.map(str::to_owned));
        Self(Arc::new(Shared { path, name, state, news }))
    }

    /// Speaks with the program from now on.
    ///
    /// # Errors
    /// Where the system makes no thread.
    pub(crate) fn start(&self) -> io::Result<()> {
        let shared = Arc::clone(&self.0);
        thread::Builder::new().name("acton-authorize".to_owned()).spawn(move || shared.speak())?;
        Ok(())
    }

    /// Waits until the last accounts of a tunnel that has ended were read, for a while.
    pub(crate) fn finish(&self) {
        let mut state = self.0.state.lock();
        state.ended = true;
        self.0.news.notify_all();
        let until = Instant::now() + FAREWELL;
        while !state.finished && !self.0.news.wait_until(&mut state, until).timed_out() {}
        let left = state.queue.accounts();
        if left > 0 {
            log::warn!(
                "{left} accounts of sessions are lost: nobody reads them at {}",
                self.0.path.display()
            );
        }
    }

    /// What came of it so far.
    pub(crate) fn report(&self) -> AuthorizeReport {
        let state = self.0.state.lock();
        AuthorizeReport {
            socket: self.0.path.display().to_string(),
            connected: state.connected,
            asked: state.asked,
            answered: state.answered,
            bad_lines: state.bad_lines,
            accounts_waiting: state.queue.accounts() as u64,
            accounts_lost: state.accounts_lost,
            lost: state.why_lost(),
        }
    }
}

impl Authority for AuthorizeSocket {
    fn begin(&mut self, tap: &str, decisions: Decisions) -> io::Result<()> {
        let mut state = self.0.state.lock();
        state.server = self.0.name.clone().unwrap_or_else(|| tap.to_owned());
        state.decisions = Some(decisions);
        Ok(())
    }

    fn ask(&mut self, question: Question) -> bool {
        let mut state = self.0.state.lock();
        state.asked += 1;
        // While nobody hears it waits at the server, which asks again once somebody does.
        if !state.connected {
            return true;
        }
        let line = wire::question(&question, &state.server, unix_time());
        let taken = state.queue.ask(line);
        self.0.news.notify_all();
        taken
    }

    fn account(&mut self, event: &EventKind) -> bool {
        let mut state = self.0.state.lock();
        let line = wire::account(event, &state.server, unix_time());
        let taken = state.queue.account(line);
        state.accounts_lost += u64::from(!taken);
        self.0.news.notify_all();
        taken
    }

    fn note_lost(&mut self, why: Option<&str>) {
        self.0.state.lock().lost = why.map(str::to_owned);
    }
}

impl Shared {
    /// Connects, and speaks until the tunnel has ended.
    fn speak(self: Arc<Self>) {
        let mut retry = RETRY;
        loop {
            let begun = Instant::now();
            let error = match self.converse() {
                Ok(()) => "the program has closed the connection".to_owned(),
                Err(error) => error.to_string(),
            };
            if begun.elapsed() >= LASTING {
                retry = RETRY;
            }
            let mut state = self.state.lock();
            if state.ended {
                state.finished = true;
                self.news.notify_all();
                return;
            }
            drop(state);
            self.tell(Decision::Reachable(Err(format!("{}: {error}", self.path.display()))));
            let mut state = self.state.lock();
            let until = Instant::now() + retry;
            while !state.ended && !self.news.wait_until(&mut state, until).timed_out() {}
            retry = (retry * 2).min(MAX_RETRY);
        }
    }

    /// One connection, until either end has enough.
    fn converse(self: &Arc<Self>) -> io::Result<()> {
        let stream = UnixStream::connect(&self.path)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let (reader, shared) = (stream.try_clone()?, Arc::clone(self));
        let mut state = self.state.lock();
        (state.connected, state.hung_up) = (true, false);
        drop(state);
        let listener = thread::Builder::new()
            .name("acton-answers".to_owned())
            .spawn(move || shared.listen(reader))?;
        self.tell(Decision::Reachable(Ok(())));
        let said = self.say(&stream);
        let mut state = self.state.lock();
        state.connected = false;
        state.wrong = None;
        state.queue.lost();
        drop(state);
        let _ = stream.shutdown(Shutdown::Both);
        let heard = listener.join().unwrap_or(Ok(()));
        said.and(heard)
    }

    /// Says what is to be said.
    fn say(&self, mut stream: &UnixStream) -> io::Result<()> {
        let mut state = self.state.lock();
        loop {
            if state.hung_up {
                return Ok(());
            }
            let Some(lines) = state.queue.next() else {
                if state.ended {
                    return Ok(());
                }
                self.news.wait(&mut state);
                continue;
            };
            drop(state);
            stream.write_all(lines.as_bytes())?;
            state = self.state.lock();
            state.queue.said();
        }
    }

    /// Hears what the program says.
    fn listen(&self, stream: UnixStream) -> io::Result<()> {
        let heard = self.hear(BufReader::new(stream));
        self.state.lock().hung_up = true;
        self.news.notify_all();
        heard
    }

    fn hear(&self, mut stream: impl BufRead) -> io::Result<()> {
        let mut line = Vec::new();
        loop {
            line.clear();
            stream.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)?;
            if line.is_empty() {
                return Ok(());
            }
            if line.last() != Some(&b'\n') {
                let text =
                    format!("a line of the program is longer than {MAX_LINE} bytes, or cut off");
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
            let text = String::from_utf8_lossy(&line);
            if text.trim().is_empty() {
                continue;
            }
            match wire::read(&text) {
                Ok(decision) => {
                    let answers = matches!(decision, Decision::Answer { .. });
                    let mut state = self.state.lock();
                    state.answered += u64::from(answers);
                    state.wrong = None;
                    drop(state);
                    self.tell(decision);
                }
                // It quotes what the program said.
                Err(error) => self.note_bad(wire::printable(error)),
            }
        }
    }

    fn note_bad(&self, error: String) {
        let mut state = self.state.lock();
        state.bad_lines += 1;
        let now = Instant::now();
        if state.told_bad_at.is_none_or(|at| now >= at + TELL_INTERVAL) {
            state.told_bad_at = Some(now);
            log::error!(
                "{}: a line of the program is left alone: {error} (docs/AUTHORIZE.md has what it may \
                 say; acton status counts)",
                self.path.display()
            );
        }
        state.wrong = Some(error);
    }

    /// Tells the server, and waits until it hears.
    fn tell(&self, decision: Decision) {
        let decisions = self.state.lock().decisions.clone();
        if let Some(decisions) = decisions {
            decisions.tell(decision);
        }
    }
}

/// Seconds since 1970.
fn unix_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_program_said_wrongly_is_told_with_why_it_is_missed() {
        let wrong = Some("unknown field `polcy`".to_owned());
        let mut state = State { wrong, ..State::default() };
        assert_eq!(state.why_lost(), None);
        state.lost = Some("no answer in time".to_owned());
        assert_eq!(
            state.why_lost().unwrap(),
            "no answer in time; its last line is wrong: unknown field `polcy`"
        );
        state.wrong = None;
        assert_eq!(state.why_lost(), state.lost);
    }
}
