//! A tunnel that runs, by its control socket.

use std::io::ErrorKind;

use crate::control::{Answer, AskError, Connection, FindError, Place, Request};
use crate::doctor::facts::{Running, Tunnel};

/// The tunnel at `place`.
pub(crate) fn find(place: &Place) -> Tunnel {
    let asked = Connection::open(place).and_then(|mut connection| running(&mut connection));
    match asked {
        Ok(running) => running.map_or(Tunnel::None, |running| Tunnel::Running(Box::new(running))),
        Err(AskError::Find(FindError::Nobody)) => Tunnel::None,
        Err(error) => match &error {
            AskError::Find(FindError::Silent { error: why, .. })
                if why.kind() != ErrorKind::PermissionDenied =>
            {
                Tunnel::Silent(error.to_string())
            }
            _ => Tunnel::Unknown(error.to_string()),
        },
    }
}

/// Asks for all that is told without a right to change something.
fn running(connection: &mut Connection) -> Result<Option<Running>, AskError> {
    let (mut instance, mut sessions) = (None, Vec::new());
    ask(
        connection,
        Request::Status { session: None, states: Vec::new() },
        |answer| match answer {
            Answer::Instance(it) => instance = Some(*it),
            Answer::Session(session) => sessions.push(*session),
            _ => {}
        },
    )?;
    let (mut events, mut drops) = (Vec::new(), Vec::new());
    ask(connection, Request::Events { after: 0, follow: false }, |answer| {
        if let Answer::Event(event) = answer {
            events.push(event);
        }
    })?;
    ask(connection, Request::Drops { session: None }, |answer| {
        if let Answer::Drop(drop) = answer {
            drops.push(drop);
        }
    })?;
    let control = connection.path().to_owned();
    Ok(instance.map(|instance| Running { control, instance, sessions, events, drops }))
}

fn ask(
    connection: &mut Connection,
    request: Request,
    mut tell: impl FnMut(Answer),
) -> Result<(), AskError> {
    let mut answers = connection.ask(request)?;
    loop {
        match answers.read()? {
            Answer::End(_) => return Ok(()),
            Answer::Error(refusal) => return Err(refusal.into()),
            answer => tell(answer),
        }
    }
}
