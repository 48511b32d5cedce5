//! `acton revoke`.

use std::path::PathBuf;

use clap::Args;

use super::Failure;
use super::running_server::RunningServer;
use super::state::{StateOptions, note, print};
use acton_engine::keys::ClientList;

/// Takes a client off the list: a running server ends its session and lets it in no more
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    state: StateOptions,

    /// Name of the client
    name: String,

    /// The list of clients; `clients` in the state directory without it
    #[arg(long, value_name = "FILE")]
    clients: Option<PathBuf>,
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        let state = self.state.open_as_owner()?;
        let path = state.clients_path(self.clients.as_deref());
        let left = ClientList::remove(&path, &self.name)?;
        if let Some(mut server) = RunningServer::find(state.directory()) {
            server.read_clients();
        }
        print(&format!("Took {} off {}; clients left: {left}.", self.name, path.display()))?;
        if left == 0 {
            note(&format!(
                "Nobody gets in now. To let in whoever has the network key, revoked clients too, \
                 delete {} and the line 'listed' in {}, and start the server again.",
                path.display(),
                state.directory().join("network.key").display()
            ));
        }
        Ok(())
    }
}
