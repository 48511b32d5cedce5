//! A thread that tells the service manager how a tunnel gets on.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use acton_engine::{Handle, Pulse, Role};

use super::manager::ServiceManager;
use super::progress::Progress;
use super::telling::{Message, Telling};

/// How long to sleep where nothing is due: an event ends it before.
const IDLE: Duration = Duration::from_secs(60);

impl ServiceManager {
    /// Tells how the tunnel gets on from now until it ends, on a thread of its own.
    ///
    /// # Errors
    /// Where the thread cannot be made.
    pub(crate) fn follow(&self, handle: Handle) -> io::Result<()> {
        if !self.is_there() {
            return Ok(());
        }
        let follower = Follower::new(self.clone(), handle);
        thread::Builder::new().name("acton-service".to_owned()).spawn(move || follower.run())?;
        Ok(())
    }
}

struct Follower {
    manager: ServiceManager,
    handle: Handle,
    telling: Telling,
    watchdog: Option<Watchdog>,
}

impl Follower {
    fn new(manager: ServiceManager, handle: Handle) -> Self {
        let now = Instant::now();
        let place = match handle.role() {
            Role::Server => format!("UDP {}, TAP {}", handle.local_addr(), handle.tap_name()),
            Role::Client => String::new(),
        };
        let telling = Telling::new(Progress::new(handle.role(), place), now);
        let watchdog = manager.watchdog().map(|limit| Watchdog::new(limit, now));
        Self { manager, handle, telling, watchdog }
    }

    fn run(mut self) {
        let mut events = self.handle.events(0);
        loop {
            let now = Instant::now();
            while let Some(event) = events.try_next() {
                self.telling.take(&event.kind);
            }
            match self.telling.next(now) {
                Some(Message::Ready(status)) => self.manager.ready(&status),
                Some(Message::Status(status)) => self.manager.status(&status),
                None => {}
            }
            if let Some(watchdog) = &mut self.watchdog
                && watchdog.due <= now
            {
                watchdog.look(now, &self.handle, &self.manager);
            }
            match events.next_within(self.due().saturating_duration_since(now)) {
                Some(event) => self.telling.take(&event.kind),
                None if events.is_ended() => return,
                None => {}
            }
        }
    }

    /// When there is something to do though nothing happens.
    fn due(&self) -> Instant {
        let watchdog = self.watchdog.as_ref().map(|watchdog| watchdog.due);
        let dues = [self.telling.due(), watchdog].into_iter().flatten();
        dues.min().unwrap_or_else(|| Instant::now() + IDLE)
    }
}

/// What the manager's watchdog hears.
struct Watchdog {
    /// Twice in the manager's time, as sd_watchdog_enabled(3) has it.
    interval: Duration,
    due: Instant,
    before: Option<Pulse>,
}

impl Watchdog {
    fn new(limit: Duration, now: Instant) -> Self {
        Self { interval: limit / 2, due: now, before: None }
    }

    /// Tells the manager that all is well, unless a thread hangs: a control thread that does never
    /// answers, and nothing is told any more.
    fn look(&mut self, now: Instant, handle: &Handle, manager: &ServiceManager) {
        self.due = now + self.interval;
        let Some(pulse) = handle.pulse() else { return };
        let stuck =
            self.before.as_ref().map(|before| pulse.stuck_since(before).collect::<Vec<_>>());
        match stuck.as_deref().and_then(<[usize]>::first) {
            None => manager.alive(),
            Some(worker) => log::error!(
                "worker {worker} has not moved for {} s: the service manager is not told that all is \
                 well, so that it starts acton anew",
                self.interval.as_secs_f64()
            ),
        }
        self.before = Some(pulse);
    }
}
