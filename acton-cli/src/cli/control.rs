//! The control socket's options: of a tunnel that has one, and of commands that ask one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use nix::unistd::Group;

use acton_engine::Handle;

use super::{FAILURE, Failure, USAGE};
use crate::confine::directory_of;
use crate::control::{
    Connection, ControlServer, Place, Process, Settings, Source, path_of, usual_directory,
};

/// The word that stands for no socket.
const NONE: &str = "none";
/// Bytes of an instance's name at most: a path of a Unix socket has 108.
const MAX_NAME: usize = 64;

/// Where a tunnel can be asked how it is.
#[derive(Debug, Args)]
pub(super) struct ControlOptions {
    /// Control socket, by which `acton status` and the like ask; `none` for none
    /// [default: /run/acton/NAME.sock]
    #[arg(long, value_name = "PATH", env = "ACTON_CONTROL")]
    control: Option<PathBuf>,

    /// Name of this instance [default: the TAP's]
    #[arg(long, value_name = "NAME", value_parser = name)]
    name: Option<String>,

    /// Group of the control socket, whose members may also change what runs; without it they are those
    /// of the socket's own group, and may only look
    #[arg(long, value_name = "GROUP")]
    control_group: Option<String>,
}

impl ControlOptions {
    /// What answers whoever asks the tunnel, by whichever way.
    pub(super) fn source(&self, handle: Handle, process: Arc<dyn Process>) -> Arc<Source> {
        let name = self.instance(&handle);
        Arc::new(Source::new(name, handle, process))
    }

    /// The socket of a tunnel that runs. `None` where there is to be none, or there can be none at
    /// the usual place, which is told.
    ///
    /// # Errors
    /// Where it cannot be where it was asked for.
    pub(super) fn open(&self, source: Arc<Source>) -> Result<Option<ControlServer>, Failure> {
        if self.control.as_deref() == Some(Path::new(NONE)) {
            return Ok(None);
        }
        let path = self.control.clone().unwrap_or_else(|| path_of(source.name()));
        let group = self.group()?;
        match ControlServer::start(Settings { path, group }, source) {
            Ok(server) => Ok(Some(server)),
            // Whatever else is wrong, frames go through.
            Err(error) if self.control.is_none() && group.is_none() => {
                log::warn!("{error}");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What the instance was told to be called.
    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// What the instance is called.
    pub(super) fn instance(&self, handle: &Handle) -> String {
        self.name.clone().unwrap_or_else(|| handle.tap_name().to_owned())
    }

    /// The group that is to have the socket.
    pub(super) fn group(&self) -> Result<Option<u32>, Failure> {
        self.control_group.as_deref().map(group).transpose()
    }

    /// The directory of the socket, where there is to be one.
    pub(super) fn directory(&self) -> Option<PathBuf> {
        match &self.control {
            None => self.usual_directory(),
            Some(path) if path == Path::new(NONE) => None,
            Some(path) => directory_of(path),
        }
    }

    /// The directory of all sockets, where this one is to be there.
    pub(super) fn usual_directory(&self) -> Option<PathBuf> {
        self.control.is_none().then(|| usual_directory().to_owned())
    }
}

fn group(name: &str) -> Result<u32, Failure> {
    let found = match name.parse() {
        Ok(number) => Some(number),
        Err(_) => Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw()),
    };
    found.ok_or_else(|| Failure {
        code: USAGE,
        message: format!("--control-group {name}: no such group"),
    })
}

/// Which instance is asked.
#[derive(Debug, Args)]
pub(super) struct InstanceOptions {
    /// Control socket of the instance to ask; --name goes before it
    #[arg(long, value_name = "PATH", env = "ACTON_CONTROL", global = true)]
    control: Option<PathBuf>,

    /// Name of the instance to ask, where several run [default: the only one]
    #[arg(long, value_name = "NAME", value_parser = name, global = true)]
    name: Option<String>,
}

impl InstanceOptions {
    /// Connects.
    pub(super) fn open(&self) -> Result<Connection, Failure> {
        let Some(place) = self.place() else {
            let message = "--control none: there is nobody to ask".to_owned();
            return Err(Failure { code: FAILURE, message });
        };
        Ok(Connection::open(&place)?)
    }

    /// Where the instance is to be found; `None` where none is to be asked.
    pub(super) fn place(&self) -> Option<Place> {
        match (&self.control, &self.name) {
            // Whoever gives a name does not mean what is in the environment.
            (_, Some(name)) => Some(Place::Name(name.clone())),
            (Some(path), None) if path == Path::new(NONE) => None,
            (Some(path), None) => Some(Place::Path(path.clone())),
            (None, None) => Some(Place::Only),
        }
    }
}

/// A name that can be that of a file.
fn name(text: &str) -> Result<String, String> {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if text.is_empty()
        || text.len() > MAX_NAME
        || text.starts_with('.')
        || !text.chars().all(is_fine)
    {
        return Err(format!(
            "a name has letters, digits, '.', '_' and '-', {MAX_NAME} at most, and no '.' first"
        ));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_their_directory() {
        for text in ["lan0", "site-7_b.2"] {
            assert_eq!(name(text).as_deref(), Ok(text));
        }
        for text in ["", ".", "..", "a/b", "../x", "a b", &"x".repeat(65)] {
            assert!(name(text).is_err(), "{text}");
        }
    }
}
