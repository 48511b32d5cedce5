//! The kernel's VXLAN (RFC 7348), point to point.

use std::net::Ipv4Addr;

use acton_netns::Namespace;

use super::{Contender, Process};
use crate::Result;
use crate::world::{OVERLAY, PORT, UNDERLAY, World, installed, run};

struct Vxlan;

pub(super) fn find() -> Result<Box<dyn Contender>> {
    installed("ip", "-V")?;
    Ok(Box::new(Vxlan))
}

impl Contender for Vxlan {
    fn start(&self, world: &World) -> Result<Vec<Process>> {
        end(&world.server, UNDERLAY.server, UNDERLAY.client, &OVERLAY.server_net())?;
        end(&world.client, UNDERLAY.client, UNDERLAY.server, &OVERLAY.client_net())?;
        Ok(Vec::new())
    }
}

fn end(namespace: &Namespace, local: Ipv4Addr, remote: Ipv4Addr, net: &str) -> Result<()> {
    let device = OVERLAY.device;
    let vxlan = format!("type vxlan id 42 local {local} remote {remote} dstport {PORT}");
    run(namespace, &format!("ip link add {device} {vxlan}"))?;
    run(namespace, &format!("ip address add {net} dev {device}"))?;
    run(namespace, &format!("ip link set {device} up"))
}
