//! Starts the threads of a tunnel.

use std::mem;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use acton_tap::Stop;
use acton_udp::UdpSocket;
use parking_lot::Mutex;

use crate::Error;
use crate::capture::desk::CaptureDesk;
use crate::capture::recorder::Recorder;
use crate::floods::news::FloodReporter;
use crate::observe::counters::Counters;
use crate::observe::event::EventKind;
use crate::observe::event_log::EventLog;
use crate::observe::status::{Protocol, Report, Role};
use crate::run::clock;
use crate::run::control::{self, Controller, INBOX_LEN, Message, Outbox};
use crate::run::handle::{BridgeAccess, Handle, Shared, orders};
use crate::run::running::Running;
use crate::run::scheduling::Scheduling;
use crate::run::side::Side;
use crate::run::tap::OpenTap;
use crate::run::tap_interface::TapInterface;
use crate::run::threads::{self, ThreadKind};
use crate::run::worker::{NEWS_INTERVAL, Worker};
use crate::run::workers::Workers;
use crate::sessions::sighting::Sightings;
use crate::throttle::Throttle;

/// A tunnel in the making: its workers run, its control thread does not yet.
pub(crate) struct Launch<N> {
    role: Role,
    protocol: Protocol,
    /// One a worker; a client's workers share one.
    sockets: Vec<UdpSocket>,
    scheduling: Scheduling,
    sender: SyncSender<Message<N>>,
    inbox: Receiver<Message<N>>,
    stop: Stop,
    workers: Workers,
    /// The control thread's first, then the workers'.
    counters: Vec<Arc<Counters>>,
    events: Arc<EventLog>,
    captures: Arc<CaptureDesk>,
}

/// What a worker is given beside its TAP queue and its socket.
pub(crate) struct Post<N> {
    pub(crate) outbox: Outbox<N>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) sightings: Sightings,
    pub(crate) floods: FloodReporter,
    /// The number of its thread among those that count; 0 is the control thread.
    pub(crate) thread: usize,
}

impl<N: Send + 'static> Launch<N> {
    /// A tunnel whose workers take `sockets` in turn.
    pub(crate) fn new(
        role: Role,
        protocol: Protocol,
        sockets: Vec<UdpSocket>,
        scheduling: Scheduling,
    ) -> Result<Self, Error> {
        let (sender, inbox) = mpsc::sync_channel(INBOX_LEN);
        let stop = Stop::new().map_err(Error::system("make an eventfd"))?;
        Ok(Self {
            role,
            protocol,
            sockets,
            scheduling,
            sender,
            inbox,
            workers: Workers::new(stop.clone()),
            stop,
            counters: vec![Arc::new(Counters::new())],
            events: EventLog::new(protocol),
            captures: CaptureDesk::new(),
        })
    }

    /// The control thread's counters.
    pub(crate) fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters[0])
    }

    /// The workers' counters.
    pub(crate) fn worker_counters(&self) -> Vec<Arc<Counters>> {
        self.counters[1..].to_vec()
    }

    /// Where events are told.
    pub(crate) fn events(&self) -> Arc<EventLog> {
        Arc::clone(&self.events)
    }

    /// A handle of the socket for the control thread.
    pub(crate) fn socket(&self) -> Result<UdpSocket, Error> {
        self.socket_of(0)
    }

    /// A handle of the socket of worker number `worker`.
    fn socket_of(&self, worker: usize) -> Result<UdpSocket, Error> {
        let socket = &self.sockets[worker % self.sockets.len()];
        socket.try_clone().map_err(Error::system("duplicate the UDP socket"))
    }

    /// A way to the control thread.
    pub(crate) fn sender(&self) -> SyncSender<Message<N>> {
        self.sender.clone()
    }

    /// Starts a worker on each of the TAP's queues, and gives what is left of the TAP.
    pub(crate) fn workers<S: Side + Send + 'static>(
        &mut self,
        tap: OpenTap,
        mut side: impl FnMut(Post<N>) -> S,
    ) -> Result<Arc<TapInterface>, Error> {
        let OpenTap { interface, queues, offloads } = tap;
        for queue in queues {
            let thread = self.counters.len();
            let counters = Arc::new(Counters::new());
            self.counters.push(Arc::clone(&counters));
            let outbox = Outbox { sender: self.sender.clone(), counters: Arc::clone(&counters) };
            let sightings = Sightings::new(self.sender.clone());
            let floods = FloodReporter::new(self.sender.clone());
            let post = Post { outbox, counters: Arc::clone(&counters), sightings, floods, thread };
            let worker = Worker {
                tap_name: interface.name().to_owned(),
                queue,
                offloads,
                scheduling: self.scheduling,
                socket: self.socket_of(thread - 1)?,
                stop: self.stop.clone(),
                side: side(post),
                errors: Throttle::new(NEWS_INTERVAL),
                hints: Throttle::new(NEWS_INTERVAL),
                recorder: Recorder::new(Arc::clone(&self.captures)),
                counters,
            };
            self.workers.spawn(worker, self.sender.clone())?;
        }
        Ok(Arc::new(interface))
    }

    /// Starts the control thread, which runs `control` and then ends the workers.
    pub(crate) fn control<C: Controller<News = N> + Send + 'static>(
        self,
        interface: Arc<TapInterface>,
        bridge: Option<BridgeAccess>,
        control: C,
    ) -> Result<Running, Error> {
        let local_addr =
            self.sockets[0].local_addr().map_err(Error::system("read the UDP address"))?;
        let handle = Handle::new(Shared {
            order: orders(self.sender),
            role: self.role,
            protocol: self.protocol,
            tap_queues: self.counters.len() - 1,
            counters: self.counters,
            events: Arc::clone(&self.events),
            captures: self.captures,
            bridge,
            interface,
            sockets: Mutex::new(self.sockets),
            local_addr,
            started: clock::now(),
            settings: Mutex::new(control.settings()),
            control_thread: OnceLock::new(),
            last: OnceLock::new(),
        });
        let (inbox, workers, events) = (self.inbox, self.workers, self.events);
        let closing = Closing { handle: handle.clone(), last: Report::default() };
        let run = move || {
            // The inbox goes first, also in a panic: a worker that fails then must not wait for
            // room in it while it is waited for.
            let mut closing = closing;
            let _workers = workers;
            let inbox = inbox;
            closing.handle.set_control_thread();
            let (ended, last) = control::run(control, &inbox, &closing.handle);
            closing.last = last;
            if let Err(error) = &ended {
                let error = error.to_string();
                events.tell(clock::now(), EventKind::Failed { error });
            }
            ended
        };
        let thread = threads::spawn("acton-control", ThreadKind::Control, run)
            .map_err(Error::system("start the control thread"))?;
        Ok(Running::new(thread, handle))
    }
}

/// Says that the tunnel has ended, however it did.
struct Closing {
    handle: Handle,
    /// How the sessions were then.
    last: Report,
}

impl Drop for Closing {
    fn drop(&mut self) {
        if thread::panicking() {
            self.handle.tell_panic();
        }
        self.handle.close(mem::take(&mut self.last));
    }
}

/// The earlier of a time and one that may not be.
pub(crate) fn earliest(time: Duration, other: Option<Duration>) -> Duration {
    other.map_or(time, |other| other.min(time))
}
