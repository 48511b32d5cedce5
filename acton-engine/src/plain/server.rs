//! A server in plain mode: its threads, and a session as they share it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use acton_bridge::Bridge;
use acton_proto::plain;
use acton_udp::UdpSocket;

use super::server_control::{ServerControl, protocol};
use super::server_worker::ServerSide;
use crate::floods::server_watch::ServerWatch;
use crate::floods::shared::Floods;
use crate::observe::status::{Protocol, Role, SessionStatus};
use crate::root::RootWatch;
use crate::run::announcer::Announcer;
use crate::run::clock;
use crate::run::launch::Launch;
use crate::run::tap::{OpenTap, TapHandle};
use crate::sessions::directory::Directory;
use crate::sessions::port::LeafId;
use crate::sessions::roster::Roster;
use crate::sessions::session::{Session, SessionMode};
use crate::settings::ServerSettings;
use crate::{Error, Running};

/// What plain mode adds to a session.
#[derive(Debug)]
pub(super) struct Plain {
    pub(super) address: SocketAddr,
    /// When a frame last came from there, in nanoseconds of the engine's clock.
    pub(super) last_frame: AtomicU64,
}

impl SessionMode for Plain {
    type Client = SocketAddr;

    fn client(&self) -> SocketAddr {
        self.address
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn identify(_: &SocketAddr, _: &mut SessionStatus) {}
}

/// A session.
pub(super) type PlainSession = Session<Plain>;
/// The sessions, by port and by the client's address.
pub(super) type PlainDirectory = Directory<SocketAddr, PlainSession>;

/// Starts a server on a TAP, a socket and a bridge that are ready.
pub(crate) fn start(
    settings: ServerSettings,
    peers: &[SocketAddr],
    tap: OpenTap,
    sockets: Vec<UdpSocket>,
    bridge: Arc<Bridge<LeafId>>,
) -> Result<Running, Error> {
    let directory = Arc::new(PlainDirectory::new());
    let mut launch =
        Launch::new(Role::Server, Protocol::Plain, sockets, settings.common.scheduling)?;
    let named = settings.protected_macs.clone();
    let root = RootWatch::start(&bridge, &tap.interface, named, launch.events())?;
    let floods = Arc::new(Floods::new(&settings.budgets, settings.common.loop_guard));
    let handle = TapHandle::of(&tap.queues[0])?;
    let interface = launch.workers(tap, |post| {
        ServerSide::new(Arc::clone(&directory), Arc::clone(&bridge), Arc::clone(&floods), post)
    })?;
    let now = clock::now();
    let (workers, events) = (launch.worker_counters(), launch.events());
    let watch = ServerWatch::new(Arc::clone(&floods), Arc::clone(&interface), now);
    let roster = Roster::new(directory, Arc::clone(&bridge), floods, events, workers, root, now)
        .with_watch(watch);
    let mut machine = plain::Server::new(protocol(&settings), now);
    for &peer in peers {
        machine.add_static(peer);
    }
    let control = ServerControl {
        machine,
        settings,
        roster,
        socket: launch.socket()?,
        tap: handle,
        announcer: Announcer::new(Arc::clone(&interface)),
        interface: Arc::clone(&interface),
        counters: launch.counters(),
    };
    launch.control(interface, Some(bridge), control)
}
