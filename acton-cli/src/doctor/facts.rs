//! What the checks judge by: plain data, each fact that could not be had with why.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use acton_engine::{Role, SessionStatus};

use crate::control::{DropCount, EventRecord, Instance};

/// A fact, or why it is not known.
pub(crate) type Known<T> = Result<T, String>;

/// All of them.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) tunnel: Tunnel,
    pub(crate) host: HostFacts,
    pub(crate) files: Vec<SecretFile>,
    /// The list of clients; `None` where there is none and need be none.
    pub(crate) list: Option<ClientsFile>,
    /// Why the file of settings that was named would be refused; `None` where none was looked at.
    pub(crate) config: Option<(PathBuf, Known<()>)>,
    /// Invites that were given and cannot be read, and what is wrong with them.
    pub(crate) bad_invites: Vec<String>,
    /// The port that datagrams of this end's tunnel come to at a server.
    pub(crate) listens: Option<u16>,
    pub(crate) servers: Vec<ServerFacts>,
    pub(crate) links: Vec<OutgoingLink>,
    pub(crate) tap: Option<Known<TapFacts>>,
    /// Time between keepalives of this end.
    pub(crate) keepalive: Duration,
}

/// Whether a tunnel runs here.
#[derive(Debug)]
pub(crate) enum Tunnel {
    /// One does.
    Running(Box<Running>),
    /// None does, as far as can be seen.
    None,
    /// One was asked for by name and does not answer.
    Silent(String),
    /// It cannot be asked, and why.
    Unknown(String),
}

impl Tunnel {
    pub(crate) fn running(&self) -> Option<&Running> {
        match self {
            Self::Running(running) => Some(running),
            _ => None,
        }
    }
}

/// A tunnel that runs.
#[derive(Debug)]
pub(crate) struct Running {
    /// Its control socket.
    pub(crate) control: PathBuf,
    pub(crate) instance: Instance,
    pub(crate) sessions: Vec<SessionStatus>,
    pub(crate) events: Vec<EventRecord>,
    pub(crate) drops: Vec<DropCount>,
}

impl Running {
    pub(crate) fn is_server(&self) -> bool {
        self.instance.role == Role::Server
    }
}

/// What this host allows.
#[derive(Debug)]
pub(crate) struct HostFacts {
    /// That /dev/net/tun opens, or what the system says.
    pub(crate) tun: Result<(), TunRefusal>,
    pub(crate) net_admin: bool,
    /// The program, for setcap.
    pub(crate) program: Option<PathBuf>,
    /// How many user namespaces there may be; and whether a distribution's own switch forbids them to
    /// ordinary users.
    pub(crate) user_namespaces: Known<(u64, Option<&'static str>)>,
    /// What the kernel grants a TAP of what was asked for: names that are missing.
    pub(crate) offloads: Known<Vec<String>>,
    /// Bytes of the receive buffer that a socket got, as the kernel counts them.
    pub(crate) receive_buffer: Known<u32>,
    pub(crate) conntrack: Option<Conntrack>,
    /// The ruleset of nftables as `nft -j` prints it.
    pub(crate) ruleset: Known<String>,
    /// Values of net.bridge.bridge-nf-call-* that are on, by name.
    pub(crate) bridge_filters: Vec<&'static str>,
}

/// Why /dev/net/tun does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TunRefusal {
    /// There is no such file.
    Missing,
    /// There is, and no driver behind it.
    NoDriver,
    /// This user may not, or a device policy.
    Forbidden,
}

/// The table of connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Conntrack {
    pub(crate) entries: u64,
    pub(crate) limit: u64,
    /// After how many seconds of silence a UDP stream is forgotten.
    pub(crate) udp_stream: u64,
}

/// A file or directory of secrets that is there.
#[derive(Debug)]
pub(crate) struct SecretFile {
    pub(crate) path: PathBuf,
    /// Permission bits, and those that nobody but the owner may have.
    pub(crate) mode: u32,
    pub(crate) forbidden: u32,
    pub(crate) owner: u32,
    /// The user that acton runs as.
    pub(crate) user: u32,
    /// What is wrong with its content; `None` where it cannot be read by this user.
    pub(crate) content: Option<Known<()>>,
}

/// A list of clients.
#[derive(Debug)]
pub(crate) struct ClientsFile {
    pub(crate) path: PathBuf,
    /// How many there are, or what is wrong with it; `None` where it cannot be read by this user.
    pub(crate) clients: Option<Known<usize>>,
}

/// A server that was asked, or is to be.
#[derive(Debug)]
pub(crate) struct ServerFacts {
    /// As its user names it.
    pub(crate) name: String,
    /// Whether that is an address and needs no look-up.
    pub(crate) is_literal: bool,
    pub(crate) addresses: Known<Vec<SocketAddr>>,
    /// Those of them that no route leads to, with what the system says.
    pub(crate) unroutable: Vec<(IpAddr, String)>,
    pub(crate) answer: Option<Answered>,
    /// What became of datagrams that the kernel was to segment; `None` where none was sent.
    pub(crate) gso: Option<Gso>,
    /// How far this host's clock is ahead, in seconds.
    pub(crate) clock_ahead: Option<f64>,
}

/// What came of asking a server.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answered {
    /// It gave a session, after so long.
    Welcome(Duration),
    /// It answers, and would give none to whoever has that invite.
    Refused(String),
    /// The tunnel that runs heard it so long ago.
    Heard(Duration),
    /// ICMP: nobody listens at that port; who says so.
    NobodyListens(Option<IpAddr>),
    /// ICMP: the way ends; who says so, and what.
    Unreachable(Option<IpAddr>, String),
    /// No answer to so many questions.
    Silence(u32),
    /// No answer, but without an invite there was nothing to ask that a server would answer.
    Mute,
    /// This host could not even ask.
    NotSent(String),
}

/// Segmentation by the kernel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gso {
    /// Messages of several datagrams that the kernel took whole, and those that it refused.
    pub(crate) whole: u64,
    pub(crate) cut: u64,
}

/// An interface that leads to a server or to a client.
#[derive(Debug)]
pub(crate) struct OutgoingLink {
    pub(crate) name: String,
    pub(crate) mtu: u32,
    pub(crate) is_ipv6: bool,
    /// Offloads that are off though they could be on, as ethtool names them.
    pub(crate) offloads_off: Known<Vec<String>>,
}

/// The TAP.
#[derive(Debug)]
pub(crate) struct TapFacts {
    pub(crate) name: String,
    pub(crate) queue_len: u32,
    pub(crate) dropped: u64,
    /// The Linux bridge that it is in.
    pub(crate) bridge: Option<BridgeFacts>,
}

/// A Linux bridge.
#[derive(Debug)]
pub(crate) struct BridgeFacts {
    pub(crate) name: String,
    pub(crate) stp: bool,
    /// Whether the TAP's port forwards.
    pub(crate) forwards: Option<bool>,
    pub(crate) snooping: bool,
    pub(crate) querier: bool,
}
