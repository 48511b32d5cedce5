//! `acton status --watch`: what changes, as it changes.

use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use acton_engine::{EndReason, RefusalReason, SessionStatus, State};

use super::output::Output;
use super::status::{key, look};
use super::status_text::name;
use super::units::{clock, time};
use crate::cli::{FAILURE, Failure};
use crate::control::{Connection, Request, SCHEMA};

/// Time between two looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// What has to differ for a session to have changed.
#[derive(Debug, PartialEq)]
struct Seen {
    state: State,
    reason: Option<EndReason>,
    refusal: Option<RefusalReason>,
    address: Option<std::net::SocketAddr>,
    name: String,
}

impl Seen {
    fn of(session: &SessionStatus) -> Self {
        Self {
            state: session.state,
            reason: session.reason,
            refusal: session.refusal,
            address: session.address,
            name: session.name.clone(),
        }
    }
}

/// Tells how all sessions are, and then of each change, until the tunnel ends.
pub(super) fn run(
    connection: &mut Connection,
    request: &Request,
    json: bool,
) -> Result<(), Failure> {
    let mut out = Output::new();
    let mut seen = HashMap::new();
    loop {
        let now = look(connection, request.clone())?;
        let mut current = HashMap::new();
        for session in &now.sessions {
            // A client's number changes from session to session, itself does not.
            let (_, who) = key(session);
            let is = Seen::of(session);
            let before = seen.remove(&who);
            if before.as_ref() != Some(&is) {
                if json {
                    out.line(&line_of_json(session)?)?;
                } else {
                    out.line(&line(now.instance.time, session, before.as_ref()))?;
                }
            }
            current.insert(who, is);
        }
        // With --state, those that are in another one now; else those that are forgotten.
        for (_, Seen { name, .. }) in seen.drain() {
            if !json {
                out.line(&format!(
                    "{}  {name} is not among them any more",
                    clock(now.instance.time)
                ))?;
            }
        }
        seen = current;
        out.flush()?;
        if now.instance.ended {
            return Err(Failure { code: FAILURE, message: "the tunnel has ended".to_owned() });
        }
        thread::sleep(INTERVAL);
    }
}

fn line(at: f64, session: &SessionStatus, before: Option<&Seen>) -> String {
    let was = before.map(|before| before.state).filter(|&state| state != session.state);
    let was = was.map(|state| format!(" (was {})", name(state))).unwrap_or_default();
    let since = match (before, session.in_state_for) {
        (None, Some(since)) => format!(" for {}", time(since)),
        _ => String::new(),
    };
    let reason = session.refusal.map(name).or_else(|| session.reason.map(name));
    let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    let address = session.address.map(|address| format!(" at {address}")).unwrap_or_default();
    format!(
        "{}  {} is {}{was}{since}{address}{reason}",
        clock(at),
        session.name,
        name(session.state)
    )
}

fn line_of_json(session: &SessionStatus) -> Result<String, Failure> {
    #[derive(serde::Serialize)]
    struct Line<'s> {
        schema: u32,
        #[serde(flatten)]
        session: &'s SessionStatus,
    }
    Ok(serde_json::to_string(&Line { schema: SCHEMA, session })?)
}
