//! How far a tunnel is, by its events.

use acton_engine::{EventKind, Role};

/// How far a tunnel is.
#[derive(Debug)]
pub(super) enum Progress {
    /// A server with so many sessions.
    Serving { place: String, open: usize },
    /// A client that has had no session yet.
    Trying(String),
    /// A client that has a session, or had one and is to have another.
    Joined(String),
}

impl Progress {
    /// That of a tunnel that has just started; `place` is where a server listens.
    pub(super) fn new(role: Role, place: String) -> Self {
        match role {
            Role::Server => Self::Serving { place, open: 0 },
            Role::Client => Self::Trying("looking for the server".to_owned()),
        }
    }

    /// Whether the tunnel is what its user started it for: a server that can be reached, a client
    /// that was let in.
    pub(super) fn is_ready(&self) -> bool {
        !matches!(self, Self::Trying(_))
    }

    /// Hears of something that happened.
    pub(super) fn take(&mut self, event: &EventKind) {
        if let EventKind::SessionUp { open: now, .. } | EventKind::SessionDown { open: now, .. } =
            event
            && let Self::Serving { open, .. } = self
        {
            *open = *now;
            return;
        }
        let text = match event {
            EventKind::Connected { server, .. } => {
                *self = Self::Joined(format!("connected to {server}"));
                return;
            }
            // What went wrong with an attempt says more than that there is another.
            EventKind::Connecting { server, attempt: 1, .. } if !self.is_ready() => {
                format!("looking for {server}")
            }
            EventKind::Disconnected { server, .. } => format!("lost {server}, trying again"),
            EventKind::Refused { server, .. } => {
                format!("{server} gives no session (the log says why), trying again")
            }
            EventKind::Unreachable { server, error } => format!("{server}: {error}, trying again"),
            EventKind::NothingListens { server } => {
                format!("nothing listens on {server}, trying again")
            }
            _ => return,
        };
        match self {
            Self::Trying(status) | Self::Joined(status) => *status = text,
            Self::Serving { .. } => {}
        }
    }

    /// That in a few words.
    pub(super) fn status(&self) -> String {
        match self {
            Self::Serving { place, open: 1 } => format!("serving on {place}, 1 session"),
            Self::Serving { place, open } => format!("serving on {place}, {open} sessions"),
            Self::Trying(status) | Self::Joined(status) => status.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use acton_engine::{Beginning, EndReason};

    use super::*;

    #[test]
    fn a_server_is_ready_at_once_and_counts_its_sessions() {
        let mut progress = Progress::new(Role::Server, "UDP 192.0.2.1:8080".to_owned());
        assert!(progress.is_ready());
        assert_eq!(progress.status(), "serving on UDP 192.0.2.1:8080, 0 sessions");
        let address = "192.0.2.9:5".parse().unwrap();
        let (client, by) = ("berlin".to_owned(), Beginning::Handshake);
        progress.take(&EventKind::SessionUp { session: 0, client, address, by, open: 1 });
        assert_eq!(progress.status(), "serving on UDP 192.0.2.1:8080, 1 session");
    }

    #[test]
    fn a_client_is_ready_once_it_was_let_in_and_stays_so() {
        let mut progress = Progress::new(Role::Client, String::new());
        let server = || "vpn.example:8080".to_owned();
        progress.take(&EventKind::Connecting { server: server(), attempt: 1, error: None });
        assert!(!progress.is_ready());
        assert_eq!(progress.status(), "looking for vpn.example:8080");
        progress.take(&EventKind::NothingListens { server: server() });
        progress.take(&EventKind::Connecting { server: server(), attempt: 2, error: None });
        assert_eq!(progress.status(), "nothing listens on vpn.example:8080, trying again");
        progress.take(&EventKind::Connected { server: server(), rtt: None });
        assert!(progress.is_ready());
        assert_eq!(progress.status(), "connected to vpn.example:8080");
        let (reason, retry_in) = (EndReason::Silent, Duration::from_secs(1));
        progress.take(&EventKind::Disconnected {
            server: server(),
            reason,
            silent: None,
            retry_in,
        });
        assert!(progress.is_ready());
        assert_eq!(progress.status(), "lost vpn.example:8080, trying again");
    }
}
