//! Finds the server's address, again and again, and points the socket at it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;

use crate::ServerName;
use crate::observe::event::EventKind;
use crate::observe::event_log::EventLog;
use crate::run::control::Message;
use acton_udp::{Destination, UdpSocket};

/// Most addresses from which an answer is taken for the server's.
const MAX_ASKED: usize = 16;

/// A client's server: its name, and the address that the socket talks to now.
pub(crate) struct Dial<M> {
    server: ServerName,
    socket: UdpSocket,
    control: SyncSender<Message<M>>,
    /// Makes a message to the control thread of what a look-up found.
    news: fn(io::Result<Vec<SocketAddr>>) -> M,
    peer: Option<SocketAddr>,
    /// Whether the socket is connected to the peer, and so hears what the network says of it; else
    /// it goes on when this host's own address changes.
    connected: bool,
    looking_up: bool,
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
        news: fn(io::Result<Vec<SocketAddr>>) -> M,
        connected: bool,
        events: Arc<EventLog>,
    ) -> Self {
        Self {
            server,
            socket,
            control,
            news,
            peer: None,
            connected,
            looking_up: false,
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

    /// Whether the socket points at an address and no look-up is under way: what is said before
    /// waits.
    pub(crate) fn is_ready(&self) -> bool {
        !self.looking_up && self.peer.is_some()
    }

    /// Finds the address anew: it may have changed. `attempt` counts from 1.
    pub(crate) fn connect(&mut self, now: Duration, attempt: u32) {
        if attempt > 1 {
            self.tell_connecting(now, attempt);
        }
        if let Some(address) = self.server.literal() {
            return self.connect_to(now, address, attempt == 1);
        }
        if self.looking_up {
            return;
        }
        self.looking_up = true;
        let (name, control, news) = (self.server.clone(), self.control.clone(), self.news);
        let look_up = move || {
            let _ = control.send(Message::News(news(name.look_up())));
        };
        // A look-up can take many seconds, in which a stop must still be heard.
        if let Err(error) = thread::Builder::new().name("acton-dns".to_owned()).spawn(look_up) {
            self.looking_up = false;
            self.tell_unreachable(now, self.server.to_string(), &error);
        }
    }

    /// The server answered from there, maybe late, when the next address was tried already.
    pub(crate) fn answered(&mut self, from: SocketAddr) {
        if self.asked.contains(&from) {
            self.peer = Some(from);
        }
        self.asked.clear();
    }

    /// Takes what a look-up found. With a session it comes too late: that stays where it is.
    pub(crate) fn looked_up(
        &mut self,
        now: Duration,
        result: io::Result<Vec<SocketAddr>>,
        connected: bool,
    ) {
        self.looking_up = false;
        match result {
            Ok(_) if connected => {}
            Ok(addresses) => {
                // The next one each time, so that one that does not answer is passed over.
                let peer = self.peer;
                let last = addresses.iter().position(|&address| Some(address) == peer);
                let address = addresses[last.map_or(0, |last| (last + 1) % addresses.len())];
                self.connect_to(now, address, Some(address) != peer);
            }
            Err(error) => self.tell_unreachable(now, self.server.to_string(), &error),
        }
    }

    fn connect_to(&mut self, now: Duration, address: SocketAddr, news: bool) {
        if self.connected
            && let Err(error) = self.socket.connect(address)
        {
            return self.tell_unreachable(now, address.to_string(), &error);
        }
        self.peer = Some(address);
        if !self.asked.contains(&address) {
            // Late answers come from the latest; a name may have ever other addresses.
            if self.asked.len() == MAX_ASKED {
                self.asked.remove(0);
            }
            self.asked.push(address);
        }
        if news {
            self.tell_connecting(now, 1);
        }
    }

    fn tell_connecting(&self, now: Duration, attempt: u32) {
        let error = self.unsent.map(|errno| errno.desc().to_owned());
        self.events.tell(now, EventKind::Connecting { server: self.text(), attempt, error });
    }

    fn tell_unreachable(&self, now: Duration, server: String, error: &io::Error) {
        let error = error.to_string();
        self.events.tell(now, EventKind::Unreachable { server, error });
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
            Some(peer) if !self.connected => self.socket.destination(peer, None),
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
