//! A client in plain mode: its threads, and what they tell one another.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use acton_proto::plain::{self, ClientConfig};
use acton_udp::UdpSocket;

use super::client_control::ClientControl;
use super::client_worker::{ClientSide, News};
use crate::floods::client_screen::ClientFloods;
use crate::floods::client_watch::ClientWatch;
use crate::observe::status::{Protocol, Role};
use crate::observe::tally::Tallies;
use crate::reach::dial::Dial;
use crate::reach::history::SessionHistory;
use crate::run::announcer::Announcer;
use crate::run::clock;
use crate::run::launch::Launch;
use crate::run::tap::{OpenTap, TapHandle};
use crate::settings::ClientSettings;
use crate::{Error, Running};

/// Silence after which the server counts as lost, in keepalive intervals, as in 0.1.1.
const KEEPALIVES_TO_LOSE: u32 = 3;

/// What the control thread and the workers tell one another.
#[derive(Default)]
pub(super) struct PlainUplink {
    pub(super) connected: AtomicBool,
    /// When a frame last came, in nanoseconds of the engine's clock.
    pub(super) last_frame: AtomicU64,
}

/// What the settings are to the protocol.
pub(super) fn protocol(settings: &ClientSettings) -> ClientConfig {
    let mut config = ClientConfig::default();
    config.keepalive = settings.keepalive();
    config.dead_after = settings.keepalive() * KEEPALIVES_TO_LOSE;
    config
}

/// Starts a client on a TAP and a socket that are ready.
pub(crate) fn start(
    settings: ClientSettings,
    tap: OpenTap,
    socket: UdpSocket,
) -> Result<Running, Error> {
    let link = Arc::new(PlainUplink::default());
    let tallies = Arc::new(Tallies::new(1 + tap.queues.len()));
    let mut launch =
        Launch::new(Role::Client, Protocol::Plain, vec![socket], settings.common.scheduling)?;
    let handle = TapHandle::of(&tap.queues[0])?;
    let floods = ClientFloods::new(settings.common.loop_guard);
    let interface = launch.workers(tap, |post| {
        ClientSide::new(Arc::clone(&link), Arc::clone(&tallies), floods.clone(), post)
    })?;
    // Only timers are spread by it, so that clients of one server do not move in step.
    let seed = RandomState::new().hash_one(interface.name());
    let dial = Dial::new(
        settings.server.clone(),
        launch.socket()?,
        launch.sender(),
        News::LookedUp,
        Protocol::Plain,
        launch.events(),
    );
    let control = ClientControl {
        machine: plain::Client::new(protocol(&settings), seed, clock::now()),
        settings,
        dial,
        tap: handle,
        announcer: Announcer::new(Arc::clone(&interface)),
        watch: ClientWatch::new(floods, Arc::clone(&interface), launch.counters(), launch.events()),
        interface: Arc::clone(&interface),
        link,
        counters: launch.counters(),
        history: SessionHistory::new(tallies),
        events: launch.events(),
        since: None,
    };
    launch.control(interface, None, control)
}
