//! VTun over UDP, without encryption: its ciphers are of another age.

use std::process::Command;

use acton_netns::Namespace;

use super::{Contender, Process, Scratch, tap};
use crate::Result;
use crate::world::{OVERLAY, PORT, UNDERLAY, World, installed};

struct Vtun(Scratch);

pub(super) fn find(name: &str) -> Result<Box<dyn Contender>> {
    installed("vtund", "-h")?;
    let scratch = Scratch::new(name)?;
    let settings = format!(
        "bench {{ passwd bench; type ether; device {}; proto udp; encrypt no; compress no; \
         keepalive yes; timeout 2; persist yes; }}\n",
        OVERLAY.device
    );
    scratch.write("vtund.conf", &settings)?;
    Ok(Box::new(Vtun(scratch)))
}

impl Contender for Vtun {
    fn start(&self, world: &World) -> Result<Vec<Process>> {
        tap(&world.server, &OVERLAY.server_net())?;
        tap(&world.client, &OVERLAY.client_net())?;
        Ok(vec![
            self.end(&world.server, &["-s"])?,
            self.end(&world.client, &["bench", &UNDERLAY.server.to_string()])?,
        ])
    }
}

impl Vtun {
    fn end(&self, namespace: &Namespace, arguments: &[&str]) -> Result<Process> {
        let mut command = Command::new("vtund");
        command.args(["-n", "-P", &PORT.to_string(), "-f"]).arg(self.0.path("vtund.conf"));
        Process::start(namespace, command.args(arguments))
    }
}
