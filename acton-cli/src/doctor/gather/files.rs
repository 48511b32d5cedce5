//! Files of keys: their modes, their owners, and whether they can be read. What is in them is looked
//! at and forgotten.

use std::fs::{self, File};
use std::io::ErrorKind::NotFound;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use acton_engine::keys::{ClientList, KeyError, State};
use nix::unistd::geteuid;

use crate::doctor::facts::{ClientsFile, Known, SecretFile};

/// The bits that nobody but the owner may have: of a file of keys all, of a directory those to write.
const OF_A_KEY: u32 = 0o077;
const OF_A_DIRECTORY: u32 = 0o022;

/// Reads a file as acton does, and forgets it.
type Check<'s> = &'s dyn Fn() -> Result<(), KeyError>;

pub(super) fn look(directory: &Path) -> Vec<SecretFile> {
    let Ok(metadata) = fs::metadata(directory) else { return Vec::new() };
    // What root starts becomes the user whose the directory is.
    let own = geteuid().as_raw();
    let user = if own == 0 { metadata.uid() } else { own };
    let state = State::new(directory);
    let there = |name: &str| directory.join(name).exists();
    let server = there("server.key") && there("network.key");
    let checks: [(&str, Check<'_>); 4] = [
        ("server.key", &|| if server { state.server_identity().map(drop) } else { Ok(()) }),
        ("network.key", &|| Ok(())),
        ("client.key", &|| state.client_key().map(drop)),
        ("invite", &|| state.stored_invite().map(drop)),
    ];
    let mut files = vec![SecretFile {
        path: directory.to_owned(),
        mode: metadata.mode() & 0o777,
        forbidden: OF_A_DIRECTORY,
        owner: metadata.uid(),
        user,
        content: Some(Ok(())),
    }];
    for (name, check) in checks {
        let path = directory.join(name);
        let Ok(metadata) = fs::metadata(&path) else { continue };
        files.push(SecretFile {
            mode: metadata.mode() & 0o777,
            forbidden: OF_A_KEY,
            owner: metadata.uid(),
            user,
            content: content(&path, check),
            path,
        });
    }
    files
}

/// The list of clients, where there is or should be one: at `given`, or in the directory of keys.
pub(super) fn list(directory: &Path, given: Option<&Path>) -> Option<ClientsFile> {
    let path = State::new(directory).list_to_read(given)?;
    let may_read = File::open(&path).map_or_else(|error| error.kind() == NotFound, |_| true);
    let clients = may_read.then(|| match ClientList::load(&path) {
        Ok(list) => Ok(list.len()),
        Err(error) => Err(error.to_string()),
    });
    Some(ClientsFile { path, clients })
}

/// Whether a file holds what it should; `None` where this user may not read it.
fn content(path: &Path, check: Check<'_>) -> Option<Known<()>> {
    File::open(path).ok()?;
    match check() {
        // Modes and owners are judged by themselves, and for the user that acton runs as.
        Ok(()) | Err(KeyError::Open { .. } | KeyError::Owner { .. }) => Some(Ok(())),
        Err(error) => Some(Err(error.to_string())),
    }
}
