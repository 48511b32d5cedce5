//! Two hosts and the cable between them.

use std::fs;
use std::io::{self, ErrorKind, Read, Seek};
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use clap::ValueEnum;

use acton_netns::{Namespace, Veth, veth};

use crate::Result;

/// One end of a network: what its device is called there, and its address.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Network {
    /// The device's name at both ends.
    pub(crate) device: &'static str,
    pub(crate) server: Ipv4Addr,
    pub(crate) client: Ipv4Addr,
    /// MTU of the device in bytes.
    pub(crate) mtu: u32,
}

impl Network {
    /// Bits of the prefix of both addresses.
    pub(crate) const PREFIX: u8 = 24;

    /// The server's address and the prefix's length, as programs take them.
    pub(crate) fn server_net(&self) -> String {
        format!("{}/{}", self.server, Self::PREFIX)
    }

    /// The client's address and the prefix's length.
    pub(crate) fn client_net(&self) -> String {
        format!("{}/{}", self.client, Self::PREFIX)
    }
}

/// The cable: a veth pair, with addresses out of the block for benchmarks (RFC 2544).
pub(crate) const UNDERLAY: Network = Network {
    device: "underlay",
    server: Ipv4Addr::new(198, 18, 0, 1),
    client: Ipv4Addr::new(198, 18, 0, 2),
    mtu: 1_500,
};

/// What a tunnel makes of it. The same MTU for all, low enough that no tunnel's headers make a
/// packet too large for the underlay: the largest are n2n's.
pub(crate) const OVERLAY: Network = Network {
    device: "overlay",
    server: Ipv4Addr::new(10, 9, 0, 1),
    client: Ipv4Addr::new(10, 9, 0, 2),
    mtu: 1_400,
};

/// UDP port of whatever tunnel is measured, on the underlay.
pub(crate) const PORT: u16 = 8080;

/// What crosses the cable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Underlay {
    /// Super-frames cross whole, as veth passes them from kernel to kernel: a ceiling.
    Through,
    /// Packets of the MTU's size cross, cut by the sender's kernel and merged by the receiver's:
    /// a network card without segmentation offloads.
    Wire,
}

impl Underlay {
    pub(crate) const ALL: [Self; 2] = [Self::Through, Self::Wire];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Through => "through",
            Self::Wire => "wire",
        }
    }

    /// Whether this machine has it.
    pub(crate) fn find(self) -> Result<()> {
        match self {
            Self::Through => Ok(()),
            Self::Wire => installed("ethtool", "--version"),
        }
    }

    /// Sets a veth's offloads.
    fn set(self, namespace: &Namespace, device: &str) -> Result<()> {
        match self {
            // What a veth is made with.
            Self::Through => Ok(()),
            Self::Wire => run(namespace, &format!("ethtool -K {device} {WIRE}")),
        }
    }
}

/// Features (ethtool(8)) of a veth without segmentation offloads; GRO has the receiver's kernel
/// merge what arrives, as a network card's driver does.
const WIRE: &str = "tso off tx-udp-segmentation off tx-udp_tnl-segmentation off \
                    tx-udp_tnl-csum-segmentation off gro on";

/// The server's host and the client's.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) server: Namespace,
    pub(crate) client: Namespace,
}

impl World {
    /// Two namespaces, a veth pair, and addresses on it; gone with everything in them when this
    /// value and the programs inside are.
    pub(crate) fn new(underlay: Underlay) -> Result<Self> {
        let world = Self { server: Namespace::new()?, client: Namespace::new()? };
        let Network { device, server, client, mtu } = UNDERLAY;
        for namespace in [&world.server, &world.client] {
            namespace.run(silence_ipv6)?;
        }
        veth(&world.server, device, &world.client, device, &Veth::new().mtu(mtu))?;
        for namespace in [&world.server, &world.client] {
            underlay.set(namespace, device)?;
        }
        world.server.add_address(device, server.into(), Network::PREFIX)?;
        world.client.add_address(device, client.into(), Network::PREFIX)?;
        Ok(world)
    }
}

/// Runs a command line, of words without quotes, inside and to its end.
pub(crate) fn run(namespace: &Namespace, command: &str) -> Result<()> {
    let mut words = command.split_whitespace();
    let mut program = Command::new(words.next().unwrap_or_default());
    let output =
        namespace.output(program.args(words)).map_err(|error| format!("{command}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command}: {}", String::from_utf8_lossy(&output.stderr).trim()).into())
}

/// Runs a program, with an option that has it end at once, to see whether it is installed.
pub(crate) fn installed(program: &str, option: &str) -> Result<()> {
    match Command::new(program).arg(option).stdin(Stdio::null()).output() {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("{program}: {error}").into()),
    }
}

/// Router solicitations and the like are frames that nobody here wants to count.
fn silence_ipv6() -> io::Result<()> {
    for scope in ["all", "default"] {
        match fs::write(format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6"), "1") {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// A namespace's UDP sockets (`/proc/net/udp`, proc_net(5)).
#[derive(Debug)]
pub(crate) struct UdpTable(fs::File);

impl UdpTable {
    /// The table of one namespace, to be read from anywhere.
    pub(crate) fn of(namespace: &Namespace) -> io::Result<Self> {
        namespace.run(|| fs::File::open("/proc/thread-self/net/udp").map(Self))
    }

    /// The datagrams that the IPv4 socket on `port` has dropped so far (modulo 2^32); `None`
    /// without such a socket.
    pub(crate) fn drops(&mut self, port: u16) -> io::Result<Option<u32>> {
        let mut text = String::new();
        self.0.rewind()?;
        self.0.read_to_string(&mut text)?;
        let local = format!(":{port:04X}");
        let line = text.lines().find(|line| {
            line.split_whitespace().nth(1).is_some_and(|address| address.ends_with(&local))
        });
        Ok(line.and_then(|line| line.split_whitespace().last()?.parse().ok()))
    }
}
