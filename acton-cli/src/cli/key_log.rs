//! Writes the keys of sessions to a file, for those who debug a capture.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use acton_proto::session::{KeyLog, KeyLogEntry, Role};
use clap::Args;
use data_encoding::HEXLOWER;

use super::{FAILURE, Failure};

/// Debugging of captures.
#[derive(Debug, Args)]
pub(super) struct KeyLogOption {
    /// Appends the keys of every session to this file: whoever reads it reads the traffic
    #[arg(long, value_name = "FILE", conflicts_with = "plain")]
    key_log: Option<PathBuf>,
}

impl KeyLogOption {
    pub(super) fn open(&self) -> Result<Option<KeyLog>, Failure> {
        self.key_log.as_deref().map(open).transpose()
    }
}

fn open(path: &Path) -> Result<KeyLog, Failure> {
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    let file = file.map_err(|error| Failure {
        code: FAILURE,
        message: format!("cannot write the key log {}: {error}", path.display()),
    })?;
    log::warn!("the keys of every session go to {}: a debugging aid", path.display());
    let file = Mutex::new(file);
    Ok(KeyLog::new(move |entry| {
        let Ok(mut file) = file.lock() else { return };
        if let Err(error) = write(&mut file, entry) {
            log::error!("key log: {error}");
        }
    }))
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
