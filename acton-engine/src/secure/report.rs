//! What the protocol knows of a session, as a status has it.

use std::time::Duration;

use acton_proto::session::{LinkState, LinkStatistics, Suite};
use acton_proto::wire::{Delivery, Key};

use crate::observe::status::{LossReport, RttReport, SessionStatus, State};

/// A public key as its owner writes it.
pub(super) fn key_text(key: &Key) -> String {
    data_encoding::BASE64.encode(key)
}

/// Adds what the protocol knows of a session.
pub(super) fn add_statistics(status: &mut SessionStatus, known: &LinkStatistics, now: Duration) {
    let ago = |time: Duration| now.saturating_sub(time);
    status.state = match known.state {
        LinkState::Up => State::Up,
        LinkState::Quiet => State::Quiet,
        _ => State::Lost,
    };
    status.in_state_for = Some(ago(known.state_since));
    status.session_for = Some(ago(known.since));
    status.heard_ago = Some(ago(known.last_received));
    status.roams = Some(known.roams);
    status.rekeys = Some(known.rekeys);
    status.suite = Some(match known.suite {
        Suite::Aes256Gcm => "aes-256-gcm",
        Suite::ChaCha20Poly1305 => "chacha20-poly1305",
    });
    status.peer_version = known.peer_version.map(|version| version.to_string());
    status.rtt = known.rtt.map(|rtt| RttReport {
        min: Some(rtt.min),
        smoothed: rtt.smoothed,
        jitter: Some(rtt.jitter),
    });
    status.loss_in = Some(loss(known.from_peer));
    status.loss_out = known.to_peer.map(loss);
    status.path_mtu_out = Some(known.path_mtu);
    status.path_mtu_in = known.peer_path_mtu;
}

fn loss(delivery: Delivery) -> LossReport {
    LossReport { sent: delivery.expected, received: delivery.received }
}
