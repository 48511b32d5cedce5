//! Several servers as one: what joins their Linux bridges, and keeps clients at different servers from one
//! another as clients of one server are kept (an E-Tree). VXLAN carries the frames; who has which MAC, BGP
//! carries (EVPN, RFC 7432 and 8365), or nobody but the frames themselves.
//!
//! A *root* has the LAN that clients are to reach, a *leaf server* the clients. Each has a bridge with a
//! VXLAN interface. Roots take what all say and leaf servers what roots say, by route targets; without BGP,
//! by lists of whom to flood to.
//!
//! All here is text made of a [`Fabric`], and a [`check`] of what is seen against it.

pub mod check;
mod frr;
mod links;
mod networkd;
mod seen;

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use ipnet::Ipv4Net;

pub use seen::{BridgeSeen, PortSeen, Seen, UnderlaySeen, VxlanSeen, look};

/// UDP port of VXLAN (RFC 7348, section 5).
pub const VXLAN_PORT: u16 = 4_789;
/// Bytes that VXLAN adds to an IP packet of a frame: outer IPv4 20, UDP 8, VXLAN 8, inner Ethernet 14.
pub const VXLAN_OVERHEAD: u32 = 50;
/// Largest VXLAN network identifier: it has 24 bits.
const MAX_VNI: u32 = (1 << 24) - 1;

/// What a host is in the fabric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// Has the LAN that clients are to reach
    Root,
    /// Has clients: `acton server` runs here
    LeafServer,
}

/// A network of the fabric, as VXLAN numbers it, and the VLAN of the bridge that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vni {
    /// Its number on the underlay.
    pub id: u32,
    /// The VLAN of a bridge that tells VLANs apart; without one, the whole bridge.
    pub vlan: Option<u16>,
}

impl Vni {
    /// The name of its interface.
    #[must_use]
    pub fn interface(self) -> String {
        format!("vx{}", self.id)
    }

    /// The route target of what a role says, as the part after the number of the AS.
    fn target(self, role: Role) -> u32 {
        self.id * 10 + if role == Role::Root { 1 } else { 2 }
    }
}

impl FromStr for Vni {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (id, vlan) = text.split_once(':').map_or((text, None), |(id, vlan)| (id, Some(vlan)));
        let in_range = |id: &u32| (1..=MAX_VNI).contains(id);
        let id = id.parse().ok().filter(in_range).ok_or("a VNI is a number from 1 to 16777215")?;
        Ok(Self { id, vlan: vlan.map(vlan_number).transpose()? })
    }
}

/// Another host of the fabric, or at a root a network whose hosts may join as leaf servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// One host.
    Host(Ipv4Addr),
    /// All hosts of a network that say they are.
    Network(Ipv4Net),
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(host) = text.parse() {
            return Ok(Self::Host(host));
        }
        let network =
            text.parse::<Ipv4Net>().map_err(|_| "an IPv4 address or network is needed")?;
        Ok(Self::Network(network.trunc()))
    }
}

/// Another port of the bridge: the TAP of a server, or the LAN's interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its interface.
    pub name: String,
    /// The VLAN that is all of it, without tags; `None`: all VLANs of the networks, tagged.
    pub vlan: Option<u16>,
}

impl FromStr for Port {
    type Err = String;

    /// An interface's name has no colon: the kernel refuses it.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, vlan) = match text.split_once(':') {
            Some((name, vlan)) => (name, Some(vlan_number(vlan)?)),
            None => (text, None),
        };
        if name.is_empty() {
            return Err("the name of an interface is needed".to_owned());
        }
        Ok(Self { name: name.to_owned(), vlan })
    }
}

fn vlan_number(text: &str) -> Result<u16, String> {
    let number = text.parse().ok().filter(|vlan| (1..4_095).contains(vlan));
    number.ok_or_else(|| "a VLAN is a number from 1 to 4094".to_owned())
}

/// How hosts of the fabric learn of one another's MACs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Knowledge {
    /// From BGP of this AS: known before a frame, gone when its host goes.
    Bgp {
        /// The number of the AS, which all hosts have.
        asn: u16,
    },
    /// From frames, which are flooded to the peers until then.
    Frames,
}

/// A host of a fabric and what it is to know of the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fabric {
    /// What this host is.
    pub role: Role,
    /// Its address on the underlay.
    pub local: Ipv4Addr,
    /// For a leaf server the roots, for a root the leaf servers.
    pub peers: Vec<Peer>,
    /// For a root: the other roots.
    pub roots: Vec<Ipv4Addr>,
    /// The networks.
    pub vnis: Vec<Vni>,
    /// The Linux bridge.
    pub bridge: String,
    /// Its other ports: TAPs at a leaf server, the LAN's interfaces at a root.
    pub ports: Vec<Port>,
    /// Bytes of an IP packet in the networks.
    pub mtu: u32,
    /// How it learns of MACs.
    pub knowledge: Knowledge,
}

/// What cannot be a fabric, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid(String);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Fabric {
    /// # Errors
    /// What its parts demand of one another.
    pub fn check(&self) -> Result<(), Invalid> {
        let invalid = |text: &str| Err(Invalid(text.to_owned()));
        if self.vnis.is_empty() {
            return invalid("--vni is needed, as --vni 100");
        }
        if self.peers.is_empty() {
            return invalid(match self.role {
                Role::Root => {
                    "--peers is needed: the addresses of the leaf servers, or their network"
                }
                Role::LeafServer => "--peers is needed: the addresses of the roots",
            });
        }
        if self.role == Role::LeafServer {
            if !self.roots.is_empty() {
                return invalid("--roots is for a root; a leaf server has the roots in --peers");
            }
            if self.peers.iter().any(|peer| matches!(peer, Peer::Network(_))) {
                return invalid(
                    "--peers of a leaf server are the addresses of the roots, no network",
                );
            }
        }
        let network = self.peers.iter().any(|peer| matches!(peer, Peer::Network(_)));
        if network && self.knowledge == Knowledge::Frames {
            return invalid(
                "--static needs the address of each leaf server in --peers, no network",
            );
        }
        let hosts = self.hosts();
        if hosts.contains(&self.local) {
            return Err(Invalid(format!(
                "{} is this host (--router-id) and cannot be among --peers or --roots",
                self.local
            )));
        }
        let distinct: BTreeSet<_> = hosts.iter().collect();
        if distinct.len() < hosts.len() {
            return invalid("an address stands twice in --peers and --roots");
        }
        let ids: BTreeSet<_> = self.vnis.iter().map(|vni| vni.id).collect();
        let vlans: BTreeSet<_> = self.vnis.iter().map(|vni| vni.vlan).collect();
        if ids.len() < self.vnis.len() {
            return invalid("a number stands twice in --vni");
        }
        if self.vnis.len() > 1 && (vlans.len() < self.vnis.len() || vlans.contains(&None)) {
            return invalid(
                "of several --vni each needs a VLAN of its own, as --vni 100:10 --vni 200:20",
            );
        }
        let names: BTreeSet<_> = self.ports.iter().map(|port| &port.name).collect();
        if names.len() < self.ports.len() {
            return invalid("a name stands twice in --port");
        }
        if let Some(port) =
            self.ports.iter().find(|it| it.vlan.is_some() && !vlans.contains(&it.vlan))
        {
            return Err(Invalid(format!(
                "the VLAN of --port {} is of no network: name it in --vni, as --vni 100:10",
                port.name
            )));
        }
        Ok(())
    }

    /// The VLANs that a port is in, and whether without tags.
    fn vlans_of(&self, port: &Port) -> Vec<(u16, bool)> {
        match port.vlan {
            Some(vlan) => vec![(vlan, true)],
            None => self.vnis.iter().filter_map(|vni| Some((vni.vlan?, false))).collect(),
        }
    }

    /// Whether the bridge tells VLANs apart.
    fn has_vlans(&self) -> bool {
        self.vnis.iter().any(|vni| vni.vlan.is_some())
    }

    /// The other hosts that are named.
    fn hosts(&self) -> Vec<Ipv4Addr> {
        let peers = self.peers.iter().filter_map(|peer| match peer {
            Peer::Host(host) => Some(*host),
            Peer::Network(_) => None,
        });
        peers.chain(self.roots.iter().copied()).collect()
    }

    /// What this host is, for people.
    fn title(&self) -> String {
        let role = match self.role {
            Role::Root => "a root",
            Role::LeafServer => "a leaf server",
        };
        format!("{role} at {}", self.local)
    }

    /// Commands for a shell, to be run as root, that make the bridge and its VXLAN interfaces. They may
    /// be run again.
    #[must_use]
    pub fn links(&self) -> String {
        links::render(self)
    }

    /// The same as files of systemd-networkd, each after a line with its name.
    #[must_use]
    pub fn networkd(&self) -> String {
        networkd::render(self)
    }

    /// The configuration of FRR; `None` where MACs are learned from frames.
    #[must_use]
    pub fn frr(&self) -> Option<String> {
        match self.knowledge {
            Knowledge::Bgp { asn } => Some(frr::render(self, asn)),
            Knowledge::Frames => None,
        }
    }
}

#[cfg(test)]
mod tests;
