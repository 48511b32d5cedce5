//! When a service manager is told how a tunnel gets on, and what.

use std::time::{Duration, Instant};

use acton_engine::EventKind;

use super::progress::Progress;

/// How long a client may look for its server before it counts as started all the same: units that
/// are ordered after it, and with them the boot, wait no longer for a server that is away. It is well
/// within systemd's own limit of 90 s, so that the client is not ended for it.
const READY_AFTER: Duration = Duration::from_secs(20);
/// Least time between two texts of how the tunnel is.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// What a service manager is to be told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// The service is there, and how it is.
    Ready(String),
    /// How it is.
    Status(String),
}

/// What a service manager was told, and when there is more to tell.
#[derive(Debug)]
pub(super) struct Telling {
    progress: Progress,
    ready: bool,
    ready_at: Instant,
    /// The last text.
    told: String,
    /// When there may be another.
    next_status: Instant,
}

impl Telling {
    /// Of a tunnel that starts `now`.
    pub(super) fn new(progress: Progress, now: Instant) -> Self {
        let (told, ready_at) = (String::new(), now + READY_AFTER);
        Self { progress, ready: false, ready_at, told, next_status: now }
    }

    /// Hears of something that happened.
    pub(super) fn take(&mut self, event: &EventKind) {
        self.progress.take(event);
    }

    /// What is to be told now, once.
    pub(super) fn next(&mut self, now: Instant) -> Option<Message> {
        let status = self.progress.status();
        let is_ready = self.progress.is_ready() || self.ready_at <= now;
        let message = if !self.ready && is_ready {
            self.ready = true;
            Message::Ready(status.clone())
        } else if self.told != status && self.next_status <= now {
            Message::Status(status.clone())
        } else {
            return None;
        };
        self.told = status;
        self.next_status = now + STATUS_INTERVAL;
        Some(message)
    }

    /// When there is something to tell though nothing happens.
    pub(super) fn due(&self) -> Option<Instant> {
        let ready = (!self.ready).then_some(self.ready_at);
        let status = (self.told != self.progress.status()).then_some(self.next_status);
        [ready, status].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use acton_engine::Role;

    use super::*;

    #[test]
    fn a_client_whose_server_is_away_counts_as_started_in_the_end_and_goes_on_trying() {
        let start = Instant::now();
        let mut telling = Telling::new(Progress::new(Role::Client, String::new()), start);
        let server = || "vpn.example:8080".to_owned();
        let status = |text: &str| Some(Message::Status(text.to_owned()));
        assert_eq!(telling.next(start), status("looking for the server"));
        telling.take(&EventKind::NothingListens { server: server() });
        assert_eq!(telling.next(start), None, "not twice in a second");
        let (ready_at, second) = (start + READY_AFTER, Duration::from_secs(1));
        assert_eq!(telling.due(), Some(start + second));
        let text = "nothing listens on vpn.example:8080, trying again";
        assert_eq!(telling.next(start + second), status(text));
        assert_eq!(telling.due(), Some(ready_at));
        assert_eq!(telling.next(ready_at - Duration::from_nanos(1)), None);
        // Said as it is: it has no session.
        assert_eq!(telling.next(ready_at), Some(Message::Ready(text.to_owned())));
        assert_eq!((telling.next(ready_at), telling.due()), (None, None));
        let later = ready_at + 60 * second;
        telling.take(&EventKind::Connected { server: server(), rtt: None });
        assert_eq!(telling.next(later), status("connected to vpn.example:8080"));
    }

    #[test]
    fn a_client_that_was_let_in_is_ready_at_once_and_a_server_from_the_start() {
        let start = Instant::now();
        let mut telling = Telling::new(Progress::new(Role::Client, String::new()), start);
        telling.next(start);
        telling.take(&EventKind::Connected { server: "a:1".to_owned(), rtt: None });
        assert_eq!(telling.next(start), Some(Message::Ready("connected to a:1".to_owned())));
        let mut telling = Telling::new(Progress::new(Role::Server, "UDP".to_owned()), start);
        assert!(matches!(telling.next(start), Some(Message::Ready(_))));
    }
}
