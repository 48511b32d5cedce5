//! A client in secure mode: its threads, and the session as they share it.

use std::net::SocketAddr;
use std::sync::Arc;

use acton_proto::client::{Client, ClientConfig, ClientStats};
use acton_proto::handshake::SystemRandom;
use acton_proto::session::Keys;
use acton_proto::wire::OVERHEAD;
use acton_udp::{Destination, UdpSocket};
use arc_swap::{ArcSwap, Cache};

use super::client_control::ClientControl;
use super::client_worker::{ClientSide, News};
use super::key_keeping::KeyKeeping;
use super::{CAPS, keepalive_seconds};
use crate::client::SecureClient;
use crate::floods::client_screen::ClientFloods;
use crate::floods::client_watch::ClientWatch;
use crate::observe::status::{Protocol, Role};
use crate::observe::tally::Tallies;
use crate::reach::dial::Dial;
use crate::reach::history::SessionHistory;
use crate::reach::network::NetworkWatch;
use crate::reach::route::Route;
use crate::run::announcer::Announcer;
use crate::run::clock;
use crate::run::control::{INBOX_LEN, Message};
use crate::run::lane::Lane;
use crate::run::launch::Launch;
use crate::run::tap::{OpenTap, TapHandle, max_frame};
use crate::settings::{ClientSettings, SecureSettings};
use crate::{Error, Running};

/// The session as workers see it: a snapshot that is replaced whole.
#[derive(Debug, Clone)]
pub(super) struct SecureUplink {
    pub(super) to: Arc<Destination>,
    /// The keys to seal with, while there is a session.
    pub(super) seal: Option<Arc<Keys>>,
    /// All keys that open what comes.
    pub(super) open: Vec<Arc<Keys>>,
}

impl SecureUplink {
    fn new() -> Self {
        Self { to: Arc::new(Destination::connected()), seal: None, open: Vec::new() }
    }

    /// The keys that open datagrams with this id.
    pub(super) fn opening(&self, id: u32) -> Option<&Arc<Keys>> {
        self.open.iter().find(|keys| keys.setup().local_id == id)
    }

    pub(super) fn open_and_seal(&mut self, keys: Arc<Keys>) {
        self.open.push(Arc::clone(&keys));
        self.seal = Some(keys);
    }
}

/// Starts a client on a TAP and a socket that are ready.
pub(crate) fn start(
    settings: ClientSettings,
    secure: &SecureSettings,
    SecureClient { keys, key_log, keeper }: SecureClient,
    tap: OpenTap,
    socket: UdpSocket,
) -> Result<Running, Error> {
    socket.forbid_fragments().map_err(Error::system("forbid IP fragments"))?;
    socket.keep_reports().map_err(Error::system("hear of the path's MTU"))?;
    let link = Arc::new(ArcSwap::from_pointee(SecureUplink::new()));
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
    let server_key = keys.server_key;
    let mut config = ClientConfig::new(keys.private_key, keys.server_key);
    config.network_key = keys.network_key;
    config.psk = keys.psk;
    config.keepalive = keepalive_seconds(settings.keepalive());
    config.max_frame = max_frame(settings.common.tap.mtu);
    config.caps = CAPS;
    config.key_log = key_log;
    if let Some(after) = secure.rekey_after {
        config.rekey_after = after;
    }
    config.suites = secure.suite.into();
    let max_pmtu = max_pmtu(config.max_frame);
    // A name's address is not known yet.
    let route = settings.server.literal().and_then(route_to);
    if let Some(route) = &route {
        config.pmtu = route.pmtu.min(max_pmtu);
    }
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
    let dial = Dial::new(
        settings.server.clone(),
        launch.socket()?,
        launch.sender(),
        News::LookedUp,
        Protocol::Acton1,
        launch.events(),
    );
    let control = ClientControl {
        machine: Client::new(config, Box::new(SystemRandom), clock::now()),
        server_key,
        keeping: KeyKeeping::new(keeper),
        settings,
        route,
        looked: clock::now(),
        max_pmtu,
        _watch: watch,
        dial,
        tap: handle,
        announcer: Announcer::new(Arc::clone(&interface)),
        watch: ClientWatch::new(floods, Arc::clone(&interface), launch.counters(), launch.events()),
        interface: Arc::clone(&interface),
        link,
        counters: launch.counters(),
        counted: ClientStats::default(),
        history: SessionHistory::new(tallies),
        events: launch.events(),
        buffer: Vec::new(),
        waiting: Vec::new(),
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
