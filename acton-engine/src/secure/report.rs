//! What a session's keys tell of it.

use std::time::Duration;

use acton_proto::session::{Keys, Suite};
use acton_proto::wire::Key;

use crate::observe::status::{SessionStatus, State};

/// Adds what is known by the keys in use.
pub(super) fn add_keys(status: &mut SessionStatus, peer: &Key, keys: &Keys, now: Duration) {
    let link = keys.link();
    status.key = Some(data_encoding::BASE64.encode(peer));
    status.suite = Some(match keys.setup().suite {
        Suite::Aes256Gcm => "aes-256-gcm",
        Suite::ChaCha20Poly1305 => "chacha20-poly1305",
    });
    status.state = State::Up;
    status.heard_ago = Some(now.saturating_sub(link.last_received()));
    status.path_mtu_out = Some(link.path_mtu());
}
