//! QuickTun: UDP datagrams without encryption, or with that of NaCl.

use std::net::Ipv4Addr;
use std::process::Command;

use acton_netns::Namespace;

use super::{Contender, Process, output, tap};
use crate::Result;
use crate::world::{OVERLAY, PORT, UNDERLAY, World, installed};

struct QuickTun {
    protocol: &'static str,
    server: Keys,
    client: Keys,
}

/// Of one end, in hexadecimal digits.
struct Keys {
    secret: String,
    public: String,
}

pub(super) fn find(protocol: &'static str) -> Result<Box<dyn Contender>> {
    // It wants no option and, without settings, ends.
    installed("quicktun", "-v")?;
    Ok(Box::new(QuickTun { protocol, server: Keys::new()?, client: Keys::new()? }))
}

impl Contender for QuickTun {
    fn start(&self, world: &World) -> Result<Vec<Process>> {
        tap(&world.server, &OVERLAY.server_net())?;
        tap(&world.client, &OVERLAY.client_net())?;
        let (server, client) = (UNDERLAY.server, UNDERLAY.client);
        Ok(vec![
            self.end(&world.server, server, client, &self.server, &self.client)?,
            self.end(&world.client, client, server, &self.client, &self.server)?,
        ])
    }
}

impl QuickTun {
    fn end(
        &self,
        namespace: &Namespace,
        local: Ipv4Addr,
        remote: Ipv4Addr,
        own: &Keys,
        other: &Keys,
    ) -> Result<Process> {
        let port = PORT.to_string();
        let mut command = Command::new("quicktun");
        command.env("IFACE", OVERLAY.device).env("INTERFACE", OVERLAY.device);
        for (name, value) in [
            ("PROTOCOL", self.protocol),
            ("LOCAL_ADDRESS", &local.to_string()),
            ("LOCAL_PORT", &port),
            ("REMOTE_ADDRESS", &remote.to_string()),
            ("REMOTE_PORT", &port),
            ("PRIVATE_KEY", &own.secret),
            ("PUBLIC_KEY", &other.public),
        ] {
            // Debian's build reads what ifup(8) sets; others read the bare name.
            command.env(format!("IF_QT_{name}"), value).env(name, value);
        }
        Process::start(namespace, &mut command)
    }
}

impl Keys {
    /// Fresh ones. Debian calls QuickTun's program for it by a name that others use too.
    fn new() -> Result<Self> {
        let text = output(&mut Command::new("/usr/sbin/keypair"))?;
        let key = |label: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(label));
            line.map(|key| key.trim().to_owned())
                .ok_or_else(|| format!("keypair printed no line {label:?}: {text:?}"))
        };
        Ok(Self { secret: key("SECRET:")?, public: key("PUBLIC:")? })
    }
}
