//! How lines of the log call places and reasons, and what they advise.

use std::net::SocketAddr;

use crate::observe::event::{EndReason, Place, RefusalReason};
use crate::observe::status::Protocol;

/// What to do where a client serves the LAN on purpose.
pub(super) const TRUSTED: &str = " (trusted in the list of clients lets a client serve the LAN)";

pub(super) fn listed(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

pub(super) fn tagged(vlan: u16) -> String {
    if vlan == 0 { String::new() } else { format!(" on VLAN {vlan}") }
}

pub(super) fn place(place: &Place) -> String {
    match place {
        Place::Root => "at the root".to_owned(),
        Place::Client => "at this client".to_owned(),
        Place::Session { session, client: Some(client) } => {
            format!("behind {client} (session {session})")
        }
        Place::Session { session, client: None } => format!("behind session {session}"),
    }
}

pub(super) fn lan(place: &Place) -> String {
    match place {
        Place::Root => "the server's LAN".to_owned(),
        Place::Client => "this client's LAN".to_owned(),
        Place::Session { session, client: Some(client) } => {
            format!("the LAN of {client} (session {session})")
        }
        Place::Session { session, client: None } => format!("the LAN of session {session}"),
    }
}

pub(super) fn peer(address: Option<SocketAddr>, client: Option<&str>) -> String {
    let address = address.map(|address| address.to_string()).unwrap_or_default();
    client.map_or(address.clone(), |client| format!("{address} ({client})"))
}

pub(super) fn ended(reason: EndReason, protocol: Protocol) -> &'static str {
    match reason {
        EndReason::Bye => "said BYE",
        EndReason::Silent => "has been silent too long",
        EndReason::Removed => match protocol {
            Protocol::Plain => "is not allowed any more",
            Protocol::Acton1 => "is not on the list any more",
        },
        EndReason::Denied => "may not be here any more, says who decides on clients (--authorize)",
        EndReason::Undecided => {
            "may not stay: who decides on clients (--authorize) does not answer whether it may"
        }
        EndReason::Kicked => "was kicked",
        _ => "ended with the server",
    }
}

pub(super) fn refused(reason: RefusalReason) -> &'static str {
    match reason {
        RefusalReason::WrongKey => {
            "its HELLO was made for another server or network key; its invite is not of this \
             server, or an old one"
        }
        RefusalReason::Handshake => "its handshake does not open; its invite is damaged or old",
        RefusalReason::Unconfirmed => {
            "it did not confirm its keys: its psk is not the one listed, or the answer was lost"
        }
        RefusalReason::NotListed => {
            "its key is not on the list; acton invite --name makes it an invite"
        }
        RefusalReason::Denied => "who decides on clients (--authorize) denies it",
        RefusalReason::Undecided => {
            "nobody has decided on it: who does (--authorize) has not answered, or is asked about too \
             many"
        }
        RefusalReason::Full => "all sessions are taken (--max-sessions)",
        RefusalReason::SourceFull => {
            "its address has as many sessions as it may; raise --max-sessions-per-source, or list \
             its clients (acton invite --name), of which there may be any number"
        }
        RefusalReason::UnlistedFull => {
            "clients that nothing but the network key lets in have as many sessions as they may; \
             raise max_unlisted, or list them"
        }
        RefusalReason::Version => {
            "it speaks no version that this server does; update the older one"
        }
        RefusalReason::Suite => {
            "it takes no cipher suite that this server does; look at --suite on both, or update \
             the older one"
        }
        RefusalReason::Other => "the protocol forbids it",
    }
}

pub(super) fn lost(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Bye => "the server stopped",
        EndReason::Restart => "the server restarts",
        EndReason::Replaced => {
            "another client with the same key took the session; give each client an invite of its \
             own (acton invite --name)"
        }
        EndReason::Removed | EndReason::Denied | EndReason::Undecided => {
            "this client was removed from the server's list; ask for a new invite"
        }
        EndReason::Full => "the server has no room for more sessions",
        EndReason::Moved => "gone to another server",
        EndReason::Silent => "no sign of life",
        EndReason::KeysExpired => "the keys expired and no new ones could be agreed on",
        EndReason::Kicked | EndReason::Stopped | EndReason::Other => "the session ended",
    }
}

pub(super) fn advice(reason: RefusalReason) -> &'static str {
    match reason {
        RefusalReason::NotListed => {
            "this client's key is not on its list; ask for an invite (acton invite --name)"
        }
        RefusalReason::Full => {
            "it has no room for another session, or for none from here; its --max-sessions and \
             --max-sessions-per-source allow more"
        }
        RefusalReason::Version => {
            "it speaks no version that this client does; update the older one"
        }
        RefusalReason::Suite => {
            "it takes no cipher suite that this client does; look at --suite on both, or update \
             the older one"
        }
        _ => "for a reason that this version does not know; update acton",
    }
}

/// What to say where this host's wall clock and the peer's are far apart: the wrong one of them
/// hides in logs and certificates.
pub(super) fn apart(ahead_seconds: f64) -> String {
    let seconds = ahead_seconds.abs();
    let apart = if seconds < 172_800.0 {
        format!("{seconds:.0} s")
    } else {
        format!("{:.0} days", (seconds / 86_400.0).floor())
    };
    let which = if ahead_seconds < 0.0 { "behind" } else { "ahead of" };
    format!(
        "this host's clock is {apart} {which} its clock; acton works all the same, but set the \
         wrong one (timedatectl set-ntp true)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_are_far_apart_are_told() {
        let year = 31_536_000.0;
        assert!(apart(-301.4).starts_with("this host's clock is 301 s behind its"));
        assert!(apart(9.0 * year).starts_with("this host's clock is 3285 days ahead of its"));
    }
}
