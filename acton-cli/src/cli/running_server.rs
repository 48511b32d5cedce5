//! The server that runs on this host with the keys that a command about keys is for.

use std::env;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use acton_engine::{Protocol, Role};

use super::state::note;
use crate::control::{
    Answer, AskError, Connection, End, ListReport, Place, Request, sockets_in, usual_directory,
};

/// A server that runs.
pub(super) struct RunningServer {
    connection: Connection,
    /// Where it listens.
    pub(super) listen: SocketAddr,
}

impl RunningServer {
    /// The one that has its keys in this directory, as far as the control sockets of this host tell. One
    /// that cannot be asked is none.
    pub(super) fn find(state: &Path) -> Option<Self> {
        let state = fs::canonicalize(state).ok()?;
        let named = env::var_os("ACTON_CONTROL").map(PathBuf::from);
        let mut sockets = named.into_iter().chain(sockets_in(usual_directory()));
        sockets.find_map(|socket| {
            let mut connection = Connection::open(&Place::Path(socket)).ok()?;
            let listen = listens(&mut connection, &state).ok()??;
            Some(Self { connection, listen })
        })
    }

    /// Has it read the list of clients at once, and waits until it has. What is wrong with the list is
    /// told; who may not ask need not: it is read within a second anyway.
    pub(super) fn read_clients(&mut self) {
        match read_clients(&mut self.connection) {
            Ok(Some(ListReport::Error(error))) => {
                note(&format!("The server that runs keeps to the list before: {error}"));
            }
            Ok(Some(ListReport::NoList(error))) => {
                note(&format!("The list lets nobody in until the server can read it: {error}"));
            }
            _ => {}
        }
    }
}

/// Where it listens, if it is a server with its keys there.
fn listens(connection: &mut Connection, state: &Path) -> Result<Option<SocketAddr>, AskError> {
    // The sessions do not matter.
    let request = Request::Status { session: None, states: vec![acton_engine::State::Lost] };
    let mut answers = connection.ask(request)?;
    let mut listen = None;
    loop {
        match answers.read()? {
            Answer::Instance(instance) => {
                let keys = instance.config.and_then(|config| config.state);
                let is_it = (instance.role, instance.protocol) == (Role::Server, Protocol::Acton1)
                    && keys.as_deref() == Some(state);
                let socket = instance.sockets.first().filter(|_| is_it);
                listen = socket.map(|socket| socket.local);
            }
            Answer::End(_) => return Ok(listen),
            Answer::Error(refusal) => return Err(refusal.into()),
            _ => {}
        }
    }
}

fn read_clients(connection: &mut Connection) -> Result<Option<ListReport>, AskError> {
    match connection.ask(Request::ReloadClients {})?.read()? {
        Answer::End(End { clients, .. }) => Ok(clients),
        Answer::Error(refusal) => Err(refusal.into()),
        _ => Ok(None),
    }
}
