//! Starts the threads of a tunnel.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;

use acton_tap::{Offloads, Queue, Stop};

use crate::Error;
use crate::observe::counters::Counters;
use crate::run::running::{INBOX_LEN, Message, Outbox, Running, SessionsReader, Stopper, Workers};
use crate::run::scheduling::Scheduling;
use crate::run::tap::OpenTap;
use crate::run::worker::{Rarely, Side, Worker};
use acton_udp::UdpSocket;

/// A tunnel in the making: its workers run, its control thread does not yet.
pub(crate) struct Launch<M> {
    /// One a worker; a client's workers share one.
    sockets: Vec<UdpSocket>,
    tap_name: String,
    offloads: Offloads,
    scheduling: Scheduling,
    sender: SyncSender<Message<M>>,
    inbox: Receiver<Message<M>>,
    stop: Stop,
    workers: Workers,
    /// The control thread's first, then the workers'.
    counters: Vec<Arc<Counters>>,
}

impl<M: Send + 'static> Launch<M> {
    /// A tunnel whose workers take `sockets` in turn.
    pub(crate) fn new(
        sockets: Vec<UdpSocket>,
        tap: &OpenTap,
        scheduling: Scheduling,
    ) -> Result<Self, Error> {
        let (sender, inbox) = mpsc::sync_channel(INBOX_LEN);
        let stop = Stop::new().map_err(Error::system("make an eventfd"))?;
        Ok(Self {
            sockets,
            tap_name: tap.interface.name().to_owned(),
            offloads: tap.offloads,
            scheduling,
            sender,
            inbox,
            workers: Workers::new(stop.clone()),
            stop,
            counters: vec![Arc::new(Counters::new())],
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
    pub(crate) fn sender(&self) -> SyncSender<Message<M>> {
        self.sender.clone()
    }

    /// Starts a worker on `queue`.
    pub(crate) fn worker<S: Side + Send + 'static>(
        &mut self,
        queue: Queue,
        side: impl FnOnce(Outbox<M>, Arc<Counters>) -> S,
    ) -> Result<(), Error> {
        let socket = self.socket_of(self.counters.len() - 1)?;
        let counters = Arc::new(Counters::new());
        self.counters.push(Arc::clone(&counters));
        let outbox = Outbox { sender: self.sender.clone(), counters: Arc::clone(&counters) };
        let worker = Worker {
            tap_name: self.tap_name.clone(),
            queue,
            offloads: self.offloads,
            scheduling: self.scheduling,
            socket,
            stop: self.stop.clone(),
            side: side(outbox, Arc::clone(&counters)),
            errors: Rarely::default(),
            hints: Rarely::default(),
            counters,
        };
        self.workers.spawn(worker, self.sender.clone())
    }

    /// Starts the control thread, which runs `control` and then ends the workers.
    pub(crate) fn control(
        self,
        sessions: SessionsReader,
        control: impl FnOnce(&Receiver<Message<M>>) -> Result<(), Error> + Send + 'static,
    ) -> Result<Running, Error> {
        let local_addr =
            self.sockets[0].local_addr().map_err(Error::system("read the UDP address"))?;
        let (inbox, workers) = (self.inbox, self.workers);
        let thread = thread::Builder::new()
            .name("acton-control".to_owned())
            .spawn(move || {
                // The inbox goes first, also in a panic: a worker that fails then must not wait for
                // room in it while it is waited for.
                let _workers = workers;
                let inbox = inbox;
                control(&inbox)
            })
            .map_err(Error::system("start the control thread"))?;
        Ok(Running {
            control: Some(thread),
            stopper: Stopper::new(self.sender),
            counters: self.counters,
            sessions,
            tap_name: self.tap_name,
            local_addr,
        })
    }
}
