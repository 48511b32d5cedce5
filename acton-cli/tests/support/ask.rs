//! Asking: by the command, and by a connection of one's own.

use std::path::Path;
use std::process::Command;

use acton_cli::control::{Answer, Connection, Place, Request};
use acton_engine::SessionStatus;
use serde_json::Value;

use super::{Acton, control, wait_until};

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs `acton` with these arguments for the instance with that socket.
pub(crate) fn said_by(control: &Path, arguments: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_acton"));
    let output = command.args(arguments).env_clear().env("ACTON_CONTROL", control).output();
    let output = output.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    Said { code: output.status.code().unwrap(), out, err }
}

/// What such a command prints, which must succeed.
#[track_caller]
pub(crate) fn told(end: &Acton, arguments: &[&str]) -> String {
    let said = said_by(control(end), arguments);
    assert_eq!((said.code, &*said.err), (0, ""), "{arguments:?}: {said:?}");
    said.out
}

/// The same as JSON.
#[track_caller]
pub(crate) fn json(end: &Acton, arguments: &[&str]) -> Value {
    serde_json::from_str(&told(end, &[arguments, &["--json"]].concat())).unwrap()
}

/// A connection to an instance.
pub(crate) fn connect(end: &Acton) -> Connection {
    Connection::open(&Place::Path(control(end).to_owned())).unwrap()
}

/// All lines of an answer.
#[track_caller]
pub(crate) fn answers(connection: &mut Connection, request: Request) -> Vec<Answer> {
    let (mut answers, mut all) = (connection.ask(request).unwrap(), Vec::new());
    loop {
        let answer = answers.read().unwrap();
        let is_last = matches!(answer, Answer::End(_) | Answer::Error(_));
        all.push(answer);
        if is_last {
            return all;
        }
    }
}

/// All sessions now.
pub(crate) fn sessions(end: &Acton) -> Vec<SessionStatus> {
    let request = Request::Status { session: None, states: Vec::new() };
    let all = answers(&mut connect(end), request).into_iter();
    let session = |answer| match answer {
        Answer::Session(session) => Some(*session),
        _ => None,
    };
    all.filter_map(session).collect()
}

/// Waits until a session is as wanted, and gives it.
#[track_caller]
pub(crate) fn until(
    end: &Acton,
    what: &str,
    wanted: impl Fn(&SessionStatus) -> bool,
) -> SessionStatus {
    let mut found = None;
    wait_until(what, || {
        found = sessions(end).into_iter().find(&wanted);
        found.is_some()
    });
    found.unwrap()
}
