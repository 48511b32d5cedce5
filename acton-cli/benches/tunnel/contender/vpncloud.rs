//! VpnCloud, a mesh in Rust, as a switch of two.

use std::net::Ipv4Addr;
use std::process::Command;

use acton_netns::Namespace;

use super::{Contender, Process, tap};
use crate::Result;
use crate::world::{OVERLAY, PORT, UNDERLAY, World, installed, run};

struct VpnCloud {
    /// Its name for it.
    algorithm: &'static str,
}

pub(super) fn find(algorithm: &'static str) -> Result<Box<dyn Contender>> {
    installed("vpncloud", "--version")?;
    Ok(Box::new(VpnCloud { algorithm }))
}

impl Contender for VpnCloud {
    fn start(&self, world: &World) -> Result<Vec<Process>> {
        tap(&world.server, &OVERLAY.server_net())?;
        tap(&world.client, &OVERLAY.client_net())?;
        for namespace in [&world.server, &world.client] {
            // It ends where there is no way to the Internet, though it sends nothing there.
            run(namespace, &format!("ip route add default dev {}", UNDERLAY.device))?;
        }
        let (server, client) = (UNDERLAY.server, UNDERLAY.client);
        Ok(vec![self.end(&world.server, server, client)?, self.end(&world.client, client, server)?])
    }
}

impl VpnCloud {
    fn end(&self, namespace: &Namespace, local: Ipv4Addr, remote: Ipv4Addr) -> Result<Process> {
        let mut command = Command::new("vpncloud");
        command
            .args(["--type", "tap", "--mode", "switch", "--device", OVERLAY.device])
            .args(["--listen", &format!("{local}:{PORT}"), "--password", "bench"])
            .args(["--algorithm", self.algorithm, "--no-port-forwarding", "--quiet"])
            .args(["--peer", &format!("{remote}:{PORT}")]);
        Process::start(namespace, &mut command)
    }
}
