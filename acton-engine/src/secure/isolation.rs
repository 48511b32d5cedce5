//! Tests of isolation, as the control threads of both ends carry them out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use acton_bridge::{Bridge, Owner, Vlans};
use acton_frame::Headers;
use acton_proto::handshake::{Random, SystemRandom};
use acton_proto::server::SessionId;
use acton_proto::wire::{IsolationAnswer, IsolationOrder, TestToken};
use acton_tap::Interface;
use pnet_base::MacAddr;

use super::arrival::trust;
use super::client_control::ClientControl;
use super::own_frames::send;
use super::server::SecureSession;
use super::server_control::ServerControl;
use crate::Error;
use crate::isolation::frame::Home;
use crate::isolation::report::{IsolationOptions, IsolationReport};
use crate::isolation::trial::{Action, Candidate, Macs, Trial};
use crate::observe::counters::Counter;
use crate::sessions::port::{LeafId, slot};

/// A test that a server is at, and who waits for what comes of it.
pub(super) struct IsolationTest {
    trial: Trial,
    answer: SyncSender<Result<IsolationReport, Error>>,
}

/// The bridge, as a test asks it.
struct Table<'a> {
    bridge: &'a Bridge<LeafId>,
    now: Duration,
}

impl Macs for Table<'_> {
    fn owner(&self, vlan: u16, mac: MacAddr) -> Option<Owner<LeafId>> {
        self.bridge.lookup(vlan, mac, self.now)
    }

    fn behind_clients(&self) -> Vec<(LeafId, u16, MacAddr)> {
        let of_leaf = |owner| if let Owner::Leaf(port) = owner { Some(port) } else { None };
        let entries = self.bridge.entries(self.now);
        entries.filter_map(|it| Some((of_leaf(it.owner)?, it.vlan, it.mac))).collect()
    }
}

impl ServerControl {
    /// Begins a test, whose report `answer` gets.
    ///
    /// # Errors
    /// Where another one is on, a session is not there, or the TAP is gone.
    pub(super) fn begin_isolation_test(
        &mut self,
        now: Duration,
        options: &IsolationOptions,
        answer: SyncSender<Result<IsolationReport, Error>>,
    ) -> Result<(), Error> {
        if self.isolation.is_some() {
            return Err(Error::IsolationRuns);
        }
        let root = answers_for(&self.interface)?.mac()?;
        let directory = self.roster.directory();
        let mut candidates = Vec::new();
        let mut add = |session: &SecureSession| {
            let id = SessionId(slot(session.port) as u32);
            let (name, knows) = (Arc::clone(&session.name), self.machine.knows_isolation(id));
            let place = session.policy.vlans().map_or(Some((0, 0)), Vlans::place_of_untagged);
            candidates.push(Candidate { id, port: session.port, name, knows, place });
        };
        if options.sessions.is_empty() {
            directory.for_each(|session| add(session));
        }
        let mut ports = Vec::new();
        for wanted in &options.sessions {
            let port = self.roster.find(wanted)?;
            if !ports.contains(&port) {
                ports.push(port);
                directory.read(port, |session| add(session));
            }
        }
        let mut token = TestToken([0; 16]);
        SystemRandom.fill(&mut token.0);
        let trial = Trial::new(now, token, root, candidates, options.willing_only);
        self.router.set_test(Some(Arc::clone(trial.fates())));
        self.isolation = Some(IsolationTest { trial, answer });
        Ok(())
    }

    /// A client says what came of an order.
    pub(super) fn hear_isolation(
        &mut self,
        now: Duration,
        id: SessionId,
        answer: &IsolationAnswer,
    ) {
        if let Some(test) = &mut self.isolation {
            test.trial.hear(now, id, answer);
        }
    }

    /// A client that took part is no more, or is another process.
    pub(super) fn leave_isolation(&mut self, id: SessionId) {
        if let Some(test) = &mut self.isolation {
            test.trial.gone(id);
        }
    }

    /// When [`test_isolation`](Self::test_isolation) has something to do.
    pub(super) fn isolation_due(&self) -> Option<Duration> {
        self.isolation.as_ref().map(|test| test.trial.due())
    }

    /// Does what a test takes now; whether there is something to send.
    pub(super) fn test_isolation(&mut self, now: Duration) -> bool {
        let Some(mut test) = self.isolation.take() else { return false };
        let mut has_acted = false;
        while let Some(action) = {
            let table = Table { bridge: self.router.bridge(), now };
            test.trial.poll(now, &table)
        } {
            has_acted = true;
            match action {
                Action::Order(id, order) => {
                    self.machine.order_isolation(now, id, order);
                }
                Action::Frame(id, frame) => {
                    if let Some(session) = self.roster.session(id.0 as usize) {
                        let (socket, counters) = (&self.socket, &self.counters);
                        send(now, socket, &session, &frame, &mut self.buffer, counters);
                    }
                }
            }
        }
        match test.trial.report() {
            Some(report) => {
                self.router.set_test(None);
                for (vlan, mac) in test.trial.taught() {
                    self.router.bridge().forget(vlan, mac);
                }
                // Whoever asked may have given up.
                let _ = test.answer.send(Ok(report));
            }
            None => self.isolation = Some(test),
        }
        has_acted
    }
}

impl ClientControl {
    /// Does what the server wants in a test of isolation.
    pub(super) fn obey_isolation(&mut self, now: Duration, order: IsolationOrder) {
        let Some(keys) = self.active.seal.clone() else { return };
        let (interface, max_frame) = (&self.interface, keys.setup().max_frame);
        let is_allowed = self.settings.allow_isolation_test;
        let doing = self.subject.obey(now, order, is_allowed, || {
            home(interface, max_frame)
                .inspect_err(|error| log::warn!("no part in a test of isolation: {error}"))
                .ok()
        });
        if doing.listens_otherwise {
            self.publish();
        }
        if doing.begins_to_send {
            log::info!("takes part in a test of isolation, which the server begins");
        }
        for frame in &doing.beside {
            self.counters.add(Counter::IsolationSent, 1);
            self.tap.write(frame, &Headers::parse(frame), trust(false), &self.counters);
        }
        let Self { active, places, counters, buffer, history, .. } = self;
        let dial = &mut places[active.server].dial;
        for frame in &doing.frames {
            buffer.clear();
            // Keys that are used up come to an end in other ways too.
            let Ok(size) = keys.seal_frame(now, frame, false, buffer) else { continue };
            counters.add(Counter::IsolationSent, 1);
            history.tally().add_out(1, frame.len() as u64);
            for datagram in buffer.chunks(size) {
                active.send(dial, counters, datagram);
            }
        }
        if let Some(answer) = doing.answer {
            self.active.machine.answer_isolation(now, answer);
        }
    }

    /// Takes no part any more in a test that is on.
    pub(super) fn leave_isolation(&mut self) {
        if self.subject.stop() {
            self.publish();
        }
    }
}

/// The interface that answers for the TAP's host on the LAN: the Linux bridge that the TAP is a port of,
/// or the TAP.
fn answers_for(tap: &Interface) -> Result<Interface, Error> {
    Ok(Interface::open(&tap.bridge()?.unwrap_or_else(|| tap.name().to_owned()))?)
}

/// Where this host lives on the LAN.
fn home(tap: &Interface, max_frame: u16) -> Result<Home, Error> {
    let answers = answers_for(tap)?;
    let mut home = Home {
        mac: answers.mac()?,
        ipv4: Ipv4Addr::UNSPECIFIED,
        ipv6: Ipv6Addr::UNSPECIFIED,
        max_frame: max_frame.into(),
    };
    for address in answers.addresses()?.iter().filter(|address| !address.tentative) {
        match address.ip {
            IpAddr::V4(ip) if home.ipv4.is_unspecified() => home.ipv4 = ip,
            // Packets to a link-local address go through no router, so that any other is better.
            IpAddr::V6(ip) if home.ipv6.is_unspecified() || home.ipv6.is_unicast_link_local() => {
                home.ipv6 = ip;
            }
            _ => {}
        }
    }
    Ok(home)
}
