//! A whole tunnel on one machine: a server and its clients, each in a network namespace of its
//! own, with real TAPs and real UDP between them.
//!
//! Everything lives in this process and in namespaces that have no names, so that nothing is
//! left behind however it ends.

mod isolation;
mod ping;
mod table;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use acton_netns::{Namespace, Veth, veth};
use acton_proto::handshake::{Secret, SystemRandom, public_key};
use acton_tap::Interface;
use ipnet::{IpNet, Ipv4Net};
use pnet_base::MacAddr;

pub use isolation::Isolation;
pub use ping::PingResult;

use acton_engine::{
    Client, ClientKeys, Running, Server, ServerKeys, ServerName, SessionStatus, State, TapSettings,
};

/// Clients that a lab has at most: what one /24 of its LAN numbers.
pub const MAX_CLIENTS: u8 = 250;
/// The TAP's name, in every namespace.
const TAP: &str = "acton";
/// UDP port of the server.
const PORT: u16 = 8080;
/// Pings a client.
const PINGS: u16 = 5;
/// How long a client may take to connect.
const CONNECT_WAIT: Duration = Duration::from_secs(10);

/// Why a lab could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabError {
    /// A namespace or a link between two could not be made.
    #[error("cannot build the lab's network")]
    Network(#[from] acton_netns::Error),
    /// A server or a client did not start.
    #[error("cannot start {who}")]
    Tunnel {
        /// Which one.
        who: String,
        /// Why.
        source: acton_engine::Error,
    },
    /// The state of a TAP could not be read.
    #[error("cannot read the state of a TAP")]
    Tap(#[from] acton_tap::Error),
    /// A client did not connect.
    #[error("client {_0} did not connect within {wait} s", wait = CONNECT_WAIT.as_secs())]
    NotConnected(u8),
    /// A check could not be run.
    #[error("cannot {step}")]
    Check {
        /// What acton was about to do.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A server and its clients, running.
#[derive(Debug)]
pub struct Lab {
    // Dropped first, so that they say goodbye to a server that is still there.
    clients: Vec<Node>,
    server: Node,
}

/// One end of the tunnel in its namespace.
#[derive(Debug)]
struct Node {
    namespace: Namespace,
    running: Running,
    interface: Interface,
    /// Its address on the tunnel's LAN.
    address: Ipv4Addr,
    mac: MacAddr,
}

/// What the lab found of one client.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ClientReport {
    /// Its number, from 1.
    pub number: u8,
    /// Its UDP address, as the server sees it.
    pub session: Option<SocketAddr>,
    /// Its address on the tunnel's LAN.
    pub address: Ipv4Addr,
    /// The MAC of its TAP.
    pub mac: MacAddr,
    /// How it answered the server's pings.
    pub ping: PingResult,
}

impl Lab {
    /// Builds namespaces and links and starts a server and `clients` clients, at most
    /// [`MAX_CLIENTS`], with fresh keys or in plain mode.
    ///
    /// # Errors
    /// Where the machine does not allow it; what was built is gone again.
    pub fn start(clients: u8, plain: bool) -> Result<Self, LabError> {
        let clients = clients.min(MAX_CLIENTS);
        let keys = (!plain).then(LabKeys::generate);
        let namespace = Namespace::new()?;
        let hosts: Vec<_> = (1..=clients)
            .map(|number| link(&namespace, number).map(|host| (number, host)))
            .collect::<Result<_, _>>()?;
        let server = Node::start("the server", namespace, lan_address(0), |tap| {
            let listen = SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT));
            match &keys {
                Some(keys) => Server::secure(keys.server()).listen(listen).tap(tap).start(),
                None => Server::plain().listen(listen).tap(tap).start(),
            }
        })?;
        let clients = hosts
            .into_iter()
            .map(|(number, host)| {
                let who = format!("client {number}");
                Node::start(&who, host, lan_address(number), |tap| {
                    let server = SocketAddr::from((underlay(number, 1), PORT));
                    let server = ServerName::from(server);
                    match &keys {
                        Some(keys) => Client::secure(server, keys.client()).tap(tap).start(),
                        None => Client::plain(server).tap(tap).start(),
                    }
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let lab = Self { server, clients };
        lab.wait_connected()?;
        Ok(lab)
    }

    fn wait_connected(&self) -> Result<(), LabError> {
        let deadline = Instant::now() + CONNECT_WAIT;
        for (number, client) in self.numbered() {
            // The kernel takes a moment to let frames through after the carrier came.
            while !client.is_connected() || !client.interface.is_running()? {
                if Instant::now() > deadline {
                    return Err(LabError::NotConnected(number));
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        Ok(())
    }

    fn numbered(&self) -> impl Iterator<Item = (u8, &Node)> {
        (1..).zip(&self.clients)
    }

    /// Pings every client from the server, through the tunnel.
    ///
    /// # Errors
    /// Where no ICMP socket can be made.
    pub fn ping(&self) -> Result<Vec<ClientReport>, LabError> {
        let targets: Vec<_> = self.clients.iter().map(|client| client.address).collect();
        let pings = self
            .server
            .namespace
            .run(|| ping::all(&targets, PINGS))
            .map_err(|source| LabError::Check { step: "ping the clients", source })?;
        let sessions = self.server.running.status().sessions;
        let session = |client: &Node| {
            let has_it =
                |session: &&SessionStatus| session.macs.iter().any(|entry| entry.mac == client.mac);
            sessions.iter().find(has_it)?.address
        };
        let report = |((number, client), ping): ((u8, &Node), _)| ClientReport {
            number,
            session: session(client),
            address: client.address,
            mac: client.mac,
            ping,
        };
        Ok(self.numbered().zip(pings).map(report).collect())
    }

    /// Has every client send frames to the others, to nobody and to all, and looks who sees them.
    ///
    /// # Errors
    /// Where no raw socket can be made.
    pub fn check_isolation(&self) -> Result<Isolation, LabError> {
        isolation::check(&self.server, &self.clients)
            .map_err(|source| LabError::Check { step: "watch the TAPs", source })
    }

    /// Reports and commands to try by hand, as text of a few lines.
    pub fn describe(&self, reports: &[ClientReport], isolation: &Isolation) -> String {
        table::describe(self, reports, isolation)
    }
}

/// Keys of one lab, kept nowhere.
struct LabKeys {
    server: Secret,
    network: Secret,
}

impl LabKeys {
    fn generate() -> Self {
        let random = &mut SystemRandom;
        Self { server: Secret::generate(random), network: Secret::generate(random) }
    }

    fn server(&self) -> ServerKeys {
        ServerKeys { private_key: self.server.clone(), network_key: Some(self.network.clone()) }
    }

    /// A client's, with a private key of its own.
    fn client(&self) -> ClientKeys {
        ClientKeys {
            private_key: Secret::generate(&mut SystemRandom),
            server_key: public_key(&self.server),
            network_key: Some(self.network.clone()),
            psk: None,
        }
    }
}

impl Node {
    /// Whether a client has its session.
    fn is_connected(&self) -> bool {
        self.running.status().sessions.iter().any(|session| session.state == State::Up)
    }

    fn start(
        who: &str,
        namespace: Namespace,
        address: Ipv4Addr,
        start: impl FnOnce(TapSettings) -> Result<Running, acton_engine::Error> + Send,
    ) -> Result<Self, LabError> {
        let mut tap = TapSettings::new(TAP);
        let net = Ipv4Net::new(address, 16).expect("16 is a length of an IPv4 prefix");
        tap.addresses.push(IpNet::V4(net));
        let failed = |source| LabError::Tunnel { who: who.to_owned(), source };
        // What a thread inside starts stays inside.
        let (running, interface) = namespace
            .run(|| {
                let running = start(tap)?;
                let interface = Interface::open(running.tap_name())?;
                Ok((running, interface))
            })
            .map_err(failed)?;
        let mac = interface.mac().map_err(|error| failed(error.into()))?;
        Ok(Self { namespace, running, interface, address, mac })
    }
}

/// A client's namespace, linked to the server's by an underlay network of its own.
fn link(server: &Namespace, number: u8) -> Result<Namespace, LabError> {
    let client = Namespace::new()?;
    let device = format!("client{number}");
    veth(server, &device, &client, "server", &Veth::new())?;
    server.add_address(&device, underlay(number, 1).into(), 24)?;
    client.add_address("server", underlay(number, 2).into(), 24)?;
    Ok(client)
}

/// An address between server (1) and client (2), out of the block for network tests (RFC 2544).
fn underlay(number: u8, end: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, number, end)
}

/// An address on the tunnel's LAN, the server's being number 0.
fn lan_address(number: u8) -> Ipv4Addr {
    if number == 0 { Ipv4Addr::new(10, 77, 0, 1) } else { Ipv4Addr::new(10, 77, 1, number) }
}
