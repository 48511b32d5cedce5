//! A server in secure mode: its threads, and a session as they share it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use acton_bridge::Bridge;
use acton_proto::handshake::SystemRandom;
use acton_proto::server::{Path, Server, ServerConfig, ServerStats};
use acton_proto::session::{KeyLog, Keys};
use acton_proto::wire::Key;
use acton_udp::UdpSocket;
use hashbrown::HashMap;

use super::authorization::Authorization;
use super::budget::Budget;
use super::expected::Expected;
use super::hellos::Hellos;
use super::leases;
use super::links::Links;
use super::report::key_text;
use super::server_control::ServerControl;
use super::server_worker::{News, ServerSide};
use super::uplinks::Uplinks;
use super::{CAPS_OF_SEVERAL, ServerKeys, keepalive_seconds, links};
use crate::authorize::accounts::Accounts;
use crate::authorize::{Authority, Decisions};
use crate::floods::news::FloodReporter;
use crate::floods::server_watch::ServerWatch;
use crate::floods::shared::Floods;
use crate::observe::status::{Protocol, Role, SessionStatus};
use crate::root::{Named, RootWatch};
use crate::run::announcer::Announcer;
use crate::run::clock;
use crate::run::control::Message;
use crate::run::handle::BridgeAccess;
use crate::run::launch::Launch;
use crate::run::tap::{OpenTap, TapHandle, max_frame};
use crate::run::worker::NEWS_INTERVAL;
use crate::sessions::admission::{Admission, ClientPolicy, Gate};
use crate::sessions::directory::Directory;
use crate::sessions::lease_store::LeaseStore;
use crate::sessions::names::SessionNames;
use crate::sessions::owned_macs::OwnedMacs;
use crate::sessions::port::LeafId;
use crate::sessions::roster::Roster;
use crate::sessions::rounds::SharedRounds;
use crate::sessions::router::Router;
use crate::sessions::session::{Session, SessionMode};
use crate::sessions::sighting::Sightings;
use crate::settings::{SecureSettings, ServerSettings};
use crate::throttle::Throttle;
use crate::{Error, Running};

/// What secure mode adds to a session.
#[derive(Debug, Clone)]
pub(super) struct Secured {
    /// The client's public key.
    pub(super) client: Key,
    pub(super) policy: Arc<ClientPolicy>,
    pub(super) path: Path,
    /// The keys to seal with.
    pub(super) seal: Arc<Keys>,
    /// All keys that open what comes: those, the ones before, and new ones to be confirmed.
    pub(super) open: Vec<Arc<Keys>>,
    pub(super) budget: Arc<Budget>,
}

impl Secured {
    /// The keys that open datagrams with this id.
    pub(super) fn opening(&self, id: u32) -> Option<&Arc<Keys>> {
        self.open.iter().find(|keys| keys.setup().local_id == id)
    }
}

impl SessionMode for Secured {
    type Client = Key;

    fn client(&self) -> Key {
        self.client
    }

    fn address(&self) -> SocketAddr {
        self.path.remote
    }

    fn identify(client: &Key, status: &mut SessionStatus) {
        status.key = Some(key_text(client));
    }
}

/// A session.
pub(super) type SecureSession = Session<Secured>;
/// The sessions, by port and by the id in a datagram's header.
pub(super) type SecureRoster = Roster<u32, Secured>;
pub(super) type SecureDirectory = Directory<u32, SecureSession>;

/// What a server in secure mode has beside its settings.
pub(crate) struct SecureAccess {
    pub(crate) keys: ServerKeys,
    pub(crate) admission: Box<dyn Admission>,
    pub(crate) authority: Option<Box<dyn Authority>>,
    pub(crate) key_log: Option<KeyLog>,
    pub(crate) leases: Option<Box<dyn LeaseStore>>,
}

/// Where a datagram names its receiver, whose low bits are the worker: bytes from its first
/// (docs/PROTOCOL.md, section 2).
const RECEIVER_ID_AT: u16 = 4;

/// Starts a server on a TAP, a socket and a bridge that are ready.
pub(crate) fn start(
    settings: ServerSettings,
    secure: &SecureSettings,
    access: SecureAccess,
    tap: OpenTap,
    sockets: Vec<UdpSocket>,
    bridge: Arc<Bridge<LeafId>>,
) -> Result<Running, Error> {
    let workers = tap.queues.len() as u32;
    let worker_bits = workers.next_power_of_two().trailing_zeros() as u8;
    for socket in &sockets {
        socket.forbid_fragments().map_err(Error::system("forbid IP fragments"))?;
        socket.keep_reports().map_err(Error::system("hear of the path's MTU"))?;
    }
    if workers > 1 {
        // A session stays with one worker, whatever address it comes from.
        sockets[0]
            .steer_by_word(RECEIVER_ID_AT, worker_bits)
            .map_err(Error::system("steer datagrams"))?;
    }
    let mut config = ServerConfig::new(access.keys.private_key);
    config.network_key = access.keys.network_key;
    config.max_sessions = settings.max_sessions;
    config.max_sessions_per_source = settings.max_sessions_per_source();
    config.max_unlisted = settings.max_unlisted.unwrap_or(usize::MAX);
    config.keepalive = keepalive_seconds(settings.keepalive());
    config.max_frame = max_frame(settings.common.tap.mtu);
    let listen = sockets[0].local_addr().map_err(Error::system("read the UDP address"))?;
    let max_pmtu = links::needed(config.max_frame);
    config.pmtu = links::pmtu(listen.ip(), max_pmtu);
    (config.workers, config.worker_bits) = (workers, worker_bits);
    config.caps = CAPS_OF_SEVERAL;
    config.key_log = access.key_log;
    config.suites = secure.suite.into();
    let version = config.version;
    let directory = Arc::new(SecureDirectory::new());
    let floods = Arc::new(Floods::new(&settings.budgets, settings.common.loop_guard));
    floods.set_guards(settings.guards);
    floods.snooper.set_on(settings.multicast_snooping);
    let now = clock::now();
    let expected = Arc::new(Expected::new(now, worker_bits));
    let hellos = Arc::<Hellos>::default();
    // Small frames share a datagram.
    let rounds =
        SharedRounds::new(workers as usize, 0).map_err(Error::system("make an eventfd"))?;
    let mut launch =
        Launch::new(Role::Server, Protocol::Acton1, sockets, settings.common.scheduling)?;
    let links =
        Links::watch(listen.ip(), max_pmtu, settings.tracked_links.clone(), launch.sender());
    let handle = TapHandle::of(&tap.queues[0])?;
    let (named, addresses) = (Named::of(&settings), Arc::clone(&floods.root_addresses));
    let root = RootWatch::start(&bridge, addresses, &tap.interface, named, launch.events())?;
    let interface = launch.workers(tap, |post| {
        ServerSide::new(
            Arc::clone(&directory),
            Arc::clone(&bridge),
            Arc::clone(&floods),
            Arc::clone(&expected),
            Arc::clone(&hellos),
            Arc::clone(&rounds),
            version,
            post,
        )
    })?;
    let sender = launch.sender();
    let tell = move |rules| sender.send(Message::News(News::Rules(rules))).is_ok();
    let lease_store = access.leases;
    let gate = Gate::new(access.admission, tell).map_err(Error::system("start a thread"))?;
    let authorization = match access.authority {
        Some(mut authority) => {
            let sender = launch.sender();
            let tell = move |it| sender.send(Message::News(News::Decision(it))).is_ok();
            let begun = authority.begin(interface.name(), Decisions::new(tell));
            begun.map_err(Error::system("ask about clients"))?;
            Some(Authorization::new(authority, settings.authorize_timeout))
        }
        None => None,
    };
    let gate = gate.with_verdicts(authorization.as_ref().map(|it| it.verdicts().clone()));
    let accounts = Accounts::new(settings.accounting_interval, authorization.is_some());
    let (workers, events) = (launch.worker_counters(), launch.events());
    let router = Router::new(
        Arc::clone(&bridge),
        launch.counters(),
        Sightings::new(launch.sender()),
        Arc::clone(&floods),
        FloodReporter::new(launch.sender()),
        0,
    );
    let watch = ServerWatch::new(Arc::clone(&floods), Arc::clone(&interface), now);
    let names = Arc::clone(&directory) as Arc<dyn SessionNames>;
    let access = BridgeAccess { bridge: Arc::clone(&bridge), names, floods: Arc::clone(&floods) };
    let mut roster =
        Roster::new(directory, Arc::clone(&bridge), floods, events, workers, root, now)
            .with_watch(watch);
    let keeper = lease_store.map(|store| leases::start(store, &mut roster, now)).transpose();
    let keeper = keeper.map_err(Error::system("start a thread"))?;
    let mut control = ServerControl {
        machine: Server::new(config, gate.for_protocol(), Box::new(SystemRandom), now),
        gate,
        authorization,
        accounts,
        settings,
        roster,
        router,
        links,
        macs: OwnedMacs::new(Arc::clone(&bridge)),
        macs_told: 0,
        ports: HashMap::default(),
        socket: launch.socket()?,
        tap: handle,
        announcer: Announcer::new(Arc::clone(&interface)),
        interface: Arc::clone(&interface),
        expected,
        hellos,
        counters: launch.counters(),
        counted: ServerStats::default(),
        hints: Throttle::new(NEWS_INTERVAL),
        drain: None,
        ordered: None,
        uplinks: Uplinks::default(),
        list_error: None,
        isolation: None,
        leases: keeper,
        buffer: Vec::new(),
    };
    control.begin(now);
    launch.control(interface, Some(access), control)
}

/// The unspecified address means "any": no reason to insist on it.
pub(super) fn specified(ip: IpAddr) -> Option<IpAddr> {
    Some(ip).filter(|ip| !ip.is_unspecified())
}
