//! tinc 1.0 as a switch: a control connection by TCP, packets by UDP.

use std::fs;
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use acton_netns::Namespace;

use super::{Contender, Process, Scratch, output, tap};
use crate::Result;
use crate::world::{OVERLAY, PORT, UNDERLAY, World, installed};

/// What becomes of a packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Protection {
    cipher: &'static str,
    digest: &'static str,
}

pub(super) const NONE: Protection = Protection { cipher: "none", digest: "none" };
/// tinc's own default.
pub(super) const AES: Protection = Protection { cipher: "aes-256-cbc", digest: "sha256" };

struct Tinc(Scratch);

pub(super) fn find(name: &str, protection: Protection) -> Result<Box<dyn Contender>> {
    installed("tincd", "--version")?;
    let scratch = Scratch::new(name)?;
    prepare(&scratch, "server", UNDERLAY.server, "", protection)?;
    prepare(&scratch, "client", UNDERLAY.client, "ConnectTo = server\n", protection)?;
    for (from, to, host) in [("server", "client", "server"), ("client", "server", "client")] {
        let file = format!("hosts/{host}");
        fs::copy(scratch.path(&format!("{from}/{file}")), scratch.path(&format!("{to}/{file}")))?;
    }
    Ok(Box::new(Tinc(scratch)))
}

impl Contender for Tinc {
    fn start(&self, world: &World) -> Result<Vec<Process>> {
        tap(&world.server, &OVERLAY.server_net())?;
        tap(&world.client, &OVERLAY.client_net())?;
        Ok(vec![self.end(&world.server, "server")?, self.end(&world.client, "client")?])
    }

    /// Packets go by TCP until it has found the path's MTU.
    fn settle(&self) -> Duration {
        Duration::from_secs(4)
    }
}

impl Tinc {
    fn end(&self, namespace: &Namespace, name: &str) -> Result<Process> {
        let mut command = daemon(&self.0, name);
        command.arg("--no-detach");
        Process::start(namespace, &mut command)
    }
}

fn daemon(scratch: &Scratch, name: &str) -> Command {
    let mut command = Command::new("tincd");
    command.arg("--config").arg(scratch.path(name));
    command.arg("--pidfile").arg(scratch.path(&format!("{name}.pid")));
    command
}

/// Writes the settings of one end and makes its keys.
fn prepare(
    scratch: &Scratch,
    name: &str,
    address: Ipv4Addr,
    more: &str,
    Protection { cipher, digest }: Protection,
) -> Result<()> {
    let settings = format!(
        "Name = {name}\nMode = switch\nDevice = /dev/net/tun\nDeviceType = tap\n\
         Interface = {}\nAddressFamily = ipv4\n{more}",
        OVERLAY.device
    );
    scratch.write(&format!("{name}/tinc.conf"), &settings)?;
    let host =
        format!("Address = {address}\nPort = {PORT}\nCipher = {cipher}\nDigest = {digest}\n");
    scratch.write(&format!("{name}/hosts/{name}"), &host)?;
    output(daemon(scratch, name).arg("--generate-keys=2048"))?;
    Ok(())
}
