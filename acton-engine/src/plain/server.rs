//! A server in plain mode: its threads, and a session as they share it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use acton_bridge::Bridge;
use acton_proto::plain;
use acton_udp::UdpSocket;
use arc_swap::ArcSwap;
use hashbrown::HashMap;
use ipnet::IpNet;
use parking_lot::Mutex;

use super::server_control::{ServerControl, protocol};
use super::server_worker::{DATAGRAM, ServerSide};
use crate::floods::server_watch::ServerWatch;
use crate::floods::shared::Floods;
use crate::observe::status::{Protocol, Role, SessionStatus};
use crate::root::{Named, RootWatch};
use crate::run::announcer::Announcer;
use crate::run::clock;
use crate::run::control::INBOX_LEN;
use crate::run::handle::BridgeAccess;
use crate::run::lane::Lane;
use crate::run::launch::Launch;
use crate::run::tap::{OpenTap, TapHandle};
use crate::sessions::directory::Directory;
use crate::sessions::names::SessionNames;
use crate::sessions::port::LeafId;
use crate::sessions::roster::Roster;
use crate::sessions::rounds::SharedRounds;
use crate::sessions::session::{Session, SessionMode};
use crate::settings::{ServerMode, ServerSettings};
use crate::throttle::Bucket;
use crate::{Error, Running};

/// What plain mode adds to a session.
#[derive(Debug)]
pub(super) struct Plain {
    pub(super) address: SocketAddr,
    /// When a frame last came from there, in nanoseconds of the engine's clock.
    pub(super) last_frame: AtomicU64,
    /// Something came from there after what began the session, which one forged datagram does; or it
    /// was named in the settings.
    pub(super) heard: AtomicBool,
    /// What it may have the control thread do.
    control: Mutex<Bucket>,
}

/// Control words of one session: so often, so many at once. A client says one in some seconds.
const CONTROL: (Duration, u32) = (Duration::from_millis(20), 64);

impl Plain {
    pub(super) fn new(address: SocketAddr, is_named: bool) -> Self {
        let control = Mutex::new(Bucket::new(CONTROL.0, CONTROL.1));
        let heard = AtomicBool::new(is_named);
        Self { address, last_frame: AtomicU64::new(0), heard, control }
    }

    /// Notes that something came from there after what began the session; `true` if it is the first.
    pub(super) fn hear(&self) -> bool {
        !self.heard.load(Relaxed) && !self.heard.swap(true, Relaxed)
    }

    /// Whether the control thread hears a word of this session.
    pub(super) fn admits_control(&self, now: Duration) -> bool {
        self.control.lock().admits(now)
    }
}

/// Sources that may begin a session; with none given, all may.
pub(super) type Allowed = ArcSwap<Vec<IpNet>>;

/// The sources of the settings.
pub(super) fn allowed(mode: &ServerMode) -> Vec<IpNet> {
    match mode {
        ServerMode::Plain(plain) => plain.allow.clone(),
        ServerMode::Secure(_) => Vec::new(),
    }
}

/// Whether a source may have a session.
pub(super) fn is_allowed(allow: &[IpNet], source: SocketAddr) -> bool {
    allow.is_empty() || allow.iter().any(|network| network.contains(&source.ip()))
}

/// What an address belongs to: an IPv4 address, or a /64, which an IPv6 host owns whole.
fn source_of(address: SocketAddr) -> u64 {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => ip.to_bits().into(),
        IpAddr::V6(ip) => (ip.to_bits() >> 64) as u64,
    }
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
    let floods = Arc::new(Floods::new(&settings.budgets, settings.common.loop_guard));
    floods.set_guards(settings.guards);
    floods.snooper.set_on(settings.multicast_snooping);
    let (named, addresses) = (Named::of(&settings), Arc::clone(&floods.root_addresses));
    let root = RootWatch::start(&bridge, addresses, &tap.interface, named, launch.events())?;
    let handle = TapHandle::of(&tap.queues[0])?;
    let allow = Arc::new(Allowed::from_pointee(allowed(&settings.mode)));
    let strangers = Lane::new(INBOX_LEN / 2);
    let rounds = SharedRounds::new(tap.queues.len(), DATAGRAM);
    let rounds = rounds.map_err(Error::system("make an eventfd"))?;
    let interface = launch.workers(tap, |post| {
        let (directory, bridge) = (Arc::clone(&directory), Arc::clone(&bridge));
        let (floods, allow) = (Arc::clone(&floods), Arc::clone(&allow));
        let (strangers, rounds) = (strangers.clone(), Arc::clone(&rounds));
        ServerSide::new(directory, bridge, floods, allow, strangers, rounds, post)
    })?;
    let now = clock::now();
    let (workers, events) = (launch.worker_counters(), launch.events());
    let watch = ServerWatch::new(Arc::clone(&floods), Arc::clone(&interface), now);
    let names = Arc::clone(&directory) as Arc<dyn SessionNames>;
    let access = BridgeAccess { bridge: Arc::clone(&bridge), names, floods: Arc::clone(&floods) };
    let roster = Roster::new(directory, Arc::clone(&bridge), floods, events, workers, root, now)
        .with_watch(watch);
    let mut machine = plain::Server::with_sources(protocol(&settings), now, source_of);
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
        allow,
        counters: launch.counters(),
        barred: HashMap::default(),
        kicked: None,
    };
    launch.control(interface, Some(access), control)
}
