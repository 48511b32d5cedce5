//! acton 0.1.1, the published crate's example program.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Contender, Process, wait_listening};
use crate::Result;
use crate::world::{OVERLAY, PORT, UNDERLAY, World};

/// Prints the program's path, having built it where it was absent.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/acton-0.1.1.sh");

struct Old {
    program: PathBuf,
}

pub(super) fn find() -> Result<Box<dyn Contender>> {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let target = scratch.parent().expect("cargo's scratch folder is inside its target folder");
    let output = Command::new(SCRIPT).arg(target).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("{SCRIPT}: {}", output.status).into());
    }
    let path = String::from_utf8(output.stdout)?;
    Ok(Box::new(Old { program: path.trim_end().into() }))
}

impl Contender for Old {
    fn start(&self, world: &World) -> Result<Vec<Process>> {
        let mut command = self.command("server", &OVERLAY.server_net());
        let mut server = Process::start(&world.server, &mut command)?;
        // It ends when its first datagram is refused.
        wait_listening(world, &mut server)?;

        let mut command = self.command("client", &OVERLAY.client_net());
        command.arg(UNDERLAY.server.to_string());
        let client = Process::start(&world.client, &mut command)?;
        Ok(vec![server, client])
    }
}

impl Old {
    fn command(&self, subcommand: &str, net: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.env("ACTON_LOG_LEVEL", "error").env("RUST_LOG", "error");
        command.args([subcommand, "-a", net, "-t", OVERLAY.device, "-p", &PORT.to_string()]);
        command
    }
}
