//! A client in secure mode: its threads, and the session as they share it.

use std::net::SocketAddr;
use std::sync::Arc;

use acton_proto::client::ClientConfig;
use acton_proto::handshake::{Random, SystemRandom};
use acton_proto::session::Keys;
use acton_proto::wire::OVERHEAD;
use acton_udp::{Destination, UdpSocket};
use arc_swap::{ArcSwap, Cache};

use super::client_control::ClientControl;
use super::client_worker::{ClientSide, News};
use super::contact::{Contact, Place};
use super::key_keeping::KeyKeeping;
use super::{CAPS, CAPS_OF_SEVERAL, keepalive_seconds};
use crate::client::{OtherServer, SecureClient};
use crate::floods::client_screen::ClientFloods;
use crate::floods::client_watch::ClientWatch;
use crate::isolation::listener::Listener;
use crate::isolation::subject::Subject;
use crate::observe::status::{Protocol, Role};
use crate::observe::tally::Tallies;
use crate::reach::dial::Dial;
use crate::reach::history::SessionHistory;
use crate::reach::network::NetworkWatch;
use crate::reach::route::Route;
use crate::reach::servers::Servers;
use crate::run::announcer::Announcer;
use crate::run::clock;
use crate::run::control::{INBOX_LEN, Message};
use crate::run::lane::Lane;
use crate::run::launch::Launch;
use crate::run::tap::{OpenTap, TapHandle, max_frame};
use crate::settings::{ClientSettings, SecureSettings};
use crate::{Error, Running};

/// The session as workers see it: a snapshot that is replaced whole.
#[derive(Debug)]
pub(super) struct SecureUplink {
    pub(super) to: Arc<Destination>,
    /// The keys to seal with, while there is a session.
    pub(super) seal: Option<Arc<Keys>>,
    /// All keys that open what comes.
    pub(super) open: Vec<Arc<Keys>>,
    /// The keys that open what comes from the server that the client has left, or is about to go to.
    pub(super) beside: Vec<Arc<Keys>>,
    /// Takes frames of a test of isolation, while one is on.
    pub(super) listener: Option<Arc<Listener>>,
}

impl Default for SecureUplink {
    fn default() -> Self {
        let to = Arc::new(Destination::connected());
        Self { to, seal: None, open: Vec::new(), beside: Vec::new(), listener: None }
    }
}

impl SecureUplink {
    /// The keys that open datagrams with this id.
    pub(super) fn opening(&self, id: u32) -> Option<&Arc<Keys>> {
        self.open.iter().find(|keys| keys.setup().local_id == id)
    }

    /// The same of servers beside the one in use.
    pub(super) fn opening_beside(&self, id: u32) -> Option<&Arc<Keys>> {
        self.beside.iter().find(|keys| keys.setup().local_id == id)
    }
}

/// Starts a client on a TAP and a socket that are ready.
pub(crate) fn start(
    settings: ClientSettings,
    secure: &SecureSettings,
    SecureClient { keys, rank, others, key_log, keeper }: SecureClient,
    tap: OpenTap,
    socket: UdpSocket,
) -> Result<Running, Error> {
    socket.forbid_fragments().map_err(Error::system("forbid IP fragments"))?;
    socket.keep_reports().map_err(Error::system("hear of the path's MTU"))?;
    let link = Arc::new(ArcSwap::from_pointee(SecureUplink::default()));
    // A flood of what may be anybody's leaves room for the server's own.
    let strangers = Lane::new(INBOX_LEN / 2);
    // The control thread and one worker.
    let tallies = Arc::new(Tallies::new(1 + tap.queues.len()));
    let mut launch =
        Launch::new(Role::Client, Protocol::Acton1, vec![socket], settings.common.scheduling)?;
    let floods = ClientFloods::new(settings.common.loop_guard);
    let handle = TapHandle::of(&tap.queues[0])?;
    let interface = launch.workers(tap, |post| {
        let link = Cache::new(Arc::clone(&link));
        ClientSide::new(link, strangers.clone(), Arc::clone(&tallies), floods.clone(), post)
    })?;
    let now = clock::now();
    let mut config = ClientConfig::new(keys.private_key.clone(), keys.server_key);
    config.keepalive = keepalive_seconds(settings.keepalive());
    config.max_frame = max_frame(settings.common.tap.mtu);
    config.caps = CAPS;
    config.key_log = key_log;
    if let Some(after) = secure.rekey_after {
        config.rekey_after = after;
    }
    config.suites = secure.suite.into();
    let max_pmtu = max_pmtu(config.max_frame);
    let ranks: Vec<_> = [rank].into_iter().chain(others.iter().map(|it| it.rank)).collect();
    let servers = (ranks.len() > 1).then(|| {
        config.caps = CAPS_OF_SEVERAL;
        let mut seed = [0; 8];
        SystemRandom.fill(&mut seed);
        Servers::new(now, &ranks, u64::from_ne_bytes(seed))
    });
    let sender = launch.sender();
    let watch =
        NetworkWatch::start(move || sender.try_send(Message::News(News::NetworkChanged)).is_ok());
    let watch = watch
        .inspect_err(|error| {
            log::warn!(
                "cannot watch this host's network ({error}): after a change of address the server \
                 finds this client only once it sends something"
            );
        })
        .ok();
    let first = OtherServer { server: settings.server.clone(), keys, rank };
    let mut places = Vec::new();
    for (number, OtherServer { server, keys, .. }) in [first].into_iter().chain(others).enumerate()
    {
        let dial = Dial::new(
            server,
            launch.socket()?,
            launch.sender(),
            move |result| News::LookedUp(number, result),
            Protocol::Acton1,
            launch.events(),
        );
        places.push(Place::new(dial, keys));
    }
    let server = servers.as_ref().map_or(0, Servers::current);
    let control = ClientControl {
        active: Contact::new(now, server, &places[server], &config, max_pmtu),
        joining: None,
        leaving: None,
        servers,
        places,
        config,
        carrier_until: None,
        has_carrier: false,
        bridged: Vec::new(),
        keeping: KeyKeeping::new(keeper),
        settings,
        max_pmtu,
        _watch: watch,
        tap: handle,
        announcer: Announcer::new(Arc::clone(&interface)),
        subject: Subject::default(),
        watch: ClientWatch::new(floods, Arc::clone(&interface), launch.counters(), launch.events()),
        interface: Arc::clone(&interface),
        link,
        counters: launch.counters(),
        history: SessionHistory::new(tallies),
        events: launch.events(),
        buffer: Vec::new(),
    };
    launch.control(interface, None, control)
}

/// The largest datagram that a client whose longest frame is this has a use for, in bytes.
pub(super) fn max_pmtu(max_frame: u16) -> u16 {
    max_frame.saturating_add(OVERHEAD as u16)
}

/// `None` where no route leads there, which sending will tell too.
pub(super) fn route_to(server: SocketAddr) -> Option<Route> {
    Route::to(server).inspect_err(|error| log::debug!("no route to {server}: {error}")).ok()
}
