//! Who watches an end of acton while it is measured: this program, run again for each end, so that the
//! processor time of watching is counted with that of the tunnel.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use acton_cli::control::{Answer, AskError, Connection, Place, Request};
use clap::Args;

use super::{Process, READY_WAIT};
use crate::Result;
use crate::world::World;

/// How often the status is asked for.
const INTERVAL: Duration = Duration::from_millis(100);

/// Whom to watch, as told to the program that is to do it.
#[derive(Debug, Clone, Args)]
pub(crate) struct Watcher {
    /// Its control socket
    #[arg(long, hide = true)]
    watch: Option<PathBuf>,
}

impl Watcher {
    /// Starts one.
    pub(super) fn start(world: &World, control: &Path) -> Result<Process> {
        let mut command = Command::new(env::current_exe()?);
        Process::start(&world.server, command.arg("--watch").arg(control))
    }

    /// Watches until it is killed, if this program is to do so.
    pub(crate) fn run(&self) -> Option<Result<()>> {
        self.watch.as_deref().map(watch)
    }
}

/// Follows the events, and asks for the status ten times a second.
fn watch(control: &Path) -> Result<()> {
    let place = Place::Path(control.to_owned());
    let (mut asked, mut follows) = (open(&place)?, open(&place)?);
    let follower =
        thread::spawn(move || read_all(&mut follows, Request::Events { after: 0, follow: true }));
    while !follower.is_finished() {
        read_all(&mut asked, Request::Status { session: None, states: Vec::new() })?;
        thread::sleep(INTERVAL);
    }
    Ok(())
}

fn open(place: &Place) -> Result<Connection> {
    let start = Instant::now();
    loop {
        match Connection::open(place) {
            Ok(connection) => return Ok(connection),
            Err(error) if start.elapsed() > READY_WAIT => return Err(error.into()),
            Err(_) => thread::sleep(INTERVAL),
        }
    }
}

fn read_all(connection: &mut Connection, request: Request) -> std::result::Result<(), AskError> {
    let mut answers = connection.ask(request)?;
    loop {
        match answers.read()? {
            Answer::End(_) => return Ok(()),
            Answer::Error(refusal) => return Err(refusal.into()),
            _ => {}
        }
    }
}
