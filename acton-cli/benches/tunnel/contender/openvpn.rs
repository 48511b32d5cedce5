//! OpenVPN with a TAP, point to point, by TLS: its mode of static keys has neither the AEAD ciphers
//! nor a future. The two know one another by the fingerprints of certificates that are made here.

use std::process::Command;

use acton_netns::Namespace;

use super::{Contender, Process, Scratch, output, tap};
use crate::Result;
use crate::world::{OVERLAY, PORT, UNDERLAY, World, installed};

struct OpenVpn {
    cipher: &'static str,
    scratch: Scratch,
    server_fingerprint: String,
    client_fingerprint: String,
}

pub(super) fn find(name: &str, cipher: &'static str) -> Result<Box<dyn Contender>> {
    installed("openvpn", "--version")?;
    let scratch = Scratch::new(name)?;
    let server_fingerprint = certificate(&scratch, "server")?;
    let client_fingerprint = certificate(&scratch, "client")?;
    Ok(Box::new(OpenVpn { cipher, scratch, server_fingerprint, client_fingerprint }))
}

impl Contender for OpenVpn {
    fn start(&self, world: &World) -> Result<Vec<Process>> {
        tap(&world.server, &OVERLAY.server_net())?;
        tap(&world.client, &OVERLAY.client_net())?;
        let (server, client) = (UNDERLAY.server, UNDERLAY.client);
        let to_client = format!("--tls-server --dh none --local {server} --remote {client}");
        let to_server = format!("--tls-client --local {client} --remote {server}");
        Ok(vec![
            self.end(&world.server, "server", &self.client_fingerprint, &to_client)?,
            self.end(&world.client, "client", &self.server_fingerprint, &to_server)?,
        ])
    }
}

impl OpenVpn {
    fn end(
        &self,
        namespace: &Namespace,
        name: &str,
        fingerprint: &str,
        options: &str,
    ) -> Result<Process> {
        let Self { cipher, scratch, .. } = self;
        let (device, mtu) = (OVERLAY.device, OVERLAY.mtu);
        // Without a cipher there is no use for the packets' authentication either.
        let common = format!(
            "--dev {device} --dev-type tap --proto udp --port {PORT} --tun-mtu {mtu} --mssfix 0 \
             --data-ciphers {cipher} --auth {} --verb 1 --connect-retry 1 --allow-compression no",
            if *cipher == "none" { "none" } else { "SHA256" }
        );
        let mut command = Command::new("openvpn");
        command
            .args(common.split_whitespace())
            .args(options.split_whitespace())
            .arg("--cert")
            .arg(scratch.path(&format!("{name}.crt")))
            .arg("--key")
            .arg(scratch.path(&format!("{name}.key")))
            .args(["--peer-fingerprint", fingerprint]);
        Process::start(namespace, &mut command)
    }
}

/// Makes a key and a certificate of that name, and returns its fingerprint.
fn certificate(scratch: &Scratch, name: &str) -> Result<String> {
    let (key, certificate) =
        (scratch.path(&format!("{name}.key")), scratch.path(&format!("{name}.crt")));
    let make = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
    output(
        Command::new("openssl")
            .args(make.split_whitespace())
            .args(["-subj", &format!("/CN={name}"), "-keyout"])
            .arg(key)
            .arg("-out")
            .arg(&certificate),
    )?;
    let text = output(
        Command::new("openssl")
            .args(["x509", "-noout", "-fingerprint", "-sha256", "-in"])
            .arg(certificate),
    )?;
    let (_, fingerprint) = text.trim().split_once('=').ok_or("openssl printed no fingerprint")?;
    Ok(fingerprint.to_owned())
}
