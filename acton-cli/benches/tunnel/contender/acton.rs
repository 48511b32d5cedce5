//! acton as it is in this tree, in plain mode.

use std::process::Command;

use super::{Contender, Process, wait_listening};
use crate::Result;
use crate::world::{Network, OVERLAY, PORT, UNDERLAY, World};

struct Plain;

pub(super) fn find() -> Result<Box<dyn Contender>> {
    Ok(Box::new(Plain))
}

impl Contender for Plain {
    fn start(&self, world: &World) -> Result<Vec<Process>> {
        let port = PORT.to_string();
        let allow = format!("{}/{}", UNDERLAY.client, Network::PREFIX);
        let mut command = acton("server", &OVERLAY.server_net());
        command.args(["--port", &port, "--plain", "--allow", &allow]);
        let mut server = Process::start(&world.server, &mut command)?;
        wait_listening(world, &mut server)?;

        let mut command = acton("client", &OVERLAY.client_net());
        command.args(["--port", &port, "--plain", &UNDERLAY.server.to_string()]);
        let client = Process::start(&world.client, &mut command)?;
        Ok(vec![server, client])
    }
}

/// The program with what server and client are told alike.
fn acton(subcommand: &str, net: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_acton"));
    command.env("ACTON_LOG_LEVEL", "warn");
    command.args([subcommand, "--tap-name", OVERLAY.device, "--address", net]);
    command
}
