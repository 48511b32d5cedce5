//! `acton rotate`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::Failure;
use super::state::{StateOptions, print};

/// Seconds of a day.
const DAY: u64 = 86_400;

/// Changes the network key, on which all invites so far rely
///
/// On the host of the server, whether it runs or not. Where there is a list of clients, the old key
/// does for some days more: listed clients that have a session in that time are told the new one and
/// keep it in the invite that they stored. Whoever else has the old key, as clients that were revoked,
/// can do nothing with it after that. Other servers with a copy of the state directory need the new
/// network.key at once. Where there is no list, nobody is told and the old key does no
/// more at once.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    state: StateOptions,

    /// Days for which the old key does, where there is a list of clients; 0 for none
    #[arg(long, value_name = "DAYS", default_value_t = 7,
          value_parser = clap::value_parser!(u16).range(..=365))]
    grace: u16,

    /// The list of clients, where the server is run with one elsewhere
    #[arg(long, value_name = "FILE")]
    clients: Option<PathBuf>,
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        let state = self.state.open_as_owner()?;
        let grace = Duration::from_secs(u64::from(self.grace) * DAY);
        let rotation = state.rotate(grace, self.clients.as_deref())?;
        let again = "`acton revoke NAME`, then `acton invite --name NAME`";
        print(&match (rotation.until, rotation.listed) {
            (Some(_), _) => format!(
                "Changed the network key; the old one does for {} days more.\nListed clients that \
                 have a session in that time are told, and need nothing. To be joined again ({again}) \
                 are those that do not come in that time, those of an earlier version, and those \
                 whose invite stands in ACTON_INVITE, in a file or in a command.",
                self.grace
            ),
            (None, true) => format!(
                "Changed the network key; the old one does no more.\nAll clients must be joined \
                 again: {again}. Sessions end within three minutes."
            ),
            (None, false) => "Changed the network key; the old one does no more, for without a list \
                 of clients (--clients FILE) nobody can be told.\nAll clients must be joined again, with what `acton \
                 invite` prints now. Sessions end within three minutes."
                .to_owned(),
        })
    }
}
