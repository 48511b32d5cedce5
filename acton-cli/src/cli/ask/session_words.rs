//! What is said of a session in words, wherever it is shown.

use acton_engine::{EndReason, LoopReport, Place, RefusalReason, SessionStatus, State};

use super::units::time;

/// Why there is no session, where there is none.
pub(super) fn why(session: &SessionStatus) -> Option<String> {
    match (session.state, session.refusal, session.reason) {
        (State::Up | State::Quiet, ..) => None,
        (_, Some(refusal), _) => Some(refused(refusal).to_owned()),
        (_, _, Some(reason)) => Some(ended(reason).to_owned()),
        (State::Handshaking, ..) => Some("no answer yet".to_owned()),
        (State::Unreachable, ..) => Some("it does not answer".to_owned()),
        _ if session.server.is_some_and(|server| server.draining) => {
            Some("it asks clients to go elsewhere".to_owned())
        }
        _ => None,
    }
}

pub(super) fn ended(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Bye => "the other end said goodbye",
        EndReason::Restart => "the server restarts",
        EndReason::Replaced => "another client has its key",
        EndReason::Removed => "not allowed any more",
        EndReason::Denied => "denied by who decides on clients",
        EndReason::Undecided => "who decides on clients is silent",
        EndReason::Kicked => "kicked by an operator",
        EndReason::Full => "the server is full",
        EndReason::Moved => "left for another server",
        EndReason::Silent => "silent too long",
        EndReason::KeysExpired => "its keys expired",
        EndReason::Stopped => "this end stopped",
        _ => "ended for another reason",
    }
}

fn refused(reason: RefusalReason) -> &'static str {
    match reason {
        RefusalReason::WrongKey => "refused: made for another server or network key",
        RefusalReason::Handshake => "refused: its handshake does not open",
        RefusalReason::Unconfirmed => "refused: it did not confirm its keys",
        RefusalReason::NotListed => "refused: its key is not on the server's list",
        RefusalReason::Full => "refused: all sessions are taken",
        RefusalReason::Version => "refused: no version in common",
        RefusalReason::Suite => "refused: no cipher suite in common",
        _ => "refused for another reason",
    }
}

/// What is said of a loop through a session.
pub(super) fn loop_found(session: &SessionStatus) -> Option<String> {
    let LoopReport { with, found_ago, opens_in, .. } = session.loop_found.as_ref()?;
    let with = match with {
        None => "another LAN".to_owned(),
        Some(Place::Session { client: Some(client), .. }) => format!("that of {client}"),
        Some(Place::Session { session, .. }) => format!("that of session {session}"),
        Some(_) => "the server's".to_owned(),
    };
    let opens = opens_in.map(|left| format!(", flooding held back for {} more", time(left)));
    let (opens, found) = (opens.unwrap_or_default(), time(*found_ago));
    Some(format!("its LAN and {with} are joined by another way too{opens}; found {found} ago"))
}

/// What is said of a storm from a client.
pub(super) fn storm(session: &SessionStatus) -> Option<String> {
    let classes = session.budgets_acting.join(", ");
    (!classes.is_empty()).then(|| format!("a storm: budgets of {classes} drop frames (--budget)"))
}
