//! A client that can say what no honest one would.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use acton_proto::client::{Client, ClientConfig, ClientEvent};
use acton_proto::handshake::{Secret, SystemRandom, public_key};
use acton_proto::wire::{Control, Datagram, HEADER_LEN, Key, Kind, TAG_LEN};

use crate::support::{Result, server};

/// Where the server listens.
pub(crate) const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
/// How long a handshake is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// Seconds between two KEEPALIVE that the protocol sends: who is not heard for some three times as long
/// loses its session.
const KEEPALIVE: u16 = 1;

/// The server's public key.
pub(crate) fn server_key() -> Key {
    public_key(&Secret::new(server::PRIVATE_KEY))
}

/// A socket at a loopback address.
pub(crate) fn socket(address: Ipv4Addr) -> Result<UdpSocket> {
    let socket = UdpSocket::bind((address, 0))?;
    socket.set_nonblocking(true)?;
    socket.connect(SERVER)?;
    Ok(socket)
}

/// A client, its socket, and another port of the same host.
pub(crate) struct Peer {
    pub(crate) machine: Client,
    pub(crate) socket: UdpSocket,
    pub(crate) spare: UdpSocket,
    start: Instant,
    /// CONTROL that came.
    pub(crate) heard: usize,
    /// How often it lost its session.
    pub(crate) losses: usize,
}

impl Peer {
    pub(crate) fn at(address: Ipv4Addr) -> Result<Self> {
        let mut config = ClientConfig::new(Secret::generate(&mut SystemRandom), server_key());
        config.network_key = Some(Secret::new(server::NETWORK_KEY));
        config.keepalive = KEEPALIVE;
        let machine = Client::new(config, Box::new(SystemRandom), Duration::ZERO);
        let (socket, spare) = (socket(address)?, socket(address)?);
        Ok(Self { machine, socket, spare, start: Instant::now(), heard: 0, losses: 0 })
    }

    /// Says what is due, and hears what came.
    pub(crate) fn turn(&mut self) {
        let now = self.start.elapsed();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.machine.handle_timeout(now, wall.as_nanos() as u64);
        let mut buffer = vec![0; 2_048];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            let datagram = &mut buffer[..length];
            let is_control = matches!(
                Datagram::parse(datagram), Ok(Datagram::Sealed(header)) if header.kind == Kind::Control
            );
            self.heard += usize::from(is_control);
            self.machine.handle_input(now, datagram).for_each(drop);
        }
        while let Some(event) = self.machine.poll_event() {
            self.losses += usize::from(matches!(event, ClientEvent::Disconnected { .. }));
        }
        buffer.clear();
        while self.machine.poll_transmit(1, &mut buffer).is_some() {
            // What finds no room is lost, as on a network.
            let _ = self.socket.send(&buffer);
            buffer.clear();
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.machine.keys().is_some()
    }

    /// Shakes hands; how long that took.
    pub(crate) fn join(&mut self) -> Result<Duration> {
        let start = Instant::now();
        self.turn();
        while !self.is_up() {
            if start.elapsed() > PATIENCE {
                return Err("a client gets no session".into());
            }
            thread::sleep(Duration::from_micros(100));
            self.turn();
        }
        let took = start.elapsed();
        // The server knows once it opened something.
        self.turn();
        Ok(took)
    }

    pub(crate) fn leave(mut self) {
        self.machine.close(self.start.elapsed());
        self.turn();
    }

    /// A KEEPALIVE, sealed; `None` without keys that do.
    pub(crate) fn keepalive(&self) -> Option<Vec<u8>> {
        let keys = self.machine.keys()?;
        let mut datagram = vec![0; HEADER_LEN];
        Control::Keepalive { token: 7, size: 0 }.encode(&mut datagram);
        datagram.resize(datagram.len() + TAG_LEN, 0);
        let mut reserved = keys.reserve(self.start.elapsed(), 1).ok()?;
        reserved.seal(Kind::Control, &mut datagram).ok()?;
        Some(datagram)
    }
}
