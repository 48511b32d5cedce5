//! socat with a TAP at one side and a UDP socket at the other, at both ends.

use std::net::Ipv4Addr;
use std::process::Command;

use acton_netns::Namespace;

use super::{Contender, Process, wait_listening};
use crate::Result;
use crate::world::{OVERLAY, PORT, UNDERLAY, World, installed};

struct Socat;

pub(super) fn find() -> Result<Box<dyn Contender>> {
    installed("socat", "-V")?;
    Ok(Box::new(Socat))
}

impl Contender for Socat {
    fn start(&self, world: &World) -> Result<Vec<Process>> {
        let (local, remote) = (UNDERLAY.server, UNDERLAY.client);
        let mut server = end(&world.server, local, remote, &OVERLAY.server_net())?;
        // It ends when its first datagram is refused.
        wait_listening(world, &mut server)?;
        let client = end(&world.client, remote, local, &OVERLAY.client_net())?;
        Ok(vec![server, client])
    }
}

fn end(namespace: &Namespace, local: Ipv4Addr, remote: Ipv4Addr, net: &str) -> Result<Process> {
    let device = OVERLAY.device;
    let mut command = Command::new("socat");
    command
        .arg(format!("TUN:{net},tun-type=tap,iff-no-pi,iff-up,tun-name={device}"))
        .arg(format!("UDP4:{remote}:{PORT},bind={local}:{PORT}"));
    Process::start(namespace, &mut command)
}
