//! The client: one TAP, one server, for ever.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::AsFd;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::Duration;

use acton_proto::plain::{self, ClientConfig, ClientEvent, Control, Datagram};
use acton_tap::{Queue, Stop};
use parking_lot::Mutex;

use super::clock;
use super::counters::{Counter, Counters};
use super::running::{
    INBOX_LEN, Message, Outbox, Running, SessionInfo, Stopper, Workers, next_message,
};
use super::worker::{FrameBatch, Side, Worker};
use super::{Error, TapSettings};
use crate::udp::{Destination, SendBatch, Source, UdpSocket};

/// Silence after which the server counts as lost, in keepalive intervals, as in 0.1.1.
const KEEPALIVES_TO_LOSE: u32 = 3;

/// The server as its user names it: a host name or an IP address, and a UDP port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerName {
    host: String,
    port: u16,
}

impl ServerName {
    /// Reads `HOST`, `HOST:PORT`, `IPv6` or `[IPv6]:PORT`; without a port it is `default_port`.
    ///
    /// # Errors
    /// What is wrong with `text`.
    pub fn parse(text: &str, default_port: u16) -> Result<Self, String> {
        let (host, port) = match text.parse::<Ipv6Addr>() {
            Ok(_) => (text, None),
            Err(_) => match text.strip_prefix('[') {
                Some(rest) => {
                    let (host, rest) = rest.split_once(']').ok_or("no ']' after '['")?;
                    Ipv6Addr::from_str(host.split('%').next().unwrap_or(host))
                        .map_err(|error| format!("[{host}]: {error}"))?;
                    match rest.strip_prefix(':') {
                        Some(port) => (host, Some(port)),
                        None if rest.is_empty() => (host, None),
                        None => return Err(format!("'{rest}' after ']' is no :PORT")),
                    }
                }
                None => match text.rsplit_once(':') {
                    Some((host, port)) => (host, Some(port)),
                    None => (text, None),
                },
            },
        };
        if host.is_empty() || host.contains(char::is_whitespace) {
            return Err(format!("'{host}' is no host name or IP address"));
        }
        let port = match port {
            Some(port) => port.parse().map_err(|_| format!("'{port}' is no port (1 to 65535)"))?,
            None => default_port,
        };
        if port == 0 {
            return Err("port 0 is no port to send to (1 to 65535)".to_owned());
        }
        Ok(Self { host: host.to_owned(), port })
    }

    /// The address, where no look-up is needed.
    fn literal(&self) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.host.parse::<IpAddr>().ok()?, self.port))
    }

    fn look_up(&self) -> io::Result<Vec<SocketAddr>> {
        let addresses: Vec<_> = (self.host.as_str(), self.port).to_socket_addrs()?.collect();
        if addresses.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(addresses) }
    }
}

impl From<SocketAddr> for ServerName {
    fn from(address: SocketAddr) -> Self {
        Self { host: address.ip().to_string(), port: address.port() }
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// A client of Ethernet over UDP.
#[derive(Debug)]
pub struct Client;

impl Client {
    /// A client of `server` with a TAP called `client`.
    pub fn builder(server: ServerName) -> ClientBuilder {
        ClientBuilder {
            server,
            tap: TapSettings::new("client"),
            keepalive: Duration::from_secs(10),
        }
    }
}

/// Settings of a client in plain mode.
#[derive(Debug, Clone)]
pub struct ClientBuilder {
    server: ServerName,
    tap: TapSettings,
    keepalive: Duration,
}

impl ClientBuilder {
    /// The TAP that the client makes. It shows a carrier while the client is connected.
    #[must_use]
    pub fn tap(mut self, tap: TapSettings) -> Self {
        self.tap = tap;
        self
    }

    /// How often to say KEEPALIVE; a server silent for three times as long is lost.
    #[must_use]
    pub fn keepalive(mut self, interval: Duration) -> Self {
        self.keepalive = interval;
        self
    }

    /// Makes the TAP and the socket and starts the client, which then connects by itself.
    ///
    /// # Errors
    /// Where the TAP or the socket cannot be made.
    pub fn start(self) -> Result<Running, Error> {
        let socket = bind()?;
        let local_addr = socket.local_addr().map_err(Error::system("read the UDP address"))?;
        let (interface, queues) = self.tap.open(1, false)?;
        let own_mac = interface.mac()?;
        let link = Arc::new(Link::default());
        let control_counters = Arc::new(Counters::new());
        let mut counters = vec![Arc::clone(&control_counters)];

        let (sender, inbox) = mpsc::sync_channel(INBOX_LEN);
        let stop = Stop::new().map_err(Error::system("make an eventfd"))?;
        let mut workers = Workers::new(stop.clone());
        let duplicate = |socket: &UdpSocket| {
            socket.try_clone().map_err(Error::system("duplicate the UDP socket"))
        };
        let mut carrier = None;
        for queue in queues {
            if carrier.is_none() {
                let tap = queue.as_fd().try_clone_to_owned();
                carrier = Some(Queue::from(tap.map_err(Error::system("duplicate the TAP"))?));
            }
            let own = Arc::new(Counters::new());
            counters.push(Arc::clone(&own));
            let side = ClientSide {
                link: Arc::clone(&link),
                counters: Arc::clone(&own),
                outbox: Outbox { sender: sender.clone(), counters: Arc::clone(&own) },
            };
            let worker = Worker {
                tap_name: interface.name().to_owned(),
                queue,
                socket: duplicate(&socket)?,
                stop: stop.clone(),
                counters: own,
                side,
            };
            workers.spawn(worker, sender.clone())?;
        }

        let mut protocol = ClientConfig::default();
        protocol.keepalive = self.keepalive;
        protocol.dead_after = self.keepalive * KEEPALIVES_TO_LOSE;
        // Only timers are spread by it, so that clients of one server do not move in step.
        let seed = RandomState::new().hash_one(own_mac.octets());
        log::info!(
            "client of {}, TAP {} ({own_mac}, MTU {}), plain mode: no keys, no encryption",
            self.server,
            interface.name(),
            self.tap.mtu
        );
        let control = ClientControl {
            machine: plain::Client::new(protocol, seed, clock::now()),
            server: self.server,
            socket,
            carrier,
            link,
            counters: control_counters,
            sender: sender.clone(),
            looking_up: false,
        };
        let link = Arc::clone(&control.link);
        let sessions = Arc::new(move || {
            let peer = *link.peer.lock();
            let open = peer.filter(|_| link.connected.load(Ordering::Relaxed));
            let info = |address| SessionInfo { number: 0, address, macs: Vec::new() };
            open.map(info).into_iter().collect()
        });
        let tap_name = interface.name().to_owned();
        let thread = thread::Builder::new()
            .name("acton-control".to_owned())
            .spawn(move || control.run(&inbox, workers))
            .map_err(Error::system("start the control thread"))?;
        Ok(Running {
            control: Some(thread),
            stopper: Stopper::new(sender),
            counters,
            sessions,
            tap_name,
            local_addr,
        })
    }
}

/// A socket for servers of either family; of IPv4 alone where the host has no IPv6.
fn bind() -> Result<UdpSocket, Error> {
    let any = |ip: IpAddr| SocketAddr::new(ip, 0);
    UdpSocket::bind(any(Ipv6Addr::UNSPECIFIED.into())).or_else(|_| {
        let address = any(Ipv4Addr::UNSPECIFIED.into());
        UdpSocket::bind(address).map_err(|source| Error::Bind { address, source })
    })
}

/// What the control thread and the workers tell one another.
#[derive(Default)]
struct Link {
    connected: AtomicBool,
    /// The address that the socket talks to.
    peer: Mutex<Option<SocketAddr>>,
    /// When a frame last came, in nanoseconds of the engine's clock.
    last_frame: AtomicU64,
}

/// What a worker passes to the control thread.
enum News {
    Control(Control),
    NetworkError,
    LookedUp(io::Result<Vec<SocketAddr>>),
}

/// The client's part of a worker.
struct ClientSide {
    link: Arc<Link>,
    counters: Arc<Counters>,
    outbox: Outbox<News>,
}

impl Side for ClientSide {
    fn refresh(&mut self) {}

    fn send<'a>(&'a mut self, frames: &'a FrameBatch, _: Duration, batch: &mut SendBatch<'a, '_>) {
        if !self.link.connected.load(Ordering::Relaxed) {
            self.counters.add(Counter::NotConnected, frames.len() as u64);
            return;
        }
        for frame in frames.iter() {
            batch.push(&Destination::CONNECTED, frame);
        }
    }

    fn accept(&mut self, _: SocketAddr, _: Option<Source>, datagram: &[u8], now: Duration) -> bool {
        match Datagram::parse(datagram) {
            Ok(Datagram::Frame(_)) => {
                self.link.last_frame.store(now.as_nanos() as u64, Ordering::Relaxed);
                let connected = self.link.connected.load(Ordering::Relaxed);
                if !connected {
                    self.counters.add(Counter::NoSession, 1);
                }
                connected
            }
            Ok(Datagram::Control(control)) => {
                self.outbox.post(News::Control(control));
                false
            }
            Err(_) => {
                self.counters.add(Counter::UnknownControl, 1);
                false
            }
        }
    }

    fn network_error(&mut self, error: &io::Error) {
        log::debug!("UDP: {error}");
        self.outbox.post(News::NetworkError);
    }
}

/// The client's control thread: it connects, and connects again.
struct ClientControl {
    machine: plain::Client,
    server: ServerName,
    socket: UdpSocket,
    /// The TAP, for its carrier.
    carrier: Option<Queue>,
    link: Arc<Link>,
    counters: Arc<Counters>,
    sender: SyncSender<Message<News>>,
    looking_up: bool,
}

impl ClientControl {
    fn run(mut self, inbox: &Receiver<Message<News>>, workers: Workers) -> Result<(), Error> {
        self.settle();
        let ended = loop {
            let message = next_message(inbox, self.machine.poll_timeout());
            let now = clock::now();
            match message {
                Some(Message::News(News::Control(control))) => {
                    self.machine.handle_input(now, &Datagram::Control(control));
                }
                Some(Message::News(News::NetworkError)) => self.machine.handle_network_error(now),
                Some(Message::News(News::LookedUp(result))) => self.looked_up(result),
                Some(Message::Failed(error)) => break Err(error),
                Some(Message::Stop) => break Ok(()),
                None => {}
            }
            let last_frame = self.link.last_frame.load(Ordering::Relaxed);
            self.machine.touch(Duration::from_nanos(last_frame));
            self.machine.handle_timeout(now);
            self.settle();
        };
        self.machine.close();
        self.settle();
        drop(workers);
        ended
    }

    fn settle(&mut self) {
        while let Some(event) = self.machine.poll_event() {
            match event {
                ClientEvent::Connecting { attempt } => self.connect(attempt),
                ClientEvent::Connected { rtt } => {
                    let rtt = rtt.map(|rtt| format!(" in {:.1} ms", rtt.as_secs_f64() * 1e3));
                    log::info!("connected to {}{}", self.peer_text(), rtt.unwrap_or_default());
                    self.set_connected(true);
                }
                ClientEvent::Lost { silent_for } => {
                    self.set_connected(false);
                    log::warn!(
                        "lost {}: silent for {:.0} s; connecting again",
                        self.peer_text(),
                        silent_for.as_secs_f64()
                    );
                }
                ClientEvent::Closed => {
                    if self.link.connected.load(Ordering::Relaxed) {
                        log::info!("said BYE to {}", self.peer_text());
                    }
                    self.set_connected(false);
                }
                _ => {}
            }
        }
        // What is said while the name is looked up waits for the address.
        if !self.looking_up
            && self.peer().is_some()
            && let Some(control) = self.machine.poll_transmit()
        {
            self.say(control);
        }
    }

    /// The address that the socket talks to.
    fn peer(&self) -> Option<SocketAddr> {
        *self.link.peer.lock()
    }

    fn peer_text(&self) -> String {
        match self.peer() {
            Some(peer) if self.server.literal().is_none() => format!("{} ({peer})", self.server),
            Some(peer) => peer.to_string(),
            None => self.server.to_string(),
        }
    }

    fn set_connected(&self, connected: bool) {
        self.link.connected.store(connected, Ordering::Relaxed);
        if let Some(Err(error)) = self.carrier.as_ref().map(|tap| tap.set_carrier(connected)) {
            log::debug!("carrier of the TAP: {error}");
        }
    }

    fn say(&mut self, control: Control) {
        // The first call may hand over what the network said of an earlier datagram instead of
        // sending this one.
        let send = || self.socket.send(&Destination::CONNECTED, control.as_bytes());
        if let Err(error) = send().or_else(|_| send()) {
            self.counters.add(Counter::UdpUnreachable, 1);
            log::debug!(
                "{} to {}: {error}",
                String::from_utf8_lossy(control.as_bytes()),
                self.server
            );
        }
    }

    /// Finds the server's address anew: it may have changed.
    fn connect(&mut self, attempt: u32) {
        if attempt > 1 {
            log::debug!("no answer from {}; attempt {attempt}", self.peer_text());
        }
        if let Some(address) = self.server.literal() {
            return self.connect_to(address, attempt == 1);
        }
        if self.looking_up {
            return;
        }
        self.looking_up = true;
        let (name, sender) = (self.server.clone(), self.sender.clone());
        let look_up = move || {
            let _ = sender.send(Message::News(News::LookedUp(name.look_up())));
        };
        // A look-up can take many seconds, in which a stop must still be heard.
        if let Err(error) = thread::Builder::new().name("acton-dns".to_owned()).spawn(look_up) {
            self.looking_up = false;
            log::warn!("{}: cannot start a thread to look it up: {error}", self.server);
        }
    }

    fn looked_up(&mut self, result: io::Result<Vec<SocketAddr>>) {
        self.looking_up = false;
        match result {
            Ok(addresses) => {
                // The next one each time, so that one that does not answer is passed over.
                let peer = self.peer();
                let last = addresses.iter().position(|&address| Some(address) == peer);
                let address = addresses[last.map_or(0, |last| (last + 1) % addresses.len())];
                self.connect_to(address, Some(address) != peer);
            }
            Err(error) => log::warn!("{}: {error}; trying again", self.server),
        }
    }

    fn connect_to(&mut self, address: SocketAddr, news: bool) {
        if let Err(error) = self.socket.connect(address) {
            log::warn!("{address}: {error}; trying again");
            return;
        }
        *self.link.peer.lock() = Some(address);
        if news {
            log::info!("connecting to {}", self.peer_text());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_names() {
        for (text, host, port) in [
            ("example.net", "example.net", 8080),
            ("example.net:9", "example.net", 9),
            ("192.0.2.1", "192.0.2.1", 8080),
            ("192.0.2.1:9000", "192.0.2.1", 9000),
            ("2001:db8::1", "2001:db8::1", 8080),
            ("[2001:db8::1]", "2001:db8::1", 8080),
            ("[2001:db8::1]:9000", "2001:db8::1", 9000),
            ("[fe80::1%eth0]:1", "fe80::1%eth0", 1),
        ] {
            let name = ServerName { host: host.to_owned(), port };
            assert_eq!(ServerName::parse(text, 8080), Ok(name), "{text}");
        }
        for text in ["", ":1", "a:b", "a:65536", "a:0", "[::1", "[::1]x", "[a]:1", "a b"] {
            assert!(ServerName::parse(text, 8080).is_err(), "{text:?}");
        }
    }
}
