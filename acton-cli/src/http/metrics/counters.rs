//! Which metric shows which of the tunnel's counters.

use super::format::{Family, Kind};

/// A counter of the totals, and the series that shows it.
#[derive(Debug)]
pub(super) struct Shown {
    /// Its name in the totals.
    pub(super) counter: &'static str,
    pub(super) family: Family,
    /// A value for each label of the family.
    pub(super) labels: &'static [&'static str],
}

const fn shown(counter: &'static str, name: &'static str, help: &'static str) -> Shown {
    Shown { counter, family: Family { name, kind: Kind::Counter, labels: &[], help }, labels: &[] }
}

const fn handshakes(counter: &'static str, result: &'static [&'static str]) -> Shown {
    let help = "At a server, HELLO by what was answered: keys (welcomed), the same keys again, a refusal, or a cookie.";
    let name = "acton_handshakes_total";
    Shown {
        counter,
        family: Family { name, kind: Kind::Counter, labels: &["result"], help },
        labels: result,
    }
}

const fn decisions(counter: &'static str, result: &'static [&'static str]) -> Shown {
    let help = "At a server, what came of questions about clients: allowed, denied, unanswered in time, or not asked for too many were (limited).";
    let name = "acton_authorize_results_total";
    Shown {
        counter,
        family: Family { name, kind: Kind::Counter, labels: &["result"], help },
        labels: result,
    }
}

/// All of them but reasons to drop; those of one family follow one another. `session.rtt_microseconds`
/// is no count, and acton_session_rtt_seconds has it.
pub(super) const SHOWN: &[Shown] = &[
    shown("tap.reads", "acton_tap_reads_total", "Frames and super-frames read from the TAP."),
    shown(
        "tap.read.bytes",
        "acton_tap_read_bytes_total",
        "Bytes of frames read from the TAP: what goes out through the tunnel.",
    ),
    shown("tap.writes", "acton_tap_writes_total", "Frames and super-frames written to the TAP."),
    shown("tap.written.frames", "acton_tap_written_frames_total", "Frames written to the TAP."),
    shown(
        "tap.written.bytes",
        "acton_tap_written_bytes_total",
        "Bytes of frames written to the TAP: what came in through the tunnel.",
    ),
    shown(
        "tap.super_frame_refused",
        "acton_tap_super_frames_refused_total",
        "Super-frames that the kernel refused at the TAP; their frames were written one by one.",
    ),
    shown(
        "udp.sent.datagrams",
        "acton_udp_sent_datagrams_total",
        "Datagrams that the kernel took, of frames and of control alike.",
    ),
    shown(
        "udp.sent.bytes",
        "acton_udp_sent_bytes_total",
        "Bytes of UDP payload that the kernel took.",
    ),
    shown(
        "udp.received.datagrams",
        "acton_udp_received_datagrams_total",
        "Datagrams that came, of frames, of control and bad ones alike.",
    ),
    shown(
        "udp.received.bytes",
        "acton_udp_received_bytes_total",
        "Bytes of UDP payload that came.",
    ),
    shown(
        "udp.segmentation_refused",
        "acton_gso_fallbacks_total",
        "Sends whose segmentation (UDP GSO) the kernel refused; their datagrams went one by one.",
    ),
    shown(
        "session.bundles",
        "acton_bundles_received_total",
        "Datagrams that came with several frames in them.",
    ),
    shown(
        "session.bundled_frames",
        "acton_bundled_frames_received_total",
        "Frames that came with others in one datagram.",
    ),
    shown(
        "session.pieces",
        "acton_frame_pieces_received_total",
        "Pieces of frames that waited for the rest.",
    ),
    shown(
        "session.moves_limited",
        "acton_session_moves_limited_total",
        "Times that a session was not looked for at another address, since it changes too often.",
    ),
    shown("handshake.hellos", "acton_hellos_sent_total", "At a client, HELLO sent."),
    handshakes("handshake.welcomed", &["welcomed"]),
    handshakes("handshake.repeated", &["repeated"]),
    handshakes("handshake.refused", &["refused"]),
    handshakes("handshake.retries", &["cookie"]),
    shown("handshake.resets", "acton_resets_sent_total", "At a server, RESET sent."),
    shown(
        "authorize.asked",
        "acton_authorize_questions_total",
        "At a server, questions about clients to who decides on them.",
    ),
    decisions("authorize.allowed", &["allowed"]),
    decisions("authorize.denied", &["denied"]),
    decisions("authorize.unanswered", &["unanswered"]),
    decisions("authorize.limited", &["limited"]),
    shown(
        "authorize.pair_taken",
        "acton_authorize_pairs_taken_total",
        "At a server, times that a client was denied, since another has its pair of VLAN tags.",
    ),
    shown(
        "authorize.accounting_lost",
        "acton_authorize_accounts_lost_total",
        "At a server, accounts of sessions that who decides on clients was not told.",
    ),
    shown(
        "query.sent",
        "acton_queries_sent_total",
        "At a client, times that a server was asked how it is.",
    ),
    shown(
        "query.answered",
        "acton_queries_answered_total",
        "At a server, times that it said how it is.",
    ),
    shown(
        "handshake.duplicates",
        "acton_duplicate_keys_total",
        "At a server, alarms that two machines use one client's key.",
    ),
    shown(
        "bridge.flooded",
        "acton_flooded_frames_total",
        "Frames that went to every client, each counted once.",
    ),
    shown("bridge.moved", "acton_fdb_moves_total", "MACs that moved to where they were seen last."),
    shown("loop.probes", "acton_loop_probes_sent_total", "Probes for loops that this end sent."),
    shown(
        "loop.probes_back",
        "acton_loop_probes_returned_total",
        "Probes for loops of this end's that came back.",
    ),
    shown(
        "isolation.sent",
        "acton_isolation_test_frames_sent_total",
        "At a client, frames of tests of isolation that it sent.",
    ),
    shown(
        "isolation.heard",
        "acton_isolation_test_frames_heard_total",
        "At a client, frames of tests of isolation that came through the tunnel.",
    ),
    shown(
        "isolation.passed",
        "acton_isolation_test_frames_passed_total",
        "At a server, frames of tests of isolation that went to its TAP.",
    ),
    shown(
        "isolation.dropped",
        "acton_isolation_test_frames_dropped_total",
        "At a server, frames of tests of isolation that went nowhere, as they should.",
    ),
    shown(
        "multicast.grouped",
        "acton_multicast_grouped_frames_total",
        "At a server, frames from the TAP for a multicast group that went to those clients alone that asked for it.",
    ),
    shown(
        "multicast.unwanted",
        "acton_multicast_unwanted_frames_total",
        "The same, of groups that no client asked for: they went to none.",
    ),
    shown(
        "multicast.asked",
        "acton_multicast_queries_sent_total",
        "At a server, times that a client was asked by IGMP or MLD which groups it wants.",
    ),
    shown(
        "multicast.no_room",
        "acton_multicast_reports_without_room_total",
        "At a server, reports by IGMP or MLD of more groups than are kept; such a client gets all groups.",
    ),
    shown(
        "circuit.named",
        "acton_circuit_named_frames_total",
        "Frames of clients that were given the name of their circuit.",
    ),
    shown(
        "circuit.removed",
        "acton_circuit_removed_frames_total",
        "Answers to clients from which the name of a circuit was taken out.",
    ),
    shown(
        "ecn.marked",
        "acton_ecn_marked_packets_total",
        "Packets that were given the mark of congestion that their datagram met.",
    ),
];
