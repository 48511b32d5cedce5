//! A way to watch a tunnel that runs, and to steer it.

use std::fmt;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::sync::{Arc, OnceLock};
use std::thread::{self, ThreadId};
use std::time::{Duration, SystemTime};

use acton_bridge::Bridge;
use acton_udp::UdpSocket;
use parking_lot::Mutex;

use crate::Error;
use crate::capture::desk::CaptureDesk;
use crate::floods::shared::Floods;
use crate::observe::counters::{Counters, Totals};
use crate::observe::event::EventKind;
use crate::observe::event_log::{EventLog, Events};
use crate::observe::pulse::Pulse;
use crate::observe::status::{
    BridgeReport, Listing, Protocol, Report, Role, SCHEMA, SocketReport, Status, TapReport,
};
use crate::observe::tally::Traffic;
use crate::run::clock;
use crate::run::control::{Message, Order};
use crate::run::pages::{self, StatusPages};
use crate::run::tap_interface::TapInterface;
use crate::run::threads::{self, ThreadKind};
use crate::sessions::names::SessionNames;
use crate::sessions::port::LeafId;
use crate::settings::{Applied, Settings};

/// Watches and steers a tunnel that runs, from any thread and for as long as one likes; it does not
/// keep the tunnel alive. Clones are cheap.
///
/// What runs on the tunnel's own control thread ([`Admit`](crate::Admit), a key log) can ask
/// it nothing, for it would wait for itself: [`apply`](Self::apply) is an error there, and a
/// [`status`](Self::status) has no sessions.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

/// What can be known of a tunnel without asking its control thread.
pub(crate) struct Shared {
    pub(crate) order: Box<dyn Fn(Order) -> bool + Send + Sync>,
    pub(crate) role: Role,
    pub(crate) protocol: Protocol,
    pub(crate) counters: Vec<Arc<Counters>>,
    pub(crate) events: Arc<EventLog>,
    pub(crate) captures: Arc<CaptureDesk>,
    pub(crate) bridge: Option<BridgeAccess>,
    pub(crate) interface: Arc<TapInterface>,
    pub(crate) tap_queues: usize,
    /// Empty once the tunnel has ended, so that its port is free.
    pub(crate) sockets: Mutex<Vec<UdpSocket>>,
    pub(crate) local_addr: SocketAddr,
    pub(crate) started: Duration,
    /// Those that hold now.
    pub(crate) settings: Mutex<Settings>,
    pub(crate) control_thread: OnceLock<ThreadId>,
    /// Set once the tunnel has ended.
    pub(crate) last: OnceLock<Status>,
}

/// A server's bridge, and who its leaves are.
pub(crate) struct BridgeAccess {
    pub(crate) bridge: Arc<Bridge<LeafId>>,
    pub(crate) names: Arc<dyn SessionNames>,
    pub(crate) floods: Arc<Floods>,
}

/// A way to give orders to the control thread that `control` leads to; `false` where that is gone.
pub(crate) fn orders<N: Send + 'static>(
    control: SyncSender<Message<N>>,
) -> Box<dyn Fn(Order) -> bool + Send + Sync> {
    Box::new(move |order| control.send(Message::Order(order)).is_ok())
}

/// How long a list of clients may take that somebody waits for: one of 65,536 takes less than a second.
const LIST_PATIENCE: Duration = Duration::from_secs(10);

impl Handle {
    pub(crate) fn new(shared: Shared) -> Self {
        Self { shared: Arc::new(shared) }
    }

    /// Has the tunnel say goodbye and end. More than once is no harm.
    pub fn stop(&self) {
        self.order(Order::Stop);
    }

    /// Has a server look at once whether who gets in has changed; it looks by itself several times a
    /// second.
    pub fn reload(&self) {
        self.order(Order::Reload(None));
    }

    /// The same, and waits for what comes of it: how many clients the list has that is in force now, or
    /// why the one before stays. `None` where there is no list, and on the control thread itself.
    #[must_use]
    pub fn reload_list(&self) -> Option<Result<usize, String>> {
        if self.is_control_thread() {
            self.reload();
            return None;
        }
        let (answer, answered) = mpsc::sync_channel(1);
        (self.shared.order)(Order::Reload(Some(answer)));
        match answered.recv_timeout(LIST_PATIENCE) {
            Ok(outcome) => outcome.transpose(),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                Some(Err("it is still being read: acton events tells what comes of it".to_owned()))
            }
        }
    }

    /// Gives an order that has no answer. A tunnel that has ended needs none.
    fn order(&self, order: Order) {
        if !self.is_control_thread() {
            (self.shared.order)(order);
            return;
        }
        // Where the queue is full, the one that empties it must not wait for room.
        let shared = Arc::clone(&self.shared);
        let give = move || (shared.order)(order);
        if let Err(error) = threads::spawn("acton-order", ThreadKind::Other, give) {
            log::warn!("cannot start a thread to give the tunnel an order: {error}");
        }
    }

    /// Gives an order from another thread than the control thread.
    pub(crate) fn give(&self, order: Order) {
        (self.shared.order)(order);
    }

    /// Takes new settings as far as a tunnel that runs can, and says what became of each that
    /// differs. Sessions go on, but for those of plain mode from where no client is allowed any more.
    ///
    /// [`Settings::compare`] says beforehand what would become of them.
    ///
    /// # Errors
    /// Where the settings are of the other end or another mode, the system refuses one of them, the
    /// tunnel has ended, or this is its control thread. Then all stays as it was.
    pub fn apply(&self, settings: Settings) -> Result<Applied, Error> {
        if self.is_control_thread() {
            return Err(Error::ControlThread);
        }
        let (answer, answered) = mpsc::sync_channel(1);
        (self.shared.order)(Order::Apply(Box::new(settings), answer));
        answered.recv().unwrap_or(Err(Error::Ended))
    }

    /// The settings that hold now: those of the start, with what [`apply`](Self::apply) took since.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.shared.settings.lock().clone()
    }

    /// Asks the control thread at what the workers are, and waits for its answer, which never comes
    /// where that thread hangs. `None` once the tunnel has ended, and on the control thread itself.
    #[must_use]
    pub fn pulse(&self) -> Option<Pulse> {
        if self.is_control_thread() {
            return None;
        }
        let (answer, answered) = mpsc::sync_channel(1);
        (self.shared.order)(Order::Pulse(answer));
        answered.recv().ok()
    }

    /// At what the workers are.
    pub(crate) fn worker_beats(&self) -> Pulse {
        // The first counters are the control thread's.
        Pulse::new(self.shared.counters[1..].iter().map(|worker| worker.beats()).collect())
    }

    /// The name that the TAP has got.
    #[must_use]
    pub fn tap_name(&self) -> &str {
        self.shared.interface.name()
    }

    /// Which end of the tunnel this is.
    #[must_use]
    pub fn role(&self) -> Role {
        self.shared.role
    }

    /// What it speaks.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.shared.protocol
    }

    /// The TAP as it is now.
    pub(crate) fn tap(&self) -> TapReport {
        tap_report(&self.shared.interface, self.shared.tap_queues)
    }

    /// The UDP address that the tunnel is bound to.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.local_addr
    }

    /// What has been counted so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        Totals::of(&self.shared.counters)
    }

    /// What happens from event number `after` + 1 on: 0 for all that is still kept, or the number of
    /// the last one read. Numbers begin at 1 in each run.
    #[must_use]
    pub fn events(&self, after: u64) -> Events {
        Events::after(Arc::clone(&self.shared.events), after)
    }

    /// How the tunnel is now, or was when it ended. No worker stops for it.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status_pages().whole()
    }

    /// The same with the sessions a page at a time: with thousands of them, the control thread is
    /// then never busy with it for long.
    #[must_use]
    pub fn status_pages(&self) -> StatusPages {
        StatusPages::new(self.clone())
    }

    /// The same with one session, by the client's name, its UDP address or the session's number;
    /// where none has that name now, with those that are over or about to begin.
    #[must_use]
    pub fn status_of(&self, session: &str) -> StatusPages {
        StatusPages::of(self.clone(), session)
    }

    /// The status without what the control thread knows.
    pub(crate) fn head(&self) -> Status {
        let shared = &*self.shared;
        if let Some(last) = shared.last.get() {
            return Status { sessions: Vec::new(), ..last.clone() };
        }
        // First: what happens meanwhile is still to be read, and until the tunnel has ended the TAP
        // is there, whose name may be another's as soon as it is gone.
        let last_event = shared.events.newest();
        self.head_of(last_event, self.tap())
    }

    fn head_of(&self, last_event: u64, tap: TapReport) -> Status {
        let shared = &*self.shared;
        let no_macs = BridgeReport {
            root_macs: 0,
            client_macs: 0,
            budgets_acting: Vec::new(),
            draining: false,
            drain_ordered: false,
            uplinks_down: Vec::new(),
            uplinks_missing: Vec::new(),
            listed: None,
            list_error: None,
            no_list: false,
            uplinks_settled_in: None,
            multicast: self.multicast(),
        };
        Status {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION").into(),
            time: SystemTime::now(),
            running_for: clock::now().saturating_sub(shared.started),
            role: shared.role,
            protocol: shared.protocol,
            tap,
            sockets: self.socket_reports(),
            bridge: shared.bridge.as_ref().map(|_| no_macs),
            sessions: Vec::new(),
            traffic: Traffic::default(),
            totals: self.totals(),
            last_event,
            ended: false,
        }
    }

    /// Which list of clients is in force; `None` once the tunnel has ended.
    #[must_use]
    pub fn listing(&self) -> Option<Listing> {
        Some(self.report(0..0)?.listing)
    }

    /// What the control thread knows of these slots; `None` once the tunnel has ended.
    pub(crate) fn report(&self, slots: Range<usize>) -> Option<Report> {
        if self.shared.last.get().is_some() {
            return None;
        }
        if self.is_control_thread() {
            return Some(Report::default());
        }
        let (answer, answered) = mpsc::sync_channel(1);
        (self.shared.order)(Order::Report(slots, answer));
        answered.recv().ok()
    }

    /// How the tunnel was when it ended, which it has or is about to.
    pub(crate) fn last(&self) -> Status {
        self.shared.last.wait().clone()
    }

    /// A server's bridge.
    pub(crate) fn bridge(&self) -> Option<&Bridge<LeafId>> {
        Some(&*self.shared.bridge.as_ref()?.bridge)
    }

    /// What a server's budgets are, and what was flooded from its root.
    pub(crate) fn floods(&self) -> Option<&Floods> {
        Some(&*self.shared.bridge.as_ref()?.floods)
    }

    /// The number of the newest event.
    pub(crate) fn newest_event(&self) -> u64 {
        self.shared.events.newest()
    }

    /// Tells that something happened.
    pub(crate) fn tell(&self, kind: EventKind) {
        self.shared.events.tell(clock::now(), kind);
    }

    /// What each thread counts.
    pub(crate) fn counters(&self) -> &[Arc<Counters>] {
        &self.shared.counters
    }

    /// Where captures are asked for.
    pub(crate) fn captures(&self) -> &Arc<CaptureDesk> {
        &self.shared.captures
    }

    /// Whether the tunnel has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.shared.last.get().is_some()
    }

    /// A server's sessions by name.
    pub(crate) fn names(&self) -> Option<&dyn SessionNames> {
        Some(&*self.shared.bridge.as_ref()?.names)
    }

    /// The control thread has taken other settings.
    pub(crate) fn set_settings(&self, settings: Settings) {
        *self.shared.settings.lock() = settings;
    }

    /// Tells what became of new settings, where any of them differs.
    pub(crate) fn tell_applied(&self, now: Duration, applied: &Applied) {
        let Applied { taken, needs_restart } = applied.clone();
        if !taken.is_empty() || !needs_restart.is_empty() {
            self.shared.events.tell(now, EventKind::SettingsApplied { taken, needs_restart });
        }
    }

    /// This thread is the tunnel's control thread.
    pub(crate) fn set_control_thread(&self) {
        // It is set once, by that thread.
        let _ = self.shared.control_thread.set(thread::current().id());
    }

    pub(crate) fn is_control_thread(&self) -> bool {
        self.shared.control_thread.get() == Some(&thread::current().id())
    }

    pub(crate) fn tell_panic(&self) {
        let error = "the control thread panicked, a fault in acton".to_owned();
        self.shared.events.tell(clock::now(), EventKind::Failed { error });
    }

    fn socket_reports(&self) -> Vec<SocketReport> {
        let sockets = self.shared.sockets.lock();
        sockets.iter().map(|socket| socket_report(socket, self.shared.local_addr)).collect()
    }

    /// The tunnel has ended: keeps how it was, and lets go of what others may want now.
    pub(crate) fn close(&self, mut last: Report) {
        last.add_up();
        self.shared.sockets.lock().clear();
        self.shared.interface.restore();
        let (name, queues) = (self.tap_name().to_owned(), self.shared.tap_queues);
        let tap = TapReport {
            name,
            mac: None,
            mtu: None,
            running: None,
            bridge: None,
            lost_bridge: None,
            isolated: None,
            queues,
        };
        let mut head = self.head_of(self.shared.events.newest(), tap);
        if let Some(report) = &mut head.bridge {
            let _behind_clients = pages::macs(self, report);
            report.budgets_acting = last.budgets_acting;
        }
        let (sessions, traffic) = (last.sessions, last.traffic);
        let last = Status { ended: true, sessions, traffic, ..head };
        // Nobody else ends it.
        let _ = self.shared.last.set(last);
        self.shared.events.end();
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("tap_name", &self.tap_name())
            .field("local_addr", &self.local_addr())
            .finish_non_exhaustive()
    }
}

fn tap_report(interface: &TapInterface, queues: usize) -> TapReport {
    // Of an interface that is gone nothing is known, nor that it is no port.
    let bridge = interface.bridge().ok();
    let wanted = bridge.as_ref().and_then(|_| interface.wanted_bridge());
    let bridge = bridge.flatten();
    TapReport {
        name: interface.name().to_owned(),
        mac: interface.mac().ok(),
        mtu: interface.mtu().ok(),
        running: interface.is_running().ok(),
        lost_bridge: wanted.filter(|wanted| bridge.as_ref() != Some(wanted)),
        bridge,
        isolated: interface.is_isolated().ok().flatten(),
        queues,
    }
}

fn socket_report(socket: &UdpSocket, local: SocketAddr) -> SocketReport {
    let kernel = socket.kernel_statistics().ok();
    SocketReport {
        local,
        kernel_drops: kernel.map(|kernel| kernel.dropped),
        receive_buffer: kernel.map(|kernel| kernel.receive_buffer),
        receive_queued: kernel.map(|kernel| kernel.receive_queued),
        send_buffer: kernel.map(|kernel| kernel.send_buffer),
        send_queued: kernel.map(|kernel| kernel.send_queued),
    }
}
