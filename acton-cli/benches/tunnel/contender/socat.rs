//! socat with a TAP at one side and a UDP socket at the other, at both ends.

use std::net::Ipv4Addr;
use std::process::Command;

use acton_netns::Namespace;

use super::{Contender, Process};
use crate::Result;
use crate::world::{OVERLAY, PORT, UNDERLAY, World, installed};

struct Socat;

pub(super) fn find() -> Result<Box<dyn Contender>> {
    installed("socat", "-V")?;
    Ok(Box::new(Socat))
}

impl Contender for Socat {
    fn start(&self, world: &World) -> Result<Vec<Process>> {
        Ok(vec![
            end(&world.server, UNDERLAY.server, UNDERLAY.client, &OVERLAY.server_net())?,
            end(&world.client, UNDERLAY.client, UNDERLAY.server, &OVERLAY.client_net())?,
        ])
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
