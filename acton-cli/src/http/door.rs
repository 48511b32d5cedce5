//! The listening end: a thread that lets connections in, and one for each of them.

use std::io::{self, Read};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::control::{Counts, Source};
use crate::guests::{Guests, wait};

use super::exchange;
use super::guard::Token;
use super::history::{History, SAMPLE};
use super::response::{Refused, Response};

/// Connections that may follow events, of [`MAX_GUESTS`](crate::guests::MAX_GUESTS), so that others find room.
pub(super) const MAX_FOLLOWERS: usize = 16;
/// How long, and for how many bytes, who is refused may go on before it has read why.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES: usize = 64 << 10;

/// Why nobody is listened to.
#[derive(Debug, thiserror::Error)]
#[error("--http {address}: cannot {step}")]
pub(crate) struct ListenError {
    address: SocketAddr,
    step: &'static str,
    #[source]
    error: io::Error,
}

/// A port that is listened at; nobody answers yet.
pub(crate) struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    token: Option<Token>,
}

impl Listener {
    /// Listens there.
    ///
    /// # Errors
    /// Where somebody has the port, or this host has not got the address.
    pub(crate) fn bind(address: SocketAddr, token: Option<Token>) -> Result<Self, ListenError> {
        let failed = |step| move |error| ListenError { address, step, error };
        let socket = TcpListener::bind(address).map_err(failed("listen there"))?;
        socket.set_nonblocking(true).map_err(failed("set it non-blocking"))?;
        let address = socket.local_addr().map_err(failed("tell its address"))?;
        Ok(Self { socket, address, token })
    }

    /// Answers from `source` from now on.
    ///
    /// # Errors
    /// Where there can be no thread for it.
    pub(crate) fn serve(
        self,
        source: Arc<Source>,
        metrics_per_session: bool,
    ) -> Result<HttpServer, ListenError> {
        let Self { socket, address, token } = self;
        let failed = |step| move |error| ListenError { address, step, error };
        source.http.get_or_init(Counts::default);
        let history = Mutex::new(History::new(&source.handle.totals()));
        let shared = Arc::new(Shared {
            source,
            token,
            metrics_per_session,
            history,
            closing: AtomicBool::new(false),
            followers: AtomicUsize::new(0),
        });
        let (stop, stopped) = UnixStream::pair().map_err(failed("make a pair of sockets"))?;
        let door = Door { socket, shared: Arc::clone(&shared), guests: Guests::new() };
        let thread = thread::Builder::new()
            .name("acton-http".to_owned())
            .spawn(move || door.run(&stopped))
            .map_err(failed("start a thread"))?;
        log::info!("shown at http://{address}/");
        Ok(HttpServer { shared, stop: Some(stop), thread: Some(thread) })
    }
}

/// What all connections share.
pub(super) struct Shared {
    pub(super) source: Arc<Source>,
    pub(super) token: Option<Token>,
    pub(super) metrics_per_session: bool,
    pub(super) history: Mutex<History>,
    pub(super) closing: AtomicBool,
    /// Who follow events.
    pub(super) followers: AtomicUsize,
}

impl Shared {
    pub(super) fn counts(&self) -> &Counts {
        self.source.http.get_or_init(Counts::default)
    }
}

/// A port that is answered at. Dropped, it is gone.
pub(crate) struct HttpServer {
    shared: Arc<Shared>,
    /// Closed to have the thread end.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::Relaxed);
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // One that panicked has ended too.
            let _ = thread.join();
        }
    }
}

/// Who lets connections in.
struct Door {
    socket: TcpListener,
    shared: Arc<Shared>,
    /// Who has asked is idle no more.
    guests: Guests<TcpStream>,
}

impl Door {
    fn run(mut self, stopped: &UnixStream) {
        let mut sample_at = Instant::now() + SAMPLE;
        while let Some(is_called) = wait(self.socket.as_fd(), stopped, Some(sample_at)) {
            if sample_at <= Instant::now() {
                self.shared.history.lock().add(&self.shared.source.handle.totals());
                // A host that slept has one sample for all of that.
                sample_at = Instant::now() + SAMPLE;
            }
            if is_called {
                self.let_in();
            }
            self.guests.sweep();
        }
        self.guests.close();
    }

    fn let_in(&mut self) {
        match self.socket.accept() {
            Ok((stream, _)) => {
                Counts::add(&self.shared.counts().connections);
                if let Err(error) = self.admit(stream) {
                    log::debug!("HTTP: {error}");
                }
            }
            // Whoever it was has gone; or no descriptor is free, which may pass.
            Err(error) => {
                log::debug!("HTTP: {error}");
                thread::sleep(Duration::from_millis(10));
            }
        }
    }

    fn admit(&mut self, stream: TcpStream) -> io::Result<()> {
        stream.set_nonblocking(false)?;
        // What is written is gathered already.
        stream.set_nodelay(true)?;
        if self.guests.are_full() {
            if !self.guests.make_room() {
                Counts::add(&self.shared.counts().refused);
                let message = "all connections are taken by others who are being answered";
                // The first bytes of a connection have room.
                return Response::new(&stream, false, true)
                    .refused(&Refused::new(503, "busy", message));
            }
            Counts::add(&self.shared.counts().evicted);
        }
        let shared = Arc::clone(&self.shared);
        self.guests.admit("acton-http-one", stream, move |stream, idle| {
            exchange::serve(&shared, &stream, idle);
            let_read(&stream, &shared.closing);
            // The door has the socket too, until it looks again.
            let _ = stream.shutdown(Shutdown::Both);
        })
    }
}

/// Lets who is still sending read its answer before the kernel resets the connection.
fn let_read(mut stream: &TcpStream, closing: &AtomicBool) {
    let until = Instant::now() + LINGER;
    let (mut piece, mut passed) = ([0; 4_096], 0);
    if stream.shutdown(Shutdown::Write).is_err() {
        return;
    }
    while passed < LINGER_BYTES && !closing.load(Ordering::Relaxed) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || stream.set_read_timeout(Some(left)).is_err() {
            return;
        }
        match stream.read(&mut piece) {
            Ok(more) if more > 0 => passed += more,
            _ => return,
        }
    }
}
