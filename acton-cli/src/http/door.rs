//! The listening end: a thread that lets connections in, and one for each of them.

use std::io::{self, ErrorKind, Read};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket,
    sockopt,
};
use parking_lot::Mutex;

use crate::control::{Counts, Source};
use crate::guests::{Guests, wait};

use super::exchange;
use super::guard::Token;
use super::history::{History, SAMPLE};
use super::response::{Refused, Response};

/// Connections that may follow events, of [`MAX_GUESTS`](crate::guests::MAX_GUESTS), so that others find room.
pub(super) const MAX_FOLLOWERS: usize = 16;
/// Connections that wait to be let in, as the standard library has it.
const BACKLOG: i32 = 128;
/// Ports below are not for everybody (ip(7), `ip_unprivileged_port_start`).
const FIRST_FREE_PORT: u16 = 1_024;
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

/// What cannot be done where the system refuses the port, and what helps.
fn refused(address: SocketAddr, error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::AddrInUse => "listen there, as another program does (`ss -tlnp` says which)",
        ErrorKind::PermissionDenied if address.port() < FIRST_FREE_PORT => {
            "listen there, as ports below 1024 take root or CAP_NET_BIND_SERVICE"
        }
        _ => "listen there",
    }
}

/// Listens at an address that this host has not got yet, as at boot before the network is there
/// (`IP_FREEBIND`, ip(7)).
fn bind_ahead(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    // Of IPv6, too.
    setsockopt(&socket, sockopt::IpFreebind, &true)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    listen(&socket, Backlog::new(BACKLOG)?)?;
    Ok(socket.into())
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
        let socket = match TcpListener::bind(address) {
            Err(error) if error.kind() == ErrorKind::AddrNotAvailable => {
                log::warn!(
                    "--http {address}: no interface of this host has that address; once one has, it is \
                     answered there"
                );
                bind_ahead(address)
            }
            bound => bound,
        };
        let socket = socket.map_err(|error| ListenError {
            address,
            step: refused(address, &error),
            error,
        })?;
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
