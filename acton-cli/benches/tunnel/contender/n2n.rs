//! n2n, which does not run without Twofish: two edges, and beside the server a supernode that
//! introduces them.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use acton_netns::Namespace;

use super::{Contender, Process, wait_listening};
use crate::Result;
use crate::world::{OVERLAY, PORT, UNDERLAY, World, installed};

struct N2n;

pub(super) fn find() -> Result<Box<dyn Contender>> {
    installed("supernode", "-h")?;
    installed("edge", "-h")?;
    Ok(Box::new(N2n))
}

impl Contender for N2n {
    fn start(&self, world: &World) -> Result<Vec<Process>> {
        let mut command = Command::new("supernode");
        command.args(["-l", &PORT.to_string()]);
        let mut supernode = Process::start(&world.server, &mut command)?;
        wait_listening(world, &mut supernode)?;
        Ok(vec![
            supernode,
            edge(&world.server, OVERLAY.server)?,
            edge(&world.client, OVERLAY.client)?,
        ])
    }

    /// The supernode carries the frames until the edges know one another's addresses.
    fn settle(&self) -> Duration {
        Duration::from_secs(2)
    }
}

fn edge(namespace: &Namespace, address: Ipv4Addr) -> Result<Process> {
    let supernode = format!("{}:{PORT}", UNDERLAY.server);
    let mut command = Command::new("edge");
    command
        .args(["-d", OVERLAY.device, "-a", &address.to_string(), "-c", "bench", "-k", "bench"])
        .args(["-M", &OVERLAY.mtu.to_string(), "-l", &supernode]);
    Process::start(namespace, &mut command)
}
