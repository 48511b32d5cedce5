//! Plain mode: its datagrams, and clients and a server with the fuzzer as their network.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use acton_proto::plain::{
    Client, ClientConfig, ClientEvent, Control, Datagram, MIN_FRAME_LEN, Server, ServerConfig,
    ServerEvent, SessionId,
};

use crate::input::Input;

/// A payload is one thing, and is what it encodes to.
pub fn plain_codec(data: &[u8]) -> bool {
    match Datagram::parse(data) {
        Ok(datagram) => {
            assert_eq!(datagram.as_bytes(), data);
            let is_frame = matches!(datagram, Datagram::Frame(_));
            assert_eq!(is_frame, data.len() >= MIN_FRAME_LEN);
            true
        }
        Err(_) => false,
    }
}

const CLIENTS: usize = 3;
const CONTROLS: [Control; 3] = [Control::Hello, Control::Keepalive, Control::Bye];
/// Longer than: a lost session is noticed (30 s), strangers' sessions expire (30 s), and the next
/// HELLO is due (11 s).
const HEALING: Duration = Duration::from_secs(90);

struct World {
    now: Duration,
    clients: Vec<Client>,
    connected: [bool; CLIENTS],
    server: Server<u8>,
    max_sessions: usize,
    statics: usize,
    up: BTreeMap<SessionId, u8>,
    to_server: VecDeque<(u8, Control)>,
    to_clients: VecDeque<(u8, Control)>,
    /// Bytes of control from each address less those to it.
    credit: [i64; 256],
    seed: u64,
}

impl World {
    fn new(max_sessions: usize) -> Self {
        let now = Duration::from_secs(1);
        let mut config = ServerConfig::default();
        config.max_sessions = max_sessions;
        let client = |seed| Client::new(ClientConfig::default(), seed, now);
        Self {
            now,
            clients: (0..CLIENTS as u64).map(client).collect(),
            connected: [false; CLIENTS],
            server: Server::new(config, now),
            max_sessions,
            statics: 0,
            up: BTreeMap::new(),
            to_server: VecDeque::new(),
            to_clients: VecDeque::new(),
            credit: [0; 256],
            seed: 100,
        }
    }

    fn give_server(&mut self, from: u8, control: Control) {
        self.credit[usize::from(from)] += control.as_bytes().len() as i64;
        self.server.handle_control(self.now, from, control);
    }

    fn give_client(&mut self, to: u8, datagram: &Datagram<'_>) {
        if let Some(client) = self.clients.get_mut(usize::from(to)) {
            client.handle_input(self.now, datagram);
        }
    }

    /// Takes what everybody has to say, and checks it.
    fn collect(&mut self) {
        for (address, client) in (0..).zip(&mut self.clients) {
            self.to_server.extend(client.poll_transmit().map(|control| (address, control)));
            let connected = &mut self.connected[usize::from(address)];
            while let Some(event) = client.poll_event() {
                match event {
                    ClientEvent::Connected { .. } => {
                        assert!(!std::mem::replace(connected, true), "connected twice");
                    }
                    ClientEvent::Lost { .. } => {
                        assert!(std::mem::replace(connected, false), "lost what it had not");
                    }
                    ClientEvent::Closed => *connected = false,
                    _ => {}
                }
            }
            assert_eq!(client.is_connected(), *connected);
        }
        while let Some((address, control)) = self.server.poll_transmit() {
            let credit = &mut self.credit[usize::from(address)];
            *credit -= control.as_bytes().len() as i64;
            assert!(*credit >= 0, "more went to {address} than came from it");
            self.to_clients.push_back((address, control));
        }
        while let Some(event) = self.server.poll_event() {
            match event {
                ServerEvent::SessionUp { id, addr, .. } => {
                    assert_eq!(self.up.insert(id, addr), None, "a name is given once");
                }
                ServerEvent::SessionDown { id, addr, .. } => {
                    assert_eq!(self.up.remove(&id), Some(addr), "only what began ends");
                }
                _ => {}
            }
        }
        assert_eq!(self.server.len(), self.up.len());
        assert!(self.server.len() - self.statics <= self.max_sessions);
        for (&id, &addr) in &self.up {
            assert_eq!(self.server.get(addr), Some(id));
            assert_eq!(self.server.session(id).map(|session| session.addr), Some(addr));
        }
    }

    fn advance(&mut self, time: Duration) {
        self.now += time;
        self.server.handle_timeout(self.now);
        assert!(self.server.poll_timeout().is_none_or(|at| at > self.now), "the server spins");
        for client in &mut self.clients {
            client.handle_timeout(self.now);
            assert!(client.poll_timeout().is_none_or(|at| at > self.now), "a client spins");
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.below(16) {
            0 => self.advance(Duration::from_millis(input.u16().into())),
            1 => self.advance(Duration::from_secs(input.u8().into())),
            2 => {
                let due = self.clients.iter().filter_map(Client::poll_timeout);
                let next = due.chain(self.server.poll_timeout()).min();
                self.advance(next.map_or(Duration::ZERO, |at| at.saturating_sub(self.now)));
            }
            3 | 4 => {
                if let Some((from, control)) = self.to_server.pop_front() {
                    self.give_server(from, control);
                }
            }
            5 | 6 => {
                if let Some((to, control)) = self.to_clients.pop_front() {
                    self.give_client(to, &Datagram::Control(control));
                }
            }
            7 => drop(self.to_server.pop_front()),
            8 => drop(self.to_clients.pop_front()),
            9 => {
                self.to_server.extend(self.to_server.front().copied());
                self.to_clients.extend(self.to_clients.front().copied());
            }
            10 => {
                let from = input.u8();
                self.give_server(from, CONTROLS[input.below(3)]);
            }
            11 => {
                let to = input.u8();
                if let Ok(datagram) = Datagram::parse(input.chunk()) {
                    self.give_client(to, &datagram);
                }
            }
            12 => {
                let client = &mut self.clients[input.below(CLIENTS)];
                client.handle_network_error(self.now);
            }
            13 => {
                let at = input.below(CLIENTS);
                if input.bool() {
                    self.clients[at].close();
                } else {
                    self.renew(at);
                }
            }
            14 => {
                // A table that cannot be full of peers without end.
                let peer = 200 + input.u8() % 4;
                let known = self.server.get(peer).and_then(|id| self.server.session(id));
                let is_static =
                    known.is_some_and(|s| s.origin == acton_proto::plain::Origin::Static);
                self.statics += usize::from(!is_static);
                self.server.add_static(peer);
            }
            _ => {
                // A frame from a client, some time ago.
                let back = Duration::from_secs(input.u8().into());
                if let Some(id) = self.server.get(input.below(CLIENTS) as u8) {
                    self.server.touch(id, self.now.saturating_sub(back));
                }
            }
        }
        self.collect();
    }

    fn renew(&mut self, at: usize) {
        self.seed += 1;
        self.clients[at] = Client::new(ClientConfig::default(), self.seed, self.now);
        self.connected[at] = false;
    }

    /// Lets the network be a good one for a while.
    fn heal(&mut self) {
        for at in 0..CLIENTS {
            if self.clients[at].poll_timeout().is_none() {
                self.renew(at);
            }
        }
        let end = self.now + HEALING;
        while self.now < end {
            self.collect();
            while let Some((from, control)) = self.to_server.pop_front() {
                self.give_server(from, control);
            }
            self.collect();
            while let Some((to, control)) = self.to_clients.pop_front() {
                self.give_client(to, &Datagram::Control(control));
            }
            self.collect();
            self.advance(Duration::from_millis(500));
        }
        self.collect();
        for (address, client) in (0..).zip(&self.clients) {
            assert!(client.is_connected(), "client {address} does not come back");
            assert!(self.server.get(address).is_some(), "client {address} has no session");
        }
    }
}

/// Clients and a server. Whatever the network did, they find each other once it is a good one.
pub fn plain_session(data: &[u8]) -> bool {
    let mut input = Input::new(data);
    let mut world = World::new(CLIENTS + input.below(3));
    let mut steps = 0;
    while !input.is_empty() && steps < 500 {
        world.step(&mut input);
        steps += 1;
    }
    let any = world.connected.contains(&true);
    world.heal();
    any
}
