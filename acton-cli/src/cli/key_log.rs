//! Writes the keys of sessions to a file, for those who debug a capture.

use std::fs::{File, Metadata, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use acton_proto::session::{KeyLog, KeyLogEntry, Role};
use clap::Args;
use data_encoding::HEXLOWER;
use nix::unistd::geteuid;

use super::{FAILURE, Failure};

/// Debugging of captures.
#[derive(Debug, Args)]
pub(super) struct KeyLogOption {
    /// Appends the keys of every session to this file, which must be yours alone (mode 600, no
    /// link): whoever reads it reads the traffic
    #[arg(long, value_name = "FILE", conflicts_with = "plain")]
    key_log: Option<PathBuf>,
}

impl KeyLogOption {
    pub(super) fn open(&self) -> Result<Option<KeyLog>, Failure> {
        self.key_log.as_deref().map(open).transpose()
    }
}

fn open(path: &Path) -> Result<KeyLog, Failure> {
    let failure = |message| Failure {
        code: FAILURE,
        message: format!("key log {}: {message}", path.display()),
    };
    // No link leads elsewhere, and a FIFO does not block.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600).custom_flags(flags);
    let file = options.open(path).map_err(|error| match error.raw_os_error() {
        Some(libc::ELOOP) => failure("it is a symbolic link; name the file itself".to_owned()),
        _ => failure(format!("cannot write it: {error}")),
    })?;
    let metadata = file.metadata().map_err(|error| failure(error.to_string()))?;
    check(&metadata).map_err(failure)?;
    log::warn!("the keys of every session go to {}: a debugging aid", path.display());
    let file = Mutex::new(file);
    Ok(KeyLog::new(move |entry| {
        let Ok(mut file) = file.lock() else { return };
        if let Err(error) = write(&mut file, entry) {
            log::error!("key log: {error}");
        }
    }))
}

/// Refuses a file in which others could find the keys.
fn check(metadata: &Metadata) -> Result<(), String> {
    let (mode, owner, user) = (metadata.mode() & 0o777, metadata.uid(), geteuid().as_raw());
    if !metadata.is_file() {
        Err("it is no regular file; name another".to_owned())
    } else if owner != user {
        Err(format!("it belongs to user {owner}, and acton runs as {user}; name another"))
    } else if mode & 0o077 != 0 {
        Err(format!("it is open to others (mode {mode:03o}); run chmod 600, or name another"))
    } else if metadata.nlink() != 1 {
        Err("it has another name too (a hard link); name another".to_owned())
    } else {
        Ok(())
    }
}

/// One line: who tells it, the suite, the ids that datagrams to it and to its peer carry, and the
/// secrets of the two directions in hexadecimal.
fn write(file: &mut File, entry: &KeyLogEntry<'_>) -> std::io::Result<()> {
    let role = match entry.role {
        Role::Client => "client",
        Role::Server => "server",
    };
    let line = format!(
        "acton/1 {role} suite={} local={:08x} remote={:08x} to_server={} to_client={}\n",
        entry.setup.suite.code(),
        entry.setup.local_id,
        entry.setup.remote_id,
        HEXLOWER.encode(&entry.split.to_server),
        HEXLOWER.encode(&entry.split.to_client),
    );
    file.write_all(line.as_bytes())
}
