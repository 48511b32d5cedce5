//! Both guards in a simulated network, on a virtual clock: LANs, each a switch that floods, servers and
//! clients with a TAP in one, and the tunnels between them. Everything is flooded; what is not blocked
//! comes a millisecond later.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use acton_bridge::Owner;
use proptest::prelude::*;

use crate::loops::client_guard::{self, ClientGuard, Witness};
use crate::loops::server_guard::{self, JoinedWith, SentTo, ServerGuard};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// What may be under way at once: more is a storm.
const STORM: usize = 2_000;

/// A LAN, a server and a client by their numbers.
type Lan = usize;
type ServerId = usize;
type ClientId = usize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Frame {
    OfServer {
        server: ServerId,
        sent: Duration,
        to: Option<ClientId>,
        blocked: bool,
    },
    OfClient {
        client: ClientId,
        sent: Duration,
    },
    /// Of a host.
    Broadcast(u32),
}

/// Where a frame is about to arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum At {
    /// In a LAN, from a TAP of this end, or from a host.
    Lan(Lan, Option<End>),
    /// At a client, out of the tunnel.
    Client(ClientId),
    /// At a client's server, out of the tunnel.
    Server(ClientId),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Server(ServerId),
    Client(ClientId),
}

struct Server {
    guard: ServerGuard<ClientId>,
    lan: Lan,
    blocked: BTreeSet<ClientId>,
    looks: bool,
}

struct Client {
    guard: ClientGuard,
    server: ServerId,
    lan: Lan,
    blocked: bool,
    /// It believes in a loop.
    told: bool,
    /// It knows whose word is its server's.
    knows: bool,
}

#[derive(Default)]
struct Network {
    now: Duration,
    servers: Vec<Server>,
    clients: Vec<Client>,
    /// Cables between two LANs.
    cables: BTreeSet<(Lan, Lan)>,
    under_way: BinaryHeap<Reverse<(Duration, u64, At, Frame)>>,
    number: u64,
    /// Frames of hosts that arrived in LANs.
    arrived: BTreeMap<(u32, Lan), usize>,
    /// What servers found: whom they blocked, and with what it is joined.
    found: Vec<(ServerId, ClientId, JoinedWith<ClientId>)>,
    opened: Vec<(Duration, ClientId)>,
    /// Clients of which a server told that their LAN sends frames back.
    reflecting: Vec<ClientId>,
    /// LANs with a host that sends back each probe that it finds.
    reflectors: BTreeSet<Lan>,
    witnesses: Vec<(ClientId, Witness)>,
}

impl Network {
    fn server(&mut self, lan: Lan, looks: bool) -> ServerId {
        let seed = 0x9e37_79b9 + self.servers.len() as u64 * 77;
        let guard = ServerGuard::new(self.now, seed);
        self.servers.push(Server { guard, lan, blocked: BTreeSet::new(), looks });
        self.servers.len() - 1
    }

    fn client(&mut self, server: ServerId, lan: Lan) -> ClientId {
        let id = self.clients.len();
        let mut guard = ClientGuard::new(0xabcd_ef01 + id as u64 * 1_001);
        guard.set_connected(self.now, true);
        self.servers[server].guard.client_up(self.now, id);
        let (blocked, told, knows) = (false, false, false);
        self.clients.push(Client { guard, server, lan, blocked, told, knows });
        id
    }

    fn send(&mut self, at: At, frame: Frame) {
        self.number += 1;
        self.under_way.push(Reverse((self.now + MS, self.number, at, frame)));
        assert!(self.under_way.len() < STORM, "a storm at {:?}", self.now);
    }

    fn broadcast(&mut self, lan: Lan, number: u32) {
        self.send(At::Lan(lan, None), Frame::Broadcast(number));
    }

    /// Lets time pass.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            let arrival = self.under_way.peek().map(|Reverse((at, ..))| *at);
            let servers = self.servers.iter().filter(|server| server.looks);
            let dues = servers.map(|server| server.guard.due());
            let dues = dues.chain(self.clients.iter().filter_map(|client| client.guard.due()));
            let next = dues.chain(arrival).min().unwrap_or(until).max(self.now);
            if next > until {
                self.now = until;
                return;
            }
            self.now = next;
            while let Some(Reverse((at, _, place, frame))) = self.under_way.peek().copied()
                && at <= self.now
            {
                self.under_way.pop();
                self.arrive(place, frame);
            }
            for id in 0..self.servers.len() {
                self.poll_server(id);
            }
            for id in 0..self.clients.len() {
                self.poll_client(id);
            }
        }
    }

    fn arrive(&mut self, at: At, frame: Frame) {
        match at {
            At::Lan(lan, from) => self.arrive_in_lan(lan, from, frame),
            At::Client(id) => {
                let client = &mut self.clients[id];
                let passes = match frame {
                    Frame::OfClient { client: of, sent } if of == id => {
                        client.guard.came_back(self.now, sent);
                        return;
                    }
                    Frame::OfServer { to: Some(_), blocked, .. } => {
                        client.knows = true;
                        client.guard.server_says(self.now, blocked);
                        true
                    }
                    _ => !client.blocked,
                };
                let lan = client.lan;
                if passes {
                    self.send(At::Lan(lan, Some(End::Client(id))), frame);
                }
            }
            At::Server(id) => {
                let server_id = self.clients[id].server;
                let server = &mut self.servers[server_id];
                match frame {
                    Frame::OfServer { server: of, sent, to, .. }
                        if server.looks && of == server_id =>
                    {
                        let sent_to = to.map_or(SentTo::Tap, SentTo::Client);
                        server.guard.came_back(self.now, sent_to, sent, Owner::Leaf(id));
                        return;
                    }
                    Frame::OfServer { to: Some(_), .. } if server.looks => return,
                    _ => {}
                }
                let lan = server.lan;
                if !server.blocked.contains(&id) {
                    self.send(At::Lan(lan, Some(End::Server(server_id))), frame);
                }
            }
        }
    }

    /// A frame comes to all that is in a LAN but where it came from; cables are as good as the switch.
    fn arrive_in_lan(&mut self, lan: Lan, from: Option<End>, frame: Frame) {
        let mut joined = BTreeSet::from([lan]);
        while let Some(&(one, other)) =
            self.cables.iter().find(|(one, other)| joined.contains(one) != joined.contains(other))
        {
            joined.extend([one, other]);
        }
        if let Frame::Broadcast(number) = frame {
            for &lan in &joined {
                *self.arrived.entry((number, lan)).or_default() += 1;
            }
        }
        let sends_back = from.is_some() && !matches!(frame, Frame::Broadcast(_));
        if sends_back && let Some(&lan) = joined.intersection(&self.reflectors).next() {
            self.send(At::Lan(lan, None), frame);
        }
        for id in 0..self.servers.len() {
            if joined.contains(&self.servers[id].lan) && from != Some(End::Server(id)) {
                self.arrive_from_root(id, frame);
            }
        }
        for id in 0..self.clients.len() {
            let client = &self.clients[id];
            if !joined.contains(&client.lan) || from == Some(End::Client(id)) {
                continue;
            }
            let passes = match frame {
                Frame::OfClient { client: of, .. } if of == id => false,
                Frame::OfServer { server, .. } if client.knows && server == client.server => true,
                _ => !client.blocked,
            };
            if passes {
                self.send(At::Server(id), frame);
            }
        }
    }

    fn arrive_from_root(&mut self, id: ServerId, frame: Frame) {
        let server = &mut self.servers[id];
        match frame {
            Frame::OfServer { server: of, sent, to, .. } if server.looks && of == id => {
                let sent_to = to.map_or(SentTo::Tap, SentTo::Client);
                return server.guard.came_back(self.now, sent_to, sent, Owner::Root);
            }
            Frame::OfServer { to: Some(_), .. } if server.looks => return,
            _ => {}
        }
        let blocked = server.blocked.clone();
        for client in 0..self.clients.len() {
            if self.clients[client].server == id && !blocked.contains(&client) {
                self.send(At::Client(client), frame);
            }
        }
    }

    fn poll_server(&mut self, id: ServerId) {
        while self.servers[id].looks
            && let Some(action) = self.servers[id].guard.poll(self.now)
        {
            let (server, sent) = (id, self.now);
            match action {
                server_guard::Action::ProbeTap => {
                    let frame = Frame::OfServer { server, sent, to: None, blocked: false };
                    self.send(At::Lan(self.servers[id].lan, Some(End::Server(id))), frame);
                }
                server_guard::Action::ProbeClient { port, blocked } => {
                    let frame = Frame::OfServer { server, sent, to: Some(port), blocked };
                    self.send(At::Client(port), frame);
                }
                server_guard::Action::Block { port, with, .. } => {
                    self.servers[id].blocked.insert(port);
                    self.found.push((id, port, with));
                }
                server_guard::Action::Open { port, .. } => {
                    self.servers[id].blocked.remove(&port);
                    self.opened.push((self.now, port));
                }
                server_guard::Action::TellReflects { port } => self.reflecting.push(port),
            }
        }
    }

    fn poll_client(&mut self, id: ClientId) {
        while let Some(action) = self.clients[id].guard.poll(self.now) {
            match action {
                client_guard::Action::Probe => {
                    let frame = Frame::OfClient { client: id, sent: self.now };
                    self.send(At::Lan(self.clients[id].lan, Some(End::Client(id))), frame);
                }
                client_guard::Action::Block => self.clients[id].blocked = true,
                client_guard::Action::Open => self.clients[id].blocked = false,
                client_guard::Action::TellFound { by, .. } => {
                    self.clients[id].told = true;
                    self.witnesses.push((id, by));
                }
                client_guard::Action::TellOver { .. } => self.clients[id].told = false,
            }
        }
    }

    /// How often a broadcast from one LAN arrives in others.
    fn copies(&mut self, from: Lan, number: u32, lans: &[Lan]) -> Vec<usize> {
        self.broadcast(from, number);
        self.pass(SECOND);
        lans.iter().map(|lan| self.arrived.get(&(number, *lan)).copied().unwrap_or(0)).collect()
    }
}

#[test]
fn a_cable_beside_the_tunnel_is_found_within_two_probes_and_its_end_too() {
    for looks in [true, false] {
        let mut network = Network::default();
        let server = network.server(0, looks);
        let client = network.client(server, 1);
        network.pass(MINUTE);
        network.cables.insert((0, 1));
        network.broadcast(0, 1);
        // A client that knows its server to look does so seldom.
        network.pass(SECOND * 7);
        assert!(network.clients[client].told, "{looks}");
        assert_eq!(network.servers[server].blocked.contains(&client), looks);
        assert!(network.clients[client].blocked || looks);
        assert_eq!(network.copies(0, 2, &[0])[0], 1, "nothing goes round any more");
        // It stays found for as long as the cable is there, and is told once.
        network.pass(MINUTE * 60);
        assert!(network.clients[client].told && network.opened.is_empty());
        assert_eq!((network.found.len(), network.witnesses.len()), (usize::from(looks), 1));
        network.cables.clear();
        network.pass(SECOND * 70);
        assert!(!network.clients[client].told && !network.clients[client].blocked);
        assert!(network.servers[server].blocked.is_empty());
        assert_eq!(network.copies(0, 3, &[1]), [1]);
    }
}

#[test]
fn of_two_clients_of_one_lan_one_stays() {
    let mut network = Network::default();
    let server = network.server(0, true);
    let clients = [0, 1].map(|_| network.client(server, 1));
    network.pass(SECOND);
    let [(_, blocked, with)] = network.found[..] else { panic!("{:?}", network.found) };
    let stays = clients[1 - blocked];
    assert_eq!(with, JoinedWith::Client(stays));
    // So for days, in which every broadcast arrives once.
    network.pass(MINUTE * 60 * 24);
    assert_eq!((network.found.len(), network.opened.len()), (1, 0));
    assert_eq!(network.copies(0, 1, &[0, 1]), [1, 1]);
    assert_eq!(network.copies(1, 2, &[0, 1]), [1, 1]);
    // Without its fellow, the other takes over.
    network.servers[server].guard.client_down(network.now, stays);
    network.clients[stays].lan = 9;
    network.pass(MS);
    assert!(network.servers[server].blocked.is_empty());
}

#[test]
fn a_host_that_sends_probes_back_is_told_and_cuts_off_nobody() {
    let mut network = Network::default();
    let server = network.server(0, true);
    let clients = [1, 2].map(|lan| network.client(server, lan));
    network.reflectors.insert(1);
    network.pass(MINUTE * 60);
    assert_eq!((network.found.len(), network.reflecting.as_slice()), (0, &clients[..1]));
    assert_eq!(network.copies(0, 1, &[1, 2]), [1, 1]);
    // A loop beside it is found as ever.
    network.cables.insert((1, 2));
    network.pass(MINUTE);
    assert_eq!(network.found.len(), 1);
}

#[test]
fn two_networks_side_by_side_are_found_and_one_way_stays() {
    let mut network = Network::default();
    let servers = [0, 1].map(|_| network.server(0, true));
    for server in servers {
        network.client(server, 1);
    }
    network.broadcast(0, 1);
    network.pass(MINUTE);
    assert!(!network.found.is_empty());
    // Should both have found it at once, one opens again after a while, and so on until one stays.
    network.pass(MINUTE * 30);
    let open = network.servers.iter().filter(|server| server.blocked.is_empty()).count();
    assert!(open <= 1);
    assert_eq!(network.copies(0, 2, &[0, 1]), [1, 1]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    /// A day of any network that is a tree: nobody is blocked, nothing is told.
    #[test]
    fn a_tree_is_never_blocked(
        sites in prop::collection::vec((any::<bool>(), 0..200_u64), 1..6),
        broadcasts in prop::collection::vec((0..8_usize, 0..86_000_u64), 0..40),
    ) {
        let mut network = Network::default();
        let server = network.server(0, true);
        // A second tunnel, behind the LAN of the first one's server.
        let other = network.server(0, true);
        for (lan, (own, seconds)) in sites.iter().enumerate() {
            network.pass(SECOND * *seconds as u32);
            network.client(if *own { server } else { other }, lan + 1);
        }
        let mut broadcasts = broadcasts;
        broadcasts.sort_by_key(|(_, at)| *at);
        for (number, (lan, at)) in broadcasts.into_iter().enumerate() {
            network.pass(Duration::from_secs(at).saturating_sub(network.now));
            network.broadcast(lan, number as u32);
        }
        network.pass(Duration::from_secs(86_400).saturating_sub(network.now));
        prop_assert!(network.found.is_empty() && network.witnesses.is_empty());
    }

    /// Whatever is joined by cables and whenever: a minute later nothing goes round, and once the
    /// cables are gone all is open again.
    #[test]
    fn whatever_is_joined_nothing_goes_round(
        sites in prop::collection::vec(1..4_usize, 1..5),
        cables in prop::collection::btree_set((0..4_usize, 0..4_usize), 0..4),
    ) {
        let mut network = Network::default();
        let server = network.server(0, true);
        for lan in sites {
            network.client(server, lan);
        }
        network.pass(SECOND * 10);
        network.cables = cables.into_iter().filter(|(one, other)| one != other).collect();
        for id in 0..network.clients.len() {
            network.servers[server].guard.suspect(network.now, Some(id));
        }
        network.pass(MINUTE);
        for lan in 0..4 {
            let copies = network.copies(lan, lan as u32, &[0, 1, 2, 3]);
            prop_assert!(copies.iter().all(|&copies| copies <= 1), "{lan}: {copies:?}");
        }
        // All within reach of the root by some way hear it.
        let reached = network.copies(0, 10, &[0])[0];
        prop_assert_eq!(reached, 1);
    }
}
