//! What the log says of events, in sentences.

use log::Level;

use super::words::{
    TRUSTED, advice, apart, ended, lan, listed, lost, peer, place, refused, tagged,
};
use crate::observe::event::{Beginning, EndReason, EventKind, Limit, LoopWitness, NotKept, Place};
#[cfg(feature = "serde")]
use crate::observe::event_fields::EventFields;
use crate::observe::status::Protocol;

/// The attempt at which it is worth a line that those before had no answer.
const NAGGING_AFTER: u32 = 6;

/// Writes a line to the log, with the event's name and fields for those who read these.
#[cfg(feature = "serde")]
pub(super) fn write(level: Level, line: &str, event: &EventKind) {
    if level > log::max_level() {
        return;
    }
    let fields = EventFields::of(event);
    log::logger().log(
        &log::Record::builder()
            .level(level)
            .target(module_path!())
            .module_path_static(Some(module_path!()))
            .args(format_args!("{line}"))
            .key_values(&fields)
            .build(),
    );
}

#[cfg(not(feature = "serde"))]
pub(super) fn write(level: Level, line: &str, _: &EventKind) {
    log::log!(level, "{line}");
}

impl EventKind {
    /// What the log says of such an event, with its level; `None` for what the log does not mention.
    /// The words may change from version to version, fields and names do not.
    #[must_use]
    pub fn line(&self, protocol: Protocol) -> Option<(Level, String)> {
        line(self, protocol)
    }
}

/// What the log says of an event; `None` for what it does not mention.
pub(super) fn line(event: &EventKind, protocol: Protocol) -> Option<(Level, String)> {
    use Level::{Debug, Error, Info, Trace, Warn};
    Some(match event {
        EventKind::SessionUp { session, client, address, by, open } => {
            let line = match by {
                Beginning::Handshake => format!("{client} from {address}"),
                Beginning::Hello => format!("{address} said HELLO"),
                Beginning::Keepalive => {
                    format!("{address} said KEEPALIVE, as after a restart of the server")
                }
                Beginning::Named => format!("{address} is named by --peer"),
            };
            (Info, format!("session {session} up: {line}; {open} open"))
        }
        EventKind::SessionDown { session, client, reason, macs, open } => (
            Info,
            format!(
                "session {session} down: {client} {}; {macs} {} forgotten, {open} open",
                ended(*reason, protocol),
                if *macs == 1 { "MAC" } else { "MACs" },
            ),
        ),
        EventKind::SessionMoved { session, address, .. } => {
            (Info, format!("session {session} moved to {address}"))
        }
        EventKind::Rekeyed { session } => (Trace, format!("session {session} has new keys")),
        EventKind::Replaced { session, .. } => {
            (Info, format!("session {session} goes on with another instance of its client"))
        }
        EventKind::Duplicate { session, client } => (
            Warn,
            format!(
                "session {session}: two clients fight for the key of {client}; give each an invite \
                 of its own (acton invite --name)"
            ),
        ),
        EventKind::SessionRefused { address, client, reason } => {
            let who = client.as_ref().map(|client| format!(" ({client})")).unwrap_or_default();
            (Warn, format!("{address}{who} got no session: {}", refused(*reason)))
        }
        EventKind::ClockApart { client, address, ahead_seconds } => {
            (Warn, format!("{}: {}", peer(*address, client.as_deref()), apart(*ahead_seconds)))
        }
        EventKind::MacLearnt { mac, vlan, at } => {
            (Debug, format!("{mac}{} learnt {}", tagged(*vlan), place(at)))
        }
        EventKind::MacMoved { mac, vlan, from, to } => {
            let (from, to) = (place(from), place(to));
            (Info, format!("{mac}{} moved: it was {from} and is {to}", tagged(*vlan)))
        }
        EventKind::MacHeld { mac, vlan, by, held_by, reason } => {
            let advice = match (*reason, held_by) {
                ("source_at_root", _) | ("source_protected", Some(Place::Root)) => {
                    "is of the server's side and no client may use it".to_owned()
                }
                ("source_not_listed", _) => {
                    "is not listed for it and it is strict; a mac= in its line allows it".to_owned()
                }
                ("source_held", Some(owner)) => format!(
                    "stays {} until that is silent for long enough; --mac-hold sets how long, \
                     --shared-mac, or shared-mac= in the list, names those that move at once, mac= in \
                     the list keeps one for good",
                    place(owner)
                ),
                ("source_frozen", Some(owner)) => format!(
                    "moved too often and stays {} for a while; --shared-mac, or shared-mac= in the \
                     list, names those that may",
                    place(owner)
                ),
                (_, Some(owner)) => format!("is kept {} by the list of clients", place(owner)),
                (_, None) => format!("is not its to use ({reason})"),
            };
            (Warn, format!("{mac}{} used {}: it {advice}", tagged(*vlan), place(by)))
        }
        EventKind::MacFrozen { mac, vlan, at } => (
            Warn,
            format!(
                "{mac}{} moves to and fro: it stays {} for a while; is a cable plugged in twice, or \
                 do two machines use one MAC? If they are to share it, as with VRRP: --shared-mac, \
                 or shared-mac= in the list",
                tagged(*vlan),
                place(at)
            ),
        ),
        EventKind::MacNoRoom { mac, vlan, by, limit } => {
            let limit = limit.map(|limit| format!(": it may have {limit}")).unwrap_or_default();
            (
                Warn,
                format!(
                    "no room for {mac}{} {}{limit} (--macs-per-client, or max-macs= in the list)",
                    tagged(*vlan),
                    place(by)
                ),
            )
        }
        EventKind::RootMacs { macs } => {
            let macs: Vec<_> = macs.iter().map(ToString::to_string).collect();
            (Info, format!("no client may use {}", macs.join(", ")))
        }
        EventKind::RootAddresses { addresses } => {
            let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            (Info, format!("no client that is not trusted may use {}", addresses.join(", ")))
        }
        EventKind::RootUnknown { error } => {
            (Warn, format!("what lives on the server's side is not known in full: {error}"))
        }
        EventKind::LimitReached { limit: Limit::MacTable, frames } => {
            (Warn, format!("{frames} frames dropped: the table of MACs is full"))
        }
        EventKind::LoopFound { at, with, by, hold } => {
            let until = match hold {
                Some(hold) => format!("until no probe has come back for {} s", hold.as_secs()),
                None => "until the server finds it gone".to_owned(),
            };
            let found = match by {
                LoopWitness::Probe => "a probe came back",
                LoopWitness::Server => "the server says so",
            };
            (
                Warn,
                format!(
                    "a loop: {} is joined with {} by another way than this tunnel ({found}). What \
                     is flooded stays out of the tunnel there {until}; frames to known addresses \
                     pass. Take one of the two ways out (--no-loop-guard lets the loop be)",
                    lan(at),
                    match with {
                        Some(with) => lan(with),
                        None => "the server's LAN or another client's".to_owned(),
                    },
                ),
            )
        }
        EventKind::LanReflects { at } => (
            Warn,
            format!(
                "{} sends back what comes out of the tunnel: a loop there, or a host that does so. \
                 Nothing is held back for that; --budget bounds what goes round",
                lan(at)
            ),
        ),
        EventKind::LoopOver { at, after } => (
            Info,
            format!(
                "the loop through {} is gone after {} s: what is flooded passes again",
                lan(at),
                after.as_secs()
            ),
        ),
        EventKind::PolicyActs { at, reason } => {
            let (what, advice) = match *reason {
                "guard_dhcp" => ("answers of a DHCP server", TRUSTED),
                "guard_ra" => ("router advertisements", TRUSTED),
                "guard_redirect" => ("redirects", TRUSTED),
                "guard_hidden" => ("packets that hide what they carry (RFC 7113)", TRUSTED),
                "guard_query" => ("queries for multicast groups", TRUSTED),
                "guard_control" => ("what switches say among themselves", TRUSTED),
                "guard_gateway" => {
                    ("what claims an IP address of the server's or its gateway's", TRUSTED)
                }
                "ethertype" => (
                    "frames of a kind that its policy does not allow",
                    " (allow in the list of clients)",
                ),
                "source_ip" => (
                    "frames from an IP address that its policy does not give it",
                    " (ips in the list of clients)",
                ),
                "vlan" => (
                    "frames of VLANs that it is not in, or with tags that it may not send",
                    " (vlan and vlans in the list of clients)",
                ),
                "circuit" => (
                    "what asks a DHCP or PPPoE server and cannot be given the name of its circuit, or has \\
                     one",
                    " (circuit in the list of clients; with trusted it may name its own)",
                ),
                "rate_in" => ("more frames than its policy lets come from there", ""),
                _ => ("more frames than its policy lets go there", ""),
            };
            let place = place(at);
            let text =
                format!("{place}: {what}; these are dropped and counted as {reason}{advice}");
            (Warn, text)
        }
        EventKind::QuerierHeard { vlan, address } => (
            Info,
            format!(
                "{address} asks for multicast groups{}: they go to the clients that want them",
                tagged(*vlan)
            ),
        ),
        EventKind::QuerierLost { vlan, address } => (
            Warn,
            format!(
                "{address} asks for multicast groups no more{}: they go to all clients (a Linux bridge \
                 asks with `mcast_querier 1`)",
                tagged(*vlan)
            ),
        ),
        EventKind::BudgetActs { at, class } => {
            let option = match at {
                Place::Root => format!("root:{class}"),
                _ => (*class).to_owned(),
            };
            (
                Warn,
                format!(
                    "more {class} frames {} than the budget lets pass: the rest is dropped and \
                     counted (--budget {option}=RATE/BURST)",
                    place(at)
                ),
            )
        }
        EventKind::SessionsFull { address, open, total } => (
            Warn,
            format!(
                "{address} got no session: all {open} are taken (--max-sessions); {total} refused \
                 so far"
            ),
        ),
        EventKind::ListRead { clients: 0 } => {
            (Warn, "read the list of clients again: it is empty, so nobody gets in".to_owned())
        }
        EventKind::SourceFull { address, sessions, total } => (
            Warn,
            format!(
                "{address} got no session: its address has {sessions} \
                 (--max-sessions-per-source); {total} refused so far"
            ),
        ),
        EventKind::ListRead { clients } => {
            (Info, format!("read the list of clients again: {clients} on it"))
        }
        EventKind::ListFailed { error, no_list: false } => {
            (Error, format!("the list of clients stays as it was: {error}"))
        }
        EventKind::ListFailed { error, no_list: true } => (
            Error,
            format!("the list of clients cannot be read, and lets nobody in until it can: {error}"),
        ),
        EventKind::ClientDecided { client, allow: true, valid_for, .. } => {
            (Debug, format!("{client} is allowed for {} s", valid_for.as_secs()))
        }
        EventKind::ClientDecided { client, allow: false, reason, valid_for, .. } => {
            let why = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            (Info, format!("{client} is denied for {} s{why}", valid_for.as_secs()))
        }
        EventKind::AuthorizeLost { error } => (
            Error,
            format!(
                "who decides on clients (--authorize) does not answer: {error}; clients that are not \
                 decided on get no session until it does"
            ),
        ),
        EventKind::AuthorizeBack {} => {
            (Info, "who decides on clients (--authorize) answers again".to_owned())
        }
        EventKind::AccountingOn { id } => {
            (Debug, format!("accounts {id} begin: all sessions of before are over"))
        }
        EventKind::AccountingOff { id } => (Debug, format!("accounts {id} end")),
        EventKind::AccountingStart { session, id, .. } => {
            (Debug, format!("session {session}: account {id} begins"))
        }
        EventKind::AccountingInterim { session, id, bytes_in, bytes_out, .. } => (
            Debug,
            format!("session {session}: account {id}: {bytes_in} bytes in, {bytes_out} out"),
        ),
        EventKind::AccountingStop { session, id, bytes_in, bytes_out, .. } => {
            let moved = format!("{bytes_in} bytes in, {bytes_out} out");
            (Debug, format!("session {session}: account {id} ends with {moved}"))
        }
        EventKind::NetworkKeyRead { before: true } => (
            Info,
            "the network key is another; the one before still does for a while, and clients are \
             told in their sessions"
                .to_owned(),
        ),
        EventKind::NetworkKeyRead { before: false } => (
            Info,
            "the network key before does no more; clients that know no other must be joined again"
                .to_owned(),
        ),
        EventKind::NetworkKeyFailed { error } => {
            (Error, format!("the network key stays as it was: {error}"))
        }
        EventKind::MacNotKept { mac, client, reason } => {
            let why = match reason {
                NotKept::OwnMac => "no client may use it: it is the server's own, or a gateway's",
                NotKept::Full => {
                    "the list has far more of them than when the server started; start it again"
                }
                NotKept::Forbidden => "it is no MAC that a client can have",
            };
            (Warn, format!("mac={mac} is not kept for {client}: {why}"))
        }
        EventKind::NetworkKeyTold { server, unkept: None } => {
            (Info, format!("{server} has another network key, which is kept"))
        }
        EventKind::NetworkKeyTold { server, unkept: Some(error) } => (
            Warn,
            format!(
                "{server} has another network key, which this client uses but will not know at its \
                 next start ({error}): it tries to keep it again and again; unless it can, join again \
                 with a new invite before the old one ends"
            ),
        ),
        EventKind::Connecting { server, attempt: 1, .. } => {
            (Info, format!("connecting to {server}"))
        }
        EventKind::Connecting { server, attempt: NAGGING_AFTER, error } => {
            let error = error.as_ref().map(|error| format!(" ({error})")).unwrap_or_default();
            let ask = match protocol {
                Protocol::Plain => {
                    "is its server running, with --plain as this client (one with keys answers no \
                     plain client), is UDP let through, and does it allow this address (--allow)?"
                }
                Protocol::Acton1 => {
                    "is its server running, without --plain, is UDP let through, and is the invite \
                     one of this server, from after the last change of its network key (acton \
                     rotate)?"
                }
            };
            (Warn, format!("no answer from {server} so far{error}: {ask} Trying on"))
        }
        EventKind::Connecting { server, attempt, .. } => {
            (Debug, format!("no answer from {server}; attempt {attempt}"))
        }
        EventKind::Connected { server, rtt } => {
            let rtt = rtt.map(|rtt| format!(" in {:.1} ms", rtt.as_secs_f64() * 1e3));
            (Info, format!("connected to {server}{}", rtt.unwrap_or_default()))
        }
        EventKind::Disconnected { server, reason: EndReason::Stopped, .. } => {
            (Info, format!("said BYE to {server}"))
        }
        EventKind::Disconnected { server, reason, silent, retry_in } => {
            let why = match silent {
                Some(silent) => format!("silent for {:.0} s", silent.as_secs_f64()),
                None => lost(*reason).to_owned(),
            };
            let when = match retry_in.as_secs_f64().ceil() {
                0.0 if silent.is_some() => String::new(),
                0.0 => " now".to_owned(),
                seconds => format!(" in {seconds:.0} s"),
            };
            (Warn, format!("lost {server}: {why}; connecting again{when}"))
        }
        EventKind::Refused { server, reason } => {
            (Warn, format!("{server} refused: {}", advice(*reason)))
        }
        EventKind::Unreadable { server } => (
            Warn,
            format!(
                "the answer of {server} does not open: the psk (network key) of this client is not \
                 the one that the server has for it; ask for a new invite"
            ),
        ),
        EventKind::Unreachable { server, error } => {
            (Warn, format!("{server}: {error}; trying again"))
        }
        EventKind::NothingListens { server } => (
            Warn,
            format!(
                "nothing listens on {server}: is the server running, and on that port? Trying on"
            ),
        ),
        EventKind::OtherMode { address, speaks } => {
            let line = match speaks {
                Protocol::Plain => {
                    "looks like a client of plain mode (--plain, or acton 0.1.1), which this server \
                     does not answer; give it an invite (acton invite), or start both with --plain"
                }
                Protocol::Acton1 => {
                    "looks like a client with keys, which this server does not answer; start it \
                     without --plain, or the client with it"
                }
            };
            (Warn, format!("{address} {line}"))
        }
        EventKind::AskedToMove { server } => {
            (Info, format!("{server} asks to go to another server"))
        }
        EventKind::MovedToServer { server, from } => {
            (Info, format!("moved from {from} to {server}, without a break"))
        }
        EventKind::Draining { on: true } => {
            (Info, "draining: clients are asked to go to other servers of theirs".to_owned())
        }
        EventKind::Draining { on: false } => {
            (Info, "draining no more: clients may stay, and come back".to_owned())
        }
        EventKind::Uplink { link, up: false, missing: true } => (
            Warn,
            format!(
                "there is no link {link}, which is tracked: clients go elsewhere until it comes; \
                 ip link lists those that there are"
            ),
        ),
        EventKind::Uplink { link, up: false, missing: false } => {
            (Warn, format!("link {link}, which is tracked, carries nothing: clients go elsewhere"))
        }
        EventKind::Uplink { link, up: true, .. } => {
            (Info, format!("link {link}, which is tracked, carries something again"))
        }
        EventKind::WayChanged { server } => {
            (Info, format!("this host's way to {server} changed; telling it"))
        }
        EventKind::LinksChanged { pmtu } => (
            Info,
            format!(
                "the links here carry datagrams of up to {pmtu} bytes now; a client uses that with its \
                 next handshake, within two minutes"
            ),
        ),
        EventKind::ServerRestarted { server } => (
            Warn,
            format!(
                "{server} is another process than before: it crashed or was killed, and its log \
                 may say why"
            ),
        ),
        EventKind::MtuUnfit { client, address, mtu, peer_mtu } => (
            Warn,
            format!(
                "{}: its TAP has an MTU of {peer_mtu}, this one {mtu}: larger frames are lost; set \
                 --mtu {peer_mtu} here or --mtu {mtu} there",
                peer(*address, client.as_deref())
            ),
        ),
        EventKind::SettingsApplied { taken, needs_restart } => (
            Debug,
            format!(
                "new settings: {} hold now, {} after a restart",
                listed(taken),
                listed(needs_restart)
            ),
        ),
        EventKind::CaptureBegan { session, drops } => {
            let what = if *drops { "what is dropped" } else { "what passes" };
            let of = session.as_ref().map(|session| format!(" of {session}")).unwrap_or_default();
            (Info, format!("somebody captures {what}{of} (acton capture)"))
        }
        EventKind::CaptureEnded { packets, lost } => {
            (Info, format!("a capture has ended: {packets} packets, {lost} lost"))
        }
        EventKind::Suppressed { kind, events } => {
            (Debug, format!("{events} more of {kind} were left out"))
        }
        // Whoever waits for the tunnel's end says why.
        EventKind::Carrier { .. } | EventKind::Failed { .. } => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_client_without_an_answer_says_what_to_look_at() {
        let (server, error) = ("a:1".to_owned(), Some("Network is unreachable".to_owned()));
        let event = EventKind::Connecting { server, attempt: NAGGING_AFTER, error };
        let text = |protocol| line(&event, protocol).unwrap().1;
        let secure = text(Protocol::Acton1);
        assert!(secure.starts_with("no answer from a:1 so far (Network is unreachable): is its"));
        assert!(secure.contains("invite") && !text(Protocol::Plain).contains("invite"));
    }

    #[test]
    fn what_ends_a_session_reads_as_a_sentence() {
        let event = |reason, silent, retry_in| EventKind::Disconnected {
            server: "a:1".to_owned(),
            reason,
            silent,
            retry_in,
        };
        let text = |event| line(&event, Protocol::Acton1).unwrap().1;
        let seconds = Duration::from_secs;
        assert_eq!(
            text(event(EndReason::Bye, None, seconds(0))),
            "lost a:1: the server stopped; connecting again now"
        );
        assert_eq!(
            text(event(EndReason::Silent, Some(seconds(30)), seconds(0))),
            "lost a:1: silent for 30 s; connecting again"
        );
        assert_eq!(
            text(event(EndReason::Full, None, Duration::from_millis(4_200))),
            "lost a:1: the server has no room for more sessions; connecting again in 5 s"
        );
    }
}
