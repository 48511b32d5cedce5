//! `acton status`.

use std::collections::{HashMap, HashSet};
use std::thread;
use std::time::{Duration, Instant};

use acton_engine::{SessionStatus, State, Traffic};
use clap::{Args, ValueEnum};
use terminal_size::{Width, terminal_size};

use super::output::Output;
use super::session_text::one_session;
use super::status_text::{Look, screen};
use super::{next, next_raw, unexpected, watch};
use crate::cli::control::InstanceOptions;
use crate::cli::values::seconds;
use crate::cli::{FAILURE, Failure};
use crate::control::{Answer, Connection, End, EventRecord, RawAnswer, Request};

/// Time between the two looks that rates come from.
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);
/// Time between two looks for a state that is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Events of a session that are shown with it.
const EVENTS_SHOWN: usize = 8;

/// Says how a tunnel that runs is: the instance and a row a session, or all of one session
///
/// LOSS is that of the direction that loses more, since the session began; IN and OUT are frames in
/// bits a second just now; MTU is the largest datagram that the path carries, in bytes of UDP payload.
/// `quiet` is one whose sign of life is overdue.
#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// Session of which to show all: the client's name, its UDP address or the session's number
    #[arg(value_name = "SESSION")]
    session: Option<String>,

    /// Only sessions in these states
    #[arg(long, value_name = "STATES", value_enum, value_delimiter = ',')]
    state: Vec<StateOption>,

    /// Goes on with what changes
    #[arg(long)]
    watch: bool,

    /// Says nothing, but ends with exit code 0 if the session, or any, is in this state, else with 1
    #[arg(long, value_name = "STATE", value_enum, hide_possible_values = true,
          conflicts_with_all = ["state", "watch"])]
    check: Option<StateOption>,

    /// With --check, waits so long for the state, and for acton itself
    #[arg(long, value_name = "SECONDS", value_parser = seconds, requires = "check")]
    wait: Option<Duration>,

    /// As JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    instance: InstanceOptions,
}

/// A session's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StateOption {
    /// Keys are being agreed on
    Handshaking,
    /// Frames pass
    Up,
    /// Frames pass, but a sign of life is overdue
    Quiet,
    /// The other end is not heard any more
    Lost,
    /// Ended, or refused
    Closed,
}

impl From<StateOption> for State {
    fn from(option: StateOption) -> Self {
        match option {
            StateOption::Handshaking => Self::Handshaking,
            StateOption::Up => Self::Up,
            StateOption::Quiet => Self::Quiet,
            StateOption::Lost => Self::Lost,
            StateOption::Closed => Self::Closed,
        }
    }
}

impl Arguments {
    pub(in crate::cli) fn run(self) -> Result<(), Failure> {
        if let Some(state) = self.check {
            return self.check(state.into());
        }
        let mut connection = self.instance.open()?;
        if self.watch {
            return watch::run(&mut connection, &self.request(), self.json);
        }
        let mut out = Output::new();
        if self.json {
            write_json(&mut connection, self.request(), &mut out)?;
            return out.end();
        }
        let before = look(&mut connection, self.request())?;
        thread::sleep(BETWEEN_LOOKS);
        let now = look(&mut connection, self.request())?;
        let rates = Rates::between(&before, &now);
        let lines = match (&self.session, now.sessions.as_slice()) {
            (Some(_), [session]) => {
                let events = events_of(&mut connection, &now, session)?;
                one_session(session, &rates, &events)
            }
            _ => {
                // What goes into a file or another program is as wide as it likes.
                let width = terminal_size().map(|(Width(columns), _)| columns.into());
                screen(&now, &rates, width.unwrap_or(usize::MAX))
            }
        };
        lines.iter().try_for_each(|line| out.line(line))?;
        out.end()
    }

    fn request(&self) -> Request {
        let states = self.state.iter().map(|&state| state.into()).collect();
        Request::Status { session: self.session.clone(), states }
    }

    /// Looks until a session is in the state, or the time is over.
    fn check(&self, state: State) -> Result<(), Failure> {
        let until = Instant::now() + self.wait.unwrap_or_default();
        let wanted = Request::Status { session: self.session.clone(), states: vec![state] };
        loop {
            let looked =
                self.instance.open().and_then(|mut asked| look(&mut asked, wanted.clone()));
            if looked.as_ref().is_ok_and(|look| !look.sessions.is_empty()) {
                return Ok(());
            }
            if Instant::now() >= until {
                looked?;
                let who = self.session.as_deref().unwrap_or("no session");
                let is = if self.session.is_some() { "is not" } else { "is" };
                let message = format!("{who} {is} {}", super::status_text::name(state));
                return Err(Failure { code: FAILURE, message });
            }
            thread::sleep(LOOK_AGAIN.min(until.saturating_duration_since(Instant::now())));
        }
    }
}

/// Asks for a status.
pub(super) fn look(connection: &mut Connection, request: Request) -> Result<Look, Failure> {
    let mut answers = connection.ask(request)?;
    let Answer::Instance(instance) = next(&mut answers)? else { return Err(unexpected()) };
    let mut sessions = Vec::new();
    loop {
        match next(&mut answers)? {
            Answer::Session(session) => sessions.push(*session),
            Answer::End(End { .. }) => return Ok(Look { instance: *instance, sessions }),
            _ => return Err(unexpected()),
        }
    }
}

/// Passes a status on as one object, as it comes: the instance's fields, `sessions` and `traffic`.
fn write_json(
    connection: &mut Connection,
    request: Request,
    out: &mut Output,
) -> Result<(), Failure> {
    let mut answers = connection.ask(request)?;
    let RawAnswer::Instance(instance) = next_raw(&mut answers)? else { return Err(unexpected()) };
    let mut index = 0;
    let mut item = |session: Option<&str>, out: &mut Output| {
        // What comes second may be that there is no such session.
        if index == 0 {
            out.begin_object(&[instance.get()])?;
            out.begin_list("sessions")?;
        }
        session.map_or(Ok(()), |session| out.item(index, session))?;
        index += 1;
        Ok::<_, Failure>(())
    };
    loop {
        if let Some(session) = answers.session()? {
            item(Some(session), out)?;
            continue;
        }
        match next_raw(&mut answers)? {
            RawAnswer::Session(session) => item(Some(session.get()), out)?,
            RawAnswer::End(end) => {
                item(None, out)?;
                out.piece("]")?;
                out.fields(end.get())?;
                return out.line("}");
            }
            _ => return Err(unexpected()),
        }
    }
}

/// Bits a second of each session in both directions, from two looks.
#[derive(Debug, Default)]
pub(super) struct Rates {
    by_session: HashMap<(Option<usize>, String), (f64, f64)>,
}

impl Rates {
    pub(super) fn between(before: &Look, now: &Look) -> Self {
        let seconds = now.instance.time - before.instance.time;
        let old: HashMap<_, _> =
            before.sessions.iter().map(|session| (key(session), &session.traffic)).collect();
        let by_session = now.sessions.iter().filter_map(|session| {
            let (key, new) = (key(session), &session.traffic);
            let old = old.get(&key)?;
            let rate = |new: u64, old: u64| new.saturating_sub(old) as f64 * 8.0 / seconds;
            let Traffic { bytes_in, bytes_out, .. } = new;
            Some((key, (rate(*bytes_in, old.bytes_in), rate(*bytes_out, old.bytes_out))))
        });
        Self { by_session: if seconds > 0.0 { by_session.collect() } else { HashMap::new() } }
    }

    /// In and out of all sessions together.
    pub(super) fn total(&self) -> (f64, f64) {
        let add = |sum: (f64, f64), rate: &(f64, f64)| (sum.0 + rate.0, sum.1 + rate.1);
        self.by_session.values().fold((0.0, 0.0), add)
    }

    /// In and out.
    pub(super) fn of(&self, session: &SessionStatus) -> Option<(f64, f64)> {
        self.by_session.get(&key(session)).copied()
    }
}

/// What tells a session from others.
pub(super) fn key(session: &SessionStatus) -> (Option<usize>, String) {
    let address = session.address.filter(|_| session.key.is_none());
    let who = session.key.clone().or_else(|| address.map(|address| address.to_string()));
    (session.number, who.unwrap_or_else(|| session.name.clone()))
}

/// The latest events of a session, which at a client are all there are.
fn events_of(
    connection: &mut Connection,
    look: &Look,
    session: &SessionStatus,
) -> Result<Vec<EventRecord>, Failure> {
    let mut answers = connection.ask(Request::Events { after: 0, follow: false })?;
    let mut events = Vec::new();
    loop {
        match next(&mut answers) {
            Ok(Answer::Event(event)) => {
                if look.is_client() || is_about(&event, &session.name) {
                    events.push(event);
                }
            }
            Ok(Answer::End(_)) => break,
            Ok(_) => return Err(unexpected()),
            Err(failure) => return Err(failure),
        }
    }
    Ok(latest(events, EVENTS_SHOWN))
}

/// The latest of these events, as many as there is room for. What happens again and again is told once, of
/// the last time, and leaves room for others.
pub(super) fn latest(
    events: impl IntoIterator<Item = EventRecord, IntoIter: DoubleEndedIterator>,
    room: usize,
) -> Vec<EventRecord> {
    let mut told = HashSet::new();
    let is_new = |event: &EventRecord| event.text.clone().is_some_and(|text| told.insert(text));
    let backwards = events.into_iter().rev();
    let mut latest: Vec<_> = backwards.filter(is_new).take(room).collect();
    latest.reverse();
    latest
}

/// Whether an event of a server names that client, or what is told of was behind it.
pub(super) fn is_about(event: &EventRecord, name: &str) -> bool {
    // That a session goes on is no news either, and is told of each in every interval.
    if event.event == "accounting_interim" {
        return false;
    }
    let client_at = |field: &str| event.fields.get(field)?.get("session")?.get("client")?.as_str();
    let client = event.fields.get("client").and_then(|client| client.as_str());
    // A MAC that is learnt is no news, and there may be hundreds.
    let places = match &*event.event {
        "mac_learnt" => &[][..],
        _ => &["at", "by"],
    };
    client
        .into_iter()
        .chain(places.iter().filter_map(|field| client_at(field)))
        .any(|client| client == name)
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    fn event(
        number: u64,
        kind: &str,
        text: Option<&str>,
        fields: serde_json::Value,
    ) -> EventRecord {
        let mut event = json!({ "number": number, "time": number, "event": kind, "text": text });
        event.as_object_mut().unwrap().append(&mut fields.as_object().unwrap().clone());
        from_value(event).unwrap()
    }

    #[test]
    fn what_happens_again_and_again_leaves_room_for_other_events() {
        let mut events = vec![event(1, "session_up", Some("up"), json!({}))];
        // Two that take turns are no neighbours of their like.
        for number in 0..20 {
            let text = ["policy acts", "policy acts no more"][number as usize % 2];
            events.push(event(number + 2, "policy_acts", Some(text), json!({})));
        }
        events.push(event(22, "list_read", None, json!({})));
        let numbers = |events: Vec<EventRecord>| -> Vec<_> {
            latest(events, EVENTS_SHOWN).iter().map(|event| event.number).collect()
        };
        assert_eq!(numbers(events), [1, 20, 21]);
        let texts: Vec<_> = (0..20).map(|number| format!("{number}")).collect();
        let each = texts.iter().zip(0..).map(|(text, at)| event(at, "x", Some(text), json!({})));
        assert_eq!(numbers(each.collect()), (12..20).collect::<Vec<_>>());
    }

    #[test]
    fn accounts_that_go_on_and_macs_are_no_events_of_a_session() {
        let at = json!({ "at": { "session": { "session": 1, "client": "berlin" } } });
        let of = |kind, fields| is_about(&event(1, kind, Some("it"), fields), "berlin");
        assert!(of("mac_held", at.clone()) && !of("mac_learnt", at));
        let client = json!({ "client": "berlin" });
        assert!(of("accounting_start", client.clone()) && of("accounting_stop", client.clone()));
        assert!(!of("accounting_interim", client));
        assert!(!of("accounting_start", json!({ "client": "rome" })));
    }
}
