//! A server and clients of acton/1 joined by a wire that delivers at once, keeps what it carried,
//! and lets a test do what an attacker does.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::net::SocketAddr;
use std::time::Duration;

use acton_proto::client::{Client, ClientConfig, ClientEvent};
use acton_proto::handshake::{Random, Secret, public_key};
use acton_proto::server::{AnyClient, Clients, Path, Server, ServerConfig, ServerEvent, SessionId};
use acton_proto::wire::{Datagram, Key, Kind};

/// SplitMix64, so that a run can be repeated.
#[derive(Debug, Clone)]
pub(crate) struct Seeded(pub(crate) u64);

impl Seeded {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

impl Random for Seeded {
    fn fill(&mut self, dest: &mut [u8]) {
        for chunk in dest.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_be_bytes()[..chunk.len()]);
        }
    }
}

/// 2026-01-01, in nanoseconds since 1970, when the rig's clock shows 0.
pub(crate) const WALL: u64 = 1_767_225_600_000_000_000;
pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn secret(n: u8) -> Secret {
    Secret::new([n; 32])
}

pub(crate) fn path(n: u16) -> Path {
    SocketAddr::from(([198, 51, 100, 1], n)).into()
}

/// A frame of `len` bytes whose contents tell `tag`.
pub(crate) fn frame(tag: u8, len: usize) -> Vec<u8> {
    (0..len).map(|i| tag.wrapping_add(i as u8)).collect()
}

pub(crate) const SERVER_SECRET: u8 = 1;
pub(crate) const NETWORK: u8 = 2;

pub(crate) fn server_config() -> ServerConfig {
    let mut config = ServerConfig::new(secret(SERVER_SECRET));
    config.network_key = Some(secret(NETWORK));
    config
}

pub(crate) fn client_config(n: u8) -> ClientConfig {
    let mut config = ClientConfig::new(secret(n), public_key(&secret(SERVER_SECRET)));
    config.network_key = Some(secret(NETWORK));
    config
}

/// A datagram that crossed the wire.
#[derive(Debug, Clone)]
pub(crate) struct Packet {
    pub(crate) to_server: bool,
    /// The client's side.
    pub(crate) path: Path,
    pub(crate) bytes: Vec<u8>,
}

pub(crate) struct Station {
    pub(crate) client: Client,
    pub(crate) path: Path,
    pub(crate) events: Vec<ClientEvent>,
    pub(crate) frames: Vec<Vec<u8>>,
    /// Takes part in the exchange.
    pub(crate) on: bool,
}

pub(crate) struct Rig {
    pub(crate) now: Duration,
    pub(crate) server: Server,
    pub(crate) stations: Vec<Station>,
    pub(crate) events: Vec<ServerEvent>,
    pub(crate) frames: Vec<(SessionId, Vec<u8>)>,
    pub(crate) wire: Vec<Packet>,
    /// Bytes of payload that the wire carries.
    pub(crate) mtu: usize,
    /// Keep the events on ids, too, which only threads beside the server's need.
    pub(crate) keep_ids: bool,
    seed: u64,
}

impl Rig {
    pub(crate) fn new(config: ServerConfig, clients: Box<dyn Clients>) -> Self {
        let now = Duration::from_secs(1000);
        Self {
            now,
            server: Server::new(config, clients, Box::new(Seeded(7)), now),
            stations: Vec::new(),
            events: Vec::new(),
            frames: Vec::new(),
            wire: Vec::new(),
            mtu: usize::MAX,
            keep_ids: false,
            seed: 100,
        }
    }

    /// An open server and one client with a session.
    pub(crate) fn connected() -> Self {
        let mut rig = Self::new(server_config(), Box::new(AnyClient));
        rig.add(client_config(10), path(1));
        rig.run(SECOND / 2);
        assert!(rig.stations[0].client.keys().is_some());
        assert_eq!(rig.server.session_count(), 1);
        rig
    }

    pub(crate) fn add(&mut self, config: ClientConfig, path: Path) -> usize {
        self.seed += 1;
        let client = Client::new(config, Box::new(Seeded(self.seed << 32)), self.now);
        let station = Station { client, path, events: Vec::new(), frames: Vec::new(), on: true };
        self.stations.push(station);
        self.stations.len() - 1
    }

    pub(crate) fn restart_server(&mut self, config: ServerConfig) {
        self.seed += 1;
        let random = Box::new(Seeded(self.seed << 32));
        self.server = Server::new(config, Box::new(AnyClient), random, self.now);
    }

    pub(crate) fn wall(&self) -> u64 {
        WALL + self.now.as_nanos() as u64
    }

    /// Hands the server a datagram; the last frame it gives back.
    pub(crate) fn give_server(&mut self, from: Path, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut datagram = bytes.to_vec();
        let made = self.server.handle_input(self.now, self.wall(), from, &mut datagram);
        self.take_events();
        let (id, frames) = made?;
        let before = self.frames.len();
        self.frames.extend(frames.map(|frame| (id, frame.bytes().to_vec())));
        self.frames[before..].last().map(|(_, bytes)| bytes.clone())
    }

    fn take_events(&mut self) {
        while let Some(event) = self.server.poll_event() {
            let on_ids =
                matches!(event, ServerEvent::IdExpected { .. } | ServerEvent::IdForgotten { .. });
            if self.keep_ids || !on_ids {
                self.events.push(event);
            }
        }
    }

    /// Hands a client a datagram; the last frame it gives back.
    pub(crate) fn give_client(&mut self, index: usize, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut datagram = bytes.to_vec();
        let station = &mut self.stations[index];
        let frames = station.client.handle_input(self.now, &mut datagram);
        while let Some(event) = station.client.poll_event() {
            station.events.push(event);
        }
        let before = station.frames.len();
        station.frames.extend(frames.map(|frame| frame.bytes().to_vec()));
        station.frames[before..].last().cloned()
    }

    /// Takes what the server has to send.
    pub(crate) fn take_server(&mut self) -> Vec<Packet> {
        let mut packets = Vec::new();
        let mut out = Vec::new();
        while let Some(transmit) = self.server.poll_transmit(64, &mut out) {
            for bytes in out.chunks(transmit.segment) {
                let bytes = bytes.to_vec();
                packets.push(Packet { to_server: false, path: transmit.path, bytes });
            }
            out.clear();
        }
        packets
    }

    /// Takes what a client has to send.
    pub(crate) fn take_client(&mut self, index: usize) -> Vec<Packet> {
        let station = &mut self.stations[index];
        let mut packets = Vec::new();
        let mut out = Vec::new();
        while let Some(segment) = station.client.poll_transmit(64, &mut out) {
            for bytes in out.chunks(segment) {
                let (path, bytes) = (station.path, bytes.to_vec());
                packets.push(Packet { to_server: true, path, bytes });
            }
            out.clear();
        }
        packets
    }

    /// Carries a datagram to where it goes.
    pub(crate) fn carry(&mut self, packet: Packet) {
        if packet.bytes.len() <= self.mtu {
            if packet.to_server {
                self.give_server(packet.path, &packet.bytes);
            } else {
                let on = |s: &Station| s.on && s.path == packet.path;
                if let Some(index) = self.stations.iter().position(on) {
                    self.give_client(index, &packet.bytes);
                }
            }
        }
        self.wire.push(packet);
    }

    /// Takes everything that anybody has to send.
    pub(crate) fn take_all(&mut self) -> Vec<Packet> {
        let mut packets = self.take_server();
        for index in 0..self.stations.len() {
            if self.stations[index].on {
                packets.extend(self.take_client(index));
            }
        }
        packets
    }

    /// Carries datagrams until there are none.
    pub(crate) fn settle(&mut self) {
        for _ in 0..1000 {
            let packets = self.take_all();
            if packets.is_empty() {
                return;
            }
            packets.into_iter().for_each(|packet| self.carry(packet));
        }
        panic!("no end of datagrams");
    }

    /// Lets time pass, timers run and datagrams cross.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..1_000_000 {
            self.settle();
            let on = self.stations.iter().filter(|station| station.on);
            let clients = on.filter_map(|station| station.client.poll_timeout());
            let next = clients.chain(self.server.poll_timeout()).min();
            match next.filter(|&at| at <= end) {
                Some(at) => self.now = at.max(self.now),
                None => {
                    self.now = end;
                    return;
                }
            }
            self.tick();
        }
        panic!("no end of time-outs at {:?}", self.now);
    }

    /// Calls everybody's time-out.
    pub(crate) fn tick(&mut self) {
        let (now, wall) = (self.now, self.wall());
        self.server.handle_timeout(now);
        self.take_events();
        for station in self.stations.iter_mut().filter(|station| station.on) {
            station.client.handle_timeout(now, wall);
            while let Some(event) = station.client.poll_event() {
                station.events.push(event);
            }
        }
    }

    /// A frame sealed by a client, as datagrams that are not carried yet.
    pub(crate) fn seal(&mut self, index: usize, frame: &[u8]) -> Vec<Packet> {
        let station = &self.stations[index];
        let mut out = Vec::new();
        let keys = station.client.keys().expect("a session");
        let segment = keys.seal_frame(self.now, frame, false, &mut out).expect("sealed");
        let packet =
            |bytes: &[u8]| Packet { to_server: true, path: station.path, bytes: bytes.to_vec() };
        out.chunks(segment).map(packet).collect()
    }

    /// A frame sealed by the server for a session.
    pub(crate) fn seal_back(&mut self, client: &Key, frame: &[u8]) -> Vec<Packet> {
        let session = self.server.sessions().find(|s| s.client == client).expect("a session");
        let mut out = Vec::new();
        let segment = session.keys.seal_frame(self.now, frame, false, &mut out).expect("sealed");
        let packet =
            |bytes: &[u8]| Packet { to_server: false, path: session.path, bytes: bytes.to_vec() };
        out.chunks(segment).map(packet).collect()
    }

    /// A frame each way arrives.
    pub(crate) fn assert_works(&mut self, index: usize, client: &Key) {
        let (up, down) = (frame(1, 200), frame(2, 300));
        let before = (self.frames.len(), self.stations[index].frames.len());
        for packet in self.seal(index, &up) {
            self.carry(packet);
        }
        for packet in self.seal_back(client, &down) {
            self.carry(packet);
        }
        assert_eq!(self.frames.len(), before.0 + 1, "to the server");
        assert_eq!(self.frames.last().map(|(_, frame)| frame), Some(&up));
        assert_eq!(self.stations[index].frames.len(), before.1 + 1, "to the client");
        assert_eq!(self.stations[index].frames.last(), Some(&down));
    }

    /// Events that change a session. Keys that wait to be confirmed and are dropped change none.
    pub(crate) fn changes(&self) -> usize {
        let change = |event: &&ServerEvent| {
            !matches!(
                event,
                ServerEvent::Refused { .. }
                    | ServerEvent::KeysReady { .. }
                    | ServerEvent::KeysDropped { .. }
            )
        };
        self.events.iter().filter(change).count()
    }
}

/// The type of a datagram, for messages.
pub(crate) fn name(bytes: &[u8]) -> &'static str {
    match Datagram::parse(bytes) {
        Ok(Datagram::Hello(_)) => "HELLO",
        Ok(Datagram::Welcome(_)) => "WELCOME",
        Ok(Datagram::Retry(_)) => "RETRY",
        Ok(Datagram::Reset(_)) => "RESET",
        Ok(Datagram::Query(_)) => "QUERY",
        Ok(Datagram::Reply(_)) => "REPLY",
        Ok(Datagram::Sealed(header)) if header.kind == Kind::Control => "CONTROL",
        Ok(Datagram::Sealed(_)) => "DATA",
        Err(_) => "nothing",
    }
}
