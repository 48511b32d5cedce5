//! Writes the keys of sessions to a file, for those who debug a capture.

use std::fs::{Metadata, OpenOptions};
use std::io::{self, Write};
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
    let (output, path) = (Mutex::new(Output { to: file, missing: 0 }), path.to_owned());
    Ok(KeyLog::new(move |entry| {
        let Ok(mut output) = output.lock() else { return };
        match output.append(&line(entry)) {
            Outcome::Written => {}
            Outcome::Failed(error) => log::error!(
                "key log {}: {error}; the keys of sessions are missing there until it can be \
                 written again",
                path.display()
            ),
            Outcome::StillFailing => {}
            Outcome::Mended { missing } => log::warn!(
                "key log {}: it can be written again; the keys of {missing} handshakes are missing",
                path.display()
            ),
        }
    }))
}

/// Where the lines go.
struct Output<W> {
    to: W,
    /// Lines that could not be written since one last was.
    missing: u64,
}

/// What became of a line.
#[derive(Debug)]
enum Outcome {
    Written,
    /// The first that could not be written.
    Failed(io::Error),
    StillFailing,
    /// The first that could be written again.
    Mended {
        missing: u64,
    },
}

impl<W: Write> Output<W> {
    fn append(&mut self, line: &str) -> Outcome {
        // What could be written of the last one ends here.
        let end = if self.missing > 0 { "\n" } else { "" };
        match self.to.write_all(format!("{end}{line}").as_bytes()) {
            Ok(()) => match std::mem::take(&mut self.missing) {
                0 => Outcome::Written,
                missing => Outcome::Mended { missing },
            },
            Err(error) => {
                self.missing += 1;
                if self.missing == 1 { Outcome::Failed(error) } else { Outcome::StillFailing }
            }
        }
    }
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
fn line(entry: &KeyLogEntry<'_>) -> String {
    let role = match entry.role {
        Role::Client => "client",
        Role::Server => "server",
    };
    format!(
        "acton/1 {role} suite={} local={:08x} remote={:08x} to_server={} to_client={}\n",
        entry.setup.suite.code(),
        entry.setup.local_id,
        entry.setup.remote_id,
        HEXLOWER.encode(&entry.split.to_server),
        HEXLOWER.encode(&entry.split.to_client),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk that has room for so many bytes.
    struct Disk {
        text: Vec<u8>,
        room: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.room == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let length = bytes.len().min(self.room);
            self.room -= length;
            self.text.extend_from_slice(&bytes[..length]);
            Ok(length)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_is_told_once_and_spoils_one_line() {
        let mut output = Output { to: Disk { text: Vec::new(), room: 9 }, missing: 0 };
        assert!(matches!(output.append("first\n"), Outcome::Written));
        assert!(matches!(output.append("second\n"), Outcome::Failed(_)));
        for _ in 0..100 {
            assert!(matches!(output.append("third\n"), Outcome::StillFailing));
        }
        output.to.room = 100;
        assert!(matches!(output.append("fourth\n"), Outcome::Mended { missing: 101 }));
        assert!(matches!(output.append("fifth\n"), Outcome::Written));
        assert_eq!(output.to.text, b"first\nsec\nfourth\nfifth\n");
        output.to.room = 0;
        assert!(matches!(output.append("sixth\n"), Outcome::Failed(_)));
    }
}
