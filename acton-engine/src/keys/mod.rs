//! Keys, invites and the list of clients: who gets into a network, and how they join it.
//!
//! A server's identity and a client's credentials live in a state directory, [`DEFAULT_STATE`]
//! unless told otherwise. Each file is written whole or not at all, has mode 0600 (the directory
//! 0700), and is refused if others can read or change it.
//!
//! | file | holds |
//! |---|---|
//! | `server.key` | the server's private key, base64, one line |
//! | `network.key` | the network key, base64, one line; behind it the one before while both do, and `listed` if there was a list |
//! | `client.key` | this client's private key, for invites that carry none |
//! | `invite` | the invite that `acton join` stored |
//! | `clients` | a [`ClientList`], as lines or as TOML; once there was one, only listed clients get in |
//! | `tap-NAME.mac` | in plain mode, the MAC of the TAP called `NAME` |
//!
//! The server makes an [`Invite`] of its identity; the client finds its credentials by one:
//!
//! ```
//! use acton_engine::keys::{Invite, State};
//! # let directory = std::env::temp_dir().join(format!("acton-doc-{}", std::process::id()));
//! # let (server_directory, client_directory) = (directory.join("s"), directory.join("c"));
//!
//! let identity = State::new(server_directory).server_identity()?;
//! let invite = identity.invite("192.0.2.1:8080".parse::<std::net::SocketAddr>()?.into());
//! let url = invite.url(); // acton://192.0.2.1:8080/#..., a secret
//!
//! let client = State::new(client_directory);
//! client.store_invite(&url.parse::<Invite>()?)?;
//! let credentials = client.client_credentials(None, 8080)?;
//! assert_eq!(credentials.server_key, identity.public_key);
//! # std::fs::remove_dir_all(directory)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod admission;
mod clients;
mod credentials;
mod edit;
mod error;
pub(crate) mod file;
mod host;
mod invite;
mod kept_mac;
mod lease_file;
mod line;
mod network;
mod rotation;
mod state;
mod table;
mod terms;
mod text;
#[cfg(test)]
mod vectors;
mod watch;

pub use clients::{ClientList, ListedClient};
pub use credentials::{Credentials, Origin, Target};
pub use error::KeyError;
pub use host::default_address;
pub use invite::{Invite, InviteError, InvitedServer};
pub use kept_mac::KeptMac;
pub use lease_file::LeaseFile;
pub use line::LineError;
pub use rotation::Rotation;
pub use state::{ServerIdentity, State};
pub use text::{KeyTextError, encode_key, encode_secret, parse_key, parse_secret};
pub use watch::Watched;

/// The state directory unless `--state` or `ACTON_STATE` names another.
pub const DEFAULT_STATE: &str = "/etc/acton";

/// The environment variable that may hold an invite, where it does not show in `ps`.
pub const INVITE_VARIABLE: &str = "ACTON_INVITE";
