//! `acton evpn`.

use std::net::Ipv4Addr;

use clap::{Args, Subcommand, ValueEnum};

use super::state::print;
use super::{FAILURE, Failure, USAGE};
use crate::evpn::check::check;
use crate::evpn::{Fabric, Knowledge, Peer, Port, Role, Vni, look};

/// Joins several servers: prints what makes their bridges one network, and checks what runs
///
/// Leaf servers have the clients, roots the LAN. Clients at different servers see no more of each other
/// than those at one. docs/book/many-servers.md has when, how and what fails.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Render(RenderArguments),
    Check(CheckArguments),
}

/// A host of the fabric.
#[derive(Debug, Args)]
struct FabricOptions {
    /// What this host is
    #[arg(long, value_enum)]
    role: Role,

    /// This host's address on the network between the servers: its VXLAN and BGP are from it
    #[arg(long, value_name = "ADDRESS")]
    router_id: Ipv4Addr,

    /// At a leaf server the roots; at a root the leaf servers, or a network of which any may join
    #[arg(long, value_name = "ADDRESS|NETWORK", value_delimiter = ',', required = true)]
    peers: Vec<Peer>,

    /// At a root: the other roots
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    roots: Vec<Ipv4Addr>,

    /// Number of the network in VXLAN; for several, each with a VLAN of the bridge
    #[arg(long, value_name = "VNI[:VLAN]", value_delimiter = ',', required = true)]
    vni: Vec<Vni>,

    /// Linux bridge of the TAP or of the LAN
    #[arg(long, value_name = "NAME")]
    bridge: String,

    /// Other ports of the bridge: acton's TAPs at a leaf server, the LAN's interfaces at a root; with a VLAN,
    /// the port is that one's alone, without tags, else all are there with tags
    #[arg(long, value_name = "NAME[:VLAN]", value_delimiter = ',')]
    port: Vec<Port>,

    /// MTU of the networks in bytes, as of the TAPs; the underlay needs 50 more
    #[arg(long, value_name = "BYTES", default_value_t = 1_500,
          value_parser = clap::value_parser!(u32).range(68..=65_485))]
    mtu: u32,

    /// Number of the AS that all servers have
    #[arg(long = "as", value_name = "NUMBER", default_value_t = 65_000,
          value_parser = clap::value_parser!(u16).range(1..=65_534))]
    asn: u16,

    /// Without BGP, for two or three servers: MACs are learned from frames
    #[arg(long = "static")]
    by_frames: bool,
}

impl FabricOptions {
    fn fabric(self) -> Result<Fabric, Failure> {
        let knowledge = match self.by_frames {
            true => Knowledge::Frames,
            false => Knowledge::Bgp { asn: self.asn },
        };
        let fabric = Fabric {
            role: self.role,
            local: self.router_id,
            peers: self.peers,
            roots: self.roots,
            vnis: self.vni,
            bridge: self.bridge,
            ports: self.port,
            mtu: self.mtu,
            knowledge,
        };
        let invalid =
            |error: crate::evpn::Invalid| Failure { code: USAGE, message: error.to_string() };
        fabric.check().map_err(invalid)?;
        Ok(fabric)
    }
}

/// Prints the commands or files that make a host part of the fabric
#[derive(Debug, Args)]
struct RenderArguments {
    #[command(flatten)]
    fabric: FabricOptions,

    /// What to print
    #[arg(long, value_enum, default_value_t = Part::All)]
    print: Part,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Links and FRR
    All,
    /// Bridge and VXLAN: commands for sh
    Links,
    /// Bridge and VXLAN: files of systemd-networkd
    Networkd,
    /// /etc/frr/frr.conf
    Frr,
}

/// Compares this host with what `render` prints, and says what differs
///
/// Exit code: 0 where nothing differs, 1 where something does, 2 where the command line is wrong.
#[derive(Debug, Args)]
struct CheckArguments {
    #[command(flatten)]
    fabric: FabricOptions,

    /// Directory of FRR's sockets, where it is not the usual one
    #[arg(long, value_name = "DIRECTORY")]
    vty_socket: Option<String>,
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Render(arguments) => arguments.run(),
            Command::Check(arguments) => arguments.run(),
        }
    }
}

impl RenderArguments {
    fn run(self) -> Result<(), Failure> {
        let fabric = self.fabric.fabric()?;
        let text = match (self.print, fabric.frr()) {
            (Part::Links, _) | (Part::All, None) => fabric.links(),
            (Part::Networkd, _) => fabric.networkd(),
            (Part::Frr, Some(frr)) => frr,
            (Part::Frr, None) => {
                let message = "with --static there is no BGP, and nothing for FRR".to_owned();
                return Err(Failure { code: USAGE, message });
            }
            (Part::All, Some(frr)) => format!("{}\n{frr}", fabric.links()),
        };
        print(text.trim_end())
    }
}

impl CheckArguments {
    fn run(self) -> Result<(), Failure> {
        let fabric = self.fabric.fabric()?;
        let vtysh =
            self.vty_socket.map_or(Vec::new(), |path| vec!["--vty_socket".to_owned(), path]);
        let found = check(&fabric, &look(&fabric, &vtysh)?);
        if found.is_empty() {
            return print("as rendered");
        }
        print(&found.join("\n"))?;
        Err(Failure { code: FAILURE, message: String::new() })
    }
}
