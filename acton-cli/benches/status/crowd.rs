//! Clients: state machines of `acton-proto`, each with a socket and a loopback address of its own.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use acton_engine::ClientKeys;
use acton_engine::keys::State;
use acton_proto::client::{Client, ClientConfig, ClientEvent};
use acton_proto::handshake::{Secret, SystemRandom};

use crate::server::Server;
use crate::{HANG, Result};

const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8_080);

/// Clients that have a session each, and say nothing more unless they are tended.
pub(crate) struct Crowd {
    keys: ClientKeys,
    members: Vec<Member>,
}

struct Member {
    socket: UdpSocket,
    client: Client,
    /// What its clock counts from.
    start: Instant,
}

impl Crowd {
    /// Nobody yet, with the invite of a server.
    pub(crate) fn new(server: &Server) -> Result<Self> {
        let identity = State::new(server.path("keys")).server_identity()?;
        let invite = identity.invite(SERVER.into());
        let credentials = State::new(server.path("client"))
            .client_credentials(Some(invite.url().as_str()), SERVER.port())?;
        Ok(Self { keys: credentials.into(), members: Vec::new() })
    }

    /// Has one more client join, and says how long that took.
    pub(crate) fn join(&mut self) -> Result<Duration> {
        let mut config =
            ClientConfig::new(Secret::generate(&mut SystemRandom), self.keys.server_key);
        config.network_key = self.keys.network_key.clone();
        let start = Instant::now();
        self.members.push(join(self.members.len(), config)?);
        Ok(start.elapsed())
    }

    /// Has all hear what came, and say what is due: one that is silent for 50 s has no session any more.
    pub(crate) fn tend(&mut self) -> Result<()> {
        let (mut buffer, mut out) = (vec![0; 2_048], Vec::new());
        for Member { socket, client, start } in &mut self.members {
            socket.set_nonblocking(true)?;
            while let Ok(length) = socket.recv(&mut buffer) {
                let _ = client.handle_input(start.elapsed(), &mut buffer[..length]);
            }
            client.handle_timeout(start.elapsed(), wall());
            while client.poll_transmit(1, &mut out).is_some() {
                socket.send(&out)?;
                out.clear();
            }
            while client.poll_event().is_some() {}
        }
        Ok(())
    }
}

/// Nanoseconds since 1970.
fn wall() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64
}

/// Has client `number` join.
fn join(number: usize, config: ClientConfig) -> Result<Member> {
    let [_, a, b, c] = (number as u32 + 2).to_be_bytes();
    let socket = UdpSocket::bind((Ipv4Addr::new(127, 1 + a, b, c), 0))?;
    socket.connect(SERVER)?;
    let start = Instant::now();
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
    Ok(Member { socket, client, start })
}
