//! Finds the server's address, again and again, and points the socket at it.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use nix::errno::Errno;

use crate::ServerName;
use crate::observe::event::EventKind;
use crate::observe::event_log::EventLog;
use crate::observe::status::Protocol;
use crate::run::control::Message;
use crate::run::threads::{self, ThreadKind};
use acton_udp::{Destination, UdpSocket};

/// Most addresses from which an answer is taken for the server's.
const MAX_ASKED: usize = 16;
/// Time from a look-up that failed to the next: at first, doubled each time, and at most.
const LOOK_UP_WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Most troubles that are remembered as told.
const MAX_TOLD: usize = 16;

/// What makes a message of what a look-up found.
type News<M> = dyn Fn(io::Result<Vec<SocketAddr>>) -> M + Send + Sync;

/// A client's server: its name, and the address that the socket talks to now.
pub(crate) struct Dial<M> {
    server: ServerName,
    socket: UdpSocket,
    control: SyncSender<Message<M>>,
    /// Makes a message to the control thread of what a look-up found.
    news: Arc<News<M>>,
    peer: Option<SocketAddr>,
    /// The server answered from there, and there is no reason yet to look elsewhere.
    is_pinned: bool,
    /// In plain mode the socket is connected to the peer; else it goes on when this host's own address
    /// changes.
    protocol: Protocol,
    looking_up: bool,
    /// Nobody is told of what comes of the look-up.
    is_quiet: bool,
    /// When the name may be looked up again, and how long to wait after the next failure.
    look_up_at: Duration,
    look_up_wait: Duration,
    /// Why the name was not found.
    not_found: Option<String>,
    /// Troubles that were told since the last session: each is told once.
    told: VecDeque<EventKind>,
    /// Where the server was looked for since it last answered.
    asked: Vec<SocketAddr>,
    /// Why the last datagram to it was not sent.
    unsent: Option<Errno>,
    events: Arc<EventLog>,
}

impl<M: Send + 'static> Dial<M> {
    pub(crate) fn new(
        server: ServerName,
        socket: UdpSocket,
        control: SyncSender<Message<M>>,
        news: impl Fn(io::Result<Vec<SocketAddr>>) -> M + Send + Sync + 'static,
        protocol: Protocol,
        events: Arc<EventLog>,
    ) -> Self {
        Self {
            server,
            socket,
            control,
            news: Arc::new(news),
            peer: None,
            is_pinned: false,
            protocol,
            looking_up: false,
            is_quiet: false,
            look_up_at: Duration::ZERO,
            look_up_wait: LOOK_UP_WAIT.0,
            not_found: None,
            told: VecDeque::new(),
            asked: Vec::new(),
            unsent: None,
            events,
        }
    }

    /// The server as its user names it.
    pub(crate) fn server(&self) -> &ServerName {
        &self.server
    }

    /// The address, where it is known.
    pub(crate) fn peer_address(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Whether the socket points at an address that the server answered from, or no look-up is under
    /// way: what is said before waits.
    pub(crate) fn is_ready(&self) -> bool {
        self.peer.is_some() && (self.is_pinned || !self.looking_up)
    }

    /// The server did not answer from the address where it was: the next is tried.
    pub(crate) fn unpin(&mut self) {
        self.is_pinned = false;
    }

    /// Finds the address anew: it may have changed. `attempt` counts from 1.
    pub(crate) fn connect(&mut self, now: Duration, attempt: u32) {
        if attempt > 1 {
            self.unpin();
            self.tell_connecting(now, attempt);
        }
        if let Some(address) = self.server.literal() {
            return self.connect_to(now, address, attempt == 1);
        }
        self.is_quiet = false;
        self.look_up(now);
    }

    /// Finds the address of a server that is not connected to, which nobody is told of.
    pub(crate) fn find(&mut self, now: Duration) {
        match self.server.literal() {
            Some(address) => self.note_asked(address),
            None if self.looking_up => {}
            None => {
                self.is_quiet = true;
                self.look_up(now);
            }
        }
    }

    fn look_up(&mut self, now: Duration) {
        if self.looking_up || now < self.look_up_at {
            return;
        }
        self.looking_up = true;
        let (name, control) = (self.server.clone(), self.control.clone());
        let news = Arc::clone(&self.news);
        let look_up = move || {
            let _ = control.send(Message::News(news(name.look_up())));
        };
        // A look-up can take many seconds, in which a stop must still be heard.
        if let Err(error) = threads::spawn("acton-dns", ThreadKind::Other, look_up) {
            self.looking_up = false;
            self.tell_unreachable(now, self.server.to_string(), &error);
        }
    }

    /// This host's network is another: a name that was not found may be found now.
    pub(crate) fn look_up_soon(&mut self) {
        self.look_up_at = Duration::ZERO;
        self.look_up_wait = LOOK_UP_WAIT.0;
    }

    /// There is a session: what troubles come from now on is news.
    pub(crate) fn connected(&mut self) {
        self.told.clear();
    }

    /// The network says that nothing listens at the server's address.
    pub(crate) fn refused(&mut self, now: Duration) {
        if self.peer.is_some() {
            self.tell_once(now, EventKind::NothingListens { server: self.text() });
        }
    }

    /// The server answered from there, maybe late, when the next address was tried already.
    pub(crate) fn answered(&mut self, from: SocketAddr) {
        if self.asked.contains(&from) || self.peer == Some(from) {
            self.peer = Some(from);
            self.is_pinned = self.protocol != Protocol::Plain;
        }
        self.asked.clear();
    }

    /// Takes what a look-up found; whether the server is no longer where it answered last. With a
    /// session it comes too late: that stays where it is.
    pub(crate) fn looked_up(
        &mut self,
        now: Duration,
        result: io::Result<Vec<SocketAddr>>,
        connected: bool,
    ) -> bool {
        self.looking_up = false;
        let is_quiet = std::mem::take(&mut self.is_quiet);
        match result {
            Ok(_) if connected => {}
            Ok(addresses) => {
                self.look_up_soon();
                self.not_found = None;
                self.told.retain(|told| !matches!(told, EventKind::Unreachable { .. }));
                let peer = self.peer;
                if self.is_pinned && peer.is_some_and(|peer| addresses.contains(&peer)) {
                    return false;
                }
                let was_pinned = std::mem::take(&mut self.is_pinned);
                // The next one each time, so that one that does not answer is passed over.
                let last = addresses.iter().position(|&address| Some(address) == peer);
                let address = addresses[last.map_or(0, |last| (last + 1) % addresses.len())];
                if is_quiet {
                    self.note_asked(address);
                } else {
                    self.connect_to(now, address, Some(address) != peer);
                }
                return was_pinned;
            }
            Err(error) => {
                self.look_up_at = now + self.look_up_wait;
                self.look_up_wait = (2 * self.look_up_wait).min(LOOK_UP_WAIT.1);
                if !is_quiet {
                    self.not_found = Some(error.to_string());
                    self.tell_unreachable(now, self.server.to_string(), &error);
                }
            }
        }
        false
    }

    fn connect_to(&mut self, now: Duration, address: SocketAddr, news: bool) {
        if self.protocol == Protocol::Plain
            && let Err(error) = self.socket.connect(address)
        {
            return self.tell_unreachable(now, address.to_string(), &error);
        }
        self.note_asked(address);
        if news {
            self.tell_connecting(now, 1);
        }
    }

    fn note_asked(&mut self, address: SocketAddr) {
        self.peer = Some(address);
        if !self.asked.contains(&address) {
            // Late answers come from the latest; a name may have ever other addresses.
            if self.asked.len() == MAX_ASKED {
                self.asked.remove(0);
            }
            self.asked.push(address);
        }
    }

    fn tell_connecting(&self, now: Duration, attempt: u32) {
        let error = self.unsent.map(|errno| errno.desc().to_owned());
        let error = error.or_else(|| self.not_found.clone());
        self.events.tell(now, EventKind::Connecting { server: self.text(), attempt, error });
    }

    fn tell_unreachable(&mut self, now: Duration, server: String, error: &io::Error) {
        let error = error.to_string();
        self.tell_once(now, EventKind::Unreachable { server, error });
    }

    fn tell_once(&mut self, now: Duration, trouble: EventKind) {
        if self.told.contains(&trouble) {
            return;
        }
        if self.told.len() == MAX_TOLD {
            self.told.pop_front();
        }
        self.told.push_back(trouble.clone());
        self.events.tell(now, trouble);
    }

    /// Sends one datagram to the server.
    ///
    /// # Errors
    /// Those of sendmsg(2).
    pub(crate) fn send(&mut self, payload: &[u8]) -> io::Result<()> {
        let sent = self.socket.send(&self.destination(), payload);
        let errno = sent.as_ref().err().and_then(io::Error::raw_os_error);
        self.unsent = errno.map(Errno::from_raw);
        sent.inspect_err(|error| log::debug!("{}: {error}", self.text()))
    }

    /// Where datagrams to the server go.
    pub(crate) fn destination(&self) -> Destination {
        match self.peer {
            Some(peer) if self.protocol != Protocol::Plain => self.socket.destination(peer, None),
            _ => Destination::connected(),
        }
    }

    /// The server's name and address, for the log.
    pub(crate) fn text(&self) -> String {
        match self.peer {
            Some(peer) if self.server.literal().is_none() => format!("{} ({peer})", self.server),
            Some(peer) => peer.to_string(),
            None => self.server.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, sync_channel};

    use super::*;

    type Found = io::Result<Vec<SocketAddr>>;

    fn dial() -> (Dial<Found>, Receiver<Message<Found>>, Arc<EventLog>) {
        let (sender, inbox) = sync_channel(64);
        let events = EventLog::new(Protocol::Acton1);
        let socket = UdpSocket::bind(([127, 0, 0, 1], 0).into());
        let server = ServerName::parse("localhost:9", 9).unwrap();
        let (socket, log) = (socket.unwrap(), Arc::clone(&events));
        (Dial::new(server, socket, sender, |found| found, Protocol::Acton1, log), inbox, events)
    }

    fn not_found(text: &str) -> Found {
        Err(io::Error::other(text.to_owned()))
    }

    #[test]
    fn a_name_that_is_not_found_is_looked_up_ever_more_rarely() {
        let (mut dial, _inbox, _) = dial();
        let (mut now, mut waits) = (Duration::ZERO, Vec::new());
        for _ in 0..8 {
            dial.connect(now, 1);
            assert!(dial.looking_up);
            dial.looked_up(now, not_found("?"), false);
            let failed = now;
            while !dial.looking_up {
                now += Duration::from_millis(500);
                dial.connect(now, 1);
            }
            waits.push((now - failed).as_secs());
            dial.looked_up(now, not_found("?"), false);
            // As if that had been the failure before: the next round begins when it may.
            now = dial.look_up_at;
        }
        assert_eq!(waits, [1, 4, 16, 30, 30, 30, 30, 30]);
        dial.looked_up(now, not_found("?"), false);
        dial.look_up_soon();
        dial.connect(now, 1);
        assert!(dial.looking_up, "this host's network is another");
    }

    #[test]
    fn the_address_that_answered_is_kept_while_the_name_has_it() {
        let (mut dial, _inbox, _) = dial();
        let now = Duration::from_secs(1);
        let [a, b, c] = [1, 2, 3].map(|last| SocketAddr::from(([127, 0, 0, last], 9)));
        dial.connect(now, 1);
        assert!(!dial.is_ready());
        assert!(!dial.looked_up(now, Ok(vec![a, b]), false));
        dial.answered(a);
        // The session is lost: what is said at once goes where the server was.
        dial.connect(now, 1);
        assert!(dial.looking_up && dial.is_ready());
        assert!(!dial.looked_up(now, Ok(vec![a, b]), false));
        assert_eq!(dial.peer_address(), Some(a));
        dial.find(now);
        assert!(!dial.looked_up(now, Ok(vec![b, a]), false));
        assert_eq!(dial.peer_address(), Some(a));
        // It does not answer from there, or the name has it no more.
        dial.connect(now, 2);
        assert!(!dial.is_ready());
        assert!(!dial.looked_up(now, Ok(vec![a, b]), false));
        assert_eq!(dial.peer_address(), Some(b));
        dial.answered(b);
        dial.connect(now, 1);
        assert!(dial.looked_up(now, Ok(vec![c]), false));
        assert_eq!(dial.peer_address(), Some(c));
    }

    #[test]
    fn each_trouble_is_told_once_until_it_is_over() {
        let (mut dial, _inbox, events) = dial();
        let now = Duration::from_secs(1);
        for text in ["a", "a", "b", "a", "b"] {
            dial.looked_up(now, not_found(text), false);
        }
        assert_eq!(events.newest(), 2);
        // It is found, which is told as connecting, and lost again.
        let address = SocketAddr::from(([127, 0, 0, 1], 9));
        dial.looked_up(now, Ok(vec![address]), false);
        assert_eq!(events.newest(), 3);
        dial.looked_up(now, not_found("a"), false);
        assert_eq!(events.newest(), 4);
        dial.refused(now);
        dial.refused(now);
        assert_eq!(events.newest(), 5);
        dial.connected();
        dial.refused(now);
        assert_eq!(events.newest(), 6);
    }
}
