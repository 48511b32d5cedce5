//! fastd: a key agreement of its own, and a choice of methods for the packets.

use std::net::Ipv4Addr;
use std::process::Command;

use acton_netns::Namespace;

use super::{Contender, Process, Scratch, output, tap, wait_listening};
use crate::Result;
use crate::world::{OVERLAY, PORT, UNDERLAY, World, installed};

struct Fastd {
    method: &'static str,
    scratch: Scratch,
    server: Keys,
    client: Keys,
}

/// Of one end, in hexadecimal digits.
struct Keys {
    secret: String,
    public: String,
}

pub(super) fn find(name: &str, method: &'static str) -> Result<Box<dyn Contender>> {
    installed("fastd", "--version")?;
    let scratch = Scratch::new(name)?;
    Ok(Box::new(Fastd { method, scratch, server: Keys::new()?, client: Keys::new()? }))
}

impl Contender for Fastd {
    fn start(&self, world: &World) -> Result<Vec<Process>> {
        tap(&world.server, &OVERLAY.server_net())?;
        tap(&world.client, &OVERLAY.client_net())?;
        // One waits for the other: handshakes that cross leave them with keys that differ.
        let peer = format!("key \"{}\";", self.client.public);
        let mut server =
            self.end(&world.server, "server", UNDERLAY.server, &self.server.secret, &peer)?;
        wait_listening(world, &mut server)?;
        let peer = format!("key \"{}\"; remote {}:{PORT};", self.server.public, UNDERLAY.server);
        let client =
            self.end(&world.client, "client", UNDERLAY.client, &self.client.secret, &peer)?;
        Ok(vec![server, client])
    }
}

impl Fastd {
    fn end(
        &self,
        namespace: &Namespace,
        name: &str,
        local: Ipv4Addr,
        secret: &str,
        peer: &str,
    ) -> Result<Process> {
        let settings = format!(
            "mode tap;\ninterface \"{}\";\npersist interface yes;\nmethod \"{}\";\nmtu {};\n\
             bind {local}:{PORT};\nsecret \"{secret}\";\n\
             peer \"other\" {{ {peer} }}\n",
            OVERLAY.device, self.method, OVERLAY.mtu,
        );
        let path = self.scratch.write(&format!("{name}.conf"), &settings)?;
        let mut command = Command::new("fastd");
        command.args(["--log-level", "warn", "--config"]).arg(path);
        Process::start(namespace, &mut command)
    }
}

impl Keys {
    fn new() -> Result<Self> {
        let text = output(Command::new("fastd").arg("--generate-key"))?;
        let key = |label: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(label));
            line.map(|key| key.trim().to_owned())
                .ok_or_else(|| format!("fastd printed no line {label:?}"))
        };
        Ok(Self { secret: key("Secret:")?, public: key("Public:")? })
    }
}
