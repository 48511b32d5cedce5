//! Frames that a server's control thread itself sends: announcements, probes, and what it asks for.

use std::sync::Arc;
use std::time::Duration;

use acton_frame::Headers;
use acton_tap::offload::Trust;
use acton_udp::UdpSocket;

use super::server::SecureSession;
use super::server_control::ServerControl;
use crate::floods::server_watch::OutgoingProbe;
use crate::observe::counters::{Counter, Counters};
use crate::sessions::port::LeafId;

impl ServerControl {
    /// Tells the LAN behind a client where this host's addresses are.
    pub(super) fn announce(&mut self, now: Duration, port: LeafId) {
        let Some(session) = self.roster.directory().get(port) else { return };
        // They are where this host's frames have no tag, which is not where all clients are.
        if session.policy.vlans().is_some_and(|it| it.place_of_untagged() != Some((0, 0))) {
            return;
        }
        for frame in self.announcer.frames(now) {
            send(now, &self.socket, &session, frame, &mut self.buffer, &self.counters);
        }
    }

    pub(super) fn probe(&mut self, now: Duration, probe: &OutgoingProbe) {
        let OutgoingProbe { to, frame } = probe;
        self.counters.add(Counter::ProbesSent, 1);
        let Some(port) = *to else {
            return self.tap.write(frame, &Headers::parse(frame), Trust::Verify, &self.counters);
        };
        if let Some(session) = self.roster.directory().get(port) {
            send(now, &self.socket, &session, frame, &mut self.buffer, &self.counters);
        }
    }

    /// Asks clients which multicast groups they want, if it is time to.
    pub(super) fn ask_for_groups(&mut self, now: Duration) {
        let interface = Arc::clone(&self.interface);
        for (port, frame) in self.roster.take_group_queries(now, || interface.mac().ok()) {
            let Some(session) = self.roster.directory().get(port) else { continue };
            self.counters.add(Counter::GroupsAsked, 1);
            send(now, &self.socket, &session, &frame, &mut self.buffer, &self.counters);
        }
    }
}

/// Sends a frame of the control thread's own.
pub(super) fn send(
    now: Duration,
    socket: &UdpSocket,
    session: &SecureSession,
    frame: &[u8],
    buffer: &mut Vec<u8>,
    counters: &Counters,
) {
    buffer.clear();
    // Keys that are used up come to an end in other ways too.
    if session.mode.seal.seal_frame(now, frame, false, buffer).is_ok() {
        session.tallies.of(0).add_out(1, frame.len() as u64);
        let sent = socket.send(&session.to, buffer);
        counters.add_sent_one(&sent, buffer.len());
    }
}
