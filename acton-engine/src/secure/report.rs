//! What the protocol knows and counts, as a status has it.

use std::borrow::Cow;
use std::time::Duration;

use acton_proto::client::ClientStats;
use acton_proto::server::ServerStats;
use acton_proto::session::{LinkState, LinkStatistics, SealedStats, Suite};
use acton_proto::wire::{Delivery, Key};

use crate::observe::counters::{Counter, Counters};
use crate::observe::status::{LossReport, RttReport, SessionStatus, State};
use crate::run::tap::peer_mtu;

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
    status.suite = Some(Cow::Borrowed(match known.suite {
        Suite::Aes256Gcm => "aes-256-gcm",
        Suite::ChaCha20Poly1305 => "chacha20-poly1305",
    }));
    status.peer_version = known.peer_version.map(|version| version.to_string());
    status.peer_mtu = Some(peer_mtu(known.peer_max_frame));
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

/// Adds to `counters` what a server's protocol counted since `told`.
pub(super) fn add_server_stats(counters: &Counters, told: &mut ServerStats, now: ServerStats) {
    let counts = |stats: &ServerStats| {
        let &ServerStats {
            malformed,
            wrong_end,
            bad_mac,
            repeated,
            retries,
            limited,
            failed,
            refused,
            welcomed,
            queries,
            queries_limited,
            resets,
            duplicates,
            moves_limited,
            sealed,
        } = stats;
        let own = [
            (Counter::Malformed, malformed),
            (Counter::WrongEnd, wrong_end),
            (Counter::HelloWrongKey, bad_mac),
            (Counter::WelcomedAgain, repeated),
            (Counter::Retries, retries),
            (Counter::HelloLimited, limited),
            (Counter::HelloUnreadable, failed),
            (Counter::HellosRefused, refused),
            (Counter::Welcomed, welcomed),
            (Counter::QueriesAnswered, queries),
            (Counter::QueryLimited, queries_limited),
            (Counter::Resets, resets),
            (Counter::Duplicates, duplicates),
            (Counter::MovesLimited, moves_limited),
        ];
        own.into_iter().chain(sealed_counts(sealed))
    };
    if *told != now {
        add_more(counters, counts(told), counts(&now));
        *told = now;
    }
}

/// Adds to `counters` what a client's protocol counted since `told`.
pub(super) fn add_client_stats(counters: &Counters, told: &mut ClientStats, now: ClientStats) {
    let counts = |stats: &ClientStats| {
        let &ClientStats { malformed, wrong_end, stale_answers, unreadable, hellos, sealed } =
            stats;
        let own = [
            (Counter::Malformed, malformed),
            (Counter::WrongEnd, wrong_end),
            (Counter::StaleAnswer, stale_answers),
            (Counter::WelcomeUnreadable, unreadable),
            (Counter::HellosSent, hellos),
        ];
        own.into_iter().chain(sealed_counts(sealed))
    };
    if *told != now {
        add_more(counters, counts(told), counts(&now));
        *told = now;
    }
}

fn sealed_counts(stats: SealedStats) -> [(Counter, u64); 9] {
    let SealedStats {
        unknown,
        forged,
        replayed,
        expired,
        bad_frames,
        bad_control,
        pieces,
        bad_pieces,
        incomplete,
    } = stats;
    [
        (Counter::NoSession, unknown),
        (Counter::Forged, forged),
        (Counter::Replayed, replayed),
        (Counter::KeysExpired, expired),
        (Counter::BadFrame, bad_frames),
        (Counter::BadControl, bad_control),
        (Counter::Pieces, pieces),
        (Counter::BadPiece, bad_pieces),
        (Counter::IncompleteFrame, incomplete),
    ]
}

fn add_more(
    counters: &Counters,
    before: impl Iterator<Item = (Counter, u64)>,
    now: impl Iterator<Item = (Counter, u64)>,
) {
    for ((counter, before), (_, now)) in before.zip(now) {
        counters.add(counter, now - before);
    }
}
