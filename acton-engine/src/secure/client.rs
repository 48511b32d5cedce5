//! The client's part in secure mode.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use acton_frame::Headers;
use acton_proto::client::{Client, ClientConfig, ClientEvent, DownReason};
use acton_proto::handshake::SystemRandom;
use acton_proto::session::{Content, KeyLog, Keys};
use acton_proto::wire::{Bye, Datagram, Header, OVERHEAD, Refusal, Suites};
use arc_swap::{ArcSwap, Cache};

use super::limits::Strangers;
use super::sealed::{Sealed, clamp};
use super::{
    ClientKeys, count_bundle, count_open_error, datagram_size, deliver, has_frames, is_too_large,
    pass_mark, trust, wall,
};
use crate::frames::batch::FrameBatch;
use crate::observe::counters::{Counter, Counters};
use crate::reach::dial::Dial;
use crate::reach::network::NetworkWatch;
use crate::reach::route::Route;
use crate::run::clock;
use crate::run::launch::Launch;
use crate::run::running::{Message, Outbox, next_message};
use crate::run::scheduling::Scheduling;
use crate::run::tap::{OpenTap, TapHandle};
use crate::run::worker::{Arrival, Output, Side, TapSink};
use crate::{Error, Running, ServerName, SessionInfo};
use acton_udp::{Destination, UdpSocket};

/// Settings of a client in secure mode.
pub(crate) struct SecureClient {
    pub(crate) server: ServerName,
    pub(crate) keys: ClientKeys,
    pub(crate) keepalive: Duration,
    pub(crate) max_frame: u16,
    pub(crate) rekey_after: Option<Duration>,
    pub(crate) key_log: Option<KeyLog>,
    pub(crate) suites: Suites,
}

/// Starts a client on a TAP and a socket that are ready.
pub(crate) fn start(
    settings: SecureClient,
    tap: OpenTap,
    socket: UdpSocket,
    scheduling: Scheduling,
) -> Result<Running, Error> {
    socket.forbid_fragments().map_err(Error::system("forbid IP fragments"))?;
    socket.keep_reports().map_err(Error::system("hear of the path's MTU"))?;
    let link = Arc::new(ArcSwap::from_pointee(Link::default()));
    let strangers = Strangers::default();
    let mut launch = Launch::new(vec![socket], &tap, scheduling)?;
    let handle = TapHandle::of(&tap.queues[0])?;
    for queue in tap.queues {
        let link = Cache::new(Arc::clone(&link));
        launch.worker(queue, |outbox, counters| ClientSide {
            link,
            sealed: Sealed::default(),
            strangers: strangers.clone(),
            counters,
            outbox,
        })?;
    }
    let SecureClient { server, keys, keepalive, max_frame, rekey_after, key_log, suites } =
        settings;
    let mut config = ClientConfig::new(keys.private_key, keys.server_key);
    config.network_key = keys.network_key;
    config.psk = keys.psk;
    config.keepalive = keepalive.as_secs().clamp(1, u16::MAX.into()) as u16;
    config.max_frame = max_frame;
    config.caps = super::CAPS;
    config.key_log = key_log;
    if let Some(after) = rekey_after {
        config.rekey_after = after;
    }
    config.suites = suites;
    let max_pmtu = max_frame.saturating_add(OVERHEAD as u16);
    // A name's address is not known yet.
    let route = server.literal().and_then(route_to);
    if let Some(route) = &route {
        config.pmtu = route.pmtu.min(max_pmtu);
    }
    let sender = launch.sender();
    let watch =
        NetworkWatch::start(move || sender.try_send(Message::News(News::NetworkChanged)).is_ok());
    let control = ClientControl {
        machine: Client::new(config, Box::new(SystemRandom), clock::now()),
        route,
        max_pmtu,
        _watch: watch
            .inspect_err(|error| {
                log::warn!(
                    "cannot watch this host's network ({error}): after a change of address the \
                     server finds this client only once it sends something"
                );
            })
            .ok(),
        dial: Dial::new(server, launch.socket()?, launch.sender(), News::LookedUp, false),
        tap: handle,
        link: Arc::clone(&link),
        strangers,
        counters: launch.counters(),
        buffer: Vec::new(),
        waiting: Vec::new(),
    };
    let peer = control.dial.peer();
    let sessions = Arc::new(move || {
        let open = peer.lock().filter(|_| link.load().seal.is_some());
        let info = |address| SessionInfo { number: 0, address, macs: Vec::new() };
        open.map(info).into_iter().collect()
    });
    launch.control(sessions, move |inbox| control.run(inbox))
}

/// The session as workers see it: a snapshot that is replaced whole.
#[derive(Debug, Clone)]
struct Link {
    to: Destination,
    /// The keys to seal with, while there is a session.
    seal: Option<Arc<Keys>>,
    /// All keys that open what comes.
    open: Vec<Arc<Keys>>,
}

impl Default for Link {
    fn default() -> Self {
        Self { to: Destination::connected(), seal: None, open: Vec::new() }
    }
}

/// What a worker passes to the control thread.
enum News {
    Datagram { from: SocketAddr, stranger: bool, bytes: Vec<u8> },
    TooLarge(usize),
    PathHint(usize),
    NetworkError,
    NetworkChanged,
    LookedUp(io::Result<Vec<SocketAddr>>),
}

/// The client's part of a worker.
struct ClientSide {
    link: Cache<Arc<ArcSwap<Link>>, Arc<Link>>,
    sealed: Sealed,
    strangers: Strangers,
    counters: Arc<Counters>,
    outbox: Outbox<News>,
}

impl Side for ClientSide {
    fn send(&mut self, frames: &mut FrameBatch, now: Duration, out: &mut Output<'_>) {
        let link = self.link.load();
        let Some(keys) = &link.seal else {
            return self.counters.add(Counter::NotConnected, frames.len() as u64);
        };
        clamp(frames, 0..frames.len(), keys);
        self.sealed.seal(0, keys, frames, 0..frames.len(), now, &self.counters);
        self.sealed.send(out, |_| Some(&link.to));
        for (_, size) in out.refused() {
            self.outbox.post(News::TooLarge(size));
        }
    }

    fn receive<'f>(
        &mut self,
        arrival: &Arrival,
        datagram: &'f mut [u8],
        now: Duration,
        tap: &mut impl TapSink<'f>,
    ) {
        let link = self.link.load();
        let header = has_frames(datagram).then(|| Header::parse(datagram).ok()).flatten();
        let known = header.and_then(|header| Some((header, link.opening(header.receiver_id)?)));
        let Some((header, keys)) = known else {
            // A handshake may be anybody's, and so may keys that are not known here.
            let stranger = match Datagram::parse(datagram) {
                Ok(Datagram::Sealed(header)) => link.opening(header.receiver_id).is_none(),
                Ok(Datagram::Hello(_)) | Err(_) => {
                    return self.counters.add(Counter::UnknownControl, 1);
                }
                Ok(_) => true,
            };
            let from = arrival.from;
            let news = || News::Datagram { from, stranger, bytes: datagram.to_vec() };
            return self.strangers.post(&self.outbox, &self.counters, stranger, news);
        };
        match keys.receive(now, &header, datagram).map(|received| received.content) {
            Ok(Content::Frames(frames)) => {
                count_bundle(&self.counters, &frames);
                for mut frame in frames {
                    let headers = Headers::parse(frame.bytes());
                    if pass_mark(arrival, keys, &mut frame, &headers, &self.counters) {
                        deliver(frame, &headers, tap);
                    }
                }
            }
            Ok(Content::Piece) => self.counters.add(Counter::Pieces, 1),
            Ok(Content::Bad | Content::Control(_)) => self.counters.add(Counter::BadFrame, 1),
            Err(error) => count_open_error(&self.counters, error),
        }
    }

    fn network_error(&mut self, error: &io::Error) {
        log::trace!("UDP: {error}");
        self.outbox.post(News::NetworkError);
    }

    fn path_hint(&mut self, _: SocketAddr, max_payload: usize) {
        self.outbox.post(News::PathHint(max_payload));
    }
}

/// The client's control thread: it connects, and connects again.
struct ClientControl {
    machine: Client,
    dial: Dial<News>,
    /// How datagrams go to the server now, where that is known.
    route: Option<Route>,
    /// The longest datagram that there is a use for, in bytes: the largest frame's.
    max_pmtu: u16,
    _watch: Option<NetworkWatch>,
    tap: TapHandle,
    link: Arc<ArcSwap<Link>>,
    strangers: Strangers,
    counters: Arc<Counters>,
    buffer: Vec<u8>,
    /// What is to be said as soon as the server's address is known.
    waiting: Vec<u8>,
}

fn send(dial: &mut Dial<News>, machine: &mut Client, counters: &Counters, datagram: &[u8]) {
    let Err(error) = dial.send(datagram) else { return };
    if is_too_large(&error) {
        // A probe of the path that not even the first link takes.
        machine.handle_too_large(datagram_size(datagram.len()));
    } else {
        counters.add_unsent(&error);
    }
}

impl ClientControl {
    fn run(mut self, inbox: &Receiver<Message<News>>) -> Result<(), Error> {
        self.machine.handle_timeout(clock::now(), wall());
        self.settle();
        let ended = loop {
            let message = next_message(inbox, self.machine.poll_timeout());
            let now = clock::now();
            match message {
                Some(Message::News(News::Datagram { from, stranger, bytes: mut datagram })) => {
                    if stranger {
                        self.strangers.done();
                    }
                    let has_frames = has_frames(&datagram);
                    let connecting = self.machine.keys().is_none();
                    let frames = self.machine.handle_input(now, &mut datagram);
                    let connected = connecting && self.machine.keys().is_some();
                    if connected {
                        self.dial.answered(from);
                    }
                    if has_frames && frames.len() == 0 {
                        self.counters.add(Counter::NoSession, 1);
                    }
                    count_bundle(&self.counters, &frames);
                    for frame in frames {
                        let headers = Headers::parse(frame.bytes());
                        self.tap.write(frame.bytes(), &headers, trust(&frame), &self.counters);
                    }
                    if connected {
                        self.follow_route(now);
                    }
                }
                Some(Message::News(News::TooLarge(size))) => {
                    self.machine.handle_too_large(datagram_size(size));
                }
                Some(Message::News(News::PathHint(size))) => {
                    self.machine.handle_path_hint(now, datagram_size(size));
                }
                Some(Message::News(News::NetworkError)) => self.machine.handle_network_error(now),
                Some(Message::News(News::NetworkChanged)) => self.network_changed(now),
                Some(Message::News(News::LookedUp(result))) => {
                    self.dial.looked_up(result, self.machine.keys().is_some());
                    self.follow_route(now);
                    self.change(|_| {});
                }
                Some(Message::Reload) => {}
                Some(Message::Failed(error)) => break Err(error),
                Some(Message::Stop) => break Ok(()),
                None => {}
            }
            self.machine.handle_timeout(now, wall());
            self.settle();
        };
        let connected = self.machine.keys().is_some();
        self.machine.close(clock::now());
        self.settle();
        if connected {
            log::info!("said BYE to {}", self.dial.text());
        }
        ended
    }

    /// This host's network is another: the server must hear from where to reach this client.
    fn network_changed(&mut self, now: Duration) {
        let known = self.dial.peer_address().is_some();
        if !known || self.follow_route(now) {
            if self.machine.keys().is_some() {
                log::info!("this host's way to {} changed; telling it", self.dial.text());
            }
            self.machine.handle_network_change(now);
        }
    }

    /// Looks how datagrams go to the server now; whether by another way than before.
    fn follow_route(&mut self, now: Duration) -> bool {
        let route = self.dial.peer_address().and_then(route_to);
        if route == self.route {
            return false;
        }
        self.route = route;
        let Some(route) = &self.route else { return false };
        self.machine.set_pmtu(now, wall(), route.pmtu.min(self.max_pmtu));
        true
    }

    fn settle(&mut self) {
        while let Some(event) = self.machine.poll_event() {
            match event {
                ClientEvent::Connecting { attempt } => {
                    self.dial.connect(attempt.saturating_add(1));
                    if attempt == NAGGING_AFTER {
                        log::warn!(
                            "no answer from {} so far{}: is its server running, is UDP let \
                             through, and is the invite one of this server? Trying on",
                            self.dial.text(),
                            self.dial.trouble()
                        );
                    }
                    self.change(|_| {});
                }
                ClientEvent::Connected { keys, server_time } => {
                    self.change(|link| link.open_and_seal(keys));
                    self.tap.set_carrier(true);
                    log::info!("connected to {}", self.dial.text());
                    if let Some(trouble) = clock::trouble(wall(), server_time) {
                        log::warn!("{}: {trouble}", self.dial.text());
                    }
                }
                ClientEvent::KeysChanged { keys } => self.change(|link| link.open_and_seal(keys)),
                ClientEvent::KeysDropped { local_id } => self.change(|link| {
                    link.open.retain(|keys| keys.setup().local_id != local_id);
                }),
                ClientEvent::Disconnected { reason, retry_in } => {
                    self.change(|link| {
                        link.seal = None;
                        link.open.clear();
                    });
                    self.tap.set_carrier(false);
                    if reason != DownReason::Closed {
                        log::warn!(
                            "lost {}: {}; connecting again {}",
                            self.dial.text(),
                            explain(reason),
                            when(retry_in)
                        );
                    }
                }
                ClientEvent::Unreadable => log::warn!(
                    "the answer of {} does not open: the psk (network key) of this client is not \
                     the one that the server has for it; ask for a new invite",
                    self.dial.text()
                ),
                ClientEvent::Refused { reason } => {
                    log::warn!("{} refused: {}", self.dial.text(), advice(reason));
                }
                _ => {}
            }
        }
        loop {
            self.buffer.clear();
            let Some(segment) = self.machine.poll_transmit(1, &mut self.buffer) else { break };
            for datagram in self.buffer.chunks(segment.max(1)) {
                // The newest HELLO waits for the address; older ones would be stale.
                self.waiting.clear();
                // What belongs to a session goes where that is, also while a name is looked up.
                if self.dial.is_ready() || self.machine.keys().is_some() {
                    send(&mut self.dial, &mut self.machine, &self.counters, datagram);
                } else {
                    self.waiting.extend_from_slice(datagram);
                }
            }
        }
        if self.dial.is_ready() && !self.waiting.is_empty() {
            send(&mut self.dial, &mut self.machine, &self.counters, &self.waiting);
            self.waiting.clear();
        }
    }

    fn change(&self, change: impl FnOnce(&mut Link)) {
        let mut link = Link::clone(&self.link.load());
        link.to = self.dial.destination();
        change(&mut link);
        self.link.store(Arc::new(link));
    }
}

/// `None` where no route leads there, which sending will tell too.
fn route_to(server: SocketAddr) -> Option<Route> {
    Route::to(server).inspect_err(|error| log::debug!("no route to {server}: {error}")).ok()
}

/// HELLO without an answer after which it is worth a line.
const NAGGING_AFTER: u32 = 5;

impl Link {
    /// The keys that open datagrams with this id.
    fn opening(&self, id: u32) -> Option<&Arc<Keys>> {
        self.open.iter().find(|keys| keys.setup().local_id == id)
    }

    fn open_and_seal(&mut self, keys: Arc<Keys>) {
        self.open.push(Arc::clone(&keys));
        self.seal = Some(keys);
    }
}

fn when(wait: Duration) -> String {
    if wait.is_zero() { "now".to_owned() } else { format!("in {:.0} s", wait.as_secs_f64().ceil()) }
}

fn explain(reason: DownReason) -> &'static str {
    match reason {
        DownReason::Bye(Bye::Stop) => "the server stopped",
        DownReason::Bye(Bye::Restart) => "the server restarts",
        DownReason::Bye(Bye::Replaced) => {
            "another client with the same key took the session; give each client an invite of its \
             own (acton invite --name)"
        }
        DownReason::Bye(Bye::Removed) => {
            "this client was removed from the server's list; ask for a new invite"
        }
        DownReason::Bye(Bye::Limit) => "the server has no room for more sessions",
        DownReason::Timeout => "no sign of life",
        DownReason::Expired => "the keys expired and no new ones could be agreed on",
        _ => "the session ended",
    }
}

fn advice(reason: Refusal) -> &'static str {
    match reason {
        Refusal::NotAuthorised => {
            "this client's key is not on its list; ask for an invite (acton invite --name)"
        }
        Refusal::Full => "all of its sessions are taken; its --max-sessions allows more",
        Refusal::Version => "it speaks no version that this client does; update the older one",
        Refusal::Suite => {
            "it takes no cipher suite that this client does; look at --suite on both, or update \
             the older one"
        }
        _ => "for a reason that this version does not know; update acton",
    }
}
