//! A tunnel that runs: how to watch it, stop it and wait for it.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use acton_bridge::{Bridge, Owner};
use acton_tap::Stop;
use pnet_base::MacAddr;

use crate::Error;
use crate::observe::counters::{Counter, Counters, Totals};
use crate::run::clock;
use crate::run::scheduling::pin_to_processor;
use crate::run::worker::{Side, Worker};
use crate::sessions::leaves::{Leaf, LeafId, Leaves, slot};

/// Messages that wait for the control thread at most. A flood of control words past that is
/// dropped by the worker and counted, so that it cannot hold up frames.
pub(crate) const INBOX_LEN: usize = 1_024;

/// What reaches a control thread.
pub(crate) enum Message<M> {
    /// Something rare that a worker came upon.
    News(M),
    /// A worker ended by itself, in error.
    Failed(Error),
    /// The owner wants what can be read again to be read again.
    Reload,
    /// The owner wants the tunnel to end.
    Stop,
}

/// A worker's way to its control thread.
pub(crate) struct Outbox<M> {
    pub(crate) sender: SyncSender<Message<M>>,
    pub(crate) counters: Arc<Counters>,
}

impl<M> Outbox<M> {
    /// Passes on without waiting; what finds no room is counted. `true` where it was passed on.
    pub(crate) fn post(&self, news: M) -> bool {
        let posted = self.sender.try_send(Message::News(news));
        if let Err(TrySendError::Full(_)) = posted {
            self.counters.add(Counter::ControlBusy, 1);
        }
        posted.is_ok()
    }
}

/// The next message, or `None` once the clock shows `due`.
pub(crate) fn next_message<M>(
    inbox: &Receiver<Message<M>>,
    due: Option<Duration>,
) -> Option<Message<M>> {
    let Some(due) = due else {
        return Some(inbox.recv().unwrap_or(Message::Stop));
    };
    match inbox.recv_timeout(due.saturating_sub(clock::now())) {
        Ok(message) => Some(message),
        Err(RecvTimeoutError::Timeout) => None,
        Err(RecvTimeoutError::Disconnected) => Some(Message::Stop),
    }
}

/// The worker threads of one tunnel.
pub(crate) struct Workers {
    stop: Stop,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    pub(crate) fn new(stop: Stop) -> Self {
        Self { stop, threads: Vec::new() }
    }

    /// Starts a worker; should it fail, the control thread hears of it.
    pub(crate) fn spawn<S: Side + Send + 'static, M: Send + 'static>(
        &mut self,
        worker: Worker<S>,
        control: SyncSender<Message<M>>,
    ) -> Result<(), Error> {
        let number = self.threads.len();
        let name = format!("acton-worker-{number}");
        let thread = thread::Builder::new()
            .name(name)
            .spawn(move || {
                if worker.scheduling.pin
                    && let Err(error) = pin_to_processor(number)
                {
                    log::warn!("worker {number} is not pinned to a processor: {error}");
                }
                // A tunnel that goes on without one of its workers would be a lie.
                let ended = panic::catch_unwind(AssertUnwindSafe(|| worker.run()));
                if let Err(error) = ended.unwrap_or(Err(Error::WorkerPanicked)) {
                    // A control thread that is gone needs no news.
                    let _ = control.send(Message::Failed(error));
                }
            })
            .map_err(Error::system("start a worker thread"))?;
        self.threads.push(thread);
        Ok(())
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop.stop();
        for thread in self.threads.drain(..) {
            // What it failed with, it has told.
            let _ = thread.join();
        }
    }
}

/// Ends a running tunnel from any thread.
#[derive(Clone)]
pub struct Stopper {
    post: Arc<dyn Fn(Order) + Send + Sync>,
}

/// What the owner of a tunnel wants.
enum Order {
    Stop,
    Reload,
}

impl Stopper {
    pub(crate) fn new<M: Send + 'static>(control: SyncSender<Message<M>>) -> Self {
        Self {
            post: Arc::new(move |order| {
                // A tunnel that has ended needs no orders.
                let _ = control.send(match order {
                    Order::Stop => Message::Stop,
                    Order::Reload => Message::Reload,
                });
            }),
        }
    }

    /// Has the tunnel say goodbye and end. More than once is no harm.
    pub fn stop(&self) {
        (self.post)(Order::Stop);
    }

    /// Has a server read its list of clients again at once; it looks by itself several times a
    /// second whether that has changed.
    pub fn reload(&self) {
        (self.post)(Order::Reload);
    }
}

impl fmt::Debug for Stopper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stopper").finish_non_exhaustive()
    }
}

/// One open session.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionInfo {
    /// Its number at the server; 0 at a client.
    pub number: usize,
    /// The UDP address at the other end.
    pub address: SocketAddr,
    /// The MACs learnt from there; a client learns none.
    pub macs: Vec<MacAddr>,
}

pub(crate) type SessionsReader = Arc<dyn Fn() -> Vec<SessionInfo> + Send + Sync>;

/// The open sessions of a server and the MACs behind them.
pub(crate) fn read_sessions<L: Leaf>(
    leaves: &Leaves<L>,
    bridge: &Bridge<LeafId>,
    address: impl Fn(&L) -> SocketAddr,
) -> Vec<SessionInfo> {
    let mut macs: HashMap<LeafId, Vec<MacAddr>> = HashMap::new();
    for entry in bridge.entries(clock::now()) {
        if let Owner::Leaf(id) = entry.owner {
            macs.entry(id).or_default().push(entry.mac);
        }
    }
    let info = |leaf: &Arc<L>| SessionInfo {
        number: slot(leaf.id()),
        address: address(leaf),
        macs: macs.remove(&leaf.id()).unwrap_or_default(),
    };
    leaves.iter().map(info).collect()
}

/// A tunnel that runs. Dropping it ends the tunnel.
pub struct Running {
    pub(crate) control: Option<JoinHandle<Result<(), Error>>>,
    pub(crate) stopper: Stopper,
    pub(crate) counters: Vec<Arc<Counters>>,
    pub(crate) sessions: SessionsReader,
    pub(crate) tap_name: String,
    pub(crate) local_addr: SocketAddr,
}

impl Running {
    /// A handle that ends the tunnel.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// The name that the TAP has got.
    pub fn tap_name(&self) -> &str {
        &self.tap_name
    }

    /// The UDP address that the tunnel is bound to.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The open sessions: a server's clients, or a client's one session with its server.
    pub fn sessions(&self) -> Vec<SessionInfo> {
        (self.sessions)()
    }

    /// What has been counted so far.
    pub fn totals(&self) -> Totals {
        Totals::of(&self.counters)
    }

    /// A way to read the counters from another thread, also while [`wait`](Self::wait) waits.
    pub fn totals_reader(&self) -> impl Fn() -> Totals + Send + 'static {
        let counters = self.counters.clone();
        move || Totals::of(&counters)
    }

    /// Waits until the tunnel has ended, by its stopper or in error.
    ///
    /// # Errors
    /// Why it could not go on.
    pub fn wait(mut self) -> Result<Totals, Error> {
        self.join()?;
        Ok(self.totals())
    }

    fn join(&mut self) -> Result<(), Error> {
        let Some(control) = self.control.take() else { return Ok(()) };
        control.join().unwrap_or_else(|panic| panic::resume_unwind(panic))
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("tap_name", &self.tap_name)
            .field("local_addr", &self.local_addr)
            .finish_non_exhaustive()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.control.is_some() {
            self.stopper.stop();
            if let Err(error) = self.join() {
                log::error!("{error}");
            }
        }
    }
}
