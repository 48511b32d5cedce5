//! Why keys could not be had.

use std::io;
use std::path::{Path, PathBuf};

use super::{InviteError, KeyTextError, LineError};

/// Why keys, an invite or a list of clients could not be read or written. No message holds a
/// secret. The cause, where there is one, is the `source` and is not repeated in the message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// A file operation failed.
    #[error("cannot {action} {}{}", .path.display(), advice(.source))]
    Io {
        /// What acton was about to do.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Others than the owner can read or change what only the owner may.
    #[error(
        "{} is open to others (mode {mode:03o}); if nobody used that, run: chmod {fix} {}",
        .path.display(), .path.display()
    )]
    Open {
        /// The file or directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// What to give chmod.
        fix: &'static str,
    },
    /// A file belongs to somebody who could change it at will.
    #[error("{} belongs to user {uid}{}", .path.display(), owner_advice(path, *uid, *user))]
    Owner {
        /// The file or directory.
        path: PathBuf,
        /// Its owner.
        uid: u32,
        /// The user that acton runs as.
        user: u32,
    },
    /// Something else than a regular file is in the place of one, or it is far too large.
    #[error("{} is no regular file of at most {limit} bytes; move it away", .path.display())]
    NotAFile {
        /// Its path.
        path: PathBuf,
        /// The most bytes it may have.
        limit: u64,
    },
    /// A file is not text.
    #[error("{} is no text in UTF-8; write it anew", .path.display())]
    NotText {
        /// Its path.
        path: PathBuf,
    },
    /// A key file holds no key.
    #[error(
        "{} holds no key: restore it, or delete it to have a new one made, which those who know \
         the old one must then be told",
        .path.display()
    )]
    BadKey {
        /// Its path.
        path: PathBuf,
        /// What a key is.
        source: KeyTextError,
    },
    /// A file that should hold the MAC of a TAP holds none.
    #[error("{} holds no MAC that a TAP can have; delete it to have one drawn", .path.display())]
    BadMac {
        /// Its path.
        path: PathBuf,
    },
    /// The file of leases is not as it was written.
    #[error("{} holds no list of leases as a server writes it; it is written anew", .path.display())]
    BadLeases {
        /// Its path.
        path: PathBuf,
    },
    /// The MAC that is kept for a TAP is in use, by another TAP of that name.
    #[error(
        "{} is in use by another acton, for a TAP of the same name; give each a directory of its \
         own (--state)",
        .path.display()
    )]
    MacInUse {
        /// The file that holds it.
        path: PathBuf,
    },
    /// The state directory holds an invite that cannot be read.
    #[error("{} holds no invite; run `acton join` again", .path.display())]
    BadStoredInvite {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        source: InviteError,
    },
    /// An invite that was given cannot be read.
    #[error("the invite {origin} cannot be used")]
    BadInvite {
        /// Where it is from, to end a sentence with.
        origin: &'static str,
        /// What is wrong with it.
        source: InviteError,
    },
    /// The server's name or address cannot be read.
    #[error("no server or invite: {problem}")]
    Server {
        /// What is wrong with it.
        problem: String,
    },
    /// There is no invite, and nothing else that holds the server's key.
    #[error(
        "{} holds no invite; run `acton join INVITE` with what `acton invite` prints on the \
         server's host{}",
        .state.display(),
        if *.is_server { ", or join the server on this host: acton client 127.0.0.1" } else { "" }
    )]
    NoInvite {
        /// The state directory.
        state: PathBuf,
        /// Whether it holds a server's keys.
        is_server: bool,
    },
    /// A line of the list of clients is wrong.
    #[error("{}, line {line}: {problem}", .path.display())]
    List {
        /// The list's path.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: LineError,
    },
    /// A list of clients as TOML is wrong.
    #[error("{}:{line}:{column}: {problem}", .path.display())]
    Table {
        /// The list's path.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// Number of the character in it, from 1.
        column: usize,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// A client's table in a list as TOML cannot be taken out.
    #[error(
        "the table of client '{name}' cannot be taken out of {} as it is written there: take it out \
         by hand",
        .path.display()
    )]
    TableStays {
        /// The list's path.
        path: PathBuf,
        /// The client.
        name: String,
    },
    /// There is no list of clients.
    #[error(
        "there is no list of clients {}; `acton invite --name NAME` makes one", .path.display()
    )]
    NoList {
        /// The path where one was expected.
        path: PathBuf,
    },
    /// There is no list of clients, but there was one, without which nobody gets in.
    #[error(
        "the list of clients {} is gone, and this network admits listed clients only: put it back, \
         name it by --clients, or begin a new one with `acton invite --name NAME`; to let in \
         whoever has the network key, clients that were revoked too, delete the line 'listed' in {}",
        .path.display(), .network_key.display()
    )]
    ListLost {
        /// Where it should be.
        path: PathBuf,
        /// The file that says so.
        network_key: PathBuf,
    },
    /// There is no network key.
    #[error(
        "there is no network key {}: put it back, or `acton server` and `acton invite` make one, \
         which nobody knows yet",
        .path.display()
    )]
    NoNetworkKey {
        /// Where it should be.
        path: PathBuf,
    },
    /// The network key was changed not long ago, and the one before still does.
    #[error(
        "the network key was changed not long ago, and clients that were away since know only the \
         one before, which {} has until its time is over; to shut that out now and change the key \
         again: acton rotate --grace 0",
        .path.display()
    )]
    StillRotating {
        /// The file of the network key.
        path: PathBuf,
    },
    /// The list of clients is gone while a server used it.
    #[error(
        "the list of clients {} is gone; what it said still holds: put it back, for without it the \
         server does not start again",
        .path.display()
    )]
    ListGone {
        /// Where it was.
        path: PathBuf,
    },
    /// The list has no client of that name.
    #[error("{} lists no client '{name}'", .path.display())]
    UnknownClient {
        /// The list's path.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// A client cannot be called so.
    #[error("'{name}' cannot name a client; take 1 to 63 ASCII letters, digits and any of - _ . @")]
    Name {
        /// The name.
        name: String,
    },
    /// A new client's name or key is in the list already.
    #[error(
        "{} lists that {what} already, as client '{name}'; choose another, or run first: \
         acton revoke {name}",
        .path.display()
    )]
    Listed {
        /// The list's path.
        path: PathBuf,
        /// What is there already: a name or a key.
        what: &'static str,
        /// The listed client.
        name: String,
    },
}

impl KeyError {
    pub(super) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

/// What to do about a file that belongs to `uid`, where acton runs as `user`.
fn owner_advice(path: &Path, uid: u32, user: u32) -> String {
    if user == 0 {
        // Made root's, a server that runs as that user could not read it any more.
        return format!(", whose keys are here: run this as that user, as by sudo -u '#{uid}'");
    }
    format!(
        ", who is neither root nor the user that acton runs as; if its content is right, run: \
         chown {user} {}",
        path.display()
    )
}

/// What to do next, to come after what failed.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; run as root, or choose another state directory with --state"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; free space there",
        io::ErrorKind::NotADirectory => "; choose another state directory with --state",
        _ => "",
    }
}
