//! Tests of isolation on a simulated network, with the bridge as it is.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use acton_bridge::{Bridge, Config, FromLeaf, FromRoot, Owner};
use acton_frame::Headers;
use acton_proto::server::SessionId;
use acton_proto::wire::{IsolationReply, IsolationStep, TestToken};
use pnet_base::MacAddr;
use proptest::prelude::*;

use crate::isolation::fates::Fate;
use crate::isolation::frame::Home;
use crate::isolation::report::{IsolationPart, IsolationReport, IsolationVerdict};
use crate::isolation::subject::Subject;
use crate::isolation::trial::{Action, Candidate, Macs, Trial};
use crate::sessions::port::LeafId;

const ROOT: MacAddr = MacAddr(2, 0, 0, 0, 0, 1);
const TOKEN: TestToken = TestToken([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3]);

struct Client {
    port: LeafId,
    subject: Subject,
    allows: bool,
    knows: bool,
    /// Nothing comes through the tunnel but control messages.
    is_deaf: bool,
    has_address: bool,
    /// The VLAN of its untagged frames at the root.
    vlan: u16,
    /// Frames that it sends at most.
    budget: usize,
    /// The reason for which its policy drops its frames, so many of them.
    bar: (&'static str, usize),
}

struct Network {
    now: Duration,
    bridge: Bridge<LeafId>,
    clients: Vec<Client>,
    /// The root sends back what comes to it.
    reflects: bool,
    /// The root's host is a router between clients.
    routes: bool,
    /// A cable between what is behind these two clients.
    cable: Option<[usize; 2]>,
    /// Of a hundred datagrams so many are lost.
    loss: u64,
    random: u64,
    /// The session that ends after so many actions.
    dies: Option<(usize, usize)>,
}

struct Look<'a>(&'a Bridge<LeafId>, Duration);

impl Macs for Look<'_> {
    fn owner(&self, vlan: u16, mac: MacAddr) -> Option<Owner<LeafId>> {
        self.0.lookup(vlan, mac, self.1)
    }

    fn behind_clients(&self) -> Vec<(LeafId, u16, MacAddr)> {
        let of_leaf = |owner| if let Owner::Leaf(port) = owner { Some(port) } else { None };
        let entries = self.0.entries(self.1);
        entries.filter_map(|it| Some((of_leaf(it.owner)?, it.vlan, it.mac))).collect()
    }
}

fn mac(number: usize) -> MacAddr {
    MacAddr(2, 0, 0, 1, (number >> 8) as u8, number as u8)
}

impl Network {
    fn new(clients: usize) -> Self {
        let bridge = Bridge::new(Config::default());
        bridge.protect(ROOT).unwrap();
        let client = |number| Client {
            port: number as LeafId,
            subject: Subject::default(),
            allows: true,
            knows: true,
            is_deaf: false,
            has_address: true,
            vlan: 0,
            budget: usize::MAX,
            bar: ("", 0),
        };
        Self {
            now: Duration::from_secs(100),
            bridge,
            clients: (0..clients).map(client).collect(),
            reflects: false,
            routes: false,
            cable: None,
            loss: 0,
            random: 7,
            dies: None,
        }
    }

    fn is_lost(&mut self) -> bool {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.random >> 33) % 100 < self.loss
    }

    fn give_client(&mut self, at: usize, frame: &[u8]) {
        let client = &self.clients[at];
        if let Some(listener) = client.subject.listener().filter(|_| !client.is_deaf) {
            listener.takes(&Headers::parse(frame), frame);
        }
    }

    /// A frame of a client's that came to the server.
    fn give_server(&mut self, trial: &Trial, from: usize, frame: &[u8]) {
        let (port, headers) = (self.clients[from].port, Headers::parse(frame));
        let number = trial.fates().number(port, &headers, frame).unwrap();
        let Client { bar, vlan, .. } = &mut self.clients[from];
        if bar.1 > 0 {
            bar.1 -= 1;
            return trial.fates().note(number, port, Fate::Dropped(bar.0));
        }
        let at_root =
            headers.in_vlan(if *vlan > 0 { *vlan } else { headers.ethernet().unwrap().vlan() });
        let (verdict, _) = self.bridge.from_leaf_parsed(port, at_root.ethernet(), self.now);
        let fate = match verdict {
            FromLeaf::Root { .. } => Fate::Root,
            FromLeaf::Drop(reason) => Fate::Dropped(reason.as_str()),
        };
        trial.fates().note(number, port, fate);
        if fate != Fate::Root {
            return;
        }
        let mut frame = frame.to_vec();
        let is_routed = self.routes && frame[..6] == ROOT.octets() && frame[12..14] == [8, 0];
        if is_routed {
            let to = usize::from(frame[33]);
            frame[..6].copy_from_slice(&mac(to).octets());
            frame[6..12].copy_from_slice(&ROOT.octets());
        } else if !self.reflects {
            return;
        }
        let headers = Headers::parse(&frame);
        let (verdict, _) = self.bridge.from_root_parsed(headers.ethernet(), self.now);
        match verdict {
            FromRoot::Leaf(port) => self.give_client(port as usize, &frame),
            FromRoot::Flood(_) => {
                (0..self.clients.len()).for_each(|at| self.give_client(at, &frame));
            }
            FromRoot::Drop(_) => {}
        }
    }

    fn verify(&mut self, willing_only: bool) -> (IsolationReport, usize) {
        let candidate = |(number, client): (usize, &Client)| Candidate {
            id: SessionId(number as u32),
            port: client.port,
            name: format!("client-{number}").into(),
            knows: client.knows,
            place: Some((client.vlan, 0)),
        };
        let candidates = self.clients.iter().enumerate().map(candidate).collect();
        let start = self.now;
        let mut trial = Trial::new(self.now, TOKEN, ROOT, candidates, willing_only);
        let (mut actions, mut frames) = (0, 0);
        loop {
            while let Some(action) = trial.poll(self.now, &Look(&self.bridge, self.now)) {
                actions += 1;
                if let Some((at, _)) = self.dies.take_if(|(_, after)| *after == actions) {
                    trial.gone(SessionId(at as u32));
                }
                let id = match &action {
                    Action::Order(id, _) | Action::Frame(id, _) => *id,
                };
                let at = id.0 as usize;
                if self.is_lost() {
                    continue;
                }
                let order = match action {
                    Action::Order(_, order) => order,
                    Action::Frame(_, frame) => {
                        self.give_client(at, &frame);
                        continue;
                    }
                };
                let client = &mut self.clients[at];
                assert!(client.knows, "who does not know orders gets none");
                let ipv4 = Ipv4Addr::new(10, 0, 0, at as u8);
                let ipv6 = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1 + at as u16);
                let mut home = Home { mac: mac(at), ipv4, ipv6, max_frame: 1_514 };
                if !client.has_address {
                    (home.ipv4, home.ipv6) = (Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED);
                }
                let mut doing = client.subject.obey(self.now, order, client.allows, || Some(home));
                if let IsolationStep::Send(_) = order.step {
                    let answer = doing.answer.as_mut().map(|answer| &mut answer.reply);
                    if let Some(IsolationReply::Sent { kinds, .. }) = answer
                        && doing.frames.len() > client.budget
                    {
                        doing.frames.clear();
                        *kinds = 0;
                    }
                    client.budget -= doing.frames.len();
                }
                frames += doing.frames.len();
                for frame in &doing.frames {
                    if !self.is_lost() {
                        self.give_server(&trial, at, frame);
                    }
                }
                let other = match self.cable {
                    Some([one, other]) if at == one => Some(other),
                    Some([one, other]) if at == other => Some(one),
                    _ => None,
                };
                for (frame, other) in doing.beside.iter().zip(other) {
                    self.give_server(&trial, other, frame);
                }
                if let Some(answer) = doing.answer
                    && !self.is_lost()
                {
                    trial.hear(self.now, id, &answer);
                }
            }
            if let Some(report) = trial.report() {
                assert!(self.now - start < Duration::from_secs(125), "it ends");
                for (vlan, mac) in trial.taught() {
                    self.bridge.forget(vlan, mac);
                }
                return (report, frames);
            }
            self.now = trial.due().max(self.now + Duration::from_millis(1));
        }
    }
}

#[test]
fn nothing_arrives_where_the_root_keeps_it() {
    let mut network = Network::new(3);
    let (report, frames) = network.verify(false);
    assert_eq!(report.verdict, IsolationVerdict::Isolated, "{report:?}");
    assert_eq!((report.pairs, report.pairs_of, report.doubts.len()), (6, 6, 0));
    assert!(frames >= 3 * (9 + 2 * 11), "each kind once at least: {frames}");
    let row = |name: &str| report.kinds.iter().find(|kind| kind.kind == name).unwrap();
    assert_eq!((row("root").sent, row("root").at_root), (3, 3));
    assert_eq!((row("peer").sent, row("peer").dropped["leaf_to_leaf"]), (6, 6));
    assert_eq!(row("from_root").dropped.values().sum::<u64>(), 3);
    assert_eq!(row("from_group").dropped["source_group"], 3);
    assert_eq!(row("from_peer").dropped.values().sum::<u64>(), 6, "{report:?}");
    assert!(report.kinds.iter().all(|kind| kind.lost + kind.at_clients + kind.came_back == 0));
    // The bridge knows no more than that each client is there.
    assert_eq!(network.bridge.entries(network.now).filter(|it| it.vlan != 0).count(), 0);
}

#[test]
fn a_root_that_sends_frames_back_is_a_leak() {
    let mut network = Network::new(3);
    network.reflects = true;
    let (report, _) = network.verify(false);
    assert_eq!(report.verdict, IsolationVerdict::Leaks);
    let row = |name: &str| report.kinds.iter().find(|kind| kind.kind == name).unwrap();
    assert_eq!((row("broadcast").at_clients, row("broadcast").came_back), (6, 3), "{report:?}");
    assert_eq!(row("peer").at_clients, 0, "that does not get to the root");
    // What was sent back taught the bridge that the client is at the root, which alone proves nothing.
    assert_eq!(row("root").dropped["source_at_root"], 3);
    assert_eq!(report.doubts.len(), 3, "{:?}", report.doubts);
    assert!(report.leaks.iter().all(|leak| leak.from != leak.at) && !report.leaks.is_empty());
}

#[test]
fn a_cable_between_two_clients_is_found_and_named() {
    let mut network = Network::new(3);
    network.cable = Some([0, 2]);
    let known = network.bridge.entries(network.now).count();
    let (report, _) = network.verify(false);
    assert_eq!((report.verdict, report.doubts.len()), (IsolationVerdict::Leaks, 0), "{report:?}");
    let row = report.kinds.iter().find(|kind| kind.kind == "beside").unwrap();
    assert_eq!((row.sent, row.at_clients, row.lost), (3, 2, 0));
    let leaks: Vec<_> = report.leaks.iter().map(|it| (&*it.kind, &*it.from, &*it.at)).collect();
    let names = [0, 2].map(|at| report.clients[at].name.as_str());
    assert_eq!(leaks, [("beside", names[0], names[1]), ("beside", names[1], names[0])]);
    assert_eq!(network.bridge.entries(network.now).count(), known + 3, "the clients' own alone");
}

#[test]
fn a_router_at_the_root_is_told_and_is_no_leak() {
    let mut network = Network::new(2);
    network.routes = true;
    let (report, _) = network.verify(false);
    assert_eq!(report.verdict, IsolationVerdict::Isolated, "{report:?}");
    assert_eq!((report.leaks.len(), report.routed.len()), (0, 2));
}

#[test]
fn who_does_not_take_part_stops_it_or_is_left_out() {
    let mut network = Network::new(4);
    network.clients[1].allows = false;
    network.clients[2].knows = false;
    let (report, frames) = network.verify(false);
    assert_eq!((report.verdict, frames), (IsolationVerdict::Unproved, 0), "nothing is sent");
    let parts: Vec<_> = report.clients.iter().map(|client| client.part).collect();
    use IsolationPart::{Agreed, NotAllowed, Unknown};
    assert_eq!(parts, [Agreed, NotAllowed, Unknown, Agreed]);
    // Those that agreed wait for no more.
    let (report, _) = network.verify(true);
    assert_eq!((report.verdict, report.pairs), (IsolationVerdict::Isolated, 2), "{report:?}");
    // Once more is too soon.
    let (report, frames) = network.verify(true);
    assert_eq!((report.verdict, frames), (IsolationVerdict::Unproved, 0));
    assert_eq!(report.clients[0].part, IsolationPart::TooSoon);
}

#[test]
fn silence_of_who_cannot_hear_proves_nothing() {
    let mut network = Network::new(2);
    network.clients[1].is_deaf = true;
    let (report, _) = network.verify(false);
    assert_eq!(report.verdict, IsolationVerdict::Unproved);
    assert_eq!(report.clients[1].part, IsolationPart::Deaf);
    assert!(report.doubts.iter().any(|doubt| doubt.contains("client-1")), "{report:?}");
    let (alone, _) = Network::new(1).verify(false);
    assert_eq!((alone.verdict, alone.pairs), (IsolationVerdict::Unproved, 0));
}

#[test]
fn a_session_that_ends_meanwhile_proves_nothing() {
    for after in [1, 5, 9, 20] {
        let mut network = Network::new(3);
        network.dies = Some((2, after));
        let (report, _) = network.verify(false);
        assert_eq!(report.verdict, IsolationVerdict::Unproved, "{after}: {report:?}");
        assert_eq!(report.clients[2].part, IsolationPart::Gone);
    }
}

#[test]
fn hundreds_are_tested_in_a_ring_and_more() {
    let mut network = Network::new(300);
    let (report, frames) = network.verify(false);
    assert_eq!(report.verdict, IsolationVerdict::Isolated, "{:?}", report.doubts);
    assert_eq!((report.clients.len(), report.left_out, report.pairs), (256, 44, 256 * 4));
    assert!(frames <= 256 * 64, "{frames}");
}

#[test]
fn clients_without_addresses_are_tested_too() {
    let mut network = Network::new(2);
    network.clients.iter_mut().for_each(|client| client.has_address = false);
    let (report, _) = network.verify(false);
    assert_eq!(report.verdict, IsolationVerdict::Isolated, "{report:?}");
    for kind in ["peer_arp", "routed_ipv4", "routed_ipv6"] {
        let row = report.kinds.iter().find(|row| row.kind == kind);
        assert_eq!(row.map(|row| row.sent), Some(0), "{kind} is not left out: {report:?}");
    }
}

#[test]
fn what_was_not_sent_proves_nothing() {
    for (budget, pairs) in [(0, 2), (9, 2), (20, 3)] {
        let mut network = Network::new(3);
        network.clients[1].budget = budget;
        // Once all that it sends for others is more than it may, it answers that it sent none.
        let (report, _) = network.verify(false);
        assert_eq!(report.verdict, IsolationVerdict::Unproved, "{budget}: {report:?}");
        let doubts = &report.doubts;
        assert!(doubts.iter().any(|it| it.starts_with("client-1 did not send ")), "{doubts:?}");
        assert_eq!(report.pairs, 2 + pairs, "{budget}: {report:?}");
    }
}

#[test]
fn what_never_got_past_the_server_proves_nothing() {
    let mut network = Network::new(2);
    network.clients[1].bar = ("ethertype", usize::MAX);
    let (report, _) = network.verify(false);
    assert_eq!(report.verdict, IsolationVerdict::Unproved, "{report:?}");
    let [doubt] = &*report.doubts else { panic!("{report:?}") };
    assert!(doubt.contains("client-1") && doubt.contains("ethertype"), "{doubt}");
}

#[test]
fn frames_that_came_too_fast_are_sent_again() {
    let mut network = Network::new(2);
    network.clients[1].bar = ("rate_in", 15);
    let (report, _) = network.verify(false);
    assert_eq!(report.verdict, IsolationVerdict::Isolated, "{report:?}");
    network.now += Duration::from_secs(10);
    // Twelve times all nine that are for nobody in particular, and some.
    network.clients[1].bar.1 = 115;
    let (report, _) = network.verify(false);
    assert_eq!(report.verdict, IsolationVerdict::Unproved, "{report:?}");
    assert!(report.doubts.iter().any(|doubt| doubt.contains("rates")), "{:?}", report.doubts);
}

#[test]
fn addresses_are_forged_within_a_vlan() {
    let mut network = Network::new(4);
    for (client, vlan) in [10, 10, 20, 0].into_iter().enumerate() {
        network.clients[client].vlan = vlan;
    }
    // A host behind client 0, and one elsewhere that its policy will not let it have.
    for (vlan, host) in [(10, 500), (30, 501)] {
        let frame = [&[0xff; 6], &mac(host).octets()[..], &[0x88, 0xb5], &[0; 46]].concat();
        let headers = Headers::parse(&frame).in_vlan(vlan);
        let (verdict, _) = network.bridge.from_leaf_parsed(0, headers.ethernet(), network.now);
        assert!(matches!(verdict, FromLeaf::Root { .. }));
    }
    let (report, _) = network.verify(false);
    assert_eq!(report.verdict, IsolationVerdict::Isolated, "{report:?}");
    let row = |name: &str| report.kinds.iter().find(|kind| kind.kind == name).unwrap();
    assert_eq!((row("from_peer").sent, row("from_peer").dropped["source_held"]), (2, 2));
    // All pairs, and the host.
    assert_eq!(row("peer").sent, 12 + 1, "{report:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever gets lost: a leak is never called isolation, and where the network is no worse than
    /// that of a bad day, isolation is found.
    #[test]
    fn loss_hides_nothing(clients in 2..7_usize, loss in 0..30_u64, random in any::<u64>(), reflects: bool) {
        let mut network = Network::new(clients);
        (network.loss, network.random, network.reflects) = (loss, random, reflects);
        let (report, _) = network.verify(false);
        if reflects {
            prop_assert_ne!(report.verdict, IsolationVerdict::Isolated);
        } else {
            prop_assert_ne!(report.verdict, IsolationVerdict::Leaks);
        }
        if loss < 10 {
            let expected =
                if reflects { IsolationVerdict::Leaks } else { IsolationVerdict::Isolated };
            prop_assert_eq!(report.verdict, expected, "{:?}", report);
        }
    }
}
