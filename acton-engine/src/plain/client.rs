//! The client's part in plain mode.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use acton_frame::Headers;
use acton_proto::plain::{self, ClientConfig, ClientEvent, Control, Datagram};
use acton_tap::offload::Trust;

use crate::frames::batch::FrameBatch;
use crate::frames::cut::Cut;
use crate::observe::counters::{Counter, Counters};
use crate::reach::dial::Dial;
use crate::run::clock;
use crate::run::launch::Launch;
use crate::run::running::{Message, Outbox, next_message};
use crate::run::scheduling::Scheduling;
use crate::run::tap::{OpenTap, TapHandle};
use crate::run::worker::{Arrival, Output, Side, TapSink};
use crate::{Error, Running, ServerName, SessionInfo};
use acton_udp::{Destination, UdpSocket};

/// Silence after which the server counts as lost, in keepalive intervals, as in 0.1.1.
const KEEPALIVES_TO_LOSE: u32 = 3;

/// Starts a client on a TAP and a socket that are ready.
pub(crate) fn start(
    server: ServerName,
    keepalive: Duration,
    tap: OpenTap,
    socket: UdpSocket,
    scheduling: Scheduling,
) -> Result<Running, Error> {
    let link = Arc::new(Link::default());
    let mut launch = Launch::new(vec![socket], &tap, scheduling)?;
    let handle = TapHandle::of(&tap.queues[0])?;
    for queue in tap.queues {
        let link = Arc::clone(&link);
        launch.worker(queue, |outbox, counters| ClientSide {
            link,
            server: Destination::connected(),
            cut: Cut::default(),
            counters,
            outbox,
        })?;
    }
    let mut protocol = ClientConfig::default();
    protocol.keepalive = keepalive;
    protocol.dead_after = keepalive * KEEPALIVES_TO_LOSE;
    // Only timers are spread by it, so that clients of one server do not move in step.
    let seed = RandomState::new().hash_one(tap.interface.name());
    let control = ClientControl {
        machine: plain::Client::new(protocol, seed, clock::now()),
        dial: Dial::new(server, launch.socket()?, launch.sender(), News::LookedUp, true),
        tap: handle,
        link: Arc::clone(&link),
        counters: launch.counters(),
    };
    let peer = control.dial.peer();
    let sessions = Arc::new(move || {
        let open = peer.lock().filter(|_| link.connected.load(Ordering::Relaxed));
        let info = |address| SessionInfo { number: 0, address, macs: Vec::new() };
        open.map(info).into_iter().collect()
    });
    launch.control(sessions, move |inbox| control.run(inbox))
}

/// What the control thread and the workers tell one another.
#[derive(Default)]
struct Link {
    connected: AtomicBool,
    /// When a frame last came, in nanoseconds of the engine's clock.
    last_frame: AtomicU64,
}

/// What a worker passes to the control thread.
enum News {
    Control(Control),
    NetworkError,
    LookedUp(io::Result<Vec<SocketAddr>>),
}

/// The client's part of a worker.
struct ClientSide {
    link: Arc<Link>,
    server: Destination,
    cut: Cut,
    counters: Arc<Counters>,
    outbox: Outbox<News>,
}

impl Side for ClientSide {
    fn send(&mut self, frames: &mut FrameBatch, _: Duration, out: &mut Output<'_>) {
        if !self.link.connected.load(Ordering::Relaxed) {
            self.counters.add(Counter::NotConnected, frames.len() as u64);
            return;
        }
        self.cut.fill(frames, &self.counters);
        let mut batch = out.batch();
        for parts in self.cut.parts(frames, 0..frames.len()) {
            batch.push_parts(&self.server, parts);
        }
        batch.finish();
    }

    fn receive<'f>(
        &mut self,
        _: &Arrival,
        datagram: &'f mut [u8],
        now: Duration,
        tap: &mut impl TapSink<'f>,
    ) {
        match Datagram::parse(datagram) {
            Ok(Datagram::Frame(frame)) => {
                self.link.last_frame.store(now.as_nanos() as u64, Ordering::Relaxed);
                if self.link.connected.load(Ordering::Relaxed) {
                    tap.write(frame, &Headers::parse(frame), Trust::Verify);
                } else {
                    self.counters.add(Counter::NoSession, 1);
                }
            }
            Ok(Datagram::Control(control)) => {
                self.outbox.post(News::Control(control));
            }
            Err(_) => self.counters.add(Counter::UnknownControl, 1),
        }
    }

    fn network_error(&mut self, error: &io::Error) {
        log::debug!("UDP: {error}");
        self.outbox.post(News::NetworkError);
    }
}

/// The client's control thread: it connects, and connects again.
struct ClientControl {
    machine: plain::Client,
    dial: Dial<News>,
    tap: TapHandle,
    link: Arc<Link>,
    counters: Arc<Counters>,
}

impl ClientControl {
    fn run(mut self, inbox: &Receiver<Message<News>>) -> Result<(), Error> {
        self.settle();
        let ended = loop {
            let message = next_message(inbox, self.machine.poll_timeout());
            let now = clock::now();
            match message {
                Some(Message::News(News::Control(control))) => {
                    self.machine.handle_input(now, &Datagram::Control(control));
                }
                Some(Message::News(News::NetworkError)) => self.machine.handle_network_error(now),
                Some(Message::News(News::LookedUp(result))) => {
                    self.dial.looked_up(result, self.machine.is_connected());
                }
                Some(Message::Reload) => {}
                Some(Message::Failed(error)) => break Err(error),
                Some(Message::Stop) => break Ok(()),
                None => {}
            }
            let last_frame = self.link.last_frame.load(Ordering::Relaxed);
            self.machine.touch(Duration::from_nanos(last_frame));
            self.machine.handle_timeout(now);
            self.settle();
        };
        self.machine.close();
        self.settle();
        ended
    }

    fn settle(&mut self) {
        while let Some(event) = self.machine.poll_event() {
            match event {
                ClientEvent::Connecting { attempt } => self.dial.connect(attempt),
                ClientEvent::Connected { rtt } => {
                    self.set_connected(true);
                    let rtt = rtt.map(|rtt| format!(" in {:.1} ms", rtt.as_secs_f64() * 1e3));
                    log::info!("connected to {}{}", self.dial.text(), rtt.unwrap_or_default());
                }
                ClientEvent::Lost { silent_for } => {
                    self.set_connected(false);
                    log::warn!(
                        "lost {}: silent for {:.0} s; connecting again",
                        self.dial.text(),
                        silent_for.as_secs_f64()
                    );
                }
                ClientEvent::Closed => {
                    if self.link.connected.load(Ordering::Relaxed) {
                        log::info!("said BYE to {}", self.dial.text());
                    }
                    self.set_connected(false);
                }
                _ => {}
            }
        }
        if self.dial.is_ready()
            && let Some(control) = self.machine.poll_transmit()
            && let Err(error) = self.dial.send(control.as_bytes())
        {
            self.counters.add_unsent(&error);
        }
    }

    fn set_connected(&self, connected: bool) {
        self.link.connected.store(connected, Ordering::Relaxed);
        self.tap.set_carrier(connected);
    }
}
