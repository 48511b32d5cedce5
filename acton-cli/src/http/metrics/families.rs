//! All metrics but those of plain counters.

use super::format::{Family, Kind};

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Family {
    Family { name, kind: Kind::Gauge, labels, help }
}

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Family {
    Family { name, kind: Kind::Counter, labels, help }
}

const NONE: &[&str] = &[];
const WORKER: &[&str] = &["worker"];
const WAY: &[&str] = &["way"];
const SESSION: &[&str] = &["session"];

macro_rules! families {
    ($($name:ident = $family:expr;)*) => {
        $(pub(super) const $name: Family = $family;)*

        #[cfg(test)]
        pub(super) const ALL: &[Family] = &[$($name),*];
    };
}

families! {
    BUILD = gauge("acton_build_info", &["version", "role", "protocol"], "1, with what runs as labels.");
    STARTED = gauge("acton_start_time_seconds", NONE, "When the tunnel started, since 1970.");
    HEALTH = gauge(
        "acton_health_problems",
        &["code"],
        "1 while somebody should see to this; acton status and /health say what helps.",
    );
    EVENTS = counter("acton_events_total", NONE, "Events that were told.");
    CONFIG_VALID = gauge(
        "acton_config_file_valid",
        NONE,
        "1 while the file of settings would be taken by a reload, else 0.",
    );
    CONFIG_DIFFERS = gauge(
        "acton_config_differing_keys",
        NONE,
        "Keys of which a reload would find another value than the one that runs.",
    );
    CONFIG_GENERATION = gauge("acton_config_generation", NONE, "1 after the start, and one more with each reload.");
    CONFIG_READ = gauge(
        "acton_config_read_timestamp_seconds",
        NONE,
        "When the settings that run were read, since 1970.",
    );
    HOOKED = counter(
        "acton_hook_events_total",
        &["result"],
        "Events for the hook: done, failed, timed out, or left out since it did not keep up.",
    );
    AUTHORIZE_UP = gauge(
        "acton_authorize_up",
        NONE,
        "1 while the program that decides on clients answers, else 0.",
    );
    TAP_UP = gauge("acton_tap_up", NONE, "1 while the TAP is up and has a carrier, else 0.");
    TAP_MTU = gauge("acton_tap_mtu_bytes", NONE, "MTU of the TAP.");
    SESSIONS = gauge("acton_sessions", &["state"], "Sessions by state; at a client its one, and its other servers.");
    OVER_BUDGET = gauge(
        "acton_sessions_over_budget",
        NONE,
        "At a server, clients of whose floods some were dropped in the last 10 s.",
    );
    LOOPED = gauge("acton_sessions_looped", NONE, "Sessions through which there is a loop.");
    RTT = Family {
        name: "acton_session_rtt_seconds",
        kind: Kind::Spread,
        labels: NONE,
        help: "Sessions that are up or quiet by their smoothed round trip now.",
    };
    FDB = gauge(
        "acton_fdb_entries",
        &["owner"],
        "At a server, MACs that are known, at the root and behind clients.",
    );
    GROUPS = gauge(
        "acton_multicast_groups",
        &["what"],
        "At a server that listens to IGMP and MLD, groups, how many clients want each added up, clients that get all groups, and queriers of the LAN.",
    );
    BUDGETS = gauge(
        "acton_root_budgets_acting",
        &["class"],
        "At a server, 1 where floods from the TAP of this class were dropped in the last 10 s.",
    );
    SOCKET_DROPS = counter(
        "acton_udp_socket_drops_total",
        WORKER,
        "Datagrams that the kernel dropped for want of room in the receive buffer.",
    );
    RECEIVE_BUFFER = gauge(
        "acton_udp_receive_buffer_bytes",
        WORKER,
        "Size of the receive buffer, as the kernel accounts for it.",
    );
    RECEIVE_QUEUED = gauge("acton_udp_receive_queued_bytes", WORKER, "How much of the receive buffer is taken.");
    SEND_BUFFER = gauge(
        "acton_udp_send_buffer_bytes",
        WORKER,
        "Size of the send buffer, as the kernel accounts for it.",
    );
    SEND_QUEUED = gauge("acton_udp_send_queued_bytes", WORKER, "How much of the send buffer is taken.");
    DROPPED = counter(
        "acton_dropped_total",
        &["reason"],
        "Frames and datagrams that were dropped, by reason; acton drops says what each means.",
    );
    WAY_CONNECTIONS = counter("acton_watch_connections_total", WAY, "Connections to the control socket and by HTTP.");
    WAY_REFUSED = counter(
        "acton_watch_refused_total",
        WAY,
        "Those of them that were refused: of who may not look, or one too many.",
    );
    WAY_EVICTED = counter(
        "acton_watch_evicted_total",
        WAY,
        "Those of them that said nothing and had to go for others.",
    );
    WAY_BAD = counter("acton_watch_bad_requests_total", WAY, "What came there and was no request.");
    WAY_SLOW = counter(
        "acton_watch_too_slow_total",
        WAY,
        "Those who took too long to say something or to read.",
    );

    SESSION_INFO = gauge(
        "acton_session_info",
        &["session", "version", "suite"],
        "1, with what the other end runs as labels.",
    );
    SESSION_UP = gauge(
        "acton_session_up",
        SESSION,
        "1 where the other end was heard when it should have been, 0 where a sign of life is overdue.",
    );
    SESSION_HEARD = gauge(
        "acton_session_last_received_timestamp_seconds",
        SESSION,
        "When the other end was last heard, since 1970.",
    );
    SESSION_RECEIVED_BYTES = counter(
        "acton_session_received_bytes_total",
        SESSION,
        "Bytes of frames from the other end that were passed on.",
    );
    SESSION_RECEIVED_FRAMES = counter(
        "acton_session_received_frames_total",
        SESSION,
        "Frames from the other end that were passed on.",
    );
    SESSION_SENT_BYTES = counter(
        "acton_session_transmitted_bytes_total",
        SESSION,
        "Bytes of frames that were sent to the other end.",
    );
    SESSION_SENT_FRAMES = counter(
        "acton_session_transmitted_frames_total",
        SESSION,
        "Frames that were sent to the other end.",
    );
    SESSION_DROPPED = counter(
        "acton_session_dropped_total",
        SESSION,
        "Frames and datagrams of the session that were dropped, for whatever reason.",
    );
    SESSION_SMOOTHED_RTT = gauge("acton_session_smoothed_rtt_seconds", SESSION, "The smoothed round trip.");
    SESSION_MACS = gauge("acton_session_fdb_entries", SESSION, "At a server, MACs behind the client.");
    SESSION_PATH_MTU = gauge(
        "acton_session_path_mtu_bytes",
        SESSION,
        "The largest datagram to the other end, in bytes of UDP payload.",
    );
}
