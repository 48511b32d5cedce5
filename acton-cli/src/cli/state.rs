//! What the commands about keys have in common.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::Args;
use zeroize::Zeroizing;

use super::{FAILURE, Failure};
use crate::confine::become_owner;
use acton_engine::keys::{DEFAULT_STATE, State};

/// The most bytes to read of what should be a key or an invite.
const MAX_INPUT: u64 = 64 << 10;
/// The permission bits that let group and others read (inode(7)).
const OTHERS_READ: u32 = 0o044;

/// Where keys are kept.
#[derive(Debug, Args)]
pub(super) struct StateOptions {
    /// Directory of keys, invite and list of clients, and in plain mode of the TAP's MAC
    #[arg(long, value_name = "DIR", env = "ACTON_STATE", default_value = DEFAULT_STATE)]
    state: PathBuf,
}

impl StateOptions {
    /// The directory.
    pub(super) fn path(&self) -> &Path {
        &self.state
    }

    pub(super) fn open(&self) -> State {
        State::new(&self.state)
    }

    /// The same, for a command that root may run for a tunnel that runs as another user: as that user
    /// from here on.
    pub(super) fn open_as_owner(&self) -> Result<State, Failure> {
        become_owner(&self.state).map_err(|error| Failure {
            code: FAILURE,
            message: format!(
                "cannot become the user whose {} is: {error}; run this as that user",
                self.state.display()
            ),
        })?;
        Ok(self.open())
    }
}

/// Reads a short text, a secret perhaps, to its end.
pub(super) fn read_text(from: &str, input: impl Read) -> Result<Zeroizing<String>, Failure> {
    // Room at once: a string that grows leaves copies of secrets behind.
    let mut text = Zeroizing::new(String::with_capacity(MAX_INPUT as usize));
    match input.take(MAX_INPUT).read_to_string(&mut text) {
        Ok(_) => Ok(text),
        Err(error) => Err(Failure { code: 1, message: format!("cannot read {from}: {error}") }),
    }
}

/// Reads an invite from a file, or from standard input where that is `-`; says so if others can read
/// the file too.
pub(super) fn read_invite_file(path: &Path) -> Result<Zeroizing<String>, Failure> {
    if path == Path::new("-") {
        return read_text("standard input", io::stdin().lock());
    }
    let from = path.display().to_string();
    let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
    let (metadata, file) = opened.map_err(|error| Failure {
        code: FAILURE,
        message: format!("cannot read {from}: {error}"),
    })?;
    let mode = metadata.mode() & 0o777;
    if metadata.is_file() && mode & OTHERS_READ != 0 {
        note(&format!(
            "{from} is open to others (mode {mode:03o}), and an invite is a secret: run \
             chmod go-rwx {from}, or delete it once it is stored."
        ));
    }
    read_text(&from, file)
}

/// Prints one line of output.
pub(super) fn print(line: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|error| Failure {
        code: 1,
        message: format!("cannot write to standard output: {error}"),
    })
}

/// Says something beside what was asked for, on standard error, or to nobody where that is closed.
pub(super) fn note(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
